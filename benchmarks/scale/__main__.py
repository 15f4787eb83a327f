"""What a wake costs as a campaign grows: one ended job is recorded and the next started, beside ever more runs.

    .venv/bin/python benchmarks/scale [--runs 10 1000 20000] [--repeat 3]

A real campaign of the tiny codebase is planned, signed and started; then its store is filled up to so many runs that
have ended, with what such runs leave: results with curves, attempts, entries of the ledger, events. Measured is a whole
`rea wake` in a process of its own, from its start to its end: wall and CPU seconds and the most memory it had. Jobs
take longer than wakes, so that each wake finds one that has ended. The first after the store was filled judges what was
filled in and does not count. Prints a table and writes benchmarks/results/scale.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "scale.json"
sys.path.insert(0, str(ROOT / "tests"))

from rea.domain.states import AttemptState  # noqa: E402
from rea.domain.treatment import Treatment  # noqa: E402
from rea.job import rundir  # noqa: E402
from rea.store.decode import encode  # noqa: E402
from rea.workspace import Workspace, steering, waking  # noqa: E402
from support.desk import Desk, opened  # noqa: E402

TARGET_S = 1.0  # of a wake at the most runs
EPOCH_S = 0.6  # of six
SEEDS = 3  # runs of one hypothesis


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[10, 1000, 20000])
    parser.add_argument("--repeat", type=int, default=9, help="wakes of each size; the median is told (default: 9)")
    chosen = parser.parse_args()
    # As installed: pip compiles what it installs, a checkout is compiled as it is used.
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(ROOT / "src")], check=True)
    rows = [measured(count, chosen.repeat) for count in sorted(chosen.runs)]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    found = {
        "sizes": rows,
        "target_s": TARGET_S,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    print(f"{'runs':>8}{'wall':>10}{'slowest':>10}{'CPU':>10}{'memory':>12}{'store':>12}")
    for row in rows:
        sizes = f"{row['memory_mib']:8.0f} MiB{row['store_mib']:8.1f} MiB"
        print(f"{row['runs']:8,}{row['wall_s']:8.2f} s{row['slowest_s']:8.2f} s{row['cpu_s']:8.2f} s{sizes}")


def measured(count: int, repeat: int) -> dict[str, Any]:
    slow = {"fault.plan": ["always:slow"], "fault.seconds": EPOCH_S}
    with tempfile.TemporaryDirectory(prefix="rea-scale-") as folder, opened(Path(folder) / "desk", config=slow) as desk:
        workspace = desk.workspace()
        campaign = desk.plan(workspace, budget="100000h", profile_runs=2)
        desk.approve(workspace, campaign)
        steering.start(workspace, campaign.title)
        with waking.attending(workspace):
            waking.wake(workspace, campaign.id)
            workspace.store.close()
            fill(desk.home / "rea.db", campaign.id, count)
            wakes = [one_wake(desk, workspace, campaign.id) for _ in range(1 + repeat)][1:]
        size = (desk.home / "rea.db").stat().st_size
        total = len(workspace.store.runs(campaign.id))
    found = {key: statistics.median(wake[key] for wake in wakes) for key in wakes[0]}
    slowest = max(wake["wall_s"] for wake in wakes)
    return {"runs": total, **found, "slowest_s": slowest, "store_mib": size / 2**20}


def ended(run_dir: Path) -> bool:
    return rundir.record_of(run_dir).exists() and not rundir.is_alive(run_dir)


def one_wake(desk: Desk, workspace: Workspace, campaign: int) -> dict[str, float]:
    """A wake that finds one ended job."""
    store = workspace.store
    deadline = time.monotonic() + 60
    while True:
        open_ = [a for a in store.attempts(campaign) if a.state is not AttemptState.ENDED]
        if open_ and all(ended(Path(a.run_dir)) for a in open_):
            break
        assert time.monotonic() < deadline, open_
        time.sleep(0.1)
    before = {a.id for a in open_}
    began = time.monotonic()
    child = subprocess.Popen([sys.executable, "-m", "rea", "wake"], env=desk.env, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.monotonic() - began
    assert child.returncode == 0
    known = {a.id for a in store.attempts(campaign) if a.state is AttemptState.ENDED}
    assert before <= known, "it recorded what had ended"
    return {"wall_s": wall_s, "cpu_s": used.ru_utime + used.ru_stime, "memory_mib": used.ru_maxrss / 1024}


def fill(file: Path, campaign: int, count: int) -> None:
    """Runs that have ended, up to `count`, as copies of one that has: each hypothesis tries a rate nobody has tried."""
    chance = random.Random(1)
    with closing(sqlite3.connect(file)) as db:
        db.row_factory = sqlite3.Row
        have = db.execute("SELECT count(*) FROM runs WHERE campaign = ?", (campaign,)).fetchone()[0]
        hypothesis = dict(db.execute("SELECT * FROM hypotheses WHERE campaign = ? LIMIT 1", (campaign,)).fetchone())
        run = dict(
            db.execute("SELECT * FROM runs WHERE campaign = ? AND result IS NOT NULL LIMIT 1", (campaign,)).fetchone()
        )
        attempt = dict(db.execute("SELECT * FROM attempts WHERE run = ? LIMIT 1", (run["id"],)).fetchone())
        entries = [dict(row) for row in db.execute("SELECT * FROM entries WHERE attempt = ?", (attempt["id"],))]
        event = dict(db.execute("SELECT * FROM events WHERE campaign = ? LIMIT 1", (campaign,)).fetchone())
        for index in range(max(0, count - have)):
            if index % SEEDS == 0:
                number = index // SEEDS
                draft = json.loads(hypothesis["draft"])
                treatment = Treatment({"optim.lr": round(1e-3 + 1e-7 * number, 9)})
                draft |= {"treatment": json.loads(encode(treatment)), "technique": None}
                told = {"draft": json.dumps(draft), "digest": f"scale-{number}", "state": "refuted", "reason": "less"}
                told["belief"] = json.dumps({"mean": -0.001, "sd": 0.001})
                of = insert(db, "hypotheses", hypothesis, told)
            draft = json.loads(run["draft"])
            key = f"H-{of}/seed-{index % SEEDS + 1}"
            draft |= {"key": key, "hypothesis": of, "round": 1, "phase": "validation", "seed": index % SEEDS + 1}
            draft["treatment"] = json.loads(encode(treatment))
            result = json.loads(run["result"])
            result["metrics"]["ne"] *= 1 + chance.gauss(0.001, 0.001)
            told = {"draft": json.dumps(draft), "key": key, "hypothesis": of, "result": json.dumps(result)}
            id_ = insert(db, "runs", run, told)
            told = {"run": id_, "job": f"scale-{id_}", "run_dir": f"/nowhere/R-{id_}/1"}
            tried = insert(db, "attempts", attempt, told)
            for entry in entries:
                insert(db, "entries", entry, {"attempt": tried})
            insert(db, "events", event, {"kind": "ended", "message": f"R-{id_} succeeded"})
        db.commit()


def insert(db: sqlite3.Connection, table: str, row: dict[str, Any], changes: dict[str, Any]) -> int:
    """A copy of a row with some columns changed; those that the table lacks are left out."""
    changed = row | {name: value for name, value in changes.items() if name in row}
    changed.pop("id")
    columns = ", ".join(f'"{name}"' for name in changed)
    marks = ", ".join("?" for _ in changed)
    return int(db.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", tuple(changed.values())).lastrowid or 0)


if __name__ == "__main__":
    main()
