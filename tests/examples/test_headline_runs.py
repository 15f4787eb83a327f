"""One run of the headline benchmark through the real trainer, on a few made-up rows in the npz format."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.headline import arms, verdict
from benchmarks.headline.bench import Baseline, Bench
from benchmarks.headline.tasks import Task
from benchmarks.headline.trainer import freeze

pytestmark = pytest.mark.torch
SMALL = {"model.embedding_dim": 4, "model.mlp_units": "8", "train.batch_size": 64, "train.epochs": 3}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    home = tmp_path_factory.mktemp("headline")
    return Bench(home, freeze(home), home / "results", home / "baselines")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder = tmp_path_factory.mktemp("rows")
    random = np.random.default_rng(0)
    cat = random.integers(1, 9, (600, 3)).astype(np.int32)
    y = (random.random(600) < cat[:, 0] / 10).astype(np.uint8)
    split = np.repeat(np.array([0, 1, 2], np.uint8), 200)
    np.savez(folder / "data.npz", cat=cat, y=y, split=split)
    (folder / "meta.json").write_text(json.dumps({"cat_fields": ["a", "b", "c"], "num_fields": []}))
    return Task("made-up", str(folder), {"model.interaction": "deepfm"})


def test_a_run_is_charged_recorded_at_once_and_never_trained_again(bench: Bench, task: Task):
    config = bench.config({**SMALL, **task.start})
    first = bench.run(task, bench.journal(task, "tpe-0"), config, 1, "search")
    assert first["failure"] is None and first["cpu_s"] > 0 and len(first["curve"]) >= 1
    again = bench.run(task, bench.journal(task, "random-0"), config, 1, "search")
    assert again["reused"] and (again["ne"], again["cpu_s"]) == (first["ne"], first["cpu_s"])
    assert [record["seed"] for record in bench.journal(task, "tpe-0").records] == [1]


def test_a_run_that_is_ended_early_keeps_its_curve_up_to_there_and_is_no_result(bench: Bench, task: Task):
    config = bench.config({**SMALL, **task.start, "train.epochs": 500, "train.patience": 500})
    journal = bench.journal(task, "tpe-hyperband-0")
    record = bench.run(task, journal, config, 1, "search", stop=lambda epoch, ne: epoch >= 2)
    assert (record["pruned"], len(record["curve"]), record["ne"], record["failure"]) == (2, 2, None, None)


def test_a_run_that_cannot_work_is_charged_and_says_why(bench: Bench, task: Task):
    record = bench.run(task, bench.journal(task, "tpe-0"), {"model.activation": "unheard"}, 1, "search")
    assert record["ne"] is None and record["cpu_s"] > 0
    assert "model.activation" in record["failure"]


def test_a_judged_run_is_calibrated_on_validation_and_timed(bench: Bench, task: Task):
    record = verdict.judge(bench, task, bench.config({**SMALL, **task.start}), 9001)
    assert record["failure"] is None and record["predict_cpu_s"] > 0
    assert len(record["block_loss"]) == 100
    assert 0 < record["ne"] < 1.2 and 0 < record["raw_ne"] < 2


def test_a_judged_run_that_fails_counts_as_the_click_rate_alone(bench: Bench, task: Task):
    record = verdict.judge(bench, task, {"model.activation": "unheard"}, 9001)
    assert record["failure"] and record["predict_cpu_s"] is None
    assert record["ne"] == pytest.approx(1.0, abs=0.05)


def test_the_frozen_trainer_is_a_commit_and_a_second_freeze_changes_nothing(bench: Bench):
    assert freeze(bench.work).digest == bench.trainer.digest
    assert (bench.trainer.folder / ".git").is_dir()


@pytest.mark.slow
def test_an_arm_begins_with_the_baseline_keeps_to_its_budget_and_is_resumed_from_its_journal(bench: Bench, task: Task):
    start = bench.config({**SMALL, **task.start, "train.batch_size": 1024, "optim.embedding_l2": 1e-4})
    config = bench.config({**bench.trainer.neutral, **start, "optim.weight_decay": 1e-6, "model.mlp_units": "64,32"})
    cost = bench.run(task, bench.journal(task, "baseline"), config, 1, "retest")["cpu_s"]
    baseline = Baseline(config, 1.0, cost * 10 / arms.BUDGET_RUNS, cost)
    pick = arms.run_arm(bench, task, baseline, "random", 1)
    before = bench.journal(task, "random-1").records
    searched = [record for record in before if record["purpose"] == "search"]
    assert searched[0]["config"] == config and len(searched) == pick["trials"]
    charged = sum(record["cpu_s"] for record in before if record["purpose"] in ("search", "confirm"))
    assert charged == pytest.approx(pick["spent_s"])
    # Killed before its pick and its last run were written down, it ends with as many runs and asks the same again.
    path = bench.results / f"{task.name}.random-1.jsonl"
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines()[:-2]))
    arms.run_arm(bench, task, baseline, "random", 1)
    after = bench.journal(task, "random-1").records
    assert [record.get("config") for record in after][: len(before) - 1] == [r.get("config") for r in before][:-1]
