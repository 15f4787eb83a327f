"""The profile command: what it prints becomes a value, and whatever else it does becomes a clear error."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rea.codebase.config import digest, load
from rea.codebase.data import data_profile, read_profile
from rea.domain.codec import canonical, loads
from rea.domain.data import DataField, DataProfile, FieldPair
from rea.domain.errors import ReaError
from rea.domain.plan import Baseline

GOOD = {
    "rows": {"train": 100, "valid": 10},
    "positive_rate": 0.2,
    "seen_rows": 0.01,
    "fields": [
        {"name": "ad", "kind": "categorical", "cardinality": 7, "rare_rows": 0.4},
        {"name": "bid", "kind": "numeric"},
    ],
    "pairs": [{"fields": ["ad", "slot"], "information": 0.01}],
    "made_by": "our pipeline",
}
READ = DataProfile(
    {"train": 100, "valid": 10},
    0.2,
    (DataField("ad", "categorical", 7, rare_rows=0.4), DataField("bid", "numeric")),
    (FieldPair(("ad", "slot"), 0.01),),
    0.01,
)


def test_the_last_line_is_read_and_keys_of_the_codebases_own_are_left_alone():
    assert read_profile(f"reading 100 rows\n{json.dumps(GOOD)}\n\n") == READ


def test_a_profile_survives_its_way_through_a_signed_plan():
    baseline = Baseline((1, 2), (0.8, 0.8), 0.8, 0.001, 0.0015, {}, 60, 1, 60, 0, 5, data=READ)
    assert loads(Baseline, canonical(baseline)) == baseline
    old = json.loads(canonical(baseline))
    del old["data"]
    assert loads(Baseline, json.dumps(old)).data is None, "plans from before there were profiles are read"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"rows": None}, "rows"),
        ({"rows": {"train": -1}}, "rows.train"),
        ({"positive_rate": 1.5}, "positive_rate"),
        ({"seen_rows": "many"}, "seen_rows"),
        ({"fields": []}, "fields"),
        ({"fields": [{"name": "ad", "kind": "text"}]}, "fields.0.kind"),
        ({"fields": [{"name": "ad", "kind": "numeric", "drift": "far"}]}, "fields.0.drift"),
        ({"fields": [{"name": "ad", "kind": "numeric", "coverage": float("nan")}]}, "fields.0.coverage"),
        ({"pairs": [{"fields": ["ad"], "information": 0.1}]}, "pairs.0.fields"),
    ],
)
def test_a_wrong_profile_is_refused_with_the_key(change, place):
    with pytest.raises(ReaError, match=place) as caught:
        read_profile(json.dumps({**GOOD, **change}))
    assert caught.value.hint


def test_a_missing_key_is_named():
    with pytest.raises(ReaError, match="fields: field required"):
        read_profile(json.dumps({"rows": {"train": 3}}))


@given(st.one_of(st.text(), st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps)))
def test_whatever_is_printed_gives_a_profile_or_a_clear_error(text):
    try:
        read_profile(text)
    except ReaError as error:
        assert error.hint


def codebase(tmp_path: Path, code: str):
    tiny = Path(__file__).parents[1] / "support" / "tinyranker"
    (tmp_path / "describe.py").write_text(code)
    return replace(
        load(tiny), root=str(tmp_path), profile="{python} describe.py --config {config}", python=sys.executable
    )


def test_the_command_runs_in_the_worktree_with_the_given_environment_alone(tmp_path):
    code = f"""
import json, os, sys
assert sys.argv[1:] == ["--config", "config.toml"], sys.argv
assert os.environ["OURS"] == "1" and "HOME" not in os.environ
assert os.path.samefile(os.getcwd(), {str(tmp_path)!r})
print("a word on the way")
print(json.dumps({GOOD!r}))
"""
    assert data_profile(codebase(tmp_path, code), tmp_path, env={"OURS": "1"}, limit_s=30) == READ


def test_a_codebase_without_the_command_tells_nothing(tmp_path):
    silent = replace(codebase(tmp_path, ""), profile=None)
    assert data_profile(silent, tmp_path, env={}, limit_s=30) is None


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys; sys.exit('there is no data here')", "ended with 1: there is no data here"),
        ("print('{not json')", "last line is no JSON object"),
        ("pass", "it printed nothing"),
        ("print('x' * (5 * 2**20))", "more than 4 MiB"),
    ],
)
def test_what_came_instead_of_an_answer_is_told(tmp_path, code, says):
    with pytest.raises(ReaError, match=says):
        data_profile(codebase(tmp_path, code), tmp_path, env={}, limit_s=30)


def test_a_program_that_is_not_there_is_told(tmp_path):
    lost = replace(codebase(tmp_path, ""), python="/nowhere/python")
    with pytest.raises(ReaError, match="does not start"):
        data_profile(lost, tmp_path, env={}, limit_s=30)


def test_a_command_that_does_not_end_is_ended_with_all_that_it_started(tmp_path):
    child = f"import time, pathlib; time.sleep(3); pathlib.Path({str(tmp_path / 'late')!r}).touch()"
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    with pytest.raises(ReaError, match=r"did not end within 1\.5 s"):
        data_profile(codebase(tmp_path, code), tmp_path, env={}, limit_s=1.5)
    time.sleep(3)
    assert not (tmp_path / "late").exists()


def test_a_codebase_without_a_profile_command_keeps_the_digest_that_was_signed(tmp_path):
    with_, without = codebase(tmp_path, ""), replace(codebase(tmp_path, ""), profile=None)
    assert digest(with_) != digest(without)
    assert (
        digest(load(Path(__file__).parents[1] / "support" / "tinyranker"))
        == "3314485b417ad8db8b837f05c7d8ba9977ae070295dd7db2b49e3acbe4418b16"
    )
