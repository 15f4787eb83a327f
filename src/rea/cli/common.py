"""What the commands share: their common options, the workspace, how a campaign is told of.

Each command opens the workspace late, so that `rea --help` stays quick.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rea.cli import output

if TYPE_CHECKING:
    from rea.cli.watching import Follower
    from rea.domain.campaign import Campaign
    from rea.workspace import Workspace

Ref = Annotated[str, typer.Argument(help="Campaign: C-3, 3 or its name.", metavar="CAMPAIGN")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
All = Annotated[bool, typer.Option("--all", help="In full what the budget does not fund, too.")]
Root = Annotated[Path, typer.Option("--codebase", "-C", help="Folder of rea.toml (default: here or above).")]


def open_workspace() -> Workspace:
    from rea import workspace

    return workspace.open_workspace()


def root_of(given: Path) -> Path:
    from rea.codebase.config import find

    return find(given)


def brief(campaign: Campaign) -> dict[str, object]:
    from rea.cli import views

    return views.brief(campaign)


def said(campaign: Campaign) -> str:
    from rea.cli import views

    return views.said(campaign)


def checklist(checks: object) -> str:
    from rea.cli import views

    return views.checklist(checks)  # type: ignore[arg-type]


@contextmanager
def told_of_interrupts(workspace: Workspace, campaign: Campaign) -> Iterator[None]:
    """Whoever stops waiting for a campaign is told that it goes on, by what, and how to come back to it."""
    try:
        yield
    except KeyboardInterrupt:
        from rea.workspace import waking

        output.note(f"\nrea: interrupted. {waking.goes_on(workspace, campaign.id)}")
        raise typer.Exit(130) from None


def exit_for(campaign: Campaign) -> None:
    from rea.cli.views import exit_code

    code = exit_code(campaign)
    if code:
        raise typer.Exit(code)


def new_file(workspace: Workspace, path: Path, force: bool) -> None:
    """Raise UsageError where the file is there already and is not to be replaced, GuardrailError for a caller that may
    write no files of an engineer's."""
    from rea.domain.errors import UsageError
    from rea.guard.policy import Effect

    workspace.require(Effect.MANAGE)
    if path.exists() and not force:
        raise UsageError(f"{path} exists already", hint="name another file, or --force to replace it")


def follower(workspace: Workspace, campaign: Campaign, told: str | None = None) -> Follower:
    """Tells what is new in the record from now on, on stderr; with `told`, from the last line of that kind on."""
    from rea.cli.watching import Follower

    return Follower(workspace, campaign.id, told=told)
