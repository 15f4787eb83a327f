"""Moments as people read them, everywhere in the same words."""

from __future__ import annotations

import time


def utc(at: float) -> str:
    """`2026-03-04 09:30 UTC`. Raises OverflowError, OSError or ValueError for what is no moment of a calendar."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
