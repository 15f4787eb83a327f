"""What a technique will probably gain in a context: the fitted belief of other codebases, then this one's own tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

from rea.domain.codebase import Scalar
from rea.domain.hypothesis import Belief
from rea.domain.insight import Cell, Context, ContextValue, Effect, setting_key
from rea.domain.technique import Technique
from rea.insights.censoring import censored
from rea.insights.features import WIDTH, features
from rea.insights.fit import BETWEEN, vector
from rea.insights.similarity import similarity
from rea.insights.snapshot import Insights, Known

TRAINABLE_PRIOR = (9.0, 1.0)  # Beta: ten imagined experiments, of which nine could be trained
MOST_ELSEWHERE = 20.0  # experiments that failures and successes of other codebases count as at most


def effect(
    technique: Technique,
    context: Context,
    insights: Insights,
    *,
    setting: Mapping[str, Scalar] | None = None,
    now: Mapping[str, Scalar] | None = None,
) -> Effect:
    """Belief about a technique's relative gain in this context, predictive: with the doubt about one more place in it.

    `setting` is what would be set, by role (the technique in general without one); `now` is where the model stands, by
    role: of this codebase only experiments count that started from there, because a step that was taken is not there to
    be gained again.

    Other codebases speak through the hierarchical model of `insights/fit.py`. Experiments of this very codebase then
    update that belief directly: the same setting by its own error, another setting by what settings differ by as well.
    One that contradicts the belief by more than two standard deviations widens it first (`Belief.widened`). A pruned
    one is a bound. Failed ones say nothing of the gain and lower `p_trainable`. Without evidence this is the card's
    prior, widened by what its level varies by between data sets.
    """
    prior = Belief(technique.effect.mean, math.hypot(technique.effect.sd, BETWEEN[technique.level]))
    known = insights.known.get(technique.name)
    if known is None:
        return Effect(prior.mean, prior.sd, 0, (), _untried(technique, prior), _share(*TRAINABLE_PRIOR))
    key = None if setting is None else setting_key(setting, now or {})
    telling = [cell for cell in known.own if now is None or cell.starts_from(now)]
    elsewhere = _elsewhere(known, key, context, prior)
    seen = [(cell, _noise(cell.variance, cell, known, key, context, technique)) for cell in telling if cell.n]
    here = elsewhere
    for cell, noise in seen:
        if _same(cell, key):
            here = here.widened(cell.gain, noise)
    for cell, noise in seen:
        here = here.updated(cell.gain, noise)
    for cell in sorted((cell for cell in telling if cell.pruned), key=lambda c: (c.bound, c.bound_variance)):
        here = censored(here, cell.bound, _noise(cell.bound_variance, cell, known, key, context, technique))
    own = sum(cell.n + cell.failed + cell.pruned for cell in telling)
    failed = sum(bad for _, bad in known.contexts.values()) + sum(cell.failed for cell in telling)
    p = trainable(known, telling, context)
    evidence = tuple(_line(cell, similarity(context, cell.context)) for cell in telling)
    words = _words(technique, prior, here, known, own, round(failed), p)
    return Effect(here.mean, here.sd, known.n + own, evidence, words, p)


def _elsewhere(known: Known, key: str | None, context: Context, prior: Belief) -> Belief:
    """The belief from other codebases about one more."""
    belief = known.belief
    if belief is None:
        return prior
    import numpy as np

    row = np.array(vector(known.settings, key, context))
    said = float(row[-WIDTH:] @ row[-WIDTH:])
    unnamed = 1.0 if key in known.settings else 2.0
    variance = float(row @ belief.cov @ row) + belief.between + unnamed * belief.setting
    return Belief(float(row @ belief.mean), math.sqrt(variance + belief.open * max(0.0, 1 - said)))


def _same(cell: Cell, key: str | None) -> bool:
    return key is None or cell.setting == key


def _noise(variance: float, cell: Cell, known: Known, key: str | None, context: Context, technique: Technique) -> float:
    """Standard deviation with which an experiment of this codebase speaks of this setting in this context."""
    level = BETWEEN[technique.level] ** 2
    setting = known.belief.setting if known.belief is not None else 0.1 * level
    moved = [mine - theirs for mine, theirs in zip(features(context), features(cell.context), strict=True)]
    if any(moved):
        if known.belief is None:
            variance += 0.3 * level * sum(step * step for step in moved)
        else:
            import numpy as np

            steps = np.array(moved)
            variance += float(steps @ known.belief.cov[-WIDTH:, -WIDTH:] @ steps)
    return math.sqrt(variance + (0.0 if _same(cell, key) else 4 * setting))


def trainable(known: Known, own: Sequence[Cell], context: Context) -> float:
    """Probability that the technique can be trained here: a Beta(9, 1) prior and experiments weighted by similarity.

    Those of other codebases count as twenty at most: why a treatment fails is often the codebase's own affair.
    """
    good = bad = 0.0
    symptoms = context.get("symptoms")
    shown = tuple(symptoms) if isinstance(symptoms, tuple | list) else None
    told = (context.get("model_family"), context.get("rows"), context.get("positive_rate"), shown)
    for (family, decade), (trained, failed) in known.contexts.items():
        weight = _likeness(family, decade, *told)
        good, bad = good + weight * trained, bad + weight * failed
    share = min(1.0, MOST_ELSEWHERE / (good + bad)) if good + bad else 0.0
    good, bad = share * good, share * bad
    for cell in own:
        weight = similarity(context, cell.context)
        good, bad = good + weight * (cell.n + cell.pruned), bad + weight * cell.failed
    return _share(TRAINABLE_PRIOR[0] + good, TRAINABLE_PRIOR[1] + bad)


@lru_cache(maxsize=4096)
def _likeness(
    family: str,
    decade: int,
    own_family: ContextValue,
    rows: ContextValue,
    rate: ContextValue,
    symptoms: tuple[str, ...] | None,
) -> float:
    """Similarity of a context, by its facts, to a coarse one; the same few are asked for by every technique."""
    there: Context = {"model_family": family or None, "rows": 10.0**decade if decade >= 0 else None}
    here: Context = {"model_family": own_family, "rows": rows, "positive_rate": rate, "symptoms": symptoms}
    return similarity(here, there)


def _share(good: float, bad: float) -> float:
    return good / (good + bad)


def percent(value: float) -> str:
    """A relative gain as people read it: +0.31 %."""
    return f"{value * 100:+.2f} %"


def _line(cell: Cell, likeness: float) -> str:
    parts = []
    if cell.n:
        times = "once" if cell.n == 1 else f"{cell.n} times"
        parts.append(f"measured {times}, {percent(cell.gain)} ± {math.sqrt(cell.variance) * 100:.2f} %")
    if cell.pruned:
        parts.append(f"stopped early {cell.pruned}×, at most {percent(cell.bound)}")
    if cell.failed:
        parts.append(f"could not be trained {cell.failed}×")
    return f"{cell.codebase}, {cell.setting or 'as it is'}: {'; '.join(parts)}; similarity {likeness:.2f}"


def _untried(technique: Technique, prior: Belief) -> str:
    expected = f"{percent(prior.mean)} ± {technique.effect.sd * 100:.2f} %"
    return f"{technique.title}: no experiments yet; the card expects {expected}"


def _words(
    technique: Technique, prior: Belief, posterior: Belief, known: Known, own: int, failed: int, p_trainable: float
) -> str:
    n = known.n + own
    if n == 0:
        return _untried(technique, prior)
    expected = f"{percent(prior.mean)} ± {technique.effect.sd * 100:.2f} %"
    found = f"{percent(posterior.mean)} ± {posterior.sd * 100:.2f} %"
    places = known.codebases + (1 if own else 0)
    text = (
        f"{technique.title}: {n} experiment{'' if n == 1 else 's'} on {places} codebase{'' if places == 1 else 's'} "
        f"move{'s' if n == 1 else ''} the card's {expected} to {found} here"
    )
    if known.belief is not None:
        spread = math.sqrt(known.belief.between + known.belief.open + 2 * known.belief.setting)
        text += f"; it varies between contexts by ± {spread * 100:.2f} %"
    if failed:
        text += f"; {failed} of {n} could not be trained (probability that one can: {p_trainable:.0%})"
    return text
