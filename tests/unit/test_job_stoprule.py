"""The stop rule decides by the last point reached, and by nothing else."""

import json
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rea.job.stoprule import Progress, Reading, StopRule, judge, parse_line

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
points = st.lists(st.tuples(finite, finite), min_size=1, max_size=8, unique_by=lambda point: point[0]).map(sorted)


def rule(pairs, direction="minimize"):
    return StopRule("ne", "valid", direction, tuple(pairs), "epoch")


@given(points, finite, finite, st.sampled_from(["minimize", "maximize"]))
def test_a_reading_is_held_against_the_last_point_at_or_before_it(pairs, x, value, direction):
    reached = [limit for at, limit in pairs if at <= x]
    worse = bool(reached) and (value > reached[-1] if direction == "minimize" else value < reached[-1])
    progress, stop = judge(rule(pairs, direction), Progress(1), Reading(x, value))
    assert progress == Progress(0, value)
    assert (stop is not None) == worse
    if stop is not None:
        assert stop.reason == "worse" and stop.limit == reached[-1] and stop.point <= x


@given(points, finite, st.floats(min_value=0, max_value=1e6, width=32))
def test_minimising_a_metric_is_maximising_its_negative(pairs, x, value):
    mirrored = [(at, -limit) for at, limit in pairs]
    _, down = judge(rule(pairs), Progress(), Reading(x, value))
    _, up = judge(rule(mirrored, "maximize"), Progress(), Reading(x, -value))
    assert (down is None) == (up is None)


@given(st.lists(st.sampled_from([math.nan, 0.5, math.inf]), max_size=12))
def test_only_two_nans_in_a_row_stop_a_run_before_its_first_point(values):
    progress, stops = Progress(), []
    for x, value in enumerate(values):
        progress, stop = judge(rule([(1e6, 0.1)]), progress, Reading(x, value))
        stops.append(stop is not None)
    pairs = [False, *(math.isnan(a) and math.isnan(b) for a, b in pairwise(values))]
    assert stops == pairs[: len(values)]


def test_a_run_that_was_good_may_overfit_until_its_own_early_stopping_ends_it():
    progress, stop = judge(rule([(1, 0.8), (2, 0.7)]), Progress(), Reading(2, 0.65))
    assert stop is None
    assert judge(rule([(1, 0.8), (2, 0.7)]), progress, Reading(3, 0.9))[1] is None


def test_a_value_equal_to_the_limit_goes_on():
    assert judge(rule([(1, 0.8)]), Progress(), Reading(1, 0.8)) == (Progress(0, 0.8), None)


def test_infinity_is_worse_than_any_limit_when_minimising():
    _, stop = judge(rule([(1, 0.8)]), Progress(), Reading(2, math.inf))
    assert stop is not None and stop.reason == "worse"


@given(st.binary(max_size=200))
def test_no_line_whatever_breaks_the_parser(line):
    parse_line(rule([(1, 0.8)]), line)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner)))
def test_a_line_without_a_number_for_the_metric_is_no_reading(value):
    reading = parse_line(rule([(1, 0.8)]), json.dumps({"split": "valid", "epoch": 1, "ne": value}).encode())
    assert (reading is not None) == isinstance(value, float)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"split": "valid", "epoch": 2, "ne": 0.5}', Reading(2, 0.5)),
        (b'{"split": "valid", "epoch": 2, "ne": -Infinity}', Reading(2, -math.inf)),
        (b'{"split": "valid", "epoch": 2, "ne": 1' + b"0" * 400 + b"}", Reading(2, math.inf)),
        (b'{"split": "train", "epoch": 2, "ne": 0.5}', None),
        (b'{"final": true, "ne": 0.5}', None),
        (b'{"split": "valid", "epoch": 2, "auc": 0.5}', None),
        (b'{"split": "valid", "epoch": 2, "ne": true}', None),
        (b'{"split": "valid", "epo', None),
        (b"[" * 100_000, None),
    ],
)
def test_lines_are_read_for_what_they_say(line, expected):
    assert parse_line(rule([(1, 0.8)]), line) == expected


def test_a_nan_without_a_place_still_counts():
    reading = parse_line(rule([(1, 0.8)]), b'{"split": "valid", "ne": NaN}')
    assert reading is not None and math.isnan(reading.value)
    assert judge(rule([(1, 0.8)]), Progress(1), reading)[1].reason == "nan"


def test_a_reading_without_a_place_is_held_against_nothing():
    reading = parse_line(rule([(1, 0.8)]), b'{"split": "valid", "ne": 99}')
    assert judge(rule([(1, 0.8)]), Progress(), reading) == (Progress(0, 99), None)
