"""What experiments do to a belief about a technique."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rea.domain.codec import dumps, loads
from rea.domain.hypothesis import Belief
from rea.domain.insight import Context, ExperimentRecord
from rea.domain.technique import Level, Prior, Technique
from rea.insights.estimate import Weighed, between_variance, censored, effect
from rea.insights.interaction import interaction
from rea.insights.similarity import FLOOR, similarity

HERE: Context = {
    "codebase": "c",
    "model_family": "dcnv2",
    "rows": 1_000_000,
    "positive_rate": 0.2,
    "symptoms": ("unstable",),
}
FAR: Context = {"model_family": "lr", "rows": 10_000, "positive_rate": 0.01, "symptoms": ("slow",)}


def card(mean: float = 0.001, sd: float = 0.002, name: str = "lr-decay") -> Technique:
    return Technique(name, "T", Level.RECIPE, "m", ({"dropout": 0.1},), Prior(mean, sd, "b"), "c", "p")


def record(
    gain: float | None, se: float | None = 0.001, *, context: Context = HERE, **more: object
) -> ExperimentRecord:
    known = {
        "codebase": "c",
        "campaign": 1,
        "technique": "lr-decay",
        "outcome": "inconclusive",
        "roles": {},
        "seeds": 3,
    }
    return ExperimentRecord(id=None, hypothesis=1, round=1, effect=gain, se=se, context=context, **(known | more))  # type: ignore[arg-type]


gains = st.floats(-0.05, 0.05)
errors = st.floats(1e-4, 0.02)
contexts = st.fixed_dictionaries(
    {},
    optional={
        "model_family": st.sampled_from(["dcnv2", "lr", "DCNv2"]),
        "rows": st.integers(1, 10**9),
        "positive_rate": st.floats(0.001, 0.999),
        "symptoms": st.lists(st.sampled_from(["slow", "drift", "unstable"]), unique=True).map(tuple),
    },
)
measurements = st.builds(record, gains, errors, context=contexts)


def test_without_evidence_the_card_is_the_belief() -> None:
    found = effect(card(0.003, 0.004), HERE, [])
    assert (found.mean, found.sd, found.n, found.evidence) == (0.003, 0.004, 0, ())
    assert "no experiments yet" in found.words


@given(gain=gains, se=errors, n=st.integers(1, 10))
def test_more_evidence_that_agrees_makes_the_belief_narrower(gain: float, se: float, n: int) -> None:
    before = effect(card(), HERE, [record(gain, se)] * n)
    after = effect(card(), HERE, [record(gain, se)] * (n + 1))
    assert after.sd < before.sd < max(card().effect.sd, se)
    assert abs(after.mean - gain) <= abs(before.mean - gain) + 1e-12


@given(gain=gains, se=errors)
def test_an_experiment_elsewhere_moves_the_belief_less_than_one_here(gain: float, se: float) -> None:
    assume(1e-4 < abs(gain - card().effect.mean) < 2 * math.hypot(card().effect.sd, se))
    near, far = (effect(card(), HERE, [record(gain, se, context=where)]) for where in (HERE, FAR))
    prior = card().effect.mean
    assert 0 < abs(far.mean - prior) < abs(near.mean - prior)
    assert near.sd < far.sd


@given(st.lists(measurements, max_size=6), st.randoms())
def test_the_mean_lies_among_what_was_believed_and_seen_in_whatever_order(
    records: list[ExperimentRecord], shuffler: random.Random
) -> None:
    found = effect(card(), HERE, records)
    values = [card().effect.mean, *(r.effect for r in records if r.effect is not None)]
    assert min(values) - 1e-12 <= found.mean <= max(values) + 1e-12
    shuffled = list(records)
    shuffler.shuffle(shuffled)
    again = effect(card(), HERE, shuffled)
    assert again.mean == pytest.approx(found.mean, abs=1e-12)
    assert again.sd == pytest.approx(found.sd, rel=1e-9)


@given(st.lists(measurements, max_size=3), gains, errors)
def test_a_pruned_run_never_raises_a_belief(records: list[ExperimentRecord], bound: float, se: float) -> None:
    before = effect(card(), HERE, records)
    after = effect(card(), HERE, [*records, record(bound, se, outcome="pruned", fidelity=0.3)])
    assert after.mean <= before.mean + 1e-12
    assert after.sd <= before.sd + 1e-12


@given(st.floats(-0.05, 0.0), st.floats(0.001, 0.05))
def test_a_lower_bound_seen_when_pruned_says_more(low: float, more: float) -> None:
    worse, better = (effect(card(), HERE, [record(b, outcome="pruned")]).mean for b in (low, low + more))
    assert worse < better <= card().effect.mean


def test_censoring_agrees_with_direct_integration() -> None:
    belief, bound, noise = Belief(0.4, 1.3), -0.2, 0.7
    step = 0.001
    grid = [-9 + step * i for i in range(18_000)]
    weights = [
        math.exp(-0.5 * ((x - belief.mean) / belief.sd) ** 2) * 0.5 * math.erfc((x - bound) / noise / math.sqrt(2))
        for x in grid
    ]
    mean = sum(w * x for w, x in zip(weights, grid, strict=True)) / sum(weights)
    variance = sum(w * (x - mean) ** 2 for w, x in zip(weights, grid, strict=True)) / sum(weights)
    found = censored(belief, bound, noise)
    assert found.mean == pytest.approx(mean, abs=1e-6)
    assert found.sd == pytest.approx(math.sqrt(variance), abs=1e-6)


@given(st.floats(-1e3, 1e3), st.floats(1e-6, 1e3), st.floats(1e-6, 1e3), st.floats(-1e3, 1e3))
def test_censoring_is_finite_however_surprising(mean: float, sd: float, noise: float, bound: float) -> None:
    found = censored(Belief(mean, sd), bound, noise)
    assert math.isfinite(found.mean)
    assert 0 < found.sd <= sd


def test_what_a_toy_gains_by_the_handful_says_little_about_another_codebase() -> None:
    plain, toy = record(0.16, 0.003), record(0.16, 0.003, codebase="toy")
    assert effect(card(), HERE, [plain]).mean > 0.1
    found = effect(card(), HERE, [toy, toy, toy])
    assert found.mean < 0.01 and found.sd < 0.02
    small = record(0.003, 0.001, codebase="other")  # within what the card expects it counts in full
    assert effect(card(), HERE, [small]).mean == effect(card(), HERE, [record(0.003, 0.001)]).mean


def test_experiments_that_contradict_each_other_leave_doubt() -> None:
    agreeing = effect(card(sd=0.02), HERE, [record(0.01), record(0.01)])
    quarrelling = effect(card(sd=0.02), HERE, [record(0.03), record(-0.01)])
    assert quarrelling.sd > 5 * agreeing.sd
    assert "varies between contexts" in quarrelling.words


def test_between_variance_is_that_of_dersimonian_and_laird() -> None:
    """With full weights the moment estimate is the textbook one: (Q − (k − 1)) / (Σw − Σw²/Σw), w = 1/se²."""
    data = [(0.10, 0.1), (0.60, 0.2), (-0.30, 0.15), (0.45, 0.1)]
    w = [1 / s**2 for _, s in data]
    mean = sum(a * y for a, (y, _) in zip(w, data, strict=True)) / sum(w)
    q = sum(a * (y - mean) ** 2 for a, (y, _) in zip(w, data, strict=True))
    textbook = (q - 3) / (sum(w) - sum(a * a for a in w) / sum(w))
    assert between_variance([Weighed(y, s, 1.0) for y, s in data]) == pytest.approx(textbook)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Effects drawn from the prior, three noisy experiments in the same context: nine in ten 90 % intervals hold it."""
    source = random.Random(7)
    held = 0
    for _ in range(800):
        truth = source.gauss(0.001, 0.002)
        seen = [record(source.gauss(truth, se), se) for se in (0.001, 0.002, 0.003)]
        found = effect(card(0.001, 0.002), HERE, seen)
        held += abs(found.mean - truth) < 1.645 * found.sd
    assert 0.87 <= held / 800 <= 0.97


def test_a_failure_lowers_only_the_chance_of_training_and_less_from_afar() -> None:
    none = effect(card(), HERE, [])
    far = effect(card(), HERE, [record(None, outcome="failed", failure="diverged", context=FAR)])
    near = effect(card(), HERE, [record(None, outcome="failed", failure="diverged")])
    assert near.p_trainable < far.p_trainable < none.p_trainable == 0.9
    assert (near.mean, near.sd) == (none.mean, none.sd)
    assert "diverged" in near.evidence[0]
    assert effect(card(), HERE, [record(0.0)]).p_trainable > none.p_trainable


def test_other_techniques_and_combinations_are_no_evidence() -> None:
    others = [record(0.05, technique="other"), record(0.05, interaction_of=("lr-decay", "other"))]
    assert effect(card(), HERE, others) == effect(card(), HERE, [])


@given(gain=gains, fidelity=st.floats(0.05, 0.9))
def test_a_part_of_a_run_says_less_than_a_whole_one(gain: float, fidelity: float) -> None:
    whole, part = (effect(card(), HERE, [record(gain, fidelity=share)]) for share in (1.0, fidelity))
    assert part.sd > whole.sd


@pytest.mark.parametrize("se", [None, 0.0, math.nan, -1.0])
def test_a_gain_without_an_error_counts_as_much_as_the_card(se: float | None) -> None:
    found = effect(card(0.0, 0.002), HERE, [record(0.01, se)])
    assert found.mean == pytest.approx(0.005)


def test_records_mean_the_same_after_storage() -> None:
    kept = record(0.004, roles={"dropout": 0.1}, values={"dropout": 0, "wide_part": False}, interaction_of=())
    assert loads(ExperimentRecord, dumps(kept)) == kept
    assert effect(card(), HERE, [loads(ExperimentRecord, dumps(kept))]) == effect(card(), HERE, [kept])


@given(contexts, contexts)
def test_similarity_is_symmetric_and_bounded(left: Context, right: Context) -> None:
    assert similarity(left, right) == similarity(right, left)
    assert FLOOR <= similarity(left, right) <= 1


def test_similarity_is_one_for_the_same_context_and_falls_with_each_difference() -> None:
    assert similarity(HERE, HERE) == 1
    assert similarity(HERE, {**HERE, "model_family": "DCNv2"}) == 1
    differences: list[dict[str, object]] = [
        {"model_family": "fm"},
        {"rows": 10_000},
        {"positive_rate": 0.02},
        {"symptoms": ("slow",)},
        {"symptoms": ("slow", "unstable")},
        {"rows": None},
        {"positive_rate": 1.0},
    ]
    for difference in differences:
        assert FLOOR <= similarity(HERE, {**HERE, **difference}) < 1  # type: ignore[dict-item]


def pair(gain: float, se: float = 0.001, **more: object) -> ExperimentRecord:
    return record(gain, se, technique=None, interaction_of=("a", "b"), **more)


def test_techniques_that_add_up_have_no_interaction() -> None:
    found = interaction("a", "b", [record(0.01, technique="a"), record(0.02, technique="b"), pair(0.03)])
    assert found is not None
    assert found.mean == pytest.approx(0.0, abs=1e-12)
    assert found.sd == pytest.approx(0.001 * math.sqrt(3))
    assert "add up" in found.words


def test_an_interaction_is_what_is_left_beside_the_sum_and_has_no_order() -> None:
    records = [record(0.01, technique="a"), record(0.02, technique="b"), pair(0.022), pair(0.022)]
    found = interaction("a", "b", records)
    assert found is not None
    assert found == interaction("b", "a", records)
    assert found.mean == pytest.approx(-0.008)
    assert (found.n, "less together" in found.words) == (2, True)


def test_an_interaction_nobody_measured_is_unknown() -> None:
    single = record(0.01, technique="a")
    assert interaction("a", "b", []) is None
    assert interaction("a", "b", [single, pair(0.02)]) is None, "b was never tried alone"
    three = record(0.05, technique=None, interaction_of=("a", "b", "c"))
    assert interaction("a", "b", [single, record(0.02, technique="b"), three]) is None


def test_singles_of_the_same_campaign_come_first() -> None:
    old = [record(0.5, technique="a", campaign=9), record(0.5, technique="b", campaign=9)]
    new = [record(0.01, technique="a"), record(0.02, technique="b"), pair(0.03)]
    found = interaction("a", "b", [*old, *new])
    assert found is not None
    assert found.mean == pytest.approx(0.0, abs=1e-12)
    assert interaction("a", "b", [*old, pair(0.03)]) is not None
