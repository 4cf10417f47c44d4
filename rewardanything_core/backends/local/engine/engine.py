"""The resident batch: rows that are written side by side and come and go between steps.

Each step adds to every row what it has pending: one token of free text, a piece of text that is certain, or as much of
its prompt as there is room for. Rows in their thoughts, in their JSON and still in their prompts share a step; none
waits for another. A row that is complete, cancelled or broken leaves after the step, and the next in line comes in.

A row's reply does not depend on what it travels with beyond the rounding of the arithmetic: it sees its own tokens
only, at positions of its own, and draws from a source of randomness of its own. In float32 that rounding is about a
millionth, and replies are the same to the character unless two tokens are that nearly alike. In bfloat16 a matrix
product may round otherwise for another number of rows, by one part in a few hundred: there a reply can part from the
one written alone where the two likeliest tokens are within about that of each other, and only from there on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rewardanything_core.backends.local.engine import model_runner, packed_batch
from rewardanything_core.backends.local.engine.kv_cache import Shelves, common
from rewardanything_core.backends.local.engine.waiting_queue import Line
from rewardanything_core.errors import BackendError

if TYPE_CHECKING:
    import torch

    from rewardanything_core.backends.local.engine.attention import Reach
    from rewardanything_core.backends.local.engine.constrained_decoder import ConstrainedDecoder
    from rewardanything_core.backends.local.engine.sequence import Row

_log = logging.getLogger("rewardanything_core")

_WORTHWHILE = 32  # tokens: to wait for fewer, until somebody else has run them, saves nothing
_LEAST = 32  # tokens in a step: where memory is too short even for that, it is too short


class Resident:
    """Writes replies with a Hugging Face causal language model.

    Args:
        model: The model.
        decoder: What fills in the forms.
        reaches: How far each of the model's layers sees.
        most: Most rows written at once.
        tokens: Most tokens, of prompts and of replies at their longest, that these rows may have together.
        slice_: Most tokens that go through the model in one step.
    """

    def __init__(
        self,
        model: Any,
        decoder: ConstrainedDecoder,
        reaches: Sequence[Reach],
        *,
        most: int,
        tokens: int,
        slice_: int,
    ) -> None:
        import torch

        self._torch = torch
        self._model, self._decoder, self._reaches = model, decoder, reaches
        self.most, self._tokens, self._slice = most, tokens, slice_
        self._line: Line[Row] = Line()
        self._rows: list[Row] = []
        self._shelves = Shelves(self._tokens)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self._rows or len(self._line))

    def join(self, row: Row) -> None:
        """Put a row in line."""
        self._line.join(row)

    def step(self) -> list[Row]:
        """Take one step with all rows that are in.

        Returns:
            The rows that left: complete, cancelled, or with an ``error``.
        """
        with self._torch.inference_mode():
            return self._step()

    def clear(self) -> list[Row]:
        """Send all rows away, and say which they are."""
        left = [*self._rows, *self._line.clear()]
        self._rows = []
        self._shelves = Shelves(self._tokens)
        return left

    def rest(self) -> None:
        """Nothing is to be done for a while: let go of memory."""
        if self.idle:
            with self._torch.inference_mode():
                self._shelves.trim()

    # --- coming in

    def _step(self) -> list[Row]:
        left = self._drop_cancelled()
        left += self._admit()
        parts = self._parts()
        if not parts:
            return left
        started = time.perf_counter()
        try:
            logits, likeliest = self._run(parts)
        except Exception as error:  # noqa: BLE001  # reported to those who wait
            if not (out_of_memory(error) and self._make_do_with_less()):
                left += self._give_up(error)
            return left
        for (row, _), its, best in zip(parts, logits, likeliest, strict=True):
            if not row.pending:
                self._fill_in(row, its, best)
        seconds = (time.perf_counter() - started) / len(parts)
        for row, _ in parts:
            row.seconds += seconds
        done = [row for row, _ in parts if row.error is not None or row.place is None]
        return left + self._leave(done)

    def _admit(self) -> list[Row]:
        """Let rows in; return those that need nothing of the model."""
        free = self.most - len(self._rows)
        tokens = self._tokens - sum(row.need for row in self._rows)
        done = []
        for row in self._line.admit(free, tokens, empty=not self._rows):
            if not row.ids:
                try:
                    self._decoder.begin(row)
                except Exception as error:  # noqa: BLE001  # whatever it is belongs to this row alone
                    row.error = error
            if row.place is None or row.error is not None:
                done.append(row)
            else:
                self._rows.append(row)
        return done

    def _drop_cancelled(self) -> list[Row]:
        waiting = self._line.drop(lambda row: row.cancelled())
        return waiting + self._leave([row for row in self._rows if row.cancelled()])

    def _leave(self, rows: Sequence[Row]) -> list[Row]:
        for row in rows:
            self._rows.remove(row)
            if row.seat is not None:
                self._shelves.leave(row.seat, row.ids[: row.done])
                row.seat = None
        return list(rows)

    def _find_seat(self, row: Row) -> bool:
        """Sit down beside what has been run already; False while it is better to wait for what is being run."""
        known, donor = 0, None
        for seat in self._shelves:
            if not seat.taken and (size := common(seat.ids, row.ids)) > known:
                known, donor = size, seat
        soon = 0
        for other in self._rows:
            if other.seat is not None:
                alike = common(other.ids, row.ids)
                soon = max(soon, alike)
                if (size := min(alike, other.done)) > known:
                    known, donor = size, other.seat
        known = min(known, len(row.ids) - 1)
        if min(soon, len(row.ids) - 1) >= known + _WORTHWHILE:
            return False
        row.seat = self._shelves.enter(row.ids, max(row.need, len(row.ids)), donor, known)
        row.done = known
        return True

    # --- a step

    def _parts(self) -> list[tuple[Row, packed_batch.Part]]:
        """What each row adds: those with little to add come first, but the oldest gets its share whatever it needs."""
        ready = [row for row in self._rows if row.seat is not None or self._find_seat(row)]
        if not ready:
            return []
        room = self._slice
        sizes = {id(ready[0]): min(ready[0].pending, max(1, self._slice // 2))}
        room -= sizes[id(ready[0])]
        for row in sorted(ready, key=lambda row: row.pending):
            more = min(row.pending - sizes.get(id(row), 0), room)
            sizes[id(row)] = sizes.get(id(row), 0) + more
            room -= more
        parts = []
        for row in ready:
            if size := sizes[id(row)]:
                assert row.seat is not None
                adds = row.ids[row.done : row.done + size]
                parts.append((row, packed_batch.Part(row.seat, row.done, adds, row.ids)))
        return parts

    def _run(self, parts: Sequence[tuple[Row, packed_batch.Part]]) -> tuple[torch.Tensor, list[int]]:
        for _, part in parts:
            part.seat.shelf.make_room(part.start + len(part.ids))
        layout = packed_batch.Layout([part for _, part in parts], self._reaches, gpu=self._model.device.type != "cpu")
        logits = model_runner.run(self._model, layout, layout.ends)
        likeliest = logits.argmax(dim=-1).tolist()
        for row, part in parts:
            row.done += len(part.ids)
        return logits, likeliest

    def _fill_in(self, row: Row, logits: torch.Tensor, likeliest: int) -> None:
        try:
            self._decoder.take(row, logits, likeliest)
        except Exception as error:  # noqa: BLE001  # whatever it is belongs to this row alone
            row.error = error

    # --- trouble

    def _make_do_with_less(self) -> bool:
        """After running out of memory: half as many rows, or if there is but one, half as many tokens in a step.

        What has been written stays; those who make room come in again first, and their tokens are run again.
        """
        if len(self._rows) > 1:
            self.most = len(self._rows) // 2
            _log.warning("Out of memory with %d replies at once; going on with %d.", len(self._rows), self.most)
        elif self._slice // 2 >= _LEAST:
            self._slice //= 2
            _log.warning("Out of memory; going on with %d tokens in a step.", self._slice)
        else:
            return False
        for row in self._rows:
            row.seat, row.done = None, 0
        self._line.rejoin(self._rows[self.most :])
        del self._rows[self.most :]
        self._forget()
        return True

    def _give_up(self, error: Exception) -> list[Row]:
        _log.error("The local model failed on a batch of %d.", len(self._rows), exc_info=error)
        left, self._rows = self._rows, []
        for row in left:
            row.seat = None
            row.error = BackendError(f"The model failed while writing: {type(error).__name__}: {error}")
        self._forget()
        return left

    def _forget(self) -> None:
        self._shelves = Shelves(self._tokens)
        if self._torch.cuda.is_available():
            self._torch.cuda.empty_cache()


def out_of_memory(error: Exception) -> bool:
    """Whether it is the device's memory that was not enough."""
    return type(error).__name__ == "OutOfMemoryError"
