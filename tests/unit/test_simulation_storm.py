"""Weeks in bad weather: whatever happens to processes, scheduler, clock and disk, a campaign keeps its word."""

from __future__ import annotations

import pytest

from rea.domain.jobs import job_name
from rea.domain.run import Attempt
from rea.domain.states import AttemptState, CampaignState
from rea.domain.treatment import Treatment
from rea.executor import act
from rea.executor import actions as a
from rea.simulation.memory import MemoryStore
from rea.simulation.storm import DAY, BrokenError, Faults, Storm, ended_well
from support.world import World


def gains(treatment: Treatment) -> float:
    set_ = treatment.overrides
    return 0.004 * (set_.get("optim.schedule") == "cosine") + 0.008 * bool(set_.get("optim.embedding_l2"))


def stormy(seed: int, faults: Faults | None = None, slots: int | None = None) -> tuple[World, Storm]:
    """A campaign from its plan command to its end, runs of two days each."""
    world = World(seed, gains, slots=slots or 1 + seed % 3, budget="20r", run_s=2 * DAY).begin()
    storm = Storm(world, seed, faults).weeks()
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


def submitting_before_it_is_written_down(wake: act.Wake, action: a.Submit) -> None:
    rows, tools = wake.rows(), wake.tools
    run = next(r for r in rows.runs if r.id == action.run)
    number, now = 1 + sum(x.run == run.id for x in rows.attempts), tools.clock()
    job, held = job_name(tools.store.uid, run.id, number), action.walltime_s * rows.campaign.codebase.resources.devices
    folder = str(tools.workbench.run_dir(wake.campaign, run.id, number))
    unwritten = Attempt(0, run.id, number, job, folder, AttemptState.INTENDED, held, now)
    tools.launcher.submit(tools.workbench.job(rows.campaign, run, unwritten, rows.runs), job)
    with wake.transaction() as tx:
        made = tx.intend_attempt(run.id, job=job, run_dir=folder, reserve_s=held, at=now, purse=action.purse)
        tx.submitted(made.id)


def found_within(seeds: int) -> int | None:
    for seed in range(seeds):
        try:
            stormy(seed)
        except BrokenError:
            return seed
    return None


def test_a_submission_before_its_intent_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(act._HANDLERS, a.Submit, submitting_before_it_is_written_down)
    assert found_within(40) is not None


def test_a_lost_wake_that_nobody_sweeps_up_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rea.executor.decide._sweep", lambda snapshot, now: None)
    with pytest.raises(Exception, match=r"sleeps for ever|nothing will ever wake it|it is still"):
        for seed in range(40):
            stormy(seed)


def test_a_settlement_beside_its_run_s_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded in two transactions, a death between them leaves a run active that nobody tries."""
    whole = act._record

    def in_two(wake: act.Wake, action: a.Record) -> None:
        rows = wake.rows()
        attempt = next(x for x in rows.attempts if x.id == action.attempt)
        if attempt.state is AttemptState.ENDED:
            return
        with wake.transaction() as tx:
            tx.end_attempt(
                attempt.id,
                outcome=action.report.outcome,
                failure=action.report.failure,
                device_s=action.report.device_s,
                started_at=None,
                ended_at=wake.tools.clock(),
            )
        whole(wake, action)

    monkeypatch.setitem(act._HANDLERS, a.Record, in_two)
    assert found_within(5) is not None


def test_a_store_that_lets_old_fences_write_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = MemoryStore.transaction
    monkeypatch.setattr(MemoryStore, "transaction", lambda self, campaign, fence=None: guarded(self, campaign, None))
    with pytest.raises(Exception, match=r"went back|cannot become|cannot be tried now"):
        for seed in range(60):
            stormy(seed, Faults(**{**_NONE, "stopped": 0.05}))
