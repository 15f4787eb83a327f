"""Converting published differences in AUC into relative gains in NE."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

QUOTED = (0.8143, 0.256)  # AUC and positive rate where the effects of technique cards are quoted
_GRID = [step / 50 for step in range(-400, 401)]  # standard normal quadrature, 8 deviations to each side


def binormal_ne(auc: float, positive_rate: float) -> float:
    """NE of a calibrated model whose scores are normal with equal variance in both classes.

    In that model AUC = Φ(d′/√2) (Green & Swets, Signal Detection Theory and Psychophysics, 1966), and the
    calibrated log odds of a score x are logit(positive rate) + d′·x, with class means ±d′/2. Both arguments in (0, 1).
    """
    separation = math.sqrt(2) * NormalDist().inv_cdf(auc)
    prior = math.log(positive_rate / (1 - positive_rate))
    weights = [math.exp(-z * z / 2) for z in _GRID]

    def loss(label: int) -> float:
        sign = 1 if label else -1
        margins = (sign * (prior + separation * (z + sign * separation / 2)) for z in _GRID)
        return sum(w * _softplus(-margin) for w, margin in zip(weights, margins, strict=True)) / sum(weights)

    entropy = -positive_rate * math.log(positive_rate) - (1 - positive_rate) * math.log(1 - positive_rate)
    return (positive_rate * loss(1) + (1 - positive_rate) * loss(0)) / entropy


def ne_gain_per_auc(auc: float, positive_rate: float) -> float:
    """Relative NE gain per unit of AUC around a baseline: multiply a published ΔAUC by it."""
    step = 1e-4
    below, above = binormal_ne(auc - step, positive_rate), binormal_ne(auc + step, positive_rate)
    return (below - above) / (2 * step) / binormal_ne(auc, positive_rate)


@lru_cache(maxsize=1024)
def relative_size(auc: float, positive_rate: float) -> float:
    """What one and the same improvement of the ranking is worth in relative NE here, compared with where the technique
    cards are quoted (Criteo: AUC 0.8143, positive rate 0.256).

    A model that is nearly perfect has little NE left, of which every thousandth of AUC is a large part. Clipped to
    between a quarter and twelve.
    """
    inside = min(0.995, max(0.52, auc))
    rate = min(0.95, max(0.001, positive_rate))
    return min(12.0, max(0.25, ne_gain_per_auc(inside, rate) / ne_gain_per_auc(*QUOTED)))


def worth_of_calibration(calibration: float, positive_rate: float, ne: float) -> float:
    """Relative gain in NE by a shift of all log odds that makes the mean prediction the observed rate, at least.

    `calibration` is the mean prediction over the positive rate, `ne` that of the model as it is. Of a model that tells
    all rows the same rate it is the whole divergence, KL(p ‖ c p) / H(p); the better a model tells rows apart, the
    further it must be shifted for the same mean, and the more that gains. Zero where the mean prediction is no rate.
    """
    p, q = positive_rate, calibration * positive_rate
    if not (0 < p < 1 and 0 < q < 1 and ne > 0):
        return 0.0
    entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
    return (p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))) / entropy / ne


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))
