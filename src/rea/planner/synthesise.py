"""One ranked list out of many proposals: duplicates merged, evidence of every source kept, mechanisms mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rea.domain.hypothesis import HypothesisDraft, Source

OPTIMISM = 0.5  # standard deviations of benefit of the doubt (an upper confidence bound)
DIVERSITY = 0.6  # what the next hypothesis of a mechanism is worth beside one already chosen


def score(draft: HypothesisDraft) -> float:
    """Expected gain per baseline-run of cost, with an optimism bonus, times its aim and the engineers' weight."""
    return draft.weight * draft.aim * (draft.effect.mean + OPTIMISM * draft.effect.sd) / max(draft.cost_factor, 0.05)


def merge(drafts: Sequence[HypothesisDraft]) -> tuple[HypothesisDraft, ...]:
    """Drafts that would train the same model become one: the best believed leads, all sources are credited."""
    groups: dict[str, list[HypothesisDraft]] = {}
    for draft in drafts:
        groups.setdefault(draft.full.key(), []).append(draft)
    merged = []
    for group in groups.values():
        lead = max(group, key=score)
        sources: dict[Source, None] = {}
        citations: dict[str, None] = {}
        for draft in [lead, *group]:
            sources.update(dict.fromkeys(draft.sources))
            citations.update(dict.fromkeys(draft.citations))
        weight = max(draft.weight for draft in group)
        merged.append(replace(lead, sources=tuple(sources), citations=tuple(citations), weight=weight))
    return tuple(merged)


def rank(drafts: Sequence[HypothesisDraft]) -> tuple[tuple[HypothesisDraft, float], ...]:
    """Merge, then order greedily by score, discounting every further hypothesis of a mechanism already chosen."""
    waiting = list(merge(drafts))
    seen: dict[str, int] = {}
    ordered: list[tuple[HypothesisDraft, float]] = []
    while waiting:
        scored = [(score(d) * (DIVERSITY ** seen.get(d.mechanism, 0) if score(d) > 0 else 1.0), d) for d in waiting]
        value, best = max(scored, key=lambda pair: (pair[0], pair[1].full.key()))
        ordered.append((best, value))
        waiting.remove(best)
        seen[best.mechanism] = seen.get(best.mechanism, 0) + 1
    return tuple(ordered)
