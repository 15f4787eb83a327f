"""Does REA beat the tuner a team would use instead, at equal compute?

    .venv/bin/python -m benchmarks.headline [--stage STAGE ...] [--task TASK ...] [--arm ARM ...] [--jobs 2]

Stages: tune (the production model of each task), arms (the searches), all in that order. Every run is appended to
benchmarks/results/headline/ as soon as it ended; kill the command whenever you like and call it again: nothing known is
trained anew.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from benchmarks.headline import arms, baselines, tasks
from benchmarks.headline.bench import Bench, open_bench
from benchmarks.headline.journal import claimed
from benchmarks.headline.search import TUNERS
from benchmarks.headline.tasks import ROOT, TASKS, Task
from benchmarks.headline.units import Unit, work_off

STAGES = ("tune", "arms")
WORK = ROOT.parent / "rea-headline"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", action="append", choices=STAGES, help="may be given more than once (default: all)")
    parser.add_argument(
        "--task", action="append", metavar="TASK", help=f"of {', '.join(TASKS)}; or data=DIR,model=NAME (default: all)"
    )
    parser.add_argument("--arm", action="append", choices=tuple(TUNERS), help="(default: all)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings beside each other, one core each (default: 1)")
    parser.add_argument("--work", type=Path, default=WORK, help="folder for the trainer and samples")
    parser.add_argument("--refresh-trainer", action="store_true", help="copy examples/ads_ranker anew")
    chosen = parser.parse_args()
    try:
        bench = open_bench(chosen.work.resolve(), refresh=chosen.refresh_trainer)
        wanted = [tasks.find(text) for text in chosen.task or TASKS]
        stages = chosen.stage or STAGES
        units = _units(bench, wanted, stages, chosen.arm or list(TUNERS))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    left = work_off(units, chosen.jobs)
    if left:
        print(f"not done: {', '.join(left)}", file=sys.stderr)
    return 1 if left else 0


def _units(bench: Bench, wanted: list[Task], stages: list[str], names: list[str]) -> list[Unit]:
    units = []
    if "tune" in stages:
        units += [
            Unit(f"{task.name} baseline", lambda: True, partial(_tune, bench, task))
            for task in wanted
            if bench.baseline(task) is None
        ]
    if "arms" in stages:
        most = max((len(arms.search_seeds(arm)) for arm in names), default=0)
        units += [
            Unit(f"{task.name} {arm}-{seed}", partial(_tuned, bench, task), partial(_arm, bench, task, arm, seed))
            for seed in range(most)
            for task in wanted
            for arm in names
            if seed in arms.search_seeds(arm)
        ]
    return units


def _tuned(bench: Bench, task: Task) -> bool:
    return bench.baseline(task) is not None


def _tune(bench: Bench, task: Task) -> None:
    with claimed(bench.lock(task, "baseline")) as mine:
        if mine:
            baselines.tune(bench, task)
        else:
            print(f"{task.name} baseline: another process is at it", file=sys.stderr)


def _arm(bench: Bench, task: Task, arm: str, seed: int) -> None:
    baseline = bench.baseline(task)
    assert baseline is not None  # a unit begins only when it is ready
    with claimed(bench.lock(task, f"{arm}-{seed}")) as mine:
        if mine:
            arms.told(task, arm, seed, arms.run_arm(bench, task, baseline, arm, seed))
        else:
            print(f"{task.name} {arm}-{seed}: another process is at it", file=sys.stderr)
