"""Applications that are a prompt and a model: the model, called for free text as an application would call it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rewardanything_core.backends.base import Backend, Completion, Request
from rewardanything_core.backends.texts import write_texts
from rewardanything_core.cli._check.output_cache import OutputCache, digest
from rewardanything_core.cli._options import fetch_progress
from rewardanything_core.config import read_settings
from rewardanything_core.errors import ConfigError, RewardAnythingError
from rewardanything_core.judging.judge import Judge
from rewardanything_core.loading import from_endpoint, from_pretrained, is_remote, load_judge
from rewardanything_core.sampling import SamplingParams
from rewardanything_core.types import Message
from rewardanything_core.weights.catalog import DEFAULT_MODEL

if TYPE_CHECKING:
    from rewardanything_core.judging.base import BaseJudge
    from rewardanything_core.weights.catalog import Progress

DEFAULT_MAX_TOKENS = 1024
DEFAULT_CONCURRENCY = 16


@dataclass(frozen=True)
class AnswerRequest:
    """A request of the application to its model."""

    case: str
    """The name of the case, for messages."""

    messages: tuple[Message, ...]
    """What the application sends to its model."""


def is_local(model: str, api_base: object = None, backend: str = "auto") -> bool:
    """Whether a model runs on this machine, rather than behind an endpoint or as a script.

    Args:
        model: The model's name.
        api_base: The address of its server, if one is given.
        backend: ``auto``, ``local`` or ``endpoint``.
    """
    if backend != "auto":
        return backend == "local"
    return not (is_remote(model, api_base) or model.startswith("scripted:"))


def load_app_model(settings: Mapping[str, Any], progress: Progress | None = None) -> Backend:
    """Load the application's model, from the ``app_*`` settings only: the judge's settings do not apply to it.

    Args:
        settings: The settings of the check.
        progress: Called while weights are downloaded.

    Raises:
        ConfigError: the settings do not fit the model.
        MissingExtraError: a package that it needs is not installed.
    """
    model, bases = str(settings["app_model"]), settings.get("app_api_base")
    if model.startswith("scripted:"):
        from rewardanything_core.backends.scripted import ScriptedBackend

        return ScriptedBackend.from_settings(model, {"name": model})
    if is_local(model, bases):
        if settings.get("app_api_key_env") is not None:
            raise ConfigError(f"app_api_key_env does not apply to {model}, which runs on this machine.")
        device = settings.get("app_device", "auto")
        return from_pretrained(model, device=device, progress=progress, cache="off").backend
    if settings.get("app_device") is not None:
        raise ConfigError(f"app_device does not apply to {model}, which runs behind an endpoint.")
    return from_endpoint(
        model,
        api_base=bases,
        api_key_env=settings.get("app_api_key_env"),
        max_concurrency=settings.get("app_concurrency", DEFAULT_CONCURRENCY),
        cache="off",
    ).backend


class CommandModels:
    """The judge and the application's model of one command, loaded when needed and closed at the end.

    Args:
        settings: The settings of the check.
        judge: The judge's settings from the command line; None for an option that was not given.
        config: The settings file. None: the one that `read_settings` finds.

    Raises:
        ConfigError: a setting of the judge is wrong.
    """

    def __init__(self, settings: Mapping[str, Any], judge: Mapping[str, Any], config: str | None) -> None:
        self._settings, self._config = settings, config
        self._given = {name: value for name, value in judge.items() if value is not None}
        self._judge_settings = read_settings(config, self._given)
        self._judge: BaseJudge | None = None
        self._application: Backend | None = None

    def load(self, *, application: bool, judge: bool = True) -> Backend | None:
        """Load the models, so that mistakes in the settings are reported before anything runs.

        If both are different models on this machine, the judge is loaded later, after the application's model is
        closed, so that memory need not hold both. If both are the same model, it is loaded once.

        Args:
            application: Whether the application's model is needed.
            judge: Whether the judge is needed.

        Returns:
            The application's model. None: it is not needed.
        """
        if not application:
            if judge:
                self.judge()
            return None
        settings, own = self._settings, self._judge_settings
        model = str(own.get("model", DEFAULT_MODEL))
        is_single = not own.keys() & {"jury", "cascade"}
        judge_is_local = is_single and is_local(model, own.get("api_base"), own.get("backend", "auto"))
        app_is_local = is_local(str(settings.get("app_model")), settings.get("app_api_base"))
        same = (settings.get("app_model"), settings.get("app_device")) == (model, own.get("device"))
        if judge and judge_is_local and app_is_local and same and isinstance(shared := self.judge(), Judge):
            return shared.backend
        if judge and not (judge_is_local and app_is_local):
            self.judge()
        with fetch_progress() as progress:
            self._application = load_app_model(settings, progress)
        return self._application

    def judge(self) -> BaseJudge:
        """The judge, loaded on the first call."""
        if self._judge is None:
            self._close_application()
            with fetch_progress() as progress:
                self._judge = load_judge(config=self._config, progress=progress, **self._given)
        return self._judge

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_application()
        if self._judge is not None:
            self._judge.close()

    def _close_application(self) -> None:
        if self._application is not None:
            self._application.close()
            self._application = None


def write_answers(
    backend: Backend,
    requests: Sequence[AnswerRequest],
    settings: Mapping[str, Any],
    *,
    fresh: bool = False,
    progress: Callable[[int, int], None],
) -> list[Completion]:
    """Have the model answer the requests. Requests with the same messages share one answer, which may be cached.

    Args:
        backend: The model.
        requests: The requests.
        settings: ``app_temperature`` (default 0) and ``app_max_tokens``.
        fresh: Ignore cached answers.
        progress: Called with (answers available, answers needed).

    Returns:
        Completions in the order of the requests, with ``answer``, ``truncated`` and ``usage``; cached ones used
        nothing.

    Raises:
        ConfigError: the model could not answer a request; the message names the case.
    """
    sampling = SamplingParams(
        temperature=settings.get("app_temperature", 0.0),
        max_tokens=settings.get("app_max_tokens", DEFAULT_MAX_TOKENS),
        thinking_budget=0,
    )
    scripted = backend.model.startswith("scripted:")  # its fingerprint does not change when the script changes
    producer = {"model": backend.fingerprint(), "sampling": [sampling.temperature, sampling.max_tokens]}
    with OutputCache(producer, fresh=fresh or scripted) as cache:
        keys = [digest(request.messages) for request in requests]
        completions: dict[str, Completion] = {}
        remaining: dict[str, AnswerRequest] = {}
        for key, request in zip(keys, requests, strict=True):
            if (entry := cache.get(key)) is not None:
                completions[key] = Completion(answer=entry["response"], truncated=bool(entry.get("truncated")))
            else:
                remaining.setdefault(key, request)
        needed = len(set(keys))
        progress(len(completions), needed)
        wanted = {key: Request(messages=each.messages, sampling=sampling) for key, each in remaining.items()}
        for key, completion in write_texts(backend, wanted):
            if isinstance(completion, RewardAnythingError):
                raise ConfigError(
                    f"The application's model could not answer {remaining[key].case}: {completion}",
                    hint="Nothing was judged. Answers so far are saved; run the same command again to continue.",
                ) from completion
            cache.add(key, completion.answer, truncated=completion.truncated)
            completions[key] = completion
            progress(len(completions), needed)
    return [completions[key] for key in keys]
