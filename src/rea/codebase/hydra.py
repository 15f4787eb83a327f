"""Hydra configs read without Hydra: what a primary config composes to, which file each setting comes from.

Covered: defaults lists with groups, `override`, `optional`, `_self_`, packages and `null`. What is composed in Python
(structured configs, search-path plugins, interpolated options) leaves the composition incomplete, which it says.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rea.codebase import trainer
from rea.codebase.edits import parse
from rea.codebase.trees import Path as Keys
from rea.codebase.trees import clone, leaves, locate, number, replaced
from rea.domain.codebase import ConfigStyle, Scalar
from rea.domain.errors import ConfigError

_PACKAGE = re.compile(r"^#\s*@package\s+(\S+)", re.MULTILINE)
_WORD = re.compile(r"^(\+{0,2}|~)([A-Za-z_][\w./@:-]*)=(.*)$", re.DOTALL)
_MOST_PASSES: Final = 5  # an `override` may bring in a file that overrides again
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(slots=True)
class Composition:
    """What the primary config composes to.

    `origins` tells for each setting its file (absolute) and the path inside it; `groups` the option and file of each
    config group in use. `complete` is False where something is composed in a way this reader does not follow.
    """

    primary: Path
    folder: Path
    values: Any = field(default_factory=dict)
    origins: dict[Keys, tuple[Path, Keys]] = field(default_factory=dict)
    groups: dict[str, tuple[str, Path]] = field(default_factory=dict)
    complete: bool = True

    def is_group(self, name: str, option: Scalar) -> bool:
        """Whether `name=option` selects a config file rather than sets a value."""
        group = name.replace(".", "/")
        return isinstance(option, str) and _config_file(self.folder / group, option) is not None


def compose(train: str, config: str | None, worktree: Path) -> Composition | None:
    """The composition of the primary config that `train` starts from, the command's own overrides included.

    `config` is the primary config's path or name; None: what the script's `@hydra.main` says.

    None where the primary config cannot be found. Raises ConfigError where a file of it is not valid YAML.
    """
    place = _primary(train, config, worktree)
    if place is None:
        return None
    primary, folder = place
    words = [found.groups() for word in shlex.split(train) if (found := _WORD.match(word))]
    chosen: dict[str, Any] = {name: text for _, name, text in words if _config_file(folder / name, text) is not None}
    result = Composition(primary, folder)
    for _ in range(_MOST_PASSES):
        result, before = Composition(primary, folder), dict(chosen)
        _visit(result, primary, "", (), chosen)
        if chosen == before:
            break
    for _, name, text in words:
        if name in chosen or "{" in text:
            continue
        path = locate(result.values, name) or tuple(name.split("."))
        result.values = replaced(result.values, path, _parsed(text))
        result.origins.pop(path, None)
    return result


def _primary(train: str, config: str | None, worktree: Path) -> tuple[Path, Path] | None:
    """The primary config's file and the folder its groups are in."""
    script = trainer.script_of(train, worktree)
    main = trainer.hydra_main(script) if script else None
    named = config or (main.config_name if main else None)
    folders = []
    if main is not None and main.config_path is not None:
        folders.append((main.script.parent / main.config_path).resolve())
    folders += [worktree / name for name in ("conf", "config", "configs")] + [worktree]
    if named is None:
        return None
    if (worktree / named).is_file():
        file = (worktree / named).resolve()
        return file, next((folder for folder in folders[:1] if main and file.is_relative_to(folder)), file.parent)
    for folder in folders:
        found = _config_file(folder, named)
        if found is not None:
            return found, folder
    return None


def _config_file(folder: Path, option: str) -> Path | None:
    if not option or option.startswith("/") or ".." in option.split("/"):
        return None
    for name in (option, f"{option}.yaml", f"{option}.yml"):
        if name.endswith((".yaml", ".yml")) and (folder / name).is_file():
            return folder / name
    return None


def _visit(result: Composition, file: Path, group: str, package: Keys, chosen: dict[str, Any]) -> None:
    """Merge `file` (an option of `group`) and everything its defaults list names into `result`."""
    text = file.read_text(encoding="utf-8")
    tree = parse(text, ConfigStyle.YAML, where=str(file)) or {}
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{file} is no table of settings", hint="a Hydra config is a mapping of names to values")
    header = _PACKAGE.search(text)
    if header is not None:
        named = header.group(1)
        package = (
            () if named == "_global_" else tuple(group.split("/")) if named == "_group_" else tuple(named.split("."))
        )
    listed = tree.get("defaults")
    entries: list[Any] = listed if isinstance(listed, list) else []
    if "_self_" not in entries:
        entries = [*entries, "_self_"]
    for entry in entries:
        if entry == "_self_":
            own = {key: value for key, value in tree.items() if not (key == "defaults" and isinstance(value, list))}
            _merge(result, file, own, package)
        else:
            _entry(result, entry, group, package, chosen)


def _entry(result: Composition, entry: Any, group: str, package: Keys, chosen: dict[str, Any]) -> None:
    """One line of a defaults list: `name`, `group: option`, with `override`, `optional` and `@package`."""
    if isinstance(entry, str):
        words, option = (entry.split("@")[0].rsplit("/", 1) if "/" in entry else ["", entry.split("@")[0]]), None
        target, option = words[0], words[-1]
        at = entry.split("@")[1] if "@" in entry else None
        keywords: set[str] = set()
        is_group = "/" in entry
    elif isinstance(entry, Mapping) and len(entry) == 1:
        ((key, option),) = entry.items()
        *before, last = str(key).split()
        keywords, is_group = set(before), True
        target, _, named = last.partition("@")
        at = named or None
    else:
        result.complete = False
        return
    absolute = target.startswith("/")
    target = target.strip("/")
    if target.startswith("hydra"):
        return
    full = target if absolute or not group else "/".join(part for part in (group, target) if part)
    if "override" in keywords:
        chosen.setdefault(full, option)
        return
    inner = tuple(full.split("/")) if absolute else (*package, *(part for part in target.split("/") if part))
    if at is not None:
        inner = () if at == "_global_" else tuple(at.split(".")) if absolute else (*package, *at.split("."))
    options = chosen.get(full, option) if is_group and isinstance(entry, Mapping) else option
    for one in options if isinstance(options, list) else [options]:
        if one is None:
            continue
        file = _config_file(result.folder / full, str(one)) if "${" not in str(one) else None
        if file is None:
            result.complete = result.complete and "optional" in keywords
            continue
        if isinstance(entry, Mapping):
            result.groups[full] = (str(one), file)
        _visit(result, file, full, inner, chosen)


def _merge(result: Composition, file: Path, tree: Any, package: Keys) -> None:
    if not tree and package:
        return
    for inside, value in leaves(tree):
        if not inside:
            continue
        path = (*package, *inside)
        result.values = replaced(result.values, path, clone(value))
        result.origins[path] = (file, inside)


def _parsed(text: str) -> Any:
    if text in ("null", "true", "false"):
        return {"null": None, "true": True, "false": False}[text]
    if text.startswith("[") and text.endswith("]"):
        return [number(item.strip()) for item in text[1:-1].split(",") if item.strip()]
    return number(text.strip("'\""))


def override_word(name: str, value: Any, composition: Composition | None) -> str:
    """`name=value` in Hydra's override grammar.

    `+` goes in front only where the whole composition is known and has no such key; where it is not fully known, the
    plain form is safe, because Hydra refuses a key it does not have.
    """
    adds = ""
    if composition is not None and composition.complete and locate(composition.values, name) is None:
        group = name.replace(".", "/")
        if not (composition.is_group(name, value) and group in composition.groups):
            adds = "+"
    return f"{adds}{name}={value_text(value, name)}"


def value_text(value: Any, name: str) -> str:
    """A value in Hydra's override grammar, such that the trainer's config holds exactly it. Raises ConfigError."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return "[" + ",".join(value_text(item, name) for item in value) + "]"
    if _PLAIN.fullmatch(value) and value.lower() not in ("null", "true", "false", "nan", "inf"):
        return str(value)
    if value == "???":
        raise ConfigError(f'{name}: "???" means "missing" to Hydra and cannot be a value', hint="choose another text")
    return quoted(value)


def quoted(value: str) -> str:
    """`value` in single quotes. Backslashes before a quote are doubled; `${` is kept from being interpolated."""
    literal = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", literal)
    return "'" + re.sub(r"(\\+)\Z", r"\1\1", escaped) + "'"
