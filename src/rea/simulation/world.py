"""A world without processes: a campaign driven by `decide` alone, over values in memory and a clock that jumps.

It does what `executor.act` does with each action, for store and launcher in one, and checks every transition and the
ledger as the store does. What a training shows comes from a simulated trainer. A submission is always answered, so
nothing is ever submitted anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rea.domain.campaign import Campaign
from rea.domain.errors import ReaError
from rea.domain.hypothesis import Hypothesis, HypothesisDraft, HypothesisKind
from rea.domain.insight import ExperimentRecord
from rea.domain.jobs import Capacity
from rea.domain.ledger import Balance, Entry, EntryKind, Purse, balance
from rea.domain.plan import Part, Plan, PlannedHypothesis
from rea.domain.run import Attempt, Failure, Run, RunDraft, RunResult
from rea.domain.runbook import TIME_LIMIT, Charge
from rea.domain.runbook import Action as RunbookAction
from rea.domain.states import (
    AttemptState,
    CampaignState,
    HypothesisState,
    PauseReason,
    Phase,
    RunState,
    check_transition,
    is_terminal,
)
from rea.domain.technique import Technique
from rea.domain.treatment import Treatment
from rea.executor import actions as a
from rea.executor.decide import decide, held, next_state
from rea.executor.logger import experiment
from rea.executor.snapshot import Report, Snapshot
from rea.insights.snapshot import Insights, learn
from rea.planner.compose import first_agenda, next_agenda
from rea.planner.draft import write_plan
from rea.planner.evidence import Evidence
from rea.planner.layout import RETRY_CAP, BudgetTooSmallError
from rea.planner.profile import measure
from rea.planner.situation import repair
from rea.simulation.trainer import Trainer

EPOCH = 1e6  # Unix seconds at which every world begins


@dataclass
class World:
    """One campaign on one simulated codebase, from its profile to its end. Times are seconds, budgets device-seconds.

    `budget` is a plan command's ("40r"); `records` are the insights of earlier campaigns, to which this one adds its
    own. `breaks` tells what goes wrong with an attempt (run, number of the attempt), or None; left out, the trainer
    tells it. `watch` is called after every change. Raises ReaError where a campaign breaks its word: a state that
    cannot follow, a ledger above its approval, no end in sight.
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
    most_steps: int = 20_000

    def __post_init__(self) -> None:
        self.now = EPOCH
        codebase = self.trainer.codebase
        self.codebase = replace(codebase, launcher=replace(codebase.launcher, slots=self.slots))
        options = {"budget": self.budget, "profile_runs": self.profile_runs, "rounds": self.rounds, **self.options}
        self.campaign = Campaign(
            1, "simulated", self.codebase, "c0ffee", CampaignState.PROFILING, 1, Phase.PROFILE, self.now, {}, options
        )
        self.plan: Plan | None = None
        self.signed = False
        self.hypotheses: list[Hypothesis] = []
        self.runs: list[Run] = []
        self.attempts: list[Attempt] = []
        self.entries: list[Entry] = []
        self.experiments = {(r.campaign, r.hypothesis, r.round): r for r in self.records}
        self.ends: dict[int, float] = {}  # attempt → when its job ends
        self.cancelled: set[int] = set()
        self.events: list[str] = []
        self.submitted_unsigned = 0
        self.revealed = 0
        self.warned = False
        self._ledger: Balance | None = None
        self._results: dict[int, tuple[RunResult, bool]] = {}  # run → what training it shows

    # ------------------------------------------------------------ the course of a campaign

    def profile(self) -> World:
        limit = self.codebase.resources.walltime_s
        self._approve((self.profile_runs + 1) * limit * self.codebase.resources.devices)
        self._add_runs(
            [
                RunDraft(f"baseline/seed-{s}", None, 0, Phase.PROFILE, Treatment(), s, 1.0, limit, limit)
                for s in range(1, self.profile_runs + 1)
            ]
        )
        self._until(lambda: self.campaign.state is not CampaignState.PROFILING)
        return self

    def sign(self) -> World:
        self._campaign(state=CampaignState.APPROVED)
        self._approve(self._plan().budget_s)
        self.signed = True
        return self

    def start(self) -> World:
        self._campaign(state=CampaignState.RUNNING, phase=Phase.VALIDATION)
        return self

    def finish(self) -> World:
        """Let it run until it rests."""
        self._until(lambda: self.campaign.state is not CampaignState.RUNNING)
        return self

    def whole(self) -> World:
        self.profile()
        return self.sign().start().finish() if self.campaign.state is CampaignState.DRAFTED else self

    def _until(self, condition: Callable[[], bool]) -> None:
        for _ in range(self.most_steps):
            if condition():
                return
            self.step()
        raise ReaError(f"no rest after {self.most_steps} steps: {self.campaign.phase}, {self.events[-5:]}")

    def step(self) -> tuple[a.Action, ...]:
        """One snapshot, one decision, its actions; asleep, the clock jumps to what comes next."""
        taken = decide(self.snapshot(), self.now)
        for action in taken:
            if isinstance(action, a.Sleep):
                self._sleep(action)
                break
            self.apply(action)
            self.watch(self)
            if isinstance(action, a.Pause):
                break
        return taken

    def _sleep(self, action: a.Sleep) -> None:
        times = [end for id_, end in self.ends.items() if self._attempt(id_).state is not AttemptState.ENDED]
        times += [action.until] if action.until is not None else []
        if not times and self.campaign.state is CampaignState.RUNNING:
            raise ReaError(f"{self.campaign.title} sleeps for ever in {self.campaign.phase}: {self.events[-5:]}")
        if times:
            self.now = max(self.now, min(times))

    # ------------------------------------------------------------ what a wake sees

    @property
    def balance(self) -> Balance:
        if self._ledger is None:
            self._ledger = balance(self.entries)
        return self._ledger

    def snapshot(self) -> Snapshot:
        open_ = [x for x in self.attempts if x.state is not AttemptState.ENDED]
        over = [x for x in open_ if self.ends.get(x.id, math.inf) <= self.now or x.id in self.cancelled]
        return Snapshot(
            campaign=self.campaign,
            plan=self.plan if self.campaign.state in (CampaignState.RUNNING, CampaignState.PAUSED) else None,
            signed=self.signed and self.campaign.state is CampaignState.RUNNING,
            hypotheses=tuple(self.hypotheses),
            runs=tuple(self.runs),
            attempts=tuple(self.attempts),
            balance=self.balance,
            observed={},
            reports={x.id: self._report(x) for x in over},
            capacity=Capacity(self.slots, max(0, self.slots - len(open_) + len(over))),
            cancelling=frozenset(self.cancelled),
            warned=self.warned,
        )

    def _report(self, attempt: Attempt) -> Report:
        """What is left of an attempt whose job has ended."""
        return replace(
            self._outcome(attempt),
            device_s=(self.now - attempt.intended_at if attempt.id in self.cancelled else self.duration(attempt))
            * self.codebase.resources.devices,
            started_at=attempt.intended_at,
            ended_at=self.now,
        )

    def _outcome(self, attempt: Attempt) -> Report:
        if attempt.id in self.cancelled:
            return Report("cancelled")
        run, wall_s = self._run(attempt.run), self.duration(attempt)
        broken = (self.breaks or self.trainer.broken)(run, attempt.number)
        if broken is not None:
            return broken
        if wall_s * self.codebase.resources.devices >= attempt.reserved_s:
            failure = Failure(TIME_LIMIT, "R", "The run did not end within its wall time")
            return Report("timeout", failure=failure, action=RunbookAction.DROP)
        if run.draft.phase is Phase.REVEAL:
            return Report("succeeded", result=self._revealed())
        result, pruned = self._trained(attempt)
        result = replace(result, wall_s=wall_s, cpu_s=wall_s)
        return Report("stopped" if pruned else "succeeded", result=result, pruned=pruned)

    def _revealed(self) -> RunResult:
        self.revealed += 1
        sealed = self.codebase.objective.sealed or ""
        lines = {
            str(run.id): self.trainer.line(run.draft.treatment, run.draft.seed, sealed)
            for run in self.runs
            if run.draft.phase is Phase.CONFIRMATION and run.state is RunState.SUCCEEDED
        }
        return RunResult({}, (), "epoch", 1.0, 1.0, 2**20, sealed=lines)

    def duration(self, attempt: Attempt) -> float:
        """Wall seconds after which the attempt's job ends, if nobody cancels it; a stopped run ends early."""
        run = self._run(attempt.run)
        limit = attempt.reserved_s / self.codebase.resources.devices
        if run.draft.phase is Phase.REVEAL:
            return min(limit, 0.1 * self.trainer.nature.run_s)
        factor = 1.0 if run.draft.hypothesis is None else self._cost(self._hypothesis(run.draft.hypothesis))
        whole = self.trainer.seconds(run, attempt.number, factor)
        if whole < limit and run.draft.stop_limits:
            whole *= self._trained(attempt)[0].fidelity
        return min(whole, limit)

    def _cost(self, hypothesis: Hypothesis) -> float:
        """Training time over the baseline's, as the cards say it: its own factor on top of its base's."""
        base = hypothesis.draft.base.key()
        on = next((h for h in self.hypotheses if h.id < hypothesis.id and h.draft.full.key() == base), None)
        return hypothesis.draft.cost_factor * (1.0 if on is None else self._cost(on))

    def _trained(self, attempt: Attempt) -> tuple[RunResult, bool]:
        if attempt.run not in self._results:
            self._results[attempt.run] = self.trainer.trained(self._run(attempt.run))
        return self._results[attempt.run]

    # ------------------------------------------------------------ what a wake does

    def apply(self, action: a.Action) -> None:
        getattr(self, f"_do_{type(action).__name__.lower()}")(action)

    def _do_submit(self, action: a.Submit) -> None:
        running = self.campaign.state is CampaignState.RUNNING
        self.submitted_unsigned += running and not self.signed
        run = self._run(action.run)
        self._set_run(run.id, state=RunState.ACTIVE)
        number = 1 + sum(1 for x in self.attempts if x.run == run.id)
        held = action.walltime_s * self.codebase.resources.devices
        id_ = len(self.attempts) + 1
        self._enter(Entry(EntryKind.RESERVE, held, self.now, id_, action.purse))
        attempt = Attempt(id_, run.id, number, f"job-{id_}", "/nowhere", AttemptState.SUBMITTED, held, self.now)
        self.attempts.append(attempt)
        self.ends[id_] = self.now + self.duration(attempt)

    def _do_record(self, action: a.Record) -> None:
        attempt = self._attempt(action.attempt)
        if attempt.state is AttemptState.ENDED:
            return
        run = self._run(attempt.run)
        earlier = [x for x in self.attempts if x.run == run.id and x.id != attempt.id]
        report = held(run, action.report, RETRY_CAP, self.runs, self.attempts)
        state = next_state(run, report, RETRY_CAP, len(earlier) + 1)
        if self.campaign.state is CampaignState.STOPPED and state is RunState.PLANNED:
            state = RunState.CANCELLED
        infrastructure = any(x.failure is not None and x.failure.kind == "T" for x in earlier)
        purse = Purse.CONTINGENCY if infrastructure else Purse.MAIN
        used = min(report.device_s, attempt.reserved_s)
        self._set_attempt(
            attempt.id,
            state=AttemptState.ENDED,
            outcome=report.outcome,
            failure=report.failure,
            device_s=used,
            started_at=report.started_at,
            ended_at=report.ended_at,
        )
        self._enter(Entry(EntryKind.SETTLE, used, self.now, attempt.id, purse))
        wait = self.now + report.wait_s if state is RunState.PLANNED else run.not_before
        self._set_run(run.id, state=state, result=report.result, failure=report.failure, not_before=wait)
        if report.failure is None:
            return
        if report.action is RunbookAction.HOLD and self.campaign.state is CampaignState.RUNNING:
            self._do_pause(a.Pause(PauseReason.GUARDRAIL, report.failure.message))
        broken = next((h for h in self.hypotheses if h.id == run.draft.hypothesis), None)
        fixable = report.repair and self.campaign.phase is Phase.VALIDATION and report.charge is Charge.HYPOTHESIS
        if broken is not None and fixable and "repaired" not in broken.draft.title:
            self._add_hypotheses([repair(broken, report.repair, report.failure.message)])

    def _do_add(self, action: a.Add) -> None:
        evidence = self.evidence()
        self._add_hypotheses(action.hypotheses)
        for judged in action.judgements:
            found = self._hypothesis(judged.hypothesis)
            if is_terminal(found.state):
                continue
            self._set_hypothesis(
                found.id, state=judged.state, belief=judged.belief or found.belief, reason=judged.reason
            )
            record = experiment(self.campaign, evidence, found, judged, self.attempts, self.now)
            if record is not None:
                self.experiments[record.campaign, record.hypothesis, record.round] = record
        self._add_runs(action.runs)

    def _do_draftplan(self, _: a.DraftPlan) -> None:
        done = [r for r in self.runs if r.draft.phase is Phase.PROFILE]
        try:
            baseline = measure(done, self.codebase.objective, self.codebase.resources)
        except ReaError as error:
            self._do_fail(a.Fail(str(error)))
            return
        values, without = self.trainer.values, [Part(name) for name in self.campaign.options.get("without") or ()]
        agenda = first_agenda(self.techniques, self.codebase, values, done, baseline, self._insights(), without=without)
        ids = [len(self.hypotheses) + n for n in range(1, len(agenda.drafts) + 1)]
        try:
            plan = write_plan(
                self.campaign,
                codebase_digest="",
                signers_digest="",
                baseline=baseline,
                baseline_values=values,
                symptoms=agenda.symptoms,
                hypotheses=[PlannedHypothesis(i, d, s) for i, (d, s) in zip(ids, agenda.drafts, strict=True)],
                left_out=agenda.left_out,
                needs_code=agenda.needs_code,
                profile_s=self.balance.spent,
                additivity=agenda.additivity,
            )
        except BudgetTooSmallError as error:
            self._do_pause(a.Pause(PauseReason.BUDGET, error.message))
            return
        self._add_hypotheses([draft for draft, _ in agenda.drafts])
        self.plan = plan
        self._campaign(state=CampaignState.DRAFTED)

    def _insights(self) -> Insights:
        return learn(self.experiments.values(), self.techniques, self.codebase.name)

    def _do_beginround(self, action: a.BeginRound) -> None:
        evidence = self.evidence()
        incumbent = evidence.incumbent()
        agenda = next_agenda(evidence, incumbent, self.techniques, self._insights())
        for h in list(self.hypotheses):
            if h.state is HypothesisState.PROPOSED and h.draft.kind is HypothesisKind.SINGLE:
                self._set_hypothesis(h.id, state=HypothesisState.LEFT_OUT)
        self._campaign(
            round=action.round, phase=Phase.VALIDATION, incumbent=incumbent.id if incumbent is not None else None
        )
        self._add_hypotheses([draft for draft, _ in agenda.drafts])

    def _do_enter(self, action: a.Enter) -> None:
        visible = self.campaign.visible if action.phase is Phase.REVEAL else None
        self._campaign(phase=action.phase, incumbent=action.incumbent, visible=visible)
        self.events.append(f"{action.phase.value}: {action.why}")

    def _do_setvisible(self, action: a.SetVisible) -> None:
        self._campaign(visible=action.claim)

    def _do_finish(self, action: a.Finish) -> None:
        self._campaign(
            state=CampaignState.FINISHED,
            phase=Phase.DONE,
            verdict=action.verdict,
            claim=action.claim,
            reason=action.why,
            ended_at=self.now,
        )

    def _do_pause(self, action: a.Pause) -> None:
        self._campaign(state=CampaignState.PAUSED, pause_reason=action.reason, reason=action.why)

    def _do_fail(self, action: a.Fail) -> None:
        self._campaign(state=CampaignState.FAILED, reason=action.why)

    def _do_warn(self, _: a.Warn) -> None:
        self.warned = True

    def _do_withdraw(self, action: a.Withdraw) -> None:
        self._set_run(action.run, state=RunState.CANCELLED)

    def _do_cancel(self, action: a.Cancel) -> None:
        self.cancelled.add(action.attempt)

    # ------------------------------------------------------------ rows

    def evidence(self) -> Evidence:
        """What the campaign's runs say of its hypotheses now. Raises ReaError before there is a plan."""
        return Evidence(self._plan(), tuple(self.runs), tuple(self.hypotheses))

    def _plan(self) -> Plan:
        if self.plan is None:
            raise ReaError(f"{self.campaign.title} has no plan", hint="let its profile end first: `profile()`")
        return self.plan

    def veto(self, hypothesis: int) -> None:
        self._set_hypothesis(hypothesis, state=HypothesisState.VETOED, reason="vetoed")

    def _campaign(self, **changes: Any) -> None:
        if "state" in changes:
            check_transition("the campaign", self.campaign.state, changes["state"])
        self.campaign = replace(self.campaign, **changes)

    def _add_hypotheses(self, drafts: Iterable[HypothesisDraft]) -> list[int]:
        ids = []
        for draft in drafts:
            key, round_ = draft.full.key(), self.campaign.round
            known = next((h for h in self.hypotheses if h.round == round_ and h.draft.full.key() == key), None)
            if known is None:
                known = Hypothesis(len(self.hypotheses) + 1, 1, round_, draft, HypothesisState.PROPOSED)
                self.hypotheses.append(known)
            ids.append(known.id)
        return ids

    def _add_runs(self, drafts: Iterable[RunDraft]) -> None:
        keys = {run.draft.key for run in self.runs}
        for draft in drafts:
            if draft.key not in keys:
                self.runs.append(Run(len(self.runs) + 1, 1, draft, RunState.PLANNED))

    def _hypothesis(self, id_: int) -> Hypothesis:
        return self.hypotheses[id_ - 1]

    def _run(self, id_: int) -> Run:
        return self.runs[id_ - 1]

    def _attempt(self, id_: int) -> Attempt:
        return self.attempts[id_ - 1]

    def _set_hypothesis(self, id_: int, **changes: Any) -> None:
        check_transition(f"H-{id_}", self._hypothesis(id_).state, changes["state"])
        self.hypotheses[id_ - 1] = replace(self._hypothesis(id_), **changes)

    def _set_run(self, id_: int, **changes: Any) -> None:
        check_transition(f"R-{id_}", self._run(id_).state, changes["state"])
        self.runs[id_ - 1] = replace(self._run(id_), **changes)

    def _set_attempt(self, id_: int, **changes: Any) -> None:
        check_transition(f"A-{id_}", self._attempt(id_).state, changes["state"])
        self.attempts[id_ - 1] = replace(self._attempt(id_), **changes)

    def _approve(self, device_s: float) -> None:
        self._enter(Entry(EntryKind.APPROVE, device_s, self.now))

    def _enter(self, entry: Entry) -> None:
        self.entries.append(entry)
        self._ledger = None
        now = self.balance
        if now.spent + now.reserved > now.approved + 1e-6:
            raise ReaError(f"{entry} takes the ledger above what was approved: {now}")
