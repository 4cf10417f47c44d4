"""The outcome of a case: a verdict, a failure or an abstention, with what the stages of a cascade returned."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rewardanything_core.explanations import missed_criteria, named, removed_sentences, unmask, with_headings
from rewardanything_core.types.replies import Reasons, Reply
from rewardanything_core.types.usage import Usage

MIN_SCORE, MAX_SCORE = 1.0, 5.0
"""The range of scores."""

ABSTAINED = "Abstained:"
"""How the `JudgeFailure.summary` of an `Abstention` begins."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A complete judgement of one case. There is no partial verdict."""

    scores: dict[str, float]
    """label -> 1.0..5.0, one per response: the mean over passes, and for a jury the weighted mean over jurors."""

    ranking: list[str]
    """Every label once, best first."""

    replies: list[list[Reply]] = field(default_factory=list)
    """The model's replies: for each pass, one per list judged (one, unless `sublists` is set). Empty for a jury, whose
    `jurors` hold their own, and where `criteria` were judged separately. Otherwise a rubric's replies have the
    reasoning that belongs to no criterion."""

    spread: dict[str, float] = field(default_factory=dict)
    """label -> standard deviation of its score over passes, or for a jury over jurors with their weights (population
    form); 0.0 after a single pass. ``logits``, ``head`` and ``decisions`` add the uncertainty within each pass. Under a
    rubric, the weighted mean of the criteria's, which is the largest value that the standard deviation of the weighted
    mean can have."""

    agreement: float | None = None
    """Kendall's W of the rankings of passes, or of jurors, 0..1. None: there was one ranking, or one response. Rankings
    by a rubric's scores can have ties, for which it is corrected."""

    usage: Usage = field(default_factory=Usage)
    """What this verdict took when it was made, failed attempts included."""

    cached: bool = False
    """Whether it was read from the store; for a jury, whether all jurors' verdicts were."""

    record_id: str | None = None
    """Its record in the store (``ra-judge log --show ID``). None: it was not stored; see also `record_ids`."""

    case_id: str | None = None
    """The case's own id. None: it had none."""

    model: str = ""
    """The judge model's name."""

    template_hash: str = ""
    """Hash of the judging prompt's wording and wire format. Empty for a jury, whose jurors have their own."""

    seed: int = 0
    """Seed from which the orders were drawn. 0 for a jury, whose jurors have their own."""

    orders: list[list[str]] = field(default_factory=list)
    """For each pass, the labels in the order in which the model saw them; for a jury, juror by juror."""

    pass_scores: list[dict[str, float]] = field(default_factory=list)
    """For each pass, label -> score; ``scores`` is their mean unless this is a jury's verdict. For a long list they are
    on the merged scale, which can exceed 1..5 slightly."""

    sublists: list[list[list[str]]] | None = None
    """For each pass over a long list, the labels of each sub-list as the model saw them; ``orders`` concatenates them.
    None: each pass judged one list, or this is a jury's verdict."""

    criteria: dict[str, Verdict] = field(default_factory=dict)
    """Under a rubric, criterion -> the verdict on it, without usage and record of its own. `scores` is their weighted
    mean, or 1.0 for the responses in `missed`. Empty: the principle was not a rubric."""

    criteria_orders: list[list[list[str]]] = field(default_factory=list)
    """For each pass under a rubric, for each of its replies, the criteria in the order in which the model saw them.
    Several replies to one list: the rubric was too large for one. Empty where criteria were judged separately."""

    missed: dict[str, list[str]] = field(default_factory=dict)
    """label -> the required criteria of the rubric that it misses. Responses that miss none are missing."""

    turns: dict[str, list[int]] = field(default_factory=dict)
    """label -> the numbers of the turns, from 1, that the reasoning cites, for responses that are conversations.
    Responses of which it cites none are missing."""

    shortened: dict[str, int] = field(default_factory=dict)
    """label -> characters of tools' results that were left out before judging (`JudgeOptions.shorten`). Responses that
    were judged whole are missing."""

    shortened_prompt: int = 0
    """Characters of tools' results in the prompt that were left out before judging."""

    reasons: Reasons | None = None
    """Reasons that were written after the scores were given (`JudgeOptions.explain`); they did not affect them. None:
    they were not asked for."""

    removed: dict[str, list[str]] = field(default_factory=dict)
    """label -> sentences that were removed from the response before it was judged, since they speak to the evaluator or
    vouch for the response; the score is that of the rest. Responses from which nothing was removed are missing."""

    jurors: list[Verdict | JudgeFailure] | None = None
    """Each juror's outcome, in the order of the jury's jurors. None: this is one judge's verdict."""

    stages: list[StageResult] | None = None
    """What each stage of a cascade returned that was asked, in order. The last one decided, and this verdict has its
    scores and replies, with the usage of all. None: this is not a cascade's verdict."""

    @property
    def reasoning(self) -> str:
        """The reasoning of all replies as one text, with headings where there are several passes, lists or jurors.

        It is for display. `replies` and `jurors` hold the same text by pass, sub-list and juror.
        """
        return self._joined(lambda reply: reply.reasoning, lambda verdict: verdict.reasoning)

    @property
    def raw_output(self) -> str:
        """All replies as received, as one text; otherwise like `reasoning`."""
        return self._joined(lambda reply: reply.raw_output, lambda verdict: verdict.raw_output)

    def _joined(self, of_reply: Callable[[Reply], str], of_juror: Callable[[Verdict], str]) -> str:
        if self.jurors is not None:
            texts = [
                of_juror(juror) if isinstance(juror, Verdict) else f"No verdict: {juror.summary}"
                for juror in self.jurors
            ]
            models = [f": {juror.model}" for juror in self.jurors]
            return with_headings("juror", texts, models)
        passes = [
            with_headings("list", texts) if self.sublists else "\n\n".join(texts)
            for texts in ([of_reply(reply) for reply in replies] for replies in self.replies)
        ]
        texts = [passes[0] if len(passes) == 1 else with_headings("pass", passes)]
        return "\n\n".join(filter(None, [*texts, *self._by_criterion(of_juror)]))

    def _by_criterion(self, text_of: Callable[[Verdict], str]) -> list[str]:
        texts = {name: text_of(verdict) for name, verdict in self.criteria.items()}
        return [f"[{name}]\n{text}" for name, text in texts.items() if text]

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
        """The reasoning for a reader, with the caller's labels in place of masked names (``model-1``).

        A single response is "the response". Where the judge refers to responses by position ("the first response"), a
        line in front of its reasoning states the order in which it saw them. Required criteria that are missed and
        sentences that were removed before judging come first, and before them which stage of a cascade decided.
        """
        if self.stages is not None:
            alone = dataclasses.replace(self, stages=None)
            return "\n\n".join(filter(None, [stages_summary(self.stages), alone.explanation]))
        missed = [
            missed_criteria(label, {name: self.criteria[name].scores[label] for name in names}, len(self.scores))
            for label, names in self.missed.items()
        ]
        if self.jurors is not None:
            return "\n\n".join(filter(None, [*missed, *map(_juror_explanation, self.jurors)]))
        orders = self.sublists or [[order] for order in self.orders]
        texts = [removed_sentences(label, sentences, len(self.scores)) for label, sentences in self.removed.items()]
        texts += [
            f"Judged without {omitted:,} characters of tools' results in {named(label, len(self.scores))}."
            for label, omitted in self.shortened.items()
        ]
        for number, replies in enumerate(self.replies):
            pass_orders = orders[number] if number < len(orders) else []
            for place, reply in enumerate(replies):
                seen = pass_orders[place] if place < len(pass_orders) else None
                texts.append(reply.reasoning.strip() if seen is None else unmask(reply.reasoning, seen))
        texts += self._by_criterion(lambda verdict: verdict.explanation)
        if self.reasons is not None:
            texts.append(self.reasons.explanation)
        return "\n\n".join(filter(None, [*missed, *texts]))

    @property
    def provenance(self) -> dict[str, Any]:
        """Its origin, for a host's metadata: model, template, seed, agreement and record, and those of each juror."""
        origin: dict[str, Any] = {
            "model": self.model,
            "template_hash": self.template_hash,
            "seed": self.seed,
            "agreement": self.agreement,
            "record_id": self.record_id,
        }
        if self.jurors is not None:
            origin["jurors"] = [
                juror.provenance
                if isinstance(juror, Verdict)
                else {"error_type": juror.error_type, "record_id": juror.record_id}
                for juror in self.jurors
            ]
        if self.stages is not None:
            origin["stages"] = [stage.provenance for stage in self.stages]
        return origin

    @property
    def record_ids(self) -> list[str]:
        """Its record in the store, or the records of its jurors or of the stages asked, which are stored separately."""
        if self.stages is not None:
            return [one for stage in self.stages for one in stage.record_ids]
        if self.record_id is not None:
            return [self.record_id]
        ids: list[str] = []
        for juror in self.jurors or ():
            ids += juror.record_ids if isinstance(juror, Verdict) else filter(None, [juror.record_id])
        return ids

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain JSON types, with the derived properties under their names."""
        derived = {
            name: getattr(self, name) for name in ("reasoning", "raw_output", "normalized", "best", "explanation")
        }
        nested = {
            "jurors": None if self.jurors is None else [juror.to_dict() for juror in self.jurors],
            "stages": None if self.stages is None else [stage.to_dict() for stage in self.stages],
            "criteria": {name: verdict.to_dict() for name, verdict in self.criteria.items()},
        }
        return {**dataclasses.asdict(self), **nested, **derived}


@dataclass(frozen=True, kw_only=True)
class JudgeFailure:
    """A case without a verdict. It has no score, and nothing turns it into one."""

    case_id: str | None
    """The case's own id. None: it had none."""

    error_type: str
    """Name of the error class, such as ``VerdictParseError``."""

    message: str
    """What failed and what to do about it."""

    raw_output: str | None = None
    """The last reply as received. None: there was none."""

    attempts: int = 0
    """Requests made for the pass that failed."""

    usage: Usage = field(default_factory=Usage)
    """What the failed attempts took."""

    record_id: str | None = None
    """Its record in the store. None: it was not stored."""

    model: str = ""
    """The judge model's name. Empty: the case was refused before a model was involved."""

    stages: list[StageResult] | None = None
    """What each stage of a cascade returned that was asked, in order; none decided. None: this is not a cascade's."""

    def to_dict(self) -> dict[str, Any]:
        """The failure as plain JSON types."""
        stages = None if self.stages is None else [stage.to_dict() for stage in self.stages]
        return {**dataclasses.asdict(self), "stages": stages}

    @property
    def summary(self) -> str:
        """Why there is no verdict, as one text: ``VerdictParseError: ...``."""
        return f"{self.error_type}: {self.message}"


@dataclass(frozen=True, kw_only=True)
class Abstention(JudgeFailure):
    """A case that a cascade leaves to a person: no stage was sure enough. It has no score, and nothing went wrong."""

    @property
    def summary(self) -> str:
        """Why a person is to decide, as one text: ``Abstained: ...``."""
        return f"{ABSTAINED} {self.message}"


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What one stage of a cascade returned."""

    stage: int
    """The number of the stage, from 1. Stages that may decide nothing are not asked."""

    outcome: Verdict | JudgeFailure
    """Its verdict or failure."""

    confidence: float | None
    """The confidence of its verdict, 0..1. None: it failed."""

    threshold: float | None
    """The confidence that it needed to decide. None: it is the last stage and decides whatever its confidence."""

    decided: bool
    """Whether the case ended here."""

    @property
    def record_ids(self) -> list[str]:
        """Its records in the store."""
        if isinstance(self.outcome, Verdict):
            return self.outcome.record_ids
        return [self.outcome.record_id] if self.outcome.record_id else []

    @property
    def provenance(self) -> dict[str, Any]:
        """What it contributed, for a host's metadata."""
        return {
            "stage": self.stage,
            "model": self.outcome.model,
            "confidence": self.confidence,
            "threshold": self.threshold,
            "decided": self.decided,
            **({"error_type": self.outcome.error_type} if isinstance(self.outcome, JudgeFailure) else {}),
            "record_id": self.outcome.record_id,
        }

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON types."""
        return {**dataclasses.asdict(self), "outcome": self.outcome.to_dict()}


def stages_summary(stages: list[StageResult]) -> str:
    """One line for a reader: which stage decided, and why the ones before it did not."""
    parts = []
    for stage in stages:
        name = f"stage {stage.stage} ({stage.outcome.model})"
        if isinstance(stage.outcome, JudgeFailure):
            parts.append(f"{name} failed with {stage.outcome.error_type}")
        elif stage.decided and stage.threshold is None:
            parts.append(f"{name} decided as the last stage")
        else:
            did = "decided" if stage.decided else "escalated"
            parts.append(f"{name} {did} with confidence {stage.confidence:.3g}, threshold {stage.threshold:.3g}")
    return f"Cascade: {'; '.join(parts)}."


def _juror_explanation(juror: Verdict | JudgeFailure) -> str:
    if isinstance(juror, JudgeFailure):
        return f"[a juror without a verdict]\n{juror.summary}"
    return f"[{juror.model}]\n{juror.explanation}" if juror.explanation else ""
