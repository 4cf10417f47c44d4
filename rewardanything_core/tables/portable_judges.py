"""Judges that leave a process: as plain JSON on the way to another machine, and made once where they arrive."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

from rewardanything_core.config import read_settings
from rewardanything_core.errors import ConfigError
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.loading import default_judge, load_judge, settings_for


def portable_spec(
    judge: BaseJudge | Mapping[str, Any] | str | None = None, *, store: str | None = None
) -> dict[str, Any]:
    """What another machine needs to make this judge, as plain JSON: for ``judge_frames(judge=...)`` there.

    Settings are read on this machine, from variables and ``ra-judge.toml`` as `load_judge` does; no model is loaded.
    The spec contains no key: the variable that ``api_key_env`` names must be set on the other machine too.

    Args:
        judge: A judge, a spec, settings, or a model string. None: the settings of this machine.
        store: The verdict store on the other machine. It must be on a local disk, because SQLite's locks do not work on
            network file systems. None: verdicts are not stored; the frames contain them.

    Raises:
        ConfigError: a setting is wrong, or this judge cannot be made elsewhere.
    """
    storage = {"cache": "off"} if store is None else {"cache": "on", "store": store}
    if isinstance(judge, BaseJudge):
        judge = judge.spec()
    if isinstance(judge, str):
        return settings_for(judge)[0] | storage
    if judge is not None and _is_spec(judge):
        return _with_storage(judge, storage)
    settings = dict(judge or {}) | storage
    settings = read_settings(settings.pop("config", None), settings)
    for member in [*settings.get("jury", []), *settings.get("cascade", [])]:
        member.update(storage)
    return settings


def _with_storage(spec: Mapping[str, Any], storage: Mapping[str, Any]) -> dict[str, Any]:
    for members in ("jurors", "stages"):
        if members in spec:
            return {**spec, members: [_with_storage(member, storage) for member in spec[members]]}
    return {**spec, "options": {**spec["options"], **storage}}


def _is_spec(judge: Mapping[str, Any]) -> bool:
    return bool(judge.keys() & {"jurors", "stages"}) or isinstance(judge.get("backend"), Mapping)


_lock = threading.Lock()
_latest: list[tuple[str, BaseJudge]] = []


def local_judge(judge: BaseJudge | Mapping[str, Any] | str | None) -> BaseJudge:
    """The judge in this process.

    A judge made from a spec or from settings is reused until another one is needed: Spark calls a function for each
    partition and Ray for each batch, in long-lived processes.

    Args:
        judge: A judge, a spec, settings, or a model string. None: `default_judge`.

    Raises:
        ConfigError: it is none of these.
    """
    if judge is None or isinstance(judge, BaseJudge):
        return default_judge() if judge is None else judge
    if not isinstance(judge, Mapping | str):
        raise ConfigError(
            f"judge must be a judge, its spec(), a mapping of settings or a model string, not {type(judge).__name__}."
        )
    if isinstance(judge, str):
        settings, _ = settings_for(judge)
        judge = settings
    key = json.dumps(judge, sort_keys=True, default=str)
    with _lock:
        if not _latest or _latest[0][0] != key:
            _latest[:] = [(key, load_judge(judge) if _is_spec(judge) else load_judge(**judge))]
        return _latest[0][1]
