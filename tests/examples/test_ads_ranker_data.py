"""Loaders, the generated log, features and the config of the reference codebase."""

import json
import subprocess
import sys
from pathlib import Path

import config
import data
import evaluate
import metrics
import numpy as np
import pytest
import yaml
from features import Features
from hypothesis import given, settings
from hypothesis import strategies as st

CONFIGS = sorted((Path(config.HERE) / "configs").glob("*.yaml"))
FEATURES = {
    "min_count": 1,
    "rare_mask": 0.0,
    "numeric_encoding": "log",
    "numeric_buckets": 8,
    "count_features": False,
    "target_encoding": False,
    "crosses": "",
}


def make_log(cat, num=None, y=None) -> data.Log:
    cat = np.array(cat, np.int32)
    num = np.zeros((len(cat), 0), np.float32) if num is None else np.array(num, np.float32)
    y = (np.arange(len(cat)) % 2).astype(np.float32) if y is None else np.array(y, np.float32)
    names = tuple(f"f{i}" for i in range(cat.shape[1])), tuple(f"n{i}" for i in range(num.shape[1]))
    return data.Log(cat, num, y, None, *names)


# ---- config ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_in_the_folder_is_valid(path):
    config.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("optim", "lrr", 1.0), "unknown key optim.lrr; did you mean optim.lr"),
        (("optim", "lr", "fast"), "optim.lr: expected a number"),
        (("optim", "lr", -1), "optim.lr: expected a number from 0"),
        (("model", "interaction", "dcnv9"), "model.interaction: expected one of lr, fm"),
        (("model", "mlp_units", "64;32"), "model.mlp_units: expected layer widths"),
        (("train", "epochs", 0), "train.epochs: expected a whole number, at least 1"),
        (("model", "wide_part", "yes"), "model.wide_part: expected true or false"),
        (("data", "split", [0.5, 0.5, 0.5]), "data.split: expected three fractions"),
        (("data", "format", "xml"), "data.format: expected one of"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_expected(small_config, change, message):
    section, key, value = change
    small_config[section][key] = value
    with pytest.raises(config.ConfigError, match=message):
        config.check(small_config)


def test_a_missing_key_is_named(small_config):
    del small_config["loss"]["focal_gamma"]
    with pytest.raises(config.ConfigError, match=r"missing key loss\.focal_gamma"):
        config.check(small_config)


def test_a_config_older_than_a_key_means_what_it_always_meant(small_config):
    written_out = config.check(small_config)
    for name, value in ((f"{s}.{k}", v) for s, keys in config.DEFAULTS.items() for k, v in keys.items()):
        section, key = name.split(".")
        assert written_out[section][key] == value, "the packaged configs leave later switches off"
        del small_config[section][key]
    assert config.check(small_config) == written_out


def test_two_averages_of_weights_are_refused(small_config):
    small_config["optim"].update(ema_decay=0.9, swa_from=0.5)
    with pytest.raises(config.ConfigError, match="one average of weights"):
        config.check(small_config)


@pytest.mark.parametrize("interaction", config.INTERACTIONS)
@pytest.mark.parametrize("mlp_units", ["8", ""])
def test_a_loss_on_streams_is_refused_where_there_is_one_stream(small_config, interaction, mlp_units):
    small_config["model"].update(interaction=interaction, mlp_units=mlp_units)
    small_config["loss"]["auxiliary_weight"] = 0.5
    without_mlp = interaction in config.TWO_STREAMS_WITH_MLP and not mlp_units
    if interaction in config.SINGLE_STREAM or without_mlp:
        with pytest.raises(config.ConfigError, match=f"auxiliary_weight: {interaction} has a single stream"):
            config.check(small_config)
        small_config["model"]["embedding_sets"] = 2
    assert config.check(small_config)["loss"]["auxiliary_weight"] == 0.5


def test_yaml_numbers_without_a_dot_are_numbers(small_config):
    small_config["optim"]["lr"] = yaml.safe_load("1e-3")  # YAML 1.1 reads a string
    assert config.check(small_config)["optim"]["lr"] == 0.001


# ---- loaders --------------------------------------------------------------------------------------------------------


def same_identity(a: np.ndarray, b: np.ndarray) -> bool:
    """Two id columns that tell the same rows apart, and agree on what is missing."""
    pairs = len({*zip(a.tolist(), b.tolist(), strict=True)})
    return pairs == len(set(a.tolist())) == len(set(b.tolist())) and ((a == 0) == (b == 0)).all()


def random_rows(rows: int = 200):
    rng = np.random.default_rng(5)
    cat = rng.integers(0, 7, (rows, 26))
    num = rng.integers(-2, 1000, (rows, 13)).astype(np.float32)
    num[rng.random((rows, 13)) < 0.3] = np.nan
    return cat, num, rng.integers(0, 2, rows)


def concatenated(logs: dict[str, data.Log]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    parts = [logs[name] for name in data.SPLITS]
    return tuple(np.concatenate([getattr(p, field) for p in parts]) for field in ("cat", "num", "y"))


def write_csv(path, cat, num, y, split):
    header = ["y", *(f"c{i}" for i in range(3)), *(f"n{i}" for i in range(2)), "part"]
    rows = [
        [
            y[r],
            *(f"id,{v}" if v else "" for v in cat[r, :3]),
            *("" if np.isnan(v) else repr(float(v)) for v in num[r, :2]),
            split[r],
        ]
        for r in range(len(y))
    ]
    lines = [",".join(header)] + [",".join(f'"{v}"' for v in row) for row in rows]
    path.write_text("\n".join(lines) + "\n")


def write_parquet(path, cat, num, y, split):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    columns = {"y": y, "part": list(split)}
    columns |= {f"c{i}": [f"id{v}" if v else None for v in cat[:, i]] for i in range(3)}
    columns |= {f"n{i}": [None if np.isnan(v) else float(v) for v in num[:, i]] for i in range(2)}
    pq.write_table(pa.table(columns), path)


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("by_column", [True, False])
def test_tables_keep_identity_numbers_and_splits(tmp_path, form, by_column):
    cat, num, y = random_rows()
    split = np.array(["train"] * 120 + ["valid"] * 40 + ["test"] * 40)
    path = tmp_path / f"log.{form}"
    {"csv": write_csv, "parquet": write_parquet}[form](path, cat, num, y, split)
    settings_ = {
        "format": form,
        "path": str(path),
        "label": "y",
        "categorical": ["c0", "c1", "c2"],
        "numeric": ["n0", "n1"],
        "split": "part" if by_column else [0.6, 0.2, 0.2],
    }
    logs = data.load(settings_, data.SPLITS)
    assert [len(logs[name]) for name in data.SPLITS] == [120, 40, 40]
    found_cat, found_num, found_y = concatenated(logs)
    assert all(same_identity(found_cat[:, i], cat[:, i]) for i in range(3))
    np.testing.assert_array_equal(found_num, num[:, :2])
    np.testing.assert_array_equal(found_y, y)


def test_criteo_lines_keep_identity_numbers_and_order(tmp_path):
    cat, num, y = random_rows()
    lines = [
        "\t".join(
            [
                str(y[r]),
                *("" if np.isnan(v) else str(int(v)) for v in num[r]),
                *(f"{v:08x}" if v else "" for v in cat[r]),
            ]
        )
        for r in range(len(y))
    ]
    path = tmp_path / "day.tsv"
    path.write_text("\n".join(lines) + "\n")
    logs = data.load({"format": "criteo", "path": str(path), "split": [0.6, 0.2, 0.2]}, data.SPLITS)
    found_cat, found_num, found_y = concatenated(logs)
    assert all(same_identity(found_cat[:, i], cat[:, i]) for i in range(26))
    np.testing.assert_array_equal(found_num, num)
    np.testing.assert_array_equal(found_y, y)

    path.write_text("1\t2\n")
    with pytest.raises(config.ConfigError, match="expected 40 tab-separated fields, found 2"):
        data.load({"format": "criteo", "path": str(path), "split": [0.6, 0.2, 0.2]}, data.SPLITS)


def write_npz(folder: Path, cat, num, y, split) -> dict:
    folder.mkdir()
    np.savez_compressed(
        folder / "data.npz", cat=cat.astype(np.int32), num=num, y=y.astype(np.uint8), split=split.astype(np.uint8)
    )
    meta = {"cat_fields": [f"c{i}" for i in range(cat.shape[1])], "num_fields": [f"n{i}" for i in range(num.shape[1])]}
    (folder / "meta.json").write_text(json.dumps(meta))
    return {"format": "npz", "path": str(folder)}


def test_npz_rows_keep_their_order_within_a_split(tmp_path):
    cat, num, y = random_rows()
    split = np.random.default_rng(1).integers(0, 3, 200)
    logs = data.load(write_npz(tmp_path / "set", cat, num, y, split), data.SPLITS)
    for code, name in enumerate(data.SPLITS):
        np.testing.assert_array_equal(logs[name].cat, cat[split == code])
        np.testing.assert_array_equal(logs[name].y, y[split == code])


def test_labels_are_given_for_the_named_splits_only(small_config):
    logs = data.load(small_config["data"], ["train"])
    assert logs["train"].y is not None
    assert logs["valid"].y is logs["test"].y is logs["test"].teacher is None


def test_absent_data_say_where_they_were_looked_for():
    with pytest.raises(config.ConfigError, match=r"data\.path: .*nowhere does not exist"):
        data.load({"format": "npz", "path": "nowhere"}, [])


# ---- the generated log ----------------------------------------------------------------------------------------------


def test_the_generated_log_is_the_same_every_time_and_another_for_another_seed(small_config):
    first, second = (data.load(small_config["data"], data.SPLITS)["valid"] for _ in range(2))
    np.testing.assert_array_equal(first.cat, second.cat)
    np.testing.assert_array_equal(first.num, second.num)
    np.testing.assert_array_equal(first.y, second.y)
    other = data.load({**small_config["data"], "seed": 8}, data.SPLITS)["valid"]
    assert (other.cat != first.cat).any()


def test_the_teacher_is_calibrated_and_beats_the_click_rate():
    log = data.load({"format": "generated", "rows": 60_000, "seed": 7, "split": [0.1, 0.1, 0.8]}, ["test"])["test"]
    found = metrics.summarise(log.teacher, log.y)
    assert found["calibration"] == pytest.approx(1, abs=0.02)
    assert 0.7 < found["ne"] < 0.85


# ---- features -------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 9), min_size=2, max_size=60),
    st.lists(st.integers(0, 12), min_size=1, max_size=30),
    st.integers(1, 4),
)
def test_an_id_has_a_row_of_its_own_only_if_train_has_enough_of_it(train_ids, other_ids, min_count):
    train, other = make_log([[v] for v in train_ids]), make_log([[v] for v in other_ids])
    features = Features({**FEATURES, "min_count": min_count}, train)
    found = features.encode(other).ids[:, 0]
    for raw, row in zip(other_ids, found, strict=True):
        assert (row == features.oov[0]) == (train_ids.count(raw) < min_count)
    kept = [raw for raw in set(other_ids) if train_ids.count(raw) >= min_count]
    assert len({int(found[other_ids.index(raw)]) for raw in kept}) == len(kept)
    assert features.shape.table_rows == 1 + sum(train_ids.count(v) >= min_count for v in set(train_ids))


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=40))
def test_fields_and_crosses_never_share_rows(pairs):
    features = Features({**FEATURES, "crosses": "f0*f1"}, make_log(pairs))
    ids = features.encode(make_log(pairs)).ids
    columns = [set(ids[:, i].tolist()) for i in range(3)]
    assert len(set.union(*columns)) == sum(map(len, columns))
    assert len(columns[2]) == len(set(pairs))


def test_a_train_row_never_sees_its_own_label_in_its_click_rate():
    rng = np.random.default_rng(2)
    ids, y = rng.integers(0, 5, (200, 1)), rng.integers(0, 2, 200)
    flipped = y.copy()
    flipped[17] = 1 - y[17]

    def encoded(labels):
        train = make_log(ids, y=labels)
        features = Features({**FEATURES, "target_encoding": True}, train)
        # Undo the standardisation, which is one scale for all rows.
        return features.encode(train).num[:, 0] * features.derived_scale[0] + features.derived_center[0]

    before, after = encoded(y), encoded(flipped)
    prior_shift = abs(after[17] - before[17])  # through the overall rate only
    same_id = (ids[:, 0] == ids[17, 0]) & (np.arange(200) % 5 != 17 % 5)
    assert prior_shift < 0.02
    assert (np.abs(after[same_id] - before[same_id]) > 0.02).all()


@pytest.mark.parametrize("encoding", config.NUMERIC_ENCODINGS)
def test_numeric_encodings_are_fitted_on_train_and_take_missing_values(encoding):
    rng = np.random.default_rng(4)
    num = rng.exponential(100, (300, 2))
    num[rng.random((300, 2)) < 0.2] = np.nan
    train = make_log(np.ones((300, 1)), num)
    features = Features({**FEATURES, "numeric_encoding": encoding}, train)
    alone = features.encode(make_log(np.ones((1, 1)), num[:1]))
    together = features.encode(train)
    np.testing.assert_array_equal(alone.ids[0], together.ids[0])
    np.testing.assert_array_equal(alone.num[0], together.num[0])
    if encoding in ("bucket", "log_bucket"):
        assert together.num.shape[1] == 0
        missing = np.isnan(num[:, 0])
        assert len(set(together.ids[missing, 1].tolist())) == 1
        assert not set(together.ids[missing, 1].tolist()) & set(together.ids[~missing, 1].tolist())
    else:
        np.testing.assert_array_equal(np.isnan(together.num), np.isnan(num))


# ---- the evaluator --------------------------------------------------------------------------------------------------


def run_evaluate(ads_ranker: Path, folder: Path, settings_: dict, predictions: Path, split: str = "valid"):
    config_path = folder / "c.yaml"
    config_path.write_text(yaml.safe_dump(settings_))
    command = [sys.executable, "evaluate.py", "--config", config_path, "--predictions", predictions, "--split", split]
    return subprocess.run([str(part) for part in command], cwd=ads_ranker, capture_output=True, text=True)


def test_the_evaluator_prints_one_line_that_agrees_with_the_metrics(ads_ranker, small_config, tmp_path):
    log = data.load(small_config["data"], ["test"])["test"]
    predictions = np.random.default_rng(0).random(len(log)).astype(np.float32)
    np.save(tmp_path / "p.npy", predictions)
    done = run_evaluate(ads_ranker, tmp_path, small_config, tmp_path / "p.npy", "test")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    found = json.loads(done.stdout)
    assert found["split"] == "test"
    assert found["rows"] == len(log)
    for name, value in metrics.summarise(predictions, log.y).items():
        assert found[name] == pytest.approx(value)
    assert sum(found["blocks"]["loss"]) / len(log) == pytest.approx(found["logloss"])
    assert len(found["blocks"]["loss"]) == len(found["blocks"]["rows"]) == 100
    assert found["irreducible_ne"] == pytest.approx(metrics.summarise(log.teacher, log.y)["ne"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda n: np.full(n - 1, 0.5), "expected 450 predictions"),
        (lambda n: np.full((n, 1), 0.5), "expected 450 predictions"),
        (lambda n: np.r_[np.full(n - 1, 0.5), np.nan], "1 predictions are not finite"),
        (lambda n: np.r_[np.full(n - 1, 0.5), 1.5], r"probabilities lie in \[0, 1\], found 0.5 to 1.5"),
        (lambda n: np.r_[np.full(n - 1, 0.5), -0.1], r"probabilities lie in \[0, 1\]"),
        (lambda n: np.ones(n, np.int64), "expected floating-point"),
        (lambda n: np.array([{}] * n, object), "allow_pickle"),
    ],
)
def test_garbage_predictions_are_refused(small_config, tmp_path, make, message):
    np.save(tmp_path / "p.npy", make(450))
    with pytest.raises(ValueError, match=message):
        evaluate.evaluate(small_config, str(tmp_path / "p.npy"), "valid")


def test_refusals_reach_the_exit_status(ads_ranker, small_config, tmp_path):
    (tmp_path / "p.npy").write_bytes(b"not an array")
    assert run_evaluate(ads_ranker, tmp_path, small_config, tmp_path / "p.npy").returncode == 1
    done = run_evaluate(ads_ranker, tmp_path, {**small_config, "typo": {}}, tmp_path / "p.npy")
    assert done.returncode == 2
    assert "unknown key typo" in done.stderr
    assert done.stdout == ""


def test_the_evaluator_needs_no_torch(ads_ranker):
    code = "import sys, evaluate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ads_ranker).returncode == 0
