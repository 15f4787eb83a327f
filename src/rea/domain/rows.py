"""A campaign's rows as of one instant: what every decision is made on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rea.domain.campaign import Approval, Campaign, PlanRecord
from rea.domain.codec import digest
from rea.domain.hypothesis import Hypothesis, HypothesisKind
from rea.domain.ledger import Balance
from rea.domain.run import Attempt, Run
from rea.domain.states import Phase
from rea.domain.treatment import Treatment


@dataclass(frozen=True, slots=True)
class Closed:
    """What is left of hypotheses that no decision looks at any more, and of their runs, which have all ended.

    `tried` counts the hypotheses that were neither vetoed nor left out, by round and kind; `spent` has the
    device-seconds of their runs by round and phase; `treatments` the digests of what they train.
    """

    tried: Mapping[tuple[int, HypothesisKind], int] = field(default_factory=dict)
    spent: Mapping[tuple[int, Phase], float] = field(default_factory=dict)
    treatments: frozenset[str] = frozenset()

    def has(self, treatment: Treatment) -> bool:
        """Whether one of them trains this."""
        return bool(self.treatments) and digest(treatment.key()) in self.treatments

    def spent_in(self, *phases: Phase, round: int | None = None) -> float:
        """Device-seconds of these phases, of one round or of all."""
        return sum(s for (of, phase), s in self.spent.items() if phase in phases and round in (None, of))


NOTHING_CLOSED = Closed()


@dataclass(frozen=True, slots=True)
class Rows:
    """`plan` is the latest version, `approval` the signature over it.

    `hypotheses`, `runs` and `attempts` are all there are, less what is `closed`.
    """

    campaign: Campaign
    hypotheses: tuple[Hypothesis, ...]
    runs: tuple[Run, ...]
    attempts: tuple[Attempt, ...]
    balance: Balance
    plan: PlanRecord | None
    approval: Approval | None
    closed: Closed = NOTHING_CLOSED
