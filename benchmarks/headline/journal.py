"""What was trained, line by line: every run is appended as soon as it ended, and nothing known is trained again."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.headline.configs import Scalar, key

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "headline"

Record = dict[str, Any]


class Journal:
    """The lines of one search, or of one task's verdict. A torn last line, of a killed process, is cut off."""

    def __init__(self, path: Path):
        self.path = path
        self.records = read(path, mend=True)

    def append(self, record: Mapping[str, Any]) -> Record:
        """Writes the record at once, with where and when, and returns it as it stands in the file."""
        line = {**record, **stamp()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.records.append(line)
        return line


def read(path: Path, *, mend: bool = False) -> list[Record]:
    """The records of a file, none where there is no file. A last line without its end is not counted."""
    if not path.is_file():
        return []
    text = path.read_bytes()
    end = text.rfind(b"\n") + 1
    if mend and end < len(text):
        with path.open("rb+") as file:
            file.truncate(end)
    return [json.loads(line) for line in text[:end].splitlines()]


def known(task: str, results: Path = RESULTS) -> dict[str, Record]:
    """Every whole run of a task by its identity, whichever tuner it was trained for.

    Not those of REA's campaigns: their CPU-seconds include an evaluation.
    """
    found: dict[str, Record] = {}
    for path in sorted(results.glob(f"{task}.*.jsonl")):
        if path.name == f"{task}.verdict.jsonl":
            continue
        for record in read(path):
            if (
                record["purpose"] in ("search", "confirm", "retest")
                and record["ne"] is not None
                and "phase" not in record
            ):
                found.setdefault(key(task, record["config"], record["seed"]), record)
    return found


@cache
def _place() -> tuple[str, str]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return f"{platform.machine()}, {os.cpu_count()} cores", commit


def stamp() -> Record:
    machine, commit = _place()
    return {"machine": machine, "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "commit": commit}


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether this process may work on what `path` names: False while another one does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def same(left: Mapping[str, Scalar], right: Mapping[str, Scalar]) -> bool:
    return key("", left, 0) == key("", right, 0)
