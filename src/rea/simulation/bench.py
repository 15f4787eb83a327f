"""A codebase that is not there: what a simulated campaign's jobs are, and what they leave behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rea.domain.campaign import Approval, Campaign, PlanRecord
from rea.domain.codebase import Scalar
from rea.domain.data import DataProfile
from rea.domain.environment import Environment
from rea.domain.errors import ApprovalNeededError
from rea.domain.jobs import JobSpec, Observation, Outcome
from rea.domain.run import Attempt, Failure, Run, RunResult
from rea.domain.runbook import TIME_LIMIT
from rea.domain.runbook import Action as RunbookAction
from rea.domain.states import Phase, RunState
from rea.domain.treatment import Treatment
from rea.executor.snapshot import Report
from rea.executor.tools import RowsPort
from rea.executor.triage import unwanted
from rea.simulation.launcher import Play
from rea.simulation.trainer import Trainer, lost

NOWHERE = Path("/simulated")


@dataclass(frozen=True, slots=True)
class _Known:
    run: Run
    attempt: Attempt
    cost: float  # training time over the baseline's
    report: Report  # but for its times


class SimulatedBench:
    """The workbench of one simulated trainer. `breaks` tells what goes wrong with an attempt (run, number of the
    attempt), or None; left out, the trainer tells it. `costs` gives the training time over the baseline's of a
    hypothesis, by id. Without `signed` no signature verifies."""

    def __init__(
        self,
        trainer: Trainer,
        costs: Callable[[int], float],
        breaks: Callable[[Run, int], Report | None] | None = None,
    ) -> None:
        self.trainer, self._costs = trainer, costs
        self.breaks = breaks or trainer.broken
        self.signed = True
        self.revealed = 0  # evaluations of the sealed split
        self.branches: set[str] = set()
        self._jobs: dict[str, _Known] = {}
        self._results: dict[int, tuple[RunResult, bool]] = {}  # run → what training it shows, and whether it was pruned

    def run_dir(self, campaign: int, run: int, number: int) -> Path:
        return NOWHERE / f"C-{campaign}" / f"R-{run}" / str(number)

    def values(self, campaign: Campaign) -> Mapping[str, Scalar]:
        return self.trainer.values

    def data(self, campaign: Campaign) -> DataProfile | None:
        return None

    def data_digest(self, campaign: Campaign) -> str:
        return ""

    def environment(self, campaign: Campaign) -> Environment | None:
        return None

    def environment_change(self, campaign: Campaign, before: Environment | None) -> str:
        return ""

    def signers(self, campaign: Campaign) -> str:
        return ""

    def verify(self, plan: PlanRecord, approval: Approval | None, campaign: Campaign) -> None:
        if not self.signed or approval is None or approval.digest != plan.digest:
            raise ApprovalNeededError(f"the plan of {campaign.title} is not signed")

    def restore(self, campaign: Campaign) -> tuple[str, ...]:
        return ()

    def propose(self, campaign: Campaign, treatment: Treatment, branch: str, message: str) -> None:
        self.branches.add(branch)

    def job(
        self, campaign: Campaign, run: Run, attempt: Attempt, runs: tuple[Run, ...], avoid: tuple[str, ...] = ()
    ) -> JobSpec:
        limit_s = attempt.reserved_s / campaign.codebase.resources.devices
        cost = 1.0 if run.draft.hypothesis is None else self._costs(run.draft.hypothesis)
        report = self._outcome(run, attempt, runs, limit_s, cost)
        self._jobs[attempt.job] = _Known(run, attempt, cost, report)
        return JobSpec(name=attempt.job, run_dir=Path(attempt.run_dir), steps=(), walltime_s=limit_s, avoid=avoid)

    def play(self, spec: JobSpec) -> Play:
        """What becomes of a job that was made here."""
        known = self._jobs[spec.name]
        self.revealed += known.run.draft.phase is Phase.REVEAL
        seconds = self._seconds(known.run, known.attempt.number, spec.walltime_s, known.cost)
        return Play(seconds, Outcome(known.report.outcome))

    def nothing_of(self, job: str) -> None:
        """Have a job say that it succeeded and leave nothing."""
        known = self._jobs[job]
        failure = Failure("missing-final", "S", "The trainer ended well and left no result")
        silent = Report("succeeded", failure=failure, action=RunbookAction.RETRY, retry=known.attempt.number < 2)
        self._jobs[job] = replace(known, report=silent)

    def report(self, rows: RowsPort, attempt: Attempt, seen: Observation) -> Report:
        known, started = self._jobs[attempt.job], seen.started_at or 0.0
        if seen.outcome is Outcome.LOST and seen.ended_at is None:
            gone = lost(seen.message, attempt.number)
            return replace(gone, device_s=attempt.reserved_s, started_at=started)
        ended = seen.ended_at or started
        report = known.report
        if seen.outcome is Outcome.CANCELLED:
            here = unwanted(rows, known.run)
            elsewhere = replace(lost("somebody else cancelled it", attempt.number), outcome="cancelled")
            report = Report("cancelled") if here else elsewhere
        if report.result is not None and known.run.draft.phase is not Phase.REVEAL:
            report = replace(report, result=replace(report.result, wall_s=ended - started, cpu_s=ended - started))
        devices = rows.campaign.codebase.resources.devices
        return replace(report, device_s=(ended - started) * devices, started_at=started, ended_at=ended)

    def _outcome(self, run: Run, attempt: Attempt, runs: tuple[Run, ...], limit_s: float, cost: float) -> Report:
        broken = self.breaks(run, attempt.number)
        if broken is not None:
            return broken
        if self._seconds(run, attempt.number, limit_s, cost) >= limit_s:
            failure = Failure(TIME_LIMIT, "R", "The run did not end within its wall time")
            return Report("timeout", failure=failure, action=RunbookAction.DROP)
        if run.draft.phase is Phase.REVEAL:
            return Report("succeeded", result=self._revealed(runs))
        result, pruned = self._trained(run)
        return Report("stopped" if pruned else "succeeded", result=result, pruned=pruned)

    def _revealed(self, runs: tuple[Run, ...]) -> RunResult:
        sealed = self.trainer.codebase.objective.sealed or ""
        lines = {
            str(run.id): self.trainer.line(run.draft.treatment, run.draft.seed, sealed)
            for run in runs
            if run.draft.phase is Phase.CONFIRMATION and run.state is RunState.SUCCEEDED
        }
        return RunResult({}, (), "epoch", 1.0, 1.0, 2**20, sealed=lines)

    def _seconds(self, run: Run, number: int, limit_s: float, cost: float) -> float:
        """Wall seconds after which an attempt ends, if nobody cancels it; a stopped run ends early."""
        if run.draft.phase is Phase.REVEAL:
            return min(limit_s, 0.1 * self.trainer.nature.run_s)
        whole = self.trainer.seconds(run, number, cost)
        if whole < limit_s and run.draft.stop_limits:
            whole *= self._trained(run)[0].fidelity
        return min(whole, limit_s)

    def _trained(self, run: Run) -> tuple[RunResult, bool]:
        if run.id not in self._results:
            self._results[run.id] = self.trainer.trained(run)
        return self._results[run.id]
