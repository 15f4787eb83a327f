"""What a log says went wrong first."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rea.domain.runbook import FailureEvidence
from rea.knowledge.cards import load_runbooks
from rea.knowledge.diagnosis import match
from rea.knowledge.traces import LINE_CHARACTERS, read

RUNBOOKS = load_runbooks()


def traceback(exception: str, rank: int | None = None) -> str:
    mark = "" if rank is None else f"[rank{rank}]: "
    lines = ["Traceback (most recent call last):", '  File "train.py", line 3, in <module>', "    main()", exception]
    return "\n".join(f"{mark}{line}" for line in lines)


def diagnosed(*parts: str, **more: object):
    return match(FailureEvidence("failed", 1, None, "\n".join(parts), **more), RUNBOOKS)  # type: ignore[arg-type]


OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
NCCL = "torch.distributed.DistBackendError: NCCL error: ncclRemoteError: A call failed possibly due to a network error"
FULL = "OSError: [Errno 28] No space left on device"
TORN = "RuntimeError: PytorchStreamReader failed reading zip archive: failed finding central directory"


def test_the_first_error_is_the_cause_however_loud_the_later_ones_are() -> None:
    found = diagnosed(traceback("ConnectionResetError: [Errno 104] Connection reset by peer"), traceback(OOM))
    assert found.runbook.name == "connection-lost"


def test_a_warning_is_no_error_whatever_comes_first() -> None:
    assert diagnosed("Connection reset by peer, trying again", traceback(OOM)).runbook.name == "gpu-out-of-memory"


def test_an_error_that_the_training_survived_is_not_what_ended_it() -> None:
    survived = traceback("ConnectionResetError: [Errno 104] Connection reset by peer")
    found = diagnosed(survived, "epoch 1 step 2000 loss 0.44", traceback("KeyError: 'click'"))
    assert found.runbook.name == "python-exception" and found.line == "KeyError: 'click'"
    alone = diagnosed(survived, "epoch 1 step 2000 loss 0.44")
    assert alone.runbook.name == "connection-lost", "where nothing else is known it is better than nothing"


def test_a_traceback_with_its_causes_is_one_error() -> None:
    again = "During handling of the above exception, another exception occurred:"
    found = diagnosed(traceback("KeyError: 'lr'"), "", again, "", traceback(OOM))
    assert found.runbook.name == "gpu-out-of-memory", "what is specific in it says most"


def test_of_several_ranks_the_one_that_failed_first_counts() -> None:
    noise = [traceback(NCCL, rank) for rank in (0, 1, 3)]
    found = diagnosed(traceback(OOM, 2), *noise)
    assert found.runbook.name == "gpu-out-of-memory" and found.line == f"[rank2]: {OOM}"
    assert "rank 2 failed first" in found.why


def test_torchrun_s_word_on_the_first_rank_outranks_the_order_of_the_lines() -> None:
    summary = "Root Cause (first observed failure):\n[0]:\n  time      : 2026-03-01_12:00:00\n  host      : n1\n"
    summary += "  rank      : 2 (local_rank: 2)\n  exitcode  : 1 (pid: 7)"
    found = diagnosed(traceback(NCCL, 0), traceback(OOM, 2), summary)
    assert found.runbook.name == "gpu-out-of-memory"


def test_a_consequence_is_recorded_with_its_cause_from_the_log_or_from_an_earlier_attempt() -> None:
    later = diagnosed(traceback(TORN), earlier=("disk-full",), attempts=2)
    assert later.chain == ("disk-full", "corrupt-checkpoint") and "it followed from disk-full" in later.why
    assert diagnosed(traceback(TORN), earlier=("shape-mismatch",), attempts=2).chain == ()
    assert diagnosed(traceback(FULL), traceback(TORN)).runbook.name == "disk-full"


LINES = [
    "Traceback (most recent call last):",
    "  File 'x'",
    OOM,
    f"[rank1]: {NCCL}",
    "[rank0]: epoch 1 step 20 0.4",
    "",
    "During handling of the above exception, another exception occurred:",
    "Root Cause (first observed failure)",
    "  rank      : 1 (x)",
    '{"step": 3, "ne": 0.4}',
    "ERROR: x",
]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(LINES) | st.text(max_size=30), max_size=30).map("\n".join))
def test_any_log_can_be_read(log: str) -> None:
    trace = read(log)
    assert len(trace.lines) == len(trace.shown) == len(trace.places) == len(trace.numbers) <= trace.total
    blocks = [place.block for place in trace.places if place.block is not None]
    assert blocks == sorted(blocks) and all(len(line) <= LINE_CHARACTERS for line in trace.lines)
