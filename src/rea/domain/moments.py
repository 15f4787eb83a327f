"""Moments as people read them, everywhere in the same words."""

from __future__ import annotations

import time


def in_words(seconds: float) -> str:
    """`42 s`, `17 min`, `3.2 h`, `2.5 days`."""
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size or (unit == "min" and seconds >= size):
            return f"{seconds / size:.{0 if unit == 'min' else 1}f} {unit}"
    return f"{seconds:.0f} s"


def utc(at: float) -> str:
    """`2026-03-04 09:30 UTC`. Raises OverflowError, OSError or ValueError for what is no moment of a calendar."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
