"""Applying actions: one transaction each, at most one outside effect, safe to repeat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rea.domain.errors import ReaError, ShareUsedUpError
from rea.domain.jobs import job_name
from rea.domain.run import Attempt, Failure, Run
from rea.domain.runbook import DENIED
from rea.domain.runbook import Action as RunbookAction
from rea.domain.states import (
    AttemptState,
    HypothesisState,
    Phase,
    RunState,
    is_terminal,
)
from rea.executor import actions as a
from rea.executor.course import away, enter, fail, finish, pause, set_visible, warn
from rea.executor.drafting import begin_round, draft_plan, measured, plan_of
from rea.executor.ends import struck_out
from rea.executor.logger import experiment
from rea.executor.record import conclude, record
from rea.executor.snapshot import Report
from rea.executor.tools import RowsPort, Wake
from rea.guard.policy import Actor, Effect, Request, may
from rea.planner.evidence import Evidence
from rea.planner.situation import is_news


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
    try:
        with wake.transaction() as tx:
            attempt = tx.intend_attempt(
                run.id,
                job=job_name(tools.store.uid, run.id, number),
                run_dir=str(tools.workbench.run_dir(wake.campaign, run.id, number)),
                reserve_s=action.walltime_s * rows.campaign.codebase.resources.devices,
                at=now,
                purse=action.purse,
            )
    except ShareUsedUpError:
        return  # another campaign of the team came first; the next decision is made on what it left
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
        record(wake, a.Record(attempt.id, Report("failed", failure=failure, action=RunbookAction.HOLD)))
        return
    try:
        spec = tools.workbench.job(rows.campaign, run, attempt, rows.runs, struck_out(rows.attempts))
    except ReaError as error:
        if not known:
            failure = Failure("not-implementable", "C", f"the job cannot be made: {error.message}")
            report = Report("failed", failure=failure, action=RunbookAction.FAIL_HYPOTHESIS)
            record(wake, a.Record(attempt.id, report))
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
    draft, problem = run.draft, wake.signature_problem(rows)
    effect = Effect.REVEAL if draft.phase is Phase.REVEAL else Effect.SUBMIT
    revealed = sum(r.draft.phase is Phase.REVEAL and r.state is RunState.SUCCEEDED for r in rows.runs)
    request = Request(Actor.EXECUTOR, effect, draft.treatment, draft.phase, revealed=revealed)
    ruling = may(request, rows.campaign, signature_problem=problem)
    if ruling.allowed and effect is Effect.REVEAL:
        # The split is opened once: not on rows that somebody else wrote.
        altered = wake.tools.store.altered(wake.campaign)
        return f"{altered}; `rea audit verify` lists it, `rea preflight` grants `record`" if altered else ""
    return "" if ruling.allowed else ruling.why


def _cancel(wake: Wake, action: a.Cancel) -> None:
    attempt = next(x for x in wake.rows().attempts if x.id == action.attempt)
    if attempt.state is AttemptState.ENDED:
        return
    handle = wake.tools.launcher.find(attempt.job)
    if handle is not None:
        wake.tools.launcher.cancel(handle)
        return
    report = Report("cancelled")
    record(wake, a.Record(attempt.id, report))


def _withdraw(wake: Wake, action: a.Withdraw) -> None:
    with wake.transaction() as tx:
        tx.set_run(action.run, state=RunState.CANCELLED)
        tx.event(wake.campaign, "withdrawn", f"R-{action.run}: {action.why}", wake.tools.clock())


# ---------------------------------------------------------------- the campaign's course


def _add(wake: Wake, action: a.Add) -> None:
    rows, now = wake.rows(), wake.tools.clock()
    known = {h.id: h for h in rows.hypotheses}
    evidence = Evidence(plan_of(rows), measured(rows), rows.hypotheses, rows.closed)
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
            if judgement.state is not HypothesisState.TESTING and is_news(hypothesis, judgement):
                text = f"{hypothesis.name} {judgement.state.value}: {judgement.reason}"
                tx.event(wake.campaign, "judged", text, now)
            learnt = experiment(rows.campaign, evidence, hypothesis, judgement, rows.attempts, now)
            if learnt is not None:
                tx.add_experiment(learnt)
        if action.runs:
            tx.add_runs(wake.campaign, action.runs)


def _sleep(wake: Wake, action: a.Sleep) -> None:
    with wake.transaction() as tx:
        tx.set_campaign(wake.campaign, next_wake_at=action.until)


_HANDLERS: dict[type, Callable[[Wake, Any], None]] = {
    a.Submit: _submit,
    a.Resubmit: _resubmit,
    a.Cancel: _cancel,
    a.Withdraw: _withdraw,
    a.Record: record,
    a.Add: _add,
    a.DraftPlan: draft_plan,
    a.BeginRound: begin_round,
    a.Enter: enter,
    a.SetVisible: set_visible,
    a.Finish: finish,
    a.Pause: pause,
    a.Fail: fail,
    a.Warn: warn,
    a.Away: away,
    a.Conclude: conclude,
    a.Sleep: _sleep,
}
