"""Hypotheses: claims that a treatment improves the objective, with where they come from and what became of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from rea.domain.ids import say
from rea.domain.states import HypothesisState
from rea.domain.treatment import Treatment

CONFLICT = 2.0  # standard deviations between what was believed and what was seen, from which on the belief gives way


@dataclass(frozen=True, slots=True)
class Belief:
    """A normal belief about a relative gain."""

    mean: float
    sd: float

    def updated(self, observed: float, sd: float) -> Belief:
        """Posterior after one observation with known noise `sd` (conjugate normal update)."""
        if self.sd <= 0:
            return self
        weight = 1 / self.sd**2
        seen = 1 / max(sd, 1e-12) ** 2
        total = weight + seen
        return Belief((weight * self.mean + seen * observed) / total, math.sqrt(1 / total))

    def widened(self, observed: float, sd: float) -> Belief:
        """This belief before an observation with noise `sd`, less sure of itself where the observation contradicts it.

        What lies more than two standard deviations from what the belief predicts (prior-data conflict, Evans &
        Moshonov, Bayesian Analysis 2006) widens it until they are two: no belief, however narrow, outvotes a plain
        measurement.
        """
        if self.sd <= 0:
            return self
        return Belief(self.mean, math.sqrt(max(self.sd**2, ((observed - self.mean) / CONFLICT) ** 2 - sd**2)))

    def above(self, threshold: float = 0.0) -> float:
        """Probability that the gain exceeds `threshold`."""
        if self.sd <= 0:
            return float(self.mean > threshold)
        return 0.5 * math.erfc((threshold - self.mean) / (self.sd * math.sqrt(2)))


class SourceKind(StrEnum):
    INSIGHTS = "insights"  # what earlier experiments showed
    RESEARCH = "research"  # what the literature knows of a symptom
    ENGINEER = "engineer"  # added by hand
    EVIDENCE = "evidence"  # derived from this campaign's own results


@dataclass(frozen=True, slots=True)
class Source:
    kind: SourceKind
    note: str


class HypothesisKind(StrEnum):
    SINGLE = "single"
    COMBINATION = "combination"
    EXPLOITATION = "exploitation"


@dataclass(frozen=True)
class HypothesisDraft:
    """A hypothesis before it has an id.

    `treatment` is what it changes on top of `base` (the incumbent when it was thought of); `effect` is the believed
    relative gain over that base; `cost_factor` multiplies the baseline's training time. `aim` (how well it fits the
    symptoms seen) and `weight` (the engineers' say) move its place in the queue, not the belief.
    """

    title: str
    because: str
    treatment: Treatment
    effect: Belief
    kind: HypothesisKind = HypothesisKind.SINGLE
    technique: str | None = None
    mechanism: str = "other"
    sources: tuple[Source, ...] = ()
    citations: tuple[str, ...] = ()
    cost_factor: float = 1.0
    weight: float = 1.0
    aim: float = 1.0
    base: Treatment = field(default_factory=Treatment)
    parents: tuple[int, ...] = ()
    overlaps: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    retune: tuple[str, ...] = ()

    @cached_property
    def full(self) -> Treatment:
        """What is trained: the treatment on top of its base."""
        return self.treatment.on(self.base)


@dataclass(frozen=True, slots=True)
class Hypothesis:
    id: int
    campaign: int
    round: int
    draft: HypothesisDraft
    state: HypothesisState
    belief: Belief | None = None  # posterior of the effect over its base, once tested
    reason: str = ""

    @property
    def name(self) -> str:
        return say("H", self.id)
