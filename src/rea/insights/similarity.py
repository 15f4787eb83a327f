"""How much an experiment in one context says about another."""

from __future__ import annotations

import math
from functools import lru_cache

from rea.domain.insight import Context, ContextValue, number

UNKNOWN = 0.8  # factor where one side does not say
OTHER_FAMILY = 0.6  # factor between different model families
ROWS_SCALE = 1.0  # decades of training rows that make a clear difference
RATE_SCALE = 1.5  # the same in log odds of the positive rate
NO_COMMON_SYMPTOM = 0.5  # factor where both have symptoms and share none
FLOOR = 0.05  # nothing is ever worth nothing
SAME_RATE = 0.01  # relative; the share of positives of one source of clicks hardly moves from one extract to the next
SAME_FACT = 0.05  # relative: rows of two extracts, and whatever else both profiles tell
DATA_FACTS = ("rows", "positive_rate", "fields", "rare_mass", "largest_cardinality", "numeric_share")


def same_data(left: Context, right: Context) -> bool:
    """Whether two models are trained on the same clicks, as far as their data profiles tell: both say how many rows and
    which positive rate, and no fact of the data that both know differs by more than two extracts of one source do."""
    for name in DATA_FACTS:
        mine, theirs = number(left.get(name)), number(right.get(name))
        if mine is None or theirs is None:
            if name in ("rows", "positive_rate"):
                return False
            continue
        if abs(mine - theirs) > _margin(name) * max(abs(mine), abs(theirs)):
            return False
    return True


def data_range(context: Context) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Rows and positive rates, each from lowest to highest, outside of which no context is of the same data; None where
    this one does not say."""
    rows, rate = number(context.get("rows")), number(context.get("positive_rate"))
    if rows is None or rate is None:
        return None
    return _around(rows, _margin("rows")), _around(rate, _margin("positive_rate"))


def _margin(name: str) -> float:
    return SAME_RATE if name == "positive_rate" else SAME_FACT


def _around(value: float, margin: float) -> tuple[float, float]:
    return value * (1 - margin), value / (1 - margin)


def similarity(left: Context, right: Context) -> float:
    """A symmetric weight in [0.05, 1]; 1 for equal contexts that say everything.

    The product of four factors: model family (1 if equal, else 0.6); training rows, a Gaussian kernel over log10 with
    scale 1; positive rate, a Gaussian kernel over log odds with scale 1.5; symptoms, 0.5 to 1 linear in the Jaccard
    index of the two sets. A fact that either side lacks gives 0.8. The scales are judgements, chosen so that a decade
    of rows or another family takes away about two fifths of the weight.
    """
    return _similarity(*_facts(left), *_facts(right))


def _facts(context: Context) -> tuple[ContextValue, ContextValue, ContextValue, ContextValue]:
    shown = context.get("symptoms")
    symptoms = tuple(shown) if isinstance(shown, list) else shown
    return context.get("model_family"), context.get("rows"), context.get("positive_rate"), symptoms


@lru_cache(maxsize=4096, typed=True)
def _similarity(
    family: ContextValue,
    rows: ContextValue,
    rate: ContextValue,
    symptoms: ContextValue,
    other_family: ContextValue,
    other_rows: ContextValue,
    other_rate: ContextValue,
    other_symptoms: ContextValue,
) -> float:
    """The same few pairs are asked for by every technique."""
    weight = (
        _family(family, other_family)
        * _kernel(_log_rows(rows), _log_rows(other_rows), ROWS_SCALE)
        * _kernel(_log_odds(rate), _log_odds(other_rate), RATE_SCALE)
        * _symptoms(symptoms, other_symptoms)
    )
    return max(weight, FLOOR)


def _family(left: ContextValue, right: ContextValue) -> float:
    if left is None or right is None:
        return UNKNOWN
    return 1.0 if str(left).lower() == str(right).lower() else OTHER_FAMILY


def _kernel(left: float | None, right: float | None, scale: float) -> float:
    if left is None or right is None:
        return UNKNOWN
    return math.exp(-0.5 * ((left - right) / scale) ** 2)


def _symptoms(left: ContextValue, right: ContextValue) -> float:
    if left is None or right is None:
        return UNKNOWN
    one, other = _names(left), _names(right)
    if not one and not other:
        return 1.0
    return NO_COMMON_SYMPTOM + (1 - NO_COMMON_SYMPTOM) * len(one & other) / len(one | other)


def _names(value: ContextValue) -> frozenset[str]:
    return frozenset(value) if isinstance(value, tuple | list) else frozenset({str(value)})


def _log_rows(value: ContextValue) -> float | None:
    rows = number(value)
    return math.log10(rows) if rows is not None and rows >= 1 else None


def _log_odds(value: ContextValue) -> float | None:
    rate = number(value)
    return math.log(rate / (1 - rate)) if rate is not None and 0 < rate < 1 else None
