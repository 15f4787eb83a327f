"""Small values the store gives and takes beside those of the domain."""

from __future__ import annotations

from dataclasses import dataclass

from rea.domain.campaign import Approval, Campaign, PlanRecord
from rea.domain.hypothesis import Hypothesis
from rea.domain.ledger import Balance
from rea.domain.run import Attempt, Run


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
