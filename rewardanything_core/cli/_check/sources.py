"""The sources of outputs: a file, an application, or a model with a prompt; for the baseline and each candidate."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from rewardanything_core.cli._check.apps import DEFAULT_CONCURRENCY, App, load_app, run_app
from rewardanything_core.cli._check.dataset import (
    KNOWN,
    Cells,
    ColumnNames,
    case_name,
    key_of,
    prompt_of,
    read_cases,
    read_outputs,
)
from rewardanything_core.cli._check.output_cache import digest
from rewardanything_core.cli._check.prompts import Prompt, read_prompt
from rewardanything_core.cli._check.settings import REGISTRY, Named
from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    from rewardanything_core.backends.base import Backend

Echo: TypeAlias = Callable[[str], None]
"""Prints a line for the user."""


@dataclass(frozen=True)
class FileSource:
    """Outputs in a file."""

    rows: list[Cells]
    """The outputs, with ``prompt`` and ``response``."""


@dataclass(frozen=True)
class AppSource:
    """Outputs of a Python function."""

    name: str
    """``module:function``."""

    app: App
    """The function."""


@dataclass(frozen=True)
class PromptSource:
    """Outputs of the application's model with a prompt."""

    prompt: Prompt
    """The prompt."""


Source: TypeAlias = FileSource | AppSource | PromptSource


@dataclass(frozen=True, kw_only=True)
class CachePolicy:
    """How outputs of earlier runs are used."""

    resume: bool = False
    """Reuse the outputs of the app's last run, whether it finished or not."""

    fresh: bool = False
    """Ignore cached outputs of models."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is compared."""

    baseline: Source
    """The source of the baseline's outputs."""

    candidates: dict[str, Source]
    """Name -> source of the candidate's outputs; one or more."""

    cases: list[Cells]
    """The data set. Empty if all outputs are in files."""

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts that have to be run, the baseline's first."""
        sources = (self.baseline, *self.candidates.values())
        return [source.prompt for source in sources if isinstance(source, PromptSource)]


def plan_check(settings: Mapping[str, Any], folder: Path) -> Plan:
    """Read everything that a check compares, and check that prompts and cases fit together.

    Args:
        settings: The settings of the check.
        folder: Where the modules of applications are searched first.

    Raises:
        ConfigError: something is missing or cannot be read.
        MissingExtraError: MLflow or pyarrow is needed and not installed.
    """
    names = column_names(settings)
    baseline = _baseline(settings, names)
    candidates = _candidates(settings, names, folder)
    to_run = [source for source in (baseline, *candidates.values()) if not isinstance(source, FileSource)]
    plan = Plan(baseline=baseline, candidates=candidates, cases=read_dataset(settings) if to_run else [])
    check_prompts(plan.prompts, plan.cases, settings)
    return plan


def check_prompts(prompts: Sequence[Prompt], cases: Sequence[Cells], settings: Mapping[str, Any]) -> None:
    """Check that the prompts can be run on the cases.

    Args:
        prompts: The prompts.
        cases: The data set.
        settings: The settings of the check.

    Raises:
        ConfigError: there is no model to run them on, or a prompt cannot be filled in for a case.
    """
    if prompts and "app_model" not in settings:
        raise ConfigError("A prompt needs a model to run on.", hint="Name the application's model with --app-model.")
    for prompt in prompts:
        prompt.check(cases)
        for number, row in enumerate(cases, start=1):
            prompt.fill(row, case_name(row, number))


def column_names(settings: Mapping[str, Any]) -> ColumnNames:
    """The names of columns in the user's files."""
    return ColumnNames(**{name: settings.get(f"{name}_column") for name in ("id", "prompt", "response")})


def read_dataset(settings: Mapping[str, Any]) -> list[Cells]:
    """Read the data set.

    Raises:
        ConfigError: no data set is named, or it cannot be used.
    """
    if "dataset" not in settings:
        raise ConfigError("Name the cases to run on with --dataset, or dataset in [check].")
    cases = read_cases(settings["dataset"], column_names(settings))
    for number, row in enumerate(cases, start=1):
        if not prompt_of(row):
            raise ConfigError(f"In {settings['dataset']}, {case_name(row, number)} has no prompt and no other input.")
    return cases


def application_source(settings: Mapping[str, Any], folder: Path) -> AppSource | PromptSource | None:
    """The application under test: a function, or a prompt, at ``candidate_rev`` if that is set.

    Args:
        settings: The settings of the check.
        folder: Where the modules of applications are searched first.

    Returns:
        None: neither is set.
    """
    if "app" in settings:
        return AppSource(settings["app"], load_app(settings["app"], folder))
    if "prompt" in settings:
        return PromptSource(read_prompt(settings["prompt"], settings.get("candidate_rev")))
    return None


def _baseline(settings: Mapping[str, Any], names: ColumnNames) -> Source:
    if "baseline" in settings:
        if not Path(settings["baseline"]).exists() and settings["baseline"] != "-":
            raise ConfigError(
                f"There is no file {settings['baseline']}.", hint="Record a baseline with: ra-judge baseline"
            )
        return FileSource(read_outputs(settings["baseline"], names, recorded=True))
    if "baseline_prompt" in settings:
        return PromptSource(read_prompt(settings["baseline_prompt"]))
    if "baseline_rev" in settings:
        if "prompt" not in settings:
            raise ConfigError("--baseline-rev needs a prompt file; name it with --prompt.")
        return PromptSource(read_prompt(settings["prompt"], settings["baseline_rev"]))
    raise ConfigError(
        "There is nothing to compare with.",
        hint="Give --baseline FILE, or --baseline-prompt, or --prompt with --baseline-rev; or set it in [check].",
    )


def _candidates(settings: Mapping[str, Any], names: ColumnNames, folder: Path) -> dict[str, Source]:
    if "candidate" in settings:
        files = with_names(settings["candidate"])
        return {name: FileSource(read_outputs(path, names)) for name, path in files.items()}
    if "candidate_prompt" in settings:
        prompts = with_names(settings["candidate_prompt"])
        return {name: PromptSource(read_prompt(prompt)) for name, prompt in prompts.items()}
    if "candidate_rev" in settings and "prompt" not in settings:
        raise ConfigError("--candidate-rev needs a prompt file; name it with --prompt.")
    source = application_source(settings, folder)
    if source is None:
        raise ConfigError(
            "There is no candidate.",
            hint="Give --candidate FILE, --app, --candidate-prompt or --prompt; or set it in [check].",
        )
    return {"candidate": source}


def with_names(given: Sequence[Named]) -> dict[str, str]:
    """Name -> path: the given name, or else ``candidate`` for a single path and the file's name for several.

    Raises:
        ConfigError: two have one name.
    """
    paths: dict[str, str] = {}
    for name, path in given:
        own = path.removeprefix(REGISTRY) if path.startswith(REGISTRY) else Path(path).stem
        chosen = name or ("candidate" if len(given) == 1 else own)
        if chosen in paths:
            raise ConfigError(f"Two files have the name {chosen!r}.", hint="Give other names, as name=path.")
        paths[chosen] = path
    return paths


# --- producing the outputs


def preview(plan: Plan) -> tuple[list[Cells], dict[str, list[Cells]]]:
    """The rows of the baseline and of each candidate before anything is run; outputs yet to be made are empty."""

    def rows(source: Source) -> list[Cells]:
        if isinstance(source, FileSource):
            return source.rows
        return [{**_judge_fields(row), "response": ""} for row in plan.cases]

    return rows(plan.baseline), {name: rows(source) for name, source in plan.candidates.items()}


def produce_outputs(
    plan: Plan,
    keys: Collection[str],
    settings: Mapping[str, Any],
    *,
    backend: Backend | None,
    cache_policy: CachePolicy,
    echo: Echo,
) -> tuple[list[Cells], dict[str, list[Cells]]]:
    """Run what has to be run, and return the rows of the baseline and of each candidate, all with ids.

    Args:
        plan: What to run.
        keys: The keys of the cases to run and return; see `key_of`.
        settings: The settings of the application.
        backend: The application's model. None: no prompt has to be run.
        cache_policy: How outputs of earlier runs are used.
        echo: Prints progress for the user.

    Raises:
        ConfigError: the application failed; the message names the case.
    """
    cases = _select(plan.cases, keys)
    prompted = iter(_run_prompts(plan.prompts, cases, settings, backend, cache_policy, echo) if plan.prompts else ())

    def rows(source: Source) -> list[Cells]:
        if isinstance(source, FileSource):
            return _select(source.rows, keys)
        if isinstance(source, PromptSource):
            texts = next(prompted)
        else:
            texts = _run_function(source, cases, settings, cache_policy, echo)
        return [{**_judge_fields(row), "response": text} for row, text in zip(cases, texts, strict=True)]

    return rows(plan.baseline), {name: rows(source) for name, source in plan.candidates.items()}


def _judge_fields(row: Mapping[str, Any]) -> Cells:
    """The fields of a case that a row of outputs has, besides the response."""
    optional = {name: row[name] for name in KNOWN[3:] if row.get(name) is not None}
    return {"id": row.get("id"), "prompt": prompt_of(row), **optional}


def _select(rows: Sequence[Cells], keys: Collection[str]) -> list[Cells]:
    keyed = ((key_of(row, number), row) for number, row in enumerate(rows, start=1))
    return [{**row, "id": key} for key, row in keyed if key in keys]


def _run_function(
    source: AppSource, cases: Sequence[Cells], settings: Mapping[str, Any], cache_policy: CachePolicy, echo: Echo
) -> list[Any]:
    from rewardanything_core.cli._progress import steps_bar

    echo(f"Running {source.name} on {len(cases)} cases.")
    with steps_bar("running") as progress:
        concurrency = settings.get("app_concurrency", DEFAULT_CONCURRENCY)
        return run_app(
            source.name,
            source.app,
            cases,
            concurrency=concurrency,
            resume=cache_policy.resume,
            progress=progress,
        )


def _run_prompts(
    prompts: Sequence[Prompt],
    cases: Sequence[Cells],
    settings: Mapping[str, Any],
    backend: Backend | None,
    cache_policy: CachePolicy,
    echo: Echo,
) -> Iterator[list[str]]:
    """The answers to all cases for each prompt; all prompts run together."""
    from rewardanything_core.cli._check.models import DEFAULT_MAX_TOKENS, AnswerRequest, write_answers
    from rewardanything_core.cli._progress import steps_bar

    assert backend is not None
    requests = [
        AnswerRequest(case_name(row, number), prompt.fill(row, case_name(row, number)))
        for prompt in prompts
        for number, row in enumerate(cases, start=1)
    ]
    different = len({digest(request.messages) for request in requests})
    echo(f"Running {backend.model} on {len(cases)} cases: {different} different prompts.")
    with steps_bar("writing") as progress:
        completions = write_answers(backend, requests, settings, fresh=cache_policy.fresh, progress=progress)
    if truncated := sum(completion.truncated for completion in completions):
        limit = settings.get("app_max_tokens", DEFAULT_MAX_TOKENS)
        echo(
            f"{truncated} of {len(completions)} outputs were cut off at {limit} tokens; --app-max-tokens raises the "
            f"limit."
        )
    answers = [completion.answer for completion in completions]
    return (answers[begin : begin + len(cases)] for begin in range(0, len(answers), len(cases)))
