"""What cannot be read, printed or named is said in a word: which it is, and what to do; never a traceback."""

import json
import os
import subprocess
import sys

import pytest

from support.unprivileged import POSSIBLE, WHY, kept_out

REA = (sys.executable, "-m", "rea")
permissions_hold = pytest.mark.skipif(not POSSIBLE, reason=WHY)


def ran(desk, *command, cwd=None, **env):
    done = subprocess.run(
        command,
        cwd=cwd or desk.root,
        env={**desk.env, **env},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=60,
    )
    assert "Traceback" not in done.stderr and "Errno" not in done.stdout + done.stderr, done
    return done


@pytest.fixture
def closed():
    """Closes a file or folder to this user until the test is over."""
    modes = {}

    def close(path):
        modes[path] = path.stat().st_mode
        path.chmod(0)
        return path

    yield close
    for path, mode in modes.items():
        path.chmod(mode)


def test_an_argument_that_is_no_text_is_named_with_2(desk):
    for words in (["status", b"\xff"], ["show", b"\xff"], ["doctor", b"caf\xe9"], ["wake", b"\xff"]):
        done = ran(desk, *REA, *words)
        shown = words[1].decode("utf-8", "backslashreplace")
        assert (done.returncode, done.stdout) == (2, "") and f"argument 2, '{shown}', is not UTF-8" in done.stderr


def test_what_the_outputs_encoding_lacks_is_escaped(desk):
    for words in (["doctor"], ["status"], ["insights"], ["runbooks"]):
        done = ran(desk, *REA, *words, PYTHONIOENCODING="ascii")
        assert done.returncode == 0 and done.stdout.isascii() and done.stdout, done.stderr
    assert "\\u2713 rea.toml" in ran(desk, *REA, "doctor", PYTHONIOENCODING="ascii").stdout
    toml = desk.root / "rea.toml"
    toml.write_text(toml.read_text().replace('name = "', 'name = "modèle', 1))
    said = [
        json.loads(ran(desk, *REA, "doctor", "--json", **env).stdout) for env in ({}, {"PYTHONIOENCODING": "ascii"})
    ]
    assert said[0] == said[1] and "modèle" in said[0][0]["message"]


def test_streams_that_came_closed_lead_nowhere(desk):
    for words in (["status"], ["runbooks"], ["wake"], ["wake"], ["--help"], ["daemon", "status", "--json"]):
        code = 1 if words[0] == "daemon" else 0  # no daemon lives
        for closing in (">&-", "2>&-", "<&- >&- 2>&-"):
            done = ran(desk, "bash", "-c", f'exec "$@" {closing}', "rea", *REA, *words)
            assert done.returncode == code and done.stderr == "", (words, closing, done.stderr)


@permissions_hold
@pytest.mark.parametrize("name", [".git", ".git/HEAD", ".git/objects"])
def test_nobody_is_told_to_make_a_repository_over_one_that_is_closed(desk, closed, name):
    place = closed(desk.root / name)
    done = ran(desk, *kept_out([*REA, "plan"]))
    assert done.returncode == 1 and f"{place} cannot be read by this user" in done.stderr
    assert "git init" not in done.stderr


def test_nobody_is_told_to_make_a_repository_over_one_that_is_broken(desk):
    (desk.root / ".git/HEAD").unlink()
    done = ran(desk, *REA, "plan")
    assert done.returncode == 1 and f"{desk.root / '.git'} is there, and git cannot use it" in done.stderr
    assert "git init" not in done.stderr


def test_a_codebase_whose_path_is_no_text_is_refused_before_anything_is_planned(desk):
    odd = desk.root.rename(desk.root.with_name(os.fsdecode(b"caf\xe9")))
    checked, planned = ran(desk, *REA, "doctor", cwd=odd), ran(desk, *REA, "plan", cwd=odd)
    assert checked.returncode == 1 and "caf\\xe9 is not UTF-8" in checked.stdout
    assert planned.returncode == 1 and "caf\\xe9 is not UTF-8" in planned.stderr and "rename" in planned.stderr
    assert not desk.runs.exists() or not any(desk.runs.rglob("R-*"))


@permissions_hold
def test_a_draft_is_made_without_what_is_closed_and_says_so(desk, closed):
    (desk.root / "rea.toml").unlink()
    (desk.root / "scratch/deep").mkdir(parents=True)
    closed(desk.root / "scratch/deep")
    done = ran(desk, *kept_out([*REA, "init"]))
    assert done.returncode == 0 and "cannot read it: scratch/deep" in done.stdout, done.stderr
    assert 'train = "{python} train.py' in (desk.root / "rea.toml").read_text()


@permissions_hold
def test_a_worktree_is_made_beside_an_ignored_folder_that_is_closed(desk, closed):
    (desk.root / "vault").mkdir()
    (desk.root / ".gitignore").write_text((desk.root / ".gitignore").read_text() + "/vault\n")
    desk.commit()
    closed(desk.root / "vault")
    script = (
        "import sys; from pathlib import Path; from rea.codebase.git import repository as found;"
        "repo = found(Path(sys.argv[1])); print(repo.worktree(repo.head(), Path(sys.argv[2])))"
    )
    done = ran(desk, *kept_out([sys.executable, "-c", script, str(desk.root), str(desk.home / "tree")]))
    assert done.returncode == 0 and (desk.home / "tree/train.py").is_file(), done.stderr
    assert (desk.home / "tree/vault").is_symlink()


@permissions_hold
def test_the_doctor_says_what_is_closed_and_everything_else_too(desk, closed):
    closed(desk.root / ".rea")
    lines = ran(desk, *kept_out([*REA, "doctor"])).stdout.splitlines()
    assert any("✗ approvals" in line and "cannot be read: Permission denied" in line for line in lines), lines
    assert f"`ls -ld {desk.root / '.rea'}`" in "\n".join(lines)
    assert {"✓ rea.toml", "✓ python", "✓ launcher", "✓ store"} <= {line.partition(":")[0] for line in lines}


@permissions_hold
def test_a_config_in_a_closed_folder_leaves_the_doctor_its_other_checks(desk, closed):
    (desk.root / "configs").mkdir()
    (desk.root / "config.toml").rename(desk.root / "configs/config.toml")
    toml = desk.root / "rea.toml"
    toml.write_text(toml.read_text().replace('"config.toml"', '"configs/config.toml"'))
    desk.commit()
    closed(desk.root / "configs")
    said = ran(desk, *kept_out([*REA, "doctor"])).stdout
    assert f"✗ rea.toml: {desk.root / 'configs/config.toml'} cannot be read" in said
    assert f"`ls -ld {desk.root / 'configs'}`" in said and "git:" in said and "✓ store" in said
    asked = ran(desk, *kept_out([*REA, "insights"]))
    assert asked.returncode == 1 and f"`ls -ld {desk.root / 'configs'}`" in asked.stderr


@permissions_hold
def test_a_command_that_is_kept_out_names_the_folder(desk, closed):
    desk.workspace()
    wake = desk.runs / "wake"
    wake.mkdir(parents=True)
    closed(wake)
    done = ran(desk, *kept_out([*REA, "daemon", "status"]))
    assert done.returncode == 1 and f"{wake}: Permission denied" in done.stderr and f"`ls -ld {wake}`" in done.stderr


@pytest.mark.parametrize("command", ["doctor", "plan"])
def test_a_working_directory_that_is_gone_is_named(desk, command):
    gone = desk.home / "gone"
    leave = f'mkdir {gone}; cd {gone}; rmdir {gone}; exec "$@"'
    done = ran(desk, "bash", "-c", leave, "rea", *REA, command)
    assert done.returncode == 1 and "the working directory is not there any more" in done.stderr


def test_links_that_lead_in_a_circle_are_no_matter_of_permissions(desk):
    toml = desk.root / "rea.toml"
    toml.unlink()
    toml.symlink_to(toml.name)
    checked, drafted = ran(desk, *REA, "doctor"), ran(desk, *REA, "init")
    for said in (checked.stdout, drafted.stderr):
        assert f"{toml}: its symbolic links lead in a circle" in said and "permission" not in said
