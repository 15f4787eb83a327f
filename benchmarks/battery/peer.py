"""The same trainers in front of Optuna, the way its documentation has failures handled.

python benchmarks/battery/peer.py FOLDER NUMBER KIND    one trial of one kind, in a process of its own
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[2] / "tests")]

from kinds import Kind, Right  # noqa: E402
from worker import EPOCH_S, WALLTIME_S, codebase, setting  # noqa: E402

from support.desk import with_settings  # noqa: E402

HEARTBEAT_S = 1


def with_optuna(kinds: list[Kind]) -> dict[str, Any]:
    """One trial a kind: what Optuna did, and whether that is what kinds.py calls right.

    A worker that died is started once more, as whoever watches over it would; Optuna then finds the stale trial.
    """
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="rea-battery-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        code = codebase(folder)
        text = (code / "config.toml").read_text()
        plan = [f"{setting(number)}:{kind.name}" for number, kind in enumerate(kinds)]
        (code / "config.toml").write_text(with_settings(text, {"fault.plan": plan, "fault.seconds": EPOCH_S}))
        for number, kind in enumerate(kinds):
            command = [sys.executable, __file__, str(folder), str(number), kind.name]
            for _ in range(2):
                done = subprocess.run(command, capture_output=True, text=True, timeout=120)
                if done.returncode >= 0:
                    break
                time.sleep(3 * HEARTBEAT_S)
            rows[kind.name] = judged(kind, json.loads(done.stdout.splitlines()[-1]))
    return {"by_kind": rows, "right_action": sum(row["right"] for row in rows.values()) / len(rows)}


def trial(folder: Path, number: int, kind: str) -> None:
    import optuna

    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.RDBStorage(
        f"sqlite:///{folder / 'study.db'}",
        heartbeat_interval=HEARTBEAT_S,
        grace_period=2 * HEARTBEAT_S,
        heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=3),
    )
    study = optuna.create_study(storage=storage, study_name=kind, load_if_exists=True)
    study.optimize(lambda one: trained(folder, number, one.number), n_trials=1, catch=(Exception,))
    print(json.dumps([[found.state.name, found.value] for found in study.get_trials()]))


def trained(folder: Path, number: int, attempt: int) -> float:
    """The value that an objective function would return: what the trainer printed last."""
    code = folder / f"code-{number}-{attempt}"
    shutil.copytree(folder / "tinyranker", code)
    config = with_settings((code / "config.toml").read_text(), {"model.dropout": float(setting(number)[14:])})
    (code / "config.toml").write_text(config)
    run = folder / f"run-{number}" / str(attempt + 1)
    run.mkdir(parents=True)
    env = {"PATH": os.environ["PATH"], "REA_RUN_DIR": str(run), "REA_METRICS": str(run / "metrics.jsonl")}
    command = [sys.executable, "train.py", "--config", "config.toml", "--seed", "1"]
    process = subprocess.Popen(
        command, cwd=code, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        ended = process.wait(timeout=WALLTIME_S)
    except subprocess.TimeoutExpired:
        ended = -signal.SIGKILL
    finally:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if ended:
        raise RuntimeError(f"train.py ended with {ended}")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return float(next(line["ne"] for line in reversed(lines) if line.get("final")))


def judged(kind: Kind, trials: list[tuple[str, float | None]]) -> dict[str, Any]:
    state, value = trials[-1]
    believed, repeated = state == "COMPLETE", len(trials) > 1
    right = {
        Right.GIVE_UP: not believed and not repeated,
        Right.REPEAT_ONCE: not believed and repeated,
        Right.REPEAT: believed and repeated,
        Right.QUARANTINE: False,  # it has nobody to ask
        Right.HOLD: False,
        Right.HOLD_AND_GIVE_UP: False,
    }[kind.right]
    did = f"believed {value:.3f}" if believed and value is not None else "failed, went on"
    return {"right": right, "did": f"{did}{', repeated' if repeated else ''}"}


if __name__ == "__main__":
    trial(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
