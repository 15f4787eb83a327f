"""The decision of a wake: from a snapshot to actions. Pure; it looks at nothing but its arguments.

Actions come in small steps. The wake applies them, takes a new snapshot and asks again, until the answer is Sleep.
"""

from __future__ import annotations

import math

from rea.domain.campaign import Campaign
from rea.domain.errors import ReaError
from rea.domain.hypothesis import HypothesisKind
from rea.domain.moments import utc
from rea.domain.plan import Plan
from rea.domain.run import Attempt, Failure, Run
from rea.domain.runbook import TIME_LIMIT
from rea.domain.states import (
    BARRED,
    PHASES,
    AttemptState,
    CampaignState,
    PauseReason,
    Phase,
    RunState,
    is_terminal,
)
from rea.executor.actions import (
    Action,
    Add,
    DraftPlan,
    Fail,
    Pause,
    Record,
    Resubmit,
    Sleep,
    Warn,
    Withdraw,
)
from rea.executor.ends import hopeless
from rea.executor.phases import advance, enter, find
from rea.executor.snapshot import Snapshot
from rea.executor.submissions import (
    MOST_ILL,
    OPEN,
    full_until,
    idle,
    ill,
    ill_until,
    open_attempts,
    ready,
    starved,
    submissions,
    tight,
)
from rea.executor.trouble import answering, cancels, illness, investigation, silent, used_up
from rea.planner.confirmation import claim_s, idle_work
from rea.planner.evidence import Evidence
from rea.planner.layout import SEARCH
from rea.planner.situation import FEWEST_PAIRS, Situation, judge

SWEEP_S = 60.0  # a wake-up may get lost; this long after the last look somebody looks again
UNREACHABLE_S, LONGEST_UNREACHABLE_S = 60.0, 900.0  # between looks at a launcher that does not answer
LONG_WAIT_S = 120.0  # a run whose next attempt is that far away takes no slot; a short wait changes no order
AWAY_SHARE = 0.25  # of the time it has been away
PROFILE_MINIMUM = 2  # successful baseline runs a plan needs


def decide(snapshot: Snapshot, now: float) -> tuple[Action, ...]:
    """What to do next. Never empty: at the least it says until when to sleep.

    Raises ReaError for a campaign that nothing REA does could have brought to where it is.
    """
    seen = _ended(snapshot) or silent(snapshot, now) or answering(snapshot, now)
    if seen:
        return seen
    state = snapshot.campaign.state
    _check_phase(snapshot.campaign)
    if state is CampaignState.PROFILING:
        resubmitted = () if any(hopeless(run) for run in snapshot.runs) else _unsubmitted(snapshot)
        return resubmitted or _profile(snapshot, now)
    if state is CampaignState.RUNNING:
        return _unsubmitted(snapshot) or _running(snapshot, now)
    if is_terminal(state):
        return _wind_up(snapshot, now)
    return (Sleep(_sweep(snapshot, now)),)


def _check_phase(campaign: Campaign) -> None:
    allowed = PHASES[campaign.state]
    if campaign.phase not in allowed:
        expected = ", ".join(phase.value for phase in Phase if phase in allowed)
        raise ReaError(
            f"{campaign.title} is {campaign.state.value} in phase {campaign.phase.value}, which never go together;"
            f" expected: {expected}",
            hint="was its row edited by hand? Restore the store from a backup, or end the campaign with"
            f" `rea stop {campaign.title}`",
        )


# ---------------------------------------------------------------- what is observed


def _ended(snapshot: Snapshot) -> tuple[Action, ...]:
    open_ids = {a.id for a in snapshot.attempts if a.state in OPEN}
    return tuple(Record(attempt, report) for attempt, report in sorted(snapshot.reports.items()) if attempt in open_ids)


def _unsubmitted(snapshot: Snapshot) -> tuple[Action, ...]:
    """Intents without an answer: whoever wrote them down died before the launcher's answer was."""
    if snapshot.capacity is None:
        return ()
    return tuple(Resubmit(a.id) for a in snapshot.attempts if a.state is AttemptState.INTENDED)


def _wind_up(snapshot: Snapshot, now: float) -> tuple[Action, ...]:
    """An ended campaign: what still runs is cancelled, what waits is withdrawn."""
    ended = snapshot.campaign.state.value
    actions: list[Action] = [
        Withdraw(run.id, f"the campaign is {ended}") for run in snapshot.runs if run.state is RunState.PLANNED
    ]
    actions += cancels(snapshot, {run.id for run in snapshot.runs}, f"the campaign is {ended}")
    return (*actions, Sleep(now + SWEEP_S if open_attempts(snapshot) else None))


# ---------------------------------------------------------------- the profile


def _profile(snapshot: Snapshot, now: float) -> tuple[Action, ...]:
    broken = next((run for run in snapshot.runs if hopeless(run)), None)
    if broken is not None:
        return (_no_baseline(broken),)
    smoke = next((run for run in snapshot.runs if run.draft.smoke), None)
    if smoke is not None and smoke.state is RunState.FAILED:
        return (_no_baseline(smoke),)
    pending = [run for run in snapshot.runs if not is_terminal(run.state)]
    done = [run for run in snapshot.runs if run.state is RunState.SUCCEEDED and not run.draft.smoke]
    if pending:
        started = submissions(snapshot, now, snapshot.balance.approved) or used_up(snapshot, now)
        if started or not starved(snapshot, now):
            return started or (Sleep(_sweep(snapshot, now)),)
        balance = snapshot.balance
        why = f"of {balance.approved:.0f} device-seconds for the profile {balance.spent:.0f} are spent"
        if len(done) < PROFILE_MINIMUM:
            failed = [run for run in snapshot.runs if run.failure is not None]
            said = f"the baseline gives no result: {why}, and {pending[0].name} still has no result"
            for last in failed[-1:]:
                said += f"; {_last_words(last)}"
            return (Fail(said, told=bool(failed)),)
        return tuple(Withdraw(run.id, f"{why}; the runs there are will do") for run in pending)
    if len(done) >= PROFILE_MINIMUM:
        return (DraftPlan(),)
    failed = [run for run in snapshot.runs if run.failure is not None]
    return (_no_baseline(failed[-1] if failed else None),)


def _no_baseline(run: Run | None) -> Fail:
    if run is None or run.failure is None:
        return Fail("the baseline gives no result: every run was cancelled")
    mend = "mend that in the codebase"
    if run.failure.runbook == TIME_LIMIT:
        mend = "raise `walltime` under [resources] in rea.toml, or make the run shorter"
    next_ = f"`rea logs {run.name}` shows its output; {mend}, commit, and `rea plan` again"
    who = f"{run.name}, its smoke run" if run.draft.smoke else run.name
    return Fail(f"the baseline gives no result: {who}: {_in_words(run.failure)} → {next_}", told=True)


def _last_words(run: Run) -> str:
    words = _in_words(run.failure) if run.failure is not None else run.state.value
    return f"{run.name}: {words} → `rea logs {run.name}` shows its output"


def _in_words(failure: Failure) -> str:
    return failure.message + (f" — {failure.line.strip()[:200]}" if failure.line else "")


# ---------------------------------------------------------------- a signed campaign


def _running(snapshot: Snapshot, now: float) -> tuple[Action, ...]:
    plan = snapshot.plan
    if plan is None or not snapshot.signed:
        return (Pause(PauseReason.GUARDRAIL, snapshot.signature_problem or "the plan is not signed"),)
    barred = _barred(snapshot) or investigation(snapshot, plan, now)
    if barred:
        return barred
    runs = tuple(run for run in snapshot.runs if not run.draft.aside)
    evidence = Evidence(plan, runs, snapshot.hypotheses, snapshot.closed)
    probed = sum(_spent(snapshot.attempts).get(run.id, 0.0) for run in snapshot.runs if run.draft.probe)
    warned = _threshold(snapshot, plan)
    if warned and snapshot.campaign.phase in SEARCH:
        share = snapshot.balance.spent / snapshot.balance.approved
        budget = Warn("budget", f"{share:.0%} of the budget is spent; no new hypothesis starts")
        if budget.key not in snapshot.told:
            return (budget,)
    situation = Situation(
        evidence=evidence,
        round=snapshot.campaign.round,
        spent=_spent(snapshot.attempts),
        slots=snapshot.capacity.slots if snapshot.capacity is not None else plan.codebase.launcher.slots,
        budget_open=not warned,
        contingency_spent=max(0.0, snapshot.balance.contingency_spent - probed),
        left_s=math.inf if plan.finish_by is None else plan.finish_by - now,
        waiting=frozenset(
            r.id for r in snapshot.runs if r.state is RunState.PLANNED and r.not_before > now + LONG_WAIT_S
        ),
    )
    if ill(snapshot) >= MOST_ILL:
        return (Pause(PauseReason.GUARDRAIL, illness(snapshot)),)
    answer = _late(snapshot, plan, situation)
    if answer is None:
        answer = advance(snapshot, plan, situation)
    if answer:
        return answer
    limit = snapshot.balance.approved - max(0.0, plan.contingency_s - snapshot.balance.contingency_spent)
    limit -= plan.reveal_s
    started = submissions(snapshot, now, limit)
    if started:
        return started
    waits = used_up(snapshot, now)
    if waits:
        return waits
    exhausted = _exhausted(snapshot, plan, situation, now)
    if exhausted:
        return exhausted
    if snapshot.campaign.phase in SEARCH and idle(snapshot):
        extra = idle_work(situation)
        held = snapshot.balance.spent + snapshot.balance.reserved
        if extra and held + extra[0].walltime_s * plan.codebase.resources.devices <= limit:
            return (Add((), extra, ()),)
    return (Sleep(_sweep(snapshot, now)),)


def _late(snapshot: Snapshot, plan: Plan, situation: Situation) -> tuple[Action, ...] | None:
    """The end of a search that has to make room for its deadline; None while there is time, or where there is none.

    What waits is withdrawn. What runs may end, and counts, unless it takes longer than it should.
    """
    if plan.finish_by is None or snapshot.campaign.phase not in SEARCH:
        return None
    # What still runs of the search ends first, then comes the claim.
    left = [run.draft.predicted_s for run in situation.open_runs(*SEARCH) if run.state is RunState.ACTIVE]
    if situation.left_s > claim_s(situation) + max(left, default=0.0):
        return None
    when = utc(plan.finish_by)
    why = f"the search ends: the campaign is to have ended by {when}"
    waiting = [r for r in snapshot.runs if r.state is RunState.PLANNED and r.draft.phase in SEARCH]
    if waiting:
        return tuple(Withdraw(run.id, why) for run in waiting)
    running = {run.id for run in situation.open_runs(*SEARCH)}
    if running:
        # One that takes longer than it should would take the claim's time.
        return tuple(cancels(snapshot, running, why)) if situation.left_s < claim_s(situation) else ()
    judgements = judge(situation, list(HypothesisKind))
    if judgements:
        return (Add((), (), judgements),)
    return (enter(Phase.CONFIRMATION, situation, why),)


def _barred(snapshot: Snapshot) -> tuple[Action, ...]:
    """An engineer's veto reaches what waits and what runs."""
    ids = {h.id for h in snapshot.hypotheses if h.state in BARRED}
    why = "its hypothesis was vetoed or left out"
    mine = [r for r in snapshot.runs if r.draft.hypothesis in ids]
    waiting = [Withdraw(run.id, why) for run in mine if run.state is RunState.PLANNED]
    return (*waiting, *cancels(snapshot, {run.id for run in mine}, why))


def _threshold(snapshot: Snapshot, plan: Plan) -> bool:
    return snapshot.balance.spent >= plan.rules.warn_at * snapshot.balance.approved


def _spent(attempts: tuple[Attempt, ...]) -> dict[int, float]:
    spent: dict[int, float] = {}
    for attempt in attempts:
        spent[attempt.run] = spent.get(attempt.run, 0.0) + (attempt.device_s or 0.0)
    return spent


# ---------------------------------------------------------------- when there is nothing to start


def _exhausted(snapshot: Snapshot, plan: Plan, situation: Situation, now: float) -> tuple[Action, ...]:
    """Runs wait, nothing runs, and the budget holds none of them: the search ends, or an engineer is asked."""
    if not starved(snapshot, now):
        return ()
    waiting, balance = ready(snapshot, now), snapshot.balance
    left = balance.approved - balance.spent
    needed = tight(waiting[0].draft, plan) * plan.codebase.resources.devices
    kept = f"{max(0.0, plan.contingency_s - balance.contingency_spent):.3g} of them for retries"
    if plan.reveal_s and snapshot.campaign.phase is not Phase.REVEAL:
        kept += f" and {plan.reveal_s:.3g} for the reveal"
    why = f"{left:.3g} device-seconds are left, {kept}; the next run needs {needed:.3g} free"
    if snapshot.campaign.phase in SEARCH:
        withdrawn: list[Action] = [Withdraw(run.id, why) for run in waiting if run.draft.phase in SEARCH]
        return (*withdrawn, enter(Phase.CONFIRMATION, situation, f"the search ends: {why}"))
    if snapshot.campaign.phase is Phase.CONFIRMATION and _pairs(snapshot, situation.evidence) >= FEWEST_PAIRS:
        # Fewer pairs than planned, for a reason that has nothing to do with what they showed.
        return tuple(Withdraw(run.id, f"the claim rests on the pairs there are: {why}") for run in waiting)
    return (Pause(PauseReason.BUDGET, why),)


def _pairs(snapshot: Snapshot, evidence: Evidence) -> int:
    """Seeds of the confirmation on which both the baseline and the finalist have a result."""
    finalist = find(snapshot.hypotheses, snapshot.campaign.incumbent)
    return len(evidence.gains(finalist.draft.full, _fresh_seeds(evidence.plan))) if finalist is not None else 0


def _fresh_seeds(plan: Plan) -> tuple[int, ...]:
    return (*plan.rules.confirm_seeds, *plan.rules.spare_seeds)


def _sweep(snapshot: Snapshot, now: float) -> float | None:
    """When to look again even if no wake-up comes."""
    if snapshot.capacity is None:
        # The longer it has been away, the longer until somebody looks again.
        away_s = now - (snapshot.campaign.away_since or now)
        return now + min(max(UNREACHABLE_S, AWAY_SHARE * away_s), LONGEST_UNREACHABLE_S)
    times = [run.not_before for run in snapshot.runs if run.state is RunState.PLANNED and run.not_before > now]
    times += [at for at in (ill_until(snapshot), full_until(snapshot, now)) if at is not None and at > now]
    if open_attempts(snapshot) or any(run.state is RunState.PLANNED for run in snapshot.runs):
        times.append(now + SWEEP_S)
    return min(times) if times else None
