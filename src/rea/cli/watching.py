"""Following a campaign: drawn in place on a terminal, else a line for each thing that happens."""

from __future__ import annotations

import time
from collections.abc import Callable

from rea.cli.output import data, note
from rea.cli.views import event_line, said, status, status_text
from rea.domain.campaign import Campaign
from rea.domain.errors import NotFoundError
from rea.domain.states import CampaignState
from rea.workspace import Workspace

WATCH_S = 1.0
MOVING = (CampaignState.PROFILING, CampaignState.RUNNING)


class Follower:
    """Tells every new line of a campaign's record, once: on stderr, or by `tell`. `told` is the last kind of line that
    is no news any more; without it, that is whatever is there."""

    def __init__(
        self, workspace: Workspace, campaign: int, tell: Callable[[str], None] = note, told: str | None = None
    ) -> None:
        self._workspace, self._campaign, self._tell = workspace, campaign, tell
        known = (event.id for event in workspace.store.events(campaign) if told in (None, event.kind))
        self._last = max(known, default=0)

    def __call__(self, _: Campaign) -> None:
        for event in self._workspace.store.events(self._campaign, after_id=self._last):
            self._tell(event_line(event))
            self._last = event.id


def newest_moving(workspace: Workspace) -> Campaign:
    """The campaign to watch where none is named. Raises NotFoundError where all of them rest."""
    moving = [campaign for campaign in workspace.store.readable_campaigns()[0] if campaign.state in MOVING]
    if not moving:
        raise NotFoundError("no campaign is under way", hint="`rea status` lists all; name one to see where it stands")
    if len(moving) > 1:
        note(f"rea: of {', '.join(campaign.title for campaign in moving)} the newest; name another to watch that")
    return moving[-1]


def watch(workspace: Workspace, campaign: int, as_json: bool) -> Campaign:
    """Stay with a campaign until it rests, and tell at the end where it stands. It is looked at and never woken."""
    from rich.console import Console

    console = Console()
    if not as_json and console.is_terminal and not console.is_dumb_terminal:
        _draw(workspace, campaign)
    else:
        _tell(workspace, campaign, note if as_json else lambda text: data(None, text, False))
    found = workspace.store.campaign(campaign)
    whole = status(workspace, found)
    data(whole, status_text(whole) if console.is_terminal else said(found), as_json)
    return found


def _draw(workspace: Workspace, campaign: int) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()

    def drawn(found: Campaign) -> Text:
        text = status_text(status(workspace, found), room=console.height - 2)
        return Text(f"{text}\n", no_wrap=True, overflow="ellipsis")

    found = workspace.store.campaign(campaign)
    with Live(drawn(found), console=console, auto_refresh=False, transient=True) as live:
        while found.state in MOVING:
            time.sleep(WATCH_S)
            found = workspace.store.campaign(campaign)
            live.update(drawn(found), refresh=True)


def _tell(workspace: Workspace, campaign: int, tell: Callable[[str], None]) -> None:
    follower = Follower(workspace, campaign, tell)
    found = workspace.store.campaign(campaign)
    if found.state in MOVING:
        tell(said(found))
    while found.state in MOVING:
        time.sleep(WATCH_S)
        found = workspace.store.campaign(campaign)
        follower(found)
