"""Whether what is about to judge is what it was when the job began, and judges only what it may see.

A trainer without a box can write where the evaluator starts from, and put everything back afterwards. So one looks in
between: when nothing of the trainer runs any more, and before the evaluator does.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_SOURCE: Final = (".py", ".pth", ".sh", ".pyc")
_CODE: Final = (*_SOURCE, ".so", ".pyd")
_CACHE: Final = "__pycache__"
_MOST_BYTES: Final = 16 * 2**20  # of one file; of a larger one its size has to do


class Code:
    """The code below a folder, as it is now: in the folders that hold some already, so that what a trainer writes to
    folders of its own does not count. Source that is added to those does, since an evaluator would import it; libraries
    that a trainer builds there do not.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folders = []
        for parent, below, names in os.walk(root):
            below[:] = [name for name in below if name != _CACHE and not name.startswith(".")]
            if any(name.endswith(_CODE) for name in names):
                self.folders.append(os.path.relpath(parent, root))
        self.files = self._read()

    def changed(self) -> str:
        """A file that is not what it was; empty if there is none. Compiled code, which Python would run in place of
        its source, is removed."""
        for folder in self.folders:
            cache = self.root / folder / _CACHE
            with contextlib.suppress(OSError):
                cache.unlink()  # where it is a link; a folder stays
            shutil.rmtree(cache, ignore_errors=True)
        before, now = self.files, self._read()
        changed = {name for name, content in before.items() if now.get(name) != content}
        added = {name for name in now.keys() - before.keys() if name.endswith(_SOURCE)}
        return min(changed | added, default="")

    def _read(self) -> dict[str, str]:
        found = {}
        for folder in self.folders:
            try:
                names = os.listdir(self.root / folder)
            except OSError:
                continue
            for name in names:
                if name.endswith(_CODE):
                    path = os.path.normpath(os.path.join(folder, name))
                    found[path] = _content(self.root / path)
        return found


def _content(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return "unreadable"
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            return "no file"
        if about.st_size > _MOST_BYTES:
            return str(about.st_size)
        read = hashlib.sha256()
        while part := os.read(descriptor, 2**20):
            read.update(part)
        return read.hexdigest()
    except OSError:
        return "unreadable"
    finally:
        os.close(descriptor)


def links_into(folder: Path, hidden: Iterable[str]) -> str | None:
    """The first link below a folder that leads to or into one of these paths: who follows it sees what is hidden."""
    places = [os.path.realpath(path) for path in hidden]
    if not places:
        return None
    for parent, below, names in os.walk(folder):
        for name in (*below, *names):
            path = os.path.join(parent, name)
            if os.path.islink(path):
                target = os.path.realpath(path)
                if any(target == place or target.startswith(place + os.sep) for place in places):
                    return os.path.relpath(path, folder)
    return None
