"""An HTTP server for a judge: ``ra-judge serve``, or `app.create_app` under any ASGI server.

Needs the extra ``serve``.
"""

from __future__ import annotations

from rewardanything_core.errors import MissingExtraError


def require(feature: str = "Serving a judge") -> None:
    """Check that the packages of the extra ``serve`` are installed.

    Args:
        feature: What needs them, for the message.

    Raises:
        MissingExtraError: one of them is missing.
    """
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(feature, extra="serve") from error
