"""Which files a code hypothesis may touch. Everything is refused that is not expressly allowed."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path, PurePosixPath

from rea.domain.codebase import Codebase

_ALWAYS_REFUSED = ("rea.toml",)  # at any depth, like every name that begins with .git, and .rea


def may_edit(codebase: Codebase, path: str) -> bool:
    """Whether a patch may change `path` (relative to the codebase's root, '/' between its parts).

    True when a pattern of `editable` matches and none of `protected` does. `**` stands for any number of folders,
    `*` and `?` never cross one, and a protected folder protects what lies below it. Protected names are compared
    without regard to case, because some file systems do. A path with `..`, an absolute one, `.git*`, `.rea` and
    `rea.toml` are refused, and so is a path that a symbolic link leads to such a place.
    """
    if not _allowed(codebase, path):
        return False
    root = Path(codebase.root).resolve()
    target = (root / path).resolve()
    return target.is_relative_to(root) and _allowed(codebase, target.relative_to(root).as_posix())


def is_protected(codebase: Codebase, path: str) -> bool:
    """Whether a pattern of `[codebase] protected` covers this relative path, itself or a folder above it."""
    pure = PurePosixPath(path.lower())
    places = [str(pure), *(str(parent) for parent in pure.parents if str(parent) != ".")]
    return any(matches(pattern.lower(), place) for pattern in codebase.protected for place in places)


def matches(pattern: str, path: str) -> bool:
    """Whether a glob pattern covers a path: `**` any number of folders, `*`, `?` and `[abc]` within one name."""
    return _regex(pattern.strip().removeprefix("./").rstrip("/")).fullmatch(path) is not None


def _allowed(codebase: Codebase, path: str) -> bool:
    return (
        _plain(path)
        and any(matches(pattern, path) for pattern in codebase.editable)
        and not is_protected(codebase, path)
    )


def _plain(path: str) -> bool:
    """A relative path in its one spelling, outside the places nobody may change."""
    if not path or path != str(PurePosixPath(path)) or path.startswith("/") or "\\" in path or not path.isprintable():
        return False
    parts = [part.lower() for part in path.split("/")]
    return not any(part in (".", "..", ".rea", *_ALWAYS_REFUSED) or part.startswith(".git") for part in parts)


@cache
def _regex(pattern: str) -> re.Pattern[str]:
    out, at = [], 0
    while at < len(pattern):
        if pattern.startswith("**/", at) and (at == 0 or pattern[at - 1] == "/"):
            out.append("(?:[^/]+/)*")
            at += 3
        elif pattern.startswith("**", at):
            out.append(".*" if pattern.rstrip("*") == "" or pattern[at - 1] == "/" else "[^/]*")
            at += 2
        elif pattern[at] == "*":
            out.append("[^/]*")
            at += 1
        elif pattern[at] == "?":
            out.append("[^/]")
            at += 1
        elif pattern[at] == "[" and (end := pattern.find("]", at + 2)) > 0:
            inside = pattern[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            inside = "^/" + inside[1:] if inside[0] in "!^" else inside
            out.append(f"[{inside}]")
            at = end + 1
        else:
            out.append(re.escape(pattern[at]))
            at += 1
    return re.compile("".join(out))
