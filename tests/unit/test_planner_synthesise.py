"""One ranked list out of many proposals."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from rea.domain.hypothesis import Belief, HypothesisDraft, Source, SourceKind
from rea.domain.treatment import Treatment
from rea.planner.synthesise import DIVERSITY, merge, rank, score

NOISE = 0.002

sources = st.lists(st.builds(Source, st.sampled_from(SourceKind), st.sampled_from("abc")), max_size=3).map(tuple)
drafts = st.builds(
    HypothesisDraft,
    title=st.just("t"),
    because=st.just("b"),
    treatment=st.builds(Treatment, st.dictionaries(st.sampled_from("xyz"), st.integers(1, 2), min_size=1)),
    effect=st.builds(Belief, st.floats(-0.01, 0.01), st.floats(0.0, 0.01)),
    mechanism=st.sampled_from(["m1", "m2", "m3"]),
    sources=sources,
    citations=st.lists(st.sampled_from(["p", "q"]), max_size=2).map(tuple),
    cost_factor=st.floats(0.1, 3.0),
    weight=st.floats(0.0, 3.0),
)
lists = st.lists(drafts, max_size=8)


@given(lists)
def test_what_trains_the_same_model_is_one_hypothesis_and_keeps_every_source(given_drafts):
    merged = merge(given_drafts, NOISE)
    keys = [draft.full.key() for draft in merged]
    assert sorted(keys) == sorted({draft.full.key() for draft in given_drafts})
    for one in merged:
        group = [draft for draft in given_drafts if draft.full.key() == one.full.key()]
        assert set(one.sources) == {source for draft in group for source in draft.sources}
        assert set(one.citations) == {text for draft in group for text in draft.citations}
        assert one.weight == max(draft.weight for draft in group)
        assert one.effect in [draft.effect for draft in group]


@given(lists, st.randoms(use_true_random=False))
def test_the_order_of_proposals_does_not_matter(given_drafts, chance):
    shuffled = list(given_drafts)
    chance.shuffle(shuffled)
    one = [(draft.full.key(), value) for draft, value in rank(merge(given_drafts, NOISE), NOISE)]
    other = [(draft.full.key(), value) for draft, value in rank(merge(shuffled, NOISE), NOISE)]
    if len({score(draft, NOISE) for draft in given_drafts}) == len(given_drafts):  # ties may be led by either
        assert one == other
    assert len(one) == len(other)


@given(lists)
def test_ranking_keeps_everything_and_never_values_the_next_above_the_one_before(given_drafts):
    ordered = rank(given_drafts, NOISE)
    assert {draft.full.key() for draft, _ in ordered} == {draft.full.key() for draft in given_drafts}
    values = [value for _, value in ordered]
    assert values == sorted(values, reverse=True)


@given(drafts)
def test_a_second_of_a_mechanism_is_worth_less(draft):
    lead = replace(draft, effect=Belief(0.01, 0.001), weight=1.0, cost_factor=1.0, treatment=Treatment({"a": 1}))
    twin = replace(lead, treatment=Treatment({"a": 2}), effect=Belief(0.009, 0.001))
    other = replace(lead, treatment=Treatment({"b": 1}), effect=Belief(0.007, 0.001), mechanism="another")
    ordered = rank([twin, other, lead], NOISE)
    assert [draft.treatment.overrides for draft, _ in ordered] == [{"a": 1}, {"b": 1}, {"a": 2}]
    assert ordered[2][1] == DIVERSITY * score(twin, NOISE)


def test_hypotheses_are_tried_in_the_order_that_was_signed():
    base = HypothesisDraft("t", "b", Treatment({"a": 0}), Belief(0.01, 0.001), mechanism="m")
    means = {1: 0.010, 2: 0.009, 3: 0.007, 4: 0.006}
    waiting = {
        n: replace(base, treatment=Treatment({"a": n}), effect=Belief(mean, 0.001), mechanism="m" if n != 3 else "n")
        for n, mean in means.items()
    }
    signed = [draft.treatment.overrides["a"] for draft, _ in rank(list(waiting.values()), NOISE)]
    tried: list[int] = []
    while waiting:
        seen = Counter("m" if n != 3 else "n" for n in tried)
        tried.append(rank(list(waiting.values()), NOISE, seen)[0][0].treatment.overrides["a"])
        del waiting[tried[-1]]
    assert tried == signed == [1, 3, 2, 4]


def test_cheap_and_heavily_weighted_come_first():
    base = HypothesisDraft("t", "b", Treatment({"a": 1}), Belief(0.002, 0.002))
    dear = replace(base, treatment=Treatment({"a": 2}), cost_factor=3.0, mechanism="x")
    wanted = replace(base, treatment=Treatment({"a": 3}), weight=2.0, mechanism="y")
    assert [d.treatment.overrides["a"] for d, _ in rank([dear, base, wanted], NOISE)] == [3, 1, 2]
