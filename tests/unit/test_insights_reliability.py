"""Reliability: shares inside predicted intervals."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rea.insights.reliability import LEVELS, Prediction, reliability

numbers = st.floats(-0.05, 0.05)
predictions = st.builds(Prediction, numbers, st.floats(1e-4, 0.02), numbers, st.floats(0.0, 0.02))


@given(st.lists(predictions, min_size=1, max_size=40))
def test_wider_intervals_hold_more_and_bins_hold_every_prediction_once(made):
    found = reliability(made)
    assert found is not None and found.count == len(made)
    shares = [found.inside[level] for level in LEVELS]
    assert shares == sorted(shares) and shares[0] >= 0.0 and shares[-1] <= 1.0
    assert sum(group.count for group in found.bins) == len(made)
    predicted = [group.predicted for group in found.bins]
    assert predicted == pytest.approx(sorted(predicted), abs=1e-12)
    mean = sum(group.count * group.observed for group in found.bins) / len(made)
    assert mean == pytest.approx(sum(p.observed for p in made) / len(made), abs=1e-12)


@pytest.mark.parametrize("error", [0.0, 0.001])
def test_beliefs_that_are_true_hold_as_often_as_they_say(error):
    chance = random.Random(4)
    made = []
    for _ in range(4000):
        mean, sd = chance.gauss(0, 0.002), chance.uniform(0.001, 0.004)
        made.append(Prediction(mean, sd, chance.gauss(chance.gauss(mean, sd), error), error))
    found = reliability(made)
    for level in LEVELS:
        assert found.inside[level] == pytest.approx(level, abs=0.025)
    assert found.spread == pytest.approx(1.0, abs=0.04) and abs(found.bias) < 0.0002
    for group in found.bins:
        assert abs(group.observed - group.predicted) < 4 * group.error


def test_too_narrow_beliefs_show_as_spread_and_as_misses():
    chance = random.Random(5)
    found = reliability([Prediction(0.0, 0.001, chance.gauss(0.0, 0.003)) for _ in range(1000)])
    assert found.spread > 2.5 and found.inside[0.95] < 0.6


def test_without_a_finite_prediction_there_is_no_reliability():
    assert reliability([]) is None
    assert reliability([Prediction(math.nan, 0.001, 0.0), Prediction(0.0, 0.001, math.inf)]) is None
