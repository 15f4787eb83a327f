"""Weeks of a campaign in bad weather: everything that can go wrong around the agent, drawn from a seed.

The executor runs as it is. Around it processes die or are stopped at any call that they make to the outside, calls of
ended jobs get lost or come twice, the scheduler is away for hours, loses its answers, forgets jobs, starts them a
second time, takes them back or lets them overrun, machines stand still, trainers say that all was well when nothing is
there, clocks jump and disks fill up.
After every change that was committed the invariants are looked at. The same seed gives the same weeks.
"""

from __future__ import annotations

import errno
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from rea.domain.errors import LauncherUnreachableError, ReaError
from rea.domain.jobs import JobSpec, Outcome
from rea.domain.states import AttemptState, CampaignState, is_terminal
from rea.executor.invariants import Record, violations
from rea.executor.tools import Tools
from rea.executor.wake import LEASE_S, wake
from rea.simulation.launcher import Play
from rea.simulation.memory import MemoryStore
from rea.simulation.process import Killed, Process
from rea.simulation.world import ONLY, World

HOUR, DAY = 3600.0, 86400.0
ALIVE = (CampaignState.PROFILING, CampaignState.RUNNING)
HOSTS = ("login1", "login2")
MOST_NESTED = 2  # processes that are stopped at one time, at most


@dataclass(frozen=True, slots=True)
class Faults:
    """Chances of what goes wrong: of each call to the outside, of each job, and of each time somebody looks."""

    killed: float = 0.01  # per call: the process dies before or after it
    stopped: float = 0.008  # per call: the process stands still until long after its lease
    lost_answer: float = 0.03  # per submission: the launcher did it, or did not, and its answer is lost
    outage: float = 0.02  # per look: the scheduler does not answer for up to twelve hours
    lost_call: float = 0.1  # per ended job: nobody is called
    twice: float = 0.1  # per look: a second process looks at the same time or right after
    forgotten: float = 0.01  # per job: the scheduler does not know it any more
    restarted: float = 0.02  # per job: started a second time, which its start fence ends at once
    overrun: float = 0.01  # per job: it is ended long after its limit
    frozen: float = 0.005  # per job: its machine stands still, until somebody ends it
    taken: float = 0.01  # per job: somebody else cancels it half way
    liar: float = 0.02  # per job: it says that it succeeded, and nothing is there
    jump: float = 0.02  # per look: the clock is set, by up to an hour, either way
    full: float = 0.005  # per call: no space is left

    @classmethod
    def none(cls) -> Faults:
        return cls(*[0.0] * len(cls.__slots__))


class BrokenError(AssertionError):
    """An invariant does not hold."""


@dataclass(slots=True)
class _Locks:
    """The locks of one host: whoever holds one keeps others of this host out, until it ends."""

    held: bool = False


class _Calls:
    """Wake files and locks as one host sees them. The folder is shared, locks are not."""

    def __init__(self, called: set[int], locks: _Locks, host: str) -> None:
        self._called, self._locks, self._host = called, locks, host

    def waiting(self) -> set[int]:
        return set(self._called)

    def take(self, campaign: int) -> None:
        self._called.discard(campaign)

    @contextmanager
    def lock(self, campaign: int) -> Iterator[str | None]:
        if self._locks.held:
            yield None
            return
        self._locks.held = True
        try:
            yield f"host:{self._host}"
        finally:
            self._locks.held = False


class Storm:
    """One world in bad weather. Raises BrokenError, with the seed and the moment, where an invariant does not hold."""

    def __init__(self, world: World, seed: int, faults: Faults | None = None, *, most_days: float = 365.0) -> None:
        self.world, self.seed, self.faults = world, seed, faults or Faults()
        self.most_s = most_days * DAY
        self.happened: dict[str, int] = {}
        self._chance = random.Random(f"storm/{seed}")
        self._called: set[int] = set()
        self._locks = {host: _Locks() for host in HOSTS}
        self._away_until = 0.0
        self._skew = 0.0
        self._nested = 0
        self._told: set[str] = set()  # jobs whose end was told, or lost
        self._started: set[str] = set()
        self._record = Record()
        self._tools = replace(world.tools, clock=lambda: world.now + self._skew)
        world.launcher.plays = self._plays
        world.watch = self._look

    # ------------------------------------------------------------ the course

    def weeks(self) -> Storm:
        """From where the world stands until the campaign rests."""
        world, began = self.world, self.world.now
        while self._moving():
            if world.now - began > self.most_s:
                raise self._broken([f"it is still {world.campaign.state.value} after {self.most_s / DAY:.0f} days"])
            self._somebody_looks()
            self._time_passes()
        # Whoever died in its last act is followed by another look, which finds what is left to be done.
        self._skew, self._away_until = 0.0, 0.0
        wake(self._tools_on(HOSTS[0]), ONLY)
        return self

    def _moving(self) -> bool:
        """Whether anything is still to come: of a paused campaign, the ends of its jobs in flight."""
        state = self.world.campaign.state
        in_flight = any(attempt.state is not AttemptState.ENDED for attempt in self.world.attempts)
        return state in ALIVE or (state is CampaignState.PAUSED and in_flight)

    def _somebody_looks(self) -> None:
        chance = self._chance
        if chance.random() < self.faults.jump:
            self._count("clock jumps")
            self._skew = chance.uniform(-HOUR, HOUR)
        if chance.random() < self.faults.outage:
            self._count("outages")
            self._away_until = self.world.now + chance.uniform(0, 12 * HOUR)
        for _ in range(2 if chance.random() < self.faults.twice else 1):
            self._look_from(chance.choice(HOSTS))

    def _look_from(self, host: str) -> None:
        process = Process(lambda name: self._at(host, name))
        try:
            wake(process.tools(self._tools_on(host)), ONLY)
        except Killed:
            self._count("killed")
            self._locks[host].held = False
        except ReaError as error:
            self._count(type(error).__name__)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self._count("disk full")

    def _tools_on(self, host: str) -> Tools:
        return replace(self._tools, wakefiles=_Calls(self._called, self._locks[host], host))

    def _time_passes(self) -> None:
        world = self.world
        running = {name: job for name, job in world.launcher.jobs.items() if job.ends_at > world.now}
        for name in running:
            if self._chance.random() < self.faults.forgotten / 4:
                self._count("forgotten jobs")
                del world.launcher.jobs[name]
        if world.campaign.next_wake_at is None:  # whoever looked last did not get to its end
            world.now += self._chance.uniform(1.0, 60.0)
        else:
            world.jump(world.campaign.next_wake_at)
        if self._away_until > world.now and self._chance.random() < 0.3:
            world.now = self._away_until
        # Somebody sweeps some time after; where a call arrives, at once.
        ended = [n for n, job in world.launcher.jobs.items() if job.ends_at <= world.now and n not in self._told]
        self._told.update(ended)
        lost = [name for name in ended if self._chance.random() < self.faults.lost_call]
        if len(lost) < len(ended):
            self._called.add(ONLY)
        else:
            if lost:
                self._count("lost calls")
            world.now += self._chance.uniform(1.0, 60.0)

    # ------------------------------------------------------------ what happens

    def _at(self, host: str, name: str) -> None:
        chance, faults = self._chance, self.faults
        if name in ("find", "observe", "capacity", "submit", "cancel") and self._away_until > self.world.now:
            raise LauncherUnreachableError("the scheduler does not answer")
        if name in ("submit", "after submit") and chance.random() < faults.lost_answer / 2:
            self._count("lost answers")
            raise LauncherUnreachableError("the answer was lost")
        if name in ("job", "commit") and chance.random() < faults.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        if chance.random() < faults.killed:
            raise Killed
        if self._nested < MOST_NESTED and chance.random() < faults.stopped:
            self._count("stopped")
            self._stand_still(host)

    def _stand_still(self, host: str) -> None:
        """The process is stopped; long after its lease others look, from elsewhere, maybe for days; then it goes on."""
        self._nested += 1
        self.world.now += LEASE_S + self._chance.uniform(1.0, HOUR)
        try:
            for _ in range(self._chance.choice((1, 2, 8))):
                self._look_from(self._chance.choice([one for one in HOSTS if one != host]))
                if self.world.campaign.state in ALIVE:
                    self._time_passes()
        finally:
            self._nested -= 1

    def _plays(self, spec: JobSpec) -> Play:
        if spec.name in self._started:
            # The scheduler had forgotten it. Whatever became of the first, its start fence ends the second.
            return Play(1.0, Outcome.LOST)
        self._started.add(spec.name)
        play, chance, faults = self.world.plays(spec), self._chance, self.faults
        if chance.random() < faults.liar and play.outcome is Outcome.SUCCEEDED:
            self._count("liars")
            self.world.bench.nothing_of(spec.name)
        if chance.random() < faults.overrun:
            self._count("overruns")
            return Play(play.seconds * chance.uniform(1.0, 20.0), play.outcome, play.exit)
        if chance.random() < faults.frozen:
            self._count("frozen jobs")
            return Play(math.inf, play.outcome, play.exit, silent=True)
        if chance.random() < faults.taken:
            self._count("jobs taken back")
            return Play(play.seconds * chance.random(), Outcome.CANCELLED)
        if chance.random() < faults.restarted:
            # The second start finds the fence of the first; the scheduler shows the job for longer, that is all.
            self._count("restarts")
            return Play(play.seconds + chance.uniform(0.0, HOUR), play.outcome, play.exit)
        return play

    # ------------------------------------------------------------ what holds

    def _look(self, _: World) -> None:
        store: MemoryStore = self.world.store
        rows = store.snapshot_rows(ONLY)
        found = violations(rows)
        found += self._record.changed(rows)
        known = {attempt.job for attempt in rows.attempts}
        found += [f"{name} was submitted and is written down nowhere" for name in self._started - known]
        if self.world.submitted_unsigned:
            found.append("a run of the search was started without a signature")
        if found:
            raise self._broken(found)

    def _broken(self, found: list[str]) -> BrokenError:
        days = (self.world.now - self.world.began) / DAY
        return BrokenError(f"seed {self.seed}, day {days:.1f}: {'; '.join(found)}; {self.world.events[-3:]}")

    def _count(self, what: str) -> None:
        self.happened[what] = self.happened.get(what, 0) + 1


def ended_well(world: World) -> bool:
    """Whether the campaign has an end, or a question to an engineer, and nothing is left over."""
    state = world.campaign.state
    over = is_terminal(state) or (state is CampaignState.PAUSED and bool(world.campaign.reason))
    return over and world.balance.reserved <= 1e-6
