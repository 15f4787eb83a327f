"""Changing settings in a YAML, TOML or JSON text while leaving everything else as the engineer wrote it.

A changed value is written over the old one where it stands; comments, order and spacing stay. The result is parsed
again and must say exactly what was asked and nothing else. Where it does not (an anchor, a merge key), the whole
document is written anew from its values, and comments are lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rea.codebase.trees import Path, clone, dotted, identical, is_leaf, locate, nearest, replaced, to_config, value_at
from rea.domain.codebase import ConfigStyle, Scalar
from rea.domain.errors import ConfigError


def parse(text: str, style: ConfigStyle, *, where: str) -> Any:
    """The values in a config text. `style` is YAML, TOML or JSON; `where` names the file in errors (ConfigError)."""
    try:
        if style is ConfigStyle.TOML:
            import tomllib

            return tomllib.loads(text)
        if style is ConfigStyle.JSON:
            return json.loads(text)
        import yaml

        try:
            return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.YAMLError as error:
            raise ValueError(" ".join(str(error).split())) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{where} is not valid {style.name}: {error}", hint="correct it; the trainer could not read it"
        ) from error


def apply(text: str, style: ConfigStyle, overrides: Mapping[str, Scalar], *, where: str) -> str:
    """`text` with every override applied by its dotted name.

    A name the config does not have is a ConfigError naming the nearest one: the trainer would ignore it silently.
    """
    tree = parse(text, style, where=where)
    changes: dict[Path, Any] = {}
    for name, value in overrides.items():
        path = find(tree, name, where=where)
        changes[path] = to_config(value, value_at(tree, path))
    return rewrite(text, style, tree, changes, where=where)


def find(tree: Any, name: str, *, where: str) -> Path:
    """Where the setting `name` is in `tree`. Raises ConfigError if it is not there or is a whole table."""
    path = locate(tree, name)
    if path is None:
        near = nearest(tree, name)
        hint = f"did you mean {near!r}? Correct the knob's name in rea.toml" if near else f"add {name!r} to {where}"
        raise ConfigError(f"{where} has no setting {name!r}, so the trainer would ignore it", hint=hint)
    if not is_leaf(value_at(tree, path)):
        near = nearest(tree, name)
        inside = f"name one setting inside it, such as {near!r}" if near else None
        raise ConfigError(f"{name!r} in {where} is a whole table, not a setting", hint=inside)
    return path


def rewrite(text: str, style: ConfigStyle, tree: Any, changes: Mapping[Path, Any], *, where: str) -> str:
    """`text` (whose values are `tree`) with the settings at these paths changed, or added where they are missing."""
    wanted = clone(tree)
    changed: dict[Path, Any] = {}
    for path, value in changes.items():
        present = value_at(tree, path) if _has(tree, path) else _ABSENT
        if present is _ABSENT or not identical(present, value):
            changed[path] = value
            wanted = replaced(wanted, path, value)
    if not changed:
        return text
    new: str | None
    if style is ConfigStyle.TOML:
        new = _toml(text, changed, where=where)
    else:
        spans = _yaml_spans(text, changed) if style is not ConfigStyle.JSON else _json_spans(text, changed)
        new = _over(text, spans) if spans is not None else None
    if new is None or not _says(new, style, wanted):
        new = _anew(wanted, style)
    if not _says(new, style, wanted):
        listed = ", ".join(dotted(path) for path in changed)
        raise ConfigError(
            f"{where} cannot be rewritten with {listed} changed", hint="write those values as plain scalars there"
        )
    return new


_ABSENT = object()


def _has(tree: Any, path: Path) -> bool:
    try:
        value_at(tree, path)
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _says(text: str, style: ConfigStyle, wanted: Any) -> bool:
    try:
        return identical(parse(text, style, where=""), wanted)
    except ConfigError:
        return False


def _over(text: str, spans: list[tuple[int, int, str]]) -> str:
    for start, end, new in sorted(spans, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _anew(tree: Any, style: ConfigStyle) -> str:
    if style is ConfigStyle.JSON:
        return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"
    if style is ConfigStyle.TOML:
        import tomlkit

        return tomlkit.dumps(tree)
    import yaml

    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=10_000)


def yaml_text(value: Any) -> str:
    """A scalar or a list of scalars on one line, read alike by YAML 1.1 and 1.2 parsers.

    1e-07 becomes 1.0e-07 (YAML 1.1 reads the former as text), and text is quoted unless it can only be text.
    """
    import yaml

    if isinstance(value, list):
        return "[" + ", ".join(yaml_text(item) for item in value) + "]"
    if isinstance(value, str):
        plain = value.replace("_", "a").isalnum() and value.isascii() and value[0].isalpha()
        if plain and value.lower() not in ("true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan", "inf"):
            return value
        return yaml.safe_dump(value, default_style='"', allow_unicode=True, width=float("inf")).rstrip("\n")
    return yaml.safe_dump(value, width=float("inf")).split("\n", 1)[0]


def _yaml_spans(text: str, changed: Mapping[Path, Any]) -> list[tuple[int, int, str]] | None:
    """What to write where (start, end, new text); None where a value does not stand in the text by itself."""
    import yaml

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    spans = []
    for path, value in changed.items():
        node = _yaml_node(root, path)
        if node is None:
            return None
        start, end = node.start_mark.index, node.end_mark.index
        new = yaml_text(value)
        if isinstance(node, yaml.SequenceNode) and not node.flow_style and isinstance(value, list) and value:
            end = node.value[-1].end_mark.index
            indent = " " * node.start_mark.column
            new = f"\n{indent}".join(f"- {yaml_text(item)}" for item in value)
        elif isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
            new += "\n"
        elif start == end:
            new = f" {new}"
        spans.append((start, end, new))
    return spans


def _yaml_node(node: Any, path: Path) -> Any:
    import yaml

    for key in path:
        if isinstance(node, yaml.MappingNode):
            # The last of two equal keys is the one that counts.
            node = next((value for name, value in reversed(node.value) if name.value == str(key)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
        else:
            return None
    return node


def _json_spans(text: str, changed: Mapping[Path, Any]) -> list[tuple[int, int, str]] | None:
    spans = []
    for path, value in changed.items():
        span = _json_span(text, path)
        if span is None:
            return None
        spans.append((*span, json.dumps(value, ensure_ascii=False)))
    return spans


def _json_span(text: str, path: Path) -> tuple[int, int] | None:
    """Start and end of the value at `path` in valid JSON."""
    decoder = json.JSONDecoder()
    position = _skip(text, 0)
    for key in path:
        found: int | None = None
        opening, position, index = text[position], _skip(text, position + 1), 0
        if opening not in "{[":
            return None
        while text[position] not in "}]":
            name: Any = index
            if opening == "{":
                name, position = decoder.raw_decode(text, position)
                position = _skip(text, _skip(text, position) + 1)
            if name == str(key) if opening == "{" else name == key:
                found = position
            _, position = decoder.raw_decode(text, position)
            position = _skip(text, position)
            if text[position] == ",":
                position = _skip(text, position + 1)
            index += 1
        if found is None:
            return None
        position = found
    return position, decoder.raw_decode(text, position)[1]


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _toml(text: str, changed: Mapping[Path, Any], *, where: str) -> str | None:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    document: Any = tomlkit.parse(text)
    for path, value in changed.items():
        if value is None:
            raise ConfigError(
                f"{dotted(path)} in {where} cannot be null: TOML has no null", hint="drop null from the choices"
            )
        try:
            value_at(document, path[:-1])[path[-1]] = value
        except (KeyError, IndexError, TypeError, TOMLKitError):
            return None
    return tomlkit.dumps(document)
