"""Every state of every row, and every transition, in one place.

The store refuses a change that is not listed here. A state without an arrow out of it is terminal.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from rea.domain.errors import TransitionError


class CampaignState(StrEnum):
    PROFILING = "profiling"  # → DRAFTED, PAUSED, FAILED, STOPPED   the baseline is being measured
    DRAFTED = "drafted"  # → APPROVED, STOPPED                 a plan waits for an engineer
    APPROVED = "approved"  # → RUNNING, DRAFTED, STOPPED       signed, not started (an edit voids the signature)
    RUNNING = "running"  # → PAUSED, FINISHED, STOPPED, FAILED
    PAUSED = "paused"  # → RUNNING, STOPPED, PROFILING         jobs in flight end; nothing new starts
    FINISHED = "finished"  # terminal: a proposal, or "no launch" said plainly
    STOPPED = "stopped"  # terminal: an engineer ended it
    FAILED = "failed"  # terminal: it could not go on (the baseline gives no result, ...)


class Phase(StrEnum):
    """What a running campaign is busy with. PROFILE runs once before the plan; the first three repeat each round."""

    PROFILE = "profile"
    VALIDATION = "validation"
    COMBINATION = "combination"
    EXPLOITATION = "exploitation"
    CONFIRMATION = "confirmation"
    REVEAL = "reveal"  # the sealed split, opened once
    DONE = "done"


class PauseReason(StrEnum):
    ENGINEER = "engineer"
    BUDGET = "budget"
    GUARDRAIL = "guardrail"


class Verdict(StrEnum):
    """How a finished campaign ended."""

    LAUNCH = "launch"  # the sealed gain's interval lies above zero and its mean above minimum_gain
    NO_LAUNCH = "no_launch"


class HypothesisState(StrEnum):
    PROPOSED = "proposed"  # → TESTING, VETOED, LEFT_OUT
    TESTING = "testing"  # → SUPPORTED, REFUTED, INCONCLUSIVE, FAILED, VETOED, LEFT_OUT
    SUPPORTED = "supported"  # → REFUTED, INCONCLUSIVE, VETOED     (more seeds may overturn it)
    INCONCLUSIVE = "inconclusive"  # → SUPPORTED, REFUTED, VETOED, TESTING
    REFUTED = "refuted"  # → SUPPORTED, INCONCLUSIVE, TESTING      (tested again on a new incumbent)
    FAILED = "failed"  # terminal: it could not be trained
    VETOED = "vetoed"  # terminal: an engineer said no
    LEFT_OUT = "left_out"  # → PROPOSED                            not in this plan, with the reason


BARRED: Final = (HypothesisState.VETOED, HypothesisState.LEFT_OUT)  # nothing of them is trained


class RunState(StrEnum):
    PLANNED = "planned"  # → ACTIVE, CANCELLED, FAILED      (FAILED: it waited for what an investigation found)
    ACTIVE = "active"  # → SUCCEEDED, PRUNED, FAILED, CANCELLED, PLANNED   (PLANNED: a retry is due)
    SUCCEEDED = "succeeded"  # terminal: a result that counts
    PRUNED = "pruned"  # terminal: stopped early on the paired baseline curve
    FAILED = "failed"  # terminal: no result, class and reason recorded
    CANCELLED = "cancelled"  # terminal


class AttemptState(StrEnum):
    INTENDED = "intended"  # → SUBMITTED, ENDED     written down before the launcher is asked
    SUBMITTED = "submitted"  # → ENDED
    ENDED = "ended"  # terminal: outcome and device time are final, the reservation is settled


class PlanState(StrEnum):
    DRAFT = "draft"  # → APPROVED, REJECTED, SUPERSEDED
    APPROVED = "approved"  # → SUPERSEDED
    REJECTED = "rejected"  # → SUPERSEDED
    SUPERSEDED = "superseded"  # terminal: a newer version exists


_C, _H, _R, _A, _P = CampaignState, HypothesisState, RunState, AttemptState, PlanState

# Keyed by kind of row as well: a StrEnum member equals its text, so two kinds' "approved" would be one key.
TRANSITIONS: Final[dict[tuple[type[StrEnum], StrEnum], frozenset[StrEnum]]] = {
    (_C, _C.PROFILING): frozenset({_C.DRAFTED, _C.PAUSED, _C.FAILED, _C.STOPPED}),
    (_C, _C.DRAFTED): frozenset({_C.APPROVED, _C.STOPPED}),
    (_C, _C.APPROVED): frozenset({_C.RUNNING, _C.DRAFTED, _C.STOPPED}),
    (_C, _C.RUNNING): frozenset({_C.PAUSED, _C.FINISHED, _C.STOPPED, _C.FAILED}),
    # Back to PROFILING: the budget held no plan, and with another one the same profile is planned on.
    (_C, _C.PAUSED): frozenset({_C.RUNNING, _C.STOPPED, _C.PROFILING}),
    (_C, _C.FINISHED): frozenset(),
    (_C, _C.STOPPED): frozenset(),
    (_C, _C.FAILED): frozenset(),
    (_H, _H.PROPOSED): frozenset({_H.TESTING, _H.VETOED, _H.LEFT_OUT}),
    (_H, _H.TESTING): frozenset({_H.SUPPORTED, _H.REFUTED, _H.INCONCLUSIVE, _H.FAILED, _H.VETOED, _H.LEFT_OUT}),
    (_H, _H.SUPPORTED): frozenset({_H.REFUTED, _H.INCONCLUSIVE, _H.VETOED}),
    (_H, _H.INCONCLUSIVE): frozenset({_H.SUPPORTED, _H.REFUTED, _H.VETOED, _H.TESTING}),
    (_H, _H.REFUTED): frozenset({_H.SUPPORTED, _H.INCONCLUSIVE, _H.TESTING}),
    (_H, _H.FAILED): frozenset(),
    (_H, _H.VETOED): frozenset(),
    (_H, _H.LEFT_OUT): frozenset({_H.PROPOSED}),
    (_R, _R.PLANNED): frozenset({_R.ACTIVE, _R.CANCELLED, _R.FAILED}),
    (_R, _R.ACTIVE): frozenset({_R.SUCCEEDED, _R.PRUNED, _R.FAILED, _R.CANCELLED, _R.PLANNED}),
    (_R, _R.SUCCEEDED): frozenset(),
    (_R, _R.PRUNED): frozenset(),
    (_R, _R.FAILED): frozenset(),
    (_R, _R.CANCELLED): frozenset(),
    (_A, _A.INTENDED): frozenset({_A.SUBMITTED, _A.ENDED}),
    (_A, _A.SUBMITTED): frozenset({_A.ENDED}),
    (_A, _A.ENDED): frozenset(),
    (_P, _P.DRAFT): frozenset({_P.APPROVED, _P.REJECTED, _P.SUPERSEDED}),
    (_P, _P.APPROVED): frozenset({_P.SUPERSEDED}),
    (_P, _P.REJECTED): frozenset({_P.SUPERSEDED}),
    (_P, _P.SUPERSEDED): frozenset(),
}

_SEARCHING: Final = frozenset(Phase) - {Phase.PROFILE, Phase.DONE}

# Which phases go with a state; a campaign that was ended keeps the phase it had.
PHASES: Final[dict[CampaignState, frozenset[Phase]]] = {
    _C.PROFILING: frozenset({Phase.PROFILE}),
    _C.DRAFTED: frozenset({Phase.PROFILE}),
    _C.APPROVED: frozenset({Phase.PROFILE}),
    _C.RUNNING: _SEARCHING,
    _C.PAUSED: _SEARCHING | {Phase.PROFILE},  # in its profile where the budget held no plan
    _C.FINISHED: frozenset({Phase.DONE}),
    _C.STOPPED: frozenset(Phase),
    _C.FAILED: frozenset(Phase),
}


def is_terminal(state: StrEnum) -> bool:
    """True if nothing leads out of this state."""
    return not TRANSITIONS[type(state), state]


def check_transition(what: str, old: StrEnum, new: StrEnum) -> None:
    """Raise TransitionError unless `old → new` is listed above (staying put is always allowed)."""
    if new != old and new not in TRANSITIONS[type(old), old]:
        allowed = ", ".join(sorted(TRANSITIONS[type(old), old])) or "nothing, it is terminal"
        raise TransitionError(f"{what} is {old.value} and cannot become {new.value}", hint=f"from here: {allowed}")
