"""Insights: what experiments showed, kept so that the next campaign starts wiser."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from itertools import combinations
from typing import NamedTuple

from rea.domain.codebase import Scalar, same
from rea.domain.codec import canonical, digest
from rea.domain.ids import say

ContextValue = Scalar | tuple[str, ...]
Context = Mapping[str, ContextValue]
"""Where an experiment took place. Known keys: `codebase` (its name: its own experiments need no transfer),
`model_family` (text), `symptoms` (names), and the data profile: `rows` (training rows), `positive_rate` (share),
`fields` (count), `rare_mass` (share of ids seen rarely), `largest_cardinality` (ids), `numeric_share` (share of
fields), `epochs_to_best`; and the model's `auc`, which sets the unit of its gains. Any may be missing; anything else is
kept and shown, and plays no part in an estimate."""


def number(value: ContextValue) -> float | None:
    """A fact of a context as a finite number, or None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


UNKNOWN_SE = 0.005  # standard error of a gain (relative) whose own was not kept
SMALLEST_SE = 1e-6
USUAL = 4  # imagined measurements that agree as well as their errors say, beside those of a cell
STEPS_PER_DECADE = 4  # settings whose ratios to their starts agree to a quarter of a decade are one setting


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
    `roles` is what the treatment set, by role; `values` the values it started from, by role. `fidelity` is the share of
    the full run that was seen, `cost_s` device-seconds, `cost_ratio` training time over the baseline's, `at` Unix
    seconds. `kind` is a HypothesisKind. `interaction_of` names the techniques of a combination and is empty for a
    single one; `parts` is what the campaign believed of each of them alone, mean and standard deviation, where it kept
    that.

    `origin` says where an imported record is from ("team-b.jsonl, imported by ann") and is empty for this store's own
    campaigns; `trust` in (0, 1] is the share of its evidence that counts. `superseded_by` is the id of a later,
    better-powered experiment on the same thing in the same codebase.
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
    parts: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    at: float = 0.0
    note: str = ""
    kind: str = "single"
    origin: str = ""
    trust: float = 1.0
    superseded_by: int | None = None

    @property
    def measured(self) -> bool:
        """Whether `effect` is a gain that was seen to the end, and not a bound or nothing at all."""
        closed = self.outcome not in (ExperimentOutcome.PRUNED, ExperimentOutcome.FAILED)
        return closed and self.effect is not None and math.isfinite(self.effect)

    @property
    def error(self) -> float:
        """The standard error to reckon with: `se` where it is a positive number, else UNKNOWN_SE."""
        known = self.se is not None and math.isfinite(self.se) and self.se > 0
        return max(self.se, SMALLEST_SE) if known and self.se is not None else UNKNOWN_SE

    @property
    def precision(self) -> float:
        """What it counts as evidence: trust × fidelity / se² (a power prior: Ibrahim & Chen, Statist. Sci. 2000)."""
        return self.trust * min(max(self.fidelity, 0.01), 1.0) / self.error**2

    @property
    def start(self) -> dict[str, Scalar]:
        """What the roles it set stood at before."""
        return {role: self.values.get(role) for role in sorted(self.roles)}

    @property
    def single(self) -> bool:
        """Whether it speaks of one technique alone."""
        return self.technique is not None and len(self.interaction_of) < 2

    @property
    def name(self) -> str:
        """ "H-3 of C-2", with where it is from if that is not this store."""
        words = f"{say('H', self.hypothesis)} of {say('C', self.campaign)}"
        return f"{words} in {self.origin}" if self.origin else words


_LOCAL = frozenset({"id", "origin", "trust", "superseded_by"})  # what a store knows of a record beside its content
_CONTENT = tuple(f.name for f in fields(ExperimentRecord) if f.name not in _LOCAL)


def content(record: ExperimentRecord) -> dict[str, object]:
    """A record by field, as JSON writes it, without what only its store knows of it: what is exported, and hashed."""
    # What older releases did not know is left out where it is empty, so that an experiment keeps its identity.
    return {name: getattr(record, name) for name in _CONTENT if name != "parts" or record.parts}


def content_id(record: ExperimentRecord) -> str:
    """The identity of a record across stores: SHA-256 of its canonical content; the same experiment is kept once."""
    return digest(json.dumps(content(record), sort_keys=True, separators=(",", ":"), ensure_ascii=True))


def setting_key(roles: Mapping[str, Scalar], start: Mapping[str, Scalar]) -> str:
    """The name of a setting that codebases share: what is done to each role.

    A positive number is told by its ratio to where it stood, to a quarter of a decade, because what a card says of
    learning rates or penalties is said in factors; from zero or from nothing, and for words, by the value itself.
    """
    parts = {}
    for role, value in roles.items():
        before = start.get(role)
        if _positive(value) and _positive(before):
            steps = round(STEPS_PER_DECADE * math.log10(float(value) / float(before)))  # type: ignore[arg-type]
            parts[role] = f"x{10 ** (steps / STEPS_PER_DECADE):.2g}"
        elif isinstance(value, float | int) and not isinstance(value, bool):
            parts[role] = f"={float(value):.2g}"
        else:
            parts[role] = f"={json.dumps(value)}"
    return ", ".join(f"{role}{parts[role]}" for role in sorted(parts))


def _positive(value: Scalar) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > 0  # type: ignore[arg-type, operator]


def subject(record: ExperimentRecord) -> str:
    """What an experiment is a test of, in its codebase: equal texts, same thing tested again."""
    exact = dict(record.roles)
    parts = [record.codebase, record.kind, record.technique, exact, record.start, sorted(record.interaction_of)]
    family = record.context.get("model_family")
    return digest(json.dumps([*parts, family], sort_keys=True, default=str))


def superseded(tests: Sequence[tuple[int, float, float | None]]) -> dict[int, int]:
    """Of tests of one thing, (id, time, standard error or None where nothing was measured): old id → the id that
    replaces it. A test is replaced by the best-powered later one, if that is better powered than itself."""
    replaced = {}
    ordered = sorted(tests, key=lambda test: (test[1], test[0]))
    for place, (id_, _, se) in enumerate(ordered):
        later = [(other_se, other) for other, _, other_se in ordered[place + 1 :] if other_se is not None]
        better = [entry for entry in later if se is None or entry[0] < se * (1 - 1e-9)]
        if better:
            replaced[id_] = min(better)[1]
    return replaced


class Cell(NamedTuple):
    """What the experiments of one technique with one setting in one context showed, as sufficient statistics.

    `setting` is a `setting_key`; `start` what its roles stood at. Of measured gains: their count `n`, the sum of their
    precisions `weight`, of precision × gain `moment`, of precision × gain² `square`. `failed` could not be trained.
    Of `pruned` ones the mean bound from above and its mean variance. Counts are plain, sums are weighted by trust.

    A tuple, because a store hands out tens of thousands of them at once.
    """

    technique: str
    setting: str
    start: Mapping[str, Scalar]
    codebase: str
    context: Context
    n: int = 0
    weight: float = 0.0
    moment: float = 0.0
    square: float = 0.0
    failed: int = 0
    pruned: int = 0
    bound: float = 0.0
    bound_variance: float = 0.0

    @property
    def gain(self) -> float:
        """The precision-weighted mean gain."""
        return self.moment / self.weight

    @property
    def variance(self) -> float:
        """Variance of that mean; larger where measurements disagree by more than their errors, and never less.

        Birge's ratio Q / (n − 1) (Phys. Rev. 1932), of few measurements mostly chance, is joined with USUAL imagined
        ones that agree as well as they say: the scale of a variance with a scaled inverse-χ² prior (Gelman et al.,
        Bayesian Data Analysis, 2013, section 2.6).
        """
        disagreement = max(0.0, self.square - self.moment**2 / self.weight)
        return max(1.0, (USUAL + disagreement) / (USUAL + self.n - 1)) / self.weight

    def over(self, unit: float) -> Cell:
        """The same with gains and bounds counted in units of this size."""
        if unit == 1.0:
            return self
        return self._replace(
            weight=self.weight * unit**2,
            moment=self.moment * unit,
            bound=self.bound / unit,
            bound_variance=self.bound_variance / unit**2,
        )

    def starts_from(self, now: Mapping[str, Scalar]) -> bool:
        """Whether the roles it set stand now where they stood then."""
        return all(same(value, now.get(role)) for role, value in self.start.items())


def gather(records: Iterable[ExperimentRecord]) -> tuple[Cell, ...]:
    """The cells of records: singles of a technique that are not superseded. What a store keeps beside its rows."""
    groups: dict[tuple[str, ...], list[ExperimentRecord]] = {}
    for r in records:
        if r.single and r.superseded_by is None:
            key = (
                str(r.technique),
                setting_key(r.roles, r.values),
                r.codebase,
                canonical(r.start),
                context_key(r.context),
            )
            groups.setdefault(key, []).append(r)
    return tuple(_cell(group) for _, group in sorted(groups.items()))


def context_key(context: Context) -> str:
    """A context as canonical text: equal contexts give equal texts."""
    return json.dumps({k: list(v) if isinstance(v, tuple) else v for k, v in context.items()}, sort_keys=True)


def _cell(group: Sequence[ExperimentRecord]) -> Cell:
    first = group[0]
    seen = [r for r in group if r.measured]
    bounds = [r for r in group if r.outcome == ExperimentOutcome.PRUNED]
    return Cell(
        technique=str(first.technique),
        setting=setting_key(first.roles, first.values),
        start=first.start,
        codebase=first.codebase,
        context=first.context,
        n=len(seen),
        weight=sum(r.precision for r in seen),
        moment=sum(r.precision * (r.effect or 0.0) for r in seen),
        square=sum(r.precision * (r.effect or 0.0) ** 2 for r in seen),
        failed=sum(r.outcome == ExperimentOutcome.FAILED for r in group),
        pruned=len(bounds),
        bound=sum(bound_of(r) for r in bounds) / len(bounds) if bounds else 0.0,
        bound_variance=sum(1 / r.precision for r in bounds) / len(bounds) if bounds else 0.0,
    )


def bound_of(record: ExperimentRecord) -> float:
    """The gain a pruned run did not exceed: 0 where no bound was kept."""
    return record.effect if record.effect is not None and math.isfinite(record.effect) else 0.0


@dataclass(frozen=True, slots=True)
class Excess:
    """What one combination gained of a pair of techniques beyond the sum of theirs alone, in one codebase.

    `excess` and `smaller`, the smaller of the two gains alone, are relative; `se` is the error of the excess. `share`
    is the number of pairs in the combination, which share its excess. `a` < `b`.
    """

    a: str
    b: str
    excess: float
    se: float
    smaller: float
    share: int = 1

    @property
    def variance(self) -> float:
        """Of this excess as one of another place: its error, and PLACE_SHARE of the smaller gain between places."""
        return self.se**2 + (PLACE_SHARE * self.smaller) ** 2 + SMALLEST_EXCESS**2


PLACE_SHARE = 1 / 3  # how much an interaction varies between places, over the smaller of the two gains
SMALLEST_EXCESS = 1e-4


def alone(pair: ExperimentRecord, singles: Iterable[ExperimentRecord]) -> dict[str, tuple[float, float]]:
    """Gain of each technique of a combination by itself and its variance, in the same codebase.

    What the campaign believed of its parts where it kept that: they were chosen for what their runs showed, and beside
    that luck any set looks as if its parts did not add up. Else the mean of what was measured; of the setting that the
    combination holds where that was tried, else of the technique; in the same campaign where it was tried there.
    """
    if pair.parts:
        return {name: (mean, sd**2) for name, (mean, sd) in pair.parts.items()}
    groups: dict[str, list[ExperimentRecord]] = {}
    for r in singles:
        if r.single and r.measured and r.superseded_by is None and r.codebase == pair.codebase:
            groups.setdefault(str(r.technique), []).append(r)
    found = {}
    for name in sorted(set(pair.interaction_of) & groups.keys()):
        of = groups[name]
        of = [r for r in of if all(same(value, pair.roles.get(role)) for role, value in r.roles.items())] or of
        of = [r for r in of if r.campaign == pair.campaign and bool(r.origin) is bool(pair.origin)] or of
        weight = sum(r.precision for r in of)
        found[name] = (sum(r.precision * (r.effect or 0.0) for r in of) / weight, 1 / weight)
    return found


def excesses(record: ExperimentRecord, by_itself: Mapping[str, tuple[float, float]]) -> tuple[Excess, ...]:
    """What a measured combination says of each pair in it; `by_itself` is of `alone`.

    Empty where one of them was never measured alone. A set of three or more shares its excess evenly among its pairs,
    and each is as uncertain as if it might hold the whole.
    """
    names = sorted(set(record.interaction_of))
    if len(names) < 2 or not record.measured or any(name not in by_itself for name in names):
        return ()
    count = len(names) * (len(names) - 1) // 2
    whole = float(record.effect or 0.0) - sum(by_itself[name][0] for name in names)
    variance = 1 / record.precision + sum(by_itself[name][1] for name in names)
    se = math.sqrt(variance + whole**2 * (1 - 1 / count))
    return tuple(
        Excess(a, b, whole / count, se, min(by_itself[a][0], by_itself[b][0]), count) for a, b in combinations(names, 2)
    )


@dataclass(frozen=True, slots=True)
class Pair:
    """All that `n` combinations showed of two techniques together: precision-weighted means of their excess over the
    sum and of the smaller gain, and the sum `weight` of the precisions. `a` < `b`."""

    a: str
    b: str
    n: int
    weight: float
    excess: float
    smaller: float


def pair_up(found: Iterable[Excess]) -> tuple[Pair, ...]:
    groups: dict[tuple[str, str], list[Excess]] = {}
    for one in found:
        groups.setdefault((one.a, one.b), []).append(one)
    pairs = []
    for (a, b), group in sorted(groups.items()):
        weight = sum(1 / one.variance for one in group)
        excess = sum(one.excess / one.variance for one in group) / weight
        pairs.append(Pair(a, b, len(group), weight, excess, sum(one.smaller / one.variance for one in group) / weight))
    return tuple(pairs)


@dataclass(frozen=True, slots=True)
class Effect:
    """A belief about a technique's relative gain in one context.

    `n` counts the experiments behind it, `words` sums them up; `like` counts those that were trained, each by how like
    this context its own is. `p_trainable` is the probability that the technique can be trained here at all.
    """

    mean: float
    sd: float
    n: int
    words: str
    p_trainable: float = 1.0
    like: float = 0.0
