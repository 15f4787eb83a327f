"""A plan: what a campaign will do, what it costs, and under which limits. Its canonical JSON is what gets signed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from rea.domain.campaign import PlanRecord
from rea.domain.codebase import Codebase, Scalar
from rea.domain.codec import UNREADABLE, loads
from rea.domain.data import DataProfile
from rea.domain.environment import Environment
from rea.domain.errors import ReaError
from rea.domain.hypothesis import HypothesisDraft
from rea.domain.ids import say
from rea.domain.states import Phase


class Part(StrEnum):
    """A part of the planner that a plan may do without, to measure what it is worth."""

    INSIGHTS = "insights"  # what earlier experiments showed
    TECHNIQUES = "techniques"  # the cards: what is left is tuning, and what engineers add
    DIAGNOSIS = "diagnosis"  # symptoms of the baseline
    STOP_RULE = "stop-rule"  # early ends of runs worse than the baseline
    COMBINATION = "combination"  # the phase
    CONFIRMATION = "confirmation"  # fresh seeds; without them nothing is claimed


@dataclass(frozen=True, slots=True)
class Finding:
    """A symptom seen in the baseline: its name in the vocabulary of the cards, how sure, and its numbers."""

    name: str
    strength: float  # 0 … 1
    words: str
    numbers: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Baseline:
    """The baseline as measured: the objective over seeds, its noise, and what one run takes.

    `noise` is the relative standard deviation of one *paired* gain: √2 times that of a single run, shrunk toward a
    prior because a handful of seeds tells little about a variance.
    """

    seeds: tuple[int, ...]
    values: tuple[float, ...]
    mean: float
    sd: float
    noise: float
    metrics: Mapping[str, float]
    run_s: float  # mean wall seconds of one run
    run_sd_s: float
    device_s: float  # mean device-seconds of one run
    peak_memory_bytes: int
    epochs: float
    spread: Mapping[str, float] = field(default_factory=dict)  # standard deviation over seeds, by metric
    split_noise: float | None = None  # error over rows of the gain of one seed over the next, where blocks tell it
    data: DataProfile | None = None  # what the codebase tells about its data, where it does
    evaluate_s: float | None = None  # the longest wall seconds of one evaluation, where it is a command of its own


@dataclass(frozen=True, slots=True)
class PlannedHypothesis:
    id: int
    draft: HypothesisDraft
    score: float  # what one run of it is expected to add to the final choice, per baseline run; the order of trials


@dataclass(frozen=True, slots=True)
class LeftOut:
    title: str
    reason: str


@dataclass(frozen=True, slots=True)
class Additivity:
    """What a hypothesis is expected to add to a set that holds another, as a share of what it gains alone.

    `apart` where the two work by different means, `alike` where by the same; `pairs` holds the pairs of techniques
    whose combinations, as far as insights know them, tell otherwise: both names, in their order, joined by " + ".
    """

    apart: float = 0.8
    alike: float = 0.5
    pairs: Mapping[str, float] = field(default_factory=dict)

    def share(self, one: HypothesisDraft, other: HypothesisDraft) -> float:
        """Of the smaller of these two beside the larger."""
        if one.technique is not None and other.technique is not None:
            known = self.pairs.get(pair_key(one.technique, other.technique))
            if known is not None:
                return known
        named = one.technique in other.overlaps or other.technique in one.overlaps
        return self.alike if one.mechanism == other.mechanism or named else self.apart


def pair_key(a: str, b: str) -> str:
    return " + ".join(sorted((a, b)))


@dataclass(frozen=True, slots=True)
class PhasePlan:
    """One phase of one round: the device-seconds it may use and what is expected of it."""

    round: int
    phase: Phase
    budget_s: float
    runs: float  # expected number of trainings
    expected_s: float
    sd_s: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """Predicted device-seconds of the whole campaign, profile included, and the wall time at full slots."""

    device_s: float
    sd_s: float
    wall_s: float

    @property
    def interval(self) -> tuple[float, float]:
        """The central 90 % interval."""
        return self.device_s - 1.645 * self.sd_s, self.device_s + 1.645 * self.sd_s


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers that bound the executor; they are part of what is signed."""

    minimum_gain: float
    walltime_factor: float  # a run's wall-time limit over its predicted time
    walltime_floor_s: float
    stop_tolerance: float  # relative, at the end of the curve; wider early on
    stop_from: float  # share of the baseline's curve before which nothing is stopped
    confirm_seeds: tuple[int, ...]
    search_seeds: tuple[int, ...]
    warn_at: float = 0.8  # share of the budget at which no new hypothesis starts
    retry_cap: int = 3
    spare_seeds: tuple[int, ...] = ()  # further fresh seeds for the confirmation, where the search left budget over
    least_gain_per_run: float = 0.0  # expected gain per baseline run below which the search stops to spend
    without: tuple[Part, ...] = ()  # parts of the planner that are switched off, to measure what they are worth


@dataclass(frozen=True, slots=True)
class Plan:
    format: int
    campaign: str
    codebase: Codebase
    commit: str
    codebase_digest: str
    signers_digest: str
    env: Mapping[str, str]
    baseline: Baseline
    baseline_values: Mapping[str, Scalar]
    symptoms: tuple[Finding, ...]
    hypotheses: tuple[PlannedHypothesis, ...]
    left_out: tuple[LeftOut, ...]
    needs_code: tuple[LeftOut, ...]
    rounds: int
    phases: tuple[PhasePlan, ...]
    budget_s: float
    contingency_s: float
    profile_s: float  # already spent on the profile, part of the budget
    estimate: Estimate
    rules: Rules
    additivity: Additivity = field(default_factory=Additivity)
    start_by: float | None = None  # Unix time until which its signature lets it be started or resumed
    data_digest: str = ""  # of what trainings read beside the repository, where the codebase names it
    per_day_s: float | None = None  # device-seconds that it may begin to use in one day of UTC
    environment: Environment | None = None  # that the baseline was measured in, where it could be told
    finish_by: float | None = None  # Unix time by which the search makes room for the confirmation and the reveal

    @property
    def reveal_s(self) -> float:
        """Device-seconds that everything before the reveal leaves to it."""
        return sum(planned.budget_s for planned in self.phases if planned.phase is Phase.REVEAL)

    def phase(self, round_: int, phase: Phase) -> PhasePlan | None:
        return next((p for p in self.phases if p.round == round_ and p.phase is phase), None)


def _unreadable(text: str, error: Exception) -> str:
    """What is wrong with a plan's text, by its first fault: the place and what stands there."""
    from pydantic import TypeAdapter, ValidationError

    try:
        TypeAdapter(Plan).validate_json(text)
    except ValidationError as faults:
        found = faults.errors()
    except RecursionError as deep:
        error, found = deep, []
    else:
        found = []
    if not found:
        return " ".join(str(error).split())[:200]
    first = found[0]
    place = ".".join(str(part) for part in first["loc"])[:100] or "the text"
    faults_of = {"json_invalid": "is no JSON", "missing": "is missing"}
    wrong = faults_of.get(first["type"], f"is {json.dumps(first['input'], default=str)[:60]}, which it cannot be")
    more = f" ({len(found) - 1} more like it)" if len(found) > 1 else ""
    return f"{place} {wrong}{more}"


@lru_cache(maxsize=16)
def read_plan(record: PlanRecord) -> Plan:
    """The plan that a stored version holds. Raises ReaError, naming plan and campaign, where its text is none.

    A wake asks for the same plan at every step of it; the last few are kept.
    """
    try:
        return loads(Plan, record.text)
    except UNREADABLE as error:
        campaign = say("C", record.campaign)
        said = _unreadable(record.text, error)
        raise ReaError(
            f"{say('P', record.id)}, version {record.version} of the plan of {campaign}, cannot be read: {said}",
            hint="its text should be the JSON of a plan as REA wrote it. Restore the store from a backup, or end the"
            f" campaign with `rea stop {campaign}`",
        ) from error
