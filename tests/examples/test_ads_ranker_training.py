"""Training in the reference codebase: every model and switch works, runs repeat bit for bit, failures are loud."""

# ruff: noqa: E402 - nothing here can be imported without torch

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

import config
import data
import losses
import metrics
import models
import optim
import train
from test_ads_ranker_data import random_rows, write_npz

torch.set_num_threads(1)


def run(settings_: dict, folder: Path, seed: int = 1) -> tuple[list[dict], np.ndarray, np.ndarray]:
    """Records, validation and test predictions of one training."""
    records: list[dict] = []
    train.train(config.check(settings_), seed, folder, records.append)
    return records, np.load(folder / "predictions_valid.npy"), np.load(folder / "predictions_test.npy")


def changed(settings_: dict, changes: dict) -> dict:
    for name, value in changes.items():
        section, key = name.split(".")
        assert key in settings_[section]
        settings_[section][key] = value
    return settings_


# ---- whole runs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interaction", config.INTERACTIONS)
def test_every_interaction_learns(small_config, tmp_path, interaction):
    changes = {"model.interaction": interaction, "data.rows": 20_000, "optim.lr": 0.005}
    records, valid, test = run(changed(small_config, changes), tmp_path)
    assert records[-1]["final"]
    assert records[-1]["ne"] < 1
    assert records[-1]["auc"] > 0.6
    assert valid.dtype == test.dtype == np.float32
    assert len(valid) == len(test) == 3000


SWITCHES = [
    ({}, {"features.min_count": 5}),
    ({}, {"features.rare_mask": 0.5}),
    *(({}, {"features.numeric_encoding": name}) for name in config.NUMERIC_ENCODINGS if name != "log"),
    *(
        ({"features.numeric_encoding": name}, {"features.numeric_buckets": 4})
        for name in ("bucket", "log_bucket", "autodis", "ple", "periodic")
    ),
    ({}, {"features.count_features": True}),
    ({}, {"features.target_encoding": True}),
    ({}, {"features.crosses": "user*category"}),
    *(({}, {"model.interaction": name}) for name in config.INTERACTIONS if name != "dcnv2"),
    ({}, {"model.embedding_dim": 6}),
    ({}, {"model.embedding_init_std": 0.1}),
    ({}, {"model.embedding_dropout": 0.2}),
    ({}, {"model.embedding_norm": "layer"}),
    ({}, {"model.embedding_norm": "batch"}),
    ({}, {"model.feature_gate": "senet"}),
    ({}, {"model.feature_gate": "lhuc"}),
    ({}, {"model.wide_part": True}),
    ({}, {"model.mlp_units": "16"}),
    ({}, {"model.mlp_units": ""}),
    ({}, {"model.dropout": 0.2}),
    *(({"model.interaction": name}, {"model.dropout": 0.2}) for name in ("dlrm", "finalmlp", "finalnet", "masknet")),
    ({}, {"model.normalization": "batch"}),
    ({}, {"model.normalization": "layer"}),
    *(({}, {"model.activation": name}) for name in ("gelu", "prelu", "swiglu")),
    *(({"model.interaction": "finalnet"}, {"model.activation": name}) for name in ("gelu", "prelu", "swiglu")),
    *(({"model.interaction": name}, {"model.cross_layers": 3}) for name in ("dcnv2", "autoint", "masknet")),
    ({}, {"model.cross_rank": 0}),
    ({}, {"model.members": 2}),
    ({}, {"model.precision": "bf16"}),
    *(({}, {"optim.optimizer": name}) for name in ("adagrad", "rowwise_adagrad", "rmsprop", "sgd")),
    ({"optim.weight_decay": 0.1}, {"optim.optimizer": "adamw"}),
    ({}, {"optim.lr": 0.003}),
    ({}, {"optim.embedding_lr": 0.003}),
    ({}, {"optim.schedule": "cosine"}),
    ({}, {"optim.schedule": "linear"}),
    ({"train.epochs": 12, "train.patience": 12, "optim.lr": 0.03}, {"optim.schedule": "plateau"}),
    ({"optim.schedule": "cosine"}, {"optim.lr_floor": 0.5}),
    ({}, {"optim.warmup": 0.3}),
    ({}, {"optim.weight_decay": 0.01}),
    ({}, {"optim.embedding_l2": 0.01}),
    ({}, {"optim.gradient_clip": 0.01}),
    ({}, {"optim.ema_decay": 0.9}),
    ({}, {"loss.pairwise_weight": 1.0}),
    ({}, {"loss.label_smoothing": 0.1}),
    ({}, {"loss.focal_gamma": 2.0}),
    ({}, {"loss.negative_keep": 0.5}),
    ({}, {"train.batch_size": 128}),
    ({}, {"train.epochs": 1}),
    ({"train.epochs": 12, "optim.lr": 0.03, "train.patience": 1}, {"train.patience": 12}),
    ({}, {"train.reset_embeddings": True}),
    ({}, {"calibration.method": "platt"}),
    ({}, {"calibration.method": "isotonic"}),
    ({"calibration.method": "platt"}, {"calibration.holdout": 0.3}),
    ({}, {"data.seed": 9}),
]
_results: dict[str, bytes] = {}


def outcome(settings_: dict, folder: Path) -> bytes:
    """Everything a run says but its times."""
    key = json.dumps(settings_, sort_keys=True)
    if key not in _results:
        records, valid, test = run(settings_, folder)
        times = [{k: v for k, v in r.items() if k != "seconds"} for r in records]
        _results[key] = json.dumps(times).encode() + valid.tobytes() + test.tobytes()
    return _results[key]


def switch_name(case: dict) -> str:
    return ",".join(f"{k.split('.')[1]}={v}" for k, v in case.items()) or "default"


@pytest.mark.parametrize(("given_", "switch"), SWITCHES, ids=switch_name)
def test_no_switch_is_dead(small_config, tmp_path, given_, switch):
    before = outcome(changed(small_config, given_), tmp_path)
    after = outcome(changed(small_config, switch), tmp_path)
    assert before != after


@pytest.mark.parametrize("members", [1, 2])
def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(small_config, tmp_path, members):
    changes = {"model.dropout": 0.1, "features.rare_mask": 0.1, "model.members": members, "optim.ema_decay": 0.9}
    settings_ = changed(small_config, changes)
    first, second, other = (run(settings_, tmp_path, seed) for seed in (1, 1, 2))
    without_time = [
        [{k: v for k, v in r.items() if k != "seconds"} for r in records] for records, _, _ in (first, second)
    ]
    assert without_time[0] == without_time[1]
    assert first[1].tobytes() == second[1].tobytes()
    assert first[2].tobytes() == second[2].tobytes()
    assert (first[1] != other[1]).any()


def test_labels_of_the_test_split_have_no_influence(small_config, tmp_path):
    cat, num, y = random_rows(600)
    split = np.random.default_rng(1).integers(0, 3, 600)
    flipped = np.where(split == 2, 1 - y, y)
    results = []
    for name, labels in (("a", y), ("b", flipped)):
        small_config["data"] = write_npz(tmp_path / name, cat, num, labels, split)
        results.append(run(changed(small_config, {"features.target_encoding": True}), tmp_path))
    assert results[0][1].tobytes() == results[1][1].tobytes()
    assert results[0][2].tobytes() == results[1][2].tobytes()


def test_labels_of_the_validation_split_choose_the_epoch_but_never_train(small_config, tmp_path):
    cat, num, y = random_rows(600)
    split = np.random.default_rng(1).integers(0, 3, 600)
    results = []
    for name, labels in (("a", y), ("b", np.where(split == 1, 1 - y, y))):
        small_config["data"] = write_npz(tmp_path / name, cat, num, labels, split)
        small_config["train"]["epochs"] = 1
        changed(small_config, {"features.target_encoding": True, "calibration.method": "platt"})
        results.append(run(small_config, tmp_path))
    assert results[0][1].tobytes() == results[1][1].tobytes()


def test_no_model_beats_the_teacher(small_config, tmp_path):
    logs = data.load({**small_config["data"], "rows": 30_000}, data.SPLITS)
    _, valid, test = run(changed(small_config, {"data.rows": 30_000}), tmp_path)
    for name, predictions in (("valid", valid), ("test", test)):
        log = logs[name]
        assert metrics.summarise(log.teacher, log.y)["ne"] < metrics.summarise(predictions, log.y)["ne"] < 1


def test_predictions_are_those_of_the_best_epoch(small_config, tmp_path):
    records, valid, _ = run(changed(small_config, {"train.epochs": 8, "train.patience": 2, "optim.lr": 0.03}), tmp_path)
    *epochs, final = records
    best = min(epochs, key=lambda record: record["ne"])
    assert final["epoch"] == best["epoch"] < len(epochs)
    assert len(epochs) == best["epoch"] + 2
    labels = data.load(small_config["data"], ["valid"])["valid"].y
    assert metrics.summarise(valid, labels)["ne"] == pytest.approx(best["ne"], abs=1e-6)
    assert final["ne"] == pytest.approx(best["ne"], abs=1e-6)


def test_calibration_takes_its_rows_from_the_end_of_train(small_config, tmp_path):
    plain, _, _ = run(small_config, tmp_path)
    held, _, _ = run(changed(small_config, {"calibration.method": "platt", "calibration.holdout": 0.25}), tmp_path)
    assert held[-1]["train_rows"] == round(plain[-1]["train_rows"] * 0.75)


def test_negative_sampling_leaves_predictions_calibrated(small_config, tmp_path):
    changes = {"data.rows": 20_000, "loss.negative_keep": 0.3, "train.epochs": 1, "optim.lr": 0.001}
    records, _, _ = run(changed(small_config, changes), tmp_path)
    assert records[-1]["calibration"] == pytest.approx(1, abs=0.15)
    assert records[-1]["examples"] < 0.7 * records[-1]["train_rows"]


# ---- the command ----------------------------------------------------------------------------------------------------


def command(ads_ranker: Path, folder: Path, settings_: dict, *arguments: str):
    (folder / "c.yaml").write_text(yaml.safe_dump(settings_))
    environment = {**os.environ, "REA_RUN_DIR": str(folder / "run"), "REA_METRICS": str(folder / "m.jsonl")}
    environment |= {"OMP_NUM_THREADS": "1", "REA_SEED": "5"}
    line = [sys.executable, "train.py", "--config", str(folder / "c.yaml"), *arguments]
    return subprocess.run(line, cwd=ads_ranker, env=environment, capture_output=True, text=True)


def test_a_run_writes_its_config_its_epochs_its_result_and_its_predictions(ads_ranker, small_config, tmp_path):
    done = command(ads_ranker, tmp_path, small_config)
    assert done.returncode == 0, done.stderr
    first, *epochs, final = map(json.loads, (tmp_path / "m.jsonl").read_text().splitlines())
    assert first["config"] == config.check(small_config)
    assert (first["seed"], first["threads"]) == (5, 1)
    assert [record["epoch"] for record in epochs] == [1, 2]
    for record in epochs:
        assert record.keys() >= {
            "step",
            "split",
            "ne",
            "logloss",
            "auc",
            "calibration",
            "train_ne",
            "examples",
            "seconds",
            "lr",
        }
    assert final.keys() >= {
        "ne",
        "logloss",
        "auc",
        "calibration",
        "epoch",
        "examples",
        "seconds",
        "parameters",
        "train_rows",
    }
    assert final["final"] is True
    assert np.load(tmp_path / "run" / "predictions_valid.npy").shape == (450,)
    assert np.load(tmp_path / "run" / "predictions_test.npy").shape == (450,)


def test_divergence_is_a_line_with_nan_a_message_and_a_failed_exit(ads_ranker, small_config, tmp_path):
    diverging = changed(small_config, {"optim.optimizer": "sgd", "optim.lr": 1e9, "features.numeric_encoding": "raw"})
    done = command(ads_ranker, tmp_path, diverging)
    assert done.returncode == 1
    last = json.loads((tmp_path / "m.jsonl").read_text().splitlines()[-1])
    assert math.isnan(last["ne"])
    assert f"loss is not finite at step {last['step']}" in done.stderr
    assert not (tmp_path / "run" / "predictions_valid.npy").exists()


def test_an_unknown_key_is_a_usage_error(ads_ranker, small_config, tmp_path):
    small_config["optim"]["learning_rate"] = 0.1
    done = command(ads_ranker, tmp_path, small_config)
    assert done.returncode == 2
    assert "unknown key optim.learning_rate" in done.stderr


# ---- parts ----------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=80), st.integers(1, 5))
def test_row_gradients_are_summed_by_row(ids, width):
    torch.manual_seed(len(ids))
    rows = torch.randn(len(ids), width)
    found = torch.full((21, width), 7.0)
    optim.scatter_rows(found, torch.tensor(ids, dtype=torch.int32), rows)
    expected = torch.zeros(21, width).index_add_(0, torch.tensor(ids), rows)
    torch.testing.assert_close(found, expected)


def test_pairwise_dots_have_the_gradient_of_their_definition():
    e = torch.randn(5, 6, 4, requires_grad=True)
    dlrm = models.DLRM(
        6, {"embedding_dim": 4, "mlp_units": "8", "activation": "relu", "normalization": "none", "dropout": 0.0}, 0
    )
    weights = torch.randn(5, 15)
    found = models.PairwiseDots.apply(e, dlrm.pairs, dlrm.symmetric)
    expected = torch.stack([(e[:, i] * e[:, j]).sum(1) for i in range(6) for j in range(i + 1, 6)], 1)
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad((found * weights).sum(), e)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), e)
    torch.testing.assert_close(gradient, wanted)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean_and_drops_the_asked_share(p):
    torch.manual_seed(0)
    x = torch.ones(1000, 401)
    found = models.dropout(x, p, training=True)
    assert float((found == 0).float().mean()) == pytest.approx(p, abs=0.005)
    assert float(found.mean()) == pytest.approx(1, abs=0.02)
    assert models.dropout(x, p, training=False) is x


def test_second_order_is_the_sum_over_pairs():
    e = torch.randn(3, 5, 4)
    expected = sum((e[:, i] * e[:, j]).sum(1) for i in range(5) for j in range(i + 1, 5))
    torch.testing.assert_close(models.second_order(e), expected)


def optimizer(small_config: dict, **changes) -> tuple[optim.Optimizer, torch.Tensor, torch.Tensor]:
    """An optimiser on ones with gradient 0.5, table row 0 looked up and row 1 not."""
    small_config["optim"].update(changes)
    dense, table = torch.ones(3), torch.ones(2, 2)
    table_gradient = torch.tensor([[0.5, 0.5], [0.0, 0.0]])
    return optim.Optimizer(small_config["optim"], (dense, torch.full((3,), 0.5)), (table, table_gradient)), dense, table


@pytest.mark.parametrize(
    ("name", "step"),
    [("adam", 0.1), ("adamw", 0.1), ("adagrad", 0.1), ("rowwise_adagrad", 0.1), ("rmsprop", 1.0), ("sgd", 0.05)],
)
def test_the_first_step_of_every_optimiser_is_its_textbook_step(small_config, name, step):
    made, dense, table = optimizer(small_config, optimizer=name, lr=0.1, embedding_l2=0.0)
    made.step(1.0)
    torch.testing.assert_close(dense, torch.full((3,), 1 - step))
    torch.testing.assert_close(table[0], torch.full((2,), 1 - step))
    torch.testing.assert_close(table[1], torch.ones(2))


def test_embedding_l2_shrinks_rows_that_were_not_looked_up(small_config):
    made, dense, table = optimizer(small_config, optimizer="sgd", lr=0.1, embedding_l2=0.2)
    made.step(1.0)
    torch.testing.assert_close(table, torch.tensor([[1 - 0.1 * 0.7] * 2, [1 - 0.1 * 0.2] * 2]))
    torch.testing.assert_close(dense, torch.full((3,), 0.95))


def test_the_table_has_a_learning_rate_of_its_own(small_config):
    made, dense, table = optimizer(small_config, optimizer="sgd", lr=0.1, embedding_lr=0.4, embedding_l2=0.0)
    made.step(0.5)
    torch.testing.assert_close(dense, torch.full((3,), 1 - 0.05 * 0.5))
    torch.testing.assert_close(table[0], torch.full((2,), 1 - 0.2 * 0.5))


@pytest.mark.parametrize("kind", ["constant", "cosine", "linear", "plateau"])
def test_schedules_warm_up_never_rise_again_and_respect_their_floor(small_config, kind):
    small_config["optim"].update(schedule=kind, warmup=0.2, lr_floor=0.05)
    schedule = optim.Schedule(small_config["optim"], 100)
    factors = []
    for step in range(100):
        factors.append(schedule.factor(step))
        if step % 25 == 24:
            schedule.epoch_ended(improved=False)
    assert factors[:20] == sorted(factors[:20])
    assert 0 < factors[0] < factors[19] < 1
    assert factors[20] == (1 if kind != "plateau" else factors[20])
    assert factors[20:] == sorted(factors[20:], reverse=True)
    assert min(factors[20:]) >= 0.05
    if kind != "constant":
        assert factors[-1] < 0.1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(-5, 5), st.booleans()), min_size=1, max_size=30))
def test_switched_off_loss_terms_leave_the_log_loss(rows):
    logits = torch.tensor([[x] for x, _ in rows], dtype=torch.float64)
    labels = torch.tensor([float(y) for _, y in rows], dtype=torch.float64)
    off = {"label_smoothing": 0.0, "focal_gamma": 0.0, "pairwise_weight": 0.0}
    plain = losses.training_loss(logits, labels, off)
    expected = metrics.log_losses(torch.sigmoid(logits[:, 0]).numpy(), labels.numpy()).mean()
    assert float(plain) == pytest.approx(expected, rel=1e-6)
    # A focal weight is at most 1, and a pairwise term only adds.
    assert float(losses.training_loss(logits, labels, {**off, "focal_gamma": 2.0})) <= float(plain) + 1e-12
    assert float(losses.training_loss(logits, labels, {**off, "pairwise_weight": 1.0})) >= float(plain)
