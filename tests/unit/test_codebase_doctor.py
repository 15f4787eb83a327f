"""Every condition a campaign needs is found broken when it is broken, with a hint saying what to do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rea.codebase.doctor import Check, examine
from rea.domain.host import Host

TOML = f"""
[codebase]
name = "tiny"
python = "{sys.executable}"
train = "{{python}} train.py --config {{config}} --seed {{seed}}"
evaluate = "{{python}} evaluate.py --predictions {{predictions}} --split {{split}}"
config = "config.yaml"
style = "yaml"
editable = ["models/**"]
protected = ["evaluate.py"]
[objective]
metric = "ne"
direction = "minimize"
split = "valid"
[resources]
walltime = "1m"
[knobs]
"optim.lr" = {{ role = "learning_rate", type = "float", range = [0.01, 1] }}
"""


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "rea.toml").write_text(TOML)
    (tmp_path / "config.yaml").write_text("optim: {lr: 0.1}\n")
    (tmp_path / "train.py").write_text('print({"epoch": 1}, "REA_METRICS")\n')
    (tmp_path / "evaluate.py").write_text("")
    (tmp_path / ".rea").mkdir()
    (tmp_path / ".rea/allowed_signers").write_text("ann@example.com ssh-ed25519 AAAA\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qm", "first")
    return tmp_path


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new))

    return change


def remove(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def test_a_codebase_in_order_passes_every_check(root: Path) -> None:
    checks = {check.name: check for check in examine(root, host=Host(1.0, 2**30, 0))}
    assert {name for name, check in checks.items() if check.ok is not True} <= {"disk"}
    assert set(checks) == {
        "rea.toml",
        "git",
        "python",
        "train",
        "config",
        "knob names",
        "baseline values",
        "evaluator",
        "roles",
        "metrics",
        "approvals",
        "launcher",
        "resources",
        "disk",
    }


BROKEN = {
    "unreadable": ("rea.toml", False, edit("rea.toml", "walltime", "waltime"), "walltime"),
    "dirty": ("git", False, edit("config.yaml", "0.1", "0.2"), "git stash"),
    "python": ("python", False, edit("rea.toml", sys.executable, "/nonexistent/python"), "python"),
    "not on PATH": ("python", False, edit("rea.toml", sys.executable, "no-such-python"), ".venv/bin/python"),
    "train": ("train", False, remove("train.py"), "train"),
    "config": ("config", False, edit("config.yaml", "optim", "optim: [{"), "config.yaml"),
    "knob": ("knob names", False, edit("rea.toml", '"optim.lr"', '"optimizer.lr"'), "'optim.lr'"),
    "range": ("baseline values", False, edit("config.yaml", "0.1", "5.0"), "widen"),
    "no evaluator": ("evaluator", False, remove("evaluate.py"), "evaluate"),
    "editable evaluator": ("evaluator", False, edit("rea.toml", 'protected = ["evaluate.py"]', ""), "protected"),
    "role": ("roles", False, edit("rea.toml", "learning_rate", "lerning_rate"), "'learning_rate'"),
    "no role": ("roles", None, edit("rea.toml", 'role = "learning_rate", ', ""), "learning_rate"),
    "no metrics": ("metrics", None, edit("train.py", "REA_METRICS", ""), "JSON lines"),
    "no steps": ("metrics", None, edit("train.py", "epoch", "x"), '"step"'),
    "signers": ("approvals", False, remove(".rea/allowed_signers"), "allowed_signers"),
    "data profile": (
        "data profile",
        False,
        edit("rea.toml", "style", 'profile = "describe.py"\nstyle'),
        "leave it out",
    ),
    "launcher": ("launcher", False, edit("rea.toml", "[knobs]", '[launcher]\nkind = "lokal"\n[knobs]'), "'local'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_found_with_a_hint(root: Path, case: str) -> None:
    name, ok, change, said = BROKEN[case]
    if case == "editable evaluator":
        edit("rea.toml", 'editable = ["models/**"]', 'editable = ["**"]')(root)
    change(root)
    found = [check for check in examine(root) if check.name == name and check.ok is ok]
    assert found, examine(root)
    assert found[0].hint
    assert said in f"{found[0].message} {found[0].hint}"


CARD = """---
name: tilt
title: Tilt the tower
level: recipe
mechanism: tilting
settings:
  - {learning_rate: x0.5}
effect: {mean: 0.001, sd: 0.002, basis: "ours"}
citation: "us, 2024"
---
Prose.
"""


def test_what_the_host_lacks_is_told_of_the_local_launcher_alone(root: Path) -> None:
    def found(host: Host) -> list[bool | None]:
        return [check.ok for check in examine(root, host=host) if check.name == "resources"]

    edit("rea.toml", 'walltime = "1m"', 'walltime = "1m"\ncpus = 2\n[launcher]\nslots = 2')(root)
    assert found(Host(4.0, None, 0)) == [True]
    assert found(Host(3.0, None, 0)) == [None]
    assert found(Host(1.0, None, 0)) == [False]
    edit("rea.toml", "slots = 2", 'kind = "slurm"')(root)
    assert found(Host(1.0, None, 0)) == []


def test_the_teams_own_cards_are_read_and_what_keeps_one_from_being_read_is_found(root: Path) -> None:
    def found() -> list[Check]:
        return [check for check in examine(root) if check.name == "cards"]

    folder = root / ".rea/knowledge/techniques"
    folder.mkdir(parents=True)
    (folder / "tilt.md").write_text(CARD)
    (check,) = found()
    assert check.ok is True and "techniques: 1, runbooks: 0" in check.message
    (folder / "tilt.md").write_text(CARD.replace("citation", "quotation"))
    (check,) = found()
    assert check.ok is False and "tilt.md" in check.message and check.hint
    (folder / "tilt.md").rename(folder.parent / "tilt.md")
    (check,) = [check for check in found() if check.ok is False]
    assert ".rea/knowledge/tilt.md" in check.message and "techniques/" in str(check.hint)


def test_no_repository_and_no_commit_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "rea.toml").write_text(TOML)
    (tmp_path / "config.yaml").write_text("optim: {lr: 0.1}\n")

    def check() -> Check:
        return next(check for check in examine(tmp_path) if check.name == "git")

    assert "git init" in str(check().hint)
    git(tmp_path, "init", "-q")
    assert "no commits" in check().message


def test_the_doctor_changes_nothing(root: Path) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    examine(root)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
