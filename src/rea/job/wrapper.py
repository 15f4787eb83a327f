"""`python -m rea.job SPEC.json`: start once, run the job, leave the record, wake the executor."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any, Final

from rea.job import rundir, tree
from rea.job.runner import Job
from rea.job.signals import Signals
from rea.job.spec import SpecError, load
from rea.job.wake import wake

EXIT_SPEC: Final = 2  # the specification is wrong
EXIT_STARTED_BEFORE: Final = 73  # EX_CANTCREAT of sysexits(3): the fence was there already
_PAUSES_S: Final = (0.1, 0.5, 2.0, 5.0, 10.0, 15.0, 0.0)  # between attempts to write the record


def main(arguments: list[str]) -> int:
    """0: the job succeeded. 1: it ended otherwise (its record says how). 2: wrong specification. 73: started before."""
    if len(arguments) != 1:
        _say("usage: python -m rea.job SPEC.json")
        return EXIT_SPEC
    signals = Signals()
    try:
        spec = load(Path(arguments[0]))
    except SpecError as error:
        return _refuse(str(error), error.run_dir, error.name)
    try:
        lock = rundir.take_over(spec.run_dir, _identity())
    except (rundir.NoLocksError, OSError) as error:
        return _refuse(f"{spec.run_dir}: the job cannot be started here: {error}", spec.run_dir, spec.name)
    if lock is None:
        return EXIT_STARTED_BEFORE
    job = Job(spec, signals)
    if not rundir.reserve_exit(spec.run_dir):
        job.refuse(f"No space left on device: {spec.run_dir} has no room for the record of a job")
    record = job.run()
    _write_exit(spec.run_dir, record)
    # Whoever is woken has to see that this job has ended, and as long as the lock is held it has not.
    os.close(lock)
    if spec.wake is not None:
        for problem in wake(spec.wake, spec.name, spec.run_dir):
            _say(problem)
    return 0 if record["outcome"] == "succeeded" else 1


def _identity() -> dict[str, Any]:
    own = tree.process(os.getpid())
    return {
        "pid": os.getpid(),
        "start": own.start if own else "",
        "host": socket.gethostname(),
        "boot": tree.boot_id(),
    }


def _refuse(message: str, run_dir: Path | None, name: str | None) -> int:
    """Say what is wrong, and where a run directory is known and was never started, leave it on record."""
    _say(f"rea.job: {message}")
    if run_dir is None:
        return EXIT_SPEC
    identity = _identity()
    try:
        ours = rundir.take_over(run_dir, identity) is not None
    except rundir.NoLocksError:
        ours = rundir.take_fence(run_dir, identity)
    except OSError:
        return EXIT_SPEC
    if ours:
        now = time.time()
        record = {
            "version": 1,
            "name": name,
            "outcome": "failed",
            "step": None,
            "exit_code": None,
            "signal": None,
            "started_at": now,
            "ended_at": now,
            "wall_s": 0.0,
            "cpu_s": 0.0,
            "peak_memory_bytes": 0,
            "steps": [],
            "stop": None,
            "message": message[:2000],
            "log_bytes_cut": 0,
            "host": identity["host"],
            "pid": identity["pid"],
        }
        _write_exit(run_dir, record)
    return EXIT_SPEC


def _write_exit(run_dir: Path, record: dict[str, Any]) -> None:
    """A job without its record counts as lost, so that what fills a disk for a moment is waited for."""
    for pause in _PAUSES_S:
        try:
            rundir.write_exit(run_dir, record)
            return
        except OSError as error:
            _say(f"rea.job: {rundir.record_of(run_dir)} could not be written: {error}")
            time.sleep(pause)


def _say(text: str) -> None:
    """Into the wrapper's log, which may be on the full disk that it is about."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)
