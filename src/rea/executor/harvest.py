"""Reading what an ended job left in its run directory. Bounded: a trainer may write anything."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from rea.codebase.overrides import METRICS_FILE
from rea.codebase.resolved import Resolved, read
from rea.domain import plainfile

METRICS_BYTES = 8 * 2**20
TAIL_BYTES = 64 * 2**10
LINE_BYTES = 256 * 2**10
MOST_STRAYS = 50
TRAIN, EVALUATE = "train", "evaluate"  # the names of a run's two steps


@dataclass(frozen=True, slots=True)
class Harvest:
    """`lines` are the trainer's metric lines, `evaluated` the evaluator's by step name; `log_tail` is what the last
    step of the job (the failing one, if one failed) said at its end, `trainer_tail` what the trainer did."""

    folder: Path = Path()
    lines: tuple[Mapping[str, Any], ...] = ()
    bad_lines: int = 0
    metrics_bytes: int | None = None  # size of the metrics file; None where there is none
    evaluated: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    log_tail: str = ""
    trainer_tail: str = ""
    strays: tuple[str, ...] = ()  # other files in the directory with a final line: the trainer's output among them
    resolved: Resolved | None = None  # the config the trainer reported

    @property
    def finished(self) -> bool:
        """Whether the trainer wrote its final line."""
        return any(line.get("final") is True for line in self.lines)


def harvest(run_dir: Path, step: str | None) -> Harvest:
    """Read one run directory; what is missing is simply absent."""
    metrics = run_dir / METRICS_FILE
    lines, bad = json_lines(plainfile.head(metrics, METRICS_BYTES))
    evaluated: dict[str, Mapping[str, Any]] = {}
    for path in sorted(run_dir.glob("step-*.jsonl")):
        found, _ = json_lines(plainfile.head(path, METRICS_BYTES))
        if found:
            evaluated[path.stem.removeprefix("step-")] = found[-1]
    finished = any(line.get("final") is True for line in lines)
    return Harvest(
        folder=run_dir,
        lines=tuple(lines),
        bad_lines=bad,
        metrics_bytes=plainfile.size(metrics),
        evaluated=evaluated,
        log_tail=_log(run_dir, step),
        trainer_tail=_log(run_dir, TRAIN),
        strays=() if finished else _strays(run_dir),
        resolved=read(run_dir),
    )


def _log(run_dir: Path, step: str | None) -> str:
    """The end of a step's log and of the wrapper's."""
    logs = [run_dir / f"{step}.log"] if step else []
    logs += [run_dir / "wrapper.log"]
    return "\n".join(text for text in map(_tail, logs) if text.strip())[-TAIL_BYTES:]


def _strays(run_dir: Path) -> tuple[str, ...]:
    """Files in which the trainer left the final line that its metrics lack, by their names in the directory."""
    written = islice(chain(run_dir.glob("*.json*"), run_dir.glob("*/*.json*")), MOST_STRAYS)
    places = [run_dir / f"{TRAIN}.log", *sorted(path for path in written if path != run_dir / METRICS_FILE)]
    rows = {path: json_lines(_tail(path).encode())[0] for path in places}
    found = [path for path, seen in rows.items() if any(row.get("final") is True for row in seen)]
    return tuple(str(path.relative_to(run_dir)) for path in found)


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


def _tail(path: Path) -> str:
    return plainfile.tail(path, TAIL_BYTES).decode("utf-8", "replace")
