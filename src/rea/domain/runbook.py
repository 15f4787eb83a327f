"""Runbooks: how to recognise one kind of failure, and what may be done about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from rea.domain.technique import Setting


class FailureClass(StrEnum):
    """Who or what is at fault; the classes differ in whether repeating can help."""

    TRANSIENT = "T"  # infrastructure: the same run may succeed elsewhere or later
    RESOURCE = "R"  # memory, time, disk: the same run on the same resources fails again
    CODE = "C"  # code, environment or configuration: deterministic
    NUMERIC = "N"  # the training diverged
    DATA = "D"  # the data are not what the trainer expects
    SILENT = "S"  # it ended well and the result cannot be believed
    GUARDRAIL = "G"  # a person has to decide


class Action(StrEnum):
    RETRY = "retry"  # the same run again
    MUTATE = "mutate"  # again, with one change from the runbook
    DROP = "drop"  # give this run up; its hypothesis goes on with the runs it has
    FAIL_HYPOTHESIS = "fail_hypothesis"  # the treatment cannot be trained
    QUARANTINE = "quarantine"  # believe nothing of it, keep it out of everything, and ask an engineer about it alone
    INVESTIGATE = "investigate"  # find out by first principles (rea.executor.investigate)
    ASK = "ask"  # set its hypothesis aside and ask an engineer about it; hold where it is not that hypothesis alone
    HOLD = "hold"  # stop launching and ask an engineer


class Charge(StrEnum):
    """Which share of the budget a repetition is paid from."""

    HYPOTHESIS = "hypothesis"
    CONTINGENCY = "contingency"


EVALUATOR_FAILED: Final = "evaluator-failed"
"""The runbook of an evaluator that gives no answer; repeated, it holds the campaign (`rea.executor.decide`)."""

TIME_LIMIT: Final = "time-limit"
"""The runbook of a run that reached its wall-time limit; in the profile, every other run would."""

DISK_FULL: Final = "disk-full"
TAMPERED: Final = "tampered"
DATA_CHANGED: Final = "data-changed"
ENVIRONMENT_CHANGED: Final = "environment-changed"
WHOLE: Final = (TAMPERED, DATA_CHANGED, ENVIRONMENT_CHANGED)
"""Runbooks of what no single treatment has a part in: without one of them all is as it was."""

DENIED: Final = "denied"  # no runbook: the policy said no
UNKNOWN: Final = "unknown"
LEARNT: Final = "learnt"  # no runbook: investigations have found what is behind it
CHECKPOINT_MISMATCH: Final = "checkpoint-mismatch"
CORRUPT_CHECKPOINT: Final = "corrupt-checkpoint"


class Signal(StrEnum):
    """What REA itself saw in a run's metrics and files, beside its log."""

    NAN = "nan"  # a metric was NaN or infinite
    MISSING_FINAL = "missing_final"  # no final metrics line
    ROW_COUNT = "row_count"  # the evaluator judged another number of rows than it should
    RESOLVED_MISMATCH = "resolved_mismatch"  # the trainer ran with other values than it was given
    EVALUATOR_DISAGREES = "evaluator_disagrees"  # the pinned evaluator recomputed another metric
    EVALUATOR_FAILED = "evaluator_failed"  # the pinned evaluator died, or printed no metric
    EXPLODED = "exploded"  # the objective grew far beyond the baseline's
    CONSTANT = "constant"  # the predictions tell rows apart no better than chance
    TOO_GOOD = "too_good"  # a gain that no treatment has: labels, or what tells of them, were seen
    HUNG = "hung"  # at its limit it had neither worked nor said anything for long
    SLOW = "slow"  # at its limit it was far behind what the same training took before
    KILLED = "killed"  # killed by SIGKILL, and nothing was short of memory
    TAMPERED = "tampered"  # the code that judges is not as it was committed
    DATA_CHANGED = "data_changed"  # the data are not those of the plan
    ENVIRONMENT_CHANGED = "environment_changed"  # other packages are installed than when the baseline was measured


@dataclass(frozen=True, slots=True)
class Policy:
    """What to do about a failure: `max` repetitions at most, waiting `backoff_s` seconds before each.

    `mutate` lists the changes in the order in which they are tried, relative to the run's settings as planned.
    `adjust` lists changes that leave the model what it is, such as half of a micro-batch with twice the accumulation:
    where the codebase has those knobs, the same run is tried again with them. `resume`: a repetition goes on from the
    last good checkpoint. `cordon`: after two such failures a node gets no more runs of the campaign.
    """

    action: Action
    max: int = 0
    backoff_s: tuple[float, ...] = ()
    mutate: tuple[Setting, ...] = ()
    charge: Charge = Charge.HYPOTHESIS
    adjust: tuple[Setting, ...] = ()
    resume: bool = False
    cordon: bool = False

    def repeats(self, attempts: int) -> bool:
        """Whether a run whose `attempts` attempts have all ended may be submitted once more."""
        return self.action in (Action.RETRY, Action.MUTATE) and attempts <= self.max

    def wait_s(self, attempts: int) -> float:
        """Seconds to wait before the attempt that follows `attempts` ended ones; the last wait repeats."""
        return self.backoff_s[min(max(attempts, 1), len(self.backoff_s)) - 1] if self.backoff_s else 0.0

    def mutation(self, attempts: int) -> Setting | None:
        """The change for the attempt that follows `attempts` ended ones; the last change repeats."""
        return self.mutate[min(max(attempts, 1), len(self.mutate)) - 1] if self.mutate else None


@dataclass(frozen=True, slots=True)
class Runbook:
    """One card. It matches when any of its signs is seen; `priority` decides between several that match.

    `signatures` are regular expressions over single lines of the log's tail. `outcomes` are ways a job ends as the
    launcher names them. `validation_action` replaces the policy's action while hypotheses are tested singly.
    """

    name: str
    title: str
    kind: FailureClass
    policy: Policy
    prose: str
    citation: str
    priority: int
    signatures: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    signals: tuple[Signal, ...] = ()
    exit_codes: tuple[int, ...] = ()
    kill_signals: tuple[int, ...] = ()
    validation_action: Action | None = None
    follows: tuple[str, ...] = ()  # runbooks of failures that this one can be a consequence of
    source: str = ""  # the file the card was read from

    def action(self, *, validation: bool) -> Action:
        """What to do in this phase, before the cap on repetitions is looked at."""
        return self.validation_action if validation and self.validation_action else self.policy.action


@dataclass(frozen=True, slots=True)
class FailureEvidence:
    """What is known of a run that has no believable result.

    `outcome` is the launcher's word; `signal` the number of the signal that ended the trainer; `attempts` counts this
    run's ended attempts, the last one included; `earlier` are the runbooks of those before it, oldest first.
    """

    outcome: str
    exit_code: int | None = None
    signal: int | None = None
    log_tail: str = ""
    signals: frozenset[str] = frozenset()
    attempts: int = 1
    earlier: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Which runbook applies, why in words, and the line of the log that gave it away.

    `chain` names the failures that led to this one, first cause first and this one last, where there were others.
    """

    runbook: Runbook
    why: str
    line: str | None = None
    chain: tuple[str, ...] = ()
