"""Taking a snapshot: rows from the store, the launcher's word, and what ended jobs left behind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rea.codebase.overrides import baseline_values
from rea.domain.campaign import Campaign
from rea.domain.codebase import Scalar
from rea.domain.errors import ApprovalNeededError, LauncherUnreachableError
from rea.domain.jobs import Capacity, Handle, JobState, Observation
from rea.domain.plan import Plan, read_plan
from rea.domain.run import Attempt, Run, RunResult
from rea.domain.states import AttemptState, CampaignState, Phase, RunState
from rea.domain.treatment import Treatment
from rea.executor.harvest import harvest
from rea.executor.jobs import checkout
from rea.executor.snapshot import Report, Snapshot
from rea.executor.tools import RowsPort, Tools
from rea.executor.triage import assess
from rea.guard.approval import verified_approval
from rea.guard.signing import read_signers


class Observer:
    """Takes snapshots of one campaign during one wake; what cannot change within a wake is looked up once."""

    def __init__(self, tools: Tools, campaign: int) -> None:
        self._tools = tools
        self._campaign = campaign
        self._plans: dict[str, Plan] = {}
        self._problems: dict[str, str] = {}
        self._handles: dict[str, Handle] = {}
        self._values: Mapping[str, Scalar] | None = None
        self.cancelling: set[int] = set()
        self.warned = False

    def snapshot(self) -> Snapshot:
        rows = self._tools.store.snapshot_rows(self._campaign)
        observed, capacity = self._ask(rows)
        problem = self._signature_problem(rows)
        return Snapshot(
            campaign=rows.campaign,
            plan=self._plan(rows),
            signed=problem == "",
            hypotheses=rows.hypotheses,
            runs=rows.runs,
            attempts=rows.attempts,
            balance=rows.balance,
            observed=observed,
            reports=self._reports(rows, observed),
            capacity=capacity,
            signature_problem=problem,
            cancelling=frozenset(self.cancelling),
            warned=self.warned,
        )

    def _ask(self, rows: RowsPort) -> tuple[dict[str, Observation], Capacity | None]:
        """The launcher's word on open attempts. Where it does not answer nothing is known, and nothing is lost."""
        launcher = self._tools.launcher
        try:
            for attempt in rows.attempts:
                if attempt.state is not AttemptState.ENDED and attempt.job not in self._handles:
                    handle = launcher.find(attempt.job)
                    if handle is not None:
                        self._handles[attempt.job] = handle
            open_jobs = {a.job for a in rows.attempts if a.state is not AttemptState.ENDED}
            handles = [handle for job, handle in self._handles.items() if job in open_jobs]
            return launcher.observe(handles), launcher.capacity()
        except LauncherUnreachableError:
            return {}, None

    def _reports(self, rows: RowsPort, observed: Mapping[str, Observation]) -> dict[int, Report]:
        runs = {run.id: run for run in rows.runs}
        reports: dict[int, Report] = {}
        for attempt in rows.attempts:
            seen = observed.get(attempt.job)
            if attempt.state is not AttemptState.ENDED and seen is not None and seen.state is JobState.ENDED:
                reports[attempt.id] = self._assess(rows, runs[attempt.run], attempt, seen)
        return reports

    def _assess(self, rows: RowsPort, run: Run, attempt: Attempt, seen: Observation) -> Report:
        folder = Path(attempt.run_dir)
        step = (seen.exit or {}).get("step")
        paired = _paired(rows.runs, run)
        return assess(
            run,
            seen,
            harvest(folder, str(step) if step else None),
            rows.campaign.codebase,
            self._knobs(rows.campaign),
            self._tools.runbooks(),
            ended_attempts=1 + sum(1 for a in rows.attempts if a.run == run.id and a.state is AttemptState.ENDED),
            reserved_s=attempt.reserved_s,
            paired=paired,
            rows=_rows_of_baseline(rows.runs, run, paired),
        )

    def _knobs(self, campaign: Campaign) -> Mapping[str, Scalar]:
        if self._values is None:
            self._values = baseline_values(campaign.codebase, checkout(self._tools, campaign, Treatment()))
        return self._values

    def _plan(self, rows: RowsPort) -> Plan | None:
        if rows.plan is None or rows.campaign.state not in (CampaignState.RUNNING, CampaignState.PAUSED):
            return None
        if rows.plan.digest not in self._plans:
            self._plans[rows.plan.digest] = read_plan(rows.plan)
        return self._plans[rows.plan.digest]

    def _signature_problem(self, rows: RowsPort) -> str:
        """Why the plan may not run; empty when it may. The signature is verified once a wake, not once a snapshot."""
        if rows.campaign.state is not CampaignState.RUNNING:
            return "the campaign is not running"
        if rows.plan is None:
            return "there is no plan"
        key = f"{rows.plan.id}/{rows.plan.digest}/{rows.plan.state}"
        if key not in self._problems:
            try:
                verified_approval(
                    rows.plan, rows.approval, rows.campaign, read_signers(Path(rows.campaign.codebase.root))
                )
                self._problems[key] = ""
            except ApprovalNeededError as error:
                self._problems[key] = str(error)
        return self._problems[key]


def _rows_of_baseline(runs: tuple[Run, ...], run: Run, paired: RunResult | None) -> float | None:
    """How many rows the evaluator judged for the baseline: on the same seed, else on all seeds if they agree."""
    if run.draft.phase is Phase.PROFILE:
        return None
    if paired is not None:
        return paired.metrics.get("rows")
    done = [r.result for r in runs if r.draft.treatment.empty and r.state is RunState.SUCCEEDED and r.result]
    counts = {result.metrics["rows"] for result in done if "rows" in result.metrics}
    return counts.pop() if len(counts) == 1 else None


def _paired(runs: tuple[Run, ...], run: Run) -> RunResult | None:
    """The baseline's result on the same seed."""
    for other in runs:
        same = other.draft.treatment.empty and other.draft.seed == run.draft.seed and other.id != run.id
        if same and other.state is RunState.SUCCEEDED:
            return other.result
    return None
