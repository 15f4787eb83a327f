"""What a campaign claims at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """The relative gain of the finalist over the baseline on one split, over fresh paired seeds.

    The interval is the two-sided 95 % one. `se_seeds` is the part of its standard error that comes from training
    noise, `se_rows` the part from the finite split (None where the evaluator prints no blocks). `floor` is the
    irreducible value of the metric where the data's evaluator knows it, `gap_closed` the share of the way to it.
    """

    split: str
    metric: str
    gain: float
    ci_low: float
    ci_high: float
    seeds: tuple[int, ...]
    gains: tuple[float, ...]
    baseline_values: tuple[float, ...]
    treated_values: tuple[float, ...]
    se_seeds: float
    se_rows: float | None
    df: float
    baseline_metrics: Mapping[str, float]
    treated_metrics: Mapping[str, float]
    guardrails_hold: bool
    floor: float | None = None
    gap_closed: float | None = None
