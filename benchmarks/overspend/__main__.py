"""Whether a campaign can ever spend more than was approved: many of them, in weather made for it.

    .venv/bin/python -m benchmarks.overspend [--seeds 10000] [--jobs 2]

Every seed is a whole simulated campaign (rea.simulation.storm) in which jobs overrun their limits up to twentyfold,
stand still, are started twice or are forgotten, their ends are seen late or twice, and every tenth wake or so dies or
is stopped in the middle. After every commit spent + reserved has to lie within what is approved (rea.executor.
invariants); at the end every entry of the ledger is added up once more, one after the other. Beside it the seconds
of devices that the simulated machines really gave: what a launcher lets a job use beyond its limit, no ledger can take
back.
Prints a table and writes benchmarks/results/overspend.json. Exit code 1 where anything lay above.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from multiprocessing import Pool
from typing import Any

from benchmarks.simulation.__main__ import ROOT, _machine
from benchmarks.simulation.storms import known, world

from rea.domain.ledger import balance
from rea.domain.states import CampaignState
from rea.simulation.storm import DAY, BrokenError, Faults, Storm
from rea.simulation.world import EPOCH, ONLY

RESULTS = ROOT / "benchmarks" / "results" / "overspend.json"
WEATHER = Faults(
    killed=0.02,
    stopped=0.01,
    lost_answer=0.05,
    lost_call=0.3,
    twice=0.3,
    forgotten=0.03,
    restarted=0.1,
    overrun=0.2,
    frozen=0.03,
    taken=0.03,
)
SLACK_S = 1e-6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=2)
    chosen = parser.parse_args()
    known()
    rows: list[dict[str, Any]] = []
    with Pool(chosen.jobs) as pool:
        for row in pool.imap_unordered(spent, range(chosen.seeds), chunksize=8):
            rows.append(row)
            if row["above"]:
                print(row, file=sys.stderr)
            if len(rows) % 1000 == 0:
                print(f"{len(rows)} of {chosen.seeds}", file=sys.stderr)
    happened: Counter[str] = Counter()
    for row in rows:
        happened.update(row["happened"])
    found = {
        "campaigns": len(rows),
        "above": sum(bool(row["above"]) for row in rows),
        "entries": sum(row["entries"] for row in rows),
        "attempts": sum(row["attempts"] for row in rows),
        "spent_share": sum(row["spent"] for row in rows) / sum(row["approved"] for row in rows),
        "nearest_share": max(row["nearest"] for row in rows),
        "really_used_share": sum(row["used"] for row in rows) / sum(row["approved"] for row in rows),
        "days": sum(row["days"] for row in rows) / len(rows),
        "states": dict(Counter(row["state"] for row in rows)),
        "happened": dict(sorted(happened.items())),
        **_machine(),
    }
    RESULTS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    print(f"{found['campaigns']:,} campaigns, {found['entries']:,} entries of ledgers: {found['above']} above approved")
    print(f"spent {found['spent_share']:.1%} of what was approved, at most {found['nearest_share']:.2%} held at once")
    print(f"really used by machines that let jobs overrun: {found['really_used_share']:.1%}")
    print("what happened: " + ", ".join(f"{name} {count:,}" for name, count in found["happened"].items()))
    if found["above"]:
        raise SystemExit(1)


def spent(seed: int) -> dict[str, Any]:
    made = world("few", seed).begin()
    # Jobs of four days that overrun twentyfold make long campaigns.
    storm = Storm(made, seed, WEATHER, most_days=7300.0)
    above = ""
    try:
        storm.weeks()
        if made.campaign.state is CampaignState.DRAFTED:
            made.sign().start()
            storm.weeks()
    except BrokenError as error:
        above = str(error)
    entries = made.store.page(ONLY).entries
    nearest, last = 0.0, balance([])
    for end in range(1, len(entries) + 1):
        last = balance(entries[:end])
        if last.spent + last.reserved > last.approved + SLACK_S:
            above = above or f"seed {seed}: entry {end}: {last}"
        if last.approved:
            nearest = max(nearest, (last.spent + last.reserved) / last.approved)
    used = sum(min(job.ends_at, made.now) - job.started_at for job in made.launcher.jobs.values())
    return {
        "above": above,
        "entries": len(entries),
        "attempts": len(made.attempts),
        "spent": last.spent,
        "approved": last.approved,
        "nearest": nearest,
        "used": used * made.campaign.codebase.resources.devices,
        "days": (made.now - EPOCH) / DAY,
        "state": made.campaign.state.value,
        "happened": dict(storm.happened),
    }


if __name__ == "__main__":
    main()
