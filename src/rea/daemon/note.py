"""The lock file by which others see that a watcher is there, and what the last one wrote into it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rea.job import alive

ATTENDED = ".attended"


class Note:
    """Holds the lock as long as the process lives; the kernel drops it, however the process ends.

    The lock is shared: two watchers do no harm. What stands in the file is of whoever wrote last, and a hint only.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / ATTENDED
        self._file = -1

    def hold(self) -> None:
        """Take the lock; again where the folder was made anew since. Raises OSError where that cannot be done."""
        if self._file >= 0:
            with contextlib.suppress(FileNotFoundError):
                there, mine = self._path.stat(), os.fstat(self._file)
                if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
                    return
            os.close(self._file)
            self._file = -1
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(file, fcntl.LOCK_SH)
        self._file = file

    def write(self, values: Mapping[str, Any]) -> None:
        """A full disk takes nothing away but the note."""
        data = json.dumps(values).encode()
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, data, 0)


def held(folder: Path) -> bool:
    """Whether a watcher lives that sees the wake files in `folder`."""
    return alive.held(folder / ATTENDED)


def read(folder: Path) -> dict[str, Any]:
    """What the last watcher wrote; empty where there is nothing, or it is being written just now."""
    try:
        found = json.loads((folder / ATTENDED).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
