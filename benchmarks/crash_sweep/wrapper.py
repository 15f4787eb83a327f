"""Stands in for Python where a wrapper is started: `python -m rea.job`, and SIGKILL at one of its points.

A point is a call that changes a file or starts a process, or one that ends the process; CRASH_SWEEP names a file that
says of which job, and at which point. Anything else that is started through here runs as it would have.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

DRAFT = re.compile(r"^\.(.+)\.[^.]+\.\d+\.\d+\.tmp$")
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.truncate", "subprocess.Popen", "fcntl.flock")


class Points:
    """Counts what Python tells an audit hook of files under `home` and of processes; `at` hears of each, by name."""

    def __init__(self, home: str, at: Any) -> None:
        self._home, self._at, self._inside = home, at, False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, words: tuple[Any, ...]) -> None:
        if self._inside or (event != "open" and event not in CHANGES):
            return
        if event == "open":
            path, _, flags = words
            if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR):
                return
        else:
            path = words[0]
        path = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        if event in ("open", "os.rename", "os.remove", "os.mkdir") and not path.startswith(f"{self._home}/"):
            return
        self._inside = True
        try:
            name = DRAFT.sub(r"draft of \1", Path(path).name)
            self._at(f"{event.removeprefix('os.')} {name}".strip())
        finally:
            self._inside = False


def strikes(count: int, heard: Path | None = None) -> Any:
    """What kills this process at the `count`-th point; with `heard`, it writes down what the points are called."""
    seen, own = 0, os.getpid()

    def at(name: str) -> None:
        nonlocal seen
        if os.getpid() != own:  # what it forks, before that becomes a trainer
            return
        seen += 1
        if heard is not None:
            with heard.open("a") as file:
                file.write(name + "\n")
        if seen == count:
            os.kill(os.getpid(), signal.SIGKILL)

    return at


def main() -> None:
    words = sys.argv[1:]
    plan = json.loads(Path(os.environ["CRASH_SWEEP"]).read_text())
    if words[:3] != ["-P", "-m", "rea.job"]:
        os.execv(plan["python"], [plan["python"], *words])
    sys.argv = ["rea.job", *words[3:]]
    run_dir = Path(words[3]).parent
    if f"{run_dir.parent.name}/{run_dir.name}" == plan["job"]:
        at = strikes(plan["point"], Path(plan["heard"]))
        Points(plan["home"], at)
        at("begin")
        try:
            runpy.run_module("rea.job", run_name="__main__", alter_sys=True)
        finally:
            at("end")
    runpy.run_module("rea.job", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
