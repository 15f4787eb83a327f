"""Combination: which hypotheses go together, by what all runs so far say of all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rea.domain.codebase import same
from rea.domain.hypothesis import Belief, Hypothesis, HypothesisDraft, HypothesisKind, Source, SourceKind
from rea.domain.plan import Additivity, Part
from rea.domain.states import HypothesisState, Phase
from rea.domain.treatment import Treatment
from rea.planner import joint
from rea.planner.evidence import Evidence, summed
from rea.planner.situation import Advance, Situation, further_seeds, judge, outbid, start

LEANING = 0.6  # probability of being better from which a tested hypothesis joins a combination
SURE = 0.55  # the same for one that was not tested alone
MOST_UNTESTED = 1  # of those, in one combination: what nobody tried may break it
MOST_PARTS = 7
SETS_SHARE = 0.7  # of the phase's budget; the rest tests its best again
DRAWS = 12  # samples in which a set that is new is looked for

_H = HypothesisState


def combination(situation: Situation) -> Advance:
    """Sets of hypotheses: the best by today's beliefs first, then the best of samples from them.

    Drawing from the joint posterior (Thompson 1933; Russo et al., A Tutorial on Thompson Sampling, 2018) tries a set
    as often as it is likely to be the best one, so that a part in doubt is now in and now out, and every run of a set
    tells about each of its parts.
    """
    phase = Phase.COMBINATION
    judgements = judge(situation, [HypothesisKind.COMBINATION, HypothesisKind.SINGLE])
    if judgements:
        return Advance(judgements=judgements)
    arms = situation.of_kind(HypothesisKind.COMBINATION)
    count = len(arms) + situation.closed.tried.get((situation.round, HypothesisKind.COMBINATION), 0)
    open_runs = situation.open_runs(phase)
    allowance = situation.allowance(phase)
    pending = [h for h in arms if h.state is _H.PROPOSED]
    if pending:
        return start(situation, pending, phase, allowance)
    if situation.taken(phase) >= situation.slots:
        return Advance()
    if Part.COMBINATION in situation.evidence.plan.rules.without:
        return Advance(done=True)
    if situation.budget_open and count < most_sets(situation):
        draft = next_set(situation, count, allowance)
        if draft is not None and not outbid(situation, draft):
            return Advance(hypotheses=(draft,))
    if open_runs:
        return Advance()
    best = [h for h, _ in situation.evidence.ranking()[:4]]
    more = further_seeds(situation, best, phase, allowance)
    return Advance(runs=more, done=not more)


def most_sets(situation: Situation) -> int:
    planned = situation.evidence.plan.phase(situation.round, Phase.COMBINATION)
    if planned is None or planned.budget_s <= 0:
        return 0
    granted = situation.grant(Phase.COMBINATION)
    return max(1, math.floor(SETS_SHARE * granted / situation.evidence.plan.baseline.device_s))


def next_set(situation: Situation, count: int, allowance: float = math.inf) -> HypothesisDraft | None:
    """The next combination that the allowance pays a run of, or None where every set that offers itself is known.

    Of a set that is too dear the dearest part stays out, and so on.
    """
    evidence = situation.evidence
    candidates = [h for h in situation.of_kind(HypothesisKind.SINGLE) if _joins(situation, h)]
    if len(candidates) < 2:
        return None
    own = {joint.name_of(h): evidence.own(h) for h in candidates}
    means = {name: evidence.posterior.belief(terms).mean for name, terms in own.items()}
    names = sorted({name for terms in own.values() for name in terms})
    for attempt in range(DRAWS):
        # The first set is the best by today's means; the same after every fourth, when more is known.
        greedy = attempt == 0 and count % 4 == 0
        drawn = means
        if not greedy:
            sample = evidence.posterior.draw(names, seed=1000 * count + attempt + situation.round)
            drawn = {name: sum(w * sample[part] for part, w in terms.items()) for name, terms in own.items()}
        offered = list(candidates)
        while len(members := best_set(offered, drawn, evidence.plan.additivity)) >= 2:
            draft = combine(members, evidence)
            if situation.affords(draft, allowance):
                break
            dearest = max(members, key=lambda h: (h.draft.cost_factor, h.id))
            offered = [h for h in offered if h is not dearest]
        if len(members) >= 2 and not evidence.knows(draft.full):
            return draft
    return None


def _joins(situation: Situation, hypothesis: Hypothesis) -> bool:
    """Tested and more likely good than not, or so well believed that a test alone would tell little."""
    evidence = situation.evidence
    belief = evidence.effect(hypothesis)
    if hypothesis.state in (_H.SUPPORTED, _H.INCONCLUSIVE):
        return belief.above(0.0) >= LEANING and evidence.eligible(hypothesis)
    return hypothesis.state is _H.PROPOSED and belief.above(0.0) >= SURE and hypothesis.draft.aim >= 0.99


def best_set(
    candidates: Sequence[Hypothesis], effects: Mapping[str, float], additivity: Additivity
) -> list[Hypothesis]:
    """Greedily: the largest effect, then whatever adds most to what is chosen and goes with it."""
    members: list[Hypothesis] = []
    waiting = list(candidates)
    while waiting and len(members) < MOST_PARTS:
        chosen = [h.draft for h in members]
        added = [effects[joint.name_of(h)] * joint.share(h.draft, chosen, additivity) for h in waiting]
        most, _, best = max(zip(added, (-h.id for h in waiting), waiting, strict=True), key=lambda one: one[:2])
        if most <= 0:
            break
        members.append(best)
        waiting = [h for h in waiting if h is not best and compatible(h, best)]
        if sum(h.state is _H.PROPOSED for h in members) >= MOST_UNTESTED:
            waiting = [h for h in waiting if h.state is not _H.PROPOSED]
    return members


def compatible(one: Hypothesis, other: Hypothesis) -> bool:
    """Two hypotheses go together unless a card says no or they set one knob to different values."""
    if one.draft.technique in other.draft.conflicts or other.draft.technique in one.draft.conflicts:
        return False
    mine, theirs = one.draft.treatment.overrides, other.draft.treatment.overrides
    return all(same(value, theirs[name]) for name, value in mine.items() if name in theirs)


def combine(members: Sequence[Hypothesis], evidence: Evidence) -> HypothesisDraft:
    """The members together, with what they are expected to gain; the first leads."""
    drafts = [h.draft for h in members]
    shares = joint.weights(drafts, evidence.plan.additivity)
    added = evidence.posterior.belief(summed(zip(map(evidence.own, members), shares, strict=True)))
    effect = Belief(added.mean, math.hypot(added.sd, joint.interplay(map(evidence.alone, members))))
    treatment = Treatment()
    for draft in drafts:
        treatment = draft.treatment.on(treatment)
    names = " + ".join(h.name for h in members)
    lead = members[0].draft
    return HypothesisDraft(
        title=f"Together: {'; '.join(draft.title for draft in drafts)}",
        because=f"{names} look good by all runs so far; with what overlaps counted less, they should give "
        f"{effect.mean:+.2%} ± {effect.sd:.2%} together",
        treatment=treatment,
        effect=effect,
        kind=HypothesisKind.COMBINATION,
        mechanism="combination",
        sources=(Source(SourceKind.EVIDENCE, names),),
        citations=tuple(dict.fromkeys(c for draft in drafts for c in draft.citations)),
        cost_factor=math.prod(draft.cost_factor for draft in drafts),
        base=lead.base,
        parents=tuple(h.id for h in members),
        retune=tuple(dict.fromkeys(role for draft in drafts for role in draft.retune)),
    )
