"""Form-following decoding: what a reply is filled in with, place by place, as the model's logits come.

Text that a form is certain of is never decoded token by token: it goes through the model in one piece together with the
token before it. Only `Choice` and `Text` places cost a step each, which for the JSON of a verdict is about one step in
eight tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rewardanything_core.backends.base import TokenProbability
from rewardanything_core.backends.grammar import Choice, Text
from rewardanything_core.backends.local.engine.sequence import Row

if TYPE_CHECKING:
    import torch

    from rewardanything_core.backends.local.chat_tokenizer import ChatTokenizer

_TAIL = 16  # tokens to look back over for a stop string


class ConstrainedDecoder:
    """Fills in forms with what a Hugging Face causal language model says.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        chat: The same, for conversations and literal text.
    """

    def __init__(self, model: Any, tokenizer: Any, chat: ChatTokenizer) -> None:
        import torch

        self._torch = torch
        self._tokenizer = tokenizer
        self._chat = chat
        ends = model.generation_config.eos_token_id
        self._ends = set(ends if isinstance(ends, list) else [ends]) | {tokenizer.eos_token_id}
        self._options: dict[tuple[str, ...], list[list[int]]] = {}

    def begin(self, row: Row) -> None:
        """Take the text that comes before a reply's first place."""
        if row.sampling.temperature > 0:
            row.generator = self._torch.Generator().manual_seed(row.sampling.seed)
        row.ids = list(row.prompt)
        self._advance(row, next(row.grammar, None), first=True)

    def take(self, row: Row, logits: torch.Tensor, likeliest: int) -> None:
        """Go on with a row all of whose tokens have been run.

        Args:
            row: The row.
            logits: (vocabulary,) what follows its last token.
            likeliest: Where the highest of them is.
        """
        if isinstance(row.place, Text):
            self._write(row, likeliest if row.generator is None else self._drawn(row, logits))
        else:
            self._choose(row, logits)

    def _advance(self, row: Row, item: str | Choice | Text | None, *, first: bool = False, prefix: str = "") -> None:
        """Take literals from the form up to its next place, with ``prefix`` before them."""
        literal = prefix
        while isinstance(item, str):
            literal += item
            item = next(row.grammar, None)
        if literal:
            row.pieces.append(TokenProbability(text=literal[len(prefix) :]))
            todo = literal[_overlap(row.opening, literal) :] if first else literal
            ids = self._chat.literal(todo) if todo else []
            row.ids += ids
            row.written += len(ids)
        row.place = item
        row.text_ids = []
        row.done = min(row.done, len(row.ids) - 1)  # the last token's logits are what the next place is filled in from

    def _send(self, row: Row, value: str, *, prefix: str = "") -> None:
        try:
            item = row.grammar.send(value)
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
            shares = self._torch.softmax(logits.float(), dim=-1)[[tokens[0] for tokens in ids]].tolist()
            alternatives = dict(zip(options, shares, strict=True))
        row.text_ids = [*row.text_ids, best]
        open_ = [i for i in open_ if ids[i][done] == best]
        row.ids.append(best)
        row.written += 1
        if len(open_) > 1:
            return
        rest = ids[open_[0]][done + 1 :]
        row.ids += rest
        row.written += len(rest)
        row.pieces.append(TokenProbability(text=options[open_[0]], alternatives=alternatives))
        self._send(row, options[open_[0]])

    def _write(self, row: Row, token: int) -> None:
        """Add one token of free text, and end the text if that is what the token does."""
        place = row.place
        assert isinstance(place, Text)
        start = len(row.ids) - len(row.text_ids)
        ended = token in self._ends
        if not ended:
            row.text_ids.append(token)
            tail = self._tokenizer.decode(row.text_ids[-_TAIL:])
            ended = place.stop in tail or len(row.text_ids) >= place.max_tokens
        if not ended:
            row.ids.append(token)
            row.written += 1
            return
        # What was written beyond the stop string is taken back: from here the reply goes on as if it had never been.
        text = self._tokenizer.decode(row.text_ids).partition(place.stop)[0].rstrip()
        kept = len(row.ids) - start
        while kept and not text.startswith(self._tokenizer.decode(row.text_ids[:kept])):
            kept -= 1
        rest = text[len(self._tokenizer.decode(row.text_ids[:kept])) :]
        del row.ids[start + kept :]
        row.pieces.append(TokenProbability(text=text))
        self._send(row, text, prefix=rest)

    def _drawn(self, row: Row, logits: torch.Tensor) -> int:
        probabilities = self._torch.softmax(logits.float().cpu() / row.sampling.temperature, dim=-1)
        if row.sampling.top_p < 1:
            ordered, order = probabilities.sort(descending=True)
            ordered[ordered.cumsum(-1) - ordered > row.sampling.top_p] = 0
            return int(order[self._torch.multinomial(ordered, 1, generator=row.generator)])
        return int(self._torch.multinomial(probabilities, 1, generator=row.generator))

    def _option_ids(self, options: Sequence[str]) -> list[list[int]]:
        known = tuple(options)
        if known not in self._options:
            self._options[known] = [self._chat.literal(option) for option in known]
        return self._options[known]


def _overlap(before: str, text: str) -> int:
    """Length of the longest start of ``text`` that ``before`` ends with."""
    return next((size for size in range(len(text), 0, -1) if before.endswith(text[:size])), 0)
