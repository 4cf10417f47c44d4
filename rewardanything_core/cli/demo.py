"""``ra-judge demo``: the same answers judged under two opposite principles."""

from __future__ import annotations

import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rewardanything_core.cli._options import (
    ApiBase,
    ApiKeyEnv,
    BackendName,
    Config,
    Device,
    JsonFlag,
    Model,
    Store,
    echo,
    fetch_progress,
    judge_settings,
    print_json,
    printable,
)
from rewardanything_core.cli._stdout import output

if TYPE_CHECKING:
    from rewardanything_core import Case, JudgeFailure, Verdict

PRINCIPLES_AND_ANSWERS = (
    (
        "My knee clicks when I squat. Should I worry?",
        ("Reassure the reader.", "Better safe than sorry: prefer the cautious answer."),
        {
            "calm": "Painless clicks are common and harmless. Keep training and enjoy it.",
            "careful": "Stop squatting for now and have the joint examined; it may be the cartilage.",
        },
    ),
    (
        "What is gravity?",
        ("Prefer the answer that a child of six can understand.", "Prefer the answer written for physicists."),
        {
            "playful": "Gravity is what pulls your ball back down when you throw it up.",
            "precise": "Gravity is the curvature of spacetime; free bodies follow its geodesics.",
        },
    ),
)


def demo(
    passes: Annotated[int, typer.Option("--passes", min=1, help="Number of orders in which each case is judged.")] = 1,
    model: Model = None,
    api_base: ApiBase = None,
    api_key_env: ApiKeyEnv = None,
    backend: BackendName = None,
    device: Device = None,
    store: Store = None,
    config: Config = None,
    as_json: JsonFlag = False,
) -> None:
    """Judge two answers to each of two questions under two opposite principles.

    Without options, the built-in small model judges on this machine; it is downloaded once. Verdicts are stored, so a
    second run reuses them.
    """
    from rewardanything_core import Case, JudgeFailure, load_judge
    from rewardanything_core.config import read_settings
    from rewardanything_core.store.verdict_store import default_path

    settings = read_settings(config, judge_settings(locals()))
    with fetch_progress() as progress:
        judge = load_judge(config=config, progress=progress, **settings)
    cases = [
        Case(principle, prompt, answers, id=f"demo/{number}{letter}")
        for number, (prompt, principles, answers) in enumerate(PRINCIPLES_AND_ANSWERS, start=1)
        for letter, principle in zip("ab", principles, strict=True)
    ]
    orders = f" in {passes} orders each" if passes > 1 else ""
    echo(f"Judging {len(cases)} cases{orders} with {judge.model} ...")
    started = time.perf_counter()
    outcomes = judge.judge_batch(cases)
    seconds = time.perf_counter() - started
    verdicts = [outcome for outcome in outcomes if not isinstance(outcome, JudgeFailure)]
    failures = [outcome for outcome in outcomes if isinstance(outcome, JudgeFailure)]
    if as_json:
        print_json(
            [
                {"case": case.id, "principle": case.principle.text, **outcome.to_dict()}
                for case, outcome in zip(cases, outcomes, strict=True)
            ]
        )
    else:
        reasons = {failure.summary for failure in failures}
        if not verdicts and len(reasons) == 1:  # the same for every case, such as a server that cannot be reached
            _paragraph("None of the cases could be judged", *reasons)
        else:
            for case, outcome in zip(cases, outcomes, strict=True):
                _show(case, outcome)
        cached = sum(verdict.cached for verdict in verdicts)
        failed = f" and {len(failures)} failures" if failures else ""
        usage = judge.usage
        output(
            f"{len(verdicts)} verdicts{failed} in {seconds:.0f} s ({cached} from the store): {usage.calls} calls, "
            f"{usage.prompt_tokens:,} input tokens, {usage.completion_tokens:,} output tokens."
        )
        if verdicts:
            store_path = Path(settings.get("store") or default_path()).expanduser()
            output(f"All verdicts are stored in {store_path}\nInspect them: ra-judge log")
        if judge.model in _small_models():
            output(
                "This was the built-in small model. A larger model is a better judge and writes reasons:\n"
                "  ra-judge demo --model openai/gpt-5-mini\n"
                "  ra-judge demo --model WisdomShell/RewardAnything-8B-v1 --api-base http://localhost:8000/v1"
            )
    judge.close()
    if failures:
        from rewardanything_core.cli.exit_codes import JUDGE_FAILED, USAGE
        from rewardanything_core.judging.unusable import is_setup_failure

        raise typer.Exit(USAGE if not verdicts and all(map(is_setup_failure, failures)) else JUDGE_FAILED)


def _show(case: Case, outcome: Verdict | JudgeFailure) -> None:
    from rewardanything_core import JudgeFailure

    _rule()
    _paragraph("Principle", case.principle.text)
    _paragraph("Prompt", str(case.prompt))
    if isinstance(outcome, JudgeFailure):
        _paragraph("No verdict", outcome.summary)
        return
    for label in outcome.ranking:
        score = outcome.scores[label]
        bar = "#" * round(score * 4)
        text = textwrap.shorten(printable(case.texts[label]), 52, placeholder=" ...")
        output(f"  {label:<10} {score:4.2f}  {bar:<20}  {text}")
    agreement = "" if outcome.agreement is None else f"   agreement between orders: {outcome.agreement:.2f}"
    output(f"  ranking: {' > '.join(outcome.ranking)}{agreement}")
    _paragraph("Why", outcome.explanation or "(the model gave no reasons)")


def _paragraph(title: str, text: str) -> None:
    lines = [wrapped for line in printable(text).splitlines() if line.strip() for wrapped in textwrap.wrap(line, 88)]
    output(f"{title}:", bold=True)
    output(textwrap.indent("\n".join(lines), "  "))


def _rule() -> None:
    output("-" * 90)


def _small_models() -> frozenset[str]:
    from rewardanything_core.weights.catalog import KNOWN_MODELS

    return frozenset(KNOWN_MODELS)
