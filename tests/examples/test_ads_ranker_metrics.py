"""Metrics, blocks and calibration of the reference codebase against formulas written out independently."""

import math

import calibration
import metrics
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with many ties, and labels of both kinds."""
    size = draw(st.integers(2, 40))
    p = draw(st.lists(st.sampled_from([0.0, 0.01, 0.2, 0.5, 0.500001, 0.9, 1.0]), min_size=size, max_size=size))
    y = draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=size, max_size=size).filter(lambda v: 0 < sum(v) < len(v)))
    return np.array(p, np.float32), np.array(y, np.float32)


@given(scored())
def test_auc_is_the_share_of_pairs_in_the_right_order_with_ties_as_half(case):
    p, y = case
    pairs = [
        (a, b)
        for a, label_a in zip(p, y, strict=True)
        if label_a == 1
        for b, label_b in zip(p, y, strict=True)
        if label_b == 0
    ]
    expected = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)
    assert metrics.auc(p, y) == pytest.approx(expected, abs=1e-12)


@given(scored())
def test_ne_and_logloss_follow_their_definitions(case):
    p, y = case
    clipped = [min(max(float(v), 1e-7), 1 - 1e-7) for v in p]
    losses = [-math.log(v) if label == 1 else -math.log(1 - v) for v, label in zip(clipped, y, strict=True)]
    rate = float(y.mean())
    prior = -rate * math.log(rate) - (1 - rate) * math.log(1 - rate)
    found = metrics.summarise(p, y)
    assert found["logloss"] == pytest.approx(sum(losses) / len(losses))
    assert found["ne"] == pytest.approx(sum(losses) / len(losses) / prior)
    assert found["calibration"] == pytest.approx(float(p.astype(float).mean()) / rate)


def test_a_model_that_knows_only_the_click_rate_has_ne_one():
    y = np.array([1, 0, 0, 0, 1, 0, 0, 0], np.float32)
    found = metrics.summarise(np.full(8, 0.25), y)
    assert found["ne"] == pytest.approx(1)
    assert found["auc"] == 0.5


def test_labels_of_one_kind_are_refused():
    with pytest.raises(ValueError, match="clicks and non-clicks"):
        metrics.summarise(np.full(4, 0.5), np.ones(4))


@given(st.integers(100, 3000), st.integers(1, 100))
def test_blocks_partition_the_rows_and_keep_the_total_loss(rows, count):
    losses = np.random.default_rng(rows).exponential(size=rows)
    found = metrics.blocks(losses, count)
    assert sum(found["rows"]) == rows
    assert max(found["rows"]) - min(found["rows"]) <= 1
    assert sum(found["loss"]) == pytest.approx(losses.sum())


def test_blocks_hold_the_same_rows_for_every_run():
    rows = np.arange(1000.0)
    assert metrics.blocks(rows, 100) == metrics.blocks(rows.copy(), 100)
    # In row order, the first block would hold the ten smallest.
    assert metrics.blocks(rows, 100)["loss"][0] > 100


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_calibration_mends_distorted_probabilities(method):
    rng = np.random.default_rng(3)
    true = rng.beta(2, 5, 40_000)
    y = (rng.random(40_000) < true).astype(float)
    log_odds = np.log(true / (1 - true))
    distorted = 1 / (1 + np.exp(-(2 * log_odds + 1)))
    calibrate = calibration.fit(method, distorted[:20_000], y[:20_000])
    before = metrics.summarise(distorted[20_000:], y[20_000:])
    after = metrics.summarise(calibrate(distorted[20_000:]), y[20_000:])
    ideal = metrics.summarise(true[20_000:], y[20_000:])
    assert after["ne"] < before["ne"]
    assert after["ne"] == pytest.approx(ideal["ne"], abs=0.004)
    assert after["calibration"] == pytest.approx(1, abs=0.03)


@given(scored())
def test_isotonic_never_reverses_an_order_nor_reaches_certainty(case):
    p, y = case
    found = calibration.isotonic(p.astype(float), y.astype(float))(np.linspace(0, 1, 101))
    assert (np.diff(found) >= -1e-12).all()
    assert 0 < found.min() <= found.max() < 1
