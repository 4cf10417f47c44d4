"""``ra-judge demo``: the same answers judged under two opposite principles."""

from __future__ import annotations

import textwrap
import time
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
    fetch_progress,
    print_json,
    printable,
)

if TYPE_CHECKING:
    from rewardanything_core import Case, JudgeFailure, Verdict

PRINCIPLES_AND_ANSWERS = (
    (
        "Will it rain tomorrow?",
        (
            "Prefer the answer that expresses confidence.",
            "Prefer the answer that expresses uncertainty and hedges.",
        ),
        {
            "sure": "Yes, it will definitely rain tomorrow.",
            "likely": "Rain is likely tomorrow.",
            "unsure": "It might rain tomorrow, but I am not sure; forecasts can be wrong.",
        },
    ),
    (
        "What is gravity?",
        (
            "Prefer the answer that a child of six can understand.",
            "Prefer the answer for an expert, with technical terms.",
        ),
        {
            "playground": "Gravity is what pulls things down, like when you drop a ball and it falls.",
            "school": "Gravity is a force by which all things with mass attract each other.",
            "seminar": "Gravity is the curvature of spacetime described by the Einstein field equations, with "
            "geodesics as free-fall trajectories.",
        },
    ),
)


def demo(
    passes: Annotated[int, typer.Option("--passes", min=1, help="Orders in which each case is judged.")] = 2,
    model: Model = None,
    api_base: ApiBase = None,
    api_key_env: ApiKeyEnv = None,
    backend: BackendName = None,
    device: Device = None,
    store: Store = None,
    config: Config = None,
    as_json: JsonFlag = False,
) -> None:
    """Judge three answers to two questions under two opposite principles, and say why.

    Without options it runs the small embedded model on this machine, which is fetched once. It stores what it judges:
    run it again and the verdicts come from the log.
    """
    from rewardanything_core import Case, JudgeFailure, VerdictStore, load_judge
    from rewardanything_core.config import read_settings

    given = {
        "model": model,
        "api_base": api_base,
        "api_key_env": api_key_env,
        "backend": backend,
        "device": device,
        "store": store,
        "passes": passes,
    }
    settings = read_settings(config, given)
    small = settings.get("model") is None or settings["model"] in _small_models()
    if "jury" not in settings and small and settings.get("readout") != "logits":
        # Whole scores of a small model are mostly ties; what its probabilities say about them is finer.
        settings = {"expected_scores": True, "thinking_budget": 100, **settings}
    with fetch_progress() as progress:
        judge = load_judge(config=config, progress=progress, **settings)
    cases = [
        Case(principle, prompt, answers, id=f"demo/{number}{letter}")
        for number, (prompt, principles, answers) in enumerate(PRINCIPLES_AND_ANSWERS, start=1)
        for letter, principle in zip("ab", principles, strict=True)
    ]
    _say(f"Judging {len(cases)} cases in {passes} orders each with {judge.model} ...")
    started = time.perf_counter()
    outcomes = judge.judge_batch(cases)
    seconds = time.perf_counter() - started
    if as_json:
        print_json(
            [
                {"case": case.id, "principle": case.principle.text, **o.to_dict()}
                for case, o in zip(cases, outcomes, strict=True)
            ]
        )
    else:
        verdicts = [outcome for outcome in outcomes if not isinstance(outcome, JudgeFailure)]
        failures = {f"{o.error_type}: {o.message}" for o in outcomes if isinstance(o, JudgeFailure)}
        if not verdicts and len(failures) == 1:  # a judge that cannot be reached need not be shown case by case
            _paragraph("None of the cases could be judged", *failures)
        else:
            for case, outcome in zip(cases, outcomes, strict=True):
                _show(case, outcome)
        cached = sum(verdict.cached for verdict in verdicts)
        failed = "" if len(verdicts) == len(cases) else f" and {len(cases) - len(verdicts)} failures"
        usage = judge.usage
        typer.echo(
            f"{len(verdicts)} verdicts{failed} in {seconds:.0f} s ({cached} from the log): {usage.calls} calls, "
            f"{usage.prompt_tokens:,} tokens read, {usage.completion_tokens:,} written."
        )
        if verdicts:
            kept = VerdictStore(settings.get("store"))
            typer.echo(f"Every verdict is in {kept.path}\nBrowse them: ra-judge log")
        if judge.model in _small_models():
            typer.echo(
                "This small model shows how things work. For verdicts to rely on, use RewardAnything-8B:\n"
                "  ra-judge demo --model hosted_vllm/WisdomShell/RewardAnything-8B-v1 --api-base http://localhost:8000/v1"
            )
    judge.close()
    if any(isinstance(outcome, JudgeFailure) for outcome in outcomes):
        from rewardanything_core.cli import JUDGE_FAILED

        raise typer.Exit(JUDGE_FAILED)


def _show(case: Case, outcome: Verdict | JudgeFailure) -> None:
    from rewardanything_core import JudgeFailure

    _rule()
    _paragraph("Principle", case.principle.text)
    _paragraph("Prompt", str(case.prompt))
    if isinstance(outcome, JudgeFailure):
        _paragraph("Failed", f"{outcome.error_type}: {outcome.message}")
        return
    for label in outcome.ranking:
        score = outcome.scores[label]
        bar = "#" * round(score * 4)
        text = textwrap.shorten(printable(case.responses[label]), 52, placeholder=" ...")
        typer.echo(f"  {label:<10} {score:4.2f}  {bar:<20}  {text}")
    agreement = "" if outcome.agreement is None else f"   agreement of the orders: {outcome.agreement:.2f}"
    typer.echo(f"  ranking: {' > '.join(outcome.ranking)}{agreement}")
    _paragraph("Why", outcome.explanation or "(the model gave no reasons)")


def _paragraph(title: str, text: str) -> None:
    lines = [wrapped for line in printable(text).splitlines() if line.strip() for wrapped in textwrap.wrap(line, 88)]
    typer.secho(f"{title}:", bold=True)
    typer.echo(textwrap.indent("\n".join(lines), "  "))


def _rule() -> None:
    typer.echo("-" * 90)


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _small_models() -> frozenset[str]:
    from rewardanything_core.weights.catalog import KNOWN_MODELS

    return frozenset(KNOWN_MODELS)
