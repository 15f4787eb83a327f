"""What a technique will probably gain in a context: the fitted belief of other codebases, then this one's own tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rea.domain.codebase import Scalar
from rea.domain.hypothesis import Belief
from rea.domain.insight import Cell, Context, ContextValue, Effect, setting_key
from rea.domain.technique import Technique
from rea.insights.censoring import censored
from rea.insights.features import WIDTH, features, unit
from rea.insights.fit import BETWEEN, experiments
from rea.insights.posterior import vector
from rea.insights.similarity import similarity
from rea.insights.snapshot import Insights, Known

TRAINABLE_PRIOR = (9.0, 1.0)  # Beta: ten imagined experiments, of which nine could be trained
SETTING_SHARE, CONTEXT_SHARE = 0.2, 0.4  # of the variance between contexts, before other codebases tell
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
    prior, widened by what its level varies by between data sets. All of that is counted in the unit that cards are
    quoted in (`features.unit`), the answer in relative gains here.
    """
    size = unit(context)
    prior = Belief(technique.effect.mean, math.hypot(technique.effect.sd, BETWEEN[technique.level]))
    card = Belief(size * technique.effect.mean, size * technique.effect.sd)
    known = insights.known.get(technique.name)
    if known is None:
        words = _untried(technique, card)
        return Effect(size * prior.mean, size * prior.sd, 0, (), words, _share(*TRAINABLE_PRIOR))
    key = None if setting is None else setting_key(setting, now or {})
    telling = [cell for cell in known.own if now is None or cell.starts_from(now)]
    phi = features(context)
    near = _near(technique, known, telling, context, phi)
    found = _here(technique, known, telling, near, key, phi, prior)
    here = Belief(size * found.mean, size * found.sd)
    own = experiments(telling)
    failed = sum(bad for _, bad in known.contexts.values()) + sum(cell.failed for cell in telling)
    p = _trainable(known, telling, near, context)
    lines = (_line(cell.over(1 / there.unit), there.likeness) for cell, there in zip(telling, near, strict=True))
    words = _words(technique, card, here, known, own, round(failed), p)
    return Effect(here.mean, here.sd, known.n + own, tuple(lines), words, p)


@dataclass(frozen=True, slots=True)
class _Near:
    """Another context of this codebase: its features, its unit, its similarity, and the variance of an effect between
    it and here."""

    phi: tuple[float, ...]
    unit: float
    likeness: float
    moved: float


def _near(
    technique: Technique, known: Known, telling: Sequence[Cell], context: Context, phi: tuple[float, ...]
) -> list[_Near]:
    """Of each cell the context it is from; cells of one context mostly share the value itself."""
    found: dict[int, _Near] = {}
    for cell in telling:
        there = cell.context
        if id(there) not in found:
            theirs = features(there)
            moved = _moved(technique, known, phi, theirs)
            found[id(there)] = _Near(theirs, unit(there), similarity(context, there), moved)
    return [found[id(cell.context)] for cell in telling]


def _here(
    technique: Technique,
    known: Known,
    telling: Sequence[Cell],
    near: Sequence[_Near],
    key: str | None,
    phi: tuple[float, ...],
    prior: Belief,
) -> Belief:
    """The belief of other codebases, updated with what this one's cells show.

    Cells of other settings update what all settings have in common here, each with the doubt of its own setting, and
    this setting's doubt comes on top; those of this setting then update the whole.
    """
    siblings = [(cell, there) for cell, there in zip(telling, near, strict=True) if not _same(cell, key)]
    asked = [(key, phi), *((cell.setting, there.phi) for cell, there in siblings)]
    general, *others = _elsewhere(technique, known, asked, prior)
    shared = Belief(general.mean, math.sqrt(max(general.variance - general.setting, 1e-12)))
    for (cell, there), theirs in zip(siblings, others, strict=True):
        moved = there.moved + theirs.setting
        offset = theirs.mean - general.mean
        if cell.n:
            shared = shared.updated(cell.gain - offset, math.sqrt(cell.variance + moved))
        if cell.pruned:
            shared = censored(shared, cell.bound - offset, math.sqrt(cell.bound_variance + moved))
    here = Belief(shared.mean, math.hypot(shared.sd, math.sqrt(general.setting)))
    mine = [(cell, there.moved) for cell, there in zip(telling, near, strict=True) if _same(cell, key)]
    seen = [(cell.gain, math.sqrt(cell.variance + moved)) for cell, moved in mine if cell.n]
    for gain, error in seen:
        here = here.widened(gain, error)
    for gain, error in seen:
        here = here.updated(gain, error)
    for cell, moved in sorted(mine, key=lambda entry: (entry[0].bound, entry[0].bound_variance)):
        if cell.pruned:
            here = censored(here, cell.bound, math.sqrt(cell.bound_variance + moved))
    return here


@dataclass(frozen=True, slots=True)
class _General:
    """What other codebases say of one setting in one context: mean, variance, and the setting's part of it."""

    mean: float
    variance: float
    setting: float


def _elsewhere(
    technique: Technique, known: Known, asked: Sequence[tuple[str | None, tuple[float, ...]]], prior: Belief
) -> list[_General]:
    """Of each (setting, features of a context) that is asked about."""
    belief = known.belief
    if belief is None:
        return [_General(prior.mean, prior.sd**2, SETTING_SHARE * BETWEEN[technique.level] ** 2)] * len(asked)
    import numpy as np

    rows = np.array([vector(known.settings, key, phi) for key, phi in asked])
    means, variances = (rows @ belief.mean).tolist(), ((rows @ belief.cov) * rows).sum(axis=1).tolist()
    silent = np.maximum(0.0, 1 - (rows[:, -WIDTH:] ** 2).sum(axis=1)).tolist()
    found = []
    for (key, _), mean, variance, unsaid in zip(asked, means, variances, silent, strict=True):
        named = known.settings.index(key) if key in known.settings else None
        setting = belief.setting + (belief.setting if named is None else float(belief.cov[1 + named, 1 + named]))
        new = belief.setting * (1.0 if named is not None else 2.0) + belief.open * unsaid
        found.append(_General(mean, variance + belief.between + new, setting))
    return found


def _same(cell: Cell, key: str | None) -> bool:
    return key is None or cell.setting == key


def _moved(technique: Technique, known: Known, here: tuple[float, ...], there: tuple[float, ...]) -> float:
    """Variance of an effect between two contexts of one codebase, by their features."""
    if here == there:
        return 0.0
    steps = [mine - theirs for mine, theirs in zip(here, there, strict=True)]
    if known.belief is None:
        return CONTEXT_SHARE * BETWEEN[technique.level] ** 2 * sum(step * step for step in steps)
    import numpy as np

    moved = np.array(steps)
    return float(moved @ known.belief.cov[-WIDTH:, -WIDTH:] @ moved)


def _trainable(known: Known, own: Sequence[Cell], near: Sequence[_Near], context: Context) -> float:
    """Probability that the technique can be trained here: a Beta(9, 1) prior and experiments weighted by similarity.

    Those of other codebases count as twenty at most: why a treatment fails is often the codebase's own affair.
    """
    good = bad = 0.0
    symptoms = context.get("symptoms")
    shown = tuple(symptoms) if isinstance(symptoms, tuple | list) else None
    weights = _likenesses(context.get("model_family"), context.get("rows"), context.get("positive_rate"), shown)
    for place, (trained, failed) in known.contexts.items():
        weight = weights[place]
        good, bad = good + weight * trained, bad + weight * failed
    share = min(1.0, MOST_ELSEWHERE / (good + bad)) if good + bad else 0.0
    good, bad = share * good, share * bad
    for cell, there in zip(own, near, strict=True):
        good, bad = good + there.likeness * (cell.n + cell.pruned), bad + there.likeness * cell.failed
    return _share(TRAINABLE_PRIOR[0] + good, TRAINABLE_PRIOR[1] + bad)


class _Likenesses(dict[tuple[str, int], float]):
    """Similarity of a context to coarse ones, by (family, decade of rows), reckoned when first asked for: every
    technique asks for the same few."""

    def __init__(self, here: Context) -> None:
        super().__init__()
        self._here = here

    def __missing__(self, place: tuple[str, int]) -> float:
        family, decade = place
        there: Context = {"model_family": family or None, "rows": 10.0**decade if decade >= 0 else None}
        found = self[place] = similarity(self._here, there)
        return found


@lru_cache(maxsize=64, typed=True)
def _likenesses(
    family: ContextValue, rows: ContextValue, rate: ContextValue, symptoms: tuple[str, ...] | None
) -> _Likenesses:
    return _Likenesses({"model_family": family, "rows": rows, "positive_rate": rate, "symptoms": symptoms})


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


def _untried(technique: Technique, card: Belief) -> str:
    expected = f"{percent(card.mean)} ± {card.sd * 100:.2f} %"
    return f"{technique.title}: no experiments yet; the card expects {expected}"


def _words(
    technique: Technique, card: Belief, posterior: Belief, known: Known, own: int, failed: int, p_trainable: float
) -> str:
    n = known.n + own
    if n == 0:
        return _untried(technique, card)
    expected = f"{percent(card.mean)} ± {card.sd * 100:.2f} %"
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
