"""Everything a report is made from, as it stands at one moment."""

from __future__ import annotations

from dataclasses import dataclass

from rea.domain.campaign import Approval, Campaign, Event, PlanRecord
from rea.domain.hypothesis import Hypothesis
from rea.domain.ledger import Entry
from rea.domain.plan import Plan
from rea.domain.run import Attempt, Run


@dataclass(frozen=True, slots=True)
class View:
    """One campaign's rows. `branch` is the proposal's git branch, `reproduction` the shell command that repeats it,
    `now` the moment of the view in Unix seconds."""

    campaign: Campaign
    plan: Plan | None
    record: PlanRecord | None
    approval: Approval | None
    hypotheses: tuple[Hypothesis, ...]
    runs: tuple[Run, ...]
    attempts: tuple[Attempt, ...]
    entries: tuple[Entry, ...]
    events: tuple[Event, ...]
    branch: str | None
    reproduction: str | None
    now: float
    altered: tuple[str, ...] = ()  # what of its rows something else than REA wrote, in words
