"""Files with a limit: a log that keeps its head and tail, and a reader of complete lines."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from rea.job import rundir

_READ_BYTES: Final = 4 * 1024 * 1024
_LINE_BYTES: Final = 1024 * 1024


class CappedLog:
    """A file that never grows beyond `cap` bytes: the first half of the cap stays, the rest keeps the latest output.

    While the job runs, the second half is a ring on disk, so that nothing is held in memory and a killed wrapper loses
    nothing; `close` puts the ring in order and writes, in the middle, how many bytes were cut. A disk that fills up
    lowers the cap to what fitted; no write raises, because a trainer must never wait for its log.
    """

    def __init__(self, path: Path, cap: int) -> None:
        self._cap = cap
        self._head = cap // 2
        self._size = 0  # bytes in the file
        self._ring_at = 0  # offset in the ring where the next byte goes, once the file has its full size
        self.total = 0  # bytes given to `write`
        self.cut = 0  # bytes not in the file; final after `close`
        self._file: int | None = None
        try:
            self._file = rundir.open_own(path, os.O_CREAT | os.O_TRUNC | os.O_RDWR)
        except OSError:
            self._cap = self._head = 0

    def write(self, data: bytes) -> None:
        self.total += len(data)
        view = memoryview(data)
        if self._size < self._cap:
            grown = self._put(view[: self._cap - self._size], self._size)
            self._size += grown
            view = view[grown:]
            if view and self._size < self._cap:  # the disk is full: what fitted is all there will be
                self._cap = self._size
                self._head = min(self._head, self._cap // 2)
        ring = self._cap - self._head
        if ring <= 0:
            return
        if len(view) > ring:  # only its end can survive
            skipped = len(view) - ring
            self._ring_at = (self._ring_at + skipped) % ring
            view = view[skipped:]
        while view:
            part = view[: ring - self._ring_at]
            self._put(part, self._head + self._ring_at)
            self._ring_at = (self._ring_at + len(part)) % ring
            view = view[len(part) :]

    def close(self) -> None:
        """Put head, note and tail in order. Never raises."""
        if self._file is None:
            self.cut = self.total
            return
        self.cut = self.total - self._size
        if self.cut > 0:
            with contextlib.suppress(OSError):
                self._order()
        os.close(self._file)
        self._file = None

    def _order(self) -> None:
        assert self._file is not None
        ring = self._cap - self._head
        tail = os.pread(self._file, ring, self._head)
        tail = tail[self._ring_at :] + tail[: self._ring_at]
        # The note takes the room of the oldest bytes of the tail, which it then counts as cut.
        note = b""
        for _ in range(3):
            kept = max(0, ring - len(note))
            note = b"\n[rea: %d bytes cut here]\n" % (self.total - self._head - kept)
        if len(note) > ring:
            return
        self.cut = self.total - self._head - kept
        os.pwrite(self._file, note + tail[ring - kept :], self._head)

    def _put(self, data: memoryview, offset: int) -> int:
        """Bytes written at `offset`; fewer than asked where the disk is full."""
        done = 0
        with contextlib.suppress(OSError):
            while self._file is not None and done < len(data):
                written = os.pwrite(self._file, data[done:], offset + done)
                if not written:
                    break
                done += written
        return done


class LineReader:
    """The complete new lines of a file that another process appends to.

    A torn last line waits for its end; a line longer than a mebibyte is left out; a file that shrank is read anew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._torn = b""
        self._oversized = False

    def read(self) -> list[bytes]:
        """Lines without their newline, at most four mebibytes of them at once. Never raises."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return []
        try:
            if os.fstat(descriptor).st_size < self._offset:
                self._offset, self._torn, self._oversized = 0, b"", False
            data = os.pread(descriptor, _READ_BYTES, self._offset)
        except OSError:
            return []
        finally:
            os.close(descriptor)
        self._offset += len(data)
        *lines, self._torn = (self._torn + data).split(b"\n")
        if self._oversized and lines:
            del lines[0]
            self._oversized = False
        if len(self._torn) > _LINE_BYTES:
            self._torn, self._oversized = b"", True
        return [line for line in lines if len(line) <= _LINE_BYTES]
