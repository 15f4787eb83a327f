"""Beliefs about gains, and what a campaign's runs make of them."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rea.domain.hypothesis import Belief, Hypothesis, HypothesisDraft, HypothesisKind
from rea.domain.run import Failure, Reading, Run, RunDraft, RunResult
from rea.domain.states import HypothesisState, Phase, RunState
from rea.domain.treatment import Treatment
from rea.planner import joint
from rea.planner.evidence import Evidence
from rea.planner.exploitation import _doses
from rea.planner.lighten import begun, lightened
from rea.planner.situation import Situation
from support.world import World

means, sds = st.floats(-0.05, 0.05), st.floats(1e-4, 0.05)
moves = st.floats(-0.02, 0.02).filter(lambda gain: BASE * (1 - gain) != BASE)  # gains of what changes something


@given(means, sds, means, sds)
def test_an_update_lands_between_belief_and_observation_and_is_surer_than_both(mean, sd, seen, noise):
    after = Belief(mean, sd).updated(seen, noise)
    assert min(mean, seen) - 1e-12 <= after.mean <= max(mean, seen) + 1e-12
    assert after.sd <= min(sd, noise) * (1 + 1e-9)


@given(means, sds, st.lists(st.tuples(means, sds), min_size=2, max_size=5))
def test_the_order_of_observations_does_not_matter(mean, sd, observations):
    one = other = Belief(mean, sd)
    for seen, noise in observations:
        one = one.updated(seen, noise)
    for seen, noise in reversed(observations):
        other = other.updated(seen, noise)
    assert one.mean == pytest.approx(other.mean, abs=1e-12) and one.sd == pytest.approx(other.sd)


@given(means, sds, means, sds)
def test_no_belief_outvotes_a_plain_measurement(mean, sd, seen, noise):
    wide = Belief(mean, sd).widened(seen, noise)
    after = wide.updated(seen, noise)
    assert wide.sd >= sd and wide.mean == mean
    assert abs(seen - mean) <= 2 * math.hypot(wide.sd, noise) * (1 + 1e-9)
    if abs(seen - mean) > 2 * math.hypot(sd, noise):
        assert abs(after.mean - seen) <= 2.001 * noise
    else:
        assert wide.sd == pytest.approx(sd)


@given(means, sds, means)
def test_the_chances_of_above_and_below_sum_to_one(mean, sd, threshold):
    belief, mirrored = Belief(mean, sd), Belief(-mean, sd)
    assert belief.above(threshold) + mirrored.above(-threshold) == pytest.approx(1.0)
    assert belief.above(threshold) >= belief.above(threshold + 0.01)


def test_certainty_stays_certain():
    sure = Belief(0.0, 0.0)
    assert sure.updated(0.1, 0.01) == sure
    assert sure.above() == 0.0 and Belief(0.01, 0.0).above() == 1.0


# ---------------------------------------------------------------- evidence

PLAN = World(0, lambda _: 0.0).profile().plan
assert PLAN is not None
NOISE, BASE = PLAN.baseline.noise, 0.8


def hypothesis(id_: int, overrides: dict, base: Treatment | None = None, effect: Belief = Belief(0.002, 0.004), **more):
    draft = HypothesisDraft(f"H{id_}", "", Treatment(overrides), effect, base=base or Treatment(), **more)
    return Hypothesis(id_, 1, 1, draft, HypothesisState.TESTING)


def trained(
    treatment: Treatment, seed: int, value: float, *, state=RunState.SUCCEEDED, curve=(), phase=Phase.VALIDATION, **m
):
    trained.ids += 1
    draft = RunDraft(f"{trained.ids}", None, 1, phase, treatment, seed, 1.0, 60.0, 60.0)
    readings = tuple(Reading(x, {"ne": v}) for x, v in enumerate(curve, 1))
    result = RunResult({"ne": value, "calibration": 1.0, **m}, readings, "epoch", 60.0, 60.0, 0)
    failed = Failure("diverged", "N", "The training diverged") if state is RunState.FAILED else None
    return Run(trained.ids, 1, draft, state, result=None if failed else result, failure=failed)


trained.ids = 0
CONTROL = tuple(trained(Treatment(), s, BASE, curve=(0.9, 0.85, 0.8), phase=Phase.PROFILE) for s in (1, 2, 3))
A, B = {"optim.lr": 0.01}, {"optim.schedule": "cosine"}


def test_an_effect_is_measured_against_its_own_base():
    first = hypothesis(1, A)
    second = hypothesis(2, B, base=first.draft.full)
    runs = (*CONTROL, trained(first.draft.full, 1, BASE * 0.99), trained(second.draft.full, 1, BASE * 0.985))
    seen = Evidence(PLAN, runs, (first, second))
    assert first.draft.effect.updated(0.01, NOISE).mean <= seen.effect(first).mean < 0.01
    assert 0.002 < seen.effect(second).mean < 0.0055
    assert seen.observed(second) == {1: pytest.approx(0.005)}


def test_a_run_of_a_combination_tells_about_each_of_its_parts():
    one, two = hypothesis(1, A), hypothesis(2, B)
    both = hypothesis(3, {**A, **B}, kind=HypothesisKind.COMBINATION, parents=(1, 2))
    alone = (*CONTROL, trained(one.draft.full, 1, BASE * 0.999), trained(two.draft.full, 1, BASE * 0.999))
    before = Evidence(PLAN, alone, (one, two, both))
    good = Evidence(PLAN, (*alone, trained(both.draft.full, 1, BASE * 0.99)), (one, two, both))
    bad = Evidence(PLAN, (*alone, trained(both.draft.full, 1, BASE * 1.01)), (one, two, both))
    for part in (one, two):
        assert bad.effect(part).mean < before.effect(part).mean < good.effect(part).mean


def settings_of_one_card(**effects: Belief) -> list[Hypothesis]:
    return [
        hypothesis(i, {f"model.{name}": 1}, effect=effect, technique="crosses" if name != "other" else "else")
        for i, (name, effect) in enumerate(effects.items(), 1)
    ]


@pytest.mark.parametrize("sets", [1, 6])
def test_sets_that_give_less_than_their_parts_do_not_take_from_them_what_their_own_runs_show(sets):
    """However little their cards promised: what parts lose beside each other is as large as what they gain."""
    parts = [hypothesis(i, {f"k{i}": 1}, effect=Belief(0.001, 0.001)) for i in (1, 2, 3)]
    runs = [*CONTROL, *(trained(part.draft.full, 1, BASE * 0.97) for part in parts)]
    every = list(parts)
    for i in range(sets):
        one, other = parts[i % 3], parts[(i + 1) % 3]
        values = {**one.draft.treatment.overrides, **other.draft.treatment.overrides, "extra": i}
        together = hypothesis(10 + i, values, kind=HypothesisKind.COMBINATION, parents=(one.id, other.id))
        every.append(together)
        runs.append(trained(together.draft.full, 1, BASE * 0.968))
    seen = Evidence(PLAN, tuple(runs), tuple(every))
    for part in parts:
        assert seen.effect(part).mean > 0.03 - 3 * NOISE
    assert seen.total(every[-1].draft.full).mean == pytest.approx(0.032, abs=2 * NOISE)


def on_rows(run: Run, luck: float) -> Run:
    """The run, evaluated on a hundred blocks of rows: its seed moves each of them by 1 %, its treatment by `luck`."""
    assert run.result is not None
    value = run.result.metrics["ne"] / 100
    own = random.Random(f"{run.draft.treatment.key()} {run.draft.seed}")
    lasting = random.Random(run.draft.treatment.key())
    blocks = [value * (1 + own.gauss(0, 0.01) + lasting.gauss(0, luck)) for _ in range(100)]
    scale = run.result.metrics["ne"] / sum(blocks)
    return replace(run, result=replace(run.result, block_loss=tuple(scale * block for block in blocks)))


def test_what_only_suits_the_split_s_rows_is_believed_less_and_no_seed_changes_that():
    one = hypothesis(1, A)
    for seeds in ((1,), (1, 2, 3)):
        runs = [*CONTROL, *(trained(one.draft.full, s, BASE * 0.99) for s in seeds)]
        plain = Evidence(PLAN, tuple(runs), (one,))
        steady, lucky = (Evidence(PLAN, tuple(on_rows(run, luck) for run in runs), (one,)) for luck in (0.0, 0.05))
        assert lucky.effect(one).mean < steady.effect(one).mean <= plain.effect(one).mean
        assert lucky.effect(one).sd > 1.5 * steady.effect(one).sd and lucky.first_sd > plain.first_sd
        nothing, treatment = Treatment(), one.draft.full
        alike = [replace(e.effect(one), mean=0.0) for e in (lucky, plain)]
        assert alike[0].sd > alike[1].sd, "the rows leave more open"
        found = [
            e.posterior.moved(e.terms(treatment), e.terms(treatment), e.noise_of(treatment)) for e in (lucky, plain)
        ]
        assert found[0] <= found[1], "and seeds can settle none of it"
        assert lucky.worth_of_seed(treatment, nothing) >= 0.0


def test_a_combination_has_the_luck_of_its_parts_once():
    one, two = hypothesis(1, A), hypothesis(2, B)
    both = hypothesis(3, {**A, **B}, kind=HypothesisKind.COMBINATION, parents=(1, 2))
    every = (one, two, both)
    runs = (*CONTROL, *(trained(h.draft.full, s, BASE * 0.99) for h in every for s in (1, 2)))
    seen = Evidence(PLAN, tuple(on_rows(run, 0.03) for run in runs), every)
    own = [seen.row_variance(h) for h in every]
    assert all(math.sqrt(variance) == pytest.approx(0.003, rel=0.4) for variance in own)
    together = seen.posterior.belief(seen.terms(both.draft.full)).sd
    assert together < math.sqrt(sum(own))


def test_what_waited_in_vain_and_came_back_is_believed_under_its_new_name():
    waited = replace(hypothesis(1, A, effect=Belief(0.0, 1e-5)), state=HypothesisState.LEFT_OUT)
    back, other = hypothesis(2, A, effect=Belief(0.001, 0.01)), hypothesis(3, B, effect=Belief(0.004, 0.01))
    runs = [trained(back.draft.full, s, BASE * 0.99) for s in (1, 2, 3)]
    runs += [trained(other.draft.full, s, BASE * 0.999) for s in (1, 2, 3)]
    seen = Evidence(PLAN, (*CONTROL, *runs), (waited, back, other))
    assert seen.hypothesis_of(back.draft.full) == back
    mine, theirs = (seen.posterior.belief(seen.own(h)) for h in (back, other))
    assert mine == seen.effect(back) and mine.mean > 0.008 > 0.002 > theirs.mean


@given(means, sds, sds)
def test_before_any_run_what_settings_of_a_card_share_changes_no_belief(mean, sd, other):
    card = settings_of_one_card(one=Belief(mean, sd), two=Belief(mean / 2, other), other=Belief(mean, sd))
    seen = Evidence(PLAN, CONTROL, tuple(card))
    for h in card:
        for belief in (seen.outlook(h).effect, seen.effect(h)):
            assert belief.mean == pytest.approx(h.draft.effect.mean) and belief.sd == pytest.approx(h.draft.effect.sd)


@given(moves)
def test_a_setting_that_was_tried_tells_about_the_others_of_its_card_and_no_other_card(gain):
    usual = Belief(0.002, 0.004)
    tried, waiting, other = settings_of_one_card(one=usual, two=usual, other=usual)
    seen = Evidence(PLAN, (*CONTROL, trained(tried.draft.full, 1, BASE * (1 - gain))), (tried, waiting, other))
    moved, own = seen.outlook(waiting).effect.mean - usual.mean, seen.effect(tried).mean - usual.mean
    assert moved * own >= 0 and abs(moved) <= abs(own)
    assert seen.outlook(waiting).effect.sd < usual.sd
    assert seen.outlook(other) == other.draft


def test_settings_on_either_side_of_the_baseline_are_no_siblings():
    up, further, down = (hypothesis(i, {"optim.lr": lr}, technique="rate") for i, lr in ((1, 0.1), (2, 0.2), (3, 1e-6)))
    found = joint.families((up, further, down), {"optim.lr": 0.01})
    assert found.keys() == {1, 2}


def test_what_alike_techniques_in_the_incumbent_have_gained_already_is_not_expected_again():
    first = hypothesis(1, {"model.l2": 1e-4}, technique="l2", mechanism="shrink")
    seen = Evidence(PLAN, CONTROL, (first,))
    mean, kept = Belief(0.004, 0.004), PLAN.additivity
    alike, apart, same, loss = (
        hypothesis(i, knobs, base=first.draft.full, effect=effect, mechanism=mechanism, technique=f"t{i}").draft
        for i, (knobs, mechanism, effect) in enumerate(
            [
                ({"model.dropout": 0.1}, "shrink", mean),
                ({"optim.lr": 0.1}, "rate", mean),
                ({"model.l2": 1e-3}, "shrink", mean),
                ({"optim.lr": 0.1}, "rate", Belief(-0.004, 0.004)),
            ],
            2,
        )
    )
    assert seen.beside(alike).effect.mean == pytest.approx(kept.alike * 0.004)
    assert seen.beside(apart).effect.mean == pytest.approx(kept.apart * 0.004)
    assert seen.beside(same) == same and seen.beside(loss) == loss


def test_what_treatments_have_in_common_does_not_make_it_uncertain_which_is_better():
    one, two, extra = hypothesis(1, A), hypothesis(2, B), hypothesis(3, {"model.dropout": 0.1})
    small = hypothesis(4, {**A, **B}, kind=HypothesisKind.COMBINATION, parents=(1, 2))
    large = hypothesis(5, {**A, **B, "model.dropout": 0.1}, kind=HypothesisKind.COMBINATION, parents=(1, 2, 3))
    seen = Evidence(PLAN, (*CONTROL, trained(small.draft.full, 1, BASE * 0.99)), (one, two, extra, small, large))
    mine, theirs = seen.total(large.draft.full), seen.total(small.draft.full)
    ahead = seen.ahead(large.draft.full, small.draft.full)
    assert ahead.mean == pytest.approx(mine.mean - theirs.mean)
    assert ahead.sd < math.hypot(mine.sd, theirs.sd)


def test_another_dose_of_what_the_base_has_already_is_no_test_of_its_technique():
    four = hypothesis(1, {"features.pairs": 4}, technique="pairs")
    rate = hypothesis(2, {"optim.lr": 0.1}, technique="rate")
    both = hypothesis(3, {"features.pairs": 4, "optim.lr": 0.1}, kind=HypothesisKind.COMBINATION, parents=(1, 2))
    two = hypothesis(4, {"features.pairs": 2}, base=both.draft.full, technique="pairs")
    drop = hypothesis(5, {"model.dropout": 0.1}, base=both.draft.full, technique="dropout")
    later = hypothesis(6, {"optim.lr": 0.2}, base=drop.draft.full, technique="rate")
    seen = Evidence(PLAN, CONTROL, (four, rate, both, two, drop, later))
    assert [seen.technique(h) for h in (four, rate, drop)] == ["pairs", "rate", "dropout"]
    assert seen.technique(two) is None and seen.technique(later) is None


def test_a_treatment_whose_seeds_scatter_is_believed_less():
    one = hypothesis(1, A)
    calm = (trained(one.draft.full, s, BASE * 0.99) for s in (1, 2, 3))
    wild = (trained(one.draft.full, s, BASE * v) for s, v in ((1, 0.96), (2, 0.99), (3, 1.02)))
    surely, hardly = Evidence(PLAN, (*CONTROL, *calm), (one,)), Evidence(PLAN, (*CONTROL, *wild), (one,))
    assert hardly.noise_of(one.draft.full) > 2 * surely.noise_of(one.draft.full)
    assert hardly.total(one.draft.full).sd > surely.total(one.draft.full).sd
    assert hardly.noise_of(Treatment()) == surely.run_sd


def test_what_shows_its_base_s_every_digit_changes_nothing_and_moves_no_other_belief():
    real, idle = hypothesis(1, A), hypothesis(2, B, effect=Belief(0.004, 0.004))
    runs = (*CONTROL, trained(real.draft.full, 1, BASE * 0.99))
    before = Evidence(PLAN, runs, (real, idle))
    seen = Evidence(PLAN, (*runs, *(trained(idle.draft.full, s, BASE) for s in (1, 2, 3))), (real, idle))
    state, belief, words = seen.verdict(idle)
    assert state is HypothesisState.REFUTED and belief.mean == 0.0 and "it changes nothing" in words
    assert not seen.eligible(idle) and idle not in seen.contenders()
    assert seen.total(real.draft.full) == before.total(real.draft.full)
    once = Evidence(PLAN, (*runs, trained(idle.draft.full, 1, BASE)), (real, idle))
    assert not once.changes_nothing(idle), "few digits may agree by chance"
    nearly = Evidence(PLAN, (*runs, trained(idle.draft.full, 1, BASE * (1 - 1e-9))), (real, idle))
    assert nearly.verdict(idle)[0] is not HypothesisState.REFUTED


def test_a_total_builds_on_its_base_and_is_pulled_to_its_own_runs():
    first = hypothesis(1, A)
    second = hypothesis(2, B, base=first.draft.full)
    untested = Evidence(PLAN, (*CONTROL, trained(first.draft.full, 1, BASE * 0.99)), (first, second))
    under = untested.total(first.draft.full)
    expected = untested.total(second.draft.full)
    assert expected.mean == pytest.approx(under.mean + 0.002)
    assert expected.sd == pytest.approx(math.hypot(under.sd, 0.004))
    tested = Evidence(PLAN, (*untested.runs, trained(second.draft.full, 1, BASE * 0.98)), (first, second))
    assert expected.mean < tested.total(second.draft.full).mean < 0.02
    assert tested.total(Treatment()) == Belief(0.0, 0.0)


def test_confirmation_seeds_never_move_a_belief_of_the_search():
    one = hypothesis(1, A)
    fresh = PLAN.rules.confirm_seeds[0]
    assert fresh not in PLAN.rules.search_seeds
    runs = (*CONTROL, trained(Treatment(), fresh, BASE), trained(one.draft.full, fresh, BASE * 0.9))
    seen = Evidence(PLAN, runs, (one,))
    assert seen.effect(one) == one.draft.effect and not seen.eligible(one)


def test_a_pruned_run_is_a_bound_read_where_it_stopped():
    one = hypothesis(1, A, effect=Belief(0.01, 0.01))
    pruned = trained(one.draft.full, 1, 0.9, state=RunState.PRUNED, curve=(0.95, 0.9))
    seen = Evidence(PLAN, (*CONTROL, pruned), (one,))
    assert seen.bound(one.draft.full) == pytest.approx((0.85 - 0.9) / 0.85)
    assert seen.effect(one).mean < 0 and not seen.eligible(one)
    state, _, why = seen.verdict(one)
    assert state is HypothesisState.REFUTED and "stopped early" in why


def test_outside_a_guardrail_nothing_becomes_the_incumbent():
    one = hypothesis(1, A)
    runs = (*CONTROL, *(trained(one.draft.full, s, BASE * 0.9, calibration=2.0) for s in (1, 2, 3)))
    seen = Evidence(PLAN, runs, (one,))
    assert seen.effect(one).above() > 0.99
    assert not seen.eligible(one) and seen.incumbent() is None
    assert seen.verdict(one)[0] is HypothesisState.REFUTED and "guardrail" in seen.verdict(one)[2]


@pytest.mark.parametrize("state", [HypothesisState.VETOED, HypothesisState.FAILED, HypothesisState.LEFT_OUT])
def test_what_was_ruled_out_is_no_incumbent(state):
    from dataclasses import replace

    one = replace(hypothesis(1, A), state=state)
    seen = Evidence(PLAN, (*CONTROL, trained(one.draft.full, 1, BASE * 0.9)), (one,))
    assert seen.incumbent() is None and seen.ranking() == ()


@given(moves)
def test_a_verdict_follows_the_probability_of_being_better(gain):
    one = hypothesis(1, A)
    seen = Evidence(PLAN, (*CONTROL, *(trained(one.draft.full, s, BASE * (1 - gain)) for s in (1, 2))), (one,))
    state, belief, _ = seen.verdict(one)
    chance = belief.above(0.0)
    wanted = (
        HypothesisState.SUPPORTED
        if chance >= 0.85
        else HypothesisState.REFUTED
        if chance <= 0.2
        else HypothesisState.INCONCLUSIVE
    )
    assert state is wanted


def test_a_hypothesis_none_of_whose_runs_gave_a_result_failed():
    one = hypothesis(1, A)
    seen = Evidence(PLAN, (*CONTROL, trained(one.draft.full, 1, 0.0, state=RunState.FAILED)), (one,))
    state, _, why = seen.verdict(one)
    assert state is HypothesisState.FAILED and why == "The training diverged"
    assert seen.tested(one)


def test_the_incumbent_is_the_best_total_that_is_likely_better():
    one, two = hypothesis(1, A), hypothesis(2, B, kind=HypothesisKind.SINGLE)
    runs = (*CONTROL, trained(one.draft.full, 1, BASE * 0.99), trained(two.draft.full, 1, BASE * 0.98))
    assert Evidence(PLAN, runs, (one, two)).incumbent() == two
    worse = (*CONTROL, *(trained(one.draft.full, s, BASE * 1.001) for s in (1, 2, 3)))
    assert Evidence(PLAN, worse, (one,)).incumbent() is None


# ---------------------------------------------------------------- what follows from them


def gained(id_: int, overrides: dict, gain: float) -> tuple[Hypothesis, tuple[Run, ...]]:
    one = hypothesis(id_, overrides, effect=Belief(0.0, 0.01))
    return one, tuple(trained(one.draft.full, seed, BASE * (1 - gain)) for seed in (1, 2, 3))


def test_tuning_begins_with_the_numbers_that_gained_most_and_leaves_those_in_doubt():
    l2, l2_runs = gained(1, {"optim.embedding_l2": 1e-4}, 0.02)
    dropout, dropout_runs = gained(2, {"model.dropout": 0.2}, 0.04)
    lr, lr_runs = gained(3, {"optim.lr": 0.01}, -0.01)
    both = hypothesis(4, {**l2.draft.treatment.overrides, **dropout.draft.treatment.overrides, "optim.lr": 0.01})
    seen = Evidence(PLAN, (*CONTROL, *l2_runs, *dropout_runs, *lr_runs), (l2, dropout, lr, both))
    assert _doses(seen, both) == ("dropout", "embedding_l2")
    assert _doses(seen, l2) == ("embedding_l2",)


def test_the_finalist_is_the_best_that_the_budget_can_confirm():
    good, good_runs = gained(1, {"model.dropout": 0.2}, 0.02)
    best, best_runs = gained(2, {"optim.lr": 0.01}, 0.04)
    seen = Evidence(PLAN, (*CONTROL, *good_runs, *best_runs), (good, best))
    dear = {run.id: PLAN.budget_s for run in best_runs[:1]}

    def finalist(spent: dict[int, float], dearer: float) -> Hypothesis | None:
        runs = tuple(
            replace(r, result=replace(r.result, wall_s=dearer * r.result.wall_s)) if r in best_runs else r
            for r in seen.runs
        )
        return Situation(Evidence(PLAN, runs, seen.hypotheses), 1, spent, 1).finalist()

    assert finalist({}, 1.0) == best
    assert finalist({}, 1000.0) == good
    assert finalist(dear, 1.0) == best == seen.incumbent(), "with no money left, what an engineer would want confirmed"


def test_what_can_no_longer_be_confirmed_is_tried_without_its_dear_part():
    """An ensemble of a set makes all that is built on it three times as dear, however little it added."""
    first, ensemble = hypothesis(1, A), hypothesis(2, B, cost_factor=3.0)
    both = hypothesis(3, {**A, **B}, kind=HypothesisKind.COMBINATION, parents=(1, 2), cost_factor=3.0)
    best = replace(hypothesis(4, {"model.dropout": 0.2}, base=both.draft.full), round=2)
    found = [(first, 0.99, 1), (both, 0.98, 3), (best, 0.8, 3)]
    took = PLAN.baseline.run_s
    runs = [
        replace(run, result=replace(run.result, wall_s=took * dearer))
        for h, level, dearer in found
        for run in [trained(h.draft.full, 1, BASE * level)]
    ]
    seen = Evidence(PLAN, (*CONTROL, *runs), (first, ensemble, both, best))

    def situation(left_runs: float) -> Situation:
        kept = PLAN.contingency_s + sum(p.budget_s for p in PLAN.phases if p.phase is Phase.REVEAL)
        spent = PLAN.budget_s - kept - left_runs * PLAN.baseline.device_s
        return Situation(seen, 2, {CONTROL[0].id: spent}, 1)

    assert seen.incumbent() == best
    rich, poor, broke = situation(30), situation(7), situation(2)
    assert rich.confirmable(best.draft) and lightened(rich) is None
    assert not poor.confirmable(best.draft)
    light = lightened(poor)
    assert light is not None and dict(light.full.overrides) == {**A, "model.dropout": 0.2}
    assert light.effect.mean > 0.1 and light.cost_factor == 1.0
    assert lightened(broke) is None
    assert lightened(replace(poor, budget_open=False)) is None
    none = tuple(replace(p, budget_s=0.0) if p.phase is Phase.EXPLOITATION else p for p in PLAN.phases)
    assert lightened(replace(poor, evidence=replace(seen, plan=replace(PLAN, phases=none)))) is None

    added = Hypothesis(5, 1, 2, light, HypothesisState.PROPOSED)
    waiting = replace(poor, evidence=replace(seen, hypotheses=(*seen.hypotheses, added)))
    assert lightened(waiting) is None
    started = begun(waiting)
    assert started is not None and [run.treatment for run in started.runs] == [light.full]
    assert begun(replace(waiting, spent=broke.spent)).judgements[0].state is HypothesisState.LEFT_OUT
    shown = trained(light.full, 1, BASE * 0.81)
    tested = replace(waiting.evidence, hypotheses=(*seen.hypotheses, replace(added, state=HypothesisState.SUPPORTED)))
    after = replace(waiting, evidence=replace(tested, runs=(*tested.runs, shown)))
    assert after.finalist().id == 5
