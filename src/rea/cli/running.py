"""Commands that set campaigns going and change their course."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rea.cli import output
from rea.cli.common import Json, Ref, brief, exit_for, follower, open_workspace, said, told_of_interrupts

daemon_app = typer.Typer(
    help="Watch for ended jobs and due timers, and start `rea wake`; `rea daemon status` tells whether one does."
)
hypothesis_app = typer.Typer(no_args_is_help=True, help="List hypotheses, add your own, veto.")


def start(
    ref: Ref,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it ends, showing progress.")] = False,
    as_json: Json = False,
) -> None:
    """Start an approved campaign. Without --wait nothing of REA stays behind; each job's end wakes it."""
    from rea.workspace import steering, waking

    workspace = open_workspace()
    telling = follower(workspace, workspace.store.campaign(ref))
    campaign = steering.start(workspace, ref)
    if wait:
        with told_of_interrupts(workspace, campaign):
            campaign = waking.wait(workspace, campaign.id, waking.done, telling)
    output.data(brief(campaign), said(campaign), as_json)
    exit_for(campaign)


def _change(name: str, ref: str, as_json: bool, **options: str) -> None:
    from rea.workspace import steering

    campaign = getattr(steering, name)(open_workspace(), ref, **options)
    output.data(brief(campaign), said(campaign), as_json)


def pause(ref: Ref, as_json: Json = False) -> None:
    """Start nothing new; jobs in flight end and are recorded."""
    _change("pause", ref, as_json)


def resume(ref: Ref, as_json: Json = False) -> None:
    """Go on with a paused campaign. Its limits are as they were."""
    _change("resume", ref, as_json)


def stop(ref: Ref, why: Annotated[str, typer.Option(help="The reason.")] = "", as_json: Json = False) -> None:
    """End a campaign for good; its jobs are cancelled."""
    _change("stop", ref, as_json, why=why)


def wake(
    ref: Annotated[str | None, typer.Argument(help="One campaign (default: all due).", metavar="CAMPAIGN")] = None,
    as_json: Json = False,
) -> None:
    """One pass of the executor: look at what ended, decide, start what is next, exit."""
    from rea.cli.wake import wake as wake_campaigns

    code = wake_campaigns(ref, as_json)
    if code:
        raise typer.Exit(code)


@daemon_app.callback(invoke_without_command=True)
def daemon(
    context: typer.Context,
    sweep: Annotated[float, typer.Option(help="Seconds between sweeps for lost wake-ups.")] = 30.0,
    log: Annotated[
        Path | None, typer.Option(help="Write its log here, at most 1 MiB and as much before it (default: stderr).")
    ] = None,
) -> None:
    """Watch for ended jobs and due timers, and start `rea wake`. It holds no state and may die at any time."""
    import math
    import os
    import sys

    from rea.domain.errors import UsageError

    if context.invoked_subcommand is not None:
        return
    if not 1 <= sweep < math.inf:
        raise UsageError(f"--sweep {sweep:g} is no time between sweeps", hint="give seconds, 1 or more, such as 30")
    if log is not None and not (log.absolute().parent.is_dir() and not log.is_dir()):
        raise UsageError(f"--log {log}: no file can be there", hint="give a file in a folder that is there")
    workspace = open_workspace()
    environment = {**os.environ, "REA_STORE": workspace.store.url, "REA_RUNS": str(workspace.runs)}
    # A fresh interpreter without this one's imports: what waits for weeks should weigh nothing.
    command = [sys.executable, "-P", "-m", "rea.daemon", str(workspace.wakefiles.folder), str(sweep)]
    os.execve(sys.executable, command + ([str(log.absolute())] if log is not None else []), environment)


@daemon_app.command("status")
def daemon_status(as_json: Json = False) -> None:
    """Whether a daemon lives, when it last swept, what waits and which campaigns are due; 1 where none lives."""
    from rea.cli import views
    from rea.workspace import waking

    workspace = open_workspace()
    found = waking.attendance(workspace)
    output.data(found, views.attendance_text(found, workspace.clock()), as_json)
    if not found.alive:
        raise typer.Exit(1)


@hypothesis_app.command("list")
def hypothesis_list(ref: Ref, as_json: Json = False) -> None:
    """Hypotheses of a campaign with what became of them."""
    from rea.cli import views

    workspace = open_workspace()
    found = workspace.store.hypotheses(workspace.store.campaign(ref).id)
    output.data(found, views.hypothesis_table(found), as_json)


@hypothesis_app.command("add")
def hypothesis_add(
    ref: Ref,
    settings: Annotated[list[str], typer.Argument(help="knob=value …", metavar="SETTING...")],
    gain: Annotated[float | None, typer.Option(help="Expected relative gain, such as 0.004.")] = None,
    because: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    as_json: Json = False,
) -> None:
    """Add your own hypothesis to a running campaign."""
    from rea.report.text import spread
    from rea.workspace import steering

    found = steering.add_hypothesis(open_workspace(), ref, settings, gain=gain, because=because)
    expected = spread(found.draft.effect.mean, found.draft.effect.sd)
    assumed = ", as is assumed of any without --gain" if gain is None else ""
    output.data(found, f"{found.name}: {found.draft.title}; expected to gain {expected}{assumed}", as_json)


@hypothesis_app.command("veto")
def hypothesis_veto(
    hypothesis: Annotated[str, typer.Argument(help="H-12", metavar="HYPOTHESIS")],
    why: Annotated[str | None, typer.Option(help="Why, for the record.")] = None,
    as_json: Json = False,
) -> None:
    """Rule a hypothesis out. Before a campaign starts, this makes a new version of its plan, to be signed anew."""
    from rea.domain.states import CampaignState
    from rea.workspace import governance, steering

    workspace = open_workspace()
    found = steering.veto(workspace, hypothesis, why)
    output.data(found, f"{found.name}: {found.state.value}", as_json)
    campaign = workspace.store.campaign(found.campaign)
    if campaign.state is CampaignState.DRAFTED:
        version = governance.latest_plan(workspace, campaign)[0].version
        output.note(f"the plan is now version {version}, without it; next: rea approve {campaign.title}")
