"""``ra-judge serve``: serve a judge over HTTP."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Annotated

import typer

from rewardanything_core.cli import _options as options
from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    from rewardanything_core.judging.base import BaseJudge


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; any but loopback needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = 8700,
    token_env: Annotated[
        list[str] | None,
        typer.Option("--token-env", metavar="NAME", help="Environment variable with a token for clients; repeatable."),
    ] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Accept requests without a token.")] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Additional host name to accept in requests; repeatable."),
    ] = None,
    timeout: Annotated[float, typer.Option(help="Maximum time per case, in seconds.")] = 600,
    max_pending: Annotated[int, typer.Option(help="Maximum number of unfinished cases; beyond it 429.")] = 2000,
    max_batch: Annotated[int, typer.Option(help="Maximum number of cases in a batch.")] = 1000,
    max_responses: Annotated[int, typer.Option(help="Maximum number of responses in a case.")] = 64,
    max_criteria: Annotated[int, typer.Option(help="Maximum number of criteria in a rubric.")] = 32,
    max_text: Annotated[int, typer.Option(help="Maximum length of a text, in characters.")] = 200_000,
    max_body: Annotated[float, typer.Option(help="Maximum size of a request body, in MiB.")] = 16,
    drain: Annotated[float, typer.Option(help="Seconds to finish requests in flight when stopped.")] = 30,
    predicate_calibration: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Calibration of the probabilities of typed yes/no questions."),
    ] = None,
    model: options.Model = None,
    api_base: options.ApiBase = None,
    api_key_env: options.ApiKeyEnv = None,
    backend: options.BackendName = None,
    device: options.Device = None,
    readout: options.ReadoutName = None,
    passes: options.Passes = None,
    seed: options.Seed = None,
    concurrency: options.Concurrency = None,
    store: options.Store = None,
    cache: options.Cache = None,
    config: options.Config = None,
    max_cost: options.MaxCost = None,
    max_calls: options.MaxCalls = None,
    max_total_tokens: options.MaxTotalTokens = None,
) -> None:
    """Serve a judge over HTTP: POST /v1/judge, /v1/judge/batch, GET /health, /metrics; documented at /docs.

    POST /v1/decisions and /v1/systemone answer typed questions, as OpenAI's Decisions API and TypeSafe's System One
    do. The client of rewardanything 1.0.1 works with this server, too.

    --max-cost, --max-calls and --max-total-tokens are limits of this process: once one is reached, cases that are not
    in the store are answered with status 402, until the server is started again.

    SIGTERM or Ctrl-C stops the server: it accepts no new connections, finishes requests in flight, and exits with
    code 0. Exit code 2 means that the command cannot run.
    """
    from rewardanything_core.server import require

    require()
    from rewardanything_core.server.app import create_app
    from rewardanything_core.server.hosts import accepted_hosts, is_loopback
    from rewardanything_core.server.limits import Limits
    from rewardanything_core.server.running import listen
    from rewardanything_core.server.running import serve as run

    settings = options.judge_settings(locals())
    tokens = _tokens(token_env or [])
    if tokens and no_auth:
        raise ConfigError("Give --token-env or --no-auth, not both.")
    if not tokens and not no_auth and not is_loopback(host):
        raise ConfigError(
            f"{host} can be reached by others, who could use your model at your cost.",
            hint="Put a token into an environment variable and give --token-env NAME, or give --no-auth.",
        )
    application = create_app(
        None,
        tokens=tokens,
        hosts=accepted_hosts(host, allow_host or [], has_tokens=bool(tokens)),
        predicate_calibration=predicate_calibration,
        limits=Limits(
            seconds=timeout,
            pending=max_pending,
            batch=min(max_batch, max_pending),
            responses=max_responses,
            criteria=max_criteria,
            text_chars=max_text,
            body_bytes=int(max_body * 2**20),
            drain_seconds=drain,
        ),
    )

    def load() -> BaseJudge:
        return options.load_judge_with_progress(
            spin=False,
            config=config,
            **settings,
            max_cost=max_cost,
            max_calls=max_calls,
            max_total_tokens=max_total_tokens,
        )

    _log_to_stderr()
    listener = listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    access = "a token is required" if tokens else "no token is required"
    options.echo(f"Listening on http://{shown}:{listener.getsockname()[1]} ({access}); see /docs. Ctrl-C stops it.")
    run(application, listener, load)


def _tokens(variables: list[str]) -> list[str]:
    tokens = []
    for name in variables:
        token = os.environ.get(name, "").strip()
        if not token:
            raise ConfigError(
                f"The environment variable {name[:40]} for --token-env is not set.",
                hint="Give the name of the variable, not the token itself.",
            )
        tokens.append(token)
    return tokens


def _log_to_stderr() -> None:
    """Set up logging for the process, which is only a server."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (("rewardanything_core", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
