"""What engineers do with a signed campaign: start, pause, resume and stop it, add hypotheses, veto them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rea.domain.campaign import RESUMED_AT, Campaign
from rea.domain.errors import UsageError
from rea.domain.hypothesis import Hypothesis, HypothesisKind
from rea.domain.ids import number
from rea.domain.states import (
    TRANSITIONS,
    CampaignState,
    HypothesisState,
    PauseReason,
    Phase,
    is_terminal,
)
from rea.domain.treatment import Treatment
from rea.guard.policy import Effect
from rea.guard.signing import principal as this_person
from rea.workspace.compose import Workspace
from rea.workspace.governance import latest_plan, require_runnable
from rea.workspace.planning import Edit, edit, engineers_draft, parse_treatment, require_new
from rea.workspace.waking import wake


def start(workspace: Workspace, ref: str) -> Campaign:
    """Set an approved campaign going. Raises ApprovalNeededError for an unsigned plan or an open preflight item."""
    campaign = workspace.store.campaign(ref)
    if campaign.state is CampaignState.RUNNING:
        wake(workspace, campaign.id)
        return workspace.store.campaign(campaign.id)
    with workspace.on_record(campaign):
        require_runnable(workspace, campaign)
    if campaign.state is not CampaignState.APPROVED:
        hint = "`rea resume` goes on" if campaign.state is CampaignState.PAUSED else None
        raise UsageError(f"{campaign.title} is {campaign.state.value} and cannot be started", hint=hint)
    _set_running(workspace, campaign, "started")
    return workspace.store.campaign(campaign.id)


def _set_running(workspace: Workspace, campaign: Campaign, word: str) -> None:
    workspace.require(Effect.STEER, campaign)
    now, who = workspace.clock(), this_person(Path(campaign.codebase.root))
    with workspace.store.transaction(campaign.id) as tx:
        phase = Phase.VALIDATION if campaign.phase is Phase.PROFILE else campaign.phase
        tx.set_campaign(
            campaign.id,
            state=CampaignState.RUNNING,
            phase=phase,
            pause_reason=None,
            reason="",
            next_wake_at=None,
            options={**campaign.options, RESUMED_AT: now},
        )
        tx.event(campaign.id, word, f"{word} by {who}", now)
    wake(workspace, campaign.id)


def pause(workspace: Workspace, ref: str) -> Campaign:
    """Nothing new starts; jobs in flight end and are recorded. One that is paused already keeps its reason."""
    campaign = workspace.store.campaign(ref)
    if campaign.state is CampaignState.PAUSED:
        return campaign
    if campaign.state is CampaignState.PROFILING:
        raise UsageError(
            f"{campaign.title} is profiling: only a running campaign can be paused", hint="`rea stop` ends it for good"
        )
    if campaign.state is not CampaignState.RUNNING:
        raise UsageError(f"{campaign.title} is {campaign.state.value}: only a running campaign can be paused")
    workspace.require(Effect.STEER, campaign)
    now, who = workspace.clock(), this_person(Path(campaign.codebase.root))
    with workspace.store.transaction(campaign.id) as tx:
        reason = f"paused by {who}"
        tx.set_campaign(
            campaign.id, state=CampaignState.PAUSED, pause_reason=PauseReason.ENGINEER, reason=reason, next_wake_at=None
        )
        tx.event(campaign.id, "paused", reason, now)
    return workspace.store.campaign(campaign.id)


def resume(workspace: Workspace, ref: str) -> Campaign:
    """Go on where a paused campaign was; its limits are as they were, unless a new plan was signed."""
    campaign = workspace.store.campaign(ref)
    if campaign.state is not CampaignState.PAUSED:
        raise UsageError(f"{campaign.title} is {campaign.state.value}, not paused")
    workspace.require(Effect.STEER, campaign)
    with workspace.on_record(campaign):
        require_runnable(workspace, campaign)
    restored = workspace.tools(campaign).workbench.restore(campaign)
    if restored:
        with workspace.store.transaction(campaign.id) as tx:
            words = f"the worktree that evaluators start from was laid anew: {', '.join(restored[:5])} had been changed"
            tx.event(campaign.id, "restored", words, workspace.clock())
    _set_running(workspace, campaign, "resumed")
    return workspace.store.campaign(campaign.id)


def stop(workspace: Workspace, ref: str, why: str = "") -> Campaign:
    """End a campaign for good: its jobs are cancelled, what it learnt stays."""
    campaign = workspace.store.campaign(ref)
    if is_terminal(campaign.state):
        raise UsageError(f"{campaign.title} is {campaign.state.value} already")
    workspace.require(Effect.STEER, campaign)
    now, who = workspace.clock(), this_person(Path(campaign.codebase.root))
    reason = f"stopped by {who}" + (f": {why}" if why else "")
    with workspace.store.transaction(campaign.id) as tx:
        tx.set_campaign(campaign.id, state=CampaignState.STOPPED, reason=reason, ended_at=now, next_wake_at=None)
        tx.event(campaign.id, "stopped", reason, now)
    wake(workspace, campaign.id)
    return workspace.store.campaign(campaign.id)


def add_hypothesis(
    workspace: Workspace, ref: str, words: Sequence[str], *, gain: float | None = None, because: str = ""
) -> Hypothesis:
    """An engineer's own hypothesis, tested in this round's validation or, when that is over, in the next one's."""
    campaign = workspace.store.campaign(ref)
    if is_terminal(campaign.state) or campaign.state is CampaignState.PROFILING:
        raise UsageError(f"{campaign.title} is {campaign.state.value}: no hypothesis can be added")
    if campaign.state in (CampaignState.DRAFTED, CampaignState.APPROVED):
        hint = f"rea plan edit {campaign.title} --add '{' '.join(words)}'"
        raise UsageError(f"{campaign.title} has not started: shape its plan instead", hint=hint)
    who = this_person(Path(campaign.codebase.root))
    treatment = parse_treatment(campaign.codebase, words)
    hypotheses = workspace.store.hypotheses(campaign.id)
    incumbent = next((h for h in hypotheses if h.id == campaign.incumbent), None)
    base = incumbent.draft.full if incumbent is not None and campaign.round > 1 else Treatment()
    draft = replace(engineers_draft(treatment, who, gain, because), base=base)
    require_new(hypotheses, campaign, draft, latest_plan(workspace, campaign)[1].baseline_values)
    workspace.require(Effect.STEER, campaign)
    with workspace.store.transaction(campaign.id) as tx:
        (id_,) = tx.add_hypotheses(campaign.id, campaign.round, [draft])
        tx.event(campaign.id, "hypothesis", f"{who} added H-{id_}: {draft.title}", workspace.clock())
    if campaign.state is CampaignState.RUNNING:
        wake(workspace, campaign.id)
    return workspace.store.hypothesis(id_)


def veto(workspace: Workspace, hypothesis: str, why: str | None = None) -> Hypothesis:
    """Rule a hypothesis out: what waits of it is withdrawn, what runs is cancelled, nothing builds on it.

    Before the campaign starts its plan is drafted anew without it, as an edit that drops it does.
    """
    if why is not None and not why.strip():
        raise UsageError("--why is empty", hint="say why in a few words, or leave the option out")
    found = workspace.store.hypothesis(number(hypothesis, "H"))
    campaign = workspace.store.campaign(found.campaign)
    if is_terminal(campaign.state):
        raise UsageError(f"{campaign.title} is {campaign.state.value}: there is nothing left to veto")
    if found.state is HypothesisState.VETOED:
        raise UsageError(f"{found.name} is vetoed already: {found.reason}")
    if campaign.state in (CampaignState.DRAFTED, CampaignState.APPROVED):
        edit(workspace, campaign.title, Edit(drop=(found.id,), why=why or ""))
        return workspace.store.hypothesis(found.id)
    workspace.require(Effect.STEER, campaign)
    who = this_person(Path(campaign.codebase.root))
    reason = f"vetoed by {who}" + (f": {why}" if why else "")
    with workspace.store.transaction(campaign.id) as tx:
        tx.set_hypothesis(found.id, state=HypothesisState.VETOED, reason=reason)
        for other in tx.hypotheses(campaign.id):
            built_on = found.id in other.draft.parents and other.draft.kind is not HypothesisKind.SINGLE
            if built_on and HypothesisState.VETOED in TRANSITIONS[HypothesisState, other.state]:
                tx.set_hypothesis(other.id, state=HypothesisState.VETOED, reason=f"it contains {found.name}, {reason}")
        tx.event(campaign.id, "vetoed", f"{found.name}: {reason}", workspace.clock())
    if campaign.state is CampaignState.RUNNING:
        wake(workspace, campaign.id)
    return workspace.store.hypothesis(found.id)
