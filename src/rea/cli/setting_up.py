"""Commands before the first campaign."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rea.cli import output
from rea.cli.common import Json, checklist


def init(
    path: Annotated[Path, typer.Argument(help="The ranking codebase.")] = Path(),
    key: Annotated[Path | None, typer.Option(help="SSH key to approve plans with (default: yours, or new).")] = None,
    as_json: Json = False,
) -> None:
    """Draft rea.toml from the repository, and let your SSH key approve plans."""
    from rea.workspace.setup import set_up

    done = set_up(path, key)
    output.data(done, done.text(), as_json)


def doctor(
    path: Annotated[Path, typer.Argument(help="The ranking codebase.")] = Path(),
    as_json: Json = False,
) -> None:
    """Say what a codebase and the store still lack before REA can work."""
    from rea.workspace.setup import examine_all

    checks = examine_all(path)
    output.data(checks, checklist(checks), as_json)
    if any(check.ok is False for check in checks):
        raise typer.Exit(1)


def demo(
    folder: Annotated[Path | None, typer.Option(help="Where to work (default: a temporary folder).")] = None,
    python: Annotated[str | None, typer.Option(help="A Python with PyTorch (default: this one).")] = None,
    budget: Annotated[str, typer.Option(help="Budget of the demo's campaign.")] = "80r",
) -> None:
    """Run a whole campaign on the embedded codebase: plan, approve, start, report. Ends with one line of JSON."""
    import json

    from rea.cli.watching import Follower
    from rea.workspace.demo import run_demo

    print(json.dumps(run_demo(folder, python, budget, output.note, Follower)))
