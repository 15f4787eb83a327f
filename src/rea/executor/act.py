"""Applying actions: one transaction each, at most one outside effect, safe to repeat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rea.codebase.config import digest as codebase_digest
from rea.domain.campaign import AWAY_SINCE, Campaign
from rea.domain.codec import canonical, digest
from rea.domain.data import DataProfile
from rea.domain.errors import ReaError
from rea.domain.hypothesis import HypothesisKind
from rea.domain.jobs import job_name
from rea.domain.ledger import Purse
from rea.domain.plan import Part, Plan, PlannedHypothesis, read_plan
from rea.domain.question import BELIEVE, DISMISS, QUARANTINE, Option
from rea.domain.run import Attempt, Failure, Run
from rea.domain.runbook import DENIED
from rea.domain.runbook import Action as RunbookAction
from rea.domain.states import (
    BARRED,
    TRANSITIONS,
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
from rea.executor import actions as a
from rea.executor.ends import held, hopeless, next_state, struck_out
from rea.executor.investigate import Cause
from rea.executor.logger import experiment
from rea.executor.snapshot import Report
from rea.executor.tools import RowsPort, Tools, TransactionPort
from rea.guard.policy import Actor, Effect, Request, may, require
from rea.knowledge.lessons import pattern_of
from rea.planner.compose import data_facts, first_agenda, next_agenda
from rea.planner.draft import first_validation_s, start_by, write_plan
from rea.planner.evidence import Evidence
from rea.planner.layout import RETRY_CAP, SEARCH, BudgetTooSmallError
from rea.planner.profile import measure
from rea.planner.situation import repair


@dataclass(frozen=True)
class Wake:
    """One wake of one campaign: its tools and the fence it writes with."""

    tools: Tools
    campaign: int
    fence: int
    verified: Callable[[RowsPort], str]  # what is wrong with the signature, by the rows of now

    def rows(self) -> RowsPort:
        return self.tools.store.working_rows(self.campaign)

    def transaction(self) -> Any:
        return self.tools.store.transaction(self.campaign, self.fence)


def apply(wake: Wake, action: a.Action) -> None:
    """Do one action. Raises LeaseLostError when another wake has taken over, ReaError when it cannot be done."""
    handler: Callable[[Wake, Any], None] = _HANDLERS[type(action)]
    handler(wake, action)


# ---------------------------------------------------------------- jobs


def _submit(wake: Wake, action: a.Submit) -> None:
    rows, tools = wake.rows(), wake.tools
    run = next(r for r in rows.runs if r.id == action.run)
    number = 1 + sum(1 for attempt in rows.attempts if attempt.run == run.id)
    while Path(tools.workbench.run_dir(wake.campaign, run.id, number)).exists():
        number += 1  # of a job that these rows do not know: the store was restored from a backup that is older than it
    now = tools.clock()
    with wake.transaction() as tx:
        attempt = tx.intend_attempt(
            run.id,
            job=job_name(tools.store.uid, run.id, number),
            run_dir=str(tools.workbench.run_dir(wake.campaign, run.id, number)),
            reserve_s=action.walltime_s * rows.campaign.codebase.resources.devices,
            at=now,
            purse=action.purse,
        )
    _launch(wake, attempt)


def _resubmit(wake: Wake, action: a.Resubmit) -> None:
    attempt = next(x for x in wake.rows().attempts if x.id == action.attempt)
    if attempt.state is AttemptState.INTENDED:
        _launch(wake, attempt)


def _launch(wake: Wake, attempt: Attempt) -> None:
    """Submit an intended attempt, or adopt its job; a job that cannot even be described fails for good."""
    tools, rows = wake.tools, wake.rows()
    run = next(r for r in rows.runs if r.id == attempt.run)
    known = tools.launcher.find(attempt.job) is not None
    denied = "" if known else _denied(wake, rows, run)
    if denied:
        with wake.transaction() as tx:
            tx.event(wake.campaign, "denied", f"{run.name} was not submitted: {denied}", tools.clock())
        failure = Failure(DENIED, "G", f"its submission was denied: {denied}")
        _record(wake, a.Record(attempt.id, Report("failed", failure=failure, action=RunbookAction.HOLD)))
        return
    try:
        spec = tools.workbench.job(rows.campaign, run, attempt, rows.runs, struck_out(rows.attempts))
    except ReaError as error:
        if not known:
            failure = Failure("not-implementable", "C", f"the job cannot be made: {error.message}")
            report = Report("failed", failure=failure, action=RunbookAction.FAIL_HYPOTHESIS)
            _record(wake, a.Record(attempt.id, report))
            return
    else:
        # Also where it is known: whoever submitted it may have died before it was started.
        tools.launcher.submit(replace(spec, witness=tools.store.head(wake.campaign)), attempt.job)
    with wake.transaction() as tx:
        tx.submitted(attempt.id)
        if run.draft.phase is Phase.REVEAL:
            tx.event(wake.campaign, "reveal", "the sealed split was opened", tools.clock(), run=run.name)


def _denied(wake: Wake, rows: RowsPort, run: Run) -> str:
    """Why this run may not be submitted now, by the rows as they are now; empty where it may."""
    draft, problem = run.draft, _signature_problem(wake, rows)
    effect = Effect.REVEAL if draft.phase is Phase.REVEAL else Effect.SUBMIT
    revealed = sum(r.draft.phase is Phase.REVEAL and r.state is RunState.SUCCEEDED for r in rows.runs)
    request = Request(Actor.EXECUTOR, effect, draft.treatment, draft.phase, revealed=revealed)
    ruling = may(request, rows.campaign, signature_problem=problem)
    return "" if ruling.allowed else ruling.why


def _signature_problem(wake: Wake, rows: RowsPort) -> str | None:
    if rows.campaign.state is CampaignState.PROFILING or rows.plan is None:
        return None
    return wake.verified(rows)


def _cancel(wake: Wake, action: a.Cancel) -> None:
    attempt = next(x for x in wake.rows().attempts if x.id == action.attempt)
    if attempt.state is AttemptState.ENDED:
        return
    handle = wake.tools.launcher.find(attempt.job)
    if handle is not None:
        wake.tools.launcher.cancel(handle)
        return
    report = Report("cancelled")
    _record(wake, a.Record(attempt.id, report))


def _withdraw(wake: Wake, action: a.Withdraw) -> None:
    with wake.transaction() as tx:
        tx.set_run(action.run, state=RunState.CANCELLED)
        tx.event(wake.campaign, "withdrawn", f"R-{action.run}: {action.why}", wake.tools.clock())


def _record(wake: Wake, action: a.Record) -> None:
    rows, report, now = wake.rows(), action.report, wake.tools.clock()
    attempt = next(x for x in rows.attempts if x.id == action.attempt)
    if attempt.state is AttemptState.ENDED:
        return
    run = next(r for r in rows.runs if r.id == attempt.run)
    earlier = [x for x in rows.attempts if x.run == run.id and x.id != attempt.id]
    report = held(run, report, RETRY_CAP, rows.runs, rows.attempts)
    state = next_state(run, report, RETRY_CAP, len(earlier) + 1)
    if rows.campaign.state is CampaignState.STOPPED and state is RunState.PLANNED:
        state = RunState.CANCELLED
    infrastructure = any(x.failure is not None and x.failure.kind == "T" for x in earlier)
    purse = Purse.CONTINGENCY if infrastructure else Purse.MAIN
    with wake.transaction() as tx:
        tx.end_attempt(
            attempt.id,
            outcome=report.outcome,
            failure=report.failure,
            device_s=report.device_s,
            started_at=report.started_at,
            ended_at=report.ended_at or now,
            purse=purse,
        )
        wait = now + report.wait_s if state is RunState.PLANNED else None
        tx.set_run(
            run.id,
            state=state,
            result=report.result,
            failure=report.failure,
            not_before=wait,
            adjust=report.adjust or None,
        )
        story = _story(run.name, state, report)
        if run.draft.phase is Phase.PROFILE and hopeless(replace(run, state=state, failure=report.failure)):
            story = "failure", f"{run.name} failed"  # why, the end of the campaign tells
        tx.event(wake.campaign, *story, now, run=run.name, attempt=attempt.number)
        _count(tx, earlier, report)
        if report.failure is not None and report.action is RunbookAction.HOLD:
            _hold(tx, rows.campaign, report.failure, now)
        if report.failure is not None and report.action is RunbookAction.QUARANTINE:
            _quarantine(tx, rows, run, report.failure, now)
        if report.repair and rows.campaign.phase in SEARCH and run.draft.phase in SEARCH:
            _repair(tx, rows, run.draft.hypothesis, report, now)


def _story(name: str, state: RunState, report: Report) -> tuple[str, str]:
    if report.failure is not None:
        waits = report.action is RunbookAction.HOLD
        after = "it is given up"
        if state is RunState.PLANNED:
            after = "it is tried again when the campaign is resumed" if waits else "it will be tried again"
            if report.action is RunbookAction.INVESTIGATE:
                after = "no runbook knows this: a few short trainings find out whose fault it is"
        line = f" — {report.failure.line.strip()[:200]}" if report.failure.line else ""
        return "failure", f"{name}: {report.failure.message}{line}; {after}"
    if report.failure is None and state is RunState.FAILED:
        return "ended", f"{name} failed"
    if state is RunState.PRUNED and report.result is not None:
        seen = f"{report.result.fidelity:.0%} of the curve" if report.result.fidelity < 0.995 else "its last reading"
        return "pruned", f"{name} was stopped after {seen}: worse than the baseline"
    return "ended", f"{name} {state.value}"


def _hold(tx: TransactionPort, campaign: Campaign, failure: Failure, now: float) -> None:
    if campaign.state is CampaignState.RUNNING:
        ways = f"mend it and `rea resume {campaign.title}`, or end the campaign with `rea stop {campaign.title}`"
        why = f"{failure.message}; {ways}"
        tx.set_campaign(campaign.id, state=CampaignState.PAUSED, pause_reason=PauseReason.GUARDRAIL, reason=why)
        tx.event(campaign.id, "paused", why, now)


def _count(tx: TransactionPort, earlier: Sequence[Attempt], report: Report) -> None:
    """What this attempt tells of the remedy that was tried before it."""
    last = max((x for x in earlier if x.failure is not None), key=lambda x: x.number, default=None)
    if last is not None and last.failure is not None and last.failure.remedy and last.outcome != "cancelled":
        tx.tried(last.failure.runbook, last.failure.remedy, report.result is not None)


def _quarantine(tx: TransactionPort, rows: RowsPort, run: Run, failure: Failure, now: float) -> None:
    """Keep a hypothesis out of everything until an engineer has looked; the rest of the campaign goes on."""
    found = next((h for h in rows.hypotheses if h.id == run.draft.hypothesis), None)
    if found is None or found.state in BARRED or is_terminal(found.state):
        return
    again_s = run.draft.predicted_s * rows.campaign.codebase.resources.devices
    options = (
        Option(DISMISS, f"{found.name} stays out; nothing is learnt from it"),
        Option(BELIEVE, f"{found.name} is trained again, and its result counts", again_s),
    )
    text = f"{found.name} ({found.draft.title}), {run.name}: {failure.message}. Is that possible?"
    question = tx.ask(rows.campaign.id, QUARANTINE, found.name, text, options, now)
    reason = f"quarantined: {failure.message}; see Q-{question} (`rea inbox`)"
    if HypothesisState.LEFT_OUT not in TRANSITIONS[HypothesisState, found.state]:
        tx.set_hypothesis(found.id, state=HypothesisState.VETOED, reason=reason)
    else:
        tx.set_hypothesis(found.id, state=HypothesisState.LEFT_OUT, reason=reason)
    tx.event(rows.campaign.id, "quarantined", f"{found.name} is kept out of everything: {failure.message}", now)


def _repair(tx: TransactionPort, rows: RowsPort, hypothesis: int | None, report: Report, now: float) -> None:
    """A runbook's change to a treatment that could not be trained becomes a hypothesis of its own, once."""
    broken = next((h for h in rows.hypotheses if h.id == hypothesis), None)
    if broken is None or report.failure is None:
        return
    draft = repair(broken, report.repair, report.failure.message)
    tx.add_hypotheses(rows.campaign.id, rows.campaign.round, [draft])
    tx.event(rows.campaign.id, "repair", f"{broken.name}: {draft.treatment.describe()}", now)


# ---------------------------------------------------------------- the campaign's course


def _add(wake: Wake, action: a.Add) -> None:
    rows, now = wake.rows(), wake.tools.clock()
    known = {h.id: h for h in rows.hypotheses}
    evidence = Evidence(_plan(rows), _measured(rows), rows.hypotheses, rows.closed)
    with wake.transaction() as tx:
        if action.hypotheses:
            ids = tx.add_hypotheses(wake.campaign, rows.campaign.round, action.hypotheses)
            for id_, draft in zip(ids, action.hypotheses, strict=True):
                tx.event(wake.campaign, "hypothesis", f"H-{id_}: {draft.title}", now)
        for judgement in action.judgements:
            hypothesis = known[judgement.hypothesis]
            # An engineer's veto may have come between the decision and this transaction.
            if is_terminal(hypothesis.state):
                continue
            tx.set_hypothesis(
                judgement.hypothesis, state=judgement.state, belief=judgement.belief, reason=judgement.reason
            )
            if judgement.state is not HypothesisState.TESTING:
                text = f"{hypothesis.name} {judgement.state.value}: {judgement.reason}"
                tx.event(wake.campaign, "judged", text, now)
            record = experiment(rows.campaign, evidence, hypothesis, judgement, rows.attempts, now)
            if record is not None:
                tx.add_experiment(record)
        if action.runs:
            tx.add_runs(wake.campaign, action.runs)


def _measured(rows: RowsPort) -> tuple[Run, ...]:
    """The runs that tell about their treatments."""
    return tuple(run for run in rows.runs if not run.draft.probe)


def _draft_plan(wake: Wake, action: a.DraftPlan) -> None:
    rows, tools = wake.rows(), wake.tools
    campaign, codebase = rows.campaign, rows.campaign.codebase
    if campaign.state is not CampaignState.PROFILING:
        return
    profile = [r for r in rows.runs if r.draft.phase is Phase.PROFILE]
    try:
        baseline = measure(profile, codebase.objective, codebase.resources)
    except ReaError as error:  # the runs are what they are: no later wake measures anything else
        _fail(wake, a.Fail(str(error)))
        return
    values = tools.workbench.values(campaign)
    techniques = tools.techniques()
    data, complaint = _data_profile(tools, campaign)
    baseline = replace(baseline, data=data)
    agenda = first_agenda(
        techniques,
        codebase,
        values,
        profile,
        baseline,
        tools.recall(techniques, codebase.name, data_facts(profile, data)),
        without=[Part(name) for name in campaign.options.get("without") or ()],
        data=data,
        validation_s=first_validation_s(campaign, baseline, rows.balance.spent),
    )
    now = tools.clock()
    try:
        with wake.transaction() as tx:
            drafts = [draft for draft, _ in agenda.drafts]
            ids = tx.add_hypotheses(campaign.id, 1, drafts)
            planned = [
                PlannedHypothesis(id_, draft, score) for id_, (draft, score) in zip(ids, agenda.drafts, strict=True)
            ]
            plan = write_plan(
                campaign,
                codebase_digest=codebase_digest(codebase),
                signers_digest=tools.workbench.signers(campaign),
                data_digest=tools.workbench.data_digest(campaign),
                baseline=baseline,
                baseline_values=values,
                symptoms=agenda.symptoms,
                hypotheses=planned,
                left_out=agenda.left_out,
                needs_code=agenda.needs_code,
                profile_s=rows.balance.spent,
                additivity=agenda.additivity,
                start_by=start_by(campaign, now),
            )
            text = canonical(plan)
            tx.add_plan(campaign.id, text, digest(text), now)
            tx.set_campaign(campaign.id, state=CampaignState.DRAFTED)
            if complaint:
                tx.event(campaign.id, "data", f"{complaint}; the diagnosis goes by the curves alone", now)
            tx.event(campaign.id, "plan", f"a plan with {len(planned)} hypotheses waits for approval", now)
    except BudgetTooSmallError as error:
        edit = f"`rea plan edit {campaign.title} --budget {error.runs}r`"
        _pause(wake, a.Pause(PauseReason.BUDGET, f"{error.message}; the profile is kept: {edit}, or more, plans on it"))
    except ReaError as error:
        if error.exit_code in (2, 5):  # the budget or the signers cannot be read: no later wake can change that
            _fail(wake, a.Fail(str(error)))
            return
        raise


def _data_profile(tools: Tools, campaign: Campaign) -> tuple[DataProfile | None, str]:
    """What the codebase tells about its data, or why it does not. A plan can be made without it."""
    try:
        return tools.workbench.data(campaign), ""
    except ReaError as error:
        return None, str(error)


def _begin_round(wake: Wake, action: a.BeginRound) -> None:
    rows, tools = wake.tools.store.snapshot_rows(wake.campaign), wake.tools
    if rows.campaign.round >= action.round:
        return
    evidence = Evidence(_plan(rows), _measured(rows), rows.hypotheses, rows.closed)
    incumbent = evidence.incumbent()
    techniques = tools.techniques()
    facts = data_facts(evidence.of(Treatment()), evidence.plan.baseline.data)
    known = tools.recall(techniques, rows.campaign.codebase.name, facts)
    agenda = next_agenda(evidence, incumbent, techniques, known)
    now = tools.clock()
    with wake.transaction() as tx:
        waiting = [
            h for h in rows.hypotheses if h.state is HypothesisState.PROPOSED and h.draft.kind is HypothesisKind.SINGLE
        ]
        for hypothesis in waiting:
            tx.set_hypothesis(
                hypothesis.id,
                state=HypothesisState.LEFT_OUT,
                reason=f"not tested in round {hypothesis.round}; looked at again for round {action.round}",
            )
        tx.add_hypotheses(wake.campaign, action.round, [draft for draft, _ in agenda.drafts])
        tx.set_campaign(
            wake.campaign,
            round=action.round,
            phase=Phase.VALIDATION,
            incumbent=incumbent.id if incumbent is not None else None,
        )
        base = f"on {incumbent.name}" if incumbent is not None else "on the baseline"
        seen = ", ".join(symptom.name for symptom in agenda.symptoms) or "none"
        words = f"round {action.round} {base}: {len(agenda.drafts)} hypotheses; symptoms: {seen}"
        tx.event(wake.campaign, "round", words, now)


def _enter(wake: Wake, action: a.Enter) -> None:
    changes: dict[str, Any] = {"phase": action.phase, "incumbent": action.incumbent}
    if action.phase is not Phase.REVEAL:
        changes["visible"] = None  # a claim belongs to the finalist it was made for
    with wake.transaction() as tx:
        tx.set_campaign(wake.campaign, **changes)
        who = f"H-{action.incumbent}" if action.incumbent is not None else "the baseline"
        text = f"{action.phase.value}: {action.why}; incumbent: {who}"
        tx.event(wake.campaign, "phase", text, wake.tools.clock())


def _set_visible(wake: Wake, action: a.SetVisible) -> None:
    claim = action.claim
    with wake.transaction() as tx:
        tx.set_campaign(wake.campaign, visible=claim)
        words = f"{claim.gain:+.2%} (95 %: {claim.ci_low:+.2%} to {claim.ci_high:+.2%}) on {claim.split}, fresh seeds"
        tx.event(wake.campaign, "confirmed", words, wake.tools.clock())


def _finish(wake: Wake, action: a.Finish) -> None:
    rows, now = wake.rows(), wake.tools.clock()
    branch = _propose(wake, rows, action) if action.verdict is Verdict.LAUNCH else None
    with wake.transaction() as tx:
        tx.set_campaign(
            wake.campaign,
            state=CampaignState.FINISHED,
            phase=Phase.DONE,
            verdict=action.verdict,
            claim=action.claim,
            reason=action.why,
            next_wake_at=None,
            ended_at=now,
        )
        tx.event(wake.campaign, "finished", f"{action.verdict.value}: {action.why}", now, branch=branch)
    wake.tools.publish(wake.campaign)


def proposal_branch(campaign: Campaign) -> str:
    return f"rea/{campaign.name}"


def _propose(wake: Wake, rows: RowsPort, action: a.Finish) -> str:
    """The proposal's branch in the codebase's repository; making it twice gives the same branch."""
    campaign = rows.campaign
    finalist = next(h for h in rows.hypotheses if h.id == campaign.incumbent)
    treatment = finalist.draft.full
    gains = f" gains {action.claim.gain:+.2%} on {action.claim.split}" if action.claim is not None else ""
    subject = f"{campaign.name}: {finalist.name}{gains}"
    body = f"{action.why}\n\nTreatment: {treatment.describe()}\nCampaign: {campaign.title}, {finalist.name}\n"
    branch = proposal_branch(campaign)
    require(Request(Actor.EXECUTOR, Effect.PROPOSE), campaign, signature_problem=_signature_problem(wake, rows))
    wake.tools.workbench.propose(campaign, treatment, branch, f"{subject}\n\n{body}")
    return branch


def _pause(wake: Wake, action: a.Pause) -> None:
    with wake.transaction() as tx:
        tx.set_campaign(
            wake.campaign, state=CampaignState.PAUSED, pause_reason=action.reason, reason=action.why, next_wake_at=None
        )
        tx.event(wake.campaign, "paused", f"{action.reason.value}: {action.why}", wake.tools.clock())


def _fail(wake: Wake, action: a.Fail) -> None:
    now = wake.tools.clock()
    with wake.transaction() as tx:
        tx.set_campaign(wake.campaign, state=CampaignState.FAILED, reason=action.why, next_wake_at=None, ended_at=now)
        tx.event(wake.campaign, "failed", "the baseline gives no result" if action.told else action.why, now)
    wake.tools.publish(wake.campaign)


def _warn(wake: Wake, action: a.Warn) -> None:
    with wake.transaction() as tx:
        if all(event.kind != action.kind for event in tx.events(wake.campaign, 0, None)):
            tx.event(wake.campaign, action.kind, action.why, wake.tools.clock())


def _conclude(wake: Wake, action: a.Conclude) -> None:
    """What an investigation found: the machine's fault is an engineer's to mend, chance is tried again, and what the
    hypothesis does itself ends it."""
    rows, now, found = wake.rows(), wake.tools.clock(), action.finding
    run = next(r for r in rows.runs if r.id == found.run)
    if run.state is not RunState.PLANNED or run.failure is None:
        return
    hypothesis = f"H-{run.draft.hypothesis}"
    with wake.transaction() as tx:
        tx.event(
            wake.campaign, "found", f"why {run.name} of {hypothesis} failed: {found.words}", now, cause=found.cause
        )
        if found.cause in (Cause.INFRASTRUCTURE, Cause.CHANCE):
            tx.set_run(run.id, not_before=now)
        else:
            kind = "C" if found.cause is Cause.HYPOTHESIS else run.failure.kind
            told = replace(run.failure, kind=kind, message=f"{run.failure.message}; {found.words}")
            tx.set_run(run.id, state=RunState.FAILED, failure=told)
        if found.cause is not Cause.UNDECIDED and run.failure.line:
            tx.learn(pattern_of(run.failure.line), found.cause.value, now)
        if found.cause is Cause.INFRASTRUCTURE:
            _hold(tx, rows.campaign, replace(run.failure, message=f"{run.name} failed, and {found.words}"), now)


def _away(wake: Wake, action: a.Away) -> None:
    campaign = wake.rows().campaign
    if (campaign.away_since is None) == (action.since is None):
        return
    options = {name: value for name, value in campaign.options.items() if name != AWAY_SINCE}
    if action.since is not None:
        options[AWAY_SINCE] = action.since
    with wake.transaction() as tx:
        tx.set_campaign(campaign.id, options=options)
        tx.event(campaign.id, "outage" if action.since is not None else "answered", action.why, wake.tools.clock())


def _sleep(wake: Wake, action: a.Sleep) -> None:
    with wake.transaction() as tx:
        tx.set_campaign(wake.campaign, next_wake_at=action.until)


def _plan(rows: RowsPort) -> Plan:
    if rows.plan is None:
        raise ReaError(f"{rows.campaign.title} has no plan", hint="`rea plan` makes one")
    return read_plan(rows.plan)


_HANDLERS: dict[type, Callable[[Wake, Any], None]] = {
    a.Submit: _submit,
    a.Resubmit: _resubmit,
    a.Cancel: _cancel,
    a.Withdraw: _withdraw,
    a.Record: _record,
    a.Add: _add,
    a.DraftPlan: _draft_plan,
    a.BeginRound: _begin_round,
    a.Enter: _enter,
    a.SetVisible: _set_visible,
    a.Finish: _finish,
    a.Pause: _pause,
    a.Fail: _fail,
    a.Warn: _warn,
    a.Away: _away,
    a.Conclude: _conclude,
    a.Sleep: _sleep,
}
