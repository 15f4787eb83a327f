"""One training as the peers start it: the codebase with one treatment, and what its trainer said at its end."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from codebases import CODEBASES, setting
from kinds import Kind, Right


@dataclass(frozen=True)
class Trial:
    """Everything of one kind lies in `folder`: the code, and a run directory for each time that it is started."""

    folder: Path
    codebase: str

    @property
    def code(self) -> Path:
        return self.folder / "code"

    @property
    def runs(self) -> Path:
        return self.folder / "run"

    @property
    def limit_s(self) -> int:
        return CODEBASES[self.codebase].walltime_s

    @property
    def command(self) -> list[str]:
        found = CODEBASES[self.codebase]
        return [sys.executable, found.script, "--config", found.config, "--seed", "1"]

    def env(self, run: Path) -> dict[str, str]:
        paths = {"REA_RUN_DIR": str(run), "REA_METRICS": str(run / "metrics.jsonl")}
        return {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", **paths}


def prepared(source: Path, folder: Path, kind: Kind, number: int) -> Trial:
    """The kind's trial, from a codebase that was made for it and its like."""
    found = Trial(folder, kind.codebase)
    shutil.copytree(source, found.code)
    CODEBASES[kind.codebase].with_treatment(found.code, setting(kind, number))
    found.runs.mkdir()
    return found


def value(run: Path) -> float:
    """What an objective function would return: the metric that the trainer printed last. Raises StopIteration where
    there is none."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return float(next(line["ne"] for line in reversed(lines) if line.get("final")))


def judged(kind: Kind, trials: list[tuple[str, float | None]]) -> dict[str, object]:
    """What was done about it, by (state, value) of each time that it was started, and whether that is right."""
    if not trials:
        return {"right": False, "did": "died, and knew of no trial"}
    state, found = trials[-1]
    believed, repeated = state == "COMPLETE", len(trials) > 1
    right = {
        Right.GIVE_UP: not believed and not repeated,
        Right.REPEAT_ONCE: not believed and repeated,
        Right.REPEAT: believed and repeated,
        Right.QUARANTINE: False,  # there is nobody to ask
        Right.ASK: False,
        Right.HOLD: False,
        Right.HOLD_AND_GIVE_UP: False,
    }[kind.right]
    did = f"believed {found:.3f}" if believed and found is not None else "failed, went on"
    return {"right": right, "did": f"{did}{', repeated' if repeated else ''}"}
