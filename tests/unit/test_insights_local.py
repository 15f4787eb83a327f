"""Effects on one set of data: what other models, moves and contexts say of the one that is asked about."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rea.domain.insight import Cell, Context
from rea.domain.technique import Level, Prior, Technique
from rea.insights.features import WIDTH, features
from rea.insights.local import CARRIED, OWN_SHARE, Question, believed, unfitted
from rea.insights.posterior import Belief, vector

CARD = Technique("t", "T", Level.FEATURE, "m", ({"x": 1},), Prior(0.002, 0.004, "b"), "c", "p")
NAMED = ("low",)  # the settings that have a parameter of their own
HERE: Context = {"model_family": "dcnv2", "rows": 1e6, "symptoms": ("unstable",)}
NOW = {"x": "off", "y": 1}


def fitted() -> Belief:
    """As if other codebases had told a little: parameters that are correlated, and settings of which one is named."""
    spread = np.random.default_rng(1).normal(size=(1 + len(NAMED) + WIDTH, 1 + len(NAMED) + WIDTH))
    mean = np.random.default_rng(2).normal(size=len(spread)) * 0.001
    return Belief(mean, spread @ spread.T * 1e-7, 2e-5, 3e-6, 4e-6)


def cell(codebase: str, setting: str, gain: float, sd: float, start: Any = "off", **context: Any) -> Cell:
    weight = 1 / sd**2
    stats = {"n": 1, "weight": weight, "moment": weight * gain, "square": weight * gain**2}
    return Cell("t", setting, {"x": start}, codebase, {**HERE, **context}, **stats)  # type: ignore[arg-type]


def regression(belief: Belief, asked: str, own: Sequence[Cell], kin: Sequence[Cell]) -> tuple[float, float]:
    """The same by one regression over everything that effects are sums of, each with a variance of its own."""
    cells = [*kin, *own]
    of = ["" if c in own else c.codebase for c in cells]
    moves = [(c.setting, "" if c.start["x"] == "off" else str(c.start["x"])) for c in cells]
    models, all_moves = ["", *of], [(asked, ""), *moves]
    keys = [move[0] for move in all_moves]
    contexts = [features(HERE), *(features(c.context) for c in cells)]
    silent = [math.sqrt(max(0.0, 1 - sum(x * x for x in phi))) for phi in contexts]
    pairs = list(zip(all_moves, models, strict=True))
    root = np.linalg.cholesky(belief.cov + 1e-22 * np.eye(len(belief.cov)))
    columns: list[Any] = list((np.array([vector(NAMED, *kp) for kp in zip(keys, contexts, strict=True)]) @ root).T)

    def part(names: Sequence[object], name: object, variance: float) -> None:
        columns.append(np.array([math.sqrt(variance) * (one == name) for one in names]))

    columns.append(np.array([math.sqrt(belief.between * (1 - OWN_SHARE))] * len(pairs)))
    columns.append(math.sqrt(belief.open) * np.array(silent))
    for model in dict.fromkeys(models):
        part(models, model, belief.between * OWN_SHARE)
        if model:
            shown = [CARRIED * c.gain if name == model else 0.0 for c, name in zip(cells, of, strict=True)]
            columns.append(np.array([0.0, *shown]))
    for pair in dict.fromkeys(pairs):
        part(pairs, pair, belief.setting)
    for key in dict.fromkeys(keys):
        if key not in NAMED:
            part(keys, key, belief.setting)
    design = np.array(columns).T
    rows = np.array([vector(NAMED, *kp) for kp in zip(keys, contexts, strict=True)]) @ belief.mean
    noise = np.array([c.variance for c in cells])
    precision = np.eye(design.shape[1]) + design[1:].T @ (design[1:] / noise[:, None])
    cov = np.linalg.inv(precision)
    off = np.array([c.gain for c in cells]) - rows[1:]
    mean = cov @ (design[1:].T @ (off / noise))
    return rows[0] + design[0] @ mean, math.sqrt(design[0] @ cov @ design[0])


tried = st.tuples(
    st.sampled_from(["low", "high", "other"]),
    st.floats(-0.002, 0.004),
    st.floats(5e-4, 3e-3),
    st.sampled_from(["off", "on"]),
    st.sampled_from([1e6, 3e6]),
)


@settings(max_examples=60, deadline=None)
@given(
    own=st.lists(tried.filter(lambda one: one[3] == "off"), max_size=3),
    kin=st.lists(st.tuples(st.sampled_from("de"), tried), max_size=4),
    asked=st.sampled_from(["low", "high"]),
)
def test_a_belief_is_the_regression_over_all_that_effects_are_sums_of(own: Any, kin: Any, asked: str) -> None:
    """Gains are within what is expected here: nothing is contradicted."""
    mine = [cell("c", s, g, e, start, rows=rows) for s, g, e, start, rows in own]
    theirs = [cell(name, s, g, e, start, rows=rows) for name, (s, g, e, start, rows) in kin]
    (found,) = believed([Question(fitted(), NAMED, asked, NOW, HERE, mine, theirs)])
    mean, sd = regression(fitted(), asked, mine, theirs)
    assert found.mean == pytest.approx(mean, abs=2e-7)
    assert found.sd == pytest.approx(sd, rel=1e-4)


def test_what_is_asked_beside_changes_no_answer() -> None:
    near = [cell("d", "low", 0.02, 1e-3), cell("e", "high", -0.01, 1e-3, "on")]
    own = [cell("c", "other", 0.001, 2e-3)]
    bound = Cell("t", "low", {"x": "off"}, "d", HERE, pruned=1, bound=-0.02, bound_variance=1e-6)
    asked = [
        Question(fitted(), NAMED, "low", NOW, HERE, own, near),
        Question(unfitted(CARD), (), None, None, HERE, [], [*near, bound]),
        Question(fitted(), NAMED, "high", NOW, {}, [], []),
        Question(fitted(), NAMED, "low", NOW, HERE, [], [bound]),
    ]
    together, alone = believed(asked), [one for question in asked for one in believed([question])]
    for one, other in zip(together, alone, strict=True):
        assert (one.mean, one.sd) == pytest.approx((other.mean, other.sd), rel=1e-9)


def test_what_was_tried_elsewhere_and_here_leaves_as_much_doubt_as_there_is() -> None:
    """Effects drawn as the model has them, of two other models and of other settings of this one."""
    source = random.Random(3)
    belief = unfitted(CARD)
    held = {1.2816: 0, 1.96: 0}
    square = wide = 0.0
    rounds = 400
    for _ in range(rounds):
        general = source.gauss(CARD.effect.mean, CARD.effect.sd)
        said = [source.gauss(0, math.sqrt(belief.open)) for _ in range(WIDTH + 1)]
        phi = features(HERE)
        of_context = sum(b * x for b, x in zip(said, phi, strict=False))
        of_context += said[-1] * math.sqrt(max(0.0, 1 - sum(x * x for x in phi)))
        drawn: dict[object, float] = {}

        def part(name: object, variance: float, drawn: dict[object, float] = drawn) -> float:
            return drawn.setdefault(name, source.gauss(0, math.sqrt(variance)))

        def truth(model: str, setting: str, base: float = general + of_context, part: Any = part) -> float:
            shared = part("data", belief.between * (1 - OWN_SHARE)) + part(model, belief.between * OWN_SHARE)
            return base + shared + part(setting, belief.setting) + part((setting, model), belief.setting)

        seen = {
            place: cell(*place, source.gauss(truth(*place), 0.0005), 0.0005)
            for place in (("d", "low"), ("d", "high"), ("e", "low"), ("c", "high"), ("c", "other"))
        }
        own, kin = ([c for (name, _), c in seen.items() if (name == "c") is mine] for mine in (True, False))
        (found,) = believed([Question(belief, (), "low", NOW, HERE, own, kin)])
        error = abs(found.mean - truth("c", "low"))
        square, wide = square + error**2, wide + found.sd**2
        for z in held:
            held[z] += error < z * found.sd
    assert 0.76 <= held[1.2816] / rounds <= 0.88
    assert held[1.96] / rounds >= 0.93
    assert math.sqrt(square / rounds) == pytest.approx(math.sqrt(wide / rounds), rel=0.12)
