"""Commands that show where campaigns stand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rea.cli import output
from rea.cli.common import Json, Ref, brief, exit_for, new_file, open_workspace, told_of_interrupts


def status(
    ref: Annotated[str | None, typer.Argument(help="One campaign (default: a line each).", metavar="CAMPAIGN")] = None,
    live: Annotated[bool, typer.Option("--watch", help="The same as `rea watch CAMPAIGN`.")] = False,
    as_json: Json = False,
) -> None:
    """Where campaigns stand."""
    from rea.cli import views

    if live:
        watch(ref, as_json)
        return
    workspace = open_workspace()
    if ref is None:
        found, damaged = workspace.store.readable_campaigns()
        output.data([brief(c) for c in found], views.campaign_table(workspace, found), as_json)
        for id_, wrong in damaged.items():
            output.note(f"rea: C-{id_}: {wrong}")
        if damaged:
            raise typer.Exit(1)
        return
    whole = views.status(workspace, workspace.store.campaign(ref))
    output.data(whole, views.status_text(whole), as_json)


def watch(
    ref: Annotated[
        str | None, typer.Argument(help="A campaign (default: the newest under way).", metavar="CAMPAIGN")
    ] = None,
    as_json: Json = False,
) -> None:
    """Follow a campaign live until it waits for you or has ended. Ctrl-C leaves it alone."""
    from rea.cli import watching

    workspace = open_workspace()
    campaign = watching.newest_moving(workspace) if ref is None else workspace.store.campaign(ref)
    with told_of_interrupts(workspace, campaign):
        campaign = watching.watch(workspace, campaign.id, as_json)
    exit_for(campaign)


def show(what: Annotated[str, typer.Argument(help="C-3, H-12 or R-40.", metavar="ID")], as_json: Json = False) -> None:
    """Everything about one campaign, hypothesis or run."""
    from rea.cli import views

    value, text = views.show(open_workspace(), what)
    output.data(value, text, as_json)


def logs(
    what: Annotated[str, typer.Argument(help="R-40: the run's output. C-3: the campaign's record.", metavar="ID")],
    lines: Annotated[int, typer.Option("--lines", "-n", help="At most so many, from the end.")] = 200,
    as_json: Json = False,
) -> None:
    """A run's output, or a campaign's record."""
    from rea.cli import views

    value, text = views.logs(open_workspace(), what, lines)
    output.data(value, text, as_json)


def report(
    ref: Ref,
    markdown: Annotated[bool, typer.Option("--md", help="Markdown for a pull request, on stdout without -o.")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write it to this file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of -o.")] = False,
    as_json: Json = False,
) -> None:
    """The launch proposal: a self-contained HTML file, or Markdown for a pull request."""
    from rea.workspace import proposal

    workspace = open_workspace()
    seen = proposal.view(workspace, ref)
    if out is not None:
        new_file(workspace, out, force)
    if markdown:
        from rea.report.markdown import render

        text = render(seen)
        if out is None:
            output.data({"campaign": seen.campaign.title, "markdown": text}, text, as_json)
        else:
            _write(out, text.encode())
            output.data({"campaign": seen.campaign.title, "report": str(out)}, str(out), as_json)
        return
    proposal.publish(workspace, seen.campaign.id)
    path = proposal.report_path(workspace, seen.campaign.id)
    if out is not None:
        _write(out, path.read_bytes())
        path = out
    output.data({"campaign": seen.campaign.title, "report": str(path)}, str(path), as_json)


def _write(path: Path, page: bytes) -> None:
    from rea.domain.errors import UsageError

    try:
        path.write_bytes(page)
    except OSError as error:
        hint = "give -o a file in a folder that is there and may be written to"
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint=hint) from error


def budget(ref: Ref, as_json: Json = False) -> None:
    """What is approved, reserved and spent, entry by entry."""
    from rea.cli import views

    workspace = open_workspace()
    value, text = views.budget(workspace, workspace.store.campaign(ref))
    output.data(value, text, as_json)


def check(
    ref: Annotated[str | None, typer.Argument(help="A campaign; all of them without.", metavar="CAMPAIGN")] = None,
    as_json: Json = False,
) -> None:
    """Whether everything that must always hold of a campaign holds now."""
    from rea.workspace import checking

    workspace = open_workspace()
    found = checking.check_all(workspace, None if ref is None else [workspace.store.campaign(ref).id])
    lines = [f"{name}: {'; '.join(wrong) if wrong else 'all holds'}" for name, wrong in found.items()]
    output.data(found, "\n".join(lines) or "no campaigns yet", as_json)
    if any(found.values()):
        raise typer.Exit(1)
