"""Where things are, and the tools of a wake."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rea.domain.campaign import Campaign
from rea.domain.errors import ApprovalNeededError, ConfigError, GuardrailError, UsageError
from rea.executor.tools import Tools
from rea.executor.wakefiles import WakeFiles
from rea.guard.policy import Actor, Effect, Request, require
from rea.launchers import open_launcher
from rea.store import Store, data_home, open_store
from rea.store.address import ANYWAY

if TYPE_CHECKING:
    from rea.domain.technique import Technique

# What a job sees of the environment of whoever submits it; everything else is named in rea.toml and pinned in the plan.
JOB_ENV: Final = (
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "TZ",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "XDG_CACHE_HOME",
)
# What the wake-up that a job's wrapper starts needs on top, to find the same store and the same modules.
WAKE_ENV: Final = (*JOB_ENV, "PYTHONPATH", "VIRTUAL_ENV", "XDG_DATA_HOME", "REA_HOME", ANYWAY)


ACTOR: Final = "REA_ACTOR"  # who calls a command, where it is no engineer: set for every trainer


@dataclass(frozen=True)
class Workspace:
    """One store and one place for runs, as somebody works with them. `clock` gives Unix seconds."""

    store: Store
    runs: Path
    clock: Callable[[], float] = time.time
    actor: Actor = Actor.ENGINEER

    def require(self, effect: Effect, campaign: Campaign | None = None) -> None:
        """Raise GuardrailError where whoever works here may not do that now; the campaign's record tells of it."""
        try:
            require(Request(self.actor, effect), campaign)
        except GuardrailError as error:
            if campaign is not None:
                with self.store.transaction(campaign.id) as tx:
                    tx.event(campaign.id, "denied", error.message, self.clock())
            raise

    @contextmanager
    def on_record(self, campaign: Campaign) -> Iterator[None]:
        """What is refused within the block for want of an approval is told by the campaign's record."""
        try:
            yield
        except ApprovalNeededError as error:
            with self.store.transaction(campaign.id) as tx:
                tx.event(campaign.id, "refused", error.message, self.clock())
            raise

    def tools(self, campaign: Campaign) -> Tools:
        """What a wake of this campaign works with."""
        from rea.executor.jobs import Site
        from rea.executor.workbench import Workbench
        from rea.insights.snapshot import recall
        from rea.knowledge.cards import runbooks_of, techniques_of
        from rea.workspace.proposal import publish

        choice = campaign.codebase.launcher
        root = Path(campaign.codebase.root)
        launcher = open_launcher(choice.kind, runs=self.runs, slots=choice.slots, options=choice.options)
        site = Site(
            uid=self.store.uid,
            runs=self.runs,
            wake_command=(sys.executable, "-m", "rea", "wake"),
            wake_env={**_environment(WAKE_ENV), "REA_STORE": self.store.url, "REA_RUNS": str(self.runs)},
            job_env={**_environment(JOB_ENV), ACTOR: Actor.TRAINER.value},
            hidden=self._secrets(root),
            store=self.store.path,
        )
        return Tools(
            store=self.store,
            launcher=launcher,
            workbench=Workbench(
                site, lambda: runbooks_of(root), self.store.remedies, self.store.lessons, self._granted
            ),
            wakefiles=self.wakefiles,
            clock=self.clock,
            techniques=lambda: techniques_of(root),
            recall=lambda techniques, codebase, facts: recall(self.store, techniques, codebase, facts),
            publish=lambda id_: publish(self, id_),
        )

    def _granted(self, campaign: int) -> frozenset[str]:
        return frozenset(grant.name for grant in self.store.grants(campaign))

    def _secrets(self, root: Path) -> tuple[Path, ...]:
        """What a trainer in a box has no business with, beside the store: keys and tokens, agents that sign."""
        from rea.guard.sandbox import SECRETS
        from rea.guard.signing import key_places, own_key

        agent = os.environ.get("SSH_AUTH_SOCK")
        found = [*key_places(root), *([Path(agent).parent] if agent else [])]
        if self.store.path is not None:  # REA's home may have been where the store is, when the key was made
            found.append(self.store.path.parent / "keys" / own_key().name)
        return (*found, *(Path.home() / name for name in SECRETS))

    @property
    def wakefiles(self) -> WakeFiles:
        return WakeFiles(self.runs, self.store.uid)


def open_workspace() -> Workspace:
    """The workspace the environment names: REA_STORE (URL), REA_RUNS (folder), REA_HOME (default place of both)."""
    store = open_store()
    runs = place_of_runs(store.path)
    try:
        runs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"runs cannot be kept in {runs}: {error.strerror}", hint="set REA_RUNS to a folder") from error
    return Workspace(store, runs, actor=actor())


def actor() -> Actor:
    """Who calls, as the environment says."""
    given = os.environ.get(ACTOR, Actor.ENGINEER.value)
    try:
        return Actor(given)
    except ValueError:
        expected = ", ".join(Actor)
        raise UsageError(f"{ACTOR} is {given!r}, expected one of {expected}", hint=f"unset {ACTOR}") from None


def place_of_runs(store: Path | None) -> Path:
    """REA_RUNS, else beside the store's file, else in REA's home."""
    given = os.environ.get("REA_RUNS")
    runs = Path(given).expanduser() if given else (store.parent if store else data_home()) / "runs"
    return runs.absolute()


def _environment(names: tuple[str, ...]) -> Mapping[str, str]:
    return {name: os.environ[name] for name in names if name in os.environ}


def techniques_here(root: Path | None) -> tuple[Technique, ...]:
    """What a campaign would be planned with in the codebase at or above `root`.

    With None that is the codebase around the working directory; where there is none, the packaged techniques alone.
    """
    from rea.codebase.config import find
    from rea.knowledge.cards import load_techniques, techniques_of

    try:
        folder = find(root or Path())
    except ConfigError:
        if root is not None:
            raise
        return load_techniques()
    return techniques_of(folder)
