"""Reading cards: YAML front matter between two `---` lines, then prose."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from rea.domain.codebase import Scalar
from rea.domain.errors import ConfigError
from rea.domain.technique import Relative, Setting, Wanted
from rea.knowledge.roles import load_roles

E = TypeVar("E", bound=StrEnum)
_REQUIRED: Any = object()


class Fields:
    """The front matter of one file, taken key by key; every complaint names the file and the key."""

    def __init__(self, path: Path, content: Mapping[str, Any], prose: str) -> None:
        self.path = path
        self.prose = prose
        self._content = dict(content)
        self._known: list[str] = []

    def error(self, key: str, expected: str, hint: str) -> ConfigError:
        return ConfigError(f"{self.path}: {key}: expected {expected}", hint=hint)

    def take(self, key: str, default: Any = _REQUIRED) -> Any:
        """The raw value of a key, or its default. ConfigError if it is missing and has none."""
        self._known.append(key)
        if key in self._content:
            return self._content.pop(key)
        if default is _REQUIRED:
            raise self.error(key, "a value, and the key is missing", f"add `{key}:` to the front matter")
        return default

    def done(self) -> None:
        """ConfigError if the file says anything nobody asked for."""
        for key in self._content:
            raise self.error(str(key), "no such key here", f"known keys: {', '.join(self._known)}")

    def text(self, key: str, default: Any = _REQUIRED) -> str:
        value = self.take(key, default)
        if not isinstance(value, str) or (not value.strip() and default is _REQUIRED):
            raise self.error(key, f"a text, got {value!r}", f'write `{key}: "…"`')
        return value.strip()

    def number(self, key: str, default: Any = _REQUIRED, *, above: float | None = None) -> float:
        value = self.take(key, default)
        if not _is_number(value) or (above is not None and value <= above):
            bound = f" above {above:g}" if above is not None else ""
            raise self.error(key, f"a number{bound}, got {value!r}", f"write `{key}: 1.0`, for example")
        return float(value)

    def integer(self, key: str, default: Any = _REQUIRED) -> int:
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.error(key, f"a whole number, 0 or more, got {value!r}", f"write `{key}: 1`, for example")
        return value

    def flag(self, key: str) -> bool:
        value = self.take(key, False)
        if not isinstance(value, bool):
            raise self.error(key, f"true or false, got {value!r}", f"write `{key}: true`")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        return self._list(key, "texts", lambda item: isinstance(item, str) and bool(item))

    def integers(self, key: str) -> tuple[int, ...]:
        return self._list(key, "whole numbers", lambda item: isinstance(item, int) and not isinstance(item, bool))

    def seconds(self, key: str) -> tuple[float, ...]:
        return self._list(key, "seconds, 0 or more", lambda item: _is_number(item) and item >= 0)

    def one_of(self, key: str, kind: type[E], default: Any = _REQUIRED) -> E | Any:
        value = self.take(key, default)
        return value if value is None and default is None else self._member(key, value, kind)

    def some_of(self, key: str, kind: type[E]) -> tuple[E, ...]:
        return tuple(self._member(key, item, kind) for item in self.texts(key))

    def roles(self, key: str) -> tuple[str, ...]:
        return tuple(self.role(key, item) for item in self.texts(key))

    def role(self, key: str, name: object) -> str:
        if not isinstance(name, str) or name not in load_roles():
            raise self.error(key, f"a role, got {name!r}", _closest(str(name), load_roles()))
        return name

    def mapping(self, key: str, default: Any = _REQUIRED) -> Fields:
        """A nested mapping as fields of its own; call its `done` as well."""
        value = self.take(key, default)
        if not isinstance(value, dict):
            raise self.error(key, f"a mapping, got {value!r}", f"write `{key}: {{name: value, …}}`")
        return _Nested(self.path, value, key)

    def values_by_role(self, key: str) -> dict[str, tuple[Scalar, ...]]:
        """Role → the scalars listed for it."""
        found: dict[str, tuple[Scalar, ...]] = {}
        for role, listed in dict(self.mapping(key, {})._content).items():
            if not isinstance(listed, list) or not listed or not all(_is_scalar(item) for item in listed):
                raise self.error(f"{key}.{role}", f"a list of values, got {listed!r}", f"write `{role}: [adam, adamw]`")
            found[self.role(key, role)] = tuple(listed)
        return found

    def settings(self, key: str, default: Any = _REQUIRED) -> tuple[Setting, ...]:
        """A list of settings; a single mapping is a list of one."""
        value = self.take(key, default)
        items = [value] if isinstance(value, dict) else value
        if not isinstance(items, list) or (not items and default is _REQUIRED):
            raise self.error(key, f"a list of settings, got {value!r}", f"write `{key}: [{{learning_rate: x0.3}}]`")
        settings: list[Setting] = []
        for item in items:
            if not isinstance(item, dict) or not item:
                raise self.error(key, f"role: value pairs, got {item!r}", "write {learning_rate: x0.3}, for example")
            settings.append({self.role(key, role): self._wanted(f"{key}.{role}", v) for role, v in item.items()})
        return tuple(settings)

    def _wanted(self, key: str, value: Any) -> Wanted:
        if isinstance(value, dict):
            kind = next(iter({"x", "add"} & value.keys()), None)
            otherwise = value.get("or")
            numbers = kind is not None and _is_number(value[kind]) and (otherwise is None or _is_number(otherwise))
            if kind is None or not numbers or set(value) - {kind, "or"}:
                raise self.error(
                    key, f"a relative number, got {value!r}", "write {x: 0.3, or: 1e-5} or {add: 1, or: 3}"
                )
            return _relative(kind, float(value[kind]), otherwise)
        if isinstance(value, str):
            if found := re.fullmatch(r"(x|\+|-)(\d+(?:\.\d+)?)", value):
                kind, number = found.groups()
                return _relative("x" if kind == "x" else "add", -float(number) if kind == "-" else float(number), None)
            return value
        if not _is_scalar(value):
            raise self.error(key, f"a value, got {value!r}", 'write a number, a text, true, "x0.3" or "+1"')
        return value  # type: ignore[no-any-return]

    def _list(self, key: str, what: str, good: Callable[[Any], bool]) -> tuple[Any, ...]:
        value = self.take(key, [])
        if not isinstance(value, list) or not all(good(item) for item in value):
            raise self.error(key, f"a list of {what}, got {value!r}", f"write `{key}: [ … ]`")
        return tuple(value)

    def _member(self, key: str, value: Any, kind: type[E]) -> E:
        try:
            return kind(value)
        except ValueError:
            raise self.error(key, f"one of {', '.join(kind)}, got {value!r}", _closest(str(value), kind)) from None


class _Nested(Fields):
    def __init__(self, path: Path, content: Mapping[str, Any], parent: str) -> None:
        super().__init__(path, content, "")
        self._parent = parent

    def error(self, key: str, expected: str, hint: str) -> ConfigError:
        return super().error(f"{self._parent}.{key}", expected, hint)


def read_card(path: Path) -> Fields:
    """The front matter and prose of one card. ConfigError names the file and what is wrong with its frame."""
    import yaml

    shape = "start the file with ---, then YAML, then ---, then prose"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}", hint="a card is a UTF-8 text file") from None
    found = re.fullmatch(r"---\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n(.*))?", text, re.DOTALL)
    if found is None:
        raise ConfigError(f"{path}: no front matter", hint=shape)
    try:
        content = yaml.load(found.group(1), Loader=_loader())
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: front matter is not YAML: {error}", hint=shape) from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: front matter is not a mapping", hint=shape)
    prose = (found.group(2) or "").strip()
    if not prose:
        raise ConfigError(f"{path}: no prose", hint="say below the front matter why this card is as it is")
    return Fields(path, content, prose)


def card_files(folders: Iterable[Path]) -> list[Path]:
    """Every `*.md` of the folders, folder by folder, sorted by name; a folder that does not exist holds none."""
    return [path for folder in folders for path in sorted(folder.glob("*.md")) if path.name.lower() != "readme.md"]


@cache
def _loader() -> Any:
    """PyYAML's safe loader, with 1e-5 a number (as in YAML 1.2) and a repeated key an error instead of a loss."""
    import yaml

    # With libyaml where there is one: every plan reads a hundred cards, and every failure the runbooks.
    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        pass

    def mapping(loader: Any, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is there twice", key.start_mark
                )
            seen.add(key.value)
        return yaml.constructor.SafeConstructor.construct_mapping(loader, node, deep=True)

    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(?:\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
    )
    return Loader


def _relative(kind: str, number: float, otherwise: float | None) -> Relative:
    fallback = None if otherwise is None else float(otherwise)
    return Relative(number, 0.0, fallback) if kind == "x" else Relative(1.0, number, fallback)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, bool | str) or _is_number(value)


def _closest(word: str, known: Iterable[str]) -> str:
    import difflib

    names = [str(name) for name in known]
    close = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {close[0]}?" if close else f"one of: {', '.join(names)}"
