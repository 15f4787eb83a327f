"""What a wake can do, as values. Each is one transaction and at most one outside effect, safe to do twice."""

from __future__ import annotations

from dataclasses import dataclass

from rea.domain.claim import Claim
from rea.domain.hypothesis import HypothesisDraft
from rea.domain.ledger import Purse
from rea.domain.run import RunDraft
from rea.domain.states import PauseReason, Phase, Verdict
from rea.executor.investigate import Finding
from rea.executor.snapshot import Report
from rea.planner.situation import Judgement


@dataclass(frozen=True, slots=True)
class Record:
    """An attempt ended: write its report, settle its reservation, move its run on."""

    attempt: int
    report: Report


@dataclass(frozen=True, slots=True)
class Submit:
    """Start a planned run: reserve its wall-time limit, write the intent down, then ask the launcher."""

    run: int
    purse: Purse
    walltime_s: float


@dataclass(frozen=True, slots=True)
class Resubmit:
    """An intent whose submission is unknown: adopt the job if the launcher has it, submit it if not."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ask the launcher to end a job."""

    attempt: int
    why: str


@dataclass(frozen=True, slots=True)
class Withdraw:
    """A run that has not started is not wanted any more."""

    run: int
    why: str


@dataclass(frozen=True, slots=True)
class Add:
    """New hypotheses, new runs and verdicts, in one transaction."""

    hypotheses: tuple[HypothesisDraft, ...]
    runs: tuple[RunDraft, ...]
    judgements: tuple[Judgement, ...]


@dataclass(frozen=True, slots=True)
class DraftPlan:
    """The profile is complete: diagnose, propose, lay out, write the plan down for an engineer."""


@dataclass(frozen=True, slots=True)
class BeginRound:
    """A later round: diagnose the incumbent, ask both sources again, go to its validation."""

    round: int


@dataclass(frozen=True, slots=True)
class Enter:
    """Go to a phase; `incumbent` is the best hypothesis so far (None: the baseline)."""

    phase: Phase
    incumbent: int | None
    why: str


@dataclass(frozen=True, slots=True)
class SetVisible:
    """The confirmation's claim on the visible split."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class Finish:
    """The campaign's end: a launch with its branch, or no launch."""

    verdict: Verdict
    claim: Claim | None
    why: str


@dataclass(frozen=True, slots=True)
class Pause:
    reason: PauseReason
    why: str


@dataclass(frozen=True, slots=True)
class Fail:
    why: str
    told: bool = False  # the campaign's reason tells it, and the record need not


@dataclass(frozen=True, slots=True)
class Warn:
    """Tell the engineers that a threshold was passed: once, or once for every text that has `about` in it."""

    kind: str
    why: str
    about: str = ""

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.about}"


@dataclass(frozen=True, slots=True)
class Conclude:
    """What was found out about a failure that no runbook knows, and what follows for the run that waited for it."""

    finding: Finding


@dataclass(frozen=True, slots=True)
class Away:
    """The launcher does not answer (`since` then), or answers again (None); the record tells both once."""

    since: float | None
    why: str


@dataclass(frozen=True, slots=True)
class Sleep:
    """Nothing to do until then (Unix seconds; None: until somebody acts)."""

    until: float | None


Action = (
    Record
    | Submit
    | Resubmit
    | Cancel
    | Withdraw
    | Add
    | DraftPlan
    | BeginRound
    | Enter
    | SetVisible
    | Finish
    | Pause
    | Fail
    | Warn
    | Away
    | Conclude
    | Sleep
)
