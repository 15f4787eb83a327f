"""An engineer's desk: the tiny codebase in a git repository, a key that may sign, a store, a place for runs."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rea.domain.campaign import Campaign
from rea.domain.ledger import balance
from rea.store import open_store
from rea.workspace import Workspace, governance, planning, steering, waking

TINY = Path(__file__).parent / "tinyranker"
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ENGINEER = "engineer@example.org"
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Desk:
    """`root` is the codebase, `env` the whole environment of the engineer's shell."""

    home: Path
    root: Path
    key: Path
    env: Mapping[str, str]

    @property
    def runs(self) -> Path:
        return Path(self.env["REA_RUNS"])

    def workspace(self) -> Workspace:
        return Workspace(open_store(self.env["REA_STORE"]), self.runs)

    def git(self, *words: str) -> str:
        done = subprocess.run(["git", *words], cwd=self.root, env=self.env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, message: str = "a change") -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def rea(
        self, *words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The command line, in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "rea", *words],
            cwd=cwd or self.root,
            env={**self.env, **(env or {})},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            stdin=subprocess.DEVNULL,
        )

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The command line as `rea` gives it, in this process: quicker, and otherwise the same."""
        from rea.cli import main

        out, err, before, where = io.StringIO(), io.StringIO(), sys.argv, Path.cwd()
        code: object = 0
        try:
            sys.argv = ["rea", *words]
            os.chdir(self.root)
            with redirect_stdout(out), redirect_stderr(err):
                main()
        except SystemExit as end:
            code = end.code
        finally:
            sys.argv = before
            os.chdir(where)
        return subprocess.CompletedProcess(["rea", *words], int(str(code or 0)), out.getvalue(), err.getvalue())

    def json(self, *words: str) -> Any:
        """The document a command prints with --json; the command must succeed."""
        done = self.call(*words, "--json")
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def plan(self, workspace: Workspace, *, budget: str = "60s", **options: Any) -> Campaign:
        """A drafted plan (or what became of it), the profile run by this process."""
        found = planning.plan(workspace, self.root, budget=budget, **options)
        return waking.wait(workspace, found.id, lambda c: c.state.value != "profiling", _tick(), poll_s=0.01)

    def approve(self, workspace: Workspace, campaign: Campaign) -> None:
        governance.approve(workspace, campaign.title, self.key)

    def run(self, workspace: Workspace, campaign: Campaign) -> Campaign:
        """Start an approved campaign and stay with it."""
        steering.start(workspace, campaign.title)
        return self.follow(workspace, campaign.id)

    def follow(self, workspace: Workspace, campaign: int, until: Callable[[Campaign], bool] = waking.done) -> Campaign:
        return waking.wait(workspace, campaign, until, _tick(), poll_s=0.01)

    def keep(self, workspace: Workspace, campaign: Campaign, *settings: str, **edit: Any) -> None:
        """Edit the plan so that it tests exactly these settings ("knob=value knob=value")."""
        wanted = {planning.parse_treatment(campaign.codebase, words.split()).key(): words for words in settings}
        planned = {h.draft.treatment.key(): h.id for h in workspace.store.hypotheses(campaign.id)}
        drop = tuple(id_ for key, id_ in planned.items() if key not in wanted)
        added = tuple(tuple(words.split()) for key, words in wanted.items() if key not in planned)
        planning.edit(workspace, campaign.title, planning.Edit(drop=drop, additions=added, **edit))


def _tick() -> Callable[[Campaign], None]:
    deadline = time.monotonic() + PATIENCE_S

    def tick(campaign: Campaign) -> None:
        if time.monotonic() > deadline:
            raise AssertionError(f"{campaign.title} is still {campaign.state.value} in {campaign.phase.value}")

    return tick


def make_desk(
    home: Path,
    *,
    code: Path = TINY,
    config: Mapping[str, object] | None = None,
    toml: Mapping[str, str] | None = None,
) -> Desk:
    """A desk under `home` with a copy of a codebase. `config` sets values of config.toml ("table.key"), `toml`
    replaces texts of rea.toml."""
    root = home / code.name
    # Of a checkout's own examples whatever lies there uncommitted is somebody else's.
    theirs = ("data", "runs") if code.is_relative_to(EXAMPLES) else ()
    shutil.copytree(code, root, ignore=shutil.ignore_patterns("__pycache__", *theirs))
    text = (root / "rea.toml").read_text()
    for old, new in {'"python3"': f'"{sys.executable}"', **(toml or {})}.items():
        assert old in text, old
        text = text.replace(old, new)
    (root / "rea.toml").write_text(text)
    if config:
        (root / "config.toml").write_text(with_settings((root / "config.toml").read_text(), config))
    (root / ".gitignore").write_text("__pycache__/\n")
    env = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH", "VIRTUAL_ENV") if name in os.environ}
    env |= {
        "HOME": str(home),
        "REA_STORE": f"sqlite:///{home / 'rea.db'}",
        "REA_RUNS": str(home / "runs"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "COLUMNS": "200",
        "TERM": "dumb",
    }
    (home / "runs").mkdir()
    key = make_key(home / "key")
    desk = Desk(home, root, key, env)
    desk.git("init", "--quiet", "--initial-branch=main")
    desk.git("config", "user.email", ENGINEER)
    desk.git("config", "user.name", "An Engineer")
    public = key.with_suffix(".pub").read_text().split()
    (root / ".rea").mkdir(exist_ok=True)
    (root / ".rea" / "allowed_signers").write_text(f'{ENGINEER} namespaces="rea" {public[0]} {public[1]}\n')
    desk.commit("The model in production")
    return desk


@contextmanager
def opened(home: Path, **options: Any) -> Iterator[Desk]:
    """A desk whose environment is this process's own as long as the block runs; afterwards nothing runs there."""
    home.mkdir(parents=True, exist_ok=True)
    desk = make_desk(home, **options)
    before = dict(os.environ)
    os.environ.update(desk.env)
    try:
        yield desk
    finally:
        os.environ.clear()
        os.environ.update(before)
        end_all(home)


def end_all(home: Path) -> None:
    """End every process whose environment or command line names this folder: it belongs to this test alone."""
    for _ in range(100):
        found = [pid for pid, _ in _processes(home)]
        for pid in found:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return
        time.sleep(0.02)


def settle(home: Path) -> None:
    """Wait until no process of this desk is left: the last job of a campaign still wakes REA when it has ended."""
    deadline = time.monotonic() + PATIENCE_S
    while found := _processes(home):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def make_key(path: Path) -> Path:
    """An SSH key without a passphrase."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", ENGINEER, "-f", str(path)]
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return path


def with_settings(text: str, settings: Mapping[str, object]) -> str:
    """The text of a config.toml with values replaced."""
    import tomlkit

    tree = tomlkit.parse(text)
    for name, value in settings.items():
        table, key = name.split(".")
        assert key in tree[table], name
        tree[table][key] = value
    return tomlkit.dumps(tree)


def within_limit(workspace: Workspace, campaign: int) -> None:
    """spent + reserved ≤ approved, after each entry of the ledger."""
    entries = workspace.store.entries(campaign)
    for end in range(1, len(entries) + 1):
        seen = balance(entries[:end])
        assert seen.spent + seen.reserved <= seen.approved + 1e-6, entries[:end][-1]


def agents(home: Path) -> list[str]:
    """Command lines of this desk's living processes of the agent: `rea …`, and not its wrapper `rea.job`."""
    return [words for _, words in _processes(home) if " -m rea " in f"{words} "]


def wrappers(home: Path) -> list[str]:
    return [words for _, words in _processes(home) if " -m rea.job" in words]


def trainers(home: Path) -> list[str]:
    return [words for _, words in _processes(home) if "train.py" in words and " -m rea" not in words]


def _processes(home: Path) -> list[tuple[int, str]]:
    """(pid, command line) of living processes, other than this one, whose environment or command line names `home`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            if command and str(home).encode() in (entry / "environ").read_bytes() + command:
                found.append((int(entry.name), command.replace(b"\0", b" ").decode("utf-8", "replace").strip()))
    return found
