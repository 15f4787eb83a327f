"""Saying techniques in a codebase's knobs."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rea.domain.codebase import (
    Codebase,
    ConfigStyle,
    Knob,
    KnobType,
    LauncherChoice,
    Objective,
    Resources,
    Scalar,
    same,
)
from rea.domain.technique import Level, Prior, Relative, Setting, Technique
from rea.knowledge.cards import load_techniques
from rea.knowledge.expression import apply, express, needs
from rea.knowledge.roles import load_roles

TECHNIQUES = load_techniques()


def codebase(*knobs: Knob) -> Codebase:
    return Codebase(
        name="c",
        root="/c",
        python="python",
        train="{python} train.py",
        evaluate=None,
        config=None,
        style=ConfigStyle.YAML,
        editable=(),
        protected=(),
        env=(),
        objective=Objective("ne", "minimize", "valid", None, 0.0005),
        resources=Resources(1, 0, None, 60.0),
        launcher=LauncherChoice("local", 1),
        knobs=knobs,
    )


def technique(*alternatives: Setting, **more: object) -> Technique:
    return Technique(
        name="t",
        title="T",
        level=Level.RECIPE,
        mechanism="m",
        settings=alternatives,
        effect=Prior(0.0, 0.001, "b"),
        citation="c",
        prose="p",
        **more,  # type: ignore[arg-type]
    )


def number(low: float = 0.0, high: float = 100.0, kind: KnobType = KnobType.FLOAT, role: str = "learning_rate") -> Knob:
    return Knob("x", role, kind, low, high)


def overrides(setting: Setting, knob: Knob, base: Scalar) -> dict[str, Scalar] | None:
    found = apply(setting, codebase(knob), {knob.name: base})
    return None if found is None else dict(found.overrides)


ALL_ROLES = codebase(
    *(
        Knob(f"k.{role.name}", role.name, role.type, role.low, role.high, role.log, role.choices)
        for role in load_roles().values()
    )
)


@pytest.mark.parametrize("card", TECHNIQUES, ids=lambda card: card.name)
def test_every_packaged_technique_can_be_said_in_the_vocabulary(card: Technique) -> None:
    assert needs(card, ALL_ROLES) == ()
    assert set(needs(card, codebase())) >= {next(iter(card.roles))} - set(card.requires) or needs(card, codebase())


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 10_000),
    st.floats(),
    st.sampled_from(
        ["adam", "AdamW", "cosine", "constant", "none", "128,64", "256-128", "1e-3", "DCN-v2", "raw", "off"]
    ),
)


@st.composite
def knobs(draw: st.DrawFn, role: str) -> Knob:
    kind = draw(st.sampled_from(KnobType))
    bounds = sorted(draw(st.lists(st.floats(-10, 1e4, width=32), min_size=2, max_size=2, unique=True)))
    low = draw(st.sampled_from([None, bounds[0]]))
    high = draw(st.sampled_from([None, bounds[1]]))
    drafted = load_roles()[role]
    choices = draw(
        st.one_of(st.just(()), st.just(drafted.choices), st.lists(SCALARS, min_size=1, max_size=5).map(tuple))
    )
    return Knob(f"k.{role}", role, kind, low, high, False, choices, draw(SCALARS))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_expressed_treatments_are_allowed_and_change_something_and_differ(data: st.DataObject) -> None:
    card = data.draw(st.sampled_from(TECHNIQUES))
    roles = dict.fromkeys((*card.roles, *card.requires))
    base = codebase(*(data.draw(knobs(role)) for role in roles))
    values = {knob.name: data.draw(SCALARS) for knob in base.knobs if data.draw(st.booleans())}
    treatments = express(card, base, values)
    assert treatments == express(card, base, values)
    assert len({treatment.key() for treatment in treatments}) == len(treatments)
    for treatment in treatments:
        assert not treatment.empty
        for name, value in treatment.overrides.items():
            knob = base.knob(name)
            assert knob is not None
            assert knob.allows(value)
            assert not same(value, values.get(name, knob.default))


@given(
    start=st.floats(-50, 150),
    factor=st.floats(0.05, 20),
    step=st.sampled_from([0.0, 1.0, -1.0]),
    kind=st.sampled_from([KnobType.INT, KnobType.FLOAT]),
    choices=st.sampled_from([(), (1, 2, 4, 8, 16), (0.5, 3, "32")]),
)
def test_a_relative_number_never_moves_the_wrong_way(
    start: float, factor: float, step: float, kind: KnobType, choices: tuple[Scalar, ...]
) -> None:
    """A range or a list of choices may shorten a move; it must not turn "more" into "less"."""
    knob = Knob("x", "learning_rate", kind, 0, 100, False, choices)
    found = overrides({"learning_rate": Relative(factor, step)}, knob, start)
    if found is not None:
        value = found["x"]
        assert not isinstance(value, bool)
        assert value is not None
        assert (float(value) - start) * (start * factor + step - start) > 0


@pytest.mark.parametrize(
    ("wanted", "base", "expected"),
    [
        (Relative(0.3), 0.1, 0.03),
        (Relative(3.0), 0.1, 0.3),
        (Relative(10.0), 50.0, 100.0),  # clipped
        (Relative(10.0), 100.0, None),  # at the edge already
        (Relative(10.0), 200.0, None),  # the range would turn it round
        (Relative(10.0), 0.0, None),
        (Relative(10.0, 0.0, 1e-5), 0.0, 1e-5),
        (Relative(10.0, 0.0, 1e-5), None, 1e-5),
        (Relative(1.0, 2.0), 0.0, 2.0),
        (5.0, 5, None),
        (7, "7", None),
        ("cosine", 1.0, None),
        (True, 1.0, None),
    ],
)
def test_numbers(wanted: Scalar | Relative, base: Scalar, expected: Scalar) -> None:
    found = overrides({"learning_rate": wanted}, number(), base)
    assert found == (None if expected is None else {"x": expected})


def test_whole_numbers_stay_whole_and_inside_a_fractional_range() -> None:
    knob = number(1.5, 7.5, KnobType.INT, "epochs")
    assert overrides({"epochs": Relative(0.5)}, knob, 5) == {"x": 3}
    assert overrides({"epochs": Relative(9.0)}, knob, 5) == {"x": 7}
    assert overrides({"epochs": 1}, knob, 5) == {"x": 2}
    value = (overrides({"epochs": Relative(0.5)}, knob, 5) or {})["x"]
    assert isinstance(value, int)


def test_products_have_no_binary_dust() -> None:
    found = overrides({"learning_rate": Relative(3.0)}, number(), 0.1)
    assert found is not None
    assert repr(found["x"]) == "0.3"


@pytest.mark.parametrize(("wanted", "choice"), [("dcnv2", "DCN-v2"), ("rowwise_adagrad", "RowWiseAdagrad")])
def test_choices_match_whatever_their_spelling(wanted: str, choice: str) -> None:
    knob = Knob("x", "interaction", KnobType.STR, choices=("other", choice))
    assert overrides({"interaction": wanted}, knob, "other") == {"x": choice}
    assert overrides({"interaction": wanted}, knob, choice.lower()) is None, "the baseline has it already"


def test_numbers_go_to_the_nearest_choice_on_their_side_of_the_baseline() -> None:
    knob = Knob("x", "embedding_dim", KnobType.INT, choices=(8, 16, 40))
    assert overrides({"embedding_dim": Relative(2.0)}, knob, 16) == {"x": 40}
    assert overrides({"embedding_dim": Relative(1.1)}, knob, 16) == {"x": 40}
    assert overrides({"embedding_dim": Relative(2.0)}, knob, 40) is None
    assert overrides({"embedding_dim": 30}, knob, 8) == {"x": 40}


def test_widths_of_layers_scale_together() -> None:
    free = Knob("x", "mlp_units", KnobType.STR)
    assert overrides({"mlp_units": Relative(2.0)}, free, "128-64") == {"x": "256-128"}
    listed = Knob("x", "mlp_units", KnobType.STR, choices=("64,32", "128,64", "400,400"))
    assert overrides({"mlp_units": Relative(2.0)}, listed, "128,64") == {"x": "400,400"}
    assert overrides({"mlp_units": Relative(2.0)}, listed, "400,400") is None


@pytest.mark.parametrize(
    ("wanted", "base", "expected"),
    [(True, False, True), (0.999, False, True), ("on", None, True), (0, True, False), ("senet", False, None)],
)
def test_switches(wanted: Scalar, base: Scalar, expected: Scalar) -> None:
    knob = Knob("x", "ema_decay", KnobType.BOOL)
    assert overrides({"ema_decay": wanted}, knob, base) == (None if expected is None else {"x": expected})


def test_true_is_the_first_way_of_having_it() -> None:
    knob = Knob("x", "feature_crosses", KnobType.STR, choices=("", "user*slot", "user*item"))
    assert overrides({"feature_crosses": True}, knob, "") == {"x": "user*slot"}
    assert overrides({"feature_crosses": True}, knob, None) == {"x": "user*slot"}
    assert overrides({"feature_crosses": True}, knob, "user*item") is None, "the baseline has it already"


def test_settings_go_together_or_not_at_all() -> None:
    card = technique({"lr_schedule": "cosine", "warmup": 0.05}, {"lr_schedule": "cosine"})
    schedule = Knob("s", "lr_schedule", KnobType.STR, choices=("constant", "cosine"), default="constant")
    assert [t.overrides for t in express(card, codebase(schedule), {})] == [{"s": "cosine"}]
    warmup = Knob("w", "warmup", KnobType.FLOAT, 0, 1, default=0.05)
    assert [t.overrides for t in express(card, codebase(schedule, warmup), {})] == [{"s": "cosine"}], "no duplicates"


def test_the_first_knob_of_a_role_is_used() -> None:
    base = codebase(Knob("a", "dropout", KnobType.FLOAT, 0, 1), Knob("b", "dropout", KnobType.FLOAT, 0, 1))
    assert [t.overrides for t in express(technique({"dropout": 0.1}), base, {"a": 0.0})] == [{"a": 0.1}]


def test_a_technique_is_not_expressed_on_a_baseline_it_does_not_fit() -> None:
    card = technique({"learning_rate": Relative(0.3)}, requires={"optimizer": ("adam", "none")})
    lr = number()
    optimizer = Knob("o", "optimizer", KnobType.STR)
    assert express(card, codebase(lr, optimizer), {"x": 0.1, "o": "Adam"})
    assert express(card, codebase(lr, optimizer), {"x": 0.1, "o": None}), "null in a config is none on a card"
    assert not express(card, codebase(lr, optimizer), {"x": 0.1, "o": "sgd"})
    assert not express(card, codebase(lr), {"x": 0.1})


def test_what_a_codebase_lacks_is_told_for_the_nearest_alternative() -> None:
    card = technique({"interaction": "finalnet", "cross_layers": 2}, {"interaction": "finalnet"})
    assert needs(card, codebase()) == ("interaction",)
    old = Knob("m", "interaction", KnobType.STR, choices=("fm", "dcnv2"))
    assert needs(card, codebase(old)) == ("interaction=finalnet",)
    new = Knob("m", "interaction", KnobType.STR, choices=("fm", "FinalNet"))
    assert needs(card, codebase(new)) == ()


def test_nothing_is_needed_where_something_is_expressed() -> None:
    values: dict[str, Scalar] = {}
    for card in TECHNIQUES:
        if express(card, ALL_ROLES, values):
            assert needs(card, ALL_ROLES) == ()


@pytest.mark.parametrize("kind", [KnobType.FLOAT, KnobType.INT])
@pytest.mark.parametrize("base", [math.nan, math.inf, 1e308])
def test_a_number_that_is_not_finite_is_never_a_value(kind: KnobType, base: float) -> None:
    unbounded = Knob("x", "learning_rate", kind)
    assert overrides({"learning_rate": Relative(10.0)}, unbounded, base) is None
