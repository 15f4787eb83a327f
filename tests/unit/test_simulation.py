"""Simulated campaigns: in any world the invariants hold at every instant, and worlds are what they say."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rea.domain.errors import ReaError
from rea.domain.run import Run, RunDraft
from rea.domain.states import AttemptState, CampaignState, HypothesisState, Phase, RunState, is_terminal
from rea.domain.treatment import Treatment
from rea.simulation.response import Optimum, best_single, null, sparse
from rea.simulation.trainer import Course, Nature, Trainer
from rea.simulation.world import World as Simulated
from support.world import VALUES, World, techniques, tiny_codebase

CODE = tiny_codebase()
LR, COSINE = Treatment({"optim.lr": 0.01}), Treatment({"optim.schedule": "cosine"})


def trainer(seed: int = 0, **nature) -> Trainer:
    return Trainer(Nature(**{"response": null, **nature}), CODE, VALUES, seed)


def metric(of: Trainer, treatment: Treatment, seed: int, split: str = "valid") -> float:
    return sum(of.blocks(treatment, seed, split))


def gain(of: Trainer, treatment: Treatment, seed: int, split: str = "valid") -> float:
    return 1 - metric(of, treatment, seed, split) / metric(of, Treatment(), seed, split)


# ---------------------------------------------------------------- whole campaigns


class Watch:
    """Checks after every change what may never happen, and remembers what may never change again."""

    def __init__(self) -> None:
        self.ended: dict[str, object] = {}
        self.looks = 0

    def __call__(self, world: Simulated) -> None:
        self.looks += 1
        held = world.balance
        assert held.spent + held.reserved <= held.approved + 1e-6
        assert held.spent >= 0 and held.reserved >= -1e-9
        assert sum(x.state is not AttemptState.ENDED for x in world.attempts) <= world.slots
        assert world.submitted_unsigned == 0 and world.revealed <= 1
        rows = [("H", h.id, h.state) for h in world.hypotheses] + [("R", r.id, r.state) for r in world.runs]
        rows += [("A", x.id, x.state) for x in world.attempts] + [("C", 1, world.campaign.state)]
        for kind, id_, state in rows:
            name = f"{kind}-{id_}"
            assert self.ended.get(name, state) is state, f"{name} came back from its end"
            if is_terminal(state):
                self.ended[name] = state
        keys = [run.draft.key for run in world.runs]
        assert len(keys) == len(set(keys))
        begun = {x.run for x in world.attempts}
        assert all(run.state is not RunState.SUCCEEDED or run.id in begun for run in world.runs)


natures = st.fixed_dictionaries(
    {
        "noise": st.sampled_from([0.0002, 0.001, 0.005]),
        "shared": st.floats(0.0, 0.9),
        "wild": st.floats(0.0, 1.0),
        "rows": st.sampled_from([0.0, 0.0003, 0.002]),
        "run_s": st.sampled_from([1.0, 60.0, 600.0]),
        "epochs": st.integers(3, 12),
        "course": st.sampled_from(list(Course)),
        "untrainable": st.floats(0.0, 0.6),
        "lost": st.floats(0.0, 0.2),
    }
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10**6),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    nature=natures,
    slots=st.integers(1, 5),
    budget=st.integers(6, 45),
    rounds=st.sampled_from([None, 1, 2, 3]),
)
def test_in_any_world_the_budget_the_signature_and_every_end_hold(seed, share, nature, slots, budget, rounds):
    response = sparse(techniques(), CODE, VALUES, seed, share)
    world = World(seed, response, slots=slots, budget=f"{budget}r", rounds=rounds, **nature)
    world.watch = watch = Watch()
    world.whole()
    assert watch.looks > 3
    state = world.campaign.state
    assert state in (CampaignState.FINISHED, CampaignState.PAUSED, CampaignState.FAILED), state
    if state is CampaignState.PAUSED:
        assert world.campaign.pause_reason is not None and world.campaign.reason
    if state is CampaignState.FINISHED:
        assert world.balance.reserved == 0 and world.campaign.verdict is not None
        assert all(h.state is not HypothesisState.TESTING or h.belief is None for h in world.hypotheses)


def test_a_budget_that_holds_no_plan_pauses_the_profile_and_says_so():
    world = World(1, null, budget="5r").whole()
    assert world.campaign.state is CampaignState.PAUSED and "too small" in world.campaign.reason
    assert world.plan is None and all(run.draft.phase is Phase.PROFILE for run in world.runs)
    with pytest.raises(ReaError, match="has no plan"):
        world.evidence()


def test_a_campaign_teaches_the_next_one():
    first = World(3, sparse(techniques(), CODE, VALUES, 3, 1.0)).whole()
    assert first.experiments
    told = [replace(record, campaign=7) for record in first.experiments]
    fresh, second = World(3, null).profile(), World(3, null, records=told).profile()
    assert [h.draft.effect for h in second.hypotheses] != [h.draft.effect for h in fresh.hypotheses]


# ---------------------------------------------------------------- luck


def test_what_a_trainer_gives_depends_on_nothing_but_its_seed_and_what_is_asked():
    one, other = trainer(5), trainer(5)
    metric(other, COSINE, 9, "test")
    assert one.blocks(LR, 1, "valid") == other.blocks(LR, 1, "valid")
    assert one.blocks(LR, 1, "valid") != trainer(6).blocks(LR, 1, "valid")


@pytest.mark.parametrize("noise,shared", [(0.001, 0.0), (0.002, 0.8)])
def test_a_paired_gain_has_the_noise_that_its_nature_says(noise, shared):
    of = trainer(noise=noise, shared=shared, rows=0.0)
    gains = [gain(of, LR, seed) for seed in range(800)]
    assert statistics.fmean(gains) == pytest.approx(0.0, abs=4 * noise / math.sqrt(800))
    assert statistics.stdev(gains) == pytest.approx(noise * math.sqrt(2 * (1 - shared)), rel=0.1)


def test_more_seeds_do_not_tell_a_splits_luck_and_another_split_does():
    rows = 0.002
    found = []
    for seed in range(40):
        of = trainer(seed, noise=0.0, rows=rows)
        valid, test = (statistics.fmean(gain(of, COSINE, s, split) for s in range(10)) for split in ("valid", "test"))
        found.append((valid, test))
    valids, tests = zip(*found, strict=True)
    assert statistics.stdev(valids) == pytest.approx(rows * math.sqrt(0.7), rel=0.3)
    assert abs(statistics.correlation(valids, tests)) < 0.4


def test_settings_near_each_other_are_lucky_together():
    near, far = [], []
    for seed in range(150):
        of = trainer(seed, noise=0.0, rows=0.002)
        at = [gain(of, Treatment({"optim.lr": lr}), 1) for lr in (0.03, 0.032, 0.0003)]
        near.append((at[0], at[1]))
        far.append((at[0], at[2]))
    close = statistics.correlation(*zip(*near, strict=True))
    assert close > 0.6 and close > statistics.correlation(*zip(*far, strict=True)) + 0.2


def test_a_runs_blocks_are_its_metric_and_its_curve_ends_there():
    for course in Course:
        of = trainer(3, course=course, response=lambda t: 0.01 * len(t.overrides))
        draft = RunDraft("k", 1, 1, Phase.VALIDATION, COSINE, 2, 1.0, 60.0, 60.0)
        result, pruned = of.trained(Run(1, 1, draft, RunState.ACTIVE))
        assert not pruned and sum(result.block_loss) == pytest.approx(result.metrics["ne"])
        assert min(r.metrics["ne"] for r in result.curve) == pytest.approx(result.metrics["ne"])


def test_the_stop_rule_ends_a_run_where_its_curve_crosses_the_limit():
    of = trainer(3, response=lambda t: -0.03)
    limits = ((2.0, 0.9), (3.0, 0.8), (4.0, 0.79))
    draft = RunDraft("k", 1, 1, Phase.VALIDATION, COSINE, 2, 1.0, 60.0, 60.0, limits)
    result, pruned = of.trained(Run(1, 1, draft, RunState.ACTIVE))
    assert pruned and result.fidelity == len(result.curve) / 5 < 1 and not result.block_loss


def test_an_objective_that_cannot_be_simulated_is_refused_by_name():
    auc = replace(CODE, objective=replace(CODE.objective, metric="auc", direction="maximize"))
    with pytest.raises(ReaError, match="maximize auc"):
        Trainer(Nature(null), auc, VALUES, 0)


# ---------------------------------------------------------------- responses


@given(st.floats(-3, 3), st.floats(0.1, 3), st.floats(-0.01, 0.01).filter(bool), st.floats(-6, 6))
def test_an_optimum_gains_nothing_at_its_start_and_never_more_than_its_peak(start, away, peak, at):
    curve = Optimum(start, start + away, peak)
    assert curve.gain(start) == pytest.approx(0.0, abs=1e-12)
    assert curve.gain(start + away) == pytest.approx(peak, abs=1e-12)
    assert curve.gain(at) <= max(peak, 0.0) + 1e-12


@given(st.integers(0, 5000))
def test_effects_are_zero_at_the_baseline_and_together_never_more_than_their_sum(seed):
    response = sparse(techniques(), CODE, VALUES, seed, 1.0)
    assert response(Treatment()) == 0.0
    assert response(Treatment(dict(VALUES))) == pytest.approx(0.0, abs=1e-12)
    one, other = response(LR), response(COSINE)
    together = response(COSINE.on(LR))
    assert together <= one + other + 1e-12
    if one > 0 and other > 0:
        assert together >= max(one, other) - 1e-12
    else:
        assert together == pytest.approx(one + other, abs=1e-12)


def test_the_share_of_settings_that_matter_is_as_asked_and_nothing_where_none_do():
    for share in (0.0, 0.3):
        matter = total = 0
        for seed in range(40):
            response = sparse(techniques(), CODE, VALUES, seed, share)
            matter += sum(gain != 0 for gain in response.choices.values())
            total += len(response.choices)
        assert matter / total == pytest.approx(share, abs=0.08)
    assert best_single(sparse(techniques(), CODE, VALUES, 1, 0.0), techniques(), CODE, VALUES) == 0.0


@pytest.mark.parametrize(("forgotten", "ends"), [(3, CampaignState.DRAFTED), (9, CampaignState.FAILED)])
def test_a_profile_whose_allowance_is_used_up_makes_do_or_fails(forgotten: int, ends: CampaignState) -> None:
    # What became of a job that the launcher forgot nobody knows, so the whole of its limit is charged.
    world = World(1, null, run_s=600.0, budget="100r").begin()
    for _ in range(200):
        if world.campaign.state is not CampaignState.PROFILING:
            break
        world.wake()
        running = [name for name, job in world.launcher.jobs.items() if job.ends_at > world.now]
        lasting = sum(run.state is RunState.SUCCEEDED for run in world.runs) >= 2
        if running and forgotten and (lasting or ends is CampaignState.FAILED):
            del world.launcher.jobs[running[0]]
            forgotten -= 1
        world.now += 300.0
    assert world.campaign.state is ends, world.events[-3:]
    if ends is CampaignState.FAILED:
        assert "are spent, and R-" in world.campaign.reason
    else:
        assert [run.state for run in world.runs].count(RunState.CANCELLED) == 1
