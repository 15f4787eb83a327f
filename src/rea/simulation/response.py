"""Responses: what each treatment truly gains over the baseline, which no campaign is ever told."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rea.domain.codebase import Codebase, Knob, Scalar, same
from rea.domain.technique import Technique
from rea.domain.treatment import Treatment
from rea.knowledge.expression import express
from rea.knowledge.roles import role_of

Response = Callable[[Treatment], float]
"""A treatment's true relative gain over the baseline (positive is better), before any noise."""

WORST = -0.05  # a setting far from its optimum loses no more than this: what is worse diverges, which is a failure
# What a gain leaves of a smaller one beside it, drawn uniformly: for cards that name each other, for those of one
# mechanism, and for any two. Estimates.
OVERLAPS = {"named": (0.4, 0.9), "mechanism": (0.2, 0.7), "any": (0.0, 0.2)}
ALIKE = 0.6  # share of the variance of a card's gain that its settings have in common. An estimate, too
TUNED_PEAK, TUNED_OFFSET = 0.003, 0.4  # a numeric knob no card moves: spread of its gain and of its optimum (decades)


def null(_: Treatment) -> float:
    """Nothing matters: whatever looks like a gain is luck."""
    return 0.0


@dataclass(frozen=True, slots=True)
class Optimum:
    """A gain quadratic in a number's position: zero at the baseline's, `peak` at `best`, both in `position`'s units.

    A negative peak is a loss that grows with the square of the distance and amounts to `peak` at `best`.
    """

    start: float
    best: float
    peak: float

    def gain(self, at: float) -> float:
        share = (at - self.start) / (self.best - self.start)
        value = self.peak * (2 * share - share * share) if self.peak > 0 else self.peak * share * share
        return max(WORST, value)


@dataclass(frozen=True)
class Effects:
    """A response made of one effect per knob: a quadratic for numbers, a gain for every other choice.

    Gains of several knobs are sub-additive: the larger counts in full, a smaller one loses its `overlap` with each
    larger. Losses add up.
    """

    codebase: Codebase
    values: Mapping[str, Scalar]
    optima: Mapping[str, Optimum]
    choices: Mapping[tuple[str, str], float]
    overlaps: Mapping[frozenset[str], float] = field(default_factory=dict)

    def __call__(self, treatment: Treatment) -> float:
        parts = [(self._alone(name, value), name) for name, value in treatment.overrides.items()]
        total = sum(gain for gain, _ in parts if gain < 0)
        taken: list[str] = []
        for gain, name in sorted((part for part in parts if part[0] > 0), reverse=True):
            total += gain * math.prod(1 - self.overlaps.get(frozenset((name, other)), 0.0) for other in taken)
            taken.append(name)
        return total

    def _alone(self, name: str, value: Scalar) -> float:
        if name in self.values and same(self.values[name], value):
            return 0.0
        optimum = self.optima.get(name)
        knob = self.codebase.knob(name)
        if optimum is not None and knob is not None and isinstance(value, int | float):
            return optimum.gain(position(knob, value))
        return self.choices.get((name, repr(value)), 0.0)


def position(knob: Knob, value: float) -> float:
    """Where a number stands: decades where its knob or its role is a matter of ratios, else thirds of the range."""
    role = role_of(knob)
    if knob.log or (role is not None and role.log):
        top = abs(knob.high or 1.0)
        return math.log10(max(value, 0.0) + 1e-6 * top)
    return 3 * value / ((knob.high or 1.0) - (knob.low or 0.0) or 1.0)


def sparse(
    techniques: Sequence[Technique], codebase: Codebase, values: Mapping[str, Scalar], seed: int, share: float = 0.3
) -> Effects:
    """Few of many treatments matter: with probability `share` the settings of a card have true gains drawn from the
    card's prior, ALIKE of whose variance they share, else none. Of a setting's knobs the first that is not spoken for
    carries it.

    A number's gain has its optimum somewhere between half of the card's step and twice as far. Deterministic in its
    arguments.
    """
    chance = random.Random(seed)
    optima: dict[str, Optimum] = {}
    choices: dict[tuple[str, str], float] = {}
    carriers: dict[str, Technique] = {}
    for technique in sorted(techniques, key=lambda t: t.name):
        matters, sd = chance.random() < share, technique.effect.sd
        size = chance.gauss(technique.effect.mean, math.sqrt(ALIKE) * sd)
        for treatment in express(technique, codebase, values):
            offset = chance.uniform(0.6, 1.5)
            own = chance.gauss(0.0, math.sqrt(1 - ALIKE) * sd)
            gain = size + own if matters else 0.0
            for name, value in treatment.overrides.items():
                knob = codebase.knob(name)
                if knob is None or name in optima or (name, repr(value)) in choices:
                    continue
                carriers.setdefault(name, technique)
                now = values.get(name)
                if knob.numeric and is_number(value) and is_number(now):
                    start, step = position(knob, float(now or 0)), position(knob, float(value or 0))
                    best = start + (step - start) * (offset if gain > 0 else 1.0)
                    # So much at the optimum that the card's own step gains what was drawn.
                    peak = gain / (2 / offset - 1 / offset**2) if gain > 0 else gain
                    optima[name] = Optimum(start, best, peak)
                else:
                    choices[name, repr(value)] = gain
                break
    for knob in codebase.knobs:
        now = values.get(knob.name)
        if knob.numeric and is_number(now) and knob.name not in optima and chance.random() < share:
            start = position(knob, float(now or 0))
            offset = chance.gauss(0.0, TUNED_OFFSET) or TUNED_OFFSET
            optima[knob.name] = Optimum(start, start + offset, abs(chance.gauss(0.0, TUNED_PEAK)))
    names = sorted({*optima, *(name for name, _ in choices)})
    overlaps = {}
    for index, one in enumerate(names):
        for other in names[:index]:
            overlaps[frozenset((one, other))] = chance.uniform(
                *OVERLAPS[_kinship(carriers.get(one), carriers.get(other))]
            )
    return Effects(codebase, dict(values), optima, choices, overlaps)


def best_single(
    response: Response, techniques: Sequence[Technique], codebase: Codebase, values: Mapping[str, Scalar]
) -> float:
    """The largest true gain that one setting of one card has here: what a perfect validation would find."""
    found = [response(treatment) for technique in techniques for treatment in express(technique, codebase, values)]
    return max([0.0, *found])


def _kinship(one: Technique | None, other: Technique | None) -> str:
    if one is None or other is None:
        return "any"
    if one.name in other.overlaps or other.name in one.overlaps:
        return "named"
    return "mechanism" if one.mechanism == other.mechanism else "any"


def is_number(value: Scalar) -> bool:
    """Whether a setting has a position; a switch has none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
