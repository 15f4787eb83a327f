"""What is worth a run now, and what had better wait."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rea.domain.hypothesis import Belief
from rea.domain.treatment import Treatment
from rea.planner.situation import Situation, nothing, outbid
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


def test_in_the_last_round_nothing_waits_for_another(situation: Situation) -> None:
    assert not outbid(replace(situation, round=2), draft(0.0, 1e-6))
    assert not outbid(replace(situation, budget_open=False), draft(0.0, 1e-6))
