"""Fixtures of all tests. Nothing here touches the user's home, keys or git configuration."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from support.desk import Desk, opened

# How fast a test is says something of the machine, and nothing of what it checks.
settings.register_profile("untimed", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
# Started in the background of a shell script, tests inherit that interrupts are ignored, and so would what they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
