"""What a wake works with: the store, a launcher, the codebase, a clock, knowledge. All of it is handed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rea.domain.campaign import Approval, Campaign, Event, PlanRecord
from rea.domain.codebase import Scalar
from rea.domain.data import DataProfile
from rea.domain.environment import Environment
from rea.domain.hypothesis import Belief, Hypothesis, HypothesisDraft
from rea.domain.insight import Context, ExperimentRecord
from rea.domain.jobs import JobSpec, Launcher, Observation
from rea.domain.ledger import Balance, Purse
from rea.domain.lesson import Lesson
from rea.domain.question import Option
from rea.domain.rows import Closed
from rea.domain.run import Attempt, Failure, Run, RunDraft, RunResult
from rea.domain.states import CampaignState, HypothesisState, RunState
from rea.domain.technique import Technique
from rea.domain.treatment import Treatment
from rea.executor.snapshot import Report
from rea.insights.snapshot import Insights


class RowsPort(Protocol):
    """A campaign's rows as of one instant."""

    @property
    def campaign(self) -> Campaign: ...
    @property
    def hypotheses(self) -> tuple[Hypothesis, ...]: ...
    @property
    def runs(self) -> tuple[Run, ...]: ...
    @property
    def attempts(self) -> tuple[Attempt, ...]: ...
    @property
    def balance(self) -> Balance: ...
    @property
    def plan(self) -> PlanRecord | None: ...
    @property
    def approval(self) -> Approval | None: ...
    @property
    def closed(self) -> Closed: ...


class TransactionPort(Protocol):
    """Changes of one campaign, all or nothing; the store checks states, fence and budget."""

    def set_campaign(self, campaign: int, **changes: Any) -> None: ...
    def add_hypotheses(
        self, campaign: int, round_: int, drafts: Sequence[HypothesisDraft], state: HypothesisState = ...
    ) -> list[int]: ...
    def set_hypothesis(
        self,
        id_: int,
        *,
        state: HypothesisState | None = None,
        belief: Belief | None = None,
        reason: str | None = None,
        round: int | None = None,
        draft: HypothesisDraft | None = None,
    ) -> None: ...
    def add_runs(self, campaign: int, drafts: Sequence[RunDraft]) -> list[int]: ...
    def set_run(
        self,
        id_: int,
        *,
        state: RunState | None = None,
        result: RunResult | None = None,
        failure: Failure | None = None,
        not_before: float | None = None,
        adjust: Mapping[str, Scalar] | None = None,
    ) -> None: ...
    def intend_attempt(
        self, run: int, *, job: str, run_dir: str, reserve_s: float, at: float, purse: Purse = ...
    ) -> Attempt: ...
    def submitted(self, attempt: int) -> None: ...
    def end_attempt(
        self,
        attempt: int,
        *,
        outcome: str,
        failure: Failure | None,
        device_s: float,
        started_at: float | None,
        ended_at: float,
        purse: Purse = ...,
    ) -> None: ...
    def event(self, campaign: int, kind: str, message: str, at: float, **data: Any) -> int: ...
    def ask(self, campaign: int, kind: str, subject: str, text: str, options: Sequence[Option], at: float) -> int: ...
    def learn(self, pattern: str, cause: str, at: float) -> None: ...
    def tried(self, runbook: str, remedy: str, worked: bool) -> None: ...
    def add_plan(self, campaign: int, text: str, digest: str, at: float) -> PlanRecord: ...
    def events(self, campaign: int, after_id: int, limit: int | None) -> list[Event]: ...
    def add_experiment(self, record: ExperimentRecord) -> int: ...


class StorePort(Protocol):
    @property
    def uid(self) -> str: ...
    def snapshot_rows(self, campaign: int) -> RowsPort:
        """All of them."""
        ...

    def working_rows(self, campaign: int) -> RowsPort:
        """What decisions are made on: all but what is closed."""
        ...

    def remedies(self) -> Mapping[tuple[str, str], tuple[int, int]]:
        """How often each remedy was tried after each runbook's failure, and how often it worked."""
        ...

    def lessons(self) -> Mapping[str, Lesson]:
        """What investigations found about failures that no runbook knows, by pattern."""
        ...

    def used(self, campaign: int, team: str | None, since: float) -> float:
        """Device-seconds, used or held, of attempts begun since then: of the campaign, or of all of a team."""
        ...

    def head(self, campaign: int) -> str:
        """The end of the campaign's trail, for others to hold it against later."""
        ...

    def altered(self, campaign: int) -> str:
        """What of a campaign's rows something else than REA wrote, and no engineer vouched for; empty where nothing."""
        ...

    def transaction(self, campaign: int, fence: int | None = None) -> AbstractContextManager[TransactionPort]: ...
    def acquire(self, campaign: int, owner: str, ttl_s: float, now: float) -> int | None: ...
    def release(self, campaign: int, fence: int) -> None: ...


class WakeFilesPort(Protocol):
    """The calls of jobs that have ended, and the lock that keeps processes of one machine out of each other."""

    def waiting(self) -> set[int]: ...
    def take(self, campaign: int) -> None: ...
    def lock(self, campaign: int) -> AbstractContextManager[str | None]: ...


class WorkbenchPort(Protocol):
    """The registered codebase at the campaign's commit. Every method may raise ReaError; asking twice does no harm."""

    def run_dir(self, campaign: int, run: int, number: int) -> Path:
        """Where an attempt of a run works, by its number."""
        ...

    def values(self, campaign: Campaign) -> Mapping[str, Scalar]:
        """What the baseline sets, by knob."""
        ...

    def data(self, campaign: Campaign) -> DataProfile | None:
        """What the codebase tells about its data; None where it offers no profile."""
        ...

    def data_digest(self, campaign: Campaign) -> str:
        """Of what trainings read beside the repository; empty where the codebase names nothing."""
        ...

    def environment(self, campaign: Campaign) -> Environment | None:
        """What trainings find installed; None where it cannot be told."""
        ...

    def environment_change(self, campaign: Campaign, before: Environment | None) -> str:
        """What is different now from what the plan pinned; empty where nothing is, or where an engineer granted it."""
        ...

    def signers(self, campaign: Campaign) -> str:
        """Digest of who may approve."""
        ...

    def verify(self, plan: PlanRecord, approval: Approval | None, campaign: Campaign) -> None:
        """Raise ApprovalNeededError unless the plan carries a good signature of somebody who may approve."""
        ...

    def job(
        self, campaign: Campaign, run: Run, attempt: Attempt, runs: tuple[Run, ...], avoid: tuple[str, ...] = ()
    ) -> JobSpec:
        """The job of an attempt, not to run on the nodes in `avoid`. Raises ReaError where it cannot be made."""
        ...

    def report(self, rows: RowsPort, attempt: Attempt, seen: Observation) -> Report:
        """What an attempt that is seen to have ended amounts to."""
        ...

    def restore(self, campaign: Campaign) -> tuple[str, ...]:
        """Make the code that judges what its commit is again; gives the files that were changed."""
        ...

    def propose(self, campaign: Campaign, treatment: Treatment, branch: str, message: str) -> None:
        """The branch of a launch; making it twice gives the same one."""
        ...


@dataclass(frozen=True)
class Tools:
    """`recall` says what is known of techniques, for planning in a codebase of this name on data with these facts.

    `publish` is called when a campaign has ended, with its id; what it does must be safe to do twice.
    """

    store: StorePort
    launcher: Launcher
    workbench: WorkbenchPort
    wakefiles: WakeFilesPort
    clock: Callable[[], float]
    techniques: Callable[[], tuple[Technique, ...]]
    recall: Callable[[Sequence[Technique], str, Context], Insights]
    publish: Callable[[int], None]


@dataclass(frozen=True)
class Wake:
    """One wake of one campaign: its tools and the fence it writes with."""

    tools: Tools
    campaign: int
    fence: int
    verified: Callable[[RowsPort], str]  # what is wrong with the signature, by the rows of now

    def rows(self) -> RowsPort:
        return self.tools.store.working_rows(self.campaign)

    def transaction(self) -> Any:
        return self.tools.store.transaction(self.campaign, self.fence)

    def signature_problem(self, rows: RowsPort) -> str | None:
        """Why the plan's signature does not hold by these rows, empty where it does; None where none is needed yet."""
        if rows.campaign.state is CampaignState.PROFILING or rows.plan is None:
            return None
        return self.verified(rows)
