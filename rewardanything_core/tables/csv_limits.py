"""The size of fields that `csv` reads."""

from __future__ import annotations

import csv
import sys


def lift_csv_field_limit() -> None:
    """Let `csv` read fields longer than its default of 128 KiB, which responses exceed.

    The limit is a C ``long``, which has 32 bits on Windows.
    """
    limit = sys.maxsize
    while True:
        try:
            csv.field_size_limit(limit)
        except OverflowError:
            limit >>= 1
        else:
            return
