"""Looking at the machine: what the local launcher's jobs can have of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from rea.domain.host import Host

_PATIENCE_S: Final = 20.0


def look() -> Host:
    """This machine as jobs started now would find it, within the limits of the control group (v2) it runs in."""
    quota, most = group_limits(Path("/proc"), Path("/sys/fs/cgroup"))
    cpus = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    memory = _memory()
    return Host(
        cpus=max(1.0, min(cpus, quota) if quota is not None else cpus),
        memory_bytes=min((size for size in (memory, most) if size is not None), default=None),
        gpus=visible_gpus(os.environ, _present_gpus(Path("/dev"))),
    )


def group_limits(proc: Path, groups: Path) -> tuple[float | None, int | None]:
    """(cores, bytes of memory) that the control group of this process and those above it allow; None: no limit."""
    cpus: list[float] = []
    sizes: list[int] = []
    for folder in _groups(proc, groups):
        quota = re.match(r"(\d+) (\d+)", _text(folder / "cpu.max"))
        if quota and int(quota[2]):
            cpus.append(int(quota[1]) / int(quota[2]))
        size = _text(folder / "memory.max").strip()
        if size.isdigit():
            sizes.append(int(size))
    return min(cpus, default=None), min(sizes, default=None)


def visible_gpus(environment: Mapping[str, str], present: int) -> int:
    """How many of the GPUs present CUDA_VISIBLE_DEVICES leaves visible; an entry that is none ends the list."""
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return present
    names = [name.strip() for name in listed.split(",")]
    valid = next((i for i, name in enumerate(names) if not name or name == "-1"), len(names))
    return min(present, valid)


def _groups(proc: Path, groups: Path) -> Iterator[Path]:
    """The folders of this process' control group and of all above it. Inside a container the path may be the host's."""
    own = re.search(r"^0::/(.*)$", _text(proc / "self" / "cgroup"), re.MULTILINE)
    if own:
        folder = groups / own[1]
        yield from (place for place in (folder, *folder.parents) if place.is_relative_to(groups))


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _present_gpus(devices: Path) -> int:
    """NVIDIA's by their device files, or by nvidia-smi where a driver has none; else AMD's."""
    count = sum(1 for path in devices.glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name))
    if count == 0 and shutil.which("nvidia-smi"):
        count = sum(1 for line in _said("nvidia-smi", "-L").splitlines() if line.startswith("GPU "))
    if count == 0 and (devices / "kfd").exists():
        count = sum(1 for _ in (devices / "dri").glob("renderD*"))
    return count


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
