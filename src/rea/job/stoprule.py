"""The stop rule: is this run, at this point, worse than the paired baseline allows? Pure."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

_NANS_THAT_STOP: Final = 2


@dataclass(frozen=True, slots=True)
class StopRule:
    """`points` are (x, limit), x strictly ascending; limits already hold baseline plus tolerance."""

    metric: str
    split: str
    direction: str
    points: tuple[tuple[float, float], ...]
    axis: str


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of the metric; `x` is NaN where the line does not say how far the run had got."""

    x: float
    value: float


@dataclass(frozen=True, slots=True)
class Progress:
    """The readings up to now: how many were NaN in a row at the end, and the best value."""

    nans: int = 0
    best: float | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run is stopped: `worse` than the limit of the point it had reached, or `nan` twice running."""

    reason: str
    x: float
    value: float
    point: float | None = None
    limit: float | None = None


def parse_line(rule: StopRule, line: bytes) -> Reading | None:
    """The reading in one line of metrics.jsonl; None if it is about something else or no JSON object."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.get("split") != rule.split:
        return None
    value = _number(record.get(rule.metric))
    if value is None:
        return None
    x = _number(record.get(rule.axis))
    return Reading(math.nan if x is None else x, value)


def judge(rule: StopRule, so_far: Progress, reading: Reading) -> tuple[Progress, Stop | None]:
    """What is known after this reading, and whether to stop now.

    The best value so far is held against the last point at or before x: trainers keep their best weights, so a run that
    was good and has begun to overfit is left to its own early stopping. Before the first point nothing but NaN counts.
    """
    if math.isnan(reading.value):
        so_far = Progress(so_far.nans + 1, so_far.best)
        return so_far, Stop("nan", reading.x, reading.value) if so_far.nans >= _NANS_THAT_STOP else None
    better = min if rule.direction == "minimize" else max
    best = reading.value if so_far.best is None else better(so_far.best, reading.value)
    so_far = Progress(0, best)
    if math.isnan(reading.x):
        return so_far, None
    reached = bisect_right(rule.points, reading.x, key=lambda point: point[0])
    if reached == 0:
        return so_far, None
    point, limit = rule.points[reached - 1]
    worse = best > limit if rule.direction == "minimize" else best < limit
    return so_far, Stop("worse", reading.x, best, point, limit) if worse else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
