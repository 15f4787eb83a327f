"""Permissions that engineers give by name: some for good, some for what they have seen and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from rea.domain.codec import digest

_MARK: Final = re.compile(r"\[[0-9a-f]+\]$")


def pinned(name: str, seen: str) -> str:
    """The name under which a permission is kept that is for these words only: other words need another one."""
    return f"{name}@{digest(seen)[:16]}"


def rows_of(faults: Iterable[str]) -> str:
    """Which rows these words about a campaign's record name, and what stands there by the mark at their end.

    The words between change once REA writes a row anew; what something else wrote there stays what it was.
    """
    marks = ((fault.split(" ", 1)[0], _MARK.search(fault)) for fault in faults)
    return " ".join(sorted({f"{row}{mark[0]}" if mark else row for row, mark in marks}))
