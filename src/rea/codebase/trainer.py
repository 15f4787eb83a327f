"""What a training script says about itself, read from its syntax tree; nothing of it is run."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rea.domain.codebase import KnobType, Scalar

_MOST_FILES: Final = 60  # modules of the codebase read for one script


@dataclass(frozen=True, slots=True)
class Argument:
    """One `add_argument` call. `action` is argparse's name for it: "store", "store_true", "BooleanOptionalAction"."""

    flags: tuple[str, ...]
    dest: str
    type: KnobType | None
    default: Scalar
    choices: tuple[Scalar, ...]
    action: str
    many: bool
    required: bool
    help: str

    @property
    def flag(self) -> str:
        """The flag as people write it: the first long one, else the first."""
        return next((flag for flag in self.flags if flag.startswith("--")), self.flags[0])


@dataclass(frozen=True, slots=True)
class HydraMain:
    """The `@hydra.main` decorator of a script; paths as written there."""

    script: Path
    config_path: str | None
    config_name: str | None


def script_of(command: str, folder: Path) -> Path | None:
    """The Python file that a command template starts (`x.py` or `-m package.module`), if it lies in `folder`."""
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    for index, word in enumerate(words):
        if word == "-m" and index + 1 < len(words):
            module = folder / words[index + 1].replace(".", "/")
            for candidate in (module.with_suffix(".py"), module / "__main__.py"):
                if candidate.is_file():
                    return candidate
        if word.endswith(".py") and (folder / word).is_file():
            return folder / word
    return None


def arguments(script: Path, folder: Path) -> tuple[Argument, ...]:
    """Optional arguments that `script`, or a module of `folder` that it imports, declares with `add_argument`."""
    found: dict[str, Argument] = {}
    for tree in _modules(script, folder):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _called(node) == "add_argument":
                argument = _argument(node)
                if argument is not None:
                    found.setdefault(argument.dest, argument)
    return tuple(found.values())


def variables(script: Path, folder: Path) -> dict[str, Scalar]:
    """Environment variables that the script reads, with the default it falls back on (None: it has none)."""
    found: dict[str, Scalar] = {}
    for tree in _modules(script, folder):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _dotted(node.func) in (
                "os.environ.get",
                "os.getenv",
                "environ.get",
                "getenv",
            ):
                name = _constant(node.args[0]) if node.args else None
                if isinstance(name, str):
                    default = _constant(node.args[1]) if len(node.args) > 1 else None
                    found.setdefault(name, default)
            elif isinstance(node, ast.Subscript) and _dotted(node.value) in ("os.environ", "environ"):
                name = _constant(node.slice)
                if isinstance(name, str):
                    found.setdefault(name, None)
    return found


def hydra_main(script: Path) -> HydraMain | None:
    """The script's `@hydra.main(...)`, or None."""
    tree = _parse(script)
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and _dotted(decorator.func) in ("hydra.main", "main"):
                    words = {word.arg: _constant(word.value) for word in decorator.keywords}
                    if "config_name" in words or "config_path" in words or _dotted(decorator.func) == "hydra.main":
                        path, name = words.get("config_path"), words.get("config_name")
                        return HydraMain(
                            script, path if isinstance(path, str) else None, name if isinstance(name, str) else None
                        )
    return None


def strings(script: Path, folder: Path) -> frozenset[str]:
    """Every string constant and keyword name in the script and the modules of `folder` it imports."""
    found: set[str] = set()
    for tree in _modules(script, folder):
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            elif isinstance(node, ast.keyword) and node.arg:
                found.add(node.arg)
    return frozenset(found)


def _modules(script: Path, folder: Path) -> Iterator[ast.Module]:
    """The script and what it imports from `folder`, breadth first."""
    waiting, seen = [script], {script}
    while waiting and len(seen) <= _MOST_FILES:
        path = waiting.pop(0)
        tree = _parse(path)
        if tree is None:
            continue
        yield tree
        for name in _imported(tree):
            for base in (path.parent, folder, folder / "src"):
                module = base / name
                for candidate in (module.with_suffix(".py"), module / "__init__.py"):
                    if candidate not in seen and candidate.is_file():
                        seen.add(candidate)
                        waiting.append(candidate)


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.replace(".", "/") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module.replace(".", "/") if node.module else "."
            up = "../" * (node.level - 1) if node.level else ""
            yield f"{up}{base}"
            yield from (f"{up}{base}/{alias.name}" for alias in node.names if alias.name != "*")


def _parse(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _constant(node: ast.expr) -> Scalar:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError):
        return None
    if isinstance(value, list | tuple):
        return ",".join(str(item) for item in value)
    return value if value is None or isinstance(value, bool | int | float | str) else None


def _argument(node: ast.Call) -> Argument | None:
    flags = tuple(flag for flag in map(_constant, node.args) if isinstance(flag, str))
    if not flags or not flags[0].startswith("-"):
        return None
    words = {word.arg: word.value for word in node.keywords if word.arg}
    named = _constant(words["dest"]) if "dest" in words else None
    long = next((flag for flag in flags if flag.startswith("--")), flags[0])
    dest = named if isinstance(named, str) else long.lstrip("-").replace("-", "_")
    action = "store"
    if "action" in words:
        text = _constant(words["action"])
        action = text if isinstance(text, str) else _dotted(words["action"]).rsplit(".", 1)[-1]
    default = _constant(words["default"]) if "default" in words else None
    if default is None and action in ("store_true", "store_false"):
        default = action == "store_false"
    options: tuple[Scalar, ...] = ()
    if "choices" in words:
        try:
            options = tuple(ast.literal_eval(words["choices"]))
        except (ValueError, TypeError, SyntaxError):
            options = ()
    kinds = {"float": KnobType.FLOAT, "int": KnobType.INT, "str": KnobType.STR, "bool": KnobType.BOOL}
    kind = kinds.get(_dotted(words["type"])) if "type" in words else None
    if action in ("store_true", "store_false", "BooleanOptionalAction"):
        kind = KnobType.BOOL
    elif kind is None and "type" not in words:
        kind = KnobType.STR
    about = _constant(words["help"]) if "help" in words else None
    return Argument(
        flags=flags,
        dest=dest,
        type=kind,
        default=default,
        choices=options,
        action=action,
        many="nargs" in words and _constant(words["nargs"]) != "?",
        required="required" in words and _constant(words["required"]) is True,
        help=about if isinstance(about, str) else "",
    )
