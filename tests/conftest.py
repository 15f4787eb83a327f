"""Fixtures of all tests. Nothing here touches the user's home, keys or git configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.desk import Desk, opened


@pytest.fixture
def desks(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """Makes desks (one per call); whatever still runs on them is ended afterwards."""
    with ExitStack() as stack:
        made: list[Desk] = []

        def make(**options: Any) -> Desk:
            made.append(stack.enter_context(opened(tmp_path / f"desk{len(made)}", **options)))
            return made[-1]

        yield make


@pytest.fixture
def desk(desks: Callable[..., Desk]) -> Desk:
    return desks()
