"""The watcher's own log: one JSON object a line, on standard error or in a file that stays small."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path

CAP_BYTES = 1024 * 1024  # of the file; the one before it is kept as FILE.1


class Log:
    """Writes to `path`, or to standard error where that is None. No write raises: the watching goes on without.

    Several processes may write to one file: each line is one write, and who finds the file moved on opens it anew.
    Raises OSError where the file cannot be opened at first.
    """

    def __init__(self, path: Path | None, cap: int = CAP_BYTES) -> None:
        self._path, self._cap = path, cap
        self._file = None if path is None else self._open(path)

    def write(self, event: str, **values: object) -> None:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime()) + time.strftime("%z")
        line = json.dumps({"at": at, "event": event, "pid": os.getpid(), **values}, ensure_ascii=False) + "\n"
        if self._path is None:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(line)
                sys.stderr.flush()
            return
        data = line.encode("utf-8", "replace")
        with contextlib.suppress(OSError):
            self._turn(self._path, len(data))
        with contextlib.suppress(OSError):
            if self._file is not None:
                os.write(self._file, data)

    def _turn(self, path: Path, more: int) -> None:
        """Make sure that what is open is the file of this name, and has room."""
        mine = os.fstat(self._file) if self._file is not None else None
        there = path.stat() if path.exists() else None
        moved = mine is None or there is None or (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino)
        if not moved and mine is not None and mine.st_size + more > self._cap:
            path.replace(path.with_name(f"{path.name}.1"))
            moved = True
        if moved:
            fresh = self._open(path)
            if self._file is not None:
                os.close(self._file)
            self._file = fresh

    @staticmethod
    def _open(path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
