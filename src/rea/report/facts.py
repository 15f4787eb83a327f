"""What a report says, chosen from a campaign's rows. Pure; the renderers only decide how it looks."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from rea.domain.claim import Claim
from rea.domain.codebase import Scalar
from rea.domain.hypothesis import Hypothesis
from rea.domain.ids import say
from rea.domain.ledger import Balance, EntryKind, balance
from rea.domain.run import Attempt, Failure, Run
from rea.domain.states import AttemptState, HypothesisState, Phase, RunState
from rea.domain.treatment import Treatment
from rea.report import text
from rea.report.headline import Headline, claims, headline
from rea.report.measured import Evidence, Point, Predictions, measure
from rea.report.view import View


@dataclass(frozen=True, slots=True)
class Change:
    knob: str
    role: str | None
    before: Scalar
    after: Scalar
    known: bool  # whether the baseline's value is known


@dataclass(frozen=True, slots=True)
class PhaseUse:
    """Device-seconds of one phase of one round: granted by the plan, and used."""

    round: int
    phase: Phase
    budget_s: float | None
    expected_runs: float | None
    used_s: float
    runs: int


@dataclass(frozen=True, slots=True)
class Cost:
    balance: Balance
    runs: Mapping[RunState, int]
    attempts: int
    wall_s: float  # with jobs in flight
    phases: tuple[PhaseUse, ...]


@dataclass(frozen=True, slots=True)
class Trouble:
    """A run of which an attempt failed: why, and what became of it."""

    run: str
    hypothesis: str
    failure: Failure
    attempts: int
    done: str


@dataclass(frozen=True, slots=True)
class Bar:
    """An attempt in time, in the lowest lane that was free when it started."""

    attempt: Attempt
    run: Run | None
    lane: int
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Burn:
    """The ledger after everything up to `at`, in device-seconds."""

    at: float
    approved: float
    spent: float
    reserved: float


@dataclass(frozen=True, slots=True)
class Aside:
    title: str
    reason: str


@dataclass(frozen=True, slots=True)
class Facts:
    headline: Headline
    finalist: Hypothesis | None
    changes: tuple[Change, ...]
    patch: str | None
    cost: Cost
    noise: float | None
    points: tuple[Point, ...]
    best: tuple[tuple[float, float], ...]
    evidence: tuple[Evidence, ...]
    burn: tuple[Burn, ...]
    bars: tuple[Bar, ...]
    predictions: Predictions
    troubles: tuple[Trouble, ...]
    left_out: tuple[Aside, ...]
    needs_code: tuple[Aside, ...]
    claims: tuple[tuple[str, Claim], ...]  # each with the kind of its split, the last word first


def facts(view: View) -> Facts:
    measured = measure(view)
    finalist = next((h for h in view.hypotheses if h.id == view.campaign.incumbent), None)
    treatment = finalist.draft.full if finalist else Treatment()
    return Facts(
        headline=headline(view),
        finalist=finalist,
        changes=changes(view, treatment),
        patch=treatment.patch,
        cost=_cost(view),
        noise=measured.noise,
        points=measured.points,
        best=measured.best,
        evidence=measured.evidence,
        burn=_burn(view),
        bars=_bars(view),
        predictions=measured.predictions,
        troubles=_troubles(view),
        left_out=_left_out(view),
        needs_code=tuple(Aside(item.title, item.reason) for item in view.plan.needs_code) if view.plan else (),
        claims=claims(view),
    )


def changes(view: View, treatment: Treatment) -> tuple[Change, ...]:
    """What a treatment sets, next to the baseline's own values."""
    before = view.plan.baseline_values if view.plan else {}
    found = []
    for name, value in sorted(treatment.overrides.items()):
        knob = view.campaign.codebase.knob(name)
        known = name in before or (knob is not None and knob.default is not None)
        old = before.get(name, knob.default if knob else None)
        found.append(Change(name, knob.role if knob else None, old, value, known))
    return tuple(found)


def seed_rows(claim: Claim) -> tuple[tuple[int, float | None, float | None, float | None], ...]:
    """(seed, baseline, treated, gain) of each paired seed; None where a list is shorter than the seeds."""

    def at(values: tuple[float, ...], index: int) -> float | None:
        return values[index] if index < len(values) else None

    return tuple(
        (seed, at(claim.baseline_values, i), at(claim.treated_values, i), at(claim.gains, i))
        for i, seed in enumerate(claim.seeds)
    )


def metric_rows(claim: Claim) -> tuple[tuple[str, float | None, float | None], ...]:
    """(metric, baseline, treated) of every metric of a claim, the objective first."""
    names = dict.fromkeys([claim.metric, *sorted({*claim.baseline_metrics, *claim.treated_metrics})])
    rows = ((name, claim.baseline_metrics.get(name), claim.treated_metrics.get(name)) for name in names)
    return tuple(row for row in rows if row[1] is not None or row[2] is not None)


def run_counts(cost: Cost) -> str:
    """`41 runs: 30 succeeded, 8 pruned, 3 failed`."""
    total = sum(cost.runs.values())
    parts = [f"{cost.runs[state]} {state.value}" for state in RunState if cost.runs.get(state)]
    return text.plural(total, "run") + (f": {', '.join(parts)}" if parts else "")


def _cost(view: View) -> Cost:
    used: dict[tuple[int, Phase], float] = defaultdict(float)
    count: Counter[tuple[int, Phase]] = Counter()
    of_run = {run.id: run for run in view.runs}
    for run in view.runs:
        if run.state not in (RunState.PLANNED, RunState.CANCELLED):
            count[run.draft.round, run.draft.phase] += 1
    for attempt in view.attempts:
        run_of = of_run.get(attempt.run)
        if run_of:
            used[run_of.draft.round, run_of.draft.phase] += attempt.device_s or 0.0
    planned = {(phase.round, phase.phase): phase for phase in view.plan.phases} if view.plan else {}
    order = list(Phase)
    keys = sorted({*planned, *used, *count}, key=lambda key: (key[1] is not Phase.PROFILE, key[0], order.index(key[1])))
    phases = []
    for key in keys:
        plan = planned.get(key)
        budget, runs = (plan.budget_s, plan.runs) if plan else (None, None)
        phases.append(PhaseUse(key[0], key[1], budget, runs, used[key], count[key]))
    states = Counter(run.state for run in view.runs)
    return Cost(balance(view.entries), states, len(view.attempts), _in_flight(view), tuple(phases))


def _in_flight(view: View) -> float:
    """Seconds in which some job was submitted and had not ended: without the time that a plan waits for a signature."""
    whole, until = 0.0, -math.inf
    for begun, ended in sorted((a.intended_at, view.now if a.ended_at is None else a.ended_at) for a in view.attempts):
        whole += max(0.0, ended - max(begun, until))
        until = max(until, ended)
    return whole


def _burn(view: View) -> tuple[Burn, ...]:
    """The ledger over time; one value per entry, the last one now (or at the campaign's end)."""
    entries = sorted(view.entries, key=lambda entry: entry.at)
    approved, spent = 0.0, 0.0
    held: dict[int, float] = {}
    found = []
    for entry in entries:
        if entry.kind is EntryKind.APPROVE:
            approved = entry.device_s
        elif entry.attempt is not None and entry.kind is EntryKind.RESERVE:
            held[entry.attempt] = entry.device_s
        elif entry.attempt is not None:
            held.pop(entry.attempt, None)
            spent += entry.device_s
        found.append(Burn(entry.at, approved, spent, sum(held.values())))
    if found:
        end = view.campaign.ended_at if view.campaign.ended_at is not None else view.now
        last = found[-1]
        if end > last.at:
            found.append(Burn(end, last.approved, last.spent, last.reserved))
    return tuple(found)


def _bars(view: View) -> tuple[Bar, ...]:
    of_run = {run.id: run for run in view.runs}
    started = [(attempt.started_at, attempt) for attempt in view.attempts if attempt.started_at is not None]
    free_from: list[float] = []
    found = []
    for start, attempt in sorted(started, key=lambda item: (item[0], item[1].id)):
        end = attempt.ended_at if attempt.ended_at is not None else view.now
        end = max(start, end)
        lane = next((index for index, free in enumerate(free_from) if free <= start + 1e-6), len(free_from))
        free_from[lane : lane + 1] = [end]
        found.append(Bar(attempt, of_run.get(attempt.run), lane, start, end))
    return tuple(found)


def _troubles(view: View) -> tuple[Trouble, ...]:
    by_run: dict[int, list[Attempt]] = defaultdict(list)
    for attempt in view.attempts:
        by_run[attempt.run].append(attempt)
    found = []
    for run in view.runs:
        attempts = sorted(by_run[run.id], key=lambda attempt: attempt.number)
        failures = [attempt.failure for attempt in attempts if attempt.failure]
        failure = run.failure or (failures[-1] if failures else None)
        if failure:
            of = "baseline" if run.draft.hypothesis is None else say("H", run.draft.hypothesis)
            found.append(Trouble(run.name, of, failure, len(attempts), _done(run, attempts)))
    return tuple(found)


def _done(run: Run, attempts: list[Attempt]) -> str:
    tried = text.plural(len(attempts), "attempt")
    match run.state:
        case RunState.SUCCEEDED:
            return f"retried; attempt {len(attempts)} succeeded"
        case RunState.PRUNED:
            return "retried, then stopped early on the baseline's curve"
        case RunState.FAILED:
            return f"given up after {tried}"
        case RunState.PLANNED:
            return f"a retry is due (after {tried})"
        case RunState.ACTIVE:
            running = any(attempt.state is not AttemptState.ENDED for attempt in attempts)
            return f"attempt {len(attempts)} is under way" if running else f"to be judged after {tried}"
        case _:
            return f"cancelled after {tried}"


def _left_out(view: View) -> tuple[Aside, ...]:
    found = {item.title: Aside(item.title, item.reason) for item in view.plan.left_out} if view.plan else {}
    for hypothesis in view.hypotheses:
        if hypothesis.state in (HypothesisState.LEFT_OUT, HypothesisState.VETOED):
            title = f"{hypothesis.name} {hypothesis.draft.title}"
            word = "vetoed" if hypothesis.state is HypothesisState.VETOED else "left out"
            found.pop(hypothesis.draft.title, None)
            found[title] = Aside(title, f"{word}: {hypothesis.reason}" if hypothesis.reason else word)
    return tuple(found.values())
