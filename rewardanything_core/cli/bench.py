"""``ra-judge bench``: measure a judge against human labels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rewardanything_core.cli import _options as options
from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    from rewardanything_core.bench.attack_report import AttackReport
    from rewardanything_core.bench.items import BenchItem, Flip, ScoreRange
    from rewardanything_core.bench.report import Audit, BenchReport
    from rewardanything_core.cases import Case
    from rewardanything_core.judging.base import BaseJudge
    from rewardanything_core.principles import Rubric


def bench(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE...", help="Benchmark files or folders; hf:owner/name for a hub data set."),
    ] = None,
    flips: Annotated[
        list[str] | None, typer.Option("--flips", metavar="FILE", help="Flip pairs between rows of FILE; repeatable.")
    ] = None,
    layout: Annotated[
        str, typer.Option("--format", help="Layout of FILE; auto: detected from its fields.", show_default=True)
    ] = "auto",
    principle: Annotated[str | None, typer.Option(help="Principle for rows that have none.")] = None,
    rubric: Annotated[
        str | None,
        typer.Option(
            "--rubric",
            metavar="NAME|FILE|rows",
            help="Judge rows of the same responses under different criteria once, under this rubric.",
        ),
    ] = None,
    limit_groups: Annotated[
        int | None, typer.Option("--limit-groups", min=1, help="Maximum number of groups of prompts per file.")
    ] = None,
    audit: Annotated[
        str | None,
        typer.Option("--audit", help="position, repeat, injection (comma-separated) or all; takes more calls."),
    ] = None,
    audit_groups: Annotated[
        int, typer.Option("--audit-groups", min=1, help="Number of groups of prompts to audit.")
    ] = 20,
    attacks: Annotated[
        bool,
        typer.Option("--attacks", help="Add attacks on the judge to bad answers, and measure what they gain."),
    ] = False,
    attack_trials: Annotated[
        str,
        typer.Option("--attack-trials", metavar="N|all", help="How many attacks to try, drawn with --seed."),
    ] = "40",
    labels: Annotated[
        list[str] | None, typer.Option("--labels", metavar="FILE", help="Your own labels; repeatable.")
    ] = None,
    scale: Annotated[
        str | None, typer.Option("--scale", metavar="LOW:HIGH", help="Scale of your scores.", show_default="1:5")
    ] = None,
    save_calibration: Annotated[
        str | None,
        typer.Option("--save-calibration", metavar="FILE", help="Save a mapping of scores to your labels."),
    ] = None,
    html: Annotated[str | None, typer.Option("--html", metavar="FILE", help="Also write an HTML report.")] = None,
    model: options.Model = None,
    api_base: options.ApiBase = None,
    api_key_env: options.ApiKeyEnv = None,
    backend: options.BackendName = None,
    device: options.Device = None,
    readout: options.ReadoutName = None,
    head: Annotated[str | None, typer.Option("--head", metavar="FILE", help="Reward head; see ra-judge fit.")] = None,
    passes: options.Passes = None,
    seed: options.Seed = None,
    concurrency: options.Concurrency = None,
    store: options.Store = None,
    cache: options.Cache = None,
    config: options.Config = None,
    max_cost: options.MaxCost = None,
    max_calls: options.MaxCalls = None,
    max_total_tokens: options.MaxTotalTokens = None,
    yes: options.Yes = False,
    estimate: options.EstimateOnly = False,
    batch: options.ThroughBatches = False,
    wait: options.WaitForBatches = False,
    as_json: options.JsonFlag = False,
) -> None:
    """Measure how well a judge agrees with people, and whether it follows the principle.

    FILE has responses that people compared or scored: RABench, RM-Bench, RewardBench, LLMBar or JudgeBench as
    published, or rows as described in docs/judge-the-judge.md. A flip pair is two responses that people order one way
    under one principle and the opposite way under another. Only flip pairs show whether the judge follows the
    principle.

    --rubric judges each list of responses once, under all criteria: a rubric that ships with the package, a file, or
    with "rows" the principles of the rows. Its criteria are named as in meta.criterion, or in "labels" of rows that
    have people's scores by criterion. The report then shows whether the judge lets one criterion colour others.

    --attacks needs no FILE. It adds texts that ask for a score or claim quality, in many languages, to answers that
    ship with the package. The published half is for developing defences, the tested half for measuring them.

    Rows of --labels without a label are judged too. The report then also has what people would say about all rows: the
    judge's means, corrected with the labels (see ra-judge estimate). The labelled rows must have been drawn at random.

    Verdicts are stored; if the command is interrupted, run it again to continue.

    Exit code: 0 done, 3 if more than 10% of the judgements failed or a limit such as --max-cost was reached, 2 if the
    command cannot run, 4 if batches are under way (--batch), 130 if interrupted.
    """
    from rewardanything_core.bench.audits import parse_audits
    from rewardanything_core.bench.labels import LABEL_FIELDS, check_scale, read_labels
    from rewardanything_core.bench.page import html_page
    from rewardanything_core.bench.reading import holds_flips, read_flips, read_items
    from rewardanything_core.bench.rubric_items import as_rubrics
    from rewardanything_core.cli._bench import show
    from rewardanything_core.cli._check.reports import check_writable
    from rewardanything_core.cli._spending import Spending

    settings = options.judge_settings(locals())
    spending = Spending(
        max_cost=max_cost,
        max_calls=max_calls,
        max_total_tokens=max_total_tokens,
        yes=yes,
        estimate=estimate,
        batch=batch,
        wait=wait,
    )
    human_scale = scale_of(scale)
    # A shell that expands --flips *.jsonl passes all but the first as files.
    also_flips = [file for file in files or [] if holds_flips(file)]
    sources = [file for file in files or [] if file not in also_flips]
    whole = _rubric(rubric, principle)
    fallback = principle if whole is None else whole.to_json()
    own = read_labels(labels or [], principle=fallback, unlabelled="keep")
    if own and not any(item.labelled for item in own):
        raise ConfigError(f"There are no labels in {', '.join(labels or [])}.", hint=LABEL_FIELDS)
    check_scale(own, human_scale)
    trials = _trials(attack_trials)
    if not sources and not own and not attacks:
        raise ConfigError(
            "There is nothing to judge.", hint="Give a benchmark file, your own labels with --labels, or --attacks."
        )
    if rubric is not None:
        own = as_rubrics(own, whole)
    items = own
    if sources:
        items = read_items(sources, layout=layout, principle=fallback, limit_groups=limit_groups)
        items = items if rubric is None else as_rubrics(items, whole)
    flip_pairs = read_flips([*(flips or []), *also_flips])
    audits = parse_audits(audit or "")
    if save_calibration is not None and not any(part.rated for item in own for part in item.parts):
        raise ConfigError("--save-calibration needs --labels that contain scores.")
    for option, path in (("--html", html), ("--save-calibration", save_calibration)):
        if path is not None:
            check_writable(Path(path), option, reads=[*(files or []), *(labels or []), *(flips or [])])
    try:
        judge = options.load_judge_with_progress(config=config, **settings, **spending.limits)
        with judge:
            every = [*items, *(own if items is not own else ())]
            spending.confirm(judge, lambda: judge.estimate(_valid_cases(every)))
            spending.through_batches(judge, lambda: _valid_cases(every))
            report = _run(judge, items, flip_pairs, own, audits, audit_groups, human_scale)
            if attacks:
                report = dataclasses.replace(report, attacks=_attack(judge, trials, seed or 0))
    except KeyboardInterrupt:
        options.echo("Verdicts are saved; run the same command again to continue.")
        raise
    if as_json:
        options.print_json(report.to_dict())
    else:
        show(report)
    if html is not None:
        try:
            Path(html).write_text(html_page(report), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"Cannot write {html}: {error.strerror or error}.") from error
    if save_calibration is not None and report.labels is not None and report.labels.calibration is not None:
        report.labels.calibration.save(save_calibration)
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _run(
    judge: BaseJudge,
    items: Sequence[BenchItem],
    flips: Sequence[Flip],
    own: Sequence[BenchItem],
    audits: Sequence[str],
    audit_groups: int,
    scale: ScoreRange | None,
) -> BenchReport:
    from rewardanything_core.bench.audits import run_audits
    from rewardanything_core.bench.estimates import estimate_items
    from rewardanything_core.bench.labels import compare_labels
    from rewardanything_core.bench.running import judge_items, run_bench
    from rewardanything_core.cli._progress import progress_bar
    from rewardanything_core.judging.unusable import raise_if_unusable

    with progress_bar(len(items)) as progress:
        report = run_bench(judge, items, flips, progress=progress)
    if report.judged and len(report.failures) == len(report.judged):
        raise_if_unusable(report.failures)
    audits_done: dict[str, Audit] = {}
    if own:
        judged = report.judged if items is own else judge_items(judge, own)
        report = dataclasses.replace(
            report, labels=compare_labels(judged, scale=scale), estimates=estimate_items(judged, scale=scale)
        )
    if not items:
        return report
    with progress_bar(None) as progress:
        for audit in run_audits(judge, report.judged, audits, groups=audit_groups, progress=progress):
            audits_done[audit.name] = audit
    return dataclasses.replace(report, audits=audits_done)


def _valid_cases(items: Sequence[BenchItem]) -> list[Case]:
    """The cases of items; an item that is not a valid case will fail without being judged."""
    from rewardanything_core.cases import Case
    from rewardanything_core.errors import InvalidCaseError

    cases = []
    for item in items:
        with suppress(InvalidCaseError):
            cases.append(Case.of(item.case_fields()))
    return cases


def _attack(judge: BaseJudge, trials: int | None, seed: int) -> AttackReport:
    from rewardanything_core.bench.attacks import run_attacks
    from rewardanything_core.cli._progress import progress_bar
    from rewardanything_core.judging.unusable import raise_if_unusable
    from rewardanything_core.types import JudgeFailure

    with progress_bar(None) as progress:
        report = run_attacks(judge, limit=trials, seed=seed, progress=progress)
    if report.failed == report.judged:
        outcomes = (item.outcome for one in report.trials for item in (one.attacked, one.control))
        raise_if_unusable([outcome for outcome in outcomes if isinstance(outcome, JudgeFailure)])
    return report


def _rubric(name: str | None, principle: str | None) -> Rubric | None:
    """The rubric that ``--rubric`` names; None for ``rows``."""
    from rewardanything_core.principles import Rubric

    if name is not None and principle is not None:
        raise ConfigError("Give --rubric or --principle, not both.")
    if name is None or name == "rows":
        return None
    return Rubric.from_file(name) if Path(name).is_file() else Rubric.named(name)


def _trials(text: str) -> int | None:
    """The maximum number of trials; None for ``all``."""
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 2:
        raise ConfigError(f"--attack-trials must be a number from 2, or all, not {text!r}.")
    return int(text)


def scale_of(text: str | None) -> ScoreRange | None:
    """The scale that ``--scale`` names.

    Raises:
        ConfigError: it is not two numbers in ascending order.
    """
    if text is None:
        return None
    try:
        low, high = (float(end) for end in text.split(":"))
        if not -math.inf < low < high < math.inf:
            raise ValueError
    except ValueError:
        raise ConfigError(f"--scale must be two numbers, the lower one first, such as 0:10, not {text!r}.") from None
    return low, high
