"""A campaign's rows as of one instant: what every decision is made on."""

from __future__ import annotations

from dataclasses import dataclass

from rea.domain.campaign import Approval, Campaign, PlanRecord
from rea.domain.hypothesis import Hypothesis
from rea.domain.ledger import Balance
from rea.domain.run import Attempt, Run


@dataclass(frozen=True, slots=True)
class Rows:
    """`plan` is the latest version, `approval` the signature over it."""

    campaign: Campaign
    hypotheses: tuple[Hypothesis, ...]
    runs: tuple[Run, ...]
    attempts: tuple[Attempt, ...]
    balance: Balance
    plan: PlanRecord | None
    approval: Approval | None
