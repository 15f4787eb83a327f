"""Ids people can say: C-3 (campaign), H-12 (hypothesis), R-40 (run), A-41 (attempt), P-2 (plan), Q-1 (question)."""

from __future__ import annotations

import re

from rea.domain.errors import UsageError

_KINDS = {
    "C": "campaign",
    "H": "hypothesis",
    "R": "run",
    "A": "attempt",
    "P": "plan",
    "E": "experiment",
    "Q": "question",
}
_PATTERN = re.compile(r"^([A-Za-z])-?(\d{1,12})$")


def say(kind: str, number: int) -> str:
    """The spoken id of a row, for example `say("R", 40) == "R-40"`."""
    return f"{kind}-{number}"


def is_id(text: str) -> bool:
    """Whether a text is, or would be taken for, the id of anything."""
    found = _PATTERN.match(text.strip())
    return text.strip().isdigit() or (found is not None and found.group(1).upper() in _KINDS)


def number(text: str, kind: str) -> int:
    """The number in a spoken id of this kind (`"H-12"`, `"h12"` or `"12"`).

    Raises UsageError if the text is no id of that kind.
    """
    bare = text.strip()
    if bare.isdigit():
        return int(bare)
    found = _PATTERN.match(bare)
    if found is None or found.group(1).upper() != kind:
        raise UsageError(f"{text!r} is not the id of a {_KINDS[kind]}", hint=f"expected something like {kind}-3")
    return int(found.group(2))
