"""How two techniques behave together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rea.domain.insight import Effect, ExperimentOutcome, ExperimentRecord
from rea.insights.estimate import SMALLEST_SE, percent


def interaction(a: str, b: str, records: Iterable[ExperimentRecord]) -> Effect | None:
    """The gain of two techniques together minus the sum of their gains alone, or None where it was never measured.

    Every experiment on exactly this pair is compared with the single experiments of the same campaign (of the same
    codebase where the campaign has none); measurements are averaged with weights 1/se², as errors of the three gains
    add up. Negative is sub-additive. A record without a standard error counts as ± 1 %. The order of the two does not
    matter.
    """
    a, b = sorted((a, b))
    known = [r for r in records if _usable(r)]
    measured: list[tuple[float, float, str]] = []
    for pair in known:
        if len(pair.interaction_of) == 2 and set(pair.interaction_of) == {a, b}:
            left, right = _alone(a, pair, known), _alone(b, pair, known)
            if left is not None and right is not None:
                gain, variance = _number(pair)
                difference = gain - left[0] - right[0]
                error = math.sqrt(variance + left[1] + right[1])
                where = f"{pair.codebase}, campaign {pair.campaign}, round {pair.round}"
                parts = f"together {percent(gain)}, alone {percent(left[0])} and {percent(right[0])}"
                measured.append((difference, error, f"{where}: {parts}"))
    if not measured:
        return None
    precision = sum(1 / error**2 for _, error, _ in measured)
    mean = sum(difference / error**2 for difference, error, _ in measured) / precision
    sd = math.sqrt(1 / precision)
    kind = "add up" if abs(mean) < 2 * sd else "give less together than apart" if mean < 0 else "help each other"
    n = len(measured)
    words = f"{a} and {b} {kind}: {percent(mean)} ± {sd * 100:.2f} % beside the sum, measured {_times(n)}"
    return Effect(mean, sd, len(measured), tuple(line for _, _, line in measured), words)


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"


def _usable(record: ExperimentRecord) -> bool:
    closed = record.outcome not in (ExperimentOutcome.PRUNED, ExperimentOutcome.FAILED)
    return closed and record.effect is not None and math.isfinite(record.effect)


def _alone(name: str, pair: ExperimentRecord, known: Sequence[ExperimentRecord]) -> tuple[float, float] | None:
    """Mean gain and its variance of a single technique, where the pair was measured."""
    singles = [r for r in known if r.technique == name and len(r.interaction_of) < 2 and r.codebase == pair.codebase]
    singles = [r for r in singles if r.campaign == pair.campaign] or singles
    if not singles:
        return None
    numbers = [_number(r) for r in singles]
    precision = sum(1 / variance for _, variance in numbers)
    return sum(gain / variance for gain, variance in numbers) / precision, 1 / precision


def _number(record: ExperimentRecord) -> tuple[float, float]:
    """Gain and variance."""
    se = record.se if record.se is not None and record.se > 0 else 0.01
    return float(record.effect or 0.0), max(se, SMALLEST_SE) ** 2
