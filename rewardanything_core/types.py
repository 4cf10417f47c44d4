"""The values that travel between the floors: messages, sampling parameters, usage, verdicts and failures."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any, TypedDict

MIN_SCORE, MAX_SCORE = 1.0, 5.0


class Message(TypedDict):
    """One chat turn."""

    role: str
    content: str


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What judging took. Adds up with ``+``."""

    calls: int = 0
    """Completions asked of the model, retries included."""

    prompt_tokens: int = 0
    """Tokens read by the model."""

    completion_tokens: int = 0
    """Tokens written by the model, reasoning included."""

    seconds: float = 0.0
    """Wall time of the calls, added up; concurrent calls overlap, so this can exceed the clock."""

    cost: float | None = None
    """US dollars, or None where no price is known."""

    def __add__(self, other: Usage) -> Usage:
        known = [c for c in (self.cost, other.cost) if c is not None]
        return Usage(
            calls=self.calls + other.calls,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            seconds=self.seconds + other.seconds,
            cost=sum(known) if known else None,
        )


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A complete judgement of one case. There is no partial verdict."""

    scores: dict[str, float]
    """label -> 1.0..5.0, one for each response; the mean over passes, and of a jury the weighted mean over jurors."""

    ranking: list[str]
    """Every label once, best first."""

    reasoning: str
    """What the model wrote before its scores, pass by pass and juror by juror; empty if it wrote nothing."""

    raw_output: str
    """The model's replies as received, likewise."""

    spread: dict[str, float] = field(default_factory=dict)
    """label -> standard deviation of its score over the passes, or of a jury over the jurors, weighted as they are
    (population form); 0.0 after a single pass."""

    agreement: float | None = None
    """Kendall's W of the passes' rankings, or of the jurors', 0..1. None when there was one, or one response."""

    usage: Usage = field(default_factory=Usage)
    """What this verdict took when it was made, failed attempts included."""

    cached: bool = False
    """True if it was read from the store instead of being judged now; of a jury, if all of it was."""

    record_id: str | None = None
    """Where the store keeps it (``ra-judge log --show ID``). None if it was not stored; see also `record_ids`."""

    case_id: str | None = None
    """The case's own id. None if it had none."""

    model: str = ""
    """The judge model's name."""

    template_hash: str = ""
    """Hash of the judging prompt's wording and wire format. Empty for a jury: each juror has its own."""

    seed: int = 0
    """Seed from which the orders were drawn. 0 for a jury: each juror has its own."""

    orders: list[list[str]] = field(default_factory=list)
    """For each pass, the labels in the order in which the model saw them; of a jury, juror after juror."""

    pass_scores: list[dict[str, float]] = field(default_factory=list)
    """For each pass, label -> score; ``scores`` is their mean, if there is no jury. Of a long list they are on the
    common scale, which may lie a little beyond 1..5."""

    sublists: list[list[list[str]]] | None = None
    """For each pass over a long list, the labels of each sub-list as the model saw them; ``orders`` has them one after
    the other. None: each pass was one list, or it is the verdict of a jury."""

    jurors: list[Verdict | JudgeFailure] | None = None
    """What each juror of a jury said, in their order. None: it is the verdict of one judge."""

    @property
    def normalized(self) -> dict[str, float]:
        """Scores as (score - 1) / 4 by label, within 0..1."""
        return {label: (score - MIN_SCORE) / (MAX_SCORE - MIN_SCORE) for label, score in self.scores.items()}

    @property
    def best(self) -> str:
        """The label ranked first."""
        return self.ranking[0]

    @property
    def explanation(self) -> str:
        """`reasoning` for a reader, with your labels for the names that the judge saw (``model-1``).

        A single response is "the response". Where the judge counts ("the first response"), a line before its words says
        in which order it saw them.
        """
        if self.jurors is not None:
            return "\n\n".join(filter(None, map(_explained, self.jurors)))
        told = []
        for number, text in _headed("pass", self.reasoning):
            orders = (self.sublists or [[order] for order in self.orders])[number - 1 : number]
            for place, words in _headed("list", text) if self.sublists else [(1, text)]:
                seen = orders[0][place - 1 : place] if orders else []
                told.append(_named(words, seen[0]) if seen else words)
        return "\n\n".join(told)

    @property
    def provenance(self) -> dict[str, Any]:
        """Where it comes from, for a host's metadata: model, wording, seed, agreement and record, and each juror's."""
        about = {
            "model": self.model,
            "template_hash": self.template_hash,
            "seed": self.seed,
            "agreement": self.agreement,
            "record_id": self.record_id,
        }
        if self.jurors is not None:
            about["jurors"] = [
                juror.provenance
                if isinstance(juror, Verdict)
                else {"error_type": juror.error_type, "record_id": juror.record_id}
                for juror in self.jurors
            ]
        return about

    @property
    def record_ids(self) -> list[str]:
        """Where stores keep it: its own record, or those of its jurors, who are stored each for itself."""
        if self.record_id is not None:
            return [self.record_id]
        found: list[str] = []
        for juror in self.jurors or ():
            found += juror.record_ids if isinstance(juror, Verdict) else filter(None, [juror.record_id])
        return found

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain JSON types, with ``normalized``, ``best`` and ``explanation``."""
        derived = {"normalized": self.normalized, "best": self.best, "explanation": self.explanation}
        jurors = None if self.jurors is None else [juror.to_dict() for juror in self.jurors]
        return {**dataclasses.asdict(self), "jurors": jurors, **derived}


@dataclass(frozen=True, kw_only=True)
class JudgeFailure:
    """A judgement that could not be made. It has no score, and nothing turns it into one."""

    case_id: str | None
    """The case's own id. None if it had none."""

    error_type: str
    """Name of the error class, such as ``VerdictParseError``."""

    message: str
    """What went wrong and what to do about it."""

    raw_output: str | None = None
    """The last reply as received. None if there was none."""

    attempts: int = 0
    """Completions that were tried for the pass that failed."""

    usage: Usage = field(default_factory=Usage)
    """What the failed attempts took."""

    record_id: str | None = None
    """Where the store logs it. None if it was not stored."""

    def to_dict(self) -> dict[str, Any]:
        """The failure as plain JSON types."""
        return dataclasses.asdict(self)


def _headed(kind: str, text: str) -> list[tuple[int, str]]:
    """The parts of a text under headings such as ``[pass 2 of 3]``, with their numbers; without any it is part 1."""
    parts = re.split(rf"(?m)^\[{kind} (\d+) of \d+\]$", text)
    return [(1, text)] if len(parts) == 1 else list(zip(map(int, parts[1::2]), parts[2::2], strict=True))


def _named(text: str, order: list[str]) -> str:
    text = text.strip()
    if len(order) == 1:
        return _of_one(text)
    labels = {str(place): label for place, label in enumerate(order, start=1)}
    # Responses given as a list have numbers for labels, which say little in a sentence.
    names = {place: f"response {label}" if label.isdigit() else label for place, label in labels.items()}
    named = _MASKED.sub(lambda match: names.get(match["place"], match[0]), text)
    seen = f"(The judge saw them in this order: {', '.join(order)}.)\n" if _COUNTED.search(text) else ""
    return seen + named


def _of_one(text: str) -> str:
    """A text about a single response, which needs no name."""

    def called(match: re.Match[str]) -> str:
        begins = re.search(r"(?:\A|[.!?:]\s+|\n\s*)\Z", text[: match.start()])
        return "The response" if begins else "the response"

    text = re.sub(r"(?i)\bmodel-1 (?=\d)", "", text)  # "the probability is model-1 0.80"
    return _ONE.sub(called, text)


_MASKED = re.compile(r"(?i)\b(?:response )?model-(?P<place>\d+)\b")
_ONE = re.compile(
    r"(?i)(?:\bthe )?(?:\bresponse )?(?P<quote>[\"'`*]*)\bmodel-1\b(?P=quote)"
    r"(?:'s (?:response|answer|reply|output)\b| response\b)?"
)
_COUNTED = re.compile(
    r"(?i)\bthe (?:first|second|third|fourth|fifth|last|former|latter)(?: two| three)?"
    r"(?: (?:and|or|one|ones|responses?|answers?|is|are|has|have|does|provides|gives)\b| [\"'(])"
    r"|\b(?:response|answer) #?[1-9]\b"
)


def _explained(juror: Verdict | JudgeFailure) -> str:
    if isinstance(juror, JudgeFailure):
        return f"[a juror without a verdict]\n{juror.error_type}: {juror.message}"
    return f"[{juror.model}]\n{juror.explanation}" if juror.explanation else ""
