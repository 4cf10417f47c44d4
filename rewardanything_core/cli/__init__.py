"""The command ``ra-judge``.

Exit codes: 0 done, 1 a regression was found, 2 usage or configuration error, 3 judge failures, a budget that is used
up or an inconclusive result, 4 waiting for a provider's batch, 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
import warnings

from rewardanything_core.cli.exit_codes import INTERRUPTED
from rewardanything_core.errors import RewardAnythingError


def main() -> None:
    """Run the command line. Every error that this package raises on purpose becomes one line and an exit code."""
    from rewardanything_core.cli.app import app

    _shorten_warnings()
    try:
        app(prog_name="ra-judge")
    except RewardAnythingError as error:
        from rewardanything_core.cli._judge_errors import exit_code

        _print_error(str(error))
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        _report_interrupt()
        sys.exit(INTERRUPTED)
    except SystemExit as leaving:
        if leaving.code == INTERRUPTED:
            _report_interrupt()
        if type(sys.stdout).__name__ == "PacifyFlushWrapper":
            sys.exit(0)  # Typer's sign that the reader of the output has closed the pipe, as `head` does
        raise


def _report_interrupt() -> None:
    """Report it. A second Ctrl-C, while verdicts are still being written, ends the process without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _print_error("Interrupted.")


def _shorten_warnings() -> None:
    """Print warnings of this package without the place in the source; leave those of others as they are."""
    original = warnings.formatwarning

    def formatted(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if "rewardanything_core" in filename:
            return f"Warning: {message}\n"
        return original(message, category, filename, lineno, line)

    warnings.formatwarning = formatted


def _print_error(message: str) -> None:
    import typer

    typer.secho(" ".join(message.split()), fg=typer.colors.RED, err=True)
