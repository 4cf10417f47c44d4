"""The two sides of a check: where the outputs of each come from, and how they are had."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from rewardanything_core.cli._check.apps import DEFAULT_CONCURRENCY, App, load_app, run_app
from rewardanything_core.cli._check.dataset import (
    KNOWN,
    Cells,
    Names,
    case_name,
    key_of,
    prompt_of,
    read_cases,
    read_outputs,
)
from rewardanything_core.cli._check.kept import digest
from rewardanything_core.cli._check.prompts import Prompt, read_prompt
from rewardanything_core.cli._check.settings import REGISTRY, Named
from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    from rewardanything_core.backends.base import Backend

Say: TypeAlias = Callable[[str], None]
"""Tells the user something, in a line."""


@dataclass(frozen=True)
class Recorded:
    """Outputs that a file has."""

    rows: list[Cells]
    """With ``prompt`` and ``response``."""


@dataclass(frozen=True)
class Called:
    """Outputs of a Python function."""

    name: str
    """``module:function``."""

    app: App
    """The function."""


@dataclass(frozen=True)
class Prompted:
    """Outputs of the application's model under a prompt."""

    prompt: Prompt
    """The wording."""


Side: TypeAlias = Recorded | Called | Prompted


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is compared with what."""

    baseline: Side
    """What the candidates are compared with."""

    candidates: dict[str, Side]
    """Name -> where its outputs come from; one or more."""

    cases: list[Cells]
    """The data set; empty where all outputs are in files."""

    @property
    def sides(self) -> list[Side]:
        """All sides, the baseline first."""
        return [self.baseline, *self.candidates.values()]

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts that have to be run."""
        return [side.prompt for side in self.sides if isinstance(side, Prompted)]


def plan_check(settings: Mapping[str, Any], folder: Path) -> Plan:
    """Read all that a check compares, and see whether prompts and cases fit together.

    Args:
        settings: What was asked for.
        folder: Where the modules of applications are looked for first.

    Raises:
        ConfigError: something is missing or cannot be read.
        MissingExtraError: MLflow or pyarrow is needed and not installed.
    """
    names = column_names(settings)
    baseline = _baseline(settings, names)
    candidates = _candidates(settings, names, folder)
    made = [side for side in (baseline, *candidates.values()) if not isinstance(side, Recorded)]
    plan = Plan(baseline=baseline, candidates=candidates, cases=cases_for(settings) if made else [])
    check_prompts(plan.prompts, plan.cases, settings)
    return plan


def check_prompts(prompts: Sequence[Prompt], cases: Sequence[Cells], settings: Mapping[str, Any]) -> None:
    """See that prompts can be run on cases.

    Raises:
        ConfigError: there is no model to run them on, or a prompt cannot be filled in for a case.
    """
    if prompts and "app_model" not in settings:
        raise ConfigError("A prompt needs a model to be run on.", hint="Name the application's model with --app-model.")
    for prompt in prompts:
        prompt.check(cases)
        for number, row in enumerate(cases, start=1):
            prompt.fill(row, case_name(row, number))


def column_names(settings: Mapping[str, Any]) -> Names:
    """What the columns of the user's files are called."""
    return Names(**{name: settings.get(f"{name}_column") for name in ("id", "prompt", "response")})


def cases_for(settings: Mapping[str, Any]) -> list[Cells]:
    """The data set.

    Raises:
        ConfigError: none is named, or it cannot be used.
    """
    if "dataset" not in settings:
        raise ConfigError("Name the cases to run on with --dataset, or dataset in [check].")
    cases = read_cases(settings["dataset"], column_names(settings))
    for number, row in enumerate(cases, start=1):
        if not prompt_of(row):
            raise ConfigError(f"In {settings['dataset']}, {case_name(row, number)} has no prompt and no other input.")
    return cases


def made_by(settings: Mapping[str, Any], folder: Path) -> Side | None:
    """The application under test: a function, or a prompt as it is or at ``candidate_rev``. None: neither is set."""
    if "app" in settings:
        return Called(settings["app"], load_app(settings["app"], folder))
    if "prompt" in settings:
        return Prompted(read_prompt(settings["prompt"], settings.get("candidate_rev")))
    return None


def _baseline(settings: Mapping[str, Any], names: Names) -> Side:
    if "baseline" in settings:
        if not Path(settings["baseline"]).exists() and settings["baseline"] != "-":
            raise ConfigError(
                f"There is no file {settings['baseline']}.", hint="Record a baseline with: ra-judge baseline"
            )
        return Recorded(read_outputs(settings["baseline"], names, recorded=True))
    if "baseline_prompt" in settings:
        return Prompted(read_prompt(settings["baseline_prompt"]))
    if "baseline_rev" in settings:
        if "prompt" not in settings:
            raise ConfigError("--baseline-rev needs a prompt file; name it with --prompt.")
        return Prompted(read_prompt(settings["prompt"], settings["baseline_rev"]))
    raise ConfigError(
        "There is nothing to compare with.",
        hint="Give --baseline FILE, or --baseline-prompt, or --prompt with --baseline-rev; or set it in [check].",
    )


def _candidates(settings: Mapping[str, Any], names: Names, folder: Path) -> dict[str, Side]:
    if "candidate" in settings:
        files = _named(settings["candidate"])
        return {name: Recorded(read_outputs(path, names)) for name, path in files.items()}
    if "candidate_prompt" in settings:
        prompts = _named(settings["candidate_prompt"])
        return {name: Prompted(read_prompt(prompt)) for name, prompt in prompts.items()}
    if "candidate_rev" in settings and "prompt" not in settings:
        raise ConfigError("--candidate-rev needs a prompt file; name it with --prompt.")
    side = made_by(settings, folder)
    if side is None:
        raise ConfigError(
            "There is no candidate.",
            hint="Give --candidate FILE, --app, --candidate-prompt or --prompt; or set it in [check].",
        )
    return {"candidate": side}


def _named(given: Sequence[Named]) -> dict[str, str]:
    """A name for each: the one given; else ``candidate`` for a single one, and for several the files' own names."""
    found: dict[str, str] = {}
    for name, path in given:
        own = path.removeprefix(REGISTRY) if path.startswith(REGISTRY) else Path(path).stem
        chosen = name or ("candidate" if len(given) == 1 else own)
        if chosen in found:
            raise ConfigError(f"Two candidates go by the name {chosen!r}.", hint="Give names: --candidate name=path.")
        found[chosen] = path
    return found


# --- having the outputs


def preview(plan: Plan) -> tuple[list[Cells], dict[str, list[Cells]]]:
    """The rows of each side before anything is run, with empty responses where there are none yet."""

    def rows(side: Side) -> list[Cells]:
        return side.rows if isinstance(side, Recorded) else [{**_base(row), "response": ""} for row in plan.cases]

    return rows(plan.baseline), {name: rows(side) for name, side in plan.candidates.items()}


def outputs(
    plan: Plan,
    wanted: Collection[str],
    settings: Mapping[str, Any],
    *,
    backend: Backend | None,
    again: Again,
    say: Say,
) -> tuple[list[Cells], dict[str, list[Cells]]]:
    """Run what has to be run, and return the rows of each side, all with ids.

    Args:
        plan: What to run.
        wanted: Ids of the cases to keep and run; see `key_of`.
        settings: The settings of the application.
        backend: The application's model. None: no prompt has to be run.
        again: What to do with outputs of earlier runs.
        say: Told what goes on.

    Raises:
        ConfigError: the application failed; the message says on which case.
    """
    cases = _only(plan.cases, wanted)
    written = iter(_of_prompts(plan.prompts, cases, settings, backend, again, say) if plan.prompts else [])

    def rows(side: Side) -> list[Cells]:
        if isinstance(side, Recorded):
            return _only(side.rows, wanted)
        found = next(written) if isinstance(side, Prompted) else _of_app(side, cases, settings, again, say)
        return [{**_base(row), "response": text} for row, text in zip(cases, found, strict=True)]

    return rows(plan.baseline), {name: rows(side) for name, side in plan.candidates.items()}


@dataclass(frozen=True, kw_only=True)
class Again:
    """What to do with outputs of earlier runs."""

    resume: bool = False
    """Use the outputs that the app's last run made, complete or not."""

    fresh: bool = False
    """Ask models again for outputs that are kept."""


def _base(row: Mapping[str, Any]) -> Cells:
    """What a row of outputs has beside the response."""
    about = {name: row[name] for name in KNOWN[3:] if row.get(name) is not None}
    return {"id": row.get("id"), "prompt": prompt_of(row), **about}


def _only(rows: Sequence[Cells], wanted: Collection[str]) -> list[Cells]:
    named = ((key_of(row, number), row) for number, row in enumerate(rows, start=1))
    return [{**row, "id": key} for key, row in named if key in wanted]


def _of_app(side: Called, cases: Sequence[Cells], settings: Mapping[str, Any], again: Again, say: Say) -> list[str]:
    from rewardanything_core.cli._progress import steps_bar

    say(f"Running {side.name} on {len(cases)} cases.")
    with steps_bar("running") as told:
        concurrency = settings.get("app_concurrency", DEFAULT_CONCURRENCY)
        return run_app(side.name, side.app, cases, concurrency=concurrency, resume=again.resume, told=told)


def _of_prompts(
    prompts: Sequence[Prompt],
    cases: Sequence[Cells],
    settings: Mapping[str, Any],
    backend: Backend | None,
    again: Again,
    say: Say,
) -> list[list[str]]:
    from rewardanything_core.cli._check.models import DEFAULT_MAX_TOKENS, Ask, write_answers
    from rewardanything_core.cli._progress import steps_bar

    assert backend is not None
    asks = [
        Ask(case_name(row, number), prompt.fill(row, case_name(row, number)))
        for prompt in prompts
        for number, row in enumerate(cases, start=1)
    ]
    different = len({digest(ask.messages) for ask in asks})
    say(f"Running {backend.model} on {len(cases)} cases: {different} different prompts.")
    with steps_bar("writing") as told:
        made = write_answers(backend, asks, settings, fresh=again.fresh, told=told)
    if cut := sum(completion.truncated for completion in made):
        limit = settings.get("app_max_tokens", DEFAULT_MAX_TOKENS)
        say(f"{cut} of {len(made)} outputs were cut off at {limit} tokens; --app-max-tokens gives them more room.")
    answers = [completion.answer for completion in made]
    return [answers[begin : begin + len(cases)] for begin in range(0, len(answers), len(cases))]
