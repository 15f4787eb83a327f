"""What fields tell, how far they drift, and the switches of features that are decided by it."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import config
import data
import information
import numpy as np
import profile_data
import pytest
import yaml
from features import Features
from hypothesis import given, settings
from hypothesis import strategies as st

from rea.codebase.data import read_profile

PLAIN = {
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
    y = None if y is None else np.array(y, np.float32)
    names = tuple(f"f{i}" for i in range(cat.shape[1])), tuple(f"n{i}" for i in range(num.shape[1]))
    return data.Log(cat, num, y, None, *names)


def generated(rows: int = 40_000) -> dict[str, data.Log]:
    section = {"format": "generated", "rows": rows, "seed": 7, "split": [0.7, 0.15, 0.15]}
    return data.load(section, ["train"])


def crossed(rows: int = 8000, seed: int = 0) -> data.Log:
    """The label is told by f0 × f1 alone, by f2 alone, and by f3 not at all."""
    rng = np.random.default_rng(seed)
    cat = rng.integers(1, 5, (rows, 4))
    log_odds = np.where((cat[:, 0] + cat[:, 1]) % 2, 1.0, -1.0) + np.where(cat[:, 2] > 2, 0.7, -0.7)
    return make_log(cat, rng.normal(size=(rows, 1)), rng.random(rows) < 1 / (1 + np.exp(-log_odds)))


# ---- information ----------------------------------------------------------------------------------------------------


def test_a_planted_pair_and_a_planted_field_are_found_and_nothing_else():
    found = information.measure(crossed())
    assert found.fields[2] > 0.03
    assert found.fields[[0, 1, 3, 4]].max() < 0.005
    assert (found.pairs[0].first, found.pairs[0].second) == (0, 1)
    assert found.pairs[0].information > 0.1
    assert len(found.pairs) == 1


@pytest.mark.parametrize("ids", [5, 500, 4000])
def test_labels_by_chance_tell_nothing_however_many_ids_a_field_has(ids):
    rng = np.random.default_rng(ids)
    log = make_log(rng.integers(1, ids, (8000, 3)), y=rng.integers(0, 2, 8000))
    found = information.measure(log)
    assert found.fields.max() < 0.002
    assert found.pairs == ()


def test_the_pairs_planted_in_the_generated_log_come_first():
    train = generated()["train"]
    pairs = [{train.cat_fields[p.first], train.cat_fields[p.second]} for p in information.measure(train).pairs]
    assert {frozenset(pair) for pair in pairs[:3]} == {
        frozenset({"category", "age_band"}),
        frozenset({"slot", "format"}),
        frozenset({"device", "hour"}),
    }


def test_the_same_log_gives_the_same_numbers():
    first, second = information.measure(crossed()), information.measure(crossed())
    assert first.pairs == second.pairs
    np.testing.assert_array_equal(first.fields, second.fields)


@settings(max_examples=40)
@given(st.integers(1, 400), st.integers(500, 1500), st.integers(500, 1500), st.integers(0, 1000))
def test_two_samples_of_one_distribution_hardly_drift(values, before, after, seed):
    rng = np.random.default_rng(seed)
    assert information.drift(rng.integers(0, values, before), rng.integers(0, values, after)) < 0.2


@settings(max_examples=30)
@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 100))
def test_drift_grows_with_the_share_of_rows_that_moved(one, other, seed):
    before = np.random.default_rng(seed).integers(0, 10, 3000)

    def moved(share):
        return np.where(np.arange(3000) < share * 3000, 99, before)

    small, large = sorted((one, other))
    assert information.drift(before, moved(small)) <= information.drift(before, moved(large)) + 0.06


def test_disjoint_values_are_as_far_apart_as_can_be():
    assert information.drift(np.arange(2000) % 5, 10 + np.arange(2000) % 5) == pytest.approx(1, abs=0.01)


def test_rare_and_unseen_rows_are_counted_and_missing_is_no_id():
    ids = np.array([1] * 20 + [2] * 9 + [3] + [0] * 10)
    rare_rows, rare_ids, unseen = information.rare(ids, np.array([1, 4, 4, 0]))
    assert (rare_rows, rare_ids, unseen) == (pytest.approx(10 / 40), pytest.approx(2 / 3), 0.5)


def test_rows_that_train_has_too_are_found_and_others_that_are_nearly_the_same_are_not():
    log = generated(3000)["train"]
    other = replace(log, cat=log.cat.copy(), num=log.num.copy())
    assert information.seen(log, other) == 1.0
    other.cat[: len(other) // 2, 0] += 10_000
    assert information.seen(log, other) == pytest.approx(0.5, abs=1e-3)
    other.num[len(other) // 2 :, 0] += 1.0
    assert information.seen(log, other) < 1e-3


# ---- switches of features -------------------------------------------------------------------------------------------


def test_settings_that_a_config_leaves_out_are_off_and_change_no_bit(small_config):
    for key in config.DEFAULTS["features"]:
        del small_config["features"][key]
    checked = config.check(small_config)["features"]
    assert {key: checked[key] for key in config.DEFAULTS["features"]} == config.DEFAULTS["features"]
    logs = generated(3000)
    found = Features(checked, logs["train"]).encode(logs["valid"])
    assert hashlib.sha256(found.ids.tobytes()).hexdigest()[:16] == "3279b0017e6be9df"


def test_auto_crosses_become_fields_of_their_own_and_explicit_ones_come_first():
    train = crossed()
    features = Features({**PLAIN, "crosses": "f2*f3", "auto_crosses": 1}, train)
    assert features.pairs == (("f2", "f3"), ("f0", "f1"))
    assert features.shape.id_fields == 6
    again = Features({**PLAIN, "crosses": "f0*f1", "auto_crosses": 1}, train)
    assert again.pairs == (("f0", "f1"),), "a pair is crossed once"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=2, max_size=60), st.integers(1, 5))
def test_a_cell_below_the_crosses_own_threshold_shares_their_oov_row(pairs, least):
    train = make_log(pairs, y=np.arange(len(pairs)) % 2)
    features = Features({**PLAIN, "crosses": "f0*f1", "cross_min_count": least}, train)
    ids = features.encode(train).ids
    for cell, row in zip(pairs, ids, strict=True):
        assert (row[2] == features.oov[2]) == (pairs.count(cell) < least)
        assert row[0] != features.oov[0], "single fields keep their own threshold"


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(16, 64), st.integers(0, 100))
def test_no_field_has_more_rows_than_the_cap_and_frequent_ids_share_none(ids, most, seed):
    column = np.random.default_rng(seed).geometric(0.02, 2000) % ids + 1
    train = make_log(column[:, None], y=np.arange(2000) % 2)
    features = Features({**PLAIN, "hash_rows": most}, train)
    assert features.shape.table_rows <= most + 1
    rows = features.encode(train).ids[:, 0]
    assert rows.max() < features.shape.table_rows
    assert features.oov[0] not in rows
    values, counts = np.unique(column, return_counts=True)
    for value in values[np.argsort(-counts, kind="stable")][: most // 2]:
        assert set(column[rows == rows[column == value][0]]) == {value}


def test_a_train_row_never_sees_its_own_label_in_a_pairs_rate():
    train = crossed(2000)
    flipped = train.y.copy()
    flipped[17] = 1 - flipped[17]
    features = Features({**PLAIN, "target_pairs": 1}, train)
    (pair,) = features.target_pairs

    def rates(labels):
        features.train = replace(train, y=labels)
        return features._statistics(features.train)[:, 0]

    before, after = rates(train.y), rates(flipped)
    same_cell = (train.cat[:, pair] == train.cat[17, pair]).all(1) & (np.arange(2000) % 5 != 17 % 5)
    assert abs(after[17] - before[17]) < 0.005, "through the overall rate alone"
    assert (np.abs(after[same_cell] - before[same_cell]) > 0.005).all()


def test_a_cell_that_train_lacks_adds_nothing_to_its_two_ids():
    train = crossed(2000)
    kept = ~((train.cat[:, 0] == 1) & (train.cat[:, 1] == 1))
    part = make_log(train.cat[kept], train.num[kept], train.y[kept])
    features = Features({**PLAIN, "target_pairs": 1}, part)
    found = features._statistics(make_log([[1, 1, 2, 2], [1, 9, 2, 2]], [[0.0], [0.0]]))
    assert features.target_pairs == [(0, 1)]
    np.testing.assert_allclose(found, 0, atol=1e-12)


@pytest.mark.parametrize("encoding", config.NUMERIC_ENCODINGS)
def test_with_both_a_number_is_an_id_and_a_number_whatever_its_encoding(encoding):
    log = crossed(500)
    features = Features({**PLAIN, "numeric_encoding": encoding, "numeric_both": True}, log)
    found = features.encode(log)
    assert found.ids.shape == (500, 5)
    assert found.num.shape == (500, 1)
    assert len(set(found.ids[:, 4].tolist())) > 2
    order = np.argsort(log.num[:, 0])
    assert (np.diff(found.num[order, 0]) >= 0).all(), "the number keeps its order"


def test_high_cardinality_alone_is_encoded_where_that_is_asked_for():
    rng = np.random.default_rng(0)
    log = make_log(np.stack([rng.integers(1, 4, 900), rng.integers(1, 300, 900)], 1), y=rng.integers(0, 2, 900))
    both, high = (
        Features({**PLAIN, "target_encoding": True, "target_fields": which}, log) for which in ("all", "high")
    )
    assert both.encode(log).num.shape[1] == 2
    np.testing.assert_array_equal(high._statistics(log)[:, 0], both._statistics(log)[:, 1])


def test_more_prior_rows_pull_click_rates_closer_together():
    log = crossed(1000)
    spreads = [
        Features({**PLAIN, "target_encoding": True, "target_prior": prior}, log)._statistics(log).std(0).max()
        for prior in (1, 20, 500)
    ]
    assert spreads[0] > spreads[1] > spreads[2]


def test_fields_that_tell_nothing_or_move_are_left_out_first():
    train = crossed()
    later = crossed(seed=1)
    features = Features({**PLAIN, "drop_fields": 2}, train, replace(later, y=None))
    assert features.dropped == ("f3", "n0")
    assert features.shape.id_fields == 3 and not features.shape.numbers
    moved = later.cat.copy()
    moved[:, 2] += 100
    gone = Features({**PLAIN, "drop_fields": 3}, train, replace(later, cat=moved, y=None)).dropped
    assert gone == ("f2", "f3", "n0"), "what f2 tells of train, it does not tell of what comes later"


@pytest.mark.parametrize("setting", ["auto_crosses", "target_pairs"])
def test_pairs_are_refused_where_none_tells_more_than_its_fields(setting):
    rng = np.random.default_rng(3)
    log = make_log(rng.integers(1, 9, (4000, 4)), y=rng.integers(0, 2, 4000))
    with pytest.raises(config.ConfigError, match=rf"features\.{setting}: no pair of fields tells more"):
        Features({**PLAIN, setting: 2}, log)


def test_numbers_beside_buckets_are_refused_where_there_are_no_numbers():
    with pytest.raises(config.ConfigError, match=r"features\.numeric_both: this log has no numeric field"):
        Features({**PLAIN, "numeric_both": True}, make_log([[1], [2]], y=[0, 1]))


def test_dropping_every_field_is_refused_with_how_many_there_are():
    with pytest.raises(config.ConfigError, match=r"features\.drop_fields: expected less than the 5 fields"):
        Features({**PLAIN, "drop_fields": 5}, crossed(200), crossed(200))


# ---- the data profile -----------------------------------------------------------------------------------------------


def test_the_profile_of_the_generated_log_is_one_that_rea_reads(ads_ranker, tmp_path, small_config):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(small_config))
    command = [sys.executable, "profile_data.py", "--config", str(path)]
    done = subprocess.run(command, cwd=ads_ranker, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = read_profile(done.stdout)
    logs = data.load(small_config["data"], ["train"])
    assert found.rows == {name: len(log) for name, log in logs.items()}
    assert found.positive_rate == pytest.approx(logs["train"].y.mean(), abs=1e-4)
    assert [one.name for one in found.fields] == [*logs["train"].cat_fields, *logs["train"].num_fields]
    ad = next(one for one in found.fields if one.name == "ad")
    assert ad.unseen_rows > 0.1 and ad.drift > 0.3 and ad.rare_rows > 0


def test_the_profile_reads_no_label_but_those_of_train(monkeypatch, ads_ranker, small_config, tmp_path, capsys):
    asked = []
    load = data.load

    def watched(section, labelled):
        asked.append(list(labelled))
        return load(section, labelled)

    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(small_config))
    monkeypatch.setattr(data, "load", watched)
    monkeypatch.setattr(sys, "argv", ["profile_data.py", "--config", str(path)])
    assert profile_data.main() == 0
    assert asked == [["train"]]
    assert json.loads(capsys.readouterr().out)["rows"]["test"] == 450


def test_the_profile_needs_no_torch(ads_ranker):
    code = "import sys, profile_data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ads_ranker).returncode == 0
