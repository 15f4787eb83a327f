"""An engineer's desk: the tiny codebase in a git repository, a key that may sign, a store, a place for runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rea.domain.campaign import Campaign
from rea.domain.ledger import balance
from rea.store import open_store
from rea.workspace import Workspace, campaigns, waking

TINY = Path(__file__).parent / "tinyranker"
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

    def json(self, *words: str) -> Any:
        """The document a command prints with --json; the command must succeed."""
        done = self.rea(*words, "--json")
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def plan(self, workspace: Workspace, *, budget: str = "60s", **options: Any) -> Campaign:
        """A drafted plan (or what became of it), the profile run by this process."""
        found = campaigns.plan(workspace, self.root, budget=budget, **options)
        return waking.wait(workspace, found.id, lambda c: c.state.value != "profiling", _tick(), poll_s=0.01)

    def approve(self, workspace: Workspace, campaign: Campaign) -> None:
        campaigns.approve(workspace, campaign.title, self.key)

    def run(self, workspace: Workspace, campaign: Campaign) -> Campaign:
        """Start an approved campaign and stay with it."""
        campaigns.start(workspace, campaign.title)
        return self.follow(workspace, campaign.id)

    def follow(self, workspace: Workspace, campaign: int, until: Callable[[Campaign], bool] = waking.done) -> Campaign:
        return waking.wait(workspace, campaign, until, _tick(), poll_s=0.01)

    def keep(self, workspace: Workspace, campaign: Campaign, *settings: str, **edit: Any) -> list[int]:
        """Edit the plan so that it tests exactly these settings ("knob=value knob=value"), in this order of weight."""
        dropped = tuple(h.id for h in workspace.store.hypotheses(campaign.id))
        campaigns.edit(workspace, campaign.title, campaigns.Edit(drop=dropped))
        added = campaigns.Edit(additions=tuple(tuple(words.split()) for words in settings), **edit)
        campaigns.edit(workspace, campaign.title, added)
        return [h.id for h in workspace.store.hypotheses(campaign.id) if h.id not in dropped]


def _tick() -> Callable[[Campaign], None]:
    deadline = time.monotonic() + PATIENCE_S

    def tick(campaign: Campaign) -> None:
        if time.monotonic() > deadline:
            raise AssertionError(f"{campaign.title} is still {campaign.state.value} in {campaign.phase.value}")

    return tick


def make_desk(home: Path, *, config: Mapping[str, object] | None = None, toml: Mapping[str, str] | None = None) -> Desk:
    """A desk under `home`. `config` sets values of config.toml ("table.key"), `toml` replaces texts of rea.toml."""
    root = home / "tinyranker"
    shutil.copytree(TINY, root, ignore=shutil.ignore_patterns("__pycache__"))
    text = (root / "rea.toml").read_text()
    for old, new in {'"python3"': f'"{sys.executable}"', **(toml or {})}.items():
        assert old in text, old
        text = text.replace(old, new)
    (root / "rea.toml").write_text(text)
    (root / "config.toml").write_text(with_settings((root / "config.toml").read_text(), config or {}))
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
    (root / ".rea" / "allowed_signers").write_text(f'{ENGINEER} namespaces="rea" {public[0]} {public[1]}\n')
    desk.commit("The model in production")
    return desk


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
    return [line for line in _commands(home) if "-m rea " in f"{line} " and "-m rea.job" not in line]


def wrappers(home: Path) -> list[str]:
    return [line for line in _commands(home) if "-m rea.job" in line]


def trainers(home: Path) -> list[str]:
    return [line for line in _commands(home) if "train.py" in line and "-m rea" not in line]


def _commands(home: Path) -> list[str]:
    """Command lines of processes whose environment names this desk, by way of its folder for runs."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            surroundings = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if str(home).encode() in surroundings and words.strip():
            found.append(words.strip())
    return found
