"""What a campaign's plan may come to, before it is signed or while it runs: simulated from what the plan believes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rea.domain.campaign import Campaign
from rea.domain.errors import UsageError
from rea.domain.ids import say
from rea.domain.plan import Plan
from rea.domain.states import AttemptState, CampaignState, Phase, is_terminal
from rea.workspace.compose import Workspace
from rea.workspace.governance import latest_plan

if TYPE_CHECKING:
    from rea.domain.technique import Technique
    from rea.insights.snapshot import Insights
    from rea.simulation.forecast import Course, Forecast, Material

CAMPAIGNS = 200
FEWEST_CAMPAIGNS, MOST_CAMPAIGNS = 10, 10_000
MOST_SLOTS = 10_000
WORTH_A_PROCESS = 20  # campaigns
# Where nothing was seen: the share of treatments that cannot be trained, and of attempts that infrastructure ends. What
# was seen counts against as many of these as the second number says. Estimates.
UNTRAINABLE, LOST = (0.05, 20.0), (0.015, 100.0)


def simulate(
    workspace: Workspace,
    ref: str,
    *,
    campaigns: int = CAMPAIGNS,
    seed: int = 1,
    slots: int | None = None,
    weather: str = "usual",
    processes: int = 1,
    tell: Callable[[int], None] = lambda done: None,
) -> Forecast:
    """Run whole campaigns of the latest plan in memory, from the end of its profile on, each in a world drawn from what
    the plan believes, in so many processes. Nothing is written and nothing is trained; `tell` is called with how many
    are done.

    The same seed gives the same answer. Raises NotFoundError where there is no plan, UsageError for a campaign that has
    ended and for what makes no sense.
    """
    from rea.simulation.forecast import Material, Weather, forecast

    if not FEWEST_CAMPAIGNS <= campaigns <= MOST_CAMPAIGNS:
        hint = f"give {FEWEST_CAMPAIGNS} to {MOST_CAMPAIGNS:,}; {CAMPAIGNS} tell a probability to about 3 in 100"
        much = "few" if campaigns < FEWEST_CAMPAIGNS else "many"
        raise UsageError(f"--campaigns {campaigns} is too {much}", hint=hint)
    if slots is not None and not 1 <= slots <= MOST_SLOTS:
        raise UsageError(f"--slots {slots} makes no sense", hint=f"give 1 to {MOST_SLOTS:,}")
    if weather not in list(Weather):
        known = ", ".join(kind.value for kind in Weather)
        raise UsageError(f"--weather {weather!r} is unknown", hint=f"it is one of {known}")
    campaign = workspace.store.campaign(ref)
    record, plan = latest_plan(workspace, campaign)
    if is_terminal(campaign.state):
        raise UsageError(
            f"{campaign.title} is {campaign.state.value}: nothing of it is left to be simulated",
            hint=f"`rea report {campaign.title}` tells what it came to",
        )
    from rea.knowledge.cards import techniques_of

    techniques = techniques_of(Path(campaign.codebase.root))
    insights = _known(workspace, campaign, plan, techniques)
    material = Material(
        rows=workspace.store.snapshot_rows(campaign.id),
        entries=workspace.store.entries(campaign.id),
        techniques=techniques,
        insights=insights,
        untrainable=_untrainable(plan, insights),
        lost=_lost(workspace, campaign),
        slots=slots or campaign.codebase.launcher.slots,
        weather=Weather(weather),
    )
    found = []
    for done in _courses(material, [seed * MOST_CAMPAIGNS + number for number in range(campaigns)], processes):
        found.append(done)
        tell(len(found))
    return forecast(
        material,
        found,
        campaign=campaign.title,
        plan_name=say("P", record.id),
        seed=seed,
        begins_at=_begins(workspace, campaign),
    )


def processes_for(campaigns: int) -> int:
    """How many processes so many campaigns are worth, of which each takes a second to start."""
    import os

    return max(1, min(len(os.sched_getaffinity(0)), campaigns // WORTH_A_PROCESS))


def _courses(material: Material, seeds: Sequence[int], processes: int) -> Iterator[Course]:
    """The campaigns of these seeds, in their order."""
    from rea.simulation.forecast import course

    if processes <= 1:
        yield from (course(material, seed) for seed in seeds)
        return
    import os
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # Each process has a core of its own; threads of the linear algebra beside it would only be in the way.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _take, (material,))
    try:
        yield from pool.map(_run, seeds)
    finally:
        pool.shutdown(cancel_futures=True)


_TAKEN: list[Material] = []  # of a process of the pool


def _take(material: Material) -> None:
    _TAKEN[:] = [material]


def _run(seed: int) -> Course:
    from rea.simulation.forecast import course

    return course(_TAKEN[0], seed)


def _known(workspace: Workspace, campaign: Campaign, plan: Plan, techniques: Sequence[Technique]) -> Insights:
    """What later rounds would be told, as the store knows it now."""
    from rea.insights.snapshot import recall
    from rea.planner.compose import data_facts

    runs = workspace.store.runs(campaign.id)
    profile = [run for run in runs if run.draft.phase is Phase.PROFILE and not run.draft.aside]
    return recall(workspace.store, techniques, campaign.codebase.name, data_facts(profile, plan.baseline.data))


def _begins(workspace: Workspace, campaign: Campaign) -> float:
    """When the search began, or, where it did not, now."""
    if campaign.state is CampaignState.RUNNING:
        started = [event.at for event in workspace.store.events(campaign.id) if event.kind == "started"]
        if started:
            return started[-1]
    return workspace.clock()


def _untrainable(plan: Plan, insights: Insights) -> float:
    """The share of treatments that cannot be trained, by what insights know of the plan's techniques."""
    names = {item.draft.technique for item in plan.hypotheses}
    good = bad = 0.0
    for name, known in insights.known.items():
        if name in names:
            good += sum(count for count, _ in known.contexts.values()) + sum(c.n + c.pruned for c in known.own)
            bad += sum(count for _, count in known.contexts.values()) + sum(c.failed for c in known.own)
    return _share(bad, good + bad, *UNTRAINABLE)


def _lost(workspace: Workspace, campaign: Campaign) -> float:
    """The share of attempts that infrastructure ended, by the campaigns of this codebase."""
    mine = [c.id for c in workspace.store.readable_campaigns()[0] if c.codebase.name == campaign.codebase.name]
    ended = [a for id_ in mine for a in workspace.store.attempts(id_) if a.state is AttemptState.ENDED]
    gone = sum(a.failure is not None and a.failure.kind == "T" for a in ended)
    return _share(gone, len(ended), *LOST)


def _share(seen: float, of: float, usual: float, weight: float) -> float:
    return (seen + usual * weight) / (of + weight)
