"""What the end of an attempt means for its run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from rea.domain.jobs import Outcome
from rea.domain.run import Attempt, Run
from rea.domain.runbook import DISK_FULL, EVALUATOR_FAILED, TAMPERED, TIME_LIMIT, UNKNOWN, Charge, FailureClass
from rea.domain.runbook import Action as RunbookAction
from rea.domain.states import AttemptState, Phase, RunState
from rea.executor.investigate import UNDECIDED_S, begun
from rea.executor.snapshot import Report
from rea.planner.layout import SEARCH

STRIKES = 2
AGAIN_S = 60.0  # until a run is tried again in whose way something stood that may have gone by then

_DETERMINISTIC = (FailureClass.CODE, FailureClass.NUMERIC, FailureClass.DATA, FailureClass.SILENT)


def struck_out(attempts: Sequence[Attempt]) -> tuple[str, ...]:
    """Nodes on which two or more attempts met a failure that speaks against the machine: they get no further runs."""
    strikes = Counter(a.failure.node for a in attempts if a.failure is not None and a.failure.node)
    return tuple(sorted(node for node, count in strikes.items() if count >= STRIKES))


def hopeless(run: Run) -> bool:
    """Whether this run of the unchanged baseline ended as every other one would."""
    failure = run.failure
    if run.state is not RunState.FAILED or failure is None:
        return False
    return failure.kind in _DETERMINISTIC or failure.runbook == TIME_LIMIT


def next_state(run: Run, report: Report, retry_cap: int, attempts: int) -> RunState:
    """Where a run goes when an attempt of it has ended.

    Repetitions that the hypothesis pays for are capped here; those of infrastructure by their runbook and their purse.
    """
    if report.result is not None:
        return RunState.PRUNED if report.pruned else RunState.SUCCEEDED
    if report.outcome == "cancelled" and report.failure is None:
        return RunState.CANCELLED  # as REA wanted; what others cancelled is a failure with a runbook
    # Of a run that is held, every repetition is an engineer's word: no cap counts them.
    asks = report.action in (RunbookAction.HOLD, RunbookAction.INVESTIGATE)
    uncapped = report.charge is Charge.CONTINGENCY or asks
    if report.retry and (attempts < retry_cap or uncapped or report.adjust):
        return RunState.PLANNED  # an adjustment is capped by how many its runbook has
    return RunState.FAILED


def held(
    run: Run,
    report: Report,
    retry_cap: int,
    runs: Sequence[Run],
    attempts: Sequence[Attempt],
    resumed_at: float = 0.0,
) -> Report:
    """The report as it counts: where an engineer can mend what failed, the run waits for the campaign's resumption.

    So it is with an evaluator that is down, and with the reveal, which is never given up. `attempts` are those that
    were recorded before; `resumed_at` is when an engineer last had the campaign go on.
    """
    tried = 1 + sum(attempt.run == run.id and attempt.state is AttemptState.ENDED for attempt in attempts)
    if run.draft.probe:  # whatever it met, it has told what it was asked
        return replace(report, action=RunbookAction.DROP, retry=False, repair={}, adjust={})
    if _unexplained(run, report, retry_cap, runs, tried):
        return replace(report, action=RunbookAction.INVESTIGATE, retry=True, wait_s=UNDECIDED_S)
    if report.action is RunbookAction.ASK and _trained(run, runs):
        # It was in nobody's way before: it comes and goes, and may have gone.
        return replace(report, action=RunbookAction.RETRY, retry=True, wait_s=AGAIN_S)
    if report.action is RunbookAction.ASK:
        if not _of_all(run, report, runs, [a for a in attempts if (a.ended_at or 0.0) >= resumed_at]):
            return replace(report, retry=False)
        report = replace(report, action=RunbookAction.HOLD)
    given_up = run.draft.phase is Phase.REVEAL and next_state(run, report, retry_cap, tried) is RunState.FAILED
    if given_up or evaluator_is_down(run, report, runs, attempts):
        return replace(report, action=RunbookAction.HOLD, retry=True, wait_s=0.0)
    if report.failure is not None and report.action is RunbookAction.HOLD:
        # A campaign in its profile cannot be paused: where a disk is full a run waits, within the cap of tries.
        if run.draft.phase is Phase.PROFILE:
            waits = report.failure.runbook == DISK_FULL
            return replace(report, action=RunbookAction.RETRY, retry=True, wait_s=AGAIN_S) if waits else report
        # What an engineer mends is no fault of the run's. Which of the runs that were judged meanwhile has changed the
        # code that judges nobody knows: each is tried once more. Who is there again when it has changed again is out.
        before = [a.failure.runbook for a in attempts if a.run == run.id and a.failure is not None]
        return replace(report, retry=report.failure.runbook != TAMPERED or TAMPERED not in before)
    return report


def _trained(run: Run, runs: Sequence[Run]) -> bool:
    """Whether another run of the same treatment went to its end."""
    key = run.draft.treatment.key()
    return any(r.state in (RunState.SUCCEEDED, RunState.PRUNED) and r.draft.treatment.key() == key for r in runs)


def _of_all(run: Run, report: Report, runs: Sequence[Run], attempts: Sequence[Attempt]) -> bool:
    """Whether what stands in this run's way stands in others', too: in the baseline's, or in another treatment's."""
    if run.draft.phase not in SEARCH or run.draft.hypothesis is None or run.draft.treatment.empty:
        return True
    others = {r.id for r in runs if r.draft.treatment.key() != run.draft.treatment.key()}
    name = report.failure.runbook if report.failure is not None else ""
    return any(a.run in others and a.failure is not None and a.failure.runbook == name for a in attempts)


def _unexplained(run: Run, report: Report, retry_cap: int, runs: Sequence[Run], tried: int) -> bool:
    """Whether a treatment's run would be given up for a failure that no runbook knows, and nobody looked into it."""
    if report.failure is None or report.failure.runbook != UNKNOWN or run.draft.hypothesis is None:
        return False
    return next_state(run, report, retry_cap, tried) is RunState.FAILED and not begun(run, runs)


def evaluator_is_down(run: Run, report: Report, runs: Sequence[Run], attempts: Sequence[Attempt]) -> bool:
    """Whether it is the evaluator that fails, and not what this run's treatment predicts.

    So it is where the baseline meets it, which was judged before, and where the treatment judged before this one met it
    too. `attempts` are those that were recorded before.
    """
    if run.draft.phase is Phase.PROFILE or report.failure is None or report.failure.runbook != EVALUATOR_FAILED:
        return False
    if run.draft.treatment.empty:
        return True
    key = run.draft.treatment.key()
    others = {r.id for r in runs if r.draft.treatment.key() != key}
    judged = [a for a in attempts if a.run in others and (a.outcome == Outcome.SUCCEEDED or _unjudged(a))]
    return bool(judged) and _unjudged(max(judged, key=lambda a: (a.ended_at or 0.0, a.id)))


def _unjudged(attempt: Attempt) -> bool:
    return attempt.failure is not None and attempt.failure.runbook == EVALUATOR_FAILED
