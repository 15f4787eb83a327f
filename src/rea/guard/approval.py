"""Whether a plan is approved: the plan as stored, the signature, and the signers it was written for."""

from __future__ import annotations

import json
from typing import Any

from rea.domain.campaign import Approval, Campaign, PlanRecord
from rea.domain.codec import digest
from rea.domain.errors import ApprovalNeededError
from rea.domain.ids import say
from rea.domain.states import PlanState
from rea.guard.signing import SIGNERS_FILE, Verified, statement, verify


def verified_approval(plan: PlanRecord, approval: Approval | None, campaign: Campaign, signers_text: str) -> Verified:
    """Who approved exactly this plan of this campaign; the same values always give the same answer.

    `signers_text` is the codebase's allowed_signers file; the plan pins its digest, so that nobody is let in after
    the plan was written. A key is judged at the moment it signed: one that expires later undoes nothing. Raises
    ApprovalNeededError with the reason where anything does not hold.
    """
    name = say("P", plan.id)
    again = f"`rea plan edit {campaign.title}` writes it anew: read it, and sign it with `rea approve {campaign.title}`"
    afresh = f"restore the store from a backup, or `rea stop {campaign.title}` and make a new plan with `rea plan`"
    if digest(plan.text) != plan.digest:
        raise ApprovalNeededError(f"the text of plan {name} no longer has the digest {plan.digest[:12]}…", hint=afresh)
    if plan.campaign != campaign.id:
        raise ApprovalNeededError(
            f"plan {name} belongs to {say('C', plan.campaign)}, not {campaign.title}", hint=afresh
        )
    if plan.state in (PlanState.SUPERSEDED, PlanState.REJECTED):
        raise ApprovalNeededError(f"plan {name} is {plan.state.value}", hint=again)
    if approval is None:
        raise ApprovalNeededError(f"plan {name} of {campaign.title} is not signed", hint="read it, then `rea approve`")
    if approval.plan != plan.id or approval.digest != plan.digest:
        words = f"the approval is for another plan ({approval.digest[:12]}…, not {plan.digest[:12]}…)"
        raise ApprovalNeededError(words, hint="sign this plan with `rea approve`")
    pinned = _pinned(plan)
    if pinned.get("campaign") != campaign.name:
        words = f"plan {name} was written for the campaign {pinned.get('campaign')!r}, not {campaign.name!r}"
        raise ApprovalNeededError(words, hint=afresh)
    if pinned.get("signers_digest") != digest(signers_text):
        raise ApprovalNeededError(f"{SIGNERS_FILE} has changed since plan {name} was written", hint=again)
    text = statement(plan.digest, campaign.name)
    return verify(text, approval.signature, approval.signer, signers_text, at=approval.at)


def _pinned(plan: PlanRecord) -> dict[str, Any]:
    try:
        held = json.loads(plan.text)
    except json.JSONDecodeError:
        held = None
    if not isinstance(held, dict):
        raise ApprovalNeededError(
            f"the text of plan {say('P', plan.id)} is not a plan", hint="make a new plan with `rea plan`"
        )
    return held
