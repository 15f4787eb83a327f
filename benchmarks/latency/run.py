"""How long a free slot waits: from the end of a job to the submission of the next, and what share of the slots works.

    .venv/bin/python benchmarks/latency [--jobs 200] [--long 56] [--seconds 10] [--parts gaps,slots]

Whole campaigns of the tiny codebase with one slot are planned, signed and run, one after the other, until that many
jobs have followed another; `rea daemon` waits for them, and a quarter as many follow without a daemon. The end of a job
is what its wrapper wrote down when the last of its processes was gone, its submission what the launcher wrote down
before it started the next one's wrapper. What an engineer's signature lies between does not count.

Then two slots and jobs that sleep: the parts of a campaign of one round, each from its first submission to the end of
its last job, and `xargs -P2` with the very commands of the same jobs. `slot_use_ratio` is of the runs that wait for
nothing but a slot, as all of xargs' do: the profile's and the validation's. What follows waits for results as well (a
set for the verdicts on its parts, the reveal for the confirmation), and stands beside it. Prints a table and writes
benchmarks/results/latency.json.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "latency.json"
sys.path.insert(0, str(ROOT / "tests"))

from rea.domain.states import AttemptState, CampaignState, Phase, RunState  # noqa: E402
from rea.workspace import Workspace, governance, planning, steering, waking  # noqa: E402
from support.desk import Desk, opened, settle  # noqa: E402

TARGETS = {"p99_s": 1.0, "slot_use_ratio": 0.95}
SLOTS = 2
SHORT_S = 0.05  # of each epoch of a job of the first part
PROFILE = 4  # runs of the baseline before the signature
LONGEST_S = 3600.0  # that anything here is waited for
FREE = (Phase.PROFILE, Phase.VALIDATION)  # of the campaign, whose runs wait for a slot alone
PARTS = ("gaps", "slots")
RESTS = (CampaignState.RUNNING, CampaignState.PROFILING)


@dataclass(frozen=True)
class Job:
    """One attempt, in Unix seconds."""

    campaign: int
    submitted: float
    started: float
    ended: float
    run_dir: Path
    phase: Phase

    @property
    def profile(self) -> bool:
        """Whether it came before the signature."""
        return self.phase is Phase.PROFILE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200, help="that follow another (default: 200)")
    parser.add_argument("--long", type=int, default=56, help="jobs of the second part, about (default: 56)")
    parser.add_argument("--seconds", type=float, default=10.0, help="that each of them sleeps (default: 10)")
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS), help="the others are kept")
    args = parser.parse_args()
    if set(args.parts) - set(PARTS):
        parser.error(f"--parts are of {', '.join(PARTS)}")
    if args.jobs < 2 or args.long < 8 or not 0 < args.seconds <= 600:
        parser.error("--jobs is 2 or more, --long 8 or more, --seconds above 0 and at most 600")
    # As installed: pip compiles what it installs, a checkout is compiled as it is used.
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(ROOT / "src")], check=True)
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for part in args.parts:
        load = os.getloadavg()[0]
        if part == "gaps":
            found |= followed(args.jobs, daemon=True)
            found["without_daemon"] = followed(max(2, args.jobs // 4), daemon=False)
        else:
            found |= slot_use(args.long, args.seconds)
        when = {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), "commit": commit()}
        found.setdefault("measured", {})[part] = when | {"load_average": [load, os.getloadavg()[0]]}
    found |= {"targets": TARGETS, "machine": machine()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    show(found)


# ── from the end of a job to the next ────────────────────────────────────────────────────────────────────────────────


def followed(count: int, *, daemon: bool) -> dict[str, Any]:
    """Waits of one slot, of whole campaigns one after the other."""
    gaps: list[float] = []
    campaigns = 0
    config = {"fault.plan": ["always:slow"], "fault.seconds": SHORT_S}
    with tempfile.TemporaryDirectory(prefix="rea-latency-") as folder:
        while len(gaps) < count:
            campaigns += 1
            with opened(Path(folder) / str(campaigns), config=config) as desk, watched(desk, daemon):
                gaps += gaps_of(campaign(desk, desk.workspace(), "60s"))
    gaps = gaps[:count]
    return {
        "jobs": len(gaps),
        "campaigns": campaigns,
        "p50_s": round(quantile(gaps, 0.5), 3),
        "p90_s": round(quantile(gaps, 0.9), 3),
        "p99_s": round(quantile(gaps, 0.99), 3),
        "max_s": round(max(gaps), 3),
    }


def gaps_of(jobs: list[Job]) -> list[float]:
    """Of one slot: each job's end to the next one's submission, on one side of the signature."""
    pairs = itertools.pairwise(jobs)
    return [after.submitted - before.ended for before, after in pairs if before.profile == after.profile]


def quantile(values: list[float], share: float) -> float:
    """The smallest value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(-(-share * len(ordered) // 1)) - 1)]


def campaign(desk: Desk, workspace: Workspace, budget: str, profile_runs: int = PROFILE, **plan: Any) -> list[Job]:
    """A whole campaign that nobody of this process wakes after its beginning; its jobs in the order of submission."""
    made = planning.plan(workspace, desk.root, budget=budget, profile_runs=profile_runs, **plan)
    begun(desk, made.title)
    until(workspace, made.id, CampaignState.DRAFTED)
    governance.approve(workspace, made.title, desk.key)
    steering.start(workspace, made.title)
    begun(desk, made.title)
    until(workspace, made.id, CampaignState.FINISHED)
    settle_jobs(workspace, made.id)
    return jobs_of(desk, workspace, made.id)


def begun(desk: Desk, title: str) -> None:
    done = desk.rea("wake", title)
    assert done.returncode == 0, done.stderr


def until(workspace: Workspace, id_: int, wanted: CampaignState) -> None:
    deadline = time.monotonic() + LONGEST_S
    while (state := workspace.store.campaign(id_).state) is not wanted:
        assert state in RESTS and time.monotonic() < deadline, workspace.store.campaign(id_)
        time.sleep(0.5)


def settle_jobs(workspace: Workspace, id_: int) -> None:
    deadline = time.monotonic() + LONGEST_S
    while any(a.state is not AttemptState.ENDED for a in workspace.store.attempts(id_)):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def jobs_of(desk: Desk, workspace: Workspace, id_: int) -> list[Job]:
    runs = {run.id: run for run in workspace.store.runs(id_)}
    assert all(run.state is not RunState.FAILED for run in runs.values()), "a job of this benchmark failed"
    found = []
    for attempt in workspace.store.attempts(id_):
        run_dir = Path(attempt.run_dir)
        entry = json.loads((desk.runs / ".local" / "ended" / f"{attempt.job}.json").read_text())
        left = json.loads((run_dir / "exit.json").read_text())
        phase = runs[attempt.run].draft.phase
        found.append(Job(id_, entry["submitted_at"], left["started_at"], left["ended_at"], run_dir, phase))
    return sorted(found, key=lambda job: job.submitted)


@contextmanager
def watched(desk: Desk, daemon: bool) -> Iterator[None]:
    """A daemon as long as the block runs; afterwards nothing of this desk runs."""
    child = None
    if daemon:
        command = [sys.executable, "-m", "rea", "daemon"]
        child = subprocess.Popen(
            command, cwd=desk.home, env=desk.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 30
        while not waking.attendance(desk.workspace()).alive:
            assert time.monotonic() < deadline and child.poll() is None, "the daemon did not start"
            time.sleep(0.05)
    try:
        yield
    finally:
        if child is not None:
            child.terminate()
            child.wait()
    settle(desk.home)


# ── slots at work ────────────────────────────────────────────────────────────────────────────────────────────────────


def slot_use(count: int, seconds: float) -> dict[str, Any]:
    """Two slots, jobs that sleep: a campaign beside `xargs -P2` with the same jobs' commands."""
    epochs = 6  # of the tiny codebase
    profile_runs = min(20, count // 4)
    config = {"fault.plan": ["always:slow"], "fault.seconds": seconds / epochs}
    toml = {'walltime = "20s"': f'walltime = "{4 * seconds + 20:.0f}s"', "slots = 1\n": f"slots = {SLOTS}\n"}
    budget = f"{(count + 4) * (seconds + 1):.0f}s"
    with tempfile.TemporaryDirectory(prefix="rea-latency-") as folder:
        with opened(Path(folder) / "home", config=config, toml=toml) as desk:
            with watched(desk, True):
                jobs = campaign(desk, desk.workspace(), budget, profile_runs, rounds=1)
            parts: dict[str, list[Job]] = {}
            for job in jobs:
                name = job.phase.value if job.phase in FREE else "what follows"
                parts.setdefault(name, []).append(job)
            took = {name: window(part) for name, part in parts.items()}
            peer = {name: with_xargs(Path(folder) / f"part-{n}", part) for n, (name, part) in enumerate(parts.items())}
    return {
        "slots": SLOTS,
        "long_jobs": len(jobs),
        "job_s": round(statistics.median(j.ended - j.started for j in jobs), 2),
        "parts": {
            name: {
                "jobs": len(part),
                "rea_s": round(took[name], 2),
                "xargs_s": round(peer[name], 2),
                "ratio": round(peer[name] / took[name], 4),
            }
            for name, part in parts.items()
        },
        "slot_use_ratio": round(sum(peer[name] for name in FREE) / sum(took[name] for name in FREE), 4),
        # Parts may overlap: a slot with nothing else to do begins the confirmation.
        "whole_ratio": round(sum(peer.values()) / (took["profile"] + window([j for j in jobs if not j.profile])), 4),
    }


def window(jobs: list[Job]) -> float:
    return max(job.ended for job in jobs) - min(job.submitted for job in jobs)


def with_xargs(folder: Path, jobs: list[Job]) -> float:
    """Wall seconds of `xargs -P2` for the same jobs: the same steps in the same places, in the order of submission."""
    folder.mkdir()
    scripts = []
    for number, job in enumerate(jobs):
        spec = json.loads((job.run_dir / "job.json").read_text())
        script = folder / f"{number}.sh"
        script.write_text("set -e\n" + "".join(in_shell(step) for step in spec["steps"]))
        scripts.append(str(script))
    began = time.monotonic()
    command = ["xargs", "-n1", f"-P{SLOTS}", "sh"]
    subprocess.run(command, input="\n".join(scripts).encode(), check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def in_shell(step: dict[str, Any]) -> str:
    env = " ".join(shlex.quote(f"{name}={value}") for name, value in step["env"].items())
    return f"cd {shlex.quote(step['cwd'])}\nenv -i {env} {shlex.join(step['argv'])}\n"


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────────


def machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def show(found: dict[str, Any]) -> None:
    print(f"{'end of a job to the next submission':<38}{'jobs':>6}{'p50':>8}{'p90':>8}{'p99':>8}{'max':>8}")
    for name, row in (("with rea daemon", found), ("without", found["without_daemon"])):
        times = "".join(f"{row[key]:>7.2f}s" for key in ("p50_s", "p90_s", "p99_s", "max_s"))
        print(f"{name:<38}{row['jobs']:>6}{times}")
    print(
        f"\n{SLOTS} slots, jobs of {found['job_s']:.1f} s".ljust(39)
        + f"{'jobs':>6}{'REA':>10}{'xargs':>10}{'ratio':>8}"
    )
    for name, row in found["parts"].items():
        print(f"{name:<38}{row['jobs']:>6}{row['rea_s']:>9.1f}s{row['xargs_s']:>9.1f}s{row['ratio']:>8.1%}")
    print(f"{'profile and validation':<64}{found['slot_use_ratio']:>8.1%}")
    print(f"{'together':<38}{found['long_jobs']:>6}{'':>20}{found['whole_ratio']:>8.1%}")


if __name__ == "__main__":
    main()
