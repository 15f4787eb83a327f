"""A specification is understood whole or refused by the name of the key that is wrong."""

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rea.domain.errors import UsageError
from rea.domain.jobs import Handle, JobSpec, Step, StopRule, WakeCall
from rea.job.spec import SpecError, load, parse


def full(run_dir: Path) -> JobSpec:
    return JobSpec(
        name="rea-C-1-R-4-1",
        run_dir=run_dir,
        steps=(
            Step("train", ("python", "train.py"), Path("/code"), {"PATH": "/usr/bin"}),
            Step("evaluate", ("python", "evaluate.py"), Path("/code"), {}, stdout="evaluate_valid.jsonl"),
        ),
        walltime_s=600,
        memory_bytes=2**31,
        stop_rule=StopRule("ne", "valid", "minimize", ((1.0, 0.9), (2.0, 0.8))),
        wake=WakeCall(Path("/runs/wake/x"), ("rea", "wake"), Path("/"), {"A": "b"}),
    )


def test_what_the_domain_writes_the_wrapper_reads_back_whole(tmp_path):
    spec, read = full(tmp_path), parse(json.loads(json.dumps(full(tmp_path).to_json())))
    assert (read.name, read.run_dir, read.walltime_s, read.memory_bytes) == (spec.name, tmp_path, 600, 2**31)
    assert (read.log_bytes, read.grace_s, read.heartbeat_s) == (spec.log_bytes, spec.grace_s, spec.heartbeat_s)
    assert read.metrics == tmp_path / "metrics.jsonl"
    for ours, theirs in zip(spec.steps, read.steps, strict=True):
        assert (ours.name, ours.argv, str(ours.cwd), ours.env, ours.stdout) == (
            theirs.name,
            theirs.argv,
            theirs.cwd,
            theirs.env,
            theirs.stdout,
        )
    for key in ("metric", "split", "direction", "points", "axis"):
        assert getattr(read.stop_rule, key) == getattr(spec.stop_rule, key)
    assert (read.wake.file, read.wake.command, read.wake.cwd) == (spec.wake.file, spec.wake.command, "/")
    assert read.wake.env == spec.wake.env


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (["version"], 2, "version"),
        (["name"], "a/b", "name"),
        (["run_dir"], "relative", "run_dir"),
        (["run_dir"], "/no/such/directory", "run_dir"),
        (["steps"], [], "steps"),
        (["steps", 0, "argv"], [], "steps[0]: argv"),
        (["steps", 0, "argv"], "python train.py", "steps[0]: argv"),
        (["steps", 0, "cwd"], "code", "steps[0]: cwd"),
        (["steps", 0, "env"], {"A": 1}, "steps[0]: env"),
        (["steps", 0, "env"], {"A=B": "1"}, "steps[0]: env"),
        (["steps", 0, "colour"], "red", "steps[0]: colour"),
        (["steps", 1, "stdout"], "../out", "steps[1]: stdout"),
        (["steps", 1, "stdout"], "exit.json", "steps[1]: stdout"),
        (["steps", 1, "stdout"], "train.log", "steps: two steps"),
        (["steps", 1, "stdout"], "metrics.jsonl", "metrics"),
        (["steps", 1, "name"], "train", "steps: two steps"),
        (["walltime_s"], 0, "walltime_s"),
        (["walltime_s"], float("nan"), "walltime_s"),
        (["walltime_s"], True, "walltime_s"),
        (["memory_bytes"], 0.5, "memory_bytes"),
        (["log_bytes"], 10, "log_bytes"),
        (["grace_s"], -1, "grace_s"),
        (["heartbeat_s"], "5", "heartbeat_s"),
        (["stop_rule", "direction"], "down", "stop_rule: direction"),
        (["stop_rule", "axis"], "hour", "stop_rule: axis"),
        (["stop_rule", "points"], [], "stop_rule: points"),
        (["stop_rule", "points"], [[2, 0.5], [1, 0.5]], "stop_rule: points"),
        (["stop_rule", "points"], [[1, float("nan")]], "stop_rule: points"),
        (["wake", "file"], "wake", "wake: file"),
        (["wake", "command"], [], "wake: command"),
        (["when"], "now", "when"),
    ],
)
def test_an_error_names_the_key(tmp_path, path, value, named):
    raw = copy.deepcopy(full(tmp_path).to_json())
    place = raw
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(SpecError) as caught:
        parse(raw, "job.json")
    assert f"job.json: {named}" in str(caught.value)
    known = path not in (["run_dir"], ["name"])
    assert caught.value.run_dir == (tmp_path if known else None)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_json_value_whatever_gets_past_as_anything_but_a_spec_error(value):
    with pytest.raises(SpecError):
        parse(value)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\x00"])
def test_a_file_that_is_no_json_is_a_spec_error(tmp_path, text):
    (tmp_path / "job.json").write_text(text)
    with pytest.raises(SpecError, match="not JSON"):
        load(tmp_path / "job.json")


def test_a_missing_file_is_a_spec_error(tmp_path):
    with pytest.raises(SpecError, match="cannot be read"):
        load(tmp_path / "job.json")


@pytest.mark.parametrize("name", ["", "a b", "../x", ".hidden", "a:b", "x" * 200, "a\n"])
def test_a_name_that_could_not_be_a_file_name_is_refused_at_once(tmp_path, name):
    with pytest.raises(UsageError, match="name of a job"):
        JobSpec(name=name, run_dir=tmp_path, steps=(), walltime_s=1)


@given(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.from_regex(r"[A-Za-z0-9._-]+", fullmatch=True), st.text())
def test_a_handle_survives_being_written_as_text(kind, name, identity):
    handle = Handle(kind, name, identity)
    assert Handle.parse(str(handle)) == handle
