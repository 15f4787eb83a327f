"""Reading files that somebody else may have put there: never a link, never a pipe, never more than was asked for; and
what keeps this user from reading one."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A regular file for reading. Raises OSError, also for a link, whatever it leads to, and for what would block."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no regular file")
        yield file


def text(path: Path, most: int = 4 * 2**20) -> str:
    """The text of a file that a person keeps, also through a link; bounded, and nothing is waited for.

    Raises OSError, also for what is no regular file or is larger than `most` bytes; UnicodeDecodeError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is no regular file")
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(f"it is larger than {most // 2**20} MiB")
    return data.decode()


def head(path: Path, most: int) -> bytes:
    """The first bytes of a file; none where it is no plain file or cannot be read."""
    try:
        with opened(path) as file:
            return file.read(most)
    except OSError:
        return b""


def tail(path: Path, most: int) -> bytes:
    """The last bytes of a file; none where it is no plain file or cannot be read."""
    try:
        with opened(path) as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - most))
            return file.read(most)
    except OSError:
        return b""


def size(path: Path) -> int | None:
    """In bytes; None where there is no plain file."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def shut(path: Path) -> Path | None:
    """What keeps this user from reading `path`: the first folder above it that lets nobody like them in, or itself.
    None where nothing does, or nothing is there."""
    for place in (*reversed(path.absolute().parents), path.absolute()):
        needs = (os.X_OK if place.is_dir() else 0) | (os.R_OK if place == path.absolute() else 0)
        if not os.access(place, needs):
            return place if os.path.lexists(place) else None
    return None
