"""Whether predictions came true as often as they said they would."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LEVELS = (0.5, 0.8, 0.95)
# Half widths of the central intervals of a normal distribution, in standard deviations.
_HALF_WIDTHS = {0.5: 0.6744898, 0.8: 1.2815516, 0.95: 1.9599640}


@dataclass(frozen=True, slots=True)
class Prediction:
    """A relative effect believed to be `mean` ± `sd` before it was measured as `observed` ± `error`, and how it turned
    out. `error` is zero where the truth itself is known."""

    mean: float
    sd: float
    observed: float
    error: float = 0.0

    @property
    def surprise(self) -> float:
        """How far off it was, in standard deviations of what was predicted for the measurement."""
        return (self.observed - self.mean) / max(math.hypot(self.sd, self.error), 1e-12)

    def inside(self, level: float) -> bool:
        """Whether the measurement fell inside the central interval of this probability (one of LEVELS)."""
        return abs(self.surprise) <= _HALF_WIDTHS[level]


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions of about the same mean: what was expected of them and what they gave, on average (± its error)."""

    count: int
    predicted: float
    observed: float
    error: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """`inside` is the share of measurements inside the interval of each level, `bias` the mean of observed − predicted
    (a relative effect), `spread` the root mean square of the surprises: 1 where the standard deviations are right."""

    count: int
    inside: Mapping[float, float]
    bias: float
    spread: float
    bins: tuple[Bin, ...]


def reliability(predictions: Sequence[Prediction], bins: int = 5) -> Reliability | None:
    """How predictions fared, with the reliability figures of Murphy & Winkler (1977) for means: groups of equal size
    by predicted mean. None of none; what is not finite does not count."""
    usable = [p for p in predictions if all(map(math.isfinite, (p.mean, p.sd, p.observed, p.error)))]
    if not usable:
        return None
    count = len(usable)
    inside = {level: sum(p.inside(level) for p in usable) / count for level in LEVELS}
    bias = sum(p.observed - p.mean for p in usable) / count
    spread = math.hypot(*(p.surprise for p in usable)) / math.sqrt(count)  # which no square overflows
    ordered = sorted(usable, key=lambda p: p.mean)
    cuts = [round(index * count / bins) for index in range(bins + 1)]
    groups = [ordered[low:high] for low, high in itertools.pairwise(cuts) if high > low]
    return Reliability(count, inside, bias, spread, tuple(_bin(group) for group in groups))


def _bin(group: Sequence[Prediction]) -> Bin:
    count = len(group)
    observed = sum(p.observed for p in group) / count
    apart = math.hypot(*(p.observed - observed for p in group))
    error = apart / math.sqrt((count - 1) * count) if count > 1 else math.inf
    return Bin(count, sum(p.mean for p in group) / count, observed, error)
