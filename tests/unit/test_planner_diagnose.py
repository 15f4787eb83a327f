"""Each symptom is found where it was planted, and not where it was not."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rea.domain.codebase import Guardrail, Objective
from rea.domain.run import Reading, RunResult
from rea.planner.diagnose import diagnose

LESS = Objective("ne", "minimize", "valid", "test", 0.001)
NOISE = 0.001


def result(values, train=None, **metrics) -> RunResult:
    rows = []
    for x, value in enumerate(values, start=1):
        held = {"ne": value}
        if train is not None:
            held["train_ne"] = train[x - 1]
        rows.append(Reading(float(x), held))
    return RunResult({"ne": min(values), **metrics}, tuple(rows), "epoch", 60.0, 60.0, 0)


# Falls, then stays: the healthiest curve there is, its training loss a little ahead by the same amount all along.
HEALTHY = [0.86, 0.83, 0.82, 0.8195, 0.8195]
AHEAD = [value * 0.97 for value in HEALTHY]


def names(*results, noise=NOISE, objective=LESS) -> set[str]:
    return {symptom.name for symptom in diagnose(results, objective, noise)}


PLANTED = {
    "one_epoch_overfit": result([0.80, 0.82, 0.85, 0.88], [0.79, 0.77, 0.75, 0.73]),
    "not_converged": result([0.90, 0.87, 0.85, 0.83], [0.88, 0.85, 0.83, 0.81]),
    "widening_gap": result(HEALTHY, [0.85, 0.80, 0.76, 0.72, 0.68]),
    "underfit": result(HEALTHY, [value * 0.998 for value in HEALTHY]),
    "unstable": result([0.86, 0.83, 0.90, 0.8198, 0.8195], [0.84, 0.81, 0.88, 0.80, 0.80]),
    "miscalibrated": result(HEALTHY, AHEAD, calibration=1.06),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_symptom_is_found(name):
    found = {s.name: s for s in diagnose([PLANTED[name]] * 3, LESS, NOISE)}
    assert name in found and 0.1 <= found[name].strength <= 1.0
    assert found[name].numbers and all(math.isfinite(v) for v in found[name].numbers.values())
    assert set(found) - {name} <= {"widening_gap", "underfit"}  # an overfit after one epoch also widens the gap


def test_a_healthy_model_has_none():
    assert names(*[result(HEALTHY, AHEAD, calibration=1.002)] * 3) == set()


def test_noise_is_a_symptom_where_it_hides_the_gain_looked_for():
    healthy = [result(HEALTHY, AHEAD)] * 3
    assert names(*healthy, noise=0.01) == {"noisy_validation"}
    assert names(*healthy, noise=0.0019) == set()


def test_nothing_smaller_than_the_noise_is_called_a_symptom():
    jitter = [0.82, 0.8204, 0.8203, 0.8202]
    assert "one_epoch_overfit" in names(result(jitter, jitter), noise=0.0001)
    assert not names(result(jitter, [v * 0.97 for v in jitter]), noise=0.0019)


def test_the_metric_may_be_one_that_grows():
    auc = Objective("auc", "maximize", "valid", "test", 0.001)

    def curve(values):
        rows = tuple(Reading(float(x), {"auc": v}) for x, v in enumerate(values, start=1))
        return RunResult({"auc": max(values)}, rows, "epoch", 60.0, 60.0, 0)

    assert names(curve([0.78, 0.76, 0.74]), objective=auc) == {"one_epoch_overfit"}
    assert names(curve([0.70, 0.74, 0.78]), objective=auc) == {"not_converged"}


def test_the_strongest_comes_first():
    found = diagnose([PLANTED["one_epoch_overfit"]], LESS, 0.01)
    assert [s.strength for s in found] == sorted((s.strength for s in found), reverse=True)


def test_one_seed_of_three_that_peaks_early_is_no_overfit():
    assert "one_epoch_overfit" not in names(
        PLANTED["one_epoch_overfit"], result(HEALTHY, AHEAD), result(HEALTHY, AHEAD)
    )


numbers = st.one_of(st.floats(0.01, 2.0), st.just(math.nan), st.just(math.inf))


@given(st.lists(st.lists(st.tuples(numbers, numbers), max_size=8), max_size=4), st.floats(1e-4, 0.05))
def test_any_curves_give_symptoms_with_finite_strength(curves, noise):
    results = [
        RunResult(
            {},
            tuple(Reading(float(x), {"ne": v, "train_ne": t}) for x, (v, t) in enumerate(curve)),
            "epoch",
            1.0,
            1.0,
            0,
        )
        for curve in curves
    ]
    found = diagnose(results, LESS, noise)
    assert len({s.name for s in found}) == len(found)
    assert all(0.0 < s.strength <= 1.0 for s in found)


def test_a_model_outside_its_own_guardrail_is_told_with_the_value_and_the_limits():
    railed = Objective("ne", "minimize", "valid", "test", 0.001, (Guardrail("calibration", 0.95, 1.05),))
    inside = result(HEALTHY, AHEAD, calibration=1.002)
    outside = [result(HEALTHY, AHEAD, calibration=value) for value in (0.87, 0.88, 0.89)]
    assert names(inside, objective=railed) == set()
    found = {s.name: s for s in diagnose(outside, railed, NOISE)}["outside_guardrail"]
    assert "calibration 0.88 is outside 0.95 to 1.05" in found.words
    assert found.numbers == {"calibration": pytest.approx(0.88)}
