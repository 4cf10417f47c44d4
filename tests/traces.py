"""What documents and notebooks must not contain: paths of the machine they were made on, and package indexes."""

from __future__ import annotations

import re

_FOLDER = r"/(?:work|root|home|tmp)/\S*"
_INDEX = r"py(?:pi\.org|thonhosted)"


def traces(text: str, *others: str) -> list[str]:
    """Find such traces in a text.

    Args:
        text: The text.
        *others: Further patterns to look for.
    """
    return re.findall("|".join([_FOLDER, _INDEX, *others]), text)
