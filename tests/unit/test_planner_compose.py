"""What the data profile keeps out of an agenda, and the facts it adds to a context."""

from dataclasses import replace

from rea.domain.codebase import Knob, KnobType
from rea.domain.data import DataField, DataProfile, FieldPair
from rea.domain.hypothesis import Belief, HypothesisDraft
from rea.domain.run import RunResult
from rea.domain.states import HypothesisState
from rea.domain.treatment import Treatment
from rea.insights.snapshot import Insights
from rea.planner.compose import _grounded, context_of, next_agenda
from support.world import World, tiny_codebase

AD, BID = DataField("ad", "categorical", 400, rare_rows=0.4), DataField("bid", "numeric", 9000)
USER = DataField("user", "categorical", 30, rare_rows=0.0)


def codebase():
    knobs = (
        Knob("crosses", "feature_crosses", KnobType.INT, 0, 8),
        Knob("both", "numeric_both", KnobType.BOOL),
        Knob("cap", "hash_rows", KnobType.INT, 0, 5000),
        Knob("lr", "learning_rate", KnobType.FLOAT, 1e-4, 1e-1),
    )
    return replace(tiny_codebase(), knobs=knobs)


def kept(data):
    drafts = [
        HypothesisDraft(name, "", Treatment({name: value}), Belief(0.001, 0.001))
        for name, value in (("crosses", 4), ("both", True), ("cap", 300), ("lr", 0.01))
    ]
    found, out = _grounded(drafts, codebase(), data)
    assert len(found) + len(out) == len(drafts)
    return [draft.title for draft in found]


def test_what_the_data_have_no_ground_for_is_not_tried():
    pair = FieldPair(("ad", "user"), 0.01)
    assert kept(None) == ["crosses", "both", "cap", "lr"], "nothing is known"
    assert kept(DataProfile({}, None, (AD, BID))) == ["crosses", "both", "cap", "lr"], "pairs were not looked at"
    assert kept(DataProfile({}, None, (AD, BID), (pair,))) == ["crosses", "both", "cap", "lr"]
    assert kept(DataProfile({}, None, (AD, BID), ())) == ["both", "cap", "lr"]
    assert kept(DataProfile({}, None, (AD,), (pair,))) == ["crosses", "cap", "lr"]
    narrow = replace(AD, cardinality=300)
    assert kept(DataProfile({}, None, (narrow, BID), (pair,))) == ["crosses", "both", "lr"], "a cap above every field"


def test_a_context_holds_the_main_facts_of_the_data_and_leaves_out_what_is_not_told():
    run = RunResult({"ne": 0.8, "train_rows": 500.0}, (), "epoch", 1.0, 1.0, 0)
    told = context_of(tiny_codebase(), {}, (), [run], DataProfile({"train": 900}, 0.2, (AD, BID, USER)))
    expected = {"rows": 500.0, "positive_rate": 0.2, "fields": 3, "numeric_share": 1 / 3}
    expected |= {"rare_mass": 0.2, "largest_cardinality": 400}
    assert expected.items() <= told.items()
    bare = context_of(tiny_codebase(), {}, (), [], DataProfile({}, None, (DataField("bid", "numeric"),)))
    assert set(bare) & {"rows", "positive_rate", "rare_mass", "largest_cardinality", "epochs_to_best"} == set()


def test_what_waited_through_a_round_is_offered_again_and_what_an_engineer_ruled_out_is_not():
    world = World(3, lambda _: 0.0, rounds=3).profile().sign()
    evidence, kept = world.evidence(), Insights()
    out = {0: HypothesisState.LEFT_OUT, 1: HypothesisState.VETOED}
    marked = tuple(replace(h, state=out.get(i % 3, h.state)) for i, h in enumerate(evidence.hypotheses))
    agenda = next_agenda(replace(evidence, hypotheses=marked), None, world.techniques, kept)
    offered = {draft.full.key() for draft, _ in agenda.drafts}
    for h in marked:
        assert (h.draft.full.key() in offered) == (h.state is not HypothesisState.VETOED), h.draft.title
