"""The machine that the local launcher runs jobs on, and what a codebase asks of it in vain."""

from __future__ import annotations

from dataclasses import dataclass

from rea.domain.codebase import Codebase

LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Host:
    """What this machine, or the container it is, has for jobs. A share of a core counts as one."""

    cpus: float
    memory_bytes: int | None  # None: cannot be told
    gpus: int  # those a job would see


@dataclass(frozen=True, slots=True)
class Lack:
    """One thing asked that the host does not have. `fatal` where not even one run gets it."""

    fatal: bool
    words: str
    hint: str


def lacks(codebase: Codebase, host: Host) -> tuple[Lack, ...]:
    """Where `[resources]` and `[launcher]` ask for more than the host has; nothing where jobs run elsewhere."""
    if codebase.launcher.kind != LOCAL:
        return ()
    found = (_cpus(codebase, host), _memory(codebase, host), _gpus(codebase, host))
    return tuple(lack for lack in found if lack is not None)


def fits(codebase: Codebase, host: Host) -> str:
    """What is asked and what there is, in words."""
    resources, slots = codebase.resources, codebase.launcher.slots
    asked = [_count(resources.cpus, "core")]
    there = [_count(host.cpus, "core")]
    if resources.memory_bytes is not None:
        asked.append(_size(resources.memory_bytes))
    if host.memory_bytes is not None:
        there.append(_size(host.memory_bytes))
    if resources.gpus:
        asked.append(_count(resources.gpus, "GPU"))
        there.append(_count(host.gpus, "GPU"))
    return f"{_count(slots, 'slot')} of {', '.join(asked)}; here: {', '.join(there)}"


def _cpus(codebase: Codebase, host: Host) -> Lack | None:
    cpus, slots, here = codebase.resources.cpus, codebase.launcher.slots, _count(host.cpus, "core")
    if cpus > host.cpus:
        words = f"[resources] cpus asks for {_count(cpus, 'core')} a run; REA may use {here} here"
        return Lack(True, words, "lower cpus in rea.toml, or run REA where there are as many")
    if slots * cpus > host.cpus:
        words = f"{slots} slots of {_count(cpus, 'core')} ask for {slots * cpus} cores; REA may use {here} here"
        words += ": runs will disturb each other's clock and cost"
        return Lack(False, words, f"set [launcher] slots = {int(host.cpus // cpus)}, or lower [resources] cpus")
    return None


def _memory(codebase: Codebase, host: Host) -> Lack | None:
    memory, slots = codebase.resources.memory_bytes, codebase.launcher.slots
    if memory is None or host.memory_bytes is None:
        return None
    here = _size(host.memory_bytes)
    if memory > host.memory_bytes:
        words = f"[resources] memory lets a run take {_size(memory)}; there are {here} here"
        return Lack(True, words, "lower memory in rea.toml, or run REA where there is as much")
    if slots * memory > host.memory_bytes:
        words = f"{slots} slots of {_size(memory)} may take {_size(slots * memory)}; there are {here} here"
        words += ": the system may kill runs that keep to their limit"
        hint = f"set [launcher] slots = {host.memory_bytes // memory}, or lower [resources] memory"
        return Lack(False, words, hint)
    return None


def _gpus(codebase: Codebase, host: Host) -> Lack | None:
    gpus, slots = codebase.resources.gpus, codebase.launcher.slots
    if not gpus:
        return None
    unassigned = "the local launcher assigns none: a run sees what CUDA_VISIBLE_DEVICES of your shell shows"
    if gpus > host.gpus:
        seen = f"{host.gpus} are visible here" if host.gpus else "none is visible here"
        words = f"[resources] gpus asks for {_count(gpus, 'GPU')} a run; {seen} ({unassigned})"
        hint = "run REA where they are visible, or set gpus = 0: the budget then counts core-hours"
        return Lack(True, words, hint)
    if slots > 1:
        words = f"{slots} slots share {_count(host.gpus, 'GPU')}; {unassigned}, so all runs take the same"
        hint = "set [launcher] slots = 1, or let the trainer choose a free GPU"
        return Lack(False, words, hint)
    return None


def _count(number: float, one: str) -> str:
    return f"{number:g} {one}" + ("" if number == 1 else "s")


def _size(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
