"""One write transaction on one campaign: its fence, its trail, and how rows are written at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, Table, insert, select, update

from rea.domain.errors import LeaseLostError, NotFoundError
from rea.domain.ids import say
from rea.domain.states import CampaignState
from rea.store import tables as t
from rea.store.decode import encode, plain
from rea.store.queries import Queries
from rea.store.trail import Trail
from rea.store.working import Memory


class Writing(Queries):
    """Whatever is written through it is of one campaign, and on its trail; rows of others raise NotFoundError."""

    def __init__(self, connection: Connection, campaign: int, fence: int | None, memory: Memory | None = None) -> None:
        super().__init__(connection, memory)
        # The row lock makes writers of a campaign wait for each other on PostgreSQL; SQLite has one writer anyway.
        wanted = select(t.campaigns.c.fence).where(t.campaigns.c.id == campaign).with_for_update()
        held = connection.execute(wanted).scalar()
        if held is None:
            self.campaign(campaign)  # raises NotFoundError with the list
        if fence is not None and fence != held:
            raise LeaseLostError(
                f"{say('C', campaign)} was taken over by another wake (fence {held}, this one has {fence})",
                hint="nothing was written; the other wake goes on",
            )
        self._campaign = campaign
        self._trail = Trail(connection, campaign)

    def close(self) -> None:
        """Put what was written on the trail; the last thing before the commit."""
        self._trail.close()

    def created(self) -> None:
        """The campaign's own row was made in this transaction."""
        self._trail.touch(t.campaigns, self._campaign)

    def event(self, campaign: int, kind: str, message: str, at: float, **data: Any) -> int:
        """Add a line to the campaign's record; its id."""
        self._mine(campaign, campaign, "C")
        return self._insert(t.events, campaign=campaign, at=at, kind=kind, message=plain(message), data=encode(data))

    def _campaign_state(self) -> CampaignState:
        wanted = select(t.campaigns.c.state).where(t.campaigns.c.id == self._campaign)
        return CampaignState(self._connection.execute(wanted).scalar_one())

    def _mine(self, campaign: int, id_: int, letter: str) -> None:
        if campaign != self._campaign:
            raise NotFoundError(
                f"{say(letter, id_)} is not part of this transaction, which is {say('C', self._campaign)}'s",
                hint=f"open a transaction of {say('C', campaign)}",
            )

    def _row(self, table: Table, id_: int, letter: str, noun: str) -> Row[Any]:
        row = self._one(table, id_, letter, noun)
        self._mine(row.campaign, id_, letter)
        return row

    def _known(self, column: Column[Any], words: Sequence[str], *mine: ColumnElement[bool]) -> dict[str, int]:
        """The ids of those rows whose column says one of these words, by the word."""
        found: dict[str, int] = {}
        for first in range(0, len(words), 5000):
            some = column.in_(words[first : first + 5000])
            rows = self._connection.execute(select(column, column.table.c.id).where(*mine, some)).all()
            found |= {row[0]: row[1] for row in rows}
        return found

    def _insert(self, table: Table, **values: Any) -> int:
        id_: int = self._connection.execute(insert(table).values(**values).returning(table.c.id)).scalar_one()
        self._trail.touch(table, id_)
        return id_

    def _update(self, table: Table, id_: int, values: dict[str, Any]) -> None:
        if values:
            self._trail.change(table, id_)
            self._connection.execute(update(table).where(table.c.id == id_).values(**values))
            self._trail.touch(table, id_)
