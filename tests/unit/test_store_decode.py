"""Values to text and back, and back byte for byte."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rea.domain.claim import Claim
from rea.domain.codebase import Codebase
from rea.domain.codec import loads
from rea.domain.hypothesis import Belief, HypothesisDraft
from rea.domain.insight import ExperimentRecord
from rea.domain.plan import Plan
from rea.domain.run import Failure, Reading, RunDraft, RunResult
from rea.domain.treatment import Treatment
from rea.store import StoreError
from rea.store.decode import decode, encode, plain

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Every value a type hint allows, NaN and infinity included."""
    simple = {
        str: st.text(max_size=12),
        int: st.integers(),
        float: st.floats(),
        bool: st.booleans(),
        NoneType: st.none(),
    }
    if kind in simple:
        return simple[kind]
    if kind in (Any, object):
        return JSON
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return st.builds(kind, **{field.name: values_of(hints[field.name]) for field in fields(kind)})
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, UnionType):
        return st.one_of([values_of(part) for part in inner])
    if origin is tuple and inner[-1] is Ellipsis:
        return st.lists(values_of(inner[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values_of, inner))
    assert issubclass(origin, Mapping), kind
    return st.dictionaries(values_of(inner[0]), values_of(inner[1]), max_size=3)


STORED = (Codebase, Claim, HypothesisDraft, Belief, RunDraft, RunResult, Failure, ExperimentRecord, Plan)


@pytest.mark.parametrize("kind", STORED)
def test_values_survive_storage_byte_for_byte(kind: type) -> None:
    @settings(max_examples=40, deadline=None)
    @given(values_of(kind))
    def survives(value: Any) -> None:
        # repr tells 1 from 1.0 and True, 0.0 from -0.0, and NaN equals itself in it
        assert repr(decode(kind, encode(value))) == repr(value)

    survives()


@settings(max_examples=40, deadline=None)
@given(values_of(RunDraft))
def test_the_store_reads_as_the_codec_does(value: RunDraft) -> None:
    assert repr(decode(RunDraft, encode(value))) == repr(loads(RunDraft, encode(value)))


def test_half_a_surrogate_pair_in_a_log_line_survives_and_is_never_fatal() -> None:
    broken = Failure("oom", "memory", b"\xff\xfe out of memory".decode(errors="surrogateescape"))
    text = encode(broken)
    text.encode()
    assert decode(Failure, text) == broken
    assert plain(broken.message).encode().decode() == "?? out of memory"
    assert "\0" not in plain("a\0b")
    assert plain("zażółć ☃") == "zażółć ☃"


def test_a_field_that_is_missing_takes_its_default_and_one_too_many_is_left_out() -> None:
    assert decode(Failure, '{"runbook": "r", "kind": "k", "message": "m", "later": 1}') == Failure("r", "k", "m", None)


WRONG = [
    (
        Failure,
        ["", "{", "[]", "3", "{}", '{"runbook": "r"}', '{"runbook": 1, "kind": "k", "message": "m"}', "[" * 9999],
    ),
    (Reading, ['{"x": "late", "metrics": {}}', '{"x": 1, "metrics": []}', '{"x": 1, "metrics": {"ne": "low"}}']),
    (
        Treatment,
        ['{"overrides": []}', '{"overrides": {"lr": {}}}', '{"overrides": null}', '{"overrides": {}, "patch": 1}'],
    ),
    (Claim, ['{"seeds": "123"}', "null"]),
]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in WRONG for text in texts])
def test_text_that_is_no_such_value_is_a_clear_error(kind: type, text: str) -> None:
    with pytest.raises(StoreError, match=kind.__name__):
        decode(kind, text)
