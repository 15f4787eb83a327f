"""Start `rea wake` when a wake file appears, and every so often.

It never opens the store. Killing it loses nothing; two of them do no harm, because a wake takes a lease.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from rea.daemon.calls import Calls
from rea.daemon.log import Log
from rea.daemon.note import Note
from rea.daemon.nudge import Nudge

POLL_S = 0.5
BLIND_S = 5.0  # until it looks again for a folder that cannot be read
LONGEST_WAKE_S = 1800.0  # one that takes longer hangs, and is ended: the next goes on from what it wrote
SAID_BYTES = 2000  # of what a failed wake said, its end


class _SignalledError(Exception):
    """A signal has asked for the end."""


def watch(folder: Path, sweep_s: float, log: Log, command: Sequence[str]) -> int:
    """Watch until a signal comes. 0 after SIGTERM, else 128 and the signal's number."""
    note, calls = Note(folder), Calls(sweep_s)
    seen: dict[str, object] = {"pid": os.getpid(), "host": socket.gethostname(), "started_at": time.time()}
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _end)
    nudge = Nudge()
    try:
        log.write("started", folder=str(folder), sweep_s=sweep_s)
        blind = False
        while True:
            try:
                note.hold()
                if blind or "swept_at" not in seen:
                    note.write(seen)
                nudge.watch(folder)
                files = _waiting(folder)
            except OSError as error:
                if not blind:
                    log.write("blind", folder=str(folder), error=str(error))
                blind = True
                time.sleep(BLIND_S)
                continue
            blind = False
            why = calls.reason(files, time.monotonic())
            if why is not None:
                _wake(folder, log, note, calls, seen, command, why, files)
            nudge.wait(POLL_S)
    except _SignalledError as end:
        number = end.args[0]
        with contextlib.suppress(_SignalledError):  # a second signal changes nothing
            log.write("stopped", signal=signal.Signals(number).name)
        return 0 if number == signal.SIGTERM else 128 + int(number)


def _end(number: int, _: FrameType | None) -> None:
    raise _SignalledError(number)


def _waiting(folder: Path) -> frozenset[str]:
    with os.scandir(folder) as entries:
        return frozenset(entry.name for entry in entries if not entry.name.startswith("."))


def _wake(
    folder: Path,
    log: Log,
    note: Note,
    calls: Calls,
    seen: dict[str, object],
    command: Sequence[str],
    why: str,
    files: frozenset[str],
) -> None:
    """One wake at a time: one that is busy looks at the wake files again before it ends."""
    began = time.monotonic()
    code, said = _run(folder, command)
    now = time.monotonic()
    try:
        left = _waiting(folder)
    except OSError:
        left = files
    again_s = calls.ended(code != 0, files, left, now)
    seen |= {"swept_at": time.time(), "exit": code, "failures": calls.failures, "next_sweep_at": time.time() + again_s}
    note.write(seen)
    told = {"why": why, "files": len(files), "left": len(files & left), "took_s": round(now - began, 2)}
    if code:
        log.write("wake failed", exit=code, failures=calls.failures, again_s=again_s, said=said, **told)
    else:
        log.write("woke" if why == "file" else "sweep", **told)


def _run(folder: Path, command: Sequence[str]) -> tuple[int, str]:
    """The exit code of one wake, 128 and the number of a signal that ended it, and the end of what it said."""
    # A file without a name, so that nothing of it is held in memory and nothing stays behind.
    path = folder / f".said.{os.getpid()}"
    try:
        err = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        path.unlink()
    except OSError:
        err = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err)
        note = ""
        try:
            # A signal ends the waiting and not the wake, which is done in a moment and needs nobody.
            code = process.wait(LONGEST_WAKE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code, note = process.wait(), f"it was ended after {LONGEST_WAKE_S:g} s"
        except _SignalledError:
            process.returncode = 0  # it is nobody's to wait for any more
            raise
        size = os.fstat(err).st_size
        said = os.pread(err, SAID_BYTES, max(0, size - SAID_BYTES)).decode("utf-8", "replace").strip()
    except OSError as error:
        return 127, str(error)
    finally:
        os.close(err)
    return code if code >= 0 else 128 - code, "\n".join(filter(None, (said, note)))
