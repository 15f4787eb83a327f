"""The trail: every change of a campaign's rows, in a chain that nobody can alter without a trace.

Each transaction adds one link for every row that it changed: the digest of what the row says now, and the digest of
that together with the link before it. So a row that was edited, added or removed by other means than this store does
not agree with its latest link; a link that was changed, moved or removed does not agree with the next one; and links
that were cut off at the end do not agree with the head, which is kept apart. Who rewrites all of them can be told by
any head that was written down elsewhere: jobs carry one in their specification, `rea audit export` gives one to sign.

What a lease writes is not part of it: who looks at a campaign, and when next, changes nothing about it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, Table, delete, insert, select

from rea.store import tables as t

ALTERED: Final = "!"  # behind a row's name: it did not say what it should, and was then written over
FIRST: Final = "0" * 64  # what the first link of a campaign is chained to
_PASSING: Final = frozenset({"fence", "lease_owner", "lease_until", "next_wake_at"})
_CHUNK: Final = 500
MOST_FAULTS: Final = 50


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a campaign's trail: how many links it has, and the last one's digest."""

    number: int = 0
    link: str = FIRST

    def __str__(self) -> str:
        return f"{self.number}:{self.link}"


@dataclass(frozen=True, slots=True)
class Link:
    """One change: `row` names the table and the row, `content` is the digest of what it said from then on."""

    number: int
    row: str
    content: str
    link: str


def content(row: Row[Any]) -> str:
    """The digest of what a row says. Empty cells do not count, so that a later release may add columns."""
    cells = {name: value for name, value in row._mapping.items() if value is not None and name not in _PASSING}
    # Not `rea.domain.codec.canonical`: cells may hold infinities.
    return hashlib.sha256(json.dumps(cells, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def chained(before: str, number: int, row: str, content_: str) -> str:
    return hashlib.sha256(f"{before}\n{number}\n{row}\n{content_}".encode()).hexdigest()


class Trail:
    """What one transaction adds to its campaign's trail."""

    def __init__(self, connection: Connection, campaign: int) -> None:
        self._connection = connection
        self._campaign = campaign
        self._touched: dict[tuple[str, Any], None] = {}
        self._altered: dict[str, str] = {}

    def touch(self, table: Table, key: Any) -> None:
        """A row was written; `key` is its id, of a grant its name."""
        if table.name in _KEYS:
            self._touched[table.name, key] = None

    def change(self, table: Table, key: Any) -> None:
        """A row is about to be written over: had something else written there before, the trail says so for good."""
        if table.name not in _KEYS or (table.name, key) in self._touched:
            return
        name, c = _name(table.name, key), t.trail.c
        wanted = select(c.content).where(c.campaign == self._campaign, c.row == name)
        known = self._connection.execute(wanted.order_by(c.number.desc()).limit(1)).scalar()
        row = self._connection.execute(select(table).where(_column(table.name) == key)).first()
        if row is not None and content(row) != known:
            self._altered[f"{name}{ALTERED}"] = content(row)

    def close(self) -> None:
        """Add the links. To be called once, as the last thing before the transaction is committed."""
        if not self._touched and not self._altered:
            return
        rows = dict(self._rows())
        own = [(name, content(rows[name])) for name in (_name(*touched) for touched in self._touched)]
        self._append([*self._altered.items(), *own])
        self._touched.clear()
        self._altered.clear()

    def begin(self) -> None:
        """Start the trail of a campaign that was there before trails were kept, from what its rows say now."""
        self._append((name, content(row)) for name, row in current(self._connection, self._campaign))

    def _rows(self) -> Iterator[tuple[str, Row[Any]]]:
        for table, column in _KEYS.items():
            keys = [key for name, key in self._touched if name == table]
            for first in range(0, len(keys), _CHUNK):
                wanted = select(t.metadata.tables[table]).where(_column(table).in_(keys[first : first + _CHUNK]))
                if table == t.grants.name:
                    wanted = wanted.where(t.grants.c.campaign == self._campaign)
                for row in self._connection.execute(wanted):
                    yield _name(table, row._mapping[column]), row

    def _append(self, changes: Iterable[tuple[str, str]]) -> None:
        last = head(self._connection, self._campaign)
        links = []
        for row, content_ in changes:
            number = last.number + 1
            last = Head(number, chained(last.link, number, row, content_))
            links.append(
                {"campaign": self._campaign, "number": number, "row": row, "content": content_, "link": last.link}
            )
        for first in range(0, len(links), _CHUNK):
            self._connection.execute(insert(t.trail), links[first : first + _CHUNK])
        self._connection.execute(delete(t.heads).where(t.heads.c.campaign == self._campaign))
        self._connection.execute(insert(t.heads).values(campaign=self._campaign, number=last.number, link=last.link))


def begin_all(connection: Connection) -> None:
    """Start the trail of every campaign that has none yet."""
    known = select(t.heads.c.campaign)
    for campaign in connection.execute(select(t.campaigns.c.id).where(t.campaigns.c.id.not_in(known))).scalars().all():
        Trail(connection, campaign).begin()


# The tables whose rows are followed, by what names a row in them.
_KEYS: Final = {
    t.campaigns.name: "id",
    t.hypotheses.name: "id",
    t.runs.name: "id",
    t.attempts.name: "id",
    t.entries.name: "id",
    t.events.name: "id",
    t.plans.name: "id",
    t.approvals.name: "plan",
    t.questions.name: "id",
    t.grants.name: "name",
}


def _column(table: str) -> Any:
    return t.metadata.tables[table].c[_KEYS[table]]


def _name(table: str, key: Any) -> str:
    return f"{table}/{key}"


def head(connection: Connection, campaign: int) -> Head:
    found = connection.execute(select(t.heads).where(t.heads.c.campaign == campaign)).first()
    return Head() if found is None else Head(found.number, found.link)


def links(connection: Connection, campaign: int) -> list[Link]:
    """All of a campaign's links, in their order."""
    c = t.trail.c
    wanted = select(c.number, c.row, c.content, c.link).where(c.campaign == campaign).order_by(c.number)
    return [Link(*row) for row in connection.execute(wanted)]


def current(connection: Connection, campaign: int) -> Iterator[tuple[str, Row[Any]]]:
    """Every row of a campaign that is followed, by its name, in a fixed order."""
    for table, column in _KEYS.items():
        found = t.metadata.tables[table]
        if table == t.campaigns.name:
            mine = found.c.id == campaign
        elif table == t.approvals.name:
            mine = found.c.plan.in_(select(t.plans.c.id).where(t.plans.c.campaign == campaign))
        else:
            mine = found.c.campaign == campaign
        for row in connection.execute(select(found).where(mine).order_by(_column(table))):
            yield _name(table, row._mapping[column]), row


def _mark(content_: str) -> str:
    """What was written there, so that who vouches for it does not vouch for something else in the same place."""
    return f" [{content_[:12]}]"


def faults(connection: Connection, campaign: int) -> list[str]:
    """What does not agree in a campaign's trail, in words; empty where it is whole and rows say what they should."""
    found: list[str] = []
    last = Head()
    latest: dict[str, str] = {}
    for link in links(connection, campaign):
        if link.number != last.number + 1:
            missing = (
                f"{last.number + 1} to {link.number - 1}" if link.number - last.number > 2 else str(last.number + 1)
            )
            found.append(f"link {missing} of the trail is missing")
        elif link.link != chained(last.link, link.number, link.row, link.content):
            found.append(f"link {link.number} of the trail, of {link.row}, does not follow from the one before it")
        if link.row.endswith(ALTERED):
            was = link.row.removesuffix(ALTERED)
            found.append(
                f"{was} was changed by something else than REA, before link {link.number}{_mark(link.content)}"
            )
        else:
            latest[link.row] = link.content
        last = Head(link.number, link.link)
    kept = head(connection, campaign)
    if kept != last:
        found.append(f"the trail ends at link {last.number}, and its head names link {kept.number} {kept.link[:12]}…")
    for name, row in current(connection, campaign):
        known = latest.pop(name, None)
        if known is None:
            found.append(f"{name} was written by something else than REA{_mark(content(row))}")
        elif known != content(row):
            found.append(f"{name} was changed by something else than REA{_mark(content(row))}")
    found += [f"{name} was removed by something else than REA" for name in latest]
    return found if len(found) <= MOST_FAULTS else [*found[:MOST_FAULTS], f"and {len(found) - MOST_FAULTS} more"]
