"""What experiments do to a belief about a technique."""

from __future__ import annotations

import math
import pickle
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rea.domain.codec import dumps, loads
from rea.domain.hypothesis import CONFLICT, Belief
from rea.domain.insight import Cell, Context, Effect, ExperimentRecord, gather, setting_key
from rea.domain.plan import Additivity
from rea.domain.technique import Level, Prior, Technique
from rea.insights.censoring import censored
from rea.insights.estimate import effect
from rea.insights.features import FACTS, WIDTH, features
from rea.insights.fit import BETWEEN, SETTINGS, fit
from rea.insights.interaction import additivity, measured_words
from rea.insights.leave_out import without
from rea.insights.posterior import FORMAT, Fit, vector
from rea.insights.similarity import FLOOR, data_range, same_data, similarity
from rea.insights.snapshot import MOST_KIN, Insights, learn

HERE: Context = {
    "codebase": "c",
    "model_family": "dcnv2",
    "rows": 1_000_000,
    "positive_rate": 0.2,
    "symptoms": ("unstable",),
}
FAR: Context = {"model_family": "lr", "rows": 10_000, "positive_rate": 0.01, "symptoms": ("slow",)}


def card(mean: float = 0.001, sd: float = 0.002, name: str = "lr-decay", **more: object) -> Technique:
    known: dict[str, object] = {"mechanism": name} | more
    mechanism = str(known.pop("mechanism"))
    return Technique(name, "T", Level.RECIPE, mechanism, ({"dropout": 0.1},), Prior(mean, sd, "b"), "c", "p", **known)  # type: ignore[arg-type]


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


def told(records: list[ExperimentRecord], technique: Technique | None = None, context: Context = HERE) -> Effect:
    """The effect in codebase c."""
    technique = technique or card()
    return effect(technique, context, learn(records, [technique], "c"))


calm = settings(max_examples=25, deadline=None)
gains = st.floats(-0.05, 0.05)
errors = st.floats(1e-4, 0.02)
contexts = st.fixed_dictionaries(
    {},
    optional={
        "model_family": st.sampled_from(["dcnv2", "lr", "DCNv2"]),
        "rows": st.integers(1, 10**9),
        "positive_rate": st.floats(0.001, 0.999),
        "symptoms": st.lists(st.sampled_from(["slow", "drift", "unstable"]), unique=True).map(tuple),
        "rare_mass": st.floats(0, 1),
    },
)
places = st.sampled_from(["c", "d", "e"])
measurements = st.builds(record, gains, errors, context=contexts, codebase=places)


def test_without_evidence_the_card_is_the_belief_with_what_data_sets_differ_by() -> None:
    found = told([], card(0.003, 0.004))
    assert (found.mean, found.n) == (0.003, 0)
    assert found.sd == pytest.approx(math.hypot(0.004, BETWEEN[Level.RECIPE]))
    assert "no experiments yet" in found.words


@calm
@given(gain=gains, se=errors, n=st.integers(1, 10))
def test_more_evidence_that_agrees_makes_the_belief_narrower(gain: float, se: float, n: int) -> None:
    # Evidence that contradicts the card widens what the card says, so it may leave more doubt than there was.
    assume(abs(gain - card().effect.mean) <= 2 * card().effect.sd)
    before, after = told([record(gain, se)] * n), told([record(gain, se)] * (n + 1))
    assert after.sd < before.sd
    assert abs(after.mean - gain) <= abs(before.mean - gain) + 1e-12


@calm
@given(gain=st.floats(-0.008, 0.008), se=st.floats(1e-4, 0.002))
def test_an_experiment_of_another_codebase_moves_the_belief_less_than_one_of_this(gain: float, se: float) -> None:
    prior = card().effect.mean
    assume(abs(gain - prior) > 1e-3)
    near, elsewhere = told([record(gain, se)]), told([record(gain, se, codebase="d")])
    assert 0 < abs(elsewhere.mean - prior) < abs(near.mean - prior)
    assert near.sd < elsewhere.sd


def test_an_experiment_in_a_like_context_moves_the_belief_more() -> None:
    """Many codebases of two kinds, in which the technique does opposite things: each kind is believed of itself."""
    source = random.Random(3)
    kinds = [(HERE, 0.006), (FAR, -0.006)]
    records = [
        record(gain + source.gauss(0, 0.001), context=where, codebase=f"{k}-{i}")
        for k, (where, gain) in enumerate(kinds)
        for i in range(30)
    ]
    here, far = told(records), told(records, context=FAR)
    assert here.mean > 0.003 and far.mean < -0.003


@calm
@given(st.lists(measurements, max_size=6), st.randoms())
def test_the_order_of_experiments_does_not_matter(records: list[ExperimentRecord], shuffler: random.Random) -> None:
    found = told(records)
    shuffled = list(records)
    shuffler.shuffle(shuffled)
    again = told(shuffled)
    assert again.mean == pytest.approx(found.mean, abs=1e-9)
    assert again.sd == pytest.approx(found.sd, rel=1e-6)
    assert math.isfinite(found.mean) and 0 < found.sd < math.inf


@calm
@given(st.lists(measurements, max_size=3), gains, errors)
def test_a_pruned_run_here_never_raises_a_belief(records: list[ExperimentRecord], bound: float, se: float) -> None:
    before, after = told(records), told([*records, record(bound, se, outcome="pruned", fidelity=0.3)])
    # A fit does not keep all of its grid to take this codebase out of: numbers may differ by that.
    assert after.mean <= before.mean + 1e-6
    assert after.sd <= 1.05 * before.sd


@calm
@given(st.floats(-0.05, 0.0), st.floats(0.001, 0.05), places)
def test_a_lower_bound_seen_when_pruned_says_more(low: float, more: float, where: str) -> None:
    worse, better = (told([record(b, outcome="pruned", codebase=where)]).mean for b in (low, low + more))
    assert worse < better <= card().effect.mean + 1e-12


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


@calm
@given(st.floats(-1e3, 1e3), st.floats(1e-6, 1e3), st.floats(1e-6, 1e3), st.floats(-1e3, 1e3))
def test_censoring_is_finite_however_surprising(mean: float, sd: float, noise: float, bound: float) -> None:
    found = censored(Belief(mean, sd), bound, noise)
    assert math.isfinite(found.mean)
    assert 0 < found.sd <= sd


def test_what_a_toy_gains_by_the_handful_says_little_about_another_codebase() -> None:
    assert told([record(0.16, 0.003)]).mean > 0.1, "a plain measurement here outvotes the card"
    toys = [record(0.16, 0.003, codebase="toy", campaign=i) for i in range(3)]
    found = told(toys)
    assert abs(found.mean) < 0.01 and found.sd < 0.02


# other models on the same data


def beside(records: list[ExperimentRecord], **asked: Any) -> Effect:
    """The effect in codebase c, beside other codebases on its data."""
    return effect(card(), HERE, learn(records, [card()], "c", HERE), **asked)


@calm
@given(gain=st.floats(-0.008, 0.008), se=st.floats(1e-4, 0.002))
def test_a_model_on_the_same_data_says_more_than_one_on_other_data_and_less_than_this_one(gain, se) -> None:
    prior = card().effect.mean
    assume(abs(gain - prior) > 1e-3)
    own, kin = beside([record(gain, se)]), beside([record(gain, se, codebase="d")])
    other = beside([record(gain, se, codebase="d", context={**HERE, "rows": 300_000})])
    assert 0 < abs(other.mean - prior) < abs(kin.mean - prior) < abs(own.mean - prior)
    assert own.sd < kin.sd
    assert kin.n == 1


def test_a_large_gain_on_the_same_data_is_expected_here_with_doubt_about_its_size() -> None:
    large = [record(0.16, 0.003, codebase="d")]
    assert abs(told(large).mean) < 0.01
    found = beside(large)
    assert 0.08 < found.mean < 0.16 and found.mean > 2 * found.sd > 0.04


def test_a_loss_on_the_same_data_is_hardly_hoped_to_be_a_gain_here() -> None:
    for outcome in ("refuted", "pruned"):
        found = beside([record(-0.1, 0.003, codebase="d", outcome=outcome)])
        assert found.mean + 2 * found.sd < 0, outcome


def test_however_many_models_share_the_data_this_one_keeps_a_doubt_of_its_own() -> None:
    few, many = (beside([record(0.002, 1e-4, codebase=f"d{i}") for i in range(count)]) for count in (1, MOST_KIN))
    assert many.sd <= few.sd
    assert many.sd > 0.3 * BETWEEN[Level.RECIPE] * 0.6


def test_another_setting_on_the_same_data_says_less_than_the_very_setting() -> None:
    kin = [record(0.006, 0.0005, codebase="d", roles={"x": "low"}, values={"x": "off"})]
    low, high = (beside(kin, setting={"x": value}, now={"x": "off"}) for value in ("low", "high"))
    assert card().effect.mean < high.mean < low.mean and low.sd < high.sd


def test_a_model_that_was_asked_often_is_one_model() -> None:
    """Contexts of one codebase differ in what was measured on the way; that makes no further models of it."""
    seen = [record(0.006, 0.0005, codebase="d", context={**HERE, "epochs_to_best": 5 + i / 9}) for i in range(6)]
    models = [record(0.006, 0.0005, codebase=f"d{i}") for i in range(6)]
    often, many = beside(seen), beside(models)
    assert often.sd > 1.1 * many.sd and often.mean < many.mean


def test_the_same_ratio_from_elsewhere_on_the_same_data_is_another_step() -> None:
    kin = [record(0.02, 0.0005, codebase="d", roles={"l2": 1e-5}, values={"l2": 1e-6})]
    there, further = (beside(kin, setting={"l2": 10 * at}, now={"l2": at}) for at in (1e-6, 1e-5))
    assert there.mean > 2 * further.mean > 0


def test_models_on_the_same_data_count_once_beside_those_on_other_data() -> None:
    others = [record(0.002, codebase=f"o{i}", context={**FAR, "rows": 10_000 * (i + 2)}) for i in range(6)]
    kin = [record(0.004, codebase=name, roles={"x": value}) for name in ("d", "e") for value in ("low", "high")]
    known = learn([*others, *kin], [card()], "c", HERE).known["lr-decay"]
    alone = learn(others, [card()], "c").known["lr-decay"]
    assert known.belief is not None and alone.belief is not None
    assert len(known.kin) == 4 and (known.n, known.codebases) == (10, 8)
    row = [1.0, *([0.0] * len(known.settings)), *features(HERE)]
    plain = [1.0, *([0.0] * len(alone.settings)), *features(HERE)]
    # The weights of the grid were found with all of them: equal but for those.
    assert float(known.belief.mean @ row) == pytest.approx(float(alone.belief.mean @ plain), abs=3e-4)
    assert learn(kin, [card()], "c", HERE).known["lr-decay"].belief is None


def test_a_fit_without_several_codebases_is_the_regression_over_those_of_the_others() -> None:
    source = random.Random(6)
    made = [
        record(source.gauss(0.002, 0.005), codebase=f"d{i}", context=_context(source, f"d{i}"), roles={"x": value})
        for i in range(9)
        for value in ("low", "middle", "high")
    ]
    cells = gather(made)
    fitted = _likeliest(fit(card(), cells))
    taken = [c for c in cells if c.codebase in ("d2", "d5", "d6")]
    (left,) = without([fitted], [taken])
    mean, cov = _from_the_model(fitted, [c for c in cells if c not in taken])
    assert left.mean == pytest.approx(mean, rel=1e-6, abs=1e-10)
    assert left.cov == pytest.approx(cov, rel=1e-6, abs=1e-12)


def test_what_many_codebases_agree_on_is_believed_whatever_the_card_says() -> None:
    source = random.Random(5)
    records = [record(source.gauss(0.02, 0.002), codebase=f"d{i}") for i in range(40)]
    assert told(records, card(0.0, 0.001)).mean == pytest.approx(0.02, abs=0.003)


def test_measurements_of_one_thing_that_contradict_each_other_leave_doubt() -> None:
    agreeing, quarrelling = told([record(0.01)] * 2), told([record(0.03), record(-0.01)])
    assert quarrelling.sd > 3 * agreeing.sd


def test_what_differs_between_codebases_is_learnt_and_told() -> None:
    source = random.Random(1)
    alike = [record(0.002 + source.gauss(0, 0.0002), 0.0002, codebase=f"d{i}") for i in range(30)]
    unlike = [record(0.002 + source.gauss(0, 0.008), 0.0002, codebase=f"d{i}") for i in range(30)]
    assert told(unlike).sd > 5 * told(alike).sd
    assert told(alike).sd < 0.002, "below what the level varies by at first"
    assert told(unlike).sd == pytest.approx(0.008, rel=0.35)
    assert "varies between contexts" in told(unlike).words


def _simulated(source: random.Random, technique: Technique) -> tuple[list[ExperimentRecord], dict[str, float]]:
    """Experiments and the true effects they measure, by setting, in a codebase of which nothing is known yet (`new`)
    or of which the other settings are (`c`), all drawn from the model."""
    tau, rho, psi = BETWEEN[technique.level] * math.exp(source.gauss(-0.49, 0.7)), 0.3, 0.2
    mu = source.gauss(technique.effect.mean, technique.effect.sd)
    values = ("low", "middle", "high")
    own = {value: source.gauss(0, math.sqrt(psi / 2) * tau) for value in values}
    beta = [source.gauss(0, math.sqrt(rho) * tau) for _ in features({})]
    records, truths = [], {}
    for name in [*(f"d{i}" for i in range(source.choice((2, 5, 12, 30)))), "c", "new"]:
        where = _context(source, name)
        phi = features(where)
        said = sum(b * x for b, x in zip(beta, phi, strict=True))
        rest = 1 - rho - psi + rho * max(0.0, 1 - sum(x * x for x in phi))
        here = mu + said + source.gauss(0, math.sqrt(rest) * tau)
        for value in values:
            truth = here + own[value] + source.gauss(0, math.sqrt(psi / 2) * tau)
            if name == "new" or (name == "c" and value == "high"):
                truths[name] = truth
                if name == "new":
                    break
                continue
            se = source.choice((0.0005, 0.001, 0.002))
            if source.random() < 0.5:
                seen = source.gauss(truth, se)
                set_ = {"roles": {"x": value}, "values": {"x": "off"}, "campaign": len(records)}
                records.append(record(seen, se, context=where, codebase=name, **set_))
    return records, truths


def _context(source: random.Random, name: str) -> dict[str, object]:
    family = source.choice(["mlp", "dcnv2", "dlrm"])
    return {"codebase": name, "model_family": family, "rows": 10 ** source.uniform(5, 8), "rare_mass": source.random()}


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """80 % and 95 % intervals, for codebases never seen and for settings this one has not tried yet."""
    source = random.Random(11)
    technique = card(0.001, 0.002)
    held = {name: [0, 0] for name in ("new", "c")}
    rounds = 300
    for _ in range(rounds):
        records, truths = _simulated(source, technique)
        for name, value in (("new", "low"), ("c", "high")):
            where = next((r.context for r in records if r.codebase == name), {"codebase": name})
            known = learn(records, [technique], name)
            found = effect(technique, where, known, setting={"x": value}, now={"x": "off"})
            error = abs(found.mean - truths[name])
            held[name][0] += error < 1.2816 * found.sd
            held[name][1] += error < 1.96 * found.sd
    for name, (eighty, ninetyfive) in held.items():
        assert 0.74 <= eighty / rounds <= 0.92, (name, eighty / rounds)
        assert ninetyfive / rounds >= 0.91, (name, ninetyfive / rounds)


def test_winners_are_expected_to_gain_less_than_they_were_measured_to_and_on_average_do_not_disappoint() -> None:
    source = random.Random(2)
    promised = kept = measured = 0.0
    for _ in range(150):
        technique = card(0.0, 0.002)
        arms = []
        for i in range(10):
            truth = source.gauss(0.0, math.hypot(0.002, BETWEEN[Level.RECIPE]))
            seen = source.gauss(truth, 0.004)
            arms.append((seen, truth, f"arm-{i}"))
        seen, truth, _ = max(arms)
        promised += told([record(seen, 0.004)], technique).mean
        kept += truth
        measured += seen
    assert promised < 0.8 * measured
    assert promised <= 1.35 * kept


def test_a_codebase_taken_out_of_a_fit_leaves_what_was_there_without_it() -> None:
    source = random.Random(4)
    technique = card()
    others = [
        record(source.gauss(0.002, 0.003), codebase=f"d{i}", context=_context(source, f"d{i}")) for i in range(12)
    ]
    own = [record(0.004, roles={"x": v}, values={"x": "off"}) for v in ("low", "high")]
    cells = gather([*others, *own])
    whole = fit(technique, cells)
    (left,) = without([whole], [[c for c in cells if c.codebase == "c"]])
    fresh = fit(technique, gather(others)).belief
    row = [1.0, *([0.0] * len(whole.settings)), *features(HERE)]
    plain = [1.0, *([0.0] * (len(fresh.mean) - len(features(HERE)) - 1)), *features(HERE)]
    # The weights of the grid were found with that codebase: equal but for those.
    assert float(left.mean @ row) == pytest.approx(float(fresh.mean @ plain), abs=3e-4)


def _likeliest(fitted: Fit) -> Fit:
    """The fit with its likeliest grid point alone, which weights found with all cells do not blur."""
    g = int(np.argmax(fitted.grid[0]))
    grid, normals = fitted.grid[:, g : g + 1].copy(), fitted.normals[g : g + 1]
    grid[0] = 1.0
    return replace(
        fitted, grid=grid, normals=normals, belief=replace(fitted.belief, mean=normals[0, 0], cov=normals[0, 1:])
    )


def _from_the_model(fitted: Fit, cells: Sequence[Cell]) -> tuple[Any, Any]:
    """Mean and covariance of the parameters at the fit's one grid point, as one regression over all these cells."""
    _, tau, rho, psi = fitted.grid[:, 0]
    rows = np.array([vector(fitted.settings, c.setting, features(c.context)) for c in cells])
    start = np.zeros(rows.shape[1])
    start[0] = fitted.prior.mean
    spread = [fitted.prior.sd**2] + [psi * tau**2 / 2] * len(fitted.settings) + [rho * tau**2] * WIDTH
    gain, error = np.array([c.gain for c in cells]), np.array([c.variance for c in cells])
    unnamed = np.array([0.5 if c.setting in fitted.settings else 1.0 for c in cells])
    silent = np.maximum(0, 1 - (rows[:, -WIDTH:] ** 2).sum(axis=1))
    noise = error + tau**2 * (psi * unnamed + rho * silent)
    noise = np.maximum(noise, ((gain - fitted.prior.mean) / CONFLICT) ** 2 - fitted.believable)
    together = np.array([[one.codebase == other.codebase for other in cells] for one in cells])
    whole = rows @ np.diag(spread) @ rows.T + np.diag(noise) + together * (1 - rho - psi) * tau**2
    back = np.diag(spread) @ rows.T @ np.linalg.inv(whole)
    return start + back @ (gain - rows @ start), np.diag(spread) - back @ rows @ np.diag(spread)


@pytest.mark.parametrize("contexts_each", [1, 3])
def test_a_fit_is_one_regression_over_its_cells_and_without_a_codebase_over_those_of_the_others(
    contexts_each: int,
) -> None:
    source = random.Random(4)
    values = [f"v{i}" for i in range(SETTINGS + 2)]  # two of them without a parameter of their own
    made = [
        record(source.gauss(0.002, 0.005), codebase=f"d{i}", context=where, roles={"x": source.choice(values)})
        for i in range(12)
        for where in [_context(source, f"d{i}") for _ in range(contexts_each)]
        for _ in range(4)
    ]
    cells = gather(made)
    fitted = _likeliest(fit(card(), cells))
    mean, cov = _from_the_model(fitted, cells)
    assert fitted.normals[0, 0] == pytest.approx(mean, rel=1e-6, abs=1e-10)
    assert fitted.normals[0, 1:] == pytest.approx(cov, rel=1e-6, abs=1e-12)
    (left,) = without([fitted], [[c for c in cells if c.codebase == "d3"]])
    mean, cov = _from_the_model(fitted, [c for c in cells if c.codebase != "d3"])
    assert left.mean == pytest.approx(mean, rel=1e-6, abs=1e-10)
    assert left.cov == pytest.approx(cov, rel=1e-6, abs=1e-12)


def test_what_is_left_of_a_fit_depends_neither_on_the_order_nor_on_the_company_it_is_taken_from() -> None:
    source = random.Random(5)
    fits, taken = [], []
    for count, tests in ((2, 9), (2, 2), (1, 3), (2, 0)):
        values = [f"v{i}" for i in range(count)]
        others = [
            record(source.gauss(0.002, 0.003), codebase=f"d{i}", context=_context(source, f"d{i}"), roles={"x": value})
            for i in range(6)
            for value in values
        ]
        own = [
            record(
                source.gauss(0.002, 0.003),
                context=_context(source, "c"),
                roles={"x": source.choice(values)},
                outcome=("supported", "pruned")[i % 2],
            )
            for i in range(tests)
        ]
        fits.append(fit(card(), gather([*others, *own])))
        taken.append(gather(own))
    together = without(fits, taken)
    for whole, cells, left in zip(fits, taken, together, strict=True):
        (alone,) = without([whole], [cells[::-1]])
        assert left.mean == pytest.approx(alone.mean, rel=1e-6, abs=1e-10)
        assert left.cov == pytest.approx(alone.cov, rel=1e-6, abs=1e-12)
    assert together[-1] is fits[-1].belief


def test_a_fit_is_the_same_after_storage_and_an_older_format_is_made_anew() -> None:
    made = fit(card(), gather([record(0.01, codebase="d"), record(-0.02, codebase="e", outcome="pruned")]))
    again = Fit.from_bytes(made.to_bytes())
    assert again is not None and again.to_bytes() == made.to_bytes()
    assert Fit.from_bytes(made.to_bytes().replace(b'"format": %d' % FORMAT, b'"format": 1')) is None
    assert Fit.from_bytes(made.to_bytes()[:-8]) is None


def test_a_snapshot_is_a_small_value_that_can_be_sent() -> None:
    known = learn([record(0.01, codebase=f"d{i}") for i in range(200)], [card()], "c")
    sent = pickle.loads(pickle.dumps(known))
    assert effect(card(), HERE, sent) == effect(card(), HERE, known)
    assert len(pickle.dumps(known)) < 20_000


def test_a_setting_is_believed_by_its_own_tests_first_and_by_its_siblings_a_little() -> None:
    records = [
        record(gain, 0.0005, codebase=f"d{i}", roles={"x": value}, values={"x": "off"})
        for i in range(20)
        for value, gain in (("low", 0.006), ("high", -0.004))
    ]
    known = learn(records, [card()], "c")
    low, high, new = (
        effect(card(), HERE, known, setting={"x": value}, now={"x": "off"}) for value in ("low", "high", "other")
    )
    assert low.mean > 0.004 and high.mean < -0.002
    assert high.mean < new.mean < low.mean and new.sd > low.sd


def test_a_step_that_was_taken_already_is_not_there_to_be_gained_again() -> None:
    taken = record(0.02, roles={"x": 2.0}, values={"x": 1.0})
    known = learn([taken], [card()], "c")
    still = effect(card(), HERE, known, setting={"x": 2.0}, now={"x": 1.0})
    gone = effect(card(), HERE, known, setting={"x": 4.0}, now={"x": 2.0})
    assert still.mean > 0.015
    assert (gone.mean, gone.n) == (card().effect.mean, 0)


def test_settings_are_told_by_their_ratio_to_where_they_started() -> None:
    assert setting_key({"lr": 0.004}, {"lr": 0.001}) == setting_key({"lr": 0.04}, {"lr": 0.01})
    assert setting_key({"lr": 0.004}, {"lr": 0.001}) != setting_key({"lr": 0.001}, {"lr": 0.004})
    assert setting_key({"dropout": 0.2}, {"dropout": 0.0}) == "dropout=0.2"
    assert setting_key({"b": True, "a": "x"}, {}) == 'a="x", b=true'


def test_a_failure_lowers_only_the_chance_of_training_and_less_from_afar() -> None:
    none = told([])
    far = told([record(None, outcome="failed", failure="diverged", context=FAR)])
    near = told([record(None, outcome="failed", failure="diverged")])
    assert near.p_trainable < far.p_trainable < none.p_trainable == 0.9
    assert (near.mean, near.sd) == (none.mean, none.sd)
    assert told([record(0.0)]).p_trainable > none.p_trainable


def test_other_techniques_combinations_and_superseded_tests_are_no_evidence() -> None:
    others = [record(0.05, technique="other"), record(0.05, interaction_of=("lr-decay", "other"))]
    assert told([*others, record(0.05, superseded_by=7)]) == told([])


@calm
@given(gain=gains, share=st.floats(0.05, 0.9))
def test_a_part_of_a_run_and_a_part_of_trust_say_less_than_the_whole(gain: float, share: float) -> None:
    whole = told([record(gain)])
    assert told([record(gain, fidelity=share)]).sd > whole.sd
    assert told([record(gain, trust=share)]).sd > whole.sd
    assert told([record(gain, trust=share)]) == told([record(gain, fidelity=share)])


@pytest.mark.parametrize("se", [None, 0.0, math.nan, -1.0])
def test_a_gain_without_an_error_counts_as_half_a_per_cent_sure(se: float | None) -> None:
    assert told([record(0.01, se)]) == told([record(0.01, 0.005)])


def test_records_mean_the_same_after_storage() -> None:
    kept = record(0.004, roles={"dropout": 0.1}, values={"dropout": 0, "wide_part": False}, interaction_of=())
    assert loads(ExperimentRecord, dumps(kept)) == kept
    assert told([loads(ExperimentRecord, dumps(kept))]) == told([kept])


@calm
@given(contexts, contexts)
def test_similarity_is_symmetric_and_bounded(left: Context, right: Context) -> None:
    assert similarity(left, right) == similarity(right, left)
    assert FLOOR <= similarity(left, right) <= 1


facts = st.fixed_dictionaries(
    {"rows": st.floats(1e3, 1.2e3), "positive_rate": st.floats(0.2, 0.204)},
    optional={"fields": st.sampled_from([39, 40, 10]), "rare_mass": st.sampled_from([0.0, 0.1])},
)


@calm
@given(facts, facts)
def test_data_that_are_the_same_are_so_both_ways_and_lie_within_the_range_that_is_looked_in(left, right) -> None:
    assert same_data(left, left) and same_data(left, right) == same_data(right, left)
    if same_data(left, right):
        rows, rate = data_range(left)
        assert rows[0] <= right["rows"] <= rows[1] and rate[0] <= right["positive_rate"] <= rate[1]


@pytest.mark.parametrize(
    "other",
    [{"rows": 1_200_000}, {"positive_rate": 0.21}, {"rows": None}, {"positive_rate": None}, {"fields": 12}],
)
def test_data_that_differ_or_are_not_known_are_not_called_the_same(other: dict[str, Any]) -> None:
    mine = {**HERE, "fields": 10}
    assert same_data(mine, {**mine, "rows": 990_000, "model_family": "lr"})
    assert not same_data(mine, {**mine, **other})
    assert data_range({"rows": 5.0}) is None


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


@calm
@given(st.dictionaries(st.sampled_from([*FACTS, "model_family", "symptoms"]), st.none() | st.floats() | st.text()))
def test_a_fact_that_is_missing_or_strange_counts_as_usual(context: Context) -> None:
    found = features(context)
    assert all(math.isfinite(value) for value in found)
    assert sum(value**2 for value in found) < 2.5


TWO = [card(name="a", overlaps=("b",)), card(name="b"), card(name="x"), card(name="y")]


def pair(gain: float, se: float = 0.0005, names: tuple[str, ...] = ("a", "b"), **more: object) -> ExperimentRecord:
    known = {"technique": None, "interaction_of": names, "kind": "combination"}
    return record(gain, se, **(known | more))


def alone(name: str, gain: float, **more: object) -> ExperimentRecord:
    return record(gain, 0.0005, technique=name, **more)


def test_before_any_combination_a_plan_goes_by_the_cards() -> None:
    assert additivity(Insights()) == additivity(learn([], TWO, "c")) == Additivity()
    assert Additivity().alike < Additivity().apart


def test_what_a_pair_showed_is_shrunk_to_its_class_and_told_in_words() -> None:
    singles = [alone("x", 0.01), alone("y", 0.02)]
    less, more = (learn([*singles, pair(gain, names=("x", "y"))], TWO, "c") for gain in (0.018, 0.031))
    kept = additivity(less).pairs["x + y"]
    assert 0.0 <= kept < Additivity().apart < additivity(more).pairs["x + y"]
    # Of 0.01, the smaller gain, 0.012 were lost: all of it, and a bit.
    assert "less together" in measured_words(less.pairs[0])
    assert "add up" in measured_words(more.pairs[0])


def test_pairs_teach_what_their_class_loses_and_not_the_other_class() -> None:
    records = [alone("x", 0.01), alone("y", 0.01), pair(0.011, 0.0002, names=("x", "y"))]
    found = additivity(learn(records, TWO, "c"))
    assert found.apart < Additivity().apart and found.alike == Additivity().alike


def test_a_plan_is_told_of_the_pairs_that_add_up_unlike_their_class() -> None:
    singles = [alone(name, 0.01) for name in ("a", "b", "x", "y")]
    cancels, helps = pair(0.0101, names=("x", "y")), pair(0.022, names=("a", "b"))
    found = additivity(learn([*singles, cancels, helps], TWO, "c"))
    assert found.pairs["x + y"] < 0.5 < Additivity().apart and found.pairs["a + b"] > Additivity().alike
    assert found.apart < Additivity().apart and found.alike > Additivity().alike


def test_a_set_of_three_says_little_of_each_pair_and_an_unmeasured_part_makes_it_say_nothing() -> None:
    singles = [alone(name, 0.01) for name in ("a", "x", "y")]
    three = pair(0.015, names=("a", "x", "y"))
    known = learn([*singles, three], TWO, "c")
    assert {(p.a, p.b) for p in known.pairs} == {("a", "x"), ("a", "y"), ("x", "y")}
    assert all(p.excess == pytest.approx(-0.005) and 1 / math.sqrt(p.weight) > 0.005 for p in known.pairs)
    assert learn([*singles[:2], three], TWO, "c").pairs == ()


def test_a_set_of_what_looked_best_is_held_against_what_was_believed_of_its_parts() -> None:
    """Of twelve techniques that all add up, the two that look best are chosen on noisy runs and measured together."""
    chance, kept, raw = random.Random(3), [], []
    for campaign in range(200):
        true = [chance.gauss(0.002, 0.002) for _ in range(12)]
        seen = [gain + chance.gauss(0, 0.002) for gain in true]
        best = sorted(range(12), key=lambda i: -seen[i])[:2]
        effect = sum(true[i] for i in best) + chance.gauss(0, 0.002)
        singles = [alone(name, seen[i], campaign=campaign) for name, i in zip("xy", best, strict=True)]
        together = replace(pair(effect, 0.002, names=("x", "y")), campaign=campaign)
        shrunk = {name: ((0.002 + seen[i]) / 2, 0.002 / math.sqrt(2)) for name, i in zip("xy", best, strict=True)}
        raw += [*singles, together]
        kept += [*singles, replace(together, parts=shrunk)]
    naive, found = (additivity(learn(records, TWO, "c")).apart for records in (raw, kept))
    assert naive < 0.8 and found > 0.9


def test_singles_of_the_same_campaign_come_first() -> None:
    old = [alone("x", 0.5, campaign=9), alone("y", 0.5, campaign=9)]
    new = [alone("x", 0.01), alone("y", 0.02), pair(0.03, names=("x", "y"))]
    (found,) = learn([*old, *new], TWO, "c").pairs
    assert found.excess == pytest.approx(0.0, abs=1e-12)
    assert replace(new[2], campaign=9).campaign == 9


def test_a_pair_is_held_against_its_parts_at_the_settings_it_holds() -> None:
    parts = [alone("x", 0.5, roles={"x": 1}), alone("x", 0.01, roles={"x": 2}), alone("y", 0.02, roles={"y": 1})]
    together = replace(pair(0.03, names=("x", "y")), roles={"x": 2, "y": 1})
    (found,) = learn([*parts, together], TWO, "c").pairs
    assert found.excess == pytest.approx(0.0, abs=1e-12)
    (untried,) = learn([*parts, replace(together, roles={"x": 3, "y": 1})], TWO, "c").pairs
    assert untried.excess < -0.1, "at another setting, what the technique gains at those that were tried"


@settings(max_examples=40)
@given(st.floats(0.6, 0.97), st.floats(0.02, 0.6))
def test_a_card_promises_most_where_the_model_is_nearly_perfect_and_as_quoted_where_it_was_quoted(auc, rate):
    there = told([], context={**HERE, "auc": auc, "positive_rate": rate})
    better = told([], context={**HERE, "auc": auc + 0.02, "positive_rate": rate})
    quoted = told([], context={**HERE, "auc": 0.8143, "positive_rate": 0.256})
    assert there.mean <= better.mean and there.sd <= better.sd
    assert quoted.mean == pytest.approx(told([]).mean) and quoted.sd == pytest.approx(told([]).sd)


def test_a_gain_seen_on_a_nearly_perfect_model_is_carried_over_at_its_size_there():
    near = {**HERE, "auc": 0.95}
    elsewhere = [record(0.04, 0.004, codebase=f"d{i}", context=near) for i in range(6)]
    assert told(elsewhere, context=near).mean > 3 * told(elsewhere, context={**HERE, "auc": 0.79}).mean
    own = told([record(0.04, 0.0005, context=near) for _ in range(6)], context=near)
    assert own.mean == pytest.approx(0.04, rel=0.1)
