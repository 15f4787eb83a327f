"""What waits for an engineer: questions of running campaigns, plans to sign, campaigns that stand still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rea.domain.campaign import Campaign
from rea.domain.errors import UsageError
from rea.domain.ids import number
from rea.domain.question import BELIEVE, DISMISS, QUARANTINE, RETRY, Question
from rea.domain.states import CampaignState, HypothesisState, is_terminal
from rea.guard.policy import Effect
from rea.guard.signing import principal as this_person
from rea.planner.layout import SEARCH
from rea.planner.situation import believe
from rea.store.transaction import Transaction
from rea.workspace.compose import Workspace
from rea.workspace.waking import wake


@dataclass(frozen=True, slots=True)
class Waiting:
    """A campaign that cannot go on by itself: why, and what an engineer types to let it."""

    campaign: Campaign
    why: str
    ways: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inbox:
    """`questions` are open; a campaign with open ones goes on beside them. `waiting` stand still."""

    questions: tuple[tuple[Question, Campaign], ...]
    waiting: tuple[Waiting, ...]


def inbox(workspace: Workspace) -> Inbox:
    campaigns, _ = workspace.store.readable_campaigns()
    alive = {campaign.id: campaign for campaign in campaigns if not is_terminal(campaign.state)}
    open_ = [q for q in workspace.store.questions() if q.answer is None and q.campaign in alive]
    return Inbox(tuple((q, alive[q.campaign]) for q in open_), tuple(_waiting(campaigns)))


def _waiting(campaigns: Sequence[Campaign]) -> list[Waiting]:
    found = []
    for campaign in campaigns:
        title = campaign.title
        if campaign.state is CampaignState.DRAFTED:
            ways = (f"rea plan show {title}", f"rea approve {title}", f"rea reject {title}")
            found.append(Waiting(campaign, "its plan waits to be read and signed", ways))
        elif campaign.state is CampaignState.APPROVED:
            found.append(Waiting(campaign, "it is signed and not started", (f"rea start {title}",)))
        elif campaign.state is CampaignState.PAUSED:
            why = campaign.reason or "it is paused"
            found.append(Waiting(campaign, why, (f"rea resume {title}", f"rea stop {title}")))
        elif campaign.state is CampaignState.PROFILING and campaign.reason:
            found.append(Waiting(campaign, campaign.reason, (f"rea wake {title}", f"rea stop {title}")))
    return found


def answer(workspace: Workspace, ref: str, option: str) -> Question:
    """Answer a question and do what that means. Raises UsageError where it cannot be answered so, or any more."""
    asked = workspace.store.question(number(ref, "Q"))
    campaign = workspace.store.campaign(asked.campaign)
    if is_terminal(campaign.state):
        raise UsageError(f"{campaign.title} is {campaign.state.value}: {asked.name} is of no consequence any more")
    workspace.require(Effect.ANSWER, campaign)
    who, now = this_person(Path(campaign.codebase.root)), workspace.clock()
    with workspace.store.transaction(campaign.id) as tx:
        answered = tx.answer(asked.id, option, who, now)
        if option in (BELIEVE, RETRY):
            _try_again(tx, campaign, asked, who)
        words = next(one.words for one in asked.options if one.name == option)
        tx.event(campaign.id, "answered", f"{asked.name}: {who} says {option}: {words}", now)
    if campaign.state is CampaignState.RUNNING:
        wake(workspace, campaign.id)
    return answered


def _try_again(tx: Transaction, campaign: Campaign, asked: Question, who: str) -> None:
    """Have what a question is about trained again at once, whatever the search is at; its result counts then."""
    failed = None if asked.kind == QUARANTINE else tx.run(number(asked.subject, "R"))
    id_ = number(asked.subject, "H") if failed is None else failed.draft.hypothesis
    if id_ is None:
        raise UsageError(f"{asked.subject} is of no hypothesis", hint=f"`rea answer {asked.name} {DISMISS}` closes it")
    found = tx.hypothesis(id_)
    afresh = "`rea hypothesis add` offers the same settings to another campaign"
    if campaign.phase not in SEARCH:
        raise UsageError(f"the search of {campaign.title} is over: it is in {campaign.phase.value}", hint=afresh)
    if found.state is not HypothesisState.LEFT_OUT:
        raise UsageError(f"{found.name} is {found.state.value} by now and cannot be tried again", hint=afresh)
    believed = asked.kind == QUARANTINE
    reason = f"{who} looked at it: it is trained again" + (", and believed" if believed else "")
    draft = believe(found.draft, who) if believed else found.draft
    tx.set_hypothesis(id_, state=HypothesisState.PROPOSED, draft=draft, reason=reason, round=campaign.round)
    again = [
        replace(run.draft, key=f"{run.draft.key}/{asked.name}", phase=campaign.phase, round=campaign.round)
        for run in tx.runs(campaign.id)
        if run.draft.hypothesis == id_ and run.failure is not None and (failed is None or run.id == failed.id)
    ]
    if again:
        tx.set_hypothesis(id_, state=HypothesisState.TESTING)
        tx.add_runs(campaign.id, again[:1])
