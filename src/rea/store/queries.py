"""Reading: rows to the values of the domain, on one open transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, Table, select

from rea.domain import ledger
from rea.domain.campaign import Approval, Campaign, Event, PlanRecord
from rea.domain.claim import Claim
from rea.domain.codebase import Codebase
from rea.domain.errors import NotFoundError
from rea.domain.hypothesis import Belief, Hypothesis, HypothesisDraft
from rea.domain.ids import say
from rea.domain.insight import ExperimentRecord
from rea.domain.ledger import Balance, Entry, EntryKind, Purse
from rea.domain.run import Attempt, Failure, Run, RunDraft, RunResult
from rea.domain.states import (
    AttemptState,
    CampaignState,
    HypothesisState,
    PauseReason,
    Phase,
    PlanState,
    RunState,
    Verdict,
)
from rea.store import tables as t
from rea.store.decode import decode, decode_or_none
from rea.store.values import Grant, Rows


class Queries:
    """What can be asked of a store within one transaction. Ids and names that are not there raise NotFoundError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def campaigns(self) -> list[Campaign]:
        return [_campaign(row) for row in self._connection.execute(select(t.campaigns).order_by(t.campaigns.c.id))]

    def campaign(self, ref: int | str) -> Campaign:
        """By id, by spoken id ("C-3") or by name."""
        wanted = campaign_number(ref)
        found = None
        if wanted is not None:
            found = self._connection.execute(select(t.campaigns).where(t.campaigns.c.id == wanted)).first()
        elif isinstance(ref, str):
            found = self._connection.execute(select(t.campaigns).where(t.campaigns.c.name == ref)).first()
        if found is None:
            raise NotFoundError(f"there is no campaign {_shown(ref)}", hint=self._known_campaigns())
        return _campaign(found)

    def _known_campaigns(self) -> str:
        columns = (t.campaigns.c.id, t.campaigns.c.name, t.campaigns.c.state)
        rows = self._connection.execute(select(*columns).order_by(t.campaigns.c.id.desc()).limit(20)).all()
        if not rows:
            return "this store has none yet: `rea plan` makes one"
        return "there are: " + ", ".join(f"{say('C', row.id)} {row.name} ({row.state})" for row in rows)

    def hypotheses(self, campaign: int) -> list[Hypothesis]:
        return [_hypothesis(row) for row in self._of(t.hypotheses, campaign)]

    def hypothesis(self, id_: int) -> Hypothesis:
        return _hypothesis(self._one(t.hypotheses, id_, "H", "hypothesis"))

    def runs(self, campaign: int) -> list[Run]:
        return [_run(row) for row in self._of(t.runs, campaign)]

    def run(self, id_: int) -> Run:
        return _run(self._one(t.runs, id_, "R", "run"))

    def attempts(self, campaign: int) -> list[Attempt]:
        return [_attempt(row) for row in self._of(t.attempts, campaign)]

    def attempt(self, id_: int) -> Attempt:
        return _attempt(self._one(t.attempts, id_, "A", "attempt"))

    def entries(self, campaign: int) -> list[Entry]:
        return [_entry(row) for row in self._of(t.entries, campaign)]

    def balance(self, campaign: int) -> Balance:
        return ledger.balance(self.entries(campaign))

    def events(self, campaign: int, after_id: int = 0, limit: int | None = None) -> list[Event]:
        table = t.events
        wanted = select(table).where(table.c.campaign == campaign, table.c.id > after_id).order_by(table.c.id)
        return [_event(row) for row in self._connection.execute(wanted if limit is None else wanted.limit(limit))]

    def plans(self, campaign: int) -> list[PlanRecord]:
        return [_plan(row) for row in self._of(t.plans, campaign)]

    def plan(self, id_: int) -> PlanRecord:
        return _plan(self._one(t.plans, id_, "P", "plan"))

    def latest_plan(self, campaign: int) -> PlanRecord | None:
        table = t.plans
        wanted = select(table).where(table.c.campaign == campaign).order_by(table.c.version.desc()).limit(1)
        row = self._connection.execute(wanted).first()
        return None if row is None else _plan(row)

    def approval(self, plan: int) -> Approval | None:
        row = self._connection.execute(select(t.approvals).where(t.approvals.c.plan == plan)).first()
        return None if row is None else Approval(row.plan, row.digest, row.signer, row.signature, row.at)

    def experiments(self) -> list[ExperimentRecord]:
        rows = self._connection.execute(select(t.experiments).order_by(t.experiments.c.id))
        return [replace(decode(ExperimentRecord, row.record), id=row.id) for row in rows]

    def grants(self, campaign: int) -> list[Grant]:
        table = t.grants
        rows = self._connection.execute(select(table).where(table.c.campaign == campaign).order_by(table.c.name))
        return [Grant(row.name, row.by, row.at) for row in rows]

    def rows(self, campaign: int) -> Rows:
        plan = self.latest_plan(campaign)
        return Rows(
            campaign=self.campaign(campaign),
            hypotheses=tuple(self.hypotheses(campaign)),
            runs=tuple(self.runs(campaign)),
            attempts=tuple(self.attempts(campaign)),
            balance=self.balance(campaign),
            plan=plan,
            approval=None if plan is None else self.approval(plan.id),
        )

    def _of(self, table: Table, campaign: int) -> Sequence[Row[Any]]:
        wanted = select(table).where(table.c.campaign == campaign).order_by(table.c.id)
        return self._connection.execute(wanted).all()

    def _one(self, table: Table, id_: int, letter: str, noun: str) -> Row[Any]:
        row = self._connection.execute(select(table).where(table.c.id == id_)).first()
        if row is None:
            raise NotFoundError(f"there is no {noun} {say(letter, id_)}", hint="`rea show` lists what a campaign has")
        return row


def campaign_number(ref: int | str) -> int | None:
    """The id a reference spells (3, "3", "C-3", "c3"), or None if it must be a name."""
    if isinstance(ref, int):
        return ref
    bare = ref.strip()
    digits = bare if bare.isdecimal() else bare[1:].removeprefix("-") if bare[:1] in ("C", "c") else ""
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= 12 else None


def _shown(ref: int | str) -> str:
    return say("C", ref) if isinstance(ref, int) else repr(ref)


def _campaign(row: Row[Any]) -> Campaign:
    return Campaign(
        id=row.id,
        name=row.name,
        codebase=decode(Codebase, row.codebase),
        commit=row.commit,
        state=CampaignState(row.state),
        round=row.round,
        phase=Phase(row.phase),
        created_at=row.created_at,
        env=decode(dict[str, str], row.env),
        options=decode(dict[str, Any], row.options),
        incumbent=row.incumbent,
        verdict=None if row.verdict is None else Verdict(row.verdict),
        visible=decode_or_none(Claim, row.visible),
        claim=decode_or_none(Claim, row.claim),
        reason=row.reason,
        pause_reason=None if row.pause_reason is None else PauseReason(row.pause_reason),
        next_wake_at=row.next_wake_at,
        ended_at=row.ended_at,
    )


def _hypothesis(row: Row[Any]) -> Hypothesis:
    return Hypothesis(
        id=row.id,
        campaign=row.campaign,
        round=row.round,
        draft=decode(HypothesisDraft, row.draft),
        state=HypothesisState(row.state),
        belief=decode_or_none(Belief, row.belief),
        reason=row.reason,
    )


def _run(row: Row[Any]) -> Run:
    return Run(
        id=row.id,
        campaign=row.campaign,
        draft=decode(RunDraft, row.draft),
        state=RunState(row.state),
        not_before=row.not_before,
        result=decode_or_none(RunResult, row.result),
        failure=decode_or_none(Failure, row.failure),
    )


def _attempt(row: Row[Any]) -> Attempt:
    return Attempt(
        id=row.id,
        run=row.run,
        number=row.number,
        job=row.job,
        run_dir=row.run_dir,
        state=AttemptState(row.state),
        reserved_s=row.reserved_s,
        intended_at=row.intended_at,
        outcome=row.outcome,
        failure=decode_or_none(Failure, row.failure),
        device_s=row.device_s,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


def _entry(row: Row[Any]) -> Entry:
    return Entry(
        kind=EntryKind(row.kind),
        device_s=row.device_s,
        at=row.at,
        attempt=row.attempt,
        purse=Purse(row.purse),
        note=row.note,
    )


def _event(row: Row[Any]) -> Event:
    return Event(row.id, row.campaign, row.at, row.kind, row.message, decode(dict[str, Any], row.data))


def _plan(row: Row[Any]) -> PlanRecord:
    return PlanRecord(
        id=row.id,
        campaign=row.campaign,
        version=row.version,
        state=PlanState(row.state),
        text=row.text,
        digest=row.digest,
        created_at=row.created_at,
    )
