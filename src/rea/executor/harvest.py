"""Reading what an ended job left in its run directory. Bounded: a trainer may write anything."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rea.codebase.resolved import Resolved, read

METRICS_BYTES = 8 * 2**20
TAIL_BYTES = 64 * 2**10
LINE_BYTES = 256 * 2**10


@dataclass(frozen=True, slots=True)
class Harvest:
    """`lines` are the trainer's metric lines, `evaluated` the evaluator's by step name; `log_tail` the failing step's
    last output."""

    lines: tuple[Mapping[str, Any], ...] = ()
    bad_lines: int = 0
    evaluated: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    log_tail: str = ""
    resolved: Resolved | None = None  # the config the trainer reported


def harvest(run_dir: Path, step: str | None) -> Harvest:
    """Read one run directory; what is missing is simply absent."""
    lines, bad = json_lines(_read(run_dir / "metrics.jsonl", METRICS_BYTES))
    evaluated: dict[str, Mapping[str, Any]] = {}
    for path in sorted(run_dir.glob("step-*.jsonl")):
        found, _ = json_lines(_read(path, METRICS_BYTES))
        if found:
            evaluated[path.stem.removeprefix("step-")] = found[-1]
    logs = [run_dir / f"{step}.log"] if step else []
    logs += [run_dir / "wrapper.log"]
    tails = [text for text in (_tail(path) for path in logs) if text.strip()]
    return Harvest(tuple(lines), bad, evaluated, "\n".join(tails)[-TAIL_BYTES:], read(run_dir))


def json_lines(data: bytes) -> tuple[list[Mapping[str, Any]], int]:
    """The JSON objects among the lines and how many lines were bad. A torn last line is no bad line."""
    rows: list[Mapping[str, Any]] = []
    bad = 0
    pieces = data.split(b"\n")
    for number, piece in enumerate(pieces):
        text = piece.strip()
        if not text:
            continue
        try:
            row = json.loads(text) if len(text) <= LINE_BYTES else None
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            rows.append(row)
        elif number < len(pieces) - 1:
            bad += 1
    return rows, bad


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The numeric entries of a line, NaN and infinity included."""
    out: dict[str, float] = {}
    for key, value in row.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                out[key] = float(value)
            except OverflowError:
                out[key] = math.inf
    return out


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError:
        return b""


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            return file.read(TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
