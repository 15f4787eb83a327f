"""A run goes on from the newest checkpoint that is whole."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from rea.executor.checkpoints import last_good


def saved(folder: Path, name: str, at: float, *, torn: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", os.urandom(5000))
    if torn:
        path.write_bytes(path.read_bytes()[:2500])
    os.utime(path, (at, at))
    return path


def test_the_newest_whole_one_of_all_attempts_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    whole = saved(first, "checkpoint-1.pt", 100.0)
    saved(first, "checkpoint-2.pt", 200.0, torn=True)
    newest = saved(second, "checkpoint-1.pt", 300.0)
    (second / "checkpoint-9.pt").touch()
    assert last_good([first], "checkpoint-*.pt") == whole
    assert last_good([first, second], "checkpoint-*.pt") == newest
    assert last_good([first, second], "checkpoint-*.pt", {str(newest)}) == whole, (
        "one that a run failed on is passed over"
    )


def test_a_changed_byte_inside_is_found_and_a_link_is_none(tmp_path: Path) -> None:
    path = saved(tmp_path, "checkpoint-1.pt", 100.0)
    content = bytearray(path.read_bytes())
    content[1000] ^= 0xFF
    path.write_bytes(bytes(content))
    (tmp_path / "checkpoint-2.pt").symlink_to(saved(tmp_path / "elsewhere", "x.pt", 100.0))
    assert last_good([tmp_path], "checkpoint-*.pt") is None
