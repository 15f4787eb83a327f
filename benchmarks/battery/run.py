"""The failure battery: real trainers that fail in every way there is, and what the agent makes of each.

    .venv/bin/python benchmarks/battery/run.py [--seeds 3] [--only KIND ...] [--peers FOLDER] [--resume]

For each seed the kinds of benchmarks/battery/kinds.py are dealt out over campaigns of a real codebase (codebases.py:
the tiny one of the tests, with the faults of overlay/tinyranker, and the reference codebase in PyTorch, sabotaged from
outside), about ten to a campaign beside three sound hypotheses. Each campaign is planned, signed and run to its end by
the executor as it is, with real jobs and the real waiting times of the runbooks; where it is held, an "engineer" lets
it go on. Counted is for each kind and seed whether its failure got the right class and runbook, and whether the right
thing was done about it (kinds.py says what that is); per campaign whether it ended without a person where none was
owed, and which share of its budget went into failed attempts.

Beside it, one trial a kind in front of the same trainers: Optuna, a study with `catch=(Exception,)`, heartbeat and a
callback that retries stale trials; and AIDE, its command line with a stub for its model, in the environment that the
footprint benchmark makes. Neither knows classes; their actions are judged by the same rules.

Prints a table and writes benchmarks/results/battery.json. Each campaign is filed beside it as soon as it has ended, so
that a call that was broken off goes on with `--resume`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "battery.json"
PIECES = RESULTS.with_suffix(".jsonl")
sys.path[:0] = [str(HERE), str(HERE.parent / "footprint"), str(ROOT / "tests")]

from codebases import missing, parts  # noqa: E402
from kinds import ADS, BY_NAME, KINDS, TINY, Kind, Right  # noqa: E402
from peer_aide import NO_MODEL_HELPS, with_aide  # noqa: E402
from peer_optuna import with_optuna  # noqa: E402
from peers import HOME, make_peers  # noqa: E402

IN_ONE = 10  # kinds of one campaign, about
BESIDE = {TINY: 8, ADS: 3}  # campaigns at a time: they sleep or wait for a repetition most of their time
PATIENCE_S = 1800
FILING = Lock()
OPEN: set[str] = set()  # the folders of the campaigns that run now
OWED = (Right.QUARANTINE, Right.HOLD, Right.HOLD_AND_GIVE_UP)
CLASS_GOAL, ACTION_GOAL, WASTE_GOAL = 0.97, 0.95, 0.10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=sorted(BY_NAME), help="these kinds, and no results are kept")
    parser.add_argument("--peers", type=Path, default=HOME, help=f"the environment with AIDE (default: {HOME})")
    parser.add_argument("--resume", action="store_true", help=f"go on with what is in {PIECES.name}")
    parser.add_argument("--without-peers", action="store_true", help="REA alone, and no results are kept")
    chosen = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, broken_off)
    left_out = {kind.name: why for kind in KINDS if (why := lacks(kind))}
    kinds = [kind for kind in KINDS if kind.name not in left_out and kind.name in (chosen.only or BY_NAME)]
    for name, why in left_out.items():
        print(f"{name}: left out, {why}", file=sys.stderr)
    if not chosen.resume:
        PIECES.unlink(missing_ok=True)
    campaigns = run_all(kinds, chosen.seeds)
    peers = {"optuna": {}, "aide": {}} if chosen.without_peers else beside(kinds, make_peers(chosen.peers))
    found = summed_up(campaigns, kinds, peers) | {"left_out": left_out}
    show(found)
    if not chosen.only and not chosen.without_peers:
        RESULTS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        PIECES.unlink(missing_ok=True)
    met = found["right_class"] >= CLASS_GOAL and found["right_action"] >= ACTION_GOAL
    return 0 if met and found["wasted_share"] <= WASTE_GOAL and not found["escalations_not_owed"] else 1


def lacks(kind: Kind) -> str:
    """What this machine lacks to bring a kind of failure about; empty where nothing is."""
    if kind.root and os.geteuid() != 0:
        return "only root can mount a file system"
    return missing(kind.codebase)


def run_all(kinds: list[Kind], seeds: int) -> list[dict[str, Any]]:
    work: dict[str, list[tuple[int, list[str]]]] = {name: [] for name in BESIDE}
    for seed in range(1, seeds + 1):
        for part in parts(kinds):
            work[part[0].codebase] += [(seed, group) for group in dealt(part, seed)]
    with ExitStack() as stack:
        running = []
        for name, mine in work.items():
            pool = stack.enter_context(ThreadPoolExecutor(BESIDE[name]))
            running += [
                pool.submit(kept, ["campaign", seed, names], partial(campaign, seed, names)) for seed, names in mine
            ]
        return [one.result() for one in running]


def beside(kinds: list[Kind], python: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """What the peers did about each kind; `python` has AIDE."""
    with ThreadPoolExecutor(2) as pool:
        calls = {"optuna": partial(with_optuna, kinds), "aide": partial(with_aide, kinds, python)}
        names = [kind.name for kind in kinds]
        found = {peer: pool.submit(kept, [peer, names], call) for peer, call in calls.items()}
        return {peer: one.result() for peer, one in found.items()}


def kept(what: list[Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What an earlier call, which did not get to its end, has on file of this piece; else it is made and filed."""
    lines = PIECES.read_text().splitlines() if PIECES.exists() else []
    for line in lines:
        piece = json.loads(line)
        if piece["what"] == what:
            return dict(piece["found"])
    found = make()
    if found.get("state") != "broken":
        with FILING, PIECES.open("a") as file:
            file.write(json.dumps({"what": what, "found": found}) + "\n")
    return found


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
        OPEN.add(folder)
        command = [sys.executable, str(HERE / "worker.py"), folder, str(seed), *names]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, cwd=ROOT)
        finally:
            end_all(folder)
            OPEN.discard(folder)
    if done.returncode != 0:
        print(done.stderr[-2000:], file=sys.stderr)
        return {"seed": seed, "state": "broken", "pauses": [], "kinds": [], "names": names, "violations": ["broken"]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"seed {seed}: {found['state']}, {len(found['kinds'])} kinds, {len(found['pauses'])} pauses", file=sys.stderr)
    return {"seed": seed, "names": names, **found}


def end_all(folder: str) -> None:
    """End whatever still runs for the campaign of a folder: its jobs outlive the process that started them."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if folder.encode() in (entry / "cmdline").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)


def broken_off(*_: object) -> None:
    for folder in list(OPEN):
        end_all(folder)
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(130)


def summed_up(
    campaigns: list[dict[str, Any]], kinds: list[Kind], peers: dict[str, dict[str, dict[str, Any]]]
) -> dict[str, Any]:
    """`peers` have a row for each kind, by name; what they did not meet is missing there."""
    rows = {kind.name: [row for one in campaigns for row in one["kinds"] if row["kind"] == kind.name] for kind in kinds}
    not_owed = [
        {"seed": one["seed"], "why": why} for one in campaigns for why in one["pauses"] if not owed(why, one, rows)
    ]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {
        "kinds": len(kinds),
        "seeds": len({one["seed"] for one in campaigns}),
        **shares(campaigns, rows),
        "wasted_share_worst": max(
            (one.get("wasted_s", 0.0) / one["approved_s"] for one in campaigns if one.get("approved_s")), default=0.0
        ),
        "escalations_not_owed": len(not_owed),
        "not_owed": not_owed,
        "families": {
            name: {
                "kinds": sum(kind.codebase == name for kind in kinds),
                **shares([one for one in campaigns if BY_NAME[one["names"][0]].codebase == name], rows),
                **{peer: peer_shares(found, name) for peer, found in peers.items()},
            }
            for name in dict.fromkeys(kind.codebase for kind in kinds)
        },
        "by_kind": {
            name: {
                "codebase": BY_NAME[name].codebase,
                "class": sorted({str(row["class"]) for row in found}),
                "runbook": sorted({str(row["runbook"]) for row in found}),
                "wanted": BY_NAME[name].right.value,
                "right_class": sum(row["right_class"] for row in found),
                "right_action": sum(row["right_action"] for row in found),
                "of": len(found),
                "details": [row["detail"] for row in found if row["detail"]],
                **{peer: its.get(name) for peer, its in peers.items()},
            }
            for name, found in rows.items()
        },
        **{peer: peer_shares(found) for peer, found in peers.items()},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip(),
    }


def shares(campaigns: list[dict[str, Any]], rows: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """What was right of what these campaigns met: a campaign that broke has met everything, and done nothing right."""
    wanted = sum(len(one["names"]) for one in campaigns)
    told = [row for one in campaigns for row in one["kinds"]]
    approved = sum(one.get("approved_s", 0.0) for one in campaigns)
    return {
        "campaigns": len(campaigns),
        "finished": sum(one["state"] == "finished" for one in campaigns),
        "violations": sum(len(one["violations"]) for one in campaigns),
        "right_class": sum(row["right_class"] for row in told) / max(1, wanted),
        "right_action": sum(row["right_action"] for row in told) / max(1, wanted),
        "wasted_share": sum(one.get("wasted_s", 0.0) for one in campaigns) / approved if approved else 0.0,
    }


def peer_shares(rows: dict[str, dict[str, Any]], codebase: str | None = None) -> dict[str, Any] | None:
    """A peer's right actions; `no_model_helps` are those on the kinds that no change of the program would mend."""
    mine = {name: row for name, row in rows.items() if codebase in (None, BY_NAME[name].codebase)}
    if not mine:
        return None
    hard = [row for name, row in mine.items() if BY_NAME[name].right in NO_MODEL_HELPS or BY_NAME[name].classes == "S"]
    return {
        "kinds": len(mine),
        "right_action": sum(row["right"] for row in mine.values()) / len(mine),
        "no_model_helps": {"kinds": len(hard), "right": sum(row["right"] for row in hard)},
    }


def owed(why: str, one: dict[str, Any], rows: dict[str, list[dict[str, Any]]]) -> bool:
    """Whether a pause was for one of the campaign's kinds that a person is owed for."""
    mine = [BY_NAME[name] for name in one["names"]]
    return any(row["title"] in why for kind in mine if kind.right in OWED for row in rows[kind.name] if row["title"])


def show(found: dict[str, Any]) -> None:
    heads = f"{'class':>7}{'action':>8}   {'Optuna':<26}AIDE"
    print(f"{'kind':<21}{'class':<7}{'runbook':<24}{'wanted':<18}{heads}")
    for name, row in found["by_kind"].items():
        counts = f"{row['right_class']:>5}/{row['of']}{row['right_action']:>6}/{row['of']}"
        named = f"{'/'.join(row['class']):<7}{'/'.join(row['runbook']):<24}{row['wanted']:<18}"
        print(f"{name:<21}{named}{counts}   {said(row['optuna']):<26}{said(row['aide'])}")
        for detail in row["details"]:
            print(f"    {detail}")
    for name, part in [*found["families"].items(), ("all", found)]:
        both = {"Optuna": part["optuna"], "AIDE": part["aide"]}
        peers = ", ".join(f"{peer} {own['right_action']:.1%}" for peer, own in both.items() if own)
        print(
            f"\n{name}: {part['kinds']} kinds in {part['campaigns']} campaigns, {part['finished']} finished: right "
            f"class {part['right_class']:.1%}, right action {part['right_action']:.1%} ({peers or 'no peers'}); "
            f"{part['wasted_share']:.1%} of the budget went into failures; {part['violations']} violations"
        )
    print(
        f"{found['seeds']} seeds; {found['wasted_share_worst']:.1%} of a campaign's budget at most; "
        f"{found['escalations_not_owed']} escalations were not owed"
    )


def said(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    return f"right: {row['did']}" if row["right"] else str(row["did"])


if __name__ == "__main__":
    raise SystemExit(main())
