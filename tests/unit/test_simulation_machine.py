"""Whatever processes, scheduler, engineers and clocks do, and in whatever order: a campaign keeps its word."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rea.domain.errors import LauncherUnreachableError
from rea.domain.states import CampaignState, HypothesisState, PauseReason, is_terminal
from rea.domain.treatment import Treatment
from rea.executor.invariants import Record, violations
from rea.executor.wake import wake
from rea.simulation.process import Killed, Process
from rea.simulation.storm import DAY
from rea.simulation.world import ONLY
from support.world import World

ALIVE = (CampaignState.PROFILING, CampaignState.RUNNING)


def gains(treatment: Treatment) -> float:
    return 0.006 * (treatment.overrides.get("optim.schedule") == "cosine")


class Weeks(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 50), slots=st.integers(1, 3))
    def plan(self, seed: int, slots: int) -> None:
        self.world = World(seed, gains, slots=slots, budget="16r", rounds=1, run_s=2 * DAY, lost=0.05, obstructed=0.1)
        self.record = Record()
        self.world.watch = self.look
        self.world.begin()
        self.away = False

    def look(self, world: World) -> None:
        rows = world.store.snapshot_rows(ONLY)
        found = violations(rows) + self.record.changed(rows)
        assert not found, found
        assert not world.submitted_unsigned

    def process(self, dies_at: int | None = None) -> None:
        """One wake, which dies at this one of its calls to the outside."""

        points = 0

        def at(name: str) -> None:
            nonlocal points
            points += 1
            if self.away and name in ("find", "observe", "capacity", "submit", "cancel"):
                raise LauncherUnreachableError("the scheduler does not answer")
            if dies_at is not None and points >= dies_at:
                raise Killed

        with suppress(Killed):
            wake(Process(at).tools(self.world.tools), ONLY)

    @rule()
    def somebody_looks(self) -> None:
        self.process()

    @rule(point=st.integers(1, 60))
    def somebody_dies(self, point: int) -> None:
        self.process(dies_at=point)

    @precondition(lambda self: self.world.campaign.state in ALIVE)
    @rule(hours=st.sampled_from([0.01, 1.0, 20.0, 60.0]))
    def time_passes(self, hours: float) -> None:
        self.world.now += 3600.0 * hours

    @precondition(lambda self: self.world.campaign.state in ALIVE)
    @rule()
    def what_is_next_comes(self) -> None:
        """The next end of a job, or what the campaign waits for."""
        times = [time for time in (self.world.launcher.next_end(), self.world.campaign.next_wake_at) if time]
        self.world.now = max([self.world.now, *([min(times)] if times else [])])
        self.process()

    @rule(hours=st.sampled_from([-1.0, 0.5]))
    def the_clock_is_set(self, hours: float) -> None:
        self.world.now = max(1e6, self.world.now + 3600.0 * hours)

    @rule()
    def the_scheduler_goes_or_comes(self) -> None:
        self.away = not self.away

    @precondition(lambda self: self.world.launcher.jobs)
    @rule(data=st.data())
    def a_job_is_forgotten(self, data: Any) -> None:
        del self.world.launcher.jobs[data.draw(st.sampled_from(sorted(self.world.launcher.jobs)))]

    # ------------------------------------------------------------ what engineers do

    @precondition(lambda self: self.world.campaign.state is CampaignState.DRAFTED)
    @rule()
    def an_engineer_signs(self) -> None:
        self.world.sign().start()

    @precondition(lambda self: self.world.campaign.state is CampaignState.RUNNING)
    @rule()
    def an_engineer_pauses(self) -> None:
        self.world.change(state=CampaignState.PAUSED, pause_reason=PauseReason.ENGINEER, reason="asked to")

    @precondition(lambda self: self.world.campaign.state is CampaignState.PAUSED and self.world.plan is not None)
    @rule()
    def an_engineer_resumes(self) -> None:
        self.world.change(state=CampaignState.RUNNING, pause_reason=None, reason="", next_wake_at=None)

    @precondition(lambda self: any(h.state is HypothesisState.PROPOSED for h in self.world.hypotheses))
    @rule(data=st.data())
    def an_engineer_vetoes(self, data: Any) -> None:
        waiting = [h.id for h in self.world.hypotheses if h.state is HypothesisState.PROPOSED]
        self.world.veto(data.draw(st.sampled_from(waiting)))

    # ------------------------------------------------------------ what holds

    @invariant()
    def something_leads_on(self) -> None:
        """Alive means that a wake will come; paused that an engineer is asked; ended that it is over."""
        if not hasattr(self, "world"):
            return
        campaign = self.world.campaign
        if campaign.state in ALIVE:
            assert self.world.store.due(1e12) == [ONLY], "nothing will ever wake it"
        elif campaign.state is CampaignState.PAUSED:
            assert campaign.reason

    def teardown(self) -> None:
        """In calm weather every campaign comes to rest from wherever it was."""
        if not hasattr(self, "world"):
            return
        self.away = False
        for _ in range(400):
            if self.world.campaign.state not in ALIVE:
                break
            ends = self.world.launcher.next_end()
            self.world.now = ends if ends is not None else self.world.now + 1800.0
            self.process()
        campaign = self.world.campaign
        assert campaign.state not in ALIVE, (campaign, self.world.events[-4:])
        if is_terminal(campaign.state):
            for _ in range(3):
                self.process()
                self.world.now += 10 * DAY
            assert self.world.balance.reserved <= 1e-6


Weeks.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestWeeks = Weeks.TestCase
