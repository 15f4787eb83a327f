"""Reading: rows to the values of the domain, on one open transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any, Final, TypeVar

from sqlalchemy import BindParameter, ColumnElement, Connection, Row, Select, Table, bindparam, func, or_, select, text

from rea.domain import ledger
from rea.domain.campaign import Approval, Campaign, Event, PlanRecord
from rea.domain.claim import Claim
from rea.domain.codebase import Codebase, Scalar
from rea.domain.errors import NotFoundError
from rea.domain.hypothesis import Belief, Hypothesis, HypothesisDraft
from rea.domain.ids import say
from rea.domain.insight import UNKNOWN_SE, Cell, Context, ExperimentOutcome, ExperimentRecord, Pair
from rea.domain.ledger import Balance, Entry, EntryKind, Purse
from rea.domain.rows import Closed, Rows
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
from rea.store import working
from rea.store.decode import MEND, decode, read_context
from rea.store.errors import StoreError
from rea.store.values import Grant

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
MOST_KEPT: Final = 50_000  # rows of one kind
SETTERS: Final = 200  # experiments whose texts hold a role, of which those that set it are told


class Queries:
    """What can be asked of a store within one transaction. Ids and names that are not there raise NotFoundError."""

    def __init__(self, connection: Connection, memory: working.Memory | None = None) -> None:
        self._connection = connection
        self._memory = working.Memory() if memory is None else memory

    def campaigns(self) -> list[Campaign]:
        return [_campaign(row) for row in self._connection.execute(select(t.campaigns).order_by(t.campaigns.c.id))]

    def readable_campaigns(self) -> tuple[list[Campaign], dict[int, str]]:
        """All of them, oldest first, but for those whose row makes no sense: of these, by id, what is wrong."""
        found: list[Campaign] = []
        damaged: dict[int, str] = {}
        for row in self._connection.execute(select(t.campaigns).order_by(t.campaigns.c.id)):
            try:
                found.append(_campaign(row))
            except StoreError as error:
                damaged[row.id] = str(error)
        return found, damaged

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
        return self._tally(campaign).balance()

    def _tally(self, campaign: int) -> ledger.Tally:
        """The ledger added up; entries are never changed, so of a long one those that are known need no second look."""
        table = t.entries
        last, known = self._memory.tallies.get(campaign, (0, ledger.Tally()))
        tally = known.copy()
        wanted = select(table).where(table.c.campaign == campaign, table.c.id > last).order_by(table.c.id)
        for row in self._connection.execute(wanted):
            entry = _entry(row)
            tally.add(entry.kind, entry.device_s, entry.attempt, entry.purse)
        return tally

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
        return [_experiment(row) for row in self._connection.execute(self._experiments())]

    def experiment_page(self, after_id: int, limit: int) -> list[ExperimentRecord]:
        wanted = self._experiments().where(t.experiments.c.id > after_id).limit(limit)
        return [_experiment(row) for row in self._connection.execute(wanted)]

    def experiments_of(
        self,
        technique: str,
        limit: int,
        codebase: str | None = None,
    ) -> list[ExperimentRecord]:
        table = t.experiments
        wanted = self._experiments(newest=True).where(table.c.technique == technique)
        if codebase is not None:
            wanted = wanted.where(table.c.codebase == codebase)
        return [_experiment(row) for row in self._connection.execute(wanted.limit(limit))]

    def extremes(self, technique: str) -> list[ExperimentRecord]:
        table = t.experiments
        error = func.coalesce(table.c.se, UNKNOWN_SE)
        closed = table.c.outcome.not_in((ExperimentOutcome.FAILED.value, ExperimentOutcome.PRUNED.value))
        counts = (table.c.technique == technique, table.c.effect.is_not(None), table.c.superseded_by.is_(None), closed)
        found = []
        for order in ((table.c.effect - 2 * error).desc(), (table.c.effect + 2 * error).asc()):
            chosen = select(table.c.id).where(*counts).order_by(order, table.c.id).limit(1).scalar_subquery()
            found += [_experiment(r) for r in self._connection.execute(self._experiments().where(table.c.id == chosen))]
        return found

    def last_context(self, codebase: str, family: str | None) -> Context | None:
        table = t.experiments
        wanted = self._experiments(newest=True).where(table.c.codebase == codebase, table.c.origin.is_(None))
        for row in self._connection.execute(wanted.limit(SETTERS)):
            context = _experiment(row).context
            if family is None or str(context.get("model_family", family)).lower() == family.lower():
                return context
        return None

    def winners(self, limit: int) -> list[ExperimentRecord]:
        """Settings that gained and belong to no card, best first among them, at most `limit`."""
        table = t.experiments
        best = (
            select(table.c.id)
            .where(
                table.c.technique.is_(None),
                table.c.outcome == ExperimentOutcome.SUPPORTED.value,
                table.c.effect > 0,
                table.c.superseded_by.is_(None),
                table.c.kind != "combination",
            )
            .order_by(table.c.effect.desc(), table.c.id)
            .limit(limit)
        )
        wanted = self._experiments().where(table.c.id.in_(best))
        return [_experiment(row) for row in self._connection.execute(wanted)]

    def find_experiments(self, words: Sequence[str], limit: int) -> list[ExperimentRecord]:
        if not words:
            return []
        table = t.experiments
        if self._connection.dialect.name == "postgresql":
            vector = func.to_tsvector(text("'english'"), func.coalesce(table.c.words, text("''")))
            asked = func.to_tsquery(text("'english'"), " | ".join(words))
            found = select(table.c.id).where(vector.op("@@")(asked))
            found = found.order_by(func.ts_rank(vector, asked).desc(), table.c.id).limit(limit)
            ids = list(self._connection.execute(found).scalars())
        else:
            match = " OR ".join(f'"{word}"' for word in words)
            sql = "SELECT rowid FROM experiment_words WHERE experiment_words MATCH :match ORDER BY rank, rowid LIMIT :n"
            ids = list(self._connection.execute(text(sql), {"match": match, "n": limit}).scalars())
        rows = {row.id: row for row in self._connection.execute(self._experiments().where(table.c.id.in_(ids)))}
        return [_experiment(rows[id_]) for id_ in ids]

    def counts(self) -> dict[str, int]:
        wanted = select(t.cells.c.technique, func.sum(t.cells.c.n + t.cells.c.failed + t.cells.c.pruned))
        return {name: int(count) for name, count in self._connection.execute(wanted.group_by(t.cells.c.technique))}

    def cells(self, techniques: Sequence[str] | None = None, codebases: Sequence[str] | None = None) -> list[Cell]:
        """Sufficient statistics of these techniques (of all with None), in no order; of some codebases where they are
        named, and then always in the same one."""
        table = t.cells
        wanted = select(*table.c[1:])
        if techniques is not None:
            wanted = wanted.where(table.c.technique.in_(_any_of(techniques)))
        if codebases is not None:
            wanted = wanted.where(table.c.codebase.in_(_any_of(codebases)))
            wanted = wanted.order_by(table.c.codebase, table.c.technique, table.c.key)  # mostly the order of an index
        rows = self._connection.execute(wanted).all()
        # One context is that of many cells and one start of many more: each text is read once.
        keys = sorted({row[4] for row in rows})
        contexts: dict[str, Context] = {}
        for first in range(0, len(keys), 500):
            some = select(t.contexts).where(t.contexts.c.key.in_(_any_of(keys[first : first + 500])))
            contexts |= {key: read_context(text_) for key, text_ in self._connection.execute(some).all()}
        starts = {text_: decode(dict[str, Scalar], text_) for text_ in {row[2] for row in rows}}
        return [
            Cell(technique, setting, starts[start], where, contexts[context], *sums)
            for technique, setting, start, where, context, *sums in rows
        ]

    def places(self, rows: tuple[float, float], positive_rate: tuple[float, float]) -> list[tuple[str, Context, int]]:
        """Contexts with that many rows and such a positive rate (both from lowest to highest): in which codebase, and
        how many cells there are of it."""
        cell, extract, context = t.cells, t.extracts, t.contexts
        near = (extract.c.rows.between(*rows), extract.c.positive_rate.between(*positive_rate))
        # Counted in an index alone, without a look at the cells.
        wanted = select(cell.c.codebase, context.c.context, func.count()).where(*near)
        wanted = wanted.join(extract, extract.c.context == cell.c.context)
        wanted = wanted.join(context, context.c.key == cell.c.context)
        found = self._connection.execute(wanted.group_by(cell.c.codebase, context.c.key))
        return [(codebase, read_context(text_), int(count)) for codebase, text_, count in found]

    def revisions(self, techniques: Sequence[str]) -> dict[str, int]:
        """How often the evidence on each of these techniques has changed; one nobody tried is not in it."""
        wanted = select(t.evidence).where(t.evidence.c.technique.in_(_any_of(techniques)))
        return {row.technique: row.revision for row in self._connection.execute(wanted).all()}

    def fits(self, techniques: Sequence[str]) -> dict[str, tuple[int, str, bytes]]:
        """The kept fits: by technique the revision of its evidence, the digest of its card's part, the fit."""
        wanted = select(t.fits).where(t.fits.c.technique.in_(_any_of(techniques)))
        return {name: (revision, card, fit) for name, revision, card, fit in self._connection.execute(wanted).all()}

    def pairs(self, techniques: Sequence[str]) -> list[Pair]:
        """Of experiments that are not superseded, both techniques among those named."""
        known = set(techniques)
        return [pair for pair in self._pairs(t.pairs.c.a.in_(_any_of(techniques))) if pair.b in known]

    def pairs_with(self, technique: str) -> list[Pair]:
        return self._pairs(or_(t.pairs.c.a == technique, t.pairs.c.b == technique))

    def setters(self, role: str, limit: int) -> list[ExperimentRecord]:
        # The text index finds those that hold the role's words; which of them set the role is in the record itself.
        table, phrase = t.experiments, role.replace("_", " ")
        if self._connection.dialect.name == "postgresql":
            vector = func.to_tsvector(text("'english'"), func.coalesce(table.c.words, text("''")))
            holds = vector.op("@@")(func.phraseto_tsquery(text("'english'"), phrase))
        else:
            match = text("SELECT rowid FROM experiment_words WHERE experiment_words MATCH :phrase")
            holds = table.c.id.in_(match.bindparams(phrase=f'"{phrase}"').columns(table.c.id))
        counts = (table.c.effect.is_not(None), table.c.kind != "combination", table.c.superseded_by.is_(None))
        best = select(table.c.id).where(holds, *counts).order_by(table.c.effect.desc(), table.c.id).limit(SETTERS)
        ids = list(self._connection.execute(best).scalars())
        rows = {row.id: row for row in self._connection.execute(self._experiments().where(table.c.id.in_(ids)))}
        found = (_experiment(rows[id_]) for id_ in ids)
        return [record for record in found if role in record.roles][:limit]

    def _pairs(self, *which: Any) -> list[Pair]:
        table, of = t.pairs, t.experiments
        weight = func.sum(table.c.weight)
        means = [func.sum(table.c.weight * column) / weight for column in (table.c.excess, table.c.smaller)]
        wanted = (
            select(table.c.a, table.c.b, func.count(), weight, *means)
            .join(of, of.c.id == table.c.experiment)
            .where(*which, of.c.superseded_by.is_(None))
            .group_by(table.c.a, table.c.b)
            .order_by(table.c.a, table.c.b)
        )
        return [Pair(*row) for row in self._connection.execute(wanted)]

    def _experiments(self, newest: bool = False) -> Select[Any]:
        table, of = t.experiments, t.imports
        columns = (table.c.id, table.c.campaign, table.c.hypothesis, table.c.record, table.c.superseded_by)
        wanted = select(*columns, of.c.file, of.c.by, of.c.at, of.c.trust)
        wanted = wanted.join(of, of.c.id == table.c.origin, isouter=True)
        return wanted.order_by(table.c.id.desc() if newest else table.c.id)

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

    def working_rows(self, campaign: int) -> Rows:
        """What a decision is made on; all rows, unless the campaign has tried very many hypotheses."""
        known = working.told(self._connection, campaign)
        return self.rows(campaign) if len(known) <= working.MOST else self._working_rows(campaign, known)

    def committed_rows(self, campaign: int) -> Rows:
        """`working_rows` of a transaction that writes nothing; the same rows again where nothing was written since."""
        version = working.version(self._connection)
        last = self._memory.rows.get(campaign)
        if last is not None and last[0] == version:
            return last[1]
        rows = self.working_rows(campaign)
        if version is not None:
            self._memory.rows[campaign] = version, rows
        return rows

    def _working_rows(self, campaign: int, known: Sequence[working.Told]) -> Rows:
        if campaign not in self._memory.tallies:
            added_up = working.added_up(self._connection, campaign)
            if added_up is not None:
                self._memory.tallies[campaign] = added_up
        plan, found = self.latest_plan(campaign), self.campaign(campaign)
        hypotheses = self._weighed(campaign, known, found.incumbent)
        tried = [h.id for h in hypotheses if h.state is not HypothesisState.PROPOSED]
        chosen = working.runs_of(campaign, tried)
        of_them = working.attempts_of(campaign, chosen)
        rows = Rows(
            campaign=found,
            hypotheses=tuple(hypotheses),
            runs=tuple(map(_run, self._where(t.runs, t.runs.c.id.in_(chosen)))),
            attempts=tuple(map(_attempt, self._where(t.attempts, t.attempts.c.id.in_(of_them)))),
            balance=self.balance(campaign),
            plan=plan,
            approval=None if plan is None else self.approval(plan.id),
            closed=self._closed(campaign, known, hypotheses, tried),
        )
        _check_references(rows)
        return rows

    def _weighed(self, campaign: int, known: Sequence[working.Told], incumbent: int | None) -> list[Hypothesis]:
        """The hypotheses that are looked at and everything that these are built on, oldest first."""
        always = working.busy(self._connection, campaign) | ({incumbent} if incumbent is not None else set())
        found: dict[int, Hypothesis] = {}
        missing = working.looked_at(known, always)
        while missing:
            ids = sorted(missing)
            new: list[Hypothesis] = []
            for first in range(0, len(ids), 5000):
                new += map(_hypothesis, self._where(t.hypotheses, t.hypotheses.c.id.in_(ids[first : first + 5000])))
            found |= {h.id: h for h in new}
            missing = working.foundations(new, known) - found.keys()
        return [found[id_] for id_ in sorted(found)]

    def _closed(
        self, campaign: int, known: Sequence[working.Told], looked_at: Sequence[Hypothesis], tried: Sequence[int]
    ) -> Closed:
        """What is closed has ended, so while the same hypotheses are, so is what they came to."""
        ids = frozenset({one.id for one in known} - {h.id for h in looked_at})
        last = self._memory.closed.get(campaign)
        if last is not None and last[0] == ids:
            return last[1]
        closed = working.summed_up(self._connection, campaign, known, looked_at, tried)
        self._memory.closed[campaign] = ids, closed
        return closed

    def _where(self, table: Table, condition: ColumnElement[bool]) -> Sequence[Row[Any]]:
        return self._connection.execute(select(table).where(condition).order_by(table.c.id)).all()

    def _of(self, table: Table, campaign: int) -> Sequence[Row[Any]]:
        return self._where(table, table.c.campaign == campaign)

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


@_once
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


@_once
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


@_once
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
    where = f"{say('H', row.hypothesis)} of {say('C', row.campaign)}" if row.campaign is not None else f"{row.file}"
    cells = _Cells(row, f"{say('E', row.id)}, the experiment of {where},")
    record = replace(cells.value("record", ExperimentRecord), id=row.id, superseded_by=row.superseded_by)
    if row.file is None:
        return record
    return replace(record, origin=f"{row.file}, imported by {row.by}", trust=row.trust)


def _any_of(values: Sequence[str]) -> BindParameter[Any]:
    """What IN looks among, as one parameter: SQLAlchemy takes a list apart value by value, at a cost that shows."""
    return bindparam(None, values, expanding=True)


def _check_references(rows: Rows) -> None:
    """Raise StoreError where a row names another that is gone: SQLite minds that only for those who ask it to."""
    runs, hypotheses = {run.id for run in rows.runs}, {h.id for h in rows.hypotheses}
    wanted = [(r.name, r.draft.hypothesis) for r in rows.runs] + [("the incumbent", rows.campaign.incumbent)]
    named = [(say("A", a.id), "R", a.run) for a in rows.attempts if a.run not in runs]
    named += [(who, "H", id_) for who, id_ in wanted if id_ is not None and id_ not in hypotheses]
    if named:
        who, letter, id_ = named[0]
        raise StoreError(f"{who} of {rows.campaign.title} names {say(letter, id_)}, which is not there", hint=MEND)
