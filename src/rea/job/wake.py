"""The last act of a wrapper: say that the job has ended."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from rea.job import alive, rundir
from rea.job.spec import Wake

ATTENTION_S = 5.0


def wake(call: Wake, name: str, run_dir: Path) -> list[str]:
    """Drop the wake file and start the command, detached, its output in wake.log. Returns what went wrong.

    A lost wake costs time, never the job's outcome: timers and sweeps find what it missed.
    """
    problems = []
    dropped = False
    try:
        call.file.parent.mkdir(parents=True, exist_ok=True)
        try:
            rundir.write_atomically(call.file, {"name": name, "at": time.time()})
        except OSError:
            call.file.touch()  # its name is what counts, and an empty file may fit where nothing else does
        dropped = True
    except OSError as error:
        problems.append(f"wake file {call.file} could not be written: {error}")
    if call.command is not None and not (dropped and _seen_to(call)):
        try:
            _start(call, run_dir)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            problems.append(f"wake command {call.command[0]} could not be started: {error}")
    return problems


def _seen_to(call: Wake) -> bool:
    """Whether a daemon or a waiting command took the wake file away. One that is there is given a few seconds."""
    deadline = time.monotonic() + ATTENTION_S
    while any(alive.held(path) for path in call.attended) and time.monotonic() < deadline:
        if not call.file.exists():
            return True
        time.sleep(0.05)
    return False


def _start(call: Wake, run_dir: Path) -> None:
    assert call.command is not None
    try:
        log = rundir.open_own(run_dir / rundir.WAKE_LOG, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    except OSError:
        log = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        child = subprocess.Popen(
            call.command,
            cwd=call.cwd,
            env=dict(call.env),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.close(log)
    # It outlives this process and is nobody's to wait for; this keeps Popen from complaining about that.
    child.returncode = 0
