"""The same trainers in front of Optuna, the way its documentation has failures handled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from kinds import Kind, Right
from worker import EPOCH_S, WALLTIME_S, codebase, setting

from support.desk import with_settings

BASELINE_NE, NOISE = 0.873, 0.01  # of the tiny codebase, roughly; only what is far off counts against a value


def with_optuna(kinds: list[Kind]) -> dict[str, Any]:
    """One trial a kind: what Optuna did, and whether that is what kinds.py calls right."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="rea-battery-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        code = codebase(folder)
        text = (code / "config.toml").read_text()
        plan = [f"{setting(number)}:{kind.name}" for number, kind in enumerate(kinds)]
        text = with_settings(text, {"fault.plan": plan, "fault.seconds": EPOCH_S})
        callback = optuna.storages.RetryFailedTrialCallback(max_retry=3)
        storage = optuna.storages.RDBStorage(
            f"sqlite:///{folder / 'study.db'}", heartbeat_interval=1, grace_period=2, failed_trial_callback=callback
        )
        for number, kind in enumerate(kinds):
            (code / "config.toml").write_text(with_settings(text, {"model.dropout": float(setting(number)[14:])}))
            study = optuna.create_study(storage=storage, direction="minimize", study_name=kind.name)
            study.optimize(
                lambda trial, n=number: trained(folder, code, n, trial.number), n_trials=1, catch=(Exception,)
            )
            study.optimize(
                lambda trial, n=number: trained(folder, code, n, trial.number), timeout=0.0, catch=(Exception,)
            )
            trials = study.get_trials()
            rows[kind.name] = judged(kind, [trial.state.name for trial in trials], [trial.value for trial in trials])
    return {"by_kind": rows, "right_action": sum(row["right"] for row in rows.values()) / len(rows)}


def trained(folder: Path, code: Path, number: int, attempt: int) -> float:
    """The value that an objective function would return: what the trainer printed last."""
    run = folder / f"run-{number}" / str(attempt + 1)
    run.mkdir(parents=True)
    env = {"PATH": os.environ["PATH"], "REA_RUN_DIR": str(run), "REA_METRICS": str(run / "metrics.jsonl")}
    command = [sys.executable, "train.py", "--config", "config.toml", "--seed", "1"]
    process = subprocess.Popen(
        command, cwd=code, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        code_ = process.wait(timeout=WALLTIME_S)
    except subprocess.TimeoutExpired:
        code_ = -signal.SIGKILL
    finally:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if code_:
        raise RuntimeError(f"train.py ended with {code_}")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return float(next(line["ne"] for line in reversed(lines) if line.get("final")))


def judged(kind: Kind, states: list[str], values: list[float | None]) -> dict[str, Any]:
    believed = states[-1] == "COMPLETE"
    repeated = len(states) > 1
    right = {
        Right.GIVE_UP: not believed and not repeated,
        Right.REPEAT_ONCE: not believed and repeated,
        Right.REPEAT: believed and repeated,
        Right.QUARANTINE: False,  # it has nobody to ask
        Right.HOLD: False,
        Right.HOLD_AND_GIVE_UP: False,
    }[kind.right]
    did = f"believed {values[-1]:.3f}" if believed else "failed, went on"
    return {"right": right, "did": f"{did}{', repeated' if repeated else ''}"}
