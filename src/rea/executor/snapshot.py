"""Everything a decision is made on, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rea.domain.campaign import Campaign
from rea.domain.codebase import Scalar
from rea.domain.hypothesis import Hypothesis
from rea.domain.jobs import Capacity, Observation
from rea.domain.ledger import Balance
from rea.domain.plan import Plan
from rea.domain.rows import NOTHING_CLOSED, Closed
from rea.domain.run import Attempt, Failure, Run, RunResult
from rea.domain.runbook import Action, Charge
from rea.domain.share import Share


@dataclass(frozen=True, slots=True)
class Report:
    """What an ended attempt amounts to: a result or a failure, and in that case what its runbook prescribes."""

    outcome: str
    result: RunResult | None = None
    pruned: bool = False
    failure: Failure | None = None
    action: Action | None = None
    retry: bool = False  # the runbook still allows another attempt
    wait_s: float = 0.0
    repair: Mapping[str, Scalar] = field(default_factory=dict)  # overrides for a repaired hypothesis
    adjust: Mapping[str, Scalar] = field(default_factory=dict)  # overrides for the next attempt of the same run
    charge: Charge = Charge.HYPOTHESIS
    device_s: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`observed` holds the launcher's word by job name, `reports` what was read of attempts it says have ended.

    `capacity` is None while the launcher does not answer. `signed` is True when the plan's signature verifies now.
    """

    campaign: Campaign
    plan: Plan | None
    signed: bool
    hypotheses: tuple[Hypothesis, ...]
    runs: tuple[Run, ...]
    attempts: tuple[Attempt, ...]
    balance: Balance
    observed: Mapping[str, Observation]
    reports: Mapping[int, Report]
    capacity: Capacity | None
    signature_problem: str = ""
    cancelling: frozenset[int] = frozenset()  # attempts whose job was asked to end during this wake
    closed: Closed = NOTHING_CLOSED
    shares: tuple[Share, ...] = ()  # of days and months that it has to keep to
    told: frozenset[str] = frozenset()  # warnings (`Warn.key`) that this wake has given
