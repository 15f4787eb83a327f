"""What was found out about a failure that no runbook knows: a proposed runbook, until it was right twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TRUSTED: Final = 2  # times that the same cause was found, and no other


@dataclass(frozen=True, slots=True)
class Lesson:
    """`pattern` is the line that gave the failure away, without its numbers, paths and names; `causes` counts what
    investigations found behind it."""

    pattern: str
    causes: dict[str, int]

    @property
    def cause(self) -> str | None:
        """What is behind it, where that is trusted: found at least twice, and never anything else."""
        if len(self.causes) != 1:
            return None
        ((cause, count),) = self.causes.items()
        return cause if count >= TRUSTED else None
