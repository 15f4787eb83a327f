"""What every stage works with: the work folder, the frozen trainer, the results on record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.headline import tasks
from benchmarks.headline.configs import Scalar, difference, flat, key, read_yaml
from benchmarks.headline.journal import RESULTS, Journal, Record, known
from benchmarks.headline.tasks import Task
from benchmarks.headline.trainer import Stop, Trainer, freeze

BASELINES = Path(__file__).with_name("baselines")


@dataclass(frozen=True, slots=True)
class Baseline:
    """The production model of a task. config: what differs from base.yaml. ne: mean over seeds, validation split,
    uncalibrated. cpu_s: mean of one run; first_s: of the one with the first of `baselines.SEEDS`.
    """

    config: Mapping[str, Scalar]
    ne: float
    cpu_s: float
    first_s: float


@dataclass(frozen=True, slots=True)
class Bench:
    work: Path
    trainer: Trainer
    results: Path = RESULTS
    baselines: Path = BASELINES

    def journal(self, task: Task, name: str) -> Journal:
        return Journal(self.results / f"{task.name}.{name}.jsonl")

    def data(self, task: Task) -> Path:
        return tasks.prepare(task, self.work / "data")

    def lock(self, task: Task, name: str) -> Path:
        return self.work / "locks" / f"{task.name}.{name}"

    def config(self, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """What these settings say differently from the neutral ones."""
        return difference(values, self.trainer.neutral)

    def run(
        self,
        task: Task,
        journal: Journal,
        config: Mapping[str, Scalar],
        seed: int,
        purpose: str,
        *,
        stop: Stop | None = None,
    ) -> Record:
        """One run, appended to the journal. It is trained unless a whole run of it is on record in any of the task's
        journals; then that record is copied, CPU-seconds included. What may be ended early is always trained.
        """
        before = None if stop else known(task.name, self.results).get(key(task.name, config, seed))
        if before is not None:
            copied = {name: before[name] for name in ("config", "seed", "ne", "auc", "curve", "cpu_s", "wall_s")}
            copied |= {"failure": before["failure"], "pruned": None, "trainer": before["trainer"], "reused": True}
            return journal.append({"purpose": purpose, **copied})
        outcome = self.trainer.train(config, self.data(task), seed, stop=stop)
        said = {"purpose": purpose, "config": dict(config), "seed": seed, **outcome.as_record()}
        return journal.append({**said, "trainer": self.trainer.digest})

    def baseline(self, task: Task) -> Baseline | None:
        """The committed baseline of the task; None where it is not tuned yet."""
        path, beside = self.baselines / f"{task.name}.yaml", self.baselines / f"{task.name}.json"
        if not (path.is_file() and beside.is_file()):
            return None
        figures: dict[str, Any] = json.loads(beside.read_text(encoding="utf-8"))
        return Baseline(
            self.config(flat(read_yaml(path))), figures["ne"], figures["cpu_s"], figures["cpu_s_by_seed"][0]
        )


def open_bench(work: Path, *, refresh: bool = False) -> Bench:
    work.mkdir(parents=True, exist_ok=True)
    return Bench(work, freeze(work, refresh=refresh))
