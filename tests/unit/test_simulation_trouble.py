"""Trouble outside of any run: a launcher that is away, machines that fail one after the other, data that change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rea.domain.errors import LauncherUnreachableError
from rea.domain.run import Failure, Run
from rea.domain.runbook import TAMPERED, Action, Charge
from rea.domain.share import DAY_S, Team
from rea.domain.states import AttemptState, CampaignState, PauseReason, Phase, RunState
from rea.executor.ends import struck_out
from rea.executor.invariants import violations
from rea.executor.snapshot import Report
from rea.executor.submissions import ILL, MOST_ILL
from rea.simulation.response import sparse
from rea.simulation.world import EPOCH, ONLY
from support.world import VALUES, World, techniques, tiny_codebase

HOUR = 3600.0
RUN_S = 900.0


def world(**given) -> World:
    response = sparse(techniques(), tiny_codebase(), VALUES, 3, 0.5)
    return World(3, response, run_s=RUN_S, slots=2, budget="40r", rounds=1, **given)


class Away:
    """A launcher that does not answer between two moments; counts who asks."""

    def __init__(self, made: World, start: float, end: float) -> None:
        self._world, self._launcher, self._start, self._end = made, made.launcher, start, end
        self.kind, self.refused = made.launcher.kind, 0

    def __getattr__(self, name):
        found = getattr(self._launcher, name)
        if name in ("submit", "find", "observe", "cancel", "capacity") and self._start <= self._world.now < self._end:
            self.refused += 1
            raise LauncherUnreachableError("sinfo: error: slurm_load_partitions: Unable to contact slurm controller")
        return found


def until_rest(made: World, resume: bool = True) -> list[str]:
    """Run it to its end; an engineer lets it go on whenever it is paused. Gives the reasons why it was."""
    reasons = []
    for _ in range(50):
        made.finish()
        if made.campaign.state is not CampaignState.PAUSED or not resume:
            break
        reasons.append(made.campaign.reason)
        if made.campaign.pause_reason is PauseReason.BUDGET:
            break
        for _ in range(200):
            if all(a.state is AttemptState.ENDED for a in made.attempts):
                break
            made.step()
        made.change(
            state=CampaignState.RUNNING,
            pause_reason=None,
            reason="",
            options={**made.campaign.options, "resumed_at": made.now},
        )
    return reasons


def test_a_launcher_that_is_away_for_hours_is_waited_for_and_told_of_twice() -> None:
    calm = world().profile()
    calm.sign().start().finish()
    made = world().profile()
    made.sign().start()
    start = made.now + 2.5 * HOUR
    away = Away(made, start, start + 3 * HOUR)
    made.tools = replace(made.tools, launcher=away)
    made.finish()
    assert made.campaign.state is CampaignState.FINISHED and violations(made.store.snapshot_rows(ONLY)) == []
    told = [event for event in made.events if event.startswith(("outage", "answered"))]
    assert len(told) == 2 and "does not answer" in told[0] and "answers again, after 3" in told[1], told
    assert away.refused <= 40, "waits grow while it is away"
    assert not [a for a in made.attempts if start < a.intended_at < start + 3 * HOUR]
    assert made.campaign.verdict is calm.campaign.verdict and made.balance.spent == pytest.approx(calm.balance.spent)


def fails(kind: str, runbook: str, action: Action, wait_s: float = 60.0) -> Report:
    return Report(
        "failed",
        failure=Failure(runbook, kind, f"{runbook} happened"),
        action=action,
        retry=action is Action.RETRY,
        wait_s=wait_s,
        charge=Charge.CONTINGENCY,
        device_s=5.0,
    )


def test_where_machine_after_machine_fails_one_job_at_a_time_finds_out_when_it_is_over() -> None:
    ill_until = 0.0

    def breaks(run: Run, number: int) -> Report | None:
        return fails("T", "node-lost", Action.RETRY) if EPOCH < made.now < ill_until else None

    made = world(breaks=breaks)
    made.profile()
    made.sign().start()
    ill_until = made.now + 3 * HOUR
    began = made.now
    until_rest(made)
    failed = [a for a in made.attempts if a.failure is not None]
    assert made.campaign.state is CampaignState.FINISHED, made.events[-3:]
    assert ILL <= len(failed) <= MOST_ILL + ILL, "no storm"
    gaps = sorted(a.intended_at for a in failed)
    late = [b - a for a, b in zip(gaps[ILL:], gaps[ILL + 1 :], strict=False)]
    assert all(gap >= 60.0 for gap in late)
    assert all(a.intended_at >= began for a in failed)


def test_machines_that_never_get_well_end_in_one_question_and_no_storm() -> None:
    def breaks(run: Run, number: int) -> Report | None:
        return fails("T", "node-lost", Action.RETRY) if made.campaign.state is CampaignState.RUNNING else None

    made = world(breaks=breaks)
    made.profile()
    made.sign().start().finish()
    assert made.campaign.state is CampaignState.PAUSED
    assert "in a row failed for reasons of the infrastructure" in made.campaign.reason
    assert "node-lost happened" in made.campaign.reason
    assert len([a for a in made.attempts if a.failure is not None]) <= MOST_ILL + 2


def test_data_that_change_under_it_hold_it_once_and_no_run_is_lost() -> None:
    changed = False

    def breaks(run: Run, number: int) -> Report | None:
        return fails("G", "data-changed", Action.HOLD) if changed and number == 1 else None

    made = world(breaks=breaks)
    made.profile()
    made.sign().start()
    for _ in range(30):
        made.step()
    changed = True
    made.finish()
    assert made.campaign.state is CampaignState.PAUSED and "data-changed happened" in made.campaign.reason
    changed = False
    reasons = until_rest(made)
    assert made.campaign.state is CampaignState.FINISHED and len(reasons) == 1
    held = {a.run for a in made.attempts if a.failure is not None}
    assert held and all(run.result is not None for run in made.runs if run.id in held), "held runs were repeated"


def test_whoever_is_called_hears_of_everything_there_is_to_mend_at_once() -> None:
    bad, met = False, dict[int, str]()

    def breaks(run: Run, number: int) -> Report | None:
        name = met.setdefault(run.id, ("disk-full", "no-more-processes")[len(met) % 2]) if bad else ""
        return fails("R", name, Action.HOLD) if name and number == 1 else None

    made = world(breaks=breaks)
    made.profile()
    bad = True
    made.sign().start().finish()
    while any(a.state is not AttemptState.ENDED for a in made.attempts):
        made.step()
    assert made.campaign.state is CampaignState.PAUSED and made.campaign.pause_reason is PauseReason.GUARDRAIL
    assert made.campaign.reason.count("disk-full happened") == made.campaign.reason.count("processes happened") == 1
    bad = False
    until_rest(made)
    assert made.campaign.state is CampaignState.FINISHED


def test_whoever_runs_beside_one_that_changes_the_judge_does_not_pay_for_it() -> None:
    culprit: int | None = None

    def breaks(run: Run, number: int) -> Report | None:
        nonlocal culprit
        if made.campaign.state is not CampaignState.RUNNING or run.draft.hypothesis is None:
            return None
        culprit = run.id if culprit is None else culprit
        beside = any(a.run == culprit and a.state is not AttemptState.ENDED for a in made.attempts)
        return fails("G", TAMPERED, Action.HOLD) if beside or run.id == culprit else None

    made = world(breaks=breaks)
    made.profile()
    made.sign().start()
    until_rest(made)
    assert made.campaign.state is CampaignState.FINISHED and violations(made.store.snapshot_rows(ONLY)) == []
    struck = {a.run for a in made.attempts if a.failure is not None}
    assert len(struck) > 1, "others ran beside it"
    assert [run.id for run in made.runs if run.state is RunState.FAILED] == [culprit]


def through_an_outage_and_other_data() -> World:
    """A campaign whose launcher is away for three hours, and whose data are others for a while after that."""
    others = False

    def breaks(run: Run, number: int) -> Report | None:
        return fails("G", "data-changed", Action.HOLD) if others and number == 1 else None

    made = world(breaks=breaks).profile()
    made.sign().start()
    start = made.now + 1.5 * HOUR
    made.tools = replace(made.tools, launcher=Away(made, start, start + 3 * HOUR))
    while made.now < start + 5 * HOUR:
        made.step()
    others = True
    made.finish()
    others = False
    until_rest(made)
    return made


def test_the_record_tells_what_an_outage_and_other_data_did_to_a_campaign_each_once() -> None:
    made = through_an_outage_and_other_data()
    assert made.campaign.state is CampaignState.FINISHED and violations(made.store.snapshot_rows(ONLY)) == []
    kinds = [event.split(":", 1)[0] for event in made.events]
    told = [kind for kind in kinds if kind in ("outage", "answered", "paused")]
    assert told == ["outage", "answered", "paused"], made.events
    held = kinds.index("paused")
    assert set(kinds[held - 2 : held]) <= {"failure", "ended", "judged"} and "data-changed" in made.events[held]


def test_a_node_that_struck_out_gets_no_further_jobs() -> None:
    def breaks(run: Run, number: int) -> Report | None:
        if number > 1 or made.campaign.state is not CampaignState.RUNNING or len(broken) >= 2:
            return None
        broken.append(run.id)
        report = fails("T", "device-fault", Action.RETRY)
        assert report.failure is not None
        return replace(report, failure=replace(report.failure, node="gpu17"))

    broken: list[int] = []
    made = world(breaks=breaks)
    made.profile()
    made.sign().start().finish()
    assert struck_out(made.attempts) == ("gpu17",)
    last = max(a.intended_at for a in made.attempts if a.failure is not None)
    after = [job.spec.avoid for job in made.launcher.jobs.values() if job.started_at > last + HOUR]
    assert after and set(after) == {("gpu17",)}
    before = [job.spec.avoid for job in made.launcher.jobs.values() if job.started_at < last]
    assert set(before) <= {()}


def test_what_a_day_may_use_is_held_to_and_the_rest_waits_for_the_next() -> None:
    free = world()
    free.profile()
    free.sign().start().finish()
    limit = 5 * RUN_S
    made = world(options={"per_day_s": limit})
    made.profile()
    made.sign().start().finish()
    assert made.plan is not None and made.plan.per_day_s == limit
    assert made.campaign.state is CampaignState.FINISHED and made.campaign.verdict is free.campaign.verdict
    by_day: dict[int, float] = {}
    for attempt in made.attempts:
        if attempt.run in {run.id for run in made.runs if run.draft.phase is not Phase.PROFILE}:
            day = int(attempt.intended_at // 86400)
            by_day[day] = by_day.get(day, 0.0) + (attempt.device_s or 0.0)
    assert len(by_day) >= 4 and max(by_day.values()) <= limit + 1e-6, by_day
    assert made.now - made.began > 3 * (free.now - free.began)


def test_a_team_s_day_is_kept_to_the_second_and_its_end_is_told_once_a_day() -> None:
    limit = 12 * RUN_S
    made = world(team=Team("ads-ranking", per_day_s=limit))
    made.profile()
    made.sign().start().finish()
    assert made.campaign.state is CampaignState.FINISHED
    by_day: dict[int, float] = {}
    for attempt in made.attempts:
        day = int(attempt.intended_at // DAY_S)
        by_day[day] = by_day.get(day, 0.0) + (attempt.device_s or 0.0)
    assert len(by_day) >= 2 and max(by_day.values()) <= limit, by_day
    told = [e.message for e in made.store.page(1).events if e.kind == "share"]
    assert told and len(told) == len(set(told)) and all("the day of team ads-ranking is used up" in m for m in told)
