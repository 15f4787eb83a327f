"""The files through which a wrapper and its observers meet, and the order that makes them trustworthy.

A wrapper, at its start:   1. locks `alive.lock` (flock, exclusive, held until the process is gone)
                           2. creates `started` (O_CREAT|O_EXCL: the fence, at most one start of a run directory)
                           3. writes its identity into `alive.lock`, reserves room for its record, starts the trainer
and at its end:            4. renames the finished record into place, beside the run directory (`record_of`), puts a
                              copy of it into the directory (`exit.json`), drops the lock, and wakes the executor.

So an observer that looks in this order is never wrong:
                           a. `started` exists and the lock is held    → running
                           b. the record exists                        → ended, with the outcome it names
                           c. `started` does not exist                 → not started; whoever creates `started` now
                                                                         makes sure that it never will be
                           d. the lock is held (looked at again)       → it started between a and c: running
                           e. the record exists (looked at again)      → and has ended already
                           f. otherwise                                → lost: by 1-2 a started wrapper holds the lock
A trainer writes into its run directory whatever it likes, in a sandbox nowhere else: so how it ended is not read there.
`kill -0` is no sign of life: it is true for zombies and for reused process ids.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from rea.job import alive

SPEC: Final = "job.json"  # what the launcher wrote
STARTED: Final = alive.STARTED
ALIVE: Final = alive.ALIVE
CANCEL: Final = alive.CANCEL
HEARTBEAT: Final = "heartbeat"  # {"time", "step", "rss"}
GROUP: Final = "pgid"  # behind the directory's name: the processes of the running step, for who finds the wrapper dead
MARK: Final = "REA_JOB_MARK"  # a variable that only this job's processes have; its value stands in `pgid`
EXIT: Final = alive.EXIT  # a copy of the record, for people, and for who observed jobs before there was another
RESERVE: Final = "exit.reserve"  # behind the directory's name: room for the record on a disk that is full by then
WRAPPER_LOG: Final = "wrapper.log"
WAKE_LOG: Final = "wake.log"
RESERVED: Final = frozenset(
    {SPEC, STARTED, ALIVE, CANCEL, HEARTBEAT, GROUP, EXIT, RESERVE, WRAPPER_LOG, WAKE_LOG},
)
EXIT_BYTES: Final = 8192
_MOST_BYTES: Final = 4 * 2**20  # of a file that is read here
_LOCK_PATIENCE_S: Final = 30.0


class NoLocksError(Exception):
    """The file system of the run directory cannot lock files."""


def record_of(run_dir: Path) -> Path:
    """Where the wrapper writes how the job in this directory ended."""
    return run_dir.with_name(f"{run_dir.name}.{EXIT}")


def group_of(run_dir: Path) -> Path:
    """Where the wrapper writes which processes are the job's: whoever finds it dead kills them."""
    return run_dir.with_name(f"{run_dir.name}.{GROUP}")


def reserve_of(run_dir: Path) -> Path:
    return run_dir.with_name(f"{run_dir.name}.{RESERVE}")


def take_fence(run_dir: Path, note: Mapping[str, Any]) -> bool:
    """Create `started`; False if it exists already. True for exactly one caller, ever.

    Raises OSError if the directory cannot be written.
    """
    try:
        fence = os.open(run_dir / STARTED, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        return False
    # The fence is the file's existence; on a full disk it stays empty.
    with contextlib.suppress(OSError):
        os.write(fence, _encode({**note, "at": time.time()}))
        os.fsync(fence)
    os.close(fence)
    sync_directory(run_dir)
    return True


def take_over(run_dir: Path, identity: Mapping[str, Any]) -> int | None:
    """Lock first, then fence. The descriptor of the held lock, or None if this run directory was started before.

    The descriptor is closed on exec, so a trainer cannot keep the lock alive.
    Raises NoLocksError, or OSError if the directory cannot be written.
    """
    started = run_dir / STARTED
    if started.exists():
        return None
    lock = os.open(run_dir / ALIVE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    patience = time.monotonic() + _LOCK_PATIENCE_S
    try:
        # Another wrapper may hold the lock and be about to create the fence, or may be dying before it could.
        while not _try_lock(lock, fcntl.LOCK_EX):
            if started.exists() or time.monotonic() > patience:
                os.close(lock)
                return None
            time.sleep(0.02)
        if not take_fence(run_dir, identity):
            os.close(lock)
            return None
    except BaseException:
        with contextlib.suppress(OSError):
            os.close(lock)
        raise
    with contextlib.suppress(OSError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, _encode(identity), 0)
    return lock


def is_alive(run_dir: Path) -> bool:
    """True while a wrapper of this run directory holds its lock. Raises NoLocksError, or OSError on an I/O error."""
    try:
        probe = os.open(run_dir / ALIVE, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(probe, fcntl.LOCK_SH)
    finally:
        os.close(probe)


def _try_lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL):
            raise NoLocksError(
                f"this file system cannot lock files ({error.strerror}); mount it with locks or move REA_RUNS"
            ) from error
        raise
    return True


def open_own(path: Path, flags: int, mode: int = 0o644) -> int:
    """Open a file of the wrapper's in a directory in which a trainer writes, too.

    What a trainer has put in its place (a link that leads elsewhere, a pipe that would block) is removed: the wrapper
    may write where the trainer may not. Raises OSError.
    """
    for _ in range(2):
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(path).st_mode):
                path.unlink()
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
    raise OSError(errno.EEXIST, "something that is no file is put in its place again and again", str(path))


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file; None if there is no plain file, or no object in it. Raises OSError on an I/O error.

    A link, a pipe, a directory, a device are nothing, whoever put them there; nothing is waited for.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket
            return None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    with os.fdopen(descriptor, "rb") as stream:
        data = stream.read(_MOST_BYTES)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def write_atomically(path: Path, value: Mapping[str, Any], *, durable: bool = False, mode: int = 0o644) -> None:
    """A reader sees the old content or the new, never a part. Raises OSError, leaving nothing behind."""
    data = _encode(value)
    draft = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with os.fdopen(open_own(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode), "wb") as stream:
            stream.write(data)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    if durable:
        sync_directory(path.parent)


def reserve_exit(run_dir: Path) -> bool:
    """Set aside the room that the record will need. False if the disk has not even that."""
    reserve = reserve_of(run_dir)
    try:
        with os.fdopen(open_own(reserve, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), "wb") as stream:
            stream.write(b" " * EXIT_BYTES)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            reserve.unlink()
        return False
    return True


def write_exit(run_dir: Path, record: Mapping[str, Any]) -> None:
    """Write the record: atomic, durable, and possible on a full disk if `reserve_exit` succeeded; then its copy, if
    that can be.

    The record goes into the reserved file, whose blocks exist already, and that file takes the name.
    Raises OSError if it could not be written at all.
    """
    _write_record(run_dir, record)
    with contextlib.suppress(OSError):
        write_atomically(run_dir / EXIT, record)


def _write_record(run_dir: Path, record: Mapping[str, Any]) -> None:
    data = _encode(record)
    reserve, target = reserve_of(run_dir), record_of(run_dir)
    with contextlib.suppress(OSError):
        descriptor = open_own(reserve, os.O_WRONLY)
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(descriptor, data[done:], done)
            os.ftruncate(descriptor, len(data))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        reserve.replace(target)
        sync_directory(target.parent)
        return
    with contextlib.suppress(OSError):
        reserve.unlink()
    write_atomically(target, record, durable=True)


def sync_directory(directory: Path) -> None:
    """Make names durable. Some network file systems refuse; they are durable on close, or not at all."""
    with contextlib.suppress(OSError), _opened(directory) as descriptor:
        os.fsync(descriptor)


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _encode(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, allow_nan=False) + "\n").encode()
