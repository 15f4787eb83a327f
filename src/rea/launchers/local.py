"""Jobs as processes of this machine.

Each job is a wrapper (`python -m rea.job`) in a session of its own that outlives whoever started it. What is known of
it lies in files: its run directory (rea.job.rundir says which files, and in which order they are to be believed) and
a registry under the runs root, `.local/NAME.json`, moved to `.local/ended/` once its end was seen. Both are there
before the process is, so a fresh process finds every job whatever instant its submitter was killed at.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from rea.domain.errors import ConfigError, LauncherUnreachableError, UsageError
from rea.domain.jobs import Capacity, Handle, JobSpec, JobState, Observation, Outcome, check_job_name
from rea.job import rundir, tree

START_GRACE_S: Final = 30.0  # a wrapper that has not started by then never will: the launcher takes its fence
_KILL_PATIENCE_S: Final = 5.0
_CANCEL_PATIENCE_S: Final = 60.0  # more than a wrapper that is told to end takes for it


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line of the registry: who submitted what, where and when (Unix seconds).

    `apart`: its wrapper leaves its record beside the run directory. Wrappers that an earlier release started did not.
    """

    name: str
    run_dir: Path
    host: str
    submitted_at: float
    apart: bool = False


class LocalLauncher:
    """`slots` jobs fit on this machine at once, over all campaigns under the runs root.

    `capacity` tells how many slots are free; `submit` itself starts whatever it is given.
    Raises ConfigError for fewer than one slot.
    """

    kind = "local"

    def __init__(self, runs: Path, slots: int) -> None:
        if slots < 1:
            raise ConfigError(f"rea.toml: launcher.slots: {slots} is too few", hint="give at least 1")
        self._runs = runs.absolute()
        self._slots = slots
        self._live = self._runs / ".local"
        self._ended = self._live / "ended"

    def submit(self, spec: JobSpec, name: str) -> Handle:
        """Start the job's wrapper, or adopt the job that has this name.

        A job that was written down but never started (its submitter died in between) is started again; the start
        fence sees to it that at most one wrapper ever runs it.
        Raises UsageError if `name` is not the spec's, or belongs to a job in another directory;
        LauncherUnreachableError if the runs root cannot be written.
        """
        if name != spec.name:
            raise UsageError(f"submitted as {name!r}, but the specification is of {spec.name!r}")
        handle = Handle(self.kind, name, str(spec.run_dir))
        with _reaching(spec.run_dir):
            entry = self._entry(name)
            if entry is not None and entry.run_dir != spec.run_dir:
                raise UsageError(
                    f"job {name} exists already, in {entry.run_dir}", hint="every attempt needs a name of its own"
                )
            if _exists(spec.run_dir / rundir.STARTED) or _exists(rundir.record_of(spec.run_dir)):
                return handle
            spec.run_dir.mkdir(parents=True, exist_ok=True)
            self._ended.mkdir(parents=True, exist_ok=True)
            # Readable by its owner alone: it holds an environment, and environments hold tokens.
            rundir.write_atomically(spec.run_dir / rundir.SPEC, spec.to_json(), durable=True, mode=0o600)
            written = {
                "name": name,
                "run_dir": str(spec.run_dir),
                "host": socket.gethostname(),
                "submitted_at": time.time(),
                "apart": True,
            }
            rundir.write_atomically(self._live / f"{name}.json", written, durable=True)
            _spawn(spec.run_dir)
        return handle

    def find(self, name: str) -> Handle | None:
        """The job of this name, or None if it was never submitted here (then submitting it is safe)."""
        check_job_name(name)
        with _reaching(self._runs):
            entry = self._entry(name)
        return None if entry is None else Handle(self.kind, name, str(entry.run_dir))

    def observe(self, handles: Iterable[Handle]) -> dict[str, Observation]:
        """The state of each job by name; a job whose files cannot be read now is UNKNOWN.

        A job found lost has its leftover processes killed first. Raises LauncherUnreachableError if the runs root
        is gone (an unmounted disk, say): nothing is known then.
        """
        wanted = list(handles)
        if wanted and not self._runs.is_dir():
            raise LauncherUnreachableError(
                f"the runs root {self._runs} is not there", hint="mount it, or set REA_RUNS to where the runs are"
            )
        return {handle.name: self._observe(handle) for handle in wanted}

    def cancel(self, handle: Handle) -> None:
        """End the job: one that has not started never will, a running one is told twice (file and SIGTERM).

        A wrapper that was told and does nothing about it is killed when it is told again: the kernel ends its trainer
        with it.
        """
        run_dir = Path(handle.id)
        if self._observe(handle).state not in (JobState.PENDING, JobState.RUNNING):
            return
        with _reaching(run_dir):
            asked = rundir.read_json(run_dir / rundir.CANCEL)
            deaf = asked is not None and time.time() - (_number(asked.get("at"), None) or math.inf) > _CANCEL_PATIENCE_S
            if asked is None:
                with contextlib.suppress(IsADirectoryError):  # a trainer's doing; the signal tells the wrapper as well
                    rundir.write_atomically(run_dir / rundir.CANCEL, {"at": time.time()})
            if rundir.take_fence(run_dir, {"fenced_by": self.kind, "why": "cancelled"}) or not rundir.is_alive(run_dir):
                return
            wrapper = rundir.read_json(run_dir / rundir.ALIVE)
            if wrapper is not None and _is_here(wrapper) and _is_wrapper(wrapper["pid"], run_dir):
                with contextlib.suppress(PermissionError):  # the file does as well
                    number = signal.SIGKILL if deaf else signal.SIGTERM
                    tree.send((int(wrapper["pid"]), str(wrapper["start"])), number)

    def capacity(self) -> Capacity:
        """Slots, less the running and pending jobs of this machine, whichever campaign they belong to."""
        with _reaching(self._runs):
            busy = sum(self._occupies_slot(entry) for entry in self._live_entries())
        return Capacity(self._slots, max(0, self._slots - busy))

    # ── one job ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _observe(self, handle: Handle) -> Observation:
        run_dir = Path(handle.id)
        try:
            entry = self._entry(handle.name)
            observation = _look(run_dir, entry is None or entry.apart)
            if observation is None and entry is None and (run_dir.is_dir() or not self._live.is_dir()):
                return Observation(JobState.UNKNOWN, message=f"nothing is known of {handle.name} in {self._runs}")
            if observation is None and entry is None:  # a handle is given out after both were written
                why = f"its directory {run_dir} and its entry in {self._live} were deleted"
                return Observation(JobState.ENDED, Outcome.LOST, message=why)
            if observation is None:
                assert entry is not None
                observation = _not_started(run_dir, entry)
            if observation.state is JobState.ENDED and observation.exit is None:
                observation = _bury(run_dir, observation, entry is None or entry.apart)
            if observation.state is JobState.ENDED:
                self._retire(handle.name)
        except (OSError, rundir.NoLocksError) as error:
            return Observation(JobState.UNKNOWN, message=f"{run_dir}: {error}")
        return observation

    def _occupies_slot(self, entry: _Entry) -> bool:
        if entry.host != socket.gethostname():
            return False
        try:
            observation = _look(entry.run_dir, entry.apart)
        except OSError:  # what is wrong with one job's files is no reason to start none
            return True
        if observation is None:
            return time.time() - entry.submitted_at < START_GRACE_S
        if observation.exit is not None:
            self._retire(entry.name)
        return observation.state is JobState.RUNNING

    # ── the registry ─────────────────────────────────────────────────────────────────────────────────────────────

    def _entry(self, name: str) -> _Entry | None:
        # Entries move from live to ended: looked for in this order, none is missed in between.
        for directory in (self._live, self._ended):
            if (entry := _read_entry(directory / f"{name}.json")) is not None:
                return entry
        return None

    def _live_entries(self) -> Iterator[_Entry]:
        for path in sorted(self._live.glob("*.json")):
            if not path.name.startswith(".") and (entry := _read_entry(path)) is not None:
                yield entry

    def _retire(self, name: str) -> None:
        with contextlib.suppress(OSError):
            (self._live / f"{name}.json").replace(self._ended / f"{name}.json")


def _read_entry(path: Path) -> _Entry | None:
    raw = rundir.read_json(path)
    if raw is None:
        return None
    try:
        return _Entry(
            str(raw["name"]),
            Path(raw["run_dir"]),
            str(raw["host"]),
            float(raw["submitted_at"]),
            raw.get("apart") is True,
        )
    except (KeyError, TypeError, ValueError):
        return None


@contextlib.contextmanager
def _reaching(place: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, subprocess.SubprocessError, rundir.NoLocksError) as error:
        raise LauncherUnreachableError(
            f"{place}: the local launcher cannot work there: {error}",
            hint="check that the disk is mounted, writable and not full; REA_RUNS names the place",
        ) from error


def _spawn(run_dir: Path) -> None:
    """Start the wrapper so that it is nobody's child: the shell in between ends at once, so no zombie remains."""
    source = Path(__file__).resolve().parents[2]  # the directory that holds the package rea
    command = [sys.executable, "-P", "-m", "rea.job", str(run_dir / rundir.SPEC)]
    inherited = {name: value for name, value in os.environ.items() if name != rundir.MARK}
    with (run_dir / rundir.WRAPPER_LOG).open("ab") as log:
        subprocess.run(
            ["/bin/sh", "-c", '"$@" &', "sh", *command],
            check=True,
            cwd=run_dir,
            env={**inherited, "PYTHONPATH": str(source)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _look(run_dir: Path, apart: bool) -> Observation | None:
    """What the files say, looked at in the order that rea.job.rundir gives; None: not started.

    Touches nothing. Raises OSError or NoLocksError if the files cannot be read now.
    """
    record = rundir.record_of(run_dir) if apart else run_dir / rundir.EXIT
    started = run_dir / rundir.STARTED
    if apart:
        running = _running(run_dir, record)
        if running is not None:
            return running
    ended = _read_exit(record)
    if ended is not None:
        return ended
    if not _exists(started):
        return None
    running = _running(run_dir, record)
    if running is not None:
        return running
    ended = _read_exit(record)
    if ended is not None:
        return ended
    fence, began = _fence(started)
    last = _number((rundir.read_json(run_dir / rundir.HEARTBEAT) or {}).get("time"), began)
    if _exists(run_dir / rundir.CANCEL):
        return Observation(
            JobState.ENDED, Outcome.CANCELLED, None, "cancelled, and no process of it is left", began, last
        )
    why = "its wrapper is gone and left no record" if "fenced_by" not in fence else "it did not start in time"
    return Observation(JobState.ENDED, Outcome.LOST, None, why, began, last)


def _running(run_dir: Path, record: Path) -> Observation | None:
    """What is known of a job whose wrapper lives; None where none does."""
    try:
        if not (_exists(run_dir / rundir.STARTED) and rundir.is_alive(run_dir)):
            return None
    except (OSError, rundir.NoLocksError):
        if _exists(record):
            return None
        raise
    _, began = _fence(run_dir / rundir.STARTED)
    beat = rundir.read_json(run_dir / rundir.HEARTBEAT) or {}
    return Observation(JobState.RUNNING, started_at=began, heard_at=_number(beat.get("time"), began))


def _fence(started: Path) -> tuple[dict[str, Any], float | None]:
    """What stands in the fence, and when the wrapper took it, if one did."""
    fence = rundir.read_json(started) or {}
    return fence, _number(fence.get("at"), None) if "pid" in fence else None


def _number(value: object, otherwise: float | None) -> float | None:
    """A moment out of a file that a trainer can write, too."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return otherwise


def _read_exit(record_at: Path) -> Observation | None:
    if not _exists(record_at):
        return None
    record = rundir.read_json(record_at)
    try:
        assert record is not None
        outcome = Outcome(record["outcome"])
        return Observation(
            JobState.ENDED,
            outcome,
            record,
            str(record["message"]),
            float(record["started_at"]),
            float(record["ended_at"]),
        )
    except (AssertionError, KeyError, TypeError, ValueError):
        return Observation(JobState.ENDED, Outcome.LOST, record, f"{record_at} makes no sense")


def _exists(path: Path) -> bool:
    """Whether something has this name. An I/O error is an error: a disk that does not answer is no proof of absence."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _not_started(run_dir: Path, entry: _Entry) -> Observation:
    """PENDING for a while; then the fence is taken, so that a wrapper that comes late cannot start any more."""
    if time.time() - entry.submitted_at < START_GRACE_S:
        return Observation(JobState.PENDING, message="its wrapper has not started yet")
    if run_dir.is_dir():
        rundir.take_fence(run_dir, {"fenced_by": LocalLauncher.kind, "why": "not started in time"})
        # If a wrapper was faster, it is running; if not, the job is lost. The files tell.
        observation = _look(run_dir, entry.apart)
        assert observation is not None
        return observation
    # Whether it ran, and for how long, nobody can say any more.
    words = f"its directory {run_dir} is gone"
    return Observation(JobState.ENDED, Outcome.LOST, message=words, started_at=entry.submitted_at)


def _is_here(identity: dict[str, Any]) -> bool:
    """Whether process ids in this record are of this machine and of this boot."""
    same_host = identity.get("host") == socket.gethostname() and identity.get("boot") == tree.boot_id()
    return same_host and isinstance(identity.get("pid"), int) and "start" in identity


def _is_wrapper(pid: int, run_dir: Path) -> bool:
    """Whether this process is what was started for the directory: a trainer may have written another one's number."""
    if not tree.LINUX:
        return True
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return os.fsencode(run_dir / rundir.SPEC) in words


def _bury(run_dir: Path, observation: Observation, apart: bool) -> Observation:
    """Kill what a dead wrapper left behind.

    The kernel kills the trainer together with its wrapper (PR_SET_PDEATHSIG), but not what the trainer had started.
    Taken for the job's are: the processes on record in `pgid`, by id and start time; those whose environment carries
    the mark that the wrapper gave this start of this job; the others of any session one of these is in; descendants.
    """
    record = rundir.read_json(rundir.group_of(run_dir) if apart else run_dir / rundir.GROUP)
    if record is None or record.get("host") != socket.gethostname() or record.get("boot") != tree.boot_id():
        return observation
    try:
        mark, recorded = str(record["mark"]), {(int(pid), str(start)) for pid, start in record["members"]}
    except (KeyError, TypeError, ValueError):
        return observation
    killed: set[tree.Identity] = set()
    patience = time.monotonic() + _KILL_PATIENCE_S
    while leftovers := _leftovers(recorded, mark):
        if time.monotonic() > patience:
            note = f"; processes that could not be killed: {len(leftovers)}"
            break
        for leftover in leftovers:
            with contextlib.suppress(OSError):
                tree.send(leftover.identity, signal.SIGKILL)
        killed |= {leftover.identity for leftover in leftovers}
        time.sleep(0.02)
    else:
        note = f"; processes left behind and killed: {len(killed)}" if killed else ""
    return replace(observation, message=observation.message + note)


def _leftovers(recorded: set[tree.Identity], mark: str) -> list[tree.Process]:
    everyone = tree.processes()
    known = recorded | {p.identity for p in everyone if tree.has_variable(p.pid, rundir.MARK, mark)}
    # A session's number is not given to another session while any process is in it.
    sessions = {p.sid for p in everyone if p.identity in known} - {os.getsid(0)}
    return [p for p in tree.family(everyone, None, sessions, known) if p.pid != os.getpid()]
