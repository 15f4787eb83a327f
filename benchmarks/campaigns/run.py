"""Whole campaigns as an engineer runs them: plan, approve, start --wait, on the generated log and on real clicks.

    .venv/bin/python benchmarks/campaigns/run.py [TASK ...] [--budget 20r] [--keep FOLDER]

Prints a table and writes benchmarks/results/campaigns.json: the sealed gain with its interval, the estimate that was
printed with each plan beside the device time then spent, wall time, runs and verdict. A task that is in the file
already is run again only when it is named. Real clicks are looked for in $REA_SHARED_DATA, else in ../shared/data
beside the checkout; without them those tasks are skipped, saying so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "campaigns.json"
DATA = Path(os.environ.get("REA_SHARED_DATA") or ROOT.parent / "shared" / "data")
TASKS = {
    "generated-dcnv2": ("configs/generated_dcnv2.yaml", None),
    "criteo80k-dlrm": ("configs/criteo80k_dlrm.yaml", "criteo80k"),
    "frappe-dcnv2": ("configs/frappe_dcnv2.yaml", "frappe"),
    "ml1m-deepfm": ("configs/ml1m_deepfm.yaml", "ml1m"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)} (default: those not measured)")
    parser.add_argument("--budget", default="20r", help="of each campaign (default: 20 baseline runs)")
    parser.add_argument("--keep", type=Path, help="folder for stores, runs and reports (default: a temporary one)")
    chosen = parser.parse_args()
    unknown = set(chosen.tasks) - set(TASKS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"tasks": {}}
    keep = chosen.keep or Path(tempfile.mkdtemp(prefix="rea-campaigns-"))
    for task in chosen.tasks or [name for name in TASKS if name not in known["tasks"]]:
        config, data = TASKS[task]
        if data is not None and not (DATA / data / "data.npz").is_file():
            print(f"{task}: skipped, {DATA / data} is absent", file=sys.stderr)
            continue
        print(f"{task}: started, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
        known["tasks"][task] = campaign(keep / task, config, data is not None, chosen.budget)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
        print(f"{task}: done; its report is in {keep / task}", file=sys.stderr)
    show(known["tasks"])


def campaign(home: Path, config: str, real: bool, budget: str) -> dict[str, Any]:
    """One campaign through the command line, in a git repository of its own."""
    shutil.rmtree(home, ignore_errors=True)
    code = home / "ads-ranker"
    shutil.copytree(
        ROOT / "examples" / "ads_ranker", code, ignore=shutil.ignore_patterns("data", "runs", "__pycache__")
    )
    toml = (code / "rea.toml").read_text()
    (code / "rea.toml").write_text(toml.replace('"python3"', json.dumps(sys.executable), 1))
    if real:
        (code / "data").symlink_to(DATA)
    environment = {**os.environ, "REA_HOME": str(home / "rea")}

    def call(*words: str) -> str:
        command = [sys.executable, "-m", "rea", *words]
        done = subprocess.run(command, cwd=code, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode not in (0, 5):
            raise SystemExit(f"{' '.join(words)} ended with {done.returncode}")
        return done.stdout

    for words in (
        ["init", "-q", "-b", "main"],
        ["config", "user.email", "engineer@bench"],
        ["config", "user.name", "E"],
    ):
        subprocess.run(["git", *words], cwd=code, check=True)
    call("init")
    for words in (["add", "-A"], ["commit", "-q", "-m", "The model in production"]):
        subprocess.run(["git", *words], cwd=code, check=True)
    began = time.time()
    load = os.getloadavg()[0]
    plan = json.loads(call("plan", "--config", config, "--budget", budget, "--json"))["plan"]
    call("approve", "C-1")
    final = json.loads(call("start", "C-1", "--wait", "--json"))
    wall = time.time() - began
    status = json.loads(call("status", "C-1", "--json"))
    call("report", "C-1", "--out", str(home / "report.html"))
    (home / "plan.md").write_text(call("plan", "show", "C-1"))
    estimate = plan["estimate"]
    return {
        "budget": budget,
        "baseline": plan["baseline"]["mean"],
        "baseline_run_s": plan["baseline"]["run_s"],
        "paired_noise": plan["baseline"]["noise"],
        "state": final["state"],
        "verdict": final["verdict"],
        "reason": final["reason"],
        "split": final["split"],
        "gain": final["gain"],
        "ci_low": final["ci_low"],
        "ci_high": final["ci_high"],
        "estimate_s": estimate["device_s"],
        "estimate_sd_s": estimate["sd_s"],
        "spent_s": status["spent_s"],
        "approved_s": status["approved_s"],
        "spent_over_estimate": status["spent_s"] / estimate["device_s"],
        "wall_s": wall,
        "runs": {name: count for name, count in status["runs"].items() if count},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} at the start",
        "date": time.strftime("%Y-%m-%d"),
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
        ).stdout.strip(),
    }


def show(tasks: dict[str, Any]) -> None:
    print("| task | verdict | gain, sealed | 95 % interval | spent, s | estimate, s | spent ÷ estimate | wall, s |")
    print("| :-- | :-- | --: | :-- | --: | --: | --: | --: |")
    for name, row in tasks.items():
        gain = "–" if row["gain"] is None else f"{row['gain']:+.2%} ({row['split']})"
        interval = "–" if row["gain"] is None else f"{row['ci_low']:+.2%} to {row['ci_high']:+.2%}"
        estimate = f"{row['estimate_s']:.0f} ± {row['estimate_sd_s']:.0f}"
        cells = [name, row["verdict"] or row["state"], gain, interval, f"{row['spent_s']:.0f}", estimate]
        print("| " + " | ".join([*cells, f"{row['spent_over_estimate']:.2f}", f"{row['wall_s']:.0f}"]) + " |")


if __name__ == "__main__":
    main()
