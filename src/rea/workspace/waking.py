"""Waking campaigns, and waiting for them. What a wake needs beyond the store is imported when there is work to do."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rea.domain.errors import ReaError
from rea.domain.ids import say
from rea.domain.jobs import ATTENDED
from rea.domain.states import AttemptState, CampaignState
from rea.workspace.compose import Workspace

if TYPE_CHECKING:
    from rea.domain.campaign import Campaign
    from rea.executor.wake import Woken


def wake(workspace: Workspace, campaign: int) -> Woken:
    """One pass over one campaign; where a job of it has ended, then over those that may have waited for its slot."""
    freed = campaign in workspace.wakefiles.waiting()
    done = _wake(workspace, campaign)
    if freed and not done.busy:
        for other in workspace.store.waiting():
            if other != campaign:
                # What stands in its way is told to whoever looks at that campaign.
                with contextlib.suppress(ReaError):
                    _wake(workspace, other)
    return done


def _wake(workspace: Workspace, campaign: int) -> Woken:
    from rea.executor.wake import wake as wake_campaign

    try:
        tools = workspace.tools(workspace.store.campaign(campaign))
    except ReaError as error:
        _note(workspace, campaign, error)
        # A wake file is a hint, and nothing comes of it until somebody mends the campaign. It stays due by the clock.
        workspace.wakefiles.take(campaign)
        raise
    return wake_campaign(tools, campaign)


def _note(workspace: Workspace, campaign: int, error: ReaError) -> None:
    """That a campaign cannot even be looked at is its engineers' to know, once it has lasted."""
    from rea.executor.course import stuck

    with contextlib.suppress(ReaError, OSError):
        stuck(workspace.store, workspace.store.campaign(campaign), error, workspace.clock())


def wake_each(workspace: Workspace, ids: Iterable[int]) -> tuple[dict[int, Woken], dict[int, Exception]]:
    """One pass over each campaign, and what stood in the way of those it failed for: the others go on."""
    done: dict[int, Woken] = {}
    failed: dict[int, Exception] = {}
    for id_ in ids:
        try:
            done[id_] = wake(workspace, id_)
        except Exception as error:
            failed[id_] = error
    return done, failed


def woken(workspace: Workspace) -> list[int]:
    """Campaigns a wake has something to do for: due by the clock, or called by a job that ended."""
    return sorted({*workspace.store.due(workspace.clock()), *workspace.wakefiles.waiting()})


def wait(
    workspace: Workspace,
    campaign: int,
    until: Callable[[Campaign], bool],
    tick: Callable[[Campaign], None],
    *,
    poll_s: float = 0.25,
) -> Campaign:
    """Stay with a campaign until a condition holds, waking it when it is called or due."""
    with attending(workspace, f"-{campaign}"):
        while True:
            found = workspace.store.campaign(campaign)
            tick(found)
            if until(found):
                return found
            if campaign not in woken(workspace) or wake(workspace, campaign).busy:
                time.sleep(poll_s)


@contextmanager
def attending(workspace: Workspace, suffix: str = "") -> Iterator[None]:
    """While the block runs, wrappers of ended jobs leave the waking to it (of one campaign, or of all)."""
    folder = workspace.wakefiles.folder
    folder.mkdir(parents=True, exist_ok=True)
    file = os.open(folder / f"{ATTENDED}{suffix}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        # Shared, so that two who wait for one campaign do not keep each other out.
        fcntl.flock(file, fcntl.LOCK_SH)
        yield
    finally:
        os.close(file)


@dataclass(frozen=True, slots=True)
class Attendance:
    """Whether a daemon sees the wake files of these runs, and what is to be done.

    `daemon` is what the last one wrote of itself: a hint, which is of a dead one where none is alive. `waiting` counts
    the wake files of each campaign that are not taken yet, `others` those of other stores. `due` has the campaigns that
    will be looked at and when (Unix seconds; None: at once), first due first.
    """

    alive: bool
    folder: str
    daemon: Mapping[str, Any]
    waiting: Mapping[str, int]
    others: int
    due: Mapping[str, float | None]


def attendance(workspace: Workspace) -> Attendance:
    """Looks and starts nothing."""
    from rea.daemon import note

    files = workspace.wakefiles
    names = [path.name for path in files.folder.iterdir()] if files.folder.is_dir() else []
    mine = Counter(id_ for name in names if (id_ := files.campaign_of(name)) is not None)
    return Attendance(
        alive=note.held(files.folder),
        folder=str(files.folder),
        daemon=note.read(files.folder),
        waiting={say("C", id_): count for id_, count in sorted(mine.items())},
        others=sum(not name.startswith(".") for name in names) - mine.total(),
        due={say("C", id_): at for id_, at in workspace.store.upcoming()},
    )


def goes_on(workspace: Workspace, campaign: int) -> str:
    """What becomes of a campaign that nobody waits for any more, and how to come back to it."""
    found = workspace.store.campaign(campaign)
    jobs = sum(attempt.state is not AttemptState.ENDED for attempt in workspace.store.attempts(campaign))
    back = f"`rea watch {found.title}`"
    if found.state is CampaignState.RUNNING:
        back += f" or `rea start {found.title} --wait`"
    if not jobs or campaign in woken(workspace):
        return f"{found.title} goes on once `rea wake {found.title}` (or a daemon) looks at it; come back with {back}"
    run = "1 job runs on, and its" if jobs == 1 else f"{jobs} jobs run on, and each one's"
    return f"{found.title} goes on by itself: {run} end wakes it; come back with {back}"


def done(campaign: Campaign) -> bool:
    """Whether `start --wait` has nothing more to wait for."""
    return campaign.state not in (CampaignState.RUNNING, CampaignState.PROFILING)
