"""A failure that no runbook knows: whose fault it is, found out by few and short trainings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rea.domain.lesson import Lesson
from rea.domain.run import Failure, Run
from rea.domain.runbook import UNKNOWN, Action
from rea.domain.states import AttemptState, CampaignState, HypothesisState, RunState
from rea.domain.treatment import Treatment
from rea.executor.invariants import violations
from rea.executor.investigate import MOST_PROBES, UNDECIDED_S, Cause, Finding, Probe, next_step
from rea.executor.snapshot import Report
from rea.knowledge.lessons import pattern_of
from rea.simulation.response import sparse
from rea.simulation.world import ONLY
from support.world import VALUES, World, techniques, tiny_codebase

LINE = "weird: the flux is inverted at 0x7f3a"


def unknown(number: int) -> Report:
    failure = Failure(UNKNOWN, "T", "Not recognised: train ended with exit code 3", LINE)
    return Report("failed", failure=failure, action=Action.RETRY, retry=number <= 1, wait_s=60.0, device_s=20.0)


def world(breaks, **given) -> World:
    response = sparse(techniques(), tiny_codebase(), VALUES, 3, 0.5)
    return World(3, response, run_s=900.0, slots=2, budget="200r", rounds=1, breaks=breaks, **given)


def found(made: World) -> list[str]:
    return [event for event in made.events if event.startswith("found:")]


def probes(made: World) -> list[Run]:
    return [run for run in made.runs if run.draft.probe]


def test_a_treatment_that_always_fails_is_found_out_and_given_up_alone() -> None:
    made = world(lambda run, number: unknown(number) if "optim.schedule" in run.draft.treatment.overrides else None)
    made.profile()
    made.sign().start().finish()
    assert made.campaign.state is CampaignState.FINISHED and violations(made.store.snapshot_rows(ONLY)) == []
    mine = [h for h in made.hypotheses if set(h.draft.full.overrides) == {"optim.schedule"} and h.belief is not None]
    assert mine and all(h.state is HypothesisState.FAILED for h in mine), [(h.state, h.reason) for h in mine]
    assert "the baseline trains, and it fails on another seed, too" in found(made)[0]
    assert [run.draft.key.rpartition("/")[2] for run in probes(made)][:2] == ["canary", "again"]
    assert all(run.draft.walltime_s < 1.5 * 900.0 for run in probes(made)), "no longer than it takes to outlive it"
    assert all(run.result is None or not run.draft.probe for run in made.evidence().of(Treatment()))


def test_where_the_baseline_fails_now_too_an_engineer_is_asked_and_the_run_is_tried_again() -> None:
    broken = False

    def breaks(run: Run, number: int) -> Report | None:
        return unknown(number) if broken else None

    made = world(breaks)
    made.profile()
    made.sign().start()
    for _ in range(6):
        made.step()
    broken = True
    made.finish()
    assert made.campaign.state is CampaignState.PAUSED
    assert "it is the machine, the environment or the data" in made.campaign.reason
    failed = {a.run for a in made.attempts if a.failure is not None and not run_of(made, a.run).draft.probe}
    broken = False
    for _ in range(200):
        if all(a.state is AttemptState.ENDED for a in made.attempts):
            break
        made.step()
    for _ in range(6):
        if made.campaign.state is not CampaignState.PAUSED:
            break
        options = {**made.campaign.options, "resumed_at": made.now}
        made.change(state=CampaignState.RUNNING, pause_reason=None, reason="", options=options)
        made.finish()
    assert made.campaign.state is CampaignState.FINISHED, made.campaign.reason
    assert all(run_of(made, id_).result is not None for id_ in failed), "no hypothesis pays for the machine"


def run_of(made: World, id_: int) -> Run:
    return next(run for run in made.runs if run.id == id_)


def test_what_trains_on_another_seed_was_chance_and_is_tried_again() -> None:
    struck: set[int] = set()

    def breaks(run: Run, number: int) -> Report | None:
        first = made.campaign.state is CampaignState.RUNNING and not struck and run.draft.hypothesis is not None
        if first:
            struck.add(run.id)
        return unknown(number) if run.id in struck and number <= 2 else None

    made = world(breaks)
    made.profile()
    made.sign().start().finish()
    (id_,) = struck
    assert made.campaign.state is CampaignState.FINISHED
    assert run_of(made, id_).state in (RunState.SUCCEEDED, RunState.PRUNED)
    assert "and so does the baseline" in found(made)[0]


# ---------------------------------------------------------------- the tree itself, on plain values


def waiting(overrides: dict[str, float]) -> Run:
    made = world(lambda run, number: None)
    made.profile()
    made.sign().start()
    made.wake()
    run = next(r for r in made.runs if r.draft.hypothesis is not None)
    draft = replace(run.draft, treatment=Treatment(dict(overrides)))
    failure = Failure(UNKNOWN, "T", "Not recognised", LINE)
    return replace(run, id=77, draft=draft, state=RunState.PLANNED, not_before=UNDECIDED_S, failure=failure)


@pytest.mark.parametrize("culprits", [{"a"}, {"d"}, {"e"}, {"a", "b"}, {"a", "e"}])
def test_halves_lead_to_the_smallest_part_that_fails_within_the_bound(culprits: set[str]) -> None:
    run = waiting(dict.fromkeys("abcde", 1.0))
    runs: list[Run] = [run]
    for _ in range(MOST_PROBES + 2):
        step = next_step(run, runs, [], left_s=1e6, devices=1, spare_seed=9)
        assert step is not None
        if isinstance(step, Finding):
            break
        assert isinstance(step, Probe) and step.draft.hypothesis is None and step.draft.probe
        fails = culprits <= set(step.draft.treatment.overrides)
        state = RunState.FAILED if fails else RunState.SUCCEEDED
        runs.append(Run(100 + len(runs), 1, step.draft, state))
    assert isinstance(step, Finding) and step.cause is Cause.HYPOTHESIS and step.treatment is not None
    assert culprits <= set(step.treatment.overrides)
    if len(culprits) == 1:
        assert set(step.treatment.overrides) == culprits
    assert len(runs) - 1 <= MOST_PROBES


def test_without_money_left_nothing_is_found_out() -> None:
    run = waiting({"a": 1.0})
    step = next_step(run, [run], [], left_s=1.0, devices=1, spare_seed=9)
    assert isinstance(step, Finding) and step.cause is Cause.UNDECIDED


def test_two_failures_are_the_same_if_they_differ_in_numbers_paths_and_names_only() -> None:
    one = "RuntimeError: shard 17 of '/data/a/b.bin' has 3.5e-7 at 0x7fff12"
    other = "RuntimeError: shard 4 of '/mnt/c.bin' has 12 at 0xabc"
    assert pattern_of(one) == pattern_of(other) == "RuntimeError: shard # of '…' has # at #"
    assert pattern_of("KeyError: 'x'") != pattern_of("ValueError: 'x'")


def test_a_lesson_is_trusted_once_it_was_right_twice_and_never_wrong() -> None:
    assert Lesson("p", {"hypothesis": 1}).cause is None
    assert Lesson("p", {"hypothesis": 2}).cause == "hypothesis"
    assert Lesson("p", {"hypothesis": 5, "chance": 1}).cause is None
