"""What a training finds installed, and what of it has changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_TOLD: Final = 5  # changes that are named; the rest is counted


@dataclass(frozen=True, slots=True)
class Environment:
    """A Python and its distributions: normalised name to version.

    `stamps` are the modification times (ns) of the files and folders that it consists of: as long as they are the same,
    nothing was installed or removed.
    """

    python: str
    packages: Mapping[str, str]
    stamps: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"Python {self.python} with {len(self.packages)} packages"


def changes(before: Environment, now: Environment) -> str:
    """What is different now, in words; empty where nothing is."""
    found = []
    if before.python != now.python:
        found.append(f"Python {before.python} → {now.python}")
    for name in sorted(before.packages.keys() | now.packages.keys()):
        old, new = before.packages.get(name), now.packages.get(name)
        if old == new:
            continue
        if old is None:
            found.append(f"{name} {new} is new")
        elif new is None:
            found.append(f"{name} {old} is gone")
        else:
            found.append(f"{name} {old} → {new}")
    more = f" and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
    return ", ".join(found[:_TOLD]) + more
