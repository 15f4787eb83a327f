"""Commands that keep a system going for weeks: services, backups, cleaning."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from rea.cli import output
from rea.cli.common import Json, open_workspace

service_app = typer.Typer(no_args_is_help=True, help="What wakes campaigns after a reboot, by systemd or cron.")


db_app = typer.Typer(no_args_is_help=True, help="The store: a backup while campaigns go on, and whether it is sound.")


@service_app.command("install")
def service_install(
    systemd: Annotated[bool, typer.Option("--systemd", help="A user service that keeps `rea daemon` running.")] = False,
    cron: Annotated[bool, typer.Option("--cron", help="A line of crontab that runs `rea wake`.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Put it in place (default: print it).")] = False,
    every: Annotated[int, typer.Option(help="Minutes between wakes by cron.")] = 5,
    as_json: Json = False,
) -> None:
    """Print or install what wakes campaigns when no daemon was started by hand. A second install replaces the first."""
    from rea.domain.errors import UsageError
    from rea.workspace import service

    if systemd == cron:
        raise UsageError(
            "say which: --systemd or --cron", hint="`rea service install --systemd` where there is systemd"
        )
    workspace = open_workspace()
    made = service.install_systemd(workspace, write) if systemd else service.install_cron(workspace, write, every)
    output.data(made, f"{made.place}: installed" if made.written else made.text, as_json)
    for note in made.notes:
        output.note(f"rea: {note}")


@service_app.command("remove")
def service_remove(as_json: Json = False) -> None:
    """Take away what `rea service install --write` put in place for this store."""
    from rea.workspace import service

    gone = service.remove(open_workspace())
    output.data(gone, "\n".join(f"{place}: removed" for place in gone) or "nothing was installed", as_json)


@db_app.command("backup")
def db_backup(
    file: Annotated[
        Path | None, typer.Argument(help="Where to (default: beside the store, named by the time).", metavar="FILE")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE.")] = False,
    as_json: Json = False,
) -> None:
    """Copy the store as of now, checked, while campaigns go on."""
    from rea.report.text import disk
    from rea.workspace import checking

    made, size = checking.backup(open_workspace(), file, force)
    output.data({"file": str(made), "bytes": size}, f"{made}: {disk(size)}, checked", as_json)


@db_app.command("check")
def db_check(as_json: Json = False) -> None:
    """Whether the database, every campaign in it and the run directories are sound; 1 where something is wrong."""
    from rea.cli import views
    from rea.workspace import checking

    found = checking.health(open_workspace())
    output.data({**asdict(found), "sound": found.sound}, views.health_text(found), as_json)
    if not found.sound:
        raise typer.Exit(1)


def clean(
    ref: Annotated[
        str | None, typer.Argument(help="A campaign; all that have ended without.", metavar="CAMPAIGN")
    ] = None,
    older_than: Annotated[str | None, typer.Option(help="Only those that ended so long ago, such as 30d.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Make room: predictions, checkpoints and worktrees of campaigns that have ended; records and reports stay."""
    from rea.cli import views
    from rea.codebase.units import parse_duration
    from rea.domain.errors import UsageError
    from rea.workspace import cleaning

    try:
        age_s = 0.0 if older_than is None else parse_duration(older_than)
    except ValueError as error:
        raise UsageError(f"--older-than {older_than}: {error}", hint="such as 30d or 12h") from error
    workspace = open_workspace()
    campaigns = cleaning.cleanable(workspace, ref, age_s)
    found = [one for one in (cleaning.look(workspace, campaign) for campaign in campaigns) if one.files or one.freed]
    if dry_run or not found:
        output.data(found, views.cleaning_text(found), as_json)
        return
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise UsageError("nothing was removed: nobody can be asked here", hint="--yes, or --dry-run to look first")
        output.note(views.cleaning_text(found))
        typer.confirm("Let this go?", abort=True, err=True)
    going = {one.campaign for one in found}
    done = [cleaning.clean(workspace, campaign) for campaign in campaigns if campaign.title in going]
    output.data(done, views.cleaning_text(done, done=True), as_json)
