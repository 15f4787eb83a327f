"""The claim: its interval covers the truth as often as it says, and its parts are what the formulas say."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rea.domain.codebase import Guardrail, Objective
from rea.domain.plan import Baseline
from rea.planner.confirm import make_claim, t_quantile, worth_launching, worth_revealing

NE = Objective("ne", "minimize", "valid", "test", 0.0005, (Guardrail("calibration", 0.9, 1.1),))
AUC = Objective("auc", "maximize", "valid", "test", 0.0005)
BASELINE = Baseline((1, 2, 3), (0.7992, 0.8, 0.8008), 0.8, 0.0008, 0.0015, {}, 60, 1, 60, 0, 5)


def line(value: float, blocks=None, metric: str = "ne", **more) -> dict[str, object]:
    held: dict[str, object] = {metric: value, "calibration": 1.0, **more}
    return held if blocks is None else {**held, "blocks": {"loss": list(blocks)}}


@pytest.mark.parametrize("noise", [0.0003, 0.0015, 0.006])
def test_the_interval_covers_a_known_gain_at_its_rate(noise):
    """Paired seeds with training noise, finite rows whose losses differ per treatment, however noisy the model."""
    chance = random.Random(7)
    truth, rows, blocks, seeds, trials = 0.004, 0.001, 40, 4, 1500
    held = 0
    for _ in range(trials):
        profile = [0.8 * (1 + chance.gauss(0, noise / math.sqrt(2))) for _ in range(3)]
        spread = [chance.gauss(0, rows * math.sqrt(blocks)) for _ in range(blocks)]
        base_rows = [0.02 * (1 + 0.1 * chance.gauss(0, 1)) for _ in range(blocks)]
        mine_rows = [b * (1 - truth - s) for b, s in zip(base_rows, spread, strict=True)]
        control, treated = {}, {}
        for seed in range(seeds):
            luck = chance.gauss(0, 0.004)
            own = luck + chance.gauss(0, noise)
            first, second = [b * (1 + luck) for b in base_rows], [m * (1 + own) for m in mine_rows]
            control[seed], treated[seed] = line(sum(first), first), line(sum(second), second)
        claim = make_claim("valid", NE, replace(BASELINE, values=tuple(profile)), control, treated)
        held += claim.ci_low <= truth <= claim.ci_high
    assert 0.93 <= held / trials <= 0.995


def test_the_row_error_is_the_brute_force_jackknife():
    chance = random.Random(3)
    base = [chance.uniform(0.5, 1.5) for _ in range(25)]
    mine = [b * chance.uniform(0.95, 1.01) for b in base]
    control = {1: line(sum(base), base), 2: line(2 * sum(base), [2 * b for b in base])}
    treated = {1: line(sum(mine), mine), 2: line(2 * sum(mine), [2 * m for m in mine])}
    claim = make_claim("valid", NE, BASELINE, control, treated)
    gains = []
    for left in range(25):
        kept = [i for i in range(25) if i != left]
        gains.append(1 - sum(mine[i] for i in kept) / sum(base[i] for i in kept))
    mean = sum(gains) / 25
    assert claim.se_rows == pytest.approx(math.sqrt(24 / 25 * sum((g - mean) ** 2 for g in gains)))


@given(st.lists(st.floats(-0.02, 0.02), min_size=1, max_size=6))
def test_without_blocks_the_interval_is_students_over_pooled_seeds(gains):
    control = {seed: line(0.8) for seed in range(len(gains))}
    treated = {seed: line(0.8 * (1 - gain)) for seed, gain in enumerate(gains)}
    claim = make_claim("valid", NE, BASELINE, control, treated)
    mean, df = sum(gains) / len(gains), 2 + len(gains) - 1
    variance = (2 * 2 * 0.001**2 + sum((g - mean) ** 2 for g in gains)) / df
    half = t_quantile(0.975, df) * math.sqrt(variance / len(gains))
    assert claim.gain == pytest.approx(mean, abs=1e-12) and claim.df == df and claim.se_rows is None
    assert claim.ci_low == pytest.approx(mean - half) and claim.ci_high == pytest.approx(mean + half)


def test_students_quantile():
    assert t_quantile(0.975, 4) == pytest.approx(2.776445, rel=1e-6)
    assert t_quantile(0.975, 1e9) == pytest.approx(1.959964, rel=1e-6)


def test_only_shared_seeds_count():
    claim = make_claim("test", NE, BASELINE, {1: line(0.8), 2: line(0.8)}, {2: line(0.79), 3: line(0.1)})
    assert claim.seeds == (2,) and claim.gain == pytest.approx(0.0125) and claim.split == "test"
    assert make_claim("test", NE, BASELINE, {1: line(0.8)}, {2: line(0.79)}) is None


def test_more_is_better_where_the_objective_says_so():
    claim = make_claim("valid", AUC, BASELINE, {1: line(0.75, metric="auc")}, {1: line(0.76, metric="auc")})
    assert claim.gain == pytest.approx(0.01 / 0.75)


def test_blocks_are_used_only_for_metrics_they_explain():
    held = [1.0] * 20
    auc = make_claim("valid", AUC, BASELINE, {1: line(0.75, held, "auc")}, {1: line(0.76, held, "auc")})
    few = make_claim("valid", NE, BASELINE, {1: line(0.8, [0.4, 0.4])}, {1: line(0.79, [0.4, 0.39])})
    torn = make_claim("valid", NE, BASELINE, {1: line(0.8, [0.08] * 10)}, {1: line(0.79, [0.07] * 11)})
    assert auc.se_rows is None and few.se_rows is None and torn.se_rows is None


def test_the_share_of_the_way_to_the_irreducible():
    control = {1: line(0.8, irreducible_ne=0.7), 2: line(0.82, irreducible_ne=0.7)}
    treated = {1: line(0.77), 2: line(0.79)}
    claim = make_claim("test", NE, BASELINE, control, treated)
    assert claim.floor == pytest.approx(0.7) and claim.gap_closed == pytest.approx(0.03 / 0.11)
    assert make_claim("test", NE, BASELINE, {1: line(0.8)}, {1: line(0.7)}).gap_closed is None


@given(st.floats(-0.01, 0.02), st.floats(0.8, 1.2), st.floats(0.0, 0.01))
def test_what_is_worth_a_launch(gain, calibration, minimum):
    claim = make_claim(
        "test",
        NE,
        BASELINE,
        {s: line(0.8) for s in range(4)},
        {s: line(0.8 * (1 - gain), calibration=calibration) for s in range(4)},
    )
    wanted = 0.9 <= calibration <= 1.1 and claim.gain >= minimum and claim.ci_low > 0
    assert worth_launching(claim, minimum) is wanted is worth_revealing(claim, minimum)
