"""What a report says, chosen from a campaign's rows. Pure; the renderers only decide how it looks."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev

from rea.domain.campaign import Campaign
from rea.domain.claim import Claim
from rea.domain.codebase import Objective, Scalar
from rea.domain.hypothesis import Hypothesis
from rea.domain.ids import say
from rea.domain.ledger import Balance, EntryKind, balance
from rea.domain.run import Attempt, Failure, Run
from rea.domain.states import AttemptState, CampaignState, HypothesisState, Phase, RunState, Verdict, is_terminal
from rea.domain.treatment import Treatment
from rea.report import text
from rea.report.view import View

_BASELINE = Treatment().key()


@dataclass(frozen=True, slots=True)
class Headline:
    """`tone` is "good" (a launch), "plain" (no launch), "open" (not at its end yet) or "bad" (it could not go on)."""

    tone: str
    kind: str
    title: str
    words: tuple[str, ...]
    lead: str = ""  # the claim's interval, where there is a claim


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
    wall_s: float
    phases: tuple[PhaseUse, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """One run at its end. `gain` is over the baseline on the same seed (a baseline's own: over the baselines' mean);
    for a pruned run it compares the curves where it was stopped. `kind`: "run", "baseline", "pruned" or "failed"."""

    run: Run
    kind: str
    spent_s: float
    gain: float | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """A hypothesis with what its runs showed.

    `gains` are over the baseline, by seed; `observed` is the mean gain over the hypothesis' own base with its standard
    error, which is what its prior spoke of.
    """

    hypothesis: Hypothesis
    gains: tuple[tuple[int, float], ...]
    observed: tuple[float, float] | None
    used_s: float
    pruned: int

    @property
    def mean(self) -> float | None:
        return fmean(gain for _, gain in self.gains) if self.gains else None


@dataclass(frozen=True, slots=True)
class Reliability:
    """How the predictions fared: how many observed effects fell inside the 90 % interval that was predicted."""

    shown: tuple[Evidence, ...]
    inside: int
    bias: float  # mean of observed − predicted, as a relative gain


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
    reliability: Reliability
    troubles: tuple[Trouble, ...]
    left_out: tuple[Aside, ...]
    needs_code: tuple[Aside, ...]
    claims: tuple[Claim, ...]


def facts(view: View) -> Facts:
    values = _values(view)
    ended = _spent_at_end(view.attempts)
    points = _points(view, values, ended)
    evidence = _evidence(view, values)
    finalist = next((h for h in view.hypotheses if h.id == view.campaign.incumbent), None)
    treatment = finalist.draft.full if finalist else Treatment()
    return Facts(
        headline=headline(view),
        finalist=finalist,
        changes=changes(view, treatment),
        patch=treatment.patch,
        cost=_cost(view),
        noise=_noise(view),
        points=points,
        best=_best(points),
        evidence=evidence,
        burn=_burn(view),
        bars=_bars(view),
        reliability=_reliability(evidence),
        troubles=_troubles(view),
        left_out=_left_out(view),
        needs_code=tuple(Aside(item.title, item.reason) for item in view.plan.needs_code) if view.plan else (),
        claims=tuple(claim for claim in (view.campaign.claim, view.campaign.visible) if claim),
    )


def headline(view: View) -> Headline:
    """The claim, or why there is none, in words for somebody who reads nothing else."""
    campaign = view.campaign
    reason = text.clean(campaign.reason)
    why = (text.capital(reason.rstrip(".")) + ".",) if reason else ()
    match campaign.state:
        case CampaignState.FINISHED if campaign.verdict is Verdict.LAUNCH:
            return Headline("good", "Launch", _claim_title(view), (*_claim_words(view), *why), _lead(view))
        case CampaignState.FINISHED:
            return Headline("plain", "No launch", _no_launch_title(view), (*why, *_claim_words(view)), _lead(view))
        case CampaignState.STOPPED:
            words = why or ("An engineer ended the campaign before it had a result.",)
            return Headline("plain", "Stopped", "No launch: the campaign was stopped", words)
        case CampaignState.FAILED:
            return Headline(
                "bad", "Failed", "No launch: the campaign could not go on", why or ("No reason was recorded.",)
            )
        case CampaignState.PAUSED:
            cause = f" ({campaign.pause_reason.value})" if campaign.pause_reason else ""
            words = (*why, "Jobs in flight end; nothing new starts.")
            return Headline("open", "Paused", f"Paused in {_phase(campaign)}{cause}", words)
        case CampaignState.RUNNING:
            words = (*why, "Nothing here is a claim yet.")
            return Headline("open", "Running", text.capital(_phase(campaign)), words)
        case CampaignState.APPROVED:
            return Headline("open", "Approved", "The plan is signed and has not started", why)
        case CampaignState.DRAFTED:
            return Headline("open", "Plan", "A plan waits for an engineer's signature", (*why, *_price(view)))
        case _:
            return Headline("open", "Profiling", "The baseline is being measured", why)


def standing(view: View) -> str:
    """What the finalist's changes are worth: said before they are listed, wherever they are not launched."""
    if view.campaign.incumbent is None:
        ended = is_terminal(view.campaign.state)
        return "Nothing changes: the baseline stays as it is." if ended else "Nothing yet: there is no finalist."
    if view.campaign.state is CampaignState.FINISHED:
        launched = view.campaign.verdict is Verdict.LAUNCH
        return "" if launched else "Nothing changes. This is the finalist, which is not launched:"
    if view.campaign.state in (CampaignState.STOPPED, CampaignState.FAILED):
        return "Nothing changes. This was the best hypothesis when the campaign ended, and was not confirmed:"
    return "The best hypothesis so far, not confirmed:"


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


def interval(claim: Claim) -> str:
    return f"{text.percent(claim.ci_low)} to {text.percent(claim.ci_high)}"


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


def _claim_title(view: View) -> str:
    claim, metric = view.campaign.claim, text.metric_name(view.campaign.codebase.objective)
    if claim is None:
        return f"{metric} improves"
    return f"{metric} improves by {text.percent(claim.gain, sign=False)}"


def _no_launch_title(view: View) -> str:
    claim = view.campaign.claim or view.campaign.visible
    floor = text.minimum_gain(view.plan, view.campaign.codebase.objective)
    if claim is None:
        return "No launch: nothing held up"
    if not claim.guardrails_hold:
        return "No launch: a guardrail does not hold"
    if claim.ci_low <= 0:
        return "No launch: the gain cannot be told from noise"
    if claim.gain < floor:
        return "No launch: the gain is too small to be worth it"
    return "No launch"


def _price(view: View) -> tuple[str, ...]:
    if view.plan is None:
        return ()
    codebase, estimate = view.campaign.codebase, view.plan.estimate
    asked, expected = text.device_time(view.plan.budget_s, codebase), text.device_time(estimate.device_s, codebase)
    return (f"It asks for {asked} and expects to use {expected} in about {text.duration(estimate.wall_s)}.",)


def _lead(view: View) -> str:
    """The gain with its interval: on the sealed split where it was opened, else on the visible one."""
    claim = view.campaign.claim or view.campaign.visible
    if claim is None:
        return ""
    opened = "sealed" if view.campaign.claim else "visible"
    seeds = text.plural(len(claim.seeds), "fresh paired seed")
    where = f"on the {opened} split “{text.clean(claim.split)}”, over {seeds}"
    return f"{text.percent(claim.gain)}, 95 % interval {interval(claim)}, {where}"


def _claim_words(view: View) -> tuple[str, ...]:
    objective, sealed, visible = view.campaign.codebase.objective, view.campaign.claim, view.campaign.visible
    claim = sealed or visible
    if claim is None:
        return ()
    words = []
    if claim.gap_closed is not None and claim.floor is not None:
        share = text.percent(claim.gap_closed, sign=False, digits=1)
        words.append(f"That is {share} of the way to the data's irreducible value, {text.number(claim.floor)}.")
    if sealed and visible:
        where = f"On the visible split “{text.clean(visible.split)}” it is"
        words.append(f"{where} {text.percent(visible.gain)} ({interval(visible)}).")
    floor = text.percent(text.minimum_gain(view.plan, objective), sign=False)
    words.append(f"The smallest gain worth launching was set to {floor} beforehand.")
    if objective.guardrails:
        words.append("All guardrails hold." if claim.guardrails_hold else "At least one guardrail does not hold.")
    return tuple(words)


def _phase(campaign: Campaign) -> str:
    return f"{campaign.phase.value}, round {campaign.round}"


def _gain(objective: Objective, baseline: float | None, value: float | None) -> float | None:
    if baseline is None or value is None or not math.isfinite(baseline) or not math.isfinite(value) or baseline == 0:
        return None
    gain = objective.gain(baseline, value)
    return gain if math.isfinite(gain) else None


def _values(view: View) -> dict[tuple[str, int], float]:
    """The objective of every finished run, by treatment key and seed; of two that repeat each other, the first."""
    metric = view.campaign.codebase.objective.metric
    found: dict[tuple[str, int], float] = {}
    for run in view.runs:
        if run.state is RunState.SUCCEEDED and run.result and run.draft.phase is not Phase.REVEAL:
            value = run.result.metrics.get(metric)
            if value is not None and math.isfinite(value):
                key = _BASELINE if run.draft.hypothesis is None else run.draft.treatment.key()
                found.setdefault((key, run.draft.seed), value)
    if view.plan:
        for seed, value in zip(view.plan.baseline.seeds, view.plan.baseline.values, strict=False):
            found.setdefault((_BASELINE, seed), value)
    return found


def _noise(view: View) -> float | None:
    """Relative standard deviation of one paired gain of a treatment that does nothing."""
    noise = view.plan.baseline.noise if view.plan else None
    return noise if noise is not None and math.isfinite(noise) and noise > 0 else None


def _spent_at_end(attempts: Iterable[Attempt]) -> dict[int, float]:
    """Device-seconds the campaign had used when each run's last ended attempt ended, by run."""
    spent, at_end = 0.0, {}
    done = [(attempt.ended_at, attempt.id, attempt) for attempt in attempts if attempt.ended_at is not None]
    for _, _, attempt in sorted(done, key=lambda item: item[:2]):
        spent += attempt.device_s or 0.0
        at_end[attempt.run] = spent
    return at_end


def _points(view: View, values: Mapping[tuple[str, int], float], ended: Mapping[int, float]) -> tuple[Point, ...]:
    objective = view.campaign.codebase.objective
    own = [value for (key, _), value in values.items() if key == _BASELINE]
    mean = fmean(own) if own else None
    curves = {
        run.draft.seed: run
        for run in view.runs
        if run.draft.hypothesis is None and run.state is RunState.SUCCEEDED and run.result
    }
    found = []
    for run in view.runs:
        if run.id not in ended or run.draft.phase is Phase.REVEAL:
            continue
        metric = run.result.metrics.get(objective.metric) if run.result else None
        if run.state is RunState.SUCCEEDED and run.draft.hypothesis is None:
            found.append(Point(run, "baseline", ended[run.id], _gain(objective, mean, metric)))
        elif run.state is RunState.SUCCEEDED:
            reference = values.get((_BASELINE, run.draft.seed), mean)
            found.append(Point(run, "run", ended[run.id], _gain(objective, reference, metric)))
        elif run.state is RunState.PRUNED:
            other = curves.get(run.draft.seed) or next(iter(curves.values()), None)
            found.append(Point(run, "pruned", ended[run.id], _gain_where_stopped(objective, other, run)))
        elif run.state is RunState.FAILED:
            found.append(Point(run, "failed", ended[run.id], None))
    return tuple(sorted(found, key=lambda point: (point.spent_s, point.run.id)))


def _gain_where_stopped(objective: Objective, baseline: Run | None, run: Run) -> float | None:
    if baseline is None or baseline.result is None or run.result is None or not run.result.curve:
        return None
    last = run.result.curve[-1]
    before = [reading for reading in baseline.result.curve if reading.x <= last.x]
    if not before:
        return None
    return _gain(objective, before[-1].metrics.get(objective.metric), last.metrics.get(objective.metric))


def _best(points: Iterable[Point]) -> tuple[tuple[float, float], ...]:
    """The best treatment so far by its mean gain over the seeds trained so far; it falls when a lucky start does."""
    gains: dict[tuple[int, str], list[float]] = defaultdict(list)
    steps = [(0.0, 0.0)]
    for point in points:
        if point.kind == "run" and point.gain is not None and point.run.draft.hypothesis is not None:
            gains[point.run.draft.hypothesis, point.run.draft.treatment.key()].append(point.gain)
            best = max(0.0, *(fmean(seen) for seen in gains.values()))
            if best != steps[-1][1]:
                steps.append((point.spent_s, best))
    return tuple(steps) if len(steps) > 1 else ()


def _evidence(view: View, values: Mapping[tuple[str, int], float]) -> tuple[Evidence, ...]:
    objective = view.campaign.codebase.objective
    by_hypothesis: dict[int, list[Run]] = defaultdict(list)
    for run in view.runs:
        if run.draft.hypothesis is not None and run.draft.phase is not Phase.REVEAL:
            by_hypothesis[run.draft.hypothesis].append(run)
    used: dict[int, float] = defaultdict(float)
    for attempt in view.attempts:
        used[attempt.run] += attempt.device_s or 0.0
    noise = _noise(view)
    found = []
    for hypothesis in view.hypotheses:
        runs = by_hypothesis[hypothesis.id]
        base = _BASELINE if hypothesis.draft.base.empty else hypothesis.draft.base.key()
        over_baseline: dict[int, float] = {}
        over_base = []
        own = hypothesis.draft.full.key()
        exact = [run for run in runs if run.draft.treatment.key() == own]  # trials near it speak of other treatments
        for run in exact or runs:
            if run.state is RunState.SUCCEEDED and run.result and run.draft.seed not in over_baseline:
                value = run.result.metrics.get(objective.metric)
                gain = _gain(objective, values.get((_BASELINE, run.draft.seed)), value)
                if gain is not None:
                    over_baseline[run.draft.seed] = gain
                gain = _gain(objective, values.get((base, run.draft.seed)), value)
                if gain is not None:
                    over_base.append(gain)
        found.append(
            Evidence(
                hypothesis=hypothesis,
                gains=tuple(sorted(over_baseline.items())),
                observed=_mean_and_error(over_base, noise),
                used_s=sum(used[run.id] for run in runs),
                pruned=sum(run.state is RunState.PRUNED for run in runs),
            )
        )
    return tuple(found)


def _mean_and_error(gains: list[float], noise: float | None) -> tuple[float, float] | None:
    if not gains or (noise is None and len(gains) < 2):
        return None
    return fmean(gains), (noise if noise is not None else stdev(gains)) / math.sqrt(len(gains))


def _reliability(evidence: Iterable[Evidence]) -> Reliability:
    shown, inside, misses = [], 0, []
    for item in evidence:
        prior = item.hypothesis.draft.effect
        if item.observed and math.isfinite(prior.mean) and math.isfinite(prior.sd):
            mean, error = item.observed
            shown.append(item)
            misses.append(mean - prior.mean)
            inside += abs(mean - prior.mean) <= 1.645 * math.hypot(prior.sd, error)
    return Reliability(tuple(shown), inside, fmean(misses) if misses else 0.0)


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
    end = view.campaign.ended_at if view.campaign.ended_at is not None else view.now
    states = Counter(run.state for run in view.runs)
    wall = max(0.0, end - view.campaign.created_at)
    return Cost(balance(view.entries), states, len(view.attempts), wall, tuple(phases))


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
