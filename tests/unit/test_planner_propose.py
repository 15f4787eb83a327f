"""What experiments make of a hypothesis before it is tested: what may be transferred, and what may not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rea.domain.codebase import Knob, KnobType
from rea.domain.hypothesis import HypothesisDraft
from rea.domain.insight import ExperimentRecord
from rea.domain.plan import Finding
from rea.domain.treatment import Treatment
from rea.insights.snapshot import learn
from rea.knowledge.cards import load_techniques
from rea.planner.propose import propose
from rea.planner.synthesise import score
from support.world import VALUES, techniques, tiny_codebase

CODEBASE = replace(tiny_codebase(), name="ours")
CONTEXT = {"codebase": "ours"}
ENCODING = "features.numeric_encoding"


def record(technique: str, gain: float, **more: object) -> ExperimentRecord:
    known: dict[str, object] = {
        "codebase": "ours",
        "roles": {"numeric_encoding": "log"},
        "values": {"numeric_encoding": "raw"},
        "outcome": "supported",
        "se": 0.001,
        "seeds": 1,
    }
    fields = known | more
    return ExperimentRecord(None, campaign=1, hypothesis=1, round=1, technique=technique, effect=gain, **fields)  # type: ignore[arg-type]


def drafts(*records: ExperimentRecord, base: Treatment | None = None) -> dict[tuple[str, str], HypothesisDraft]:
    """What is proposed about numeric encodings, by technique and value."""
    on = base or Treatment()
    values = {**VALUES, **on.overrides}
    known = learn(records, techniques(), CODEBASE.name)
    found = propose(techniques(), CODEBASE, values, (), known, CONTEXT, base=on).drafts
    about = [d for d in found if set(d.treatment.overrides) == {ENCODING}]
    return {(str(d.technique), str(d.treatment.overrides[ENCODING])): d for d in about}


LOG = next(key for key in drafts() if key[1] == "log")


def test_a_step_that_was_taken_already_is_not_there_to_be_gained_again() -> None:
    taken = Treatment({ENCODING: "log"})
    plain = drafts(base=taken)
    after = drafts(record(LOG[0], 0.02), base=taken)
    assert after.keys() == plain.keys() and after
    assert {value: draft.effect for value, draft in after.items()} == {v: d.effect for v, d in plain.items()}


def test_where_the_incumbent_has_the_knobs_set_already_less_is_expected_of_setting_them_otherwise() -> None:
    fresh, again = drafts(), drafts(base=Treatment({ENCODING: "log"}))
    shared = fresh.keys() & again.keys()
    assert shared
    for value in shared:
        assert again[value].effect.mean == pytest.approx(0.25 * fresh[value].effect.mean)


def test_half_of_a_step_measured_beside_another_incumbent_is_in_doubt() -> None:
    found = drafts(record(LOG[0], 0.02))[LOG].effect
    assert found.mean > 0.01
    assert found.sd >= 0.5 * found.mean * 0.9


def test_what_won_elsewhere_is_one_observation_however_large() -> None:
    won = record("", 0.16, codebase="toy", roles={"learning_rate": 0.01}, values={})
    found = propose((), CODEBASE, VALUES, (), learn([replace(won, technique=None)], (), CODEBASE.name), CONTEXT).drafts
    assert [draft.mechanism for draft in found] == ["recalled"]
    assert 0 < found[0].effect.mean < 0.001 and found[0].effect.sd < 0.01


def test_what_was_measured_as_a_loss_is_expected_to_be_one() -> None:
    before = drafts()[LOG]
    lost = drafts(record(LOG[0], -0.05, se=0.0005))[LOG]
    assert lost.effect.mean < -0.01 < before.effect.mean
    assert score(lost, 0.001) < score(before, 0.001)


def test_a_step_away_from_a_value_that_a_tuner_chose_is_expected_to_gain_less() -> None:
    tuned = replace(CODEBASE, knobs=tuple(replace(knob, tuned=knob.name == ENCODING) for knob in CODEBASE.knobs))
    known = learn((), techniques(), CODEBASE.name)
    plain = propose(techniques(), CODEBASE, VALUES, (), known, CONTEXT).drafts
    found = propose(techniques(), tuned, VALUES, (), known, CONTEXT).drafts
    for one, other in zip(plain, found, strict=True):
        if set(one.treatment.overrides) == {ENCODING}:
            assert other.effect.mean == pytest.approx(0.2 * one.effect.mean)
            assert other.effect.sd < one.effect.sd
        else:
            assert other.effect == one.effect


def test_what_was_not_measured_in_a_like_place_takes_nothing_off_what_a_tuner_left() -> None:
    """A failure tells nothing of a gain, and one measurement in an unlike place little."""
    tuned = replace(CODEBASE, knobs=tuple(replace(knob, tuned=knob.name == ENCODING) for knob in CODEBASE.knobs))
    elsewhere = {"codebase": "theirs", "context": {"codebase": "theirs", "model_family": "ffm", "rows": 1e7}}
    failed = record("numeric-encoding", 0.0, **elsewhere, outcome="failed", se=None)
    here = {**CONTEXT, "model_family": "dcnv2", "rows": 1e5}

    def score_of(*records: ExperimentRecord) -> float:
        known = learn(records, techniques(), CODEBASE.name)
        found = propose(techniques(), tuned, VALUES, (), known, here).drafts
        return score(next(d for d in found if d.treatment.overrides == {ENCODING: "log"}), 0.001)

    card = next(technique for technique in techniques() if technique.name == LOG[0])
    failed = replace(failed, technique=card.name)
    refuted = replace(failed, outcome="refuted", effect=-0.001, se=0.001)
    assert score_of(failed) <= 1.01 * score_of()
    assert score_of(refuted) <= 1.5 * score_of()


@pytest.mark.parametrize("strength", [0.1, 0.4, 0.5, 1.0])
def test_a_faint_symptom_makes_a_technique_wait_and_a_clear_one_leaves_it_out(strength: float) -> None:
    known = learn((), techniques(), CODEBASE.name)
    plain = propose(techniques(), CODEBASE, VALUES, (), known, CONTEXT).drafts
    wary = {t.name: t for t in techniques() if t.avoid_when}
    shown = {name: Finding(str(t.avoid_when[0]), strength, "seen", {}) for name, t in wary.items()}
    assert any(draft.technique in wary for draft in plain)
    for draft in plain:
        if draft.technique in wary:
            found = propose([wary[draft.technique]], CODEBASE, VALUES, (shown[draft.technique],), known, CONTEXT)
            if strength >= 0.5:
                assert not found.drafts and [left.title for left in found.left_out] == [wary[draft.technique].title]
            else:
                alone = next(d for d in found.drafts if d.full.key() == draft.full.key())
                assert alone.aim == pytest.approx((1 - strength) * draft.aim)


def test_an_ensemble_costs_what_its_members_do() -> None:
    knob = Knob("members", "ensemble", KnobType.INT, 1, 5)
    card = replace(techniques()[0], name="averaged", settings=({"ensemble": 3}, {"ensemble": 2}), cost=9.0, requires={})
    card = replace(card, avoid_when=())
    found = propose([card], replace(CODEBASE, knobs=(knob,)), {"members": 1}, (), learn((), [card], "ours"), CONTEXT)
    assert [draft.cost_factor for draft in found.drafts] == [3.0, 2.0]


@pytest.mark.parametrize(("best", "epochs"), [(9.0, 12), (18.0, 24), (20.0, None), (None, None)])
def test_a_schedule_is_laid_over_the_epochs_that_training_used(best: float | None, epochs: int | None) -> None:
    schedule = Knob("schedule", "lr_schedule", KnobType.STR, choices=("constant", "cosine", "plateau"))
    knobs = (schedule, Knob("epochs", "epochs", KnobType.INT, 1, 30))
    card = replace(techniques()[0], settings=({"lr_schedule": "cosine"}, {"lr_schedule": "plateau"}), requires={})
    card = replace(card, avoid_when=())
    context = {} if best is None else {"epochs_to_best": best}
    values = {"schedule": "constant", "epochs": 30}
    found = propose([card], replace(CODEBASE, knobs=knobs), values, (), learn((), [card], "ours"), context).drafts
    laid = {"schedule": "cosine"} if epochs is None else {"schedule": "cosine", "epochs": epochs}
    assert [draft.treatment.overrides for draft in found] == [laid, {"schedule": "plateau"}]


def test_what_mends_a_mean_prediction_is_expected_to_gain_most_of_what_that_is_worth() -> None:
    knob = Knob("calibration", "calibration", KnobType.STR, choices=("none", "platt", "isotonic"), default="none")
    codebase = replace(CODEBASE, knobs=(*CODEBASE.knobs, knob))
    values = {**VALUES, "calibration": "none"}

    def expected(worth: float, *records: ExperimentRecord) -> float:
        off = Finding("miscalibrated", 1.0, "12 % too low", {"calibration": 0.88, "worth": worth})
        known = learn(records, load_techniques(), codebase.name)
        found = propose(load_techniques(), codebase, values, (off,), known, CONTEXT).drafts
        (mended,) = (d.effect for d in found if d.treatment == Treatment({"calibration": "platt"}))
        return mended.mean

    assert expected(0.0) == expected(1e-5)
    assert expected(0.02) == pytest.approx(0.7 * 0.02)
    seen = record("post-hoc-calibration", 0.001, roles={"calibration": "platt"}, values={"calibration": "none"})
    assert expected(0.02, seen) < 0.005, "a test of this very step tells more"
