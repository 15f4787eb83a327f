"""The same trainers in front of Optuna, the way its documentation has failures handled.

python benchmarks/battery/peer_optuna.py FOLDER CODEBASE    one trial of one kind, in a process of its own
"""

from __future__ import annotations

import json
import os
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

from codebases import CODEBASES, parts  # noqa: E402
from kinds import Kind  # noqa: E402
from trial import Trial, judged, prepared, value  # noqa: E402

from support.desk import end_all  # noqa: E402

HEARTBEAT_S = 1
PATIENCE_S = 180


def with_optuna(kinds: list[Kind]) -> dict[str, dict[str, Any]]:
    """One trial a kind: what Optuna did, and whether that is what kinds.py calls right.

    A worker that died is started once more, as whoever watches over it would; Optuna then finds the stale trial.
    """
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="rea-battery-optuna-", ignore_cleanup_errors=True) as name:
        try:
            for index, part in enumerate(parts(kinds)):
                source = CODEBASES[part[0].codebase].make(Path(name) / str(index), part)
                for number, kind in enumerate(part):
                    trial = prepared(source, Path(name) / kind.name, kind, number)
                    rows[kind.name] = judged(kind, watched(trial))
        finally:
            end_all(Path(name))
    return rows


def watched(trial: Trial) -> list[tuple[str, float | None]]:
    command = [sys.executable, __file__, str(trial.folder), trial.codebase]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, start_new_session=True)
        if done.returncode >= 0:
            break
        time.sleep(3 * HEARTBEAT_S)
    found: list[tuple[str, float | None]] = json.loads(done.stdout.splitlines()[-1])
    return found


def study(trial: Trial) -> None:
    import optuna

    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.RDBStorage(
        f"sqlite:///{trial.folder / 'study.db'}",
        heartbeat_interval=HEARTBEAT_S,
        grace_period=2 * HEARTBEAT_S,
        heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=3),
    )
    found = optuna.create_study(storage=storage, study_name="battery", load_if_exists=True)
    found.optimize(lambda one: trained(trial, one.number + 1), n_trials=1, catch=(Exception,))
    print(json.dumps([[one.state.name, one.value] for one in found.get_trials()]))


def trained(trial: Trial, number: int) -> float:
    run = trial.runs / str(number)
    run.mkdir()
    process = subprocess.Popen(
        trial.command,
        cwd=trial.code,
        env=trial.env(run),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        ended = process.wait(timeout=trial.limit_s)
    except subprocess.TimeoutExpired:
        ended = -signal.SIGKILL
    finally:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if ended:
        raise RuntimeError(f"{trial.command[1]} ended with {ended}")
    return value(run)


if __name__ == "__main__":
    study(Trial(Path(sys.argv[1]), sys.argv[2]))
