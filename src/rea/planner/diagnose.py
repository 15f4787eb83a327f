"""What is wrong with a model, read from its curves: each symptom with its numbers.

The names are those the technique cards treat. A strength is a share between 0 (barely) and 1 (plainly).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from rea.domain.codebase import Objective
from rea.domain.plan import Finding
from rea.domain.run import RunResult
from rea.planner.profile import mean_metrics, series


def diagnose(results: Sequence[RunResult], objective: Objective, noise: float) -> tuple[Finding, ...]:
    """The symptoms of a model trained over several seeds, strongest first.

    `noise` is the relative sd of one paired gain: nothing smaller than it is called a symptom.
    """
    found: list[Finding] = []
    curves = [series(result.curve, objective.metric) for result in results]
    trains = [dict(series(result.curve, f"train_{objective.metric}")) for result in results]
    usable = [(curve, train) for curve, train in zip(curves, trains, strict=True) if len(curve) >= 2]
    if usable:
        found += _of_curves(usable, objective, noise)
    found += _calibration(results)
    found += _outside(results, objective)
    if noise > max(4 * objective.minimum_gain, 0.002):
        found.append(
            Finding(
                "noisy_validation",
                _strength(noise, 0.002, 0.01),
                f"one paired gain carries ± {noise:.2%} of seed noise, against a smallest gain worth launching of "
                f"{objective.minimum_gain:.2%}",
                {"paired_noise": noise, "minimum_gain": objective.minimum_gain},
            )
        )
    merged: dict[str, Finding] = {}
    for symptom in found:
        if symptom.name not in merged or symptom.strength > merged[symptom.name].strength:
            merged[symptom.name] = symptom
    return tuple(sorted(merged.values(), key=lambda s: (-s.strength, s.name)))


def _of_curves(
    usable: Sequence[tuple[list[tuple[float, float]], Mapping[float, float]]], objective: Objective, noise: float
) -> list[Finding]:
    better = min if objective.direction == "minimize" else max
    late, after_best, last_step, spikes, gaps, growth, best_at = [], [], [], [], [], [], []
    for curve, train in usable:
        values = [value for _, value in curve]
        best = better(values)
        at = values.index(best)
        best_at.append((at + 1) / len(values))
        late.append(at == len(values) - 1)
        after_best.append(-objective.gain(best, values[-1]))
        last_step.append(objective.gain(values[-2], values[-1]))
        spikes.append(sum(max(0.0, -objective.gain(a, b)) for a, b in itertools.pairwise(values[: at + 1])))
        if curve[at][0] in train and curve[0][0] in train:
            behind = {x: -objective.gain(train[x], value) for x, value in curve if x in train}
            gaps.append(behind[curve[at][0]])
            last = max(behind)
            growth.append(behind[last] - behind[min(behind)])
    found: list[Finding] = []
    first_best = sum(share <= 1 / len(curve) + 1e-9 for share, (curve, _) in zip(best_at, usable, strict=True))
    loss_after, step, spike = _mean(after_best), _mean(last_step), _mean(spikes)
    if first_best > len(usable) / 2 and loss_after > noise:
        found.append(
            Finding(
                "one_epoch_overfit",
                _strength(loss_after, noise, 0.02),
                f"the first reading is the best one; {objective.metric} is {loss_after:.2%} worse at the end",
                {"loss_after_best": loss_after},
            )
        )
    if all(late) and step > noise / 2:
        found.append(
            Finding(
                "not_converged",
                _strength(step, noise / 2, 0.01),
                f"the last reading is still the best one and the last step alone gained {step:.2%}",
                {"last_step_gain": step},
            )
        )
    if gaps:
        gap, grown = _mean(gaps), _mean(growth)
        if grown > max(5 * noise, 0.01):
            found.append(
                Finding(
                    "widening_gap",
                    _strength(grown, 0.01, 0.15),
                    f"the gap between training and validation grows by {grown:.1%} of {objective.metric} over the run"
                    f" ({gap:.1%} at the best reading)",
                    {"gap_at_best": gap, "gap_growth": grown},
                )
            )
        elif gap < 0.01:
            found.append(
                Finding(
                    "underfit",
                    _strength(0.012 - gap, 0.0, 0.02),
                    f"validation is within {gap:.2%} of training at the best reading: there is room for capacity",
                    {"gap_at_best": gap},
                )
            )
    if spike > max(2 * noise, 0.002):
        found.append(
            Finding(
                "unstable",
                _strength(spike, 0.002, 0.02),
                f"on the way to its best the validation curve lost {spike:.2%} in spikes",
                {"spikes": spike},
            )
        )
    return found


def _outside(results: Sequence[RunResult], objective: Objective) -> list[Finding]:
    """The guardrails that the model itself breaks: whatever is built on it must mend that to be launched."""
    metrics = mean_metrics([result.metrics for result in results])
    broken = [rail for rail in objective.guardrails if rail.metric in metrics and not rail.holds(metrics)]
    if not broken:
        return []
    told = ", ".join(rail.told(metrics) for rail in broken)
    words = f"the model itself breaks a guardrail ({told}): nothing is launched that does not mend that"
    return [Finding("outside_guardrail", 1.0, words, {rail.metric: metrics[rail.metric] for rail in broken})]


def _calibration(results: Sequence[RunResult]) -> list[Finding]:
    values = [result.metrics["calibration"] for result in results if "calibration" in result.metrics]
    if not values:
        return []
    off = _mean(values) - 1.0
    if abs(off) < 0.01:
        return []
    word = "above" if off > 0 else "below"
    return [
        Finding(
            "miscalibrated",
            _strength(abs(off), 0.01, 0.1),
            f"predictions are {abs(off):.1%} {word} the observed rate",
            {"calibration": 1.0 + off},
        )
    ]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _strength(value: float, low: float, high: float) -> float:
    if not math.isfinite(value) or high <= low:
        return 1.0
    return round(min(1.0, max(0.1, (value - low) / (high - low))), 3)
