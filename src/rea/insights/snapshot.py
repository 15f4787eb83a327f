"""What is known, as one small value: fitted beliefs that the planner is handed in place of the records behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Protocol

from rea.domain.insight import (
    Cell,
    Context,
    Excess,
    ExperimentOutcome,
    ExperimentRecord,
    Pair,
    alone,
    excesses,
    gather,
    pair_up,
)
from rea.domain.technique import Technique
from rea.insights.features import unit
from rea.insights.fit import experiments, fit
from rea.insights.leave_out import without
from rea.insights.posterior import Belief, Fit, card_key
from rea.insights.similarity import data_range, same_data
from rea.insights.trainability import counts_without

WINNERS = 40  # settings without a card that are handed on, those that gained most
MOST_KIN = 2  # models on the same data that are heard, those that most is known of: a third takes 1 % off an error
LITTLE = 0.05  # of the experiments in a fit, below which those on the same data are not taken out of it


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of one technique from the viewpoint of one codebase.

    `belief` is the posterior from all codebases on other data (None where none tried it), `settings` the names its
    parameters have. `kin` are the cells of other codebases on the same data, `own` those of this one: a belief here is
    updated with both. `n` experiments on `codebases` codebases other than this one are known, `contexts` counts those
    that could be trained and those that could not by coarse context. Gains are in the unit of technique cards
    (`features.unit`).
    """

    belief: Belief | None
    settings: tuple[str, ...]
    n: int
    codebases: int
    contexts: Mapping[tuple[str, int], tuple[float, float]]
    own: tuple[Cell, ...] = ()
    kin: tuple[Cell, ...] = ()


@dataclass(frozen=True, eq=False)
class Insights:
    """A snapshot for planning in one codebase: by technique what is known, interactions of pairs, settings that won
    elsewhere and belong to no card. A value, a few hundred kilobytes however many experiments are behind it; it can be
    pickled. The empty one knows nothing."""

    codebase: str = ""
    known: Mapping[str, Known] = field(default_factory=dict)
    pairs: tuple[Pair, ...] = ()
    winners: tuple[ExperimentRecord, ...] = ()
    alike: frozenset[tuple[str, str]] = frozenset()  # pairs whose cards overlap or work by one mechanism, a < b


Span = tuple[float, float]  # lowest and highest
Place = tuple[str, Context, int]  # a codebase in one of its contexts, and how many cells there are of it
Groups = Mapping[str, tuple[Cell, ...]]  # by technique


class Instant(Protocol):
    """What a store knows at one instant."""

    def revisions(self, techniques: Sequence[str]) -> dict[str, int]: ...
    def fits(self, techniques: Sequence[str]) -> dict[str, tuple[int, str, bytes]]: ...
    def cells(self, techniques: Sequence[str] | None = None, codebases: Sequence[str] | None = None) -> list[Cell]: ...
    def places(self, rows: Span, positive_rate: Span) -> list[Place]: ...
    def pairs(self, techniques: Sequence[str]) -> list[Pair]: ...
    def winners(self, limit: int) -> list[ExperimentRecord]: ...


class Source(Protocol):
    """What a store offers to make a snapshot from."""

    def instant(self) -> AbstractContextManager[Instant]: ...
    def keep_fits(self, fits: Mapping[str, tuple[int, str, bytes]]) -> None: ...


def recall(source: Source, techniques: Sequence[Technique], codebase: str, data: Context | None = None) -> Insights:
    """What the store knows of these techniques, for planning in `codebase`; `data` is a context of it, by which other
    codebases on the same data are known.

    Techniques whose evidence or card changed since they were last fitted are fitted again and kept; every other
    question is answered from the kept fits.
    """
    names = [technique.name for technique in techniques]
    near = data_range(data or {})
    with source.instant() as read:
        found = _found(read, techniques)
        kin = _kin(read.places(*near), codebase, data or {}) if near else []
        cells = read.cells(codebases=[codebase, *kin])
        pairs, winners = tuple(read.pairs(names)), tuple(read.winners(WINNERS))
    return Insights(codebase, _view(_fitted(source, found), cells, codebase), pairs, winners, alike(techniques))


def refresh(source: Source, techniques: Sequence[Technique]) -> dict[str, Fit]:
    """The fits of every technique that was ever tried, by name, made anew where their evidence or card has changed."""
    with source.instant() as read:
        found = _found(read, techniques)
    return _fitted(source, found)


@dataclass(frozen=True, slots=True)
class _Found:
    """Kept fits by technique, and those that have to be made anew, each with the revision and the cells it is of."""

    kept: Mapping[str, Fit]
    stale: Sequence[tuple[Technique, int]]
    cells: Sequence[Cell]


def _found(read: Instant, techniques: Sequence[Technique]) -> _Found:
    revisions = read.revisions([technique.name for technique in techniques])
    fits = read.fits(list(revisions)) if revisions else {}
    kept, stale = {}, []
    for technique in techniques:
        revision = revisions.get(technique.name)
        if revision is None:
            continue
        of, card, data = fits.get(technique.name, (-1, "", b""))
        fresh = of == revision and card == card_key(technique)
        fitted = _read_fit(technique.name, data) if fresh else None
        if fitted is None:
            stale.append((technique, revision))
        else:
            kept[technique.name] = fitted
    return _Found(kept, stale, read.cells([technique.name for technique, _ in stale]) if stale else ())


_READ: dict[str, tuple[bytes, Fit | None]] = {}  # fits as they were last read: to compare bytes costs next to nothing


def _read_fit(technique: str, data: bytes) -> Fit | None:
    known = _READ.get(technique)
    if known is None or known[0] != data:
        known = _READ[technique] = data, Fit.from_bytes(data)
    return known[1]


def _fitted(source: Source, found: _Found) -> dict[str, Fit]:
    if not found.stale:
        return dict(found.kept)
    cells = _grouped(found.cells)
    made = {t.name: fit(t, cells.get(t.name, ())) for t, _ in found.stale}
    source.keep_fits({t.name: (of, card_key(t), made[t.name].to_bytes()) for t, of in found.stale})
    return {**found.kept, **made}


def learn(
    records: Iterable[ExperimentRecord], techniques: Sequence[Technique], codebase: str, data: Context | None = None
) -> Insights:
    """The same from records in memory."""
    records = list(records)
    gathered = gather(records)
    cells = _grouped(gathered)
    fitted: dict[str, Fit] = {}
    if cells:
        fitted = {t.name: fit(t, cells[t.name]) for t in techniques if t.name in cells}
    kin = _kin([(c.codebase, c.context, 1) for c in gathered], codebase, data or {})
    near = [cell for cell in gathered if cell.codebase in (codebase, *kin)]
    names = {technique.name for technique in techniques}
    pairs = [pair for pair in pair_up(_excesses(records)) if pair.a in names and pair.b in names]
    won = [r for r in records if r.technique is None and r.kind != "combination" and r.superseded_by is None]
    won = [r for r in won if r.outcome == ExperimentOutcome.SUPPORTED and (r.effect or 0.0) > 0]
    won.sort(key=lambda r: -(r.effect or 0.0))
    known = _view(fitted, near, codebase)
    return Insights(codebase, known, tuple(pairs), tuple(won[:WINNERS]), alike(techniques))


def after(
    insights: Insights, records: Sequence[ExperimentRecord], techniques: Sequence[Technique], codebase: str
) -> Insights:
    """A snapshot and what further experiments of its own codebase showed."""
    new = learn(records, techniques, codebase)
    known = dict(insights.known)
    for name, told in new.known.items():
        held = known.get(name)
        known[name] = told if held is None else replace(held, own=(*held.own, *told.own))
    winners = sorted((*insights.winners, *new.winners), key=lambda record: -(record.effect or 0.0))
    return replace(insights, known=known, pairs=(*insights.pairs, *new.pairs), winners=tuple(winners[:WINNERS]))


def _view(fitted: Mapping[str, Fit], cells: Sequence[Cell], codebase: str) -> dict[str, Known]:
    """`cells` are those of this codebase and of its kin."""
    if not fitted:
        return {}
    own = _grouped(cell for cell in cells if cell.codebase == codebase)
    kin = _grouped(cell for cell in cells if cell.codebase != codebase)
    known = {}
    taken = []
    for name, found in fitted.items():
        others = kin.get(name, ())
        # Of a fit that knows a hundred codebases the few on these data are left in: they are next to nothing there.
        counted = experiments(others) >= LITTLE * found.n
        taken.append((*own.get(name, ()), *(others if counted else ())))
    beliefs = without(list(fitted.values()), taken)
    for (name, found), away, belief in zip(fitted.items(), taken, beliefs, strict=True):
        mine, others = own.get(name, ()), kin.get(name, ())
        n = found.n - experiments(mine)
        codebases = found.codebases - (1 if mine else 0)
        contexts = counts_without(found.contexts, mine)
        elsewhere = belief if found.n > experiments(away) else None
        known[name] = Known(elsewhere, found.settings, n, codebases, contexts, mine, others)
    return known


def _kin(places: Iterable[Place], codebase: str, data: Context) -> list[str]:
    """Other codebases on these data, MOST_KIN at most, those first of which there are most cells."""
    asked: dict[str, int] = {}
    for name, context, count in places:
        if name != codebase and same_data(context, data):
            asked[name] = asked.get(name, 0) + count
    return sorted(asked, key=lambda name: (-asked[name], name))[:MOST_KIN]


def _grouped(cells: Iterable[Cell]) -> dict[str, tuple[Cell, ...]]:
    """By technique, with gains in the unit of technique cards, in which they can be compared between data sets."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.technique, []).append(cell.over(unit(cell.context)))
    return {name: tuple(group) for name, group in groups.items()}


def _excesses(records: Sequence[ExperimentRecord]) -> Iterable[Excess]:
    for record in records:
        if len(record.interaction_of) >= 2 and record.superseded_by is None:
            yield from excesses(record, alone(record, records))


def alike(techniques: Sequence[Technique]) -> frozenset[tuple[str, str]]:
    """Pairs (a < b) whose cards overlap, or that work by the same mechanism."""
    return _alike(tuple((technique.name, technique.mechanism, technique.overlaps) for technique in techniques))


@lru_cache(maxsize=8)
def _alike(cards: tuple[tuple[str, str, tuple[str, ...]], ...]) -> frozenset[tuple[str, str]]:
    names = {name for name, _, _ in cards}
    working: dict[str, list[str]] = {}
    found = set()
    for name, mechanism, overlaps in cards:
        same = working.setdefault(mechanism, [])
        found |= {(name, other) for other in same}
        found |= {(name, other) for other in overlaps if other in names}
        same.append(name)
    return frozenset((min(pair), max(pair)) for pair in found if pair[0] != pair[1])
