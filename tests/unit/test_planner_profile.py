"""Seed noise, stop limits and the baseline's summary."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rea.domain.codebase import Objective, Resources
from rea.domain.errors import ReaError
from rea.domain.run import Reading, Run, RunDraft, RunResult
from rea.domain.states import Phase, RunState
from rea.domain.treatment import Treatment
from rea.planner.profile import PRIOR_NOISE, best_so_far, measure, paired_noise, stop_limits

LESS = Objective("ne", "minimize", "valid", "test", 0.0005)
MORE = Objective("auc", "maximize", "valid", "test", 0.0005)
values = st.lists(st.floats(0.5, 1.5), min_size=2, max_size=20)


def curve_of(metric: str, numbers: list[float]) -> tuple[Reading, ...]:
    return tuple(Reading(float(x), {metric: value}) for x, value in enumerate(numbers, start=1))


@given(values)
def test_noise_lies_between_the_prior_and_what_was_seen(seen):
    mean = sum(seen) / len(seen)
    sample = math.sqrt(2 * sum(((v - mean) / mean) ** 2 for v in seen) / (len(seen) - 1))
    prior = math.sqrt(2) * PRIOR_NOISE
    assert min(sample, prior) - 1e-12 <= paired_noise(seen) <= max(sample, prior) + 1e-12


def test_many_seeds_outweigh_the_prior():
    chance = random.Random(0)
    seen = [0.8 * (1 + 0.01 * chance.gauss(0, 1)) for _ in range(4000)]
    assert paired_noise(seen) == pytest.approx(math.sqrt(2) * 0.01, rel=0.05)


@given(values, st.floats(0.1, 10.0))
def test_noise_is_relative(seen, factor):
    assert paired_noise([factor * v for v in seen]) == pytest.approx(paired_noise(seen))


@given(st.lists(st.floats(0.1, 2.0), max_size=12), st.floats(0.001, 0.05), st.floats(0.0, 0.9), st.booleans())
def test_no_curve_is_stopped_by_its_own_limits_nor_before_its_time(numbers, tolerance, start, less):
    objective = LESS if less else MORE
    limits = stop_limits(curve_of(objective.metric, numbers), objective, tolerance=tolerance, start=start)
    best = dict(best_so_far(list(enumerate(numbers, start=1)), objective.direction))
    for x, limit in limits:
        assert 1 < x < len(numbers) and x / len(numbers) >= start  # at the last reading nothing is saved
        assert limit > best[x] if less else limit < best[x]
    assert len(numbers) >= 3 or not limits


@given(st.lists(st.floats(0.1, 2.0), min_size=3, max_size=12), st.floats(0.001, 0.05))
def test_limits_tighten_along_the_curve(numbers, tolerance):
    limits = stop_limits(curve_of("ne", numbers), LESS, tolerance=tolerance, start=0.3)
    best = dict(best_so_far(list(enumerate(numbers, start=1)), "minimize"))
    room = [limit / best[x] - 1 for x, limit in limits]
    assert room == sorted(room, reverse=True) or room == pytest.approx(sorted(room, reverse=True))
    assert all(tolerance < share <= 3 * tolerance * (1 + 1e-9) for share in room)
    assert [limit for _, limit in limits] == sorted((limit for _, limit in limits), reverse=True)


@given(st.lists(st.floats(0.1, 2.0), min_size=3, max_size=12), st.floats(0.001, 0.02), st.floats(1.0, 3.0))
def test_more_tolerance_stops_less(numbers, tolerance, factor):
    strict = stop_limits(curve_of("ne", numbers), LESS, tolerance=tolerance, start=0.3)
    loose = stop_limits(curve_of("ne", numbers), LESS, tolerance=factor * tolerance, start=0.3)
    assert all(b >= a for (_, a), (_, b) in zip(strict, loose, strict=True))


def test_readings_that_are_no_numbers_set_no_limits():
    numbers = [0.9, math.nan, 0.8, math.inf, 0.7, 0.6]
    limits = stop_limits(curve_of("ne", numbers), LESS, tolerance=0.01, start=0.0)
    assert [x for x, _ in limits] == [3.0, 5.0] and all(math.isfinite(limit) for _, limit in limits)


def run(seed: int, ne: float | None, wall_s: float = 10.0) -> Run:
    draft = RunDraft(f"baseline/seed-{seed}", None, 0, Phase.PROFILE, Treatment(), seed, 1.0, 60.0, 60.0)
    if ne is None:
        return Run(seed, 1, draft, RunState.FAILED)
    result = RunResult({"ne": ne, "auc": 0.7}, (Reading(5, {"ne": ne}),), "epoch", wall_s, wall_s, 2**20 * seed)
    return Run(seed, 1, draft, RunState.SUCCEEDED, result=result)


def test_a_baseline_sums_up_the_runs_that_succeeded():
    found = measure([run(3, 0.82, 12), run(1, 0.80, 8), run(2, None)], LESS, Resources(2, 0, None, 60.0))
    assert found.seeds == (1, 3) and found.values == (0.80, 0.82)
    assert found.mean == pytest.approx(0.81) and found.run_s == 10 and found.device_s == 20
    assert found.peak_memory_bytes == 3 * 2**20 and found.epochs == 5 and found.metrics["auc"] == 0.7


def test_gains_are_shares_and_of_nothing_there_are_none():
    with pytest.raises(ReaError, match="is 0 on a seed"):
        measure([run(1, 0.8), run(2, 0.0)], LESS, Resources(1, 0, None, 60.0))
    assert LESS.gain(0.0, 0.1) == -1.0 and LESS.gain(0.0, 0.0) == 0.0 and LESS.gain(0.0, -0.1) == 1.0


def test_one_run_measures_no_noise():
    with pytest.raises(ReaError, match="1 time"):
        measure([run(1, 0.8), run(2, None)], LESS, Resources(1, 0, None, 60.0))
