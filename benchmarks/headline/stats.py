"""Numbers of the verdict: calibration, blocks of loss, gains with their uncertainty. Pure; numpy is imported late."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import NDArray

TINY = 1e-7
BLOCKS = 100
BLOCK_SEED = 20140824
RESAMPLES = 4000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Gain:
    """A relative gain over the baseline, positive is better, with its standard error and 95 % interval."""

    gain: float
    se: float
    low: float
    high: float


def platt(probabilities: NDArray, labels: NDArray) -> tuple[float, float]:
    """Slope a and offset b of sigmoid(a · log odds + b) with the least log loss on these rows (Platt 1999).

    Newton's method with halved steps where a full one would raise the loss; a trace of ridge keeps it solvable when the
    rows can be told apart perfectly.
    """
    import numpy as np

    x = np.stack([log_odds(probabilities), np.ones(len(probabilities))], 1)
    y = np.asarray(labels, float)
    ridge = 1e-6

    def loss(weights: NDArray) -> float:
        z = x @ weights
        return float(np.sum(np.logaddexp(0.0, z) - y * z) + ridge / 2 * weights @ weights)

    weights = np.array([1.0, 0.0])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -500, 500)))
        gradient = x.T @ (p - y) + ridge * weights
        hessian = (x * (p * (1 - p))[:, None]).T @ x + ridge * np.eye(2)
        step, scale = np.linalg.solve(hessian, gradient), 1.0
        while scale > 1e-6 and loss(weights - scale * step) > loss(weights):
            scale /= 2
        weights = weights - scale * step
        if np.abs(step).max() < 1e-9:
            break
    return float(weights[0]), float(weights[1])


def calibrated(probabilities: NDArray, fit: tuple[float, float]) -> NDArray:
    """Probabilities, float64 [n], through the map that platt() found."""
    import numpy as np

    return 1 / (1 + np.exp(-np.clip(fit[0] * log_odds(probabilities) + fit[1], -500, 500)))


def log_odds(probabilities: NDArray) -> NDArray:
    import numpy as np

    p = np.clip(np.asarray(probabilities, float), TINY, 1 - TINY)
    return np.log(p / (1 - p))


def log_losses(probabilities: NDArray, labels: NDArray) -> NDArray:
    """Log loss in nats of every row, float64 [n]."""
    import numpy as np

    p = np.clip(np.asarray(probabilities, float), TINY, 1 - TINY)
    return -np.log(np.where(np.asarray(labels) > 0.5, p, 1 - p))


def entropy(labels: NDArray) -> float:
    """Entropy in nats of the mean label."""
    rate = float(labels.mean())
    return -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))


def auc(probabilities: NDArray, labels: NDArray) -> float:
    """Area under the ROC curve by the rank-sum statistic (Hanley & McNeil 1982), ties at their average rank."""
    from scipy.stats import rankdata

    positive = labels > 0.5
    n, m = int(positive.sum()), int((~positive).sum())
    return float((rankdata(probabilities)[positive].sum() - n * (n + 1) / 2) / (n * m))


def block_sums(losses: NDArray, count: int = BLOCKS) -> list[float]:
    """Sums of loss over `count` groups of rows that are the same for every model on these rows, of random rows each."""
    import numpy as np

    group = np.arange(len(losses)) * count // len(losses)
    shuffled = losses[np.random.default_rng(BLOCK_SEED).permutation(len(losses))]
    return np.bincount(group, weights=shuffled, minlength=count).tolist()


def paired_gain(baseline: Sequence[Sequence[float]], treated: Sequence[Sequence[float]], seed: int = 0) -> Gain:
    """The gain in NE over paired seeds and rows, from sums of loss [seeds][blocks] of both models on the same rows.

    Seeds and blocks are drawn with replacement, independently and for both models alike; of n units n - 1 are drawn,
    which makes the bootstrap's variance unbiased for so few (Rao & Wu 1988, "Resampling inference with complex survey
    data", JASA 83). The entropy of the mean label is the same on both sides and falls out of the ratio. Raises
    ValueError unless both have the same shape with at least two seeds and two blocks.
    """
    import numpy as np

    old, new = np.asarray(baseline, float), np.asarray(treated, float)
    if old.shape != new.shape or old.ndim != 2 or min(old.shape) < 2:
        raise ValueError(f"paired sums of loss [seeds][blocks], two of each at least: found {old.shape}, {new.shape}")
    gain = 1 - new.sum() / old.sum()
    random = np.random.default_rng(seed)
    seeds, blocks = old.shape
    by_seed = random.multinomial(seeds - 1, np.full(seeds, 1 / seeds), RESAMPLES)
    by_block = random.multinomial(blocks - 1, np.full(blocks, 1 / blocks), RESAMPLES)
    drawn = 1 - np.einsum("rs,sb,rb->r", by_seed, new, by_block) / np.einsum("rs,sb,rb->r", by_seed, old, by_block)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Gain(float(gain), float(drawn.std(ddof=1)), float(low), float(high))


def area_under_best(costs: Sequence[float], nes: Sequence[float | None], baseline: float, budget: float) -> float:
    """Mean over the budget of the best validation gain so far: a run counts from when its cost is paid.

    Before the first run, and while nothing is better than the baseline, the gain is 0. Runs that end beyond the budget
    count for nothing.
    """
    spent, best, area, since = 0.0, 0.0, 0.0, 0.0
    for cost, ne in zip(costs, nes, strict=True):
        spent += cost
        if spent > budget:
            break
        if ne is not None and (baseline - ne) / baseline > best:
            area += best * (spent - since)
            best, since = (baseline - ne) / baseline, spent
    return (area + best * (budget - since)) / budget
