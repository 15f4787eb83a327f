"""What is known, as one small value: fitted beliefs that the planner is handed in place of the records behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from rea.domain.insight import (
    Cell,
    Context,
    Excess,
    ExperimentOutcome,
    ExperimentRecord,
    Pair,
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
MOST_KIN = 12  # cells of a technique, of other models on the same data, that are weighed one by one


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


class Source(Protocol):
    """What a store offers to make a snapshot from."""

    def revisions(self, techniques: Sequence[str]) -> dict[str, int]: ...
    def fits(self, techniques: Sequence[str]) -> dict[str, tuple[int, str, bytes]]: ...
    def keep_fits(self, fits: Mapping[str, tuple[int, str, bytes]]) -> None: ...
    def cells(self, techniques: Sequence[str] | None = None, codebase: str | None = None) -> list[Cell]: ...
    def cells_beside(self, codebase: str, rows: Span, positive_rate: Span) -> list[Cell]: ...
    def pairs(self, techniques: Sequence[str]) -> list[Pair]: ...
    def winners(self, limit: int) -> list[ExperimentRecord]: ...


def recall(source: Source, techniques: Sequence[Technique], codebase: str, data: Context | None = None) -> Insights:
    """What the store knows of these techniques, for planning in `codebase`; `data` is a context of it, by which other
    codebases on the same data are known.

    Techniques whose evidence or card changed since they were last fitted are fitted again and kept; every other
    question is answered from the kept fits.
    """
    names = [technique.name for technique in techniques]
    fitted = refresh(source, techniques)
    own = _grouped(source.cells(codebase=codebase))
    near = data_range(data or {})
    known = _view(fitted, own, _kin(source.cells_beside(codebase, *near) if near else (), codebase, data or {}))
    return Insights(codebase, known, tuple(source.pairs(names)), tuple(source.winners(WINNERS)), alike(techniques))


def refresh(source: Source, techniques: Sequence[Technique]) -> dict[str, Fit]:
    """The fits of every technique that was ever tried, by name, made anew where their evidence or card has changed."""
    names = [technique.name for technique in techniques]
    revisions = source.revisions(names)
    if not revisions:
        return {}
    kept = source.fits(list(revisions))
    fitted: dict[str, Fit] = {}
    stale = []
    for technique in techniques:
        if technique.name not in revisions:
            continue
        revision, card, data = kept.get(technique.name, (-1, "", b""))
        fresh = revision == revisions[technique.name] and card == card_key(technique)
        found = Fit.from_bytes(data) if fresh else None
        if found is None:
            stale.append(technique)
        else:
            fitted[technique.name] = found
    if stale:
        cells = _grouped(source.cells([technique.name for technique in stale]))
        made = {t.name: fit(t, cells.get(t.name, ())) for t in stale}
        # The cells were read after the revisions: a fit may be newer than it says, and is then made once more.
        source.keep_fits({t.name: (revisions[t.name], card_key(t), made[t.name].to_bytes()) for t in stale})
        fitted |= made
    return fitted


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
    own = {name: tuple(c for c in cells.get(name, ()) if c.codebase == codebase) for name in fitted}
    names = {technique.name for technique in techniques}
    pairs = [pair for pair in pair_up(_excesses(records)) if pair.a in names and pair.b in names]
    won = [r for r in records if r.technique is None and r.kind != "combination" and r.superseded_by is None]
    won = [r for r in won if r.outcome == ExperimentOutcome.SUPPORTED and (r.effect or 0.0) > 0]
    won.sort(key=lambda r: -(r.effect or 0.0))
    known = _view(fitted, own, _kin(gathered if data else (), codebase, data or {}))
    return Insights(codebase, known, tuple(pairs), tuple(won[:WINNERS]), alike(techniques))


Groups = Mapping[str, tuple[Cell, ...]]  # by technique


def _view(fitted: Mapping[str, Fit], own: Groups, kin: Groups) -> dict[str, Known]:
    if not fitted:
        return {}
    known = {}
    taken = [(*own.get(name, ()), *kin.get(name, ())) for name in fitted]
    beliefs = without(list(fitted.values()), taken)
    for (name, found), cells, belief in zip(fitted.items(), taken, beliefs, strict=True):
        mine = own.get(name, ())
        n = found.n - experiments(mine)
        codebases = found.codebases - (1 if mine else 0)
        contexts = counts_without(found.contexts, mine)
        elsewhere = belief if found.n > experiments(cells) else None
        known[name] = Known(elsewhere, found.settings, n, codebases, contexts, mine, _pooled(kin.get(name, ())))
    return known


def _kin(cells: Iterable[Cell], codebase: str, data: Context) -> Groups:
    """Of each technique the cells of other codebases on these data. A codebase is in it whole or not at all, because
    only whole ones can be taken out of a fit; those that would be too many stay there."""
    verdicts: dict[int, bool] = {}  # by identity: cells of one context mostly share it
    there: set[str] = set()
    cells = [cell for cell in cells if cell.codebase != codebase]
    for cell in cells:
        if id(cell.context) not in verdicts:
            verdicts[id(cell.context)] = same_data(cell.context, data)
        if verdicts[id(cell.context)]:
            there.add(cell.codebase)
    found: dict[str, tuple[Cell, ...]] = {}
    for name, group in _grouped(cell for cell in cells if cell.codebase in there).items():
        kept: list[Cell] = []
        models: dict[str, list[Cell]] = {}
        for cell in group:
            models.setdefault(cell.codebase, []).append(cell)
        # Those that say most first; the order of names decides where two say as much.
        for fresh in sorted(models.values(), key=lambda of: (-sum(c.weight for c in of), of[0].codebase)):
            if len(kept) + len(fresh) <= MOST_KIN:
                kept += fresh
        found[name] = tuple(kept)
    return found


def _pooled(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """One cell for each step of a codebase, in the context of the one that says most: however often a model was asked,
    it is one model."""
    groups: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        start = tuple(sorted((role, repr(value)) for role, value in cell.start.items()))
        groups.setdefault((cell.codebase, cell.setting, start), []).append(cell)
    pooled = []
    for group in groups.values():
        if len(group) == 1:
            pooled += group
            continue
        lead, pruned = max(group, key=lambda cell: cell.weight), sum(cell.pruned for cell in group)
        bounds = [(cell.pruned / pruned, cell) for cell in group if cell.pruned]
        pooled.append(
            replace(
                lead,
                n=sum(cell.n for cell in group),
                weight=sum(cell.weight for cell in group),
                moment=sum(cell.moment for cell in group),
                square=sum(cell.square for cell in group),
                failed=sum(cell.failed for cell in group),
                pruned=pruned,
                bound=sum(share * cell.bound for share, cell in bounds),
                bound_variance=sum(share * cell.bound_variance for share, cell in bounds),
            )
        )
    return tuple(pooled)


def _grouped(cells: Iterable[Cell]) -> dict[str, tuple[Cell, ...]]:
    """By technique, with gains in the unit of technique cards, in which they can be compared between data sets."""
    groups: dict[str, list[Cell]] = {}
    units: dict[int, tuple[Context, float]] = {}  # by identity, which holds as long as the context is held
    for cell in cells:
        known = units.get(id(cell.context))
        if known is None:
            known = units[id(cell.context)] = cell.context, unit(cell.context)
        groups.setdefault(cell.technique, []).append(cell.over(known[1]))
    return {name: tuple(group) for name, group in groups.items()}


def _excesses(records: Sequence[ExperimentRecord]) -> Iterable[Excess]:
    for record in records:
        if len(record.interaction_of) >= 2 and record.superseded_by is None:
            yield from excesses(record, _alone(record, records))


def _alone(pair: ExperimentRecord, records: Sequence[ExperimentRecord]) -> dict[str, tuple[float, float]]:
    found = {}
    for name in set(pair.interaction_of):
        of = [r for r in records if r.technique == name and r.single and r.measured and r.codebase == pair.codebase]
        of = [r for r in of if (r.campaign, r.origin) == (pair.campaign, pair.origin)] or of
        if of:
            weight = sum(r.precision for r in of)
            found[name] = (sum(r.precision * (r.effect or 0.0) for r in of) / weight, 1 / weight)
    return found


def alike(techniques: Sequence[Technique]) -> frozenset[tuple[str, str]]:
    """Pairs (a < b) whose cards overlap, or that work by the same mechanism."""
    names = {technique.name for technique in techniques}
    working: dict[str, list[str]] = {}
    found = set()
    for one in techniques:
        same = working.setdefault(one.mechanism, [])
        found |= {(one.name, other) for other in same}
        found |= {(one.name, other) for other in one.overlaps if other in names}
        same.append(one.name)
    return frozenset((min(pair), max(pair)) for pair in found if pair[0] != pair[1])
