"""Who lives, by the locks they hold, for who has no time to import anything: jobs by three names of rea.job.rundir,
and whoever attends a folder of wake files."""

from __future__ import annotations

import fcntl
import os

STARTED = "started"  # the fence
ALIVE = "alive.lock"  # held while the wrapper lives
EXIT = "exit.json"  # the end of the name of the wrapper's own record, and the name of its copy
CANCEL = "cancel"  # its existence asks the wrapper to end the job


def runs_on(run_dir: str) -> bool:
    """True where the job was started, was not told to end, has left no record of its end, and its wrapper holds the
    lock.

    False says nothing. Raises OSError where the directory cannot be read or its file system cannot lock.
    """
    if os.path.lexists(f"{run_dir}.{EXIT}") or any(
        os.path.lexists(os.path.join(run_dir, one)) for one in (EXIT, CANCEL)
    ):
        return False
    if not os.path.lexists(os.path.join(run_dir, STARTED)):
        return False
    probe = os.open(os.path.join(run_dir, ALIVE), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(probe)
    return False


def held(path: str | os.PathLike[str]) -> bool:
    """Whether some process holds this lock file."""
    try:
        # To lock it alone, NFS wants the file open for writing.
        file = os.open(path, (os.O_RDWR if os.access(path, os.W_OK) else os.O_RDONLY) | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system that cannot lock: nobody could hold it
    finally:
        os.close(file)
    return False
