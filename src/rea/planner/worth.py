"""What a run is worth before it is made: by how much its result may be expected to improve a choice."""

from __future__ import annotations

import math

from rea.domain.hypothesis import Belief


def expected_best(belief: Belief, noise: float, other: float = 0.0) -> float:
    """E[max(gain, other)] when one reading with this noise may be made before one of the two is chosen.

    The mean that a reading leads to is normal around today's, with the standard deviation by which the reading moves
    it; the rest is the mean of a rectified normal. Above max(mean, other) by the knowledge gradient (Frazier, Powell &
    Dayanik, SIAM Journal on Control and Optimization 2008).
    """
    moved = belief.sd**2 / math.hypot(belief.sd, noise) if belief.sd > 0 else 0.0
    ahead = belief.mean - other
    if moved <= 0:
        return other + max(ahead, 0.0)
    z = ahead / moved
    density = math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    below = 0.5 * math.erfc(-z / math.sqrt(2))
    return other + moved * density + ahead * below


def information(belief: Belief, noise: float, other: float = 0.0) -> float:
    """The knowledge gradient: how much better the choice between this and `other` becomes by one reading. Never < 0."""
    return max(0.0, expected_best(belief, noise, other) - max(belief.mean, other))
