"""From a judged hypothesis to what the insights keep of it."""

from __future__ import annotations

from functools import cache

import pytest

from rea.domain.hypothesis import Hypothesis, HypothesisKind
from rea.domain.insight import ExperimentOutcome, ExperimentRecord
from rea.domain.states import HypothesisState, RunState
from rea.domain.treatment import Treatment
from rea.executor.logger import experiment
from rea.planner.evidence import Evidence
from rea.planner.situation import Judgement
from support.world import World

JUDGED = (HypothesisState.SUPPORTED, HypothesisState.REFUTED, HypothesisState.INCONCLUSIVE, HypothesisState.FAILED)


def response(treatment: Treatment) -> float:
    """Some knobs help, others ruin."""
    set_ = treatment.overrides
    gain = 0.01 * ("optim.schedule" in set_) + 0.008 * ("optim.ema_decay" in set_) + 0.004 * ("model.dropout" in set_)
    return gain - 0.3 * bool({"optim.embedding_l2", "features.numeric_encoding"} & set(set_))


@cache
def campaign() -> tuple[World, list[tuple[Hypothesis, ExperimentRecord | None]]]:
    world = World(1, response, budget="60r").whole()
    assert world.plan is not None
    evidence = Evidence(world.plan, tuple(world.runs), tuple(world.hypotheses))
    told = []
    for h in world.hypotheses:
        judgement = Judgement(h.id, h.state, h.belief, h.reason)
        told.append((h, experiment(world.campaign, evidence, h, judgement, world.attempts, world.now)))
    return world, told


def test_everything_judged_is_kept_singles_combinations_and_trials_alike() -> None:
    world, told = campaign()
    evidence = Evidence(world.plan, tuple(world.runs), tuple(world.hypotheses))
    assert all((record is not None) == (h.state in JUDGED) for h, record in told)
    kinds = {record.kind for _, record in told if record is not None}
    assert kinds == {kind.value for kind in HypothesisKind}
    for h, record in told:
        if record is not None:
            assert record.single == (h.draft.kind is HypothesisKind.SINGLE and evidence.technique(h) is not None)
            assert record.roles and record.values and record.context["codebase"] == record.codebase


def test_a_combination_names_its_techniques() -> None:
    world, told = campaign()
    evidence = Evidence(world.plan, tuple(world.runs), tuple(world.hypotheses))
    sets = [(h, record) for h, record in told if record is not None and record.kind == "combination"]
    assert any(len(record.interaction_of) >= 2 for _, record in sets)
    for h, record in sets:
        names = [evidence.technique(part) for part in evidence.parts(h)]
        assert record.interaction_of == (tuple(names) if all(names) else ()), "a part that is no test of its card"
        if record.interaction_of and record.effect is not None:
            believed = {name: evidence.alone(part) for name, part in zip(names, evidence.parts(h), strict=True)}
            assert record.parts == {name: (belief.mean, belief.sd) for name, belief in believed.items()}
        else:
            assert record.parts == {}


def test_the_context_of_a_campaign_is_one_whenever_its_experiments_were_judged() -> None:
    world, _ = campaign()
    whole = Evidence(world.plan, tuple(world.runs), tuple(world.hypotheses))
    early = Evidence(world.plan, tuple(world.runs[:8]), tuple(world.hypotheses))
    h = next(h for h in world.hypotheses if h.draft.full.key() in {r.draft.treatment.key() for r in world.runs[:8]})
    judgement = Judgement(h.id, HypothesisState.SUPPORTED, h.belief, "")
    early_one, late_one = (experiment(world.campaign, e, h, judgement, (), 0.0) for e in (early, whole))
    assert early_one is not None and late_one is not None and early_one.context == late_one.context


def test_its_cost_is_that_of_every_attempt_at_it() -> None:
    world, told = campaign()
    for h, record in told:
        if record is not None:
            runs = {run.id for run in world.runs if run.draft.treatment.key() == h.draft.full.key()}
            spent = sum(attempt.device_s or 0.0 for attempt in world.attempts if attempt.run in runs)
            assert record.cost_s == pytest.approx(spent) and spent > 0


def test_what_was_only_ever_stopped_early_is_a_bound_and_no_measurement() -> None:
    world, told = campaign()
    seen = 0
    for h, record in told:
        states = {run.state for run in world.runs if run.draft.treatment.key() == h.draft.full.key()}
        if record is not None and states == {RunState.PRUNED}:
            seen += 1
            assert record.outcome == ExperimentOutcome.PRUNED
            assert record.fidelity < 1 and not record.measured
    assert seen
