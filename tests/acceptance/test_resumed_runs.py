"""A run whose trainer was killed goes on from its checkpoint, and ends as one that nobody touched."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from rea.domain.states import AttemptState, CampaignState, RunState
from support.desk import PATIENCE_S, within_limit

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[2]
EPOCHS = 8
CHANGES = {
    "epochs: 5": f"epochs: {EPOCHS}",
    "patience: 3": f"patience: {EPOCHS}",
    "checkpoint_s: 10.0": "checkpoint_s: 0.1",
}
SHARE = 0.3  # of the training, which is done when it is killed


def trainer_of(run_dir: Path) -> int | None:
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and f"REA_RUN_DIR={run_dir}\0".encode() in (entry / "environ").read_bytes():
                words = (entry / "cmdline").read_bytes()
                if b"train.py" in words and b"rea.job" not in words:
                    return int(entry.name)
    return None


def kill_once(runs: Path, step: int, killed: list[Path]) -> None:
    """Kills the trainer of the first run that has a checkpoint of this step or a later one."""
    deadline = time.monotonic() + PATIENCE_S
    while not killed and time.monotonic() < deadline:
        for path in runs.glob("*/C-1/R-*/1/checkpoint-*.pt"):
            trainer = trainer_of(path.parent)
            if int(path.stem.rpartition("-")[2]) >= step and trainer is not None:
                os.kill(trainer, signal.SIGKILL)
                killed.append(path.parent)
                return
        time.sleep(0.01)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def untimed(records: list[dict]) -> list[dict]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records if "resumed" not in record]


def test_a_killed_trainer_goes_on_and_ends_as_an_untouched_one(desks):
    desk = desks(code=ROOT / "examples" / "ads_ranker")
    path = desk.root / "configs" / "generated_dcnv2.yaml"
    text = path.read_text()
    for old, new in CHANGES.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    book = (ROOT / "src" / "rea" / "knowledge" / "runbooks" / "killed.md").read_text()
    assert "backoff_s: [60, 300, 900]" in book
    own = desk.root / ".rea" / "knowledge" / "runbooks" / "killed.md"
    own.parent.mkdir(parents=True)
    own.write_text(book.replace("backoff_s: [60, 300, 900]", "backoff_s: [0.1]"))
    desk.commit("A longer training, and a machine that is back at once")
    steps = EPOCHS * -(-56_000 // 1024)

    workspace, killed = desk.workspace(), []
    killer = threading.Thread(target=kill_once, args=(desk.runs, round(SHARE * steps), killed), daemon=True)
    killer.start()
    campaign = desk.plan(workspace, budget="60r", profile_runs=2)
    killer.join(PATIENCE_S)
    assert killed, "it came to its end before it was killed"
    assert campaign.state is CampaignState.DRAFTED, campaign.reason

    first = next(x for x in workspace.store.attempts(1) if Path(x.run_dir) == killed[0])
    run = workspace.store.run(first.run)
    (second,) = (x for x in workspace.store.attempts(1) if x.run == run.id and x.number == 2)
    assert first.state is second.state is AttemptState.ENDED and run.state is RunState.SUCCEEDED
    assert (first.failure.runbook, first.failure.remedy) == ("killed", "resume")
    folder = Path(second.run_dir)
    asked = json.loads((folder / "job.json").read_text())["steps"][0]["env"]["REA_RESUME"]
    assert Path(asked).parent == killed[0]

    # What nobody touched, with the same seed.
    alone = desk.home / "alone"
    command = [sys.executable, "train.py", "--config", str(path), "--seed", str(run.draft.seed)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
    subprocess.run(command, cwd=desk.root, env={**desk.env, **threads, "REA_RUN_DIR": str(alone)}, check=True)
    assert untimed(lines(folder)) == untimed(lines(alone))
    for split in ("valid", "test"):
        name = f"predictions_{split}.npy"
        assert (folder / name).read_bytes() == (alone / name).read_bytes()
    assert [reading.x for reading in run.result.curve] == list(range(1, EPOCHS + 1)), "no epoch is read twice"
    judged = json.loads((folder / "step-evaluate.jsonl").read_text())
    assert run.result.metrics["ne"] == judged["ne"] == pytest.approx(lines(alone)[-1]["ne"], rel=1e-6)

    # It did not begin anew, and what it took as a whole is what plans are made of.
    (resumed,) = [line for line in lines(folder) if "resumed" in line]
    assert resumed["resumed"] == asked and resumed["step"] >= SHARE * steps and resumed["epoch"] > SHARE * EPOCHS
    said = (folder / "train.log").read_text().partition("resumed=")[2].splitlines()[1:]
    trained = [int(line.split("epoch=")[1].split()[0]) for line in said if line.startswith("step=")]
    assert trained == list(range(resumed["epoch"], EPOCHS + 1))
    own_s = json.loads((folder / "exit.json").read_text())["wall_s"]
    before_s = Path(asked).stat().st_mtime - first.started_at
    assert run.result.wall_s == pytest.approx(own_s + before_s, abs=0.01) and before_s > 0.5
    assert second.device_s == pytest.approx(own_s, abs=0.5), "each attempt is booked by its own time"
    within_limit(workspace, campaign.id)
