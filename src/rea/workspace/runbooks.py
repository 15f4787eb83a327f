"""The runbooks of a codebase with the store's experience of them, and the lessons that are none yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rea.codebase.config import find
from rea.domain.errors import ConfigError
from rea.domain.lesson import Lesson
from rea.domain.runbook import Runbook
from rea.knowledge.cards import load_runbooks, runbooks_of
from rea.workspace.compose import Workspace


@dataclass(frozen=True, slots=True)
class Known:
    """`tried` counts remedies by runbook: (remedy, how often tried, how often the run then ended well)."""

    runbooks: tuple[Runbook, ...]
    tried: Mapping[str, tuple[tuple[str, int, int], ...]]
    lessons: tuple[Lesson, ...]


def known(workspace: Workspace, start: Path) -> Known:
    """The runbooks of the codebase at or above a folder; where there is none, the packaged ones."""
    try:
        books = runbooks_of(find(start))
    except ConfigError:
        books = load_runbooks()
    tried: dict[str, tuple[tuple[str, int, int], ...]] = {}
    for (book, remedy), (times, worked) in sorted(workspace.store.remedies().items()):
        tried[book] = (*tried.get(book, ()), (remedy, times, worked))
    return Known(books, tried, tuple(workspace.store.lessons().values()))
