"""What a codebase asks of the local launcher's machine in vain, and how that machine is looked at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from report_samples import sample_codebase

from rea.domain.codebase import Codebase, LauncherChoice
from rea.domain.host import Host, fits, lacks
from rea.launchers.host import group_limits, look, visible_gpus

GIB = 2**30


def asking(cpus: int = 1, gpus: int = 0, memory: int | None = None, slots: int = 1, kind: str = "local") -> Codebase:
    base = sample_codebase()
    resources = replace(base.resources, cpus=cpus, gpus=gpus, memory_bytes=memory)
    return replace(base, resources=resources, launcher=LauncherChoice(kind, slots))


@pytest.mark.parametrize(
    ("codebase", "host", "fatal", "said"),
    [
        (asking(cpus=4), Host(2.0, None, 0), True, ("asks for 4 cores", "2 cores here")),
        (asking(cpus=2, slots=3), Host(4.0, None, 0), False, ("3 slots of 2 cores", "6 cores", "4 cores", "slots = 2")),
        (asking(slots=2), Host(1.5, None, 0), False, ("2 cores", "1.5 cores", "disturb", "slots = 1")),
        (asking(memory=8 * GIB), Host(1, 4 * GIB, 0), True, ("8.0 GiB", "4.0 GiB")),
        (asking(memory=3 * GIB, slots=2), Host(2, 4 * GIB, 0), False, ("6.0 GiB", "4.0 GiB", "slots = 1")),
        (asking(gpus=1), Host(1, None, 0), True, ("1 GPU", "none is visible", "assigns none", "gpus = 0")),
        (asking(gpus=4), Host(1, None, 2), True, ("4 GPUs", "2 are visible")),
        (asking(gpus=1, slots=2), Host(2, None, 2), False, ("2 slots share 2 GPUs", "assigns none", "slots = 1")),
    ],
)
def test_what_is_asked_in_vain_is_told_with_both_numbers_and_a_way_out(
    codebase: Codebase, host: Host, fatal: bool, said: tuple[str, ...]
) -> None:
    (lack,) = lacks(codebase, host)
    assert lack.fatal is fatal
    assert all(part in f"{lack.words} {lack.hint}" for part in said)
    assert lacks(replace(codebase, launcher=replace(codebase.launcher, kind="slurm")), host) == ()


def test_what_fits_is_told_with_both_numbers() -> None:
    codebase, host = asking(cpus=2, gpus=1, memory=2 * GIB), Host(2.0, 4 * GIB, 1)
    assert lacks(codebase, host) == ()
    assert fits(codebase, host) == "1 slot of 2 cores, 2.0 GiB, 1 GPU; here: 2 cores, 4.0 GiB, 1 GPU"
    assert lacks(asking(memory=4 * GIB), Host(1, None, 0)) == ()  # nothing known, nothing said


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_tightest_limit_of_the_group_and_those_above_it_counts(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    assert group_limits(proc, groups) == (None, None)
    write(proc / "self" / "cgroup", "4:memory:/elsewhere\n0::/pod/job\n")
    assert group_limits(proc, groups) == (None, None)
    write(groups / "pod" / "cpu.max", "150000 100000\n")
    write(groups / "pod" / "memory.max", f"{8 * GIB}\n")
    write(groups / "pod" / "job" / "cpu.max", "max 100000\n")
    write(groups / "pod" / "job" / "memory.max", f"{2 * GIB}\n")
    assert group_limits(proc, groups) == (1.5, 2 * GIB)
    write(groups / "pod" / "cpu.max", "garbage\n")
    write(groups / "cpu.max", "50000 100000\n")
    write(groups / "pod" / "job" / "memory.max", "max\n")
    assert group_limits(proc, groups) == (0.5, 8 * GIB)
    write(proc / "self" / "cgroup", "0::/../../other\n")
    assert group_limits(proc, groups) == (0.5, None)


@pytest.mark.parametrize(
    ("listed", "seen"), [(None, 4), ("", 0), ("-1", 0), ("0", 1), ("2,3", 2), ("0,-1,1", 1), ("0,1,2,3,4,5", 4)]
)
def test_a_shell_that_hides_gpus_hides_them_from_runs(listed: str | None, seen: int) -> None:
    assert visible_gpus({} if listed is None else {"CUDA_VISIBLE_DEVICES": listed}, 4) == seen


def test_this_machine_has_a_core_and_some_memory() -> None:
    here = look()
    assert here.cpus >= 1 and here.memory_bytes and here.gpus >= 0
