"""Whatever is not expressly allowed is denied."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from rea.domain.campaign import Campaign
from rea.domain.errors import GuardrailError
from rea.domain.states import CampaignState, Phase
from rea.domain.treatment import Treatment
from rea.guard.policy import Actor, Effect, Request, may, require
from support.world import tiny_codebase

CODE = replace(tiny_codebase(), editable=("models/**",))
RUNNING = Campaign(1, "one", CODE, "c0ffee", CampaignState.RUNNING, 1, Phase.VALIDATION, 0.0, {}, {})
LR = Treatment({"optim.lr": 0.01})


def allowed(request: Request, campaign: Campaign = RUNNING, problem: str | None = "") -> bool:
    return may(request, campaign, signature_problem=problem).allowed


def test_a_tool_of_a_model_and_a_trainer_can_neither_sign_nor_spend_nor_open_the_sealed_split() -> None:
    for actor, effect in product((Actor.TOOL, Actor.TRAINER), Effect):
        request = Request(actor, effect, LR, Phase.VALIDATION, "models/net.py")
        read_or_edit = effect is Effect.READ or (actor is Actor.TOOL and effect is Effect.EDIT)
        assert allowed(request) is read_or_edit, (actor, effect)


def test_the_executor_neither_approves_nor_grants_nor_answers() -> None:
    for effect in (Effect.PLAN, Effect.MANAGE, Effect.APPROVE, Effect.GRANT, Effect.ANSWER, Effect.STEER):
        assert not allowed(Request(Actor.EXECUTOR, effect))
        assert allowed(Request(Actor.ENGINEER, effect))


@pytest.mark.parametrize("problem", [None, "the signature is over another text"])
def test_nothing_of_the_search_is_submitted_on_a_signature_that_nobody_verified_or_that_does_not_hold(problem) -> None:
    assert allowed(Request(Actor.EXECUTOR, Effect.SUBMIT, LR, Phase.VALIDATION))
    assert not allowed(Request(Actor.EXECUTOR, Effect.SUBMIT, LR, Phase.VALIDATION), problem=problem)
    assert not allowed(Request(Actor.EXECUTOR, Effect.PROPOSE), problem=problem)


def test_before_the_signature_only_the_unchanged_baseline_is_trained() -> None:
    profiling = replace(RUNNING, state=CampaignState.PROFILING, phase=Phase.PROFILE)
    assert allowed(Request(Actor.EXECUTOR, Effect.SUBMIT, Treatment(), Phase.PROFILE), profiling, None)
    assert not allowed(Request(Actor.EXECUTOR, Effect.SUBMIT, LR, Phase.PROFILE), profiling, None)


@pytest.mark.parametrize("overrides", [{"optim.lr": 5.0}, {"seed": 3}, {"optim.schedule": "evil"}])
def test_no_value_outside_of_its_knob_is_submitted(overrides) -> None:
    assert not allowed(Request(Actor.EXECUTOR, Effect.SUBMIT, Treatment(overrides), Phase.VALIDATION))


def test_the_sealed_split_is_opened_once_and_in_its_phase_alone() -> None:
    reveal = Request(Actor.EXECUTOR, Effect.REVEAL)
    at_it = replace(RUNNING, phase=Phase.REVEAL)
    assert allowed(reveal, at_it) and not allowed(reveal)
    assert not allowed(replace(reveal, revealed=1), at_it)


def test_a_denial_is_an_error_that_says_who_what_and_why() -> None:
    with pytest.raises(GuardrailError, match=r"edit is denied to the tool: the patch touches evaluate\.py"):
        require(Request(Actor.TOOL, Effect.EDIT, path="evaluate.py"), RUNNING)
