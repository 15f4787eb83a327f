"""What is believed of a campaign's hypotheses after its runs, and which of them lead."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from rea.domain.hypothesis import Belief, Hypothesis, HypothesisDraft, HypothesisKind
from rea.domain.rows import NOTHING_CLOSED, Closed
from rea.domain.states import HypothesisState, RunState, is_terminal
from rea.domain.treatment import Treatment
from rea.planner import joint
from rea.planner.measurements import Measurements, mean_of
from rea.planner.rows import Lasting
from rea.planner.trainable import Directions, directions
from rea.planner.worth import improvement

# Extra doubt about a pruned run: its gain is read where it stopped, not where it would have ended.
PRUNED_DOUBT = 0.005
LIKELY = 0.7  # probability of being better than the baseline that makes a contender
SUPPORTED_AT, REFUTED_AT = 0.85, 0.2  # probability of being better than its base from which, and up to which
UNCHANGED_SD = 1e-6  # of what a treatment gains that changed nothing at all
UNKNOWN = Belief(0.0, 0.01)  # of a treatment that no hypothesis claims anything of
_PASSED_OVER = (HypothesisState.LEFT_OUT, HypothesisState.VETOED)


@dataclass(frozen=True, slots=True)
class _Read:
    """What a posterior was made of: small values by their content, large ones, which never change, by identity."""

    small: tuple[object, ...]
    held: tuple[object, ...]

    def same(self, other: _Read) -> bool:
        if self.small != other.small or len(self.held) != len(other.held):
            return False
        return all(map(operator.is_, self.held, other.held))


@dataclass
class _Settled:
    """What follows from ended runs and from hypotheses, whatever runs or waits beside them."""

    posterior: joint.Posterior | None = None
    families: Mapping[int, tuple[str, float]] | None = None
    terms: dict[str, Mapping[str, float]] = field(default_factory=dict)
    gains: dict[tuple[str, tuple[int, ...] | None], Mapping[int, float]] = field(default_factory=dict)
    bounds: dict[str, float | None] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    row_variances: dict[int, float] = field(default_factory=dict)
    verdicts: dict[int, tuple[HypothesisState, Belief, str]] = field(default_factory=dict)
    outlooks: dict[int, HypothesisDraft] = field(default_factory=dict)
    totals: dict[str, Belief] = field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    lasting: tuple[Lasting | None] | None = None


class _Kept:
    """What was worked out last: most decisions are made on what the one before was made on, and a job more that
    runs."""

    MOST = 4

    def __init__(self) -> None:
        self._kept: list[tuple[_Read, _Settled]] = []

    def of(self, read: _Read) -> _Settled:
        for known, found in self._kept:
            if known.same(read):
                return found
        found = _Settled()
        self._kept = [(read, found), *self._kept[: self.MOST - 1]]
        return found


_KEPT = _Kept()


@dataclass(frozen=True)
class Evidence(Measurements):
    """The runs of one campaign and its hypotheses, believed together.

    What was worked out once is kept: one decision asks for the same totals hundreds of times.
    """

    hypotheses: tuple[Hypothesis, ...]
    closed: Closed = NOTHING_CLOSED

    def knows(self, treatment: Treatment) -> bool:
        """Whether a hypothesis of this campaign trains this already."""
        return treatment.key() in self._by_full or self.closed.has(treatment)

    @cached_property
    def directions(self) -> Directions:
        """Which treatments could not be trained for reasons of their own, and which could."""
        return directions(self.hypotheses, self.runs, self.plan.baseline_values)

    @cached_property
    def _by_full(self) -> Mapping[str, Hypothesis]:
        # The first of its kind that was not passed over: one that waited in vain comes back under another id, with what
        # is expected of it by then. A base is always older than what was built on it, so chains of bases end.
        ordered = sorted(self.hypotheses, key=lambda h: (h.state not in _PASSED_OVER, -h.id))
        return {h.draft.full.key(): h for h in ordered}

    def hypothesis_of(self, treatment: Treatment) -> Hypothesis | None:
        return self._by_full.get(treatment.key())

    def effect(self, hypothesis: Hypothesis) -> Belief:
        """Posterior of a hypothesis' effect over its base, from every run of the campaign."""
        return self.ahead(hypothesis.draft.full, hypothesis.draft.base)

    def outlook(self, hypothesis: Hypothesis) -> HypothesisDraft:
        """The draft of a hypothesis that was not tested, with the effect that its siblings' runs leave to expect."""
        if hypothesis.id not in self._families:
            return hypothesis.draft
        known = self._settled.outlooks
        if hypothesis.id not in known:
            known[hypothesis.id] = replace(hypothesis.draft, effect=self.posterior.belief(self.own(hypothesis)))
        return known[hypothesis.id]

    def total(self, treatment: Treatment) -> Belief:
        """Posterior of a treatment's gain over the baseline, from every run of the campaign."""
        known, key = self._settled.totals, treatment.key()
        if key not in known:
            known[key] = self.posterior.belief(self.terms(treatment))
        return known[key]

    def ahead(self, treatment: Treatment, other: Treatment) -> Belief:
        """Posterior of what a treatment gains over another: what both are made of cancels."""
        return self.posterior.belief(self._apart(treatment, other))

    def worth_of_seed(self, treatment: Treatment, other: Treatment) -> float:
        """The knowledge gradient of one more seed of a treatment for the choice between it and another.

        It moves what is believed of their difference as far as that goes with the treatment's own gain, and only where
        seeds can settle it: what the split's rows add stays as it is.
        """
        apart, read = self._apart(treatment, other), self.terms(treatment)
        moved = self.posterior.moved(apart, read, self.noise_of(treatment))
        return improvement(self.posterior.belief(apart).mean, moved)

    def _apart(self, treatment: Treatment, other: Treatment) -> Mapping[str, float]:
        mine, theirs = self.terms(treatment), self.terms(other)
        return {name: mine.get(name, 0.0) - theirs.get(name, 0.0) for name in {**mine, **theirs}}

    def alone(self, hypothesis: Hypothesis) -> Belief:
        """What is believed of its effect by its own runs, whatever others say of it."""
        gains, prior = self.observed(hypothesis), hypothesis.draft.effect
        if not gains:
            return prior
        mean = mean_of(list(gains.values()))
        seeds = (self.noise_of(hypothesis.draft.full) ** 2 + self.run_sd**2) / len(gains)
        error = math.sqrt(seeds + self.row_variance(hypothesis))
        return prior.widened(mean, error).updated(mean, error)

    @cached_property
    def _by_id(self) -> Mapping[int, Hypothesis]:
        return {h.id: h for h in self.hypotheses}

    def parts(self, hypothesis: Hypothesis) -> tuple[Hypothesis, ...]:
        """The hypotheses that a combination is made of."""
        if hypothesis.draft.kind is not HypothesisKind.COMBINATION:
            return ()
        return tuple(self._by_id[id_] for id_ in hypothesis.draft.parents if id_ in self._by_id)

    def technique(self, hypothesis: Hypothesis) -> str | None:
        """The technique that a hypothesis is a test of; None where it stands on a base that this very technique made.

        There it sets another dose of what is there already, which says nothing of what the technique gains elsewhere.
        """
        technique = hypothesis.draft.technique
        taken = {maker.draft.technique for maker in self.makers(hypothesis.draft.base)}
        return None if technique in taken else technique

    def beside(self, draft: HypothesisDraft) -> HypothesisDraft:
        """A draft on top of an incumbent, expected to gain what additivity leaves of it beside what made that one."""
        makers = [h.draft for h in self.makers(draft.base) if h.draft.kind is HypothesisKind.SINGLE]
        again = draft.treatment.overrides.keys() & draft.base.overrides.keys()  # then its mean is a share already
        if not makers or again or draft.effect.mean <= 0:
            return draft
        left = joint.share(draft, makers, self.plan.additivity)
        return replace(draft, effect=Belief(left * draft.effect.mean, draft.effect.sd))

    def makers(self, treatment: Treatment) -> list[Hypothesis]:
        """The hypotheses that a treatment was put together from."""
        found = None if treatment.empty else self.hypothesis_of(treatment)
        if found is None:
            return []
        return [found, *self.parts(found), *self.makers(found.draft.base)]

    def terms(self, treatment: Treatment) -> Mapping[str, float]:
        """The effects that a treatment's gain over the baseline is the sum of, each with its weight."""
        key = treatment.key()
        if key not in self._terms:
            self._terms[key] = self._sum(treatment)
        return self._terms[key]

    @cached_property
    def _terms(self) -> dict[str, Mapping[str, float]]:
        return self._settled.terms

    @cached_property
    def _gains(self) -> dict[tuple[str, tuple[int, ...] | None], Mapping[int, float]]:
        return self._settled.gains

    @cached_property
    def _bounds(self) -> dict[str, float | None]:
        return self._settled.bounds

    @cached_property
    def _broken(self) -> dict[str, str]:
        return self._settled.broken

    @cached_property
    def _metrics(self) -> dict[str, dict[str, float]]:
        return self._settled.metrics

    @cached_property
    def _row_variances(self) -> dict[int, float]:
        return self._settled.row_variances

    @cached_property
    def _lasting(self) -> Lasting | None:
        if self._settled.lasting is None:
            self._settled.lasting = (self._how_lasting(),)
        return self._settled.lasting[0]

    @cached_property
    def _settled(self) -> _Settled:
        return _KEPT.of(self._read())

    def _sum(self, treatment: Treatment) -> Mapping[str, float]:
        if treatment.empty:
            return {}
        hypothesis = self.hypothesis_of(treatment)
        if hypothesis is None:
            return {f"?{treatment.key()}": 1.0}
        parts = self.parts(hypothesis)
        whole = [(self.terms(hypothesis.draft.base), 1.0), (self.own(hypothesis), 1.0)]
        shares = joint.weights([part.draft for part in parts], self.plan.additivity)
        whole += [(self.own(part), share) for part, share in zip(parts, shares, strict=True)]
        return summed(whole)

    def own(self, hypothesis: Hypothesis) -> Mapping[str, float]:
        """The effects that a hypothesis adds by itself: its own, and what it has in common with its siblings."""
        terms = {joint.name_of(hypothesis): 1.0}
        family = self._families.get(hypothesis.id)
        if family is not None:
            terms[family[0]] = 1.0
        return terms

    @cached_property
    def _families(self) -> Mapping[int, tuple[str, float]]:
        if self._settled.families is None:
            self._settled.families = joint.families(self.hypotheses, self.plan.baseline_values)
        return self._settled.families

    @cached_property
    def posterior(self) -> joint.Posterior:
        """What all runs of the search say together of all effects."""
        if self._settled.posterior is None:
            self._settled.posterior = self._believed()
        return self._settled.posterior

    def _read(self) -> _Read:
        """What the posterior is made of: the plan, hypotheses, and runs as far as they have ended."""
        passed = {h.id: h.state in _PASSED_OVER for h in self.hypotheses}
        ended = [run for run in self.runs if is_terminal(run.state)]
        states = tuple((run.id, run.state) for run in ended)
        unclaimed = tuple(key for key in self._by_treatment if key not in self._by_full)
        held = (
            self.plan,
            *(h.draft for h in self.hypotheses),
            *(v for run in ended for v in (run.draft, run.result, run.failure)),
        )
        return _Read((tuple(passed.items()), tuple(h.round for h in self.hypotheses), states, unclaimed), held)

    def _believed(self) -> joint.Posterior:
        priors = {name: Belief(0.0, sd) for name, sd in self._families.values()}
        for h in self.hypotheses:
            _, in_common = self._families.get(h.id, ("", 0.0))
            priors[joint.name_of(h)] = joint.own_prior(h, [self.alone(part) for part in self.parts(h)], in_common)
        readings: list[joint.Reading] = []
        owners: dict[str, str] = {}
        chosen = self._told()
        singly = sum(len(self.of(t)) for t in chosen) <= joint.MOST_READINGS
        for treatment in chosen:
            known = None if treatment.empty else self.hypothesis_of(treatment)
            if known is not None and self.changes_nothing(known):
                continue
            terms = self.terms(treatment)
            unknown = next((name for name in terms if name not in priors), None)
            if unknown is not None:
                priors[unknown] = UNKNOWN
            readings += self._readings(treatment, terms, singly)
            if not treatment.empty:
                owners[joint.key(terms)] = joint.name_of(known) if known else f"?{treatment.key()}"
        for name in {name for t in self._asked() for name in self.terms(t)} - priors.keys():
            priors[name] = UNKNOWN
        told = [h for h in map(self.hypothesis_of, chosen) if h is not None]
        rows = {joint.name_of(h): math.sqrt(self._own_row_variance(h)) for h in told}
        return joint.posterior(priors, readings, run_sd=self.run_sd, owners=owners, rows=rows)

    def _asked(self) -> list[Treatment]:
        return [run.draft.treatment for run in self.runs]

    def _own_row_variance(self, hypothesis: Hypothesis) -> float:
        """Of a combination, what its rows add beside what they add to its parts."""
        parts = self.parts(hypothesis)
        shares = joint.weights([part.draft for part in parts], self.plan.additivity)
        of_parts = sum(share**2 * self.row_variance(part) for part, share in zip(parts, shares, strict=True))
        return max(self.row_variance(hypothesis) - of_parts, 0.0)

    def _readings(self, treatment: Treatment, terms: Mapping[str, float], singly: bool) -> list[joint.Reading]:
        objective, level = self.plan.codebase.objective, self.plan.baseline.mean
        search = set(self.plan.rules.search_seeds)
        seen = {s: objective.gain(level, v) for s, v in self.values(treatment).items() if s in search}
        if not seen:
            bound = None if treatment.empty else self.bound(treatment)
            if bound is None:
                return []
            return [joint.Reading(terms, bound, math.hypot(self.run_sd, PRUNED_DOUBT), None)]
        noise = self.noise_of(treatment)
        if not singly:
            return [joint.Reading(terms, mean_of(list(seen.values())), noise / math.sqrt(len(seen)), None)]
        own = noise * math.sqrt(1 - joint.SHARED)
        return [joint.Reading(terms, gain, own, seed) for seed, gain in sorted(seen.items())]

    def eligible(self, hypothesis: Hypothesis) -> bool:
        """Whether it may become the incumbent: trained, not ruled out, and no further outside a guardrail than allowed.

        While the search has seen a few seeds only, a guardrail metric may lie outside by twice its standard error over
        seeds. Where the baseline breaks a guardrail itself, what is built on it may be as far outside as the baseline
        is: that it needs mending says nothing against the treatment. The confirmation grants neither.
        """
        if hypothesis.state in (HypothesisState.VETOED, HypothesisState.FAILED, HypothesisState.LEFT_OUT):
            return False
        if hypothesis.draft.full.key() not in self._by_treatment or self.changes_nothing(hypothesis):
            return False
        trained = bool(self.gains(hypothesis.draft.full, self.plan.rules.search_seeds))
        return trained and not self._outside(hypothesis)

    def changes_nothing(self, hypothesis: Hypothesis) -> bool:
        """Whether it showed exactly what its base did, on every seed that both were trained on, two at least.

        Two trainings that differ in anything differ in their last digits; where a trainer prints few of them, one seed
        may agree by chance. It says nothing of how good the base is.
        """
        seen = self.observed(hypothesis).values()
        return len(seen) >= 2 and all(gain == 0.0 for gain in seen)

    def ranking(self) -> tuple[tuple[Hypothesis, Belief], ...]:
        """Eligible hypotheses, best believed total gain first."""
        return self._ranking

    @cached_property
    def _ranking(self) -> tuple[tuple[Hypothesis, Belief], ...]:
        scored = [(h, self.total(h.draft.full)) for h in self.hypotheses if self.eligible(h)]
        return tuple(sorted(scored, key=lambda pair: (-pair[1].mean, pair[0].id)))

    def incumbent(self) -> Hypothesis | None:
        """The best treatment so far, or None while the baseline is."""
        return next(iter(self.contenders()), None)

    def contenders(self) -> tuple[Hypothesis, ...]:
        """The treatments that are better than the baseline with a probability of LIKELY or more, best first.

        Those that keep the guardrails as measured come before any that does not.
        """
        better = [h for h, belief in self.ranking() if belief.mean > 0 and belief.above(0.0) >= LIKELY]
        return tuple(sorted(better, key=lambda h: bool(self.broken(h))))

    def verdict(self, hypothesis: Hypothesis) -> tuple[HypothesisState, Belief, str]:
        """What the runs say of a hypothesis whose tests have ended."""
        known = self._settled.verdicts
        if hypothesis.id not in known:
            known[hypothesis.id] = self._verdict(hypothesis)
        return known[hypothesis.id]

    def _verdict(self, hypothesis: Hypothesis) -> tuple[HypothesisState, Belief, str]:
        runs = self.of(hypothesis.draft.full)
        belief = self.effect(hypothesis)
        failed = [r for r in runs if r.state is RunState.FAILED]
        counted = [r for r in runs if r.state in (RunState.SUCCEEDED, RunState.PRUNED)]
        if not counted:
            why = failed[-1].failure.message if failed and failed[-1].failure else "none of its runs gave a result"
            return HypothesisState.FAILED, belief, why
        seeds = len(self.gains(hypothesis.draft.full, self.plan.rules.search_seeds))
        observed = self.observed(hypothesis).values()
        if self.changes_nothing(hypothesis):
            words = f"it changes nothing: what it showed on {_seeds(len(observed))} is its base's to the last digit"
            return HypothesisState.REFUTED, Belief(0.0, UNCHANGED_SD), words
        chance = belief.above(0.0)
        words = f"{belief.mean:+.2%} ± {belief.sd:.2%} over its base, P(better) = {chance:.0%}"
        if not seeds:
            stopped = counted[-1].result
            seen = stopped is not None and stopped.fidelity < 0.995
            share = f" after {stopped.fidelity:.0%} of the curve" if stopped is not None and seen else ""
            return HypothesisState.REFUTED, belief, f"stopped early{share}: {words}"
        count, measured = seeds, "trained"
        if observed:
            count, measured = len(observed), f"measured {mean_of(list(observed)):+.2%}"
        words += f"; {measured} on {_seeds(count)}"
        broken = self._outside(hypothesis)
        if broken:
            return HypothesisState.REFUTED, belief, f"outside a guardrail: {broken}; {words}"
        if chance >= SUPPORTED_AT:
            return HypothesisState.SUPPORTED, belief, words
        if chance <= REFUTED_AT:
            return HypothesisState.REFUTED, belief, words
        return HypothesisState.INCONCLUSIVE, belief, words


def summed(weighed: Iterable[tuple[Mapping[str, float], float]]) -> dict[str, float]:
    """A weighted sum of sums of effects."""
    total: dict[str, float] = {}
    for terms, weight in weighed:
        for name, part in terms.items():
            total[name] = total.get(name, 0.0) + weight * part
    return total


def singles(hypotheses: Sequence[Hypothesis]) -> tuple[Hypothesis, ...]:
    return tuple(h for h in hypotheses if h.draft.kind is HypothesisKind.SINGLE)


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count > 1 else ''}"
