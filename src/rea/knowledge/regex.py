"""Which regular expressions a runbook may use: those that cannot take for ever over a hostile log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

LONG = 50  # a repetition that may run longer than this counts as long
MOST_LONG = 2  # two long repetitions keep a search at most cubic in a line, whose length is bounded too


def check_signature(pattern: str) -> str | None:
    """What to change in a signature; None if it compiles and its cost is bounded.

    A repeated group may hold no repetition and no alternative: those two shapes backtrack exponentially. The whole may
    hold at most two long repetitions, and no reference to a group.
    """
    parser: Any = re._parser  # type: ignore[attr-defined]  # the standard library's own reading; there is no public one
    try:
        tree = parser.parse(pattern)
    except re.error as error:
        return f"it does not compile: {error}"
    elements = list(_walk(tree))
    if any(str(operation).startswith("GROUPREF") for operation, _ in elements):
        return "references to groups are not allowed"
    repeats = [argument for operation, argument in elements if _repeats(operation)]
    for _, most, body in repeats:
        if int(most) > 1 and any(_repeats(operation) or str(operation) == "BRANCH" for operation, _ in _walk(body)):
            return "a repeated group may hold no repetition and no alternative"
    if sum(int(most) > LONG for _, most, _ in repeats) > MOST_LONG:
        return f"at most {MOST_LONG} repetitions of more than {LONG}; write .{{0,40}} for .*"
    return None


def _repeats(operation: object) -> bool:
    return str(operation).endswith("_REPEAT")


def _walk(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every element of a parsed pattern, at any depth."""
    for operation, argument in tree:
        yield operation, argument
        for part in _subtrees(argument):
            yield from _walk(part)


def _subtrees(argument: Any) -> Iterator[Any]:
    if hasattr(argument, "data"):
        yield argument
    elif isinstance(argument, list | tuple):
        for part in argument:
            yield from _subtrees(part)
