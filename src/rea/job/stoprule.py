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


def judge(rule: StopRule, nans: int, reading: Reading) -> tuple[int, Stop | None]:
    """How many readings up to this one were NaN in a row, and whether to stop now.

    A reading at x is held against the last point at or before x; before the first point nothing but NaN counts.
    """
    if math.isnan(reading.value):
        nans += 1
        return nans, Stop("nan", reading.x, reading.value) if nans >= _NANS_THAT_STOP else None
    if math.isnan(reading.x):
        return 0, None
    reached = bisect_right(rule.points, reading.x, key=lambda point: point[0])
    if reached == 0:
        return 0, None
    point, limit = rule.points[reached - 1]
    worse = reading.value > limit if rule.direction == "minimize" else reading.value < limit
    return 0, Stop("worse", reading.x, reading.value, point, limit) if worse else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
