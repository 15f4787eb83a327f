"""What is wrong with a model, read from its curves and from the data profile: each symptom with its numbers.

The names are those the technique cards treat. A strength is a share between 0 (barely) and 1 (plainly).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from rea.domain.codebase import Objective
from rea.domain.data import DataField, DataProfile
from rea.domain.plan import Finding
from rea.domain.run import RunResult
from rea.domain.technique import Symptom
from rea.knowledge.units import worth_of_calibration
from rea.planner.profile import mean_metrics, series
from rea.planner.rows import split_noise

WORTH = "worth"  # among the numbers of a finding: the relative gain of mending that alone
OUTSIDE = "outside_guardrail"  # a finding that no card treats: what is broken is in its numbers
# A run that leaves room for no more than four tests in the validation makes a search short.
SLOW_FROM = 0.25
RARE_FROM, RARE_TO = 0.05, 0.5  # share of a field's train rows
STEP_SEEN = 0.75  # of the paired noise: a last step on average above it is more than the jitter of three seeds
PAIRS_FROM, PAIRS_TO = 0.001, 0.01  # share of the label's entropy, of the best few pairs together
BEST_PAIRS = 4  # as many as the cards that use them take
# The customary limit of the population stability index, 0.1 (Siddiqi, Credit Risk Scorecards, 2006), as the
# Jensen-Shannon distance in bits that belongs to it while both are small: √(0.1 / 8 / ln 2).
DRIFT_FROM, DRIFT_TO = 0.134, 0.6
NO_INFORMATION = 0.0005  # a field that explains less of the label's entropy does no harm by moving
WORST = 3  # fields named in one finding
FEWEST_READINGS = 6  # of a curve whose jitter is looked at


def diagnose(
    results: Sequence[RunResult],
    objective: Objective,
    noise: float,
    *,
    data: DataProfile | None = None,
    run_share: float | None = None,
) -> tuple[Finding, ...]:
    """The symptoms of a model trained over several seeds, strongest first.

    `noise` is the relative sd of one paired gain: nothing smaller than it is called a symptom. `data` is what the
    codebase tells about its data, `run_share` the share of a validation's budget that one run takes; what is not known
    gives no symptom.
    """
    found: list[Finding] = []
    curves = [series(result.curve, objective.metric) for result in results]
    trains = [dict(series(result.curve, f"train_{objective.metric}")) for result in results]
    usable = [(curve, train) for curve, train in zip(curves, trains, strict=True) if len(curve) >= 2]
    if usable:
        found += _of_curves(usable, objective, noise)
    found += _calibration(results, objective, data)
    found += _outside(results, objective)
    found += _noisy(results, curves, objective, noise)
    if run_share is not None:
        found += _slow(curves, objective, noise, run_share)
    if data is not None:
        found += _rare_ids(data, objective)
        found += _drift(data, objective)
        found += _pairs(data)
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
    if all(late) and step > STEP_SEEN * noise:
        found.append(
            Finding(
                "not_converged",
                _strength(step, STEP_SEEN * noise, 0.01),
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
    return [Finding(OUTSIDE, 1.0, words, {rail.metric: metrics[rail.metric] for rail in broken})]


def _calibration(results: Sequence[RunResult], objective: Objective, data: DataProfile | None) -> list[Finding]:
    values = [result.metrics["calibration"] for result in results if "calibration" in result.metrics]
    values = [value for value in values if math.isfinite(value)]
    if not values:
        return []
    off = _mean(values) - 1.0
    limit = max(0.01, 2 * math.hypot(_standard_error(values), _rate_error(data, objective)))
    if abs(off) < limit:
        return []
    words = f"predictions are {abs(off):.1%} {'above' if off > 0 else 'below'} the observed rate"
    numbers = {"calibration": 1.0 + off}
    worth = _worth(1.0 + off, results, data)
    if worth:
        words += f"; scores that are shifted to it alone would gain {worth:.2%}"
        numbers[WORTH] = worth
    return [Finding("miscalibrated", _strength(abs(off), 0.01, 0.1), words, numbers)]


def _worth(calibration: float, results: Sequence[RunResult], data: DataProfile | None) -> float:
    rate = data.positive_rate if data is not None else None
    levels = [result.metrics["ne"] for result in results if "ne" in result.metrics]
    return worth_of_calibration(calibration, rate, _mean(levels)) if rate and levels else 0.0


def _rate_error(data: DataProfile | None, objective: Objective) -> float:
    """Relative standard error of the visible split's positive rate, which no model can foresee: √((1 - p) / (p n))."""
    rows = data.rows.get(objective.split, 0) if data is not None else 0
    rate = data.positive_rate if data is not None else None
    return math.sqrt((1 - rate) / (rate * rows)) if rate and rows else 0.0


def _noisy(
    results: Sequence[RunResult], curves: Sequence[list[tuple[float, float]]], objective: Objective, noise: float
) -> list[Finding]:
    """What hides a gain: the seeds, the finite split, and a curve that jumps from reading to reading."""
    wanted = max(4 * objective.minimum_gain, 0.002)
    rows, jitter = split_noise(results, objective.metric), _jitter(curves)
    causes = [(noise, wanted, f"± {noise:.2%} of seed noise")]
    numbers = {"paired_noise": noise, "minimum_gain": objective.minimum_gain}
    if rows is not None:
        causes.append((rows, wanted, f"± {rows:.2%} for the finite split"))
        numbers["split_noise"] = rows
    if jitter is not None:
        causes.append((jitter, max(wanted, 2 * noise), f"± {jitter:.2%} of jitter from reading to reading"))
        numbers["curve_jitter"] = jitter
    large = sorted((cause for cause in causes if cause[0] > cause[1]), reverse=True)
    if not large:
        return []
    words = f"one paired gain carries {', '.join(cause[2] for cause in large)}"
    against = f"against a smallest gain worth launching of {objective.minimum_gain:.2%}"
    return [Finding("noisy_validation", _strength(large[0][0], 0.002, 0.01), f"{words}, {against}", numbers)]


def _jitter(curves: Sequence[list[tuple[float, float]]]) -> float | None:
    """Relative sd of a reading about its neighbours, over the second half of each curve; None for short curves.

    Independent jitter of variance s² gives second differences of variance 6 s²; their median absolute deviation leaves
    out the bend of the curve and single spikes, which are another symptom.
    """
    bends = []
    for curve in curves:
        values = [value for _, value in curve]
        if len(values) >= FEWEST_READINGS:
            late = range(len(values) // 2, len(values) - 1)
            bends += [(values[i - 1] - 2 * values[i] + values[i + 1]) / abs(values[i]) for i in late if values[i]]
    if not bends:
        return None
    middle = _median(bends)
    return 1.4826 * _median([abs(bend - middle) for bend in bends]) / math.sqrt(6)


def _slow(
    curves: Sequence[list[tuple[float, float]]], objective: Objective, noise: float, run_share: float
) -> list[Finding]:
    if run_share <= SLOW_FROM:
        return []
    after = [_after_best(curve, objective, noise) for curve in curves if len(curve) >= FEWEST_READINGS]
    return [_dear(run_share, _mean(after) if after and _mean(after) > 0.5 else None)]


def priced_anew(symptoms: Sequence[Finding], run_share: float | None) -> tuple[Finding, ...]:
    """The findings where a run takes another share of what the validation may spend; None where that is not known."""
    kept = tuple(one for one in symptoms if one.name != Symptom.SLOW)
    if run_share is None or run_share <= SLOW_FROM:
        return kept
    before = next((one for one in symptoms if one.name == Symptom.SLOW), None)
    return (*kept, _dear(run_share, before.numbers.get("after_best") if before is not None else None))


def _dear(run_share: float, after_best: float | None) -> Finding:
    words, numbers = f"one run takes {run_share:.0%} of what the validation may spend", {"run_share": run_share}
    if after_best is not None:
        words += f", and {after_best:.0%} of it comes after the curve is within the noise of its best"
        numbers["after_best"] = after_best
    return Finding(Symptom.SLOW.value, _strength(run_share, SLOW_FROM, 1.0), words, numbers)


def _after_best(curve: list[tuple[float, float]], objective: Objective, noise: float) -> float:
    """The share of a curve's readings that come after the first within the noise of its best."""
    values = [value for _, value in curve]
    best = min(values) if objective.direction == "minimize" else max(values)
    first = next(i for i, value in enumerate(values) if objective.gain(value, best) <= noise)
    return (len(values) - 1 - first) / len(values)


def _rare_ids(data: DataProfile, objective: Objective) -> list[Finding]:
    fields = sorted((one for one in data.categorical if one.rare_rows), key=lambda f: -(f.rare_rows or 0.0))
    shares = [(one, one.rare_rows or 0.0) for one in fields if (one.rare_rows or 0.0) > RARE_FROM]
    if not shares:
        return []
    worst, share = shares[0]
    words = f"{share:.0%} of {worst.name}'s rows carry ids seen fewer than ten times in train"
    words += _and_so(shares[1:WORST], ".0%") + _unseen(worst, objective)
    numbers = {f"rare_rows_{one.name}": value for one, value in shares[:WORST]}
    return [Finding("rare_ids", _strength(share, RARE_FROM, RARE_TO), words, numbers)]


def _drift(data: DataProfile, objective: Objective) -> list[Finding]:
    told = [one for one in data.fields if one.information is None or one.information >= NO_INFORMATION]
    moved = [(one, one.drift) for one in told if one.drift is not None and one.drift > DRIFT_FROM]
    moved.sort(key=lambda pair: (-pair[1], pair[0].name))
    if not moved:
        return []
    worst, distance = moved[0]
    words = f"from train to {objective.split} {worst.name} moves by {distance:.2f} (Jensen-Shannon distance)"
    words += _and_so(moved[1:WORST], ".2f") + _unseen(worst, objective)
    numbers = {f"drift_{one.name}": value for one, value in moved[:WORST]}
    return [Finding("drift", _strength(distance, DRIFT_FROM, DRIFT_TO), words, numbers)]


def _pairs(data: DataProfile) -> list[Finding]:
    pairs = sorted(data.pairs or (), key=lambda pair: (-pair.information, pair.fields))[:BEST_PAIRS]
    total = sum(pair.information for pair in pairs)
    if total <= PAIRS_FROM:
        return []
    named = [(" × ".join(pair.fields), pair.information) for pair in pairs]
    words = f"{named[0][0]} explains {named[0][1]:.2%} of the label's entropy beyond all single fields"
    words += "".join(f", {name} {share:.2%}" for name, share in named[1:WORST])
    numbers = {f"information_{name}": share for name, share in named[:WORST]}
    return [Finding("interacting_pairs", _strength(total, PAIRS_FROM, PAIRS_TO), words, numbers)]


def _unseen(field: DataField, objective: Objective) -> str:
    if not field.unseen_rows:
        return ""
    return f"; {field.unseen_rows:.0%} of {field.name}'s {objective.split} rows carry ids that train lacks"


def _and_so(others: Sequence[tuple[DataField, float]], form: str) -> str:
    """`, C12 55%, C21 53%`: the next fields with their figures."""
    return "".join(f", {one.name} {value:{form}}" for one, value in others)


def _median(values: Sequence[float]) -> float:
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _standard_error(values: Sequence[float]) -> float:
    """Of the mean; 0 for a single value, of which nothing is known."""
    if len(values) < 2:
        return 0.0
    mean = _mean(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _strength(value: float, low: float, high: float) -> float:
    if not math.isfinite(value) or high <= low:
        return 1.0
    return round(min(1.0, max(0.1, (value - low) / (high - low))), 3)
