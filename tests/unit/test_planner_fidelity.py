"""How early curves tell, from the curves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rea.planner.fidelity import FEWEST_CURVES, TRUSTED, earliest, rank_correlations, spearman

values = st.lists(st.integers(0, 6), min_size=3, max_size=12)


@given(values, st.randoms(use_true_random=False))
def test_the_rank_correlation_is_spearman_s_with_ties(left, chance):
    right = [chance.randrange(6) for _ in left]
    found = spearman(left, right)
    if len(set(left)) == 1 or len(set(right)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(stats.spearmanr(left, right).statistic)


def curves(count, cross_at):
    """Straight lines whose order turns over at `cross_at` epochs of ten."""
    return [[(e, 1.0 - (k if e >= cross_at else -k) * 0.01 - 0.03 * e) for e in range(1, 11)] for k in range(count)]


def test_curves_that_cross_late_may_end_no_run_early():
    late = rank_correlations(curves(FEWEST_CURVES, 7), "minimize")
    assert late[0.3] < 0 and late[0.8] > TRUSTED
    assert earliest(late, 0.3) == pytest.approx(0.7)


def test_curves_that_never_cross_are_trusted_as_early_as_usual_and_no_earlier():
    assert earliest(rank_correlations(curves(FEWEST_CURVES, 0), "minimize"), 0.3) == 0.3


def test_a_handful_of_curves_changes_nothing():
    assert rank_correlations(curves(FEWEST_CURVES - 1, 7), "minimize") == {}
    assert earliest({}, 0.3) == 0.3
