"""Seconds per training epoch of the reference codebase, beside FuxiCTR 2.3.10 and beside the limit of its own products.

    .venv/bin/python benchmarks/speed [CASE ...] [--seeds 1] [--wait 10]

Same model, initial values, rows, ids, batch size, optimiser and regularisation on both sides, two threads each. Every
training runs in a process of its own; the processes take turns, one epoch each, so that whatever disturbs the machine
disturbs all. The first epoch of each is not timed. Prints a table and writes benchmarks/results/speed.json.

The first run makes an environment of its own for FuxiCTR, .venv-fuxictr beside the checkout's .venv (about 2 GB). Click
data are looked for in $REA_SHARED_DATA, else in ../shared/data beside the checkout; cases without data are skipped.

Driver and processes talk in lines: the driver writes "epoch" or anything else to finish; a process answers with lines
"@ {json}": once when it is ready, once per epoch, once with its scores on the test split.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "speed.json"
DATA = Path(os.environ.get("REA_SHARED_DATA") or ROOT.parent / "shared" / "data")
PEER = ROOT / ".venv-fuxictr"
# FuxiCTR names no upper bounds, and polars 2 lacks what it calls.
PEER_PACKAGES = (("torch==2.13.0",), ("fuxictr==2.3.10", "polars<2", "keras_preprocessing"))
LOADERS = ("parquet", "npz", "npz0")
PROBE_EPOCHS = 3
THREADS = "2"
QUIET = 0.25  # cores that other processes may take while an epoch is timed
QUIET_EPOCHS = 3  # where every side has as many quiet epochs, the others are left out of the medians

# FuxiCTR always clips gradients, at this norm unless told otherwise; it has two of the schedules, constant and plateau.
ALIKE = {"optim": {"gradient_clip": 10.0}}
PLATEAU = {"optim": {"schedule": "plateau"}, "train": {"epochs": 20, "patience": 2}}
CASES: dict[str, tuple[str, str, dict[str, dict[str, Any]]]] = {
    "frappe-dcnv2": ("frappe", "frappe_dcnv2.yaml", {}),
    "frappe-dcnv2-tuned": ("frappe", "frappe_dcnv2_tuned.yaml", PLATEAU),
    "criteo80k-dlrm": ("criteo80k", "criteo80k_dlrm.yaml", {}),
    "ml1m-deepfm": ("ml1m", "ml1m_deepfm.yaml", {}),
}


class PartyError(Exception):
    """A process of the benchmark ended early; the message holds the end of what it said."""


@dataclass
class Party:
    """One training in its process. epochs: what every epoch answered, `others` (cores) added; limit None = no limit."""

    name: str
    script: str
    task: dict[str, Any]
    most: int | None = None
    epochs: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    stopped: bool = False

    def start(self, errors: Path) -> None:
        python = (PEER if self.script == "peer.py" else Path(sys.prefix)) / "bin" / "python"
        # A waiting thread sleeps instead of spinning: on a machine that others use too, spinning costs both sides most.
        env = os.environ | {"OMP_NUM_THREADS": THREADS, "OMP_WAIT_POLICY": "passive", "RAY_USAGE_STATS_ENABLED": "0"}
        self.errors = errors / f"{self.name.replace(' ', '_')}.log"
        self.process = subprocess.Popen(
            [str(python), str(HERE / self.script), json.dumps(self.task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors.open("w"),
            env=env,
            text=True,
        )
        self.ready = self.answer()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("@ "):
                return json.loads(line[2:])
        raise PartyError(f"{self.name} ended with status {self.process.wait()}:\n{self.errors.read_text()[-3000:]}")

    def say(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def epoch(self) -> None:
        busy, begin = busy_seconds(), time.perf_counter()
        self.say("epoch")
        answer = self.answer()
        others = (busy_seconds() - busy - answer["cpu"]) / (time.perf_counter() - begin)
        self.epochs.append(answer | {"others": max(0.0, others)})
        self.stopped = answer["stopped"] or len(self.epochs) == self.most
        print(
            f"  {self.name}: epoch {len(self.epochs)}, {answer['train']:.2f} s + {answer['valid']:.2f} s, "
            f"log loss {answer['logloss']:.4f}, others {max(0.0, others):.1f} cores",
            file=sys.stderr,
        )

    def finish(self) -> None:
        self.say("finish")
        self.result = self.answer()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def busy_seconds() -> float:
    """CPU seconds that all processors have spent working since the machine started."""
    values = [int(v) for v in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(values) - values[3] - values[4]) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)} (default: all)")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each side (default: 1)")
    parser.add_argument("--wait", type=float, default=0, help="minutes to wait for a quiet machine (default: 0)")
    args = parser.parse_args()
    unknown = set(args.cases) - set(CASES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    present = {}
    for name in args.cases or CASES:
        path = DATA / CASES[name][0]
        if (path / "data.npz").is_file():
            present[name] = CASES[name]
        else:
            print(f"{name}: skipped, {path} is absent (REA_SHARED_DATA names the folder of data sets)", file=sys.stderr)
    if not present:
        return
    make_peer_environment()
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"cases": {}}
    known["how"] = (
        f"{THREADS} threads, OMP_WAIT_POLICY=passive; seconds: medians over quiet epochs after the first, in turn"
        "; FuxiCTR with the fastest of its own data loaders; limit: products and look-ups of the epoch, nothing else"
    )
    for name, (data, config, changes) in present.items():
        try:
            known["cases"][name] = case(name, DATA / data, config, changes, args.seeds, args.wait)
        except PartyError as error:
            print(f"{name}: {error}", file=sys.stderr)
            sys.exit(1)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    show(known["cases"])


def make_peer_environment() -> None:
    done = PEER / ".stamp"
    wanted = json.dumps(PEER_PACKAGES)
    if done.is_file() and done.read_text() == wanted:
        return
    print(f"making {PEER} for FuxiCTR: some minutes", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", str(PEER)], check=True, stdout=sys.stderr)
    for packages in PEER_PACKAGES:
        pip = [str(PEER / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages]
        subprocess.run(pip, check=True, stdout=sys.stderr)
    done.write_text(wanted)


def case(
    name: str, data: Path, config_name: str, changes: dict[str, dict[str, Any]], seeds: int, wait: float
) -> dict[str, Any]:
    import yaml

    config = yaml.safe_load((ROOT / "examples" / "ads_ranker" / "configs" / config_name).read_text(encoding="utf-8"))
    config["data"]["path"] = str(data)
    for part in (ALIKE, changes):
        for section, values in part.items():
            config[section] |= values
    print(f"{name}: load {wait_for_quiet(wait):.2f}", file=sys.stderr)
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory(prefix="rea-speed-") as folder:
        columns = str(Path(folder) / "columns")

        def reference(seed: int) -> Party:
            return Party("reference", "reference.py", {"config": config, "seed": seed, "columns": columns})

        def fuxictr(seed: int, loader: str, form: str = "same", most: int | None = None) -> Party:
            label = f"FuxiCTR {loader}" + (f" {form}" if form != "same" else "")
            task = {"config": config, "seed": seed, "columns": columns, "loader": loader, "form": form}
            return Party(label, "peer.py", task, most)

        first = reference(1)
        first.start(Path(folder))  # writes the columns that the peer reads
        first.finish()
        probes = [fuxictr(1, loader, most=PROBE_EPOCHS) for loader in LOADERS]
        for probe in probes:
            take_turns([probe], Path(folder))
        best = min(probes, key=lambda probe: seconds(probe.epochs)).task["loader"]
        rounds = []
        for seed in range(1, seeds + 1):
            parties = [reference(seed), fuxictr(seed, best), fuxictr(seed, "memory")]
            if config["model"]["interaction"] == "dlrm":
                parties.append(fuxictr(seed, best, "zoo"))
            take_turns(parties, Path(folder))
            rounds.append(parties)
    loads.append(os.getloadavg()[0])
    return summary(config_name, config, rounds, probes, loads)


def wait_for_quiet(minutes: float) -> float:
    """Returns when other processes take less than QUIET cores over ten seconds, or the minutes are over."""
    deadline = time.monotonic() + 60 * minutes
    while True:
        busy, begin = busy_seconds(), time.monotonic()
        time.sleep(10 if minutes else 1)
        load = (busy_seconds() - busy) / (time.monotonic() - begin)
        if load < QUIET or time.monotonic() > deadline:
            return load


def take_turns(parties: list[Party], folder: Path) -> None:
    try:
        for party in parties:
            party.start(folder)
        while going := [party for party in parties if not party.stopped]:
            for party in going:
                party.epoch()
        for party in parties:
            party.finish()
    finally:
        for party in parties:
            if hasattr(party, "process") and party.process.poll() is None:
                party.process.kill()


def seconds(epochs: list[dict[str, Any]], key: str = "train", plus: str | None = None) -> float:
    """Median over the epochs after the first."""
    return statistics.median(epoch[key] + (epoch[plus] if plus else 0) for epoch in epochs[1:])


def summary(
    config_name: str, config: dict[str, Any], rounds: list[list[Party]], probes: list[Party], loads: list[float]
) -> dict[str, Any]:
    sides = {}
    quiet = all(sum(map(undisturbed, later(parties))) >= QUIET_EPOCHS for parties in zip(*rounds, strict=True))
    for parties in zip(*rounds, strict=True):
        timed = [epoch for epoch in later(parties) if undisturbed(epoch) or not quiet]
        sides[parties[0].name] = {
            "train": statistics.median(epoch["train"] for epoch in timed),
            "train_and_valid": statistics.median(epoch["train"] + epoch["valid"] for epoch in timed),
            "cpu": statistics.median(epoch["cpu"] for epoch in timed),
            "timed_epochs": len(timed),
            "others_cores": statistics.median(epoch["others"] for epoch in timed),
            "test_auc": [party.result["auc"] for party in parties],
            "test_logloss": [party.result["logloss"] for party in parties],
            "parameters": parties[0].ready["parameters"],
            "epochs": [
                [{key: round(value, 4) for key, value in epoch.items() if key != "stopped"} for epoch in party.epochs]
                for party in parties
            ],
        }
    own, peer, *_ = sides.values()
    limits = [parties[0].result["limit"] for parties in rounds]
    limit = {key: min(part[key] for part in limits) for key in limits[0]}
    return {
        "config": config_name,
        "settings": {section: config[section] for section in ("features", "model", "optim", "train")},
        "rows": rounds[0][0].ready["rows"],
        "ratio_train": peer["train"] / own["train"],
        "ratio_train_and_valid": peer["train_and_valid"] / own["train_and_valid"],
        "ratio_cpu": peer["cpu"] / own["cpu"],
        "auc_difference": statistics.mean(own["test_auc"]) - statistics.mean(peer["test_auc"]),
        "limit": limit,
        # Two threads that did not have two cores say nothing about seconds.
        "share_of_limit": limit["total"] / own["train"] if limit["cpu_total"] > 1.5 * limit["total"] else None,
        "share_of_limit_cpu": limit["cpu_total"]
        / statistics.median(epoch["cpu_train"] for parties in rounds for epoch in parties[0].epochs[1:]),
        "quiet": quiet,
        "sides": sides,
        "fuxictr_loaders": {probe.task["loader"]: seconds(probe.epochs) for probe in probes},
        "load_average": loads,
        "machine": machine(),
    }


def later(parties: Iterable[Party]) -> list[dict[str, Any]]:
    """The epochs after the first of each."""
    return [epoch for party in parties for epoch in party.epochs[1:]]


def undisturbed(epoch: dict[str, Any]) -> bool:
    return epoch["others"] < QUIET


def machine() -> dict[str, Any]:
    def said(*command: str) -> str:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0].split(":", 1)[1].strip() if models else platform.processor(),
        "cores": os.cpu_count(),
        "torch": said(sys.executable, "-c", "import torch; print(torch.__version__)"),
        "fuxictr": PEER_PACKAGES[1][0].split("==")[1],
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": said("git", "rev-parse", "--short", "HEAD"),
        "changed_since_commit": bool(said("git", "status", "--porcelain", "--", "examples/ads_ranker")),
    }


def show(cases: dict[str, Any]) -> None:
    head = ("case", "side", "train s", "+ valid s", "CPU s", "train ×", "+ valid ×", "test AUC")
    rows = [head]
    for name, found in cases.items():
        own = next(iter(found["sides"].values()))
        for side, values in found["sides"].items():
            rows.append(
                (
                    name,
                    side,
                    f"{values['train']:.2f}",
                    f"{values['train_and_valid']:.2f}",
                    f"{values['cpu']:.2f}",
                    f"{values['train'] / own['train']:.2f}",
                    f"{values['train_and_valid'] / own['train_and_valid']:.2f}",
                    f"{statistics.mean(values['test_auc']):.4f}",
                )
            )
        limit = found["limit"]
        rows.append((name, "limit", f"{limit['total']:.2f}", "", f"{limit['cpu_total']:.2f}", "", "", ""))
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    for row in rows:
        left = [row[i].ljust(widths[i]) for i in (0, 1)]
        print("  ".join([*left, *(row[i].rjust(widths[i]) for i in range(2, len(head)))]))
    for name, found in cases.items():
        share = found["share_of_limit"]
        wall = "no two cores were free to time it" if share is None else f"{share:.2f} in seconds"
        print(
            f"{name}: share of the limit reached: {wall}, {found['share_of_limit_cpu']:.2f} in CPU seconds of training"
        )
        if not found["quiet"]:
            print(f"{name}: other processes were busy all the while; the CPU seconds are the steadier figure")


if __name__ == "__main__":
    main()
