"""``ra-judge align``: rewrite a principle so that a judge agrees more with people's labels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rewardanything_core.cli import _options as options
from rewardanything_core.cli._progress import steps_bar
from rewardanything_core.cli._stdout import output
from rewardanything_core.cli.bench import scale_of
from rewardanything_core.cli.exit_codes import JUDGE_FAILED
from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    from rewardanything_core.agreement.intervals import Estimate
    from rewardanything_core.alignment import Alignment
    from rewardanything_core.alignment.evaluation import Progress
    from rewardanything_core.backends.base import Backend
    from rewardanything_core.principles import Principle


def align(
    labels: Annotated[
        list[str],
        typer.Argument(metavar="LABELS...", help="Files with people's scores, rankings or pairs; mlflow:EXPERIMENT."),
    ],
    principle: Annotated[str, typer.Option(metavar="FILE", help="File with the principle to rewrite.")],
    out: Annotated[str, typer.Option("-o", "--out", metavar="FILE", help="Where to write the new principle.")],
    method: Annotated[
        str, typer.Option(help="examples: corrections after the principle; rewrite: GEPA; all: both.")
    ] = "all",
    max_calls: Annotated[int, typer.Option(min=1, help="Maximum number of model calls.")] = 1_000,
    scale: Annotated[
        str | None, typer.Option(help="Lowest and highest possible human score.", metavar="LOW:HIGH")
    ] = None,
    reflection_model: Annotated[
        str | None,
        typer.Option(help="Model that rewrites; named as for --model.", show_default="the judge's own"),
    ] = None,
    reflection_api_base: Annotated[
        str | None,
        typer.Option("--reflection-api-base", "--reflection-base-url", help="URL of that model's server."),
    ] = None,
    reflection_api_key_env: Annotated[str | None, typer.Option(help="Environment variable with its API key.")] = None,
    model: options.Model = None,
    api_base: options.ApiBase = None,
    api_key_env: options.ApiKeyEnv = None,
    backend: options.BackendName = None,
    device: options.Device = None,
    passes: options.Passes = None,
    seed: options.Seed = None,
    store: options.Store = None,
    cache: options.Cache = None,
    config: options.Config = None,
    max_cost: options.MaxCost = None,
    max_total_tokens: options.MaxTotalTokens = None,
    yes: options.Yes = False,
    estimate: options.EstimateOnly = False,
    as_json: options.JsonFlag = False,
) -> None:
    """Rewrite a principle so that the judge agrees more with people's labels.

    It works with every judge, such as a model behind an API. The new principle is written only if it agrees
    significantly more on held-out prompts; the old file is kept. After an interruption, the same command continues.
    """
    from rewardanything_core.alignment import Reflector
    from rewardanything_core.alignment.labelled_items import ItemTask, backend_of
    from rewardanything_core.alignment.rewriting import SAMPLING, require_gepa
    from rewardanything_core.alignment.search import METHODS
    from rewardanything_core.alignment.search import align as search
    from rewardanything_core.backends.budget import spending as spending_from
    from rewardanything_core.bench.training_items import read_training_items
    from rewardanything_core.cases import Case
    from rewardanything_core.cli._check.output_cache import OutputCache
    from rewardanything_core.cli._spending import Spending
    from rewardanything_core.judging.resolution import check_prices

    settings = options.judge_settings(locals())
    spending = Spending(max_cost=max_cost, max_total_tokens=max_total_tokens, yes=yes, estimate=estimate)
    if method not in METHODS:
        raise ConfigError(f"--method must be one of {', '.join(METHODS)}, not {method!r}.")
    if method != "examples":
        require_gepa()
    old = _principle(principle)
    _check_output(out, principle)
    items = read_training_items(labels, principle=old.text)
    with ExitStack() as stack:
        judge = options.load_judge_with_progress(
            config=config,
            **settings,
            **spending.limits,
        )
        stack.enter_context(judge)
        spending.confirm(judge, lambda: judge.estimate(Case.of(item.case_fields()) for item in items))
        task = ItemTask(judge, items, old, scale=scale_of(scale))
        if task.left_out:
            options.echo(f"{task.left_out} items are left out; what is measured is the {task.measure}.")
        reflector = None
        if method != "examples":
            own = _reflection_backend(reflection_model, reflection_api_base, reflection_api_key_env)
            reflection = own or backend_of(judge)
            check_prices(reflection, judge.budget)
            # An interrupted command continues without paying for these replies again, as it does for verdicts.
            producer = {"reflection": reflection.fingerprint(), "sampling": SAMPLING.temperature}
            keeps = getattr(judge, "cache", "on") == "on"
            reflector = Reflector(reflection, replies=stack.enter_context(OutputCache(producer)) if keeps else None)
        progress = stack.enter_context(_progress())
        stack.enter_context(spending_from(judge.budget))  # for the model that rewrites, too
        result = search(task, reflector, method=method, max_calls=max_calls, seed=seed or 0, progress=progress)
    if result.is_better:
        _write(old, result.text, out)
    if as_json:
        options.print_json(
            {"written": out if result.is_better else None, "left_out": task.left_out, **result.to_dict()}
        )
    else:
        _show(result, principle, out)
    if not result.is_better:
        raise typer.Exit(JUDGE_FAILED)


def _principle(file: str) -> Principle:
    from rewardanything_core.principles import Principle

    if not Path(file).is_file():
        raise ConfigError(
            f"There is no file {file!r}.", hint="--principle is the file with the principle to rewrite, such as P.md."
        )
    return Principle.from_file(file)


def _check_output(out: str, principle: str) -> None:
    path = Path(out)
    if path.suffix.lower() not in (".md", ".txt"):
        raise ConfigError(f"The new principle is written as text; -o {out} must end in .md or .txt.")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"Cannot write {out}: there is no such folder.")
    if path.exists():
        what = "the principle to rewrite, which is kept" if path.samefile(principle) else "a file that exists"
        raise ConfigError(f"Cannot write {out}: it is {what}.", hint="Give another name to -o, or remove the file.")


def _write(old: Principle, text: str, out: str) -> None:
    """Write a principle so that `Principle.from_file` reads the same name and text."""
    heading = f"# {old.name}\n\n" if old.name else ""
    try:
        Path(out).write_text(f"{heading}{text}\n", encoding="utf-8")
    except OSError as error:
        output(text)  # it was paid for
        raise ConfigError(f"Cannot write {out}: {error.strerror or error}. It is printed instead.") from error


def _reflection_backend(model: str | None, api_base: str | None, api_key_env: str | None) -> Backend | None:
    """The model that rewrites, with a key. None: the judge's own."""
    from rewardanything_core.judging.judge import Judge
    from rewardanything_core.loading import from_endpoint, is_remote, resolve_judge

    if model is None:
        if api_base or api_key_env:
            raise ConfigError("--reflection-api-base and --reflection-api-key-env need --reflection-model.")
        return None
    if api_base or api_key_env:
        if not is_remote(model, api_base):
            raise ConfigError(f"--reflection-api-key-env does not apply to {model}, which runs on this machine.")
        backend = from_endpoint(model, api_base=api_base, api_key_env=api_key_env, cache="off").backend
        check_key = getattr(backend, "require_key", None)
        if check_key is not None:
            check_key()
        return backend
    judge = resolve_judge(model)
    assert isinstance(judge, Judge)
    return judge.backend


@contextmanager
def _progress() -> Iterator[Progress]:
    with steps_bar("Calls") as draw:

        def show(calls: int, max_calls: int, line: str) -> None:
            draw(calls, max_calls)
            if line:
                options.echo(line)

        yield show


def _show(result: Alignment, principle: str, out: str) -> None:
    learning, selection, held_out = result.prompts
    output(
        f"{result.cases} labelled cases: {learning} prompts to learn from, {selection} to select by, {held_out} held "
        f"out; {result.calls} model calls, {result.rewrites} rewritings.\n"
        f"Agreement on held-out prompts ({result.measure}):\n"
    )
    rows = [[f"as it is ({principle})", *_cells(result.agreement_before)]]
    if result.best is not None:
        name = {"examples": "with worked examples", "rewrite": "rewritten"}[result.best.method]
        rows += [[name, *_cells(result.agreement)], ["gain", *_cells(result.gain)]]
    options.print_table(["principle", "agreement", "95% interval"], rows)
    for number, what in (
        (result.failed, "cases could not be judged and are excluded"),
        (result.failed_with_best, "held-out cases could not be judged with the proposal, which counts as no agreement"),
        (result.rewrites_truncated, "rewritings were cut off at the limit of tokens and not used"),
    ):
        if number:
            output(f"{number} {what}.")
    if result.best is None:
        output("\nNot written: no other wording agreed more on the prompts for selection.")
        return
    output("\n" + options.printable(result.diff(principle, out)))
    if result.is_better:
        output(f"\nWritten to {out}; {principle} is unchanged.")
    else:
        output("\nNot written: this proposal is not significantly better on held-out prompts. More labels may help.")


def _cells(estimate: Estimate) -> list[str]:
    from rewardanything_core.bench.charts import interval, number

    return [number(estimate.value), interval(estimate)]
