"""Budgets: how they are read, how they become phases, and that they are never exceeded on paper."""

import math
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rea.domain.errors import GuardrailError, UsageError
from rea.domain.plan import Baseline
from rea.domain.states import Phase
from rea.planner.draft import parse_budget
from rea.planner.layout import (
    SEARCH,
    SHARES,
    TIGHT,
    BudgetTooSmallError,
    lay_out,
    make_rules,
    pressed_walltime,
    reveal_s,
    reveal_walltime,
    tight_reveal,
    tight_walltime,
    walltime,
)


def baseline(run_s: float, noise: float = 0.002, devices: int = 1) -> Baseline:
    values = (0.8, 0.801, 0.802)
    return Baseline((1, 2, 3), values, 0.801, 0.001, noise, {}, run_s, 0.1 * run_s, run_s * devices, 0, 5.0)


budgets = st.tuples(
    st.floats(0.05, 20_000),  # seconds of a run
    st.floats(1, 400),  # baseline runs of budget
    st.sampled_from([1, 2, 8]),
    st.floats(1e-4, 0.02),
    st.sampled_from([None, 1, 2, 3, 5]),
    st.dictionaries(st.sampled_from(SEARCH), st.floats(0.01, 5.0), min_size=1),
)


def laid_out(run_s, runs, devices, noise, rounds, shares, slots=2, profile=3, reveals=True):
    base = baseline(run_s, noise, devices)
    budget_s = runs * base.device_s
    rules = make_rules(base, 0.0005, budget_s, 1001)
    profile_s, limit_s = profile * base.device_s, 4 * run_s
    found = lay_out(
        base,
        rules,
        budget_s=budget_s,
        profile_s=profile_s,
        devices=devices,
        limit_s=limit_s,
        slots=slots,
        reveals=reveals,
        rounds=rounds,
        shares=shares,
    )
    return base, rules, budget_s, profile_s, limit_s, found


@given(budgets)
def test_profile_phases_and_contingency_fit_the_budget_with_room_for_the_last_run(case):
    try:
        base, rules, budget_s, profile_s, limit_s, (_, phases, contingency, estimate) = laid_out(*case)
    except GuardrailError:
        return
    devices = case[2]
    total = profile_s + contingency + sum(phase.budget_s for phase in phases)
    spare = devices * (tight_walltime(base.run_s, rules, limit_s) - base.run_s)
    assert total + max(0.0, spare) <= budget_s * (1 + 1e-9)
    reveal = next(p for p in phases if p.phase is Phase.REVEAL)
    evaluations_s = reveal_s(base, len(rules.confirm_seeds))
    assert reveal.budget_s >= devices * tight_reveal(evaluations_s, rules, limit_s) - 1e-9
    assert reveal.budget_s >= devices * min(limit_s, TIGHT * evaluations_s) - 1e-9
    assert estimate.device_s <= budget_s and estimate.device_s > profile_s
    assert all(phase.budget_s >= 0 for phase in phases)
    assert all(phase.expected_s <= phase.budget_s + 1e-9 for phase in phases if phase is not reveal)


@given(budgets)
def test_every_round_has_every_phase_and_the_split_is_kept(case):
    try:
        *_, (rounds, phases, _, _) = laid_out(*case)
    except GuardrailError:
        return
    shares = case[5]
    assert case[4] in (None, rounds)
    for round_ in range(1, rounds + 1):
        amounts = {phase.phase: phase.budget_s for phase in phases if phase.round == round_}
        assert all(phase in amounts for phase in SEARCH)
        whole = sum(amounts[phase] for phase in SEARCH)
        for phase in SEARCH:
            assert amounts[phase] == pytest.approx(whole * shares.get(phase, 0.0) / sum(shares.values()), rel=1e-9)
    assert [p.phase for p in phases[-2:]] == [Phase.CONFIRMATION, Phase.REVEAL]


@given(st.floats(0.05, 20_000), st.floats(1e-4, 0.02), st.sampled_from([1, 4]), st.integers(2, 20))
def test_a_budget_that_is_too_small_says_the_smallest_that_would_do(run_s, noise, devices, profile):
    with pytest.raises(BudgetTooSmallError) as caught:
        laid_out(run_s, 5, devices, noise, None, SHARES, profile=profile)
    assert caught.value.exit_code == 5
    assert caught.value.hint == f"give at least {caught.value.runs}r"
    laid_out(run_s, caught.value.runs, devices, noise, None, SHARES, profile=profile)
    with pytest.raises(GuardrailError):
        laid_out(run_s, caught.value.runs - 1, devices, noise, None, SHARES, profile=profile)


@given(st.floats(0.05, 20_000), st.floats(1e-4, 0.02), st.booleans())
def test_the_usual_budget_is_a_plan_however_short_a_run_is(run_s, noise, reveals):
    base, *_, (_, phases, _, _) = laid_out(run_s, 20, 1, noise, None, SHARES, reveals=reveals)
    searched = sum(phase.budget_s for phase in phases if phase.phase in SEARCH)
    assert searched >= 3 * base.device_s


@given(st.floats(0.05, 100), st.floats(1, 100))
def test_without_a_sealed_split_or_an_evaluator_nothing_is_kept_for_a_reveal(run_s, runs):
    try:
        *_, (_, phases, _, _) = laid_out(run_s, runs, 1, 0.002, None, SHARES, reveals=False)
    except BudgetTooSmallError as error:
        assert "sealed" not in str(error)
        assert error.runs <= 17
    else:
        assert all(phase.phase is not Phase.REVEAL for phase in phases)


@given(st.floats(10, 1e5), st.floats(1.0, 3.0), st.floats(5, 500))
def test_more_budget_never_searches_less(run_s, factor, runs):
    def search(amount: float) -> float:
        *_, (_, phases, _, _) = laid_out(run_s, amount, 1, 0.002, 2, SHARES)
        return sum(phase.budget_s for phase in phases if phase.phase in SEARCH)

    try:
        small = search(runs)
    except GuardrailError:
        return
    confirm_s = 3 * 2.25 * run_s  # at most three further pairs of seeds
    assert search(factor * runs) >= small - confirm_s - 1.0 - 0.3 * run_s


@given(st.floats(0.01, 1e5), st.floats(0.5, 1e6))
def test_a_walltime_limit_covers_the_prediction_and_obeys_the_codebase(predicted_s, limit_s):
    rules = make_rules(baseline(60.0), 0.0005, 3600.0, 1001)
    usual, tight = walltime(predicted_s, rules, limit_s), tight_walltime(predicted_s, rules, limit_s)
    pressed = pressed_walltime(predicted_s, rules, limit_s)
    assert pressed <= tight <= usual <= limit_s
    assume(limit_s > 4 * predicted_s + 20)
    assert usual >= 3 * predicted_s and tight > 1.5 * predicted_s and pressed > 1.2 * predicted_s
    assert tight_reveal(predicted_s, rules, limit_s) > 1.5 * predicted_s


@given(st.floats(0.5, 1e4), st.floats(0.01, 1.0), st.integers(1, 5), st.floats(0.1, 3.0))
def test_a_reveal_has_time_for_evaluations_as_long_as_those_of_the_profile(run_s, share, pairs, limits):
    base = replace(baseline(run_s), evaluate_s=share * run_s)
    rules, limit_s = make_rules(base, 0.0005, 60 * run_s, 1001), limits * run_s
    predicted_s = reveal_s(base, pairs)
    least = tight_reveal(predicted_s, rules, limit_s)
    assert 2 * pairs * 1.9 * base.evaluate_s < least <= reveal_walltime(predicted_s, rules, limit_s)


@given(st.floats(1e-4, 0.05), st.floats(0.0, 0.05), st.floats(10, 1e6))
def test_confirmation_seeds_are_fresh_and_grow_with_the_noise(noise, minimum, budget_s):
    base = baseline(10.0, noise)
    rules = make_rules(base, minimum, budget_s, max(base.seeds) + 1000)
    assert 2 <= len(rules.confirm_seeds) <= 5
    assert not set(rules.confirm_seeds) & set(rules.search_seeds)
    noisier = make_rules(replace(base, noise=2 * noise), minimum, budget_s, 1003)
    assert len(noisier.confirm_seeds) >= len(rules.confirm_seeds)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20r", 200), ("1 run", 10), ("2.5runs", 25), ("90m", 5400), ("3h", 10800), (" 1d ", 86400), ("45s", 45)],
)
def test_budgets_as_people_write_them(text, seconds):
    assert parse_budget(text, 10.0) == seconds


@pytest.mark.parametrize("text", ["", "20", "r", "-3h", "0r", "0.0h", "3 hours", "1h30m", "1e3s", "nan h", "20r x"])
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(UsageError, match="no amount of compute"):
        parse_budget(text, 10.0)


@given(st.text(max_size=12))
def test_any_text_is_a_positive_amount_or_refused(text):
    try:
        assert 0 < parse_budget(text, 1.0) < math.inf
    except UsageError:
        pass
