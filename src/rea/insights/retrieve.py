"""Answering "what do we know about X here?"."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from rea.domain.insight import Context, Effect, ExperimentOutcome, ExperimentRecord, Pair
from rea.domain.technique import Symptom, Technique
from rea.insights.estimate import effect, percent
from rea.insights.features import differences
from rea.insights.interaction import measured_words
from rea.insights.similarity import similarity
from rea.insights.snapshot import Insights, Source, recall

_T = TypeVar("_T")
MOST_ROWS = 8
MOST_LINES = 5  # experiments told of one technique, those in the most similar contexts
LOOKED_AT = 60  # experiments of a technique that these are chosen from, the newest
_SMALL_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a about an and are do does for here how i in is it know of on our the there to us was we what with",
    )
)


class Library(Source, Protocol):
    """What a store offers to be asked."""

    def counts(self) -> dict[str, int]: ...
    def experiments_of(self, technique: str, limit: int, codebase: str | None = None) -> list[ExperimentRecord]: ...
    def extremes(self, technique: str) -> list[ExperimentRecord]: ...
    def find_experiments(self, words: Sequence[str], limit: int) -> list[ExperimentRecord]: ...
    def pairs_with(self, technique: str) -> list[Pair]: ...
    def setters(self, role: str, limit: int) -> list[ExperimentRecord]: ...


@dataclass(frozen=True, slots=True)
class Row:
    """One technique of an answer, with what is believed of it in the context asked about."""

    technique: str
    title: str
    effect: Effect
    evidence: tuple[str, ...] = ()  # the experiments that say most here, a line each
    together: tuple[str, ...] = ()  # what is known of it beside other techniques
    contradictions: tuple[str, ...] = ()  # experiments that cannot both be the rule, and what their contexts differ in


@dataclass(frozen=True, slots=True)
class Answer:
    """`words` says the whole in sentences; `rows` hold the numbers, best first; `notes` what fits by text."""

    words: str
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # role asked about → values tried, in words


def about(query: str, store: Library, techniques: Sequence[Technique], context: Context | None = None) -> Answer:
    """What is known about a technique (by name), a role, or anything in words, in this context.

    The longest name in the query decides, a technique's or a role's (a technique's where both have it); without one,
    a symptom's name is answered with what treats it, and other words are looked for in the cards and in the texts of
    experiments. Without any hit the answer says so and names what can be asked. An empty query is answered with the
    techniques that were tried, best first.
    """
    asked = _slug(query)
    here: Context = context or {}
    if not query.strip():
        counts = store.counts()
        tried = [t for t in techniques if t.name in counts]
        known = recall(store, tried, str(here.get("codebase", "")), here)
        tried.sort(key=lambda t: -effect(t, here, known).mean)
        return _answer("from experiments so far", tried, store, here, most=len(tried))
    named = [t for t in techniques if _contained(t.name, asked)]
    roles = {role for t in techniques for role in t.roles} | _known_roles(query, store)
    role = max((role for role in roles if _contained(role, asked)), key=lambda name: (len(name), name), default="")
    if named and max(len(t.name) for t in named) >= len(role):
        return _answer(f"about {query.strip()}", named, store, here)
    if role:
        setting = [t for t in techniques if role in t.roles]
        return _answer(f"about {role}", setting, store, here, values={role: _tried(role, store)})
    symptom = max((s.value for s in Symptom if _contained(s.value, asked)), key=len, default="")
    if symptom:
        treating = [t for t in techniques if symptom in t.treats]
        return _answer(f"about what treats {symptom.replace('_', ' ')}", treating, store, here)
    words = _words(query)
    ranked = _ranked(techniques, lambda t: f"{t.name} {t.title} {t.mechanism} {' '.join(t.treats)} {t.prose}", words)
    notes = store.find_experiments(sorted(words), MOST_ROWS)
    if not ranked and not notes:
        known_names = ", ".join(t.name for t in techniques[:5])
        return Answer(f"Nothing is known about {query.strip()!r}. Ask for a technique ({known_names}, …) or a role.")
    return _answer(f"closest to {query.strip()!r}", ranked, store, here, notes=notes)


def _answer(
    topic: str,
    chosen: Sequence[Technique],
    store: Library,
    context: Context,
    *,
    notes: Sequence[ExperimentRecord] = (),
    values: Mapping[str, tuple[str, ...]] | None = None,
    most: int = MOST_ROWS,
) -> Answer:
    """What was tried comes before what was not, then in the order given, `most` of them."""
    counts = store.counts()
    shown = sorted(chosen, key=lambda t: t.name not in counts)[:most]
    codebase = str(context.get("codebase", ""))
    known = recall(store, shown, codebase, context)
    rows = [_row(t, store, known, context) for t in shown]
    rows.sort(key=lambda row: -row.effect.mean)
    tested = sum(row.effect.n for row in rows)
    count = f"{len(rows)} technique{'' if len(rows) == 1 else 's'}, {tested} experiment{'' if tested == 1 else 's'}"
    if len(chosen) > len(rows):
        count += f" ({len(chosen) - len(rows)} more techniques are not shown)"
    where = f" For {codebase}." if codebase else ""
    lines = [f"What is known {topic}: {count}.{where}"]
    for row in rows:
        lines.append(f"{row.effect.words}.")
        lines += [f"  {line}" for line in row.evidence]
        lines += [f"  {line}" for line in row.contradictions]
    # Where both techniques of a pair are in the answer, the pair is told once.
    lines += dict.fromkeys(f"{line}." for row in rows for line in row.together)
    for role, tried in (values or {}).items():
        lines += [f"Values of {role} tried: {'; '.join(tried)}." if tried else f"No experiment has set {role} yet."]
    found = tuple(_note(record) for record in notes[:MOST_ROWS])
    return Answer("\n".join([*lines, *found]), tuple(rows), found, values or {})


def _row(technique: Technique, store: Library, known: Insights, context: Context) -> Row:
    found = effect(technique, context, known)
    if technique.name not in known.known:
        return Row(technique.name, technique.title, found)
    newest = store.experiments_of(technique.name, LOOKED_AT)
    own = store.experiments_of(technique.name, MOST_LINES, str(context.get("codebase", "")))
    records = list({r.id: r for r in [*own, *newest]}.values())
    weighed = [(similarity(context, r.context), r) for r in records]
    weighed.sort(key=lambda entry: (entry[1].codebase != context.get("codebase"), -entry[0], -(entry[1].id or 0)))
    lines = tuple(_line(record, weight) for weight, record in weighed[:MOST_LINES])
    together = tuple(measured_words(pair) for pair in store.pairs_with(technique.name))
    return Row(technique.name, technique.title, found, lines, together, _contradiction(store, technique.name))


def _contradiction(store: Library, technique: str) -> tuple[str, ...]:
    """The experiments that say most for and most against a technique, where their intervals do not meet."""
    found = store.extremes(technique)
    if len(found) < 2 or found[0].id == found[1].id:
        return ()
    good, bad = found
    low, high = (good.effect or 0.0) - 2 * good.error, (bad.effect or 0.0) + 2 * bad.error
    if low <= high or low <= 0 or high >= 0:
        return ()
    apart = differences(good.context, bad.context)
    start = {role for role in good.roles if good.values.get(role) != bad.values.get(role)}
    settings = {role for role in {*good.roles, *bad.roles} if good.roles.get(role) != bad.roles.get(role)}
    reasons = [f"the contexts differ in {', '.join(apart[:4])}"] if apart else []
    reasons += [f"they set {', '.join(sorted(settings))} differently"] if settings else []
    reasons += [f"they started from other values of {', '.join(sorted(start))}"] if start else []
    why = "; ".join(reasons) or "nothing on record tells the contexts apart"
    return (f"{good.name} says {percent(good.effect or 0.0)}, {bad.name} says {percent(bad.effect or 0.0)}: {why}",)


def _line(record: ExperimentRecord, weight: float) -> str:
    where = f"{record.name}, {record.codebase}"
    seeds = f"{record.seeds} seed{'' if record.seeds == 1 else 's'}"
    tail = f"similarity {weight:.2f}"
    if record.trust < 1:
        tail += f"; trusted by {record.trust:.0%}"
    if record.superseded_by is not None:
        tail += f"; superseded by E-{record.superseded_by}"
    if record.outcome == ExperimentOutcome.FAILED:
        return f"{where}: could not be trained ({record.failure or 'no reason kept'}); {tail}"
    if record.outcome == ExperimentOutcome.PRUNED:
        bound = "0" if record.effect is None else percent(record.effect)
        return f"{where}: stopped at {record.fidelity:.0%} of the run, at most {bound}; {tail}"
    if record.effect is None:
        return f"{where}: {record.outcome}, no number kept; {tail}"
    error = "" if record.se is None else f" ± {record.se * 100:.2f} %"
    return f"{where}: {percent(record.effect)}{error}, {record.outcome} over {seeds}; {tail}"


def _known_roles(query: str, store: Library) -> set[str]:
    """Roles no card has that the query names: its words, as an experiment set them."""
    candidate = _slug(query).replace("-", "_")
    return {candidate} if candidate and store.setters(candidate, 1) else set()


def _tried(role: str, store: Library) -> tuple[str, ...]:
    """Values a role was set to, with the gain each had, best first."""
    return tuple(
        f"{r.values.get(role)} → {r.roles[role]}: {percent(r.effect or 0.0)} ({r.outcome})"
        for r in store.setters(role, MOST_ROWS)
    )


def _note(record: ExperimentRecord) -> str:
    gain = "no number" if record.effect is None else percent(record.effect)
    settings = ", ".join(f"{role}={value}" for role, value in sorted(record.roles.items()))
    what = f"{record.technique or settings}: {record.outcome}, {gain}. {record.note}"
    return f"{record.name}, {record.codebase}: {what}".strip()


def _ranked(items: Sequence[_T], text: Callable[[_T], str], words: frozenset[str]) -> list[_T]:
    """Items that share words with the query, most first; the order given decides ties."""
    stems = {w.rstrip("s") for w in words}
    scored = [(len(stems & {w.rstrip("s") for w in _words(text(item))}), item) for item in items]
    return [item for score, item in sorted(scored, key=lambda entry: -entry[0]) if score]


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z0-9]{2,}", text.lower().replace("_", " "))) - _SMALL_WORDS


def _slug(text: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", text.lower()))


def _contained(name: str, asked: str) -> bool:
    """Whether a query, as a slug, holds the name as whole words."""
    return f"-{_slug(name)}-" in f"-{asked}-"
