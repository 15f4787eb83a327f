"""A direction whose treatments cannot be trained is wanted less, and only that one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rea.domain.hypothesis import Belief, Hypothesis, HypothesisDraft
from rea.domain.run import Failure, Run, RunDraft
from rea.domain.runbook import Action
from rea.domain.states import CampaignState, HypothesisState, Phase, RunState
from rea.domain.treatment import Treatment
from rea.executor.snapshot import Report
from rea.planner.trainable import Directions, directions
from rea.simulation.response import sparse
from support.world import VALUES, World, techniques, tiny_codebase

BASE = {"dim": 16, "lr": 0.01, "norm": "none"}


def draft(mechanism: str = "", **overrides) -> HypothesisDraft:
    return HypothesisDraft("an idea", "a reason", Treatment(overrides), Belief(0.0, 0.001), mechanism=mechanism)


def ways(failed=(), trained=()) -> Directions:
    return Directions(tuple(failed), tuple(trained), BASE)


def test_what_goes_further_in_a_direction_that_failed_is_wanted_least():
    known = ways([draft(dim=32)])
    further, less, back, other = (known.chance(draft(**d)) for d in ({"dim": 64}, {"dim": 24}, {"dim": 8}, {"lr": 0.1}))
    assert further < less < back == other == 1.0


def test_a_value_that_failed_says_nothing_of_another_value():
    known = ways([draft(norm="layer")])
    assert known.chance(draft(norm="layer", lr=0.1)) < 1.0 and known.chance(draft(norm="batch")) == 1.0


def test_a_mechanism_counts_for_less_than_a_setting():
    known = ways([draft("capacity", dim=32)])
    assert known.chance(draft("capacity", dim=64)) < known.chance(draft("capacity", norm="batch")) < 1.0
    assert known.chance(draft("step_size", lr=0.1)) == 1.0


DRAFTS = st.dictionaries(st.sampled_from(["dim", "lr"]), st.floats(0.001, 100), min_size=1).map(lambda d: draft(**d))


@given(st.lists(DRAFTS, max_size=5), st.lists(DRAFTS, max_size=5), DRAFTS, DRAFTS)
def test_no_failure_raises_and_no_success_lowers_a_chance(failed, trained, one, asked):
    before = ways(failed, trained).chance(asked)
    assert 0.0 < before <= 1.0
    assert ways([*failed, one], trained).chance(asked) <= before
    assert ways(failed, [*trained, one]).chance(asked) >= before


@pytest.mark.parametrize(("kind", "counts"), [("R", True), ("C", True), ("N", True), ("T", False), ("G", False)])
def test_what_the_infrastructure_did_says_nothing_about_a_direction(kind, counts):
    h = Hypothesis(1, 1, 1, draft(dim=32), HypothesisState.FAILED, belief=Belief(0.0, 0.001))
    run = RunDraft("key", 1, 1, Phase.VALIDATION, h.draft.treatment, 1, 1.0, 9.0, 9.0)
    failed = Run(1, 1, run, RunState.FAILED, failure=Failure("a-runbook", kind, "words"))
    assert bool(directions([h], [failed], BASE).failed) is counts


def test_in_a_campaign_others_come_first_where_a_direction_fails():
    def breaks(run: Run, number: int) -> Report | None:
        if not run.draft.treatment.overrides.get("optim.embedding_l2"):
            return None
        return Report("failed", failure=Failure("diverged", "N", "NaN"), action=Action.DROP, device_s=5.0)

    def place_of_the_larger(failing: bool) -> int:
        response = sparse(techniques(), tiny_codebase(), VALUES, 3, 0.5)
        world = World(3, response, rounds=1, breaks=breaks if failing else None).profile()
        world.sign().start()
        while world.campaign.state is CampaignState.RUNNING and world.campaign.phase is Phase.VALIDATION:
            world.step()
        tested = [dict(r.draft.treatment.overrides) for r in world.runs if r.draft.phase is Phase.VALIDATION]
        smaller, larger = ({"optim.embedding_l2": value} for value in (1e-5, 1e-3))
        assert smaller in tested
        return tested.index(larger) if larger in tested else len(tested)

    assert place_of_the_larger(failing=True) > place_of_the_larger(failing=False)


def test_no_failure_means_no_change():
    assert ways([], [draft(dim=64)]).chance(replace(draft(dim=32))) == 1.0
