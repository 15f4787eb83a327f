"""One ranked list out of many proposals: duplicates merged, evidence of every source kept, mechanisms mixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rea.domain.hypothesis import HypothesisDraft, Source
from rea.planner.worth import expected_best

LEAST_COST = 0.05  # what a run is taken to cost at least, in baseline runs
DIVERSITY = 0.6  # what the next hypothesis of a mechanism is worth beside one already chosen


def score(draft: HypothesisDraft, noise: float) -> float:
    """What one run of it is expected to add to the model that is launched, per baseline run of cost.

    That is the mean of its gain where the run shows one and zero where it does not, by a reading with this noise, times
    its aim and the engineers' weight. Thompson sampling would draw from the same beliefs; the expectation is preferred
    because it is the same at every look and can be read in a plan.
    """
    return draft.weight * draft.aim * expected_best(draft.effect, noise) / max(draft.cost_factor, LEAST_COST)


def merge(drafts: Sequence[HypothesisDraft], noise: float) -> tuple[HypothesisDraft, ...]:
    """Drafts that would train the same model become one: the best believed leads, all sources are credited."""
    groups: dict[str, list[HypothesisDraft]] = {}
    for draft in drafts:
        groups.setdefault(draft.full.key(), []).append(draft)
    merged = []
    for group in groups.values():
        lead = max(group, key=lambda draft: score(draft, noise))
        if len(group) == 1:
            merged.append(lead)
            continue
        sources: dict[Source, None] = {}
        citations: dict[str, None] = {}
        for draft in [lead, *group]:
            sources.update(dict.fromkeys(draft.sources))
            citations.update(dict.fromkeys(draft.citations))
        weight = max(draft.weight for draft in group)
        merged.append(replace(lead, sources=tuple(sources), citations=tuple(citations), weight=weight))
    return tuple(merged)


def rank(
    drafts: Sequence[HypothesisDraft], noise: float, tried: Mapping[str, int] | None = None
) -> tuple[tuple[HypothesisDraft, float], ...]:
    """Merge, then order greedily by score, discounting every further hypothesis of a mechanism already chosen.

    `tried` counts those of each mechanism that were chosen before.
    """
    before = tried or {}
    mechanisms: dict[str, list[HypothesisDraft]] = {}
    for draft in merge(drafts, noise):
        mechanisms.setdefault(draft.mechanism, []).append(draft)
    # Within a mechanism the discounted scores fall in the order of the plain ones, so one sort is the greedy order.
    scored = []
    for group in mechanisms.values():
        plain = sorted(((score(draft, noise), draft.full.key(), draft) for draft in group), key=lambda item: item[:2])
        for place, (value, key, draft) in enumerate(reversed(plain), before.get(plain[0][2].mechanism, 0)):
            scored.append((value * DIVERSITY**place, key, draft))
    scored.sort(key=lambda item: item[:2], reverse=True)
    return tuple((draft, value) for value, _, draft in scored)
