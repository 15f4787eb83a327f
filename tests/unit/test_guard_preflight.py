"""The checklist before a campaign may spend."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from report_samples import sample_codebase, sample_plan

from rea.domain.codebase import Codebase, Guardrail, LauncherChoice
from rea.domain.data import DataField, DataProfile
from rea.domain.host import Host
from rea.domain.jobs import Capacity
from rea.guard.preflight import Facts, blocking, checks, evaluator_files, gather, git_state, python_version

GOOD = Facts(
    commit="a" * 40,
    commit_found=True,
    changes=(),
    git_error="",
    python="3.12.1",
    python_error="",
    evaluator=("evaluate.py",),
    runs="/runs",
    free_bytes=10**12,
    needed_bytes=10**9,
    capacity=Capacity(2, 2),
    launcher_error="",
    overrides_verifiable=True,
    signers=("anna@x",),
    signers_error="",
    ssh_keygen=True,
    host=Host(64.0, 2**40, 8),
)


def names(codebase: Codebase, facts: Facts, granted: tuple[str, ...] = ()) -> set[str]:
    return {check.name for check in blocking(checks(codebase, facts, sample_plan()), granted)}


def test_a_sound_campaign_is_not_held_up() -> None:
    assert names(sample_codebase(), GOOD) == set()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"commit_found": False}, "commit"),
        ({"python_error": "no such file"}, "python"),
        ({"free_bytes": 10}, "disk"),
        ({"capacity": None, "launcher_error": "refused"}, "launcher"),
        ({"capacity": Capacity(0, 0)}, "launcher"),
        ({"signers": ()}, "signers"),
        ({"signers_error": "line 3"}, "signers"),
        ({"ssh_keygen": False}, "ssh-keygen"),
        ({"evaluator": ("lib/metrics.py",)}, "protected"),
    ],
)
def test_what_does_not_hold_blocks_and_no_grant_helps(change: dict[str, object], name: str) -> None:
    facts = replace(GOOD, **change)  # type: ignore[arg-type]
    assert names(sample_codebase(), facts) == {name}
    assert names(sample_codebase(), facts, granted=(name,)) == {name}


def test_what_only_an_engineer_can_accept_blocks_until_granted() -> None:
    base = sample_codebase()
    bare = replace(base, evaluate=None, objective=replace(base.objective, sealed=None))
    facts = replace(GOOD, changes=("train.py",), overrides_verifiable=False)
    assert names(bare, facts) == {"evaluator", "sealed", "clean", "overrides"}
    assert names(bare, facts, granted=("evaluator", "sealed", "clean")) == {"overrides"}
    assert names(bare, facts, granted=("evaluator", "sealed", "clean", "overrides")) == set()


@pytest.mark.parametrize(
    ("information", "seen_rows", "holds"),
    [(0.33, 0.002, True), (0.97, 0.002, False), (0.33, 0.4, False), (None, 0.0, True), (None, None, None)],
)
def test_data_that_give_the_label_away_block_until_an_engineer_has_seen_these(
    information: float | None, seen_rows: float | None, holds: bool | None
) -> None:
    data = DataProfile({"train": 9}, 0.2, (DataField("ad", "numeric", information=information),), seen_rows=seen_rows)
    plan = replace(sample_plan(), baseline=replace(sample_plan().baseline, data=data))
    found = [check for check in checks(sample_codebase(), GOOD, plan) if check.name == "leaks"]
    assert [check.ok for check in found] == ([] if holds is None else [holds])
    if holds is False:
        assert blocking(found) and blocking(found, ["leaks"]) and not blocking(found, [found[0].grant])


@pytest.mark.parametrize(
    ("env", "holds"),
    [
        ({"HF_HOME": "/models"}, True),
        ({"HF_TOKEN": "x"}, False),
        ({"STORE": "s3://reader:passw0rd@clicks"}, False),
        ({"WHERE": "hf_" + "a1" * 12}, False),
    ],
)
def test_what_looks_secret_is_not_pinned_unseen(env: dict[str, str], holds: bool) -> None:
    (found,) = [c for c in checks(sample_codebase(), GOOD, replace(sample_plan(), env=env)) if c.name == "secrets"]
    assert found.ok is holds and not any(value in found.words for value in env.values() if not holds and len(value) > 1)


def test_a_host_that_cannot_hold_one_run_blocks_until_granted_and_crowded_slots_do_not() -> None:
    base = sample_codebase()
    local = replace(base, launcher=LauncherChoice("local", 3), resources=replace(base.resources, cpus=2))
    crowded = replace(GOOD, host=Host(4.0, 2**40, 0))
    assert names(local, crowded) == set()
    (said,) = [check.words for check in checks(local, crowded) if check.name == "resources"]
    assert "disturb" in said
    small = replace(GOOD, host=Host(1.0, 2**40, 0))
    assert names(local, small) == {"resources"}
    assert names(local, small, granted=("resources",)) == set()
    assert names(replace(local, launcher=LauncherChoice("slurm", 3)), small) == set()


def test_every_check_that_fails_says_what_to_do() -> None:
    bad = replace(GOOD, commit_found=False, python_error="x", free_bytes=0, capacity=None, signers=(), ssh_keygen=False)
    assert all(check.hint for check in checks(sample_codebase(), bad) if check.ok is False)


def test_a_treatment_outside_its_knobs_range_blocks() -> None:
    base, plan = sample_codebase(), sample_plan()
    narrow = replace(
        base, knobs=tuple(replace(knob, high=1e-9) if knob.role == "embedding_dropout" else knob for knob in base.knobs)
    )
    assert [check.name for check in checks(narrow, GOOD, plan) if check.ok is False] == ["knobs"]
    assert [check.name for check in checks(replace(base, knobs=()), GOOD, plan) if check.ok is False] == ["knobs"]


def test_a_guardrail_on_a_metric_that_no_baseline_prints_blocks() -> None:
    base = sample_codebase()
    rails = (Guardrail("calibrationn", 0.95, 1.05),)
    other = replace(base, objective=replace(base.objective, guardrails=rails))
    (check,) = [check for check in checks(other, GOOD, sample_plan()) if check.ok is False]
    assert check.name == "guardrails" and "calibrationn" in check.words and check.hint and "ne" in check.hint


def test_a_budget_below_the_estimate_and_one_reservation_blocks() -> None:
    plan = replace(sample_plan(), budget_s=sample_plan().estimate.device_s)
    assert [check.name for check in checks(sample_codebase(), GOOD, plan) if check.ok is False] == ["budget"]


def test_the_evaluators_files_are_found_as_scripts_and_as_modules(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "score.py").touch()
    (tmp_path / "evaluate.py").touch()
    base = replace(sample_codebase(), root=str(tmp_path))
    assert evaluator_files(replace(base, evaluate="{python} ./evaluate.py --split {split}")) == ("evaluate.py",)
    assert evaluator_files(replace(base, evaluate="{python} -m lib.score {predictions}")) == ("lib/score.py",)
    assert evaluator_files(replace(base, evaluate="score-tool {predictions}")) == ()


def test_gathering_sees_the_real_repository(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@x", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    assert git_state(tmp_path, "HEAD")[2] != ""
    git("init", "-q")
    (tmp_path / "evaluate.py").write_text("print(1)\n")
    git("add", ".")
    git("commit", "-qm", "first")
    commit = git("rev-parse", "HEAD")
    base = replace(sample_codebase(), root=str(tmp_path), python=sys.executable)
    facts = gather(base, commit, tmp_path / "runs" / "deep", capacity=Capacity(1, 1), host=GOOD.host, needed_bytes=1)
    assert (facts.commit_found, facts.changes, facts.git_error, facts.signers) == (True, (), "", ())
    assert facts.evaluator == ("evaluate.py",)
    assert {check.name for check in blocking(checks(base, facts))} <= {"signers", "ssh-keygen"}
    (tmp_path / "evaluate.py").rename(tmp_path / "moved.py")
    git("add", "-A")
    (tmp_path / "new file.txt").touch()
    found, changes, _ = git_state(tmp_path, "0" * 40)
    assert (found, set(changes)) == (False, {"moved.py", "new file.txt"})
    assert python_version(replace(base, python="./missing"))[1] != ""
