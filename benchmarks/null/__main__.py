"""Honesty figures: what campaigns claim where nothing matters, and where the truth is known.

    .venv/bin/python benchmarks/null [--campaigns 200] [--jobs 2] [--rows FILE] [--store URL]

Simulated campaigns (rea.simulation) on the reference codebase's knobs, of a fixed list of seeds: as many where no
treatment matters as where a few do. Prints tables and writes benchmarks/results/null.json and calibration.json. With
--store, only the reliability of that store's predictions is computed, and kept beside the simulated one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from multiprocessing import Pool
from pathlib import Path
from typing import Any

from figures import from_store, of_gains, of_null, of_predictions
from worlds import campaign

from rea.domain.errors import ReaError

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--campaigns", type=int, default=200, metavar="N", help="of each kind (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    parser.add_argument(
        "--rows",
        type=Path,
        metavar="FILE",
        help="keep every campaign's row there as JSON lines; what it holds is not run again",
    )
    parser.add_argument("--store", metavar="URL", help="reliability of this store's predictions; nothing is simulated")
    chosen = parser.parse_args()
    if chosen.campaigns < 1 or chosen.jobs < 1:
        parser.error("--campaigns and --jobs are at least 1")
    if chosen.store:
        try:
            found = from_store(chosen.store)
        except ReaError as error:
            raise SystemExit(str(error)) from error
        kept = json.loads(path.read_text()) if (path := RESULTS / "calibration.json").exists() else {}
        write("calibration", {**kept, "store": {**found, **machine()}})
        show_reliability({"prior, measured": found["prior_measured"], "finalists, fresh seeds": found["finalists"]})
        return
    rows = simulated(chosen.campaigns, chosen.jobs, chosen.rows)
    nothing = of_null([row for row in rows if row["kind"] == "null"])
    gains = of_gains([row for row in rows if row["kind"] == "gains"])
    cost = {"cpu_s": sum(row["cpu_s"] for row in rows), "runs": sum(row["runs"] for row in rows)}
    top = {"campaigns": nothing["campaigns"], "launch_rate": nothing["launch_rate"]["share"]}
    write("null", {**top, "null": nothing, "gains": gains, "compute": cost, **machine()})
    predicted = of_predictions([row for row in rows if row["kind"] == "gains"])
    idle = of_predictions([row for row in rows if row["kind"] == "null"])
    kept = json.loads(path.read_text()) if (path := RESULTS / "calibration.json").exists() else {}
    write("calibration", {**kept, "gains": predicted, "null": idle, **machine()})
    show(nothing, gains, cost)
    lines = {f"{kind}, {which}": found for kind, group in predicted.items() for which, found in group.items()}
    show_reliability(lines)


def simulated(count: int, jobs: int, keep: Path | None) -> list[dict[str, Any]]:
    """The rows of the first `count` seeds of both kinds, in order."""
    asked = [(kind, seed) for seed in range(count) for kind in ("null", "gains")]
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    if keep is not None and keep.exists():
        for line in keep.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            rows[row["kind"], row["seed"]] = row
    missing = [pair for pair in asked if pair not in rows]
    with Pool(jobs) as pool:
        for done, row in enumerate(pool.imap_unordered(campaign, missing, chunksize=2), 1):
            rows[row["kind"], row["seed"]] = row
            if keep is not None:
                with keep.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
            if done % 50 == 0:
                print(f"{done} of {len(missing)} campaigns", file=sys.stderr)
    return [rows[pair] for pair in asked]


def machine() -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip(),
    }


def write(name: str, found: Mapping[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def show(nothing: Mapping[str, Any], gains: Mapping[str, Any], cost: Mapping[str, Any]) -> None:
    lines = [
        ("campaigns", str(nothing["campaigns"]), str(gains["campaigns"])),
        ("launched", told(nothing["launch_rate"]), told(gains["launch_rate"])),
        ("worth a launch (best single gain ≥ 2 × minimum)", "–", str(gains["worth_launching"])),
        ("of these launched", "–", told(gains["launch_power"])),
        ("launches whose true gain is below the minimum", "–", told(gains["launches_below_minimum"])),
        ("true gain inside the visible claim's 95 %", *(told(x["coverage"]["visible"]) for x in (nothing, gains))),
        ("true gain inside the sealed claim's 95 %", *(told(x["coverage"]["sealed"]) for x in (nothing, gains))),
    ]
    both = (nothing, gains)
    splits = ("search", "visible", "sealed")
    lines += [(f"{split} minus truth", *(within(x["winners_curse"][split]) for x in both)) for split in splits]
    lines.append(("budget used", *(f"{x['used']:.0%}" for x in (nothing, gains))))
    print("| | nothing matters | a few matter |\n| :-- | --: | --: |")
    for cells in lines:
        print("| " + " | ".join(cells) + " |")
    print(f"\n{cost['cpu_s']:.0f} CPU seconds; not launched though worth it: {gains['why_not']}\n")


def show_reliability(found: Mapping[str, Mapping[str, Any] | None]) -> None:
    print("| predictions | count | inside 50 % | 80 % | 95 % | bias | spread |")
    print("| :-- | --: | --: | --: | --: | --: | --: |")
    for name, row in found.items():
        if row is None:
            print(f"| {name} | 0 | – | – | – | – | – |")
            continue
        inside = [f"{share:.0%}" for share in row["inside"].values()]
        cells = [name, str(row["count"]), *inside, f"{row['bias']:+.3%}", f"{row['spread']:.2f}"]
        print("| " + " | ".join(cells) + " |")


def told(share: Mapping[str, Any]) -> str:
    if share["share"] is None:
        return "–"
    return f"{share['share']:.1%} of {share['of']} ({share['low']:.1%} to {share['high']:.1%})"


def within(found: Mapping[str, Any]) -> str:
    return "–" if found["se"] is None else f"{found['mean']:+.3%} ± {found['se']:.3%}"


if __name__ == "__main__":
    main()
