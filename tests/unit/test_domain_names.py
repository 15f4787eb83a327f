"""What may be called what: a name is safe in file names and in branches."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rea.domain.names import LONGEST, as_name, is_name


@pytest.mark.parametrize("name", ["ads-ranker", "m", "7", "Ranker_v2.1", "a" * LONGEST, "a-", "a--b_"])
def test_a_name_can_be_a_branch(name: str) -> None:
    assert is_name(name) and as_name(name) in (name, name.rstrip("-"))
    subprocess.run(["git", "check-ref-format", f"refs/heads/rea/{name}"], check=True)


@pytest.mark.parametrize(
    "text",
    ["", " ", "../x", "a/b", "a\\b", ".a", "-a", "_a", "a..b", "a.", "a.lock", "a.LOCK", "a b", "a\n", "\x1b[2J", "é",
     "a\u202eb", "a" * (LONGEST + 1), "²", "٣"],
)  # fmt: skip
def test_what_a_file_a_branch_or_a_terminal_could_take_otherwise_is_no_name(text: str) -> None:
    assert not is_name(text)


@given(st.text(max_size=200), st.integers(1, LONGEST))
def test_the_nearest_name_is_one_or_there_is_none(text: str, longest: int) -> None:
    found = as_name(text, longest)
    assert len(found) <= longest
    assert not found or is_name(found)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("../my ranker!", "my-ranker"),
        ("Modèle CTR", "Modele-CTR"),
        ("x.lock.lock", "x"),
        ("模型", ""),
        ("a...b", "a.b"),
    ],
)
def test_the_nearest_name_reads_like_the_text(text: str, name: str) -> None:
    assert as_name(text) == name
