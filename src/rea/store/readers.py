"""From a row to a value of the domain; one that makes no sense is told by its name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import Any, Final, TypeVar

from sqlalchemy import Row

from rea.domain.campaign import Campaign, Event, PlanRecord
from rea.domain.claim import Claim
from rea.domain.codebase import Codebase, Scalar
from rea.domain.hypothesis import Belief, Hypothesis, HypothesisDraft
from rea.domain.ids import say
from rea.domain.insight import ExperimentRecord
from rea.domain.ledger import Entry, EntryKind, Purse
from rea.domain.question import Option, Question
from rea.domain.run import Attempt, Failure, Run, RunDraft, RunResult
from rea.domain.share import Team
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
from rea.store.decode import MEND, decode
from rea.store.errors import StoreError

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
MOST_KEPT: Final = 50_000  # rows of one kind


def team(codebase: str) -> Team | None:
    """The team that a campaign's codebase names, without reading all of it; None also where that makes no sense."""
    try:
        return Team(**(json.loads(codebase)["team"] or {}))
    except (ValueError, KeyError, TypeError):
        return None


def _once(read: Callable[[Row[Any]], T]) -> Callable[[Row[Any]], T]:
    """Read a row anew only where it has changed: a wake looks at all rows of a campaign several times, and few change
    in between. What has not is then the very same value, which others (`Evidence`) know it by."""
    known: dict[int, tuple[tuple[Any, ...], T]] = {}

    def reading(row: Row[Any]) -> T:
        cells = tuple(row)
        last = known.get(row.id)
        if last is not None and last[0] == cells:
            return last[1]
        value = read(row)
        if len(known) >= MOST_KEPT:
            known.clear()
        known[row.id] = cells, value
        return value

    return reading


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


def campaign(row: Row[Any]) -> Campaign:
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


@_once
def hypothesis(row: Row[Any]) -> Hypothesis:
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


@_once
def run(row: Row[Any]) -> Run:
    cells = _Cells(row, f"{say('R', row.id)} of {say('C', row.campaign)}")
    return Run(
        id=row.id,
        campaign=row.campaign,
        draft=cells.value("draft", RunDraft),
        state=cells.word("state", RunState),
        not_before=row.not_before,
        result=cells.value_or_none("result", RunResult),
        failure=cells.value_or_none("failure", Failure),
        adjust=cells.value_or_none("adjust", dict[str, Scalar]) or {},
    )


@_once
def attempt(row: Row[Any]) -> Attempt:
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


def entry(row: Row[Any]) -> Entry:
    cells = _Cells(row, f"entry {row.id} of the ledger of {say('C', row.campaign)}")
    return Entry(
        kind=cells.word("kind", EntryKind),
        device_s=row.device_s,
        at=row.at,
        attempt=row.attempt,
        purse=cells.word("purse", Purse),
        note=row.note,
    )


def event(row: Row[Any]) -> Event:
    cells = _Cells(row, f"event {row.id} of {say('C', row.campaign)}")
    return Event(row.id, row.campaign, row.at, row.kind, row.message, cells.value("data", dict[str, Any]))


def question(row: Row[Any]) -> Question:
    cells = _Cells(row, f"{say('Q', row.id)} of {say('C', row.campaign)}")
    return Question(
        id=row.id,
        campaign=row.campaign,
        kind=row.kind,
        subject=row.subject,
        text=row.text,
        options=cells.value("options", tuple[Option, ...]),
        at=row.at,
        answer=row.answer,
        by=row.by,
        answered_at=row.answered_at,
    )


def plan(row: Row[Any]) -> PlanRecord:
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


def experiment(row: Row[Any]) -> ExperimentRecord:
    where = f"{say('H', row.hypothesis)} of {say('C', row.campaign)}" if row.campaign is not None else f"{row.file}"
    cells = _Cells(row, f"{say('E', row.id)}, the experiment of {where},")
    record = replace(cells.value("record", ExperimentRecord), id=row.id, superseded_by=row.superseded_by)
    if row.file is None:
        return record
    return replace(record, origin=f"{row.file}, imported by {row.by}", trust=row.trust)
