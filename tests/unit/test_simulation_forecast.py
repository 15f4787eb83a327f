"""Forecasts: exactly the plan that is there, in worlds that are as its beliefs are, the same for the same seed."""

from __future__ import annotations

import statistics
from dataclasses import replace
from functools import cache

import pytest

from rea.domain.codec import canonical, digest
from rea.domain.plan import Plan
from rea.domain.rows import Rows
from rea.domain.run import Run, RunDraft
from rea.domain.states import CampaignState, HypothesisState, Phase, RunState
from rea.domain.treatment import Treatment
from rea.insights.snapshot import Insights
from rea.simulation.believed import believed
from rea.simulation.forecast import Course, Material, Weather, course, quantile, world_of
from rea.simulation.measured import Measured, nature, profiled
from rea.simulation.response import null
from support.world import World, techniques

SEEDS = range(1, 9)


@cache
def drafted(budget: str = "20r", slots: int = 1, most: int | None = None) -> Material:
    """A campaign with a plan, of `most` hypotheses, as a store would have it."""
    world = World(7, null, budget=budget, rounds=1, run_s=600.0).profile()
    rows = world.store.snapshot_rows(1)
    if most is not None:
        assert world.plan is not None and rows.plan is not None
        text = canonical(replace(world.plan, hypotheses=world.plan.hypotheses[:most]))
        rows = replace(rows, plan=replace(rows.plan, text=text, digest=digest(text)))
    return Material(rows, world.entries, techniques(), Insights(), 0.05, 0.02, slots, Weather.CALM)


@cache
def came_to(budget: str = "20r", slots: int = 1) -> tuple[Course, ...]:
    return tuple(course(drafted(budget, slots), seed) for seed in SEEDS)


def median(values: list[float]) -> float:
    return statistics.median(values)


# ---------------------------------------------------------------- the plan as it is


def test_a_simulated_campaign_begins_with_the_plan_to_the_letter_and_the_profile_as_it_was() -> None:
    material = drafted()
    world = world_of(material, 3)
    assert material.rows.plan is not None and world.store.snapshot_rows(1).plan is not None
    assert world.store.snapshot_rows(1).plan.text == material.rows.plan.text
    assert [h.id for h in world.hypotheses] == [item.id for item in material.plan.hypotheses]
    assert [run.result for run in world.runs] == [run.result for run in material.rows.runs]
    assert world.balance.spent == material.rows.balance.spent and world.balance.approved == material.plan.budget_s
    assert world.campaign.state is CampaignState.RUNNING and world.snapshot().signed
    assert set(world.evidence().baseline) == set(material.plan.baseline.seeds)


def test_a_veto_holds_and_what_became_of_the_campaign_later_does_not_count() -> None:
    material = drafted()
    first, second, *rest = material.rows.hypotheses
    changed = (
        replace(first, state=HypothesisState.VETOED, reason="no"),
        replace(second, state=HypothesisState.REFUTED),
        *rest,
    )
    world = world_of(replace(material, rows=replace(material.rows, hypotheses=changed)), 3)
    states = {h.id: h.state for h in world.hypotheses}
    assert states[first.id] is HypothesisState.VETOED and states[second.id] is HypothesisState.PROPOSED
    world.finish()
    assert all(run.draft.hypothesis != first.id for run in world.runs)


def test_the_same_seed_gives_the_same_campaign_and_another_seed_another() -> None:
    again = course(drafted(), SEEDS[0])
    assert again == came_to()[0]
    assert len({one.device_s for one in came_to()}) > 1


@pytest.mark.parametrize("weather", [Weather.USUAL, Weather.STORM])
def test_campaigns_come_to_rest_in_any_weather(weather: Weather) -> None:
    material = replace(drafted(), weather=weather)
    for seed in SEEDS[:2]:
        one = course(material, seed)
        assert one.state in (CampaignState.FINISHED, CampaignState.PAUSED)
        assert 0 < one.device_s <= material.plan.budget_s + 1e-6 and one.wall_s > 0


# ---------------------------------------------------------------- what it says


def test_on_a_calm_day_the_median_cost_lies_within_the_plans_own_estimate() -> None:
    low, high = drafted().plan.estimate.interval
    assert low <= median([one.device_s for one in came_to()]) <= high


def test_a_smaller_budget_is_used_up_more_often() -> None:
    shares = []
    for budget in ("16r", "24r", "40r"):
        material = drafted(budget, most=8)
        shares.append(statistics.fmean(course(material, seed).used_up for seed in SEEDS[:5]))
    assert shares == sorted(shares, reverse=True) and shares[0] > shares[-1]


def test_more_slots_do_not_make_a_campaign_take_longer() -> None:
    walls = [median([one.wall_s for one in came_to("20r", slots)]) for slots in (1, 2, 4)]
    assert walls[1] < 0.8 * walls[0] and walls[2] <= 1.1 * walls[1]


def test_quantiles_lie_between_the_values_they_are_of() -> None:
    assert [quantile([3.0, 1.0, 2.0], share) for share in (0.0, 0.5, 0.75, 1.0)] == [1.0, 2.0, 2.5, 3.0]


# ---------------------------------------------------------------- the truth that is drawn


def test_a_planned_effect_is_on_average_what_the_plan_believes_and_spread_as_it_believes() -> None:
    plan = drafted().plan
    responses = [believed(plan, seed) for seed in range(400)]
    for item in plan.hypotheses[:6]:
        effect, seen = item.draft.effect, [response(item.draft.full) for response in responses]
        assert statistics.fmean(seen) == pytest.approx(effect.mean, abs=4 * effect.sd / 20)
        assert statistics.stdev(seen) == pytest.approx(effect.sd, rel=0.15)


def test_a_response_is_zero_at_the_baseline_and_the_larger_of_two_gains_counts_in_full() -> None:
    plan = drafted().plan
    one, other = Treatment({"optim.schedule": "cosine"}), Treatment({"model.normalization": "layer"})
    for seed in range(30):
        response = believed(plan, seed)
        assert response(Treatment()) == 0.0
        assert response(Treatment(dict(plan.baseline_values))) == pytest.approx(0.0, abs=1e-12)
        apart, together = (response(one), response(other)), response(other.on(one))
        assert together <= sum(apart) + 1e-12
        if min(apart) > 0:
            assert together >= max(apart) - 1e-12


# ---------------------------------------------------------------- codebases that cannot be drawn from nothing


def _of(plan: Plan, rows: Rows, gain: float) -> Measured:
    true = nature(plan, lambda t: gain * (not t.empty), speed=1.0, untrainable=0.0, lost=0.0)
    return Measured(true, plan.codebase, dict(plan.baseline_values), 1, plan.baseline, profiled(rows.runs))


def test_a_metric_to_be_maximised_gains_upwards_and_other_guardrails_stay_where_they_were() -> None:
    rows = drafted().rows
    plan = drafted().plan
    objective = replace(plan.codebase.objective, metric="auc", direction="maximize")

    def as_auc(run: Run) -> Run:
        assert run.result is not None
        return replace(
            run,
            result=replace(run.result, metrics={"auc": 1.5 - run.result.metrics["ne"], "latency": 3.0}, curve=()),
        )

    runs = tuple(as_auc(run) for run in rows.runs)
    values = tuple(run.result.metrics["auc"] for run in runs if run.result is not None)
    mean = statistics.fmean(values)
    baseline = replace(plan.baseline, values=values, mean=mean, metrics={"auc": mean, "latency": 3.0}, split_noise=None)
    plan = replace(plan, codebase=replace(plan.codebase, objective=objective), baseline=baseline)
    of = _of(plan, replace(rows, runs=runs), 0.02)
    gains = []
    for seed in range(300):
        base, mine = (
            of.trained(Run(1, 1, RunDraft("k", None, 1, Phase.VALIDATION, t, seed, 1.0, 60.0, 60.0), RunState.ACTIVE))[
                0
            ].metrics
            for t in (Treatment(), Treatment({"optim.lr": 0.01}))
        )
        assert mine["latency"] == 3.0
        gains.append(objective.gain(base["auc"], mine["auc"]))
    assert statistics.fmean(gains) == pytest.approx(0.02, abs=4 * baseline.noise / 300**0.5)


def test_a_run_on_a_seed_of_the_profile_is_paired_with_what_was_measured_there() -> None:
    rows, plan = drafted().rows, drafted().plan
    of, metric = _of(plan, rows, 0.0), plan.codebase.objective.metric
    for seed, result in profiled(rows.runs).items():
        draft = RunDraft("k", None, 1, Phase.VALIDATION, Treatment(), seed, 1.0, 60.0, 60.0)
        again, _ = of.trained(Run(1, 1, draft, RunState.ACTIVE))
        assert again.metrics[metric] == pytest.approx(result.metrics[metric])
        assert [r.x for r in again.curve] == [r.x for r in result.curve]
        assert len(again.block_loss) == len(result.block_loss)
