"""What a plan may come to: whole campaigns of exactly this plan, each in a world drawn from what the plan believes."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from rea.domain.hypothesis import HypothesisKind
from rea.domain.ledger import Entry
from rea.domain.plan import Plan, read_plan
from rea.domain.rows import Rows
from rea.domain.states import CampaignState, HypothesisState, PauseReason, Phase, Verdict
from rea.domain.technique import Technique
from rea.insights.snapshot import Insights, after
from rea.planner.evidence import Evidence
from rea.planner.layout import MACHINE, SEARCH
from rea.planner.situation import Situation
from rea.planner.validation import wanted
from rea.simulation.believed import believed
from rea.simulation.measured import Measured, nature, profiled
from rea.simulation.storm import DAY, Faults, Storm
from rea.simulation.world import World

STEPS_PER_RUN = 200  # of a world's clock, before a campaign is taken to have no end
STORM_DAYS = 365.0


class Weather(StrEnum):
    CALM = "calm"  # nothing goes wrong
    USUAL = "usual"  # treatments that cannot be trained, attempts that infrastructure ends
    STORM = "storm"  # everything that `simulation.storm` knows of, on top


@dataclass(frozen=True, slots=True)
class Material:
    """What a campaign is simulated from: its rows and ledger, the codebase's cards, what is known of them; the share of
    treatments that cannot be trained and that of attempts that are lost."""

    rows: Rows
    entries: Sequence[Entry]
    techniques: tuple[Technique, ...]
    insights: Insights
    untrainable: float
    lost: float
    slots: int
    weather: Weather

    @property
    def plan(self) -> Plan:
        if self.rows.plan is None:
            raise ValueError("a campaign is simulated from its plan")
        return read_plan(self.rows.plan)


@dataclass(frozen=True, slots=True)
class Course:
    """What one simulated campaign came to. Seconds and device-seconds; the profile is part of what was spent.

    `used_up`: the search ended before every hypothesis worth a run was tested. `gain` is the true one of what was
    proposed for launch.
    """

    wall_s: float
    device_s: float
    runs: int
    state: CampaignState
    paused_for_budget: bool
    used_up: bool
    launched: bool
    gain: float | None
    claimed: float | None


@dataclass(frozen=True, slots=True)
class Spread:
    p10: float
    p50: float
    p90: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(*(quantile(values, share) for share in (0.1, 0.5, 0.9)))


def quantile(values: Sequence[float], share: float) -> float:
    """Of some values, interpolated between neighbours."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the simulated campaigns of a plan came to. `begins_at` and `ends_at` are Unix seconds, shares lie from 0 to
    1, gains are relative. `gain` and `claimed` are means over the launches, None without any; `expected_gain` is the
    mean over all campaigns, of which those without a launch gain nothing."""

    campaign: str
    plan: str
    campaigns: int
    seed: int
    slots: int
    weather: Weather
    untrainable: float
    lost: float
    begins_at: float
    wall_s: Spread
    ends_at: Spread
    device_s: Spread
    budget_share: Spread
    runs: Spread
    budget_s: float
    used_up: float
    paused_for_budget: float
    paused_otherwise: float
    launched: float
    gain: float | None
    claimed: float | None
    expected_gain: float
    planned_device_s: float
    planned_interval_s: tuple[float, float]
    planned_wall_s: float
    device_agrees: bool
    wall_agrees: bool


def world_of(material: Material, seed: int) -> World:
    """One world in which the plan's beliefs are as true as its draw has them, about to begin the search."""
    plan, chance = material.plan, random.Random(f"weather/{seed}")
    calm = material.weather is Weather.CALM
    true = nature(
        plan,
        believed(plan, seed),
        speed=math.exp(MACHINE * chance.gauss(0.0, 1.0)),
        untrainable=0.0 if calm else material.untrainable,
        lost=0.0 if calm else material.lost,
    )
    seen = profiled(material.rows.runs)
    trainer = Measured(true, plan.codebase, dict(plan.baseline_values), seed, plan.baseline, seen)
    runs = plan.budget_s / plan.baseline.device_s
    world = World(
        trainer,
        material.techniques,
        slots=material.slots,
        recall=lambda records: after(material.insights, records, material.techniques, plan.codebase.name),
        most_steps=math.ceil(STEPS_PER_RUN * max(runs, 10.0)),
    )
    return world.planned(material.rows, material.entries)


def course(material: Material, seed: int) -> Course:
    """One whole campaign. Raises ReaError where the executor breaks its word."""
    world = world_of(material, seed)
    if material.weather is Weather.STORM:
        days = max(STORM_DAYS, 20 * material.plan.estimate.wall_s / DAY)
        Storm(world, seed, Faults(), most_days=days).weeks()
    else:
        world.finish()
    campaign, claim = world.campaign, world.campaign.claim
    launched = campaign.verdict is Verdict.LAUNCH
    finalist = next((h for h in world.hypotheses if h.id == campaign.incumbent), None)
    gain = world.trainer.gain(finalist.draft.full) if launched and finalist is not None else None
    return Course(
        wall_s=(campaign.ended_at or world.now) - world.began,
        device_s=world.balance.spent,
        runs=len({attempt.run for attempt in world.attempts}),
        state=campaign.state,
        paused_for_budget=campaign.state is CampaignState.PAUSED and campaign.pause_reason is PauseReason.BUDGET,
        used_up=_used_up(world, material.plan),
        launched=launched,
        gain=gain,
        claimed=claim.gain if launched and claim is not None else None,
    )


def _used_up(world: World, plan: Plan) -> bool:
    """Whether a hypothesis was left untested that the plan's rules would pay a run for: then money ended the search."""
    if world.campaign.state is CampaignState.PAUSED and world.campaign.phase in SEARCH:
        return world.campaign.pause_reason is PauseReason.BUDGET
    searched = tuple(run for run in world.runs if run.draft.phase in (*SEARCH, Phase.PROFILE))
    spent: dict[int, float] = {}
    for attempt in world.attempts:
        spent[attempt.run] = spent.get(attempt.run, 0.0) + (attempt.device_s or 0.0)
    evidence = Evidence(plan, searched, world.hypotheses)
    paid = world.balance.contingency_spent
    situation = Situation(evidence, world.campaign.round, spent, world.slots, contingency_spent=paid)
    arms = situation.of_kind(HypothesisKind.SINGLE)
    worth = [h for value, h, _ in wanted(situation, arms) if value >= plan.rules.least_gain_per_run]
    return any(h.state is HypothesisState.PROPOSED for h in worth)


def forecast(
    material: Material, found: Sequence[Course], *, campaign: str, plan_name: str, seed: int, begins_at: float
) -> Forecast:
    """What these campaigns say together."""
    plan, count = material.plan, len(found)
    wall, device = Spread.of([one.wall_s for one in found]), Spread.of([one.device_s for one in found])
    gains = [one.gain for one in found if one.gain is not None]
    claimed = [one.claimed for one in found if one.claimed is not None]
    low, high = plan.estimate.interval
    paused = [one for one in found if one.state is not CampaignState.FINISHED and not one.paused_for_budget]
    return Forecast(
        campaign=campaign,
        plan=plan_name,
        campaigns=count,
        seed=seed,
        slots=material.slots,
        weather=material.weather,
        untrainable=0.0 if material.weather is Weather.CALM else material.untrainable,
        lost=0.0 if material.weather is Weather.CALM else material.lost,
        begins_at=begins_at,
        wall_s=wall,
        ends_at=Spread(begins_at + wall.p10, begins_at + wall.p50, begins_at + wall.p90),
        device_s=device,
        budget_share=Spread(*(x / plan.budget_s for x in (device.p10, device.p50, device.p90))),
        runs=Spread.of([float(one.runs) for one in found]),
        budget_s=plan.budget_s,
        used_up=sum(one.used_up for one in found) / count,
        paused_for_budget=sum(one.paused_for_budget for one in found) / count,
        paused_otherwise=len(paused) / count,
        launched=sum(one.launched for one in found) / count,
        gain=sum(gains) / len(gains) if gains else None,
        claimed=sum(claimed) / len(claimed) if claimed else None,
        expected_gain=sum(gains) / count,
        planned_device_s=plan.estimate.device_s,
        planned_interval_s=(low, high),
        planned_wall_s=plan.estimate.wall_s,
        device_agrees=low <= device.p50 <= high or device.p10 <= plan.estimate.device_s <= device.p90,
        wall_agrees=wall.p10 <= plan.estimate.wall_s <= wall.p90 or material.slots != plan.codebase.launcher.slots,
    )
