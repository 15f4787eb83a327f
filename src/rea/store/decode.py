"""JSON text of columns to the frozen values of the domain, and the other way round."""

from __future__ import annotations

import json
from typing import Any, Final, TypeVar

from rea.domain.codec import UNREADABLE, dumps, loads, to_plain
from rea.domain.insight import Context
from rea.store.errors import StoreError

T = TypeVar("T")
MEND: Final = "was it edited by hand, or written by a newer release? Restore the store from a backup, or undo the edit"


def encode(value: Any) -> str:
    """JSON text that every database takes. Half a surrogate pair (a log in a strange encoding) is written escaped."""
    text = dumps(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(to_plain(value))
    return text


def plain(text: str) -> str:
    """A text for a column of its own: what UTF-8 or PostgreSQL cannot hold becomes U+FFFD."""
    return (
        text.encode("utf-8", "replace").decode().replace("\0", "\ufffd") if not text.isascii() or "\0" in text else text
    )


def decode(kind: type[T], text: str) -> T:
    """The value written by `encode`. Raises StoreError where the text holds something else."""
    try:
        return loads(kind, text)
    except UNREADABLE as error:
        raise StoreError(f"the store holds a {kind.__name__} that cannot be read: {error}", hint=MEND) from error


def read_context(text: str) -> Context:
    """A context from its JSON text. Raises StoreError where the text is none."""
    found: dict[str, Any] = decode(dict[str, Any], text)
    return {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
