"""Waiting for something to appear in a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
from pathlib import Path

_WHAT = ("DN_CREATE", "DN_RENAME", "DN_MULTISHOT")


class Nudge:
    """Waits a while, and less long where the kernel says that something in a folder has changed.

    It says so (dnotify, Linux) of what this machine writes; what others write to a shared folder, and every change
    where there is no such thing, is seen when the while is over. Made in the main thread, which signals are for.
    """

    def __init__(self) -> None:
        self._file, self._seen = -1, (-1, -1)
        self._told, said = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # A handler that does nothing: the signal's byte in the pipe is what ends the waiting.
        signal.signal(signal.SIGIO, lambda *_: None)
        signal.set_wakeup_fd(said, warn_on_full_buffer=False)

    def watch(self, folder: Path) -> None:
        """Look at this folder, anew where another has taken its place."""
        with contextlib.suppress(OSError, AttributeError):
            there = folder.stat()
            if (there.st_dev, there.st_ino) == self._seen:
                return
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
            self._file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.fcntl(self._file, fcntl.F_NOTIFY, sum(getattr(fcntl, name) for name in _WHAT))
            self._seen = there.st_dev, there.st_ino

    def wait(self, seconds: float) -> None:
        if select.select([self._told], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                os.read(self._told, 4096)
