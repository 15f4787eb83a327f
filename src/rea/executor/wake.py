"""One pass of the executor over one campaign: observe, decide, act, exit."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from rea.domain.errors import LauncherUnreachableError, LeaseLostError, ReaError
from rea.executor.act import Wake, apply
from rea.executor.actions import Cancel, Pause, Sleep, Warn
from rea.executor.decide import decide
from rea.executor.observe import Observer
from rea.executor.tools import Tools

LEASE_S = 300.0  # longer than any wake; a killed one is taken over after that, or at once by the next on this host
MOST_STEPS = 10_000


@dataclass(frozen=True, slots=True)
class Woken:
    """What a wake did: how many actions, until when it sleeps, and whether somebody else had the campaign."""

    actions: int
    until: float | None
    busy: bool = False


def wake(tools: Tools, campaign: int) -> Woken:
    """Bring one campaign as far as it goes now.

    While another wake has it this one leaves at once: the other looks at the wake files again before it ends.
    Raises ReaError when something outside stands in the way (a broken repository, a full disk); the rows are then as
    of the last action that was completed, and the next wake goes on from there.
    """
    woken = Woken(0, None, busy=True)
    for _ in range(MOST_STEPS):
        with Lease(tools, campaign) as fence:
            if fence is None:
                return woken
            # Due until it sleeps again: should this wake die, the next `rea wake` finds the campaign by the clock.
            with tools.store.transaction(campaign, fence) as tx:
                tx.set_campaign(campaign, next_wake_at=None)
            _consume(tools, campaign)
            done = _work(tools, campaign, fence)
        woken = Woken(woken.actions + done.actions, done.until)
        if not any(pending(tools, campaign)):
            break
    return woken


def pending(tools: Tools, campaign: int | None = None) -> Iterator[int]:
    """Campaigns (of this store) for which a wake file lies ready."""
    wanted = f"{campaign}." if campaign is not None else ""
    if tools.wake_dir.is_dir():
        for path in sorted(tools.wake_dir.iterdir()):
            number, _, job = path.name.partition(".")
            mine = number.isdigit() and job.startswith(f"rea-{tools.store.uid}-")
            if mine and path.name.startswith(wanted):
                yield int(number)


def _consume(tools: Tools, campaign: int) -> None:
    """Take the wake files away before looking: one dropped from now on is a reason to look again."""
    if tools.wake_dir.is_dir():
        for path in tools.wake_dir.glob(f"{campaign}.rea-{tools.store.uid}-*"):
            path.unlink(missing_ok=True)


class Lease:
    """The campaign's lease while the block runs; None while somebody else has it.

    Among processes of one host a lock file decides, which the kernel frees the moment its holder dies; between hosts
    the store's lease does, with its time limit and its fence.
    """

    def __init__(self, tools: Tools, campaign: int) -> None:
        self._tools, self._campaign = tools, campaign
        self._file: int | None = None
        self._fence: int | None = None

    def __enter__(self) -> int | None:
        import fcntl

        folder = self._tools.runs / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        host = socket.gethostname()
        name = f"{self._tools.store.uid}-C{self._campaign}-{host}.lock"
        self._file = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return None
        store, now = self._tools.store, self._tools.clock()
        # The lock is held, so whoever had the lease on this host is dead: its name is taken over, its fence is not.
        self._fence = store.acquire(self._campaign, f"host:{host}", LEASE_S, now)
        return self._fence

    def __exit__(self, *_: object) -> None:
        if self._fence is not None:
            self._tools.store.release(self._campaign, self._fence)
        if self._file is not None:
            os.close(self._file)


def _work(tools: Tools, campaign: int, fence: int) -> Woken:
    observer = Observer(tools, campaign)
    this = Wake(tools, campaign, fence)
    count = 0
    for _ in range(MOST_STEPS):
        until: float | None = None
        asleep = False
        for action in decide(observer.snapshot(), tools.clock()):
            try:
                apply(this, action)
            except LauncherUnreachableError:
                break  # what was intended stays written down; the next snapshot knows that nothing answers
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise ReaError(
                    f"no space is left for the runs of C-{campaign} under {tools.runs}",
                    hint="free some and `rea wake`: it goes on where it stands, nothing is lost",
                ) from error
            count += 1
            if isinstance(action, Cancel):
                observer.cancelling.add(action.attempt)
            elif isinstance(action, Warn):
                observer.warned = True
            elif isinstance(action, Sleep):
                asleep, until = True, action.until
            elif isinstance(action, Pause):
                break
        if asleep:
            return Woken(count - 1, until)
    raise LeaseLostError(f"C-{campaign} did not come to rest after {MOST_STEPS} steps")
