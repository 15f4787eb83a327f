"""JSON text to the frozen values of the domain, by their type hints, and the other way round.

It reads what the store itself wrote, so it checks little and needs no import beyond the standard library: a wake should
not pay for pydantic. A field that an older release did not write takes its default; a field this release no longer
knows is left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from rea.domain.codec import dumps, to_plain
from rea.domain.insight import Context
from rea.store.errors import StoreError

T = TypeVar("T")
Decoder = Callable[[Any], Any]
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
        build: Decoder = decoder(kind)  # type: ignore[arg-type]
        value: T = build(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StoreError(f"the store holds a {kind.__name__} that cannot be read: {error}", hint=MEND) from error
    return value


def _same(value: Any) -> Any:
    return value


def _plain(kind: type) -> Decoder:
    """A value that JSON has as it is."""

    def check(value: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeError(f"{str(value)[:80]!r} where a {kind.__name__} is expected")
        return value

    return check


def _scalar(value: Any) -> Any:
    if isinstance(value, dict):
        raise TypeError("an object where a single value is expected")
    return value


@cache
def decoder(kind: Any) -> Decoder:
    """What turns plain JSON into a `kind`. Raises TypeError for a type hint it does not know."""
    if kind in (Any, object, NoneType):
        return _same
    if kind in (str, int, bool):
        return _plain(kind)
    if kind is float:
        return float
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    if is_dataclass(kind):
        return _dataclass(kind)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _union(tuple(part for part in inner if part is not NoneType))
    if origin is tuple:
        return _tuple(inner)
    if isinstance(origin, type) and issubclass(origin, Mapping) and inner[0] is str:
        return _mapping(decoder(inner[1]))
    raise TypeError(f"{kind} cannot be read back from JSON")


def _dataclass(kind: Any) -> Decoder:
    hints = get_type_hints(kind)
    parts = [(field.name, decoder(hints[field.name])) for field in fields(kind)]

    def build(value: Any) -> Any:
        return kind(**{name: part(value[name]) for name, part in parts if name in value})

    return build


def _union(kinds: tuple[Any, ...]) -> Decoder:
    """Scalars as JSON has them, at most one kind that has to be built (a tuple comes as a list)."""
    built = [kind for kind in kinds if kind not in (bool, int, float, str)]
    if not built and len(kinds) > 1:
        return _scalar
    if len(kinds) == 1:
        only = decoder(kinds[0])
        return lambda value: None if value is None else only(value)
    if len(built) == 1 and get_origin(built[0]) is tuple:
        listed = decoder(built[0])
        return lambda value: listed(value) if isinstance(value, list) else value
    raise TypeError(f"a union of {kinds} cannot be read back from JSON")


def _tuple(inner: tuple[Any, ...]) -> Decoder:
    if len(inner) == 2 and inner[1] is Ellipsis:
        each, items = decoder(inner[0]), _plain(list)
        return lambda value: tuple(map(each, items(value)))
    parts = [decoder(kind) for kind in inner]
    return lambda value: tuple(part(item) for part, item in zip(parts, value, strict=True))


def _mapping(each: Decoder) -> Decoder:
    if each is _same:
        return _plain(dict)
    return lambda value: {key: each(item) for key, item in value.items()}


def read_context(text: str) -> Context:
    """A context from its JSON text. Raises StoreError where the text is none."""
    found: dict[str, Any] = decode(dict[str, Any], text)
    return {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
