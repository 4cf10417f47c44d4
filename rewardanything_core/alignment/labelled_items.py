"""Aligning a principle to labelled items, as `ra-judge bench` and `ra-judge fit` read them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rewardanything_core.agreement.pairs import pair_credits
from rewardanything_core.alignment.evaluation import Progress
from rewardanything_core.alignment.result import Alignment
from rewardanything_core.alignment.rewriting import Reflector
from rewardanything_core.alignment.search import DEFAULT_MAX_CALLS, Method, align
from rewardanything_core.alignment.task import MIN_PROMPTS, AlignmentTask, Evaluation
from rewardanything_core.backends.base import Backend
from rewardanything_core.bench.items import BenchItem, ScoreRange, on_our_scale
from rewardanything_core.bench.labels import default_scale
from rewardanything_core.bench.measures import JudgedItem
from rewardanything_core.bench.running import judge_items
from rewardanything_core.bench.training_items import grouped_by_prompt
from rewardanything_core.errors import ConfigError
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.judging.judge import Judge
from rewardanything_core.principles import Principle
from rewardanything_core.types import MAX_SCORE, MIN_SCORE, JudgeFailure

Measure = Literal["pairs", "sides", "scores"]

MEASURES: dict[Measure, str] = {
    "pairs": "share of pairs ordered as people do",
    "sides": "share of responses scored on the same side of the middle as people do",
    "scores": "closeness to people's scores (1 is equal, 0 the other end of the scale)",
}
"""How agreement is measured; see `measure_of`."""

MAX_EXAMPLE = 3_000
"""The longest item that becomes a worked example, in characters."""

_MIDDLE = (MIN_SCORE + MAX_SCORE) / 2


def align_principle(
    judge: BaseJudge,
    items: Sequence[BenchItem],
    principle: Principle | str,
    *,
    reflection: Backend | None = None,
    reflector: Reflector | None = None,
    method: Method = "all",
    max_calls: int = DEFAULT_MAX_CALLS,
    scale: ScoreRange | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Alignment:
    """Rewrite a principle so that a judge agrees more with people, and test it on held-out prompts.

    Args:
        judge: Any judge or jury; its hidden states are not needed.
        items: Labelled items, judged under ``principle``; see `read_training_items`.
        principle: The principle to rewrite.
        reflection: The model that rewrites. None: the judge's own.
        reflector: The same, with a cache of its replies.
        method: ``examples``, ``rewrite``, or ``all`` for both.
        max_calls: Maximum number of model calls.
        scale: Lowest and highest possible human score, for items without a scale. None: 1..5 if all scores lie within
            it, otherwise the lowest and highest score present.
        seed: Seed of the division and of the search.
        progress: Called after each step.

    Raises:
        ConfigError: the labels do not suffice, belong to another principle, or all say the same; or the judge is a jury
            and there is no reflection model. Nothing was judged.
        MissingExtraError: GEPA is not installed.
        RewardAnythingError: the judge or the reflection model cannot be used.
    """
    task = ItemTask(judge, items, principle, scale=scale)
    if reflector is None and method != "examples":
        reflector = Reflector(reflection or backend_of(judge))
    return align(task, reflector, method=method, max_calls=max_calls, seed=seed, progress=progress)


def backend_of(judge: BaseJudge) -> Backend:
    """The judge's own model, as the model that rewrites.

    Raises:
        ConfigError: the judge has several models, or none that writes free text.
    """
    if isinstance(judge, Judge):
        return judge.backend
    raise ConfigError(
        f"A {type(judge).__name__} has no single model that could rewrite the principle.",
        hint="Give a reflection model (--reflection-model), or only use worked examples (--method examples).",
    )


class ItemTask(AlignmentTask):
    """Labelled items, and a judge.

    Args:
        judge: The judge.
        items: The items.
        principle: The principle to rewrite.
        scale: Lowest and highest possible human score, for items without a scale. None: it is inferred.

    Raises:
        ConfigError: the labels do not suffice, belong to another principle, or all say the same.
    """

    def __init__(
        self,
        judge: BaseJudge,
        items: Sequence[BenchItem],
        principle: Principle | str,
        *,
        scale: ScoreRange | None = None,
    ) -> None:
        principle = Principle.of(principle)
        if type(principle) is not Principle:
            raise ConfigError(f"A {type(principle).__name__} cannot be rewritten; align the text of one principle.")
        self.text = principle.text
        for item in items:
            if item.principle.strip() != self.text.strip():
                raise ConfigError(
                    f"Item {item.id!r} has a principle of its own: {item.principle!r:.100}",
                    hint="Labels must belong to the principle that is aligned. Leave out rows of other principles, and "
                    "remove the field 'principle' from rows that people judged under this one.",
                )
        kind, usable, self._human = _labels(items, scale)
        self.kind: Measure = kind
        """How agreement is measured."""
        self.left_out = len(items) - len(usable)
        """Number of items without labels of that kind."""
        self.items = grouped_by_prompt(usable)
        self.groups = [item.group for item in self.items]
        self.measure = MEASURES[kind]
        self.calls_per_case = sum(getattr(juror, "passes", 1) for juror in getattr(judge, "jurors", (judge,)))
        self._judge = judge

    @property
    def calls(self) -> int:
        """Number of calls of the judge's model so far."""
        return self._judge.usage.calls

    def num_cached(self, text: str) -> int:
        """Number of items whose verdict is in the store."""
        from rewardanything_core.cases import Case

        cases = [Case(**item.case_fields()) for item in self._with_principle(text, range(len(self.items)))]
        return sum(verdict is not None for verdict in self._judge.cached_verdicts(cases))

    def evaluate(self, text: str, cases: Sequence[int]) -> list[Evaluation]:
        """Judge items under another principle; verdicts go through the judge's store.

        Args:
            text: The text of the principle.
            cases: Numbers of items.
        """
        return [
            self._evaluation(one)
            for one in judge_items(
                self._judge, self._with_principle(text, cases), progress=lambda _counts: self.on_judged()
            )
        ]

    def worked_example(self, case: int) -> str | None:
        """The item's texts and labels, unless they are longer than `MAX_EXAMPLE`."""
        item = self.items[case]
        # Files often name the better response first or last, and the judge must not learn that.
        order = sorted(
            item.responses, key=lambda label: hashlib.sha256(f"{item.id} {label}".encode(errors="replace")).digest()
        )
        names = {label: f"Response {place}" for place, label in enumerate(order, start=1)}
        lines = [f"Prompt: {_text(item.prompt)}"]
        lines += [f"{title}: {text}" for title, text in self._extras(item).items()]
        lines += [f"{names[label]}: {item.texts[label]}" for label in order]
        lines.append(f"People's judgement: {self._judgement(item, names)}")
        example = "\n".join(lines)
        return example if len(example) <= MAX_EXAMPLE else None

    def _with_principle(self, text: str, cases: Sequence[int]) -> list[BenchItem]:
        return [dataclasses.replace(self.items[case], principle=text) for case in cases]

    def _evaluation(self, one: JudgedItem) -> Evaluation:
        item, verdict = one.item, one.verdict
        names = {label: label for label in item.responses}
        record = {"Prompt": _text(item.prompt), **self._extras(item)}
        record |= {f"Response {label}": text for label, text in item.texts.items()}
        if verdict is None:
            assert isinstance(one.outcome, JudgeFailure)
            record["The judge's reply"] = f"No verdict: {one.outcome.message}"
            agreement, calls = None, 1
        else:
            agreements = self._agreements(item, verdict.scores)
            agreement, calls = sum(agreements) / len(agreements), max(1, verdict.usage.calls)
            record["The judge's scores, 1 to 5"] = _scores(verdict.scores, names)
            record["The judge's reasoning"] = verdict.explanation or "(none)"
        record["People's judgement"] = self._judgement(item, names)
        if agreement is not None:
            record["Agreement"] = "The judge agrees with people." if agreement >= 1 else f"Only {agreement:.2f} of 1."
        failure = one.outcome if isinstance(one.outcome, JudgeFailure) else None
        return Evaluation(agreement=agreement, record=record, calls=calls, failure=failure)

    def _agreements(self, item: BenchItem, scores: Mapping[str, float]) -> list[float]:
        if self.kind == "pairs":
            return pair_credits(scores, item.pairs)
        human = self._human[item.id]
        if self.kind == "sides":
            return [
                0.5 if scores[label] == _MIDDLE else float((scores[label] > _MIDDLE) == (score > _MIDDLE))
                for label, score in human.items()
            ]
        return [1 - abs(scores[label] - score) / (MAX_SCORE - MIN_SCORE) for label, score in human.items()]

    def _judgement(self, item: BenchItem, names: Mapping[str, str]) -> str:
        if self.kind == "sides":
            text = "; ".join(
                f"{names[label]} is {'good' if score > _MIDDLE else 'bad'}"
                for label, score in self._human[item.id].items()
            )
        elif item.rated and item.id in self._human:
            text = _scores(self._human[item.id], names) + " (1 is the worst score and 5 the best)"
        else:
            text = "; ".join(f"{names[better]} is better than {names[worse]}" for better, worse in item.pairs)
        return f"{text}. {item.comment}" if item.comment else f"{text}."

    def _extras(self, item: BenchItem) -> dict[str, str]:
        fields = {"Reference answer": item.reference, "Context": item.context}
        return {title: text for title, text in fields.items() if text is not None}


def _labels(
    items: Sequence[BenchItem], scale: ScoreRange | None
) -> tuple[Measure, list[BenchItem], dict[str, dict[str, float]]]:
    """How to measure agreement, the items that have such labels, and people's scores by item within 1..5.

    The order of pairs is measured if `MIN_PROMPTS` prompts have pairs, since it needs no common scale. Otherwise the
    scores are: the side of the middle if all of them are the ends of their scale, such as thumbs up and down.
    """
    scored = [item for item in items if item.rated and item.human]
    open_scale = [score for item in scored if item.scale is None for score in (item.human or {}).values()]
    default = scale or default_scale(open_scale)
    human = {
        item.id: {
            label: on_our_scale(score, item.scale or default, item.id) for label, score in (item.human or {}).items()
        }
        for item in scored
    }
    paired = [item for item in items if item.pairs]
    prompts = {name: len({str(item.prompt) for item in of}) for name, of in (("pairs", paired), ("scores", scored))}
    if prompts["pairs"] >= MIN_PROMPTS:
        return "pairs", paired, human
    if max(prompts.values()) < MIN_PROMPTS:
        raise ConfigError(
            f"Aligning a principle needs labels for {MIN_PROMPTS} prompts or more; these have pairs of responses for "
            f"{prompts['pairs']} and scores for {prompts['scores']}.",
            hint="Half of the prompts are held out, and so few cannot distinguish a better principle from chance.",
        )
    distinct = {score for scores in human.values() for score in scores.values()}
    if len(distinct) == 1:
        raise ConfigError(
            "People gave all responses the same score, so these labels cannot show which principle is better.",
            hint="Add labels of responses that people found better or worse.",
        )
    return "sides" if distinct == {MIN_SCORE, MAX_SCORE} else "scores", scored, human


def _scores(scores: Mapping[str, float], names: Mapping[str, str]) -> str:
    return ", ".join(f"{names[label]}: {score:.3g}" for label, score in scores.items())


def _text(prompt: str | list[dict[str, Any]]) -> str:
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{turn.get('role')}: {turn.get('content')}" for turn in prompt)
