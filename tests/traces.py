"""What a page or a notebook must not hold: traces of the machine it was written on, and of where packages come from."""

from __future__ import annotations

import re

_FOLDER = r"/(?:work|root|home|tmp)/\S*"
_INDEX = r"py(?:pi\.org|thonhosted)"


def traces(text: str, *others: str) -> list[str]:
    """All that was found; ``others`` are further patterns to look for."""
    return re.findall("|".join([_FOLDER, _INDEX, *others]), text)
