"""A whole campaign in a moment: the executor as it is, on a store in memory, jobs in a table and a clock that jumps.

Nothing here decides or applies anything. A wake is `executor.wake`; what a training shows comes from a simulated
trainer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from rea.domain.campaign import Approval, Campaign
from rea.domain.errors import ReaError
from rea.domain.hypothesis import Hypothesis
from rea.domain.insight import Context, ExperimentRecord
from rea.domain.jobs import JobSpec
from rea.domain.ledger import Balance, Entry
from rea.domain.plan import Plan, read_plan
from rea.domain.rows import Rows
from rea.domain.run import Attempt, Run, RunDraft
from rea.domain.states import CampaignState, HypothesisState, Phase, PlanState, RunState
from rea.domain.technique import Technique
from rea.domain.treatment import Treatment
from rea.executor.observe import Observer
from rea.executor.snapshot import Report, Snapshot
from rea.executor.tools import Tools
from rea.executor.trouble import SILENT_S
from rea.executor.wake import wake
from rea.insights.snapshot import Insights, learn
from rea.planner.evidence import Evidence
from rea.simulation.bench import SimulatedBench
from rea.simulation.launcher import Play, SimulatedLauncher
from rea.simulation.memory import MemoryStore, Page
from rea.simulation.trainer import Trainer

EPOCH = 1e6  # Unix seconds at which every world begins
ONLY = 1  # the campaign of a world


class Calls:
    """The calls of ended jobs, and a lock that nobody else here wants."""

    def __init__(self) -> None:
        self._waiting: set[int] = set()

    def call(self, campaign: int) -> None:
        self._waiting.add(campaign)

    def waiting(self) -> set[int]:
        return set(self._waiting)

    def take(self, campaign: int) -> None:
        self._waiting.discard(campaign)

    @contextmanager
    def lock(self, campaign: int) -> Iterator[str | None]:
        yield "simulated"


@dataclass
class World:
    """One campaign on one simulated codebase, from its profile to its end. Times are seconds, budgets device-seconds.

    `budget` is a plan command's ("40r"); `records` are the insights of earlier campaigns, to which this one adds its
    own; `recall`, where it is given, says instead what is known once this campaign's own are. `breaks` tells what goes
    wrong with an attempt (run, number of the attempt), or None; left out, the trainer tells it. `watch` is called after
    every change. Raises ReaError where a campaign breaks its word: a state that cannot follow, a ledger above its
    approval, no end in sight.
    """

    trainer: Trainer
    techniques: Sequence[Technique]
    slots: int = 1
    budget: str = "40r"
    rounds: int | None = None
    profile_runs: int = 3
    options: dict[str, Any] = field(default_factory=dict)
    records: Sequence[ExperimentRecord] = ()
    breaks: Callable[[Run, int], Report | None] | None = None
    watch: Callable[[World], None] = lambda world: None
    recall: Callable[[Sequence[ExperimentRecord]], Insights] | None = None
    most_steps: int = 20_000
    bench_type: ClassVar[type[SimulatedBench]] = SimulatedBench

    def __post_init__(self) -> None:
        self.now = self.began = EPOCH
        codebase = self.trainer.codebase
        self.codebase = replace(codebase, launcher=replace(codebase.launcher, slots=self.slots))
        options = {"budget": self.budget, "profile_runs": self.profile_runs, "rounds": self.rounds, **self.options}
        self.store = MemoryStore(lambda: self.watch(self))
        self.store.create(
            Campaign(
                ONLY,
                "simulated",
                self.codebase,
                "c0ffee",
                CampaignState.PROFILING,
                1,
                Phase.PROFILE,
                self.now,
                {},
                options,
            )
        )
        self.bench = self.bench_type(self.trainer, self._cost, self.breaks)
        self.launcher = SimulatedLauncher(lambda: self.now, self.slots, self.plays)
        self.submitted_unsigned = 0
        self.tools = Tools(
            store=self.store,
            launcher=self.launcher,
            workbench=self.bench,
            wakefiles=Calls(),
            clock=lambda: self.now,
            techniques=lambda: tuple(self.techniques),
            recall=self._recall,
            publish=lambda _: None,
        )

    # ------------------------------------------------------------ the course of a campaign

    def begin(self) -> World:
        """What `rea plan` does: the profile's runs, and the allowance for them."""
        limit = self.codebase.resources.walltime_s
        drafts = [
            RunDraft(f"baseline/seed-{s}", None, 0, Phase.PROFILE, Treatment(), s, 1.0, limit, limit)
            for s in range(1, self.profile_runs + 1)
        ]
        with self.store.transaction(ONLY) as tx:
            tx.set_limit(ONLY, (self.profile_runs + 1) * limit * self.codebase.resources.devices, self.now, "profile")
            tx.add_runs(ONLY, drafts)
        return self

    def profile(self) -> World:
        self.begin()._until(lambda: self.campaign.state is not CampaignState.PROFILING)
        return self

    def planned(self, rows: Rows, entries: Sequence[Entry]) -> World:
        """Begin where a real campaign's profile has ended: with its plan to the letter, what its baseline showed and
        what that cost, signed and about to be searched. What became of it later is left out.

        The plan's hypotheses are as they were when it was written; a veto holds. Raises ReaError without a plan.
        """
        if rows.plan is None:
            raise self._planless()
        plan, record = read_plan(rows.plan), replace(rows.plan, campaign=ONLY, state=PlanState.APPROVED)
        vetoed = {h.id: h for h in rows.hypotheses if h.state is HypothesisState.VETOED}
        hypotheses = {
            item.id: Hypothesis(item.id, ONLY, 1, item.draft, HypothesisState.PROPOSED) for item in plan.hypotheses
        } | {id_: replace(h, campaign=ONLY) for id_, h in vetoed.items() if h.round == 1}
        runs = {run.id: replace(run, campaign=ONLY) for run in rows.runs if run.draft.phase is Phase.PROFILE}
        attempts = {attempt.id: attempt for attempt in rows.attempts if attempt.run in runs}
        spent = [entry for entry in entries if entry.attempt in attempts]
        self.now = self.began = max([EPOCH, *(attempt.ended_at or EPOCH for attempt in attempts.values())])
        campaign = replace(
            self.campaign,
            name=rows.campaign.name,
            commit=rows.campaign.commit,
            options=rows.campaign.options,
            state=CampaignState.DRAFTED,
            created_at=self.now,
        )
        page = Page(
            campaign,
            dict(sorted(hypotheses.items())),
            dict(sorted(runs.items())),
            dict(sorted(attempts.items())),
            entries=tuple(spent),
            plans=(record,),
        )
        self.store.put(page)
        return self.sign().start()

    def sign(self) -> World:
        record = self.store.snapshot_rows(ONLY).plan
        if record is None:
            raise self._planless()
        with self.store.transaction(ONLY) as tx:
            tx.add_approval(Approval(record.id, record.digest, "engineer", "", self.now))
            tx.set_campaign(ONLY, state=CampaignState.APPROVED)
            tx.set_limit(ONLY, read_plan(record).budget_s, self.now, "signed")
        return self

    def start(self) -> World:
        return self.change(state=CampaignState.RUNNING, phase=Phase.VALIDATION)

    def finish(self) -> World:
        """Let it run until it rests."""
        self._until(lambda: self.campaign.state is not CampaignState.RUNNING)
        return self

    def whole(self) -> World:
        self.profile()
        return self.sign().start().finish() if self.campaign.state is CampaignState.DRAFTED else self

    def step(self) -> None:
        """One wake; then the clock jumps to what comes next."""
        self.jump(self.wake())

    def wake(self) -> float | None:
        """One wake, after which the clock stands where it stood; gives until when it sleeps."""
        return wake(self.tools, ONLY).until

    def jump(self, until: float | None) -> None:
        """Turn the clock to the next moment at which there is something to look at; `until` is when a sweep looks."""
        times = [self.launcher.next_end(), *(r.not_before for r in self._waiting() if r.not_before > self.now)]
        known = [time for time in times if time is not None]
        if not known and until is None and self.campaign.state is CampaignState.RUNNING:
            raise ReaError(f"{self.campaign.title} sleeps for ever in {self.campaign.phase}: {self.events[-5:]}")
        if until is not None:
            noticed = (limit + SILENT_S + 1.0 for limit in self.launcher.limits_of_silent_jobs())
            known += [time if time > self.now else until for time in noticed]
        # A sweep in between would find nothing new.
        self.now = max(self.now, min(known, default=until if until is not None else self.now))

    def _waiting(self) -> list[Run]:
        return [run for run in self.runs if run.state is RunState.PLANNED]

    def _until(self, condition: Callable[[], bool]) -> None:
        for _ in range(self.most_steps):
            if condition():
                return
            self.step()
        raise ReaError(f"no rest after {self.most_steps} steps: {self.campaign.phase}, {self.events[-5:]}")

    # ------------------------------------------------------------ what engineers do

    def change(self, **changes: Any) -> World:
        """Change the campaign's row."""
        with self.store.transaction(ONLY) as tx:
            tx.set_campaign(ONLY, **changes)
        return self

    def veto(self, hypothesis: int) -> None:
        with self.store.transaction(ONLY) as tx:
            tx.set_hypothesis(hypothesis, state=HypothesisState.VETOED, reason="vetoed")

    # ------------------------------------------------------------ what the executor asks

    def plays(self, spec: JobSpec) -> Play:
        running = self.campaign.state is CampaignState.RUNNING
        self.submitted_unsigned += running and not self.bench.signed
        return self.bench.play(spec)

    def _recall(self, techniques: Sequence[Technique], codebase: str, _: Context) -> Insights:
        if self.recall is not None:
            return self.recall(list(self.store.page(ONLY).experiments.values()))
        return learn(self.experiments, techniques, codebase)

    def _cost(self, hypothesis: int) -> float:
        """Training time over the baseline's, as the cards say it: its own factor on top of its base's."""
        found = self.store.page(ONLY).hypotheses[hypothesis]
        base = found.draft.base.key()
        on = next((h for h in self.hypotheses if h.id < hypothesis and h.draft.full.key() == base), None)
        return found.draft.cost_factor * (1.0 if on is None else self._cost(on.id))

    # ------------------------------------------------------------ rows

    @property
    def campaign(self) -> Campaign:
        return self.store.page(ONLY).campaign

    @property
    def hypotheses(self) -> tuple[Hypothesis, ...]:
        return tuple(self.store.page(ONLY).hypotheses.values())

    @property
    def runs(self) -> tuple[Run, ...]:
        return tuple(self.store.page(ONLY).runs.values())

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        return tuple(self.store.page(ONLY).attempts.values())

    @property
    def entries(self) -> tuple[Entry, ...]:
        return self.store.page(ONLY).entries

    @property
    def events(self) -> list[str]:
        return [f"{event.kind}: {event.message}" for event in self.store.page(ONLY).events]

    @property
    def experiments(self) -> list[ExperimentRecord]:
        """What earlier campaigns showed and what this one did."""
        return [*self.records, *self.store.page(ONLY).experiments.values()]

    @property
    def balance(self) -> Balance:
        return self.store.page(ONLY).balance

    @property
    def plan(self) -> Plan | None:
        plans = self.store.page(ONLY).plans
        return read_plan(plans[-1]) if plans else None

    @property
    def revealed(self) -> int:
        return self.bench.revealed

    @property
    def warned(self) -> bool:
        return any(event.kind == "budget" for event in self.store.page(ONLY).events)

    def snapshot(self) -> Snapshot:
        """What a wake would see now."""
        return Observer(self.tools, ONLY).snapshot()

    def evidence(self) -> Evidence:
        """What the campaign's runs say of its hypotheses now. Raises ReaError before there is a plan."""
        if self.plan is None:
            raise self._planless()
        runs = tuple(run for run in self.runs if not run.draft.aside)
        return Evidence(self.plan, runs, self.hypotheses)

    def _planless(self) -> ReaError:
        return ReaError(f"{self.campaign.title} has no plan", hint="let its profile end first: `profile()`")
