"""The failure battery: real trainers that fail in every way there is, and what the agent makes of each.

    .venv/bin/python benchmarks/battery/run.py [--seeds 3] [--only KIND ...]

For each seed the kinds of benchmarks/battery/kinds.py are dealt out over campaigns of a real codebase (the tiny one of
the tests, with the faults of overlay/), about ten to a campaign beside three sound hypotheses. Each campaign is
planned, signed and run to its end by the executor as it is, with real jobs and the real waiting times of the runbooks;
where it is held, an "engineer" lets it go on. Counted is for each kind and seed whether its failure got the right class
and runbook, and whether the right thing was done about it (kinds.py says what that is); per campaign whether it ended
without a person where none was owed, and which share of its budget went into failed attempts.

Beside it Optuna: a study with `catch=(Exception,)`, heartbeat and a callback that retries stale trials, in front of the
same trainers, one trial a kind. It knows no classes; its actions are judged by the same rules.

Prints a table and writes benchmarks/results/battery.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "battery.json"
sys.path[:0] = [str(HERE), str(ROOT / "tests")]

from kinds import BY_NAME, KINDS, Kind, Right  # noqa: E402
from peer import with_optuna  # noqa: E402

IN_ONE = 10  # kinds of one campaign, about
BESIDE = 5  # campaigns at a time
PATIENCE_S = 1200
OWED = (Right.QUARANTINE, Right.HOLD, Right.HOLD_AND_GIVE_UP)
CLASS_GOAL, ACTION_GOAL, WASTE_GOAL = 0.97, 0.95, 0.10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=sorted(BY_NAME), help="these kinds, and no results are kept")
    chosen = parser.parse_args()
    kinds = [BY_NAME[name] for name in chosen.only] if chosen.only else list(KINDS)
    work = [(seed, group) for seed in range(1, chosen.seeds + 1) for group in dealt(kinds, seed)]
    with ThreadPoolExecutor(BESIDE) as pool:
        campaigns = list(pool.map(lambda one: campaign(*one), work))
    peer = with_optuna(kinds)
    found = summed_up(campaigns, kinds, peer)
    show(found)
    if not chosen.only:
        RESULTS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    met = found["right_class"] >= CLASS_GOAL and found["right_action"] >= ACTION_GOAL
    return 0 if met and found["wasted_share"] <= WASTE_GOAL and not found["escalations_not_owed"] else 1


def dealt(kinds: list[Kind], seed: int) -> list[list[str]]:
    """Groups of about ten, of each class about as many; another mix for each seed."""
    count = max(1, round(len(kinds) / IN_ONE))
    ordered = sorted(kinds, key=lambda kind: (kind.accident, kind.classes, kind.name))
    groups: list[list[str]] = [[] for _ in range(count)]
    for place, kind in enumerate(ordered):
        groups[(place * seed + place // count) % count].append(kind.name)
    return groups


def campaign(seed: int, names: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="rea-battery-", ignore_cleanup_errors=True) as folder:
        command = [sys.executable, str(HERE / "worker.py"), folder, str(seed), *names]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, cwd=ROOT)
    if done.returncode != 0:
        print(done.stderr[-2000:], file=sys.stderr)
        return {"seed": seed, "state": "broken", "pauses": [], "kinds": [], "names": names, "violations": ["broken"]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"seed {seed}: {found['state']}, {len(found['kinds'])} kinds, {len(found['pauses'])} pauses", file=sys.stderr)
    return {"seed": seed, "names": names, **found}


def summed_up(campaigns: list[dict[str, Any]], kinds: list[Kind], peer: dict[str, Any]) -> dict[str, Any]:
    rows = {kind.name: [row for one in campaigns for row in one["kinds"] if row["kind"] == kind.name] for kind in kinds}
    told = [row for found in rows.values() for row in found]
    wanted = sum(len(one["names"]) for one in campaigns)
    approved = sum(one.get("approved_s", 0.0) for one in campaigns)
    worst = max(
        (one.get("wasted_s", 0.0) / one["approved_s"] for one in campaigns if one.get("approved_s")), default=0.0
    )
    not_owed = [
        {"seed": one["seed"], "why": why} for one in campaigns for why in one["pauses"] if not owed(why, one, rows)
    ]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {
        "kinds": len(kinds),
        "seeds": len({one["seed"] for one in campaigns}),
        "campaigns": len(campaigns),
        "finished": sum(one["state"] == "finished" for one in campaigns),
        "violations": sum(len(one["violations"]) for one in campaigns),
        "right_class": sum(row["right_class"] for row in told) / max(1, wanted),
        "right_action": sum(row["right_action"] for row in told) / max(1, wanted),
        "wasted_share": sum(one.get("wasted_s", 0.0) for one in campaigns) / approved if approved else None,
        "wasted_share_worst": worst,
        "escalations_not_owed": len(not_owed),
        "not_owed": not_owed,
        "by_kind": {
            name: {
                "class": sorted({str(row["class"]) for row in found}),
                "runbook": sorted({str(row["runbook"]) for row in found}),
                "wanted": BY_NAME[name].right.value,
                "right_class": sum(row["right_class"] for row in found),
                "right_action": sum(row["right_action"] for row in found),
                "of": len(found),
                "details": [row["detail"] for row in found if row["detail"]],
                "optuna": peer["by_kind"][name],
            }
            for name, found in rows.items()
        },
        "optuna": {name: value for name, value in peer.items() if name != "by_kind"},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip(),
    }


def owed(why: str, one: dict[str, Any], rows: dict[str, list[dict[str, Any]]]) -> bool:
    """Whether a pause was for one of the campaign's kinds that a person is owed for."""
    mine = [BY_NAME[name] for name in one["names"]]
    return any(row["title"] in why for kind in mine if kind.right in OWED for row in rows[kind.name] if row["title"])


def show(found: dict[str, Any]) -> None:
    print(f"{'kind':<18}{'class':<7}{'runbook':<24}{'wanted':<18}{'class':>7}{'action':>8}   Optuna")
    for name, row in found["by_kind"].items():
        counts = f"{row['right_class']:>5}/{row['of']}{row['right_action']:>6}/{row['of']}"
        named = f"{'/'.join(row['class']):<7}{'/'.join(row['runbook']):<24}{row['wanted']:<18}"
        print(f"{name:<18}{named}{counts}   {'right' if row['optuna']['right'] else row['optuna']['did']}")
        for detail in row["details"]:
            print(f"    {detail}")
    peer = found["optuna"]
    print(
        f"\n{found['kinds']} kinds × {found['seeds']} seeds in {found['campaigns']} campaigns, {found['finished']} "
        f"finished: right class {found['right_class']:.1%}, right action {found['right_action']:.1%} (Optuna "
        f"{peer['right_action']:.1%}); {found['wasted_share']:.1%} of the budget went into failures, "
        f"{found['wasted_share_worst']:.1%} at most; {found['escalations_not_owed']} escalations were not owed; "
        f"{found['violations']} violations"
    )


if __name__ == "__main__":
    raise SystemExit(main())
