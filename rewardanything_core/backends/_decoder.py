"""Form-following decoding: a batch of replies written together, each held to its form.

Text that a form is certain of is never decoded token by token: it goes through the model in one piece together with the
token before it. Only `Choice` and `Text` places cost a step each, which for the JSON of a verdict is about one step in
eight tokens. Rows still writing free text are waited for, so that the structured parts of a batch run in step.

Rows of a batch stand in one rectangular key-value cache. Where a row has nothing to add, or takes tokens back, the
columns are masked out and its positions go on without a gap, so that a row's result does not depend on its neighbours
beyond the rounding of the arithmetic.

What all prompts of a batch begin with (the judging instructions, often the principle too) is run once and kept for the
batches that follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rewardanything_core.backends._prefix import SharedPrefix
from rewardanything_core.backends.base import TokenProbability
from rewardanything_core.forms import Choice, Form, Text

if TYPE_CHECKING:
    import torch

    from rewardanything_core.backends._chat import ChatTokenizer
    from rewardanything_core.types import SamplingParams

_TAIL = 16  # tokens to look back over for a stop string
_SLICE = 4096  # tokens of all rows together that go through the model at once


@dataclass
class Row:
    """One reply being written."""

    prompt: list[int]
    """Token ids of the conversation."""

    form: Form
    """What remains to be filled in."""

    sampling: SamplingParams
    """How to pick tokens in free text."""

    opening: str = ""
    """End of the prompt's text, whose overlap with the form's first literal is not written twice."""

    cancelled: Callable[[], bool] = lambda: False
    """Whether nobody wants this reply any more."""

    pieces: list[TokenProbability] = field(default_factory=list)
    """What has been written, place by place."""

    written: int = 0
    """Tokens appended after the prompt."""

    place: Choice | Text | None = None
    """What is being filled in now. None: the reply is complete."""

    pending: list[int] = field(default_factory=list)
    """Tokens decided on and not yet run through the model."""

    text_ids: list[int] = field(default_factory=list)
    """Tokens of the free text being written."""

    text_columns: list[int] = field(default_factory=list)
    """Where in the cache those of them stand that have been run."""

    generator: torch.Generator | None = None
    """Source of randomness. None: greedy."""

    @property
    def reply(self) -> str:
        """What has been written, as text."""
        return "".join(piece.text for piece in self.pieces)


class FormDecoder:
    """Writes replies with a Hugging Face causal language model."""

    def __init__(self, model: Any, tokenizer: Any, chat: ChatTokenizer) -> None:
        import torch

        self._torch = torch
        self.model = model
        self._tokenizer = tokenizer
        self._chat = chat
        self.pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        ends = model.generation_config.eos_token_id
        self._ends = set(ends if isinstance(ends, list) else [ends]) | {tokenizer.eos_token_id}
        self._options: dict[tuple[str, ...], list[list[int]]] = {}
        kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ["full_attention"])
        # A window that slides over the cache forgets the beginning, so there is nothing to share.
        self.sees_all = kinds == {"full_attention"}
        self._prefix = SharedPrefix(self._run_alone) if self.sees_all else None

    def run(self, rows: Sequence[Row]) -> None:
        """Fill in the forms of all rows, in place. Rows that are cancelled are left as they are."""
        with self._torch.inference_mode():
            self._run(list(rows))

    def _run(self, rows: list[Row]) -> None:
        for row in rows:
            if row.sampling.temperature > 0:
                row.generator = self._torch.Generator().manual_seed(row.sampling.seed)
            self._advance(row, next(row.form), first=True)
        shared, cache = self._prefix.of([row.prompt for row in rows]) if self._prefix else (0, None)
        for row in rows:
            row.pending = row.prompt[shared:] + row.pending
        state = _Batch(self, rows, shared, self.new_cache() if cache is None else cache)
        while live := [row for row in rows if row.place is not None and not row.cancelled()]:
            if not state.forward(live):
                return
            writing = [row for row in live if isinstance(row.place, Text)]
            for row, logits in state.logits_of(writing or live):
                if isinstance(row.place, Text):
                    self._write(row, logits, state)
                else:
                    self._choose(row, logits)

    def _run_alone(self, ids: list[int]) -> Any:
        """The cache after running these tokens as a batch of one."""
        cache = self.new_cache()
        tokens = self._torch.tensor([ids], device=self.model.device)
        self.model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return cache

    def new_cache(self) -> Any:
        """An empty key-value cache of the kind that the model wants."""
        from transformers import DynamicCache

        return DynamicCache(config=self.model.config)

    # --- filling in places

    def _advance(self, row: Row, item: str | Choice | Text | None, *, first: bool = False, prefix: str = "") -> None:
        """Take literals from the form up to its next place, with ``prefix`` before them."""
        literal = prefix
        while isinstance(item, str):
            literal += item
            item = next(row.form, None)
        if literal:
            row.pieces.append(TokenProbability(text=literal[len(prefix) :]))
            todo = literal[_overlap(row.opening, literal) :] if first else literal
            ids = self._chat.literal(todo) if todo else []
            row.pending += ids
            row.written += len(ids)
        row.place = item
        row.text_ids, row.text_columns = [], []
        if item is None:
            row.pending = []  # nothing follows that would need them

    def _send(self, row: Row, value: str, *, prefix: str = "") -> None:
        try:
            item = row.form.send(value)
        except StopIteration:
            item = None
        self._advance(row, item, prefix=prefix)

    def _choose(self, row: Row, logits: torch.Tensor) -> None:
        """Take the likeliest option; its first token decides, and among those alike the next, and so on."""
        assert isinstance(row.place, Choice)
        options = row.place.options
        ids = self._option_ids(options)
        done = len(row.text_ids)
        open_ = [i for i, tokens in enumerate(ids) if tokens[:done] == row.text_ids]
        firsts = sorted({ids[i][done] for i in open_})
        best = firsts[int(logits[firsts].argmax())]
        alternatives: dict[str, float] = {}
        if not done and len(firsts) == len(options):
            probabilities = self._torch.softmax(logits.float(), dim=-1)
            alternatives = {option: float(probabilities[ids[i][0]]) for i, option in enumerate(options)}
        row.text_ids = [*row.text_ids, best]
        open_ = [i for i in open_ if ids[i][done] == best]
        row.pending.append(best)
        row.written += 1
        if len(open_) > 1:
            return
        rest = ids[open_[0]][done + 1 :]
        row.pending += rest
        row.written += len(rest)
        row.pieces.append(TokenProbability(text=options[open_[0]], alternatives=alternatives))
        self._send(row, options[open_[0]])

    def _write(self, row: Row, logits: torch.Tensor, state: _Batch) -> None:
        """Add one token of free text, and end the text if that is what the token does."""
        place = row.place
        assert isinstance(place, Text)
        token = self._pick(row, logits)
        ended = token in self._ends
        if not ended:
            row.text_ids.append(token)
            tail = self._tokenizer.decode(row.text_ids[-_TAIL:])
            ended = place.stop in tail or len(row.text_ids) >= place.max_tokens
        if not ended:
            row.pending.append(token)
            row.written += 1
            return
        text = self._tokenizer.decode(row.text_ids).partition(place.stop)[0].rstrip()
        kept = len(row.text_columns)
        while kept and not text.startswith(self._tokenizer.decode(row.text_ids[:kept])):
            kept -= 1
        state.forget(row, row.text_columns[kept:])
        rest = text[len(self._tokenizer.decode(row.text_ids[:kept])) :]
        row.pieces.append(TokenProbability(text=text))
        self._send(row, text, prefix=rest)

    def _pick(self, row: Row, logits: torch.Tensor) -> int:
        if row.generator is None:
            return int(logits.argmax())
        probabilities = self._torch.softmax(logits.float().cpu() / row.sampling.temperature, dim=-1)
        if row.sampling.top_p < 1:
            ordered, order = probabilities.sort(descending=True)
            ordered[ordered.cumsum(-1) - ordered > row.sampling.top_p] = 0
            return int(order[self._torch.multinomial(ordered, 1, generator=row.generator)])
        return int(self._torch.multinomial(probabilities, 1, generator=row.generator))

    def _option_ids(self, options: tuple[str, ...]) -> list[list[int]]:
        if options not in self._options:
            self._options[options] = [self._chat.literal(option) for option in options]
        return self._options[options]


class _Batch:
    """The rows' shared key-value cache."""

    def __init__(self, decoder: FormDecoder, rows: list[Row], shared: int, cache: Any) -> None:
        import torch

        self._torch, self._model, self._pad = torch, decoder.model, decoder.pad
        self._rows = rows
        self._index = {id(row): i for i, row in enumerate(rows)}
        self._device = decoder.model.device
        self._cache = cache
        self._mask = torch.ones((len(rows), shared), dtype=torch.long, device=self._device)
        self._positions = [shared] * len(rows)
        self._logits: torch.Tensor | None = None

    def forward(self, live: Sequence[Row]) -> bool:
        """Run all pending tokens through the model, each row's aligned to the right.

        Long prompts go through in slices, so that nobody waits long for a batch that is no longer wanted.

        Returns:
            False if all the rows in ``live`` were cancelled before it was done.
        """
        torch, width = self._torch, max(len(row.pending) for row in self._rows)
        ids = torch.full((len(self._rows), width), self._pad, dtype=torch.long)
        mask = torch.zeros_like(ids)
        positions = torch.zeros_like(ids)
        start = self._mask.shape[1]
        for i, row in enumerate(self._rows):
            if not (count := len(row.pending)):
                continue
            ids[i, -count:] = torch.tensor(row.pending)
            mask[i, -count:] = 1
            positions[i, -count:] = torch.arange(self._positions[i], self._positions[i] + count)
            self._positions[i] += count
            if isinstance(row.place, Text) and row.text_ids:
                row.text_columns.append(start + width - 1)
        self._mask = torch.cat([self._mask, mask.to(self._device)], dim=1)
        step = max(1, _SLICE // len(self._rows))
        for at in range(0, width, step):
            if all(row.cancelled() for row in live):
                return False
            logits = self._model(
                input_ids=ids[:, at : at + step].to(self._device),
                attention_mask=self._mask[:, : start + at + step],
                position_ids=positions[:, at : at + step].to(self._device),
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
        fed = torch.tensor([bool(row.pending) for row in self._rows], device=logits.device)
        self._logits = logits if self._logits is None else torch.where(fed[:, None], logits, self._logits)
        for row in self._rows:
            row.pending = []
        return True

    def logits_of(self, rows: Sequence[Row]) -> list[tuple[Row, torch.Tensor]]:
        """Each row with the logits (vocabulary,) that follow its last token."""
        assert self._logits is not None
        return [(row, self._logits[self._index[id(row)]]) for row in rows]

    def forget(self, row: Row, columns: Sequence[int]) -> None:
        """Take back a row's tokens that stand in these columns, its latest ones."""
        i = self._index[id(row)]
        self._mask[i, list(columns)] = 0
        self._positions[i] -= len(columns)


def _overlap(before: str, text: str) -> int:
    """Length of the longest start of ``text`` that ``before`` ends with."""
    return next((size for size in range(len(text), 0, -1) if before.endswith(text[:size])), 0)
