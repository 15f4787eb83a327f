"""Which paths of the codebase a code patch may touch. Everything is refused that is not expressly allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Final

from rea.domain.codebase import Codebase
from rea.domain.errors import GuardrailError

# What REA reads its own limits from is never a patch's to change, whatever rea.toml lists as editable.
ALWAYS_PROTECTED: Final = ("**/rea.toml", "**/.rea", "**/.git*")


def matches(path: str, patterns: Iterable[str], *, ignore_case: bool = False) -> bool:
    """Whether a relative POSIX path fits one of the patterns.

    `*`, `?` and `[abc]` stay within one folder, `**` crosses folders, and a pattern that names a folder covers all
    below it.
    """
    return any(_compiled(pattern, ignore_case).fullmatch(path) for pattern in patterns)


@cache
def _compiled(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    text, position = "", 0
    pattern = pattern.removeprefix("./").rstrip("/")
    while position < len(pattern):
        rest = pattern[position:]
        if rest.startswith("**/"):
            text, position = text + "(?:[^/]+/)*", position + 3
        elif rest.startswith("**"):
            text, position = text + ".*", position + 2
        elif rest[0] == "*":
            text, position = text + "[^/]*", position + 1
        elif rest[0] == "?":
            text, position = text + "[^/]", position + 1
        elif rest[0] == "[" and (end := rest.find("]", 2)) > 0:
            inside = rest[1:end]
            chosen = "".join(re.escape(letter) if letter != "-" else "-" for letter in inside.lstrip("!^"))
            text += f"[^/{chosen}]" if inside[0] in "!^" else f"[{chosen}]"
            position += end + 1
        else:
            text, position = text + re.escape(rest[0]), position + 1
    flags = re.IGNORECASE | re.DOTALL if ignore_case else re.DOTALL
    try:
        return re.compile(f"{text}(?:/.*)?", flags)
    except re.error:  # a range like [z-a]: a name in its own right, as a shell has it
        return re.compile(re.escape(pattern), flags)


def is_protected(codebase: Codebase, path: str) -> bool:
    """Whether `[codebase] protected`, or what is protected everywhere, covers this relative path.

    Case is ignored: some file systems do not tell Evaluate.py from evaluate.py.
    """
    return matches(path, (*ALWAYS_PROTECTED, *codebase.protected), ignore_case=True)


def check_editable(codebase: Codebase, path: str) -> None:
    """Raise GuardrailError unless a code patch may touch `path`, relative to the codebase's folder."""
    parts = path.split("/")
    if "\\" in path or not path.isprintable() or {"", ".", ".."} & set(parts):
        raise GuardrailError(
            f"the patch touches {path!r}, outside the codebase", hint="use paths below the folder of rea.toml"
        )
    if is_protected(codebase, path):
        raise GuardrailError(
            f"the patch touches {path}, which is protected", hint="see [codebase] protected in rea.toml"
        )
    if not matches(path, codebase.editable):
        listed = ", ".join(codebase.editable) or "nothing"
        raise GuardrailError(
            f"the patch touches {path}, which is not editable", hint=f"[codebase] editable lists {listed}"
        )
