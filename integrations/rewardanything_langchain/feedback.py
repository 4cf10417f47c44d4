"""People's feedback on LangSmith runs as labelled items, to fit a head or to align a principle to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rewardanything_core import Case, ConfigError, InvalidCaseError, Principle
from rewardanything_core.bench import BenchItem
from rewardanything_core.bench.training_items import report_left_out
from rewardanything_langchain.texts import Selector, prompt_of, response_of, select

HUMAN_SOURCES = ("app", "api")
"""Types of feedback sources that are people: annotations in LangSmith, and your application's users. Evaluators of
LangSmith have others, such as ``model``."""


def labels_from_langsmith(
    runs: Iterable[Any],
    feedback: Iterable[Any] | None = None,
    *,
    principle: Principle | str,
    key: str | None = None,
    sources: Iterable[str] = HUMAN_SOURCES,
    scale: tuple[float, float] | None = None,
    prompt: Selector = None,
    response: Selector = None,
) -> list[BenchItem]:
    """Labelled items from LangSmith runs with feedback, one for each run that has a score.

    >>> runs = list(client.list_runs(project_name="support", is_root=True))
    >>> feedback = client.list_feedback(run_ids=[run.id for run in runs])
    >>> items = labels_from_langsmith(runs, feedback, key="helpful", principle="Helps the customer.")

    Several scores of a run are averaged. Runs without a score are skipped; those that cannot be judged are left out
    with a warning.

    Args:
        runs: Runs of `langsmith.Client.list_runs`, or the same as dicts with ``id``, ``inputs`` and ``outputs``.
        feedback: Feedback of `langsmith.Client.list_feedback`, or dicts with ``run_id``, ``key`` and ``score``. None:
            each run is a dict that has its own under ``feedback``.
        principle: What people judged by.
        key: The feedback's key. None: the only one.
        sources: Types of the feedback's source that count. Feedback in dicts without a source counts.
        scale: Lowest and highest possible score. None: 0..1 if all scores lie within it, otherwise it is inferred.
        prompt: The key of ``inputs`` with the prompt, or a function of them. None: the only one, or all of them.
        response: The same for ``outputs``.

    Raises:
        ConfigError: there is no feedback that counts, it has several keys and none is given, or no run can be judged.
    """
    text = Principle.of(principle).text
    runs = list(runs)
    if feedback is None:
        feedback = [
            {"run_id": _field(run, "id"), **_as_mapping(one)} for run in runs for one in _field(run, "feedback") or ()
        ]
    scores = _scores(feedback, key, frozenset(sources), len(runs))
    values = [score for given in scores.values() for score, _ in given]
    if scale is None and values and min(values) >= 0 and max(values) <= 1:
        scale = (0.0, 1.0)
    items: list[BenchItem] = []
    problems: list[str] = []
    for run in runs:
        run_id = str(_field(run, "id"))
        if run_id not in scores:
            continue
        try:
            inputs = select(_field(run, "inputs"), prompt, "inputs")
            outputs = select(_field(run, "outputs"), response, "outputs")
            asked = prompt_of(inputs)
            case = Case(text, asked, {"response": response_of(outputs, prompt=asked)})
        except InvalidCaseError as error:
            problems.append(f"{run_id}: {error}")
            continue
        given = scores[run_id]
        items.append(
            BenchItem.of_case(
                case,
                id=run_id,
                source="langsmith",
                human={"response": sum(score for score, _ in given) / len(given)},
                rated=True,
                scale=scale,
                comment=" ".join(comment for _, comment in given if comment) or None,
            )
        )
    report_left_out(problems, items, total=len(scores), of="runs with feedback")
    return items


def _scores(
    feedback: Iterable[Any], key: str | None, sources: frozenset[str], num_runs: int
) -> dict[str, list[tuple[float, str | None]]]:
    """Run id -> the scores with their comments."""
    counted = [one for one in map(_as_mapping, feedback) if _counts(one, sources)]
    keys = Counter(str(one.get("key")) for one in counted)
    wanted = key if key is not None else next(iter(keys), "")
    if wanted not in keys or (key is None and len(keys) > 1):
        found = ", ".join(f"{name} ({count})" for name, count in keys.most_common()) or "none"
        problem = "feedback with several keys" if keys and key is None else "no feedback" + (f" {key!r}" if key else "")
        raise ConfigError(
            f"There is {problem} by people on these {num_runs} runs; their feedback with a score is: {found}.",
            hint=f"Feedback counts if its source is one of {', '.join(sorted(sources))} and it has a score. Give key=.",
        )
    scores: dict[str, list[tuple[float, str | None]]] = {}
    for one in counted:
        if str(one.get("key")) == wanted:
            scores.setdefault(str(one.get("run_id")), []).append((float(one["score"]), one.get("comment")))
    return scores


def _counts(feedback: Mapping[str, Any], sources: frozenset[str]) -> bool:
    source = feedback.get("feedback_source")
    kind = None if source is None else _field(source, "type")
    return isinstance(feedback.get("score"), bool | int | float) and (kind is None or kind in sources)


def _as_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else vars(value)


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
