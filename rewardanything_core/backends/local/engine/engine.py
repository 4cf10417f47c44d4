"""The engine: continuous batching of sequences over one model.

Each step takes every running sequence forward by what it has pending: one token of free text, a literal of its grammar,
or as much of its prompt as the step has room for. Prefill, reasoning and JSON share a step, so no sequence waits for
another. A sequence that is complete, cancelled or failed leaves after the step, and the next one in the queue joins.

A step:

1. remove cancelled sequences, admit waiting ones (`WaitingQueue`);
2. give new sequences a slot in the KV cache, with the longest prefix that is already computed (`_assign_slot`);
3. divide the step's token budget among the sequences (`_schedule`);
4. run the chunks as one packed batch (`PackedBatch`, `model_runner`);
5. let the `ConstrainedDecoder` decide the next tokens of each sequence without pending ones.

A reply does not depend on the other sequences of the batch beyond the rounding of the arithmetic: a sequence attends to
its own tokens only, at its own positions, and draws from its own source of randomness. In float32 that rounding is
about a millionth, and replies are equal to the character unless two tokens are that nearly tied. In bfloat16 a matrix
product may round differently for another number of rows, by one part in a few hundred. There a reply can diverge from
the one generated alone where the two likeliest tokens are within about that of each other, and only from there on.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, TypeAlias

from rewardanything_core.backends.local.engine import model_runner
from rewardanything_core.backends.local.engine.kv_cache import KVCachePool, common_prefix_length
from rewardanything_core.backends.local.engine.packed_batch import PackedBatch, ScheduledChunk
from rewardanything_core.backends.local.engine.sequence import Sequence
from rewardanything_core.backends.local.engine.waiting_queue import WaitingQueue
from rewardanything_core.errors import BackendError

if TYPE_CHECKING:
    import torch

    from rewardanything_core.backends.local.engine.attention import AttentionPattern
    from rewardanything_core.backends.local.engine.constrained_decoder import ConstrainedDecoder

_log = logging.getLogger("rewardanything_core")

_MIN_PREFIX_TO_WAIT_FOR = 32
"""Tokens. A new sequence waits a few steps for a running one to compute the prefix that they share, unless waiting
would save fewer tokens than this. Not swept."""

_MIN_BATCHED_TOKENS = 32
"""Tokens of a step below which it is not shrunk further: a device without memory for so few has too little memory."""

_Scheduled: TypeAlias = tuple[Sequence, ScheduledChunk]
_Output: TypeAlias = "tuple[Sequence, torch.Tensor, int]"
"""A sequence, the (vocabulary,) logits after its last computed token, and the index of the highest."""


class Engine:
    """Generates replies with a Hugging Face causal language model. Not thread-safe.

    Args:
        model: The model.
        decoder: Decides the tokens from the logits.
        patterns: Attention pattern of each layer.
        max_num_seqs: The most sequences that run at once. Each occupies a slot in the KV cache.
        max_total_tokens: The most tokens that the running sequences may have together, each counted at the longest it
            can become: that bounds the KV cache, so that a sequence, once admitted, always has room to finish. A
            longer one runs alone.
        max_num_batched_tokens: The most tokens that go through the model in one step.
    """

    def __init__(
        self,
        model: Any,
        decoder: ConstrainedDecoder,
        patterns: list[AttentionPattern],
        *,
        max_num_seqs: int,
        max_total_tokens: int,
        max_num_batched_tokens: int,
    ) -> None:
        import torch

        self._torch = torch
        self._model, self._decoder, self._patterns = model, decoder, patterns
        self.max_num_seqs = max_num_seqs
        self._max_total_tokens = max_total_tokens
        self._max_num_batched_tokens = max_num_batched_tokens
        self._waiting: WaitingQueue[Sequence] = WaitingQueue()
        self._running: list[Sequence] = []
        self._pool = KVCachePool(max_total_tokens)

    @property
    def is_idle(self) -> bool:
        """Whether no sequence is waiting or running."""
        return not (self._running or len(self._waiting))

    def add(self, sequence: Sequence) -> None:
        """Put a sequence in the waiting queue."""
        self._waiting.append(sequence)

    def step(self) -> list[Sequence]:
        """Run one step.

        Returns:
            The sequences that left: complete, cancelled, or with an ``error``.
        """
        with self._torch.inference_mode():
            return self._step()

    def release_memory(self) -> None:
        """Free the KV cache, except for its longest prefix, if the engine is idle."""
        if self.is_idle:
            with self._torch.inference_mode():
                self._pool.release_unused()

    def _step(self) -> list[Sequence]:
        removed = self._remove_cancelled() + self._admit()
        started = time.perf_counter()
        out_of_memory: Exception | None = None
        try:
            outputs = self._run(self._schedule(self._running))
        except Exception as error:  # noqa: BLE001  # reported to the callers of the sequences that it belongs to
            if is_out_of_memory(error):
                # Without the traceback, whose frames keep the tensors of the failed step in memory.
                out_of_memory = error.with_traceback(None)
            else:
                outputs = self._run_separately(error)
        if out_of_memory is not None:
            return removed + self._shrink_batch_after_oom(out_of_memory)
        for sequence, logits, argmax in outputs:
            if not sequence.num_pending_tokens:
                self._append(sequence, logits, argmax)
        seconds = (time.perf_counter() - started) / max(1, len(outputs))
        for sequence, _, _ in outputs:
            sequence.seconds += seconds
        return removed + self._remove([one for one in self._running if one.is_complete or one.error is not None])

    # --- joining and leaving

    def _admit(self) -> list[Sequence]:
        """Move sequences from the queue into the batch; return those that end without a step of the model."""
        max_tokens = self._max_total_tokens - sum(sequence.max_length for sequence in self._running)
        max_seqs = self.max_num_seqs - len(self._running)
        ended = []
        for sequence in self._waiting.admit(max_seqs, max_tokens, batch_is_empty=not self._running):
            if not sequence.token_ids:  # else it was preempted and goes on where it was
                try:
                    self._decoder.start(sequence)
                except Exception as error:  # noqa: BLE001  # raised by this sequence's grammar
                    sequence.error = error
            if sequence.is_complete or sequence.error is not None:
                ended.append(sequence)
            else:
                self._running.append(sequence)
        return ended

    def _remove_cancelled(self) -> list[Sequence]:
        waiting = self._waiting.remove_if(lambda sequence: sequence.is_cancelled())
        return waiting + self._remove([sequence for sequence in self._running if sequence.is_cancelled()])

    def _remove(self, sequences: list[Sequence]) -> list[Sequence]:
        for sequence in sequences:
            self._running.remove(sequence)
            if sequence.slot is not None:
                self._pool.free(sequence.slot, sequence.token_ids[: sequence.num_computed_tokens])
                sequence.slot = None
        return sequences

    def _assign_slot(self, sequence: Sequence) -> bool:
        """Give a sequence a slot, starting from the longest prefix that is computed anywhere in the KV cache.

        Returns:
            Whether it has a slot. False: a running sequence is about to compute more of the shared prefix, and waiting
            for it costs less than computing it twice. Cases of one run arrive together and share their instructions,
            so this is the common case: the first computes the prefix and the others copy it.
        """
        num_cached_tokens, prefix_source = 0, None
        for slot in self._pool:
            if (
                not slot.in_use
                and (length := common_prefix_length(slot.token_ids, sequence.token_ids)) > num_cached_tokens
            ):
                num_cached_tokens, prefix_source = length, slot
        longest_shared = 0
        for other in self._running:
            if other.slot is not None:
                shared = common_prefix_length(other.token_ids, sequence.token_ids)
                longest_shared = max(longest_shared, shared)
                if (length := min(shared, other.num_computed_tokens)) > num_cached_tokens:
                    num_cached_tokens, prefix_source = length, other.slot
        # The last token is computed in any case, since its logits are needed.
        reusable = len(sequence.token_ids) - 1
        num_cached_tokens = min(num_cached_tokens, reusable)
        if min(longest_shared, reusable) >= num_cached_tokens + _MIN_PREFIX_TO_WAIT_FOR:
            return False
        max_length = max(sequence.max_length, len(sequence.token_ids))
        sequence.slot = self._pool.allocate(sequence.token_ids, max_length, prefix_source, num_cached_tokens)
        sequence.num_computed_tokens = num_cached_tokens
        return True

    # --- a step

    def _schedule(self, sequences: list[Sequence]) -> list[_Scheduled]:
        """Divide the step's token budget (chunked prefill).

        Sequences with few pending tokens come first, so that a long prompt does not delay the ones that are decoding.
        The oldest sequence gets up to half of the budget before that, so that a long prompt cannot starve either.
        """
        ready = [sequence for sequence in sequences if sequence.slot is not None or self._assign_slot(sequence)]
        if not ready:
            return []
        budget = self._max_num_batched_tokens
        sizes = {id(ready[0]): min(ready[0].num_pending_tokens, max(1, budget // 2))}
        budget -= sizes[id(ready[0])]
        for sequence in sorted(ready, key=lambda sequence: sequence.num_pending_tokens):
            granted = sizes.get(id(sequence), 0)
            extra = min(sequence.num_pending_tokens - granted, budget)
            sizes[id(sequence)] = granted + extra
            budget -= extra
        scheduled = []
        for sequence in ready:
            if size := sizes[id(sequence)]:
                assert sequence.slot is not None
                start = sequence.num_computed_tokens
                chunk = ScheduledChunk(
                    sequence.slot, start, sequence.token_ids[start : start + size], sequence.token_ids
                )
                scheduled.append((sequence, chunk))
        return scheduled

    def _run(self, scheduled: list[_Scheduled]) -> list[_Output]:
        """Run the chunks as one packed batch and count their tokens as computed."""
        if not scheduled:
            return []
        for _, chunk in scheduled:
            chunk.slot.cache.reserve(chunk.start + len(chunk.token_ids))
        batch = PackedBatch([chunk for _, chunk in scheduled], self._patterns, gpu=self._model.device.type != "cpu")
        logits = model_runner.run(self._model, batch, batch.last_indices)
        argmax = logits.argmax(dim=-1).tolist()
        for sequence, chunk in scheduled:
            sequence.num_computed_tokens += len(chunk.token_ids)
        return [(sequence, logits[i], argmax[i]) for i, (sequence, _) in enumerate(scheduled)]

    def _append(self, sequence: Sequence, logits: torch.Tensor, argmax: int) -> None:
        try:
            self._decoder.append(sequence, logits, argmax)
        except Exception as error:  # noqa: BLE001  # raised by this sequence's grammar, or by its tokens
            sequence.error = error

    # --- failures

    def _run_separately(self, error: Exception) -> list[_Output]:
        """Repeat a failed step with one sequence at a time, so that only those fail which cannot run alone either.

        Keys and values that were computed in earlier steps are intact: a step writes only to columns after them, and
        the repeated step writes these again.
        """
        _log.error("The local model failed on a batch of %d sequences.", len(self._running), exc_info=error)
        outputs: list[_Output] = []
        for sequence in self._running:
            try:
                outputs += self._run(self._schedule([sequence]))
            except Exception as failure:  # noqa: BLE001  # reported to the caller of this sequence
                _fail(sequence, failure)
        if not outputs:  # then the device itself may be in an unknown state
            self._reset_cache()
        return outputs

    def _shrink_batch_after_oom(self, error: Exception) -> list[Sequence]:
        """Recover from a lack of memory: half as many sequences, or if only one is running, half as many tokens a step.

        The limits stay lowered. Sequences keep the tokens that they have; preempted ones return to the head of the
        queue. The KV cache is emptied, so all tokens are computed again: recomputing is simpler than moving a cache
        while there is no memory for a second one, and running out of memory is rare.

        Args:
            error: The failure of the step.

        Returns:
            The sequence that fails because nothing can be made smaller, if so.
        """
        if len(self._running) > 1:
            self.max_num_seqs = len(self._running) // 2
            _log.warning(
                "Out of memory with %d sequences; continuing with %d at a time.", len(self._running), self.max_num_seqs
            )
        elif self._max_num_batched_tokens // 2 >= _MIN_BATCHED_TOKENS:
            self._max_num_batched_tokens //= 2
            _log.warning("Out of memory; continuing with %d tokens in a step.", self._max_num_batched_tokens)
        else:
            _log.error("Out of memory with one sequence and %d tokens in a step.", self._max_num_batched_tokens)
            self._reset_cache()
            for sequence in self._running:
                _fail(sequence, error)
            return self._remove(list(self._running))
        self._reset_cache()
        self._waiting.requeue(self._running[self.max_num_seqs :])
        del self._running[self.max_num_seqs :]
        return []

    def _reset_cache(self) -> None:
        for sequence in self._running:
            sequence.slot, sequence.num_computed_tokens = None, 0
        self._pool = KVCachePool(self._max_total_tokens)
        if self._torch.cuda.is_available():
            self._torch.cuda.empty_cache()


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device ran out of memory. CUDA has an exception class for it; Apple's MPS raises a RuntimeError."""
    return type(error).__name__ == "OutOfMemoryError" or "out of memory" in str(error)


def _fail(sequence: Sequence, error: Exception) -> None:
    sequence.error = BackendError(f"The model failed while generating: {type(error).__name__}: {error}")
    sequence.error.__cause__ = error
