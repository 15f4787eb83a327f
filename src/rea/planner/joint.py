"""One belief over everything a campaign trained: a linear model with normal effects, updated by all runs at once.

A run of a combination says something of each of its parts, a further seed of the baseline of every comparison with it.
So beliefs are not updated one hypothesis at a time. Each hypothesis has one effect of its own; what a treatment gains
over the baseline is a sum of effects, and every run is one noisy reading of such a sum:

    gain(run) = Σ weight · effect + level + seed + noise

`level` is what is unknown of the baseline's own mean, `seed` what runs of one seed share. The posterior is that of
Bayesian linear regression with known variances (Bishop, Pattern Recognition and Machine Learning, 2006, section 3.3).

Every reading is of the same rows. What these add to an effect (`rows.py`) is read with it at every seed, and is taken
off afterwards: the part of what was learnt that such luck of this size explains as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rea.domain.codebase import Scalar
from rea.domain.hypothesis import Belief, Hypothesis, HypothesisDraft, HypothesisKind
from rea.domain.plan import Additivity

if TYPE_CHECKING:
    import numpy as np

# Share of a run's seed variance that runs of the same seed have in common, whatever they train. Initial weights and the
# order of rows are shared; after some hundred steps little of that is left to see where the treatment changes them.
SHARED = 0.2
SIBLINGS = 0.6  # share of an effect's variance that all settings of a technique have in common where they are tried
MOST_READINGS = 600  # from here on the seeds of a treatment are taken as one reading
MOST_TREATMENTS = 400  # so many are believed together, the rest keep what was believed before
INTERPLAY = 1 / 3  # standard deviation of a combination beside the sum, as a share of each part's effect

Terms = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one run, or the mean of several, showed: the gain over the baseline's mean, and the sd of its own noise.

    `seed` is that of one run; None where the mean is over so many that seeds no longer matter.
    """

    terms: Terms
    gain: float
    noise: float
    seed: int | None


@dataclass(frozen=True)
class Posterior:
    """Normal over all effects that some run bears on; any other keeps its prior.

    Of their covariance `cov`, `settled` is what further seeds on the same rows could take away.
    """

    priors: Mapping[str, Belief]
    place: Mapping[str, int]
    mean: np.ndarray
    cov: np.ndarray
    settled: np.ndarray

    def belief(self, terms: Terms) -> Belief:
        """Of a weighted sum of effects."""
        mean, variance = 0.0, 0.0
        known: list[tuple[int, float]] = []
        for name, weight in terms.items():
            at = self.place.get(name)
            if at is None:
                prior = self.priors[name]
                mean += weight * prior.mean
                variance += (weight * prior.sd) ** 2
            elif weight:
                known.append((at, weight))
        # Sums are of a handful of effects: plain numbers are quicker than arrays of them.
        means, rows = self._plain
        for at, weight in known:
            row = rows[at]
            mean += weight * means[at]
            variance += weight * sum(other * row[place] for place, other in known)
        return Belief(mean, math.sqrt(max(variance, 0.0)))

    @cached_property
    def _plain(self) -> tuple[list[float], list[list[float]]]:
        return self.mean.tolist(), self.cov.tolist()

    def moved(self, apart: Terms, read: Terms, noise: float) -> float:
        """The standard deviation by which a reading of `read` with this noise moves what is believed of `apart`, as far
        as seeds can settle it."""
        import numpy as np

        names = [name for name in {**apart, **read} if name in self.place]
        places = [self.place[name] for name in names]
        cov = self.settled[np.ix_(places, places)]
        left, right = (np.array([terms.get(name, 0.0) for name in names]) for terms in (apart, read))
        shared, variance = float(left @ cov @ right), float(right @ cov @ right)
        for name, weight in read.items():
            if name not in self.place:
                shared += apart.get(name, 0.0) * weight * self.priors[name].sd ** 2
                variance += (weight * self.priors[name].sd) ** 2
        return abs(shared) / math.hypot(math.sqrt(max(variance, 0.0)), max(noise, 1e-12))

    def draw(self, names: Sequence[str], seed: int) -> dict[str, float]:
        """One joint sample of these effects."""
        import numpy as np

        chance = np.random.default_rng(seed)
        free = {name: self.priors[name] for name in names if name not in self.place}
        out = {name: float(chance.normal(prior.mean, prior.sd)) for name, prior in free.items()}
        places = [self.place[name] for name in names if name in self.place]
        if places:
            cov = self.cov[np.ix_(places, places)]
            # Eigenvalues of a posterior may be zero to rounding, which a Cholesky factor does not forgive.
            values, vectors = np.linalg.eigh((cov + cov.T) / 2)
            root = vectors * np.sqrt(np.clip(values, 0.0, None))
            drawn = self.mean[places] + root @ chance.normal(size=len(places))
            named = [name for name in names if name in self.place]
            out.update({name: float(value) for name, value in zip(named, drawn, strict=True)})
        return out


def name_of(hypothesis: Hypothesis) -> str:
    return f"H-{hypothesis.id}"


def weights(members: Sequence[HypothesisDraft], additivity: Additivity) -> tuple[float, ...]:
    """What each part of a combination is expected to add, as a share of its effect alone; the first leads."""
    return tuple(share(draft, members[:index], additivity) for index, draft in enumerate(members))


def share(draft: HypothesisDraft, members: Sequence[HypothesisDraft], additivity: Additivity) -> float:
    """What a hypothesis is expected to add to a set, as a share of its effect alone: what the member leaves of it
    beside which it loses most."""
    return min((additivity.share(draft, other) for other in members), default=1.0)


def interplay(parts: Iterable[Belief]) -> float:
    """Standard deviation of what a combination gains beside the weighted sum of its parts, by what is believed of each
    alone: the more it does, the more of it is there to be lost or doubled beside others."""
    return INTERPLAY * math.sqrt(sum(max(abs(part.mean), part.sd / 2) ** 2 for part in parts))


def own_prior(hypothesis: Hypothesis, parts: Sequence[Belief], in_common: float = 0.0) -> Belief:
    """What is believed of a hypothesis' own effect before any run: for a combination, of what its parts, each as it is
    believed alone, leave open.

    `in_common`: the standard deviation that its siblings share with it, which is no part of its own.
    """
    if hypothesis.draft.kind is HypothesisKind.COMBINATION and parts:
        return Belief(0.0, interplay(parts))
    effect = hypothesis.draft.effect
    return Belief(effect.mean, math.sqrt(max(effect.sd**2 - in_common**2, 0.0)))


def families(hypotheses: Sequence[Hypothesis], values: Mapping[str, Scalar]) -> dict[int, tuple[str, float]]:
    """By id of a hypothesis that has siblings, the name and the standard deviation of what they have in common.

    Siblings are settings of one technique, proposed in one round, that move their numbers to the same side of the
    baseline's `values`: what keeps the one from working here is likely to keep the other. A later round's have heard of
    it from insights.
    """
    groups: dict[tuple[str, int, str], list[Hypothesis]] = {}
    for h in hypotheses:
        if h.draft.kind is HypothesisKind.SINGLE and h.draft.technique is not None:
            groups.setdefault((h.draft.technique, h.round, _side(h.draft, values)), []).append(h)
    found = {}
    for (technique, round_, side), group in groups.items():
        if len(group) > 1:
            sd = math.sqrt(SIBLINGS) * min(h.draft.effect.sd for h in group)
            found.update({h.id: (f"{technique} in round {round_}{side}", sd) for h in group})
    return found


def _side(draft: HypothesisDraft, values: Mapping[str, Scalar]) -> str:
    """The numbers that a draft raises and those that it lowers, in words."""
    words = []
    for name, value in sorted(draft.treatment.overrides.items()):
        now = draft.base.overrides.get(name, values.get(name))
        if isinstance(value, bool) or isinstance(now, bool):
            continue
        if isinstance(value, int | float) and isinstance(now, int | float) and value != now:
            words.append(f", {name} {'up' if value > now else 'down'}")
    return "".join(words)


def posterior(
    priors: Mapping[str, Belief],
    readings: Sequence[Reading],
    *,
    run_sd: float,
    owners: Mapping[str, str],
    rows: Mapping[str, float] | None = None,
) -> Posterior:
    """Condition the effects on all readings.

    `priors` names every effect; `run_sd` is the relative sd of one baseline run; `rows` is the sd of what the split's
    rows add to an effect, of those that it names. `owners` maps the key of a reading's terms (see `key`) to the effect
    that gives way where readings contradict what was believed by more than two standard deviations (`Belief.widened`).
    """
    import numpy as np

    wide, rows = dict(priors), rows or {}
    # What readings have in common, the baseline's mean and their seeds, contradicts nobody.
    level = run_sd**2 / max(1, sum(not reading.terms for reading in readings))
    for terms, gain, alone, count in _together(readings):
        error = math.sqrt(alone**2 + level + SHARED * run_sd**2 / count)
        owner = owners.get(key(terms))
        if owner is None or wide[owner].sd <= 0:
            continue
        expected = sum(weight * wide[name].mean for name, weight in terms.items())
        others = sum((weight * wide[name].sd) ** 2 for name, weight in terms.items() if name != owner)
        others += sum((weight * rows.get(name, 0.0)) ** 2 for name, weight in terms.items())
        prior = wide[owner]
        wide[owner] = Belief(prior.mean, prior.widened(gain - expected + prior.mean, math.sqrt(others + error**2)).sd)

    names = sorted({name for reading in readings for name in reading.terms})
    seeds = sorted({r.seed for r in readings if r.seed is not None})
    place = {name: i for i, name in enumerate(names)}
    width = len(names) + len(seeds) + 1
    design = np.zeros((len(readings), width))
    for row, reading in enumerate(readings):
        for name, weight in reading.terms.items():
            design[row, place[name]] = weight
        if reading.seed is not None:
            design[row, len(names) + seeds.index(reading.seed)] = 1.0
        design[row, -1] = 1.0
    first = np.array([*(wide[name].mean for name in names), *([0.0] * (len(seeds) + 1))])
    # The level is as good as unknown: a prior ten times as wide as a run's noise leaves it to the data.
    own = np.array([wide[name].sd ** 2 for name in names])
    luck = np.array([rows.get(name, 0.0) ** 2 for name in names])
    prior_cov = np.diag([*(own + luck), *[SHARED * run_sd**2] * len(seeds), (10 * run_sd) ** 2])
    if not len(readings):
        return Posterior(wide, {}, first[:0], prior_cov[:0, :0], prior_cov[:0, :0])
    noise = np.diag([max(r.noise, 1e-9) ** 2 for r in readings])
    gained = np.array([r.gain for r in readings])
    crossed = prior_cov @ design.T
    weighed = np.linalg.solve(design @ crossed + noise, np.column_stack([gained - design @ first, crossed.T]))
    mean = first + crossed @ weighed[:, 0]
    cov = prior_cov - crossed @ weighed[:, 1:]
    count = len(names)
    # Given an effect with its luck, the effect is normal with this share of the way from its prior, whatever was read.
    share = own / np.maximum(own + luck, 1e-30)
    settled = share[:, None] * cov[:count, :count] * share
    found = first[:count] + share * (mean[:count] - first[:count])
    return Posterior(wide, place, found, settled + np.diag(share * luck), settled)


def key(terms: Terms) -> str:
    return " ".join(f"{weight:g}*{name}" for name, weight in sorted(terms.items()) if weight)


def _together(readings: Iterable[Reading]) -> list[tuple[Terms, float, float, int]]:
    """Readings of equal terms as one, weighted by their precision: the gain, its error, how many they are."""
    groups: dict[str, list[Reading]] = {}
    for reading in readings:
        groups.setdefault(key(reading.terms), []).append(reading)
    out = []
    for group in groups.values():
        precision = sum(1 / max(r.noise, 1e-9) ** 2 for r in group)
        gain = sum(r.gain / max(r.noise, 1e-9) ** 2 for r in group) / precision
        out.append((group[0].terms, gain, math.sqrt(1 / precision), len(group)))
    return out
