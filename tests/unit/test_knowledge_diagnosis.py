"""Which runbook a failure gets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rea.domain.errors import ConfigError
from rea.domain.jobs import Outcome
from rea.domain.runbook import Action, FailureEvidence, Policy, Signal
from rea.knowledge.cards import load_runbooks
from rea.knowledge.diagnosis import match
from rea.knowledge.traces import LINE_CHARACTERS, TAIL_BYTES

RUNBOOKS = load_runbooks()
BY_NAME = {card.name: card for card in RUNBOOKS}


def diagnose(log: str = "", outcome: str = "failed", **more: object) -> str:
    return match(FailureEvidence(outcome, log_tail=log, **more), RUNBOOKS).runbook.name  # type: ignore[arg-type]


LINES = {
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total": "gpu-out-of-memory",
    "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`": "gpu-out-of-memory",
    "numpy._ArrayMemoryError: Unable to allocate 74.5 GiB for an array with shape (10,)": "host-out-of-memory",
    "RuntimeError: [enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate": "host-out-of-memory",
    "RuntimeError: [enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried "
    "to allocate 17825792 bytes. Error code 12 (Cannot allocate memory)": "host-out-of-memory",
    "OSError: [Errno 12] Cannot allocate memory": "host-out-of-memory",
    "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=12.batch": "host-out-of-memory",
    "OSError: [Errno 28] No space left on device: '/scratch/run/predictions.npy'": "disk-full",
    "OSError: 1200 requested and 992 written": "disk-full",
    "RuntimeError: unable to open shared memory: Too many open files": "too-many-files",
    "ERROR: Unexpected bus error encountered in worker. insufficient shared memory (shm)": "worker-limits",
    "OSError: [Errno 98] Address already in use": "port-in-use",
    "RuntimeError: expected scalar type Float but found Half": "dtype-or-device",
    "RuntimeError: can't start new thread": "no-more-processes",
    "torch._dynamo.exc.BackendCompilerFailed: backend='inductor' raised:": "compile-failed",
    "FloatingPointError: Minimum loss scale reached (0.0001). Your loss is probably exploding.": "gradient-overflow",
    "Gradient overflow.  Skipping step, reducing loss scale to 0.0009765625": "gradient-overflow",
    "ValueError: Only one class present in y_true. ROC AUC score is not defined": "constant-predictions",
    "NVRM: Xid (PCI:0000:3b:00): 79, pid=1, GPU has fallen off the bus.": "device-fault",
    "RuntimeError: No CUDA GPUs are available": "gpu-unavailable",
    "IndexError: index out of range in self": "index-out-of-range",
    "RuntimeError: CUDA error: an illegal memory access was encountered": "illegal-memory-access",
    "RuntimeError: PytorchStreamReader failed reading zip archive: not a zip": "corrupt-checkpoint",
    "pyarrow.lib.ArrowInvalid: Parquet magic bytes not found in footer.": "corrupt-data",
    "OSError: Unexpected end of stream": "corrupt-data",
    "OSError: Couldn't deserialize thrift: don't know what type:": "corrupt-data",
    "OSError: Corrupt snappy compressed data.": "corrupt-data",
    "ValueError: could not convert string to float: 'C14'": "schema-drift",
    "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***": "time-limit",
    "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO PREEMPTION ***": "taken-back",
    "slurmstepd: error: *** STEP 7.0 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO NODE FAILURE ***": "node-lost",
    "[rank1]: Watchdog caught collective operation timeout: WorkNCCL(SeqNum=8)": "collective-timeout",
    "ConnectionRefusedError: [Errno 111] Connection refused": "connection-lost",
    "botocore.exceptions.ClientError: An error occurred (SlowDown) when calling the GetObject operation (reached max "
    "retries: 4): Please reduce your request rate.": "service-overloaded",
    "requests.exceptions.HTTPError: 429 Client Error: Too Many Requests for url: https://f/v1": "service-overloaded",
    "anthropic.APIStatusError: Error code: 529 - {'type': 'error', 'error': {'type': 'overloaded_error'}}": (
        "service-overloaded"
    ),
    "requests.exceptions.HTTPError: 503 Server Error: Service Unavailable for url: https://f": "connection-lost",
    "RuntimeError: DataLoader timed out after 60 seconds": "data-loader-stall",
    "RuntimeError: Function 'MulBackward0' returned nan values in its 0th output.": "diverged",
    "epoch 1 step 200 loss=nan": "diverged",
    "RuntimeError: mat1 and mat2 shapes cannot be multiplied (4096x390 and 400x64)": "shape-mismatch",
    "RuntimeError: Error(s) in loading state_dict for DCNv2:": "checkpoint-mismatch",
    "RuntimeError: one of the variables needed ... has been modified by an inplace operation": "autograd-error",
    "train.py: error: unrecognized arguments: --dropuot 0.1": "configuration-error",
    "hydra.errors.ConfigCompositionException: Could not override 'optim.lrr'.": "configuration-error",
    "train.py: run.yaml: model.activation: expected one of relu, gelu, got 'rellu'": "configuration-error",
    "PermissionError: [Errno 13] Permission denied: '/data/labels.npy'": "permission-denied",
    "sbatch: error: QOSMaxSubmitJobPerUserLimit": "queue-limit",
    "ValueError: something only this trainer says": "python-exception",
    "all is well": "unknown",
}


@pytest.mark.parametrize(("line", "name"), LINES.items())
def test_a_line_of_a_log_leads_to_its_runbook(line: str, name: str) -> None:
    log = f"epoch 0\nTraceback (most recent call last):\n  File 'train.py', line 3\n{line}\n"
    if name == "unknown":
        log = line
    found = match(FailureEvidence("failed", 1, None, log), RUNBOOKS)
    assert found.runbook.name == name
    assert found.line == line
    assert found.runbook.title in found.why


CRASHES = {
    "import no_such_module_anywhere": "import-error",
    "{}['lr']": "python-exception",
    "open('/no/such/file')": "missing-file",
    "None.weight": "code-error",
    "x =": "code-error",
    "raise RuntimeError('odd')": "python-exception",
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)": "host-out-of-memory",
    "import os, signal; os.kill(os.getpid(), signal.SIGTERM)": "taken-back",
    "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)": "native-crash",
    "bytearray(1 << 62)": "host-out-of-memory",
    "import math; assert math.isfinite(float('nan')), 'non-finite loss'": "diverged",
    "import argparse; argparse.ArgumentParser().parse_args(['--lr', '1'])": "configuration-error",
    "import sys; sys.exit(3)": "unknown",
    "import sys; print('train: no such recipe', file=sys.stderr); sys.exit(78)": "configuration-error",
    "import sys; print('make: *** [train] Error 1', file=sys.stderr); sys.exit(2)": "unknown",
    "import os; os.execvp('python3', ['python3', '/no/such/train.py'])": "missing-file",
}


@pytest.mark.parametrize(("code", "name"), CRASHES.items())
def test_real_processes_that_die_are_recognised(code: str, name: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
    )
    signal = -ended.returncode if ended.returncode < 0 else None
    assert diagnose(ended.stderr, exit_code=ended.returncode, signal=signal) == name


@pytest.mark.parametrize(
    ("outcome", "name"),
    [("memory", "host-out-of-memory"), ("timeout", "time-limit"), ("lost", "node-lost"), ("cancelled", "taken-back")],
)
def test_the_launchers_verdict_outranks_what_its_own_kill_left_in_the_log(outcome: str, name: str) -> None:
    log = "epoch 3\nreceived SIGTERM, saving\nTraceback (most recent call last):\nKeyboardInterrupt\n"
    assert diagnose(log, outcome, exit_code=137, signal=9) == name


def test_the_first_error_wins_among_equals() -> None:
    full, torn = "OSError: No space left on device", "RuntimeError: PytorchStreamReader failed reading zip archive"
    assert diagnose(f"{full}\n{torn}") == "disk-full"
    assert diagnose(f"{torn}\n{full}") == "corrupt-checkpoint"


def test_the_specific_outranks_the_general_wherever_it_stands() -> None:
    log = "Traceback (most recent call last):\nValueError: x\nConnection reset by peer\nCUDA out of memory. Tried"
    found = match(FailureEvidence("failed", 1, None, log), RUNBOOKS)
    assert found.runbook.name == "gpu-out-of-memory"
    assert "connection-lost, python-exception" in found.why


@pytest.mark.parametrize(
    ("signal", "name"),
    [
        (Signal.EVALUATOR_DISAGREES, "evaluator-disagrees"),
        (Signal.EVALUATOR_FAILED, "evaluator-failed"),
        (Signal.RESOLVED_MISMATCH, "silent-override"),
        (Signal.ROW_COUNT, "wrong-row-count"),
        (Signal.NAN, "diverged"),
        (Signal.MISSING_FINAL, "missing-metric"),
    ],
)
def test_what_rea_saw_itself_leads_to_a_runbook(signal: Signal, name: str) -> None:
    assert diagnose("", "succeeded", exit_code=0, signals=frozenset({signal.value})) == name


@pytest.mark.parametrize(
    "line",
    [
        "ValueError: p.npy: expected 12000 predictions, one per valid row, found shape (11999,)",
        "evaluate.py: expected 4000 predictions of valid, found 3999",
        "AssertionError: Expected 4,000 rows but got 3,999",
        "RuntimeError: 3999 predictions for 4000 labels",
        "ValueError: length of predictions (3999) does not match length of labels (4000)",
        "ValueError: Number of rows differs: 3999 != 4000",
        "ValueError: predictions and labels have different lengths",
        "ValueError: y_pred and y_true must have the same length",
        "ValueError: row count mismatch: 3999 vs 4000",
        "ValueError: mismatch in the number of predictions",
        "ValueError: Found input variables with inconsistent numbers of samples: [4000, 3999]",
        "    assert len(preds) == len(labels)",
    ],
)
def test_an_evaluator_that_counts_for_itself_may_say_so_in_many_ways(line: str) -> None:
    log = f"Traceback (most recent call last):\n{line}\n"
    assert diagnose(log, exit_code=1, signals=frozenset({"evaluator_failed"})) == "wrong-row-count"


@pytest.mark.parametrize(
    "line",
    [
        "writing 4000 predictions of valid",
        "expected calibration error 0.01",
        "read 4000 rows for 12 fields",
        "ValueError: could not parse the scores: same file, different encoding",
        "expected floating-point probabilities, found int64",
    ],
)
def test_lines_about_rows_and_predictions_are_no_wrong_count(line: str) -> None:
    assert diagnose(line, exit_code=1) != "wrong-row-count"


def test_a_missing_final_line_is_no_cause_where_the_job_failed() -> None:
    seen = frozenset({"missing_final"})
    assert diagnose("", "failed", exit_code=1, signals=seen) == "unknown"
    assert diagnose("ValueError: x", "failed", exit_code=1, signals=seen) == "python-exception"


def test_only_the_end_of_a_log_and_the_start_of_a_line_are_read() -> None:
    early = "CUDA out of memory\n" + "x\n" * TAIL_BYTES
    assert diagnose(early) == "unknown"
    assert diagnose("y" * LINE_CHARACTERS + "CUDA out of memory") == "unknown"
    found = match(FailureEvidence("failed", log_tail="é" * TAIL_BYTES), RUNBOOKS)
    assert found.line is not None
    assert len(found.line) <= LINE_CHARACTERS


@settings(max_examples=50, deadline=None)
@given(
    outcome=st.sampled_from([o.value for o in Outcome]),
    code=st.none() | st.integers(-70, 300),
    signal=st.none() | st.integers(-1, 70),
    log=st.text(max_size=400) | st.lists(st.sampled_from([*LINES, ""]), max_size=6).map("\n".join),
    signals=st.frozensets(st.sampled_from([s.value for s in Signal])),
    attempts=st.integers(1, 9),
)
def test_every_failure_gets_one_runbook_and_a_reason(
    outcome: str, code: int | None, signal: int | None, log: str, signals: frozenset[str], attempts: int
) -> None:
    evidence = FailureEvidence(outcome, code, signal, log, signals, attempts)
    found = match(evidence, RUNBOOKS)
    assert found == match(evidence, tuple(reversed(RUNBOOKS))), "the order of the cards does not matter"
    assert found.why
    assert found.line is None or found.line in log


def test_without_the_runbook_unknown_an_unrecognised_failure_is_an_error() -> None:
    with pytest.raises(ConfigError):
        match(FailureEvidence("failed"), [BY_NAME["disk-full"]])


def test_a_policy_counts_repetitions_and_walks_through_its_waits_and_changes() -> None:
    policy = Policy(Action.MUTATE, 2, (60.0, 300.0), ({"batch_size": 1}, {"batch_size": 2}))
    assert [policy.repeats(ended) for ended in (1, 2, 3)] == [True, True, False]
    assert [policy.wait_s(ended) for ended in (1, 2, 3)] == [60.0, 300.0, 300.0]
    assert [policy.mutation(ended) for ended in (1, 2, 3)] == [{"batch_size": 1}, {"batch_size": 2}, {"batch_size": 2}]
    assert not Policy(Action.DROP).repeats(1)
    assert Policy(Action.RETRY, 1).wait_s(1) == 0.0
    assert Policy(Action.RETRY, 1).mutation(1) is None


def test_validation_gives_up_early_on_memory_and_divergence_only() -> None:
    early = {card.name for card in RUNBOOKS if card.action(validation=True) != card.action(validation=False)}
    assert early == {"gpu-out-of-memory", "host-out-of-memory", "diverged", "loss-explosion", "gradient-overflow"}


def test_a_teams_runbook_is_matched_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "our-storage.md").write_text(
        "---\nname: our-storage\ntitle: Our storage\nclass: T\npriority: 85\nsignatures: ['bucket asleep']\n"
        'policy: {action: retry, max: 1}\ncitation: "us"\n---\nWait.\n'
    )
    found = match(FailureEvidence("failed", 1, None, "ValueError: bucket asleep"), load_runbooks(tmp_path))
    assert found.runbook.name == "our-storage"
