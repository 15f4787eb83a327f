"""The stop rule decides by the last point reached, and by nothing else."""

import json
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rea.job.stoprule import Reading, StopRule, judge, parse_line

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
points = st.lists(st.tuples(finite, finite), min_size=1, max_size=8, unique_by=lambda point: point[0]).map(sorted)


def rule(pairs, direction="minimize"):
    return StopRule("ne", "valid", direction, tuple(pairs), "epoch")


@given(points, finite, finite, st.sampled_from(["minimize", "maximize"]))
def test_a_reading_is_held_against_the_last_point_at_or_before_it(pairs, x, value, direction):
    reached = [limit for at, limit in pairs if at <= x]
    worse = bool(reached) and (value > reached[-1] if direction == "minimize" else value < reached[-1])
    nans, stop = judge(rule(pairs, direction), 1, Reading(x, value))
    assert nans == 0
    assert (stop is not None) == worse
    if stop is not None:
        assert stop.reason == "worse" and stop.limit == reached[-1] and stop.point <= x


@given(points, finite, st.floats(min_value=0, max_value=1e6, width=32))
def test_minimising_a_metric_is_maximising_its_negative(pairs, x, value):
    mirrored = [(at, -limit) for at, limit in pairs]
    _, down = judge(rule(pairs), 0, Reading(x, value))
    _, up = judge(rule(mirrored, "maximize"), 0, Reading(x, -value))
    assert (down is None) == (up is None)


@given(st.lists(st.sampled_from([math.nan, 0.5, math.inf]), max_size=12))
def test_only_two_nans_in_a_row_stop_a_run_before_its_first_point(values):
    nans, stops = 0, []
    for x, value in enumerate(values):
        nans, stop = judge(rule([(1e6, 0.1)]), nans, Reading(x, value))
        stops.append(stop is not None)
    pairs = [False, *(math.isnan(a) and math.isnan(b) for a, b in pairwise(values))]
    assert stops == pairs[: len(values)]


def test_a_value_equal_to_the_limit_goes_on():
    assert judge(rule([(1, 0.8)]), 0, Reading(1, 0.8)) == (0, None)


def test_infinity_is_worse_than_any_limit_when_minimising():
    _, stop = judge(rule([(1, 0.8)]), 0, Reading(2, math.inf))
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
    assert judge(rule([(1, 0.8)]), 1, reading)[1].reason == "nan"


def test_a_reading_without_a_place_is_held_against_nothing():
    reading = parse_line(rule([(1, 0.8)]), b'{"split": "valid", "ne": 99}')
    assert judge(rule([(1, 0.8)]), 0, reading) == (0, None)
