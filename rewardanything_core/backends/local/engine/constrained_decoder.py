"""Constrained decoding: advances a sequence through its grammar as the model's logits arrive.

A grammar alternates between literals, which are certain, and fields that the model fills in. Literals are never decoded
token by token: they are appended to the pending tokens and go through the model in one chunk, together with the token
before them. Only `Choice` and `Text` fields cost steps, which for the JSON of a verdict is about one step in eight
tokens.

The grammar is a Python generator and not an automaton compiled from a JSON schema (as in xgrammar or outlines), because
a schema cannot require that the ranking is a permutation that agrees with the scores. benchmarks/valid_verdicts.py
compares the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rewardanything_core.backends.base import TokenProbability
from rewardanything_core.backends.grammar import Choice, Text
from rewardanything_core.backends.local.engine.sequence import FreeText, Sequence

if TYPE_CHECKING:
    import torch

    from rewardanything_core.backends.local.chat_tokenizer import ChatTokenizer

_STOP_WINDOW = 16
"""Tokens to decode when looking for a stop string after each new token; stop strings are shorter than that."""


class ConstrainedDecoder:
    """Fills in the grammars of sequences. It keeps no state of a sequence itself.

    Args:
        model: A Hugging Face causal language model; only its generation configuration is used.
        tokenizer: Its tokenizer.
        chat: The tokenizer's wrapper, which encodes literals.
    """

    def __init__(self, model: Any, tokenizer: Any, chat: ChatTokenizer) -> None:
        import torch

        self._torch = torch
        self._tokenizer = tokenizer
        self._chat = chat
        eos = model.generation_config.eos_token_id
        self._eos_ids = set(eos if isinstance(eos, list) else [eos]) | {tokenizer.eos_token_id}
        self._option_ids: dict[tuple[str, ...], list[list[int]]] = {}

    def start(self, sequence: Sequence) -> None:
        """Set up a new sequence: its prompt, its randomness and the literal before its first field."""
        if sequence.sampling.temperature > 0:
            # On the CPU, whatever the model runs on: the same seed gives the same reply on every device.
            sequence.generator = self._torch.Generator().manual_seed(sequence.sampling.seed)
        sequence.token_ids = list(sequence.prompt_ids)
        if sequence.grammar is None:
            sequence.constraint = FreeText(sequence.max_new_tokens)
        else:
            self._advance(sequence, next(sequence.grammar, None), is_first=True)

    def append(self, sequence: Sequence, logits: torch.Tensor, argmax: int) -> None:
        """Decide the next tokens of a sequence that has no pending ones.

        Args:
            sequence: The sequence; its constraint is not None.
            logits: (vocabulary,) logits of the token that follows.
            argmax: Index of the highest logit. It is passed in because the engine computes it for the whole batch with
                one transfer from the device.
        """
        if isinstance(sequence.constraint, Choice):
            self._append_option(sequence, logits)
            return
        token = argmax if sequence.generator is None else self._sample(sequence, logits)
        if isinstance(sequence.constraint, FreeText):
            self._append_free(sequence, token)
        else:
            self._append_text(sequence, token)

    def _advance(
        self, sequence: Sequence, item: str | Choice | Text | None, *, is_first: bool = False, leftover: str = ""
    ) -> None:
        """Append the grammar's literals up to its next field.

        Args:
            sequence: The sequence.
            item: The next item of its grammar. None: the grammar has ended.
            is_first: Whether nothing has been generated yet.
            leftover: Text of the previous field whose tokens were discarded; it is encoded with the literal.
        """
        assert sequence.grammar is not None
        literal = leftover
        while isinstance(item, str):
            literal += item
            item = next(sequence.grammar, None)
        if literal:
            sequence.pieces.append(TokenProbability(text=literal[len(leftover) :]))
            missing = literal[_overlap(sequence.prompt_ending, literal) :] if is_first else literal
            ids = self._chat.encode_text(missing) if missing else []
            sequence.token_ids += ids
            sequence.num_new_tokens += len(ids)
        sequence.constraint = item
        sequence.constraint_ids = []
        # The next field is filled in from the last token's logits, so that token has to be computed (again, where
        # tokens were discarded and it had been computed before).
        sequence.num_computed_tokens = min(sequence.num_computed_tokens, len(sequence.token_ids) - 1)

    def _send(self, sequence: Sequence, value: str, *, leftover: str = "") -> None:
        """Report a field's value to the grammar and go on to the next field."""
        assert sequence.grammar is not None
        try:
            item = sequence.grammar.send(value)
        except StopIteration:
            item = None
        self._advance(sequence, item, leftover=leftover)

    def _append_option(self, sequence: Sequence, logits: torch.Tensor) -> None:
        """Pick the likeliest option by its first token; options that share it are distinguished by the next.

        Once one option is left, its remaining tokens are certain and need no steps of their own.
        """
        assert isinstance(sequence.constraint, Choice)
        options = sequence.constraint.options
        if options not in self._option_ids:
            self._option_ids[options] = [self._chat.encode_text(option) for option in options]
        ids = self._option_ids[options]
        depth = len(sequence.constraint_ids)
        candidates = [i for i, tokens in enumerate(ids) if tokens[:depth] == sequence.constraint_ids]
        next_tokens = sorted({ids[i][depth] for i in candidates})
        best = next_tokens[int(logits[next_tokens].argmax())]
        alternatives: dict[str, float] = {}
        if not depth and len(next_tokens) == len(options):  # else one token's probability is not one option's
            shares = self._torch.softmax(logits.float(), dim=-1)[[tokens[0] for tokens in ids]].tolist()
            alternatives = dict(zip(options, shares, strict=True))
        sequence.constraint_ids = [*sequence.constraint_ids, best]
        candidates = [i for i in candidates if ids[i][depth] == best]
        sequence.token_ids.append(best)
        sequence.num_new_tokens += 1
        if len(candidates) > 1:
            return
        chosen = candidates[0]
        rest = ids[chosen][depth + 1 :]
        sequence.token_ids += rest
        sequence.num_new_tokens += len(rest)
        sequence.pieces.append(TokenProbability(text=options[chosen], alternatives=alternatives))
        self._send(sequence, options[chosen])

    def _append_text(self, sequence: Sequence, token: int) -> None:
        """Add a token to a text field, or end the field.

        A field ends at its stop string, at the model's end of turn or at its token limit. A stop string need not end at
        a token's end, so tokens that reach into it or beyond it are discarded, and the text that is lost with them is
        encoded again with the literal that follows. The sequence continues as if they had never been generated.
        """
        field = sequence.constraint
        assert isinstance(field, Text)
        ids = sequence.constraint_ids
        start = len(sequence.token_ids) - len(ids)
        ended = token in self._eos_ids
        if not ended:
            ids.append(token)
            ended = field.stop in self._tokenizer.decode(ids[-_STOP_WINDOW:]) or len(ids) >= field.max_tokens
        if not ended:
            sequence.token_ids.append(token)
            sequence.num_new_tokens += 1
            return
        text = self._tokenizer.decode(ids).partition(field.stop)[0].rstrip()
        num_kept = len(sequence.token_ids) - start
        while num_kept and not text.startswith(self._tokenizer.decode(ids[:num_kept])):
            num_kept -= 1
        leftover = text[len(self._tokenizer.decode(ids[:num_kept])) :]
        del sequence.token_ids[start + num_kept :]
        sequence.pieces.append(TokenProbability(text=text))
        self._send(sequence, text, leftover=leftover)

    def _append_free(self, sequence: Sequence, token: int) -> None:
        """Add a token to a reply without a grammar, or end the reply."""
        assert isinstance(sequence.constraint, FreeText)
        ids = sequence.constraint_ids
        if token not in self._eos_ids:
            ids.append(token)
            sequence.token_ids.append(token)
            sequence.num_new_tokens += 1
            sequence.truncated = len(ids) >= sequence.constraint.max_tokens
            if not sequence.truncated:
                return
        sequence.pieces.append(TokenProbability(text=self._tokenizer.decode(ids)))
        sequence.constraint = None

    def _sample(self, sequence: Sequence, logits: torch.Tensor) -> int:
        """Draw a token by temperature and nucleus (top-p) sampling."""
        probabilities = self._torch.softmax(logits.float().cpu() / sequence.sampling.temperature, dim=-1)
        if sequence.sampling.top_p < 1:
            ordered, order = probabilities.sort(descending=True)
            ordered[ordered.cumsum(-1) - ordered > sequence.sampling.top_p] = 0
            return int(order[self._torch.multinomial(ordered, 1, generator=sequence.generator)])
        return int(self._torch.multinomial(probabilities, 1, generator=sequence.generator))


def _overlap(before: str, text: str) -> int:
    """Length of the longest prefix of ``text`` that ``before`` ends with."""
    return next((size for size in range(len(text), 0, -1) if before.endswith(text[:size])), 0)
