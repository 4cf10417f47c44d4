"""Judges that a process shares: one for each model string, and the default one."""

from __future__ import annotations

import json
import os
import threading
import weakref

from rewardanything_core.errors import ConfigError, RewardAnythingError
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.judging.judge import Judge
from rewardanything_core.loading.judges import judge_from_settings, load_judge, settings_for

_resolve_lock = threading.Lock()
_resolved: weakref.WeakValueDictionary[str, Judge] = weakref.WeakValueDictionary()
"""Settings -> the judge made of them, so that scorers of one model share its connections or weights."""

_default: list[BaseJudge] = []
"""The default judge. Empty: it is not made yet."""

_default_lock = threading.Lock()
_default_error: list[RewardAnythingError] = []
"""The error of the last attempt to make it. Empty: there was none."""


def resolve_judge(judge: BaseJudge | str | None) -> BaseJudge | None:
    """The judge that an argument ``judge=`` means; all integrations call this.

    A string names a model as `load_judge` takes it: ``openai/gpt-5-mini``, ``openai:/gpt-5-mini`` as MLflow writes it,
    ``openai:gpt-5-mini`` as LangChain does, a short name, or a hub id. The other settings come from ``RA_JUDGE_*`` and
    ``ra-judge.toml``, except those of the model there, if it is a different one. The same string gives the same judge
    while that judge is in use.

    Args:
        judge: A judge, which is returned; a model string; or None for `default_judge`, which is not loaded yet.

    Raises:
        ConfigError: it is none of these, the string names no model, or a setting is wrong.
        AuthenticationError: the provider's key is missing.
        MissingExtraError: the model needs a package that is not installed.
    """
    if judge is None or isinstance(judge, BaseJudge):
        return judge
    if not isinstance(judge, str) or not judge.strip():
        raise ConfigError(
            "judge must be a Judge or Jury, such as load_judge(model=...), or a model string such as "
            f"'openai/gpt-5-mini', not {type(judge).__name__} {judge!r:.80}."
        )
    settings, is_configured = settings_for(judge.strip())
    addresses_and_keys = (
        item for item in os.environ.items() if item[0].endswith(("_API_BASE", "_BASE_URL", "_API_KEY"))
    )
    key = json.dumps([settings, hash(frozenset(addresses_and_keys))], sort_keys=True)
    with _resolve_lock:
        if (resolved := _resolved.get(key)) is None:
            resolved = judge_from_settings(settings, None, has_own_key=is_configured)
            check_key = getattr(resolved.backend, "require_key", None)
            if check_key is not None and settings.get("cache") != "read":
                check_key()
            _resolved[key] = resolved
        return resolved


def default_judge() -> BaseJudge:
    """The judge that ``judge=None`` means in every integration: one `load_judge()` for the process.

    It is made when first needed, by any thread, unless `set_default_judge` set one. Threads that wait while making it
    fails get the same error; the next call tries again.
    """
    previous = list(_default_error)
    with _default_lock:
        if _default:
            return _default[0]
        if _default_error != previous:  # another thread tried while this one waited
            raise _default_error[0]
        try:
            _default.append(load_judge())
        except RewardAnythingError as error:
            _default_error[:] = [error]
            raise
        return _default[0]


def set_default_judge(judge: BaseJudge | None) -> None:
    """Set the judge that ``judge=None`` means from now on.

    Args:
        judge: The judge. None: `load_judge()` again, when next needed.
    """
    with _default_lock:
        _default[:] = [] if judge is None else [judge]
