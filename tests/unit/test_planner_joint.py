"""One posterior over all effects, from all readings."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri

from rea.domain.hypothesis import Belief
from rea.planner.joint import SHARED, Reading, key, posterior
from rea.planner.worth import expected_best

NAMES = ("a", "b", "c")
RUN_SD = 0.002
beliefs = st.builds(Belief, st.floats(-0.01, 0.01), st.floats(1e-3, 0.02))
terms = st.dictionaries(st.sampled_from(NAMES), st.sampled_from([0.5, 0.8, 1.0]), max_size=3)
readings = st.builds(Reading, terms, st.floats(-0.02, 0.02), st.floats(1e-3, 0.01), st.sampled_from([1, 2, None]))
priors = st.fixed_dictionaries(dict.fromkeys(NAMES, beliefs))
several = st.lists(readings, min_size=1, max_size=8)


luck = st.fixed_dictionaries(dict.fromkeys(NAMES, st.sampled_from([1e-4, 1e-3, 0.005])))


def after(prior, seen, owners=None, rows=None):
    return posterior(prior, seen, run_sd=RUN_SD, owners=owners or {}, rows=rows)


@given(priors, several, luck)
def test_it_is_the_posterior_of_the_precision_form(prior, seen, rows):
    """Against the normal equations, Bishop (2006), eq. 3.50 and 3.51, over effects, their luck, seeds and level."""
    found = after(prior, seen, rows=rows)
    seeds = [1, 2]
    effects = [[reading.terms.get(name, 0.0) for name in NAMES] for reading in seen]
    common = [[float(column in (reading.seed, "level")) for column in [*seeds, "level"]] for reading in seen]
    design = np.hstack([effects, effects, common])
    spread = [*(prior[n].sd for n in NAMES), *(rows[n] for n in NAMES), *[math.sqrt(SHARED) * RUN_SD] * 2, 10 * RUN_SD]
    variance = np.array(spread) ** 2
    mean = np.array([*(prior[n].mean for n in NAMES), *[0.0] * 6])
    noise = np.array([r.noise**-2 for r in seen])
    precision = np.diag(1 / variance) + design.T @ (noise[:, None] * design)
    expected = np.linalg.solve(precision, mean / variance + design.T @ (noise * np.array([r.gain for r in seen])))
    spread = np.sqrt(np.diag(np.linalg.inv(precision)))
    for i, name in enumerate(NAMES):
        belief = found.belief({name: 1.0})
        assert belief.mean == pytest.approx(expected[i], abs=1e-8)
        assert belief.sd == pytest.approx(spread[i], rel=1e-5)


@given(priors, several, st.randoms(use_true_random=False))
def test_the_order_of_runs_does_not_matter(prior, seen, chance):
    shuffled = list(seen)
    chance.shuffle(shuffled)
    for name in NAMES:
        one, other = after(prior, seen).belief({name: 1.0}), after(prior, shuffled).belief({name: 1.0})
        assert one.mean == pytest.approx(other.mean, abs=1e-9) and one.sd == pytest.approx(other.sd, abs=1e-9)


@given(priors, several)
def test_no_run_makes_anything_less_sure(prior, seen):
    found = after(prior, seen)
    for name in NAMES:
        assert found.belief({name: 1.0}).sd <= prior[name].sd * (1 + 1e-9)


def test_what_no_run_bears_on_keeps_its_prior():
    prior = {"a": Belief(0.001, 0.01), "b": Belief(0.002, 0.01)}
    found = after(prior, [Reading({"a": 1.0}, 0.01, 0.002, 1)])
    assert found.belief({"b": 1.0}) == prior["b"]
    assert found.belief({"a": 1.0, "b": 1.0}).mean > 0.003


def test_seeds_settle_everything_but_what_the_rows_add():
    prior, luck = {"a": Belief(0.002, 0.006)}, 0.003
    seen = [Reading(terms, gain, 0.001, s) for s in range(400) for terms, gain in (({}, 0.0), ({"a": 1.0}, 0.01))]
    found = after(prior, seen, rows={"a": luck})
    share = 0.006**2 / (0.006**2 + luck**2)
    assert found.moved({"a": 1.0}, {"a": 1.0}, 0.001) < 0.0001
    assert found.belief({"a": 1.0}).mean == pytest.approx(0.002 + share * 0.008, abs=1e-4)
    assert found.belief({"a": 1.0}).sd == pytest.approx(luck * math.sqrt(share), rel=0.01)


@given(priors, several, luck)
def test_luck_of_the_rows_draws_an_effect_to_its_prior_and_makes_nothing_surer(prior, seen, rows):
    plain, doubted = after(prior, seen[:1]), after(prior, seen[:1], rows=rows)
    for name in NAMES:
        one, other = plain.belief({name: 1.0}), doubted.belief({name: 1.0})
        assert abs(other.mean - prior[name].mean) <= abs(one.mean - prior[name].mean) + 1e-9
        assert other.sd >= one.sd * (1 - 1e-9)


@given(priors, several, st.floats(1e-4, 0.01))
def test_a_reading_moves_a_belief_by_what_its_doubt_loses(prior, seen, noise):
    known = [Reading({}, 0.0, 1e-7, None), *(Reading({name: 1.0}, 0.0, 0.05, None) for name in NAMES)]
    apart, read = {"a": 1.0, "b": -1.0}, {"a": 1.0}
    before = after(prior, [*seen, *known])
    again = after(prior, [*seen, *known, Reading(read, 0.0, noise, None)])
    lost = before.belief(apart).sd ** 2 - again.belief(apart).sd ** 2
    assert before.moved(apart, read, noise) == pytest.approx(math.sqrt(max(lost, 0.0)), rel=1e-3, abs=1e-6)


def test_what_two_arms_have_in_common_is_not_told_by_either():
    prior = {"a": Belief(0.01, 0.01), "b": Belief(0.0, 1e-6)}
    found = after(prior, [Reading({"a": 1.0}, 0.01, 0.02, 1), Reading({"b": 1.0}, 0.0, 0.02, 1)])
    assert found.moved({"b": 1.0}, {"a": 1.0, "b": 1.0}, 0.001) < 1e-6


def test_a_contradicted_belief_gives_way_to_plain_runs():
    prior = {"a": Belief(0.003, 0.0005)}
    seen = [Reading({"a": 1.0}, -0.05, 0.001, s) for s in (1, 2)] + [Reading({}, 0.0, 0.001, s) for s in (1, 2)]
    stubborn, yielding = after(prior, seen), after(prior, seen, {key({"a": 1.0}): "a"})
    assert stubborn.belief({"a": 1.0}).mean > -0.02
    assert yielding.belief({"a": 1.0}).mean == pytest.approx(-0.05, abs=0.003)


def test_samples_have_the_posterior_s_mean_and_spread():
    prior = {name: Belief(0.001, 0.01) for name in NAMES}
    found = after(prior, [Reading({"a": 1.0, "b": 1.0}, 0.02, 0.001, 1), Reading({}, 0.0, 0.001, 1)])
    drawn = [found.draw(NAMES, seed) for seed in range(4000)]
    for name in NAMES:
        values = np.array([one[name] for one in drawn])
        belief = found.belief({name: 1.0})
        assert values.mean() == pytest.approx(belief.mean, abs=4 * belief.sd / math.sqrt(4000))
        assert values.std() == pytest.approx(belief.sd, rel=0.06)
    both = np.array([one["a"] + one["b"] for one in drawn])
    assert both.std() == pytest.approx(found.belief({"a": 1.0, "b": 1.0}).sd, rel=0.06)


# ---------------------------------------------------------------- what a run is worth


@given(beliefs, st.floats(1e-4, 0.02), st.floats(-0.01, 0.01))
def test_a_reading_is_never_worth_less_than_nothing_and_never_more_than_knowing(belief, noise, other):
    best = expected_best(belief, noise, other)
    assert best >= max(belief.mean, other) - 1e-12
    assert expected_best(belief, 1e-9, other) >= best - 1e-12
    assert best - max(belief.mean, other) <= 0.4 * belief.sd + 1e-12


@given(beliefs, st.floats(1e-4, 0.02))
def test_the_closed_form_is_the_mean_over_outcomes(belief, noise):
    moved = belief.sd**2 / math.hypot(belief.sd, noise)
    z = (np.arange(20000) + 0.5) / 20000
    outcomes = np.maximum(belief.mean + moved * ndtri(z), 0.0)
    assert expected_best(belief, noise) == pytest.approx(float(outcomes.mean()), abs=2e-6)
