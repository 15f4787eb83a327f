"""Where experiments could be trained and where not, counted by coarse contexts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

from rea.domain.insight import Cell, Context, ContextValue
from rea.insights.features import FAMILIES, remembered


@remembered
def place(context: Context) -> tuple[str, int]:
    """The coarse context that trainability is counted by: family, decade of training rows (−1: unknown)."""
    return _place(context.get("model_family"), context.get("rows"))


@lru_cache(maxsize=8192, typed=True)
def _place(model_family: ContextValue, rows: ContextValue) -> tuple[str, int]:
    given = "".join(c for c in str(model_family or "").lower() if c.isalnum())
    family = next((name for name, names in FAMILIES.items() if given in names), given[:20])
    number = isinstance(rows, int | float) and not isinstance(rows, bool) and math.isfinite(rows) and rows >= 1
    return family, round(math.log10(rows)) if number else -1  # type: ignore[arg-type]


Counts = Mapping[tuple[str, int], tuple[float, float]]


def counts_without(counts: Counts, cells: Sequence[Cell]) -> Counts:
    """Counts by coarse context (`Fit.contexts`) less those of these cells."""
    if not cells:
        return counts
    less = dict(counts)
    for key, (good, bad) in by_place(cells).items():
        had = less.get(key, (0.0, 0.0))
        less[key] = (max(had[0] - good, 0.0), max(had[1] - bad, 0.0))
    return less


def by_place(cells: Sequence[Cell]) -> dict[tuple[str, int], tuple[float, float]]:
    """Experiments that could be trained and that could not, by `place`."""
    counted: dict[tuple[str, int], tuple[float, float]] = {}
    for cell in cells:
        where = place(cell.context)
        good, bad = counted.get(where, (0.0, 0.0))
        counted[where] = (good + cell.n + cell.pruned, bad + cell.failed)
    return counted
