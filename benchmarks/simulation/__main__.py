"""Weeks of campaigns in bad weather, and whether faults that are planted on purpose are found.

    .venv/bin/python -m benchmarks.simulation [--seeds 2000] [--whole 100] [--planted 200] [--jobs 1]

Every seed is a whole simulated campaign (rea.simulation) with all faults on: dead and stopped processes, lost, double
and late calls, a scheduler that is away, forgets, restarts and overruns, lying trainers, clocks that jump, full disks.
The invariants are looked at after every commit. Then each planted fault (bugs.py) has so many seeds to be found in.
Prints a table and writes benchmarks/results/simulation.json. Exit code 1 where an invariant broke or a planted fault
was not found. Any seed alone: --only SEED.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from multiprocessing import Pool
from pathlib import Path
from typing import Any

from benchmarks.simulation.bugs import PLANTED
from benchmarks.simulation.storms import known, weathered

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "simulation.json"
TARGETS = {"seeds": 2000, "days": 30.0, "violations": 0, "campaigns_per_second": 20.0, "found_within": 200}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2000, help="campaigns of five techniques (default: %(default)s)")
    parser.add_argument("--whole", type=int, default=100, help="campaigns of every technique (default: %(default)s)")
    parser.add_argument("--planted", type=int, default=200, help="seeds to find a planted fault in")
    parser.add_argument("--jobs", type=int, default=1, help="processes; rates are per second of one core's time")
    parser.add_argument("--only", type=int, metavar="SEED", help="one seed, told in full; nothing is written")
    chosen = parser.parse_args()
    if min(chosen.seeds, chosen.jobs) < 1 or min(chosen.whole, chosen.planted) < 0:
        parser.error("--seeds and --jobs are at least 1, --whole and --planted at least 0")
    if chosen.only is not None:
        print(json.dumps(weathered(("few", chosen.only)), indent=1))
        return
    known()
    asked = [("few", seed) for seed in range(chosen.seeds)] + [("all", seed) for seed in range(chosen.whole)]
    rows = list(_weathered(asked, chosen.jobs))
    found = {
        **_figures([row for row in rows if row["kind"] == "few"]),
        "whole": _figures([row for row in rows if row["kind"] == "all"]) if chosen.whole else None,
        "planted": {plant.__name__: _first(plant, chosen.planted) for plant in PLANTED} if chosen.planted else {},
        **_machine(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    _show(found)
    if any(row["violation"] for row in rows) or None in found["planted"].values():
        raise SystemExit(1)


def _weathered(asked: list[tuple[str, int]], jobs: int) -> Iterator[dict[str, Any]]:
    with Pool(jobs) as pool:
        for done, row in enumerate(pool.imap_unordered(weathered, asked, chunksize=4), 1):
            if row["violation"]:
                print(row["violation"], file=sys.stderr)
            if done % 200 == 0:
                print(f"{done} of {len(asked)} campaigns", file=sys.stderr)
            yield row


def _figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    cpu_s = sum(row["cpu_s"] for row in rows)
    happened: Counter[str] = Counter()
    for row in rows:
        happened.update(row["happened"])
    days = sorted(row["days"] for row in rows)
    return {
        "seeds": len(rows),
        "violations": sum(bool(row["violation"]) for row in rows),
        "days": sum(days) / len(days),
        "days_p10": days[len(days) // 10],
        "years": sum(days) / 365.25,
        "campaigns_per_second": len(rows) / cpu_s,
        "cpu_s": cpu_s,
        "attempts": sum(row["attempts"] for row in rows),
        "commits": sum(row["commits"] for row in rows),
        "states": dict(Counter(row["state"] for row in rows)),
        "happened": dict(sorted(happened.items())),
    }


def _first(plant: Any, seeds: int) -> int | None:
    """How many seeds it takes until the planted fault is found; None: it is not."""
    with plant():
        for seed in range(seeds):
            if weathered(("few", seed))["violation"]:
                return seed + 1
    return None


def _machine() -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip(),
    }


def _show(found: dict[str, Any]) -> None:
    kinds = [("five techniques", found)] + ([("every technique", found["whole"])] if found["whole"] else [])
    heads = f"{'seeds':>7}{'violations':>12}{'days each':>11}{'years':>8}{'commits':>10}{'per core-s':>12}"
    print(f"{'campaigns of':18}{heads}")
    for name, group in kinds:
        numbers = f"{group['seeds']:7,}{group['violations']:12}{group['days']:11.0f}{group['years']:8.0f}"
        print(f"{name:18}{numbers}{group['commits']:10,}{group['campaigns_per_second']:12.1f}")
    _rows("what happened to them", found["happened"].items())
    _rows("planted faults, found after so many seeds", found["planted"].items())


def _rows(title: str, rows: Iterable[tuple[str, Any]]) -> None:
    print(f"\n{title}")
    for name, value in rows:
        print(f"  {name.replace('_', ' '):40}{'not found' if value is None else f'{value:,}':>10}")


if __name__ == "__main__":
    main()
