"""The command ``ra-judge``.

Exit codes: 0 done, 1 a regression was found, 2 usage or configuration error, 3 judge failures or an inconclusive
result, 130 interrupted.
"""

from __future__ import annotations

import sys
import warnings

from rewardanything_core.errors import BackendError, ContextLengthError, RewardAnythingError, VerdictParseError

USAGE, JUDGE_FAILED, INTERRUPTED = 2, 3, 130


def main() -> None:
    """Run the command line; every error that this package raises on purpose becomes one line and an exit code."""
    from rewardanything_core.cli.app import app

    _warn_in_a_line()
    try:
        app(prog_name="ra-judge")
    except RewardAnythingError as error:
        _complain(str(error))
        failed = isinstance(error, BackendError | VerdictParseError | ContextLengthError)
        sys.exit(JUDGE_FAILED if failed else USAGE)
    except KeyboardInterrupt:
        _complain("Interrupted.")
        sys.exit(INTERRUPTED)
    except SystemExit as leaving:
        if leaving.code == INTERRUPTED:
            _complain("Interrupted.")
        if type(sys.stdout).__name__ == "PacifyFlushWrapper":
            sys.exit(0)  # Typer's sign that the reader of our output has left, as `head` does; that is no regression
        raise


def _warn_in_a_line() -> None:
    """Warnings of ours without the place in the source, which helps nobody at a prompt; those of others as they are."""
    as_usual = warnings.formatwarning

    def formatted(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if "rewardanything_core" in filename:
            return f"Warning: {message}\n"
        return as_usual(message, category, filename, lineno, line)

    warnings.formatwarning = formatted


def _complain(message: str) -> None:
    import typer

    typer.secho(" ".join(message.split()), fg=typer.colors.RED, err=True)
