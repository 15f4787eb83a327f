"""Commands about a plan, from its drafting to its signature."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rea.cli import output
from rea.cli.common import (
    All,
    Json,
    Ref,
    Root,
    brief,
    checklist,
    exit_for,
    follower,
    open_workspace,
    root_of,
    said,
    told_of_interrupts,
)

if TYPE_CHECKING:
    from rea.domain.campaign import Campaign
    from rea.workspace import Workspace

plan_app = typer.Typer(no_args_is_help=False, help="Measure the baseline and draft a plan; show or edit it.")


@plan_app.callback(invoke_without_command=True)
def plan(
    context: typer.Context,
    budget: Annotated[str, typer.Option(help="20r (baseline runs), 90m or 3h of devices.")] = "20r",
    root: Root = Path(),
    config: Annotated[str | None, typer.Option(help="The model's config, where it is not the one of rea.toml.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the campaign.")] = None,
    profile_runs: Annotated[int, typer.Option(help="Baseline trainings that measure noise and cost.")] = 3,
    rounds: Annotated[int | None, typer.Option(help="Rounds (default: by budget).")] = None,
    seed: Annotated[int, typer.Option(help="First of the seeds that the search trains on.")] = 1,
    without: Annotated[
        list[str] | None,
        typer.Option(
            help="Do without a part of the planner, to measure what it is worth: insights, techniques, diagnosis, "
            "stop-rule, combination or confirmation. Repeatable."
        ),
    ] = None,
    valid: Annotated[str | None, typer.Option(help="How long the plan may be started for (default: 30d).")] = None,
    deadline: Annotated[
        str | None,
        typer.Option(help="3d, 2026-12-01 or 2026-12-01T18:00: the search makes room to have ended by then."),
    ] = None,
    per_day: Annotated[str | None, typer.Option(help="3h: device time that it may begin to use in one day.")] = None,
    wait: Annotated[bool, typer.Option(help="Wait for the profile and print the plan.")] = True,
    whole: All = False,
    as_json: Json = False,
) -> None:
    """Measure the baseline (a few runs, allowed by this command), then draft a plan with its price."""
    if context.invoked_subcommand is not None:
        return
    from rea.domain.states import CampaignState
    from rea.workspace import planning, waking

    workspace = open_workspace()
    campaign = planning.plan(
        workspace,
        root_of(root),
        budget=budget,
        config=config,
        name=name,
        profile_runs=profile_runs,
        rounds=rounds,
        seed=seed,
        without=without or (),
        valid=valid,
        deadline=deadline,
        per_day=per_day,
    )
    output.note(f"{campaign.title} {campaign.name}: measuring the baseline, {profile_runs} runs")
    if wait:
        telling = follower(workspace, campaign, told="planned")
        with told_of_interrupts(workspace, campaign):
            campaign = waking.wait(workspace, campaign.id, lambda c: c.state is not CampaignState.PROFILING, telling)
    if campaign.state is CampaignState.DRAFTED:
        _show_plan(workspace, campaign, as_json, whole)
        return
    output.data(brief(campaign), said(campaign), as_json)
    exit_for(campaign)


@plan_app.command("show")
def plan_show(ref: Ref, whole: All = False, as_json: Json = False) -> None:
    """Print the latest plan of a campaign."""
    workspace = open_workspace()
    _show_plan(workspace, workspace.store.campaign(ref), as_json, whole)


@plan_app.command("edit")
def plan_edit(
    ref: Ref,
    drop: Annotated[list[str] | None, typer.Option(help="H-3: do not test it. Repeatable.")] = None,
    weight: Annotated[list[str] | None, typer.Option(help="H-5=2: twice as interesting. Repeatable.")] = None,
    add: Annotated[list[str] | None, typer.Option(help="'knob=value knob=value': your own idea. Repeatable.")] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="validation=0.5,combination=0.2,exploitation=0.3: shares of the search. A phase that is not named "
            "keeps its proportion of the rest; one named 0 gets nothing."
        ),
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Another budget.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Another number of rounds.")] = None,
    valid: Annotated[str | None, typer.Option(help="How long it may be started for, from now on.")] = None,
    deadline: Annotated[str | None, typer.Option(help="Another deadline, or none.")] = None,
    per_day: Annotated[str | None, typer.Option(help="Another limit of a day, or none.")] = None,
    whole: All = False,
    as_json: Json = False,
) -> None:
    """Shape a plan before it is signed; it is estimated anew, and an earlier signature is void."""
    import shlex

    from rea.cli.parse import hypothesis_id, named_numbers
    from rea.workspace import planning

    workspace = open_workspace()
    change = planning.Edit(
        drop=tuple(hypothesis_id(text) for text in drop or ()),
        weights={hypothesis_id(k): v for k, v in named_numbers(weight or (), "--weight").items()},
        additions=tuple(tuple(shlex.split(text)) for text in add or ()),
        split=named_numbers(split.split(","), "--split", "validation=0.5") if split else None,
        budget=budget,
        rounds=rounds,
        valid=valid,
        deadline=deadline,
        per_day=per_day,
    )
    planning.edit(workspace, ref, change)
    _show_plan(workspace, workspace.store.campaign(ref), as_json, whole)


def _show_plan(workspace: Workspace, campaign: Campaign, as_json: bool, whole: bool) -> None:
    import json

    from rea.cli.views import digest_warning
    from rea.report.plan_text import render
    from rea.workspace.governance import latest_plan, next_step

    record, found = latest_plan(workspace, campaign)
    warning = digest_warning(record)
    if warning:
        output.note(f"rea: {warning}")
    if as_json:
        head = {"campaign": campaign.title, "digest": record.digest, "version": record.version, "state": record.state}
        output.data({**head, "plan": json.loads(record.text)}, "", True)
        return
    output.markdown(render(found, record, campaign, whole=whole))
    step = next_step(workspace, campaign)
    if step:
        output.note(f"next: {step}")


def preflight(
    ref: Ref,
    grant: Annotated[list[str] | None, typer.Option(help="Grant an item by name. Repeatable.")] = None,
    as_json: Json = False,
) -> None:
    """The checklist before a campaign may spend; grant what only an engineer can."""
    from rea.workspace import governance

    listed, blocked = governance.preflight(open_workspace(), ref, tuple(grant or ()))
    output.data({"checks": listed, "blocking": [check.name for check in blocked]}, checklist(listed), as_json)
    if blocked:
        output.note(f"open: {', '.join(check.name for check in blocked)}")
        raise typer.Exit(4)


def approve(
    ref: Ref,
    key: Annotated[Path | None, typer.Option(help="SSH key to sign with (default: one the codebase lists).")] = None,
    signer: Annotated[str | None, typer.Option("--as", help="Signer's name (default: git's user.email).")] = None,
    as_json: Json = False,
) -> None:
    """Sign the latest plan of a campaign with your SSH key."""
    from rea.domain.errors import ApprovalNeededError
    from rea.guard.signing import find_key, principal, read_signers
    from rea.workspace import governance

    workspace = open_workspace()
    root = Path(workspace.store.campaign(ref).codebase.root)
    who = signer or principal(root)
    chosen = key or find_key(who, allowed_signers=read_signers(root), root=root)
    if chosen is None:
        raise ApprovalNeededError(f"no SSH key of {who} was found", hint="rea init sets one up, or give --key")
    approval = governance.approve(workspace, ref, chosen, signer)
    output.data(approval, f"{approval.signer} signed {approval.digest[:12]} with {chosen}", as_json)


def reject(
    ref: Ref, why: Annotated[str, typer.Option(help="The reason, for the record.")] = "", as_json: Json = False
) -> None:
    """Turn a plan down; the campaign ends."""
    from rea.workspace import governance

    campaign = governance.reject(open_workspace(), ref, why)
    output.data(brief(campaign), said(campaign), as_json)


def simulate(
    ref: Ref,
    campaigns: Annotated[int, typer.Option(help="How many campaigns to run in memory.")] = 60,
    seed: Annotated[int, typer.Option(help="The same seed gives the same answer.")] = 1,
    slots: Annotated[int | None, typer.Option(help="What if there were so many slots (default: as planned).")] = None,
    weather: Annotated[
        str, typer.Option(help="calm: nothing goes wrong; usual: failures and lost attempts; storm: all that can.")
    ] = "usual",
    as_json: Json = False,
) -> None:
    """Run a plan in memory, many times: when it may end, what it may cost, what it may propose."""
    import time

    from rea.report.forecast import render
    from rea.workspace import simulating

    began = told = time.monotonic()

    def tell(done: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= 2.0:
            told = now
            left = (now - began) / done * (campaigns - done)
            output.note(f"{done} of {campaigns} campaigns simulated, {left:.0f} s to go")

    workspace = open_workspace()
    found = simulating.simulate(
        workspace,
        ref,
        campaigns=campaigns,
        seed=seed,
        slots=slots,
        weather=weather,
        processes=simulating.processes_for(campaigns),
        tell=tell,
    )
    output.data(found, render(found, workspace.store.campaign(ref).codebase), as_json)
