"""The best treatment without a dear part of it, where what is left no longer pays for confirming it as it is."""

from __future__ import annotations

from dataclasses import replace

from rea.domain.hypothesis import HypothesisDraft, HypothesisKind, Source, SourceKind
from rea.domain.states import HypothesisState, Phase
from rea.domain.treatment import Treatment
from rea.planner.combination import combine
from rea.planner.situation import Advance, Judgement, Situation

_H = HypothesisState


def lightened(situation: Situation) -> HypothesisDraft | None:
    """The best believed of what can still be tried and confirmed, of the best treatment without one of its parts.

    None where the best can be confirmed as it is, where it has no parts, and where every lighter one is known or
    expected to gain less than the best that can be confirmed.
    """
    evidence = situation.evidence
    best, planned = evidence.incumbent(), evidence.plan.phase(situation.round, Phase.EXPLOITATION)
    if best is None or not situation.budget_open or situation.confirmable(best.draft):
        return None
    if planned is not None and planned.budget_s <= 0:  # an engineer wants none of this phase
        return None
    made_of = {h.id: h for h in evidence.makers(best.draft.full) if h.draft.kind is HypothesisKind.SINGLE}
    parts = sorted(made_of.values(), key=lambda h: (-evidence.posterior.belief(evidence.own(h)).mean, h.id))
    confirmable = situation.finalist()
    least = evidence.total(confirmable.draft.full).mean if confirmable not in (None, best) else 0.0
    offers: list[HypothesisDraft] = []
    for part in parts:
        rest = [h for h in parts if h is not part]
        if not rest:
            continue
        together = replace(combine(rest, evidence), base=Treatment())
        draft = replace(
            together,
            title=f"Lighter: {best.name} without {part.draft.title}",
            because=f"what is left does not pay for confirming {best.name}; without {part.name} a run takes "
            f"{situation.runs(together):.1f} times the baseline's, and should still gain {together.effect.mean:+.2%}",
            sources=(Source(SourceKind.EVIDENCE, f"{best.name} without {part.name}"),),
        )
        if not evidence.knows(draft.full) and situation.confirmable(draft, also=situation.price(draft)):
            offers.append(draft)
    found = max(offers, key=lambda draft: draft.effect.mean, default=None)
    return found if found is not None and found.effect.mean > least else None


def begun(situation: Situation) -> Advance | None:
    """The first run of a lighter treatment that waits for it; None where none does. It is left out where another run
    has taken what it needs."""
    waiting = next((h for h in situation.of_kind(HypothesisKind.COMBINATION) if h.state is _H.PROPOSED), None)
    if waiting is None:
        return None
    draft = waiting.draft
    if not situation.confirmable(draft, also=situation.price(draft)):
        why = "what is left no longer pays for it and its confirmation"
        return Advance(judgements=(Judgement(waiting.id, _H.LEFT_OUT, None, why),))
    seed = situation.evidence.plan.rules.search_seeds[0]
    run = situation.run(draft, waiting.id, Phase.EXPLOITATION, seed, draft.effect.mean, stop=True)
    return Advance(runs=(run,), judgements=(Judgement(waiting.id, _H.TESTING, None, "in test"),))
