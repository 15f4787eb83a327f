"""Editing a config text: exactly the asked values change, and what a person wrote around them stays."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from rea.codebase import edits
from rea.codebase.trees import clone, identical, is_leaf, leaves, locate, replaced, value_at
from rea.domain.codebase import ConfigStyle
from rea.domain.errors import ConfigError

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.booleans() | NUMBERS | TEXT
KEYS = st.from_regex(r"[a-z_]{1,6}", fullmatch=True) | st.sampled_from(["a.b", "on", "x y", "é"])
TREES = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS | st.lists(st.integers(0, 9), max_size=3),
        lambda inner: (
            st.dictionaries(KEYS, inner, max_size=3) | st.lists(st.dictionaries(KEYS, inner, min_size=1), max_size=2)
        ),
        max_leaves=6,
    ),
    max_size=4,
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, dict[tuple, Any]]:
    tree = draw(TREES)
    paths = [path for path, _ in leaves(tree) if path]
    assume(paths)
    chosen = draw(st.lists(st.sampled_from(paths), min_size=1, max_size=3, unique=True))
    return tree, {path: draw(SCALARS | st.lists(NUMBERS, max_size=3)) for path in chosen}


def dump(tree: Any, style: ConfigStyle, flow: bool) -> str:
    if style is ConfigStyle.JSON:
        return json.dumps(tree, indent=None if flow else 2, ensure_ascii=flow)
    if style is ConfigStyle.TOML:
        import tomlkit

        return tomlkit.dumps(tree)
    return yaml.safe_dump(tree, default_flow_style=flow, allow_unicode=True, sort_keys=False)


@pytest.mark.parametrize("style", [ConfigStyle.YAML, ConfigStyle.JSON, ConfigStyle.TOML])
@given(case=cases(), flow=st.booleans())
def test_exactly_the_asked_values_change(style: ConfigStyle, case: tuple[Any, dict[tuple, Any]], flow: bool) -> None:
    tree, changes = case
    text = dump(tree, style, flow)
    before = edits.parse(text, style, where="c")
    assume(identical(before, tree))
    wanted = clone(tree)
    for path, value in changes.items():
        wanted = replaced(wanted, path, value)
    new = edits.rewrite(text, style, before, changes, where="c")
    assert identical(edits.parse(new, style, where="c"), wanted)


COMMENTED = """\
# the team's notes
optim:   # chosen in March
  lr: 1e-3   # hot

  betas: [0.9, 0.999]  # pair
layers:
- 128   # wide
- 64
empty:
note: >
  folded
  text
last: yes
"""


def test_comments_and_formatting_stay() -> None:
    new = edits.apply(COMMENTED, ConfigStyle.YAML, {"optim.lr": 1e-07, "empty": "x y", "last": False}, where="c")
    assert new == (
        COMMENTED.replace("1e-3", "1.0e-07").replace("empty:", 'empty: "x y"').replace("last: yes", "last: false")
    )
    new = edits.apply(COMMENTED, ConfigStyle.YAML, {"layers": "256,128,64", "optim.betas": "0.8,0.99"}, where="c")
    assert "# chosen in March" in new
    assert "[0.8, 0.99]  # pair" in new
    assert yaml.safe_load(new)["layers"] == [256, 128, 64]


def test_windows_line_ends_stay() -> None:
    new = edits.apply("a: 1\r\nb: 2  # two\r\n", ConfigStyle.YAML, {"a": 5}, where="c")
    assert new == "a: 5\r\nb: 2  # two\r\n"


def test_toml_and_json_keep_their_formatting() -> None:
    toml = '# t\n[optim]\nlr = 1e-3  # hot\nu = [1,2]\n[a.b]\nc.d = "x"\n'
    assert edits.apply(toml, ConfigStyle.TOML, {"optim.lr": 0.5}, where="c") == toml.replace("1e-3", "0.5")
    assert tomllib.loads(edits.apply(toml, ConfigStyle.TOML, {"a.b.c.d": 'q"'}, where="c"))["a"]["b"]["c"]["d"] == 'q"'
    text = '{"a": {"b": 1,\t"c": [1, 2]},\n "e":"x"}'
    assert edits.apply(text, ConfigStyle.JSON, {"a.b": 2.5, "a.c": "3,4"}, where="c") == (
        text.replace(": 1,", ": 2.5,").replace("[1, 2]", "[3, 4]")
    )


def test_an_anchor_two_places_share_changes_in_one_place_only() -> None:
    text = "base: &b\n  lr: 0.1\n  wd: 0.0\nhead:\n  <<: *b\n  wd: 1.0\nx: &x 5\ny: *x\n"
    new = edits.apply(text, ConfigStyle.YAML, {"head.lr": 0.2, "x": 6}, where="c")
    assert yaml.safe_load(new) == {
        "base": {"lr": 0.1, "wd": 0.0},
        "head": {"lr": 0.2, "wd": 1.0},
        "x": 6,
        "y": 5,
    }


def test_a_flat_key_with_dots_is_found_and_a_nested_one_wins() -> None:
    assert locate({"a.b": 1}, "a.b") == ("a.b",)
    assert locate({"a.b": 1, "a": {"b": 2}}, "a.b") == ("a", "b")
    assert locate({"a": {"b.c": [{"d": 1}]}}, "a.b.c.0.d") == ("a", "b.c", 0, "d")
    assert locate({1: {"b": 2}}, "1.b") == (1, "b")
    assert locate({"a": 1}, "a.b") is None


@given(TREES)
def test_every_setting_is_found_by_its_dotted_name(tree: Any) -> None:
    for path, value in leaves(tree):
        if path:
            found = locate(tree, ".".join(map(str, path)))
            assert found is not None
            assert value_at(tree, path) == value
            assert is_leaf(value)


@pytest.mark.parametrize(
    ("name", "said"),
    [("optim.lrr", "'optim.lr'"), ("opt.lr", "'optim.lr'"), ("optim", "whole table"), ("zzz", "no setting 'zzz'")],
)
def test_a_name_the_config_lacks_is_an_error_with_the_nearest(name: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        edits.apply(COMMENTED, ConfigStyle.YAML, {name: 1}, where="configs/a.yaml")
    assert said in str(caught.value)
    assert "configs/a.yaml" in str(caught.value)


def test_null_in_toml_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no null"):
        edits.apply("a = 1\n", ConfigStyle.TOML, {"a": None}, where="c")


@pytest.mark.parametrize("style", [ConfigStyle.YAML, ConfigStyle.JSON, ConfigStyle.TOML])
def test_an_unreadable_config_is_a_config_error(style: ConfigStyle) -> None:
    with pytest.raises(ConfigError, match="c is not valid"):
        edits.parse("{a: [", style, where="c")
