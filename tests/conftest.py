"""Fixtures of all tests. Nothing here touches the user's home, keys or git configuration."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.desk import Desk, make_desk


@pytest.fixture
def desks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Makes desks (one per call); whatever still runs on them is ended afterwards."""
    made: list[Desk] = []

    def make(**options: object) -> Desk:
        home = tmp_path / f"desk{len(made)}"
        home.mkdir()
        desk = make_desk(home, **options)  # type: ignore[arg-type]
        made.append(desk)
        for name, value in desk.env.items():
            monkeypatch.setenv(name, value)
        return desk

    yield make
    for desk in made:
        _end_all(desk.home)


@pytest.fixture
def desk(desks: object) -> Desk:
    return desks()  # type: ignore[operator,no-any-return]


def _end_all(home: Path) -> None:
    """End every process whose environment or command line names this folder: it belongs to this test alone."""
    for _ in range(50):
        found = False
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                about = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
                if str(home).encode() in about and (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
                    found = True
            except OSError:
                continue
        if not found:
            return
        time.sleep(0.02)
