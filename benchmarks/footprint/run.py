"""What is left of an agent while its jobs train: processes, memory and CPU of eight hibernating campaigns.

    .venv/bin/python benchmarks/footprint [--minutes 10] [--settle 4] [--peers FOLDER] [--without-peers]

Eight campaigns of one store each have one job under way, which sleeps; `rea daemon` waits for them. For `--settle`
minutes after the last of them fell asleep, then for `--minutes`, everything is read from /proc every second: the
daemon, the wakes that its sweeps start (the kernel adds their CPU seconds to the daemon's children when they end), the
jobs' wrappers, and whether any other process of REA is there. Beside it, over the same minutes, wait for one job each
that sleeps as long: the command line of AIDE, driven by a stub of the OpenAI API on loopback, and an Optuna study.
Prints a table and writes benchmarks/results/footprint.json.

The peers live in an environment of their own, which the first run makes: `python -m venv FOLDER`, then pip installs
what `PEERS` of peers.py names, with exactly those versions. AIDE's requirements name a hundred packages for the
programs that its model may write; installed are those that its own modules import.

Processes are told apart by their command lines, among those whose environment names the benchmark's own folder.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "footprint.json"
sys.path[:0] = [str(ROOT / "tests"), str(Path(__file__).parent)]

from peers import HOME, PEERS, Stub, content, make_peers, sleeping  # noqa: E402

from rea.domain.states import AttemptState  # noqa: E402
from rea.workspace import planning, steering  # noqa: E402
from support.desk import Desk, opened  # noqa: E402

CAMPAIGNS = 8
TICK = os.sysconf("SC_CLK_TCK")
MEBI = 2**20
TARGETS = {"daemon_rss_mib": 20.0, "daemon_core_share": 0.002}


# ── what /proc says ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    command: str
    cpu_s: float  # its own
    children_s: float  # of those it has waited for


def process(pid: int) -> Process | None:
    """None for one that is not there, or is a zombie."""
    with suppress(OSError, IndexError, ValueError):
        command = (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        values = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
        user, system, child_user, child_system = (int(value) / TICK for value in values[11:15])
        if command and values[0] != "Z":
            return Process(pid, int(values[1]), command.strip(), user + system, child_user + child_system)
    return None


def processes_of(home: Path) -> list[Process]:
    """Those whose environment or command line names the folder, without this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            if str(home).encode() in (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes():
                one = process(int(entry.name))
                if one is not None:
                    found.append(one)
    return found


def memory(pid: int) -> tuple[float, float] | None:
    """(RSS, PSS) in MiB."""
    with suppress(OSError, KeyError, ValueError):
        text = (Path("/proc") / str(pid) / "smaps_rollup").read_text()
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines() if line.endswith("kB")}
        return sizes["Rss"] * 1024 / MEBI, sizes["Pss"] * 1024 / MEBI
    return None


@dataclass
class Watched:
    """One process over a while."""

    pid: int
    begin: float = 0.0
    end: float = 0.0
    rss: list[float] = field(default_factory=list)
    pss: list[float] = field(default_factory=list)

    def look(self) -> None:
        now = process(self.pid)
        sizes = memory(self.pid)
        if now is None or sizes is None:
            raise SystemExit(f"process {self.pid} ended before its time")
        if not self.rss:
            self.begin = now.cpu_s
        self.end = now.cpu_s
        self.rss.append(sizes[0])
        self.pss.append(sizes[1])

    def figures(self, wall_s: float) -> dict[str, float]:
        return {
            "rss_mib": max(self.rss),
            "pss_mib": statistics.median(self.pss),
            "cpu_s": self.end - self.begin,
            "core_share": (self.end - self.begin) / wall_s,
        }


# ── the parties ──────────────────────────────────────────────────────────────────────────────────────────────────────


def hibernate(desk: Desk, seconds: float) -> None:
    """Eight campaigns, each with one job under way.

    They share the launcher's slots: the k-th allows k jobs on the machine, so that one slot is left for it.
    """
    workspace = desk.workspace()
    for k in range(1, CAMPAIGNS + 1):
        toml = desk.root / "rea.toml"
        toml.write_text(toml.read_text().replace(f"slots = {k - 1}\n", f"slots = {k}\n"))
        if desk.git("status", "--porcelain"):
            desk.commit(f"{k} slots")
        campaign = planning.plan(workspace, desk.root, budget="100h", profile_runs=3, name=f"campaign-{k}")
        done = desk.rea("wake", campaign.title)
        assert done.returncode == 0, done.stderr
    open_ = [a for c in workspace.store.campaigns() for a in workspace.store.attempts(c.id)]
    assert len(open_) == CAMPAIGNS and all(a.state is AttemptState.SUBMITTED for a in open_), open_
    workspace.store.close()


@contextmanager
def started(name: str, command: list[str], log: Path, env: dict[str, str] | None = None) -> Iterator[int]:
    """A process in a session of its own, which ends with the block."""
    with log.open("w") as out:
        child = subprocess.Popen(
            command,
            env={**os.environ, **(env or {})},
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield child.pid
        if child.poll() is not None:
            print(f"{name} ended with {child.returncode}:\n{log.read_text()[-2000:]}", file=sys.stderr)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def waits_for_a_job(pid: int, deadline: float) -> int:
    """The process that this one started for its job, once it is there."""
    while time.monotonic() < deadline:
        children = [one for one in map(process, descendants(pid)) if one is not None]
        if children:
            return children[-1].pid
        time.sleep(0.2)
    raise TimeoutError


def descendants(pid: int) -> list[int]:
    text = ""
    with suppress(OSError):
        text = (Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text()
    below = [int(word) for word in text.split()]
    return below + [deeper for child in below for deeper in descendants(child)]


# ── what a look in full costs ────────────────────────────────────────────────────────────────────────────────────────


def cost(desk: Desk, *words: str, times: int = 5) -> float:
    """Median CPU seconds of a command, with those of the processes it waited for."""
    found = []
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = desk.rea(*words)
        assert done.returncode == 0, done.stderr
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(found)


def running_costs(home: Path) -> dict[str, float]:
    """CPU seconds of looks at a campaign that runs, its job under way."""
    hang = {"fault.plan": ["optim.schedule=cosine:hang"]}
    with opened(home, config=hang, toml={'walltime = "20s"': 'walltime = "60s"'}) as desk:
        workspace = desk.workspace()
        campaign = desk.plan(workspace, budget="400s", rounds=1, profile_runs=2)
        desk.keep(workspace, campaign, "optim.schedule=cosine")
        desk.approve(workspace, campaign)
        steering.start(workspace, campaign.title)
        whole = cost(desk, "wake", campaign.title)
        idle = cost(desk, "wake")
        bare = [sys.executable, "-c", "pass"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(5):
            subprocess.run(bare, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        python = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 5
        return {"look_in_full_cpu_s": whole, "idle_wake_cpu_s": idle, "python_start_cpu_s": python}


# ── the measurement ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Sight:
    """What was there over a window, second by second."""

    looks: int = 0
    with_sweep: int = 0  # looks at which a wake of the daemon's was there
    agents: list[str] = field(default_factory=list)  # other processes of REA
    wrappers: set[int] = field(default_factory=set)


def see(home: Path, daemon: int, sight: Sight) -> None:
    everyone = processes_of(home)
    wakes = {one.pid for one in everyone if one.parent == daemon}
    sight.looks += 1
    sight.with_sweep += bool(wakes)
    for one in everyone:
        words = f" {one.command} "
        if one.pid == daemon or one.pid in wakes or one.parent in wakes:
            continue
        if " -m rea.job " in words:
            sight.wrappers.add(one.pid)
        elif " -m rea " in words or " -m rea." in words or "/rea " in words:
            sight.agents.append(one.command)


def window(minutes: float, home: Path, daemon: int, watched: dict[str, Watched]) -> dict[str, Any]:
    """Watch for so long. The daemon's own figures are in `watched`."""
    sight = Sight()
    first = process(daemon)
    assert first is not None
    begin = time.monotonic()
    wakes_before = wakes_counted(home)
    while True:
        see(home, daemon, sight)
        for one in watched.values():
            one.look()
        if time.monotonic() - begin >= 60 * minutes:
            break
        time.sleep(1.0)
    last = process(daemon)
    assert last is not None
    wall = time.monotonic() - begin
    children = last.children_s - first.children_s
    return {
        "wall_s": wall,
        "looks": sight.looks,
        "looks_with_a_wake_of_a_sweep": sight.with_sweep,
        "other_agent_processes": sorted(set(sight.agents)),
        "wrappers": len(sight.wrappers),
        "wakes_cpu_s": children,
        "wakes_core_share": children / wall,
        "campaigns_looked_at_in_full": wakes_counted(home) - wakes_before,
    }


def wakes_counted(home: Path) -> int:
    """How many looks in full there were so far: each takes the campaign's lease, which counts."""
    import sqlite3

    with sqlite3.connect(f"file:{home / 'rea.db'}?mode=ro", uri=True) as connection:
        ((found,),) = connection.execute("SELECT sum(fence) FROM campaigns").fetchall()
    connection.close()
    return int(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long to watch (default: 10)")
    parser.add_argument("--settle", type=float, default=4.0, help="minutes before that (default: 4)")
    parser.add_argument("--peers", type=Path, default=HOME, help=f"the peers' environment (default: {HOME})")
    parser.add_argument("--without-peers", action="store_true", help="REA alone")
    args = parser.parse_args()
    if not (0 < args.minutes <= 600 and 0 <= args.settle <= 60):
        parser.error("--minutes is above 0 and at most 600, --settle 0 to 60")
    peers = None if args.without_peers else make_peers(args.peers)
    found = measure(args.minutes, args.settle, peers)
    found["machine"] = machine()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    show(found)


def measure(minutes: float, settle: float, peers: Path | None) -> dict[str, Any]:
    load = os.getloadavg()
    # Longer than all that is watched; the end of a job is none of this benchmark's affairs.
    seconds = 60 * (minutes + settle) + 600
    with tempfile.TemporaryDirectory(prefix="rea-footprint-") as name:
        top = Path(name)
        costs = running_costs(top / "running")
        config = {"fault.plan": ["always:slow"], "fault.seconds": seconds}
        # The first campaign finds one slot, and so it is the template that the others are made from.
        with opened(top / "home", config=config, toml={'walltime = "20s"': f'walltime = "{seconds * 4:.0f}s"'}) as desk:
            hibernate(desk, seconds)
            with started_peers(top, peers, seconds) as (others, missing), started_daemon(desk, top) as daemon:
                first = window(settle, desk.home, daemon, {}) if settle else None
                wrappers = [one.pid for one in processes_of(desk.home) if " -m rea.job " in f" {one.command} "]
                watched = {"rea daemon": Watched(daemon), **{n: Watched(pid) for n, pid in others.items()}}
                watched |= {f"wrapper {i}": Watched(pid) for i, pid in enumerate(sorted(wrappers))}
                then = window(minutes, desk.home, daemon, watched)
    wall = then["wall_s"]
    figures = {name: one.figures(wall) for name, one in watched.items()}
    each = [value for name, value in figures.items() if name.startswith("wrapper")]
    wrapper = {key: statistics.median(value[key] for value in each) for key in each[0]}
    return {
        "campaigns": CAMPAIGNS,
        "parties": {
            "rea daemon": figures["rea daemon"] | {"processes": 1, "campaigns": CAMPAIGNS},
            "wrapper of a job (rea.job)": wrapper | {"processes": 1, "campaigns": 1},
            **{name: figures[name] | {"processes": 1, "campaigns": 1} for name in others},
        },
        "missing": missing,
        "hibernation": then,
        "settling": first,
        "one": costs,
        "targets": TARGETS,
        "load_average": [load[0], os.getloadavg()[0]],
    }


@contextmanager
def started_daemon(desk: Desk, top: Path) -> Iterator[int]:
    command = [sys.executable, "-m", "rea", "daemon"]
    with started("rea daemon", command, top / "daemon.log", dict(desk.env)) as pid:
        deadline = time.monotonic() + 30
        while "rea.daemon" not in getattr(process(pid), "command", ""):
            assert time.monotonic() < deadline, (top / "daemon.log").read_text()
            time.sleep(0.05)
        yield pid


@contextmanager
def started_peers(top: Path, python: Path | None, seconds: float) -> Iterator[tuple[dict[str, int], dict[str, str]]]:
    """(process ids of who waits, why others are missing). What each waits for is its job and not counted."""
    found: dict[str, int] = {}
    missing: dict[str, str] = {}
    if python is None:
        yield found, {"AIDE": "not asked for", "Optuna": "not asked for"}
        return
    stub = Stub(lambda _: sleeping(seconds), content)
    data = top / "data"
    data.mkdir()
    (data / "clicks.csv").write_text("user,item,click\n1,2,0\n")
    aide = [str(python.with_name("aide")), f"data_dir={data}", "goal=predict clicks", "eval=log loss", "agent.steps=1"]
    aide += ["agent.code.model=stub", "agent.feedback.model=stub", "generate_report=false"]
    aide += [f"exec.timeout={seconds + 60:.0f}", f"log_dir={top / 'logs'}", f"workspace_dir={top / 'workspaces'}"]
    optuna = [str(python), str(Path(__file__).with_name("peers.py")), "optuna", str(seconds)]
    talk = {"OPENAI_BASE_URL": stub.url, "OPENAI_API_KEY": "none", "PYTHONPATH": ""}
    try:
        with started("AIDE", aide, top / "aide.log", talk) as first:
            with started("Optuna", optuna, top / "optuna.log", {"PYTHONPATH": ""}) as second:
                for name, pid, log in (("AIDE", first, "aide.log"), ("Optuna", second, "optuna.log")):
                    try:
                        waits_for_a_job(pid, time.monotonic() + 90)
                        found[name] = pid
                    except TimeoutError:
                        missing[name] = f"started no job in 90 s; its output ends: {(top / log).read_text()[-500:]}"
                yield found, missing
    finally:
        stub.close()


def machine() -> dict[str, Any]:
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]

    def said(*command: str) -> str:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    return {
        "cpu": models[0].split(":", 1)[1].strip() if models else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "peers": [package for group in PEERS for package in group if package.startswith(("aideml", "optuna"))],
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": said("git", "rev-parse", "--short", "HEAD"),
        "changed_since_commit": bool(said("git", "status", "--porcelain", "--", "src")),
    }


def show(found: dict[str, Any]) -> None:
    minutes = found["hibernation"]["wall_s"] / 60
    print(f"{found['campaigns']} campaigns, {minutes:.1f} minutes")
    print(
        f"{'who waits':<34}{'campaigns':>10}{'processes':>10}{'RSS MiB':>9}{'PSS MiB':>9}{'CPU s':>8}{'of a core':>11}"
    )
    agents = found["hibernation"]["other_agent_processes"]
    print(f"{'agent of REA':<34}{found['campaigns']:>10}{len(agents):>10}{0:>9}{0:>9}{0:>8}{0:>11}")
    for name, row in found["parties"].items():
        print(
            f"{name:<34}{row['campaigns']:>10}{row['processes']:>10}{row['rss_mib']:>9.1f}{row['pss_mib']:>9.1f}"
            f"{row['cpu_s']:>8.2f}{row['core_share']:>11.3%}"
        )
    for name, why in found["missing"].items():
        print(f"{name:<34}missing: {why}")
    for key in ("settling", "hibernation"):
        part = found[key]
        if part is not None:
            print(
                f"{key}, {part['wall_s'] / 60:.1f} min: wakes of the sweeps {part['wakes_cpu_s']:.2f} CPU s "
                f"({part['wakes_core_share']:.3%} of a core), {part['campaigns_looked_at_in_full']} looks in full; "
                f"seen at {part['looks_with_a_wake_of_a_sweep']} of {part['looks']} looks; {part['wrappers']} wrappers"
            )
    for name, value in found["one"].items():
        print(f"{name:<34}{value:>10.3f}")
    daemon = found["parties"]["rea daemon"]
    for name, value in (("daemon_rss_mib", daemon["rss_mib"]), ("daemon_core_share", daemon["core_share"])):
        print(f"{name:<34}{value:>10.4f}  target {found['targets'][name]}")
    for command in agents:
        print(f"a process of the agent: {command}")


if __name__ == "__main__":
    main()
