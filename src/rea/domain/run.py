"""Runs and attempts: trainings, and their submissions to a launcher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rea.domain.codebase import Scalar
from rea.domain.ids import say
from rea.domain.states import AttemptState, Phase, RunState
from rea.domain.treatment import Treatment


@dataclass(frozen=True, slots=True)
class Reading:
    """One progress line of a trainer: where it was, and the metrics it printed there."""

    x: float  # epoch where the trainer counts epochs, else step
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run showed on the visible split. Times in seconds, memory in bytes.

    `wall_s` is what the whole training took: where the last attempt went on from a checkpoint, with the time before it.
    """

    metrics: Mapping[str, float]
    curve: tuple[Reading, ...]
    axis: str  # "epoch" | "step"
    wall_s: float
    cpu_s: float
    peak_memory_bytes: int
    fidelity: float = 1.0  # share of the run that was seen (below 1 when pruned)
    overrides_verified: bool = False
    bad_lines: int = 0
    block_loss: tuple[float, ...] = ()  # the evaluator's sums of loss over blocks of rows, where it prints them
    sealed: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # reveal only: run id → evaluator line
    silent_s: float | None = None  # the longest that it neither used a core nor wrote a word, where that was seen
    evaluate_s: float | None = None  # what its evaluation took of `wall_s`, where the evaluator is a command of its own


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run has no result: the runbook that recognised it, its class, the words for people, the log's line.

    `detail` says how it was recognised, for who doubts it. `chain` are the runbooks of what led to it, the first cause
    first and itself last, where it is a consequence.
    """

    runbook: str
    kind: str
    message: str
    line: str | None = None
    detail: str = ""
    chain: tuple[str, ...] = ()
    node: str = ""  # where it happened, if it speaks against that machine
    remedy: str = ""  # what was done about it, in a word to count by


PROBE = "probe/"  # what the keys of runs begin with that find out why another failed
SMOKE = "smoke"  # the key of the run that shows whether the baseline trains at all


@dataclass(frozen=True, slots=True)
class RunDraft:
    """A training somebody wants. `key` is unique within the campaign: asking twice is asking once."""

    key: str
    hypothesis: int | None  # None: the baseline
    round: int
    phase: Phase
    treatment: Treatment
    seed: int
    priority: float
    predicted_s: float
    walltime_s: float
    stop_limits: tuple[tuple[float, float], ...] = ()  # (x, worst tolerated value), ascending x

    @property
    def probe(self) -> bool:
        """Whether it only finds out why another run failed: nothing is learnt about its treatment."""
        return self.key.startswith(PROBE)

    @property
    def smoke(self) -> bool:
        """Whether it only shows, on a few batches, that commands, environment and data work together."""
        return self.key == SMOKE

    @property
    def aside(self) -> bool:
        """Whether it tells nothing of how good its treatment is."""
        return self.probe or self.smoke


@dataclass(frozen=True, slots=True)
class Run:
    id: int
    campaign: int
    draft: RunDraft
    state: RunState
    not_before: float = 0.0
    result: RunResult | None = None
    failure: Failure | None = None
    adjust: Mapping[str, Scalar] = field(default_factory=dict)  # beside its treatment; leaves the model what it is

    @property
    def name(self) -> str:
        return say("R", self.id)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One submission. `job` is the unique name under which the launcher knows it, written down before submission."""

    id: int
    run: int
    number: int
    job: str
    run_dir: str
    state: AttemptState
    reserved_s: float
    intended_at: float
    outcome: str | None = None
    failure: Failure | None = None
    device_s: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
