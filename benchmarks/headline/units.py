"""Which pieces of work are ready, and a few workers that take them one after the other."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of work. ready: whether it can begin now; it is asked again whenever another unit has ended."""

    name: str
    ready: Callable[[], bool]
    work: Callable[[], None]


def work_off(units: Sequence[Unit], jobs: int) -> list[str]:
    """Work all units off, `jobs` at a time, each as soon as it is ready, earlier ones first.

    A unit that fails is reported and the others go on. Returns the names of those that failed or never became ready.
    """
    waiting, failed, busy = list(units), [], 0
    changed = threading.Condition()

    def worker() -> None:
        nonlocal busy
        while True:
            with changed:
                unit = next((one for one in waiting if one.ready()), None)
                while unit is None:
                    if not waiting or not busy:
                        return
                    changed.wait()
                    unit = next((one for one in waiting if one.ready()), None)
                waiting.remove(unit)
                busy += 1
            print(f"{unit.name}: started", file=sys.stderr, flush=True)
            try:
                unit.work()
                print(f"{unit.name}: done", file=sys.stderr, flush=True)
            except Exception:
                print(f"{unit.name}: failed\n{traceback.format_exc()}", file=sys.stderr, flush=True)
                failed.append(unit.name)
            with changed:
                busy -= 1
                changed.notify_all()

    threads = [threading.Thread(target=worker, daemon=True) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [*failed, *(unit.name for unit in waiting)]
