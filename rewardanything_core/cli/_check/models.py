"""Applications that are a prompt and a model: the model, asked for free text as an application would ask it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rewardanything_core.backends.base import Backend, Completion, Request
from rewardanything_core.backends.grammar import Grammar, Text
from rewardanything_core.cli._check.kept import KeptOutputs, digest
from rewardanything_core.cli._options import fetch_progress
from rewardanything_core.config import read_settings
from rewardanything_core.errors import ConfigError, RewardAnythingError
from rewardanything_core.judging.judge import Judge
from rewardanything_core.loading import PROVIDERS, from_endpoint, from_pretrained, load_judge
from rewardanything_core.sampling import SamplingParams
from rewardanything_core.types import Message
from rewardanything_core.weights.catalog import DEFAULT_MODEL

if TYPE_CHECKING:
    from rewardanything_core.judging.base import BaseJudge
    from rewardanything_core.weights.catalog import Progress

DEFAULT_MAX_TOKENS = 1024
DEFAULT_CONCURRENCY = 16
_NEVER = "\0\0"  # a text needs something to end at; a model's own end of turn comes first
_THOUGHTS = re.compile(r"\A\s*<think>.*?</think>\s*", re.DOTALL)


@dataclass(frozen=True)
class Ask:
    """One answer to be written."""

    case: str
    """What to call the case in messages."""

    messages: tuple[Message, ...]
    """What the application sends to its model."""


def runs_here(model: str, api_base: object = None, backend: str = "auto") -> bool:
    """Whether a model of this name is run on this machine, rather than asked over the network or scripted."""
    if backend != "auto":
        return backend == "local"
    remote = model.partition("/")[0] in PROVIDERS and not Path(model).exists()
    return not (api_base or remote or model.startswith("scripted:"))


def load_app_model(settings: Mapping[str, Any], progress: Progress | None = None) -> Backend:
    """The application's model, from the ``app_*`` settings alone: the judge's settings are not meant for it.

    Raises:
        ConfigError: no model is named, or the settings do not fit it.
        MissingExtraError: what it needs is not installed.
    """
    model, bases = str(settings["app_model"]), settings.get("app_api_base")
    if model.startswith("scripted:"):
        from rewardanything_core.backends.scripted import ScriptedBackend

        return ScriptedBackend.from_spec(model.removeprefix("scripted:"), name=model)
    if runs_here(model, bases):
        if settings.get("app_api_key_env") is not None:
            raise ConfigError(f"app_api_key_env means nothing to {model}, which runs on this machine.")
        device = settings.get("app_device", "auto")
        return from_pretrained(model, device=device, progress=progress, cache="off").backend
    if settings.get("app_device") is not None:
        raise ConfigError(f"app_device means nothing to {model}, which is asked over the network.")
    return from_endpoint(
        model,
        api_base=bases,
        api_key_env=settings.get("app_api_key_env"),
        max_concurrency=settings.get("app_concurrency", DEFAULT_CONCURRENCY),
        cache="off",
    ).backend


class Models:
    """The judge and the application's model of one command, loaded when needed and let go of at the end.

    Args:
        settings: The settings of the check.
        judge: Settings of the judge from the command line; None where nothing was given.
        config: The settings file. None: as `read_settings` finds it.

    Raises:
        ConfigError: a setting of the judge is wrong.
    """

    def __init__(self, settings: Mapping[str, Any], judge: Mapping[str, Any], config: str | None) -> None:
        self._settings, self._config = settings, config
        self._given = {name: value for name, value in judge.items() if value is not None}
        self._known = read_settings(config, self._given)
        self._judge: BaseJudge | None = None
        self._application: Backend | None = None

    def ready(self, *, application: bool, judge: bool = True) -> Backend | None:
        """Load what is needed first, so that mistakes in the settings show before anything is run.

        That is the judge, and the application's model if one is needed. If both are models of their own on this machine
        the judge comes once the other is gone, so that they need not fit side by side; one model is loaded once.

        Args:
            application: Whether the application's model is needed.
            judge: Whether the judge is.

        Returns:
            The application's model. None: it was not asked for.
        """
        if not application:
            if judge:
                self.judge()
            return None
        settings, known = self._settings, self._known
        model = str(known.get("model", DEFAULT_MODEL))
        judge_here = "jury" not in known and runs_here(model, known.get("api_base"), known.get("backend", "auto"))
        app_here = runs_here(str(settings.get("app_model")), settings.get("app_api_base"))
        alike = (settings.get("app_model"), settings.get("app_device")) == (model, known.get("device"))
        if judge and judge_here and app_here and alike and isinstance(both := self.judge(), Judge):
            return both.backend
        if judge and not (judge_here and app_here):
            self.judge()
        with fetch_progress() as progress:
            self._application = load_app_model(settings, progress)
        return self._application

    def judge(self) -> BaseJudge:
        """The judge, loaded now if it is not yet."""
        if self._judge is None:
            self._let_go()
            with fetch_progress() as progress:
                self._judge = load_judge(config=self._config, progress=progress, **self._given)
        return self._judge

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._let_go()
        if self._judge is not None:
            self._judge.close()

    def _let_go(self) -> None:
        if self._application is not None:
            self._application.close()
            self._application = None


def write_answers(
    backend: Backend,
    asks: Sequence[Ask],
    settings: Mapping[str, Any],
    *,
    fresh: bool = False,
    told: Callable[[int, int], None],
) -> list[Completion]:
    """The model's answer to each; to the same messages the same one, which an earlier run may have kept.

    Args:
        backend: The model.
        asks: What to ask. The order is kept.
        settings: ``app_temperature`` (0 if not given) and ``app_max_tokens``.
        fresh: Use nothing that an earlier run kept.
        told: Called with (answers there are, answers wanted).

    Returns:
        Completions of which only ``answer``, ``truncated`` and ``usage`` say anything; those kept took nothing.

    Raises:
        ConfigError: the model could not answer a case; the message says which and why.
    """
    sampling = SamplingParams(
        temperature=settings.get("app_temperature", 0.0),
        max_tokens=settings.get("app_max_tokens", DEFAULT_MAX_TOKENS),
        thinking_budget=0,
    )
    scripted = backend.model.startswith("scripted:")  # a script may have changed, which nothing would show
    maker = {"model": backend.fingerprint(), "sampling": [sampling.temperature, sampling.max_tokens]}
    with KeptOutputs(maker, fresh=fresh or scripted) as kept:
        keys = [digest(ask.messages) for ask in asks]
        made: dict[str, Completion] = {}
        left: dict[str, Ask] = {}
        for key, ask in zip(keys, asks, strict=True):
            if (line := kept.get(key)) is not None:
                made[key] = Completion(answer=line["response"], truncated=bool(line.get("truncated")))
            else:
                left.setdefault(key, ask)
        wanted = len(set(keys))
        told(len(made), wanted)
        for key, completion in _answers(backend, left, sampling):
            kept.add(key, completion.answer, truncated=completion.truncated)
            made[key] = completion
            told(len(made), wanted)
    return [made[key] for key in keys]


def _answers(backend: Backend, left: Mapping[str, Ask], sampling: SamplingParams) -> Iterator[tuple[str, Completion]]:
    from rewardanything_core.concurrency import background_loop

    futures: dict[Future[Completion], str] = {}
    for key, ask in left.items():
        request = Request(messages=ask.messages, sampling=sampling, grammar=lambda: _free_text(sampling.max_tokens))
        futures[background_loop.submit(backend.complete(request))] = key
    try:
        for future in as_completed(futures):
            ask = left[futures[future]]
            try:
                completion = future.result()
            except RewardAnythingError as error:
                raise ConfigError(
                    f"The application's model could not answer {ask.case}: {error}",
                    hint="Nothing was judged. Answers made so far are kept; the same command goes on with them.",
                ) from error
            yield futures[future], _shown(completion, sampling)
    finally:
        for future in futures:
            future.cancel()


def _free_text(max_tokens: int) -> Grammar:
    yield Text(stop=_NEVER, max_tokens=max_tokens)


def _shown(completion: Completion, sampling: SamplingParams) -> Completion:
    """The completion with what a user would be shown: the reasoning of a thinking model is not part of its answer."""
    cut = completion.truncated or completion.usage.completion_tokens >= sampling.max_tokens
    return Completion(answer=_THOUGHTS.sub("", completion.answer).strip(), truncated=cut, usage=completion.usage)
