"""When the watcher starts `rea wake`."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_S = 60.0  # between two wakes that fail, where the sweeps are not further apart


@dataclass
class Calls:
    """A wake file that is new calls at once; a sweep comes every so often; after a failure the next waits longer.

    A file that a wake has left lying calls nobody any more: it is of another store, or its campaign is busy elsewhere,
    or cannot be woken. The sweeps look at it again. Times are of one monotonic clock, in seconds.
    """

    sweep_s: float
    due: float = 0.0
    failures: int = 0  # in a row
    tried: frozenset[str] = frozenset()

    def reason(self, files: frozenset[str], now: float) -> str | None:
        """Why to start a wake now; None where there is no reason."""
        if files - self.tried:
            return "file"
        return "sweep" if now >= self.due else None

    def ended(self, failed: bool, before: frozenset[str], after: frozenset[str], now: float) -> float:
        """Take note of how a wake ended and of the files around it. Seconds until the next one without a new file."""
        self.tried = before & after
        self.failures = self.failures + 1 if failed else 0
        wait_s = self.sweep_s
        if failed:
            wait_s = min(2.0 ** min(self.failures - 1, 30), max(self.sweep_s, LONGEST_S))
        self.due = now + wait_s
        return wait_s
