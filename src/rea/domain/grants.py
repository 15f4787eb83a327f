"""Permissions that engineers give by name: some for good, some for what they have seen and nothing else."""

from __future__ import annotations

from rea.domain.codec import digest


def pinned(name: str, seen: str) -> str:
    """The name under which a permission is kept that is for these words only: other words need another one."""
    return f"{name}@{digest(seen)[:16]}"
