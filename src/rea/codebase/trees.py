"""Dotted names in nested configs: finding them, changing them, and telling two configs apart."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from typing import Any

from rea.domain.codebase import Knob, KnobType, Scalar, same

Key = str | int
Path = tuple[Key, ...]


def locate(tree: Any, name: str) -> Path | None:
    """Where `name` is in `tree`; None if nowhere.

    "optim.lr" is `tree["optim"]["lr"]`, "layers.0.units" goes through a list, and a flat key that contains dots is
    found too. Nested keys win over flat ones.
    """
    return _locate(tree, name.split("."))


def _locate(tree: Any, parts: list[str]) -> Path | None:
    if not parts:
        return ()
    if isinstance(tree, list):
        if parts[0].isdecimal() and int(parts[0]) < len(tree):
            rest = _locate(tree[int(parts[0])], parts[1:])
            return None if rest is None else (int(parts[0]), *rest)
        return None
    if not isinstance(tree, Mapping):
        return None
    for count in range(1, len(parts) + 1):
        text = ".".join(parts[:count])
        for key in (text, int(text) if text.isdecimal() else None):
            if key is not None and key in tree:
                rest = _locate(tree[key], parts[count:])
                if rest is not None:
                    return (key, *rest)
    return None


def value_at(tree: Any, path: Path) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def replaced(tree: Any, path: Path, value: Any) -> Any:
    """A copy of `tree` with `value` at `path`, missing tables made on the way. Nothing is shared with `tree`."""
    if not path:
        return value
    if isinstance(tree, list):
        return [replaced(item, path[1:], value) if index == path[0] else clone(item) for index, item in enumerate(tree)]
    base = tree if isinstance(tree, Mapping) else {}
    copy = {key: clone(item) for key, item in base.items()}
    copy[path[0]] = replaced(base.get(path[0]), path[1:], value)
    return copy


def clone(tree: Any) -> Any:
    """A deep copy in which no two places share one object, so that a re-dump writes no aliases."""
    if isinstance(tree, Mapping):
        return {key: clone(value) for key, value in tree.items()}
    return [clone(value) for value in tree] if isinstance(tree, list) else tree


def identical(left: Any, right: Any) -> bool:
    """Whether two parsed configs say the same, types included: 1, 1.0 and True are three things, NaN is itself."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(identical(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(identical(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, float) and math.isnan(left):
        return math.isnan(right)
    return bool(left == right)


def is_leaf(value: Any) -> bool:
    """A setting rather than a table: a scalar, or a list of scalars."""
    if isinstance(value, list):
        return not any(isinstance(item, Mapping | list) for item in value)
    return not isinstance(value, Mapping)


def leaves(tree: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every setting in `tree` with its path, in the order of the file."""
    if is_leaf(tree):
        yield path, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from leaves(value, (*path, key if isinstance(key, int) else str(key)))
    else:
        for index, value in enumerate(tree):
            yield from leaves(value, (*path, index))


def dotted(path: Path) -> str:
    return ".".join(str(key) for key in path)


def nearest(tree: Any, name: str) -> str | None:
    """The setting in `tree` whose dotted name is most like `name`; None if none is near."""
    names = [dotted(path) for path, _ in leaves(tree) if path]
    last = name.rsplit(".", 1)[-1]
    same_last = [one for one in names if one.rsplit(".", 1)[-1] == last]
    close = difflib.get_close_matches(name, same_last, n=1, cutoff=0.0) or difflib.get_close_matches(name, names, n=1)
    return close[0] if close else None


def to_config(value: Scalar, present: Any) -> Any:
    """`value` as the config holds it: where the config has a list, "128,64" is the list [128, 64]."""
    if not isinstance(present, list) or not isinstance(value, str):
        return value
    inside = value.strip().removeprefix("[").removesuffix("]")
    items = [item.strip() for item in inside.split(",") if item.strip()]
    if present and all(isinstance(item, str) for item in present):
        return items
    return [number(item) for item in items]


def from_config(raw: Any) -> Scalar:
    """A setting as a knob holds it: the list [128, 64] is "128,64"; other values that are no scalars are text."""
    if isinstance(raw, list):
        return ",".join("null" if item is None else str(item) for item in raw)
    return raw if raw is None or isinstance(raw, bool | int | float | str) else str(raw)


def number(text: str) -> int | float | str:
    """The number in `text`, or the text itself."""
    for parse in (int, float):
        try:
            value = parse(text)
        except ValueError:
            continue
        return value if math.isfinite(value) else text
    return text


def as_knob(knob: Knob, raw: Scalar) -> Scalar:
    """`raw` in the knob's own type, where that loses nothing.

    YAML 1.1 reads `1e-3` as text and a sampler may draw 8.0 for an int knob; a choice is spelt as `rea.toml` spells it.
    """
    for choice in knob.choices:
        if same(choice, raw):
            return choice
    if knob.type in (KnobType.INT, KnobType.FLOAT) and not isinstance(raw, bool):
        value = number(raw) if isinstance(raw, str) else raw
        if isinstance(value, int | float):
            try:
                if knob.type is KnobType.FLOAT:
                    return next((c for c in knob.choices if same(c, value)), float(value))
                return int(value) if value == int(value) else raw
            except (OverflowError, ValueError):  # an infinity, no number, or one beyond any float
                return raw
    if knob.type is KnobType.BOOL and isinstance(raw, str) and raw.lower() in ("true", "false"):
        return raw.lower() == "true"
    if knob.type is KnobType.STR and raw is not None and not isinstance(raw, str):
        text = str(raw).lower() if isinstance(raw, bool) else str(raw)
        return text if text in knob.choices or not knob.choices else raw
    return raw
