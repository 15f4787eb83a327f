"""The same trainers in front of AIDE's command line, with a stub of the OpenAI API as its model.

The model's program starts the trainer with its fault and prints the metric; asked to debug it, the model gives the same
program again, because a treatment is what it is. Its review calls what printed a finite metric sound. So nothing here
is judged but what AIDE itself does about a program that failed, or only seems to have worked.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "footprint")]

from codebases import CODEBASES, parts  # noqa: E402
from kinds import Kind, Right  # noqa: E402
from peers import Stub  # noqa: E402
from trial import Trial, judged, prepared  # noqa: E402

from support.desk import end_all  # noqa: E402

BESIDE = 2
PATIENCE_S = 240
STEPS = 2  # a draft, and what AIDE makes of its end
IMPROVING = "previously developed solution"  # of AIDE's prompt
NO_MODEL_HELPS = tuple(right for right in Right if right is not Right.GIVE_UP)
PROGRAM = """
import json, os, subprocess
from pathlib import Path

runs = Path({runs!r})
run = runs / str(1 + len(list(runs.iterdir())))
run.mkdir()
paths = {{"REA_RUN_DIR": str(run), "REA_METRICS": str(run / "metrics.jsonl")}}
with (runs.parent / "errors.txt").open("w") as errors:
    done = subprocess.run(
        {command!r}, cwd={code!r}, env={env!r} | paths, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
    )
print((runs.parent / "errors.txt").read_text(errors="replace")[-2000:])
if done.returncode:
    raise RuntimeError(f"the training ended with {{done.returncode}}")
lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
print("validation metric:", next(line["ne"] for line in reversed(lines) if line.get("final")))
"""


def with_aide(kinds: list[Kind], python: Path) -> dict[str, dict[str, Any]]:
    """What AIDE did about each kind, and whether that is what kinds.py calls right; `python` has AIDE installed.

    A process of AIDE's that died is started once more, as whoever watches over it would; it begins anew then.
    """
    with tempfile.TemporaryDirectory(prefix="rea-battery-aide-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        try:
            work: list[tuple[Kind, Trial]] = []
            for index, part in enumerate(parts(kinds)):
                source = CODEBASES[part[0].codebase].make(home / str(index), part)
                work += [(kind, prepared(source, home / kind.name, kind, n)) for n, kind in enumerate(part)]
            with ThreadPoolExecutor(BESIDE) as pool:
                found = list(pool.map(lambda one: judged(one[0], watched(one[1], python)), work))
        finally:
            end_all(home)
    return {kind.name: row for (kind, _), row in zip(work, found, strict=True)}


def watched(trial: Trial, python: Path) -> list[tuple[str, float | None]]:
    """(state, value) of each time the program ran, up to the first that AIDE believed."""
    program = PROGRAM.format(
        runs=str(trial.runs),
        command=trial.command,
        code=str(trial.code),
        env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"},
    )
    stub = Stub(lambda asked: "print('no further idea')" if IMPROVING in asked else program, review)
    data = trial.folder / "data"
    data.mkdir()
    (data / "clicks.csv").write_text("user,item,click\n1,2,0\n")
    found: list[tuple[str, float | None]] = []
    try:
        for number in range(2):
            before = len(list(trial.runs.iterdir()))
            logs = trial.folder / f"logs-{number}"
            died = _run(trial, python, stub.url, data, logs)
            found += _nodes(logs, len(list(trial.runs.iterdir())) - before)
            if not died or any(state == "COMPLETE" for state, _ in found):
                break
    finally:
        stub.close()
    first = next((place for place, (state, _) in enumerate(found) if state == "COMPLETE"), len(found) - 1)
    return found[: first + 1]


def _run(trial: Trial, python: Path, url: str, data: Path, logs: Path) -> bool:
    """One process of AIDE; whether it died before its steps were done."""
    words = [str(python.with_name("aide")), f"data_dir={data}", "goal=predict clicks", "eval=normalised entropy"]
    words += [f"agent.steps={STEPS}", "agent.search.num_drafts=1", "agent.search.debug_prob=1.0"]
    words += ["agent.code.model=stub", "agent.feedback.model=stub", "generate_report=false"]
    words += [f"exec.timeout={trial.limit_s}", f"log_dir={logs}", f"workspace_dir={logs.with_name('work')}"]
    env = {**os.environ, "OPENAI_BASE_URL": url, "OPENAI_API_KEY": "none", "PYTHONPATH": "", "TERM": "dumb"}
    with logs.with_suffix(".txt").open("w") as out:
        done = subprocess.run(
            words,
            env=env,
            cwd=trial.folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            timeout=PATIENCE_S,
            start_new_session=True,
        )
    return done.returncode != 0


def _nodes(logs: Path, runs: int) -> list[tuple[str, float | None]]:
    """What AIDE's journal says of the `runs` that its process made; of those that it did not live to judge, failed."""
    path = next(logs.glob("*/journal.json"), None)
    nodes = json.loads(path.read_text())["nodes"] if path is not None else []
    told = [("FAIL", None) if node["is_buggy"] else ("COMPLETE", node["metric"]["value"]) for node in nodes]
    return [*told[:runs], *[("FAIL", None)] * (runs - len(told))]


def review(asked: str) -> dict[str, Any]:
    """What a model makes of a program's output: the metric that it printed, and a bug where there is none."""
    printed = re.findall(r"^validation metric: (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$", asked, re.MULTILINE)
    metric = float(printed[-1]) if printed else None
    return {"is_bug": metric is None, "summary": "As printed.", "metric": metric, "lower_is_better": True}
