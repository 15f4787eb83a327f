"""A launcher whose jobs are entries in a table and whose time is a clock that somebody turns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rea.domain.jobs import Capacity, Handle, JobSpec, JobState, Observation, Outcome


@dataclass(frozen=True, slots=True)
class Play:
    """What becomes of a job: after how many seconds it ends, and how; `exit` is its wrapper's exit record. One that is
    `silent` gives no sign of life after its start."""

    seconds: float
    outcome: Outcome
    exit: Mapping[str, Any] = field(default_factory=dict)
    silent: bool = False


@dataclass(slots=True)
class Job:
    """One that was submitted. Times are those of the clock."""

    spec: JobSpec
    play: Play
    started_at: float
    ends_at: float
    cancelled: bool = False

    @property
    def outcome(self) -> Outcome:
        return Outcome.CANCELLED if self.cancelled else self.play.outcome


class SimulatedLauncher:
    """Starts every job at once, as many as are asked for; `slots` is what it says fits. `plays` decides what becomes of
    a job, when it is submitted."""

    kind = "simulated"

    def __init__(self, clock: Callable[[], float], slots: int, plays: Callable[[JobSpec], Play]) -> None:
        self._clock, self._slots, self.plays = clock, slots, plays
        self.jobs: dict[str, Job] = {}

    def submit(self, spec: JobSpec, name: str) -> Handle:
        if name not in self.jobs:
            play, now = self.plays(spec), self._clock()
            self.jobs[name] = Job(spec, play, now, now + play.seconds)
        return Handle(self.kind, name, name)

    def find(self, name: str) -> Handle | None:
        return Handle(self.kind, name, name) if name in self.jobs else None

    def observe(self, handles: Iterable[Handle]) -> dict[str, Observation]:
        return {handle.name: self._seen(self.jobs[handle.name]) for handle in handles if handle.name in self.jobs}

    def _seen(self, job: Job) -> Observation:
        if job.ends_at > self._clock():
            heard_at = job.started_at if job.play.silent else self._clock()
            return Observation(JobState.RUNNING, started_at=job.started_at, heard_at=heard_at)
        return Observation(
            JobState.ENDED, job.outcome, exit=job.play.exit, started_at=job.started_at, ended_at=job.ends_at
        )

    def cancel(self, handle: Handle) -> None:
        job = self.jobs.get(handle.name)
        if job is not None and job.ends_at > self._clock():
            job.cancelled, job.ends_at = True, self._clock()

    def capacity(self) -> Capacity:
        busy = sum(job.ends_at > self._clock() for job in self.jobs.values())
        return Capacity(self._slots, max(0, self._slots - busy))

    def next_end(self) -> float | None:
        """When the next of the jobs that run will end by itself."""
        ends = (job.ends_at for job in self.jobs.values())
        return min((end for end in ends if self._clock() < end < math.inf), default=None)

    def limits_of_silent_jobs(self) -> list[float]:
        """When each job that stands still should have ended."""
        silent = (job for job in self.jobs.values() if job.play.silent and job.ends_at > self._clock())
        return [job.started_at + job.spec.walltime_s for job in silent]
