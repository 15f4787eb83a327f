"""One pass of the executor over one campaign: observe, decide, act, exit."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from rea.domain.errors import LauncherUnreachableError, LeaseLostError, ReaError
from rea.executor.act import apply
from rea.executor.actions import Cancel, Pause, Sleep, Warn
from rea.executor.course import stuck, unstuck
from rea.executor.decide import decide
from rea.executor.observe import Observer
from rea.executor.tools import Tools, Wake

LEASE_S = 300.0  # longer than any wake; a killed one is taken over after that, or at once by the next on this host
MOST_STEPS = 10_000
MOST_REFUSALS = 3  # of the launcher, within one wake: asked again and again it would only say the same
_FULL = (errno.ENOSPC, errno.EDQUOT)


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
        with _room(tools, campaign), _leased(tools, campaign) as fence:
            if fence is None:
                return woken
            # Due until it sleeps again: should this wake die, the next `rea wake` finds the campaign by the clock.
            with tools.store.transaction(campaign, fence) as tx:
                tx.set_campaign(campaign, next_wake_at=None)
            tools.wakefiles.take(campaign)
            try:
                done = _work(tools, campaign, fence)
            except ReaError as error:
                # Where the rows or the store are what stands in the way, nothing can be written down either.
                with suppress(ReaError, OSError):
                    stuck(tools.store, tools.store.working_rows(campaign).campaign, error, tools.clock(), fence)
                raise
        woken = Woken(woken.actions + done.actions, done.until)
        if campaign not in tools.wakefiles.waiting():
            break
    return woken


@contextmanager
def _room(tools: Tools, campaign: int) -> Iterator[None]:
    """Raise ReaError where a disk has no room left, naming the folder."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        folder = tools.workbench.run_dir(campaign, 0, 0).parents[1]
        where = f" ({error.filename})" if error.filename else ""
        raise ReaError(
            f"no space is left for the runs of C-{campaign} in {folder}{where}",
            hint="free some and `rea wake`: it goes on where it stands, nothing is lost",
        ) from error


@contextmanager
def _leased(tools: Tools, campaign: int) -> Iterator[int | None]:
    """The fence of the campaign's lease while the block runs; None while somebody else has it.

    Among processes of one host a lock decides, which is free the moment its holder dies; between hosts the store's
    lease does, with its time limit and its fence.
    """
    with tools.wakefiles.lock(campaign) as owner:
        if owner is None:
            yield None
            return
        # The lock is held, so whoever had the lease on this host is dead: its name is taken over, its fence is not.
        fence = tools.store.acquire(campaign, owner, LEASE_S, tools.clock())
        try:
            yield fence
        finally:
            if fence is not None:
                tools.store.release(campaign, fence)


def _work(tools: Tools, campaign: int, fence: int) -> Woken:
    observer = Observer(tools, campaign)
    this = Wake(tools, campaign, fence, observer.verified)
    count = refusals = 0
    for _ in range(MOST_STEPS):
        until: float | None = None
        asleep = False
        snapshot = observer.snapshot()
        for action in decide(snapshot, tools.clock()):
            try:
                apply(this, action)
            except LauncherUnreachableError:
                # What was intended stays written down. If nothing answers the next snapshot knows; one that answers and
                # cannot do it (its disk is full, say) is for people to look at.
                refusals += 1
                if refusals == MOST_REFUSALS:
                    raise
                break
            count += 1
            if isinstance(action, Cancel):
                observer.cancelling.add(action.attempt)
            elif isinstance(action, Warn):
                observer.told.add(action.key)
            elif isinstance(action, Sleep):
                asleep, until = True, action.until
            elif isinstance(action, Pause):
                break
        if asleep:
            unstuck(this, snapshot.campaign)
            return Woken(count - 1, until)
    raise LeaseLostError(f"C-{campaign} did not come to rest after {MOST_STEPS} steps")
