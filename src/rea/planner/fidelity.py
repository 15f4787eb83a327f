"""How early a curve tells where it ends: measured on this campaign's own runs, never assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rea.planner.profile import best_so_far

SHARES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
FEWEST_CURVES = 8  # treatments with a whole curve, below which a rank correlation is mostly chance
TRUSTED = 0.7  # rank correlation with the end from which on a curve may end a run

Curve = Sequence[tuple[float, float]]


def rank_correlations(curves: Sequence[Curve], direction: str) -> Mapping[float, float]:
    """Spearman's rank correlation of best-so-far with the final best, by share of the longest curve.

    Each curve is (x, value) in ascending x, one per treatment. Empty with fewer than eight curves of two points: their
    ranks say nothing yet.
    """
    whole = [best_so_far(curve, direction) for curve in curves if len(curve) >= 2]
    if len(whole) < FEWEST_CURVES:
        return {}
    ends = [curve[-1][1] for curve in whole]
    last = max(curve[-1][0] for curve in whole)
    found = {}
    for share in SHARES:
        at = [[value for x, value in curve if x <= share * last + 1e-9] for curve in whole]
        if all(at):
            rho = spearman([values[-1] for values in at], ends)
            if rho is not None:
                found[share] = rho
    return found


def earliest(correlations: Mapping[float, float], usual: float) -> float:
    """The share of a curve from which on a run may be stopped.

    The first from which on every measured share ranks treatments well enough; `usual` where nothing was measured, and
    never earlier than that: what was measured on survivors flatters the early shares.
    """
    if not correlations:
        return usual
    trusted = 1.0
    for share in sorted(correlations, reverse=True):
        if correlations[share] < TRUSTED:
            break
        trusted = share
    return max(usual, trusted)


def spearman(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Pearson's correlation of ranks, ties at their mean rank; None where one side does not vary."""
    a, b = _ranks(left), _ranks(right)
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    across = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    squares = sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)
    return across / squares**0.5 if squares > 0 else None


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=lambda i: values[i])
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for place in range(start, end + 1):
            ranks[order[place]] = (start + end) / 2
        start = end + 1
    return ranks
