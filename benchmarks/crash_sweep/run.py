"""Nothing is lost and nothing is done twice, wherever a process is killed.

    .venv/bin/python benchmarks/crash_sweep/run.py [--every 3] [--points A-B] [--kinds call,inside,torn,wrapper]
                                                   [--jobs 1] [--minutes M] [--whole] [--anew]

One whole campaign on this machine (real processes, git, keys, SQLite, the local launcher) is run without a crash, then
again for every point, the process that gets there being killed with SIGKILL. Every end has to be the first one's, the
invariants have to hold after every step, no run directory may be trained in twice and no process may be left over.

A campaign with a crash begins where the one without stood before the step that dies, from a copy of all its files: with
one slot no process of it runs between two steps. With --whole each begins anew from the plan command.

Prints a table and writes benchmarks/results/crash_sweep.json. Each point is appended to crash_sweep.jsonl beside it as
soon as it is done: call the command again and it goes on from there; --anew begins again.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import multiprocessing
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from benchmarks.crash_sweep.driver import (  # noqa: E402
    CALL,
    INSIDE,
    TORN,
    WRAPPER,
    Campaign,
    Crash,
    Kept,
    Seen,
    hurry,
)

from support.desk import end_all  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "crash_sweep.json"
KINDS = (CALL, INSIDE, TORN, WRAPPER)
SPARSER = {CALL: 1, INSIDE: 3, TORN: 3, WRAPPER: 1}  # where not all are asked for: neighbours of these differ little
JOBS = ("R-3/1", "R-11/1")  # whose wrappers are killed: a training's, and the reveal's
OF_A_LOST_JOB = ("attempts", "reveals", "opened")  # what may differ where a job itself was killed: it is repeated


class Base:
    """The campaign without a crash, in this process' own folder: its end, and a copy of it before each step."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.kept = folder, list[Kept]()
        hurry()
        first = Campaign(folder / "home", fork=False).begin().run()
        self.seen = Campaign(folder / "home").begin().run(self._keep)
        if first.wrong or self.seen.wrong:
            raise SystemExit(f"without a crash: {first.wrong or self.seen.wrong}")
        if first.end != self.seen.end:
            raise SystemExit(f"two campaigns without a crash differ: {differences(first.end, self.seen.end)}")

    def _keep(self, campaign: Campaign) -> None:
        self.kept.append(campaign.keep(self.folder / f"step-{len(self.kept)}"))

    def before(self, crash: Crash) -> Kept:
        """Where to begin: before the step in which the crash is to come."""
        if crash.kind == WRAPPER:
            begun = [next(kept.folder.glob(f"runs/*/C-1/{crash.job}/job.json"), None) for kept in self.kept]
            return next((self.kept[at - 1] for at, path in enumerate(begun) if path is not None), self.kept[-1])
        place = (CALL, INSIDE, TORN).index(crash.kind)
        return [kept for kept in self.kept if kept.counts[place] < crash.n][-1]

    def again(self, crash: Crash, whole: bool) -> Seen:
        campaign = Campaign(self.folder / "home", crash)
        return (campaign.begin() if whole else campaign.restore(self.before(crash))).run()


_base: Base | None = None


def prepare(folder: Path) -> None:
    global _base
    _base = Base(Path(tempfile.mkdtemp(dir=folder, prefix="worker-")))


def strike(crash: Crash, whole: bool) -> dict[str, Any]:
    """One campaign with a crash; what it has in common with the one without is not told."""
    assert _base is not None
    began = time.monotonic()
    seen = _base.again(crash, whole)
    allowed = OF_A_LOST_JOB if crash.kind == WRAPPER else ()
    wrong = seen.wrong + differences(_base.seen.end, seen.end, allowed)
    return {
        "point": crash.name,
        "kind": crash.kind,
        "died": seen.died,
        "wrong": wrong,
        "seconds": round(time.monotonic() - began, 2),
        "heard": seen.heard,
    }


def differences(one: dict[str, Any], other: dict[str, Any], allowed: tuple[str, ...] = ()) -> list[str]:
    """What is not the same at two ends, in words."""
    keys = [key for key in (one.keys() | other.keys()) if key not in allowed and one.get(key) != other.get(key)]
    return [f"{key} is {str(other.get(key))[:600]}, and was {str(one.get(key))[:600]}" for key in sorted(keys)]


def chosen(points: dict[str, int], options: argparse.Namespace) -> list[Crash]:
    first, last = options.points
    found = []
    for kind in (kind for kind in options.kinds if kind != WRAPPER):
        every = options.every * SPARSER[kind] if options.every > 1 else 1
        found += [Crash(kind, n) for n in range(first, min(points[kind], last) + 1, every)]
    for job in JOBS if WRAPPER in options.kinds else ():
        found += [
            Crash(WRAPPER, n, job) for n in range(first, min(points[f"{WRAPPER} {job}"], last) + 1, options.every)
        ]
    return found


def listened(job: str) -> int:
    """How many points the wrapper of a job has, when nobody kills it."""
    assert _base is not None
    return _base.again(Crash(WRAPPER, 0, job), whole=False).heard


@contextlib.contextmanager
def workplace(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    folder = Path(tempfile.mkdtemp(prefix="rea-crash-sweep-")).resolve()
    try:
        yield folder
    finally:
        end_all(folder)
        shutil.rmtree(folder, ignore_errors=True)


def sweep(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every chosen point that the journal does not have yet; then what all of them together say."""
    known = {row["point"]: row for row in rows(options.journal)}
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(options.jobs, context, prepare, (folder,)) as pool:
        points, end = pool.submit(told).result()
        points |= {f"{WRAPPER} {job}": pool.submit(listened, job).result() for job in JOBS if WRAPPER in options.kinds}
        todo = [crash for crash in chosen(points, options) if crash.name not in known]
        random.Random(1).shuffle(todo)  # however early it is stopped, what is done is spread over the campaign
        print(f"{len(todo)} campaigns to go; points: {points}", file=sys.stderr)
        running = [pool.submit(strike, crash, options.whole) for crash in todo]
        began = time.monotonic()
        for number, done in enumerate(as_completed(running), 1):
            if done.cancelled():
                continue
            row = done.result()
            known[row["point"]] = row
            with options.journal.open("a") as file:
                file.write(json.dumps(row, sort_keys=True) + "\n")
            if row["wrong"] or number % 20 == 0:
                print(f"{number} of {len(todo)}: {row['point']} ({row['died']}): {row['wrong'] or 'as without'}")
            if time.monotonic() - began > 60.0 * options.minutes:
                for waiting in running:
                    waiting.cancel()
    return {"available": points, "end": end, "rows": list(known.values())}


def told() -> tuple[dict[str, int], dict[str, Any]]:
    assert _base is not None
    end = _base.seen.end
    short = {key: end[key] for key in ("state", "verdict", "phases", "opened")} | {"runs": len(end["runs"])}
    return dict(_base.seen.counts), short


def rows(journal: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """The figures of all points at which somebody did die."""
    struck = [row for row in found["rows"] if row["died"]]
    wrong = [row for row in found["rows"] if row["wrong"]]
    kinds: dict[str, Counter[str]] = {}
    for row in struck:
        words = row["died"] if row["kind"] != TORN else row["died"].partition(" beyond")[0]
        kinds.setdefault(row["kind"], Counter())[re.sub(r"\b[0-9a-f]{6}\b", "STORE", words)] += 1
    return {
        "points": len(struck),
        "violations": len(wrong),
        "wrong": [f"{row['point']} ({row['died']}): {'; '.join(row['wrong'])}"[:2000] for row in wrong],
        "campaigns": len(found["rows"]),
        "not_reached": len(found["rows"]) - len(struck),
        "seconds": round(sum(row["seconds"] for row in found["rows"])),
        "points_by_kind": {kind: sum(words.values()) for kind, words in sorted(kinds.items())},
        "kinds": {kind: dict(sorted(words.items())) for kind, words in sorted(kinds.items())},
        "available": found["available"],
        "campaign": found["end"],
        "machine": {
            "cpu": cpu(),
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
            "python": platform.python_version(),
        },
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit(),
    }


def show(figures: dict[str, Any]) -> None:
    print(f"{'kind':<10}{'points':>8}{'of':>8}  where")
    for kind, words in figures["kinds"].items():
        total = sum(count for name, count in figures["available"].items() if name.split()[0] == kind)
        most = sorted(words, key=lambda name: -words[name])
        where = ", ".join(f"{name} {words[name]}" for name in most[:12])
        print(f"{kind:<10}{sum(words.values()):>8}{total:>8}  {where}{' …' if len(most) > 12 else ''}")
    print(f"{figures['points']} points, {figures['violations']} violations, {figures['seconds']} s of campaigns")
    for line in figures["wrong"]:
        print(line)


def cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def span(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def parsed(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=3, help="one of so many points (default: 3)")
    parser.add_argument("--points", type=span, default=(1, 10**9), metavar="A-B", help="of each kind, these alone")
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=list(KINDS), help=", ".join(KINDS))
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=1, help="campaigns at a time (default: 1)")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no other campaign after so many")
    parser.add_argument("--whole", action="store_true", help="begin each campaign with its plan command")
    parser.add_argument("--anew", action="store_true", help="forget the points that are done")
    parser.add_argument("--work", type=Path, help="folder for the campaigns (default: a temporary one)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file (default: in benchmarks/results)")
    options = parser.parse_args(words)
    options.journal = options.results.with_suffix(".jsonl")
    if set(options.kinds) - set(KINDS) or options.every < 1:
        parser.error(f"--kinds are of {', '.join(KINDS)}, --every is 1 or more")
    return options


def main() -> int:
    options = parsed()
    if options.anew:
        options.journal.unlink(missing_ok=True)
    with workplace(options.work) as folder:
        figures = summary(sweep(options, folder))
    options.results.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
    show(figures)
    return 1 if figures["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
