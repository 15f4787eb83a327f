"""The store: one object that reads the rows of campaigns as values and opens transactions that change them.

SQLAlchemy is imported by the first question that needs it. Opening a SQLite store and asking what is due do not, so
that a wake that finds nothing costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rea.domain.errors import NotFoundError, UsageError
from rea.domain.grants import pinned, rows_of
from rea.domain.ids import is_id, say
from rea.domain.rows import Rows
from rea.domain.states import CampaignState, Phase
from rea.idle import DUE, MOVING
from rea.store.address import Address, check_path, default_url, parse
from rea.store.engine import make_engine, reading, straight, writing
from rea.store.errors import explained
from rea.store.migrate import current_uid, migrate
from rea.store.values import Grant

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from rea.domain.campaign import Approval, Campaign, Event, PlanRecord
    from rea.domain.codebase import Codebase
    from rea.domain.hypothesis import Hypothesis
    from rea.domain.insight import Context, ExperimentRecord, Pair
    from rea.domain.ledger import Balance, Entry
    from rea.domain.lesson import Lesson
    from rea.domain.question import Question
    from rea.domain.run import Attempt, Run
    from rea.store.queries import Queries
    from rea.store.trail import Link
    from rea.store.transaction import Transaction
    from rea.store.working import Memory

_UPCOMING: Final = f"SELECT id, next_wake_at FROM campaigns WHERE {MOVING}"

_WAITING: Final = """
SELECT DISTINCT runs.campaign FROM runs JOIN campaigns ON campaigns.id = runs.campaign
WHERE runs.state = 'planned' AND campaigns.state IN ('profiling', 'running')
ORDER BY runs.campaign
"""


def open_store(url: str | None = None) -> Store:
    """The store at `url`, REA_STORE, or the user's data directory; made, or brought to this schema, where needed.

    Raises UsageError for a URL that can be no store, StoreError where the place cannot hold one or holds something
    else.
    """
    address = parse(url or default_url())
    if address.path is not None:
        check_path(address.path)
    return Store(address)


class Store:
    """Campaigns and everything of them. Every method is one short transaction and raises StoreError if it cannot be.

    `uid` is six hexadecimal characters made with the store: it keeps job names of several stores apart. `path` is the
    SQLite file, None with PostgreSQL. May be shared by threads; a forked process opens its own.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        with explained(address.where):
            made = address.path is None or address.path.exists()
            self.uid: str = (current_uid(self._ask) if made else None) or migrate(address, self._engine)

    def __repr__(self) -> str:
        return f"Store({self._address.where})"

    @property
    def url(self) -> str:
        return self._address.url

    @property
    def path(self) -> Path | None:
        return self._address.path

    @cached_property
    def _engine(self) -> Engine:
        return make_engine(self._address)

    @cached_property
    def _memory(self) -> Memory:
        from rea.store.working import Memory

        return Memory()

    @property
    def where(self) -> str:
        """The file or the URL without its password."""
        return self._address.where

    def backup(self, target: Path, force: bool = False) -> int:
        """Write the whole store as of now to a file while others go on writing; gives its size in bytes.

        Raises UsageError where the file is there and `force` is not given, StoreError where no sound copy can be made.
        """
        from rea.store.upkeep import backup

        return backup(self._address, target, force)

    def faults(self) -> list[str]:
        """What is wrong with the database as such, in words; empty where all is well."""
        from rea.store.upkeep import faults

        return faults(self._address)

    def disagreements(self, most: int) -> list[str]:
        """What of experiments and of what was learnt from them contradicts itself, in words; the first `most`."""
        from rea.store import experiments

        with explained(self._address.where), reading(self._engine) as connection:
            return list(islice(experiments.disagreements(connection), most))

    def close(self) -> None:
        """Give the connections back. The store opens new ones when it is used again."""
        if "_engine" in self.__dict__:
            self._engine.dispose()

    # reading

    @contextmanager
    def instant(self) -> Iterator[Queries]:
        """Questions that are answered together, as of one instant, in one short transaction."""
        from rea.store.queries import Queries

        with explained(self._address.where), reading(self._engine) as connection:
            yield Queries(connection, self._memory)

    def campaigns(self) -> list[Campaign]:
        """All of them, oldest first."""
        with self.instant() as read:
            return read.campaigns()

    def readable_campaigns(self) -> tuple[list[Campaign], dict[int, str]]:
        """All of them, oldest first, but for those whose row makes no sense: of these, by id, what is wrong."""
        with self.instant() as read:
            return read.readable_campaigns()

    def names(self) -> set[str]:
        """Of all campaigns."""
        with explained(self._address.where):
            return {name for (name,) in self._ask("SELECT name FROM campaigns")}

    def campaign(self, ref: int | str) -> Campaign:
        """By id (3), spoken id ("C-3") or name. Raises NotFoundError, which lists what exists."""
        with self.instant() as read:
            return read.campaign(ref)

    def hypotheses(self, campaign: int) -> list[Hypothesis]:
        with self.instant() as read:
            return read.hypotheses(campaign)

    def hypothesis(self, id_: int) -> Hypothesis:
        with self.instant() as read:
            return read.hypothesis(id_)

    def runs(self, campaign: int) -> list[Run]:
        with self.instant() as read:
            return read.runs(campaign)

    def run(self, id_: int) -> Run:
        with self.instant() as read:
            return read.run(id_)

    def attempts(self, campaign: int) -> list[Attempt]:
        with self.instant() as read:
            return read.attempts(campaign)

    def attempt(self, id_: int) -> Attempt:
        with self.instant() as read:
            return read.attempt(id_)

    def entries(self, campaign: int) -> list[Entry]:
        """The ledger, in the order it was written."""
        with self.instant() as read:
            return read.entries(campaign)

    def balance(self, campaign: int) -> Balance:
        with self.instant() as read:
            return read.balance(campaign)

    def events(self, campaign: int, after_id: int = 0, limit: int | None = None) -> list[Event]:
        """The record, oldest first; at most `limit` of those after an id already seen."""
        with self.instant() as read:
            return read.events(campaign, after_id, limit)

    def questions(self, campaign: int | None = None) -> list[Question]:
        """To engineers, of one campaign or of all, oldest first, answered or not."""
        with self.instant() as read:
            return read.questions(campaign)

    def question(self, id_: int) -> Question:
        with self.instant() as read:
            return read.question(id_)

    def lessons(self) -> dict[str, Lesson]:
        """What investigations found about failures that no runbook knows, by pattern."""
        with self.instant() as read:
            return read.lessons()

    def used(self, campaign: int, team: str | None, since: float) -> float:
        """Device-seconds, used or held, of attempts begun since then: of the campaign, or of all of a team."""
        with self.instant() as read:
            return read.used(campaign, team, since)

    def remedies(self) -> dict[tuple[str, str], tuple[int, int]]:
        """How often each remedy was tried after each runbook's failure, and how often it worked."""
        with self.instant() as read:
            return read.remedies()

    def plans(self, campaign: int) -> list[PlanRecord]:
        with self.instant() as read:
            return read.plans(campaign)

    def plan(self, id_: int) -> PlanRecord:
        with self.instant() as read:
            return read.plan(id_)

    def latest_plan(self, campaign: int) -> PlanRecord | None:
        with self.instant() as read:
            return read.latest_plan(campaign)

    def approval(self, plan: int) -> Approval | None:
        with self.instant() as read:
            return read.approval(plan)

    def experiments(self) -> list[ExperimentRecord]:
        """Of all campaigns, oldest first."""
        with self.instant() as read:
            return read.experiments()

    def each_experiment(self, page: int = 2000) -> Iterator[ExperimentRecord]:
        """Of all campaigns and imports, oldest first, `page` at a time; what is added meanwhile may come, too."""
        last = 0
        while True:
            with self.instant() as read:
                records = read.experiment_page(last, page)
            yield from records
            if len(records) < page:
                return
            last = records[-1].id or last

    def experiments_of(self, technique: str, limit: int, codebase: str | None = None) -> list[ExperimentRecord]:
        """At most `limit` experiments on one technique, newest first."""
        with self.instant() as read:
            return read.experiments_of(technique, limit, codebase)

    def extremes(self, technique: str) -> list[ExperimentRecord]:
        """The experiment that says most for a technique and the one that says most against it, two errors allowed."""
        with self.instant() as read:
            return read.extremes(technique)

    def last_context(self, codebase: str, family: str | None) -> Context | None:
        """Where the newest own experiment on this codebase (with this model family) took place; None without one."""
        with self.instant() as read:
            return read.last_context(codebase, family)

    def find_experiments(self, words: Sequence[str], limit: int) -> list[ExperimentRecord]:
        """Experiments whose texts hold some of the words (letters and digits), best match first."""
        with self.instant() as read:
            return read.find_experiments(words, limit)

    def counts(self) -> dict[str, int]:
        """How many experiments there are on each technique, superseded ones left out."""
        with self.instant() as read:
            return read.counts()

    def pairs_with(self, technique: str) -> list[Pair]:
        """What combinations showed of one technique beside any other."""
        with self.instant() as read:
            return read.pairs_with(technique)

    def setters(self, role: str, limit: int) -> list[ExperimentRecord]:
        """Experiments that set a role and were measured, best first."""
        with self.instant() as read:
            return read.setters(role, limit)

    def keep_fits(self, fits: Mapping[str, tuple[int, str, bytes]]) -> None:
        """Keep fits in the place of older ones. They can be made again at any time from the cells."""
        from sqlalchemy import delete, insert

        from rea.store.tables import fits as table

        rows = [
            {"technique": name, "revision": revision, "card": card, "fit": fit}
            for name, (revision, card, fit) in sorted(fits.items())
        ]
        if not rows:
            return
        with explained(self._address.where), writing(self._engine) as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("LOCK TABLE fits IN SHARE ROW EXCLUSIVE MODE")
            connection.execute(delete(table).where(table.c.technique.in_(list(fits))))
            connection.execute(insert(table), rows)

    def import_experiments(
        self, records: Sequence[ExperimentRecord], *, file: str, by: str, at: float, trust: float
    ) -> int:
        """Keep experiments of elsewhere, all or none; gives how many were not here yet, by their content.

        Each counts as `trust` in (0, 1] of an experiment of this store; `file` and `by` say where it came from.
        """
        from sqlalchemy import insert

        from rea.store.decode import plain
        from rea.store.experiments import keep
        from rea.store.tables import imports

        with explained(self._address.where), writing(self._engine) as connection:
            values = {"file": plain(file), "by": plain(by), "at": at, "trust": trust}
            origin = connection.execute(insert(imports).values(**values).returning(imports.c.id)).scalar_one()
            local = [replace(record, trust=trust, id=None, superseded_by=None, origin="") for record in records]
            return len(keep(connection, local, own=False, origin=origin))

    def forget_imports(self, file: str) -> int:
        """Take back everything that was imported from a file of this name; gives how many experiments that were.

        Raises NotFoundError when nothing was.
        """
        from sqlalchemy import select

        from rea.store.experiments import forget
        from rea.store.tables import imports

        with explained(self._address.where), writing(self._engine) as connection:
            known = {row.id: row.file for row in connection.execute(select(imports.c.id, imports.c.file)).all()}
            origins = [id_ for id_, name in known.items() if name == file]
            if not origins:
                names = ", ".join(sorted(set(known.values()))) or "no file at all"
                raise NotFoundError(f"nothing was imported from {file}", hint=f"there are experiments of: {names}")
            return forget(connection, origins)

    def grants(self, campaign: int) -> list[Grant]:
        with self.instant() as read:
            return read.grants(campaign)

    def snapshot_rows(self, campaign: int) -> Rows:
        """Everything of a campaign, as of one instant."""
        with self.instant() as read:
            return read.rows(campaign)

    def working_rows(self, campaign: int) -> Rows:
        """What a decision is made on, as of one instant: of a campaign that has tried very many hypotheses, all of
        them but those whose runs can change nothing any more. These are summed up."""
        with self.instant() as read:
            return read.committed_rows(campaign)

    def due(self, now: float) -> list[int]:
        """Ids of campaigns a wake has something to look at, longest due first.

        That is: measuring or running, or with jobs in flight (paused, stopped, …), and no later wake set.
        """
        with explained(self._address.where):
            return [id_ for (id_,) in self._ask(DUE, {"now": now})]

    def upcoming(self) -> list[tuple[int, float | None]]:
        """Ids of campaigns that a wake will have something to look at, and when (None: at once), first due first."""
        with explained(self._address.where):
            return [(id_, at) for id_, at in self._ask(_UPCOMING)]

    def campaign_ids(self) -> list[int]:
        """Of all campaigns, also of those whose row makes no sense, oldest first."""
        with explained(self._address.where):
            return [id_ for (id_,) in self._ask("SELECT id FROM campaigns ORDER BY id")]

    def waiting(self) -> list[int]:
        """Ids of campaigns with runs that are still to be started, oldest first."""
        with explained(self._address.where):
            return [id_ for (id_,) in self._ask(_WAITING)]

    def head(self, campaign: int) -> str:
        """The end of a campaign's trail, as text. Written down elsewhere it tells later whether all is as it was."""
        with self.instant() as read:
            return str(read.head(campaign))

    def trail(self, campaign: int) -> list[Link]:
        """Every change of a campaign's rows, in their order."""
        with self.instant() as read:
            return read.trail(campaign)

    def trail_faults(self, campaign: int) -> list[str]:
        """What of a campaign was written, changed or removed by something else than REA, in words."""
        with self.instant() as read:
            return read.trail_faults(campaign)

    def altered(self, campaign: int) -> str:
        """What of a campaign's rows something else than REA wrote, and no engineer vouched for; empty where nothing."""
        faults = self.trail_faults(campaign)
        vouched = any(grant.name == pinned("record", rows_of(faults)) for grant in self.grants(campaign))
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        return "" if not faults or vouched else f"{faults[0]}{more}"

    # the lease

    def acquire(self, campaign: int, owner: str, ttl_s: float, now: float) -> int | None:
        """Take the campaign for `ttl_s` seconds: the fence to write with, or None while somebody else has it.

        The fence grows by one each time, so that the writes of whoever had the campaign before are refused.
        """
        from sqlalchemy import or_, update

        from rea.store.tables import campaigns as table

        free = or_(table.c.lease_until.is_(None), table.c.lease_until <= now, table.c.lease_owner == owner)
        taken = (
            update(table)
            .where(table.c.id == campaign, free)
            .values(fence=table.c.fence + 1, lease_owner=owner, lease_until=now + ttl_s)
            .returning(table.c.fence)
        )
        with explained(self._address.where), writing(self._engine) as connection:
            fence: int | None = connection.execute(taken).scalar()
        if fence is None:
            self.campaign(campaign)  # raises NotFoundError
        return fence

    def release(self, campaign: int, fence: int) -> None:
        """Give the campaign back; does nothing if somebody else has it by now."""
        from sqlalchemy import update

        from rea.store.tables import campaigns as table

        given = (
            update(table)
            .where(table.c.id == campaign, table.c.fence == fence)
            .values(lease_owner=None, lease_until=None)
        )
        with explained(self._address.where), writing(self._engine) as connection:
            connection.execute(given)

    # writing

    @contextmanager
    def transaction(self, campaign: int, fence: int | None = None) -> Iterator[Transaction]:
        """Change one campaign: all of the block is committed at its end, or nothing if it raises.

        Raises LeaseLostError if `fence` is no longer the campaign's, NotFoundError if there is no such campaign.
        """
        from rea.store.transaction import Transaction

        with explained(self._address.where), writing(self._engine) as connection:
            opened = Transaction(connection, campaign, fence, self._memory)
            yield opened
            opened.close()

    def create_campaign(
        self,
        *,
        name: str,
        codebase: Codebase,
        commit: str,
        env: dict[str, str],
        options: dict[str, Any],
        at: float,
        state: CampaignState = CampaignState.PROFILING,
        begin: Callable[[Transaction, int], None] | None = None,
    ) -> Campaign:
        """A new campaign in its first round. Raises UsageError if the name is taken or cannot be one.

        `begin` gets the transaction that makes it and its id: what it writes is there with the campaign or not at all.
        """
        from sqlalchemy import insert, select

        from rea.store.decode import encode, plain
        from rea.store.queries import Queries
        from rea.store.tables import campaigns as table
        from rea.store.transaction import Transaction

        if not name.strip() or name != plain(name) or is_id(name):
            raise UsageError(f"a campaign cannot be called {name!r}", hint="use a name that does not read as an id")
        values = {
            "name": name,
            "codebase": encode(codebase),
            "commit": commit,
            "state": state,
            "round": 1,
            "phase": Phase.PROFILE,
            "created_at": at,
            "env": encode(env),
            "options": encode(options),
            "reason": "",
            "fence": 0,
        }
        with explained(self._address.where), writing(self._engine) as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("LOCK TABLE campaigns IN SHARE ROW EXCLUSIVE MODE")  # names are checked once
            taken = connection.execute(select(table.c.id, table.c.state).where(table.c.name == name)).first()
            if taken is not None:
                raise UsageError(
                    f"there is a campaign {name!r} already: {say('C', taken.id)}, {taken.state}",
                    hint="choose another name with --name, or go on with that one",
                )
            id_ = connection.execute(insert(table).values(**values).returning(table.c.id)).scalar_one()
            made = Transaction(connection, id_, None)
            made.created()
            if begin is not None:
                begin(made, id_)
            made.close()
            return Queries(connection).campaign(id_)

    def _ask(self, sql: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """A question in plain SQL; of a SQLite file by the shortest way, as an idle wake asks nothing else."""
        if self._address.path is not None:
            return straight(self._address.path, sql, values)
        from sqlalchemy import text

        with reading(self._engine) as connection:
            return [tuple(row) for row in connection.execute(text(sql), values)]
