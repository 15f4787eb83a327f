"""Weeks in bad weather: whatever happens to processes, scheduler, clock and disk, a campaign keeps its word."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from rea.domain.errors import ReaError
from rea.domain.states import CampaignState
from rea.domain.treatment import Treatment
from rea.simulation.storm import DAY, BrokenError, Faults, Storm, ended_well
from support.world import World

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # benchmarks are no installed package

from benchmarks.simulation import bugs


def gains(treatment: Treatment) -> float:
    set_ = treatment.overrides
    return 0.004 * (set_.get("optim.schedule") == "cosine") + 0.008 * bool(set_.get("optim.embedding_l2"))


def stormy(
    seed: int, faults: Faults | None = None, slots: int | None = None, most_days: float = 365.0
) -> tuple[World, Storm]:
    """A campaign from its plan command to its end, runs of two days each."""
    world = World(seed, gains, slots=slots or 1 + seed % 3, budget="20r", run_s=2 * DAY).begin()
    storm = Storm(world, seed, faults, most_days=most_days).weeks()
    if world.campaign.state is CampaignState.DRAFTED:
        world.sign().start()
        storm.weeks()
    return world, storm


def outcome(world: World) -> object:
    runs = {run.draft.key: run.state for run in world.runs}
    return world.campaign.state, world.campaign.verdict, world.campaign.claim, runs


@pytest.mark.parametrize("seed", range(12))
def test_in_any_weather_every_invariant_holds_and_the_campaign_comes_to_an_end(seed: int) -> None:
    world, storm = stormy(seed)
    assert ended_well(world), (world.campaign, world.events[-4:])
    assert storm.happened


@pytest.mark.parametrize("seed", range(3))
def test_however_often_the_agent_is_killed_it_finds_what_it_would_have_found(seed: int) -> None:
    # One slot keeps the runs in a row: with more, what is tried next depends on which of two ended first.
    calm, _ = stormy(seed, Faults.none(), slots=1)
    killed, storm = stormy(seed, Faults(**{**_NONE, "killed": 0.03}), slots=1)
    assert storm.happened["killed"] > 10
    assert outcome(killed) == outcome(calm)
    assert {x.draft.key for x in killed.runs} == {x.draft.key for x in calm.runs}
    assert len(killed.attempts) == len(calm.attempts), "nothing was tried twice"


def test_the_same_seed_gives_the_same_weeks() -> None:
    one, other = stormy(7), stormy(7)
    assert one[1].happened == other[1].happened and outcome(one[0]) == outcome(other[0])
    assert [e.message for e in one[0].store.page(1).events] == [e.message for e in other[0].store.page(1).events]


# ---------------------------------------------------------------- what it would find

_NONE = dict.fromkeys(Faults.__slots__, 0.0)


def found_within(seeds: int, faults: Faults | None = None) -> int | None:
    for seed in range(seeds):
        try:
            world, _ = stormy(seed, faults, most_days=60.0)
        except (BrokenError, ReaError):
            return seed
        if not ended_well(world):
            return seed
    return None


@pytest.mark.parametrize(
    "plant",
    (
        bugs.submitted_before_it_is_written_down,
        bugs.nobody_sweeps,
        bugs.settled_beside_its_run,
        bugs.names_used_again,
    ),
)
def test_a_planted_fault_is_found(plant: Callable[[], AbstractContextManager[None]]) -> None:
    with plant():
        assert found_within(20) is not None


def test_a_store_that_lets_old_fences_write_is_found() -> None:
    often = Faults(**{**_NONE, "stopped": 0.08})
    with bugs.old_fences_write():
        assert found_within(120, often) is not None
