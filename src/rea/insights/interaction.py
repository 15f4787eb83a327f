"""How two techniques behave together."""

from __future__ import annotations

import math

from rea.domain.hypothesis import Belief
from rea.domain.insight import SMALLEST_EXCESS, Pair
from rea.domain.plan import Additivity, pair_key
from rea.insights.estimate import percent
from rea.insights.snapshot import Insights

# What of the smaller gain is lost beside the larger one, before any combination was measured: half where the cards
# overlap or work by one mechanism, a fifth elsewhere (mean, standard deviation over pairs). Judgements; both classes
# are updated with every pair of theirs that was measured.
_PRIOR = Additivity()
LOST = {True: Belief(1 - _PRIOR.alike, 0.3), False: Belief(1 - _PRIOR.apart, 0.2)}
MOST_KEPT = 1.5  # share of a gain that a technique adds at most beside one that it helps
TOLD_APART = 0.05  # by which a pair's share differs from its class' where it is worth telling


def additivity(insights: Insights) -> Additivity:
    """What is known of how gains add up, as a plan keeps it: what each class of pairs keeps of the smaller gain, and
    the pairs whose own combinations tell otherwise.

    A class is its prior updated with all of its pairs that were measured; a pair is what the others of its class tell,
    varying from pair to pair as they do, updated with what its own combinations showed (normal partial pooling
    throughout).
    """
    classes = {like: _lost_share(insights, like) for like in LOST}
    pairs = {}
    for pair in insights.pairs:
        told = _told(pair, 0.0)  # its weight has the place in it
        if told is None:
            continue
        like = (pair.a, pair.b) in insights.alike
        lost, others = classes[like], _lost_share(insights, like, but=pair)
        own = Belief(others.mean, math.hypot(others.sd, LOST[like].sd)).updated(*told)
        if abs(own.mean - lost.mean) >= TOLD_APART:
            pairs[pair_key(pair.a, pair.b)] = round(min(max(1 - own.mean, 0.0), MOST_KEPT), 2)
    kept = {like: round(1 - lost.mean, 2) for like, lost in classes.items()}
    return Additivity(kept[False], kept[True], dict(sorted(pairs.items())))


def _lost_share(insights: Insights, like: bool, but: Pair | None = None) -> Belief:
    """The share of the smaller gain that pairs of a class lose, from all that were measured, one left out."""
    share = LOST[like]
    for pair in insights.pairs:
        if pair is but:
            continue
        told = _told(pair, LOST[like].sd)
        if told is not None and ((pair.a, pair.b) in insights.alike) == like:
            share = share.updated(*told)
    return share


def _told(pair: Pair, between: float) -> tuple[float, float] | None:
    """The share of the smaller gain that a pair was seen to lose and its error, with what pairs differ by; None where
    there is nothing to lose."""
    if pair.smaller <= SMALLEST_EXCESS:
        return None
    error = math.hypot(math.sqrt(1 / pair.weight) / pair.smaller, between)
    return min(max(-pair.excess / pair.smaller, -1.0), 2.0), error


def measured_words(pair: Pair) -> str:
    """What combinations of a pair showed, in a sentence without its full stop."""
    sd = math.sqrt(1 / pair.weight)
    kind = (
        "add up"
        if abs(pair.excess) < 2 * sd
        else "give less together than apart"
        if pair.excess < 0
        else "help each other"
    )
    times = "once" if pair.n == 1 else f"{pair.n} times"
    return f"{pair.a} and {pair.b} {kind}: {percent(pair.excess)} ± {sd * 100:.2f} % beside the sum, measured {times}"
