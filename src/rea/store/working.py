"""What a wake reads of a campaign: everything, and of one that has tried very many hypotheses the part that counts.

A decision weighs the hypotheses that are open, the best that were judged, and the latest; of the others it asks only
what they took and whether something was tried already. So of more than MOST hypotheses, those that were judged and are
neither among the best nor the latest are closed: their runs, which have all ended, are summed up and not read one by
one. What a wake costs then grows with what is open and not with all that ever was.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import JSON, ColumnElement, CompoundSelect, Connection, cast, func, select, union

from rea.domain.codec import digest
from rea.domain.hypothesis import Hypothesis, HypothesisKind
from rea.domain.ledger import EntryKind, Purse, Tally
from rea.domain.rows import Closed, Rows
from rea.domain.states import AttemptState, HypothesisState, Phase, RunState
from rea.store import tables as t
from rea.store.decode import plain

MOST: Final = 400  # hypotheses of a campaign that are all looked at
BEST: Final = 100  # of more, so many of those that look good
LATEST: Final = 100  # and at least so many of the newest; twice as many at most
MOST_ENTRIES: Final = 2000  # of a ledger, that are added up anew each time

_OPEN: Final = (HypothesisState.PROPOSED, HypothesisState.TESTING)
_GOOD: Final = (HypothesisState.SUPPORTED, HypothesisState.INCONCLUSIVE)
_PASSED_OVER: Final = (HypothesisState.VETOED, HypothesisState.LEFT_OUT)
_OPEN_RUNS: Final = (RunState.PLANNED, RunState.ACTIVE)


class Told(NamedTuple):
    """A hypothesis as far as it takes to say whether it is looked at."""

    id: int
    state: str
    digest: str
    belief: str | None


class Memory:
    """What one process needs to find out once: sums over rows that never change again."""

    def __init__(self) -> None:
        self.tallies: dict[int, tuple[int, Tally]] = {}  # by campaign: up to which entry, and their sum
        self.closed: dict[int, tuple[frozenset[int], Closed]] = {}  # by campaign: of which hypotheses
        self.rows: dict[int, tuple[Version, Rows]] = {}  # by campaign: as of when


class Version(NamedTuple):
    """Two that are equal were taken with nothing written in between. `of` is the connection that saw it."""

    of: Any
    others: int
    own: int


def version(connection: Connection) -> Version | None:
    """Of an SQLite file, what its connection knows of its own changes and those of others; None of other databases."""
    if connection.dialect.name != "sqlite":
        return None
    driver: Any = connection.connection.dbapi_connection
    # https://www.sqlite.org/pragma.html#pragma_data_version
    others = connection.exec_driver_sql("PRAGMA data_version").scalar_one()
    return Version(driver, int(others), driver.total_changes)


def told(connection: Connection, campaign: int) -> list[Told]:
    """All hypotheses of a campaign, oldest first."""
    c = t.hypotheses.c
    wanted = select(c.id, c.state, c.digest, c.belief).where(c.campaign == campaign).order_by(c.id)
    # Thousands of rows, several times a wake: as the driver gives them, because SQLAlchemy wraps each in an object.
    cursor: Any = connection.execute(wanted).cursor
    return list(map(Told._make, cursor.fetchall()))


def looked_at(known: Sequence[Told], always: Iterable[int]) -> set[int]:
    """Ids of the hypotheses that a decision weighs, beside what these are built on."""
    chosen = {one.id for one in known if one.state in _OPEN}
    good = [one for one in known if one.state in _GOOD and one.belief is not None]
    chosen |= {one.id for one in sorted(good, key=lambda one: (-_mean(one), one.id))[:BEST]}
    # In steps, so that what is closed stays the same from one look to the next.
    first = max(0, len(known) - LATEST) // LATEST * LATEST
    chosen |= {one.id for one in known[first:]}
    return chosen | (set(always) & {one.id for one in known})


def _mean(one: Told) -> float:
    try:
        return float(json.loads(one.belief or "")["mean"])
    except (ValueError, TypeError, KeyError):
        return 0.0  # whoever reads the whole row says what is wrong with it


def foundations(hypotheses: Iterable[Hypothesis], known: Sequence[Told]) -> set[int]:
    """Ids of what these hypotheses are made of: their parts, and whatever made the treatments they stand on."""
    drafts = [hypothesis.draft for hypothesis in hypotheses]
    parts = {id_ for draft in drafts for id_ in draft.parents}
    bases = {treatment_digest(key) for key in {draft.base.key() for draft in drafts if not draft.base.empty}}
    return {one.id for one in known if one.id in parts or one.digest in bases} if parts or bases else set()


def treatment_digest(key: str) -> str:
    return digest(plain(key))


def busy(connection: Connection, campaign: int) -> set[int]:
    """Ids of the hypotheses with runs that have not ended."""
    c = t.runs.c
    wanted = select(c.hypothesis).where(c.campaign == campaign, c.state.in_(_OPEN_RUNS))
    return {row.hypothesis for row in connection.execute(wanted)} - {None}


def runs_of(campaign: int, hypotheses: Sequence[int]) -> CompoundSelect[Any]:
    """The ids of the runs of these hypotheses, of the baseline's, and of those that have not ended.

    One question for each, because without statistics SQLite thinks little of the indices that answer them when they
    are one.
    """
    c = t.runs.c
    each = (c.hypothesis.is_(None), c.hypothesis.in_(hypotheses), c.state.in_(_OPEN_RUNS))
    return union(*(select(c.id).where(c.campaign == campaign, one) for one in each))


def attempts_of(campaign: int, runs: CompoundSelect[Any]) -> CompoundSelect[Any]:
    """The ids of the attempts at these runs, and of those that have not ended."""
    c = t.attempts.c
    unfinished = (c.campaign == campaign, c.state.in_((AttemptState.INTENDED, AttemptState.SUBMITTED)))
    return union(select(c.id).where(*unfinished), select(c.id).where(c.run.in_(runs)))


def summed_up(
    connection: Connection, campaign: int, known: Sequence[Told], looked_at: Sequence[Hypothesis], tried: Sequence[int]
) -> Closed:
    """What is left of all other hypotheses. `tried`: those that are looked at and may have runs."""
    ids = {h.id for h in looked_at}
    c = t.hypotheses.c
    kind = _within(connection, c.draft, "kind")
    wanted = select(c.round, kind, func.count()).where(c.campaign == campaign, c.state.not_in(_PASSED_OVER))
    every = {(round_, HypothesisKind(of)): n for round_, of, n in connection.execute(wanted.group_by(c.round, kind))}
    here = Counter((h.round, h.draft.kind) for h in looked_at if h.state not in _PASSED_OVER)
    runs, attempts = t.runs, t.attempts
    phase, round_ = (_within(connection, runs.c.draft, name) for name in ("phase", "round"))
    costs = (
        select(round_, phase, func.sum(func.coalesce(attempts.c.device_s, 0.0)))
        .join(attempts, attempts.c.run == runs.c.id)
        .where(runs.c.campaign == campaign, runs.c.id.not_in(runs_of(campaign, tried)))
        .group_by(round_, phase)
    )
    return Closed(
        tried={of: n - here[of] for of, n in every.items() if n > here[of]},
        spent={(int(of), Phase(name)): float(spent) for of, name, spent in connection.execute(costs)},
        treatments=frozenset(one.digest for one in known if one.id not in ids),
    )


def added_up(connection: Connection, campaign: int) -> tuple[int, Tally] | None:
    """The sum of a long ledger and its last entry; None of a short one. Only for what is committed."""
    c = t.entries.c
    count, last = connection.execute(select(func.count(), func.max(c.id)).where(c.campaign == campaign)).one()
    if count < MOST_ENTRIES:
        return None
    mine = (c.campaign == campaign) & (c.id <= last)
    limit = select(c.device_s).where(mine, c.kind == EntryKind.APPROVE).order_by(c.id.desc()).limit(1)
    settled = select(c.purse, func.sum(c.device_s)).where(mine, c.kind == EntryKind.SETTLE).group_by(c.purse)
    spent = {Purse(purse): float(sum_) for purse, sum_ in connection.execute(settled)}
    other = t.entries.alias()
    released = select(other.c.id).where(other.c.attempt == c.attempt, other.c.kind == EntryKind.SETTLE)
    held = select(c.attempt, c.device_s).where(mine, c.kind == EntryKind.RESERVE, ~released.exists()).order_by(c.id)
    tally = Tally(
        approved=connection.execute(limit).scalar() or 0.0,
        contingency=spent.get(Purse.CONTINGENCY, 0.0),
        reserved={row.attempt: row.device_s for row in connection.execute(held)},
        settled={None: sum(spent.values())},
    )
    return last, tally


def _within(connection: Connection, column: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """A field of a JSON text, in SQL."""
    if connection.dialect.name == "postgresql":
        found: ColumnElement[Any] = cast(column, JSON)[name].as_string()
        return found
    return func.json_extract(column, f"$.{name}")
