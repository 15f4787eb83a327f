"""Which planned runs are started now: what the free slots take and the budget holds."""

from __future__ import annotations

from rea.domain.jobs import Outcome
from rea.domain.ledger import Purse
from rea.domain.plan import Plan
from rea.domain.run import Attempt, Run, RunDraft
from rea.domain.runbook import TAMPERED, UNKNOWN, FailureClass
from rea.domain.share import Share
from rea.domain.states import AttemptState, Phase, RunState, is_terminal
from rea.executor.actions import Submit
from rea.executor.snapshot import Snapshot
from rea.planner.layout import pressed_walltime, tight_reveal, tight_walltime

ILL, MOST_ILL = 4, 12  # infrastructure failures in a row that make it one at a time, and that stop the campaign
ILL_WAIT_S, LONGEST_ILL_WAIT_S = 60.0, 900.0
OPEN = (AttemptState.INTENDED, AttemptState.SUBMITTED)


def open_attempts(snapshot: Snapshot) -> list[Attempt]:
    """Attempts whose end was not seen yet."""
    return [a for a in snapshot.attempts if a.state in OPEN]


def ill(snapshot: Snapshot) -> int:
    """How many attempts, of two runs at least, have failed by the infrastructure since one last did not.

    What was before an engineer had the campaign go on counts no more.
    """
    after = snapshot.campaign.resumed_at
    ended = [a for a in snapshot.attempts if a.state is AttemptState.ENDED and a.outcome != Outcome.CANCELLED.value]
    ended = [a for a in ended if (a.ended_at or 0.0) >= after]
    found: list[Attempt] = []
    for attempt in sorted(ended, key=lambda a: (a.ended_at or 0.0, a.id), reverse=True):
        if attempt.failure is not None and attempt.failure.runbook == UNKNOWN:
            continue  # nobody knows whose fault that was
        if attempt.failure is None or attempt.failure.kind != FailureClass.TRANSIENT.value:
            break
        found.append(attempt)
    return len(found) if len({attempt.run for attempt in found}) >= 2 else 0


def ill_until(snapshot: Snapshot) -> float | None:
    """When the next job may find out whether the infrastructure is well again; None where it is."""
    count = ill(snapshot)
    if count < ILL:
        return None
    last = max(a.ended_at or 0.0 for a in snapshot.attempts if a.failure is not None)
    return last + float(min(ILL_WAIT_S * 2 ** (count - ILL), LONGEST_ILL_WAIT_S))


def full_until(snapshot: Snapshot, now: float) -> float | None:
    """Until when a day's or a month's share holds not even the run that is wanted most; None where each does."""
    share = full_share(snapshot, now)
    return None if share is None else share.until


def full_share(snapshot: Snapshot, now: float) -> Share | None:
    """The share that lets nothing begin for longest; None where each holds the run that is wanted most."""
    if not snapshot.shares:
        return None
    waiting = ready(snapshot, now)
    if not waiting:
        return None
    draft, plan = waiting[0].draft, snapshot.plan
    least_s = (draft.walltime_s if plan is None else tight(draft, plan)) * snapshot.campaign.codebase.resources.devices
    full = (share for share in snapshot.shares if share.left_s() < least_s)
    return max(full, key=lambda share: share.until, default=None)


def _limit(draft: RunDraft, plan: Plan | None, left_s: float) -> float | None:
    """The wall-time limit a run gets when `left_s` seconds of its devices are left; None if they are too few."""
    if left_s >= draft.walltime_s:
        return draft.walltime_s
    if plan is None:
        return None
    return left_s if left_s >= tight(draft, plan) else None


def tight(draft: RunDraft, plan: Plan) -> float:
    """The shortest wall-time limit, in seconds, that this run is started with."""
    least = {Phase.REVEAL: tight_reveal, Phase.CONFIRMATION: pressed_walltime}.get(draft.phase, tight_walltime)
    return least(draft.predicted_s, plan.rules, plan.codebase.resources.walltime_s)


def ready(snapshot: Snapshot, now: float) -> list[Run]:
    """Planned runs that need not wait any longer, most wanted first."""
    order = {Phase.REVEAL: 0, Phase.CONFIRMATION: 1, snapshot.campaign.phase: -1}
    waiting = [r for r in snapshot.runs if r.state is RunState.PLANNED]
    if any(r.draft.smoke and not is_terminal(r.state) for r in snapshot.runs):
        waiting = [r for r in waiting if r.draft.smoke]  # the others would fail as it does, later
    runs = [r for r in waiting if r.not_before <= now]
    return sorted(runs, key=lambda r: (order.get(r.draft.phase, 0), -r.draft.priority, r.id))


def submissions(snapshot: Snapshot, now: float, limit: float) -> tuple[Submit, ...]:
    """Planned runs that fit the free slots and the budget, most wanted first."""
    if snapshot.capacity is None:
        return ()
    # A launcher shared with other campaigns may have fewer slots free than this one has open.
    slots = snapshot.campaign.codebase.launcher.slots
    free = min(snapshot.capacity.free, slots - len(open_attempts(snapshot)))
    devices = snapshot.campaign.codebase.resources.devices
    held = snapshot.balance.spent + snapshot.balance.reserved
    if ill(snapshot) >= ILL:
        # Where machine after machine fails, a storm of jobs mends nothing: one at a time finds out when it is over.
        until = ill_until(snapshot)
        free = 1 if not open_attempts(snapshot) and (until is None or until <= now) else 0
    runs = ready(snapshot, now)
    suspected = [run for run in runs if _suspect(run)]
    if suspected or any(_suspect(run) and run.state is RunState.ACTIVE for run in snapshot.runs):
        # Whose doing it was shows where each of them is alone, and whoever ran beside it is no suspect again.
        runs, free = suspected, min(free, 0 if open_attempts(snapshot) else 1)
    actions: list[Submit] = []
    begun = 0.0
    for run in runs:
        if len(actions) >= free:
            break
        purse = _purse(snapshot, run)
        # The reveal is the campaign's last act: nothing is kept back from it.
        whole = purse is Purse.CONTINGENCY or run.draft.phase is Phase.REVEAL
        ceiling = snapshot.balance.approved if whole else limit
        left = min([ceiling - held, *(share.left_s(begun) for share in snapshot.shares)])
        walltime_s = _limit(run.draft, snapshot.plan, left / devices)
        if walltime_s is not None:
            held += walltime_s * devices
            begun += walltime_s * devices
            actions.append(Submit(run.id, purse, walltime_s))
    return tuple(actions)


def _suspect(run: Run) -> bool:
    """Whether the code that judges had been changed when this run last ended; it, or what ran beside it, did that."""
    return run.failure is not None and run.failure.runbook == TAMPERED


def _purse(snapshot: Snapshot, run: Run) -> Purse:
    """A repetition that infrastructure caused is paid from the contingency, as is what finds out about a failure."""
    if run.draft.probe:
        return Purse.CONTINGENCY
    earlier = [a for a in snapshot.attempts if a.run == run.id and a.failure is not None]
    infrastructure = bool(earlier) and earlier[-1].failure is not None and earlier[-1].failure.kind == "T"
    return Purse.CONTINGENCY if infrastructure else Purse.MAIN


def idle(snapshot: Snapshot) -> bool:
    if snapshot.capacity is None or snapshot.capacity.free < 1:
        return False
    waiting = any(run.state is RunState.PLANNED for run in snapshot.runs)
    return not waiting and len(open_attempts(snapshot)) < snapshot.campaign.codebase.launcher.slots


def starved(snapshot: Snapshot, now: float) -> bool:
    """Whether runs wait, a slot is free and nothing runs: where none was started, the budget holds none of them."""
    if any(at > now for at in (ill_until(snapshot), full_until(snapshot, now)) if at is not None):
        return False  # it is not the budget that they wait for
    free = snapshot.capacity is not None and snapshot.capacity.free >= 1
    return free and bool(ready(snapshot, now)) and not open_attempts(snapshot)
