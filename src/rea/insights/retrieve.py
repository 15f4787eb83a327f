"""Answering "what do we know about X here?"."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from rea.domain.insight import Context, Effect, ExperimentRecord
from rea.domain.technique import Technique
from rea.insights.estimate import effect, percent
from rea.insights.interaction import interaction

_T = TypeVar("_T")
MOST_ROWS = 8
_SMALL_WORDS = frozenset(
    [
        "about",
        "and",
        "are",
        "do",
        "does",
        "for",
        "here",
        "how",
        "in",
        "is",
        "it",
        "know",
        "of",
        "on",
        "the",
        "to",
        "we",
        "what",
    ]
)


@dataclass(frozen=True, slots=True)
class Row:
    """One technique of an answer, with what is believed of it in the context asked about."""

    technique: str
    title: str
    effect: Effect
    together: tuple[str, ...] = ()  # what is known of it beside other techniques


@dataclass(frozen=True, slots=True)
class Answer:
    """`words` says the whole in sentences; `rows` hold the numbers, best first; `notes` records that fit by text."""

    words: str
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # role asked about → values tried, in words


def about(
    query: str,
    records: Sequence[ExperimentRecord],
    techniques: Sequence[Technique],
    context: Context | None = None,
) -> Answer:
    """What is known about a technique (by name), a role, or anything in words, in this context.

    The longest name in the query decides, a technique's or a role's (a technique's where both have it); without one,
    the words of the query are looked for in the cards and in the notes of records. Without any hit the answer says so
    and names what can be asked. An empty query is answered with every technique that was ever tried, best first.
    """
    asked = _slug(query)
    here = context or {}
    if not query.strip():
        tried = [t for t in techniques if any(r.technique == t.name for r in records)]
        tried.sort(key=lambda t: -effect(t, here, records).mean)
        return _answer("from experiments so far", tried, records, here)
    named = [t for t in techniques if _contained(t.name, asked)]
    roles = {role for t in techniques for role in t.roles} | {role for r in records for role in r.roles}
    role = max((role for role in roles if _contained(role, asked)), key=lambda name: (len(name), name), default="")
    if named and max(len(t.name) for t in named) >= len(role):
        return _answer(f"about {query.strip()}", named, records, here)
    if role:
        setting = [t for t in techniques if role in t.roles]
        return _answer(f"about {role}", setting, records, here, values={role: _tried(role, records)})
    words = _words(query)
    ranked = _ranked(techniques, lambda t: f"{t.name} {t.title} {t.mechanism} {' '.join(t.treats)} {t.prose}", words)
    notes = _ranked(records, lambda r: f"{r.technique or ''} {r.note} {r.failure or ''} {' '.join(r.roles)}", words)
    if not ranked and not notes:
        known = ", ".join(t.name for t in techniques[:5])
        return Answer(f"Nothing is known about {query.strip()!r}. Ask for a technique ({known}, …) or a role.")
    return _answer(f"closest to {query.strip()!r}", ranked, records, here, notes=notes)


def _answer(
    topic: str,
    chosen: Sequence[Technique],
    records: Sequence[ExperimentRecord],
    context: Context,
    *,
    notes: Sequence[ExperimentRecord] = (),
    values: Mapping[str, tuple[str, ...]] | None = None,
) -> Answer:
    rows = [Row(t.name, t.title, effect(t, context, records), _together(t, records)) for t in chosen[:MOST_ROWS]]
    rows.sort(key=lambda row: -row.effect.mean)
    tested = sum(row.effect.n for row in rows)
    count = f"{len(rows)} technique{'' if len(rows) == 1 else 's'}, {tested} experiment{'' if tested == 1 else 's'}"
    lines = [f"What is known {topic}: {count}."]
    lines += [f"{row.effect.words}." for row in rows]
    # Where both techniques of a pair are in the answer, the pair is told once.
    lines += dict.fromkeys(f"{line}." for row in rows for line in row.together)
    for role, tried in (values or {}).items():
        lines += [f"Values of {role} tried: {'; '.join(tried)}." if tried else f"No experiment has set {role} yet."]
    found = tuple(_note(record) for record in notes[:MOST_ROWS])
    return Answer("\n".join([*lines, *found]), tuple(rows), found, values or {})


def _together(t: Technique, records: Sequence[ExperimentRecord]) -> tuple[str, ...]:
    partners = sorted({name for r in records if t.name in r.interaction_of for name in r.interaction_of} - {t.name})
    measured = [interaction(t.name, partner, records) for partner in partners]
    return tuple(found.words for found in measured if found is not None)


def _tried(role: str, records: Iterable[ExperimentRecord]) -> tuple[str, ...]:
    """Every value a role was set to, with the gain it had, best first."""
    tried = [(r.effect, r) for r in records if role in r.roles and r.effect is not None and len(r.interaction_of) < 2]
    tried.sort(key=lambda entry: -entry[0])
    return tuple(
        f"{r.values.get(role)} → {r.roles[role]}: {percent(gain)} ({r.outcome})" for gain, r in tried[:MOST_ROWS]
    )


def _note(record: ExperimentRecord) -> str:
    gain = "no number" if record.effect is None else percent(record.effect)
    settings = ", ".join(f"{role}={value}" for role, value in sorted(record.roles.items()))
    what = f"{record.technique or settings}: {record.outcome}, {gain}. {record.note}"
    return f"{record.codebase}, campaign {record.campaign}: {what}".strip()


def _ranked(items: Sequence[_T], text: Callable[[_T], str], words: frozenset[str]) -> list[_T]:
    """Items that share words with the query, most first; the order given decides ties."""
    scored = [(len(words & _words(text(item))), item) for item in items]
    return [item for score, item in sorted(scored, key=lambda entry: -entry[0]) if score]


def _words(text: str) -> frozenset[str]:
    return frozenset(w.rstrip("s") for w in re.findall(r"[a-z0-9]+", text.lower().replace("_", " "))) - _SMALL_WORDS


def _slug(text: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", text.lower()))


def _contained(name: str, asked: str) -> bool:
    """Whether a query, as a slug, holds the name as whole words."""
    return f"-{_slug(name)}-" in f"-{asked}-"
