"""Validation: each hypothesis alone, in the order of its score, and again where its sign is not settled."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from rea.domain.hypothesis import Hypothesis, HypothesisDraft, HypothesisKind
from rea.domain.run import RunDraft
from rea.domain.states import HypothesisState, Phase
from rea.planner.situation import Advance, Judgement, Situation, judge
from rea.planner.synthesise import rank
from rea.planner.trainable import Directions

_H = HypothesisState
_UNTRIED = (_H.PROPOSED, _H.LEFT_OUT, _H.VETOED)


def validation(situation: Situation) -> Advance:
    """As many runs as there are slots: the first of a hypothesis, or one more seed where that is worth more.

    A hypothesis that was not tested is worth what it may add; one that was, what a further reading may change about
    taking it or leaving it.
    """
    phase = Phase.VALIDATION
    judgements = judge(situation, [HypothesisKind.SINGLE])
    if judgements:
        return Advance(judgements=judgements)
    arms = situation.of_kind(HypothesisKind.SINGLE)
    open_runs = situation.open_runs(phase)
    free = situation.slots - situation.taken(phase)
    allowance = situation.allowance(phase)
    least = situation.evidence.plan.rules.least_gain_per_run
    runs: list[RunDraft] = []
    begun: list[Judgement] = []
    committed = 0.0
    for value, hypothesis, seed in wanted(situation, arms):
        if len(runs) >= free or value < least:
            break
        if not situation.affords(hypothesis.draft, allowance - committed, committed):
            continue
        committed += situation.price(hypothesis.draft)
        untested = hypothesis.state is _H.PROPOSED
        if untested:
            begun.append(Judgement(hypothesis.id, _H.TESTING, None, "in test"))
        runs.append(situation.run(hypothesis.draft, hypothesis.id, phase, seed, value, stop=untested))
    return Advance(runs=tuple(runs), judgements=tuple(begun), done=not runs and not open_runs)


def _doubted(draft: HypothesisDraft, ways: Directions) -> HypothesisDraft:
    """The draft, wanted less where treatments like it could not be trained."""
    return replace(draft, weight=draft.weight * ways.chance(draft)) if ways.failed else draft


def wanted(situation: Situation, arms: tuple[Hypothesis, ...]) -> list[tuple[float, Hypothesis, int]]:
    """What may be run next, most valuable first: (expected gain per baseline run, hypothesis, seed)."""
    evidence, rules = situation.evidence, situation.evidence.plan.rules
    noise = evidence.first_sd
    found: list[tuple[float, Hypothesis, int]] = []
    if situation.budget_open:
        waiting = {h.draft.full.key(): h for h in arms if h.state is _H.PROPOSED}
        first = rules.search_seeds[0]
        ways = evidence.directions
        drafts = [_doubted(evidence.outlook(h), ways) for h in waiting.values()]
        tried = Counter(h.draft.mechanism for h in arms if h.state not in _UNTRIED)
        found += [(v, waiting[d.full.key()], first) for d, v in rank(drafts, noise, tried)]
    for hypothesis in arms:
        if hypothesis.state not in (_H.SUPPORTED, _H.INCONCLUSIVE) or not evidence.eligible(hypothesis):
            continue
        done = {r.draft.seed for r in evidence.of(hypothesis.draft.full)}
        seed = next((s for s in rules.search_seeds if s not in done), None)
        if seed is not None:
            draft = hypothesis.draft
            value = evidence.worth_of_seed(draft.full, draft.base) / situation.runs(draft)
            found.append((value * draft.weight, hypothesis, seed))
    return sorted(found, key=lambda item: (-item[0], item[1].id))
