"""Insights: what experiments showed, kept so that the next campaign starts wiser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rea.domain.codebase import Scalar

ContextValue = Scalar | tuple[str, ...]
Context = Mapping[str, ContextValue]
"""Where an experiment took place. Known keys: `codebase` (its name: its own experiments need no transfer),
`model_family` (text), `rows` (training rows), `positive_rate` (share),
`symptoms` (names); anything else is kept and shown, and plays no part in similarity."""


class ExperimentOutcome(StrEnum):
    SUPPORTED = "supported"
    REFUTED = "refuted"
    INCONCLUSIVE = "inconclusive"
    FAILED = "failed"  # the treatment could not be trained; infrastructure is never blamed on it
    PRUNED = "pruned"  # stopped early: `effect` is a bound from above


@dataclass(frozen=True, slots=True)
class ExperimentRecord:
    """The test of one hypothesis as later campaigns read it.

    `effect` and `se` are the relative gain over the incumbent of its time (positive is better) and its standard error.
    `roles` is what the treatment set, by role; `values` the baseline's values, by role. `fidelity` is the share of the
    full run that was seen, `cost_s` device-seconds, `cost_ratio` training time over the baseline's, `at` Unix seconds.
    `interaction_of` names the techniques of a combination and is empty for a single one.
    """

    id: int | None
    codebase: str
    campaign: int
    hypothesis: int
    round: int
    technique: str | None
    roles: Mapping[str, Scalar]
    outcome: str
    values: Mapping[str, Scalar] = field(default_factory=dict)
    context: Context = field(default_factory=dict)
    effect: float | None = None
    se: float | None = None
    seeds: int = 0
    fidelity: float = 1.0
    cost_s: float = 0.0
    cost_ratio: float | None = None
    failure: str | None = None
    interaction_of: tuple[str, ...] = ()
    at: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Effect:
    """A belief about a technique's relative gain in one context.

    `n` counts the experiments behind it, `evidence` says each in a line, `words` sums them up; `p_trainable` is the
    probability that the technique can be trained here at all.
    """

    mean: float
    sd: float
    n: int
    evidence: tuple[str, ...]
    words: str
    p_trainable: float = 1.0
