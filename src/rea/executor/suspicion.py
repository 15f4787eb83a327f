"""What forbids believing a result that claims success, or tells more of how a job ended than it says itself. Pure."""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rea.domain.codebase import Objective
from rea.domain.jobs import Outcome
from rea.domain.run import Reading, RunResult
from rea.domain.runbook import Signal

COIN: Final = 0.005  # of AUC around one half
TELLS: Final = 0.52  # AUC from which a baseline tells rows apart
TOO_GOOD: Final = 0.5  # share of what was left to gain, gained at one stroke
NOISES: Final = 10.0  # standard deviations of a paired gain, which such a gain must exceed as well
EXPLODED: Final = 2.0  # times the baseline's objective
IDLE_S, IDLE_SHARE = 2.0, 0.3  # seconds, and share of the run, without work
QUIET_S, QUIET_SHARE = 5.0, 0.6  # the same without a word, of one that spoke before
PACE: Final = 0.7  # of what the same training did before
SHORT: Final = 0.5  # of the memory limit, or of the machine's memory; below it nothing was short


def of_result(
    result: RunResult, paired: RunResult | None, objective: Objective, *, noise: float | None, believed: bool
) -> dict[str, str]:
    """Signals against a finished run, with words; `paired` is the baseline's result on the same seed.

    `noise` is that of one paired gain, where it is known; `believed`: an engineer has looked at its hypothesis.
    """
    found: dict[str, str] = {}
    value = result.metrics.get(objective.metric, math.nan)
    auc, theirs = result.metrics.get("auc"), None if paired is None else paired.metrics.get("auc")
    if auc is not None and abs(auc - 0.5) <= COIN and (paired is None or (theirs or 0.0) >= TELLS):
        beside = "" if theirs is None else f", the baseline's {theirs:.4f}"
        found[Signal.CONSTANT] = f"its AUC is {auc:.4f}{beside}"
    if paired is None:
        return found
    base = paired.metrics.get(objective.metric, math.nan)
    if _exploded(value, base, objective):
        found[Signal.EXPLODED] = f"its {objective.metric} is {value:.4g}, the baseline's {base:.4g}"
    share = _share_of_what_was_left(value, base, objective)
    if share is not None and share >= TOO_GOOD and not believed:
        gain = objective.gain(base, value)
        if noise is None or gain > NOISES * noise:
            words = f"{objective.metric} went from {base:.4g} to {value:.4g}, {share:.0%} of what was left to gain"
            found[Signal.TOO_GOOD] = f"{words}{_where_from(result, paired, objective)}"
    return found


def _where_from(result: RunResult, paired: RunResult, objective: Objective) -> str:
    """Where such a gain comes from, by what the training itself gained; empty where it did not tell."""
    name = f"train_{objective.metric}"
    mine, theirs = ([r.metrics[name] for r in one.curve if name in r.metrics] for one in (result, paired))
    share = _share_of_what_was_left(mine[-1], theirs[-1], objective) if mine and theirs else None
    if share is None:
        return ""
    if share >= TOO_GOOD / 2:
        return f"; {name} went to {mine[-1]:.4g} as well, so what it is trained on gives the label away"
    return f"; {name} is {mine[-1]:.4g}, so it is the rows it is judged on, or their labels, that were seen"


def of_curve(curve: Sequence[Reading], paired: RunResult | None, objective: Objective) -> dict[str, str]:
    """Whether a run that was stopped had exploded or told nothing apart, by the baseline's readings up to there."""
    if paired is None or not curve:
        return {}
    last = curve[-1]
    seen = [reading for reading in paired.curve if reading.x <= last.x and objective.metric in reading.metrics]
    if not seen:
        return {}
    value, base = last.metrics.get(objective.metric, math.nan), seen[-1].metrics[objective.metric]
    if _exploded(value, base, objective):
        return {Signal.EXPLODED: f"{objective.metric} was {value:.4g} at {last.x:g}, the baseline's {base:.4g}"}
    auc, theirs = last.metrics.get("auc"), seen[-1].metrics.get("auc", 0.0)
    if auc is not None and abs(auc - 0.5) <= COIN and theirs >= TELLS:
        return {Signal.CONSTANT: f"its AUC was {auc:.4f} at {last.x:g}, the baseline's {theirs:.4f}"}
    return {}


def _exploded(value: float, base: float, objective: Objective) -> bool:
    """Only a loss can: a metric that is to grow has a floor."""
    return objective.direction == "minimize" and base > 0 and value >= EXPLODED * base


def _share_of_what_was_left(value: float, base: float, objective: Objective) -> float | None:
    """Of the way from the baseline to perfection; None where nobody knows how far that is."""
    if not (math.isfinite(value) and math.isfinite(base)):
        return None
    if objective.direction == "minimize":
        return (base - value) / base if base > 0 else None
    return (value - base) / (1 - base) if 0 < base < 1 else None


def of_end(
    outcome: Outcome,
    exit_: Mapping[str, Any],
    *,
    readings: Sequence[float],
    known: RunResult | None,
) -> dict[str, str]:
    """What the wrapper's samples tell of a job that did not end well.

    `readings` are the places on its curve that it reached; `known` is what the same training showed another time.
    """
    if exit_.get("tampered"):
        return {Signal.TAMPERED: str(exit_["tampered"])}
    if outcome is Outcome.TIMEOUT:
        return _at_its_limit(exit_, readings, known)
    if outcome is Outcome.FAILED and exit_.get("signal") == signal.SIGKILL and exit_.get("oom_kills") == 0:
        peak, room = (float(exit_.get(name) or 0) for name in ("peak_memory_bytes", "memory_bytes"))
        if 0 < peak < SHORT * room:
            held = f"{peak / 2**20:.0f} MiB of {room / 2**20:.0f}"
            return {Signal.KILLED: f"the kernel killed nobody for memory meanwhile, and it held {held}"}
    return {}


def _at_its_limit(exit_: Mapping[str, Any], readings: Sequence[float], known: RunResult | None) -> dict[str, str]:
    wall = float(exit_.get("wall_s") or 0.0)
    idle, quiet = (float(exit_.get(name) or 0.0) for name in ("idle_s", "quiet_s"))
    if exit_.get("hung") is True:
        return {Signal.HUNG: f"for the last {min(idle, quiet):.0f} of {wall:.0f} s it used no core and wrote no word"}
    if idle >= max(IDLE_S, IDLE_SHARE * wall):
        return {Signal.HUNG: f"no process of it used a core for the last {idle:.0f} of {wall:.0f} s"}
    if len(readings) >= 2 and quiet >= max(QUIET_S, QUIET_SHARE * wall):
        return {Signal.HUNG: f"it said nothing for the last {quiet:.0f} of {wall:.0f} s"}
    if known is None or not known.curve or not readings or known.wall_s <= 0 or wall <= 0:
        return {}
    pace = (readings[-1] / wall) / (known.curve[-1].x / known.wall_s)
    if pace < PACE:
        return {Signal.SLOW: f"it went at {pace:.0%} of the pace of the same training before"}
    return {}
