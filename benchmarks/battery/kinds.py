"""What the battery throws at the agent, and what is right about each: its class, and what is to be done.

Kinds of `tinyranker` are faults of a trainer that is made for it. Those of `ads_ranker` happen to the PyTorch trainings
of the reference codebase: by a treatment that is bad, by data that are damaged, or by what
overlay/ads_ranker/sabotage.py does around the trainer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Right(StrEnum):
    GIVE_UP = "give up"  # once, without repeating what fails again; the hypothesis has no result
    REPEAT = "repeat"  # and the repetition succeeds
    REPEAT_ONCE = "repeat once"  # one repetition tells chance from cause; then give up
    QUARANTINE = "quarantine"  # believed by nobody, kept out, one question
    ASK = "ask"  # one treatment alone: set aside, one question about it, nothing is held
    HOLD = "hold"  # an engineer is owed; when it goes on, the run is repeated and succeeds
    HOLD_AND_GIVE_UP = "hold and give up"  # an engineer is owed, and this treatment gets no second chance


class Log(StrEnum):
    """How the reference codebase's log of clicks is stored."""

    NPZ = "npz"
    PARQUET = "parquet"


TINY, ADS = "tinyranker", "ads_ranker"


@dataclass(frozen=True)
class Kind:
    """`classes` are the failure classes that are right, `runbooks` the runbooks that name it.

    Of the reference codebase: `fault` is what is done around the trainer, `treatment` are settings that the failure
    comes of, `data` is a damaged copy of its log; without the latter two any setting stands for the kind.
    """

    name: str
    classes: str
    runbooks: tuple[str, ...]
    right: Right
    accident: bool = False
    codebase: str = TINY
    log: Log | None = None
    fault: str = ""
    treatment: str = ""
    data: str = ""
    root: bool = False  # takes the rights of root to bring about

    @property
    def setting(self) -> str:
        if self.data:
            return f"data.path=data/{self.data}{'.parquet' if self.log is Log.PARQUET else ''}"
        return self.treatment


GIVE_UP, REPEAT, ONCE = Right.GIVE_UP, Right.REPEAT, Right.REPEAT_ONCE

TINY_KINDS = (
    # code and configuration
    Kind("import", "C", ("import-error",), GIVE_UP),
    Kind("arguments", "C", ("configuration-error",), GIVE_UP),
    Kind("key", "C", ("python-exception",), GIVE_UP),
    Kind("attribute", "C", ("code-error",), GIVE_UP),
    Kind("missing_file", "C", ("missing-file",), GIVE_UP),
    Kind("shape", "C", ("shape-mismatch",), GIVE_UP),
    Kind("dtype", "C", ("dtype-or-device",), GIVE_UP),
    Kind("index", "C", ("index-out-of-range",), GIVE_UP),
    Kind("autograd", "C", ("autograd-error",), GIVE_UP),
    Kind("compile", "C", ("compile-failed",), GIVE_UP),
    Kind("segfault", "C", ("native-crash",), ONCE),
    Kind("state_dict", "C", ("checkpoint-mismatch",), ONCE),
    Kind("unknown", "T", ("unknown",), ONCE),
    Kind("flood", "C", ("shape-mismatch",), GIVE_UP),
    Kind("binary", "C", ("shape-mismatch",), GIVE_UP),
    Kind("zombies", "C", ("python-exception",), GIVE_UP),
    Kind("ranks", "C", ("shape-mismatch",), GIVE_UP),
    Kind("swallowed", "C", ("shape-mismatch",), GIVE_UP),
    # resources
    Kind("memory", "R", ("host-out-of-memory",), GIVE_UP),
    Kind("gpu_oom", "R", ("gpu-out-of-memory",), GIVE_UP),
    Kind("slow", "R", ("time-limit",), GIVE_UP),
    Kind("shm", "R", ("worker-limits",), Right.ASK),
    Kind("too_many_files", "R", ("too-many-files",), Right.ASK),
    Kind("threads", "R", ("no-more-processes",), Right.HOLD),
    # numbers
    Kind("nan", "N", ("diverged",), GIVE_UP),
    Kind("explode", "N", ("loss-explosion",), GIVE_UP),
    Kind("overflow", "N", ("gradient-overflow",), GIVE_UP),
    # data
    Kind("zipfile", "D", ("corrupt-data",), ONCE),
    Kind("gzip", "D", ("corrupt-data",), ONCE),
    Kind("schema", "D", ("schema-drift",), Right.HOLD),
    # the machine
    Kind("preempted", "T", ("taken-back",), REPEAT, True),
    Kind("killed", "T", ("killed",), REPEAT, True),
    Kind("lost", "T", ("node-lost",), REPEAT, True),
    Kind("hang", "T", ("hung",), REPEAT, True),
    Kind("port", "T", ("port-in-use",), REPEAT, True),
    Kind("torn_checkpoint", "T", ("corrupt-checkpoint",), REPEAT, True),
    Kind("nccl", "T", ("collective-timeout",), REPEAT, True),
    Kind("device", "T", ("device-fault",), REPEAT, True),
    Kind("no_gpu", "T", ("gpu-unavailable",), REPEAT, True),
    Kind("loader", "T", ("data-loader-stall",), REPEAT, True),
    Kind("reset", "T", ("connection-lost",), REPEAT, True),
    # results that cannot be believed
    Kind("silent", "S", ("missing-metric",), GIVE_UP),
    Kind("short", "S", ("wrong-row-count",), GIVE_UP),
    Kind("miscount", "S", ("wrong-row-count",), GIVE_UP),
    Kind("cheat", "S", ("evaluator-disagrees",), GIVE_UP),
    Kind("ignore", "S", ("silent-override",), GIVE_UP),
    Kind("ignore_openly", "S", ("silent-override",), GIVE_UP),
    Kind("constant", "S", ("constant-predictions",), GIVE_UP),
    Kind("leak", "S", ("too-good",), Right.QUARANTINE),
    # what only a person can settle
    Kind("denied", "G", ("permission-denied",), Right.ASK),
    Kind("tamper", "G", ("tampered",), Right.HOLD_AND_GIVE_UP),
)

# More than a minute of one core, of which the limit allows a quarter.
MUCH_WORK = "model.members=5 model.embedding_dim=128 model.mlp_units=1024,512,256 train.epochs=30"


def _ads(log: Log, name: str, classes: str, runbook: str, right: Right, **more: str | bool) -> Kind:
    return Kind(f"ads_{name}", classes, (runbook,), right, codebase=ADS, log=log, **more)  # type: ignore[arg-type]


ADS_KINDS = (
    # treatments that are too much
    _ads(Log.NPZ, "wide", "R", "host-out-of-memory", GIVE_UP, treatment="model.embedding_dim=32768"),
    _ads(
        Log.NPZ,
        "ulimit",
        "R",
        "host-out-of-memory",
        GIVE_UP,
        treatment="model.embedding_dim=8192",
        fault="address_space",
    ),
    _ads(Log.NPZ, "rate", "N", "diverged", GIVE_UP, treatment="optim.optimizer=sgd optim.lr=1e8"),
    _ads(Log.NPZ, "explode", "N", "loss-explosion", GIVE_UP, treatment="optim.lr=3"),
    _ads(Log.PARQUET, "slow", "R", "time-limit", GIVE_UP, treatment=MUCH_WORK),
    _ads(Log.PARQUET, "refused", "C", "configuration-error", GIVE_UP, treatment="features.numeric_encoding=log1p"),
    # data that are damaged
    _ads(Log.NPZ, "poisoned", "N", "diverged", GIVE_UP, data="poisoned"),
    _ads(Log.NPZ, "torn_npz", "D", "corrupt-data", ONCE, data="torn"),
    _ads(Log.NPZ, "flipped_npz", "D", "corrupt-data", ONCE, data="flipped"),
    _ads(Log.PARQUET, "torn_parquet", "D", "corrupt-data", ONCE, data="torn"),
    _ads(Log.PARQUET, "flipped_parquet", "D", "corrupt-data", ONCE, data="flipped"),
    _ads(Log.NPZ, "leak", "S", "too-good", Right.QUARANTINE, data="leaky"),
    # code that is wrong
    _ads(Log.PARQUET, "shape", "C", "shape-mismatch", GIVE_UP, fault="shape"),
    _ads(Log.NPZ, "index", "C", "index-out-of-range", GIVE_UP, fault="index"),
    _ads(Log.PARQUET, "constant", "S", "constant-predictions", GIVE_UP, fault="constant"),
    _ads(Log.PARQUET, "cheat", "S", "evaluator-disagrees", GIVE_UP, fault="cheat"),
    _ads(Log.NPZ, "short", "S", "wrong-row-count", GIVE_UP, fault="short"),
    _ads(Log.PARQUET, "tamper", "G", "tampered", Right.HOLD_AND_GIVE_UP, fault="tamper"),
    # the machine
    _ads(Log.PARQUET, "handles", "R", "too-many-files", Right.ASK, fault="handles"),
    _ads(Log.PARQUET, "disk_full", "R", "disk-full", Right.HOLD, fault="disk_full", root=True),
    _ads(Log.NPZ, "killed", "T", "killed", REPEAT, accident=True, fault="killed"),
    _ads(Log.PARQUET, "preempted", "T", "taken-back", REPEAT, accident=True, fault="preempted"),
    _ads(Log.NPZ, "hang", "T", "hung", REPEAT, accident=True, fault="hang"),
    _ads(Log.PARQUET, "node", "T", "node-lost", REPEAT, accident=True, fault="node"),
)
KINDS = (*TINY_KINDS, *ADS_KINDS)
BY_NAME = {kind.name: kind for kind in KINDS}
