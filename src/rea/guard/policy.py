"""May this action happen? One answer for every effect, whoever asks; whatever is not expressly allowed is denied.

The store holds the budget and the states, the codebase its paths; here stands who may do what, and when. The executor
asks right before each effect, so that what was decided on an older view of the rows is judged by today's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rea.domain.campaign import Campaign
from rea.domain.codebase import Codebase
from rea.domain.errors import GuardrailError
from rea.domain.paths import check_editable
from rea.domain.states import CampaignState, Phase, is_terminal
from rea.domain.treatment import Treatment


class Actor(StrEnum):
    ENGINEER = "engineer"  # at a command line or a page
    EXECUTOR = "executor"  # a wake
    TOOL = "tool"  # anything that a language model can call
    TRAINER = "trainer"  # the code of a run


class Effect(StrEnum):
    SUBMIT = "submit"  # a training
    CANCEL = "cancel"  # a job of the campaign
    REVEAL = "reveal"  # the sealed split
    EDIT = "edit"  # a file of the codebase, in a worktree
    PROPOSE = "propose"  # a branch
    PLAN = "plan"  # a new campaign, with the profile it pays for, or another version of a plan
    APPROVE = "approve"  # a plan, by signature
    GRANT = "grant"  # an item of the preflight
    ANSWER = "answer"  # a question
    MANAGE = "manage"  # the store, what it keeps of campaigns that ended, who may approve in a codebase
    STEER = "steer"  # start, pause, resume, stop, veto
    READ = "read"  # rows, logs, files at the pinned commit
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody is about to do. `treatment` and `phase` are of a run, `path` of an edit, relative to the codebase.

    `revealed` counts the evaluations of the sealed split that have succeeded.
    """

    actor: Actor
    effect: Effect
    treatment: Treatment | None = None
    phase: Phase | None = None
    path: str | None = None
    revealed: int = 0


@dataclass(frozen=True, slots=True)
class Ruling:
    allowed: bool
    why: str


# What each may do at all; the rest is denied without another look.
_MAY = {
    Actor.ENGINEER: frozenset(
        {Effect.PLAN, Effect.APPROVE, Effect.GRANT, Effect.ANSWER, Effect.STEER, Effect.MANAGE, Effect.READ}
    ),
    Actor.EXECUTOR: frozenset({Effect.SUBMIT, Effect.CANCEL, Effect.REVEAL, Effect.EDIT, Effect.PROPOSE, Effect.READ}),
    Actor.TOOL: frozenset({Effect.READ, Effect.EDIT}),
    Actor.TRAINER: frozenset({Effect.READ, Effect.NETWORK}),
}


def may(request: Request, campaign: Campaign | None, *, signature_problem: str | None = None) -> Ruling:
    """Whether this may happen in this campaign now, and why; None before there is one.

    `signature_problem` is why the plan's signature does not hold, empty where it does, None where nobody looked.
    """
    if request.effect not in _MAY[request.actor]:
        return Ruling(False, f"{request.actor.value}s may not {request.effect.value}")
    denied = _denied(request, campaign, signature_problem) if campaign is not None else ""
    return Ruling(not denied, denied or f"{request.effect.value} is within what was granted")


def _denied(request: Request, campaign: Campaign, signature_problem: str | None) -> str:
    """Why not; empty where it may."""
    if request.effect is Effect.SUBMIT:
        return _no_submit(request, campaign, signature_problem)
    if request.effect is Effect.REVEAL:
        return _no_reveal(request, campaign, signature_problem)
    if request.effect is Effect.PROPOSE:
        return "" if campaign.state is CampaignState.RUNNING and signature_problem == "" else "no signed campaign runs"
    if request.effect is Effect.EDIT:
        return _no_edit(request, campaign.codebase)
    if request.effect is Effect.NETWORK:
        return "" if campaign.codebase.sandbox.network else "[sandbox] network is not true in rea.toml"
    if request.effect in (Effect.APPROVE, Effect.GRANT, Effect.ANSWER) and is_terminal(campaign.state):
        return f"the campaign is {campaign.state.value}"
    return ""


def _no_submit(request: Request, campaign: Campaign, signature_problem: str | None) -> str:
    if request.phase is None or request.treatment is None:
        return "nobody said which training"
    if campaign.state is CampaignState.PROFILING:
        unchanged = request.phase is Phase.PROFILE and request.treatment.empty
        return "" if unchanged else "before a plan is signed only the unchanged baseline is trained"
    if campaign.state is not CampaignState.RUNNING:
        return f"the campaign is {campaign.state.value}"
    if signature_problem is None or signature_problem:
        return signature_problem or "nobody has verified the signature"
    return _outside_of_knobs(request.treatment, campaign.codebase)


def _outside_of_knobs(treatment: Treatment, codebase: Codebase) -> str:
    for name, value in treatment.overrides.items():
        knob = codebase.knob(name)
        if knob is None:
            return f"{name} is no knob of rea.toml"
        if not knob.allows(value):
            return f"{name} = {value!r} is outside what rea.toml allows"
    return ""


def _no_reveal(request: Request, campaign: Campaign, signature_problem: str | None) -> str:
    if campaign.state is not CampaignState.RUNNING or campaign.phase is not Phase.REVEAL:
        return f"the campaign is {campaign.state.value} in {campaign.phase.value}, not at its reveal"
    if signature_problem is None or signature_problem:
        return signature_problem or "nobody has verified the signature"
    if campaign.codebase.objective.sealed is None:
        return "there is no sealed split"
    return "the sealed split was opened already, and it is opened once" if request.revealed else ""


def _no_edit(request: Request, codebase: Codebase) -> str:
    if request.path is None:
        return "nobody said which file"
    try:
        check_editable(codebase, request.path)
    except GuardrailError as error:
        return error.message
    return ""


def require(request: Request, campaign: Campaign | None, *, signature_problem: str | None = None) -> None:
    """Raise GuardrailError where it may not happen."""
    ruling = may(request, campaign, signature_problem=signature_problem)
    if not ruling.allowed:
        where = campaign.title if campaign is not None else "here"
        hint = "rea.toml and the signed plan say what may happen"
        if request.effect not in _MAY[request.actor]:
            hint = "only engineers may; REA_ACTOR says who calls"
        raise GuardrailError(
            f"{where}: {request.effect.value} is denied to the {request.actor.value}: {ruling.why}",
            hint=hint,
        )
