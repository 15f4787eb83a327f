"""What is worth a run now, and what had better wait."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import pytest

from rea.domain.codebase import Scalar
from rea.domain.hypothesis import Belief, Hypothesis, HypothesisDraft
from rea.domain.run import Run, RunDraft, RunResult
from rea.domain.states import HypothesisState, Phase, RunState
from rea.domain.treatment import Treatment
from rea.planner.combination import next_set
from rea.planner.evidence import Evidence
from rea.planner.situation import Judgement, Situation, is_news, nothing, outbid, wavering, worth_of_waiting
from support.world import World


@pytest.fixture(scope="module")
def situation() -> Situation:
    """A signed plan of two rounds whose hypotheses all wait."""
    world = World(3, lambda _: 0.0, rounds=2).profile().sign()
    return Situation(world.evidence(), 1, {}, 1)


def draft(mean: float, sd: float):  # type: ignore[no-untyped-def]
    return replace(nothing(), treatment=Treatment({"model.dropout": 0.1}), effect=Belief(mean, sd))


def test_a_run_that_promises_nothing_gives_way_to_hypotheses_that_wait(situation: Situation) -> None:
    assert outbid(situation, draft(0.0, 1e-6))
    assert outbid(situation, draft(-0.01, 0.001))


def test_a_run_that_promises_much_gives_way_to_none(situation: Situation) -> None:
    assert not outbid(situation, draft(0.05, 0.001))


def test_what_the_contingency_has_paid_is_not_taken_from_the_search(situation: Situation) -> None:
    plan, run = situation.evidence.plan, situation.evidence.runs[0]
    repeated = replace(run, draft=replace(run.draft, phase=Phase.VALIDATION, key="repeated"))
    evidence = replace(situation.evidence, runs=(*situation.evidence.runs, repeated))
    before = Situation(evidence, 1, {repeated.id: 0.0}, 1)
    after = Situation(evidence, 1, {repeated.id: plan.contingency_s}, 1, contingency_spent=plan.contingency_s)
    assert after.contingency_left == 0.0
    assert after.allowance(Phase.VALIDATION) == pytest.approx(before.allowance(Phase.VALIDATION))


def test_a_seed_that_would_change_little_leaves_its_price_to_the_hypotheses_that_wait(situation: Situation) -> None:
    assert worth_of_waiting(situation) > situation.evidence.plan.rules.least_gain_per_run
    assert worth_of_waiting(replace(situation, round=2)) == 0.0


def test_a_set_that_is_too_dear_is_tried_without_its_dearest_part() -> None:
    """Two winners and a third, dear one: where the allowance holds no run of all three, two go together."""
    world = World(3, lambda _: 0.0, rounds=1).profile().sign()
    plan = world.plan
    assert plan is not None
    level, names = plan.baseline.mean, ("optim.lr", "model.dropout", "model.embedding_dim")
    settings: tuple[Scalar, ...] = (0.01, 0.2, 16)
    hypotheses, runs = [], list(world.runs)
    for n, (name, value) in enumerate(zip(names, settings, strict=True), 1):
        claim = HypothesisDraft(
            f"H{n}",
            "",
            Treatment({name: value}),
            Belief(0.01, 0.01),
            technique=name,
            mechanism=name,
            cost_factor=4.0 if n == 3 else 1.0,
        )
        hypotheses.append(Hypothesis(n, 1, 1, claim, HypothesisState.SUPPORTED))
        for seed in plan.rules.search_seeds:
            run = RunDraft(f"H-{n}/{seed}", n, 1, Phase.VALIDATION, claim.full, seed, 1.0, 60.0, 60.0)
            result = RunResult({"ne": level * 0.99, "calibration": 1.0}, (), "epoch", 60.0, 60.0, 0)
            runs.append(Run(100 * n + seed, 1, run, RunState.SUCCEEDED, result=result))
    seen = Situation(Evidence(plan, tuple(runs), tuple(hypotheses)), 1, {}, 1)
    whole = next_set(seen, 0)
    cheap = next_set(seen, 0, 3 * plan.baseline.device_s)
    assert whole is not None and set(whole.treatment.overrides) == set(names)
    assert cheap is not None and set(cheap.treatment.overrides) == set(names[:2])
    assert next_set(seen, 0, 0.0) is None


def test_in_the_last_round_nothing_waits_for_another(situation: Situation) -> None:
    assert not outbid(replace(situation, round=2), draft(0.0, 1e-6))
    assert not outbid(replace(situation, budget_open=False), draft(0.0, 1e-6))


def judged(state: HypothesisState, belief: Belief, reason: str) -> Hypothesis:
    return Hypothesis(1, 1, 1, draft(0.0, 0.01), state, belief=belief, reason=reason)


SEEN = "+0.12% ± 0.10% over its base, P(better) = 88%; measured +0.09% on 1 seed"


@pytest.mark.parametrize(
    ("state", "belief", "reason", "news"),
    [
        (HypothesisState.SUPPORTED, Belief(0.0012, 0.0008), SEEN.replace("88%", "93%"), False),
        (HypothesisState.SUPPORTED, Belief(0.0025, 0.0008), SEEN, True),
        (HypothesisState.INCONCLUSIVE, Belief(0.0012, 0.0010), SEEN, True),
        (HypothesisState.SUPPORTED, Belief(0.0012, 0.0008), SEEN.replace("1 seed", "2 seeds"), True),
    ],
)
def test_the_record_tells_of_a_verdict_again_only_where_it_or_its_own_runs_changed(
    state: HypothesisState, belief: Belief, reason: str, news: bool
) -> None:
    before = judged(HypothesisState.SUPPORTED, Belief(0.0012, 0.0010), SEEN)
    assert is_news(before, Judgement(1, state, belief, reason)) is news


@pytest.mark.parametrize(
    ("state", "chance", "wavers"),
    [
        (HypothesisState.SUPPORTED, 0.84, True),
        (HypothesisState.SUPPORTED, 0.79, False),
        (HypothesisState.REFUTED, 0.23, True),
        (HypothesisState.REFUTED, 0.27, False),
        (HypothesisState.INCONCLUSIVE, 0.86, False),
    ],
)
def test_a_verdict_outlasts_its_limit_by_a_little(state: HypothesisState, chance: float, wavers: bool) -> None:
    belief = Belief(NormalDist().inv_cdf(chance) * 0.001, 0.001)
    assert wavering(judged(state, belief, SEEN), belief) is wavers
