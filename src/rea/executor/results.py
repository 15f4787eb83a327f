"""From what a run left behind to its result, or to the signals that forbid believing one. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from rea.codebase.overrides import METRICS_FILE
from rea.codebase.resolved import Agreement, judge
from rea.domain.codebase import Codebase, Objective
from rea.domain.run import Reading, Run, RunResult
from rea.domain.runbook import Signal
from rea.executor.harvest import EVALUATE, METRICS_BYTES, Harvest, numbers
from rea.knowledge.traces import LINE_CHARACTERS

CURVE_POINTS = 500
DISAGREEMENT = 1e-3  # relative; more than rounding of a printed metric
ABSURD = 1e100  # of a metric: beyond it sums of squares overflow, and nothing that can be measured lies


def completed(
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
            return None, {Signal.EVALUATOR_FAILED: f"{lacking}; {logs(found, exit_)}"}
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
    verification = judge({**run.draft.treatment.overrides, **run.adjust}, found.resolved)
    if verification.agreement is Agreement.MISMATCH:
        return None, {Signal.RESOLVED_MISMATCH: verification.text}
    result = shown(run, found, exit_, codebase, final={**final, **found.evaluated.get(EVALUATE, {})}, paired=paired)
    if result is None:
        return None, {Signal.MISSING_FINAL: "the final line has no usable metrics"}
    # A trainer that reported the value back used it, whatever little it changed.
    if verification.agreement is not Agreement.VERIFIED and _unchanged(run, result, paired, metric):
        words = (
            f"every {metric} equals the baseline's on seed {run.draft.seed} to the last digit: the override is ignored"
        )
        return None, {Signal.RESOLVED_MISMATCH: words}
    return result, {}


def shown(
    run: Run,
    found: Harvest,
    exit_: Mapping[str, Any],
    codebase: Codebase,
    final: Mapping[str, Any] | None,
    paired: RunResult | None,
) -> RunResult | None:
    """What a run showed; of one that was stopped, as a share of the baseline's curve on the same seed."""
    objective = codebase.objective
    rows = _readings(found, objective)
    axis, curve = curve_of(found, objective)
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
        silent_s=_seconds(exit_.get("silent_s")),
        evaluate_s=_evaluation_s(exit_),
    )


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _evaluation_s(exit_: Mapping[str, Any]) -> float | None:
    """How long its evaluator ran, if it had one that ended."""
    steps = exit_.get("steps")
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, Mapping) and step.get("name") == EVALUATE:
            return _seconds(step.get("wall_s"))
    return None


def _readings(found: Harvest, objective: Objective) -> list[Mapping[str, Any]]:
    return [
        line
        for line in found.lines
        if line.get("split") in (objective.split, None) and objective.metric in line and line.get("final") is not True
    ]


def curve_of(found: Harvest, objective: Objective) -> tuple[str, list[Reading]]:
    """The axis of a run's readings of the objective, and the readings in order."""
    rows = _readings(found, objective)
    axis = "epoch" if rows and all("epoch" in row for row in rows) else "step"
    return axis, [Reading(numbers(row)[axis], numbers(row)) for row in rows if axis in numbers(row)]


def revealed(found: Harvest, exit_: Mapping[str, Any], metric: str) -> RunResult | None:
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


def logs(found: Harvest, exit_: Mapping[str, Any]) -> str:
    step = exit_.get("step") or EVALUATE
    return f"see {found.folder / f'{step}.log'}, and step-{step}.jsonl beside it for its standard output"


def last_line(log_tail: str) -> str | None:
    lines = [line.strip() for line in log_tail.splitlines() if line.strip()]
    return lines[-1][:LINE_CHARACTERS] if lines else None


def _unchanged(run: Run, result: RunResult, paired: RunResult | None, metric: str) -> bool:
    if paired is None or run.draft.treatment.empty or not result.curve:
        return False
    mine = [(r.x, r.metrics.get(metric)) for r in result.curve]
    theirs = [(r.x, r.metrics.get(metric)) for r in paired.curve]
    return mine == theirs and result.metrics.get(metric) == paired.metrics.get(metric)


def has_nan(found: Harvest, codebase: Codebase) -> bool:
    metric = codebase.objective.metric
    return any(metric in row and not math.isfinite(numbers(row).get(metric, 0.0)) for row in found.lines)


def _agree(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=DISAGREEMENT) or (math.isnan(one) and math.isnan(other))
