"""What a campaign's runs measured: gains by seed, their noise, the rows they were read on, guardrails."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from rea.domain.codebase import Guardrail
from rea.domain.hypothesis import Hypothesis, HypothesisDraft
from rea.domain.plan import Plan
from rea.domain.run import Run
from rea.domain.states import RunState, is_terminal
from rea.domain.treatment import Treatment
from rea.planner import joint
from rea.planner.fidelity import rank_correlations
from rea.planner.profile import best_so_far, mean_metrics, noise_df, series
from rea.planner.rows import Blocks, Lasting, paired_error, split_noise


@dataclass(frozen=True)
class Measurements:
    """The runs of one campaign, indexed by what they trained and by seed. Gains are relative, positive is better.

    What was worked out once is kept: one decision asks for the same gains hundreds of times.
    """

    plan: Plan
    runs: tuple[Run, ...]

    @cached_property
    def _by_treatment(self) -> Mapping[str, tuple[Run, ...]]:
        groups: dict[str, list[Run]] = {}
        for run in self.runs:
            groups.setdefault(run.draft.treatment.key(), []).append(run)
        return {key: tuple(group) for key, group in groups.items()}

    def of(self, treatment: Treatment) -> tuple[Run, ...]:
        """Every run that trained this treatment."""
        return self._by_treatment.get(treatment.key(), ())

    @cached_property
    def _gains(self) -> dict[tuple[str, tuple[int, ...] | None], Mapping[int, float]]:
        return {}

    @cached_property
    def _bounds(self) -> dict[str, float | None]:
        return {}

    def values(self, treatment: Treatment) -> dict[int, float]:
        """The objective on the visible split by seed, from runs whose result counts."""
        metric = self.plan.codebase.objective.metric
        return {
            run.draft.seed: run.result.metrics[metric]
            for run in self.of(treatment)
            if run.state is RunState.SUCCEEDED and run.result is not None and metric in run.result.metrics
        }

    @cached_property
    def baseline(self) -> Mapping[int, float]:
        return self.values(Treatment())

    def gains(self, treatment: Treatment, seeds: Iterable[int] | None = None) -> Mapping[int, float]:
        """Relative gain over the baseline, paired by seed."""
        wanted = None if seeds is None else tuple(seeds)
        known = self._gains.get((treatment.key(), wanted))
        if known is None:
            objective = self.plan.codebase.objective
            known = {
                seed: objective.gain(self.baseline[seed], value)
                for seed, value in self.values(treatment).items()
                if seed in self.baseline and (wanted is None or seed in wanted)
            }
            self._gains[treatment.key(), wanted] = known
        return known

    def bound(self, treatment: Treatment) -> float | None:
        """Of a treatment whose runs were all pruned: its gain where it was stopped, which is below zero."""
        key = treatment.key()
        if key not in self._bounds:
            self._bounds[key] = self._bound(treatment)
        return self._bounds[key]

    def _bound(self, treatment: Treatment) -> float | None:
        objective = self.plan.codebase.objective
        seen = []
        for run in self.of(treatment):
            base = next((r for r in self.of(Treatment()) if r.draft.seed == run.draft.seed and r.result), None)
            if run.state is not RunState.PRUNED or run.result is None or base is None or base.result is None:
                continue
            mine = best_so_far(series(run.result.curve, objective.metric), objective.direction)
            theirs = best_so_far(series(base.result.curve, objective.metric), objective.direction)
            if mine and theirs:
                x, value = mine[-1]
                at = [v for px, v in theirs if px <= x] or [theirs[0][1]]
                seen.append(objective.gain(at[-1], value))
        return sum(seen) / len(seen) if seen else None

    def observed(self, hypothesis: Hypothesis) -> dict[int, float]:
        """What it gained over its base, by search seed that both were trained on."""
        draft, search = hypothesis.draft, self.plan.rules.search_seeds
        mine, theirs = self.gains(draft.full, search), self.gains(draft.base, search)
        return {seed: mine[seed] - theirs[seed] for seed in sorted(set(mine) & set(theirs))}

    @cached_property
    def rank_correlations(self) -> Mapping[float, float]:
        """How well best-so-far ranks the treatments of this campaign, by share of the curve (see `fidelity`)."""
        objective = self.plan.codebase.objective
        first: dict[str, list[tuple[float, float]]] = {}
        for run in self.runs:
            if run.state is RunState.SUCCEEDED and run.result is not None:
                first.setdefault(run.draft.treatment.key(), series(run.result.curve, objective.metric))
        return rank_correlations(list(first.values()), objective.direction)

    @property
    def run_sd(self) -> float:
        """Relative standard deviation of one baseline run over seeds."""
        return self.plan.baseline.noise / math.sqrt(2)

    @property
    def first_sd(self) -> float:
        """What the first run of a treatment is off by: by its seed, and by the split's rows."""
        return math.hypot(self.run_sd, math.sqrt(self._lasting.usual) if self._lasting is not None else 0.0)

    def row_variance(self, hypothesis: Hypothesis) -> float:
        """Variance that the rows of the split give what a hypothesis gains over its base, whatever its seeds.

        Zero where the evaluator prints no blocks of rows, or nothing was trained to the end.
        """
        if hypothesis.id not in self._row_variances:
            self._row_variances[hypothesis.id] = self._row_variance(hypothesis.draft)
        return self._row_variances[hypothesis.id]

    @cached_property
    def _row_variances(self) -> dict[int, float]:
        return {}

    def _row_variance(self, draft: HypothesisDraft) -> float:
        if self._lasting is None or not self.gains(draft.full, self.plan.rules.search_seeds):
            return 0.0
        seen = paired_error(self._blocks(draft.base), self._blocks(draft.full))
        return self._lasting.variance(*seen) if seen is not None else self._lasting.usual

    @cached_property
    def _lasting(self) -> Lasting | None:
        """How much of the row error lasts over seeds here; None where the evaluator does not tell."""
        return self._how_lasting()

    def _how_lasting(self) -> Lasting | None:
        search, baseline = self.plan.rules.search_seeds, self.of(Treatment())
        trained = [r for r in baseline if r.state is RunState.SUCCEEDED and r.draft.seed in search]
        results = [run.result for run in sorted(trained, key=lambda run: run.draft.seed) if run.result is not None]
        between = split_noise(results, self.plan.codebase.objective.metric)
        if between is None:
            return None
        base = self._blocks(Treatment())
        seen = [paired_error(base, self._blocks(treatment)) for treatment in self._told() if not treatment.empty]
        return Lasting.of(between, [one for one in seen if one is not None])

    def _blocks(self, treatment: Treatment) -> Mapping[int, Blocks]:
        """Sums of loss over blocks of rows by search seed, where its runs have them."""
        search = self.plan.rules.search_seeds
        runs = [run for run in self.of(treatment) if run.state is RunState.SUCCEEDED and run.draft.seed in search]
        return {run.draft.seed: run.result.block_loss for run in runs if run.result and run.result.block_loss}

    def noise_of(self, treatment: Treatment) -> float:
        """The same of a treatment: the baseline's until its own seeds say otherwise (scaled inverse chi-squared)."""
        objective, level, search = self.plan.codebase.objective, self.plan.baseline.mean, self.plan.rules.search_seeds
        values = [objective.gain(level, value) for seed, value in self.values(treatment).items() if seed in search]
        if len(values) < 2 or treatment.empty:
            return self.run_sd
        mean, weight = sum(values) / len(values), noise_df(self.plan.baseline)
        squares = sum((value - mean) ** 2 for value in values)
        return math.sqrt((weight * self.run_sd**2 + squares) / (weight + len(values) - 1))

    def _told(self) -> list[Treatment]:
        """The treatments whose runs are looked at together: all of them, or of very many the best and the latest."""
        trained = [group[0].draft.treatment for group in self._by_treatment.values() if self._telling(group)]
        if len(trained) <= joint.MOST_TREATMENTS:
            return trained
        half = joint.MOST_TREATMENTS // 2
        means = {t.key(): mean_of(list(self.gains(t).values())) for t in trained}
        best = sorted(trained, key=lambda t: -means[t.key()])[:half]
        kept = {t.key(): t for t in [Treatment(), *best, *trained[-half:]]}
        return list(kept.values())

    def _telling(self, runs: Sequence[Run]) -> bool:
        return any(r.state in (RunState.SUCCEEDED, RunState.PRUNED) for r in runs)

    def metrics(self, treatment: Treatment) -> dict[str, float]:
        """Mean metrics of a treatment's successful runs."""
        key = treatment.key()
        if key not in self._metrics:
            rows = [r.result.metrics for r in self.of(treatment) if r.state is RunState.SUCCEEDED and r.result]
            self._metrics[key] = mean_metrics(rows)
        return self._metrics[key]

    @cached_property
    def _metrics(self) -> dict[str, dict[str, float]]:
        return {}

    @cached_property
    def _broken(self) -> dict[str, str]:
        return {}

    def _outside(self, hypothesis: Hypothesis) -> str:
        """The guardrails it breaks, in words; empty where all hold."""
        key = hypothesis.draft.full.key()
        if key not in self._broken:
            self._broken[key] = self._breaks(hypothesis)
        return self._broken[key]

    def _breaks(self, hypothesis: Hypothesis) -> str:
        count = len(self.gains(hypothesis.draft.full, self.plan.rules.search_seeds))
        metrics, spread = self.metrics(hypothesis.draft.full), self.plan.baseline.spread
        baseline = self.plan.baseline.metrics
        broken = []
        for rail in self.plan.codebase.objective.guardrails:
            slack = 2 * spread.get(rail.metric, 0.0) / math.sqrt(max(count, 1)) + rail.outside(baseline)
            if not rail.holds(metrics, slack):
                broken.append(rail.told(metrics))
        return ", ".join(broken)

    def broken(self, hypothesis: Hypothesis) -> tuple[Guardrail, ...]:
        """The guardrails that lie behind its mean metrics so far, without any slack."""
        metrics = self.metrics(hypothesis.draft.full)
        return tuple(rail for rail in self.plan.codebase.objective.guardrails if not rail.holds(metrics))

    def tested(self, hypothesis: Hypothesis) -> bool:
        """True when it has runs and all of them have ended."""
        runs = [r for r in self.of(hypothesis.draft.full) if r.state is not RunState.CANCELLED]
        return bool(runs) and all(is_terminal(run.state) for run in runs)


def mean_of(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
