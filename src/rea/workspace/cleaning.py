"""Room on the disk: what may go of campaigns that have ended, and what stays.

Of an ended campaign go the worktrees, and of its run directories whatever is not a record: predictions, checkpoints,
anything large that a trainer left. Records stay: metrics, exit.json, logs, configs. The confirmation runs of a proposal
stay whole, because its claim can be computed again from them. A campaign that is alive is never touched.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rea.codebase.git import repository
from rea.domain.campaign import Campaign
from rea.domain.errors import ReaError, UsageError
from rea.domain.states import AttemptState, Phase, Verdict, is_terminal
from rea.guard.policy import Effect
from rea.guard.signing import principal as this_person
from rea.report.text import disk
from rea.workspace.compose import Workspace

# What REA, its wrapper and its launcher write into a run directory, beside logs and lines.
RECORDS: Final = frozenset({"started", "alive.lock", "cancel", "heartbeat", "pgid", "metrics.jsonl", "exit.json"})
TEXTS: Final = frozenset(
    {".cfg", ".csv", ".env", ".ini", ".json", ".jsonl", ".log", ".md", ".toml", ".tsv", ".txt", ".yaml", ".yml"}
)
LARGEST_TEXT: Final = 1024 * 1024  # bytes; a larger one is output, unless it is a log or metric lines of the run itself
LINES: Final = frozenset({".log", ".jsonl"})


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What goes of one campaign: bytes on disk of files in run directories, and of worktrees. `kept` is what stays."""

    campaign: str
    name: str
    ended_at: float | None
    files: int
    outputs: int
    worktrees: int
    kept: int

    @property
    def freed(self) -> int:
        return self.outputs + self.worktrees


def cleanable(workspace: Workspace, ref: str | None, older_than_s: float = 0.0) -> list[Campaign]:
    """Campaigns that have ended, so long ago, and have no job left; or the one that is named.

    Raises UsageError where the named one is alive or has not ended for so long.
    """
    store, now = workspace.store, workspace.clock()
    if ref is None:
        found = []
        for id_ in store.campaign_ids():
            with suppress(ReaError):  # a row that makes no sense is told of by `rea db check`
                campaign = store.campaign(id_)
                found += [campaign] if _why_not(workspace, campaign, older_than_s, now) is None else []
        return found
    campaign = store.campaign(ref)
    why = _why_not(workspace, campaign, older_than_s, now)
    if why is not None:
        raise UsageError(f"{campaign.title} {why}", hint="only what has ended is cleaned; `rea status` lists all")
    return [campaign]


def _why_not(workspace: Workspace, campaign: Campaign, older_than_s: float, now: float) -> str | None:
    if not is_terminal(campaign.state):
        return f"is {campaign.state.value}: nothing of it is touched"
    if older_than_s and (campaign.ended_at is None or now - campaign.ended_at < older_than_s):
        return "has not ended for that long"
    if any(attempt.state is not AttemptState.ENDED for attempt in workspace.store.attempts(campaign.id)):
        return "has jobs that have not ended"
    return None


def look(workspace: Workspace, campaign: Campaign) -> Cleaning:
    """What would go of an ended campaign now. Nothing is changed."""
    return _go_through(workspace, campaign, remove=False)


def clean(workspace: Workspace, campaign: Campaign) -> Cleaning:
    """Let it go, and write into the campaign's record that it went. Doing it twice equals doing it once.

    Raises UsageError where the campaign has not ended, or a wake has it just now; GuardrailError for a caller that may
    not.
    """
    workspace.require(Effect.MANAGE, campaign)
    with workspace.wakefiles.lock(campaign.id) as owner:
        if owner is None:
            raise UsageError(f"a wake has {campaign.title} just now", hint="try again in a moment")
        (campaign,) = cleanable(workspace, campaign.title)
        done = _go_through(workspace, campaign, remove=True)
        if done.freed:
            who, now = this_person(Path(campaign.codebase.root)), workspace.clock()
            words = f"cleaned by {who}: {disk(done.outputs)} of outputs, {disk(done.worktrees)} of worktrees"
            with workspace.store.transaction(campaign.id) as tx:
                tx.event(campaign.id, "cleaned", words, now)
    return done


def _go_through(workspace: Workspace, campaign: Campaign, *, remove: bool) -> Cleaning:
    home = workspace.runs / workspace.store.uid / campaign.title
    whole = _whole(workspace, campaign)
    files = outputs = kept = 0
    for folder in sorted(home.glob("R-*/*")):
        if folder.is_symlink() or not folder.is_dir():
            continue
        for path in _files(folder):
            size = _size(path)
            if (folder.parent.name, folder.name) in whole or _stays(folder, path):
                kept += size
                continue
            files, outputs = files + 1, outputs + size
            if remove:
                path.unlink(missing_ok=True)
        if remove:
            _remove_empty(folder)
    trees = [path for path in sorted((home / "trees").glob("*")) if not path.is_symlink()]
    worktrees = sum(_size(path) for tree in trees for path in (_files(tree) if tree.is_dir() else [tree]))
    if remove:
        _remove_worktrees(campaign, trees)
    return Cleaning(campaign.title, campaign.name, campaign.ended_at, files, outputs, worktrees, kept)


def _whole(workspace: Workspace, campaign: Campaign) -> frozenset[tuple[str, str]]:
    """The last two names of the run directories that stay as they are: those behind a proposal's claim."""
    if campaign.verdict is not Verdict.LAUNCH:
        return frozenset()
    claimed = {
        run.id
        for run in workspace.store.runs(campaign.id)
        if run.draft.phase in (Phase.CONFIRMATION, Phase.REVEAL) and run.result is not None
    }
    attempts = workspace.store.attempts(campaign.id)
    good = [a for a in attempts if a.run in claimed and a.outcome == "succeeded" and a.failure is None]
    return frozenset((Path(a.run_dir).parent.name, Path(a.run_dir).name) for a in good)


def _stays(folder: Path, path: Path) -> bool:
    """Whether a file of a run directory is a record: small text, or what REA itself reads and writes there."""
    if path.is_symlink():
        return True  # it takes no room, and what it points to is somebody else's
    top = path.parent == folder
    if top and (path.name in RECORDS or path.suffix in LINES):
        return True
    return path.suffix.lower() in TEXTS and path.stat().st_size <= LARGEST_TEXT


def _files(folder: Path) -> Iterator[Path]:
    """Every file below a folder; links are not followed."""
    for where, folders, names in os.walk(folder):
        for name in (*names, *(name for name in folders if (Path(where) / name).is_symlink())):
            yield Path(where) / name


def _size(path: Path) -> int:
    """Bytes that the file takes on the disk; 0 where it is gone by now."""
    try:
        return path.lstat().st_blocks * 512
    except OSError:
        return 0


def _remove_empty(folder: Path) -> None:
    for where, _, _ in os.walk(folder, topdown=False):
        if Path(where) != folder:
            with suppress(OSError):
                Path(where).rmdir()


def _remove_worktrees(campaign: Campaign, trees: Sequence[Path]) -> None:
    import shutil

    try:
        repo = repository(Path(campaign.codebase.root))
    except ReaError:
        repo = None  # the checkout is gone, and with it what git knew of its worktrees
    for tree in trees:
        if not tree.is_dir():
            tree.unlink(missing_ok=True)
            continue
        if repo is not None:
            repo.remove_worktree(tree)
        if tree.exists():
            shutil.rmtree(tree)  # links inside are removed, not followed
