"""A world without processes: campaigns driven by `decide` alone, over values in memory and a clock that jumps.

It does what a wake does with each action (store, launcher, trainer and evaluator in one), checks every transition and
the budget as the store does, and makes results from a response that the test gives: treatment → true relative gain.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from rea.codebase.config import parse
from rea.domain.campaign import Campaign
from rea.domain.codebase import Codebase, Scalar
from rea.domain.hypothesis import Hypothesis
from rea.domain.jobs import Capacity
from rea.domain.ledger import Balance, Entry, EntryKind, Purse, balance
from rea.domain.plan import Plan, PlannedHypothesis
from rea.domain.run import Attempt, Failure, Reading, Run, RunDraft, RunResult
from rea.domain.runbook import Action as RunbookAction
from rea.domain.runbook import Charge
from rea.domain.states import (
    AttemptState,
    CampaignState,
    HypothesisState,
    Phase,
    RunState,
    check_transition,
    is_terminal,
)
from rea.domain.technique import Technique
from rea.domain.treatment import Treatment
from rea.executor import actions as a
from rea.executor.decide import decide, next_state
from rea.executor.snapshot import Report, Snapshot
from rea.knowledge.cards import load_techniques
from rea.planner.advance import repair
from rea.planner.compose import first_agenda, next_agenda
from rea.planner.draft import write_plan
from rea.planner.evidence import Evidence
from rea.planner.layout import RETRY_CAP
from rea.planner.profile import measure

TINY = Path(__file__).parent / "tinyranker"
VALUES: dict[str, Scalar] = {
    "optim.lr": 0.003,
    "optim.schedule": "constant",
    "optim.warmup": 0.0,
    "optim.embedding_l2": 0.0,
    "optim.ema_decay": 0.0,
    "model.normalization": "none",
    "model.dropout": 0.0,
    "model.embedding_dim": 8,
    "features.numeric_encoding": "raw",
    "loss.label_smoothing": 0.0,
    "train.batch_size": 1024,
}
NE = 0.8
FLOOR = 0.7
BLOCKS = 20


@cache
def tiny_codebase(slots: int = 1, walltime_s: float = 1200.0) -> Codebase:
    found = parse((TINY / "rea.toml").read_text(), TINY)
    resources = replace(found.resources, walltime_s=walltime_s)
    return replace(found, launcher=replace(found.launcher, slots=slots), resources=resources)


@cache
def techniques() -> tuple[Technique, ...]:
    return load_techniques()


Response = Callable[[Treatment], float]


@dataclass
class World:
    """`noise` is the relative sd of one run's metric, `rows` that of a treatment's gain on one split (finite rows).

    `breaks` tells what goes wrong with an attempt (run, number of the attempt), or None.
    """

    seed: int
    response: Response
    noise: float = 0.001
    rows: float = 0.0005
    run_s: float = 60.0
    slots: int = 1
    budget: str = "40r"
    rounds: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    breaks: Callable[[Run, int], Report | None] = lambda run, number: None
    most_steps: int = 20_000

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.now = 1e6
        self.codebase = tiny_codebase(self.slots)
        options = {"budget": self.budget, "profile_runs": 3, "rounds": self.rounds, **self.options}
        self.campaign = Campaign(
            1, "simulated", self.codebase, "c0ffee", CampaignState.PROFILING, 1, Phase.PROFILE, self.now, {}, options
        )
        self.plan: Plan | None = None
        self.signed = False
        self.hypotheses: list[Hypothesis] = []
        self.runs: list[Run] = []
        self.attempts: list[Attempt] = []
        self.entries: list[Entry] = []
        self.ends: dict[int, float] = {}  # attempt → when its job ends
        self.cancelled: set[int] = set()
        self.events: list[str] = []
        self.submitted_unsigned = 0
        self.revealed = 0
        self.warned = False

    # ------------------------------------------------------------ the course of a campaign

    def profile(self) -> World:
        limit = self.codebase.resources.walltime_s
        self._approve(4 * limit * self.codebase.resources.devices)
        self._add_runs(
            [
                RunDraft(f"baseline/seed-{s}", None, 0, Phase.PROFILE, Treatment(), s, 1.0, limit, limit)
                for s in (1, 2, 3)
            ]
        )
        self._until(lambda: self.campaign.state is not CampaignState.PROFILING)
        return self

    def sign(self) -> World:
        assert self.plan is not None
        self._campaign(state=CampaignState.APPROVED)
        self._approve(self.plan.budget_s)
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
        raise AssertionError(f"no rest after {self.most_steps} steps: {self.campaign.phase}, {self.events[-5:]}")

    def step(self) -> tuple[a.Action, ...]:
        """One snapshot, one decision, its actions; asleep, the clock jumps to what comes next."""
        taken = decide(self.snapshot(), self.now)
        assert taken, "decide said nothing"
        for action in taken:
            if isinstance(action, a.Sleep):
                self._sleep(action)
                break
            self.apply(action)
            if isinstance(action, a.Pause):
                break
        return taken

    def _sleep(self, action: a.Sleep) -> None:
        times = [end for id_, end in self.ends.items() if self._attempt(id_).state is not AttemptState.ENDED]
        times += [action.until] if action.until is not None else []
        assert times or self.campaign.state is not CampaignState.RUNNING, "asleep for ever"
        if times:
            self.now = max(self.now, min(times))

    # ------------------------------------------------------------ what a wake sees

    @property
    def balance(self) -> Balance:
        return balance(self.entries)

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
        run = self._run(attempt.run)
        times = {"device_s": self.duration(attempt), "started_at": attempt.intended_at, "ended_at": self.now}
        if attempt.id in self.cancelled:
            return Report("cancelled", **{**times, "device_s": self.now - attempt.intended_at})
        broken = self.breaks(run, attempt.number)
        if broken is not None:
            return replace(broken, **times)
        if times["device_s"] >= attempt.reserved_s:
            failure = Failure("time-limit", "R", "The run did not end within its wall time")
            return Report("timeout", failure=failure, action=RunbookAction.DROP, **times)
        if run.draft.phase is Phase.REVEAL:
            return Report("succeeded", result=self._revealed(), **times)
        result, pruned = self.trained(run, times["device_s"])
        if pruned:
            times["device_s"] *= result.fidelity
        return Report("stopped" if pruned else "succeeded", result=result, pruned=pruned, **times)

    # ------------------------------------------------------------ what training would give

    def _gauss(self, *about: object) -> float:
        return random.Random(f"{self.seed}/{about}").gauss(0.0, 1.0)

    def value(self, treatment: Treatment, seed: int, split: str) -> float:
        gain = self.response(treatment)
        if not treatment.empty:
            gain += self.rows * self._gauss("rows", treatment.key(), split)
        luck = self._gauss("shared", seed) + self._gauss(treatment.key(), seed)
        return NE * (1 - gain) * (1 + self.noise * luck / math.sqrt(2))

    def blocks(self, treatment: Treatment, seed: int, split: str) -> tuple[float, ...]:
        """Losses of blocks of rows that sum to the metric and vary as finite rows make a gain vary."""
        value, spread = self.value(treatment, seed, split), self.rows * math.sqrt(BLOCKS)
        parts = [
            1 + 0.05 * self._gauss("block", i, split) + spread * self._gauss("block", i, treatment.key(), split)
            for i in range(BLOCKS)
        ]
        return tuple(value * part / sum(parts) for part in parts)

    def trained(self, run: Run, wall_s: float) -> tuple[RunResult, bool]:
        draft = run.draft
        final = self.value(draft.treatment, draft.seed, "valid")
        curve: list[Reading] = []
        pruned = False
        for epoch in range(1, 6):
            value = final + 0.05 * (math.exp(-epoch) - math.exp(-5)) * NE
            curve.append(Reading(epoch, {"epoch": epoch, "ne": value, "train_ne": value * (1 - 0.02 * epoch)}))
            limits = [limit for x, limit in draft.stop_limits if x <= epoch]
            if limits and value > limits[-1]:
                pruned = True
                break
        fidelity = len(curve) / 5 if pruned else 1.0
        metrics = {"ne": curve[-1].metrics["ne"], "calibration": 1.0, "irreducible_ne": FLOOR}
        losses = () if pruned else self.blocks(draft.treatment, draft.seed, "valid")
        return RunResult(metrics, tuple(curve), "epoch", wall_s, wall_s, 2**20, fidelity, True, 0, losses), pruned

    def _revealed(self) -> RunResult:
        self.revealed += 1
        lines: dict[str, dict[str, object]] = {}
        for run in self.runs:
            if run.draft.phase is Phase.CONFIRMATION and run.state is RunState.SUCCEEDED:
                treatment, seed = run.draft.treatment, run.draft.seed
                losses = list(self.blocks(treatment, seed, "test"))
                line = {"ne": self.value(treatment, seed, "test"), "calibration": 1.0, "irreducible_ne": FLOOR}
                lines[str(run.id)] = {**line, "blocks": {"loss": losses}}
        return RunResult({}, (), "epoch", 1.0, 1.0, 2**20, sealed=lines)

    def duration(self, attempt: Attempt) -> float:
        draft = self._run(attempt.run).draft
        if draft.phase is Phase.REVEAL:
            return 5.0
        factor = 1.0 + 0.03 * self._gauss("time", attempt.run, attempt.number)
        hypothesis = next((h for h in self.hypotheses if h.id == draft.hypothesis), None)
        cost = hypothesis.draft.cost_factor if hypothesis is not None else 1.0
        return min(self.run_s * cost * factor, attempt.reserved_s)

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
        report, attempt = action.report, self._attempt(action.attempt)
        run = self._run(attempt.run)
        state = next_state(run, report, RETRY_CAP, attempt.number)
        self._set_attempt(
            attempt.id,
            state=AttemptState.ENDED,
            outcome=report.outcome,
            failure=report.failure,
            device_s=report.device_s,
        )
        self._enter(Entry(EntryKind.SETTLE, min(report.device_s, attempt.reserved_s), self.now, attempt.id, Purse.MAIN))
        wait = self.now + report.wait_s if state is RunState.PLANNED else run.not_before
        self._set_run(run.id, state=state, result=report.result, failure=report.failure, not_before=wait)
        broken = next((h for h in self.hypotheses if h.id == run.draft.hypothesis), None)
        fixable = report.repair and self.campaign.phase is Phase.VALIDATION and report.charge is Charge.HYPOTHESIS
        if broken is not None and report.failure is not None and fixable and "repaired" not in broken.draft.title:
            self._add_hypotheses([repair(broken, report.repair, report.failure.message)])

    def _do_add(self, action: a.Add) -> None:
        self._add_hypotheses(action.hypotheses)
        for judged in action.judgements:
            found = self._hypothesis(judged.hypothesis)
            if not is_terminal(found.state):
                self._set_hypothesis(found.id, state=judged.state, belief=judged.belief, reason=judged.reason)
        self._add_runs(action.runs)

    def _do_draftplan(self, _: a.DraftPlan) -> None:
        done = [r for r in self.runs if r.draft.phase is Phase.PROFILE]
        baseline = measure(done, self.codebase.objective, self.codebase.resources)
        agenda = first_agenda(techniques(), self.codebase, VALUES, done, baseline.noise, ())
        ids = self._add_hypotheses([draft for draft, _ in agenda.drafts])
        self.plan = write_plan(
            self.campaign,
            codebase_digest="",
            signers_digest="",
            baseline=baseline,
            baseline_values=VALUES,
            symptoms=agenda.symptoms,
            hypotheses=[PlannedHypothesis(i, d, s) for i, (d, s) in zip(ids, agenda.drafts, strict=True)],
            left_out=agenda.left_out,
            needs_code=agenda.needs_code,
            profile_s=self.balance.spent,
        )
        self._campaign(state=CampaignState.DRAFTED)

    def _do_beginround(self, action: a.BeginRound) -> None:
        assert self.plan is not None
        evidence = Evidence(self.plan, tuple(self.hypotheses), tuple(self.runs))
        incumbent = evidence.incumbent()
        agenda = next_agenda(evidence, incumbent, techniques(), ())
        for h in list(self.hypotheses):
            if h.state is HypothesisState.PROPOSED:
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

    def veto(self, hypothesis: int) -> None:
        self._set_hypothesis(hypothesis, state=HypothesisState.VETOED, reason="vetoed")

    def _campaign(self, **changes: Any) -> None:
        if "state" in changes:
            check_transition("the campaign", self.campaign.state, changes["state"])
        self.campaign = replace(self.campaign, **changes)

    def _add_hypotheses(self, drafts: Any) -> list[int]:
        ids = []
        for draft in drafts:
            key, round_ = draft.full.key(), self.campaign.round
            known = next((h for h in self.hypotheses if h.round == round_ and h.draft.full.key() == key), None)
            if known is None:
                known = Hypothesis(len(self.hypotheses) + 1, 1, round_, draft, HypothesisState.PROPOSED)
                self.hypotheses.append(known)
            ids.append(known.id)
        return ids

    def _add_runs(self, drafts: Any) -> None:
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
        now = self.balance
        assert now.spent + now.reserved <= now.approved + 1e-6, (entry, now)
