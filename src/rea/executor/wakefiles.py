"""Wake files and the lock of a campaign: how processes of one machine call and keep out of each other.

A wake file is a hint that a job has ended: `<campaign>.<job>`, dropped by the job's wrapper. Several stores may share
the folder; each looks at the files of its own jobs only.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rea.domain.jobs import ATTENDED, job_prefix


@dataclass(frozen=True, slots=True)
class WakeFiles:
    """Those of the store `uid` under `runs`, the root of all run directories."""

    runs: Path
    uid: str

    @property
    def folder(self) -> Path:
        return self.runs / "wake"

    def file(self, campaign: int, job: str) -> Path:
        """What the wrapper of a job drops at its end."""
        return self.folder / f"{campaign}.{job}"

    def attended(self, campaign: int) -> tuple[Path, ...]:
        """Locks that somebody holds who will see the file: a daemon, or a command that waits for the campaign."""
        return self.folder / ATTENDED, self.folder / f"{ATTENDED}-{campaign}"

    def waiting(self) -> set[int]:
        """Campaigns for which a file lies ready."""
        names = (entry.name for entry in os.scandir(self.folder)) if self.folder.is_dir() else ()
        return {id_ for name in names if (id_ := self.campaign_of(name)) is not None}

    def campaign_of(self, name: str) -> int | None:
        """The campaign that a file of this name calls; None where it is no wake file of this store."""
        found = re.match(rf"(\d+)\.{re.escape(job_prefix(self.uid))}", name)
        return int(found.group(1)) if found else None

    def take(self, campaign: int) -> None:
        """Take a campaign's files away before looking: one dropped from now on is a reason to look again."""
        if self.folder.is_dir():
            for path in self.folder.glob(f"{campaign}.{job_prefix(self.uid)}*"):
                path.unlink(missing_ok=True)

    @contextmanager
    def lock(self, campaign: int) -> Iterator[str | None]:
        """The name under which to hold the campaign, while the block runs; None while another process here does.

        The kernel frees the lock the moment its holder dies.
        """
        import fcntl

        folder = self.runs / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        host = socket.gethostname()
        file = os.open(folder / f"{self.uid}-C{campaign}-{host}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield None
            else:
                yield f"host:{host}"
        finally:
            os.close(file)
