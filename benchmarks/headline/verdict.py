"""The verdict: each pick trained again on fresh seeds and judged once on the sealed split, beside the baseline."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.headline import stats
from benchmarks.headline.bench import Baseline, Bench
from benchmarks.headline.configs import Scalar, key
from benchmarks.headline.journal import Journal, Record, read, same
from benchmarks.headline.tasks import Task

SEEDS = (9001, 9002, 9003, 9004, 9005)  # no search, baseline or campaign trains with these
POOLED = "pooled"
LONG_SEARCH = 150  # runs over all arms from which on the pool's best stands for a long search
POOL_SEEDS = 3


@dataclass(frozen=True, slots=True)
class Pick:
    """What an arm ended with. claimed: the gain it believed in, on the validation split (of REA, its own claim)."""

    arm: str
    seed: int
    config: Mapping[str, Scalar]
    claimed: float | None
    area: float | None
    record: Record


@dataclass(frozen=True, slots=True)
class Verdict:
    """One pick on the sealed split.

    gain: in NE over the baseline, over paired seeds and rows. auc, auc_gain: mean AUC, and minus the baseline's.
    inference: CPU-seconds of predicting the test split over the baseline's. raw_gain: as gain, without calibration.
    curse: claimed minus raw gain, both being of what the trainer predicts. area: mean over the budget of the best
    validation gain so far. launched: of REA, whether it said so. spent_share: CPU-seconds over the budget.
    """

    task: str
    arm: str
    seed: int
    gain: stats.Gain
    auc: float
    auc_gain: float
    inference: float
    claimed: float | None
    raw_gain: float
    curse: float | None
    area: float | None
    launched: bool | None
    spent_share: float | None
    runs: int | None
    config: Mapping[str, Scalar]

    def as_record(self) -> dict[str, Any]:
        return asdict(self)


def picks(bench: Bench, task: Task, baseline: Baseline) -> list[Pick]:
    """What every finished search of the task picked, and what the pool of all runs picks."""
    found = []
    for path in sorted(bench.results.glob(f"{task.name}.*.jsonl")):
        arm, _, seed = path.name.removeprefix(f"{task.name}.").removesuffix(".jsonl").rpartition("-")
        if not arm:
            continue  # of the baseline, or a verdict
        records = read(path)
        end = next((record for record in records if record["purpose"] == "pick"), None)
        if end is None:
            continue
        trials = [record for record in records if record["purpose"] == "search"]
        area = stats.area_under_best(
            [record["cpu_s"] for record in trials],
            [record["ne"] for record in trials],
            baseline.ne,
            end["budget_s"],
        )
        found.append(Pick(arm, int(seed), end["config"], end["claimed_gain"], area, end))
    pooled = pool(bench, task)
    if pooled is not None:
        config, ne, runs = pooled
        claimed = (baseline.ne - ne) / baseline.ne
        found.append(Pick(POOLED, 0, config, claimed, None, {"trials": runs}))
    return found


def pool(bench: Bench, task: Task) -> tuple[dict[str, Scalar], float, int] | None:
    """The configuration of least mean validation NE among those that any search trained on POOL_SEEDS seeds or more,
    that mean, and how many distinct runs there are. None where there are none such.
    """
    runs: dict[str, Record] = {}
    for path in bench.results.glob(f"{task.name}.*.jsonl"):
        for record in read(path):
            if record["purpose"] in ("search", "confirm", "retest") and record["ne"] is not None:
                runs.setdefault(key(task.name, record["config"], record["seed"]), record)
    return best_of_pool(list(runs.values()))


def best_of_pool(runs: Sequence[Record]) -> tuple[dict[str, Scalar], float, int] | None:
    groups: dict[str, list[Record]] = {}
    for record in runs:
        groups.setdefault(key("", record["config"], 0), []).append(record)
    able = [group for group in groups.values() if len(group) >= POOL_SEEDS]
    if not able:
        return None
    means = [statistics.fmean(record["ne"] for record in group) for group in able]
    where = min(range(len(able)), key=lambda i: means[i])
    return dict(able[where][0]["config"]), means[where], len(runs)


def retest(bench: Bench, task: Task, baseline: Baseline) -> None:
    """Train the baseline and every pick on SEEDS and judge them; what is on record is not trained again."""
    journal = bench.journal(task, "verdict")
    for config in [baseline.config, *(pick.config for pick in picks(bench, task, baseline))]:
        for seed in SEEDS:
            if _judged(journal, config, seed) is None:
                journal.append(judge(bench, task, config, seed))


def _judged(journal: Journal, config: Mapping[str, Scalar], seed: int) -> Record | None:
    return next((r for r in journal.records if r["seed"] == seed and same(r["config"], config)), None)


def judge(bench: Bench, task: Task, config: Mapping[str, Scalar], seed: int) -> Record:
    """One training and its figures on the sealed split, calibrated by Platt on the validation split.

    A run that fails counts as a model that knows the validation split's click rate only.
    """
    import numpy as np

    data = bench.data(task)
    with np.load(data / "data.npz") as arrays:
        labels, split = arrays["y"].astype(float), arrays["split"]
    valid, test = labels[split == 1], labels[split == 2]
    with tempfile.TemporaryDirectory(prefix="rea-headline-") as scratch:
        outcome, predict_cpu_s = bench.trainer.train_timed(config, data, seed, Path(scratch))
        if outcome.failure is None:
            seen = np.load(Path(scratch) / "predictions_valid.npy")
            sealed = np.load(Path(scratch) / "predictions_test.npy")
            probabilities = stats.calibrated(sealed, stats.platt(seen, valid))
        else:
            sealed = probabilities = np.full(len(test), valid.mean())
    losses = stats.log_losses(probabilities, test)
    return {
        "purpose": "verdict",
        "config": dict(config),
        "seed": seed,
        "valid_ne": outcome.ne,
        "ne": float(losses.mean()) / stats.entropy(test),
        "raw_ne": float(stats.log_losses(sealed, test).mean()) / stats.entropy(test),
        "auc": stats.auc(probabilities, test),
        "predict_cpu_s": predict_cpu_s,
        "cpu_s": round(outcome.cpu_s, 3),
        "failure": outcome.failure,
        "block_loss": [round(value, 4) for value in stats.block_sums(losses)],
        "trainer": bench.trainer.digest,
    }


def verdicts(bench: Bench, task: Task, baseline: Baseline) -> tuple[list[Verdict], list[str]]:
    """The verdicts that the records allow, and what is missing for the others, in words."""
    journal = bench.journal(task, "verdict")
    missing: list[str] = []

    def runs(config: Mapping[str, Scalar]) -> list[Record] | None:
        found = [_judged(journal, config, seed) for seed in SEEDS]
        return [record for record in found if record is not None] if None not in found else None

    old = runs(baseline.config)
    result = []
    for pick in picks(bench, task, baseline):
        new = runs(pick.config)
        if old is None or new is None:
            missing.append(f"{task.name} {pick.arm}-{pick.seed}: not re-tested yet")
            continue
        result.append(compare(task.name, pick, old, new))
    return result, missing


def compare(task: str, pick: Pick, old: Sequence[Record], new: Sequence[Record]) -> Verdict:
    gain = stats.paired_gain([record["block_loss"] for record in old], [record["block_loss"] for record in new])
    raw = 1 - sum(record["raw_ne"] for record in new) / sum(record["raw_ne"] for record in old)
    auc, before = (statistics.fmean(record["auc"] for record in records) for records in (new, old))
    return Verdict(
        task=task,
        arm=pick.arm,
        seed=pick.seed,
        gain=gain,
        auc=auc,
        auc_gain=auc - before,
        inference=_predicting(new) / _predicting(old),
        claimed=pick.claimed,
        raw_gain=raw,
        curse=None if pick.claimed is None else pick.claimed - raw,
        area=pick.area,
        launched=pick.record.get("launched"),
        spent_share=_spent(pick.record),
        runs=pick.record.get("trials"),
        config=pick.config,
    )


def _spent(record: Record) -> float | None:
    """CPU-seconds over the budget; of REA, which is charged wall time, what its jobs took of the processor."""
    return record.get("cpu_s", record["spent_s"]) / record["budget_s"] if "budget_s" in record else None


def _predicting(records: Sequence[Record]) -> float:
    """The least CPU-seconds over the seeds: what the machine did besides only ever adds to it."""
    return min((r["predict_cpu_s"] for r in records if r["predict_cpu_s"] is not None), default=float("nan"))
