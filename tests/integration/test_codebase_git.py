"""Worktrees, patches and proposals on real git repositories, also where the codebase is a folder of a monorepo."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rea.codebase.config import load
from rea.codebase.git import GitError, Repository, repository
from rea.codebase.proposal import ENV_FILE, propose
from rea.domain.codebase import Codebase
from rea.domain.errors import GuardrailError, NotFoundError, UsageError
from rea.domain.treatment import Treatment

CONFIG = "# the team's notes\noptim:\n  lr: 0.1   # tuned by hand\nname: base\n"
MODEL = "def width():\n    return 64\n"
TOML = """
[codebase]
name = "tiny"
train = "python3 train.py --config {config} --seed {seed}"
config = "config.yaml"
style = "yaml"
editable = ["models/**", "losses.py", "evaluate.py"]
protected = ["evaluate.py", "data/**"]
[objective]
metric = "ne"
direction = "minimize"
split = "valid"
[resources]
walltime = "1m"
[knobs]
"optim.lr" = { role = "learning_rate", type = "float", range = [0, 1] }
"""
WIDER = """\
--- a/models/tower.py
+++ b/models/tower.py
@@ -1,2 +1,2 @@
 def width():
-    return 64
+    return 128
"""
NEW_FILE = """\
diff --git a/losses.py b/losses.py
new file mode 100644
--- /dev/null
+++ b/losses.py
@@ -0,0 +1,1 @@
+GAMMA = 2
"""


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def make(root: Path) -> None:
    for name in ("models", "data", ".venv", "__pycache__", "runs", "cache"):
        (root / name).mkdir(parents=True)
    (root / "rea.toml").write_text(TOML)
    (root / "config.yaml").write_text(CONFIG)
    (root / "models/tower.py").write_text(MODEL)
    (root / "evaluate.py").write_text("print(1)\n")
    (root / ".gitignore").write_text("data/\n.venv/\n__pycache__/\nruns/\ncache/\n*.bin\n")
    (root / "data/clicks.csv").write_text("1,0\n")
    (root / "models/weights.bin").write_text("w")
    (root / ".venv/pyvenv.cfg").write_text("")
    (root / "runs/log.bin").write_text("")


@pytest.fixture(params=["", "teams/ads"], ids=["repository", "monorepo"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    top = tmp_path / "checkout"
    root = top / request.param
    make(root)
    if request.param:
        (top / "README.md").write_text("the monorepo\n")
    git(top, "init", "-q", "-b", "main")
    git(top, "config", "user.name", "Ann")
    git(top, "config", "user.email", "ann@example.com")
    git(top, "add", "-A")
    git(top, "commit", "-qm", "first")
    return root


@pytest.fixture
def repo(root: Path) -> Repository:
    return repository(root)


@pytest.fixture
def codebase(root: Path) -> Codebase:
    return load(root)


def fingerprint(top: Path) -> dict[str, str]:
    """Every file of the checkout with its content, the index and HEAD included."""
    files = [path for path in top.rglob("*") if path.is_file() and ".git" not in path.relative_to(top).parts]
    files += [top / ".git/index", top / ".git/HEAD"]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_repository_is_found_around_the_codebase(repo: Repository, root: Path) -> None:
    assert repo.root == root
    assert repo.head() == git(root, "rev-parse", "HEAD")
    assert repo.resolve("main") == repo.head()
    assert repo.is_clean() == ()


def test_changed_staged_and_untracked_files_are_dirt_and_ignored_ones_are_not(repo: Repository, root: Path) -> None:
    (root / "config.yaml").write_text("x: 1\n")
    (root / "models/new file ü.py").write_text("")
    (root / "data/more.csv").write_text("")
    assert repo.is_clean() == ("config.yaml", "models/new file ü.py")
    assert repo.is_clean(["models"]) == ("models/new file ü.py",)
    with pytest.raises(GitError, match=r"config\.yaml") as caught:
        repo.require_clean()
    assert "git stash" in str(caught.value.hint)
    assert "git commit" in str(caught.value.hint)


def test_dirt_beside_the_codebase_is_somebody_elses(repo: Repository) -> None:
    if repo.prefix:
        (repo.top / "README.md").write_text("changed\n")
        assert repo.is_clean() == ()


def test_a_worktree_has_the_commit_and_the_ignored_data_but_no_environment_or_cache(
    repo: Repository, root: Path, tmp_path: Path
) -> None:
    (root / "config.yaml").write_text("uncommitted: 1\n")
    folder = repo.worktree("HEAD", tmp_path / "runs/w1")
    assert folder == tmp_path / "runs/w1" / repo.prefix
    assert (folder / "config.yaml").read_text() == CONFIG
    assert (folder / "data/clicks.csv").read_text() == "1,0\n"
    assert (folder / "data").is_symlink()
    assert (folder / "models/weights.bin").read_text() == "w"
    for name in (".venv", "__pycache__", "runs"):
        assert not (folder / name).exists()


def test_making_a_worktree_twice_equals_making_it_once(repo: Repository, tmp_path: Path) -> None:
    folder = repo.worktree("HEAD", tmp_path / "w")
    (folder / "left.txt").write_text("by a run")
    assert repo.worktree("HEAD", tmp_path / "w") == folder
    assert (folder / "left.txt").exists()


def test_a_half_made_worktree_is_made_anew(repo: Repository, tmp_path: Path) -> None:
    folder = repo.worktree("HEAD", tmp_path / "w")
    (folder / "config.yaml").unlink()
    (repo.common / "worktrees/w/rea-ready").unlink()
    assert (repo.worktree("HEAD", tmp_path / "w") / "config.yaml").read_text() == CONFIG


def test_something_else_at_the_path_is_left_alone(repo: Repository, tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w/thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match="no worktree"):
        repo.worktree("HEAD", tmp_path / "w")
    assert (tmp_path / "w/thesis.txt").read_text() == "precious"


def test_a_worktree_of_another_commit_is_an_error(repo: Repository, root: Path, tmp_path: Path) -> None:
    repo.worktree("HEAD", tmp_path / "w")
    git(root, "commit", "-qm", "second", "--allow-empty")
    with pytest.raises(UsageError, match="not at"):
        repo.worktree("HEAD", tmp_path / "w")


def test_many_worktrees_can_be_made_at_once(repo: Repository, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda index: repo.worktree("HEAD", tmp_path / f"w{index}"), range(8)))
    assert all((folder / "config.yaml").read_text() == CONFIG for folder in folders)


def test_whoever_was_stopped_while_it_made_a_worktree_keeps_no_other_from_one_that_is_ready(
    repo: Repository, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, ready = repo.head(), tmp_path / "ready"
    folder = repo.worktree(commit, ready)
    monkeypatch.setattr("rea.codebase.git._LOCK_PATIENCE_S", 0.2)
    with (repo.common / "rea-worktrees.lock").open("w") as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        assert repo.worktree(commit, ready) == folder
        with pytest.raises(TimeoutError, match="is it stopped"):
            repo.worktree(commit, tmp_path / "another")
    assert repo.worktree(commit, tmp_path / "another").is_dir()


def test_removing_a_worktree_leaves_the_linked_data(repo: Repository, root: Path, tmp_path: Path) -> None:
    repo.worktree("HEAD", tmp_path / "w")
    repo.remove_worktree(tmp_path / "w")
    repo.remove_worktree(tmp_path / "w")
    assert not (tmp_path / "w").exists()
    assert (root / "data/clicks.csv").exists()


def test_a_patch_changes_what_it_says_and_applying_it_again_changes_nothing(
    repo: Repository, codebase: Codebase, tmp_path: Path
) -> None:
    folder = repo.worktree("HEAD", tmp_path / "w")
    for _ in range(2):
        assert repo.apply_patch(codebase, folder, WIDER + NEW_FILE) == ("losses.py", "models/tower.py")
        assert (folder / "models/tower.py").read_text() == MODEL.replace("64", "128")
        assert (folder / "losses.py").read_text() == "GAMMA = 2\n"
    assert repo.apply_patch(codebase, folder, WIDER) == ("models/tower.py",)
    assert not (folder / "losses.py").exists()
    assert (folder / "data/clicks.csv").exists()


def test_wrong_line_counts_in_a_patch_are_forgiven(repo: Repository, codebase: Codebase, tmp_path: Path) -> None:
    folder = repo.worktree("HEAD", tmp_path / "w")
    repo.apply_patch(codebase, folder, WIDER.replace("-1,2 +1,2", "-1,9 +1,7").rstrip("\n"))
    assert "128" in (folder / "models/tower.py").read_text()


def test_two_patches_of_one_file_joined_apply_in_turn(repo: Repository, codebase: Codebase, tmp_path: Path) -> None:
    folder = repo.worktree("HEAD", tmp_path / "w")
    second = WIDER.replace("-    return 64", "-    return 128").replace("+    return 128", "+    return 256")
    joined = Treatment(patch=second).on(Treatment(patch=WIDER)).patch
    assert joined is not None
    repo.apply_patch(codebase, folder, joined)
    assert (folder / "models/tower.py").read_text() == MODEL.replace("64", "256")


def test_two_patches_made_from_one_commit_are_merged(repo: Repository, root: Path, tmp_path: Path) -> None:
    lines = [f"line_{index} = {index}\n" for index in range(40)]
    (root / "losses.py").write_text("".join(lines))
    git(root, "add", "-A")
    git(root, "commit", "-qm", "losses")
    diffs = []
    for index in (3, 30):
        (root / "losses.py").write_text("".join([*lines[:index], "a = 1\n", "b = 2\n", *lines[index + 1 :]]))
        diffs.append(git(root, "diff", "--relative") + "\n")
    git(root, "restore", ".")
    folder = repo.worktree("HEAD", tmp_path / "w")
    both = Treatment(patch=diffs[1]).on(Treatment(patch=diffs[0])).patch
    assert both is not None
    assert repo.apply_patch(load(root), folder, both) == ("losses.py",)
    assert (folder / "losses.py").read_text().count("a = 1") == 2


def new_file(path: str, mode: str = "100644", content: str = "x") -> str:
    return (
        f"diff --git a/{path} b/{path}\nnew file mode {mode}\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+{content}\n"
    )


def changed_file(path: str, *headers: str) -> str:
    return "\n".join([f"diff --git a/{path} b/{path}", *headers]) + "\n"


def moved(how: str, old: str, new: str) -> str:
    return f"diff --git a/{old} b/{new}\nsimilarity index 100%\n{how} from {old}\n{how} to {new}\n"


EVALUATOR = ("--- a/evaluate.py", "+++ b/evaluate.py", "@@ -1 +1 @@", "-print(1)", "+print(0)")
REMOVED = ("deleted file mode 100644", "--- a/evaluate.py", "+++ /dev/null", "@@ -1 +0,0 @@", "-print(1)")
BINARY = ("new file mode 100644", "GIT binary patch", "literal 1", "Ic${kh", "", "literal 0", "")

FORBIDDEN = {
    "protected": changed_file("evaluate.py", *EVALUATOR),
    "protected, removed": changed_file("evaluate.py", *REMOVED),
    "protected, new": new_file("data/labels.csv"),
    "protected, other case": new_file("Evaluate.py"),
    "rea.toml": new_file(".rea/allowed_signers"),
    "not editable": new_file("setup.py"),
    "above": new_file("../models/x.py"),
    "above, hidden": new_file("models/../../../x.py"),
    "absolute": new_file("/etc/rea"),
    "git": new_file(".git/hooks/post-checkout"),
    "attributes": new_file("models/.gitattributes"),
    "link": new_file("models/data", "120000", "../data").rstrip("\n") + "\n\\ No newline at end of file\n",
    "submodule": new_file("models/sub", "160000", "Subproject commit " + "1" * 40),
    "rename": moved("rename", "models/tower.py", "models/t.py"),
    "copy": moved("copy", "evaluate.py", "models/t.py"),
    "binary": changed_file("models/x.bin", *BINARY),
    "behind a link": new_file("models/shared/x.py"),
}


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_a_patch_that_reaches_too_far_is_refused_and_nothing_is_written(
    repo: Repository, codebase: Codebase, root: Path, tmp_path: Path, kind: str
) -> None:
    (root / "cache/x.txt").write_text("")
    folder = repo.worktree("HEAD", tmp_path / "w")
    (folder / "models/shared").symlink_to(root / "cache")
    before = fingerprint(repo.top) | fingerprint_tree(tmp_path / "w")
    with pytest.raises((GuardrailError, UsageError)) as caught:
        repo.apply_patch(codebase, folder, FORBIDDEN[kind])
    if kind not in ("git", "submodule", "absolute", "above, hidden"):
        assert isinstance(caught.value, GuardrailError)
    assert fingerprint(repo.top) | fingerprint_tree(tmp_path / "w") == before
    assert not (root / "cache/x.py").exists()


def fingerprint_tree(path: Path) -> dict[str, str]:
    return {str(one): one.read_text() for one in path.rglob("*") if one.is_file() and not one.is_symlink()}


def test_a_patch_that_does_not_apply_or_changes_nothing_says_so(
    repo: Repository, codebase: Codebase, tmp_path: Path
) -> None:
    folder = repo.worktree("HEAD", tmp_path / "w")
    with pytest.raises(UsageError, match="does not apply"):
        repo.apply_patch(codebase, folder, WIDER.replace("return 64", "return 65"))
    with pytest.raises(UsageError):
        repo.apply_patch(codebase, folder, "just words\n")
    undone = WIDER + WIDER.replace("-    return 64", "-    return 128").replace("+    return 128", "+    return 64", 1)
    with pytest.raises(UsageError, match="changes nothing"):
        repo.apply_patch(codebase, folder, undone)


def test_a_patch_is_never_applied_to_the_engineers_checkout(repo: Repository, codebase: Codebase, root: Path) -> None:
    with pytest.raises(UsageError, match="no worktree"):
        repo.apply_patch(codebase, root, WIDER)
    assert repo.is_clean() == ()


def test_a_proposal_is_one_commit_on_the_pinned_one_and_the_checkout_does_not_notice(
    repo: Repository, codebase: Codebase, root: Path
) -> None:
    pinned = repo.head()
    git(root, "commit", "-qm", "later work", "--allow-empty")
    (root / "config.yaml").write_text("work: in progress\n")
    (root / "staged.txt").write_text("staged")
    git(root, "add", "staged.txt")
    before = fingerprint(repo.top)
    treatment = Treatment({"optim.lr": 0.03}, WIDER)
    made = propose(codebase, treatment, commit=pinned, branch="rea/C-3", message="Raise the learning rate")
    assert fingerprint(repo.top) == before
    assert git(root, "rev-parse", "rea/C-3", "rea/C-3^").split() == [made.commit, pinned]
    assert repo.show("rea/C-3", "config.yaml") == CONFIG.replace("lr: 0.1 ", "lr: 0.03 ")
    assert "128" in repo.show("rea/C-3", "models/tower.py")
    changed = git(root, "diff", "--name-only", "--relative", pinned, "rea/C-3").splitlines()
    assert sorted(changed) == sorted(made.files) == ["config.yaml", "models/tower.py"]
    assert git(root, "log", "-1", "--format=%an %s", "rea/C-3") == "Ann Raise the learning rate"
    assert git(root, "worktree", "list", "--porcelain").count("worktree ") == 1


def test_proposing_again_gives_the_same_commit_and_other_content_is_refused(
    repo: Repository, codebase: Codebase
) -> None:
    first = propose(codebase, Treatment({"optim.lr": 0.03}), commit="HEAD", branch="rea/C-3", message="m")
    again = propose(codebase, Treatment({"optim.lr": 0.03}), commit="HEAD", branch="rea/C-3", message="m")
    assert first == again
    with pytest.raises(UsageError, match=r"rea/C-3") as caught:
        propose(codebase, Treatment({"optim.lr": 0.04}), commit="HEAD", branch="rea/C-3", message="m")
    assert "git branch -m" in str(caught.value.hint)
    assert git(repo.root, "rev-parse", "rea/C-3") == first.commit


def test_a_proposal_needs_a_treatment_and_a_branch_name(codebase: Codebase) -> None:
    with pytest.raises(UsageError, match="empty"):
        propose(codebase, Treatment(), commit="HEAD", branch="x", message="m")
    with pytest.raises(UsageError, match="branch name"):
        propose(codebase, Treatment({"optim.lr": 0.5}), commit="HEAD", branch="a..b", message="m")


def restyle(root: Path, style: str, train: str, knob: str, files: dict[str, str]) -> Codebase:
    (root / "rea.toml").write_text(
        TOML.replace("python3 train.py --config {config} --seed {seed}", train)
        .replace('style = "yaml"', f'style = "{style}"')
        .replace('config = "config.yaml"\n', "")
        .replace('"optim.lr"', f'"{knob}"')
        + '"arch" = { choices = ["mlp", "dcn"] }\n'
    )
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git(root, "add", "-A")
    git(root, "commit", "-qm", "restyled")
    return load(root)


def test_a_hydra_proposal_edits_the_file_that_sets_the_value(repo: Repository, root: Path) -> None:
    script = (
        'import hydra\n@hydra.main(version_base=None, config_path="conf", config_name="config")\ndef main(c): ...\n'
    )
    files = {
        "train.py": script,
        "conf/config.yaml": "defaults:\n  - arch: mlp   # the tower\n  - optim: adam\nseed: 1\n",
        "conf/arch/mlp.yaml": "depth: 2\n",
        "conf/arch/dcn.yaml": "depth: 3\n",
        "conf/optim/adam.yaml": "# Adam\nlr: 0.1  # hot\n",
    }
    codebase = restyle(root, "hydra", "python3 train.py seed={seed}", "optim.lr", files)
    made = propose(codebase, Treatment({"optim.lr": 1e-7, "arch": "dcn"}), commit="HEAD", branch="p", message="m")
    assert made.files == ("conf/config.yaml", "conf/optim/adam.yaml")
    assert repo.show("p", "conf/optim/adam.yaml") == "# Adam\nlr: 1.0e-07  # hot\n"
    assert repo.show("p", "conf/config.yaml") == files["conf/config.yaml"].replace("arch: mlp", "arch: dcn")


def test_an_argparse_proposal_sets_the_flags_on_the_train_command_and_says_them(repo: Repository, root: Path) -> None:
    codebase = restyle(root, "argparse", "python3 train.py --seed {seed}", "optim.lr", {"train.py": ""})
    made = propose(codebase, Treatment({"optim.lr": 0.5}), commit="HEAD", branch="p", message="Higher rate")
    assert made.files == ("rea.toml",)
    before, after = (root / "rea.toml").read_text(), repo.show("p", "rea.toml")
    train = "python3 train.py --seed {seed}"
    assert after == before.replace(f'"{train}"', f'"{train} --optim.lr=0.5"')
    assert "--optim.lr=0.5" in git(root, "log", "-1", "--format=%B", "p")
    assert repo.head() == git(root, "rev-parse", "p^")


def test_an_env_proposal_writes_the_variables_to_a_file(repo: Repository, root: Path) -> None:
    codebase = restyle(root, "env", "python3 train.py", "LR", {"train.py": ""})
    propose(codebase, Treatment({"LR": 0.5, "arch": "dcn"}), commit="HEAD", branch="p", message="m")
    assert repo.show("p", ENV_FILE) == "LR=0.5\narch=dcn\n"


def test_git_mistakes_are_told_with_the_next_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GitError, match="in no git repository") as caught:
        repository(tmp_path)
    assert "git init" in str(caught.value.hint)
    git(tmp_path, "init", "-q")
    with pytest.raises(GitError, match="no commits yet") as caught:
        repository(tmp_path).head()
    assert "git commit" in str(caught.value.hint)
    with pytest.raises(NotFoundError, match="'nowhere'"):
        repository(tmp_path).resolve("nowhere")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match="not on PATH"):
        repository(tmp_path)


def test_the_callers_git_variables_do_not_lead_astray(repo: Repository, root: Path, monkeypatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nonexistent")
    assert repository(root).head() == repo.head()
    assert os.environ["GIT_DIR"] == "/nonexistent"
