"""The production model of each task: tuned as a team would tune it, before anything is compared with it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from benchmarks.headline.bench import Bench
from benchmarks.headline.configs import Scalar, nested
from benchmarks.headline.journal import Journal, Record, same, stamp
from benchmarks.headline.search import TUNERS, open_search
from benchmarks.headline.space import USUAL, inside
from benchmarks.headline.tasks import Task

TRIALS = 30
SEARCH_SEED = 0
SEEDS = (1, 2, 3, 4, 5, 6)  # the search trains with the first; what it finds is re-tested on the others, in this order
TOP = 4
LEAST_SEEDS = 3


@dataclass(frozen=True, slots=True)
class Standing:
    """One configuration's validation NE, by seed in the order of SEEDS, and its CPU-seconds."""

    config: dict[str, Scalar]
    nes: tuple[float, ...]
    cpu_s: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.nes)


def settled(standings: Sequence[Standing]) -> bool:
    """Whether the choice moves no more: all on equally many seeds, at least LEAST_SEEDS, and the last two of these have
    not changed who leads by the mean. Always, when the seeds are used up.
    """
    count = min(len(one.nes) for one in standings)
    if count < max(len(one.nes) for one in standings) or count < LEAST_SEEDS:
        return False
    leaders = {
        min(range(len(standings)), key=lambda i: statistics.fmean(standings[i].nes[:seeds]))
        for seeds in range(count - 2, count + 1)
    }
    return count == len(SEEDS) or len(leaders) == 1


def tune(bench: Bench, task: Task) -> None:
    """Thirty trials of TPE, then the best few on more seeds; writes baselines/<task>.yaml and its figures beside it.

    Trials are run whole, without pruning, and are charged to nobody: production models are given.
    """
    journal = bench.journal(task, "baseline")
    trials = _search(bench, task, journal)
    standings = _retest(bench, task, journal, [dict(record["config"]) for record in best(trials)])
    chosen = min(standings, key=lambda one: one.mean)
    write(bench.baselines, bench, task, chosen, trials)


def _search(bench: Bench, task: Task, journal: Journal) -> list[Record]:
    start = {**bench.trainer.neutral, **task.start}
    first = inside(USUAL, start)
    search = open_search(TUNERS["tpe"], USUAL, first, SEARCH_SEED, int(start["train.epochs"]), bench.work)
    done = [record for record in journal.records if record["purpose"] == "search"]
    for number in range(TRIALS):
        config = bench.config({**start, **search.ask()})
        if number < len(done):
            record = replayed(journal, done[number], config)
        else:
            record = bench.run(task, journal, config, SEEDS[0], "search")
            done.append(record)
        search.tell(record["ne"], pruned=False)
    return done


def replayed(journal: Journal, record: Record, config: dict[str, Scalar]) -> Record:
    """The record, when it is of the configuration that the search asks for. Raises ValueError otherwise."""
    if not same(record["config"], config):
        raise ValueError(
            f"{journal.path}: on record is {record['config']}, but the search asks for {config} in its place; "
            "the tuner or its space has changed. Go on with the versions it began with, or remove the file"
        )
    return record


def best(trials: Sequence[Record], count: int = TOP) -> list[Record]:
    """The runs of least validation NE; those that failed are none."""
    return sorted((record for record in trials if record["ne"] is not None), key=lambda record: record["ne"])[:count]


def _retest(bench: Bench, task: Task, journal: Journal, configs: list[dict[str, Scalar]]) -> list[Standing]:
    standings = [_standing(journal, config, 1) for config in configs]
    while not settled(standings):
        count = min(len(one.nes) for one in standings) + 1
        for config in configs:
            if not any(_of(record, config, SEEDS[count - 1]) for record in journal.records):
                bench.run(task, journal, config, SEEDS[count - 1], "retest")
        standings = [_standing(journal, config, count) for config in configs]
    return standings


def _of(record: Record, config: dict[str, Scalar], seed: int) -> bool:
    return record["seed"] == seed and same(record["config"], config)


def _standing(journal: Journal, config: dict[str, Scalar], seeds: int) -> Standing:
    runs = [next(record for record in journal.records if _of(record, config, seed)) for seed in SEEDS[:seeds]]
    # A run that diverges on a further seed counts as a model that knows the click rate only.
    return Standing(config, tuple(run["ne"] or 1.0 for run in runs), tuple(run["cpu_s"] for run in runs))


def write(folder: Path, bench: Bench, task: Task, chosen: Standing, trials: Sequence[Record]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    sections = nested({**bench.trainer.neutral, **chosen.config})
    text = yaml.safe_dump(sections, sort_keys=False, allow_unicode=True)
    head = f"# The production model of {task.name}: TPE, {TRIALS} trials, the best few re-tested on further seeds.\n"
    (folder / f"{task.name}.yaml").write_text(head + text, encoding="utf-8")
    figures = {
        "ne": chosen.mean,
        "ne_sd": statistics.stdev(chosen.nes),
        "ne_by_seed": list(chosen.nes),
        "cpu_s": statistics.fmean(chosen.cpu_s),
        "cpu_s_by_seed": list(chosen.cpu_s),
        "start_ne": trials[0]["ne"],
        "trials": len(trials),
        "failed": sum(record["ne"] is None for record in trials),
        "search_cpu_s": sum(record["cpu_s"] for record in trials),
        "trainer": bench.trainer.digest,
        **stamp(),
    }
    # Last: a baseline is there when its figures are.
    (folder / f"{task.name}.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
