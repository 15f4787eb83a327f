"""Commands about what waits for an engineer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rea.cli import output
from rea.cli.common import Json, Root, open_workspace


def inbox(as_json: Json = False) -> None:
    """Questions that campaigns have, with what each answer leads to and costs, and campaigns that stand still."""
    from rea.cli import views
    from rea.workspace.inbox import inbox as look

    found = look(open_workspace())
    waiting = [
        {"campaign": one.campaign.title, "state": one.campaign.state, "why": one.why, "ways": one.ways}
        for one in found.waiting
    ]
    questions = [one for one, _ in found.questions]
    output.data({"questions": questions, "waiting": waiting}, views.inbox_text(found), as_json)


def runbooks(root: Root = Path(), as_json: Json = False) -> None:
    """What failures are recognised by and what is done about them, with what worked, and what was found out besides."""
    from rea.cli import views
    from rea.workspace.runbooks import known

    found = known(open_workspace(), root)
    output.data(found, views.runbooks_text(found), as_json)


def answer(
    question: Annotated[str, typer.Argument(help="Q-3", metavar="QUESTION")],
    option: Annotated[str, typer.Argument(help="One of its answers, by name.", metavar="ANSWER")],
    as_json: Json = False,
) -> None:
    """Answer a question of the inbox; its campaign goes on accordingly."""
    from rea.workspace.inbox import answer as give

    found = give(open_workspace(), question, option)
    words = next(one.words for one in found.options if one.name == option)
    output.data(found, f"{found.name}: {option}: {words}", as_json)
