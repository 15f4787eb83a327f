"""How likely a treatment can be trained at all, by what became of treatments like it in this campaign. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from rea.domain.codebase import Scalar, same
from rea.domain.hypothesis import Hypothesis, HypothesisDraft
from rea.domain.run import Run
from rea.domain.runbook import FailureClass
from rea.domain.states import HypothesisState, RunState

DOUBT: Final = 2.0  # treatments like it that would have to fail until half of what it is worth is left
ALIKE: Final = 1.0  # of one that moves a setting the same way, or to the same value
FURTHER: Final = 2.0  # of one that moves it the same way and goes no further than this treatment does
RELATED: Final = 0.25  # of one that works by the same mechanism otherwise
OWN_FAULTS: Final = tuple(kind.value for kind in (FailureClass.RESOURCE, FailureClass.CODE, FailureClass.NUMERIC))


@dataclass(frozen=True, slots=True)
class Directions:
    """What could not be trained for reasons of its own, and what could; `values` are the baseline's settings."""

    failed: tuple[HypothesisDraft, ...]
    trained: tuple[HypothesisDraft, ...]
    values: Mapping[str, Scalar]

    def chance(self, draft: HypothesisDraft) -> float:
        """The share of its worth that is left: 1 where nothing like it has failed."""
        against = sum(_likeness(draft, other, self.values) for other in self.failed)
        if not against:
            return 1.0
        for_it = sum(_likeness(other, draft, self.values) for other in self.trained)
        return (DOUBT + for_it) / (DOUBT + for_it + against)


def directions(hypotheses: Iterable[Hypothesis], runs: Iterable[Run], values: Mapping[str, Scalar]) -> Directions:
    """What became of a campaign's treatments so far. Infrastructure's failures say nothing about them."""
    faults = {
        run.draft.hypothesis
        for run in runs
        if run.state is RunState.FAILED and run.failure is not None and run.failure.kind in OWN_FAULTS
    }
    done = [h for h in hypotheses if h.belief is not None]
    failed = tuple(h.draft for h in done if h.state is HypothesisState.FAILED and h.id in faults)
    trained = tuple(h.draft for h in done if h.state in (HypothesisState.SUPPORTED, HypothesisState.INCONCLUSIVE))
    return Directions(failed, trained, values)


def _likeness(one: HypothesisDraft, failed: HypothesisDraft, values: Mapping[str, Scalar]) -> float:
    """How much the failure of the second says about the first."""
    most = RELATED if one.mechanism and one.mechanism == failed.mechanism else 0.0
    for name, value in one.treatment.overrides.items():
        if name in failed.treatment.overrides:
            most = max(most, _of_setting(value, failed.treatment.overrides[name], values.get(name)))
    return most


def _of_setting(value: Scalar, failed: Scalar, start: Scalar | None) -> float:
    mine, theirs = _moved(value, start), _moved(failed, start)
    if mine is None or theirs is None:
        return ALIKE if same(value, failed) else 0.0
    if mine * theirs <= 0:
        return 0.0
    return FURTHER if abs(mine) >= abs(theirs) else ALIKE


def _moved(value: Scalar, start: Scalar | None) -> float | None:
    """How far a number is from where it stood; None of anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) - (float(start) if isinstance(start, int | float) else 0.0)
