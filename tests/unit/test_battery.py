"""The failure battery's kinds: each can be brought about, and is held against runbooks that there are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BATTERY = ROOT / "benchmarks" / "battery"
sys.path.insert(0, str(BATTERY))

from codebases import CODEBASES, missing, parts, setting  # noqa: E402
from kinds import BY_NAME, KINDS, Right  # noqa: E402
from trial import judged  # noqa: E402

from rea.codebase.config import load  # noqa: E402
from rea.knowledge.cards import load_runbooks  # noqa: E402
from rea.workspace.planning import parse_treatment  # noqa: E402
from support.desk import make_desk  # noqa: E402

PARTS = {f"{part[0].codebase}-{part[0].log or 'own'}": part for part in parts(KINDS)}


def test_kinds_have_names_of_their_own_and_runbooks_that_there_are():
    assert len(BY_NAME) == len(KINDS)
    classes = {book.name: book.kind.value for book in load_runbooks()}
    for kind in KINDS:
        assert {classes[name] for name in kind.runbooks} == set(kind.classes), kind


def test_whatever_is_to_be_done_around_a_trainer_is_known_to_the_sabotage():
    known = (BATTERY / "overlay" / "ads_ranker" / "sabotage.py").read_text()
    for kind in KINDS:
        assert not kind.fault or f"def before_{kind.fault}(" in known or f"def after_{kind.fault}(" in known, kind


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_every_kind_of_failure_hangs_on_settings_that_no_other_has_and_that_its_codebase_takes(part, tmp_path):
    lacks = missing(part[0].codebase)
    if lacks:
        pytest.skip(lacks)
    made = CODEBASES[part[0].codebase]
    desk = make_desk(tmp_path, code=made.make(tmp_path / "made", part), toml=dict(made.toml))
    codebase = load(desk.root)
    words = [setting(kind, number) for number, kind in enumerate(part)]
    keys = {parse_treatment(codebase, each.split()).key() for each in (*words, *made.sound)}
    assert len(keys) == len(part) + len(made.sound)
    for each in words:
        made.with_treatment(desk.root, each)
        logs = [word.partition("=")[2] for word in each.split() if word.startswith("data.path=")]
        assert all((desk.root / log).exists() for log in logs), "the desk has the logs, too"


@pytest.mark.parametrize(
    ("right", "trials", "is_right"),
    [
        (Right.GIVE_UP, [("FAIL", None)], True),
        (Right.GIVE_UP, [("FAIL", None), ("FAIL", None)], False),
        (Right.GIVE_UP, [("COMPLETE", 0.5)], False),
        (Right.REPEAT, [("FAIL", None), ("COMPLETE", 0.5)], True),
        (Right.REPEAT, [("FAIL", None)], False),
        (Right.REPEAT_ONCE, [("FAIL", None), ("FAIL", None)], True),
        (Right.QUARANTINE, [("COMPLETE", 0.1)], False),
        (Right.HOLD, [("FAIL", None), ("COMPLETE", 0.5)], False),
        (Right.REPEAT, [], False),
    ],
)
def test_a_peer_is_judged_by_what_it_did(right, trials, is_right):
    kind = next(kind for kind in KINDS if kind.right is right)
    assert judged(kind, trials)["right"] is is_right
