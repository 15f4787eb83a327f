"""The store's promises kept by values in memory: what a simulated campaign is written into.

Every transaction is all or nothing and refuses what `rea.store` refuses: a state that does not follow, a reservation
beyond the approval, a second attempt beside an open one, the fence of a lease that is over. It has one writer at a
time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from rea.domain.campaign import Approval, Campaign, Event, PlanRecord
from rea.domain.codebase import Scalar
from rea.domain.errors import GuardrailError, LeaseLostError, NotFoundError, ReaError, TransitionError
from rea.domain.hypothesis import Belief, Hypothesis, HypothesisDraft
from rea.domain.ids import say
from rea.domain.insight import ExperimentRecord
from rea.domain.ledger import Balance, Entry, EntryKind, Purse, balance
from rea.domain.lesson import Lesson
from rea.domain.question import Option, Question
from rea.domain.rows import Rows
from rea.domain.run import Attempt, Failure, Run, RunDraft, RunResult
from rea.domain.states import (
    AttemptState,
    CampaignState,
    HypothesisState,
    PlanState,
    RunState,
    check_transition,
)

SLACK_S = 1e-6  # device-seconds; sums of floats are not exact
_SPENDING = (CampaignState.PROFILING, CampaignState.RUNNING)


@dataclass
class Page:
    """Everything of one campaign. Rows are values, so that a copy of the containers is a copy of it all."""

    campaign: Campaign
    hypotheses: dict[int, Hypothesis] = field(default_factory=dict)
    runs: dict[int, Run] = field(default_factory=dict)
    attempts: dict[int, Attempt] = field(default_factory=dict)
    entries: tuple[Entry, ...] = ()
    events: tuple[Event, ...] = ()
    plans: tuple[PlanRecord, ...] = ()
    approvals: tuple[Approval, ...] = ()
    experiments: dict[tuple[int, int], ExperimentRecord] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)  # of runs
    questions: tuple[Question, ...] = ()
    added: tuple[tuple[Entry, ...], Balance] | None = None  # the entries that were added up last, and their balance

    def copy(self) -> Page:
        return Page(
            self.campaign,
            dict(self.hypotheses),
            dict(self.runs),
            dict(self.attempts),
            self.entries,
            self.events,
            self.plans,
            self.approvals,
            dict(self.experiments),
            dict(self.keys),
            self.questions,
            self.added,
        )

    @property
    def balance(self) -> Balance:
        if self.added is None or self.added[0] is not self.entries:
            self.added = self.entries, balance(self.entries)
        return self.added[1]


@dataclass
class _Lease:
    fence: int = 0
    owner: str | None = None
    until: float = -math.inf


class MemoryStore:
    """Campaigns in memory. `committed` is called after every transaction that was."""

    uid = "simula"

    def __init__(self, committed: Callable[[], None] = lambda: None) -> None:
        self._pages: dict[int, Page] = {}
        self._leases: dict[int, _Lease] = {}
        self._committed = committed
        self._ids = itertools.count(1)
        self._writing = False
        self.commits = 0

    def create(self, campaign: Campaign) -> None:
        self.put(Page(campaign))

    def put(self, page: Page) -> None:
        """Hold a campaign as this page has it, in the place of what was known of it."""
        self._pages[page.campaign.id] = replace(page, keys={run.draft.key: id_ for id_, run in page.runs.items()})
        self._leases.setdefault(page.campaign.id, _Lease())

    def page(self, campaign: int) -> Page:
        """What is committed. To be read, not to be changed."""
        found = self._pages.get(campaign)
        if found is None:
            raise NotFoundError(f"there is no campaign {say('C', campaign)}")
        return found

    def snapshot_rows(self, campaign: int) -> Rows:
        page = self.page(campaign)
        plan = page.plans[-1] if page.plans else None
        return Rows(
            page.campaign,
            tuple(page.hypotheses.values()),
            tuple(page.runs.values()),
            tuple(page.attempts.values()),
            page.balance,
            plan,
            next((x for x in page.approvals if plan is not None and x.plan == plan.id), None),
        )

    def lessons(self) -> dict[str, Lesson]:
        """Every simulated campaign is the first."""
        return {}

    def remedies(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Every simulated campaign is the first."""
        return {}

    def used(self, campaign: int, team: str | None, since: float) -> float:
        """Here a team has no other campaigns."""
        begun = [a for a in self.snapshot_rows(campaign).attempts if a.intended_at >= since]
        return sum(a.reserved_s if a.device_s is None else a.device_s for a in begun)

    def head(self, campaign: int) -> str:
        """No trail is kept of what lives in memory."""
        return ""

    def altered(self, campaign: int) -> str:
        """Nobody else writes to this memory."""
        return ""

    def working_rows(self, campaign: int) -> Rows:
        """Whatever a decision may look at: here nothing is ever closed."""
        return self.snapshot_rows(campaign)

    def due(self, now: float) -> list[int]:
        """Campaigns that a wake has something to look at."""
        return [id_ for id_, page in self._pages.items() if _due(page, now)]

    def acquire(self, campaign: int, owner: str, ttl_s: float, now: float) -> int | None:
        lease = self._leases[campaign]
        if lease.owner not in (None, owner) and lease.until > now:
            return None
        lease.fence, lease.owner, lease.until = lease.fence + 1, owner, now + ttl_s
        return lease.fence

    def release(self, campaign: int, fence: int) -> None:
        lease = self._leases[campaign]
        if lease.fence == fence:
            lease.owner, lease.until = None, -math.inf

    @contextmanager
    def transaction(self, campaign: int, fence: int | None = None) -> Iterator[Transaction]:
        if self._writing:
            raise ReaError("the store is locked by another process that does not let go")
        held = self._leases[campaign].fence
        if fence is not None and fence != held:
            raise LeaseLostError(f"{say('C', campaign)} was taken over by another wake (fence {held}, not {fence})")
        page = self.page(campaign).copy()
        self._writing = True
        try:
            yield Transaction(page, self._ids)
        finally:
            self._writing = False
        self._pages[campaign] = page
        self.commits += 1
        self._committed()


def _due(page: Page, now: float) -> bool:
    at = page.campaign.next_wake_at
    busy = any(attempt.state is not AttemptState.ENDED for attempt in page.attempts.values())
    return (at is None or at <= now) and (page.campaign.state in _SPENDING or busy)


class Transaction:
    """Changes of one page."""

    def __init__(self, page: Page, ids: Iterator[int]) -> None:
        self._page, self._ids = page, ids

    # ------------------------------------------------------------ the campaign

    def set_campaign(self, campaign: int, **changes: Any) -> None:
        if "state" in changes:
            check_transition(say("C", campaign), self._page.campaign.state, changes["state"])
        self._page.campaign = replace(self._page.campaign, **changes)

    def set_limit(self, campaign: int, device_s: float, at: float, note: str) -> None:
        held = self._page.balance
        if device_s + SLACK_S < held.spent + held.reserved:
            raise GuardrailError(f"a budget of {device_s} is below what is in use: {held}")
        self._enter(Entry(EntryKind.APPROVE, device_s, at, note=note))

    def event(self, campaign: int, kind: str, message: str, at: float, **data: Any) -> int:
        id_ = next(self._ids)
        self._page.events = (*self._page.events, Event(id_, campaign, at, kind, message, data))
        return id_

    def events(self, campaign: int, after_id: int, limit: int | None) -> list[Event]:
        found = [event for event in self._page.events if event.id > after_id]
        return found if limit is None else found[:limit]

    # ------------------------------------------------------------ plans

    def add_plan(self, campaign: int, text: str, digest: str, at: float) -> PlanRecord:
        older = [replace(plan, state=PlanState.SUPERSEDED) for plan in self._page.plans]
        made = PlanRecord(next(self._ids), campaign, len(older) + 1, PlanState.DRAFT, text, digest, at)
        self._page.plans = (*older, made)
        return made

    def add_approval(self, approval: Approval) -> None:
        self._page.approvals = (*self._page.approvals, approval)

    # ------------------------------------------------------------ hypotheses

    def add_hypotheses(
        self,
        campaign: int,
        round_: int,
        drafts: Sequence[HypothesisDraft],
        state: HypothesisState = HypothesisState.PROPOSED,
    ) -> list[int]:
        page = self._page
        known = {h.draft.full.key(): h.id for h in page.hypotheses.values() if h.round == round_}
        ids = []
        for draft in drafts:
            key = draft.full.key()
            if key not in known:
                id_ = known[key] = _next(page.hypotheses)
                page.hypotheses[id_] = Hypothesis(id_, campaign, round_, draft, state)
            ids.append(known[key])
        return ids

    def set_hypothesis(
        self,
        id_: int,
        *,
        state: HypothesisState | None = None,
        belief: Belief | None = None,
        reason: str | None = None,
        round: int | None = None,
        draft: HypothesisDraft | None = None,
    ) -> None:
        known = self._page.hypotheses[id_]
        if state is not None:
            check_transition(say("H", id_), known.state, state)
        given = {"state": state, "belief": belief, "reason": reason, "round": round, "draft": draft}
        self._page.hypotheses[id_] = replace(known, **_named(given))

    # ------------------------------------------------------------ runs and attempts

    def add_runs(self, campaign: int, drafts: Sequence[RunDraft]) -> list[int]:
        page = self._page
        for draft in drafts:
            if draft.key not in page.keys:
                id_ = page.keys[draft.key] = _next(page.runs)
                page.runs[id_] = Run(id_, campaign, draft, RunState.PLANNED)
        return [page.keys[draft.key] for draft in drafts]

    def set_run(
        self,
        id_: int,
        *,
        state: RunState | None = None,
        result: RunResult | None = None,
        failure: Failure | None = None,
        not_before: float | None = None,
        adjust: Mapping[str, Scalar] | None = None,
    ) -> None:
        known = self._page.runs[id_]
        if state is not None:
            check_transition(say("R", id_), known.state, state)
        given = {
            "state": state,
            "result": result,
            "failure": failure,
            "not_before": not_before,
            "adjust": adjust,
        }
        self._page.runs[id_] = replace(known, **_named(given))

    def intend_attempt(
        self, run: int, *, job: str, run_dir: str, reserve_s: float, at: float, purse: Purse = Purse.MAIN
    ) -> Attempt:
        page = self._page
        state, known = page.campaign.state, page.runs[run]
        if state not in _SPENDING:
            raise TransitionError(f"{page.campaign.title} is {state.value}: it starts nothing")
        earlier = [x for x in page.attempts.values() if x.run == run]
        if known.state is not RunState.PLANNED or any(x.state is not AttemptState.ENDED for x in earlier):
            raise TransitionError(f"{known.name} is {known.state.value} and cannot be tried now")
        held = page.balance
        if held.spent + held.reserved + reserve_s > held.approved + SLACK_S:
            raise GuardrailError(f"{known.name} would reserve {reserve_s} device-seconds of {held}")
        id_ = _next(page.attempts)
        made = Attempt(id_, run, len(earlier) + 1, job, run_dir, AttemptState.INTENDED, reserve_s, at)
        page.attempts[id_] = made
        self._enter(Entry(EntryKind.RESERVE, reserve_s, at, id_, purse))
        page.runs[run] = replace(known, state=RunState.ACTIVE)
        return made

    def submitted(self, attempt: int) -> None:
        known = self._page.attempts[attempt]
        check_transition(say("A", attempt), known.state, AttemptState.SUBMITTED)
        self._page.attempts[attempt] = replace(known, state=AttemptState.SUBMITTED)

    def end_attempt(
        self,
        attempt: int,
        *,
        outcome: str,
        failure: Failure | None,
        device_s: float,
        started_at: float | None,
        ended_at: float,
        purse: Purse = Purse.MAIN,
    ) -> None:
        known = self._page.attempts[attempt]
        if known.state is AttemptState.ENDED:
            return
        used = min(max(0.0, device_s) if math.isfinite(device_s) else math.inf, known.reserved_s)
        self._page.attempts[attempt] = replace(
            known,
            state=AttemptState.ENDED,
            outcome=outcome,
            failure=failure,
            device_s=used,
            started_at=started_at,
            ended_at=ended_at,
        )
        self._enter(Entry(EntryKind.SETTLE, used, ended_at, attempt, purse))

    # ------------------------------------------------------------ questions

    def ask(self, campaign: int, kind: str, subject: str, text: str, options: Sequence[Option], at: float) -> int:
        known = next((q.id for q in self._page.questions if (q.kind, q.subject) == (kind, subject)), None)
        if known is not None:
            return known
        id_ = next(self._ids)
        self._page.questions = (
            *self._page.questions,
            Question(id_, campaign, kind, subject, text, tuple(options), at),
        )
        return id_

    def answer(self, id_: int, option: str, by: str, at: float) -> None:
        self._page.questions = tuple(
            replace(q, answer=option, by=by, answered_at=at) if q.id == id_ else q for q in self._page.questions
        )

    def learn(self, pattern: str, cause: str, at: float) -> None:
        """Nobody learns from a simulated campaign."""

    def tried(self, runbook: str, remedy: str, worked: bool) -> None:
        """Nobody learns from a simulated campaign."""

    def add_experiment(self, record: ExperimentRecord) -> int:
        self._page.experiments[record.hypothesis, record.round] = record
        return record.hypothesis

    def _enter(self, entry: Entry) -> None:
        self._page.entries = (*self._page.entries, entry)


def _next(rows: dict[int, Any]) -> int:
    """The id of the next row; ids ascend in the order of the rows."""
    return next(reversed(rows), 0) + 1


def _named(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}
