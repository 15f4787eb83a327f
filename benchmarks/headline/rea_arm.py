"""REA's side of the comparison: the command line, in a git repository of its own, under the same budget."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.headline.arms import BUDGET_RUNS, budget, training_seed
from benchmarks.headline.bench import Baseline, Bench
from benchmarks.headline.configs import whole
from benchmarks.headline.journal import Record
from benchmarks.headline.space import CROSSES, SETTLED, USUAL, usable
from benchmarks.headline.tasks import ROOT, TASKS, Task, fields
from benchmarks.headline.trainer import LEFT_OUT, commit_all

COLD, WARM = "rea-cold", "rea-warm"
SEEDS = 3  # at most; two by default
SLOTS = 2  # of the launcher in the trainer's rea.toml
ABLATIONS = ("insights", "techniques", "diagnosis", "stop-rule", "combination", "confirmation")
CONFIG = "configs/benchmark.yaml"
POLL_S = 5.0
QUIET_LOAD = 0.5  # processes that want a core, on average over a minute
ENDED = frozenset({"finished", "stopped", "failed"})


class CommandError(RuntimeError):
    """A command of REA ended badly; the message has its words and its last lines."""


@dataclass(frozen=True, slots=True)
class Desk:
    """home: store, runs and codebase of one campaign."""

    home: Path

    @property
    def code(self) -> Path:
        return self.home / "ads-ranker"

    def call(self, *words: str, fine: Sequence[int] = (0,)) -> subprocess.CompletedProcess[str]:
        """One command of REA in the codebase. Raises CommandError when it ends with another code than `fine`."""
        environment = {
            **os.environ,
            "REA_HOME": str(self.home / "rea"),
            "PYTHONPATH": str(ROOT / "src"),
        }
        for name in ("REA_STORE", "REA_RUNS"):
            environment.pop(name, None)
        done = subprocess.run(
            [sys.executable, "-m", "rea", *words],
            cwd=self.code,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in fine:
            tail = (done.stderr.strip() or done.stdout.strip())[-600:]
            raise CommandError(f"rea {' '.join(words)} ended with {done.returncode}: {tail}")
        return done

    def status(self) -> dict[str, Any] | None:
        """The campaign as `rea status --json` tells it; None before it was planned."""
        done = self.call("status", "C-1", "--json", fine=(0, 3, 5))
        return None if done.returncode == 3 else json.loads(done.stdout)


def name_of(arm: str, without: Sequence[str] = (), runs: float = BUDGET_RUNS) -> str:
    """The arm's name on record: ablations and other budgets are arms of their own."""
    parts = [arm, *(f"no-{part.replace('-', '')}" for part in sorted(without))]
    return "-".join([*parts, *([f"{runs:g}r"] if runs != BUDGET_RUNS else [])])


def runs_of(name: str) -> float:
    """The budget that an arm's name tells, in runs of the baseline."""
    told = re.search(r"-([\d.]+)r$", name)
    return float(told.group(1)) if told else BUDGET_RUNS


def others(task: Task) -> list[Task]:
    """The tasks whose insights a warm campaign begins with."""
    return [other for other in TASKS.values() if other.name != task.name]


def home_of(bench: Bench, task: Task, name: str, seed: int) -> Path:
    return bench.work / "rea" / f"{task.name}.{name}-{seed}"


def run_rea(
    bench: Bench,
    task: Task,
    baseline: Baseline,
    arm: str,
    seed: int,
    without: Sequence[str] = (),
    runs: float = BUDGET_RUNS,
) -> Record:
    """One campaign from wherever it stands, and what it ended with, appended to its journal.

    REA is given as many baseline runs as the tuners' arms, by its own measure of one, and charges wall time, which is
    CPU-seconds and waiting, so the machine must have nothing else to do. What its jobs took of the processor is on
    record beside the tuners' budget, evaluations included. Raises CommandError when a command fails or the campaign
    cannot go on.
    """
    name = name_of(arm, without, runs)
    journal = bench.journal(task, f"{name}-{seed}")
    for record in journal.records:
        if record["purpose"] == "pick":
            return record
    desk = Desk(home_of(bench, task, name, seed))
    if not (desk.home / "ready").exists():
        set_up(bench, task, baseline, desk)
        if arm == WARM:
            inherit(bench, task, desk, seed)
        (desk.home / "ready").touch()
    budget_s = budget(bench, task, baseline, journal, runs, beside=SLOTS)
    load = os.getloadavg()[0]
    plan = planning(desk, runs, seed, without)
    final = drive(desk, plan)
    cpu_s = cpu_seconds(desk)
    # Those on record already are of a call that was killed while it wrote them down.
    written = sum("phase" in record for record in journal.records)
    for record in harvested(bench, baseline, desk)[written:]:
        journal.append(record)
    return journal.append(
        {
            **ended(bench, baseline, desk),
            "budget_s": budget_s,
            "spent_s": final["spent_s"],
            "overshoot_s": max(0.0, cpu_s - budget_s),
            "cpu_s": cpu_s,
            "load": round(load, 2),
            "trials": sum(final["runs"].values()),
            "runs_by_state": {state: count for state, count in final["runs"].items() if count},
            "without": sorted(without),
            "seeded": "--seed" in plan,
            "trainer": bench.trainer.digest,
        }
    )


def set_up(bench: Bench, task: Task, baseline: Baseline, desk: Desk) -> None:
    """The trainer with the baseline's config, as a codebase of its own, known to REA and committed."""
    shutil.rmtree(desk.home, ignore_errors=True)
    shutil.copytree(bench.trainer.folder, desk.code, ignore=_left_out)
    toml = desk.code / "rea.toml"
    toml.write_text(described(toml.read_text(encoding="utf-8"), task, fields(bench.data(task))), encoding="utf-8")
    import yaml

    config = whole(baseline.config, bench.trainer.neutral, bench.data(task))
    (desk.code / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    commit_all(desk.code, "The model in production")
    for words in (["user.email", "engineer@bench"], ["user.name", "Engineer"]):
        subprocess.run(["git", "config", *words], cwd=desk.code, check=True)
    desk.call("init")
    commit_all(desk.code, "REA may work here")


def described(toml: str, task: Task, known: frozenset[str]) -> str:
    """The rea.toml of a task: this Python trains, and the knobs are those of `space.every_knob`, so that both sides
    search the same space. Those that the baseline was tuned in are marked so. The codebase has the task's name, because
    what an experiment of the same codebase showed counts as seen here. known: the fields of the data.
    """
    import tomlkit

    document: Any = tomlkit.parse(toml)
    document["codebase"]["name"] = task.name
    document["codebase"]["python"] = sys.executable
    knobs = document["knobs"]
    for name in list(knobs):
        if name in task.idle or knobs[name].get("role") in SETTLED:
            del knobs[name]
            continue
        if knobs[name].get("role") == CROSSES and "choices" in knobs[name]:
            options = usable(knobs[name]["choices"], known)
            if len(options) > 1:
                knobs[name]["choices"] = list(options)
            else:
                del knobs[name]
                continue
        if name in USUAL:
            knobs[name]["tuned"] = True
    return tomlkit.dumps(document)


def _left_out(folder: str, names: list[str]) -> set[str]:
    return set(LEFT_OUT(folder, names)) | ({".git"} & set(names))


def inherit(bench: Bench, task: Task, desk: Desk, seed: int) -> None:
    """What the cold campaigns of all other tasks showed, from their stores into this one's."""
    for other in others(task):
        source = Desk(home_of(bench, other, COLD, seed))
        file = desk.home / f"insights-{other.name}.jsonl"
        source.call("insights", "export", str(file))
        desk.call("insights", "import", str(file))


def planning(desk: Desk, runs: float, seed: int, without: Sequence[str]) -> list[str]:
    """The words of the plan command; the search's seed only where this REA has one."""
    words = ["plan", "--config", CONFIG, "--budget", f"{runs:g}r", "--json"]
    known = desk.call("plan", "--help").stdout
    if re.search(r"--seed\b", known):
        words += ["--seed", str(training_seed(seed))]
    return [*words, *(word for part in without for word in ("--without", part))]


def drive(desk: Desk, plan: Sequence[str]) -> dict[str, Any]:
    """The campaign from where it stands to its end: plan, approve, start --wait; a killed one goes on. Its status."""
    state = desk.status()
    if state is None:
        desk.call(*plan)
        state = desk.status()
    while state is not None and state["state"] not in ENDED:
        if state["state"] == "drafted":
            desk.call("approve", "C-1")
        elif state["state"] == "approved":
            desk.call("start", "C-1", "--wait", "--json", fine=(0, 5))
        elif state["state"] == "paused":
            raise CommandError(
                f"{desk.home}: the campaign is paused: {state['reason']}; "
                "resume it there or remove the folder, then call again"
            )
        else:  # profiling or running, and whoever waited for it was killed
            desk.call("wake", fine=(0, 5))
            time.sleep(POLL_S)
        state = desk.status()
    if state is None or state["state"] != "finished":
        raise CommandError(f"{desk.home}: the campaign ended without a verdict: {state and state['reason']}")
    return state


def _store(desk: Desk) -> Any:
    from rea.store import open_store

    return open_store(f"sqlite:///{desk.home / 'rea' / 'rea.db'}")


def harvested(bench: Bench, baseline: Baseline, desk: Desk) -> list[Record]:
    """Every run of the campaign as the tuners' runs are recorded, in the order in which they ended."""
    store = _store(desk)
    attempts = {a.run: a for a in sorted(store.attempts(1), key=lambda a: a.number)}
    found = []
    for run in store.runs(1):
        attempt = attempts.get(run.id)
        if attempt is None or attempt.ended_at is None:
            continue
        whole_run = run.state.value == "succeeded"
        result, overrides = run.result, run.draft.treatment.overrides
        config = bench.config({**bench.trainer.neutral, **baseline.config, **overrides})
        record = {
            "purpose": "search" if run.draft.phase.value not in ("confirmation", "reveal") else "confirm",
            "phase": run.draft.phase.value,
            "config": config,
            "seed": run.draft.seed,
            "ne": result.metrics.get("ne") if result is not None and whole_run else None,
            "auc": result.metrics.get("auc") if result is not None and whole_run else None,
            "curve": [r.metrics["ne"] for r in result.curve if "ne" in r.metrics] if result is not None else [],
            "cpu_s": result.cpu_s if result is not None else _cpu_seconds(Path(attempt.run_dir) / "exit.json"),
            "wall_s": attempt.device_s,
            "failure": run.failure.message if run.failure is not None else None,
            "pruned": max(1, len(result.curve)) if run.state.value == "pruned" and result is not None else None,
            "patched": run.draft.treatment.patch is not None,
            "trainer": bench.trainer.digest,
        }
        found.append((attempt.ended_at, record))
    return [record for _, record in sorted(found, key=lambda pair: pair[0])]


def ended(bench: Bench, baseline: Baseline, desk: Desk) -> Record:
    """What the campaign says: its finalist, or the incumbent where it launches nothing, else the baseline.

    Raises CommandError for a finalist that changes code: the frozen trainer cannot train it.
    """
    store = _store(desk)
    campaign = store.campaign("C-1")
    config = dict(baseline.config)
    if campaign.incumbent is not None:
        treatment = store.hypothesis(campaign.incumbent).draft.full
        if treatment.patch:
            raise CommandError(f"{desk.home}: the finalist changes code, which the frozen trainer does not have")
        config = bench.config({**bench.trainer.neutral, **baseline.config, **treatment.overrides})
    claim = campaign.visible
    return {
        "purpose": "pick",
        "config": config,
        "launched": campaign.verdict is not None and campaign.verdict.value == "launch",
        "reason": campaign.reason,
        "wall_s": round((campaign.ended_at or campaign.created_at) - campaign.created_at, 1),
        "claimed_gain": claim.gain if claim is not None else 0.0,
        "claimed_interval": [claim.ci_low, claim.ci_high] if claim is not None else None,
        "claimed_sealed": campaign.claim.gain if campaign.claim is not None else None,
    }


def cpu_seconds(desk: Desk) -> float:
    """User and system seconds of all jobs of the campaign, evaluations included, as their wrappers measured them."""
    return round(sum(_cpu_seconds(path) for path in (desk.home / "rea").rglob("exit.json")), 3)


def _cpu_seconds(exit_file: Path) -> float:
    """Of one job, from the record its wrapper leaves; 0 where it left none."""
    if not exit_file.is_file():
        return 0.0
    return json.loads(exit_file.read_text(encoding="utf-8")).get("cpu_s") or 0.0


def await_quiet() -> None:
    """Waits until the machine has next to nothing else to do, saying so: REA is charged wall time."""
    told = False
    while os.getloadavg()[0] > QUIET_LOAD:
        if not told:
            print(f"waiting for a load below {QUIET_LOAD}, now {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
            told = True
        time.sleep(POLL_S)
