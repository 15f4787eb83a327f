"""What was asked compared with what was reported: spelling does not count, values do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rea.codebase.resolved import Agreement, Resolved, agrees, compare, judge, read

NAMES = st.lists(st.from_regex(r"[a-z]{1,4}(_[a-z]{1,4})?", fullmatch=True), min_size=1, max_size=3).map(".".join)
VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(-1e9, 1e9)
    | st.sampled_from(["relu", "gelu", "a b"])
)
CONFIGS = st.dictionaries(NAMES, VALUES, min_size=1, max_size=5)


def consistent(config: dict[str, Any]) -> bool:
    """No name is the start of another one, and none is the last part of another."""
    words = [name.split(".") for name in config]
    flat = ["_".join(word) for word in words]
    return (
        len(set(flat)) == len(flat)
        and len({word[-1] for word in words}) == len(words)
        and not any(a != b and (a[: len(b)] == b or a[-len(b) :] == b) for a in words for b in words)
    )


def nested(config: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in config.items():
        *parents, last = name.split(".")
        here = tree
        for part in parents:
            here = here.setdefault(part, {})
        here[last] = value
    return tree


SPELLINGS = {
    "as asked": lambda config: config,
    "nested": nested,
    "dashes": lambda config: {name.replace("_", "-"): value for name, value in config.items()},
    "flags": lambda config: {name.replace(".", "_"): value for name, value in config.items()},
    "upper case": lambda config: {name.replace(".", "_").upper(): value for name, value in config.items()},
    "last parts": lambda config: {name.split(".")[-1]: value for name, value in config.items()},
    "under a root": lambda config: {"config": nested(config)},
}
FORMS = {
    "as it is": lambda value: value,
    "text": lambda value: "null" if value is None else str(value),
    "lower text": lambda value: "none" if value is None else str(value).lower(),
    "json": lambda value: value if isinstance(value, str) else json.dumps(value),
    "exponent": lambda value: f"{value:.9e}" if isinstance(value, float) else value,
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("form", FORMS)
@given(config=CONFIGS)
def test_another_spelling_is_no_mismatch(spelling: str, form: str, config: dict[str, Any]) -> None:
    assume(consistent(config))
    reported = SPELLINGS[spelling]({name: FORMS[form](value) for name, value in config.items()})
    assert compare(config, reported) == ()


@given(config=CONFIGS, data=st.data())
def test_another_value_is_a_mismatch_of_that_knob_alone(config: dict[str, Any], data: st.DataObject) -> None:
    assume(consistent(config))
    name = data.draw(st.sampled_from(sorted(config)))
    other = data.draw(VALUES)
    assume(not agrees(config[name], other))
    reported = nested({**config, name: other})
    assert [mismatch.name for mismatch in compare(config, reported)] == [name]
    result = judge(config, Resolved(reported, "metrics.jsonl"))
    assert result.agreement is Agreement.MISMATCH
    assert name in result.text


@given(config=CONFIGS)
def test_what_is_not_reported_is_unverified_and_named(config: dict[str, Any]) -> None:
    result = judge(config, Resolved({"unrelated!": 1}, "resolved.json"))
    assert result.agreement is Agreement.UNVERIFIED
    assert all(name in result.text for name in config)
    assert judge(config, None).agreement is Agreement.UNVERIFIED
    assert judge({}, None).agreement is Agreement.VERIFIED


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (1e-3, "0.001"),
        (0.001, "1e-3"),
        (1, 1.0),
        (8, "8"),
        (0.1, 0.10000000149011612),
        (True, "True"),
        (False, "false"),
        (True, 1),
        (None, "None"),
        ("128,64", [128, 64]),
        ("[128, 64]", "128,64"),
        ("0.1,0.2", ["0.1", "0.2"]),
        ("true", True),
    ],
)
def test_forms_of_one_value_agree(asked: Any, found: Any) -> None:
    assert agrees(asked, found)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (1e-3, 1e-2),
        (1, True),
        (0, False),
        (True, False),
        (None, 0),
        ("relu", "gelu"),
        ("128,64", [64, 128]),
        ("a", None),
    ],
)
def test_different_values_do_not_agree(asked: Any, found: Any) -> None:
    assert not agrees(asked, found)


def test_the_first_source_wins(tmp_path: Path) -> None:
    assert read(tmp_path) is None
    (tmp_path / "hydra/.hydra").mkdir(parents=True)
    (tmp_path / "hydra/.hydra/config.yaml").write_text("lr: 1\n")
    assert read(tmp_path) == Resolved({"lr": 1}, "hydra/.hydra/config.yaml")
    (tmp_path / "resolved.yaml").write_text("lr: 2\n")
    assert read(tmp_path) == Resolved({"lr": 2}, "resolved.yaml")
    (tmp_path / "resolved.json").write_text('{"lr": 3}')
    assert read(tmp_path) == Resolved({"lr": 3}, "resolved.json")
    (tmp_path / "metrics.jsonl").write_text('{"config": {"lr": 4}}\n{"config": 5}\n{"epoch": 1}\n{"config": {"lr"')
    assert read(tmp_path) == Resolved({"lr": 4}, "metrics.jsonl")


def test_what_cannot_be_read_counts_as_not_reported(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b"\xff\xfe{config}\n")
    (tmp_path / "resolved.json").write_text("{")
    (tmp_path / "resolved.yaml").write_text("a: [")
    assert read(tmp_path) is None
