"""Keeping experiments: the rows, and the sufficient statistics, interactions and revisions derived from them.

Everything here runs inside one write transaction. Derived rows are recomputed from the experiments they are about,
never added up, so that they cannot drift from them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, bindparam, delete, insert, or_, select, text, update

from rea.domain.codec import canonical, digest
from rea.domain.errors import ReaError
from rea.domain.insight import (
    Context,
    ExperimentOutcome,
    ExperimentRecord,
    alone,
    bound_of,
    content,
    content_id,
    context_key,
    excesses,
    number,
    setting_key,
    subject,
    superseded,
)
from rea.store import tables as t
from rea.store.decode import decode, encode, plain, read_context

T = TypeVar("T")
CHUNK: Final = 500  # values in one IN (…), well below what any database takes
_POSTGRESQL_LOCK: Final = 0x7265615E
_FAILED, _PRUNED = ExperimentOutcome.FAILED.value, ExperimentOutcome.PRUNED.value

_OF_A_CELL: Final = f"""
  SELECT count(*) FILTER (WHERE outcome NOT IN ('{_FAILED}', '{_PRUNED}') AND effect IS NOT NULL) AS n,
         coalesce(sum(precision) FILTER (WHERE outcome NOT IN ('{_FAILED}', '{_PRUNED}') AND effect IS NOT NULL), 0.0)
           AS weight,
         coalesce(sum(precision * effect) FILTER (WHERE outcome NOT IN ('{_FAILED}', '{_PRUNED}')), 0.0) AS moment,
         coalesce(sum(precision * effect * effect) FILTER (WHERE outcome NOT IN ('{_FAILED}', '{_PRUNED}')), 0.0)
           AS square,
         count(*) FILTER (WHERE outcome = '{_FAILED}') AS failed,
         count(*) FILTER (WHERE outcome = '{_PRUNED}') AS pruned,
         coalesce(avg(effect) FILTER (WHERE outcome = '{_PRUNED}'), 0.0) AS bound,
         coalesce(avg(1.0 / precision) FILTER (WHERE outcome = '{_PRUNED}'), 0.0) AS bound_variance
  FROM experiments WHERE superseded_by IS NULL"""
_SUMS: Final = ("n", "weight", "moment", "square", "failed", "pruned", "bound", "bound_variance")
_SUM: Final = f"""
UPDATE cells SET ({", ".join(_SUMS)}) = ({_OF_A_CELL} AND experiments.cell = cells.key)
WHERE key IN :keys
"""


def keep(
    connection: Connection, records: Sequence[ExperimentRecord], *, own: bool, origin: int | None = None
) -> list[int]:
    """Insert experiments and everything derived; the ids of those that were not there already, by their content.

    `own` ones are of a campaign of this store; others are imported, with `origin` the id of their import.
    """
    _one_writer(connection)
    digests = [content_id(record) for record in records]
    known = set(_column(connection, t.experiments.c.digest, t.experiments.c.digest, digests))
    fresh = []
    for key, record in zip(digests, records, strict=True):
        if key not in known:
            known.add(key)
            fresh.append((key, record))
    if not fresh:
        return []
    rows = []
    for key, record in fresh:
        row = _row(record, key)
        # Imported records keep the numbers of where they come from in their text alone.
        rows.append(row | {"campaign": record.campaign if own else None, "origin": origin})
        rows[-1]["hypothesis"] = record.hypothesis if own else None
    connection.execute(insert(t.experiments), rows)
    found = {
        row.digest: row.id
        for some in _chunks([key for key, _ in fresh])
        for row in connection.execute(
            select(t.experiments.c.digest, t.experiments.c.id).where(t.experiments.c.digest.in_(some))
        )
    }
    ids = [found[key] for key, _ in fresh]
    _settle(connection, list(zip(ids, (record for _, record in fresh), strict=True)))
    return ids


def revise(connection: Connection, id_: int, record: ExperimentRecord) -> None:
    """Put another record in an experiment's place."""
    _one_writer(connection)
    before = connection.execute(
        select(t.experiments.c.cell, t.experiments.c.technique, t.experiments.c.subject).where(
            t.experiments.c.id == id_
        )
    ).one()
    row = _row(record, content_id(record)) | {"superseded_by": None}
    twin = connection.execute(
        select(t.experiments.c.id).where(t.experiments.c.digest == row["digest"], t.experiments.c.id != id_)
    ).scalar()
    if twin is not None:
        row["digest"] = None  # the very same was imported before; one of the two carries the name
    connection.execute(update(t.experiments).where(t.experiments.c.id == id_).values(**row))
    connection.execute(delete(t.pairs).where(t.pairs.c.experiment == id_))
    _settle(connection, [(id_, record)], {before.cell} - {None}, {before.technique} - {None}, {before.subject} - {None})


def forget(connection: Connection, origins: Sequence[int]) -> int:
    """Take back what these imports brought; gives how many experiments that were."""
    _one_writer(connection)
    table = t.experiments
    columns = (table.c.id, table.c.cell, table.c.technique, table.c.subject)
    rows = connection.execute(select(*columns).where(table.c.origin.in_(origins))).all()
    for some in _chunks([row.id for row in rows]):
        connection.execute(delete(t.pairs).where(t.pairs.c.experiment.in_(some)))
        connection.execute(delete(table).where(table.c.id.in_(some)))
    cells, techniques, subjects = ({row[place] for row in rows} - {None} for place in (1, 2, 3))
    _settle(connection, _compared(connection, techniques), cells, techniques, subjects)
    connection.execute(delete(t.imports).where(t.imports.c.id.in_(origins)))
    return len(rows)


def _compared(connection: Connection, techniques: Iterable[str]) -> list[tuple[int, ExperimentRecord]]:
    """Combinations that were held against some of these techniques alone, their pairs taken away to be made anew."""
    names, pair = sorted(techniques), t.pairs
    held = select(pair.c.experiment).where(or_(pair.c.a.in_(names), pair.c.b.in_(names)))
    columns = (t.experiments.c.id, t.experiments.c.record)
    rows = connection.execute(select(*columns).where(t.experiments.c.id.in_(held))).all()
    for some in _chunks([row.id for row in rows]):
        connection.execute(delete(pair).where(pair.c.experiment.in_(some)))
    return [(row.id, decode(ExperimentRecord, row.record)) for row in rows]


def derive(connection: Connection) -> None:
    """Fill the derived columns and rows of experiments that have none yet: those an older release wrote."""
    bare = select(t.contexts).where(t.contexts.c.key.not_in(select(t.extracts.c.context)))
    kept = {row.key: read_context(row.context) for row in connection.execute(bare).all()}
    _insert_new(connection, t.extracts, _extracts(kept))
    table = t.experiments
    waiting = connection.execute(
        select(table.c.id, table.c.record).where(table.c.digest.is_(None)).order_by(table.c.id)
    )
    rows = [(row.id, decode(ExperimentRecord, row.record)) for row in waiting.all()]
    if not rows:
        return
    _one_writer(connection)
    seen: set[str] = set()
    values = []
    for id_, record in rows:
        row = _row(record, content_id(record))
        row["digest"] = None if row["digest"] in seen else row["digest"]
        seen.add(content_id(record))
        values.append({"_id": id_} | row)
    names = [name for name in values[0] if name != "_id"]
    connection.execute(
        update(table).where(table.c.id == bindparam("_id")).values({name: bindparam(name) for name in names}), values
    )
    _settle(connection, rows)


def _one_writer(connection: Connection) -> None:
    """One writer of insights at a time: a cell is a sum over rows that two writers would each see a part of."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_POSTGRESQL_LOCK})")


def _row(record: ExperimentRecord, key: str) -> dict[str, Any]:
    pruned = record.outcome == _PRUNED
    gain = bound_of(record) if pruned else record.effect if record.measured else None
    known = record.se is not None and math.isfinite(record.se) and record.se > 0
    return {
        "round": record.round,
        "codebase": plain(record.codebase),
        "technique": None if record.technique is None else plain(record.technique),
        "outcome": record.outcome,
        "at": record.at,
        "record": _text(record),
        "digest": key,
        "kind": record.kind,
        "effect": gain,
        "se": record.se if known else None,
        "precision": record.precision,
        "trust": record.trust,
        "subject": subject(record),
        "cell": cell_key(record) if record.single else None,
        "words": plain(_words(record)),
    }


def _text(record: ExperimentRecord) -> str:
    """JSON as `encode` writes it, by a shorter way: a record holds nothing but what JSON has."""
    plain_ = {"id": None} | content(record) | {"trust": record.trust}
    found = json.dumps(plain_, ensure_ascii=False)
    return found if found.isascii() else encode(plain_)


def cell_key(record: ExperimentRecord) -> str:
    parts = [record.technique, setting_key(record.roles, record.values), record.codebase, canonical(record.start)]
    return digest("\0".join([*map(str, parts), context_key(record.context)]))[:24]


def _words(record: ExperimentRecord) -> str:
    settings = " ".join(f"{role} {value}" for role, value in record.roles.items())
    parts = [record.technique or "", " ".join(record.interaction_of), settings, record.note, record.failure or ""]
    family, symptoms = record.context.get("model_family"), record.context.get("symptoms")
    where = [record.codebase, str(family or ""), " ".join(symptoms) if isinstance(symptoms, tuple) else ""]
    return " ".join(part for part in (*parts, *where) if part).replace("_", " ").replace("-", " ")


def _settle(
    connection: Connection,
    fresh: Sequence[tuple[int, ExperimentRecord]],
    touched: Iterable[str] = (),
    techniques: Iterable[str] = (),
    subjects: Iterable[str] = (),
) -> None:
    """Make everything derived agree with the rows: contexts, cells, what is superseded, pairs, revisions."""
    singles = [record for _, record in fresh if record.single]
    contexts = {context_key(r.context): r.context for r in singles}
    keyed = {digest(k)[:24]: (k, context) for k, context in contexts.items()}
    _insert_new(connection, t.contexts, [{"key": key, "context": k} for key, (k, _) in keyed.items()])
    _insert_new(connection, t.extracts, _extracts({key: context for key, (_, context) in keyed.items()}))
    empty = {"n": 0, "weight": 0.0, "moment": 0.0, "square": 0.0, "failed": 0, "pruned": 0}
    empty |= {"bound": 0.0, "bound_variance": 0.0}
    cells = {
        cell_key(r): {
            "technique": plain(str(r.technique)),
            "setting": plain(setting_key(r.roles, r.values)),
            "start": encode(r.start),
            "codebase": plain(r.codebase),
            "context": digest(context_key(r.context))[:24],
        }
        for r in singles
    }
    _insert_new(connection, t.cells, [{"key": key} | value | empty for key, value in cells.items()])
    moved = _supersede(connection, {subject(record) for _, record in fresh} | set(subjects))
    keys = sorted(set(cells) | set(touched) | moved)
    summing = text(_SUM).bindparams(bindparam("keys", expanding=True))
    for some in _chunks(keys):
        connection.execute(summing, {"keys": some})
        connection.execute(
            delete(t.cells).where(t.cells.c.key.in_(some), t.cells.c.n + t.cells.c.failed + t.cells.c.pruned == 0)
        )
    changed = {str(r.technique) for r in singles} | set(techniques)
    changed |= set(_column(connection, t.cells.c.technique, t.cells.c.key, sorted(moved)))
    _insert_new(connection, t.evidence, [{"technique": plain(name), "revision": 0} for name in sorted(changed)])
    for some in _chunks(sorted(changed)):
        raised = {"revision": t.evidence.c.revision + 1}
        connection.execute(update(t.evidence).where(t.evidence.c.technique.in_(some)).values(raised))
    found = [row for id_, record in fresh for row in _pairs(connection, id_, record)]
    if found:
        connection.execute(insert(t.pairs), found)


def _supersede(connection: Connection, subjects: set[str]) -> set[str]:
    """Write down who supersedes whom among tests of the same things; the cells that lose or regain a row."""
    table = t.experiments
    columns = (table.c.subject, table.c.id, table.c.at, table.c.se, table.c.effect, table.c.outcome)
    groups: dict[str, list[Any]] = {}
    for some in _chunks(sorted(subjects)):
        wanted = select(*columns, table.c.superseded_by, table.c.cell).where(table.c.subject.in_(some))
        for row in connection.execute(wanted):
            groups.setdefault(row.subject, []).append(row)
    moved, changes = set(), []
    for rows in groups.values():
        if len(rows) < 2 and rows[0].superseded_by is None:
            continue
        closed = [
            (r.id, r.at, r.se if r.outcome not in (_FAILED, _PRUNED) and r.effect is not None else None) for r in rows
        ]
        by = superseded(closed)
        for row in rows:
            if row.superseded_by != by.get(row.id):
                changes.append({"_id": row.id, "_by": by.get(row.id)})
                moved |= {row.cell} - {None}
    if changes:
        statement = update(table).where(table.c.id == bindparam("_id")).values(superseded_by=bindparam("_by"))
        connection.execute(statement, changes)
    return moved


def _pairs(connection: Connection, id_: int, record: ExperimentRecord) -> Iterator[dict[str, Any]]:
    """What a combination showed of each pair in it, beside the same techniques alone in the same codebase."""
    if len(record.interaction_of) < 2 or not record.measured:
        return
    for one in excesses(record, alone(record, _singles(connection, record))):
        yield {
            "experiment": id_,
            "a": plain(one.a),
            "b": plain(one.b),
            "codebase": plain(record.codebase),
            "excess": one.excess,
            "se": one.se,
            "smaller": one.smaller,
            "share": one.share,
            "weight": 1 / one.variance,
        }


def _singles(connection: Connection, pair: ExperimentRecord) -> list[ExperimentRecord]:
    """The measured experiments of a combination's techniques by themselves, in its codebase."""
    table = t.experiments
    near = (table.c.technique.in_(sorted(set(pair.interaction_of))), table.c.codebase == plain(pair.codebase))
    standing = (table.c.effect.is_not(None), table.c.superseded_by.is_(None), table.c.kind == "single")
    rows = connection.execute(select(table.c.record, table.c.campaign, table.c.origin).where(*near, *standing)).all()
    found = [(row, decode(ExperimentRecord, row.record)) for row in rows]
    return [replace(record, origin="" if row.origin is None else str(row.origin)) for row, record in found]


def _extracts(contexts: Mapping[str, Context]) -> list[dict[str, Any]]:
    rows = []
    for key, context in contexts.items():
        size, rate = number(context.get("rows")), number(context.get("positive_rate"))
        if size is not None and rate is not None:
            rows.append({"context": key, "rows": size, "positive_rate": rate})
    return rows


def _insert_new(connection: Connection, table: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows whose key is not there yet."""
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as dialect_insert
    else:
        from sqlalchemy.dialects.sqlite import insert as dialect_insert  # type: ignore[assignment]
    connection.execute(dialect_insert(table).on_conflict_do_nothing(), rows)


def _column(connection: Connection, wanted: Any, column: Any, values: Sequence[Any]) -> list[Any]:
    return [
        value
        for some in _chunks(values)
        for value in connection.execute(select(wanted).where(column.in_(some))).scalars()
    ]


def _chunks(values: Sequence[T]) -> Iterator[list[T]]:
    for start in range(0, len(values), CHUNK):
        yield list(values[start : start + CHUNK])


def disagreements(connection: Connection) -> Iterator[str]:
    """What of the experiments does not say what their records do, in words: columns, and sums over them."""
    table = t.experiments
    rows = connection.execute(select(table).where(table.c.digest.is_not(None)).order_by(table.c.id))
    for row in rows.yield_per(CHUNK):
        name = f"E-{row.id}"
        try:
            record = decode(ExperimentRecord, row.record)
            wanted = _row(record, content_id(record))
        except (ReaError, ValueError, KeyError, TypeError) as error:
            yield f"{name} cannot be read: {error}"
            continue
        for column in ("digest", "outcome", "technique", "effect", "se", "precision", "trust", "subject", "cell"):
            if not _same(row._mapping[column], wanted[column]):
                yield f"{name}: its {column} is {row._mapping[column]!r}, and by its record {wanted[column]!r}"
                break
    columns = [t.cells.c[name] for name in _SUMS]
    kept = {row[0]: row[1:] for row in connection.execute(select(t.cells.c.key, *columns))}
    grouped = _OF_A_CELL.replace("SELECT", "SELECT cell,", 1) + " AND cell IS NOT NULL GROUP BY cell"
    found = {row[0]: row[1:] for row in connection.execute(text(grouped))}
    nothing = (0,) * len(_SUMS)
    for key in sorted(kept.keys() | found.keys()):
        for name, is_, should in zip(_SUMS, kept.get(key, nothing), found.get(key, nothing), strict=True):
            if not _same(is_, should):
                yield f"what was learnt in {key}: its {name} is {is_:.6g}, and by its experiments {should:.6g}"
                break


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
    return bool(one == other)
