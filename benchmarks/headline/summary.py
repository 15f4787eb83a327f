"""From verdicts to the headline: mean gains, ratios, head-room. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.headline.rea_arm import BUDGET_RUNS, COLD, WARM, runs_of
from benchmarks.headline.verdict import LONG_SEARCH, POOLED, Verdict

Z = 1.96  # of a two-sided 95 % interval


@dataclass(frozen=True, slots=True)
class Cell:
    """One arm on one task: the mean over its search seeds. low: of its 95 % interval."""

    gain: float
    se: float

    @property
    def low(self) -> float:
        return self.gain - Z * self.se


@dataclass(frozen=True, slots=True)
class Cheaper:
    """A warm REA under a smaller budget beside a cold one under the whole, over the tasks that both have.

    budget, compute: what it was given and what it took, as shares of the cold one's. difference, se: of the mean gains.
    """

    tasks: tuple[str, ...]
    budget: float
    compute: float
    mean: float
    cold: float
    difference: float
    se: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """A REA arm beside the best other arm, over the tasks that both have.

    floor: twice the standard error of the best other arm's mean gain; no smaller gain is divided by.
    """

    tasks: tuple[str, ...]
    mean: float
    best_other: str
    best_other_mean: float
    floor: float
    ratio: float


def cells(verdicts: Sequence[Verdict]) -> dict[str, dict[str, Cell]]:
    """arm -> task -> mean over search seeds. Seeds of a search share their baseline's runs and the sealed rows, so the
    standard error of their mean is taken as that of one, not divided by their number.
    """
    groups: dict[str, dict[str, list[Verdict]]] = {}
    for verdict in verdicts:
        groups.setdefault(verdict.arm, {}).setdefault(verdict.task, []).append(verdict)
    return {
        arm: {
            task: Cell(
                statistics.fmean(one.gain.gain for one in many),
                math.sqrt(statistics.fmean(one.gain.se**2 for one in many)),
            )
            for task, many in tasks.items()
        }
        for arm, tasks in groups.items()
    }


def mean_over(tasks: Mapping[str, Cell], names: Collection[str]) -> Cell:
    """The mean over these tasks; their errors are independent, being of different rows and seeds."""
    chosen = [tasks[name] for name in names]
    se = math.sqrt(sum(cell.se**2 for cell in chosen)) / len(chosen)
    return Cell(statistics.fmean(cell.gain for cell in chosen), se)


def rivals(table: Mapping[str, Mapping[str, Cell]]) -> dict[str, Mapping[str, Cell]]:
    """The arms that are neither REA's nor the pool."""
    return {arm: tasks for arm, tasks in table.items() if not arm.startswith("rea-") and arm != POOLED}


def ratio(table: Mapping[str, Mapping[str, Cell]], arm: str, only: Collection[str] | None = None) -> Ratio | None:
    """`arm` beside the best other one over the tasks (of `only`, where given) that it has.

    A rival takes part where it has all these tasks. None where nothing can be compared.
    """
    own = table.get(arm, {})
    names = tuple(sorted(name for name in own if only is None or name in only))
    able = {name: tasks for name, tasks in rivals(table).items() if names and set(names) <= set(tasks)}
    if not able:
        return None
    means = {name: mean_over(tasks, names) for name, tasks in able.items()}
    best = max(means, key=lambda name: means[name].gain)
    floor = 2 * means[best].se
    mean = mean_over(own, names).gain
    below = max(means[best].gain, floor)
    return Ratio(names, mean, best, means[best].gain, floor, mean / below if below > 0 else math.nan)


def not_worse(table: Mapping[str, Mapping[str, Cell]], arm: str) -> dict[str, bool]:
    """By task: whether `arm` is not worse than the best other arm by more than the noise of their difference."""
    found = {}
    for task, own in table.get(arm, {}).items():
        there = [tasks[task] for tasks in rivals(table).values() if task in tasks]
        if there:
            best = max(there, key=lambda cell: cell.gain)
            found[task] = own.gain >= best.gain - Z * math.hypot(own.se, best.se)
    return found


def cheaper(table: Mapping[str, Mapping[str, Cell]], verdicts: Sequence[Verdict], arm: str) -> Cheaper | None:
    """`arm` beside the cold REA; None where they have no task in common."""
    own, cold = table.get(arm, {}), table.get(COLD, {})
    names = tuple(sorted(own.keys() & cold.keys()))
    if not names:
        return None
    mine, theirs = mean_over(own, names), mean_over(cold, names)

    def taken(arm: str) -> float:
        shares = [v.spent_share for v in verdicts if v.arm == arm and v.task in names and v.spent_share is not None]
        return runs_of(arm) * statistics.fmean(shares)

    return Cheaper(
        tasks=names,
        budget=runs_of(arm) / BUDGET_RUNS,
        compute=taken(arm) / taken(COLD),
        mean=mine.gain,
        cold=theirs.gain,
        difference=mine.gain - theirs.gain,
        se=math.hypot(mine.se, theirs.se),
    )


def summarise(verdicts: Sequence[Verdict], expected: Collection[tuple[str, str]]) -> dict[str, Any]:
    """Everything the report shows. expected: the (task, arm) pairs of a full benchmark; those without a verdict are
    listed as missing.
    """
    table = cells(verdicts)
    tasks = sorted({verdict.task for verdict in verdicts})
    arms: dict[str, Any] = {}
    for arm, own in table.items():
        mine = [verdict for verdict in verdicts if verdict.arm == arm]
        mean = mean_over(own, own)
        arms[arm] = {
            "tasks": len(own),
            "mean_gain": mean.gain,
            "se": mean.se,
            "mean_curse": _mean(one.curse for one in mine),
            "mean_area": _mean(one.area for one in mine),
            "mean_inference": _mean(one.inference for one in mine),
            "mean_auc_gain": _mean(one.auc_gain for one in mine),
        }
    headroom = _headroom(verdicts, table)
    result: dict[str, Any] = {
        "tasks": tasks,
        "arms": arms,
        "by_task": {arm: {task: asdict(cell) for task, cell in own.items()} for arm, own in table.items()},
        "headroom": headroom,
        "missing": sorted(f"{task} {arm}" for task, arm in expected if task not in table.get(arm, {})),
    }
    smaller = [arm for arm in table if arm.startswith(WARM) and runs_of(arm) < BUDGET_RUNS]
    result["warm_for_less"] = {arm: asdict(one) for arm in smaller if (one := cheaper(table, verdicts, arm))}
    for label, arm in (("cold", COLD), ("warm", WARM)):
        found = ratio(table, arm)
        result[f"ratio_{label}"] = asdict(found) if found is not None else None
        sure = {task for task, cell in table.get(arm, {}).items() if cell.low > 0}
        found = ratio(table, arm, sure)
        result[f"ratio_{label}_where_sure"] = asdict(found) if found is not None else None
        result[f"tasks_not_worse_{label}"] = not_worse(table, arm)
    return result


def _headroom(verdicts: Sequence[Verdict], table: Mapping[str, Mapping[str, Cell]]) -> dict[str, Any]:
    """By task: what the best of all runs together reached, re-tested, and the share of it that each arm closed."""
    found = {}
    for verdict in verdicts:
        if verdict.arm != POOLED:
            continue
        room = verdict.gain.gain
        shares = {
            arm: tasks[verdict.task].gain / room if room > 0 else None
            for arm, tasks in table.items()
            if arm != POOLED and verdict.task in tasks
        }
        runs = verdict.runs or 0
        found[verdict.task] = {"gain": room, "runs": runs, "long": runs >= LONG_SEARCH, "closed": shares}
    return found


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.fmean(known) if known else None
