"""Learning from a run that was stopped early: its gain is at most what was seen."""

from __future__ import annotations

import math

from rea.domain.hypothesis import Belief


def censored(belief: Belief, bound: float, noise: float) -> Belief:
    """A normal belief after learning that the value, seen through normal noise, is at most `bound`.

    The product of a normal and Φ((bound − x) / noise), replaced by the normal of equal mean and variance (Rasmussen &
    Williams, Gaussian Processes for Machine Learning, 2006, section 3.9).
    """
    variance = belief.sd**2
    width = math.sqrt(variance + noise**2)
    z = (bound - belief.mean) / width
    ratio = _mills(z)
    mean = belief.mean - variance / width * ratio
    shrink = variance**2 / width**2 * ratio * (z + ratio)
    return Belief(mean, math.sqrt(max(variance - shrink, 1e-6 * variance)))


def _mills(z: float) -> float:
    """φ(z) / Φ(z), by its asymptote where Φ underflows."""
    if z < -30:
        return -z - 1 / z
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi) / (0.5 * math.erfc(-z / math.sqrt(2)))
