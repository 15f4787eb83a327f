"""What an ended attempt amounts to: a result that counts, or a failure with what its runbook prescribes. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rea.codebase.overrides import METRICS_FILE
from rea.codebase.resolved import Agreement, judge
from rea.domain.codebase import Codebase, Scalar
from rea.domain.jobs import Observation, Outcome
from rea.domain.run import Failure, Reading, Run, RunResult
from rea.domain.runbook import DISK_FULL, Action, FailureEvidence, Runbook, Signal
from rea.domain.states import BARRED, Phase, is_terminal
from rea.executor.harvest import EVALUATE, METRICS_BYTES, TRAIN, Harvest, numbers
from rea.executor.snapshot import Report
from rea.executor.tools import RowsPort
from rea.knowledge.diagnosis import LINE_CHARACTERS, match
from rea.knowledge.expression import apply

CURVE_POINTS = 500
_FULL = "No space left on device"  # what a trainer said, or would have, had there been room for its log
DISAGREEMENT = 1e-3  # relative; more than rounding of a printed metric
ABSURD = 1e100  # of a metric: beyond it sums of squares overflow, and nothing that can be measured lies


def assess(
    run: Run,
    observation: Observation,
    found: Harvest,
    codebase: Codebase,
    values: Callable[[], Mapping[str, Scalar]],
    runbooks: Callable[[], Sequence[Runbook]],
    *,
    ended_attempts: int,
    reserved_s: float,
    paired: RunResult | None,
    rows: float | None = None,
    cancelled_here: bool = True,
) -> Report:
    """Judge one ended attempt of `run`; `cancelled_here`: where its job was cancelled, REA did that.

    `values` are the baseline's knob values, asked for, as the runbooks are, where something went wrong: most attempts
    end well, and the next waits for this one's judgement. `ended_attempts` counts this one; `paired` is the baseline's
    result on the same seed, if there is one: a treatment whose every reading equals it to the last digit did nothing.
    `rows` are those of the visible split as the evaluator counted them for the baseline, where that is known.
    """
    outcome = observation.outcome or Outcome.LOST
    exit_ = observation.exit or {}
    times = _times(observation, codebase, reserved_s)
    if outcome is Outcome.CANCELLED and cancelled_here:
        return Report(outcome.value, **times)
    stopped = exit_.get("stop") or {}
    if outcome is Outcome.STOPPED and stopped.get("reason") != "nan":
        result = _result(run, found, exit_, codebase, final=None, paired=paired)
        if result is not None:
            return Report(outcome.value, result=result, pruned=True, **times)
    signals: dict[str, str] = {}
    if outcome is Outcome.SUCCEEDED:
        if run.draft.phase is Phase.REVEAL:
            result = _revealed(found, exit_, codebase.objective.metric)
            if result is not None:
                return Report(outcome.value, result=result, **times)
            wrong = f"the evaluator printed no JSON object with a number under {codebase.objective.metric!r}"
            signals[Signal.EVALUATOR_FAILED] = f"{wrong}; {_logs(found, exit_)}"
        else:
            result, signals = _completed(run, found, exit_, codebase, paired, rows)
            if result is not None:
                return Report(outcome.value, result=result, **times)
    elif outcome is Outcome.FAILED and (exit_.get("step") or TRAIN) != TRAIN:
        if run.draft.phase is Phase.REVEAL or found.finished:
            signals[Signal.EVALUATOR_FAILED] = f"the evaluator gave no answer; {_logs(found, exit_)}"
        else:
            signals[Signal.MISSING_FINAL] = no_final(found)
    if stopped.get("reason") == "nan" or _has_nan(found, codebase):
        signals = {Signal.NAN: "a metric was NaN or infinite"}  # what an evaluator says of it is a consequence
    evidence = FailureEvidence(
        outcome=outcome.value,
        exit_code=exit_.get("exit_code"),
        signal=exit_.get("signal"),
        log_tail=f"{found.log_tail}\n{_FULL}" if exit_.get("disk_full") else found.log_tail,
        signals=frozenset(signals),
        attempts=ended_attempts,
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
    diagnosis = match(evidence, runbooks())
    line = diagnosis.line
    if line is None and Signal.EVALUATOR_FAILED in signals:
        line = _last_line(found.log_tail)
    book = diagnosis.runbook
    ended = "" if Signal.MISSING_FINAL in signals else observation.message or str(exit_.get("message", ""))
    said = "; ".join(filter(None, [*signals.values(), ended]))
    message = book.title + (f": {said}" if said else "")
    if book.name == DISK_FULL:
        message += f"; make room for {found.folder}"
    action = book.action(validation=run.draft.phase is Phase.VALIDATION)
    repeats = book.policy.repeats(ended_attempts)
    repair: Mapping[str, Scalar] = {}
    mutation = book.policy.mutation(ended_attempts) if action is Action.MUTATE else None
    if mutation is not None and run.draft.hypothesis is not None:
        now = {**values(), **run.draft.treatment.overrides}
        change = apply(mutation, codebase, now)
        repair = change.overrides if change is not None else {}
    return Report(
        outcome.value,
        failure=Failure(book.name, book.kind.value, message, line, diagnosis.why),
        action=action,
        retry=action is Action.RETRY and repeats,
        wait_s=book.policy.wait_s(ended_attempts) if action is Action.RETRY else 0.0,
        repair=repair,
        charge=book.policy.charge,
        **times,
    )


def unwanted(rows: RowsPort, run: Run) -> bool:
    """Whether nobody waits for this run any more: its campaign has ended, or an engineer ruled its hypothesis out."""
    if is_terminal(rows.campaign.state):
        return True
    return any(h.id == run.draft.hypothesis and h.state in BARRED for h in rows.hypotheses)


def _completed(
    run: Run,
    found: Harvest,
    exit_: Mapping[str, Any],
    codebase: Codebase,
    paired: RunResult | None,
    rows: float | None,
) -> tuple[RunResult | None, dict[str, str]]:
    """The result of a run that ended well, or the signals that forbid believing it."""
    metric = codebase.objective.metric
    finals = [line for line in reversed(found.lines) if line.get("final") is True]
    if not finals:
        return None, {Signal.MISSING_FINAL: no_final(found)}
    visible = codebase.objective.split
    final = next((line for line in finals if line.get("split") in (visible, None)), finals[0])
    same_split = final.get("split") in (visible, None)
    printed = numbers(final) if same_split else {}
    evaluated = numbers(found.evaluated.get(EVALUATE, {}))
    if codebase.evaluate is not None:
        if metric not in evaluated:
            lacking = _lacking(found.evaluated.get(EVALUATE), metric)
            return None, {Signal.EVALUATOR_FAILED: f"{lacking}; {_logs(found, exit_)}"}
        counted = evaluated.get("rows")
        for whose, count in (("the trainer", printed.get("rows")), ("the baseline", rows)):
            if counted is not None and count is not None and count != counted:
                return None, {Signal.ROW_COUNT: f"the evaluator judged {counted:g} rows, {whose} has {count:g}"}
        if metric in printed and not _agree(printed[metric], evaluated[metric]):
            words = f"the trainer printed {metric} = {printed[metric]:.6g}, the evaluator found {evaluated[metric]:.6g}"
            return None, {Signal.EVALUATOR_DISAGREES: words}
    elif not same_split:
        words = f"the final line is of split {final.get('split')!r}; print the one of {visible!r} as well"
        return None, {Signal.MISSING_FINAL: words}
    elif metric not in printed:
        words = f"the final line has no number {metric!r}, only {_names(final)}; print {metric!r} on it"
        return None, {Signal.MISSING_FINAL: words}
    value = evaluated.get(metric, printed.get(metric, math.nan))
    if not math.isfinite(value) or abs(value) > ABSURD:
        return None, {Signal.NAN: f"the final {metric} is {value}"}
    verification = judge(run.draft.treatment.overrides, found.resolved)
    if verification.agreement is Agreement.MISMATCH:
        return None, {Signal.RESOLVED_MISMATCH: verification.text}
    result = _result(run, found, exit_, codebase, final={**final, **found.evaluated.get(EVALUATE, {})}, paired=paired)
    if result is None:
        return None, {Signal.MISSING_FINAL: "the final line has no usable metrics"}
    # A trainer that reported the value back used it, whatever little it changed.
    if verification.agreement is not Agreement.VERIFIED and _unchanged(run, result, paired, metric):
        words = (
            f"every {metric} equals the baseline's on seed {run.draft.seed} to the last digit: the override is ignored"
        )
        return None, {Signal.RESOLVED_MISMATCH: words}
    return result, {}


def _result(
    run: Run,
    found: Harvest,
    exit_: Mapping[str, Any],
    codebase: Codebase,
    final: Mapping[str, Any] | None,
    paired: RunResult | None,
) -> RunResult | None:
    """What a run showed; of one that was stopped, as a share of the baseline's curve on the same seed."""
    objective = codebase.objective
    rows = [
        line
        for line in found.lines
        if line.get("split") in (objective.split, None) and objective.metric in line and line.get("final") is not True
    ]
    axis = "epoch" if rows and all("epoch" in row for row in rows) else "step"
    curve = [Reading(numbers(row)[axis], numbers(row)) for row in rows if axis in numbers(row)]
    if len(curve) > CURVE_POINTS:
        step = len(curve) / CURVE_POINTS
        curve = [curve[min(len(curve) - 1, int((i + 1) * step) - 1)] for i in range(CURVE_POINTS)]
    last = final if final is not None else (rows[-1] if rows else None)
    if last is None:
        return None
    fidelity = 1.0
    if final is None and run.draft.stop_limits and curve:
        fidelity = min(1.0, curve[-1].x / run.draft.stop_limits[-1][0])
    blocks = last.get("blocks")
    losses = blocks.get("loss") if isinstance(blocks, Mapping) else None
    return RunResult(
        metrics={k: v for k, v in numbers(last).items() if math.isfinite(v)},
        curve=tuple(curve),
        axis=axis,
        wall_s=float(exit_.get("wall_s") or 0.0),
        cpu_s=float(exit_.get("cpu_s") or 0.0),
        peak_memory_bytes=int(exit_.get("peak_memory_bytes") or 0),
        fidelity=fidelity,
        overrides_verified=found.resolved is not None,
        bad_lines=found.bad_lines,
        block_loss=tuple(float(v) for v in losses) if isinstance(losses, list) else (),
    )


def _revealed(found: Harvest, exit_: Mapping[str, Any], metric: str) -> RunResult | None:
    """The evaluator's lines over the sealed split; None unless each of them has the objective."""
    sealed = {name.removeprefix("reveal-"): row for name, row in found.evaluated.items() if name.startswith("reveal-")}
    values = [numbers(row).get(metric, math.nan) for row in sealed.values()]
    if not values or not all(map(math.isfinite, values)):
        return None
    return RunResult(
        metrics={},
        curve=(),
        axis="epoch",
        wall_s=float(exit_.get("wall_s") or 0.0),
        cpu_s=float(exit_.get("cpu_s") or 0.0),
        peak_memory_bytes=int(exit_.get("peak_memory_bytes") or 0),
        sealed=sealed,
    )


def no_final(found: Harvest) -> str:
    """What a metrics file holds in place of a final line, and what to do about it."""
    empty = "is not there" if found.metrics_bytes is None else "is empty"
    bad = "1 line is no JSON object" if found.bad_lines == 1 else f"{found.bad_lines} lines are no JSON objects"
    marked = next((line["final"] for line in found.lines if line.get("final") not in (None, False)), None)
    if found.lines:
        count = len(found.lines)
        held = f'holds {count} JSON {"line" if count == 1 else "lines"}, none with "final": true'
        held += f" (one has {json.dumps(marked)[:40]} there)" if marked is not None else ""
        held += f"; {bad}" if found.bad_lines else ""
    elif found.metrics_bytes:
        held = f"holds no JSON object: {bad if found.bad_lines else 'its only line is torn or blank'}"
    else:
        held = empty
    if (found.metrics_bytes or 0) > METRICS_BYTES:
        held += f"; only its first {METRICS_BYTES // 2**20} MiB are read"
    said = f"{METRICS_FILE} {held}"
    if found.strays:
        said += f", while {' and '.join(found.strays)} in the run's directory has such a line"
    return f'{said}; append one with "final": true to the file that REA_METRICS names, {found.folder / METRICS_FILE}'


def _lacking(line: Mapping[str, Any] | None, metric: str) -> str:
    if line is None:
        return "the evaluator printed no JSON object"
    return f"the evaluator printed no number {metric!r}, only {_names(line)}"


def _names(line: Mapping[str, Any]) -> str:
    return ", ".join(sorted(line)[:20])[:200] or "an empty object"


def _logs(found: Harvest, exit_: Mapping[str, Any]) -> str:
    step = exit_.get("step") or EVALUATE
    return f"see {found.folder / f'{step}.log'}, and step-{step}.jsonl beside it for its standard output"


def _last_line(log_tail: str) -> str | None:
    lines = [line.strip() for line in log_tail.splitlines() if line.strip()]
    return lines[-1][:LINE_CHARACTERS] if lines else None


def _unchanged(run: Run, result: RunResult, paired: RunResult | None, metric: str) -> bool:
    if paired is None or run.draft.treatment.empty or not result.curve:
        return False
    mine = [(r.x, r.metrics.get(metric)) for r in result.curve]
    theirs = [(r.x, r.metrics.get(metric)) for r in paired.curve]
    return mine == theirs and result.metrics.get(metric) == paired.metrics.get(metric)


def _has_nan(found: Harvest, codebase: Codebase) -> bool:
    metric = codebase.objective.metric
    return any(metric in row and not math.isfinite(numbers(row).get(metric, 0.0)) for row in found.lines)


def _agree(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=DISAGREEMENT) or (math.isnan(one) and math.isnan(other))


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
