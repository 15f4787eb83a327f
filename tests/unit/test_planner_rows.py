"""The error of a finite split, and how much of it lasts over seeds."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rea.planner.rows import Lasting, paired_error, row_error

BLOCKS = 100


def blocks(chance, level, lasting, of_seed):
    """Sums of loss over blocks; what a treatment adds to them at every seed, and what one seed adds."""
    return [level * (1 + steady + chance.gauss(0, of_seed)) for steady in lasting]


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("lasting", [0.0, 0.02])
def test_what_lasts_is_told_from_what_seeds_make(seeds, lasting):
    """With blocks' own errors l and s, the gain over n seeds is off by √(l² + 2 s²/n) / 10."""
    chance, of_seed = random.Random(7), 0.015
    between, seen = [], []
    for _ in range(200):
        luck = [chance.gauss(0, lasting) for _ in range(BLOCKS)]
        base = {seed: blocks(chance, 1.0, [0.0] * BLOCKS, of_seed) for seed in range(seeds)}
        mine = {seed: blocks(chance, 0.99, luck, of_seed) for seed in range(seeds)}
        seen.append(paired_error(base, mine))
        between.append(row_error(base[0], blocks(chance, 1.0, [0.0] * BLOCKS, of_seed)))
    found = Lasting.of(sum(between) / len(between), seen)
    assert found.between_seeds == pytest.approx(math.sqrt(2) * of_seed / 10, rel=0.02)
    assert found.usual == pytest.approx((lasting / 10) ** 2, abs=4e-7)
    assert found.variance(*seen[0]) == pytest.approx((lasting / 10) ** 2, abs=2e-6)
    spread = sum(error**2 for error, _ in seen) / len(seen)
    assert found.paired_variance(seeds) == pytest.approx(spread, rel=0.1)


def test_a_model_that_broke_makes_no_other_doubtful():
    sound = [(0.002, 1)] * 4
    assert Lasting.of(0.0015, [*sound, (0.05, 1)]).usual == pytest.approx(Lasting.of(0.0015, sound).usual)


@given(st.floats(1e-5, 0.01), st.lists(st.tuples(st.floats(0, 0.02), st.integers(1, 9)), max_size=5))
def test_a_variance_is_never_negative(between, seen):
    found = Lasting.of(between, seen)
    assert found.usual >= 0 and all(found.variance(error, n) >= 0 for error, n in seen)


def test_only_seeds_that_both_have_are_compared():
    chance = random.Random(1)
    base = {seed: blocks(chance, 1.0, [0.0] * BLOCKS, 0.01) for seed in (1, 2, 3)}
    mine = {seed: blocks(chance, 0.9, [0.0] * BLOCKS, 0.01) for seed in (2, 3, 4)}
    error, n = paired_error(base, mine)
    assert n == 2
    assert error == row_error(*([a + b for a, b in zip(x[2], x[3], strict=True)] for x in (base, mine)))


@pytest.mark.parametrize(
    ("base", "mine"),
    [({}, {1: [1.0] * 20}), ({1: [1.0] * 20}, {2: [1.0] * 20}), ({1: [1.0] * 20}, {1: [1.0] * 21}),
     ({1: [1.0] * 9}, {1: [1.0] * 9}), ({1: [0.0] * 20}, {1: [1.0] * 20})],
)  # fmt: skip
def test_without_the_same_blocks_nothing_is_told(base, mine):
    assert paired_error(base, mine) is None
