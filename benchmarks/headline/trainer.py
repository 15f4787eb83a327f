"""The trainer: a frozen copy of the reference codebase, and one training of it with its CPU-seconds."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.headline.configs import Scalar, base, flat, read_yaml, whole

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "ads_ranker"
TIMED = Path(__file__).with_name("timed.py")
LEFT_OUT = shutil.ignore_patterns("data", "runs", "__pycache__", ".rea")
POLL_S = 0.2
STDERR_TAIL = 300  # characters of a failed run's last words that are kept

Stop = Callable[[int, float], bool]
"""Told the epoch and its validation NE while a run trains; True ends the run."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one training left.

    ne, auc: of the validation split at the best epoch; None where the run failed or was ended early. curve: its NE
    after each epoch. cpu_s: user and system seconds of its processes. failure: why it has no result. pruned: the epoch
    after which it was ended.
    """

    ne: float | None
    auc: float | None
    curve: tuple[float, ...]
    cpu_s: float
    wall_s: float
    failure: str | None
    pruned: int | None

    def as_record(self) -> dict[str, Any]:
        return {
            "ne": self.ne,
            "auc": self.auc,
            "curve": list(self.curve),
            "cpu_s": round(self.cpu_s, 3),
            "wall_s": round(self.wall_s, 3),
            "failure": self.failure,
            "pruned": self.pruned,
        }


@dataclass(frozen=True, slots=True)
class Trainer:
    """folder: the frozen copy, a git repository. digest: of its Python files. neutral: every setting it has."""

    folder: Path
    digest: str
    neutral: Mapping[str, Scalar]

    def train(self, config: Mapping[str, Scalar], data: Path, seed: int, *, stop: Stop | None = None) -> Outcome:
        """One training in a process of its own, single-threaded. `config` holds what differs from `neutral`."""
        with tempfile.TemporaryDirectory(prefix="rea-headline-") as scratch:
            return self._run("train.py", config, data, seed, Path(scratch), stop)

    def train_timed(
        self, config: Mapping[str, Scalar], data: Path, seed: int, keep: Path
    ) -> tuple[Outcome, float | None]:
        """As train(), leaving the predictions in `keep`; also the CPU-seconds that predicting the test split takes."""
        outcome = self._run(str(TIMED), config, data, seed, keep, None)
        timing = keep / "predict_cpu_s"
        return outcome, float(timing.read_text()) if timing.is_file() else None

    def _run(
        self, script: str, config: Mapping[str, Scalar], data: Path, seed: int, keep: Path, stop: Stop | None
    ) -> Outcome:
        path, metrics = keep / "config.yaml", keep / "metrics.jsonl"
        path.write_text(json.dumps(whole(config, self.neutral, data)), encoding="utf-8")  # JSON is YAML
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "REA_RUN_DIR": str(keep),
            "REA_METRICS": str(metrics),
            "PYTHONPATH": str(self.folder),
        }
        command = [sys.executable, script, "--config", str(path), "--seed", str(seed)]
        began = time.monotonic()
        with (keep / "stderr").open("w") as errors:
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=subprocess.DEVNULL, stderr=errors
            )
            pruned = None
            while True:
                pid, status, usage = os.wait4(process.pid, os.WNOHANG if stop else 0)
                if pid:
                    break
                assert stop is not None
                if pruned is None:
                    pruned = _stopped_at(readings(metrics), stop)
                    if pruned is not None:
                        process.kill()
                time.sleep(POLL_S)
            process.returncode = os.waitstatus_to_exitcode(status)
        wall_s, cpu_s = time.monotonic() - began, usage.ru_utime + usage.ru_stime
        curve, final = _parsed(metrics)
        if final is not None and process.returncode == 0:
            return Outcome(final["ne"], final["auc"], curve, cpu_s, wall_s, None, None)
        if pruned is not None:
            return Outcome(None, None, curve[:pruned], cpu_s, wall_s, None, pruned)
        last = (keep / "stderr").read_text(errors="replace").strip()[-STDERR_TAIL:]
        return Outcome(None, None, curve, cpu_s, wall_s, f"exit {process.returncode}: {last}", None)


def _stopped_at(curve: tuple[float, ...], stop: Stop) -> int | None:
    """The first epoch at which `stop` says so. It is told every epoch each time; to tell it twice must be harmless."""
    return next((epoch for epoch, ne in enumerate(curve, 1) if stop(epoch, ne)), None)


def readings(metrics: Path) -> tuple[float, ...]:
    """Validation NE after each epoch so far; empty before the first."""
    return _parsed(metrics)[0]


def _parsed(metrics: Path) -> tuple[tuple[float, ...], dict[str, Any] | None]:
    """The curve, up to the first value that is no number, and the final line of a metrics file."""
    if not metrics.is_file():
        return (), None
    curve: list[float] = []
    final = None
    for line in metrics.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # the line that is being written
            continue
        if record.get("final"):
            final = record
        elif "epoch" in record and math.isfinite(record.get("ne", math.nan)):
            curve.append(record["ne"])
    return tuple(curve), final


def freeze(work: Path, *, refresh: bool = False) -> Trainer:
    """The trainer under `work`: copied from the checkout the first time, and again when `refresh` is asked for.

    The copy is a git repository, one commit for each state it had. Raises ValueError where base.yaml names a setting
    that the copy does not have.
    """
    folder = work / "trainer"
    if refresh or not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(EXAMPLE, folder, ignore=LEFT_OUT, dirs_exist_ok=True)
        commit_all(folder, "The trainer of the benchmark")
    return Trainer(folder, digest(folder), neutral_of(folder))


def neutral_of(folder: Path) -> dict[str, Scalar]:
    """Every setting of the trainer in `folder`: as base.yaml has it, else as the trainer's own default config does.

    Raises ValueError where base.yaml names a setting that the trainer does not have.
    """
    own = flat(read_yaml(folder / "configs" / "generated_dcnv2.yaml"))
    gone = set(base()) - set(own)
    if gone:
        raise ValueError(f"{folder} has no {', '.join(sorted(gone))}, which base.yaml names; keep those settings")
    return {**own, **base()}


def commit_all(folder: Path, message: str) -> None:
    """Everything in `folder` as a commit; the repository is made where there is none. Nothing to commit is fine."""
    who = ["-c", "user.email=engineer@bench", "-c", "user.name=Engineer"]
    if not (folder / ".git").exists():
        subprocess.run(["git", "init", "-q", "-b", "main"], cwd=folder, check=True)
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    if subprocess.run(["git", "diff", "--cached", "--quiet"], cwd=folder, check=False).returncode:
        subprocess.run(["git", *who, "commit", "-q", "-m", message], cwd=folder, check=True)


def digest(folder: Path) -> str:
    """Twelve hexadecimal digits over the names and contents of the folder's Python files."""
    total = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        total.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()[:12]
