"""Moments and times as people read them, everywhere in the same words."""

from __future__ import annotations

import time


def duration(seconds: float) -> str:
    """`0.15 s`, `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`, of a finite time that is not below zero."""
    if seconds < 90:
        return f"{seconds:.2g} s" if 0.001 <= seconds < 9.5 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def utc(at: float) -> str:
    """`2026-03-04 09:30 UTC`. Raises OverflowError, OSError or ValueError for what is no moment of a calendar."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
