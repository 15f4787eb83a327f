"""Reading: rows to the values of the domain, on one open transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, func, or_, select

from rea.domain import ledger
from rea.domain.campaign import Approval, Campaign, Event, PlanRecord
from rea.domain.errors import NotFoundError
from rea.domain.hypothesis import Hypothesis
from rea.domain.ids import say
from rea.domain.ledger import Balance, Entry
from rea.domain.lesson import Lesson
from rea.domain.question import Question
from rea.domain.rows import Closed, Rows
from rea.domain.run import Attempt, Run
from rea.domain.states import HypothesisState
from rea.store import readers, trail, working
from rea.store import tables as t
from rea.store.decode import MEND
from rea.store.errors import StoreError
from rea.store.insight_queries import InsightQueries
from rea.store.values import Grant


class Queries(InsightQueries):
    """What can be asked of a store within one transaction. Ids and names that are not there raise NotFoundError."""

    def __init__(self, connection: Connection, memory: working.Memory | None = None) -> None:
        super().__init__(connection)
        self._memory = working.Memory() if memory is None else memory

    def campaigns(self) -> list[Campaign]:
        return [
            readers.campaign(row) for row in self._connection.execute(select(t.campaigns).order_by(t.campaigns.c.id))
        ]

    def readable_campaigns(self) -> tuple[list[Campaign], dict[int, str]]:
        """All of them, oldest first, but for those whose row makes no sense: of these, by id, what is wrong."""
        found: list[Campaign] = []
        damaged: dict[int, str] = {}
        for row in self._connection.execute(select(t.campaigns).order_by(t.campaigns.c.id)):
            try:
                found.append(readers.campaign(row))
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
        return readers.campaign(found)

    def _known_campaigns(self) -> str:
        columns = (t.campaigns.c.id, t.campaigns.c.name, t.campaigns.c.state)
        rows = self._connection.execute(select(*columns).order_by(t.campaigns.c.id.desc()).limit(20)).all()
        if not rows:
            return "this store has none yet: `rea plan` makes one"
        return "there are: " + ", ".join(f"{say('C', row.id)} {row.name} ({row.state})" for row in rows)

    def hypotheses(self, campaign: int) -> list[Hypothesis]:
        return [readers.hypothesis(row) for row in self._of(t.hypotheses, campaign)]

    def hypothesis(self, id_: int) -> Hypothesis:
        return readers.hypothesis(self._one(t.hypotheses, id_, "H", "hypothesis"))

    def runs(self, campaign: int) -> list[Run]:
        return [readers.run(row) for row in self._of(t.runs, campaign)]

    def run(self, id_: int) -> Run:
        return readers.run(self._one(t.runs, id_, "R", "run"))

    def attempts(self, campaign: int) -> list[Attempt]:
        return [readers.attempt(row) for row in self._of(t.attempts, campaign)]

    def attempt(self, id_: int) -> Attempt:
        return readers.attempt(self._one(t.attempts, id_, "A", "attempt"))

    def entries(self, campaign: int) -> list[Entry]:
        return [readers.entry(row) for row in self._of(t.entries, campaign)]

    def numbered_entries(self, campaign: int) -> list[tuple[int, Entry]]:
        return [(row.id, readers.entry(row)) for row in self._of(t.entries, campaign)]

    def balance(self, campaign: int) -> Balance:
        return self._tally(campaign).balance()

    def _tally(self, campaign: int) -> ledger.Tally:
        """The ledger added up; entries are never changed, so of a long one those that are known need no second look."""
        table = t.entries
        last, known = self._memory.tallies.get(campaign, (0, ledger.Tally()))
        tally = known.copy()
        wanted = select(table).where(table.c.campaign == campaign, table.c.id > last).order_by(table.c.id)
        for row in self._connection.execute(wanted):
            entry = readers.entry(row)
            tally.add(entry.kind, entry.device_s, entry.attempt, entry.purse)
        return tally

    def events(self, campaign: int, after_id: int = 0, limit: int | None = None) -> list[Event]:
        table = t.events
        wanted = select(table).where(table.c.campaign == campaign, table.c.id > after_id).order_by(table.c.id)
        return [
            readers.event(row) for row in self._connection.execute(wanted if limit is None else wanted.limit(limit))
        ]

    def questions(self, campaign: int | None = None) -> list[Question]:
        """Of one campaign or of all, oldest first, answered or not."""
        table = t.questions
        wanted = select(table) if campaign is None else select(table).where(table.c.campaign == campaign)
        return [readers.question(row) for row in self._connection.execute(wanted.order_by(table.c.id))]

    def question(self, id_: int) -> Question:
        return readers.question(self._one(t.questions, id_, "Q", "question"))

    def lessons(self) -> dict[str, Lesson]:
        """What investigations found about failures that no runbook knows, by pattern."""
        found: dict[str, dict[str, int]] = {}
        for row in self._connection.execute(select(t.lessons).order_by(t.lessons.c.pattern)):
            found.setdefault(row.pattern, {})[row.cause] = row.seen
        return {pattern: Lesson(pattern, causes) for pattern, causes in found.items()}

    def used(self, campaign: int, team: str | None, since: float) -> float:
        """Device-seconds, used or held, of attempts begun since then: of the campaign, or of all of a team."""
        table = t.attempts
        mine = [campaign] if team is None else self._campaigns_of(team, since)
        amount = func.coalesce(table.c.device_s, table.c.reserved_s)
        wanted = select(func.sum(amount)).where(table.c.campaign.in_(mine), table.c.intended_at >= since)
        return float(self._connection.execute(wanted).scalar() or 0.0)

    def _campaigns_of(self, team: str, since: float) -> list[int]:
        """Ids of the campaigns of a team that had not ended before."""
        table = t.campaigns
        alive = or_(table.c.ended_at.is_(None), table.c.ended_at >= since)
        wanted = select(table.c.id, table.c.codebase).where(alive, table.c.codebase.contains(team))
        found = ((row.id, readers.team(row.codebase)) for row in self._connection.execute(wanted))
        return [id_ for id_, named in found if named is not None and named.name == team]

    def remedies(self) -> dict[tuple[str, str], tuple[int, int]]:
        """How often each remedy was tried after each runbook's failure, and how often it worked."""
        rows = self._connection.execute(select(t.remedies))
        return {(row.runbook, row.remedy): (row.tried, row.worked) for row in rows}

    def plans(self, campaign: int) -> list[PlanRecord]:
        return [readers.plan(row) for row in self._of(t.plans, campaign)]

    def plan(self, id_: int) -> PlanRecord:
        return readers.plan(self._one(t.plans, id_, "P", "plan"))

    def latest_plan(self, campaign: int) -> PlanRecord | None:
        table = t.plans
        wanted = select(table).where(table.c.campaign == campaign).order_by(table.c.version.desc()).limit(1)
        row = self._connection.execute(wanted).first()
        return None if row is None else readers.plan(row)

    def approval(self, plan: int) -> Approval | None:
        row = self._connection.execute(select(t.approvals).where(t.approvals.c.plan == plan)).first()
        return None if row is None else Approval(row.plan, row.digest, row.signer, row.signature, row.at)

    def grants(self, campaign: int) -> list[Grant]:
        table = t.grants
        rows = self._connection.execute(select(table).where(table.c.campaign == campaign).order_by(table.c.name))
        return [Grant(row.name, row.by, row.at) for row in rows]

    def head(self, campaign: int) -> trail.Head:
        return trail.head(self._connection, campaign)

    def trail(self, campaign: int) -> list[trail.Link]:
        return trail.links(self._connection, campaign)

    def trail_faults(self, campaign: int) -> list[str]:
        return trail.faults(self._connection, campaign)

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
            runs=tuple(map(readers.run, self._where(t.runs, t.runs.c.id.in_(chosen)))),
            attempts=tuple(map(readers.attempt, self._where(t.attempts, t.attempts.c.id.in_(of_them)))),
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
                new += map(
                    readers.hypothesis, self._where(t.hypotheses, t.hypotheses.c.id.in_(ids[first : first + 5000]))
                )
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


def _check_references(rows: Rows) -> None:
    """Raise StoreError where a row names another that is gone: SQLite minds that only for those who ask it to."""
    runs, hypotheses = {run.id for run in rows.runs}, {h.id for h in rows.hypotheses}
    wanted = [(r.name, r.draft.hypothesis) for r in rows.runs] + [("the incumbent", rows.campaign.incumbent)]
    named = [(say("A", a.id), "R", a.run) for a in rows.attempts if a.run not in runs]
    named += [(who, "H", id_) for who, id_ in wanted if id_ is not None and id_ not in hypotheses]
    if named:
        who, letter, id_ = named[0]
        raise StoreError(f"{who} of {rows.campaign.title} names {say(letter, id_)}, which is not there", hint=MEND)
