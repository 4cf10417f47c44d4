"""``ra-judge judge``: judge one case that is typed on the command line."""

from __future__ import annotations

import string
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rewardanything_core.cli import _options as options
from rewardanything_core.cli._stdout import output
from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    from rewardanything_core.cases import Case
    from rewardanything_core.types import Verdict


def judge(
    answers: Annotated[
        list[str], typer.Argument(metavar="ANSWER...", help="Answers to judge; - reads one from stdin.")
    ],
    prompt: Annotated[str, typer.Option(help="The prompt that the answers respond to.")],
    principle: Annotated[str | None, typer.Option(help="Principle to judge by, in plain words.")] = None,
    principle_file: options.PrincipleFile = None,
    principle_name: options.PrincipleName = None,
    reference: Annotated[str | None, typer.Option(help="A reference answer.")] = None,
    context: Annotated[str | None, typer.Option(help="Background for the judge, such as retrieved passages.")] = None,
    model: options.Model = None,
    api_base: options.ApiBase = None,
    api_key_env: options.ApiKeyEnv = None,
    backend: options.BackendName = None,
    device: options.Device = None,
    readout: options.ReadoutName = None,
    passes: options.Passes = None,
    seed: options.Seed = None,
    store: options.Store = None,
    cache: options.Cache = None,
    config: options.Config = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Judge one or more answers to a prompt under a principle, and print their scores (1..5) and the reasons.

    Answers are labelled A, B, C ... in the order given, and listed from best to worst. Under a rubric, a second table
    has the scores by criterion. If no judge is configured, the built-in small model judges.

    Exit code: 0 judged, 2 the command cannot run (for example, because the API key is wrong), 3 the judge failed, 130
    interrupted.
    """
    from rewardanything_core.cases import Case

    settings = options.judge_settings(locals())
    if answers.count("-") > 1:
        raise ConfigError("Only one answer can be read from standard input.")
    texts = [sys.stdin.read() if answer == "-" else answer for answer in answers]
    letters = string.ascii_uppercase
    labels = letters if len(texts) <= len(letters) else [str(number) for number in range(1, len(texts) + 1)]
    chosen = options.one_principle(principle, principle_file, principle_name, takes_column=False)
    assert chosen is not None
    case = Case(chosen, prompt, dict(zip(labels, texts, strict=False)), reference=reference, context=context)
    with options.load_judge_with_progress(config=config, **settings) as loaded:
        verdict = loaded.judge(case)
    if as_json:
        options.print_json(verdict.to_dict())
    else:
        _show(case, verdict)


def _show(case: Case, verdict: Verdict) -> None:
    from rewardanything_core.principles import Rubric

    rows = [
        (label, f"{verdict.scores[label]:.2f}", options.one_line(case.texts[label], 60)) for label in verdict.ranking
    ]
    options.print_table(("ANSWER", "SCORE", "TEXT"), rows)
    if isinstance(case.principle, Rubric):
        output("")
        options.print_table(*options.criteria_table(verdict, case.principle))
    if verdict.explanation:
        output(f"\n{options.printable(verdict.explanation)}")
