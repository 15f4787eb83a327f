"""What an ended attempt amounts to, read from a run directory as a job leaves it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rea.domain.codebase import Codebase, Knob, KnobType
from rea.domain.jobs import JobState, Observation, Outcome
from rea.domain.lesson import Lesson
from rea.domain.run import Reading, Run, RunDraft, RunResult
from rea.domain.runbook import Action, Charge
from rea.domain.states import Phase, RunState
from rea.domain.treatment import Treatment
from rea.executor import remedies
from rea.executor.harvest import METRICS_BYTES, Harvest, harvest
from rea.executor.snapshot import Report
from rea.executor.triage import Around, assess
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
    lessons: tuple[Lesson, ...] = (),
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
    around = Around(ended_attempts=1, reserved_s=60.0, rows=rows, lessons=lambda: {one.pattern: one for one in lessons})
    return assess(run, seen, found, codebase or tiny_codebase(), lambda: VALUES, lambda: RUNBOOKS, around)


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
    around = Around(ended_attempts=1, reserved_s=60.0, cancelled_here=here)
    report = assess(run, seen, harvest(Path("/nowhere"), None), tiny_codebase(), dict, lambda: RUNBOOKS, around)
    if here:
        assert report.failure is None and not report.retry
    else:
        assert report.retry and report.wait_s > 0 and report.charge is Charge.CONTINGENCY
        assert failure(report) == ("taken-back", "The scheduler took the machine back: " + seen.message)


@pytest.mark.parametrize(
    ("causes", "action", "retry", "kind"),
    [
        ({}, Action.RETRY, True, "T"),
        ({"hypothesis": 1}, Action.RETRY, True, "T"),
        ({"hypothesis": 2}, Action.FAIL_HYPOTHESIS, False, "C"),
        ({"hypothesis": 2, "chance": 1}, Action.RETRY, True, "T"),
        ({"infrastructure": 2}, Action.RETRY, True, "T"),
        ({"chance": 3}, Action.RETRY, True, "T"),
        ({"undecided": 3}, Action.RETRY, True, "T"),
    ],
)
def test_what_investigations_were_right_about_twice_decides_about_the_next_failure_of_its_line(
    tmp_path: Path, causes: dict[str, int], action: Action, retry: bool, kind: str
) -> None:
    lessons = (Lesson("the solver gave up at row #", causes),) if causes else ()
    log = {"train.log": "the solver gave up at row 17\n"}
    report = judged(tmp_path, log, step="train", exit_code=3, lessons=lessons)
    assert report.failure is not None
    trusted = Lesson("", causes).cause in ("hypothesis", "infrastructure", "chance")
    assert report.failure.runbook == ("learnt" if trusted else "unknown")
    assert (report.action, report.retry, report.failure.kind) == (action, retry, kind)
    assert (report.charge is Charge.CONTINGENCY) == ("infrastructure" in causes)


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
        Around(ended_attempts=1, reserved_s=60.0),
    )
    name, message = failure(report)
    assert name == "missing-metric" and "the final line has no number 'ne', only auc, final" in message


# ---------------------------------------------------------------- what forbids believing, and how a job really ended


def finished(
    value: float,
    *,
    auc: float | None = None,
    base: float = 0.8,
    more: dict[str, Any] | None = None,
    train: float | None = None,
    **around: Any,
) -> Report:
    metrics = {"ne": value} | ({} if auc is None else {"auc": auc})
    draft = RunDraft("key", 1, 1, Phase.VALIDATION, Treatment({"optim.lr": 0.01}), 1, 1.0, 60.0, 60.0)
    curve = () if train is None else ({"epoch": 1, "split": "valid", **metrics, "train_ne": train},)
    lines = (*curve, {"final": True, "split": "valid", **metrics})
    found = Harvest(lines=lines, evaluated={"evaluate": metrics})
    exit_ = {"step": "evaluate", "exit_code": 0, "wall_s": 1.0, **(more or {})}
    seen = Observation(JobState.ENDED, Outcome.SUCCEEDED, exit_, "", 1.0, 2.0)
    paired = RunResult({"ne": base, "auc": 0.7}, (Reading(1.0, {"ne": base, "train_ne": base}),), "epoch", 1.0, 1.0, 1)
    given = Around(ended_attempts=1, reserved_s=60.0, paired=paired, **around)
    return assess(Run(1, 1, draft, RunState.ACTIVE), seen, found, tiny_codebase(), dict, lambda: RUNBOOKS, given)


@pytest.mark.parametrize("auc", [0.4951, 0.5, 0.5049])
def test_a_model_as_good_as_a_coin_is_no_measurement_of_its_treatment(auc: float) -> None:
    name, message = failure(finished(0.81, auc=auc))
    assert name == "constant-predictions" and "the baseline's 0.7000" in message
    assert result(finished(0.81, auc=0.51)).metrics["auc"] == 0.51


def test_half_of_what_was_left_at_one_stroke_is_quarantined_unless_an_engineer_has_looked() -> None:
    report = finished(0.35, noise=0.001)
    name, message = failure(report)
    assert name == "too-good" and report.action is Action.QUARANTINE and not report.retry and not report.repair
    assert "ne went from 0.8 to 0.35, 56% of what was left to gain" in message
    assert result(finished(0.35, noise=0.001, believed=True)).metrics["ne"] == 0.35
    assert result(finished(0.35, noise=0.06)).metrics["ne"] == 0.35, "where noise alone does that, it says nothing"
    assert result(finished(0.45, noise=0.001)).metrics["ne"] == 0.45


@pytest.mark.parametrize(("train", "said"), [(0.3, "gives the label away"), (0.79, "were seen"), (None, "")])
def test_whoever_is_asked_about_a_leak_hears_where_it_comes_from(train: float | None, said: str) -> None:
    _, message = failure(finished(0.35, noise=0.001, train=train))
    assert said in message and ("train_ne" in message) is bool(said)
    assert "the evaluator is as committed" in message


def test_a_loss_beyond_twice_the_baselines_has_exploded() -> None:
    report = finished(1.7)
    assert failure(report)[0] == "loss-explosion" and report.action is Action.DROP
    assert result(finished(1.5)).metrics["ne"] == 1.5


def test_a_result_judged_by_code_that_was_changed_holds_the_campaign() -> None:
    report = finished(0.79, against={"tampered": "evaluate.py was changed"})
    assert failure(report)[0] == "tampered" and report.action is Action.HOLD


def ended(outcome: Outcome, readings: int = 0, own: RunResult | None = None, **exit_: Any) -> Report:
    draft = RunDraft("key", 1, 1, Phase.VALIDATION, Treatment({"optim.lr": 0.01}), 1, 1.0, 60.0, 60.0)
    found = Harvest(lines=tuple({"epoch": n + 1, "split": "valid", "ne": 0.8} for n in range(readings)))
    seen = Observation(JobState.ENDED, outcome, {"step": "train", "wall_s": 100.0, **exit_}, "", 1.0, 101.0)
    around = Around(ended_attempts=1, reserved_s=100.0, own=own)
    return assess(Run(1, 1, draft, RunState.ACTIVE), seen, found, tiny_codebase(), dict, lambda: RUNBOOKS, around)


def test_a_job_whose_evaluator_did_not_start_because_of_changed_code_holds_the_campaign() -> None:
    report = ended(Outcome.FAILED, step="evaluate", tampered="the code in /t is not what it was")
    assert failure(report)[0] == "tampered" and report.action is Action.HOLD


FAST = RunResult({"ne": 0.8}, tuple(Reading(float(n), {"ne": 0.8}) for n in range(1, 11)), "epoch", 50.0, 50.0, 1)


@pytest.mark.parametrize(
    ("how", "name"),
    [
        ({"hung": True, "idle_s": 6.0, "quiet_s": 7.0}, "hung"),
        ({"idle_s": 31.0}, "hung"),
        ({"idle_s": 29.0}, "time-limit"),
        ({"quiet_s": 61.0, "readings": 2}, "hung"),
        ({"quiet_s": 61.0, "readings": 1}, "time-limit"),  # it may be one that never says anything
        ({"readings": 8, "own": FAST}, "straggler"),
        ({"readings": 8}, "time-limit"),
    ],
)
def test_at_its_limit_a_run_that_hangs_or_crawls_is_told_from_one_that_is_long(how: dict[str, Any], name: str) -> None:
    report = ended(Outcome.TIMEOUT, **how)
    assert failure(report)[0] == name
    assert report.retry is (name != "time-limit")


GIB = 2**30


@pytest.mark.parametrize(
    ("how", "name"),
    [
        ({"oom_kills": 0, "peak_memory_bytes": GIB, "memory_bytes": 8 * GIB}, "killed"),
        ({"oom_kills": 1, "peak_memory_bytes": GIB, "memory_bytes": 8 * GIB}, "host-out-of-memory"),
        ({"oom_kills": 0, "peak_memory_bytes": 7 * GIB, "memory_bytes": 8 * GIB}, "host-out-of-memory"),
        ({"peak_memory_bytes": GIB, "memory_bytes": 8 * GIB}, "host-out-of-memory"),  # nobody counts there
    ],
)
def test_sigkill_is_put_down_to_memory_only_where_memory_was_short(how: dict[str, Any], name: str) -> None:
    assert failure(ended(Outcome.FAILED, signal=9, **how))[0] == name


# ---------------------------------------------------------------- remedies


def knobs(*roles: str) -> Codebase:
    made = [Knob(f"engine.{role}", role, KnobType.INT, 0, 4096) for role in roles]
    return replace(tiny_codebase(), knobs=(*tiny_codebase().knobs, *made))


def test_an_adjustment_keeps_the_model_and_each_is_tried_once() -> None:
    book = next(card for card in RUNBOOKS if card.name == "gpu-out-of-memory")
    now = {"engine.micro_batch": 512, "engine.accumulation_steps": 2}
    codebase = knobs("micro_batch", "accumulation_steps")
    tried = [remedies.adjustment(book, met, codebase, now, {}) for met in range(3)]
    assert tried == [
        {"engine.micro_batch": 256, "engine.accumulation_steps": 4},
        {"engine.micro_batch": 128, "engine.accumulation_steps": 8},
        None,
    ]
    assert all(
        found is None or found["engine.micro_batch"] * found["engine.accumulation_steps"] == 1024 for found in tried
    )
    assert remedies.adjustment(book, 0, tiny_codebase(), VALUES, {}) is None, "a codebase without such knobs"


def test_what_worked_moves_up() -> None:
    book = next(card for card in RUNBOOKS if card.name == "gpu-out-of-memory")
    codebase = knobs("micro_batch", "accumulation_steps")
    now = {"engine.micro_batch": 512, "engine.accumulation_steps": 2}
    first, second = (remedies.adjustment(book, met, codebase, now, {}) for met in range(2))
    assert first is not None and second is not None
    known = {(book.name, remedies.told(first)): (4, 0), (book.name, remedies.told(second)): (3, 3)}
    assert remedies.adjustment(book, 0, codebase, now, known) == second


def test_a_repair_of_a_repair_goes_on_from_it_and_ends_at_the_cap() -> None:
    book = next(card for card in RUNBOOKS if card.name == "diverged")
    lr = {"optim.lr": 0.01}
    once = remedies.mutation(book, 0, tiny_codebase(), {**VALUES, **lr}, {})
    assert once == {"optim.lr": 0.005}
    assert remedies.mutation(book, 1, tiny_codebase(), {**VALUES, **once}, {}) == {"optim.lr": 0.0025}
    assert remedies.mutation(book, 2, tiny_codebase(), {**VALUES, **lr}, {}) is None


# ---------------------------------------------------------------- checkpoints


def failed(folder: Path, log: str, *earlier: str, signal: int | None = None) -> Report:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.log").write_text(log)
    draft = RunDraft("key", 1, 1, Phase.VALIDATION, Treatment({"optim.lr": 0.01}), 1, 1.0, 60.0, 60.0)
    exit_ = {"step": "train", "exit_code": 1, "signal": signal, "wall_s": 1.0, "message": "it failed"}
    exit_ |= {"oom_kills": 0, "peak_memory_bytes": 2**20, "memory_bytes": 2**30}
    seen = Observation(JobState.ENDED, Outcome.FAILED, exit_, "it failed", 1.0, 2.0)
    around = Around(ended_attempts=1 + len(earlier), reserved_s=60.0, earlier=earlier)
    run = Run(1, 1, draft, RunState.ACTIVE)
    return assess(run, seen, harvest(folder, "train"), tiny_codebase(), lambda: VALUES, lambda: RUNBOOKS, around)


MISMATCH = "train.py: Error(s) in loading state_dict from /r/1/checkpoint-9.pt: optim.lr was 0.1 and is 0.2\n"


@pytest.mark.parametrize("before", [(), ("killed",), ("killed", "node-lost")])
def test_after_a_checkpoint_of_another_model_a_run_begins_anew_whatever_came_before(
    tmp_path: Path, before: tuple[str, ...]
) -> None:
    met = failed(tmp_path, MISMATCH, *before)
    assert failure(met)[0] == "checkpoint-mismatch" and met.retry and met.failure.remedy == "retry"  # type: ignore[union-attr]
    again = failed(tmp_path, MISMATCH, *before, "checkpoint-mismatch")
    assert not again.retry


@pytest.mark.parametrize(
    ("log", "signal", "runbook", "retry", "remedy"),
    [
        ("", 9, "killed", True, "resume"),
        ("OSError: [Errno 28] No space left on device\n", None, "disk-full", False, "resume"),
        ("", None, "unknown", True, "retry"),
    ],
)
def test_the_runbook_says_whether_a_run_goes_on(
    tmp_path: Path, log: str, signal: int | None, runbook: str, retry: bool, remedy: str
) -> None:
    report = failed(tmp_path, log, signal=signal)
    assert failure(report)[0] == runbook and report.retry == retry
    assert report.failure is not None and report.failure.remedy == remedy


def test_a_run_took_what_it_took_before_its_checkpoint_as_well(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(line(READING, FINAL))
    (tmp_path / "step-evaluate.jsonl").write_text(line(JUDGED))
    run = Run(1, 1, RunDraft("key", None, 1, Phase.PROFILE, Treatment(), 1, 1.0, 60.0, 60.0), RunState.ACTIVE)
    seen = Observation(JobState.ENDED, Outcome.SUCCEEDED, {"step": "evaluate", "exit_code": 0, "wall_s": 4.0}, "", 1, 5)
    around = Around(ended_attempts=2, reserved_s=60.0, before_s=30.0)
    report = assess(run, seen, harvest(tmp_path, None), tiny_codebase(), lambda: VALUES, lambda: RUNBOOKS, around)
    assert result(report).wall_s == 34.0 and report.device_s == 4.0
