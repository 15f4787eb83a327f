"""Values to JSON and back. Canonical JSON (sorted keys, no spaces, no NaN) is what digests are taken over.

Back it goes by type hints, with nothing but the standard library: every wake reads its campaign so, and should not pay
for importing pydantic.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
Decoder = Callable[[Any], Any]
UNREADABLE: Final = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


def to_plain(value: Any) -> Any:
    """Dataclasses, enums, mappings and tuples as plain JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    return value


def canonical(value: Any) -> str:
    """The one text of a value: equal values give equal texts on every machine. NaN and infinity are refused."""
    return json.dumps(to_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(text: str) -> str:
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def dumps(value: Any) -> str:
    """JSON for storage (NaN allowed, order kept)."""
    return json.dumps(to_plain(value), ensure_ascii=False)


def loads(kind: type[T], text: str) -> T:
    """The value of a type from the JSON that was made of it.

    It checks little: what it reads REA wrote itself. A field that an older release did not write takes its default; one
    that this release no longer knows is left out. Raises ValueError, TypeError, KeyError, AttributeError or
    RecursionError (`UNREADABLE`) where the text holds something else.
    """
    build: Decoder = decoder(cast(Hashable, kind))
    value: T = build(json.loads(text))
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
