"""The course of a campaign as actions change it: phases, claims, pauses, its end. One transaction each."""

from __future__ import annotations

from typing import Any

from rea.domain.campaign import AWAY_SINCE, Campaign
from rea.domain.errors import LauncherUnreachableError, LeaseLostError, ReaError, UsageError
from rea.domain.moments import utc
from rea.domain.states import (
    CampaignState,
    PauseReason,
    Phase,
    Verdict,
)
from rea.executor import actions as a
from rea.executor.tools import RowsPort, StorePort, Wake
from rea.guard.policy import Actor, Effect, Request, require

# Among a campaign's options: since when its wakes fail (Unix seconds), and how many have.
STUCK, STUCK_TIMES = "stuck_since", "stuck_times"
# So many wakes fail, and for so long, before an engineer is called: what passes by itself has passed by then.
MOST_STUCK, STUCK_S = 3, 3600.0


def enter(wake: Wake, action: a.Enter) -> None:
    altered = wake.tools.store.altered(wake.campaign)
    if altered:  # a phase is no place to begin on rows that somebody else wrote: what was spent, what was shown
        title = wake.rows().campaign.title
        vouch = f"restore the store, or vouch for it: `rea preflight {title} --grant record && rea resume {title}`"
        pause(wake, a.Pause(PauseReason.GUARDRAIL, f"{altered}; `rea audit verify {title}` lists it; {vouch}"))
        return
    changes: dict[str, Any] = {"phase": action.phase, "incumbent": action.incumbent}
    if action.phase is not Phase.REVEAL:
        changes["visible"] = None  # a claim belongs to the finalist it was made for
    with wake.transaction() as tx:
        tx.set_campaign(wake.campaign, **changes)
        who = f"H-{action.incumbent}" if action.incumbent is not None else "the baseline"
        text = f"{action.phase.value}: {action.why}; incumbent: {who}"
        tx.event(wake.campaign, "phase", text, wake.tools.clock())


def set_visible(wake: Wake, action: a.SetVisible) -> None:
    claim = action.claim
    with wake.transaction() as tx:
        tx.set_campaign(wake.campaign, visible=claim)
        words = f"{claim.gain:+.2%} (95 %: {claim.ci_low:+.2%} to {claim.ci_high:+.2%}) on {claim.split}, fresh seeds"
        tx.event(wake.campaign, "confirmed", words, wake.tools.clock())


def finish(wake: Wake, action: a.Finish) -> None:
    rows, now = wake.rows(), wake.tools.clock()
    branch = None
    if action.verdict is Verdict.LAUNCH:
        try:
            branch = _propose(wake, rows, action)
        except UsageError as error:  # such as a branch of that name: the next wake would find the same
            pause(wake, a.Pause(PauseReason.GUARDRAIL, _no_room(rows.campaign, error)))
            return
    with wake.transaction() as tx:
        tx.set_campaign(
            wake.campaign,
            state=CampaignState.FINISHED,
            phase=Phase.DONE,
            verdict=action.verdict,
            claim=action.claim,
            reason=action.why,
            next_wake_at=None,
            ended_at=now,
        )
        tx.event(wake.campaign, "finished", f"{action.verdict.value}: {action.why}", now, branch=branch)
    wake.tools.publish(wake.campaign)


def proposal_branch(campaign: Campaign) -> str:
    return f"rea/{campaign.name}"


def _no_room(campaign: Campaign, error: ReaError) -> str:
    branch = proposal_branch(campaign)
    free = f"rename the branch (`git branch -m {branch} {branch}-old`) or delete it (`git branch -D {branch}`)"
    return (
        f"the proposal cannot be made: {error.message} → {free}, or mend what else is said here; then"
        f" `rea resume {campaign.title}`, which trains nothing again"
    )


def _propose(wake: Wake, rows: RowsPort, action: a.Finish) -> str:
    """The proposal's branch in the codebase's repository; making it twice gives the same branch."""
    campaign = rows.campaign
    finalist = next(h for h in rows.hypotheses if h.id == campaign.incumbent)
    treatment = finalist.draft.full
    gains = f" gains {action.claim.gain:+.2%} on {action.claim.split}" if action.claim is not None else ""
    subject = f"{campaign.name}: {finalist.name}{gains}"
    body = f"{action.why}\n\nTreatment: {treatment.describe()}\nCampaign: {campaign.title}, {finalist.name}\n"
    branch = proposal_branch(campaign)
    require(Request(Actor.EXECUTOR, Effect.PROPOSE), campaign, signature_problem=wake.signature_problem(rows))
    wake.tools.workbench.propose(campaign, treatment, branch, f"{subject}\n\n{body}")
    return branch


def pause(wake: Wake, action: a.Pause) -> None:
    with wake.transaction() as tx:
        tx.set_campaign(
            wake.campaign, state=CampaignState.PAUSED, pause_reason=action.reason, reason=action.why, next_wake_at=None
        )
        tx.event(wake.campaign, "paused", f"{action.reason.value}: {action.why}", wake.tools.clock())


def fail(wake: Wake, action: a.Fail) -> None:
    now = wake.tools.clock()
    with wake.transaction() as tx:
        tx.set_campaign(wake.campaign, state=CampaignState.FAILED, reason=action.why, next_wake_at=None, ended_at=now)
        tx.event(wake.campaign, "failed", "the baseline gives no result" if action.told else action.why, now)
    wake.tools.publish(wake.campaign)


def warn(wake: Wake, action: a.Warn) -> None:
    with wake.transaction() as tx:
        told = (event for event in tx.events(wake.campaign, 0, None) if event.kind == action.kind)
        if not any(action.about in event.message for event in told):
            tx.event(wake.campaign, action.kind, action.why, wake.tools.clock())


def away(wake: Wake, action: a.Away) -> None:
    campaign = wake.rows().campaign
    if (campaign.away_since is None) == (action.since is None):
        return
    options = {name: value for name, value in campaign.options.items() if name != AWAY_SINCE}
    if action.since is not None:
        options[AWAY_SINCE] = action.since
    with wake.transaction() as tx:
        tx.set_campaign(campaign.id, options=options)
        tx.event(campaign.id, "outage" if action.since is not None else "answered", action.why, wake.tools.clock())


def stuck(store: StorePort, campaign: Campaign, error: ReaError, now: float, fence: int | None = None) -> None:
    """Take note that a wake of this campaign failed; where one after the other does, engineers are told.

    A running campaign is paused then, with what stood in the way last; of one in its profile, which cannot be paused,
    its reason says it. A wake that comes through takes the note away (`unstuck`).
    """
    if isinstance(error, LauncherUnreachableError | LeaseLostError):
        return  # a launcher that is away is told of already, and a lease that was lost is another wake's
    if campaign.state not in (CampaignState.RUNNING, CampaignState.PROFILING):
        return
    since = float(campaign.options.get(STUCK, now))
    times = min(int(campaign.options.get(STUCK_TIMES, 0)) + 1, MOST_STUCK)
    told = times >= MOST_STUCK and now - since >= STUCK_S
    hint = f" → {error.hint}" if error.hint else ""
    why = f"every wake since {utc(since)} has failed, the last by this: {error.message}{hint}"
    with store.transaction(campaign.id, fence) as tx:
        if told and campaign.state is CampaignState.RUNNING:
            why = f"{why}; mend that and `rea resume {campaign.title}`"
            tx.set_campaign(
                campaign.id,
                state=CampaignState.PAUSED,
                pause_reason=PauseReason.GUARDRAIL,
                reason=why,
                options=_unstuck(campaign),
            )
            tx.event(campaign.id, "paused", f"{PauseReason.GUARDRAIL.value}: {why}", now)
        elif told and not campaign.reason:
            why = f"{why}; mend that and `rea wake {campaign.title}`"
            tx.set_campaign(campaign.id, reason=why)
            tx.event(campaign.id, "stuck", why, now)
        elif not told and times != campaign.options.get(STUCK_TIMES):
            tx.set_campaign(campaign.id, options={**campaign.options, STUCK: since, STUCK_TIMES: times})


def unstuck(wake: Wake, campaign: Campaign) -> None:
    """A wake came through: what is known of failed ones before it is of no consequence any more."""
    if STUCK not in campaign.options:
        return
    changes: dict[str, Any] = {"options": _unstuck(campaign)}
    if campaign.state in (CampaignState.PROFILING, CampaignState.DRAFTED):  # these have no other reason
        changes["reason"] = ""
    with wake.transaction() as tx:
        tx.set_campaign(campaign.id, **changes)


def _unstuck(campaign: Campaign) -> dict[str, Any]:
    return {name: value for name, value in campaign.options.items() if name not in (STUCK, STUCK_TIMES)}
