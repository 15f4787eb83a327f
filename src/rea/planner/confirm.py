"""The claim: the finalist's gain over fresh paired seeds, with an interval that pays for seeds and for rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rea.domain.claim import Claim
from rea.domain.codebase import Objective
from rea.domain.plan import Baseline
from rea.planner.profile import mean_metrics
from rea.planner.rows import ROW_LOSS_METRICS, row_error


def make_claim(
    split: str,
    objective: Objective,
    baseline: Baseline,
    control: Mapping[int, Mapping[str, object]],
    treated: Mapping[int, Mapping[str, object]],
) -> Claim | None:
    """Compare evaluator lines (by seed) of the baseline and the finalist; None without a shared seed.

    Training noise: see `_seed_error`; no prior has a part in it, so that the interval is what it says. Rows:
    delete-one-block jackknife of the ratio of summed losses (Efron & Stein 1981), where the evaluator prints `blocks`.
    What seeds do to blocks is in both, which errs on the wide side. The interval is Student's t with
    Welch–Satterthwaite degrees of freedom.
    """
    seeds = sorted(set(control) & set(treated))
    if not seeds:
        return None
    metric = objective.metric
    base = [_number(control[s][metric]) for s in seeds]
    mine = [_number(treated[s][metric]) for s in seeds]
    gains = [objective.gain(b, m) for b, m in zip(base, mine, strict=True)]
    gain = sum(gains) / len(gains)
    se_seeds, df_seeds = _seed_error(baseline.values, gains)
    rows = _row_error([control[s] for s in seeds], [treated[s] for s in seeds]) if metric in ROW_LOSS_METRICS else None
    se_rows, blocks = rows if rows is not None else (None, 0)
    se = math.hypot(se_seeds, se_rows or 0.0)
    df = float(df_seeds)
    if se_rows and se > 0:
        df = se**4 / (se_seeds**4 / df_seeds + se_rows**4 / (blocks - 1))
    half = t_quantile(0.975, df) * se
    metrics_base = mean_metrics([_numbers(control[s]) for s in seeds])
    metrics_mine = mean_metrics([_numbers(treated[s]) for s in seeds])
    floor = metrics_base.get(f"irreducible_{metric}")
    mean_base, mean_mine = sum(base) / len(base), sum(mine) / len(mine)
    closed = None
    if floor is not None and mean_base != floor:
        closed = (mean_base - mean_mine) / (mean_base - floor)
    return Claim(
        split=split,
        metric=metric,
        gain=gain,
        ci_low=gain - half,
        ci_high=gain + half,
        seeds=tuple(seeds),
        gains=tuple(gains),
        baseline_values=tuple(base),
        treated_values=tuple(mine),
        se_seeds=se_seeds,
        se_rows=se_rows,
        df=df,
        baseline_metrics=metrics_base,
        treated_metrics=metrics_mine,
        guardrails_hold=all(rail.holds(metrics_mine) for rail in objective.guardrails),
        floor=floor,
        gap_closed=closed,
    )


def worth_revealing(claim: Claim, minimum_gain: float) -> bool:
    """Whether the visible split's confirmation justifies opening the sealed split."""
    return claim.guardrails_hold and claim.gain >= minimum_gain and claim.ci_low > 0


def leaked(visible: Claim, sealed: Claim) -> bool:
    """Whether the sealed split gains so much more than the visible one that its labels must have been seen.

    Both are of the same models, so the gains are nearly the same; here their 95 % intervals lie apart, and the sealed
    gain is more than twice the visible one.
    """
    return sealed.ci_low > visible.ci_high and sealed.gain > 2 * max(visible.gain, 0.0)


def worth_launching(claim: Claim, minimum_gain: float) -> bool:
    """Whether the sealed split's claim is a launch: interval above zero, mean above the smallest gain, rails kept."""
    return worth_revealing(claim, minimum_gain)


def t_quantile(probability: float, df: float) -> float:
    """Quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(df, probability))


def _seed_error(profile: Sequence[float], gains: Sequence[float]) -> tuple[float, int]:
    """Standard error over seeds of the mean gain, and its degrees of freedom.

    The variance of a paired gain is pooled from the pairs' own and from the profile, where a difference of two runs has
    twice the variance of one.
    """
    level = sum(profile) / len(profile)
    mean = sum(gains) / len(gains)
    squares = 2 * sum((value / level - 1) ** 2 for value in profile) + sum((gain - mean) ** 2 for gain in gains)
    df = len(profile) - 1 + len(gains) - 1
    return math.sqrt(squares / df / len(gains)), df


def _row_error(
    control: Sequence[Mapping[str, object]], treated: Sequence[Mapping[str, object]]
) -> tuple[float, int] | None:
    base, mine = _summed_blocks(control), _summed_blocks(treated)
    if base is None or mine is None:
        return None
    error = row_error(base, mine)
    return (error, len(base)) if error is not None else None


def _summed_blocks(lines: Sequence[Mapping[str, object]]) -> list[float] | None:
    columns: list[list[float]] = []
    for line in lines:
        blocks = line.get("blocks")
        losses = blocks.get("loss") if isinstance(blocks, Mapping) else None
        if not isinstance(losses, list | tuple):
            return None
        columns.append([_number(value) for value in losses])
    if len({len(column) for column in columns}) != 1:
        return None
    return [sum(values) for values in zip(*columns, strict=True)]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _numbers(line: Mapping[str, object]) -> dict[str, float]:
    return {k: float(v) for k, v in line.items() if isinstance(v, int | float) and not isinstance(v, bool)}
