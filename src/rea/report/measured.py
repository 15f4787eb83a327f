"""What a campaign's runs measured: gains over the baseline, by run and by hypothesis. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev

from rea.domain.codebase import Objective
from rea.domain.hypothesis import Hypothesis
from rea.domain.run import Attempt, Run
from rea.domain.states import Phase, RunState
from rea.domain.treatment import Treatment
from rea.insights.reliability import Prediction, Reliability, reliability
from rea.report.view import View

_BASELINE = Treatment().key()


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

    `gains` are over the baseline on the search's seeds, by seed, and `fresh` those on the confirmation's, which chose
    nothing. `observed` is the search's mean gain over the hypothesis' own base with its standard error, which is what
    its prior spoke of.
    """

    hypothesis: Hypothesis
    gains: tuple[tuple[int, float], ...]
    fresh: tuple[tuple[int, float], ...]
    observed: tuple[float, float] | None
    used_s: float
    pruned: int

    @property
    def mean(self) -> float | None:
        """Over the search's seeds."""
        return fmean(gain for _, gain in self.gains) if self.gains else None

    @property
    def fresh_mean(self) -> float | None:
        return fmean(gain for _, gain in self.fresh) if self.fresh else None


@dataclass(frozen=True, slots=True)
class Predictions:
    """How the predictions fared that were made before their test.

    `shown` pairs each with the evidence of its hypothesis; `stopped` counts those of which only a bound was seen,
    because the stop rule ended every run.
    """

    shown: tuple[tuple[Evidence, Prediction], ...]
    reliability: Reliability | None
    stopped: int


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


@dataclass(frozen=True, slots=True)
class Measured:
    """`noise` is the relative standard deviation of one paired gain; `best` the best mean gain by device-seconds."""

    noise: float | None
    points: tuple[Point, ...]
    best: tuple[tuple[float, float], ...]
    evidence: tuple[Evidence, ...]
    predictions: Predictions


def measure(view: View) -> Measured:
    values = _values(view)
    points = _points(view, values, _spent_at_end(view.attempts))
    evidence = _evidence(view, values)
    return Measured(_noise(view), points, _best(points), evidence, _predictions(evidence))


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
        own = hypothesis.draft.full.key()
        exact = [run for run in runs if run.draft.treatment.key() == own]  # trials near it speak of other treatments
        over_baseline: dict[int, float] = {}
        fresh: dict[int, float] = {}
        over_base = []
        for run in exact or runs:
            if run.state is not RunState.SUCCEEDED or run.result is None:
                continue
            seed, value = run.draft.seed, run.result.metrics.get(objective.metric)
            kept = fresh if run.draft.phase is Phase.CONFIRMATION else over_baseline
            gain = _gain(objective, values.get((_BASELINE, seed)), value)
            if gain is None or seed in kept:
                continue
            kept[seed] = gain
            gain = _gain(objective, values.get((base, seed)), value)
            if gain is not None and kept is over_baseline:
                over_base.append(gain)
        found.append(
            Evidence(
                hypothesis=hypothesis,
                gains=tuple(sorted(over_baseline.items())),
                fresh=tuple(sorted(fresh.items())),
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


def _predictions(evidence: Iterable[Evidence]) -> Predictions:
    """Of what trains the same model twice, only the first was predicted: the second knew the first one's runs."""
    shown, stopped = [], 0
    known: set[str] = set()
    for item in sorted(evidence, key=lambda item: item.hypothesis.id):
        key, prior = item.hypothesis.draft.full.key(), item.hypothesis.draft.effect
        if key in known or not (item.observed or item.pruned):
            continue
        known.add(key)
        if item.observed is None:
            stopped += 1
        elif math.isfinite(prior.mean) and math.isfinite(prior.sd):
            shown.append((item, Prediction(prior.mean, prior.sd, *item.observed)))
    return Predictions(tuple(shown), reliability([prediction for _, prediction in shown]), stopped)
