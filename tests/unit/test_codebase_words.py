"""Values as words on a command line: whatever a treatment holds, the trainer's own parser gives it back."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rea.codebase import hydra, overrides, trainer
from rea.codebase.config import load
from rea.codebase.trees import as_knob
from rea.domain.codebase import Knob, KnobType, same
from rea.domain.errors import ConfigError

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
PIECES = [
    "${",
    "}",
    "\\",
    "'",
    '"',
    "$",
    "{",
    "=",
    ", ",
    "[",
    "]",
    "(",
    ")",
    ":",
    "#",
    "a",
    "1",
    "-",
    "\n",
    "%",
    "!",
    "*",
    "?",
    "~",
]
AWKWARD = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXT | AWKWARD


def through_hydra(word: str) -> Any:
    """What a trainer's config holds after Hydra took the word."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    override = OverridesParser.create().parse_override(word)
    return OmegaConf.to_container(OmegaConf.create({"x": override.value()}), resolve=True)["x"]  # type: ignore[index,call-overload]


@settings(deadline=None, max_examples=300)
@given(SCALARS.filter(lambda value: value != "???"))
def test_hydra_gives_every_value_back(value: Any) -> None:
    got = through_hydra(hydra.override_word("x", value, None))
    assert got == value
    assert type(got) is type(value)


@settings(deadline=None, max_examples=30)
@given(st.lists(SCALARS.filter(lambda value: value != "???"), max_size=3))
def test_hydra_gives_lists_back(value: list[Any]) -> None:
    assert through_hydra(hydra.override_word("x", value, None)) == value


def test_the_text_hydra_reserves_is_refused() -> None:
    with pytest.raises(ConfigError, match="missing"):
        hydra.override_word("x", "???", None)


SCRIPT = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int)
parser.add_argument("--note", default="plain", help="a note")
parser.add_argument("-r", "--learning-rate", dest="lr", type=float, default=0.1)
parser.add_argument("--units", nargs="+", type=int, default=[128, 64])
parser.add_argument("--act", choices=["relu", "gelu"], default="relu")
parser.add_argument("--bias", action=argparse.BooleanOptionalAction, default=True)
parser.add_argument("--amp", action="store_true")
parser.add_argument("--no-shuffle", dest="shuffle", action="store_false")
"""
TOML = """
[codebase]
name = "t"
train = "python3 train.py --seed {seed}"
style = "argparse"
[objective]
metric = "ne"
direction = "minimize"
split = "valid"
[resources]
walltime = "1m"
[knobs]
"note" = { type = "str" }
"lr" = { type = "float", range = [-1e300, 1e300] }
"units" = { type = "str" }
"--act" = { choices = ["relu", "gelu"] }
"bias" = { type = "bool" }
"amp" = { type = "bool" }
"shuffle" = { type = "bool" }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "rea.toml").write_text(TOML)
    return tmp_path


def parser() -> argparse.ArgumentParser:
    scope: dict[str, Any] = {}
    exec(SCRIPT, scope)
    return scope["parser"]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    note=(TEXT | AWKWARD).filter(lambda text: text != "--"),  # which argparse takes away before any option sees it
    rate=st.floats(-1e300, 1e300),
    units=st.lists(st.integers(0, 999), min_size=1, max_size=4),
    switches=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_argparse_gives_every_value_back(
    folder: Path, note: str, rate: float, units: list[int], switches: tuple[bool, bool, bool]
) -> None:
    bias, amp, shuffle = switches
    asked = {
        "note": note,
        "lr": rate,
        "units": ",".join(map(str, units)),
        "--act": "gelu",
        "bias": bias,
        "amp": amp,
        "shuffle": shuffle,
    }
    got = parser().parse_args(overrides.flags(load(folder), asked, folder))
    assert (got.note, got.lr, got.units, got.act) == (note, rate, units, "gelu")
    assert (got.bias, got.amp, got.shuffle) == switches


def test_what_the_syntax_tree_says_of_arguments_is_what_argparse_says(folder: Path) -> None:
    said = {one.dest: one for one in trainer.arguments(folder / "train.py", folder)}
    truth = vars(parser().parse_args([]))
    assert said.keys() == truth.keys()
    assert said["lr"].default == truth["lr"]
    assert said["lr"].flag == "--learning-rate"
    assert said["units"].default == "128,64"
    assert said["act"].choices == ("relu", "gelu")
    assert (said["amp"].default, said["shuffle"].default, said["bias"].default) == (False, True, True)
    assert said["note"].help == "a note"


def test_arguments_are_found_in_modules_the_script_imports(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/__init__.py").write_text("")
    (tmp_path / "lib/options.py").write_text(SCRIPT)
    (tmp_path / "train.py").write_text("from lib.options import parser\n")
    assert len(trainer.arguments(tmp_path / "train.py", tmp_path)) == 8


def test_null_is_no_flag(folder: Path) -> None:
    with pytest.raises(ConfigError, match="--note"):
        overrides.flags(load(folder), {"note": None}, folder)


@given(NUMBERS)
def test_a_number_survives_its_knobs_type(value: float) -> None:
    knob = Knob("x", None, KnobType.FLOAT, -1e308, 1e308)
    got = as_knob(knob, value)
    assert same(got, float(value))
    assert isinstance(got, float)
    assert as_knob(Knob("x", None, KnobType.INT), 8.0) == 8
    assert isinstance(as_knob(Knob("x", None, KnobType.INT), 8.0), int)
