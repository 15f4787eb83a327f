"""Each symptom is found where it was planted, and not where it was not."""

import math
import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rea.codebase.data import read_profile
from rea.domain.codebase import Guardrail, Objective
from rea.domain.data import DataField, DataProfile, FieldPair
from rea.domain.run import Reading, RunResult
from rea.planner.compose import context_of
from rea.planner.diagnose import diagnose, priced_anew
from support.world import tiny_codebase

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


# ---- noise, time and the data profile -------------------------------------------------------------------------------


def field(name="ad", **told) -> DataField:
    return DataField(name, "categorical", **told)


def profile(*fields: DataField, **told) -> DataProfile:
    return DataProfile({"train": 50_000, "valid": 10_000, **told.pop("rows", {})}, told.pop("rate", 0.2), fields)


def strength(name, *results, **known) -> float:
    found = {s.name: s.strength for s in diagnose(results or [result(HEALTHY, AHEAD)] * 3, LESS, NOISE, **known)}
    return found.get(name, 0.0)


shares = st.floats(0.0, 1.0)


@given(shares, shares, shares)
def test_more_rare_rows_or_more_drift_never_lower_the_strength(one, other, beside):
    low, high = sorted((one, other))
    for name, key in (("rare_ids", "rare_rows"), ("drift", "drift")):
        small, large = (profile(field(**{key: x}), field("user", **{key: beside})) for x in (low, high))
        assert strength(name, data=small) <= strength(name, data=large)


@given(st.floats(0.0, 3.0), st.floats(0.0, 3.0))
def test_a_larger_share_of_the_phase_never_lowers_the_strength_of_slow(one, other):
    low, high = sorted((one, other))
    assert strength("slow", run_share=low) <= strength("slow", run_share=high)
    assert strength("slow", run_share=0.25) == 0.0, "four runs are a search"


@given(st.floats(0.0, 0.3), st.floats(0.0, 0.3))
def test_a_prediction_further_off_never_lowers_the_strength_of_miscalibrated(one, other):
    low, high = sorted((one, other))
    near, far = ([result(HEALTHY, AHEAD, calibration=1 + off)] * 3 for off in (low, high))
    assert strength("miscalibrated", *near) <= strength("miscalibrated", *far)


@given(st.floats(0.0, 0.01), st.floats(0.0, 0.01), st.integers(0, 50))
def test_a_curve_that_jitters_more_never_lowers_the_strength_of_noisy_validation(one, other, seed):
    chance = random.Random(seed)
    shape = [[chance.gauss(0, 1) for _ in range(12)] for _ in range(3)]
    low, high = sorted((one, other))

    def curves(size):
        return [result([0.85 + size * e for e in row]) for row in shape]

    assert strength("noisy_validation", *curves(low)) <= strength("noisy_validation", *curves(high)) + 1e-3


@given(st.integers(0, 1000), st.floats(0.0002, 0.0019))
def test_noise_alone_is_no_symptom(seed, noise):
    """Healthy curves with seed noise, labels drawn by chance, ids and inputs as they should be."""
    chance = random.Random(seed)
    healthy = [0.86, 0.835, 0.825, 0.8215, 0.8205, 0.82, 0.82, 0.82]
    rate, rows = 0.2, 10_000
    # The split's own clicks are a draw, the same for all seeds.
    drawn = math.sqrt((1 - rate) / (rate * rows)) * max(-1.9, min(1.9, chance.gauss(0, 1)))
    results = []
    for _ in range(3):
        level = 1 + noise / 2 * max(-1.5, min(1.5, chance.gauss(0, 1)))
        valid = [v * level * (1 + noise / 4 * max(-1.5, min(1.5, chance.gauss(0, 1)))) for v in healthy]
        blocks = tuple(100 * level * (1 + 0.0005 * chance.gauss(0, 1)) for _ in range(100))
        one = result(valid, [v * 0.97 * level for v in healthy], calibration=1 + drawn)
        results.append(replace(one, block_loss=blocks))
    data = profile(field(rare_rows=0.02, drift=0.05, unseen_rows=0.001), rate=rate, rows={"valid": rows})
    assert {s.name for s in diagnose(results, LESS, noise, data=data, run_share=0.1)} == set()


def test_the_finite_split_and_the_jitter_are_told_beside_the_seeds():
    chance = random.Random(0)
    jumpy = [0.86, 0.84, 0.83, 0.826, 0.84, 0.821, 0.838, 0.82, 0.836, 0.819]
    blocks = [tuple(100 * (1 + 0.05 * chance.gauss(0, 1)) for _ in range(50)) for _ in range(2)]
    found = diagnose([replace(result(jumpy), block_loss=b) for b in blocks], LESS, 0.006)
    noisy = next(s for s in found if s.name == "noisy_validation")
    assert set(noisy.numbers) == {"paired_noise", "minimum_gain", "split_noise", "curve_jitter"}
    assert noisy.numbers["split_noise"] == pytest.approx(0.05 * math.sqrt(2 / 50), rel=0.3)
    for words in ("± 0.60% of seed noise", "for the finite split", "of jitter from reading to reading", "0.10%"):
        assert words in noisy.words


def test_the_worst_fields_are_named_with_their_figures():
    data = profile(
        field("C3", rare_rows=0.41, unseen_rows=0.3, drift=0.2),
        field("C12", rare_rows=0.35, drift=0.7, information=0.0),
        field("C9", rare_rows=0.0, drift=0.0),
        field("C4", rare_rows=0.09, drift=0.14),
        field("C5", rare_rows=0.06),
    )
    found = {s.name: s for s in diagnose([result(HEALTHY, AHEAD)] * 3, LESS, NOISE, data=data)}
    assert set(found) == {"rare_ids", "drift"}
    rare, drift = found["rare_ids"], found["drift"]
    assert rare.words.startswith("41% of C3's rows carry ids seen fewer than ten times in train, C12 35%, C4 9%;")
    assert "30% of C3's valid rows carry ids that train lacks" in rare.words
    assert rare.numbers == {"rare_rows_C3": 0.41, "rare_rows_C12": 0.35, "rare_rows_C4": 0.09}
    assert "C3 moves by 0.20" in drift.words and "C4 0.14" in drift.words
    assert "C12" not in drift.words, "a field that tells nothing does no harm by moving"


def test_a_slow_run_tells_how_much_of_it_comes_after_its_best():
    flat = [0.86, 0.82, 0.8199, 0.8199, 0.8199, 0.8199, 0.8199, 0.8199]
    found = {s.name: s for s in diagnose([result(flat, [v * 0.97 for v in flat])] * 3, LESS, NOISE, run_share=0.5)}
    assert "one run takes 50% of what the validation may spend, and 75% of it comes after" in found["slow"].words
    assert found["slow"].numbers == {"run_share": 0.5, "after_best": 0.75}


def test_with_another_budget_what_a_run_takes_of_it_is_told_anew():
    flat = [0.86, 0.82, 0.8199, 0.8199, 0.8199, 0.8199, 0.8199, 0.8199]
    found = {s.name: s for s in diagnose([result(flat, [v * 0.97 for v in flat])] * 3, LESS, NOISE, run_share=0.5)}
    again = {one.name: one for one in priced_anew(tuple(found.values()), 0.8)}
    assert "one run takes 80%" in again["slow"].words and again["slow"].strength > found["slow"].strength
    assert again["slow"].numbers.get("after_best") == found["slow"].numbers.get("after_best")
    assert {name: one for name, one in again.items() if name != "slow"} == {
        name: one for name, one in found.items() if name != "slow"
    }
    assert "slow" not in {one.name for one in priced_anew(tuple(found.values()), 0.1)}
    assert priced_anew(priced_anew(tuple(found.values()), 0.1), 0.5)[-1].name == "slow"


def test_the_generated_log_drifts_by_its_ads_and_has_ids_that_train_knows_well(ads_ranker_profile):
    data = read_profile(ads_ranker_profile)
    found = {s.name: s for s in diagnose([result(HEALTHY, AHEAD)] * 3, LESS, NOISE, data=data)}
    assert set(found) == {"drift", "interacting_pairs"}, "ads start and stop, pairs are planted"
    assert re.match(r"from train to valid ad moves by 0\.\d\d .*, advertiser 0\.\d\d", found["drift"].words)
    assert re.search(r"2\d% of ad's valid rows carry ids that train lacks", found["drift"].words)
    context = context_of(tiny_codebase(), {}, tuple(found.values()), [result(HEALTHY, AHEAD)], data)
    assert context["fields"] == 17 and context["numeric_share"] == pytest.approx(6 / 17)
    assert context["rows"] == 28_000 and 0.1 < context["positive_rate"] < 0.4
    assert context["largest_cardinality"] == 600 and 0 <= context["rare_mass"] < 0.05
    assert context["epochs_to_best"] == 4.0


@pytest.fixture
def ads_ranker_profile(tmp_path) -> str:
    """What the reference codebase prints about 40,000 rows of its generated log."""
    folder = Path(__file__).parents[2] / "examples" / "ads_ranker"
    text = (folder / "configs" / "generated_dcnv2.yaml").read_text()
    (tmp_path / "c.yaml").write_text(text.replace("rows: 80000", "rows: 40000"))
    command = [sys.executable, "profile_data.py", "--config", str(tmp_path / "c.yaml")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("told", "strength"), [(None, None), ((), None), ((0.0006,), None), ((0.03, 0.004), 1.0)])
def test_pairs_that_tell_more_than_their_fields_are_a_symptom(told, strength):
    named = [("ad", "slot"), ("ad", "hour")]
    pairs = None if told is None else tuple(FieldPair(f, x) for f, x in zip(named, told, strict=False))
    found = {
        s.name: s
        for s in diagnose([result(HEALTHY, AHEAD)] * 3, LESS, NOISE, data=replace(profile(field()), pairs=pairs))
    }
    assert {name: s.strength for name, s in found.items()} == ({"interacting_pairs": strength} if strength else {})
    if strength:
        assert "ad × slot explains 3.00% of the label's entropy" in found["interacting_pairs"].words
        assert "ad × hour 0.40%" in found["interacting_pairs"].words
