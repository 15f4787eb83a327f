"""Commands about the trail: whether the record is as it was written, and a copy of it for elsewhere."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from rea.cli import output
from rea.cli.common import Json, Ref, open_workspace

audit_app = typer.Typer(
    no_args_is_help=True, help="The trail of every change: verify that nobody else wrote, export it to keep or sign."
)


@audit_app.command("verify")
def audit_verify(
    ref: Annotated[str | None, typer.Argument(help="One campaign (default: all).", metavar="CAMPAIGN")] = None,
    against: Annotated[
        Path | None, typer.Option(help="Also hold it against this file of `rea audit export`, and its signature.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Whether every row is as REA wrote it and no link of the trail is missing; 1 where not."""
    from rea.cli import views
    from rea.domain.errors import UsageError
    from rea.workspace import auditing

    workspace = open_workspace()
    if against is not None and ref is None:
        raise UsageError("--against is about one campaign", hint="`rea audit verify CAMPAIGN --against FILE`")
    if ref is None:
        found = auditing.verify_all(workspace)
    else:
        found = [auditing.verify(workspace, workspace.store.campaign(ref).id, against)]
    output.data([{**asdict(one), "whole": one.whole} for one in found], views.audit_text(found), as_json)
    if not all(one.whole for one in found):
        raise typer.Exit(1)


@audit_app.command("export")
def audit_export(
    ref: Ref,
    file: Annotated[Path, typer.Argument(help="Where to, one JSON object a line.", metavar="FILE")],
    sign: Annotated[
        Path | None, typer.Option(help="SSH key to sign its head with; the signature goes to FILE.sig.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE.")] = False,
    as_json: Json = False,
) -> None:
    """Write the whole trail of a campaign: approvals, grants, spending, decisions and why."""
    from rea.workspace import auditing

    workspace = open_workspace()
    head = auditing.export(workspace, workspace.store.campaign(ref), file, key=sign, force=force)
    signed = {"signature": f"{file}.sig"} if sign is not None else {}
    words = f"{file}: head {head[:24]}…" + (f", signed in {file}.sig" if sign is not None else "")
    output.data({"file": str(file), "head": head, **signed}, words, as_json)
