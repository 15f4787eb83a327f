"""Which pieces of work are ready, and a few workers that take them one after the other."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of work. ready: whether it can begin now; it is asked again whenever another unit has ended.

    alone: nothing else runs beside it. last: it begins when no unit that is not last can begin or is at work.
    """

    name: str
    ready: Callable[[], bool]
    work: Callable[[], None]
    alone: bool = False
    last: bool = False


def startable(waiting: Sequence[Unit], busy: Sequence[Unit]) -> Unit | None:
    """The first unit that can begin beside those at work."""
    if any(unit.alone for unit in busy):
        return None
    for unit in waiting:
        if unit.last and any(not other.last for other in busy):
            return None
        if unit.ready():
            # One that needs the machine for itself is waited for, lest smaller ones keep it from ever starting.
            return None if unit.alone and busy else unit
    return None


def work_off(units: Sequence[Unit], jobs: int) -> list[str]:
    """Work all units off, `jobs` at a time, each as soon as it is ready, earlier ones first.

    A unit that fails is reported and the others go on. Returns the names of those that failed or never became ready.
    """
    waiting = [*(unit for unit in units if not unit.last), *(unit for unit in units if unit.last)]
    busy: list[Unit] = []
    failed: list[str] = []
    changed = threading.Condition()

    def worker() -> None:
        while True:
            with changed:
                while (unit := startable(waiting, busy)) is None:
                    if not waiting or not busy:
                        return
                    changed.wait()
                waiting.remove(unit)
                busy.append(unit)
            print(f"{unit.name}: started", file=sys.stderr, flush=True)
            try:
                unit.work()
                print(f"{unit.name}: done", file=sys.stderr, flush=True)
            except Exception:
                print(f"{unit.name}: failed\n{traceback.format_exc()}", file=sys.stderr, flush=True)
                failed.append(unit.name)
            with changed:
                busy.remove(unit)
                changed.notify_all()

    threads = [threading.Thread(target=worker, daemon=True) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [*failed, *(unit.name for unit in waiting)]
