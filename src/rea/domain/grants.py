"""Permissions that engineers give by name: some for good, some for what they have seen and nothing else."""

from __future__ import annotations

from collections.abc import Iterable

from rea.domain.codec import digest


def pinned(name: str, seen: str) -> str:
    """The name under which a permission is kept that is for these words only: other words need another one."""
    return f"{name}@{digest(seen)[:16]}"


def rows_of(faults: Iterable[str]) -> str:
    """Which rows these words about a campaign's record name. The words themselves change once REA writes a row anew."""
    return " ".join(sorted({fault.split(" ", 1)[0] for fault in faults}))
