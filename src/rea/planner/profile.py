"""The baseline as measured: its mean, its seed noise, its curve and what one run takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rea.domain.codebase import Objective, Resources
from rea.domain.environment import changes
from rea.domain.errors import ReaError
from rea.domain.plan import Baseline, Plan
from rea.domain.run import Reading, Run
from rea.domain.states import RunState
from rea.planner.rows import Lasting, split_noise

# Relative standard deviation of one run's metric before anything was measured, and how many observations that belief
# is worth. Seed noise of small and middle-sized click models lies between 0.05 % and 0.4 % of NE.
PRIOR_NOISE = 0.0015
PRIOR_WEIGHT = 2.0
# The same for the guardrail metrics, of which calibration is the usual one.
PRIOR_SPREAD = 0.02
DEPARTED = 3.0  # standard errors of the mean shift between trainings of the same code on the same seeds


def paired_noise(values: Sequence[float]) -> float:
    """Relative sd of one paired gain, from the baseline's metric over seeds.

    The variance of a handful of seeds is shrunk toward a prior (scaled inverse chi-squared, Gelman et al., Bayesian
    Data Analysis, 3rd ed., section 2.6); a difference of two runs has twice the variance of one.
    """
    count = len(values)
    mean = sum(values) / count
    squares = sum(((value - mean) / mean) ** 2 for value in values)
    variance = (PRIOR_WEIGHT * PRIOR_NOISE**2 + squares) / (PRIOR_WEIGHT + count - 1)
    return math.sqrt(2 * variance)


def spread(values: Sequence[float]) -> float:
    """Standard deviation over seeds of any metric, shrunk like the noise toward a prior of 2 % of its mean."""
    count, mean = len(values), sum(values) / len(values)
    squares = sum((value - mean) ** 2 for value in values)
    return math.sqrt((PRIOR_WEIGHT * (PRIOR_SPREAD * mean) ** 2 + squares) / (PRIOR_WEIGHT + count - 1))


def noise_df(baseline: Baseline) -> float:
    """Degrees of freedom behind `Baseline.noise`."""
    return PRIOR_WEIGHT + len(baseline.values) - 1


def reading_noise(baseline: Baseline) -> float:
    """Relative sd of what the first run of a treatment shows: by its seed, and by the rows of the split."""
    return math.hypot(baseline.noise / math.sqrt(2), math.sqrt(Lasting.of(baseline.split_noise or 0.0, ()).usual))


def noise_range(baseline: Baseline) -> tuple[float, float]:
    """The 80 % interval of `Baseline.noise`: that of a standard deviation by the chi-squared distribution."""
    from scipy.special import chdtri

    df = noise_df(baseline)
    low, high = (baseline.noise * math.sqrt(df / float(chdtri(df, tail))) for tail in (0.1, 0.9))
    return low, high


def measure(runs: Sequence[Run], objective: Objective, resources: Resources) -> Baseline:
    """Summarise the profile's runs. Raises ReaError when fewer than two of them succeeded."""
    done = [(r.draft.seed, r.result) for r in runs if r.state is RunState.SUCCEEDED and r.result is not None]
    if len(done) < 2:
        raise ReaError(
            f"the baseline was trained {len(done)} time(s) with success; its seed noise needs two at least",
            hint="see why with `rea logs R-…`, mend the codebase, then `rea plan` again",
        )
    done.sort(key=lambda item: item[0])
    values = tuple(result.metrics[objective.metric] for _, result in done)
    if not all(values):
        raise ReaError(
            f"{objective.metric} is 0 on a seed of the baseline: gains are shares of it, and of nothing there are none",
            hint="choose an objective that the baseline does not leave at 0",
        )
    if len(set(values)) == 1:
        raise ReaError(
            f"{objective.metric} is {values[0]!r} on every seed, to the last digit: the trainer does not use its seed",
            hint="pass {seed} on to every random generator: without seed noise no gain can be told from luck",
        )
    times = [result.wall_s for _, result in done]
    mean, run_s = sum(values) / len(values), sum(times) / len(times)
    keys = set.intersection(*(set(result.metrics) for _, result in done))
    metrics = {key: sum(result.metrics[key] for _, result in done) / len(done) for key in sorted(keys)}
    return Baseline(
        seeds=tuple(seed for seed, _ in done),
        values=values,
        mean=mean,
        sd=_sd(values),
        noise=paired_noise(values),
        metrics=metrics,
        run_s=run_s,
        run_sd_s=_sd(times),
        device_s=run_s * resources.devices,
        peak_memory_bytes=max(result.peak_memory_bytes for _, result in done),
        spread={key: spread([result.metrics[key] for _, result in done]) for key in sorted(keys)},
        split_noise=split_noise([result for _, result in done], objective.metric),
        evaluate_s=max((r.evaluate_s for _, r in done if r.evaluate_s is not None), default=None),
        epochs=sum(result.curve[-1].x if result.curve else 0.0 for _, result in done) / len(done),
    )


def _sd(values: Sequence[float]) -> float:
    """Sample standard deviation."""
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def departure(now: Plan, then: Plan) -> str | None:
    """How far the baseline is from what an earlier plan measured of the very same training, in words.

    Empty where it is as close as the same code on the same seed has to be; None where the two are not of the same
    training: another commit, another codebase or other data, or no seed that both have.
    """
    same = (now.commit, now.data_digest, now.codebase.objective) == (
        then.commit,
        then.data_digest,
        then.codebase.objective,
    )
    commands = (now.codebase.train, now.codebase.evaluate) == (then.codebase.train, then.codebase.evaluate)
    before = dict(zip(then.baseline.seeds, then.baseline.values, strict=True))
    common = [
        (seed, value) for seed, value in zip(now.baseline.seeds, now.baseline.values, strict=True) if seed in before
    ]
    if not (same and commands and common):
        return None
    shifts = [value - before[seed] for seed, value in common]
    shift, sd = sum(shifts) / len(shifts), now.baseline.noise / math.sqrt(2) * abs(now.baseline.mean)
    # Were the trainings random altogether, and not the same on one seed, a mean shift would still have this error.
    error = sd * math.sqrt(2 / len(shifts))
    if abs(shift) <= DEPARTED * error:
        return ""
    metric, seeds = now.codebase.objective.metric, f"{len(shifts)} seed{'s' if len(shifts) > 1 else ''}"
    words = f"on the same {seeds} the baseline's {metric} is {abs(shift) / now.baseline.mean:.2%} "
    words += f"{'above' if shift > 0 else 'below'} what it was in {then.campaign}, {abs(shift) / error:.1f} times what "
    words += "other seeds would explain, with the same commit, commands and data"
    if now.environment is not None and then.environment is not None:
        words += f"; installed since: {changes(then.environment, now.environment) or 'nothing else'}"
    return words


def series(curve: Sequence[Reading], metric: str) -> list[tuple[float, float]]:
    """The (x, value) pairs of one metric along a curve, ascending, finite only."""
    points = {r.x: r.metrics[metric] for r in curve if metric in r.metrics and math.isfinite(r.metrics[metric])}
    return sorted(points.items())


def best_so_far(points: Sequence[tuple[float, float]], direction: str) -> list[tuple[float, float]]:
    """The running best of a curve."""
    pick = min if direction == "minimize" else max
    out: list[tuple[float, float]] = []
    for x, value in points:
        out.append((x, value if not out else pick(value, out[-1][1])))
    return out


def stop_limits(
    curve: Sequence[Reading], objective: Objective, *, tolerance: float, start: float
) -> tuple[tuple[float, float], ...]:
    """Where a paired run is stopped: the baseline's best-so-far, plus a tolerance that narrows along the curve.

    Nothing is stopped before `start` (share of the curve) nor at its first reading, where ranks mean little, nor at its
    last one, where nothing is saved. The tolerance (relative) is three times as wide at `start` as at the end.
    """
    points = best_so_far(series(curve, objective.metric), objective.direction)
    if len(points) < 3:
        return ()
    last = points[-1][0]
    sign = 1.0 if objective.direction == "minimize" else -1.0
    limits = []
    for x, value in points[1:-1]:
        share = x / last if last else 1.0
        if share >= start:
            widen = 1.0 + 2.0 * (1.0 - share) / max(1.0 - start, 1e-9)
            limits.append((x, value + sign * tolerance * widen * abs(value)))
    return tuple(limits)


def mean_metrics(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means of the metrics every row has."""
    if not rows:
        return {}
    keys = set.intersection(*(set(row) for row in rows))
    return {key: sum(row[key] for row in rows) / len(rows) for key in sorted(keys)}
