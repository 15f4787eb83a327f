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
import layers
import losses
import metrics
import models
import networks
import optim
import pairs
import train
from features import Features, Numbers, Shape
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


WITH_LAYERS = ("dcnv2", "gdcn", "edcn", "dcnv3", "autoint", "masknet", "wukong")
TWO_STREAMS = tuple(name for name in config.INTERACTIONS if name not in config.SINGLE_STREAM)
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
    *(({"model.interaction": name}, {"model.cross_layers": 3}) for name in WITH_LAYERS),
    *(({"model.interaction": name}, {"model.cross_rank": 0}) for name in ("gdcn", "edcn")),
    *(({"model.interaction": name}, {"model.mlp_units": ""}) for name in ("gdcn", "fwfm", "fmfm", "ffm")),
    *(({"model.interaction": name}, {"model.dropout": 0.2}) for name in ("edcn", "dcnv3")),
    ({"model.interaction": "ffm"}, {"model.pair_dim": 2}),
    ({}, {"model.embedding_sets": 2}),
    ({"model.interaction": "dlrm", "model.wide_part": True}, {"model.embedding_sets": 2}),
    ({}, {"model.embedding_factor": 2}),
    ({"model.wide_part": True}, {"model.embedding_factor": 2}),
    ({"model.embedding_sets": 2}, {"model.embedding_factor": 2}),
    ({}, {"model.mlp_residual": True}),
    ({"model.mlp_units": "8,8", "model.activation": "swiglu"}, {"model.mlp_residual": True}),
    ({}, {"optim.swa_from": 0.5}),
    ({"train.reset_embeddings": True}, {"optim.swa_from": 0.3}),
    ({}, {"optim.cowclip": 0.001}),
    ({"model.members": 2}, {"optim.cowclip": 0.001}),
    ({}, {"optim.lookahead": 5}),
    ({"train.reset_embeddings": True}, {"optim.lookahead": 5}),
    *(({"model.interaction": name}, {"loss.auxiliary_weight": 0.5}) for name in TWO_STREAMS),
    ({"model.interaction": "wukong", "model.embedding_sets": 2}, {"loss.auxiliary_weight": 0.5}),
    ({"model.members": 2, "loss.negative_keep": 0.5}, {"loss.auxiliary_weight": 0.5}),
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
    ({}, {"calibration.method": "validation"}),
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


def test_calibration_by_the_validation_rows_keeps_all_of_train_and_the_order_of_the_scores(small_config, tmp_path):
    plain, _, _ = run(changed(small_config, {"train.epochs": 1}), tmp_path)
    served, _, _ = run(changed(small_config, {"train.epochs": 1, "calibration.method": "validation"}), tmp_path)
    assert served[-1]["train_rows"] == plain[-1]["train_rows"]
    assert served[-1]["auc"] == pytest.approx(plain[-1]["auc"], abs=1e-6)
    assert served[-1]["calibration"] == pytest.approx(1, abs=1e-4)
    assert served[-1]["ne"] == pytest.approx(served[0]["ne"], abs=1e-6)
    assert served[-1]["ne"] < plain[-1]["ne"]


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

PLAIN = {
    "embedding_dim": 4,
    "embedding_init_std": 0.1,
    "embedding_dropout": 0.0,
    "embedding_norm": "none",
    "mlp_units": "8",
    "activation": "relu",
    "normalization": "none",
    "dropout": 0.0,
    "mlp_residual": False,
    "feature_gate": "none",
    "wide_part": True,
    "cross_layers": 2,
    "cross_rank": 0,
    "members": 1,
    "precision": "fp32",
    "embedding_sets": 1,
    "embedding_factor": 1,
    "pair_dim": 3,
    "interaction": "dcnv2",
}
SHAPE = Shape(30, 4, (Numbers("log", 2, 4, None),))


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
    dlrm = pairs.DLRM(6, PLAIN, 0)
    weights = torch.randn(5, 15)
    found = pairs.PairwiseDots.apply(e, dlrm.pairs, dlrm.symmetric)
    expected = torch.stack([(e[:, i] * e[:, j]).sum(1) for i in range(6) for j in range(i + 1, 6)], 1)
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad((found * weights).sum(), e)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), e)
    torch.testing.assert_close(gradient, wanted)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean_and_drops_the_asked_share(p):
    torch.manual_seed(0)
    x = torch.ones(1000, 401)
    found = layers.dropout(x, p, training=True)
    assert float((found == 0).float().mean()) == pytest.approx(p, abs=0.005)
    assert float(found.mean()) == pytest.approx(1, abs=0.02)
    assert layers.dropout(x, p, training=False) is x


def test_second_order_is_the_sum_over_pairs():
    e = torch.randn(3, 5, 4)
    expected = sum((e[:, i] * e[:, j]).sum(1) for i in range(5) for j in range(i + 1, 5))
    torch.testing.assert_close(pairs.second_order(e), expected)


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


# ---- families and streams -------------------------------------------------------------------------------------------


def member(**changes) -> tuple[models.Member, torch.Tensor, torch.Tensor]:
    """A model in evaluation, table vectors of five rows, and their numbers."""
    torch.manual_seed(3)
    settings_ = {**PLAIN, **changes}
    rows = torch.randn(5, SHAPE.id_fields, models.row_width(settings_, SHAPE))
    made = models.Member(settings_, SHAPE, -1.0).eval()
    for parameter in made.parameters():  # away from the starting points that are alike by construction
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    return made, rows, torch.randn(5, 2)


@pytest.mark.parametrize("sets", [1, 2])
@pytest.mark.parametrize("interaction", config.INTERACTIONS)
def test_reading_streams_leaves_the_log_odds_as_they_are(interaction, sets):
    made, rows, numbers = member(interaction=interaction, embedding_sets=sets)
    logit, streams = made.streams(rows, numbers)
    torch.testing.assert_close(logit, made(rows, numbers))
    two = interaction not in config.SINGLE_STREAM
    parts = {"edcn": 3}.get(interaction, 2 if two else 1)
    assert streams.shape == (5, sets * parts)
    if interaction != "finalmlp":  # which adds a fusion of both streams
        torch.testing.assert_close(streams.mean(1), logit)


@pytest.mark.parametrize("interaction", TWO_STREAMS)
def test_a_streams_loss_reaches_only_what_that_stream_is_made_of(interaction):
    made, rows, numbers = member(interaction=interaction, mlp_units="8")
    trained = [rows.requires_grad_(), *made.towers.parameters()]
    _, streams = made.streams(rows, numbers)
    touched = []
    for stream in streams.unbind(1):
        gradients = torch.autograd.grad(stream.sum(), trained, retain_graph=True, allow_unused=True)
        touched.append([bool(g is not None and g.abs().sum() > 0) for g in gradients])
    assert len(set(map(tuple, touched))) > 1
    assert all(any(column) for column in touched)


@pytest.mark.parametrize("interaction", config.INTERACTIONS)
def test_every_row_and_number_of_a_family_gets_a_gradient_that_agrees_with_differences(interaction):
    made, rows, numbers = member(interaction=interaction)
    made, rows, numbers = made.double(), rows.double().requires_grad_(), numbers.double()
    (gradient,) = torch.autograd.grad(made(rows, numbers).sum(), rows)
    # Of lr only first-order weights count; of ffm, a field is no partner of itself.
    idle = {"lr": 4, "ffm": PLAIN["pair_dim"]}.get(interaction, 0)
    assert int((gradient == 0).all(0).sum()) == idle * SHAPE.id_fields
    step = 1e-6 * torch.randn_like(rows)
    change = made(rows + step, numbers).sum() - made(rows - step, numbers).sum()
    assert change.item() == pytest.approx(2 * (gradient * step).sum().item(), rel=1e-3, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 7), st.integers(1, 4))
def test_elements_above_the_diagonal_have_the_gradient_of_their_definition(size, batch):
    torch.manual_seed(size)
    matrices = torch.randn(batch, size, size, requires_grad=True)
    upper = torch.triu_indices(size, size, 1)
    expected = matrices[:, upper[0], upper[1]]
    found = pairs.Above(size)(matrices)
    assert torch.equal(found, expected)
    weights = torch.randn_like(found)
    (gradient,) = torch.autograd.grad((found * weights).sum(), matrices)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), matrices)
    assert torch.equal(gradient, wanted)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 7), st.integers(1, 4))
def test_partner_dots_have_the_gradient_of_their_definition(fields, width):
    torch.manual_seed(fields)
    e = torch.randn(3, fields, width, fields, requires_grad=True)
    both = [(i, j) for i in range(fields) for j in range(i + 1, fields)]
    expected = torch.stack([(e[:, i, :, j] * e[:, j, :, i]).sum(1) for i, j in both], 1)
    found = pairs.PartnerDots.apply(e, *pairs.pair_indices(fields))
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(found)
    (gradient,) = torch.autograd.grad((found * weights).sum(), e)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), e)
    torch.testing.assert_close(gradient, wanted)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.integers(1, 4))
def test_weighted_and_matrixed_pairs_are_sums_over_pairs_and_start_as_a_factorisation_machine(fields, dim):
    torch.manual_seed(fields)
    settings_ = {**PLAIN, "embedding_dim": dim, "mlp_units": ""}
    e = torch.randn(3, fields, dim)
    both = [(i, j) for i in range(fields) for j in range(i + 1, fields)]
    fwfm, fmfm = pairs.FwFM(fields, settings_), pairs.FmFM(fields, settings_)
    for model in (fwfm, fmfm):
        first = model.first(e.flatten(1)).squeeze(1)
        torch.testing.assert_close(model(e), first + pairs.second_order(e), rtol=1e-4, atol=1e-5)
    fwfm.strength.data.normal_()
    expected = sum(fwfm.strength[i, j] * (e[:, i] * e[:, j]).sum(1) for i, j in both)
    torch.testing.assert_close(fwfm(e) - fwfm.first(e.flatten(1)).squeeze(1), expected, rtol=1e-4, atol=1e-5)
    fmfm.blocks.data.normal_()
    block = fmfm.blocks.view(fields, dim, fields, dim)
    expected = sum(torch.einsum("bd,de,be->b", e[:, i], block[i, :, j], e[:, j]) for i, j in both)
    torch.testing.assert_close(fmfm(e) - fmfm.first(e.flatten(1)).squeeze(1), expected, rtol=1e-4, atol=1e-5)


def test_a_field_has_an_embedding_of_its_own_for_every_partner():
    """Moving the vector that field 1 keeps for field 3 changes the product of that pair and of no other."""
    ffm = pairs.FFM(4, PLAIN)
    seen = []
    ffm.head = torch.nn.Module()
    ffm.head.forward = lambda x: seen.append(x) or x.sum(1)
    e = torch.randn(2, 4, 4 + 3 * 4)
    moved = e.clone()
    moved[:, 1, 4 + 3 :: 4] += 1
    ffm(e), ffm(moved)
    changed_columns = (seen[0] != seen[1]).any(0).nonzero().flatten().tolist()
    order = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    assert changed_columns == [4 * 4 + order.index((1, 3))]


def test_edcn_starts_with_equal_field_weights_of_one():
    edcn = networks.EDCN(3, PLAIN)
    e = torch.randn(2, 3, 4)
    crossed, deep, bridge = edcn.parts(e)
    x = e.flatten(1)
    first = x + x * edcn.crosses[0](x)
    bridged = first * edcn.hidden[0](x)
    torch.testing.assert_close(crossed, bridged + x * edcn.crosses[1](bridged))
    torch.testing.assert_close(bridge, crossed * deep)


def test_an_exponential_cross_doubles_the_order_and_a_linear_one_adds_one():
    """With c = x and an idle mask, scaling the input by t scales the leading term by t ** order."""
    layer = networks.SelfMaskedCross(1, {"dropout": 0.0})
    torch.nn.init.ones_(layer.weight.weight)
    x0 = torch.tensor([[1e6]], dtype=torch.float64)
    layer = layer.double()
    linear, exponential = x0, x0
    for _ in range(3):
        linear, exponential = layer(linear, x0), layer(exponential, exponential)
    assert math.log(linear.item(), 1e6) == pytest.approx(4, abs=0.01)
    assert math.log(exponential.item(), 1e6) == pytest.approx(8, abs=0.01)


@pytest.mark.parametrize("normalization", ["none", "layer"])
def test_residual_layers_of_no_weight_pass_their_input_on(normalization):
    hidden, width = layers.mlp(6, {**PLAIN, "mlp_units": "6,6", "mlp_residual": True, "normalization": normalization})
    for module in hidden.modules():
        if isinstance(module, layers.Linear):
            torch.nn.init.zeros_(module.weight)
    x = torch.randn(3, 6)
    assert width == 6
    assert torch.equal(hidden(x), x)


# ---- embedding sets, factors, averages, clipping --------------------------------------------------------------------


def test_log_odds_of_embedding_sets_are_the_sum_of_their_towers():
    made, rows, numbers = member(embedding_sets=2, wide_part=False)
    width = PLAIN["embedding_dim"]
    vectors = torch.cat([rows, made.numeric[0](numbers)], 1)
    alone = [tower(vectors[:, :, i * width : (i + 1) * width]) for i, tower in enumerate(made.towers)]
    torch.testing.assert_close(made(rows, numbers), alone[0] + alone[1] + made.bias)


@pytest.mark.parametrize("sets", [1, 2])
def test_a_factorised_table_equals_a_plain_one_that_holds_the_product(sets):
    made, rows, numbers = member(embedding_factor=3, embedding_sets=sets)
    plain, _, _ = member(embedding_sets=sets)
    plain.load_state_dict({k: v for k, v in made.state_dict().items() if not k.startswith("factor.")})
    width = PLAIN["embedding_dim"]
    wide, first_order = rows[:, :, :-1].unflatten(2, (sets, 3 * width)), rows[:, :, -1:]
    matrices = made.factor.weight.unflatten(0, (SHAPE.id_fields, sets))
    narrow = torch.einsum("bfsk,fskd->bfsd", wide, matrices).flatten(2)
    torch.testing.assert_close(made(rows, numbers), plain(torch.cat([narrow, first_order], 2), numbers))


def test_a_factorised_table_starts_with_the_spread_of_a_plain_one():
    torch.manual_seed(0)
    found = models.Factor(20, 1, 4, 8)(torch.randn(400, 20, 32) * 0.01)
    assert float(found.detach().std()) == pytest.approx(0.01, rel=0.05)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(1, 3), st.floats(1e-4, 10), st.integers(0, 10**6)
)
def test_a_clipped_row_keeps_its_direction_and_its_limit(ids, members, ratio, seed):
    torch.manual_seed(seed)
    table = torch.randn(10, members * 4) * 0.1
    table[3] = 0  # a row that nothing has moved yet: the floor alone limits it
    gradients = torch.randn(len(ids), members * 4)
    plain, clipped = torch.zeros(10, members * 4), torch.zeros(10, members * 4)
    index = torch.tensor(ids, dtype=torch.int32)
    optim.scatter_rows(plain, index, gradients)
    optim.scatter_rows(clipped, index, gradients, optim.ColumnClip(table, ratio, members))
    for row in range(10):
        for part in torch.arange(members * 4).view(members, 4):
            g, c, w = plain[row, part], clipped[row, part], table[row, part]
            limit = ids.count(row) * max(ratio * float(w.norm()), 1e-5)
            assert float(c.norm()) <= limit * 1.001 or ids.count(row) == 0
            torch.testing.assert_close(c, g * min(1.0, limit / max(float(g.norm()), 1e-30)), rtol=1e-3, atol=1e-7)


def test_a_clip_that_never_binds_changes_no_bit(small_config, tmp_path):
    assert outcome(small_config, tmp_path) == outcome(changed(small_config, {"optim.cowclip": 1e9}), tmp_path)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 8), st.lists(st.floats(-5, 5), min_size=1, max_size=15))
def test_an_even_average_is_the_mean_of_the_steps_after_its_start(start, path):
    value = torch.zeros(2)
    average = optim.EvenAverage(start, [value])
    for number in path:
        value.fill_(number)
        average.update()
    assert average.active == (len(path) > start)
    if average.active:
        expected = sum(path[start:]) / len(path[start:])
        torch.testing.assert_close(average.means[0], torch.full((2,), expected), rtol=1e-4, atol=1e-5)


def test_before_its_start_an_even_average_changes_nothing(small_config, tmp_path):
    plain, _, _ = run(changed(small_config, {"train.epochs": 4, "train.patience": 4}), tmp_path)
    averaged, _, _ = run(changed(small_config, {"optim.swa_from": 0.5}), tmp_path)
    same = [a["ne"] == b["ne"] for a, b in zip(plain[:4], averaged[:4], strict=True)]
    assert same == [True, True, False, False]


@pytest.mark.parametrize("swa_from", [0.3, 0.6])
def test_predictions_with_an_average_are_those_of_the_best_epoch(small_config, tmp_path, swa_from):
    """Whether the best epoch came before the average began or after."""
    changes = {"train.epochs": 6, "train.patience": 6, "optim.lr": 0.03, "optim.swa_from": swa_from}
    records, valid, _ = run(changed(small_config, changes), tmp_path)
    labels = data.load(small_config["data"], ["valid"])["valid"].y
    best = min(record["ne"] for record in records[:-1])
    assert metrics.summarise(valid, labels)["ne"] == pytest.approx(best, abs=1e-6)


def test_slow_weights_go_half_the_way_and_training_goes_on_from_there(small_config):
    made, dense, _ = optimizer(small_config, optimizer="sgd", lr=0.1, embedding_l2=0.0, lookahead=2)
    made.step(1.0)
    torch.testing.assert_close(dense, torch.full((3,), 0.95))
    made.step(1.0)  # momentum 0.9: the second step is 0.1 * (0.5 + 0.45)
    torch.testing.assert_close(dense, torch.full((3,), 1 - 0.5 * (0.05 + 0.095)))


def test_features_of_a_log_fit_the_width_of_its_table(small_config):
    """Every family's table is as wide as its members read."""
    log = data.load(small_config["data"], ["train"])["train"]
    features = Features(config.check(small_config)["features"], log)
    for interaction in config.INTERACTIONS:
        settings_ = {**PLAIN, "interaction": interaction, "members": 2, "embedding_sets": 2, "embedding_factor": 2}
        ranker = models.Ranker(settings_, features.shape, 0.0)
        fields = features.shape.id_fields
        width = 2 * models.row_width(settings_, features.shape)
        numbers = torch.zeros(3, sum(block.fields for block in features.shape.numbers))
        assert ranker(torch.randn(3, fields, width), numbers).shape == (3, 2)
