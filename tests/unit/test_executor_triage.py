"""What an ended attempt amounts to, read from a run directory as a job leaves it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rea.domain.codebase import Codebase
from rea.domain.jobs import JobState, Observation, Outcome
from rea.domain.run import Run, RunDraft, RunResult
from rea.domain.runbook import Action, Charge
from rea.domain.states import Phase, RunState
from rea.domain.treatment import Treatment
from rea.executor.harvest import METRICS_BYTES, harvest
from rea.executor.snapshot import Report
from rea.executor.triage import assess
from rea.knowledge.cards import load_runbooks
from support.world import VALUES, tiny_codebase

RUNBOOKS = load_runbooks()
FINAL = {"final": True, "split": "valid", "ne": 0.8}
READING = {"epoch": 1, "split": "valid", "ne": 0.81}
JUDGED = {"split": "valid", "ne": 0.8, "rows": 4000}


def line(*rows: Any) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def judged(
    folder: Path,
    files: dict[str, str],
    *,
    step: str = "evaluate",
    exit_code: int = 0,
    phase: Phase = Phase.VALIDATION,
    rows: float | None = None,
    codebase: Codebase | None = None,
) -> Report:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    draft = RunDraft("key", 1, 1, phase, Treatment({"optim.lr": 0.01}), 1, 1.0, 60.0, 60.0)
    outcome = Outcome.SUCCEEDED if exit_code == 0 else Outcome.FAILED
    words = f"{step} ended with exit code {exit_code} (see {step}.log)" if exit_code else "train, evaluate succeeded"
    exit_ = {"step": step, "exit_code": exit_code, "wall_s": 1.0, "message": words}
    seen = Observation(JobState.ENDED, outcome, exit_, words, 1.0, 2.0)
    found = harvest(folder, step)
    run = Run(1, 1, draft, RunState.ACTIVE)
    kinds: dict[str, Any] = {"ended_attempts": 1, "reserved_s": 60.0, "paired": None, "rows": rows}
    return assess(run, seen, found, codebase or tiny_codebase(), lambda: VALUES, lambda: RUNBOOKS, **kinds)


def failure(report: Report) -> tuple[str, str]:
    assert report.failure is not None and report.result is None
    return report.failure.runbook, report.failure.message


def result(report: Report) -> RunResult:
    assert report.failure is None and report.result is not None, report.failure
    return report.result


@pytest.mark.parametrize("here", [True, False])
def test_a_job_that_somebody_else_cancelled_is_repeated_and_one_that_rea_cancelled_is_not(here: bool) -> None:
    run = Run(1, 1, RunDraft("key", 1, 1, Phase.VALIDATION, Treatment(), 1, 1.0, 60.0, 60.0), RunState.ACTIVE)
    seen = Observation(JobState.ENDED, Outcome.CANCELLED, None, "cancelled, and no process of it is left", 1.0, 2.0)
    kinds: dict[str, Any] = {"ended_attempts": 1, "reserved_s": 60.0, "paired": None, "cancelled_here": here}
    report = assess(run, seen, harvest(Path("/nowhere"), None), tiny_codebase(), dict, lambda: RUNBOOKS, **kinds)
    if here:
        assert report.failure is None and not report.retry
    else:
        assert report.retry and report.wait_s > 0 and report.charge is Charge.CONTINGENCY
        assert failure(report) == ("taken-back", "The scheduler took the machine back: " + seen.message)


# ---------------------------------------------------------------- evaluators


def test_numbers_of_another_split_are_never_taken_for_the_objectives(tmp_path: Path) -> None:
    sealed = FINAL | {"split": "test", "ne": 0.1}
    both = {"metrics.jsonl": line(FINAL, sealed), "step-evaluate.jsonl": line(JUDGED)}
    assert result(judged(tmp_path / "a", both)).metrics["ne"] == 0.8
    only = {"metrics.jsonl": line(READING, sealed), "step-evaluate.jsonl": line(JUDGED)}
    assert result(judged(tmp_path / "b", only)).metrics["ne"] == 0.8, "the evaluator's word counts"
    alone = replace(tiny_codebase(), evaluate=None)
    assert result(judged(tmp_path / "c", {"metrics.jsonl": line(FINAL, sealed)}, codebase=alone)).metrics["ne"] == 0.8
    name, message = failure(judged(tmp_path / "d", {"metrics.jsonl": line(READING, sealed)}, codebase=alone))
    assert name == "missing-metric" and "split 'test'; print the one of 'valid'" in message


def test_an_evaluator_that_dies_is_told_from_one_that_disagrees(tmp_path: Path) -> None:
    log = "Traceback (most recent call last):\n  File 'evaluate.py'\nKeyError: 'label'\n"
    died = judged(tmp_path / "a", {"metrics.jsonl": line(FINAL), "evaluate.log": log}, exit_code=1)
    name, message = failure(died)
    assert name == "evaluator-failed" and died.action is Action.DROP and not died.retry
    assert str(tmp_path / "a" / "evaluate.log") in message and "exit code 1" in message
    assert died.failure is not None and died.failure.line == "KeyError: 'label'"

    other = {"metrics.jsonl": line(FINAL), "step-evaluate.jsonl": line(JUDGED | {"ne": 0.7})}
    name, message = failure(judged(tmp_path / "b", other))
    assert name == "evaluator-disagrees" and "the trainer printed ne = 0.8, the evaluator found 0.7" in message


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        ("", "printed no JSON object"),
        ("all is well\n", "printed no JSON object"),
        (line({"auc": 0.7, "rows": 4000}), "printed no number 'ne', only auc, rows"),
        (line({"ne": "0.8"}), "printed no number 'ne', only ne"),
    ],
)
def test_an_evaluator_that_prints_no_metric_has_failed(tmp_path: Path, printed: str, words: str) -> None:
    files = {"metrics.jsonl": line(FINAL), "step-evaluate.jsonl": printed, "evaluate.log": ""}
    name, message = failure(judged(tmp_path, files))
    assert name == "evaluator-failed" and words in message and "step-evaluate.jsonl" in message


@pytest.mark.parametrize(
    ("log", "name"),
    [
        ("numpy.core._exceptions.MemoryError: Unable to allocate 8 GiB for an array", "host-out-of-memory"),
        ("OSError: [Errno 28] No space left on device", "disk-full"),
        ("ConnectionError: Connection reset by peer", "connection-lost"),
        ("pyarrow.lib.ArrowInvalid: Parquet magic bytes not found in footer", "corrupt-data"),
        ("evaluate.py: expected 4000 predictions of valid, found 3999", "wrong-row-count"),
        ("ModuleNotFoundError: No module named 'sklearn'", "evaluator-failed"),
        ("json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)", "evaluator-failed"),
        ("evaluate.py: predictions are no probabilities", "evaluator-failed"),
    ],
)
def test_what_an_evaluator_met_counts_more_than_that_it_failed_and_a_bug_of_its_own_does_not(
    tmp_path: Path, log: str, name: str
) -> None:
    files = {"metrics.jsonl": line(FINAL), "evaluate.log": f"reading\n{log}\n"}
    report = judged(tmp_path, files, exit_code=1)
    assert failure(report)[0] == name
    assert report.failure is not None and report.failure.line == log


def test_a_sealed_split_that_cannot_be_evaluated_is_the_evaluators_failure(tmp_path: Path) -> None:
    died = judged(tmp_path, {"reveal-7.log": "boom\n"}, step="reveal-7", exit_code=1, phase=Phase.REVEAL)
    name, message = failure(died)
    assert name == "evaluator-failed" and str(tmp_path / "reveal-7.log") in message


@pytest.mark.parametrize("printed", [{"rows": 4000}, {"ne": "0.8"}, {"ne": math.nan}])
def test_a_sealed_split_is_judged_by_the_objective_or_not_at_all(tmp_path: Path, printed: dict[str, Any]) -> None:
    files = {"step-reveal-6.jsonl": line(JUDGED), "step-reveal-7.jsonl": line(JUDGED | {"rows": 4000})}
    assert set(result(judged(tmp_path / "a", files, step="reveal-7", phase=Phase.REVEAL)).sealed) == {"6", "7"}
    files["step-reveal-7.jsonl"] = line(printed)
    name, message = failure(judged(tmp_path / "b", files, step="reveal-7", phase=Phase.REVEAL))
    assert name == "evaluator-failed" and "with a number under 'ne'" in message


def test_a_metric_over_other_rows_than_the_baselines_or_the_trainers_is_no_result(tmp_path: Path) -> None:
    files = {"metrics.jsonl": line(FINAL), "step-evaluate.jsonl": line(JUDGED)}
    assert result(judged(tmp_path / "a", files, rows=4000.0)).metrics["rows"] == 4000
    name, message = failure(judged(tmp_path / "b", files, rows=4001.0))
    assert name == "wrong-row-count" and "the evaluator judged 4000 rows, the baseline has 4001" in message
    files["metrics.jsonl"] = line(FINAL | {"rows": 50000})
    name, message = failure(judged(tmp_path / "c", files))
    assert name == "wrong-row-count" and "the trainer has 50000" in message
    files["metrics.jsonl"] = line(FINAL | {"rows": 50000, "split": "train"})
    result(judged(tmp_path / "d", files))
    files["step-evaluate.jsonl"] = line({"split": "valid", "ne": 0.8})
    result(judged(tmp_path / "e", files, rows=4000.0))


# ---------------------------------------------------------------- trainers that say nothing

SILENT = {
    "absent": ({}, "metrics.jsonl is not there;"),
    "empty": ({"metrics.jsonl": ""}, "metrics.jsonl is empty;"),
    "unfinished": ({"metrics.jsonl": line(READING, READING)}, "holds 2 JSON lines, none with"),
    "garbled": ({"metrics.jsonl": line(READING, "epoch 2: 0.8", "done")}, "2 lines are no JSON objects;"),
    "text": ({"metrics.jsonl": "epoch 1\n"}, "holds no JSON object: 1 line is no JSON object;"),
    "torn": ({"metrics.jsonl": '{"final": true, "ne'}, "its only line is torn or blank;"),
    "word": ({"metrics.jsonl": line({"final": "yes", "ne": 1})}, '(one has "yes" there);'),
    "printed": ({"metrics.jsonl": "", "train.log": line("hello", FINAL)}, "is empty, while train.log in the run's"),
    "elsewhere": ({"out/metrics.jsonl": line(READING, FINAL)}, "is not there, while out/metrics.jsonl in the run's"),
    "long": ({"metrics.jsonl": line(READING) * (METRICS_BYTES // 20) + line(FINAL)}, "only its first 8 MiB are read"),
}


@pytest.mark.parametrize("step", ["train", "evaluate"])
@pytest.mark.parametrize("kind", SILENT)
def test_a_trainer_that_reports_nothing_hears_what_its_metrics_hold_instead(
    tmp_path: Path, kind: str, step: str
) -> None:
    files, words = SILENT[kind]
    code = 0 if step == "train" else 1  # without predictions the evaluator fails, and that is a consequence
    evaluated = {"evaluate.log": "FileNotFoundError: predictions_valid.npy\n"} if code else {}
    name, message = failure(judged(tmp_path, {**files, **evaluated}, step=step, exit_code=code))
    assert name == "missing-metric"
    assert words in message
    assert f"to the file that REA_METRICS names, {tmp_path / 'metrics.jsonl'}" in message


def test_an_error_that_a_trainer_swallowed_is_the_reason_why_it_reports_nothing(tmp_path: Path) -> None:
    log = "Traceback (most recent call last):\n  File 'x'\nRuntimeError: mat1 and mat2 shapes cannot be multiplied\n"
    report = judged(tmp_path, {"train.log": log, "evaluate.log": "no predictions\n"}, exit_code=1)
    name, message = failure(report)
    assert name == "shape-mismatch" and "metrics.jsonl is not there" in message


def test_a_final_line_without_the_metric_says_what_it_has(tmp_path: Path) -> None:
    codebase = replace(tiny_codebase(), evaluate=None)
    (tmp_path / "metrics.jsonl").write_text(line({"final": True, "auc": 0.7}))
    draft = RunDraft("key", 1, 1, Phase.VALIDATION, Treatment(), 1, 1.0, 60.0, 60.0)
    seen = Observation(JobState.ENDED, Outcome.SUCCEEDED, {"step": "train", "exit_code": 0}, "", 1.0, 2.0)
    report = assess(
        Run(1, 1, draft, RunState.ACTIVE),
        seen,
        harvest(tmp_path, "train"),
        codebase,
        lambda: VALUES,
        lambda: RUNBOOKS,
        ended_attempts=1,
        reserved_s=60.0,
        paired=None,
    )
    name, message = failure(report)
    assert name == "missing-metric" and "the final line has no number 'ne', only auc, final" in message
