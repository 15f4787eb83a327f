"""Signals to the wrapper, as something its loop can wait for."""

from __future__ import annotations

import os
import signal
from typing import Final

_CANCELLING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class Signals:
    """Turns signals into something the loop can wait for.

    Handlers rather than SIG_IGN throughout: what is ignored stays ignored across exec, and trainers would inherit it.
    """

    def __init__(self) -> None:
        self.cancelled = False
        self.pipe, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else _pipe()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, lambda *_: None)  # the terminal or the submitter went away: no concern of the job
        for number in _CANCELLING:
            signal.signal(number, self._cancel)

    def _cancel(self, *_: object) -> None:
        self.cancelled = True


def _pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    return reader, writer
