"""What an ended attempt amounts to: a result that counts, or a failure with what its runbook prescribes. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rea.domain.codebase import Codebase, Scalar
from rea.domain.jobs import Observation, Outcome
from rea.domain.lesson import Lesson
from rea.domain.run import Failure, Run, RunResult
from rea.domain.runbook import (
    CHECKPOINT_MISMATCH,
    DISK_FULL,
    LEARNT,
    UNKNOWN,
    Action,
    Charge,
    Diagnosis,
    FailureClass,
    FailureEvidence,
    Policy,
    Runbook,
    Signal,
)
from rea.domain.states import BARRED, Phase, is_terminal
from rea.executor import results, suspicion
from rea.executor.checkpoints import GOES_ON
from rea.executor.harvest import TRAIN, Harvest
from rea.executor.investigate import Cause
from rea.executor.remedies import Remedies, adjustment, mutation, told
from rea.executor.snapshot import Report
from rea.executor.tools import RowsPort
from rea.guard.redact import redact
from rea.knowledge.diagnosis import match
from rea.knowledge.lessons import pattern_of

# What is done about a failure whose cause earlier investigations found, and in which words.
_TRUSTED: Mapping[str, tuple[FailureClass, Policy, str]] = {
    Cause.HYPOTHESIS: (FailureClass.CODE, Policy(Action.FAIL_HYPOTHESIS), "the treatment was at fault"),
    Cause.INFRASTRUCTURE: (
        FailureClass.TRANSIENT,
        Policy(Action.RETRY, max=3, backoff_s=(60.0, 300.0, 900.0), charge=Charge.CONTINGENCY),
        "machine, environment or data were at fault",
    ),
    Cause.CHANCE: (FailureClass.TRANSIENT, Policy(Action.RETRY, max=2), "it was chance"),
}
_FULL_AT = re.compile(r"No space left on device: '([^']{1,300})'")
_FULL = "No space left on device"  # what a trainer said, or would have, had there been room for its log


@dataclass(frozen=True, slots=True)
class Around:
    """What is known beside what the attempt left.

    `ended_attempts` counts this one; `earlier` are the runbooks of those before it; `paired` is the baseline's result
    on the same seed, `own` what the same training showed another time; `rows` are those of the visible split as the
    evaluator counted them for the baseline. `cancelled_here`: where its job was cancelled, REA did that. `noise` is of
    one paired gain; `believed`: an engineer has looked at its hypothesis; `repairs` counts the runbooks' changes that
    its hypothesis has behind it. `against` are signals of the places it was judged in;
    `secrets` are words that nothing may repeat; `lessons` what investigations have found, by pattern. `before_s` are
    the seconds of training in the checkpoint that it went on from.
    """

    ended_attempts: int
    reserved_s: float
    paired: RunResult | None = None
    own: RunResult | None = None
    rows: float | None = None
    cancelled_here: bool = True
    earlier: tuple[str, ...] = ()
    noise: float | None = None
    believed: bool = False
    repairs: int = 0
    against: Mapping[str, str] = field(default_factory=dict)
    remedies: Remedies = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    lessons: Callable[[], Mapping[str, Lesson]] = dict
    before_s: float = 0.0


def assess(
    run: Run,
    observation: Observation,
    found: Harvest,
    codebase: Codebase,
    values: Callable[[], Mapping[str, Scalar]],
    runbooks: Callable[[], Sequence[Runbook]],
    around: Around,
) -> Report:
    """Judge one ended attempt of `run`.

    `values` are the baseline's knob values, asked for, as the runbooks are, where something went wrong: most attempts
    end well, and the next waits for this one's judgement. A treatment whose every reading equals the baseline's to the
    last digit did nothing.
    """
    outcome = observation.outcome or Outcome.LOST
    exit_ = observation.exit or {}
    times = _times(observation, codebase, around.reserved_s)
    if outcome is Outcome.CANCELLED and around.cancelled_here:
        return Report(outcome.value, **times)
    result, signals, pruned = _looked_at(run, outcome, exit_, found, codebase, around)
    if result is not None and not signals:
        # What a training takes is what plans and limits are made of: the whole of it, however it was broken off.
        result = replace(result, wall_s=result.wall_s + around.before_s)
        return Report(outcome.value, result=result, pruned=pruned, **times)
    evidence, diagnosis = _diagnosed(outcome, exit_, found, signals, around, runbooks())
    diagnosis = _taught(diagnosis, around)
    book = diagnosis.runbook
    line = diagnosis.line
    if line is None and Signal.EVALUATOR_FAILED in signals:
        line = results.last_line(found.log_tail)
    message = _message(book, observation, exit_, signals, found, line)
    action = book.action(validation=run.draft.phase is Phase.VALIDATION)
    met = evidence.earlier.count(book.name)  # how often this run met it before

    def now() -> dict[str, Scalar]:
        return {**values(), **run.draft.treatment.overrides}

    adjust: Mapping[str, Scalar] | None = None
    if book.policy.adjust and action is not Action.DROP:
        adjust = adjustment(book, met, codebase, now(), around.remedies)
    repair: Mapping[str, Scalar] = {}
    if adjust is None and action is Action.MUTATE and run.draft.hypothesis is not None:
        repair = mutation(book, around.repairs, codebase, now(), around.remedies) or {}
    # A run comes to a checkpoint of another model by an earlier failure, whose repetitions are no tries of its own.
    tries = 1 + met if book.name == CHECKPOINT_MISMATCH else around.ended_attempts
    retry = adjust is not None or (action is Action.RETRY and book.policy.repeats(tries))
    failure = Failure(
        book.name,
        book.kind.value,
        redact(message, around.secrets),
        None if line is None else redact(line, around.secrets),
        redact(diagnosis.why, around.secrets),
        chain=diagnosis.chain,
        node=str(exit_.get("host") or "") if book.policy.cordon else "",
        remedy=told(adjust) if adjust is not None else _remedy(book, action, retry=retry),
    )
    return Report(
        outcome.value,
        failure=failure,
        action=Action.RETRY if adjust is not None else action,
        retry=retry,
        wait_s=book.policy.wait_s(around.ended_attempts) if action is Action.RETRY else 0.0,
        repair=repair,
        adjust=adjust or {},
        charge=book.policy.charge,
        **times,
    )


def unwanted(rows: RowsPort, run: Run) -> bool:
    """Whether nobody waits for this run any more: its campaign has ended, or an engineer ruled its hypothesis out."""
    if is_terminal(rows.campaign.state):
        return True
    return any(h.id == run.draft.hypothesis and h.state in BARRED for h in rows.hypotheses)


def _looked_at(
    run: Run, outcome: Outcome, exit_: Mapping[str, Any], found: Harvest, codebase: Codebase, around: Around
) -> tuple[RunResult | None, dict[str, str], bool]:
    """The result, if the attempt has one, the signals against believing in it, and whether it was pruned."""
    objective, stopped = codebase.objective, exit_.get("stop") or {}
    signals: dict[str, str] = {}
    result: RunResult | None = None
    pruned = outcome is Outcome.STOPPED and stopped.get("reason") != "nan"
    if pruned:
        result = results.shown(run, found, exit_, codebase, final=None, paired=around.paired)
        if result is not None:
            signals = suspicion.of_curve(result.curve, around.paired, objective)
    elif outcome is Outcome.SUCCEEDED and run.draft.phase is Phase.REVEAL:
        result = results.revealed(found, exit_, objective.metric)
        if result is None:
            wrong = f"the evaluator printed no JSON object with a number under {objective.metric!r}"
            signals[Signal.EVALUATOR_FAILED] = f"{wrong}; {results.logs(found, exit_)}"
    elif outcome is Outcome.SUCCEEDED:
        result, signals = results.completed(run, found, exit_, codebase, around.paired, around.rows)
        if result is not None and not run.draft.smoke:  # a few batches may tell rows apart no better than chance
            paired = around.paired if not run.draft.treatment.empty else None
            signals = suspicion.of_result(result, paired, objective, noise=around.noise, believed=around.believed)
            if Signal.TOO_GOOD in signals and codebase.evaluate is not None:
                signals[Signal.TOO_GOOD] += (
                    "; the evaluator is as committed, and judged the rows it judges of the baseline"
                )
    elif outcome is Outcome.FAILED and (exit_.get("step") or TRAIN) != TRAIN and not exit_.get("tampered"):
        if run.draft.phase is Phase.REVEAL or found.finished:
            signals[Signal.EVALUATOR_FAILED] = f"the evaluator gave no answer; {results.logs(found, exit_)}"
        else:
            signals[Signal.MISSING_FINAL] = results.no_final(found)
    if result is None:
        curve = results.curve_of(found, objective)
        readings = [reading.x for reading in curve[1]]
        signals |= suspicion.of_end(outcome, exit_, readings=readings, known=around.own)
    if stopped.get("reason") == "nan" or results.has_nan(found, codebase):
        # What an evaluator says of it is a consequence.
        result, signals = None, {Signal.NAN: "a metric was NaN or infinite"}
    return result, {**signals, **around.against}, pruned and result is not None


def _diagnosed(
    outcome: Outcome,
    exit_: Mapping[str, Any],
    found: Harvest,
    signals: Mapping[str, str],
    around: Around,
    runbooks: Sequence[Runbook],
) -> tuple[FailureEvidence, Diagnosis]:
    evidence = FailureEvidence(
        outcome=outcome.value,
        exit_code=exit_.get("exit_code"),
        signal=exit_.get("signal"),
        log_tail=f"{found.log_tail}\n{_FULL}" if exit_.get("disk_full") else found.log_tail,
        signals=frozenset(signals),
        attempts=around.ended_attempts,
        earlier=around.earlier,
    )
    if Signal.MISSING_FINAL in signals:
        # The trainer did not get to its end and said that all was well: an evaluator's failure is a consequence.
        evidence = replace(
            evidence,
            outcome=Outcome.SUCCEEDED.value,
            exit_code=None,
            signal=None,
            log_tail=f"{found.trainer_tail}\n{_FULL}" if exit_.get("disk_full") else found.trainer_tail,
        )
    return evidence, match(evidence, runbooks)


def _taught(diagnosis: Diagnosis, around: Around) -> Diagnosis:
    """A failure that no runbook knows, with what earlier investigations of the same line came to, where that is
    trusted: what the treatment does itself is not tried again, what the machine does waits for it to get well."""
    if diagnosis.runbook.name != UNKNOWN or diagnosis.line is None:
        return diagnosis
    lesson = around.lessons().get(pattern_of(diagnosis.line))
    if lesson is None or lesson.cause is None or lesson.cause not in _TRUSTED:
        return diagnosis
    kind, policy, fault = _TRUSTED[lesson.cause]
    book = replace(diagnosis.runbook, name=LEARNT, title="It has failed so before", kind=kind, policy=policy)
    words = f"{lesson.causes[lesson.cause]} investigations of {lesson.pattern!r} found that {fault}"
    return replace(diagnosis, runbook=book, why=f"{book.title}: {words}")


def _message(
    book: Runbook,
    observation: Observation,
    exit_: Mapping[str, Any],
    signals: Mapping[str, str],
    found: Harvest,
    line: str | None,
) -> str:
    # That it ended well is no news beside what speaks against its result, and how, not beside who ended it.
    well = not signals.keys().isdisjoint((Signal.MISSING_FINAL, Signal.KILLED, Signal.TAMPERED)) or (
        bool(signals) and observation.outcome is Outcome.SUCCEEDED
    )
    ended = "" if well else observation.message or str(exit_.get("message", ""))
    said = "; ".join(filter(None, [*signals.values(), ended]))
    message = book.title + (f": {said}" if said else "")
    if book.name != DISK_FULL:
        return message
    named = _FULL_AT.search(line or "")
    return f"{message}; make room for {named[1] if named else found.folder}"


def _remedy(book: Runbook, action: Action, *, retry: bool) -> str:
    """What is done about it, in a word to count by; empty where nothing is tried."""
    if book.policy.resume and (retry or action is Action.HOLD):
        return GOES_ON
    return "retry" if retry else ""


def _times(observation: Observation, codebase: Codebase, reserved_s: float) -> dict[str, Any]:
    exit_ = observation.exit or {}
    devices = codebase.resources.devices
    wall = exit_.get("wall_s")
    started, ended = observation.started_at, observation.ended_at
    if wall is None and started is not None and ended is not None:
        wall = max(0.0, ended - started)
    # Nothing is known of how long a lost job ran: its whole reservation counts as used.
    device_s = reserved_s if wall is None and started is not None else float(wall or 0.0) * devices
    return {"device_s": device_s, "started_at": started, "ended_at": ended}
