"""The numbers of the headline benchmark's verdict and summary."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.headline import report, stats, summary, verdict


def rows(seed: int, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    z = random.normal(-1, 1, count)
    y = (random.random(count) < 1 / (1 + np.exp(-z))).astype(float)
    y[:2] = 0, 1
    return 1 / (1 + np.exp(-z)), y


# ── calibration ──────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(0, 1000), st.floats(0.3, 3), st.floats(-2, 2))
@settings(max_examples=40, deadline=None)
def test_platt_undoes_any_scaling_of_the_log_odds(seed: int, slope: float, offset: float):
    p, y = rows(seed)
    bent = stats.calibrated(p, (slope, offset))
    straight = stats.calibrated(p, stats.platt(p, y))
    assert stats.calibrated(bent, stats.platt(bent, y)) == pytest.approx(straight, abs=1e-3)


@given(st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_platt_never_raises_the_loss_it_was_fitted_on_and_meets_the_click_rate(seed: int):
    p, y = rows(seed)
    after = stats.calibrated(p, stats.platt(p, y))
    assert stats.log_losses(after, y).mean() <= stats.log_losses(p, y).mean() + 1e-9
    assert after.mean() == pytest.approx(y.mean(), abs=1e-4)


def test_platt_is_finite_where_clicks_can_be_told_apart_perfectly_and_where_nothing_can():
    y = np.array([0.0, 0, 1, 1])
    assert np.isfinite(stats.platt(np.array([0.1, 0.2, 0.8, 0.9]), y)).all()
    assert stats.calibrated(np.full(4, 0.9), stats.platt(np.full(4, 0.9), y)) == pytest.approx(
        np.full(4, 0.5), abs=1e-4
    )


# ── gains ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(0, 1000), st.floats(-0.3, 0.3))
@settings(max_examples=30, deadline=None)
def test_a_loss_that_is_scaled_everywhere_is_a_gain_without_uncertainty(seed: int, gain: float):
    old = np.random.default_rng(seed).uniform(1, 3, (5, 20))
    found = stats.paired_gain(old, old * (1 - gain))
    assert found.gain == pytest.approx(gain, abs=1e-9)
    assert found.se == pytest.approx(0, abs=1e-9)


def test_the_bootstrap_sees_noise_between_seeds_as_students_formula_does():
    random = np.random.default_rng(5)
    old = np.full((5, 200), 10.0)
    new = old * (1 - random.normal(0.01, 0.01, 5))[:, None]
    gains = 1 - new.mean(1) / old.mean(1)
    assert stats.paired_gain(old, new).se == pytest.approx(gains.std(ddof=1) / math.sqrt(5), rel=0.1)


def test_the_bootstrap_sees_noise_between_rows_when_all_seeds_agree():
    random = np.random.default_rng(6)
    old = np.full((5, 100), 10.0)
    new = old * (1 - random.normal(0.01, 0.05, 100))[None, :]
    assert stats.paired_gain(old, new).se == pytest.approx(0.05 / 10, rel=0.2)


def test_one_seed_or_unlike_shapes_are_no_basis_for_an_interval():
    with pytest.raises(ValueError, match="two of each"):
        stats.paired_gain([[1.0, 2.0]], [[1.0, 2.0]])
    with pytest.raises(ValueError, match="two of each"):
        stats.paired_gain([[1.0, 2.0], [1.0, 2.0]], [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])


@given(st.integers(100, 500), st.integers(0, 99))
@settings(deadline=None)
def test_blocks_hold_every_row_once(count: int, seed: int):
    losses = np.random.default_rng(seed).random(count)
    assert sum(stats.block_sums(losses)) == pytest.approx(losses.sum())


def test_the_area_counts_a_gain_from_when_its_run_was_paid_for():
    assert stats.area_under_best([25.0, 25.0], [0.9, 0.8], 1.0, 100.0) == pytest.approx((0.1 * 25 + 0.2 * 50) / 100)
    assert stats.area_under_best([25.0], [1.2], 1.0, 100.0) == 0.0
    assert stats.area_under_best([101.0], [0.5], 1.0, 100.0) == 0.0
    assert stats.area_under_best([10.0, 10.0], [None, 0.5], 1.0, 100.0) == pytest.approx(0.5 * 0.8)


# ── summary ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def one(task: str, arm: str, gain: float, se: float = 0.001, seed: int = 0, **more: Any) -> verdict.Verdict:
    given = {
        "auc": 0.8,
        "auc_gain": 0.0,
        "inference": 1.0,
        "claimed": gain,
        "raw_gain": gain,
        "curse": 0.0,
        "area": 0.1,
    }
    given |= {"launched": None, "spent_share": 1.0, "runs": 20, "config": {}, **more}
    return verdict.Verdict(task, arm, seed, stats.Gain(gain, se, gain - 2 * se, gain + 2 * se), **given)


def test_search_seeds_count_as_one_task_and_tasks_weigh_the_same():
    many = [one("a", "tpe", 0.02), one("a", "tpe", 0.04, seed=1), one("b", "tpe", 0.01)]
    found = summary.summarise(many, [])
    assert found["arms"]["tpe"]["mean_gain"] == pytest.approx((0.03 + 0.01) / 2)


def test_the_ratio_is_to_the_strongest_other_arm_over_the_same_tasks():
    many = [
        one(task, arm, gain) for task in "ab" for arm, gain in (("rea-cold", 0.03), ("tpe", 0.01), ("random", 0.015))
    ]
    many += [one("c", "tpe", 0.5), one("a", "cmaes", 0.5), one("a", verdict.POOLED, 0.9), one("b", verdict.POOLED, 0.9)]
    found = summary.summarise(many, [])["ratio_cold"]
    assert (found["best_other"], found["tasks"]) == ("random", ("a", "b"))
    assert found["ratio"] == pytest.approx(2.0)


def test_a_rival_that_gained_nothing_is_held_at_the_floor_of_the_noise():
    many = [one("a", "rea-warm", 0.03), one("a", "tpe", -0.01, se=0.005)]
    found = summary.summarise(many, [])["ratio_warm"]
    assert found["floor"] == pytest.approx(0.01)
    assert found["ratio"] == pytest.approx(3.0)


def test_a_warm_search_for_less_is_held_against_the_cold_one_by_budget_and_by_what_both_took():
    many = [one(task, "rea-cold", 0.02, spent_share=0.8) for task in "abc"]
    many += [one(task, "rea-warm-10r", 0.03, spent_share=1.0) for task in "ab"]
    (found,) = summary.summarise(many, [])["warm_for_less"].values()
    assert found["tasks"] == ("a", "b")
    assert (found["budget"], found["compute"]) == (pytest.approx(0.4), pytest.approx(0.5))
    assert (found["mean"], found["cold"], found["difference"]) == pytest.approx((0.03, 0.02, 0.01))


def test_tasks_are_not_worse_within_the_noise_of_the_difference():
    many = [one("a", "rea-cold", 0.019), one("a", "tpe", 0.02), one("b", "rea-cold", 0.01), one("b", "tpe", 0.02)]
    assert summary.summarise(many, [])["tasks_not_worse_cold"] == {"a": True, "b": False}


def test_only_tasks_with_a_sure_gain_are_in_the_second_ratio():
    many = [one("a", "rea-cold", 0.02), one("b", "rea-cold", 0.001), one("a", "tpe", 0.01), one("b", "tpe", 0.01)]
    assert summary.summarise(many, [])["ratio_cold_where_sure"]["tasks"] == ("a",)


def test_head_room_is_closed_by_the_share_of_the_pools_gain():
    many = [one("a", verdict.POOLED, 0.04, runs=200), one("a", "tpe", 0.01)]
    room = summary.summarise(many, [])["headroom"]["a"]
    assert room["long"] and room["closed"] == {"tpe": pytest.approx(0.25)}


def test_the_pool_is_judged_on_means_over_seeds_not_on_one_lucky_run():
    lucky = [{"config": {"optim.lr": 0.1}, "seed": 1, "ne": 0.1}]
    steady = [{"config": {}, "seed": seed, "ne": 0.5 + seed / 100} for seed in range(3)]
    worse = [{"config": {"optim.lr": 0.2}, "seed": seed, "ne": 0.6} for seed in range(3)]
    config, ne, runs = verdict.best_of_pool([*lucky, *worse, *steady])
    assert (config, runs) == ({}, 7)
    assert ne == pytest.approx(0.51)
    assert verdict.best_of_pool(lucky) is None


def test_a_pick_that_is_the_baseline_gains_exactly_nothing():
    runs = [
        {"block_loss": [1.0 + seed, 2.0, 3.0], "auc": 0.8, "raw_ne": 0.9, "predict_cpu_s": 0.1 + seed}
        for seed in range(5)
    ]
    same = verdict.compare("t", verdict.Pick("tpe", 0, {}, 0.02, None, {}), runs, runs)
    assert (same.gain.gain, same.gain.se, same.inference, same.curse) == (0.0, 0.0, 1.0, 0.02)


def test_what_is_missing_is_said_and_what_is_there_is_shown():
    found = {
        "verdicts": [one("a", "tpe", 0.02).as_record()],
        "summary": {**summary.summarise([one("a", "tpe", 0.02)], [("a", "rea-cold")]), "missing": ["a: rea-cold"]},
    }
    text = report.table(found)
    assert "+2.00%" in text and "Missing:\n- a: rea-cold" in text


def test_the_plot_is_well_formed_with_and_without_results():
    from xml.etree import ElementTree

    for many in ([], [one("a", "tpe", 0.02), one("a", "rea-cold", -0.3), one("b <&", "tpe", 0.0)]):
        drawing = ElementTree.fromstring(report.plot(summary.summarise(many, [])))
        assert len(drawing.findall(".//{*}circle")) == len(many)
