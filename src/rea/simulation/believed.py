"""A response as a plan believes it: one draw of what its hypotheses may truly gain.

Each hypothesis gains exactly what was drawn for it. What lies between is read off curves through these points, so that
there is something to tune; what goes together loses about what the plan takes it to lose.
"""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from rea.domain.codebase import Codebase, Knob, Scalar, same
from rea.domain.hypothesis import Hypothesis, HypothesisDraft
from rea.domain.plan import Plan
from rea.domain.states import HypothesisState
from rea.domain.treatment import Treatment
from rea.planner import joint
from rea.simulation.response import TUNED_OFFSET, TUNED_PEAK, WORST, Optimum, is_number, position

TUNABLE = 0.3  # share of the numbers no hypothesis moves that have something to gain. An estimate
NEAR = 0.5  # how far, in units of `position`, a setting of several knobs keeps what they gain together
SPREAD = 0.25  # what a gain leaves of another lies within so much of what the plan expects, uniformly


@dataclass(frozen=True, slots=True)
class Curve:
    """The gain along one number: an optimum through the best of the points that were drawn, bent through the others."""

    optimum: Optimum
    places: tuple[float, ...] = ()
    bends: tuple[float, ...] = ()

    def gain(self, at: float) -> float:
        return max(WORST, self.optimum.gain(at) + self._bend(at))

    def _bend(self, at: float) -> float:
        if not self.places:
            return 0.0
        after = bisect.bisect_left(self.places, at)
        if after in (0, len(self.places)):
            return self.bends[min(after, len(self.bends) - 1)]
        low, high = self.places[after - 1], self.places[after]
        share = (at - low) / (high - low)
        return self.bends[after - 1] + share * (self.bends[after] - self.bends[after - 1])


@dataclass(frozen=True, slots=True)
class Part:
    """What one knob, or several together, add to a treatment; `by` is the hypothesis that claims it."""

    gain: float
    knobs: frozenset[str]
    by: HypothesisDraft | None


@dataclass(frozen=True)
class Bundle:
    """A setting of several knobs, or a patch, and what it gains beside its knobs alone."""

    draft: HypothesisDraft
    gain: float = 0.0

    @cached_property
    def knobs(self) -> frozenset[str]:
        return frozenset(self.draft.treatment.overrides)


@dataclass(frozen=True)
class Believed:
    """A response (see `response`). Deterministic in what it is made of and `seed`."""

    plan: Plan
    seed: int
    curves: Mapping[str, tuple[Curve, HypothesisDraft | None]]
    choices: Mapping[tuple[str, str], tuple[float, HypothesisDraft]]
    bundles: Sequence[Bundle]
    _known: dict[str, float] = field(default_factory=dict, repr=False)

    def __call__(self, treatment: Treatment) -> float:
        key = treatment.key()
        if key not in self._known:
            moved = treatment.without_defaults(self.plan.baseline_values)
            self._known[key] = self.together([*self.alone(moved), *self.bundled(moved)])
        return self._known[key]

    def together(self, parts: Sequence[Part]) -> float:
        """The larger counts in full, of a smaller one what each larger leaves of it at the least. Losses add up."""
        total = sum(part.gain for part in parts if part.gain < 0)
        taken: list[Part] = []
        for part in sorted((part for part in parts if part.gain > 0), key=lambda part: -part.gain):
            total += part.gain * min((self._left(part, other) for other in taken), default=1.0)
            taken.append(part)
        return max(WORST, total)

    def alone(self, treatment: Treatment) -> list[Part]:
        """What each knob gains by itself."""
        found = []
        for name, value in treatment.overrides.items():
            curve, knob = self.curves.get(name), self.plan.codebase.knob(name)
            if curve is not None and knob is not None and is_number(value):
                found.append(Part(curve[0].gain(position(knob, float(value or 0))), frozenset((name,)), curve[1]))
            elif (name, repr(value)) in self.choices:
                gain, draft = self.choices[name, repr(value)]
                found.append(Part(gain, frozenset((name,)), draft))
        return found

    def bundled(self, treatment: Treatment) -> list[Part]:
        """What settings of several knobs gain beside that, as far as the treatment is near them."""
        near = [(bundle, self.nearness(bundle.draft.treatment, treatment)) for bundle in self.bundles]
        return [Part(share * bundle.gain, bundle.knobs, bundle.draft) for bundle, share in near if share > 0]

    def nearness(self, wanted: Treatment, treatment: Treatment) -> float:
        """How much of a setting a treatment holds, from 0 to 1: all of it where it sets the same."""
        if wanted.patch and wanted.patch not in (treatment.patch or ""):
            return 0.0
        squares = 0.0
        for name, value in wanted.overrides.items():
            if name not in treatment.overrides:
                return 0.0
            mine, knob = treatment.overrides[name], self.plan.codebase.knob(name)
            if same(mine, value):
                continue
            if knob is None or not knob.numeric or not is_number(mine) or not is_number(value):
                return 0.0
            away = position(knob, float(mine or 0)) - position(knob, float(value or 0))
            squares += (away / NEAR) ** 2
        return math.exp(-0.5 * squares) if squares < 20 else 0.0

    def _left(self, part: Part, other: Part) -> float:
        """What a larger gain leaves of a smaller one."""
        if part.knobs & other.knobs:
            return 1.0  # it was drawn beside that one
        additivity = self.plan.additivity
        expected = additivity.apart
        if part.by is not None and other.by is not None:
            expected = additivity.share(part.by, other.by)
        width = max(0.0, min(SPREAD, expected, 1 - expected))
        pair = sorted(",".join(sorted(one.knobs)) or "patch" for one in (part, other))
        return expected + width * random.Random(f"{self.seed}/{pair}").uniform(-1.0, 1.0)


def believed(plan: Plan, seed: int) -> Believed:
    """One draw of a plan's truth: every planned effect from its belief, siblings together as the planner takes them to
    go together; numbers that nothing moves have at times something left to tune."""
    chance = random.Random(f"believed/{seed}")
    drawn = _drawn(plan, chance)
    codebase, values = plan.codebase, plan.baseline_values
    points: dict[str, list[tuple[float, float, HypothesisDraft]]] = {}
    choices: dict[tuple[str, str], tuple[float, HypothesisDraft]] = {}
    several: list[tuple[HypothesisDraft, float]] = []
    for draft, gain in drawn:
        treatment = draft.treatment.without_defaults(values)
        overrides = treatment.overrides
        if len(overrides) != 1 or treatment.patch:
            several += [] if treatment.empty else [(replace(draft, treatment=treatment), gain)]
            continue
        name, value = next(iter(overrides.items()))
        knob = _number(codebase, values, name)
        if knob is not None and is_number(value):
            points.setdefault(name, []).append((position(knob, float(value or 0)), gain, draft))
        else:
            choices.setdefault((name, repr(value)), (gain, draft))
    curves: dict[str, tuple[Curve, HypothesisDraft | None]] = {}
    for name, found in points.items():
        knob = _number(codebase, values, name)
        if knob is not None:
            curves[name] = _curve(position(knob, float(values[name] or 0)), found, chance)
    spoken = {name for draft, _ in several for name in draft.treatment.overrides}
    for knob in codebase.knobs:
        if knob.name not in curves and knob.name not in spoken and _number(codebase, values, knob.name):
            tuned = _tunable(position(knob, float(values[knob.name] or 0)), chance)
            if tuned is not None:
                curves[knob.name] = Curve(tuned), None
    plain = Believed(plan, seed, curves, choices, ())
    return Believed(plan, seed, curves, choices, _bundles(plain, several))


def _drawn(plan: Plan, chance: random.Random) -> list[tuple[HypothesisDraft, float]]:
    rows = [Hypothesis(item.id, 0, 1, item.draft, HypothesisState.PROPOSED) for item in plan.hypotheses]
    families = joint.families(rows, plan.baseline_values)
    common = {name: chance.gauss(0.0, sd) for name, sd in sorted(set(families.values()))}
    drawn = []
    for row in rows:
        family, shared = families.get(row.id, ("", 0.0))
        own = joint.own_prior(row, (), shared)
        gain = chance.gauss(own.mean, own.sd) + common.get(family, 0.0)
        drawn.append((row.draft, max(WORST, gain)))
    return drawn


def _number(codebase: Codebase, values: Mapping[str, Scalar], name: str) -> Knob | None:
    """The knob, where it is a number and the baseline sets it to one."""
    knob = codebase.knob(name)
    return knob if knob is not None and knob.numeric and is_number(values.get(name)) else None


def _curve(
    start: float, found: Sequence[tuple[float, float, HypothesisDraft]], chance: random.Random
) -> tuple[Curve, HypothesisDraft | None]:
    points = {at: (gain, draft) for at, gain, draft in reversed(found) if at != start}
    offset = chance.uniform(0.6, 1.5)  # where the optimum lies, in steps of the best point
    if not points:
        return Curve(Optimum(start, start + 1.0, 0.0)), None
    at, (gain, draft) = max(points.items(), key=lambda point: (point[1][0], point[0]))
    if gain > 0:
        optimum = Optimum(start, start + (at - start) * offset, gain / (2 / offset - 1 / offset**2))
    else:
        optimum = Optimum(start, at, gain)
    through = sorted([(start, 0.0), *((x, value) for x, (value, _) in points.items())])
    bends = tuple(value - optimum.gain(x) for x, value in through)
    return Curve(optimum, tuple(x for x, _ in through), bends), draft


def _tunable(start: float, chance: random.Random) -> Optimum | None:
    if chance.random() >= TUNABLE:
        return None
    offset = chance.gauss(0.0, TUNED_OFFSET) or TUNED_OFFSET
    return Optimum(start, start + offset, abs(chance.gauss(0.0, TUNED_PEAK)))


def _bundles(plain: Believed, several: Sequence[tuple[HypothesisDraft, float]]) -> tuple[Bundle, ...]:
    """What each adds to its knobs alone, so that at each of them all together gain what was drawn for it."""
    if not several:
        return ()
    import numpy as np

    treatments = [draft.treatment for draft, _ in several]
    near = np.array([[plain.nearness(other, one) for other in treatments] for one in treatments])
    rest = np.array([gain - plain.together(plain.alone(draft.treatment)) for draft, gain in several])
    # Two that are all but the same setting have one effect between them.
    gains = np.linalg.lstsq(near, rest, rcond=1e-3)[0]
    return tuple(Bundle(draft, float(gain)) for (draft, _), gain in zip(several, gains, strict=True))
