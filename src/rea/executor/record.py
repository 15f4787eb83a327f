"""Recording the end of an attempt and what was found out about it, with all that follows. One transaction each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rea.domain.campaign import Campaign
from rea.domain.ledger import Purse
from rea.domain.moments import duration
from rea.domain.question import BELIEVE, DISMISS, OBSTACLE, QUARANTINE, RETRY, Option
from rea.domain.run import Attempt, Failure, Run
from rea.domain.runbook import TAMPERED, WHOLE
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
    is_terminal,
)
from rea.executor import actions as a
from rea.executor.ends import held, hopeless, next_state
from rea.executor.investigate import Cause
from rea.executor.snapshot import Report
from rea.executor.tools import RowsPort, TransactionPort, Wake
from rea.knowledge.lessons import pattern_of
from rea.planner.layout import RETRY_CAP, SEARCH
from rea.planner.situation import repair

ALSO = ". Another run has met: "  # between what holds a campaign and what else was met before it was resumed


def record(wake: Wake, action: a.Record) -> None:
    rows, report, now = wake.rows(), action.report, wake.tools.clock()
    attempt = next(x for x in rows.attempts if x.id == action.attempt)
    if attempt.state is AttemptState.ENDED:
        return
    run = next(r for r in rows.runs if r.id == attempt.run)
    earlier = [x for x in rows.attempts if x.run == run.id and x.id != attempt.id]
    report = held(run, report, RETRY_CAP, rows.runs, rows.attempts, rows.campaign.resumed_at)
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
            _hold(tx, rows.campaign, report.failure, now, run.draft.hypothesis)
        if report.failure is not None and report.action in _ASKED:
            _ask(tx, rows, run, report.failure, _ASKED[report.action], now)
        if report.repair and rows.campaign.phase in SEARCH and run.draft.phase in SEARCH:
            _repair(tx, rows, run.draft.hypothesis, report, now)


def _story(name: str, state: RunState, report: Report) -> tuple[str, str]:
    if report.failure is not None:
        waits = report.action is RunbookAction.HOLD
        after = "it is given up"
        if state is RunState.PLANNED:
            soon = f" in {duration(report.wait_s)}" if report.wait_s > 0 else ""
            after = "it is tried again when the campaign is resumed" if waits else f"it will be tried again{soon}"
            if report.action is RunbookAction.INVESTIGATE:
                after = "no runbook knows this: a few short trainings find out whose fault it is"
        if report.action is RunbookAction.ASK:
            after = "an engineer is asked about it, and the rest goes on"
        line = f" — {report.failure.line.strip()[:200]}" if report.failure.line else ""
        return "failure", f"{name}: {report.failure.message}{line}; {after}"
    if report.failure is None and state is RunState.FAILED:
        return "ended", f"{name} failed"
    if state is RunState.PRUNED and report.result is not None:
        seen = f"{report.result.fidelity:.0%} of the curve" if report.result.fidelity < 0.995 else "its last reading"
        return "pruned", f"{name} was stopped after {seen}: worse than the baseline"
    return "ended", f"{name} {state.value}"


def _hold(tx: TransactionPort, campaign: Campaign, failure: Failure, now: float, hypothesis: int | None = None) -> None:
    if campaign.state is CampaignState.PAUSED and failure.message not in (campaign.reason or ""):
        # Whoever mends the one thing and resumes would only be called again for the other.
        tx.set_campaign(campaign.id, reason=f"{campaign.reason}{ALSO}{failure.message}")
        tx.event(campaign.id, "paused", f"another run has met: {failure.message}", now)
    elif campaign.state is CampaignState.RUNNING:
        mend, without = f"mend it and `rea resume {campaign.title}`", ""
        if failure.runbook == TAMPERED:
            again = "lays it anew and has trained again, one by one, what was judged meanwhile"
            mend = f"`rea resume {campaign.title}` {again}"
        elif hypothesis is not None and campaign.phase in SEARCH and failure.runbook not in WHOLE:
            without = f" (or go on without it: `rea hypothesis veto H-{hypothesis}` first)"
        ways = f"{mend}{without}, or end the campaign with `rea stop {campaign.title}`"
        why = f"{failure.message}; {ways}"
        tx.set_campaign(campaign.id, state=CampaignState.PAUSED, pause_reason=PauseReason.GUARDRAIL, reason=why)
        tx.event(campaign.id, "paused", why, now)


def _count(tx: TransactionPort, earlier: Sequence[Attempt], report: Report) -> None:
    """What this attempt tells of the remedy that was tried before it."""
    last = max((x for x in earlier if x.failure is not None), key=lambda x: x.number, default=None)
    if last is not None and last.failure is not None and last.failure.remedy and last.outcome != "cancelled":
        tx.tried(last.failure.runbook, last.failure.remedy, report.result is not None)


@dataclass(frozen=True, slots=True)
class _Asked:
    """How an engineer is asked about one hypothesis: the question's kind and what stands for it in the record."""

    kind: str
    question: str
    yes: str
    leads: str
    aside: str
    event: str


_ASKED = {
    RunbookAction.QUARANTINE: _Asked(
        QUARANTINE, "Is that possible?", BELIEVE, "trained again, and its result counts", "quarantined", "quarantined"
    ),
    RunbookAction.ASK: _Asked(
        OBSTACLE, "Is that mended?", RETRY, "trained again", "it waits for an engineer", "obstacle"
    ),
}


def _ask(tx: TransactionPort, rows: RowsPort, run: Run, failure: Failure, asked: _Asked, now: float) -> None:
    """Keep a hypothesis out of everything until an engineer has looked; the rest of the campaign goes on."""
    found = next((h for h in rows.hypotheses if h.id == run.draft.hypothesis), None)
    if found is None or found.state in BARRED or is_terminal(found.state):
        return
    again_s = run.draft.predicted_s * rows.campaign.codebase.resources.devices
    options = (
        Option(DISMISS, f"{found.name} stays out; nothing is learnt from it"),
        Option(asked.yes, f"{found.name} is {asked.leads}", again_s),
    )
    line = f" — {failure.line.strip()[:200]}" if failure.line else ""
    text = f"{found.name} ({found.draft.title}), {run.name}: {failure.message}{line}. {asked.question}"
    # Of a result that is not believed one question is enough; an obstacle can come back after it was mended.
    subject = found.name if asked.kind == QUARANTINE else run.name
    question = tx.ask(rows.campaign.id, asked.kind, subject, text, options, now)
    reason = f"{asked.aside}: {failure.message}; see Q-{question} (`rea inbox`)"
    if HypothesisState.LEFT_OUT not in TRANSITIONS[HypothesisState, found.state]:
        tx.set_hypothesis(found.id, state=HypothesisState.VETOED, reason=reason)
    else:
        tx.set_hypothesis(found.id, state=HypothesisState.LEFT_OUT, reason=reason)
    tx.event(rows.campaign.id, asked.event, f"{found.name} is kept out of everything: {failure.message}", now)


def _repair(tx: TransactionPort, rows: RowsPort, hypothesis: int | None, report: Report, now: float) -> None:
    """A runbook's change to a treatment that could not be trained becomes a hypothesis of its own, once."""
    broken = next((h for h in rows.hypotheses if h.id == hypothesis), None)
    if broken is None or report.failure is None:
        return
    draft = repair(broken, report.repair, report.failure.message)
    tx.add_hypotheses(rows.campaign.id, rows.campaign.round, [draft])
    tx.event(rows.campaign.id, "repair", f"{broken.name}: {draft.treatment.describe()}", now)


def conclude(wake: Wake, action: a.Conclude) -> None:
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
