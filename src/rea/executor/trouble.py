"""What is done about trouble that no single attempt shows. Pure.

Jobs that fall silent, launchers that do not answer, machines that fail one after another, and failures that no runbook
knows.
"""

from __future__ import annotations

from rea.domain.jobs import JobState
from rea.domain.moments import duration, utc
from rea.domain.plan import Plan
from rea.domain.states import (
    AttemptState,
    is_terminal,
)
from rea.executor.actions import (
    Action,
    Add,
    Away,
    Cancel,
    Conclude,
    Warn,
)
from rea.executor.investigate import Probe, next_step, waits
from rea.executor.snapshot import Snapshot
from rea.executor.submissions import OPEN, full_share, ill

SILENT_S = 300.0  # after its limit, of a job that is not heard of: sixty heartbeats


def silent(snapshot: Snapshot, now: float) -> tuple[Action, ...]:
    """Jobs that should have ended long ago and give no sign of life: their machine stands still, say.

    A wrapper ends its job at the limit by itself. One that is heard of does so, whatever this machine's clock says.
    """
    devices = snapshot.campaign.codebase.resources.devices
    found: list[Action] = []
    for attempt in snapshot.attempts:
        seen = snapshot.observed.get(attempt.job)
        if attempt.state is not AttemptState.SUBMITTED or attempt.id in snapshot.cancelling or seen is None:
            continue
        if seen.state is not JobState.RUNNING or seen.started_at is None or seen.heard_at is None:
            continue
        late_s = now - seen.started_at - attempt.reserved_s / devices
        if late_s > SILENT_S and now - seen.heard_at > SILENT_S:
            found.append(Cancel(attempt.id, "it should have ended long ago and gives no sign of life"))
    return tuple(found)


def answering(snapshot: Snapshot, now: float) -> tuple[Action, ...]:
    """Whether the launcher has stopped answering, or answers again."""
    kind, since = snapshot.campaign.codebase.launcher.kind, snapshot.campaign.away_since
    if is_terminal(snapshot.campaign.state) or (snapshot.capacity is None) == (since is not None):
        return ()
    if since is None:
        return (Away(now, f"the {kind} launcher does not answer; nothing is submitted until it does"),)
    return (Away(None, f"the {kind} launcher answers again, after {duration(max(0.0, now - since))}"),)


def used_up(snapshot: Snapshot, now: float) -> tuple[Action, ...]:
    """That a day's or a month's share holds nothing that waits, told once for each of them."""
    share = full_share(snapshot, now)
    if share is None:
        return ()
    told = Warn("share", f"{share.whose} is used up; it goes on {utc(share.until)}", about=utc(share.until))
    return () if told.key in snapshot.told else (told,)


def cancels(snapshot: Snapshot, runs: set[int], why: str) -> list[Action]:
    asked = snapshot.cancelling
    return [Cancel(a.id, why) for a in snapshot.attempts if a.state in OPEN and a.run in runs and a.id not in asked]


def illness(snapshot: Snapshot) -> str:
    last = max((a for a in snapshot.attempts if a.failure is not None), key=lambda a: (a.ended_at or 0.0, a.id))
    what = last.failure.message if last.failure is not None else ""
    ways = f"mend that and `rea resume {snapshot.campaign.title}`"
    return f"{ill(snapshot)} attempts in a row failed for reasons of the infrastructure, the last: {what}; {ways}"


def investigation(snapshot: Snapshot, plan: Plan, now: float) -> tuple[Action, ...]:
    """The next step of finding out about failures that no runbook knows."""
    left_s = max(0.0, plan.contingency_s - snapshot.balance.contingency_spent)
    devices = plan.codebase.resources.devices
    for run in snapshot.runs:
        if not waits(run, now):
            continue
        had = {r.draft.seed for r in snapshot.runs if r.draft.treatment.key() == run.draft.treatment.key()}
        spare = next((seed for seed in plan.rules.search_seeds if seed not in had), max(had) + 1)
        step = next_step(run, snapshot.runs, snapshot.attempts, left_s=left_s, devices=devices, spare_seed=spare)
        if isinstance(step, Probe):
            return (Add((), (step.draft,), ()),)
        if step is not None:
            return (Conclude(step),)
    return ()
