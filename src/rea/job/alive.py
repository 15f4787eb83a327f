"""Whether a job runs, for who has no time to import anything: three names of rea.job.rundir and one look at them."""

from __future__ import annotations

import fcntl
import os

STARTED = "started"  # the fence
ALIVE = "alive.lock"  # held while the wrapper lives
EXIT = "exit.json"  # the wrapper's own record, written last


def runs_on(run_dir: str) -> bool:
    """True where the job was started, has left no record of its end, and its wrapper holds the lock.

    False says nothing. Raises OSError where the directory cannot be read or its file system cannot lock.
    """
    if os.path.lexists(os.path.join(run_dir, EXIT)) or not os.path.lexists(os.path.join(run_dir, STARTED)):
        return False
    probe = os.open(os.path.join(run_dir, ALIVE), os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(probe)
    return False
