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
    return max(belief.mean, other) + improvement(belief.mean - other, moved)


def improvement(ahead: float, moved: float) -> float:
    """The knowledge gradient: how much better the choice between two becomes by a reading. Never below 0.

    `ahead` is the mean of their difference, `moved` the standard deviation by which the reading moves that mean.
    """
    if moved <= 0:
        return 0.0
    z = abs(ahead) / moved
    density = math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    return max(0.0, moved * density - abs(ahead) * 0.5 * math.erfc(z / math.sqrt(2)))
