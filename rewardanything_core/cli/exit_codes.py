"""Exit codes of ``ra-judge``. 0 means done or passed, 1 that a regression was found."""

USAGE = 2
"""A usage or configuration error."""

JUDGE_FAILED = 3
"""Judge failures, a budget that is used up, or an inconclusive result."""

WAITING = 4
"""Requests wait for a provider's batch; the same command continues."""

INTERRUPTED = 130
"""Interrupted by Ctrl-C."""
