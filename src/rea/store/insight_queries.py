"""Reading what experiments showed: records, cells, fits, pairs of techniques."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import BindParameter, Connection, Select, bindparam, func, or_, select, text

from rea.domain.codebase import Scalar
from rea.domain.insight import UNKNOWN_SE, Cell, Context, ExperimentOutcome, ExperimentRecord, Pair
from rea.store import readers
from rea.store import tables as t
from rea.store.decode import decode, read_context

SETTERS: Final = 200  # experiments whose texts hold a role, of which those that set it are told


class InsightQueries:
    """What can be asked about experiments within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def experiments(self) -> list[ExperimentRecord]:
        return [readers.experiment(row) for row in self._connection.execute(self._experiments())]

    def experiment_page(self, after_id: int, limit: int) -> list[ExperimentRecord]:
        wanted = self._experiments().where(t.experiments.c.id > after_id).limit(limit)
        return [readers.experiment(row) for row in self._connection.execute(wanted)]

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
        return [readers.experiment(row) for row in self._connection.execute(wanted.limit(limit))]

    def extremes(self, technique: str) -> list[ExperimentRecord]:
        table = t.experiments
        error = func.coalesce(table.c.se, UNKNOWN_SE)
        closed = table.c.outcome.not_in((ExperimentOutcome.FAILED.value, ExperimentOutcome.PRUNED.value))
        counts = (table.c.technique == technique, table.c.effect.is_not(None), table.c.superseded_by.is_(None), closed)
        found = []
        for order in ((table.c.effect - 2 * error).desc(), (table.c.effect + 2 * error).asc()):
            chosen = select(table.c.id).where(*counts).order_by(order, table.c.id).limit(1).scalar_subquery()
            rows = self._connection.execute(self._experiments().where(table.c.id == chosen))
            found += [readers.experiment(row) for row in rows]
        return found

    def last_context(self, codebase: str, family: str | None) -> Context | None:
        table = t.experiments
        wanted = self._experiments(newest=True).where(table.c.codebase == codebase, table.c.origin.is_(None))
        for row in self._connection.execute(wanted.limit(SETTERS)):
            context = readers.experiment(row).context
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
        return [readers.experiment(row) for row in self._connection.execute(wanted)]

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
        return [readers.experiment(rows[id_]) for id_ in ids]

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
        found = (readers.experiment(rows[id_]) for id_ in ids)
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


def _any_of(values: Sequence[str]) -> BindParameter[Any]:
    """What IN looks among, as one parameter: SQLAlchemy takes a list apart value by value, at a cost that shows."""
    return bindparam(None, values, expanding=True)
