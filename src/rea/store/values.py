"""Small values the store gives and takes beside those of the domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from rea.domain.campaign import Approval, Campaign, PlanRecord
from rea.domain.claim import Claim
from rea.domain.hypothesis import Hypothesis
from rea.domain.ledger import Balance
from rea.domain.run import Attempt, Run
from rea.domain.states import CampaignState, PauseReason, Phase, Verdict


@dataclass(frozen=True, slots=True)
class Rows:
    """A campaign as of one instant, for `decide`."""

    campaign: Campaign
    hypotheses: tuple[Hypothesis, ...]
    runs: tuple[Run, ...]
    attempts: tuple[Attempt, ...]
    balance: Balance
    plan: PlanRecord | None
    approval: Approval | None


@dataclass(frozen=True, slots=True)
class Grant:
    """A permission an engineer gave during preflight."""

    name: str
    by: str
    at: float


class CampaignChanges(TypedDict, total=False):
    """What `Transaction.set_campaign` may change."""

    state: CampaignState
    round: int
    phase: Phase
    incumbent: int | None
    verdict: Verdict | None
    visible: Claim | None
    claim: Claim | None
    reason: str
    pause_reason: PauseReason | None
    next_wake_at: float | None
    ended_at: float | None
