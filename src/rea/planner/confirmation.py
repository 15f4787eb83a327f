"""Confirmation: the baseline and the finalist on fresh paired seeds, to the end."""

from __future__ import annotations

import math

from rea.domain.hypothesis import Hypothesis
from rea.domain.plan import Plan
from rea.domain.run import RunDraft
from rea.domain.states import Phase, is_terminal
from rea.planner.layout import TIGHT, TREATED_COST, reveal_s
from rea.planner.situation import FEWEST_PAIRS, Advance, Situation, nothing


def confirmation(situation: Situation, finalist: Hypothesis) -> Advance:
    """The baseline and the finalist on fresh paired seeds, to the end."""
    phase = Phase.CONFIRMATION
    known = {run.draft.key for run in situation.evidence.runs}
    drafts = []
    for seed in _confirmation_seeds(situation, finalist):
        drafts.append(situation.run(nothing(), None, phase, seed, 1.0, stop=False))
        drafts.append(situation.run(finalist.draft, finalist.id, phase, seed, 1.0, stop=False))
    missing = tuple(draft for draft in drafts if draft.key not in known)
    keys = {draft.key for draft in drafts}
    waiting = [r for r in situation.evidence.runs if r.draft.key in keys and not is_terminal(r.state)]
    return Advance(runs=missing, done=not missing and not waiting)


def claim_s(situation: Situation) -> float:
    """Wall seconds that the claim on today's best should take, once the search has ended: the pairs that are still to
    be trained on fresh seeds, and the reveal."""
    evidence, plan = situation.evidence, situation.evidence.plan
    finalist, count = situation.finalist(), len(plan.rules.confirm_seeds)
    own_s = TREATED_COST * plan.baseline.run_s if finalist is None else situation.predicted_s(finalist.draft)
    done = sum(run.draft.phase is Phase.CONFIRMATION and run.draft.treatment.empty for run in evidence.runs)
    total_s = max(0, count - done) * plan.baseline.run_s + count * own_s
    trained_s = max(total_s / max(1, situation.slots), own_s) + own_s / 2
    return TIGHT * trained_s + (reveal_s(plan.baseline, count) if plan.reveal_s else 0.0)


def least_s(plan: Plan) -> float:
    """Wall seconds that a campaign of this plan takes at the least: one run of its search, and the claim."""
    count, run_s = len(plan.rules.confirm_seeds), plan.baseline.run_s
    trained_s = count * (1 + TREATED_COST) * run_s / max(1, plan.codebase.launcher.slots)
    return TREATED_COST * run_s + TIGHT * trained_s + (reveal_s(plan.baseline, count) if plan.reveal_s else 0.0)


def _confirmation_seeds(situation: Situation, finalist: Hypothesis) -> tuple[int, ...]:
    """How many pairs the claim rests on, settled before the first of them is seen.

    The plan's seeds, and as many spare ones as what the search left over pays for.
    """
    evidence, plan = situation.evidence, situation.evidence.plan
    begun = [r.draft.seed for r in evidence.runs if r.draft.key.startswith(f"H-{finalist.id}/")]
    fresh = (*plan.rules.confirm_seeds, *plan.rules.spare_seeds)
    chosen = tuple(seed for seed in fresh if seed in begun)
    if chosen:
        return chosen
    own = situation.price(finalist.draft)
    claim = (Phase.CONFIRMATION, Phase.REVEAL)
    elsewhere = sum(situation.cost(run) for run in evidence.runs if run.draft.phase not in claim)
    elsewhere += sum(spent for (_, phase), spent in situation.closed.spent.items() if phase not in claim)
    left = plan.budget_s - situation.contingency_left - elsewhere - plan.reveal_s - situation.headroom(own)
    planned, price = len(plan.rules.confirm_seeds), plan.baseline.device_s + own
    # The reveal of the plan's pairs is kept back already; each spare one is evaluated, too.
    evaluated = TIGHT * reveal_s(plan.baseline, 1) * plan.codebase.resources.devices if plan.reveal_s else 0.0
    spare = (left - planned * price) / (price + evaluated)
    if situation.left_s < math.inf:
        pair_s = TIGHT * (plan.baseline.run_s + situation.predicted_s(finalist.draft)) / max(1, situation.slots)
        spare = min(spare, (situation.left_s - claim_s(situation)) / pair_s)
    spare = math.floor(spare)
    return fresh[: planned + max(0, spare)]


def idle_work(situation: Situation) -> tuple[RunDraft, ...]:
    """What an idle slot may do meanwhile: the confirmation's first baseline runs, needed whichever finalist wins."""
    if situation.evidence.incumbent() is None:
        return ()
    known = {run.draft.key for run in situation.evidence.runs}
    for seed in situation.evidence.plan.rules.confirm_seeds[:FEWEST_PAIRS]:
        draft = situation.run(nothing(), None, Phase.CONFIRMATION, seed, 0.0, stop=False)
        if draft.key not in known:
            return (draft,)
    return ()
