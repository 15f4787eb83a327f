"""Does REA beat the tuner a team would use instead, at equal compute?

    .venv/bin/python -m benchmarks.headline [--stage STAGE ...] [--task TASK ...] [--arm ARM ...] [--jobs 2]

Stages, all by default: tune (the production model of each task), arms (the searches), verdict (picks trained again on
fresh seeds and judged on the sealed split), report (the table, headline.json, headline.svg). Every run is appended to
benchmarks/results/headline/ as soon as it ended; kill the command whenever you like and call it again: nothing known
is trained anew. benchmarks/README.md says what is measured and how long it takes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.headline import arms, baselines, rea_arm, report, tasks, verdict
from benchmarks.headline.bench import Baseline, Bench, open_bench
from benchmarks.headline.journal import claimed
from benchmarks.headline.search import TUNERS
from benchmarks.headline.tasks import ROOT, TASKS, Task
from benchmarks.headline.units import Unit, work_off

STAGES = ("tune", "arms", "verdict", "report")
REA_ARMS = (rea_arm.COLD, rea_arm.WARM)
WORK = ROOT.parent / "rea-headline"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.headline", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stage", action="append", choices=STAGES, help="may be given more than once (default: all)")
    parser.add_argument(
        "--task", action="append", metavar="TASK", help=f"of {', '.join(TASKS)}; or data=DIR,model=NAME (default: all)"
    )
    parser.add_argument("--arm", action="append", choices=(*TUNERS, *REA_ARMS), help="(default: all)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings beside each other, one core each (default: 1)")
    parser.add_argument(
        "--without", action="append", choices=rea_arm.ABLATIONS, default=[], help="a part of REA left out in its arms"
    )
    parser.add_argument(
        "--runs",
        type=float,
        default=arms.BUDGET_RUNS,
        help=f"REA's budget, in runs of the baseline (default: {arms.BUDGET_RUNS}, as the tuners')",
    )
    parser.add_argument("--seeds", type=int, default=2, help="searches of each arm, where it has as many (default: 2)")
    parser.add_argument("--work", type=Path, default=WORK, help=f"trainer, samples and campaigns (default: {WORK})")
    parser.add_argument("--refresh-trainer", action="store_true", help="copy examples/ads_ranker anew")
    chosen = parser.parse_args()
    stages = chosen.stage or STAGES
    try:
        bench = open_bench(chosen.work.resolve(), refresh=chosen.refresh_trainer)
        wanted = [tasks.find(text) for text in chosen.task or TASKS]
        names = chosen.arm or [*TUNERS, *REA_ARMS]
        units = _units(bench, wanted, stages, names, chosen.seeds, chosen.without, chosen.runs)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    left = work_off(units, chosen.jobs)
    if "report" in stages:
        print(report.write(bench, wanted))
    if left:
        print(f"not done: {', '.join(left)}", file=sys.stderr)
    return 1 if left else 0


def _units(
    bench: Bench,
    wanted: Sequence[Task],
    stages: Sequence[str],
    names: Sequence[str],
    seeds: int,
    without: Sequence[str],
    runs: float,
) -> list[Unit]:
    units: list[Unit] = []
    if "arms" in stages:
        units += [unit for seed in range(seeds) for task in wanted for unit in _tuner_units(bench, task, names, seed)]
    if "tune" in stages:
        # Behind the searches, which wait for them: a task that has its baseline is searched before the next is tuned.
        units += [
            Unit(f"{task.name} baseline", _always, partial(_alone, bench, task, "baseline", _tune))
            for task in wanted
            if bench.baseline(task) is None
        ]
    if "arms" in stages:
        # The campaigns come last, each alone on the machine: REA trains on two cores and is charged wall time.
        units += [
            _rea_unit(bench, task, arm, seed, without, runs)
            for arm in REA_ARMS
            if arm in names
            for seed in range(min(seeds, rea_arm.SEEDS))
            for task in wanted
            if not _ended(bench, task, f"{rea_arm.name_of(arm, without, runs)}-{seed}")
        ]
    if "verdict" in stages:
        units += [
            Unit(
                f"{task.name} verdict",
                partial(_tuned, bench, task),
                partial(_alone, bench, task, "verdict", _judge),
                last=True,
            )
            for task in wanted
        ]
    return units


def _tuner_units(bench: Bench, task: Task, names: Sequence[str], seed: int) -> list[Unit]:
    return [
        Unit(
            f"{task.name} {arm}-{seed}",
            partial(_tuned, bench, task),
            partial(_alone, bench, task, f"{arm}-{seed}", partial(_arm, arm=arm, seed=seed)),
        )
        for arm in names
        if arm in TUNERS and seed in arms.search_seeds(arm) and not _ended(bench, task, f"{arm}-{seed}")
    ]


def _rea_unit(bench: Bench, task: Task, arm: str, seed: int, without: Sequence[str], runs: float) -> Unit:
    name = f"{rea_arm.name_of(arm, without, runs)}-{seed}"
    ready = partial(_inherits, bench, task, seed) if arm == rea_arm.WARM else partial(_tuned, bench, task)
    work = partial(_rea, arm=arm, seed=seed, without=without, runs=runs)
    return Unit(f"{task.name} {name}", ready, partial(_alone, bench, task, name, work), alone=True)


def _always() -> bool:
    return True


def _tuned(bench: Bench, task: Task) -> bool:
    return bench.baseline(task) is not None


def _inherits(bench: Bench, task: Task, seed: int) -> bool:
    """Whether all other tasks' cold campaigns have ended, whose insights a warm one begins with."""
    return _tuned(bench, task) and all(_ended(bench, other, f"{rea_arm.COLD}-{seed}") for other in rea_arm.others(task))


def _ended(bench: Bench, task: Task, name: str) -> bool:
    return any(record["purpose"] == "pick" for record in bench.journal(task, name).records)


def _alone(bench: Bench, task: Task, name: str, work: Callable[[Bench, Task], None]) -> None:
    with claimed(bench.lock(task, name)) as mine:
        if mine:
            work(bench, task)
        else:
            print(f"{task.name} {name}: another process is at it", file=sys.stderr)


def _tune(bench: Bench, task: Task) -> None:
    baselines.tune(bench, task)


def _judge(bench: Bench, task: Task) -> None:
    verdict.retest(bench, task, _baseline(bench, task))


def _arm(bench: Bench, task: Task, arm: str, seed: int) -> None:
    record = arms.run_arm(bench, task, _baseline(bench, task), arm, seed)
    print(f"{task.name} {arm}-{seed}: {record['trials']} runs, claims {record['claimed_gain']:+.2%}", file=sys.stderr)


def _rea(bench: Bench, task: Task, arm: str, seed: int, without: Sequence[str], runs: float) -> None:
    rea_arm.await_quiet()
    record = rea_arm.run_rea(bench, task, _baseline(bench, task), arm, seed, without, runs)
    words = "launches" if record["launched"] else "launches nothing"
    name = f"{rea_arm.name_of(arm, without, runs)}-{seed}"
    print(f"{task.name} {name}: {words}, claims {record['claimed_gain']:+.2%}", file=sys.stderr)


def _baseline(bench: Bench, task: Task) -> Baseline:
    found = bench.baseline(task)
    if found is None:
        raise ValueError(f"{task.name} has no baseline yet; run --stage tune first")
    return found
