"""Taking a snapshot: rows from the store, the launcher's word, and what ended jobs left behind."""

from __future__ import annotations

from collections.abc import Mapping

from rea.domain.errors import ApprovalNeededError, LauncherUnreachableError
from rea.domain.jobs import Capacity, Handle, JobState, Observation, Outcome
from rea.domain.plan import Plan, read_plan
from rea.domain.run import Attempt
from rea.domain.share import Share, shares
from rea.domain.states import AttemptState, CampaignState
from rea.executor.snapshot import Report, Snapshot
from rea.executor.tools import RowsPort, Tools

# A scheduler may take a while to show a job that it has taken. This long after, one that it does not know is lost.
FORGOTTEN_S = 120.0


def _vanished(attempt: Attempt) -> Observation:
    """A job that was submitted and that the launcher does not know any more. How long it ran nobody can say."""
    words = f"the launcher does not know {attempt.job} any more"
    return Observation(JobState.ENDED, Outcome.LOST, message=words, started_at=attempt.intended_at)


def beyond(rows: RowsPort, plan: Plan) -> str:
    """What the rows allow that nobody signed; empty where it is nothing."""
    if rows.balance.approved > plan.budget_s + 1e-6:
        return f"the ledger allows {rows.balance.approved:.0f} device-seconds, and {plan.budget_s:.0f} were signed"
    if rows.campaign.codebase != plan.codebase:
        return "the campaign's row describes another codebase, or other limits, than the plan that was signed"
    return ""


class Observer:
    """Takes snapshots of one campaign during one wake; what cannot change within a wake is looked up once."""

    def __init__(self, tools: Tools, campaign: int) -> None:
        self._tools = tools
        self._campaign = campaign
        self._plans: dict[str, Plan] = {}
        self._problems: dict[object, str] = {}
        self._handles: dict[str, Handle] = {}
        self.cancelling: set[int] = set()
        self.told: set[str] = set()

    def snapshot(self) -> Snapshot:
        rows = self._tools.store.working_rows(self._campaign)
        observed, capacity = self._ask(rows)
        problem = self._signature_problem(rows)
        plan = self._plan(rows)
        return Snapshot(
            campaign=rows.campaign,
            plan=plan,
            signed=problem == "",
            hypotheses=rows.hypotheses,
            runs=rows.runs,
            attempts=rows.attempts,
            balance=rows.balance,
            closed=rows.closed,
            observed=observed,
            reports=self._reports(rows, observed),
            capacity=capacity,
            signature_problem=problem,
            cancelling=frozenset(self.cancelling),
            shares=self._shares(rows, plan),
            told=frozenset(self.told),
        )

    def _ask(self, rows: RowsPort) -> tuple[dict[str, Observation], Capacity | None]:
        """The launcher's word on open attempts. Where it does not answer nothing is known, and nothing is lost."""
        launcher = self._tools.launcher
        # An intent without an answer is submitted again before anything is believed of it: a job that was written down
        # and never started would be seen as lost.
        resubmits = rows.campaign.state in (CampaignState.PROFILING, CampaignState.RUNNING)
        unseen = (AttemptState.ENDED, AttemptState.INTENDED) if resubmits else (AttemptState.ENDED,)
        open_ = [attempt for attempt in rows.attempts if attempt.state not in unseen]
        try:
            for attempt in open_:
                if attempt.job not in self._handles:
                    handle = launcher.find(attempt.job)
                    if handle is not None:
                        self._handles[attempt.job] = handle
            handles = [self._handles[attempt.job] for attempt in open_ if attempt.job in self._handles]
            seen, capacity = launcher.observe(handles), launcher.capacity()
        except LauncherUnreachableError:
            return {}, None
        now = self._tools.clock()
        gone = [a for a in open_ if a.state is AttemptState.SUBMITTED and a.job not in seen]
        return {**{a.job: _vanished(a) for a in gone if now - a.intended_at >= FORGOTTEN_S}, **seen}, capacity

    def _reports(self, rows: RowsPort, observed: Mapping[str, Observation]) -> dict[int, Report]:
        reports: dict[int, Report] = {}
        for attempt in rows.attempts:
            seen = observed.get(attempt.job)
            if attempt.state is not AttemptState.ENDED and seen is not None and seen.state is JobState.ENDED:
                reports[attempt.id] = self._tools.workbench.report(rows, attempt, seen)
        return reports

    def _plan(self, rows: RowsPort) -> Plan | None:
        if rows.plan is None or rows.campaign.state not in (CampaignState.RUNNING, CampaignState.PAUSED):
            return None
        if rows.plan.digest not in self._plans:
            self._plans[rows.plan.digest] = read_plan(rows.plan)
        return self._plans[rows.plan.digest]

    def _shares(self, rows: RowsPort, plan: Plan | None) -> tuple[Share, ...]:
        per_day_s = plan.per_day_s if plan is not None else None

        def used(since: float, team: str | None) -> float:
            return self._tools.store.used(self._campaign, team, since)

        return shares(per_day_s, rows.campaign.codebase.team, self._tools.clock(), used)

    def _signature_problem(self, rows: RowsPort) -> str:
        """Why the plan may not run; empty when it may."""
        if rows.campaign.state is not CampaignState.RUNNING:
            return "the campaign is not running"
        if rows.plan is None:
            return "there is no plan"
        return self.verified(rows) or beyond(rows, read_plan(rows.plan))

    def verified(self, rows: RowsPort) -> str:
        """What is wrong with the signature; empty where nothing is. The very same one is verified once a wake."""
        if rows.plan is None:
            return "there is no plan"
        key = (rows.plan, rows.approval)
        if key not in self._problems:
            try:
                self._tools.workbench.verify(rows.plan, rows.approval, rows.campaign)
                self._problems[key] = ""
            except ApprovalNeededError as error:
                self._problems[key] = str(error)
        return self._problems[key]
