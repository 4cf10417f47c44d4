"""Backends by kind: those of this package, and those that other distributions register.

A distribution registers a backend with an entry point of the group ``rewardanything.backends``, whose name is the kind
and whose value is a subclass of `Backend`::

    [project.entry-points."rewardanything.backends"]
    echo = "my_package:EchoBackend"

The kind can then be used as ``backend = "echo"`` in ``ra-judge.toml``. Judges with that backend can be pickled,
join a jury and be sent to other processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from rewardanything_core.backends.base import Backend
from rewardanything_core.errors import ConfigError

GROUP = "rewardanything.backends"
"""The entry-point group."""

_BUILT_IN = {
    "local": "rewardanything_core.backends.local.backend:LocalBackend",
    "endpoint": "rewardanything_core.backends.endpoint.backend:EndpointBackend",
    "scalar": "rewardanything_core.backends.local.scalar:ScalarBackend",
    "scripted": "rewardanything_core.backends.scripted:ScriptedBackend",
}
_registered: dict[str, type[Backend]] = {}


def register_backend(kind: str, backend: type[Backend]) -> None:
    """Register a backend for this process, without an entry point.

    Args:
        kind: Its kind, as in settings and specs.
        backend: The class.

    Raises:
        ConfigError: the kind is built in or registered for another class.
    """
    if kind in _BUILT_IN or _registered.get(kind, backend) is not backend:
        raise ConfigError(f"There already is a backend of the kind {kind!r}.")
    _registered[kind] = backend


def backend_kinds() -> list[str]:
    """All kinds that settings can name, sorted."""
    return sorted({*_BUILT_IN, *_registered, *(point.name for point in entry_points(group=GROUP))})


def backend_class(kind: str) -> type[Backend]:
    """The class of a kind of backend.

    Raises:
        ConfigError: there is no such kind, or its class cannot be imported.
    """
    if kind in _BUILT_IN:
        module, _, name = _BUILT_IN[kind].partition(":")
        found: Any = getattr(import_module(module), name)
    elif kind in _registered:
        found = _registered[kind]
    else:
        points = entry_points(group=GROUP, name=kind)
        if not points:
            raise ConfigError(
                f"There is no backend of the kind {kind!r}; installed are: {', '.join(backend_kinds())}.",
                hint=f"Install the distribution that registers it in the entry-point group {GROUP!r}.",
            )
        (point, *_) = points
        try:
            found = point.load()
        except Exception as error:
            raise ConfigError(f"The backend {kind!r} ({point.value}) cannot be imported: {error}.") from error
    if not (isinstance(found, type) and issubclass(found, Backend)):
        raise ConfigError(f"The backend {kind!r} is registered as {found!r}, which is not a subclass of Backend.")
    return found


def backend_from_spec(spec: Mapping[str, Any]) -> Backend:
    """The backend that `Backend.spec` described, recreated.

    Raises:
        ConfigError: it is not the spec of a backend, or its kind is not installed.
    """
    if not isinstance(spec, Mapping) or not isinstance(spec.get("kind"), str):
        raise ConfigError(f"This is not the spec of a backend: {spec!r}.")
    try:
        return backend_class(spec["kind"]).from_spec({name: spec[name] for name in spec if name != "kind"})
    except TypeError as error:
        raise ConfigError(f"This is not the spec of a backend of the kind {spec['kind']!r}: {error}.") from error
