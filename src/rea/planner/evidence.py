"""What a campaign's runs say about its hypotheses so far."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from rea.domain.hypothesis import Belief, Hypothesis, HypothesisKind
from rea.domain.plan import Plan
from rea.domain.run import Run
from rea.domain.states import HypothesisState, RunState, is_terminal
from rea.domain.treatment import Treatment
from rea.planner.profile import best_so_far, mean_metrics, series

# Extra doubt about a pruned run: its gain is read where it stopped, not where it would have ended.
PRUNED_DOUBT = 0.005


@dataclass(frozen=True)
class Evidence:
    """The runs of one campaign, indexed by what they trained and by seed. Gains are relative, positive is better.

    What was worked out once is kept: one decision asks for the same gains and totals hundreds of times.
    """

    plan: Plan
    hypotheses: tuple[Hypothesis, ...]
    runs: tuple[Run, ...]

    @cached_property
    def _by_treatment(self) -> Mapping[str, tuple[Run, ...]]:
        groups: dict[str, list[Run]] = {}
        for run in self.runs:
            groups.setdefault(run.draft.treatment.key(), []).append(run)
        return {key: tuple(group) for key, group in groups.items()}

    @cached_property
    def _by_full(self) -> Mapping[str, Hypothesis]:
        # The first of its kind: a base is always older than what was built on it, so chains of bases end.
        return {h.draft.full.key(): h for h in sorted(self.hypotheses, key=lambda h: -h.id)}

    def of(self, treatment: Treatment) -> tuple[Run, ...]:
        """Every run that trained this treatment."""
        return self._by_treatment.get(treatment.key(), ())

    def hypothesis_of(self, treatment: Treatment) -> Hypothesis | None:
        return self._by_full.get(treatment.key())

    @cached_property
    def _gains(self) -> dict[tuple[str, tuple[int, ...] | None], Mapping[int, float]]:
        return {}

    @cached_property
    def _totals(self) -> dict[str, Belief]:
        return {}

    @cached_property
    def _broken(self) -> dict[str, str]:
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

    def effect(self, hypothesis: Hypothesis) -> Belief:
        """Posterior of a hypothesis' effect over its base: its prior, updated with the gains it showed."""
        draft = hypothesis.draft
        noise = self.plan.baseline.noise
        seen = self.observed(hypothesis)
        if seen:
            observed, error = sum(seen.values()) / len(seen), noise / math.sqrt(len(seen))
            return draft.effect.widened(observed, error).updated(observed, error)
        bound = self.bound(draft.full)
        if bound is not None:
            base = self.total(draft.base).mean
            return draft.effect.updated(bound - base, math.hypot(noise, PRUNED_DOUBT))
        return draft.effect

    def observed(self, hypothesis: Hypothesis) -> dict[int, float]:
        """What it gained over its base, by search seed that both were trained on."""
        draft, search = hypothesis.draft, self.plan.rules.search_seeds
        mine, theirs = self.gains(draft.full, search), self.gains(draft.base, search)
        return {seed: mine[seed] - theirs[seed] for seed in sorted(set(mine) & set(theirs))}

    def total(self, treatment: Treatment) -> Belief:
        """Posterior of a treatment's gain over the baseline, built up from its base's and its own runs."""
        if treatment.empty:
            return Belief(0.0, 0.0)
        key = treatment.key()
        if key not in self._totals:
            self._totals[key] = self._total(treatment)
        return self._totals[key]

    def _total(self, treatment: Treatment) -> Belief:
        hypothesis = self.hypothesis_of(treatment)
        if hypothesis is None:
            prior = Belief(0.0, 0.01)
        else:
            base = self.total(hypothesis.draft.base)
            own = hypothesis.draft.effect
            prior = Belief(base.mean + own.mean, math.hypot(base.sd, own.sd))
        gains = self.gains(treatment, self.plan.rules.search_seeds)
        if gains:
            noise, observed = self.plan.baseline.noise / math.sqrt(len(gains)), sum(gains.values()) / len(gains)
            return prior.widened(observed, noise).updated(observed, noise)
        bound = self.bound(treatment)
        return prior if bound is None else prior.updated(bound, math.hypot(self.plan.baseline.noise, PRUNED_DOUBT))

    def metrics(self, treatment: Treatment) -> dict[str, float]:
        """Mean metrics of a treatment's successful runs."""
        rows = [r.result.metrics for r in self.of(treatment) if r.state is RunState.SUCCEEDED and r.result]
        return mean_metrics(rows)

    def eligible(self, hypothesis: Hypothesis) -> bool:
        """Whether it may become the incumbent: trained, not ruled out, and inside every guardrail.

        While the search has seen a few seeds only, a guardrail metric may lie outside by twice its standard error over
        seeds; the confirmation grants no such slack.
        """
        if hypothesis.state in (HypothesisState.VETOED, HypothesisState.FAILED, HypothesisState.LEFT_OUT):
            return False
        if hypothesis.draft.full.key() not in self._by_treatment:
            return False
        trained = bool(self.gains(hypothesis.draft.full, self.plan.rules.search_seeds))
        return trained and not self._outside(hypothesis)

    def _outside(self, hypothesis: Hypothesis) -> str:
        """The guardrails it breaks, in words; empty where all hold."""
        key = hypothesis.draft.full.key()
        if key not in self._broken:
            self._broken[key] = self._breaks(hypothesis)
        return self._broken[key]

    def _breaks(self, hypothesis: Hypothesis) -> str:
        count = len(self.gains(hypothesis.draft.full, self.plan.rules.search_seeds))
        metrics, spread = self.metrics(hypothesis.draft.full), self.plan.baseline.spread
        broken = []
        for rail in self.plan.codebase.objective.guardrails:
            slack = 2 * spread.get(rail.metric, 0.0) / math.sqrt(max(count, 1))
            if not rail.holds(metrics, slack):
                broken.append(rail.told(metrics))
        return ", ".join(broken)

    def ranking(self) -> tuple[tuple[Hypothesis, Belief], ...]:
        """Eligible hypotheses, best believed total gain first."""
        return self._ranking

    @cached_property
    def _ranking(self) -> tuple[tuple[Hypothesis, Belief], ...]:
        scored = [(h, self.total(h.draft.full)) for h in self.hypotheses if self.eligible(h)]
        return tuple(sorted(scored, key=lambda pair: (-pair[1].mean, pair[0].id)))

    def incumbent(self) -> Hypothesis | None:
        """The best treatment so far, or None while the baseline is: it must more likely than not be better."""
        for hypothesis, belief in self.ranking():
            if belief.mean > 0 and belief.above(0.0) >= 0.7:
                return hypothesis
        return None

    def verdict(self, hypothesis: Hypothesis) -> tuple[HypothesisState, Belief, str]:
        """What the runs say of a hypothesis whose tests have ended."""
        runs = self.of(hypothesis.draft.full)
        belief = self.effect(hypothesis)
        failed = [r for r in runs if r.state is RunState.FAILED]
        counted = [r for r in runs if r.state in (RunState.SUCCEEDED, RunState.PRUNED)]
        if not counted:
            why = failed[-1].failure.message if failed and failed[-1].failure else "none of its runs gave a result"
            return HypothesisState.FAILED, belief, why
        seeds = len(self.gains(hypothesis.draft.full, self.plan.rules.search_seeds))
        observed = self.observed(hypothesis).values()
        chance = belief.above(0.0)
        words = f"{belief.mean:+.2%} ± {belief.sd:.2%} over its base, P(better) = {chance:.0%}"
        if not seeds:
            stopped = counted[-1].result
            share = f" after {stopped.fidelity:.0%} of the curve" if stopped else ""
            return HypothesisState.REFUTED, belief, f"stopped early{share}: {words}"
        measured = f"measured {sum(observed) / len(observed):+.2%}" if observed else "trained"
        words += f"; {measured} on {seeds} seed{'s' if seeds > 1 else ''}"
        broken = self._outside(hypothesis)
        if broken:
            return HypothesisState.REFUTED, belief, f"outside a guardrail: {broken}; {words}"
        if chance >= 0.85:
            return HypothesisState.SUPPORTED, belief, words
        if chance <= 0.2:
            return HypothesisState.REFUTED, belief, words
        return HypothesisState.INCONCLUSIVE, belief, words

    def tested(self, hypothesis: Hypothesis) -> bool:
        """True when it has runs and all of them have ended."""
        runs = [r for r in self.of(hypothesis.draft.full) if r.state is not RunState.CANCELLED]
        return bool(runs) and all(is_terminal(run.state) for run in runs)


def singles(hypotheses: Sequence[Hypothesis]) -> tuple[Hypothesis, ...]:
    return tuple(h for h in hypotheses if h.draft.kind is HypothesisKind.SINGLE)
