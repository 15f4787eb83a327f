"""One process of the agent, as something that may be struck: every call it makes to the outside is a point, by name.

What strikes is the caller's: a storm raises at a point, a crash sweep kills the process that it is in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from rea.domain.campaign import Campaign
from rea.domain.jobs import Capacity, Handle, JobSpec, Observation
from rea.domain.run import Attempt, Run
from rea.domain.treatment import Treatment
from rea.executor.tools import Tools, WakeFilesPort


class Killed(BaseException):
    """The process is gone; nothing of it runs any more, and no handler either."""


class Process:
    """`at` is told of each call to the outside, by name, before it and, where it changed something, after it.

    It may raise Killed, and from then on every further call does.
    """

    def __init__(self, at: Callable[[str], None]) -> None:
        self._at, self._dead = at, False

    def tools(self, tools: Tools) -> Tools:
        """These tools, with a point around each call."""
        return replace(
            tools,
            store=self.store(tools.store),
            launcher=_Launcher(self, tools.launcher),
            workbench=_Workbench(self, tools.workbench),
            wakefiles=_WakeFiles(self, tools.wakefiles),
            publish=lambda campaign: self.around("publish", tools.publish, campaign),
        )

    def store(self, store: Any) -> Any:
        """This store, with a point around each call that writes. One that has them already stays as it is."""
        return store if isinstance(store, _Store) else _Store(self, store)

    def point(self, name: str) -> None:
        if self._dead:
            raise Killed
        try:
            self._at(name)
        except Killed:
            self._dead = True
            raise

    def around(self, name: str, call: Callable[..., Any], *args: Any) -> Any:
        self.point(name)
        found = call(*args)
        self.point(f"after {name}")
        return found


class _Store:
    def __init__(self, process: Process, store: Any) -> None:
        self._process, self._store = process, store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def snapshot_rows(self, campaign: int) -> Any:
        self._process.point("read")
        return self._store.snapshot_rows(campaign)

    def working_rows(self, campaign: int) -> Any:
        self._process.point("read")
        return self._store.working_rows(campaign)

    def acquire(self, campaign: int, owner: str, ttl_s: float, now: float) -> int | None:
        found: int | None = self._process.around("acquire", self._store.acquire, campaign, owner, ttl_s, now)
        return found

    def release(self, campaign: int, fence: int) -> None:
        self._process.around("release", self._store.release, campaign, fence)

    def create_campaign(self, **values: Any) -> Any:
        return self._process.around("create", lambda: self._store.create_campaign(**values))

    @contextmanager
    def transaction(self, campaign: int, fence: int | None = None) -> Iterator[Any]:
        self._process.point("begin")
        with self._store.transaction(campaign, fence) as tx:
            yield tx
            self._process.point("commit")
        self._process.point("after commit")


class _Launcher:
    def __init__(self, process: Process, launcher: Any) -> None:
        self._process, self._launcher = process, launcher
        self.kind: str = launcher.kind

    def submit(self, spec: JobSpec, name: str) -> Handle:
        found: Handle = self._process.around("submit", self._launcher.submit, spec, name)
        return found

    def find(self, name: str) -> Handle | None:
        self._process.point("find")
        found: Handle | None = self._launcher.find(name)
        return found

    def observe(self, handles: Iterable[Handle]) -> dict[str, Observation]:
        self._process.point("observe")
        found: dict[str, Observation] = self._launcher.observe(handles)
        return found

    def cancel(self, handle: Handle) -> None:
        self._process.around("cancel", self._launcher.cancel, handle)

    def capacity(self) -> Capacity:
        self._process.point("capacity")
        found: Capacity = self._launcher.capacity()
        return found


class _Workbench:
    def __init__(self, process: Process, bench: Any) -> None:
        self._process, self._bench = process, bench

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bench, name)

    def job(
        self, campaign: Campaign, run: Run, attempt: Attempt, runs: tuple[Run, ...], avoid: tuple[str, ...] = ()
    ) -> JobSpec:
        self._process.point("job")
        made: JobSpec = self._bench.job(campaign, run, attempt, runs, avoid)
        return made

    def propose(self, campaign: Campaign, treatment: Treatment, branch: str, message: str) -> None:
        self._process.around("propose", self._bench.propose, campaign, treatment, branch, message)


class _WakeFiles:
    def __init__(self, process: Process, files: WakeFilesPort) -> None:
        self._process, self._files = process, files

    def waiting(self) -> set[int]:
        return self._files.waiting()

    def take(self, campaign: int) -> None:
        self._process.around("take", self._files.take, campaign)

    def lock(self, campaign: int) -> AbstractContextManager[str | None]:
        return self._files.lock(campaign)
