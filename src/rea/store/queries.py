"""Reading: rows to the values of the domain, on one open transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any, TypeVar

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
from rea.store.decode import MEND, decode
from rea.store.errors import StoreError
from rea.store.values import Grant, Rows

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


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
        return [_experiment(row) for row in rows]

    def grants(self, campaign: int) -> list[Grant]:
        table = t.grants
        rows = self._connection.execute(select(table).where(table.c.campaign == campaign).order_by(table.c.name))
        return [Grant(row.name, row.by, row.at) for row in rows]

    def rows(self, campaign: int) -> Rows:
        plan = self.latest_plan(campaign)
        rows = Rows(
            campaign=self.campaign(campaign),
            hypotheses=tuple(self.hypotheses(campaign)),
            runs=tuple(self.runs(campaign)),
            attempts=tuple(self.attempts(campaign)),
            balance=self.balance(campaign),
            plan=plan,
            approval=None if plan is None else self.approval(plan.id),
        )
        _check_references(rows)
        return rows

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


class _Cells:
    """The cells of one row as values. Raises StoreError with the row's name where one holds something else."""

    def __init__(self, row: Row[Any], name: str) -> None:
        self._row, self._name = row, name

    def value(self, column: str, kind: type[T]) -> T:
        try:
            return decode(kind, getattr(self._row, column))
        except StoreError as error:
            raise self._error(column, f"is no {kind.__name__}: {error.__cause__}") from error

    def value_or_none(self, column: str, kind: type[T]) -> T | None:
        return None if getattr(self._row, column) is None else self.value(column, kind)

    def word(self, column: str, kind: type[E]) -> E:
        text = getattr(self._row, column)
        try:
            return kind(text)
        except ValueError as error:
            raise self._error(column, f"is {text!r}; expected one of: {', '.join(kind)}") from error

    def word_or_none(self, column: str, kind: type[E]) -> E | None:
        return None if getattr(self._row, column) is None else self.word(column, kind)

    def _error(self, column: str, what: str) -> StoreError:
        return StoreError(f"{self._name} cannot be read from the store: its {column} {what}", hint=MEND)


def _campaign(row: Row[Any]) -> Campaign:
    cells = _Cells(row, say("C", row.id))
    return Campaign(
        id=row.id,
        name=row.name,
        codebase=cells.value("codebase", Codebase),
        commit=row.commit,
        state=cells.word("state", CampaignState),
        round=row.round,
        phase=cells.word("phase", Phase),
        created_at=row.created_at,
        env=cells.value("env", dict[str, str]),
        options=cells.value("options", dict[str, Any]),
        incumbent=row.incumbent,
        verdict=cells.word_or_none("verdict", Verdict),
        visible=cells.value_or_none("visible", Claim),
        claim=cells.value_or_none("claim", Claim),
        reason=row.reason,
        pause_reason=cells.word_or_none("pause_reason", PauseReason),
        next_wake_at=row.next_wake_at,
        ended_at=row.ended_at,
    )


def _hypothesis(row: Row[Any]) -> Hypothesis:
    cells = _Cells(row, f"{say('H', row.id)} of {say('C', row.campaign)}")
    return Hypothesis(
        id=row.id,
        campaign=row.campaign,
        round=row.round,
        draft=cells.value("draft", HypothesisDraft),
        state=cells.word("state", HypothesisState),
        belief=cells.value_or_none("belief", Belief),
        reason=row.reason,
    )


def _run(row: Row[Any]) -> Run:
    cells = _Cells(row, f"{say('R', row.id)} of {say('C', row.campaign)}")
    return Run(
        id=row.id,
        campaign=row.campaign,
        draft=cells.value("draft", RunDraft),
        state=cells.word("state", RunState),
        not_before=row.not_before,
        result=cells.value_or_none("result", RunResult),
        failure=cells.value_or_none("failure", Failure),
    )


def _attempt(row: Row[Any]) -> Attempt:
    cells = _Cells(row, f"{say('A', row.id)} of {say('C', row.campaign)}")
    return Attempt(
        id=row.id,
        run=row.run,
        number=row.number,
        job=row.job,
        run_dir=row.run_dir,
        state=cells.word("state", AttemptState),
        reserved_s=row.reserved_s,
        intended_at=row.intended_at,
        outcome=row.outcome,
        failure=cells.value_or_none("failure", Failure),
        device_s=row.device_s,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


def _entry(row: Row[Any]) -> Entry:
    cells = _Cells(row, f"entry {row.id} of the ledger of {say('C', row.campaign)}")
    return Entry(
        kind=cells.word("kind", EntryKind),
        device_s=row.device_s,
        at=row.at,
        attempt=row.attempt,
        purse=cells.word("purse", Purse),
        note=row.note,
    )


def _event(row: Row[Any]) -> Event:
    cells = _Cells(row, f"event {row.id} of {say('C', row.campaign)}")
    return Event(row.id, row.campaign, row.at, row.kind, row.message, cells.value("data", dict[str, Any]))


def _plan(row: Row[Any]) -> PlanRecord:
    cells = _Cells(row, f"{say('P', row.id)} of {say('C', row.campaign)}")
    return PlanRecord(
        id=row.id,
        campaign=row.campaign,
        version=row.version,
        state=cells.word("state", PlanState),
        text=row.text,
        digest=row.digest,
        created_at=row.created_at,
    )


def _experiment(row: Row[Any]) -> ExperimentRecord:
    where = f"{say('H', row.hypothesis)} of {say('C', row.campaign)}"
    cells = _Cells(row, f"{say('E', row.id)}, the experiment of {where},")
    return replace(cells.value("record", ExperimentRecord), id=row.id)


def _check_references(rows: Rows) -> None:
    """Raise StoreError where a row names another that is gone: SQLite minds that only for those who ask it to."""
    runs, hypotheses = {run.id for run in rows.runs}, {h.id for h in rows.hypotheses}
    wanted = [(r.name, r.draft.hypothesis) for r in rows.runs] + [("the incumbent", rows.campaign.incumbent)]
    named = [(say("A", a.id), "R", a.run) for a in rows.attempts if a.run not in runs]
    named += [(who, "H", id_) for who, id_ in wanted if id_ is not None and id_ not in hypotheses]
    if named:
        who, letter, id_ = named[0]
        raise StoreError(f"{who} of {rows.campaign.title} names {say(letter, id_)}, which is not there", hint=MEND)
