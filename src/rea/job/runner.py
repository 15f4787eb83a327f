"""Run the steps of one job and hold its limits.

One thread and one loop: it drains the logs, reaps, samples the process tree and signals. Nothing here may raise because
of a full disk or a strange trainer; the record of how the job ended outranks everything else that is written.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import resource
import selectors
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rea.job import rundir, tree
from rea.job.judge import Code, links_into
from rea.job.logs import CappedLog, LineReader
from rea.job.signals import Signals
from rea.job.spec import Check, Spec, Step
from rea.job.stoprule import Progress, Stop, judge, parse_line

TICK_S: Final = 0.25  # between two samples of the process tree
_SLOWEST_TICK_S: Final = 2.0
_SEARCH_SHARE: Final = 0.02  # of a step's age: the longer it has run, the rarer it starts processes
_SHARE_OF_TIME: Final = 0.05  # that sampling may take, where the machine has very many processes
_ENDING_TICK_S: Final = 0.05
_PATIENCE_AFTER_KILL_S: Final = 10.0  # a process in uninterruptible sleep cannot be killed; it is not waited for
FULL_BYTES: Final = 64 * 1024  # less than this is no room
_PIPE_BYTES: Final = 1024 * 1024
_MISSED_S: Final = 5.0  # between two samples: longer than any of them takes
_BUSY_SHARE: Final = 0.02  # of one core: a process that waits for a lock or a peer still polls now and then
_LOOK_S: Final = 1.0  # over which that share is taken: the kernel counts in hundredths of a second


@dataclass(slots=True)
class _Running:
    """A step while it runs. `status` is its exit code, negative for a signal, None until it has ended."""

    step: Step
    leader: int
    began: float
    cpu_before: float
    status: int | None = None
    term_sent: bool = False
    kill_at: float = math.inf
    survivors: int = 0
    unkillable: int = 0
    search_due: float = 0.0
    known: set[tree.Identity] = field(default_factory=set)
    cpu_live: dict[tree.Identity, float] = field(default_factory=dict)
    cpu_gone: float = 0.0
    work: dict[tree.Identity, float] = field(default_factory=dict)

    def count_cpu(self, members: list[tree.Process]) -> None:
        live = {member.identity: member.cpu_s for member in members}
        self.cpu_gone += sum(seconds for identity, seconds in self.cpu_live.items() if identity not in live)
        self.cpu_live = live

    def sampled_cpu(self) -> float:
        return self.cpu_gone + sum(self.cpu_live.values())

    def work_since(self, members: list[tree.Process]) -> float:
        """Core seconds since the last call, those of processes too short to be seen among them."""
        before, self.work = self.work, {member.identity: member.cpu_s + member.reaped_s for member in members}
        return sum(max(0.0, seconds - before.get(identity, 0.0)) for identity, seconds in self.work.items())


@dataclass(frozen=True, slots=True)
class _Cause:
    """Why the wrapper ends the job, where the trainer did not."""

    outcome: str
    message: str


class Job:
    """One job, once: `run` it, and its record says how it ended."""

    def __init__(self, spec: Spec, signals: Signals) -> None:
        self.spec = spec
        self.signals = signals
        self.host, self.boot, self.mark = socket.gethostname(), tree.boot_id(), os.urandom(16).hex()
        self.cause: _Cause | None = None
        self.stop: dict[str, Any] | None = None
        self.notes: list[str] = []
        self.steps: list[dict[str, Any]] = []
        self.peak = 0
        self.memory = 0
        self.log_bytes_cut = 0
        self.started_at = time.time()
        self.began = time.monotonic()
        self.deadline = self.began + spec.walltime_s
        self.busy_at = self.heard_at = self.began  # when its processes last used a core, and last said anything
        self.looked_at = self.began
        self.work_s = 0.0  # since then
        self.silent_s = 0.0  # at the longest
        self.hung = False
        self.tampered = ""
        self.judges: dict[Path, Code] = {}
        self.metrics_bytes = 0
        self.oom_kills = tree.oom_kills()
        self.heartbeat_due = self.began
        self.progress = Progress()
        self.metrics = LineReader(spec.metrics)
        self.selector = selectors.DefaultSelector()
        self.selector.register(signals.pipe, selectors.EVENT_READ)
        tree.adopt_orphans()

    # ── the job ──────────────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> dict[str, Any]:
        """Every step in turn until one fails or the job has to end; the record of it."""
        name = code = None
        failure = ""
        self.judges = {check.root: Code(check.root) for check in (step.check for step in self.spec.steps) if check}
        for step in self.spec.steps:
            self._look_for_causes(f"before {step.name}")
            if self.cause is not None:
                break
            name = step.name
            self.tampered = self._not_as_it_was(step.check) if step.check is not None else ""
            if self.tampered:
                code, failure = None, f"{name} was not started: {self.tampered}"
                break
            code, failure = self._run_step(step)
            if self.cause is not None or code != 0:
                break
        wall = time.monotonic() - self.began
        if self.cause is not None:
            outcome, message = self.cause.outcome, self.cause.message
        elif code == 0:
            outcome, message = "succeeded", f"{', '.join(step.name for step in self.spec.steps)} succeeded"
        else:
            outcome, message = "failed", failure
        largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1024 if tree.LINUX else 1)
        return {
            "version": 1,
            "name": self.spec.name,
            "outcome": outcome,
            "step": name,
            "exit_code": code if code is not None and code >= 0 else None,
            "signal": -code if code is not None and code < 0 else None,
            "started_at": self.started_at,
            "ended_at": time.time(),
            "wall_s": round(wall, 3),
            "cpu_s": round(sum(step["cpu_s"] for step in self.steps), 3),
            "peak_memory_bytes": max(self.peak, largest),
            "memory_bytes": self.spec.memory_bytes or _machine_memory(),
            "steps": self.steps,
            "stop": self.stop,
            "message": "; ".join([f"{message} after {wall:.1f} s", *self.notes])[:2000],
            "disk_full": _full(self.spec.run_dir),
            "hung": self.hung,
            "tampered": self.tampered or None,
            "silent_s": round(self.silent_s, 3),
            "idle_s": round(time.monotonic() - self.busy_at, 3),
            "quiet_s": round(time.monotonic() - self.heard_at, 3),
            "oom_kills": None if self.oom_kills is None else (tree.oom_kills() or 0) - self.oom_kills,
            "log_bytes_cut": self.log_bytes_cut,
            "host": self.host,
            "pid": os.getpid(),
        }

    def _not_as_it_was(self, check: Check) -> str:
        """What speaks against judging now, in words; empty if nothing does."""
        if changed := self.judges[check.root].changed():
            return f"{changed} in {check.root} is not what it was when the job began"
        link = links_into(check.written, check.hidden)
        return f"{link} in {check.written} is a link to what is hidden from trainings" if link else ""

    def refuse(self, why: str) -> None:
        """Have `run` start nothing."""
        self.cause = _Cause("failed", why)

    def _run_step(self, step: Step) -> tuple[int | None, str]:
        """The step's exit code (negative: signal), and in words how it failed."""
        spec = self.spec
        log = CappedLog(spec.run_dir / f"{step.name}.log", spec.log_bytes)
        logs = [log] if step.stdout is None else [log, CappedLog(spec.run_dir / step.stdout, spec.log_bytes)]
        cpu_before, began = _children_cpu(), time.monotonic()
        self.progress = Progress()
        code: int | None
        try:
            process = self._start(step, logs)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            code = 127 if isinstance(error, FileNotFoundError) else 126  # as a shell would
            failure = f"{step.name} could not be started: {error}"
            log.write(f"rea: {failure}\n".encode())
            cpu = 0.0
        else:
            running = _Running(step, process.pid, began, cpu_before)
            self._watch(running)
            process.returncode = running.status if running.status is not None else -signal.SIGKILL
            code = running.status
            failure = _in_words(step.name, code)
            cpu = max(_children_cpu() - cpu_before, running.sampled_cpu())
            if running.survivors:
                self.notes.append(f"processes that outlived {step.name} and were ended: {running.survivors}")
            if running.unkillable:
                self.notes.append(f"processes of {step.name} that could not be killed: {running.unkillable}")
        self._skip_metrics()
        self._close_outputs()
        for each in logs:
            each.close()
            self.log_bytes_cut += each.cut
        self.steps.append(
            {
                "name": step.name,
                "exit_code": code if code is not None and code >= 0 else None,
                "signal": -code if code is not None and code < 0 else None,
                "wall_s": round(time.monotonic() - began, 3),
                "cpu_s": round(cpu, 3),
            }
        )
        return code, failure

    def _start(self, step: Step, logs: list[CappedLog]) -> subprocess.Popen[bytes]:
        """Raises OSError, ValueError or SubprocessError if the command cannot be started."""
        writers = []
        for log in logs:
            reader, writer = os.pipe()
            os.set_blocking(reader, False)
            if hasattr(fcntl, "F_SETPIPE_SZ"):
                with contextlib.suppress(OSError):
                    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            self.selector.register(reader, selectors.EVENT_READ, log)
            writers.append(writer)
        die_with_parent = tree.die_with_parent()

        def before_exec() -> None:
            die_with_parent()
            # Written by the child itself: whatever it starts, it is on record by then.
            own = tree.process(os.getpid())
            if own is not None:
                self._record_processes(own.pid, {own.identity})

        try:
            return subprocess.Popen(
                step.argv,
                cwd=step.cwd,
                env={**step.env, rundir.MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=writers[-1],
                stderr=writers[0],
                start_new_session=True,
                preexec_fn=before_exec,  # safe: this process has one thread
            )
        finally:
            for writer in writers:
                os.close(writer)

    # ── while a step runs ────────────────────────────────────────────────────────────────────────────────────────

    def _watch(self, running: _Running) -> None:
        """Until the step and everything it started is gone."""
        tick_due = time.monotonic()
        while True:
            ending = running.term_sent
            until = min(tick_due, math.inf if ending else self.deadline) - time.monotonic()
            self._pump(min(until, _ENDING_TICK_S) if ending else until)
            childless = self._reap(running)
            if running.status is not None and childless and not self._members(running):
                return
            now = time.monotonic()
            if now >= tick_due:
                self._tick(running, now)
                cost = time.monotonic() - now
                tick_due = now + cost + min(max(TICK_S, cost / _SHARE_OF_TIME), _SLOWEST_TICK_S)
            if running.status is None:
                self._look_for_causes(f"during {running.step.name}")
            if self.cause is not None and not running.term_sent:
                self._reap(running)
                if running.status == 0:  # it finished while this was being decided: there is nothing left to end
                    self.cause = self.stop = None
                    self.hung = False
            if not running.term_sent and (self.cause is not None or running.status is not None):
                if running.status is not None:
                    running.survivors = len(self._members(running))
                self._signal(running, signal.SIGTERM)
                running.term_sent, running.kill_at = True, now + self.spec.grace_s
            if now >= running.kill_at:
                if now >= running.kill_at + _PATIENCE_AFTER_KILL_S:
                    running.unkillable = len(self._members(running))
                    return
                self._signal(running, signal.SIGKILL)

    def _look_for_causes(self, when: str) -> None:
        if self.cause is not None:
            return
        if self.signals.cancelled or (self.spec.run_dir / rundir.CANCEL).exists():
            self.cause = _Cause("cancelled", f"cancelled {when}")
        elif time.monotonic() >= self.deadline:
            self.cause = _Cause("timeout", f"the wall-time limit of {self.spec.walltime_s:g} s was reached {when}")

    def _tick(self, running: _Running, now: float) -> None:
        members = self._sample(running, now)
        running.count_cpu(members)
        self._look_for_life(running.work_since(members), now)
        self._end_if_silent(running, now)
        self._measure_memory(running, members)
        identities = {member.identity for member in members}
        if not identities <= running.known:
            self._record_processes(running.leader, identities)
        running.known = identities
        if running.status is None:
            self._apply_stop_rule()
        if now >= self.heartbeat_due:
            self.heartbeat_due = now + self.spec.heartbeat_s
            beat = {"time": time.time(), "step": running.step.name, "rss": self.memory}
            with contextlib.suppress(OSError):
                rundir.write_atomically(self.spec.run_dir / rundir.HEARTBEAT, beat)

    def _look_for_life(self, work_s: float, now: float) -> None:
        """Whether it has worked or said anything: one that hangs does neither."""
        self.work_s += work_s
        passed_s = now - self.looked_at
        if passed_s >= _LOOK_S:
            if self.work_s >= _BUSY_SHARE * passed_s:
                self.busy_at = now
            elif passed_s >= _MISSED_S:  # the wrapper was stopped itself, and likely its job with it
                self.busy_at += passed_s
                self.heard_at += passed_s
            self.looked_at, self.work_s = now, 0.0
            self.silent_s = max(self.silent_s, now - max(self.busy_at, self.heard_at))
        with contextlib.suppress(OSError):
            size = self.spec.metrics.stat().st_size
            if size != self.metrics_bytes:
                self.metrics_bytes, self.heard_at = size, now

    def _end_if_silent(self, running: _Running, now: float) -> None:
        limit_s, silent_s = self.spec.idle_s, now - max(self.busy_at, self.heard_at)
        if limit_s is None or silent_s < limit_s or running.status is not None or self.cause is not None:
            return
        if tree.LINUX:  # elsewhere the work of short processes is not seen
            self.hung = True
            words = f"{running.step.name} was ended: for {silent_s:.0f} s it neither used a core nor wrote a word"
            self.cause = _Cause("timeout", words)

    def _record_processes(self, leader: int, identities: set[tree.Identity]) -> None:
        record = {
            "host": self.host,
            "boot": self.boot,
            "mark": self.mark,
            "pgid": leader,
            "members": sorted(identities),
        }
        with contextlib.suppress(OSError):
            rundir.write_atomically(rundir.group_of(self.spec.run_dir), record)

    def _measure_memory(self, running: _Running, members: list[tree.Process]) -> None:
        """Peak and limit. The exact sum is dear; the sum of resident sets, never smaller, says when it is needed."""
        limit = self.spec.memory_bytes
        self.memory = sum(member.rss for member in members)
        if self.memory > self.peak or (limit is not None and self.memory > limit):
            # They are read one after the other: what a fork in between shares was read as its parent's alone.
            self.memory = min(tree.memory(members), tree.memory(members))
            self.peak = max(self.peak, self.memory)
        if limit is not None and self.memory > limit and running.status is None and self.cause is None:
            self.cause = _Cause(
                "memory",
                f"{running.step.name} was ended: its {len(members)} processes held {_gib(self.memory)}, "
                f"over the limit of {_gib(limit)}",
            )

    def _apply_stop_rule(self) -> None:
        rule = self.spec.stop_rule
        if rule is None or self.cause is not None:
            return
        for line in self.metrics.read():
            reading = parse_line(rule, line)
            if reading is None:
                continue
            self.progress, stop = judge(rule, self.progress, reading)
            if stop is not None:
                self.stop = _stop_record(stop, rule.metric, rule.split, rule.axis)
                self.cause = _Cause("stopped", _stop_in_words(stop, rule.metric, rule.split, rule.axis))
                return

    def _skip_metrics(self) -> None:
        """A step that has ended can no longer be stopped: what it wrote last is not held against the next one."""
        while self.spec.stop_rule is not None and self.cause is None and self.metrics.read():
            pass

    # ── processes ────────────────────────────────────────────────────────────────────────────────────────────────

    def _members(self, running: _Running) -> list[tree.Process]:
        # Once the leader is reaped its number may be another session's; descent and acquaintance still hold.
        sessions = {running.leader} if running.status is None else set()
        return tree.family(tree.processes(), os.getpid(), sessions, running.known)

    def _sample(self, running: _Running, now: float) -> list[tree.Process]:
        """The members, for which every process of the machine is looked at only now and then, and when one is gone."""
        if tree.LINUX and now < running.search_due:
            found = [tree.process(pid) for pid, _ in running.known]
            living = [one for one in found if one is not None and one.identity in running.known and not one.zombie]
            if len(living) == len(running.known):
                return living
        running.search_due = now + min((now - running.began) * _SEARCH_SHARE, _SLOWEST_TICK_S)
        return self._members(running)

    def _reap(self, running: _Running) -> bool:
        """Collect what has ended. True if no child is left; on Linux orphans are children too, so: nothing is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == running.leader:
                running.status = os.waitstatus_to_exitcode(status)

    def _signal(self, running: _Running, number: signal.Signals) -> None:
        members = self._members(running)
        if running.status is None:
            # The whole group at once, so that none of it can fork away from the signal; the leader is not reaped yet,
            # so its number is still its own.
            with contextlib.suppress(OSError):
                os.killpg(running.leader, number)
            members = [member for member in members if member.pgid != running.leader]
        for member in members:
            with contextlib.suppress(OSError):
                tree.send(member.identity, number)

    # ── output ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _pump(self, timeout: float) -> None:
        """Wait for output, a signal or the timeout; move what there is into the logs."""
        for key, _ in self.selector.select(max(0.0, timeout)):
            self._drain(key.fd, key.data)

    def _drain(self, reader: int, log: CappedLog | None) -> None:
        """At most one pipeful, so that a flood cannot keep the loop from its other duties."""
        for _ in range(16):
            try:
                data = os.read(reader, 65536)
            except BlockingIOError:
                return
            if not data:
                if log is not None:
                    self.selector.unregister(reader)
                    os.close(reader)
                return
            if log is not None:
                log.write(data)
                self.heard_at = time.monotonic()

    def _close_outputs(self) -> None:
        for key in list(self.selector.get_map().values()):
            if key.data is not None:
                self._drain(key.fd, key.data)
        for key in list(self.selector.get_map().values()):
            if key.data is not None:
                self.selector.unregister(key.fd)
                os.close(key.fd)


def _full(folder: Path) -> bool:
    """Whether there is no room, for logs among other things: what a trainer said of it is then nowhere to be read."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < FULL_BYTES


def _machine_memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _in_words(step: str, code: int | None) -> str:
    if code is None:
        return f"{step} could not be killed"
    if code >= 0:
        return f"{step} ended with exit code {code} (see {step}.log)"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if code == -signal.SIGKILL:
        return f"{step} was killed by SIGKILL, sent by nobody here: often the kernel, out of memory"
    return f"{step} was killed by {name} (see {step}.log)"


def _stop_record(stop: Stop, metric: str, split: str, axis: str) -> dict[str, Any]:
    return {
        "reason": stop.reason,
        "metric": metric,
        "split": split,
        "axis": axis,
        "x": _finite(stop.x),
        "value": _finite(stop.value),
        "point": stop.point,
        "limit": stop.limit,
    }


def _stop_in_words(stop: Stop, metric: str, split: str, axis: str) -> str:
    where = f"at {axis} {stop.x:g}" if math.isfinite(stop.x) else "at an unnamed point"
    if stop.reason == "nan":
        return f"stopped: {split} {metric} was NaN twice running, {where}"
    return f"stopped: {split} {metric} {stop.value:g} {where} is worse than the limit of {stop.limit:g}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
