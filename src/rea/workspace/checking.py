"""What must always hold of campaigns and their store, looked at from outside, and copies of a store that holds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rea.domain.campaign import Campaign
from rea.domain.errors import ReaError
from rea.domain.ids import say
from rea.domain.plan import read_plan
from rea.domain.states import AttemptState, CampaignState, Phase, Verdict, is_terminal
from rea.executor.invariants import violations
from rea.executor.observe import beyond
from rea.guard.policy import Effect
from rea.report.text import plural
from rea.store import data_home
from rea.store.migrate import REVISIONS
from rea.workspace.auditing import MOST_LISTED, unknown, verify
from rea.workspace.compose import Workspace


@dataclass(frozen=True, slots=True)
class Health:
    """Of a store: its schema's revision, what is wrong with the database, with each campaign and with run directories.

    `asides` is what an engineer may want to know and nobody has to mend.
    """

    store: str
    revision: str
    database: tuple[str, ...]
    campaigns: Mapping[str, Sequence[str]]
    runs: tuple[str, ...]
    asides: tuple[str, ...]

    @property
    def sound(self) -> bool:
        return not (self.database or self.runs or any(self.campaigns.values()))


def health(workspace: Workspace) -> Health:
    """Everything that can be checked of a store and its runs. Nothing is changed."""
    database = workspace.store.faults() or workspace.store.disagreements(MOST_LISTED)
    campaigns = check_all(workspace)
    runs = [
        f"{title} is not in the store, and {folder} has run directories of it" for title, folder in unknown(workspace)
    ]
    asides: list[str] = []
    for id_ in workspace.store.campaign_ids():
        try:
            wrong, aside = _gone(workspace, id_)
        except ReaError:
            continue  # its rows make no sense, which `check_all` has told
        runs += wrong
        asides += aside
    return Health(workspace.store.where, REVISIONS[-1], tuple(database), campaigns, tuple(runs), tuple(asides))


def _gone(workspace: Workspace, id_: int) -> tuple[list[str], list[str]]:
    """Run directories that rows name and nobody has: those that are still needed, and those that are not."""
    store = workspace.store
    campaign, runs = store.campaign(id_), {run.id: run for run in store.runs(id_)}
    needed: list[str] = []
    other: list[str] = []
    for attempt in store.attempts(id_):
        begun = attempt.state is AttemptState.SUBMITTED or attempt.started_at is not None
        if not begun or Path(attempt.run_dir).is_dir():
            continue
        claimed = campaign.verdict is Verdict.LAUNCH and runs[attempt.run].draft.phase is Phase.CONFIRMATION
        (needed if claimed or not is_terminal(campaign.state) else other).append(attempt.run_dir)
    words = [
        f"{campaign.title}: {plural(len(found), 'run directory is', 'run directories are')} gone, such as {found[0]}"
        for found in (needed, other)
        if found
    ]
    return (words[:1], words[1:]) if needed else ([], words)


def check_all(workspace: Workspace, ids: Sequence[int] | None = None) -> dict[str, list[str]]:
    """`check` of each campaign, by its spoken id; rows that make no sense are a finding, too."""
    found = {}
    for id_ in workspace.store.campaign_ids() if ids is None else ids:
        try:
            found[say("C", id_)] = check(workspace, workspace.store.campaign(id_))
        except ReaError as error:
            found[say("C", id_)] = [error.message]
    return found


def check(workspace: Workspace, campaign: Campaign) -> list[str]:
    """What does not hold of a campaign now, in words; empty where all is well.

    Beside its rows: they are as the trail has them, or an engineer vouched for them; the signature of a running one is
    verified, and a job whose submission was answered must be known to the launcher, where that can be asked.
    """
    rows = workspace.store.snapshot_rows(campaign.id)
    found = violations(rows)
    faults, rows_alone = verify(workspace, campaign.id).faults, workspace.store.trail_faults(campaign.id)
    if not workspace.store.altered(campaign.id):  # nothing, or an engineer vouched for it
        faults = tuple(fault for fault in faults if fault not in rows_alone)
    if faults:
        more = f" (and {len(faults) - 1} more: `rea audit verify {campaign.title}`)" if len(faults) > 1 else ""
        found.append(f"{faults[0]}{more}")
    tools = workspace.tools(campaign)
    if campaign.state is CampaignState.RUNNING and rows.plan is not None:
        try:
            tools.workbench.verify(rows.plan, rows.approval, campaign)
        except ReaError as error:
            found.append(f"it runs, and {error.message}")
    if rows.plan is not None and rows.approval is not None:
        found += filter(None, [beyond(rows, read_plan(rows.plan))])
    try:
        unknown = [
            attempt
            for attempt in rows.attempts
            if attempt.state is AttemptState.SUBMITTED and tools.launcher.find(attempt.job) is None
        ]
    except ReaError:
        unknown = []  # a launcher that does not answer says nothing of its jobs
    return found + [f"the launcher does not know {one.job}, which R-{one.run} waits for" for one in unknown]


def backup(workspace: Workspace, file: Path | None, force: bool) -> tuple[Path, int]:
    """Copy the store as of now, checked, while campaigns go on; gives the copy (without a name, beside the store and
    named by the time) and its bytes. Raises GuardrailError for a caller that may not."""
    workspace.require(Effect.MANAGE)
    store = workspace.store
    if file is None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        file = data_home() / f"rea-{stamp}.dump"
        if store.path is not None:
            file = store.path.with_name(f"{store.path.stem}-{stamp}.db")
        file.parent.mkdir(parents=True, exist_ok=True)
    return file, store.backup(file, force)
