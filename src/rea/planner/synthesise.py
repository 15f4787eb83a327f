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


def rank(drafts: Sequence[HypothesisDraft]) -> tuple[tuple[HypothesisDraft, float], ...]:
    """Merge, then order greedily by score, discounting every further hypothesis of a mechanism already chosen."""
    # Of one mechanism the best left is always the next one: only the heads compete.
    queues: dict[str, list[tuple[float, str, HypothesisDraft]]] = {}
    for draft in merge(drafts):
        queues.setdefault(draft.mechanism, []).append((score(draft), draft.full.key(), draft))
    for queue in queues.values():
        queue.sort(key=lambda item: item[:2])
    seen = dict.fromkeys(queues, 0)

    def worth(mechanism: str) -> tuple[float, str]:
        plain, key, _ = queues[mechanism][-1]
        return plain * (DIVERSITY ** seen[mechanism] if plain > 0 else 1.0), key

    ordered: list[tuple[HypothesisDraft, float]] = []
    while queues:
        first = max(queues, key=worth)
        value = worth(first)[0]
        ordered.append((queues[first].pop()[2], value))
        seen[first] += 1
        if not queues[first]:
            del queues[first]
    return tuple(ordered)
