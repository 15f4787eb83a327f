"""What a technique will probably gain in a context, from its card and from experiments."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rea.domain.hypothesis import CONFLICT, Belief
from rea.domain.insight import Context, Effect, ExperimentOutcome, ExperimentRecord
from rea.domain.technique import Technique
from rea.insights.similarity import similarity

TRAINABLE_PRIOR = (9.0, 1.0)  # Beta: ten imagined experiments, of which nine could be trained
SMALLEST_SE = 1e-6


@dataclass(frozen=True, slots=True)
class Weighed:
    """An experiment as evidence here: its gain, the standard error of that gain, its similarity in (0, 1]."""

    effect: float
    se: float
    weight: float


def effect(technique: Technique, context: Context, records: Iterable[ExperimentRecord]) -> Effect:
    """Posterior of a technique's relative gain in this context.

    Normal–normal partial pooling. A record's variance is (se² / fidelity + τ²) / similarity: noise of the measurement,
    variance between contexts, and a power prior (Ibrahim & Chen, Statistical Science 2000) that counts an experiment
    in another context as a part of one. τ² is the moment estimate of DerSimonian & Laird (Controlled Clinical Trials
    1986) in its form for arbitrary weights (DerSimonian & Kacker, Contemporary Clinical Trials 2007). The pooled mean
    is shrunk toward the card's prior, whose precision counts like any other. The variance given is that of the pooled
    mean plus τ², since this context is one more draw.

    A pruned record is censored: its gain is at most the bound seen (0 where none was kept). Each enters as the
    likelihood Φ((bound − effect) / noise), whose product with a normal is replaced by the normal of equal mean and
    variance (Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006, section 3.9). An experiment of
    another codebase that contradicts the card by more than two standard deviations is believed less, until it is two:
    what moves a toy by a sixth says little about a tuned model. One of this codebase widens the card's prior instead
    (`Belief.widened`). Failed records say
    nothing of the gain and lower `p_trainable`. Records of combinations and of other techniques are not used.

    Without evidence this is the prior.
    """
    own = [r for r in records if r.technique == technique.name and len(r.interaction_of) < 2]
    prior = Belief(technique.effect.mean, technique.effect.sd)
    seen = [_weighed(r, prior, context) for r in own if _measured(r)]
    bounds = [_weighed(r, prior, context) for r in own if r.outcome == ExperimentOutcome.PRUNED]
    spread = between_variance(seen)
    wide = prior
    for r, w in zip(filter(_measured, own), seen, strict=True):
        if r.codebase == context.get("codebase") and _error(r):
            wide = wide.widened(w.effect, w.se / math.sqrt(w.weight))
    pooled = _pool(wide, seen, spread)
    for bound in sorted(bounds, key=lambda b: (b.effect, b.se, b.weight)):
        pooled = censored(pooled, bound.effect, math.sqrt((bound.se**2 + spread) / bound.weight))
    sd = math.sqrt(pooled.sd**2 + spread)
    evidence = tuple(_line(r, similarity(context, r.context)) for r in own)
    p = trainable(own, context)
    words = _words(technique, prior, Belief(pooled.mean, sd), own, spread, p)
    return Effect(pooled.mean, sd, len(own), evidence, words, p)


def between_variance(seen: Sequence[Weighed]) -> float:
    """τ², the variance of effects between contexts, by moments with weights similarity / se²; 0 for fewer than two."""
    if len(seen) < 2:
        return 0.0
    weights = [w.weight / w.se**2 for w in seen]
    total = sum(weights)
    mean = sum(a * w.effect for a, w in zip(weights, seen, strict=True)) / total
    q = sum(a * (w.effect - mean) ** 2 for a, w in zip(weights, seen, strict=True))
    expected = sum(a * w.se**2 * (1 - a / total) for a, w in zip(weights, seen, strict=True))
    scale = total - sum(a * a for a in weights) / total
    return max(0.0, (q - expected) / scale) if scale > 0 else 0.0


def censored(belief: Belief, bound: float, noise: float) -> Belief:
    """A normal belief after learning that the value, seen through normal noise, is at most `bound`."""
    variance = belief.sd**2
    width = math.sqrt(variance + noise**2)
    z = (bound - belief.mean) / width
    ratio = _mills(z)
    mean = belief.mean - variance / width * ratio
    shrink = variance**2 / width**2 * ratio * (z + ratio)
    return Belief(mean, math.sqrt(max(variance - shrink, 1e-6 * variance)))


def trainable(records: Iterable[ExperimentRecord], context: Context) -> float:
    """Probability that the treatment can be trained here: a Beta(9, 1) prior and experiments weighted by similarity."""
    good, bad = TRAINABLE_PRIOR
    for record in records:
        weight = similarity(context, record.context)
        if record.outcome == ExperimentOutcome.FAILED:
            bad += weight
        else:
            good += weight
    return good / (good + bad)


def _measured(record: ExperimentRecord) -> bool:
    closed = record.outcome not in (ExperimentOutcome.PRUNED, ExperimentOutcome.FAILED)
    return closed and record.effect is not None and math.isfinite(record.effect)


def _error(record: ExperimentRecord) -> float | None:
    known = record.se is not None and math.isfinite(record.se) and record.se > 0
    return record.se if known else None


def _weighed(record: ExperimentRecord, prior: Belief, context: Context) -> Weighed:
    """A record without a standard error counts as one whose error is the prior's own spread."""
    se = max(_error(record) or prior.sd, SMALLEST_SE)
    share = min(max(record.fidelity, 0.01), 1.0)
    gain = record.effect if record.effect is not None and math.isfinite(record.effect) else 0.0
    variance = se**2 / share
    if _measured(record) and record.codebase != context.get("codebase"):
        variance = max(variance, ((gain - prior.mean) / CONFLICT) ** 2 - prior.sd**2)
    return Weighed(gain, math.sqrt(variance), similarity(context, record.context))


def _pool(prior: Belief, seen: Sequence[Weighed], spread: float) -> Belief:
    precision = 1 / prior.sd**2
    total = prior.mean * precision
    for w in seen:
        share = w.weight / (w.se**2 + spread)
        precision += share
        total += share * w.effect
    return Belief(total / precision, math.sqrt(1 / precision))


def _mills(z: float) -> float:
    """φ(z) / Φ(z), by its asymptote where Φ underflows."""
    if z < -30:
        return -z - 1 / z
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi) / (0.5 * math.erfc(-z / math.sqrt(2)))


def percent(value: float) -> str:
    """A relative gain as people read it: +0.31 %."""
    return f"{value * 100:+.2f} %"


def _line(record: ExperimentRecord, weight: float) -> str:
    where = f"{record.codebase}, campaign {record.campaign}, round {record.round}"
    seeds = f"{record.seeds} seed{'' if record.seeds == 1 else 's'}"
    likeness = f"similarity {weight:.2f}"
    if record.outcome == ExperimentOutcome.FAILED:
        return f"{where}: could not be trained ({record.failure or 'no reason kept'}); {likeness}"
    if record.outcome == ExperimentOutcome.PRUNED:
        bound = "0" if record.effect is None else percent(record.effect)
        return f"{where}: stopped at {record.fidelity:.0%} of the run, at most {bound}; {likeness}"
    if record.effect is None:
        return f"{where}: {record.outcome}, no number kept; {likeness}"
    error = "" if record.se is None else f" ± {record.se * 100:.2f} %"
    return f"{where}: {percent(record.effect)}{error}, {record.outcome} over {seeds}; {likeness}"


def _words(
    technique: Technique,
    prior: Belief,
    posterior: Belief,
    own: Sequence[ExperimentRecord],
    spread: float,
    p_trainable: float,
) -> str:
    expected = f"{percent(prior.mean)} ± {prior.sd * 100:.2f} %"
    if not own:
        return f"{technique.title}: no experiments yet; the card expects {expected}"
    n = len(own)
    found = f"{percent(posterior.mean)} ± {posterior.sd * 100:.2f} %"
    places = len({r.codebase for r in own})
    text = (
        f"{technique.title}: {n} experiment{'' if n == 1 else 's'} on {places} codebase{'' if places == 1 else 's'} "
        f"move{'s' if n == 1 else ''} the card's {expected} to {found} here"
    )
    if spread > 0:
        text += f"; it varies between contexts by ± {math.sqrt(spread) * 100:.2f} %"
    if failed := sum(r.outcome == ExperimentOutcome.FAILED for r in own):
        text += f"; {failed} of {n} could not be trained (probability that one can: {p_trainable:.0%})"
    return text
