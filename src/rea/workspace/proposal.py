"""What a campaign delivers: its view, its report, its branch."""

from __future__ import annotations

import os
from pathlib import Path

from rea.codebase import proposal as proposing
from rea.domain.campaign import Campaign
from rea.domain.errors import ReaError
from rea.domain.plan import read_plan
from rea.domain.states import Verdict
from rea.executor.course import proposal_branch
from rea.report.view import View
from rea.workspace.compose import Workspace


def view(workspace: Workspace, ref: str | int) -> View:
    """Everything a report shows, as it stands now."""
    store = workspace.store
    campaign = store.campaign(ref)
    record = store.latest_plan(campaign.id)
    launched = campaign.verdict is Verdict.LAUNCH
    return View(
        campaign=campaign,
        plan=read_plan(record) if record is not None else None,
        record=record,
        approval=store.approval(record.id) if record is not None else None,
        hypotheses=tuple(store.hypotheses(campaign.id)),
        runs=tuple(store.runs(campaign.id)),
        attempts=tuple(store.attempts(campaign.id)),
        entries=tuple(store.entries(campaign.id)),
        events=tuple(store.events(campaign.id)),
        branch=proposal_branch(campaign) if launched else None,
        reproduction=reproduction(workspace, campaign) if launched else None,
        now=workspace.clock(),
        altered=tuple(store.trail_faults(campaign.id)),
    )


def reproduction(workspace: Workspace, campaign: Campaign) -> str:
    """The command that trains the proposal again, for one of the seeds of the claim, outside the codebase's folder."""
    finalist = next(h for h in workspace.store.hypotheses(campaign.id) if h.id == campaign.incumbent)
    claim = campaign.claim or campaign.visible
    try:
        return proposing.reproduction(
            campaign.codebase,
            finalist.draft.full,
            branch=proposal_branch(campaign),
            run_dir=report_path(workspace, campaign.id).parent / "reproduction",
            seed=claim.seeds[0] if claim is not None else 1,
            env=campaign.env,
        )
    except ReaError as error:  # the checkout has changed since: the report of what was measured stays readable
        return f"# {error.message}"


def report_path(workspace: Workspace, campaign: int) -> Path:
    return workspace.runs / workspace.store.uid / f"C-{campaign}" / "report.html"


def publish(workspace: Workspace, campaign: int) -> None:
    """Write the report of a campaign beside its runs; an older one is replaced in one step."""
    from rea.report.html import render

    path = report_path(workspace, campaign)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(render(view(workspace, campaign)), encoding="utf-8")
    draft.replace(path)
