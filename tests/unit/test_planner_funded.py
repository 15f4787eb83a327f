"""What a plan calls funded is what the executor starts with."""

from __future__ import annotations

import pytest

from rea.domain.states import HypothesisState
from rea.planner.draft import funded
from support.world import World


@pytest.mark.parametrize("budget", ["16r", "40r", "90r"])
def test_the_first_validation_starts_with_the_first_of_what_the_plan_calls_funded(budget: str) -> None:
    world = World(1, lambda treatment: 0.001 * len(treatment.overrides), budget=budget, slots=2)
    world.profile().sign().start()
    while not any(h.state is HypothesisState.TESTING for h in world.hypotheses):
        world.step()
    begun = {h.id for h in world.hypotheses if h.state is HypothesisState.TESTING}
    assert begun == {item.id for item in funded(world.plan)[:2]}
