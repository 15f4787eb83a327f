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
from rea.insights.features import unit
from rea.insights.fit import BETWEEN, experiments
from rea.insights.local import Question, believed, unfitted
from rea.insights.similarity import similarity
from rea.insights.snapshot import Insights, Known

TRAINABLE_PRIOR = (9.0, 1.0)  # Beta: ten imagined experiments, of which nine could be trained
MOST_ELSEWHERE = 20.0  # experiments that failures and successes of other codebases count as at most


@dataclass(frozen=True, slots=True)
class Asked:
    """A technique, what it would set by role (None: the technique in general), and where the model stands by role.

    Of this codebase only experiments count that started from where it stands, because a move that was made is not
    there to be gained again; without it, all do.
    """

    technique: Technique
    setting: Mapping[str, Scalar] | None = None
    now: Mapping[str, Scalar] | None = None


def effect(
    technique: Technique,
    context: Context,
    insights: Insights,
    *,
    setting: Mapping[str, Scalar] | None = None,
    now: Mapping[str, Scalar] | None = None,
) -> Effect:
    """One of `effects`."""
    return effects([Asked(technique, setting, now)], context, insights)[0]


def effects(asked: Sequence[Asked], context: Context, insights: Insights) -> list[Effect]:
    """Beliefs about the relative gains of techniques in this context, predictive: with the doubt about one more place
    in it.

    Codebases on other data speak through the hierarchical model of `insights/fit.py`, those on the same data and
    experiments of this very one directly (`insights/local.py`). Failed ones say nothing of the gain and lower
    `p_trainable`. Without evidence this is the card's prior, widened by what its level varies by between data sets. All
    of that is counted in the unit that cards are quoted in (`features.unit`), the answer in relative gains here.
    """
    known = [insights.known.get(one.technique.name) for one in asked]
    questions = [_question(one, of, context) for one, of in zip(asked, known, strict=True) if of is not None]
    beliefs = iter(zip(questions, believed(questions), strict=True))
    size = unit(context)
    found = []
    for one, of in zip(asked, known, strict=True):
        if of is None:
            found.append(_by_the_card(one.technique, size))
        else:
            question, here = next(beliefs)
            found.append(_effect(one.technique, of, question, Belief(size * here.mean, size * here.sd), size))
    return found


def _by_the_card(technique: Technique, size: float) -> Effect:
    sd = math.hypot(technique.effect.sd, BETWEEN[technique.level])
    return Effect(size * technique.effect.mean, size * sd, 0, _untried(technique, size), _share(*TRAINABLE_PRIOR))


def _question(asked: Asked, known: Known, context: Context) -> Question:
    key = None if asked.setting is None else setting_key(asked.setting, asked.now or {})
    telling = [cell for cell in known.own if asked.now is None or cell.starts_from(asked.now)]
    fitted, named = (known.belief, known.settings) if known.belief is not None else (unfitted(asked.technique), ())
    return Question(fitted, named, key, asked.now, context, telling, known.kin)


def _effect(technique: Technique, known: Known, question: Question, here: Belief, size: float) -> Effect:
    own = experiments(question.own)
    failed = sum(bad for _, bad in known.contexts.values()) + sum(cell.failed for cell in question.own)
    p, like = _trained(known, question.own, question.context)
    words = _words(technique, here, known, own, round(failed), p, size)
    return Effect(here.mean, here.sd, known.n + own, words, p, like)


def _trained(known: Known, own: Sequence[Cell], context: Context) -> tuple[float, float]:
    """Probability that the technique can be trained here, and how many experiments were, weighted by similarity.

    A Beta(9, 1) prior; experiments of other codebases count as twenty at most there: why a treatment fails is often the
    codebase's own affair.
    """
    good = bad = 0.0
    symptoms = context.get("symptoms")
    shown = tuple(symptoms) if isinstance(symptoms, tuple | list) else None
    weights = _likenesses(context.get("model_family"), context.get("rows"), context.get("positive_rate"), shown)
    for place, (trained, failed) in known.contexts.items():
        weight = weights[place]
        good, bad = good + weight * trained, bad + weight * failed
    like = good
    share = min(1.0, MOST_ELSEWHERE / (good + bad)) if good + bad else 0.0
    good, bad = share * good, share * bad
    for cell in own:
        likeness = similarity(context, cell.context)
        like += likeness * (cell.n + cell.pruned)
        good, bad = good + likeness * (cell.n + cell.pruned), bad + likeness * cell.failed
    return _share(TRAINABLE_PRIOR[0] + good, TRAINABLE_PRIOR[1] + bad), like


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


def _untried(technique: Technique, size: float) -> str:
    return f"{technique.title}: no experiments yet; the card expects {_card(technique, size)}"


def _card(technique: Technique, size: float) -> str:
    return f"{percent(size * technique.effect.mean)} ± {size * technique.effect.sd * 100:.2f} %"


def _words(
    technique: Technique, posterior: Belief, known: Known, own: int, failed: int, p_trainable: float, size: float
) -> str:
    n = known.n + own
    if n == 0:
        return _untried(technique, size)
    found = f"{percent(posterior.mean)} ± {posterior.sd * 100:.2f} %"
    places = known.codebases + (1 if own else 0)
    text = (
        f"{technique.title}: {n} experiment{'' if n == 1 else 's'} on {places} codebase{'' if places == 1 else 's'} "
        f"move{'s' if n == 1 else ''} the card's {_card(technique, size)} to {found} here"
    )
    near = sorted({cell.codebase for cell in known.kin})
    if near:
        text += f"; {', '.join(near)} {'is' if len(near) == 1 else 'are'} on the same data"
    if known.belief is not None:
        spread = math.sqrt(known.belief.between + known.belief.open + 2 * known.belief.setting)
        text += f"; it varies between contexts by ± {size * spread * 100:.2f} %"
    if failed:
        text += f"; {failed} of {n} could not be trained (probability that one can: {p_trainable:.0%})"
    return text
