"""The job specification: JSON in, frozen values out, or an error that names the key."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from rea.job import rundir
from rea.job.stoprule import StopRule

VERSION: Final = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SMALLEST_LOG: Final = 4096


class SpecError(Exception):
    """The specification is wrong. `run_dir` is set if at least that much of it could be read."""

    def __init__(self, message: str, run_dir: Path | None = None, name: str | None = None) -> None:
        super().__init__(message)
        self.run_dir = run_dir
        self.name = name


@dataclass(frozen=True, slots=True)
class Check:
    """What has to hold before a step starts; see rea.job.judge."""

    root: Path
    written: Path
    hidden: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    stdout: str | None
    check: Check | None = None


@dataclass(frozen=True, slots=True)
class Wake:
    """`attended` are lock files that whoever waits for wake files holds; then the command is not needed."""

    file: Path
    command: tuple[str, ...] | None
    cwd: str | None
    env: Mapping[str, str]
    attended: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Spec:
    """Times in seconds, sizes in bytes; `log_bytes` is the cap of each log file.

    `idle_s` is how long a job may neither use a core nor write a word before it is ended; None: as long as it likes.
    """

    name: str
    run_dir: Path
    steps: tuple[Step, ...]
    walltime_s: float
    memory_bytes: int | None
    log_bytes: int
    idle_s: float | None
    grace_s: float
    heartbeat_s: float
    metrics: Path
    stop_rule: StopRule | None
    wake: Wake | None


def load(path: Path) -> Spec:
    """Raises SpecError if the file cannot be read, is no JSON, or says something that makes no sense."""
    try:
        raw = json.loads(path.read_bytes())
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{path}: not JSON: {error}") from error
    return parse(raw, str(path))


def parse(raw: object, source: str = "spec") -> Spec:
    """Raises SpecError; `source` is how its message begins."""
    run_dir = name = None
    try:
        top = _Table(raw, source)
        name = top.text("name", _NAME)
        run_dir = top.absolute("run_dir")
        if not run_dir.is_dir():
            missing, run_dir = run_dir, None
            raise SpecError(f"{source}: run_dir: {missing} is not a directory; create it before starting the job")
        spec = _spec(top, name, run_dir)
    except SpecError as error:
        raise SpecError(str(error), run_dir, name) from None
    return spec


def _spec(top: _Table, name: str, run_dir: Path) -> Spec:
    top.exactly(VERSION, "version")
    steps = tuple(_step(item) for item in top.tables("steps"))
    names = [step.name for step in steps]
    files = [f"{name}.log" for name in names] + [step.stdout for step in steps if step.stdout]
    if doubled := sorted({file for file in files if files.count(file) > 1}):
        raise SpecError(f"{top.place}: steps: two steps would write {doubled[0]}; give each its own name")
    metrics = top.file_name("metrics", "metrics.jsonl")
    if metrics in files:
        raise SpecError(f"{top.place}: metrics: a step's output already goes to {metrics}; name another file")
    spec = Spec(
        name=name,
        run_dir=run_dir,
        steps=steps,
        walltime_s=top.number("walltime_s", above=0),
        memory_bytes=top.size("memory_bytes", 1) if top.get("memory_bytes") is not None else None,
        log_bytes=top.size("log_bytes", _SMALLEST_LOG, 10 * 1024 * 1024),
        idle_s=top.number("idle_s", above=0) if top.get("idle_s") is not None else None,
        grace_s=top.number("grace_s", least=0, default=5.0),
        heartbeat_s=top.number("heartbeat_s", above=0, default=5.0),
        metrics=run_dir / metrics,
        stop_rule=_stop_rule(top.table("stop_rule")) if top.get("stop_rule") is not None else None,
        wake=_wake(top.table("wake")) if top.get("wake") is not None else None,
    )
    top.nothing_else("version", "name", "run_dir", "steps", "witness")
    return spec


def _step(table: _Table) -> Step:
    step = Step(
        name=table.text("name", _NAME),
        argv=table.texts("argv"),
        cwd=str(table.absolute("cwd")),
        env=table.environment("env"),
        stdout=table.file_name("stdout") if table.get("stdout") is not None else None,
        check=_check(table.table("check")) if table.get("check") is not None else None,
    )
    table.nothing_else()
    return step


def _check(table: _Table) -> Check:
    check = Check(
        root=table.absolute("root"),
        written=table.absolute("written"),
        hidden=table.some_texts("hidden"),
    )
    table.nothing_else()
    return check


def _wake(table: _Table) -> Wake:
    wake = Wake(
        file=table.absolute("file"),
        command=table.texts("command") if table.get("command") is not None else None,
        cwd=str(table.absolute("cwd")) if table.get("cwd") is not None else None,
        env=table.environment("env") if table.get("env") is not None else {},
        attended=tuple(Path(one) for one in table.texts("attended")) if table.get("attended") else (),
    )
    table.nothing_else()
    return wake


def _stop_rule(table: _Table) -> StopRule:
    points = table.get("points")
    pairs: list[tuple[float, float]] = []
    for point in points if isinstance(points, list) else []:
        if not (isinstance(point, list) and len(point) == 2 and all(_is_number(value) for value in point)):
            raise table.wrong("points", "a list of [x, limit] pairs of finite numbers", point)
        pairs.append((float(point[0]), float(point[1])))
    if not pairs or any(left[0] >= right[0] for left, right in pairwise(pairs)):
        raise table.wrong("points", "a non-empty list of [x, limit] pairs, x strictly ascending", points)
    rule = StopRule(
        metric=table.text("metric"),
        split=table.text("split"),
        direction=table.choice("direction", "minimize", "maximize"),
        points=tuple(pairs),
        axis=table.choice("axis", "epoch", "step"),
    )
    table.nothing_else("points")
    return rule


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


class _Table:
    """One JSON object and its place in the file; every reader names both when it refuses a value."""

    def __init__(self, raw: object, place: str) -> None:
        if not isinstance(raw, dict):
            raise SpecError(f"{place}: expected an object, got {_show(raw)}")
        self._raw: dict[str, Any] = raw
        self._read: set[str] = set()
        self.place = place

    def get(self, key: str) -> Any:
        self._read.add(key)
        return self._raw.get(key)

    def wrong(self, key: str, expected: str, got: object) -> SpecError:
        problem = f"got {_show(got)}" if key in self._raw else "it is missing"
        return SpecError(f"{self.place}: {key}: expected {expected}, but {problem}")

    def nothing_else(self, *also: str) -> None:
        if unknown := sorted(set(self._raw) - self._read - set(also)):
            raise SpecError(f"{self.place}: {unknown[0]}: unknown key; known are {', '.join(sorted(self._read))}")

    def exactly(self, value: int, key: str) -> None:
        if self.get(key) != value:
            raise self.wrong(key, f"{value} (a specification of this release)", self.get(key))

    def text(self, key: str, pattern: re.Pattern[str] | None = None) -> str:
        value = self.get(key)
        if not isinstance(value, str) or not value or "\0" in value or (pattern and not pattern.fullmatch(value)):
            raise self.wrong(key, f"text that matches {pattern.pattern}" if pattern else "text", value)
        return value

    def choice(self, key: str, *choices: str) -> str:
        value = self.get(key)
        if value not in choices:
            raise self.wrong(key, " or ".join(choices), value)
        return str(value)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.get(key)
        good = isinstance(value, list) and value and all(isinstance(item, str) and "\0" not in item for item in value)
        if not good or not value[0]:
            raise self.wrong(key, "a list of texts, the first one a program", value)
        return tuple(value)

    def some_texts(self, key: str) -> tuple[str, ...]:
        value = self.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) and "\0" not in item for item in value):
            raise self.wrong(key, "a list of texts", value)
        return tuple(value)

    def environment(self, key: str) -> dict[str, str]:
        value = self.get(key)
        good = isinstance(value, dict) and all(
            name and "=" not in name and isinstance(text, str) and "\0" not in name + text
            for name, text in value.items()
        )
        if not good:
            raise self.wrong(key, "an object of texts (the whole environment)", value)
        return dict(value)

    def absolute(self, key: str) -> Path:
        value = self.get(key)
        if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
            raise self.wrong(key, "an absolute path", value)
        return Path(value)

    def file_name(self, key: str, default: str | None = None) -> str:
        value = self.get(key) if self.get(key) is not None else default
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise self.wrong(key, "the bare name of a file in run_dir", value)
        if value in rundir.RESERVED:
            raise self.wrong(key, f"a name other than {', '.join(sorted(rundir.RESERVED))}", value)
        return value

    def number(self, key: str, *, above: float = -math.inf, least: float = -math.inf, default: float = 0.0) -> float:
        value = self._raw.get(key, default)
        self._read.add(key)
        if not _is_number(value) or value <= above or value < least:
            limit = f"above {above:g}" if math.isfinite(above) else f"of at least {least:g}"
            raise self.wrong(key, f"a number of seconds {limit}", value)
        return float(value)

    def size(self, key: str, least: int, default: int | None = None) -> int:
        value = self._raw.get(key, default)
        self._read.add(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.wrong(key, f"a whole number of bytes, at least {least}", value)
        return value

    def table(self, key: str) -> _Table:
        return _Table(self.get(key), f"{self.place}: {key}")

    def tables(self, key: str) -> list[_Table]:
        value = self.get(key)
        if not isinstance(value, list) or not value:
            raise self.wrong(key, "a non-empty list", value)
        return [_Table(item, f"{self.place}: {key}[{index}]") for index, item in enumerate(value)]


def _show(value: object) -> str:
    text = json.dumps(value, default=repr)
    return text if len(text) <= 80 else text[:77] + "..."
