"""What the finite rows of a split do to a gain: an error that no further seed takes away.

All models are evaluated on the same rows, so a treatment that happens to suit them does so at every seed. How far that
may go is seen in the differences of loss, row by row, of which evaluators print sums over blocks.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rea.domain.run import RunResult

# Metrics whose relative gain equals that of the summed row losses, so that blocks of rows give its row error.
ROW_LOSS_METRICS = frozenset({"ne", "logloss", "log_loss", "normalized_entropy"})
FEWEST_BLOCKS = 10
USUAL = 0.5  # of the error between two seeds: that of a treatment before any was trained, as much as one tells

Blocks = Sequence[float]


def row_error(base: Blocks, mine: Blocks) -> float | None:
    """Standard error over rows of the relative gain of `mine` over `base`, sums of loss over the same blocks of rows.

    Delete-one-block jackknife of the ratio (Efron & Stein 1981). None for fewer than ten blocks, or other ones.
    """
    if len(base) != len(mine) or len(base) < FEWEST_BLOCKS:
        return None
    total_base, total_mine, count = sum(base), sum(mine), len(base)
    left_out = [1 - (total_mine - m) / (total_base - b) for b, m in zip(base, mine, strict=True)]
    mean = sum(left_out) / count
    return math.sqrt((count - 1) / count * sum((g - mean) ** 2 for g in left_out))


def split_noise(results: Sequence[RunResult], metric: str) -> float | None:
    """Mean standard error over rows of the gain of one seed over the next."""
    if metric not in ROW_LOSS_METRICS:
        return None
    blocks = [result.block_loss for result in results if result.block_loss]
    errors = [row_error(left, right) for left, right in itertools.pairwise(blocks) if sum(left) > 0]
    known = [error for error in errors if error is not None and math.isfinite(error)]
    return sum(known) / len(known) if known else None


@dataclass(frozen=True, slots=True)
class Lasting:
    """How much of the row error of a gain lasts over seeds, as variances of relative gains.

    Over n paired seeds a gain has the row error V + e²/n: V lasts, e is that between two seeds of the baseline. One
    treatment's own difference tells its V poorly, so it is drawn to the median of all, as if that were one more seed:
    what breaks a model moves it far from the baseline on every row, and says nothing of others.
    """

    between_seeds: float
    usual: float

    @classmethod
    def of(cls, between_seeds: float, seen: Sequence[tuple[float, int]]) -> Lasting:
        """From the row error between seeds and, per treatment, its row error and over how many paired seeds."""
        own = [(USUAL * between_seeds) ** 2, *(error**2 - between_seeds**2 / n for error, n in seen)]
        return cls(between_seeds, max(statistics.median(own), 0.0))

    def paired_variance(self, n: int) -> float:
        """That of a usual treatment's gain over n paired seeds: what lasts, and what these leave of the rest."""
        return self.usual + self.between_seeds**2 / n

    def variance(self, error: float, n: int) -> float:
        own = error**2 - self.between_seeds**2 / n
        return max((self.usual + n * own) / (1 + n), 0.0)


def paired_error(base: Mapping[int, Blocks], mine: Mapping[int, Blocks]) -> tuple[float, int] | None:
    """Row error of the gain over all seeds that both were trained on, and how many these are."""
    seeds = sorted(base.keys() & mine.keys())
    if not seeds or len({len(blocks[seed]) for blocks in (base, mine) for seed in seeds}) != 1:
        return None
    error = _together(*(tuple(tuple(blocks[seed]) for seed in seeds) for blocks in (base, mine)))
    return (error, len(seeds)) if error is not None and math.isfinite(error) else None


@lru_cache(maxsize=4096)
def _together(base: tuple[Blocks, ...], mine: tuple[Blocks, ...]) -> float | None:
    """Of sums over seeds. Every decision asks for the same pairs again, which never change."""
    left, right = _summed(base), _summed(mine)
    return row_error(left, right) if sum(left) > 0 else None


def _summed(columns: Sequence[Blocks]) -> list[float]:
    return [sum(values) for values in zip(*columns, strict=True)]
