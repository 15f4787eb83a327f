"""The processes of a job: which they are, what they use, and how to reach them without hitting a stranger.

Linux: everything comes from /proc, and the wrapper makes itself the reaper of orphans (PR_SET_CHILD_SUBREAPER), so that
a process whose parent died, also one that called setsid, stays a descendant of the wrapper.
Elsewhere (macOS): `ps` stands in for /proc; there is no reaper of orphans, so a process that leaves its group *and*
loses its parent between two samples is not found, and a trainer is not killed with its wrapper.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LINUX: Final = sys.platform.startswith("linux")
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36

Identity = tuple[int, str]  # process id and start time: a reused id has another start time


@dataclass(frozen=True, slots=True)
class Process:
    """`start` is the kernel's start time as text (clock ticks since boot; on macOS a date). RSS in bytes.

    `reaped_s` is what children of it used that have ended and that it has waited for; 0 where that cannot be told.
    """

    pid: int
    ppid: int
    pgid: int
    sid: int
    start: str
    rss: int
    cpu_s: float
    zombie: bool
    reaped_s: float = 0.0

    @property
    def identity(self) -> Identity:
        return self.pid, self.start


def oom_kills() -> int | None:
    """How many processes the kernel has killed since it started because memory ran out; None where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text("ascii").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
    except (OSError, ValueError, IndexError):
        return None


def processes() -> list[Process]:
    """Every process of this machine (of this PID namespace) that could be read."""
    if not LINUX:
        return _from_ps()
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208  (ten times a second on machines with thousands of processes)
        if entry[0] in "123456789":
            process = _from_proc(int(entry))
            if process is not None:
                found.append(process)
    return found


def process(pid: int) -> Process | None:
    """One process, or None if there is no such id."""
    if LINUX:
        return _from_proc(pid)
    return next((found for found in _from_ps() if found.pid == pid), None)


_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_TICK: Final = os.sysconf("SC_CLK_TCK")


def _from_proc(pid: int) -> Process | None:
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = os.read(descriptor, 4096)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    # proc(5): "pid (comm) state ppid pgrp session ..."; comm may hold blanks and brackets.
    fields = text[text.rindex(b")") + 2 :].split()
    return Process(
        pid=pid,
        ppid=int(fields[1]),
        pgid=int(fields[2]),
        sid=int(fields[3]),
        start=fields[19].decode(),
        rss=int(fields[21]) * _PAGE,
        cpu_s=(int(fields[11]) + int(fields[12])) / _TICK,
        zombie=fields[0] in (b"Z", b"X"),
        reaped_s=(int(fields[13]) + int(fields[14])) / _TICK,
    )


def _from_ps() -> list[Process]:
    command = ["ps", "-A", "-o", "pid=,ppid=,pgid=,rss=,time=,state=,lstart="]
    try:
        text = subprocess.run(
            command, capture_output=True, text=True, timeout=10, env={"LC_ALL": "C", **_path()}
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    found = []
    for line in text.splitlines():
        fields = line.split(None, 6)
        if len(fields) == 7:
            pid, ppid, pgid, rss = (int(field) for field in fields[:4])
            # ps(1) of macOS knows no session id; the group stands in for it.
            zombie = fields[5].startswith("Z")
            found.append(Process(pid, ppid, pgid, pgid, fields[6], rss * 1024, _ps_seconds(fields[4]), zombie))
    return found


def _path() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath)}


def _ps_seconds(text: str) -> float:
    """Seconds in the time column of ps: [[dd-]hh:]mm:ss[.ss]."""
    days, _, clock = text.rpartition("-")
    seconds = 0.0
    for part in clock.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds + 86400 * int(days or 0)


def family(
    everyone: Iterable[Process], root: int | None, sessions: Collection[int], known: Collection[Identity]
) -> list[Process]:
    """The living members of a job: descendants of `root` (itself left out), members of its sessions and groups,
    processes known from before, and the descendants of all these. Zombies are left out, their children are not.
    """
    everyone = list(everyone)
    children: dict[int, list[Process]] = {}
    for candidate in everyone:
        children.setdefault(candidate.ppid, []).append(candidate)
    members: dict[int, Process] = {}
    pending = [] if root is None else list(children.get(root, ()))
    pending += [p for p in everyone if p.pgid in sessions or p.sid in sessions or p.identity in known]
    while pending:
        member = pending.pop()
        if member.pid not in members and member.pid != root:
            members[member.pid] = member
            pending += children.get(member.pid, ())
    return [member for member in members.values() if not member.zombie]


def memory(members: Collection[Process]) -> int:
    """Bytes of memory that these processes hold together.

    One process: its resident set. Several: the sum of their proportional sets (PSS), which counts a page that forked
    workers share once and not once per worker; a process that may not be read counts with its resident set.
    """
    if len(members) <= 1:
        return sum(member.rss for member in members)
    return sum(min(member.rss, _proportional(member)) for member in members)


def _proportional(member: Process) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{member.pid}/smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return member.rss


def has_variable(pid: int, name: str, value: str) -> bool:
    """Whether a process was started with this environment variable; False where that cannot be known."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return os.fsencode(f"{name}={value}") in environment.split(b"\0")


def send(identity: Identity, number: signal.Signals) -> bool:
    """Signal this very process; False if it is gone. Raises PermissionError if it belongs to someone else."""
    pid, start = identity
    if hasattr(os, "pidfd_open"):
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            return False
        try:
            # The descriptor pins the process first and the start time is read after: no reuse can slip in between.
            found = process(pid)
            if found is None or found.start != start:
                return False
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True
    found = process(pid)
    if found is None or found.start != start:
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def boot_id() -> str:
    """Changes with every boot, so that start times of two boots are never compared; empty where nobody knows."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def adopt_orphans() -> bool:
    """Make this process the parent of its orphaned descendants; False where the system cannot."""
    return LINUX and _prctl()(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def die_with_parent() -> Callable[[], None]:
    """For use between fork and exec: the child is killed when its parent dies (Linux).

    Only this direct child is; what it starts itself is not (prctl(2), PR_SET_PDEATHSIG).
    """
    if not LINUX:
        return lambda: None
    prctl, parent = _prctl(), os.getpid()

    def set_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return set_signal


def _prctl() -> Callable[..., int]:
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    prctl.restype = ctypes.c_int
    function: Callable[..., int] = prctl
    return function
