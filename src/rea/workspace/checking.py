"""What must always hold of a campaign, looked at from outside."""

from __future__ import annotations

from rea.domain.campaign import Campaign
from rea.domain.errors import ReaError
from rea.domain.states import AttemptState, CampaignState
from rea.executor.invariants import violations
from rea.workspace.compose import Workspace


def check(workspace: Workspace, campaign: Campaign) -> list[str]:
    """What does not hold of a campaign now, in words; empty where all is well.

    Beside its rows: the signature of a running one is verified, and a job whose submission was answered must be known
    to the launcher, where that can be asked.
    """
    rows = workspace.store.snapshot_rows(campaign.id)
    found = violations(rows)
    tools = workspace.tools(campaign)
    if campaign.state is CampaignState.RUNNING and rows.plan is not None:
        try:
            tools.workbench.verify(rows.plan, rows.approval, campaign)
        except ReaError as error:
            found.append(f"it runs, and {error.message}")
    try:
        unknown = [
            attempt
            for attempt in rows.attempts
            if attempt.state is AttemptState.SUBMITTED and tools.launcher.find(attempt.job) is None
        ]
    except ReaError:
        unknown = []  # a launcher that does not answer says nothing of its jobs
    return found + [f"the launcher does not know {one.job}, which R-{one.run} waits for" for one in unknown]
