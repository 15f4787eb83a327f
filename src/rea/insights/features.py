"""A context as numbers: what contexts are compared by when an effect is carried from one to another."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

from rea.domain.insight import Context, ContextValue, number
from rea.domain.technique import Symptom
from rea.knowledge.units import QUOTED, relative_size

T = TypeVar("T")


def _log10(value: float) -> float | None:
    return math.log10(value) if value > 0 else None


def _logit(value: float) -> float | None:
    return math.log(value / (1 - value)) if 0 < value < 1 else None


def _same(value: float) -> float | None:
    return value


# Fact → how it is read, its usual value and its usual spread on that scale. Judgements over public click data: from
# 10⁵ to 10⁸ rows, positive rates of 2 % to 30 %, ten to a few hundred fields.
FACTS: dict[str, tuple[Callable[[float], float | None], float, float]] = {
    "rows": (_log10, 6.0, 1.2),
    "positive_rate": (_logit, -1.5, 1.5),
    "fields": (_log10, 1.4, 0.4),
    "rare_mass": (_same, 0.2, 0.2),
    "largest_cardinality": (_log10, 5.0, 1.2),
    "numeric_share": (_same, 0.3, 0.3),
    "epochs_to_best": (_log10, 0.5, 0.4),
}
FAMILIES: dict[str, tuple[str, ...]] = {
    "mlp": ("mlp", "dnn", "none", "embedding_mlp"),
    "dcn": ("dcn", "dcnv2", "dcnm", "gdcn", "cross"),
    "dlrm": ("dlrm", "dot"),
    "fm": ("fm", "deepfm", "ffm", "fwfm"),
    "wide": ("widedeep", "wide", "lr"),
    "attention": ("autoint", "attention", "masknet", "finalmlp", "finalnet"),
}
SYMPTOMS: tuple[str, ...] = tuple(symptom.value for symptom in Symptom)
FACT_SHARE, FAMILY_SHARE, SYMPTOM_SHARE = 0.06, 0.25, 0.15  # of φ·φ: a fact one spread off, a family, a symptom
FURTHEST = 2.0  # spreads; beyond them nothing is extrapolated
WIDTH = len(FACTS) + len(FAMILIES) + len(SYMPTOMS)


HELD = 8192  # contexts that are remembered


def remembered(read: Callable[[Context], T]) -> Callable[[Context], T]:
    """A reading of contexts that is made once for each value: thousands of cells share a few hundred contexts.

    Contexts are told apart by identity, which holds as long as they are held here, and are never changed.
    """
    known: dict[int, tuple[Context, T]] = {}

    @wraps(read)
    def reading(context: Context) -> T:
        found = known.get(id(context))
        if found is None:
            if len(known) >= HELD:
                known.clear()
            found = known[id(context)] = context, read(context)
        return found[1]

    return reading


@remembered
def unit(context: Context) -> float:
    """The relative gain here that is worth one of those that cards are quoted in; 1 where AUC is not known."""
    auc, rate = context.get("auc"), context.get("positive_rate")
    if isinstance(auc, bool) or not isinstance(auc, int | float):
        return 1.0
    return relative_size(float(auc), float(rate) if isinstance(rate, int | float) else QUOTED[1])


@remembered
def features(context: Context) -> tuple[float, ...]:
    """φ(context), WIDTH numbers: facts in spreads from the usual, one-hot family, symptoms, each scaled by its share.

    A fact that is missing or cannot be read counts as usual and takes nothing from 1 − φ·φ, the part of the variance
    between contexts that the covariates leave open. The inner product of two of these is the similarity that carries
    effects between contexts (a linear kernel: Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006,
    section 4.2).
    """
    shown = context.get("symptoms")
    symptoms = tuple(map(str, shown)) if isinstance(shown, tuple | list) else (str(shown),)
    return _features(tuple(map(context.get, FACTS)), context.get("model_family"), symptoms)


@lru_cache(maxsize=8192)
def _features(
    facts: tuple[ContextValue, ...], model_family: ContextValue, symptoms: tuple[str, ...]
) -> tuple[float, ...]:
    values = []
    for told, (read, usual, spread) in zip(facts, FACTS.values(), strict=True):
        value = number(told)
        scaled = read(value) if value is not None else None
        z = 0.0 if scaled is None else min(max((scaled - usual) / spread, -FURTHEST), FURTHEST)
        values.append(z * math.sqrt(FACT_SHARE))
    family = "".join(c for c in str(model_family or "").lower() if c.isalnum())
    values += [math.sqrt(FAMILY_SHARE) if family in names else 0.0 for names in FAMILIES.values()]
    values += [math.sqrt(SYMPTOM_SHARE) if name in symptoms else 0.0 for name in SYMPTOMS]
    return tuple(values)


def differences(left: Context, right: Context) -> tuple[str, ...]:
    """What two contexts differ in, most telling first, each in words: "rows (80,000 against 2.5e+06)"."""
    found: list[tuple[float, str]] = []
    mine, theirs = features(left), features(right)
    for place, name in enumerate(FACTS):
        gap = abs(mine[place] - theirs[place]) / math.sqrt(FACT_SHARE)
        if gap > 0.5 and left.get(name) is not None and right.get(name) is not None:
            found.append((gap, f"{name} ({_said(left[name])} against {_said(right[name])})"))
    one, other = left.get("model_family"), right.get("model_family")
    if one is not None and other is not None and str(one).lower() != str(other).lower():
        found.append((1.5, f"model_family ({one} against {other})"))
    only = _symptoms(left) ^ _symptoms(right)
    if only and left.get("symptoms") is not None and right.get("symptoms") is not None:
        found.append((1.0 + 0.2 * len(only), f"symptoms ({', '.join(sorted(only))} in one alone)"))
    return tuple(words for _, words in sorted(found, key=lambda entry: (-entry[0], entry[1])))


def _symptoms(context: Context) -> frozenset[str]:
    shown = context.get("symptoms")
    return frozenset(map(str, shown)) if isinstance(shown, tuple | list) else frozenset()


def _said(value: ContextValue) -> str:
    return f"{value:,.4g}" if isinstance(value, float | int) and not isinstance(value, bool) else str(value)
