"""What the executor knows of jobs: what is submitted, what is observed, and the protocol every launcher speaks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

from rea.domain.errors import UsageError

SPEC_VERSION: Final = 1
SPEC_FILE: Final = "job.json"  # in the run's directory
# Lock file in the folder of wake files: held by a daemon, and with "-<campaign>" by a command that waits for one.
ATTENDED: Final = ".attended"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class JobState(StrEnum):
    PENDING = "pending"  # submitted, not started yet
    RUNNING = "running"
    ENDED = "ended"  # terminal; the observation carries an Outcome
    UNKNOWN = "unknown"  # nothing could be learnt; not terminal, ask again


class Outcome(StrEnum):
    """How a job ended. All but LOST are written by the job's own wrapper."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # a step ended with an exit code other than 0, or by a signal nobody here sent
    TIMEOUT = "timeout"
    MEMORY = "memory"
    CANCELLED = "cancelled"
    STOPPED = "stopped"  # the stop rule
    LOST = "lost"  # no process and no exit record: the machine, or something on it, killed the wrapper


@dataclass(frozen=True, slots=True)
class Check:
    """What has to hold before a step that judges is started, or the job ends there as one that was tampered with.

    The code in the folder `root` is what it was when the job began, and nothing in `written`, where a trainer wrote, is
    a link to what is `hidden` from it.
    """

    root: Path
    written: Path
    hidden: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "root": str(self.root),
            "written": str(self.written),
            "hidden": [str(path) for path in self.hidden],
        }


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a job. `env` is the whole environment; nothing is inherited.

    `stdout` names a file in the run's directory that gets standard output alone (size-capped); without it, standard
    output and error both go to `<name>.log`.
    """

    name: str
    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    stdout: str | None = None
    check: Check | None = None


@dataclass(frozen=True, slots=True)
class StopRule:
    """Stop when a reading is worse than the limit of the last point it has reached.

    `points` are (x, limit), x ascending on `axis` ("epoch" or "step"); limits already hold baseline plus tolerance.
    `direction` is "minimize" or "maximize".
    """

    metric: str
    split: str
    direction: str
    points: tuple[tuple[float, float], ...]
    axis: str = "epoch"


@dataclass(frozen=True, slots=True)
class WakeCall:
    """What the wrapper does last: drop `file`, and start `command` (detached) where there is one.

    `attended` are lock files; while somebody holds one of them and takes `file` away, the command is not started.
    """

    file: Path
    command: tuple[str, ...] | None = None
    cwd: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    attended: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One attempt as a launcher gets it. `name` is unique, made before submission, and written down first.

    Times in seconds, sizes in bytes. `cpus` and `gpus` are what a scheduler is asked for.
    """

    name: str
    run_dir: Path
    steps: tuple[Step, ...]
    walltime_s: float
    idle_s: float | None = None  # without work and without a word, before it is ended; None: for ever
    memory_bytes: int | None = None
    cpus: int = 1
    gpus: int = 0
    stop_rule: StopRule | None = None
    wake: WakeCall | None = None
    log_bytes: int = 10 * 1024 * 1024
    grace_s: float = 5.0
    heartbeat_s: float = 5.0
    metrics: str = "metrics.jsonl"
    avoid: tuple[str, ...] = ()  # nodes that it is not to run on, where the launcher has a choice
    witness: str = ""  # the end of the campaign's trail when the job was made; nothing is done with it here

    def __post_init__(self) -> None:
        check_job_name(self.name)
        if not self.run_dir.is_absolute():
            raise UsageError(f"job {self.name}: run_dir {self.run_dir} is relative", hint="give an absolute path")

    def to_json(self) -> dict[str, Any]:
        """The specification that `python -m rea.job` reads (rea.job.spec checks it)."""
        rule, wake = self.stop_rule, self.wake
        return {
            "version": SPEC_VERSION,
            "name": self.name,
            "run_dir": str(self.run_dir),
            "steps": [
                {
                    "name": step.name,
                    "argv": list(step.argv),
                    "cwd": str(step.cwd),
                    "env": dict(step.env),
                    "stdout": step.stdout,
                    "check": None if step.check is None else step.check.to_json(),
                }
                for step in self.steps
            ],
            "walltime_s": self.walltime_s,
            "idle_s": self.idle_s,
            "memory_bytes": self.memory_bytes,
            "log_bytes": self.log_bytes,
            "grace_s": self.grace_s,
            "heartbeat_s": self.heartbeat_s,
            "metrics": self.metrics,
            "witness": self.witness,
            "stop_rule": None
            if rule is None
            else {
                "metric": rule.metric,
                "split": rule.split,
                "direction": rule.direction,
                "points": [list(point) for point in rule.points],
                "axis": rule.axis,
            },
            "wake": None
            if wake is None
            else {
                "file": str(wake.file),
                "command": None if wake.command is None else list(wake.command),
                "cwd": None if wake.cwd is None else str(wake.cwd),
                "env": dict(wake.env),
                "attended": [str(path) for path in wake.attended],
            },
        }


@dataclass(frozen=True, slots=True)
class Handle:
    """A submitted job. `str(handle)` is "kind:name:id"; `Handle.parse` reads it back."""

    kind: str
    name: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}:{self.id}"

    @classmethod
    def parse(cls, text: str) -> Handle:
        """Raises UsageError if the text is no handle."""
        parts = text.split(":", 2)
        if len(parts) != 3 or not all(parts[:2]):
            raise UsageError(f"{text!r} is not a job handle", hint="expected kind:name:id, as str(handle) gives it")
        return cls(*parts)


@dataclass(frozen=True, slots=True)
class Observation:
    """What a launcher saw. `outcome` is set exactly when `state` is ENDED.

    `exit` is the wrapper's record where there is one. Times are Unix seconds. For LOST, `ended_at` is the last sign
    of life, if there was one; `heard_at` is that of a job that runs, where the launcher can tell.
    """

    state: JobState
    outcome: Outcome | None = None
    exit: Mapping[str, Any] | None = None
    message: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    heard_at: float | None = None


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many jobs fit at once, and how many more fit now (never below 0)."""

    slots: int
    free: int


class Launcher(Protocol):
    """Where attempts run. Every method may raise LauncherUnreachableError: nothing is known then, nothing is lost."""

    @property
    def kind(self) -> str: ...

    def submit(self, spec: JobSpec, name: str) -> Handle:
        """Start a job, or adopt the one that already has this name: calling twice equals calling once."""
        ...

    def find(self, name: str) -> Handle | None:
        """The job that was submitted under this name, by whichever process, ended or not."""
        ...

    def observe(self, handles: Iterable[Handle]) -> dict[str, Observation]:
        """The state of each job, by name."""
        ...

    def cancel(self, handle: Handle) -> None:
        """Ask for the job's end; `observe` tells when it has come. A job that has ended is left alone."""
        ...

    def capacity(self) -> Capacity: ...


def job_prefix(uid: str) -> str:
    """What the names of all jobs of a store begin with."""
    return f"rea-{uid}-"


def job_name(uid: str, run: int, number: int) -> str:
    """Of a run's attempt with this number: unique among all stores that may share a cluster, made before submission."""
    return f"{job_prefix(uid)}R{run}-{number}"


def check_job_name(name: str) -> None:
    """Raise UsageError unless the name can be a file name, a Slurm job name and a part of a handle."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of a job",
            hint="use 1 to 128 letters, digits, '.', '_' or '-', beginning with a letter or digit",
        )
