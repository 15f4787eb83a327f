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
OWN_SHARE = 0.5  # of the variance between codebases: what is the model's own affair, and not that of its data
CARRIED = 1 / 3  # of an effect on the same data: the standard deviation of what another model makes of it
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

    Codebases on other data speak through the hierarchical model of `insights/fit.py`. Those on the same data, and then
    experiments of this very codebase, update that belief directly: the same setting by its own error, another setting
    by what settings differ by as well, another model by what models differ by. One that contradicts the belief by more
    than two standard deviations widens it first (`Belief.widened`). A pruned one is a bound. Failed ones say nothing of
    the gain and lower `p_trainable`. Without evidence this is the card's prior, widened by what its level varies by
    between data sets. All of that is counted in the unit that cards are quoted in (`features.unit`), the answer in
    relative gains here.
    """
    size = unit(context)
    prior = Belief(technique.effect.mean, math.hypot(technique.effect.sd, BETWEEN[technique.level]))
    card = Belief(size * technique.effect.mean, size * technique.effect.sd)
    known = insights.known.get(technique.name)
    if known is None:
        words = _untried(technique, card)
        return Effect(size * prior.mean, size * prior.sd, 0, words, _share(*TRAINABLE_PRIOR))
    key = None if setting is None else setting_key(setting, now or {})
    telling = [cell for cell in known.own if now is None or cell.starts_from(now)]
    phi = features(context)
    placed = _placed(technique, known, (*telling, *known.kin), context, phi)
    told, beside = placed[: len(telling)], placed[len(telling) :]
    found = _here(technique, known, told, beside, (key, now), phi, prior)
    here = Belief(size * found.mean, size * found.sd)
    own = experiments(telling)
    failed = sum(bad for _, bad in known.contexts.values()) + sum(cell.failed for cell in telling)
    p = _trainable(known, told, context)
    words = _words(technique, card, here, known, own, round(failed), p, size)
    return Effect(here.mean, here.sd, known.n + own, words, p)


@dataclass(frozen=True, slots=True)
class _Near:
    """Another context of this codebase or of one on the same data: its features, its similarity, and the variance of an
    effect between it and here."""

    phi: tuple[float, ...]
    likeness: float
    moved: float


_Told = Sequence[tuple[Cell, _Near]]
_Asked = tuple[str | None, Mapping[str, Scalar] | None]  # the setting's key (None: in general), where the model stands


def _placed(
    technique: Technique, known: Known, cells: Sequence[Cell], context: Context, phi: tuple[float, ...]
) -> _Told:
    """Each cell with the context it is from; cells of one context mostly share the value itself."""
    contexts = {id(cell.context): cell.context for cell in cells}
    theirs = [features(there) for there in contexts.values()]
    moved = _moved(technique, known, phi, theirs)
    near = [
        _Near(one, similarity(context, there), apart)
        for one, there, apart in zip(theirs, contexts.values(), moved, strict=True)
    ]
    found = dict(zip(contexts, near, strict=True))
    return [(cell, found[id(cell.context)]) for cell in cells]


def _here(
    technique: Technique, known: Known, own: _Told, kin: _Told, asked: _Asked, phi: tuple[float, ...], prior: Belief
) -> Belief:
    """The belief of codebases on other data, updated with the cells of others on these data and then of this codebase.

    The doubt has three parts, and what has just been said is always the rest of it: the doubt of this setting, the
    doubt of this model (`OWN_SHARE`), the doubt about these data. Cells of other models say something of what remains
    without the model's part; cells of other settings of what remains without the setting's, each with its own doubt. A
    step that another model took from elsewhere is another setting, whatever its ratio.
    """
    key, now = asked
    alike: list[tuple[Cell, _Near]] = []
    others: list[tuple[Cell, _Near]] = []
    for cell, there in kin:
        step = _same(cell, key) and (now is None or cell.starts_from(now))
        (alike if step else others).append((cell, there))
    siblings = [entry for entry in own if not _same(entry[0], key)]
    rows = [(key, phi), *((cell.setting, there.phi) for cell, there in (*others, *siblings))]
    general, *found = _elsewhere(technique, known, rows, prior)
    of_others, of_siblings = found[: len(others)], found[len(others) :]
    alone = general.own if kin else 0.0
    belief = Belief(general.mean, math.sqrt(max(general.variance - general.setting - alone, 1e-12)))
    models: dict[str, list[tuple[Cell, float, float]]] = {}
    for (cell, there), theirs in zip(others, of_others, strict=True):
        entry = cell, there.moved + theirs.setting, theirs.mean - general.mean
        models.setdefault(cell.codebase, []).append(entry)
    for said in models.values():
        belief = _of_one_model(said, general.own).joined(belief)
    setting = general.setting
    same = [_Seen.of(cell, there.moved + general.own, CARRIED) for cell, there in alike]
    if same:
        whole = belief.sd**2 + setting
        belief = _joined(Belief(belief.mean, math.sqrt(whole)), same)
        # What is left of the doubt is the setting's in the share that it was.
        setting *= belief.sd**2 / whole
        belief = Belief(belief.mean, math.sqrt(max(belief.sd**2 - setting, 1e-12)))
    belief = Belief(belief.mean, math.hypot(belief.sd, math.sqrt(alone)))
    for (cell, there), theirs in zip(siblings, of_siblings, strict=True):
        belief = _Seen.of(cell, there.moved + theirs.setting).above(theirs.mean - general.mean).joined(belief)
    here = Belief(belief.mean, math.hypot(belief.sd, math.sqrt(setting)))
    return _joined(here, [_Seen.of(cell, there.moved) for cell, there in own if _same(cell, key)])


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one cell says of an effect here: a gain and a bound (None: it has none), each with its error here.

    `plain` are the errors but for the share that is carried: by them is told whether a belief is contradicted, because
    a share of an effect that should not be there excuses nothing.
    """

    gain: Belief | None
    bound: Belief | None
    plain: tuple[float, float]

    @classmethod
    def of(cls, cell: Cell, moved: float, carried: float = 0.0) -> _Seen:
        """`moved` is the variance of an effect between there and here, `carried` a share of the effect that varies on
        top of it (a standard deviation)."""

        def here(value: float, variance: float) -> Belief:
            return Belief(value, math.sqrt(variance + moved + (carried * value) ** 2))

        gain = here(cell.gain, cell.variance) if cell.n else None
        bound = here(cell.bound, cell.bound_variance) if cell.pruned else None
        plain = math.sqrt(cell.variance + moved) if cell.n else 0.0, math.sqrt(cell.bound_variance + moved)
        return cls(gain, bound, plain)

    def above(self, offset: float) -> _Seen:
        """The same of an effect that is `offset` below the one it was seen of."""
        gain, bound = (one and Belief(one.mean - offset, one.sd) for one in (self.gain, self.bound))
        return _Seen(gain, bound, self.plain)

    def joined(self, belief: Belief) -> Belief:
        if self.gain is not None:
            belief = belief.updated(self.gain.mean, self.gain.sd)
        if self.bound is not None:
            belief = censored(belief, self.bound.mean, self.bound.sd)
        return belief


def _of_one_model(said: Sequence[tuple[Cell, float, float]], own: float) -> _Seen:
    """What all settings of one model on the same data say together: of each its cell, the variance of an effect between
    there and here, and by how much its effect is above. `own` is the variance between models, which they share, as they
    do what is carried."""

    def together(values: Sequence[tuple[float, float]]) -> Belief | None:
        if not values:
            return None
        weight = sum(1 / variance for _, variance in values)
        mean = sum(value / variance for value, variance in values) / weight
        return Belief(mean, math.sqrt(1 / weight + own + (CARRIED * mean) ** 2))

    gains = [(cell.gain - above, cell.variance + moved) for cell, moved, above in said if cell.n]
    bounds = [(cell.bound - above, cell.bound_variance + moved) for cell, moved, above in said if cell.pruned]
    return _Seen(together(gains), together(bounds), (0.0, 0.0))


def _joined(belief: Belief, seen: Sequence[_Seen]) -> Belief:
    """A belief joined with what was seen of the very thing it is about; it gives way to what contradicts it plainly."""
    gains = [(one.gain, one.plain[0]) for one in seen if one.gain is not None]
    for gain, plain in gains:
        belief = belief.widened(gain.mean, plain)
    for gain, _ in gains:
        belief = belief.updated(gain.mean, gain.sd)
    bounds = [(one.bound, one.plain[1]) for one in seen if one.bound is not None]
    for bound, plain in sorted(bounds, key=lambda one: (one[0].mean, one[0].sd)):
        if plain < bound.sd and bound.mean < belief.mean:
            belief = belief.widened(bound.mean, plain)
        belief = censored(belief, bound.mean, bound.sd)
    return belief


@dataclass(frozen=True, slots=True)
class _General:
    """What codebases on other data say of one setting in one context: mean, variance, and of it the setting's part and
    the part of the model that is trained there."""

    mean: float
    variance: float
    setting: float
    own: float


def _elsewhere(
    technique: Technique, known: Known, asked: Sequence[tuple[str | None, tuple[float, ...]]], prior: Belief
) -> list[_General]:
    """Of each (setting, features of a context) that is asked about."""
    belief = known.belief
    if belief is None:
        between = BETWEEN[technique.level] ** 2
        own = OWN_SHARE * (1 - SETTING_SHARE - CONTEXT_SHARE) * between
        return [_General(prior.mean, prior.sd**2, SETTING_SHARE * between, own)] * len(asked)
    import numpy as np

    rows = np.array([vector(known.settings, key, phi) for key, phi in asked])
    means, variances = (rows @ belief.mean).tolist(), ((rows @ belief.cov) * rows).sum(axis=1).tolist()
    silent = np.maximum(0.0, 1 - (rows[:, -WIDTH:] ** 2).sum(axis=1)).tolist()
    found = []
    for (key, _), mean, variance, unsaid in zip(asked, means, variances, silent, strict=True):
        named = known.settings.index(key) if key in known.settings else None
        setting = belief.setting + (belief.setting if named is None else float(belief.cov[1 + named, 1 + named]))
        new = belief.setting * (1.0 if named is not None else 2.0) + belief.open * unsaid
        found.append(_General(mean, variance + belief.between + new, setting, OWN_SHARE * belief.between))
    return found


def _same(cell: Cell, key: str | None) -> bool:
    return key is None or cell.setting == key


def _moved(
    technique: Technique, known: Known, here: tuple[float, ...], there: Sequence[tuple[float, ...]]
) -> list[float]:
    """Variances of an effect between this context and each of others, by their features."""
    if all(one == here for one in there):
        return [0.0] * len(there)
    import numpy as np

    steps = np.array(there) - here
    if known.belief is None:
        apart = CONTEXT_SHARE * BETWEEN[technique.level] ** 2 * (steps**2).sum(axis=1)
    else:
        apart = ((steps @ known.belief.cov[-WIDTH:, -WIDTH:]) * steps).sum(axis=1)
    return list(map(float, apart))


def _trainable(known: Known, own: _Told, context: Context) -> float:
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
    for cell, there in own:
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


def _untried(technique: Technique, card: Belief) -> str:
    expected = f"{percent(card.mean)} ± {card.sd * 100:.2f} %"
    return f"{technique.title}: no experiments yet; the card expects {expected}"


def _words(
    technique: Technique,
    card: Belief,
    posterior: Belief,
    known: Known,
    own: int,
    failed: int,
    p_trainable: float,
    size: float,
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
        text += f"; it varies between contexts by ± {size * spread * 100:.2f} %"
    if failed:
        text += f"; {failed} of {n} could not be trained (probability that one can: {p_trainable:.0%})"
    return text
