"""Which hypotheses go together, and what their gains are expected to add up to."""

from hypothesis import given
from hypothesis import strategies as st

from rea.domain.codec import canonical, loads
from rea.domain.hypothesis import Belief, Hypothesis, HypothesisDraft
from rea.domain.plan import Additivity, pair_key
from rea.domain.states import HypothesisState
from rea.domain.treatment import Treatment
from rea.planner import joint
from rea.planner.combination import MOST_PARTS, best_set, compatible

NAMES = tuple("abcdefghij")
shares = st.floats(0.0, 1.5)
gains = st.floats(-0.01, 0.02)
additivities = st.builds(
    Additivity,
    shares,
    shares,
    st.dictionaries(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)).map(lambda p: pair_key(*p)), shares),
)


def hypothesis(number: int, name: str, mechanism: str = "", state: HypothesisState = HypothesisState.SUPPORTED):
    draft = HypothesisDraft(
        title=name,
        because="it may help",
        treatment=Treatment({f"model.{name}": 1}),
        effect=Belief(0.001, 0.002),
        technique=name,
        mechanism=mechanism or name,
    )
    return Hypothesis(number, 1, 1, draft, state)


ALL = tuple(hypothesis(number, name) for number, name in enumerate(NAMES, 1))


@given(st.lists(gains, min_size=len(ALL), max_size=len(ALL)), additivities)
def test_every_member_of_a_set_adds_something_to_those_before_it(drawn, additivity):
    effects = {joint.name_of(h): gain for h, gain in zip(ALL, drawn, strict=True)}
    members = best_set(ALL, effects, additivity)
    parts = joint.weights([h.draft for h in members], additivity)
    assert all(weight * effects[joint.name_of(h)] > 0 for h, weight in zip(members, parts, strict=True))
    assert len({h.id for h in members}) == len(members) <= MOST_PARTS
    if members:
        assert effects[joint.name_of(members[0])] == max(effects.values())


@given(st.floats(0.001, 0.02), st.floats(0.001, 0.02))
def test_two_that_cancelled_each_other_before_are_not_put_together(one, other):
    effects = {"H-1": one, "H-2": other}
    assert len(best_set(ALL[:2], effects, Additivity())) == 2
    assert len(best_set(ALL[:2], effects, Additivity(pairs={"a + b": 0.0}))) == 1


def test_what_is_known_of_a_pair_counts_more_than_what_its_cards_say():
    same = [hypothesis(1, "a", "rate").draft, hypothesis(2, "b", "rate").draft]
    assert joint.weights(same, Additivity()) == (1.0, Additivity().alike)
    assert joint.weights(same, Additivity(pairs={"a + b": 1.2})) == (1.0, 1.2)
    assert joint.weights(same[::-1], Additivity(pairs={"a + b": 1.2})) == (1.0, 1.2)


@given(st.integers(0, 3), st.randoms(use_true_random=False))
def test_at_most_one_that_nobody_tried_alone_joins_a_set(untried, chance):
    state = HypothesisState.PROPOSED
    some = [hypothesis(h.id, n, state=state if h.id <= untried else h.state) for h, n in zip(ALL, NAMES, strict=True)]
    effects = {joint.name_of(h): chance.uniform(0.001, 0.01) for h in some}
    members = best_set(some, effects, Additivity())
    assert sum(h.state is state for h in members) <= 1
    assert all(compatible(h, o) for h in members for o in members)


@given(additivities)
def test_what_gains_add_up_to_is_signed_and_read_back_with_the_plan(additivity):
    assert loads(Additivity, canonical(additivity)) == additivity
