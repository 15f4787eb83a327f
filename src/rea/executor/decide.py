"""The decision of a wake: from a snapshot to actions. Pure; it looks at nothing but its arguments.

Actions come in small steps. The wake applies them, takes a new snapshot and asks again, until the answer is Sleep.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from rea.domain.campaign import Campaign
from rea.domain.claim import Claim
from rea.domain.errors import ReaError
from rea.domain.hypothesis import Hypothesis, HypothesisKind
from rea.domain.jobs import JobState
from rea.domain.moments import duration, utc
from rea.domain.plan import Plan
from rea.domain.run import Attempt, Failure, Run, RunDraft
from rea.domain.runbook import TIME_LIMIT
from rea.domain.states import (
    BARRED,
    PHASES,
    AttemptState,
    CampaignState,
    HypothesisState,
    PauseReason,
    Phase,
    RunState,
    Verdict,
    is_terminal,
)
from rea.domain.treatment import Treatment
from rea.executor.actions import (
    Action,
    Add,
    Away,
    BeginRound,
    Cancel,
    Conclude,
    DraftPlan,
    Enter,
    Fail,
    Finish,
    Pause,
    Record,
    Resubmit,
    SetVisible,
    Sleep,
    Warn,
    Withdraw,
)
from rea.executor.ends import hopeless
from rea.executor.investigate import Probe, next_step, waits
from rea.executor.snapshot import Snapshot
from rea.executor.submissions import (
    MOST_ILL,
    OPEN,
    day_is_full,
    idle,
    ill,
    ill_until,
    open_attempts,
    ready,
    starved,
    submissions,
    tight,
)
from rea.planner.combination import combination
from rea.planner.confirm import leaked, make_claim, worth_launching, worth_revealing
from rea.planner.confirmation import claim_s, confirmation, idle_work
from rea.planner.evidence import Evidence
from rea.planner.exploitation import exploitation
from rea.planner.layout import SEARCH, reveal_s, walltime
from rea.planner.situation import FEWEST_PAIRS, Advance, Judgement, Situation, judge
from rea.planner.validation import validation

SWEEP_S = 60.0  # a wake-up may get lost; this long after the last look somebody looks again
UNREACHABLE_S, LONGEST_UNREACHABLE_S = 60.0, 900.0  # between looks at a launcher that does not answer
LONG_WAIT_S = 120.0  # a run whose next attempt is that far away takes no slot; a short wait changes no order
AWAY_SHARE = 0.25  # of the time it has been away
SILENT_S = 300.0  # after its limit, of a job that is not heard of: sixty heartbeats
PROFILE_MINIMUM = 2  # successful baseline runs a plan needs


def decide(snapshot: Snapshot, now: float) -> tuple[Action, ...]:
    """What to do next. Never empty: at the least it says until when to sleep.

    Raises ReaError for a campaign that nothing REA does could have brought to where it is.
    """
    seen = _ended(snapshot) or _silent(snapshot, now) or _answering(snapshot, now)
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


def _silent(snapshot: Snapshot, now: float) -> tuple[Action, ...]:
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


def _answering(snapshot: Snapshot, now: float) -> tuple[Action, ...]:
    """Whether the launcher has stopped answering, or answers again."""
    kind, since = snapshot.campaign.codebase.launcher.kind, snapshot.campaign.away_since
    if is_terminal(snapshot.campaign.state) or (snapshot.capacity is None) == (since is not None):
        return ()
    if since is None:
        return (Away(now, f"the {kind} launcher does not answer; nothing is submitted until it does"),)
    return (Away(None, f"the {kind} launcher answers again, after {duration(max(0.0, now - since))}"),)


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
    actions += _cancels(snapshot, {run.id for run in snapshot.runs}, f"the campaign is {ended}")
    return (*actions, Sleep(now + SWEEP_S if open_attempts(snapshot) else None))


def _cancels(snapshot: Snapshot, runs: set[int], why: str) -> list[Action]:
    asked = snapshot.cancelling
    return [Cancel(a.id, why) for a in snapshot.attempts if a.state in OPEN and a.run in runs and a.id not in asked]


# ---------------------------------------------------------------- the profile


def _profile(snapshot: Snapshot, now: float) -> tuple[Action, ...]:
    broken = next((run for run in snapshot.runs if hopeless(run)), None)
    if broken is not None:
        return (_no_baseline(broken),)
    pending = [run for run in snapshot.runs if not is_terminal(run.state)]
    done = [run for run in snapshot.runs if run.state is RunState.SUCCEEDED]
    if pending:
        started = submissions(snapshot, now, snapshot.balance.approved)
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
    return Fail(f"the baseline gives no result: {run.name}: {_in_words(run.failure)} → {next_}", told=True)


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
    barred = _barred(snapshot) or _investigation(snapshot, plan, now)
    if barred:
        return barred
    runs = tuple(run for run in snapshot.runs if not run.draft.probe)
    evidence = Evidence(plan, runs, snapshot.hypotheses, snapshot.closed)
    probed = sum(_spent(snapshot.attempts).get(run.id, 0.0) for run in snapshot.runs if run.draft.probe)
    warned = _threshold(snapshot, plan)
    if warned and not snapshot.warned and snapshot.campaign.phase in SEARCH:
        share = snapshot.balance.spent / snapshot.balance.approved
        return (Warn("budget", f"{share:.0%} of the budget is spent; no new hypothesis starts"),)
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
        return (Pause(PauseReason.GUARDRAIL, _illness(snapshot)),)
    answer = _late(snapshot, plan, situation)
    if answer is None:
        answer = _PHASES[snapshot.campaign.phase](snapshot, plan, situation)
    if answer:
        return answer
    limit = snapshot.balance.approved - max(0.0, plan.contingency_s - snapshot.balance.contingency_spent)
    limit -= plan.reveal_s
    started = submissions(snapshot, now, limit)
    if started:
        return started
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
        return tuple(_cancels(snapshot, running, why)) if situation.left_s < claim_s(situation) else ()
    judgements = judge(situation, list(HypothesisKind))
    if judgements:
        return (Add((), (), judgements),)
    return (_enter(Phase.CONFIRMATION, situation, why),)


def _illness(snapshot: Snapshot) -> str:
    last = max((a for a in snapshot.attempts if a.failure is not None), key=lambda a: (a.ended_at or 0.0, a.id))
    what = last.failure.message if last.failure is not None else ""
    ways = f"mend that and `rea resume {snapshot.campaign.title}`"
    return f"{ill(snapshot)} attempts in a row failed for reasons of the infrastructure, the last: {what}; {ways}"


def _barred(snapshot: Snapshot) -> tuple[Action, ...]:
    """An engineer's veto reaches what waits and what runs."""
    ids = {h.id for h in snapshot.hypotheses if h.state in BARRED}
    why = "its hypothesis was vetoed or left out"
    mine = [r for r in snapshot.runs if r.draft.hypothesis in ids]
    waiting = [Withdraw(run.id, why) for run in mine if run.state is RunState.PLANNED]
    return (*waiting, *_cancels(snapshot, {run.id for run in mine}, why))


def _investigation(snapshot: Snapshot, plan: Plan, now: float) -> tuple[Action, ...]:
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


def _threshold(snapshot: Snapshot, plan: Plan) -> bool:
    return snapshot.balance.spent >= plan.rules.warn_at * snapshot.balance.approved


def _spent(attempts: tuple[Attempt, ...]) -> dict[int, float]:
    spent: dict[int, float] = {}
    for attempt in attempts:
        spent[attempt.run] = spent.get(attempt.run, 0.0) + (attempt.device_s or 0.0)
    return spent


def _grow(answer: Advance) -> tuple[Action, ...]:
    if answer.hypotheses or answer.runs or answer.judgements:
        return (Add(answer.hypotheses, answer.runs, answer.judgements),)
    return ()


def _validation(snapshot: Snapshot, plan: Plan, situation: Situation) -> tuple[Action, ...]:
    answer = validation(situation)
    if answer.done:
        return (_enter(Phase.COMBINATION, situation, "every hypothesis that fits the phase was tested alone"),)
    return _grow(answer)


def _combination(snapshot: Snapshot, plan: Plan, situation: Situation) -> tuple[Action, ...]:
    answer = combination(situation)
    if answer.done:
        return (_enter(Phase.EXPLOITATION, situation, _of_the_sets(situation)),)
    return _grow(answer)


def _of_the_sets(situation: Situation) -> str:
    tried = sum(h.belief is not None for h in situation.of_kind(HypothesisKind.COMBINATION))
    if not tried:
        return "there was no set of winners that is worth a run"
    return f"{tried} {'set' if tried == 1 else 'sets'} of winners {'was' if tried == 1 else 'were'} tried"


def _exploitation(snapshot: Snapshot, plan: Plan, situation: Situation) -> tuple[Action, ...]:
    answer = exploitation(situation)
    if not answer.done:
        return _grow(answer)
    if situation.round < plan.rounds and situation.budget_open:
        return (BeginRound(situation.round + 1),)
    return (_enter(Phase.CONFIRMATION, situation, "the search is over"),)


def _confirmation(snapshot: Snapshot, plan: Plan, situation: Situation) -> tuple[Action, ...]:
    finalist = _find(snapshot.hypotheses, snapshot.campaign.incumbent)
    if finalist is None:
        tried = any(h.belief is not None for h in snapshot.hypotheses)
        why = "nothing that was tried is better than the baseline" if tried else "there was no room to try anything"
        return (Finish(Verdict.NO_LAUNCH, None, why),)
    if finalist.state in (*BARRED, HypothesisState.FAILED):
        return (_enter(Phase.CONFIRMATION, situation, f"{finalist.name} is {finalist.state.value}"),)
    if not plan.rules.confirm_seeds:
        found = f"{finalist.name}, believed to gain {situation.evidence.total(finalist.draft.full).mean:+.2%}"
        return (Finish(Verdict.NO_LAUNCH, None, f"without a confirmation nothing is claimed; the best is {found}"),)
    answer = confirmation(situation, finalist)
    if not answer.done:
        return _grow(answer)
    objective = plan.codebase.objective
    if snapshot.campaign.visible is None:
        claim = _claim_visible(snapshot, plan, situation.evidence, finalist)
        if claim is None:
            belief = situation.evidence.effect(finalist)
            judged = Judgement(
                finalist.id, HypothesisState.REFUTED, belief, "it did not train on the confirmation's seeds"
            )
            return (Add((), (), (judged,)), Finish(Verdict.NO_LAUNCH, None, judged.reason))
        return (SetVisible(claim),)
    visible = snapshot.campaign.visible
    if not worth_revealing(visible, plan.rules.minimum_gain):
        closed = "; the sealed split stays closed" if objective.sealed is not None else ""
        why = f"on fresh seeds {_gains(finalist, visible)}{_outside(visible, plan)}{closed}"
        return (Finish(Verdict.NO_LAUNCH, None, why),)
    if not plan.codebase.reveals:
        lacks = "sealed split" if objective.sealed is None else "evaluator to open the sealed split with"
        why = f"{_gains(finalist, visible)}, the visible split, over fresh seeds; no {lacks} is configured"
        return (Finish(Verdict.LAUNCH, visible, why),)
    return (Enter(Phase.REVEAL, finalist.id, "the confirmation holds; the sealed split is opened, once"),)


def _claim_visible(snapshot: Snapshot, plan: Plan, evidence: Evidence, finalist: Hypothesis) -> Claim | None:
    def lines(treatment: Treatment) -> dict[int, Mapping[str, object]]:
        return {
            run.draft.seed: {**run.result.metrics, "blocks": {"loss": run.result.block_loss or None}}
            for run in evidence.of(treatment)
            if run.draft.phase is Phase.CONFIRMATION and run.state is RunState.SUCCEEDED and run.result is not None
        }

    objective = plan.codebase.objective
    claim = make_claim(objective.split, objective, plan.baseline, lines(Treatment()), lines(finalist.draft.full))
    return claim if claim is not None and len(claim.seeds) >= FEWEST_PAIRS else None


def _reveal(snapshot: Snapshot, plan: Plan, situation: Situation) -> tuple[Action, ...]:
    finalist = _find(snapshot.hypotheses, snapshot.campaign.incumbent)
    if finalist is None:
        return (Fail("the finalist is gone"),)
    run = next((r for r in snapshot.runs if r.draft.phase is Phase.REVEAL), None)
    if run is None:
        visible = snapshot.campaign.visible
        pairs = len(visible.seeds) if visible is not None else FEWEST_PAIRS
        predicted = reveal_s(plan.baseline.run_s, pairs)
        limit = walltime(predicted, plan.rules, plan.codebase.resources.walltime_s)
        draft = RunDraft(
            key="reveal",
            hypothesis=finalist.id,
            round=situation.round,
            phase=Phase.REVEAL,
            treatment=Treatment(),
            seed=0,
            priority=1.0,
            predicted_s=predicted,
            walltime_s=limit,
        )
        return (Add((), (draft,), ()),)
    if not is_terminal(run.state):
        return ()
    if run.state is not RunState.SUCCEEDED or run.result is None:
        why = run.failure.message if run.failure else run.state.value
        return (
            Pause(PauseReason.GUARDRAIL, f"the sealed split could not be evaluated: {why}; {_only_stop(snapshot)}"),
        )
    sealed, objective = run.result.sealed, plan.codebase.objective
    seeds = {r.id: r for r in snapshot.runs if r.draft.phase is Phase.CONFIRMATION}
    drafts = [(seeds[int(i)].draft, line) for i, line in sealed.items() if int(i) in seeds]
    control = {draft.seed: line for draft, line in drafts if draft.treatment.empty}
    key = finalist.draft.full.key()
    treated = {draft.seed: line for draft, line in drafts if draft.treatment.key() == key}
    claim = make_claim(objective.sealed or "", objective, plan.baseline, control, treated)
    if claim is None:
        why = f"the sealed evaluation has no pair of runs to compare; {_only_stop(snapshot)}"
        return (Pause(PauseReason.GUARDRAIL, why),)
    gains = _gains(finalist, claim)
    visible = snapshot.campaign.visible
    if visible is not None and leaked(visible, claim):
        why = (
            f"{gains}, and {visible.gain:+.2%} on {visible.split}: the sealed labels have been seen; it is not proposed"
        )
        return (Finish(Verdict.NO_LAUNCH, claim, why),)
    if worth_launching(claim, plan.rules.minimum_gain):
        return (Finish(Verdict.LAUNCH, claim, gains),)
    return (Finish(Verdict.NO_LAUNCH, claim, f"{gains}{_outside(claim, plan)}: not enough for a launch"),)


def _only_stop(snapshot: Snapshot) -> str:
    return f"the split is opened once, so only `rea stop {snapshot.campaign.title}` leads on"


def _gains(finalist: Hypothesis, claim: Claim) -> str:
    interval = f"{claim.gain:+.2%} (95 %: {claim.ci_low:+.2%} to {claim.ci_high:+.2%})"
    return f"{finalist.name} gains {interval} on {claim.split}"


def _outside(claim: Claim, plan: Plan) -> str:
    """The guardrails a claim breaks, in words; empty where all hold."""
    metrics = claim.treated_metrics
    broken = [rail for rail in plan.codebase.objective.guardrails if not rail.holds(metrics)]
    said = [f"{r.metric} {metrics.get(r.metric, math.nan):.3f} is outside {r.minimum} to {r.maximum}" for r in broken]
    return "; " + ", ".join(said) if said else ""


_PHASES: dict[Phase, Callable[[Snapshot, Plan, Situation], tuple[Action, ...]]] = {
    Phase.VALIDATION: _validation,
    Phase.COMBINATION: _combination,
    Phase.EXPLOITATION: _exploitation,
    Phase.CONFIRMATION: _confirmation,
    Phase.REVEAL: _reveal,
}


def _enter(phase: Phase, situation: Situation, why: str) -> Enter:
    chosen = situation.finalist() if phase is Phase.CONFIRMATION else situation.evidence.incumbent()
    return Enter(phase, chosen.id if chosen is not None else None, why)


def _find(hypotheses: tuple[Hypothesis, ...], wanted: int | None) -> Hypothesis | None:
    return next((h for h in hypotheses if h.id == wanted), None)


# ---------------------------------------------------------------- when there is nothing to start


def _exhausted(snapshot: Snapshot, plan: Plan, situation: Situation, now: float) -> tuple[Action, ...]:
    """Runs wait, nothing runs, and the budget holds none of them: the search ends, or an engineer is asked."""
    if not starved(snapshot, now):
        return ()
    waiting, balance = ready(snapshot, now), snapshot.balance
    left = balance.approved - balance.spent
    needed = tight(waiting[0].draft, plan) * plan.codebase.resources.devices
    kept = f"{max(0.0, plan.contingency_s - balance.contingency_spent):.0f} of them for retries"
    if plan.reveal_s and snapshot.campaign.phase is not Phase.REVEAL:
        kept += f" and {plan.reveal_s:.0f} for the reveal"
    why = f"{left:.0f} device-seconds are left, {kept}; the next run needs {needed:.0f} free"
    if snapshot.campaign.phase in SEARCH:
        withdrawn: list[Action] = [Withdraw(run.id, why) for run in waiting if run.draft.phase in SEARCH]
        return (*withdrawn, _enter(Phase.CONFIRMATION, situation, f"the search ends: {why}"))
    if snapshot.campaign.phase is Phase.CONFIRMATION and _pairs(snapshot, situation.evidence) >= FEWEST_PAIRS:
        # Fewer pairs than planned, for a reason that has nothing to do with what they showed.
        return tuple(Withdraw(run.id, f"the claim rests on the pairs there are: {why}") for run in waiting)
    return (Pause(PauseReason.BUDGET, why),)


def _pairs(snapshot: Snapshot, evidence: Evidence) -> int:
    """Seeds of the confirmation on which both the baseline and the finalist have a result."""
    finalist = _find(snapshot.hypotheses, snapshot.campaign.incumbent)
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
    times += [at for at in (ill_until(snapshot), day_is_full(snapshot, now)) if at is not None and at > now]
    if open_attempts(snapshot) or any(run.state is RunState.PLANNED for run in snapshot.runs):
        times.append(now + SWEEP_S)
    return min(times) if times else None
