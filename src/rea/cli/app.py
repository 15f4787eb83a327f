"""The table of commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from rea.cli import auditing, inbox, insights, keeping, looking, planning, running, setting_up

app = typer.Typer(
    name="rea",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="REA, the Ranking Engineer Agent: runs the whole experiment loop of an ads-ranking model.\n\n"
    "Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 approval needed, 5 budget or guardrail stop, "
    "6 launcher unreachable, 130 interrupted, 141 the output's reader has gone. "
    "Data goes to stdout, the rest to stderr.",
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        from rea import __version__

        print(f"rea {__version__}")
        raise typer.Exit


@app.callback()
def rea(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


COMMANDS: tuple[Callable[..., None], ...] = (
    setting_up.init,
    setting_up.doctor,
    setting_up.demo,
    planning.simulate,
    planning.preflight,
    planning.approve,
    planning.reject,
    running.start,
    running.pause,
    running.resume,
    running.stop,
    running.wake,
    looking.status,
    looking.watch,
    looking.show,
    looking.logs,
    looking.report,
    looking.budget,
    looking.check,
    inbox.inbox,
    inbox.answer,
    inbox.runbooks,
    keeping.clean,
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(planning.plan_app, name="plan", rich_help_panel=None)
app.add_typer(running.hypothesis_app, name="hypothesis")
app.add_typer(running.daemon_app, name="daemon")
app.add_typer(keeping.service_app, name="service")
app.add_typer(keeping.db_app, name="db")
app.add_typer(auditing.audit_app, name="audit")
app.add_typer(insights.insights_app, name="insights", rich_help_panel=None)
