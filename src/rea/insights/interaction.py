"""How two techniques behave together."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rea.domain.hypothesis import Belief
from rea.domain.insight import PLACE_SHARE, SMALLEST_EXCESS, Pair
from rea.insights.estimate import percent
from rea.insights.snapshot import Insights

# What of the smaller gain is lost beside the larger one, before any combination was measured: half where the cards
# overlap or work by one mechanism, a tenth elsewhere (mean, standard deviation over pairs). Judgements; both classes
# are updated with every pair of theirs that was measured.
LOST = {True: Belief(0.5, 0.3), False: Belief(0.1, 0.2)}


@dataclass(frozen=True, slots=True)
class Interaction:
    """A belief about what two techniques gain together beyond the sum of their gains, relative; negative is
    sub-additive. `n` combinations of exactly these two were measured."""

    mean: float
    sd: float
    n: int
    words: str


def interaction(a: str, b: str, insights: Insights, gains: tuple[float, float]) -> Interaction:
    """What techniques `a` and `b`, believed to gain `gains` alone, will gain together beyond the sum.

    Of the smaller gain a share is lost: a prior by class (overlapping cards or not), updated with all other measured
    pairs of that class, and varying from pair to pair by a third. What this very pair showed then updates it as one
    more place (normal partial pooling throughout; a place varies by PLACE_SHARE of the smaller gain). The order of
    the two does not matter.
    """
    if a > b:
        a, b, gains = b, a, (gains[1], gains[0])
    like = (a, b) in insights.alike
    lost = lost_share(insights, like, beside=(a, b))
    smaller = max(0.0, min(gains))
    larger = max(abs(gains[0]), abs(gains[1]))
    doubt = math.hypot(lost.sd * smaller, PLACE_SHARE * smaller, 0.1 * larger, SMALLEST_EXCESS)
    prior = Belief(-lost.mean * smaller, doubt)
    pair = next((p for p in insights.pairs if (p.a, p.b) == (a, b)), None)
    if pair is None:
        kind = "overlap by their cards" if like else "were never combined"
        return Interaction(
            prior.mean, prior.sd, 0, f"{a} and {b} {kind}: {percent(prior.mean)} beside the sum expected"
        )
    error = math.sqrt(1 / pair.weight)
    found = prior.widened(pair.excess, error).updated(pair.excess, error)
    # One more place varies as the others do.
    sd = math.hypot(found.sd, PLACE_SHARE * smaller)
    return Interaction(found.mean, sd, pair.n, measured_words(pair))


def lost_share(insights: Insights, like: bool, beside: tuple[str, str] | None = None) -> Belief:
    """The share of the smaller gain that pairs of a class lose, from all that were measured but the one named."""
    share = LOST[like]
    for pair in insights.pairs:
        own = (pair.a, pair.b)
        if own == beside or (own in insights.alike) != like or pair.smaller <= SMALLEST_EXCESS:
            continue
        error = math.hypot(math.sqrt(1 / pair.weight) / pair.smaller, LOST[like].sd)
        seen = min(max(-pair.excess / pair.smaller, -1.0), 2.0)
        share = share.updated(seen, error)
    return share


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
