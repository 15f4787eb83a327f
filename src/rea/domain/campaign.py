"""A campaign: one model, one objective, one signed budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rea.domain.claim import Claim
from rea.domain.codebase import Codebase
from rea.domain.ids import say
from rea.domain.states import CampaignState, PauseReason, Phase, PlanState, Verdict

# Among the options: since when the launcher does not answer, and when an engineer last had the campaign go on.
AWAY_SINCE, RESUMED_AT = "away_since", "resumed_at"


@dataclass(frozen=True, slots=True)
class Campaign:
    id: int
    name: str
    codebase: Codebase
    commit: str
    state: CampaignState
    round: int
    phase: Phase
    created_at: float
    env: dict[str, str]
    options: dict[str, Any]  # what the plan command was asked: budget text, profile runs, rounds
    incumbent: int | None = None  # hypothesis id
    verdict: Verdict | None = None
    visible: Claim | None = None  # the confirmation on the visible split
    claim: Claim | None = None  # the same on the sealed split
    reason: str = ""
    pause_reason: PauseReason | None = None
    next_wake_at: float | None = None
    ended_at: float | None = None

    @property
    def away_since(self) -> float | None:
        """When the launcher stopped answering; None while it answers."""
        since = self.options.get(AWAY_SINCE)
        return None if since is None else float(since)

    @property
    def resumed_at(self) -> float:
        """When an engineer last had it go on; 0 where nobody had to."""
        return float(self.options.get(RESUMED_AT, 0.0))

    @property
    def title(self) -> str:
        return say("C", self.id)


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """One version of a campaign's plan as stored: the exact text that is signed, and its digest."""

    id: int
    campaign: int
    version: int
    state: PlanState
    text: str
    digest: str
    created_at: float


@dataclass(frozen=True, slots=True)
class Approval:
    plan: int
    digest: str
    signer: str
    signature: str
    at: float


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a campaign's record."""

    id: int
    campaign: int
    at: float
    kind: str
    message: str
    data: dict[str, Any]
