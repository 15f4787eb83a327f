"""The codebase's git repository, through the git command.

Nothing here changes the engineer's checkout, index or current branch. Runs start from worktrees of their own, and a
proposal is a new branch built in a temporary one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rea.domain.codebase import Codebase
from rea.domain.errors import GuardrailError, NotFoundError, ReaError, UsageError
from rea.domain.paths import check_editable, matches
from rea.domain.plainfile import shut

_READY: Final = "rea-ready"  # written last: a worktree without it was left half-made by a crash
_LOCK_PATIENCE_S: Final = 120.0
_PATCHED: Final = "rea-patch"  # the digest of the patch a worktree carries

# What git ignores in a checkout and a run must not share with it: environments, caches, outputs, secrets.
NOT_LINKED: Final = (
    "**/__pycache__",
    "**/*.py[co]",
    "**/.*_cache",
    "**/.hypothesis",
    "**/.ipynb_checkpoints",
    "**/.venv*",
    "**/venv*",
    "**/.env*",
    "**/.tox",
    "**/.nox",
    "**/*.egg-info",
    "**/node_modules",
    "**/runs",
    "**/outputs",
    "**/multirun",
    "**/mlruns",
    "**/wandb",
    "**/lightning_logs",
    "**/build",
    "**/dist",
    "**/.DS_Store",
    "**/.idea",
    "**/.vscode",
    "**/.rea",
)


class GitError(ReaError):
    """The git command failed; the message carries what it said."""


@dataclass(frozen=True, slots=True)
class Repository:
    """The git repository that holds the codebase.

    `top` is its work tree's top folder; `prefix` is the codebase's folder inside it ("" or, in a monorepo, a relative
    POSIX path); `common` is the git folder that all its worktrees share.
    """

    top: Path
    prefix: str
    common: Path

    @property
    def root(self) -> Path:
        """The codebase's folder in the engineer's checkout."""
        return self.top / self.prefix

    def head(self) -> str:
        """The commit checked out. Raises GitError if there is none yet."""
        found = _git(self.root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}", check=False)
        if found.returncode:
            raise GitError(f"{self.top} has no commits yet", hint='git add -A && git commit -m "First commit"')
        return found.stdout.strip()

    def resolve(self, name: str) -> str:
        """The full id of a commit, branch or tag. Raises NotFoundError."""
        found = _git(
            self.root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", check=False
        )
        if found.returncode:
            raise NotFoundError(
                f"{name!r} is no commit, branch or tag of {self.top}", hint="see `git log --oneline --all`"
            )
        return found.stdout.strip()

    def is_clean(self, paths: Sequence[str] = (".",)) -> tuple[str, ...]:
        """What differs from HEAD below these paths of the codebase: changed, staged and untracked files, sorted.

        Paths are relative to the codebase's folder. Empty means clean. Files that git ignores do not count.
        """
        said = _git(self.root, "status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames", "--", *paths)
        named = [entry[3:] for entry in said.stdout.split("\0") if entry]
        start = f"{self.prefix}/" if self.prefix else ""
        return tuple(sorted(name.removeprefix(start) for name in named))

    def _untracked(self) -> tuple[str, ...]:
        said = _git(self.root, "ls-files", "--others", "--exclude-standard", "-z", "--", ".")
        return tuple(sorted(name for name in said.stdout.split("\0") if name))

    def require_clean(self) -> None:
        """Raise GitError, listing the files, if the codebase has changes that no commit holds."""
        dirty = self.is_clean()
        if dirty:
            shown = ", ".join(dirty[:5]) + (f" and {len(dirty) - 5} more" if len(dirty) > 5 else "")
            hint = "runs start from a commit: `git commit` them, or put them aside with `git stash -u`"
            if self._untracked() == dirty:
                shown = f"{shown} (untracked)"
                hint = "commit them, or let git ignore them; what a command printed is best kept outside the repository"
            raise GitError(f"{self.root} has changes that are in no commit: {shown}", hint=hint)

    def worktree(self, commit: str, path: Path) -> Path:
        """A detached worktree of `commit` at `path`; returns the codebase's folder inside it.

        Doing it twice equals doing it once, and one that a crash left half-made is made anew. What git ignores in the
        engineer's checkout, such as data, is linked in; see NOT_LINKED for what is not. Raises NotFoundError for an
        unknown commit and UsageError if something else lies at `path`.
        """
        commit = self.resolve(commit)
        path = path.absolute()
        # One that is ready needs no lock: whoever holds it may have been stopped.
        ready = self._ready(path, commit)
        if ready is not None:
            return ready
        with self._lock():
            ready = self._ready(path, commit)
            if ready is not None:
                return ready
            admin = self._admin(path)
            if admin is not None:
                self._remove(path)
            elif path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise UsageError(f"{path} exists and is no worktree of {self.top}", hint="use another path")
            path.parent.mkdir(parents=True, exist_ok=True)
            _git(self.top, "worktree", "prune")
            _git(self.top, "worktree", "add", "--quiet", "--detach", "--force", str(path), commit)
            folder = self._inside(path, commit)
            self._link_ignored(folder)
            made = self._admin(path)
            if made is None:
                raise GitError(f"git made no worktree at {path}", hint="see `git worktree list`")
            (made / _READY).touch()
        return folder

    def _ready(self, path: Path, commit: str) -> Path | None:
        """The codebase's folder in a worktree that was made to its end; None where there is none."""
        admin = self._admin(path)
        if admin is None or not (admin / _READY).is_file():
            return None
        at = _git(path, "rev-parse", "HEAD").stdout.strip()
        if at != commit:
            raise UsageError(f"the worktree {path} is at {at[:12]}, not at {commit[:12]}", hint="use another path")
        return self._inside(path, commit)

    def altered(self, folder: Path) -> tuple[str, ...]:
        """Files of an unpatched worktree that are not as their commit has them, hidden ones (git-update-index(1),
        --assume-unchanged) included."""
        changed = _git(folder, "-c", "core.fsmonitor=false", "diff", "--name-only", "-z", "HEAD").stdout.split("\0")
        flagged = _git(folder, "ls-files", "-v", "-z", ":/").stdout.split("\0")
        hidden = [entry[2:] for entry in flagged if entry[:1].islower() or entry[:1] == "S"]
        return tuple(sorted({path for path in (*changed, *hidden) if path}))

    def restore(self, folder: Path) -> None:
        """Make an unpatched worktree what its commit is again."""
        top, _ = self._own(folder)
        _git(top, "read-tree", "--reset", "-u", "HEAD")  # makes the index anew, and its flags with it
        _git(top, "reset", "--quiet", "--hard", "HEAD")

    def remove_worktree(self, path: Path) -> None:
        """Remove a worktree that `worktree` made; nothing happens if there is none."""
        with self._lock():
            if self._admin(path.absolute()) is not None:
                self._remove(path.absolute())

    def apply_patch(self, codebase: Codebase, folder: Path, diff: str) -> tuple[str, ...]:
        """Apply a unified diff to a worktree's codebase folder; returns the paths it changed, relative to that folder.

        Paths in the diff are relative to the codebase's folder (`git diff --relative`). The diff is first applied to
        an index of its own, so that what is checked against `editable` and `protected` is what would really change;
        only then are files touched. Applying the same diff again does nothing; another one replaces it. Raises
        GuardrailError for a path that may not be touched and for links, renames and binary files, and UsageError for
        a diff that does not apply or changes nothing.
        """
        top, admin = self._own(folder)
        tree, changed = self._patched_tree(codebase, folder, diff)
        digest = hashlib.sha256(diff.encode()).hexdigest()
        marker = admin / _PATCHED
        if not (marker.is_file() and marker.read_text() == digest):
            marker.unlink(missing_ok=True)
            _git(top, "reset", "--quiet", "--hard", "HEAD")
            _git(top, "read-tree", "-m", "-u", "HEAD", tree)
            marker.write_text(digest)
        return changed

    def check_patch(self, codebase: Codebase, commit: str, diff: str) -> tuple[str, ...]:
        """The paths `diff` would change at `commit`, with the errors of `apply_patch`; no files are touched."""
        return self._patched_tree(codebase, self.root, diff, commit=self.resolve(commit))[1]

    def propose_branch(
        self,
        codebase: Codebase,
        branch: str,
        commit: str,
        *,
        edit: Callable[[Path], Iterable[str]],
        patch: str | None,
        message: str,
    ) -> str:
        """Make `branch`: one commit on top of `commit` with `patch` applied and `edit` run.

        `edit` gets the patched codebase folder, writes what it wants changed there and returns those paths, relative
        to it. The branch is built in a temporary worktree; the engineer's checkout and index are not touched and hooks
        do not run. Returns the new commit's id. An existing branch is left alone: with the same content its commit is
        returned, with other content UsageError is raised. A commit that changes no file carries its message only.
        """
        if _git(self.root, "check-ref-format", "--branch", branch, check=False).returncode:
            raise UsageError(f"{branch!r} is no valid branch name", hint="for example rea/C-3")
        commit = self.resolve(commit)
        with tempfile.TemporaryDirectory(prefix="rea-propose-") as made:
            path = Path(made).resolve() / "tree"
            folder = self.worktree(commit, path)
            try:
                if patch:
                    self.apply_patch(codebase, folder, patch)
                for name in edit(folder):
                    _git(folder, "add", "--force", "--", name)
                tree = _git(folder, "write-tree").stdout.strip()
            finally:
                self.remove_worktree(path)
        return self._commit(branch, commit, tree, message)

    def show(self, commit: str, path: str) -> str:
        """The text of a file of the codebase at a commit. Raises NotFoundError."""
        name = f"{self.prefix}/{path}" if self.prefix else path
        found = _git(self.root, "show", f"{self.resolve(commit)}:{name}", check=False)
        if found.returncode:
            raise NotFoundError(f"{path} is not in commit {commit[:12]}", hint="commit it first")
        return found.stdout

    def _commit(self, branch: str, parent: str, tree: str, message: str) -> str:
        reference = f"refs/heads/{branch}"
        there = _git(self.root, "rev-parse", "--verify", "--quiet", reference, check=False)
        if there.returncode == 0:
            existing = there.stdout.strip()
            content = _git(self.root, "rev-parse", f"{existing}^{{tree}}", f"{existing}^@").stdout.split()
            if content == [tree, parent]:
                return existing
            raise UsageError(
                f"the branch {branch} exists with other content ({existing[:12]}) and is left as it is",
                hint=f"rename it with `git branch -m {branch} {branch}-old`, or propose under another name",
            )
        commit = _git(
            self.root, *self._identity(), "commit-tree", tree, "-p", parent, "-F", "-", given=message
        ).stdout.strip()
        # The empty old value makes git refuse if somebody made the branch in between.
        _git(self.root, "update-ref", "-m", "rea: propose", reference, commit, "")
        return commit

    def _identity(self) -> tuple[str, ...]:
        """The engineer's identity where git knows one, else REA's own."""
        if _git(self.root, "var", "GIT_AUTHOR_IDENT", check=False).returncode == 0:
            return ()
        return ("-c", "user.name=REA", "-c", "user.email=rea@localhost")

    def _patched_tree(
        self, codebase: Codebase, folder: Path, diff: str, *, commit: str = "HEAD"
    ) -> tuple[str, tuple[str, ...]]:
        """The tree that `commit` plus `diff` makes, and the paths changed, all checked; written to no file."""
        for line in diff.splitlines():
            if re.match(r"(rename|copy) (from|to) |GIT binary patch|Binary files ", line):
                raise GuardrailError(
                    f"the patch holds {line.split()[0].lower()!r}: {line[:80]}",
                    hint="write a move as a deletion and a new file; binary files cannot be patched",
                )
        top = Path(_git(folder, "rev-parse", "--show-toplevel").stdout.strip())
        with tempfile.TemporaryDirectory(prefix="rea-index-") as made:
            extra = {"GIT_INDEX_FILE": str(Path(made) / "index")}
            _git(top, "read-tree", commit, extra=extra)
            where = [f"--directory={self.prefix}"] if self.prefix else []
            for part in _in_turn(diff):
                words = ["apply", "--cached", "--recount", "--3way", *where, "-"]
                applied = _git(top, *words, check=False, extra=extra, given=part)
                if applied.returncode:
                    raise _refusal(applied.stderr)
            raw = _git(top, "diff-index", "--cached", "--raw", "-z", "--no-renames", commit, extra=extra).stdout
            tree = _git(top, "write-tree", extra=extra).stdout.strip()
        fields = [field for field in raw.split("\0") if field]
        changed: list[str] = []
        for about, name in zip(fields[::2], fields[1::2], strict=True):
            start = f"{self.prefix}/" if self.prefix else ""
            if not name.startswith(start):
                raise GuardrailError(
                    f"the patch touches {name!r}, outside the codebase", hint="remove that file from it"
                )
            path = name.removeprefix(start)
            check_editable(codebase, path)
            modes = about.removeprefix(":").split()[:2]
            if "120000" in modes or "160000" in modes:
                raise GuardrailError(f"the patch makes or changes a link at {path}", hint="patch plain files only")
            parents = list(Path(path).parents)[:-1]
            if any((folder / parent).is_symlink() for parent in parents) or (folder / path).is_symlink():
                raise GuardrailError(
                    f"the patch touches {path}, which lies behind a link", hint="patch plain files only"
                )
            changed.append(path)
        if not changed:
            raise UsageError("the patch changes nothing at this commit", hint="leave it out, or make it anew")
        return tree, tuple(sorted(changed))

    def _inside(self, path: Path, commit: str) -> Path:
        folder = path / self.prefix
        if not folder.is_dir():
            raise GitError(
                f"commit {commit[:12]} has no folder {self.prefix}", hint="commit the codebase's folder first"
            )
        return folder

    def _own(self, folder: Path) -> tuple[Path, Path]:
        """Top folder and git folder of a worktree that `worktree` made; never the engineer's checkout."""
        top = Path(_git(folder, "rev-parse", "--show-toplevel").stdout.strip())
        admin = self._admin(top)
        if admin is None or not (admin / _READY).is_file():
            raise UsageError(
                f"{folder} is no worktree of REA's", hint="patches are applied to worktrees, never to a checkout"
            )
        return top, admin

    def _admin(self, path: Path) -> Path | None:
        """The git folder of the linked worktree at `path`; None if there is no such worktree of this repository."""
        pointer = path / ".git"
        if not pointer.is_file():
            return None
        admin = Path(pointer.read_text(encoding="utf-8", errors="replace").removeprefix("gitdir:").strip())
        return admin if admin.parent.resolve() == self.common / "worktrees" else None

    def _remove(self, path: Path) -> None:
        removed = _git(self.top, "worktree", "remove", "--force", "--force", str(path), check=False)
        if removed.returncode and path.exists():
            shutil.rmtree(path)  # links inside are removed, not followed
        _git(self.top, "worktree", "prune")

    def _link_ignored(self, folder: Path) -> None:
        """Link what git ignores in the checkout's codebase folder into the worktree's."""
        said = _git(
            self.root, "ls-files", "--others", "--ignored", "--exclude-standard", "--directory", "-z", "--", "."
        )
        for name in (entry.rstrip("/") for entry in said.stdout.split("\0") if entry):
            source, target = self.root / name, folder / name
            if name in ("", ".") or matches(name, NOT_LINKED) or _is_environment(source):
                continue
            if target.exists() or target.is_symlink() or folder.is_relative_to(source):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source, target_is_directory=source.is_dir())

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """One at a time: parallel `git worktree add` commands disturb each other. Raises TimeoutError where another
        process has kept it for longer than a worktree takes to make: it was stopped, say. Nothing is wrong with what
        was to be done, so this is no ReaError."""
        import fcntl

        path = self.common / "rea-worktrees.lock"
        patience = time.monotonic() + _LOCK_PATIENCE_S
        with path.open("w") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > patience:
                        raise TimeoutError(
                            f"another process has held {path} for {_LOCK_PATIENCE_S:.0f} s; is it stopped?"
                        ) from None
                    time.sleep(0.05)
            yield


def repository(root: Path) -> Repository:
    """The git repository around a codebase's folder. Raises GitError if there is none that can be used."""
    root = root.resolve()
    try:
        str(root).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(root).decode("utf-8", "backslashreplace")
        raise GitError(
            f"the path {shown} is not UTF-8, and no plan could name it",
            hint="rename the folder, or clone it to another",
        ) from None
    found = _git(root, "rev-parse", "--show-toplevel", "--git-common-dir", check=False)
    if found.returncode:
        said = found.stderr.strip().splitlines()
        if "not a git repository" in found.stderr:
            _refuse_unreadable(root, said[0])
            raise GitError(
                f"{root} is in no git repository", hint='git init && git add -A && git commit -m "First commit"'
            )
        raise GitError(
            f"git cannot read {root}: {said[0] if said else 'no reason given'}", hint="try `git status` there"
        )
    top, _, common = found.stdout.removesuffix("\n").rpartition("\n")  # the first may hold line breaks itself
    prefix = root.relative_to(Path(top).resolve()).as_posix()
    return Repository(Path(top).resolve(), "" if prefix == "." else prefix, (root / common).resolve())


def _refuse_unreadable(root: Path, said: str) -> None:
    """Raise GitError where there is a `.git` that git does not take for one: a new repository would hide the old."""
    for folder in (root, *root.parents):
        place = folder / ".git"
        if not os.path.lexists(place):
            continue
        for needed in (place, place / "HEAD", place / "objects", place / "refs"):
            if os.path.lexists(needed) and shut(needed) is not None:
                raise GitError(
                    f"{needed} cannot be read by this user",
                    hint=f"`ls -ld {shlex.quote(str(needed))}` shows who may; make no new repository over it",
                )
        raise GitError(
            f"{place} is there, and git cannot use it: {said}",
            hint="try `git status` there; make no new repository over it",
        )


def _is_environment(folder: Path) -> bool:
    """Whether a folder is a Python environment. One that cannot be looked into is none that anything runs in."""
    try:
        return (folder / "pyvenv.cfg").exists()
    except PermissionError:
        return False


def _in_turn(diff: str) -> list[str]:
    """The diff in parts to be applied one after the other, so that no part names a file twice.

    Treatments that are combined bring a diff each, and git would apply none if two of them change one file.
    """
    lines = diff.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    starts: list[int] = []
    for index, line in enumerate(lines):
        bare = line.startswith("--- ") and index + 2 < len(lines) and lines[index + 1].startswith("+++ ")
        headed = bool(starts) and not any(one.startswith("@@") for one in lines[starts[-1] : index])
        if line.startswith("diff --git ") or (bare and lines[index + 2].startswith("@@") and not headed):
            starts.append(index)
    parts: list[str] = []
    seen: set[str] = set()
    for start, end in zip(starts, [*starts[1:], len(lines)][: len(starts)], strict=True):
        section = _unpadded(lines[start:end])
        names = {line.split("\t")[0].rstrip() for line in section if line.startswith(("--- ", "+++ ", "diff --git "))}
        names -= {"--- /dev/null", "+++ /dev/null"}
        if not parts or names & seen:
            parts.append("")
            seen = set()
        parts[-1] += "".join(section)
        seen |= names
    return parts or [diff]


def _unpadded(section: list[str]) -> list[str]:
    """One file's part of a diff without empty lines after its last hunk, which --recount would take for context."""
    last = max((index for index, line in enumerate(section) if line.startswith("@@")), default=None)
    found = re.match(r"@@ -\d+(?:,(\d+))? ", section[last]) if last is not None else None
    if last is None or found is None:
        return section
    body = section[last + 1 :]
    old = sum(line[0] in " -\n" for line in body)
    while body and body[-1] == "\n" and old > int(found.group(1) or 1):
        body, old = body[:-1], old - 1
    return [*section[: last + 1], *body]


def _refusal(said: str) -> ReaError:
    text = " ".join(line.removeprefix("error: ") for line in said.splitlines()[:4])
    if "invalid path" in text or "outside" in text:
        return GuardrailError(f"the patch touches a path outside the codebase: {text}", hint="remove that file from it")
    return UsageError(
        f"the patch does not apply at this commit: {text}", hint="make it anew with `git diff --relative`"
    )


def _git(
    folder: Path,
    *words: str,
    check: bool = True,
    extra: Mapping[str, str] | None = None,
    given: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run git in `folder` with no prompts, no hooks and none of the caller's GIT_* variables.

    Raises GitError, and OSError where its disk is full.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    # GIT_OPTIONAL_LOCKS=0 keeps even `status` from refreshing the engineer's index.
    env |= {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", **(extra or {})}
    command = ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.quotePath=false", "-c", "advice.detachedHead=false"]
    try:
        done = subprocess.run(
            [*command, *words],
            cwd=folder,
            env=env,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
        )
    except FileNotFoundError:
        if not folder.is_dir():
            raise NotFoundError(f"{folder} is no folder", hint="check the path") from None
        raise GitError("the git command is not on PATH", hint="install git 2.32 or newer") from None
    if check and done.returncode:
        said = done.stderr.strip() or f"exit code {done.returncode}"
        for number in (errno.ENOSPC, errno.EDQUOT):  # LC_ALL=C above: these are the system's own words
            if os.strerror(number) in said:
                raise OSError(number, os.strerror(number), str(folder))
        raise GitError(f"git {words[0]} failed in {folder}: {said}", hint="try the same with git there")
    return done
