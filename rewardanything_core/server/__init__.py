"""A judge behind HTTP: ``ra-judge serve``, or `app.create_app` under a server of your own. The extra is ``serve``."""

from __future__ import annotations

from rewardanything_core.errors import MissingExtraError


def require() -> None:
    """Check that what serving needs is installed.

    Raises:
        MissingExtraError: it is not.
    """
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Serving a judge", extra="serve") from error
