"""What each phase of a signed campaign asks for next. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from rea.domain.claim import Claim
from rea.domain.hypothesis import Hypothesis, HypothesisKind
from rea.domain.plan import Plan
from rea.domain.run import RunDraft
from rea.domain.states import (
    BARRED,
    HypothesisState,
    PauseReason,
    Phase,
    RunState,
    Verdict,
    is_terminal,
)
from rea.domain.treatment import Treatment
from rea.executor.actions import (
    Action,
    Add,
    BeginRound,
    Enter,
    Fail,
    Finish,
    Pause,
    SetVisible,
)
from rea.executor.snapshot import Snapshot
from rea.planner.combination import combination
from rea.planner.confirm import leaked, make_claim, worth_launching, worth_revealing
from rea.planner.confirmation import confirmation
from rea.planner.evidence import Evidence
from rea.planner.exploitation import exploitation
from rea.planner.layout import reveal_s, reveal_walltime
from rea.planner.situation import FEWEST_PAIRS, Advance, Judgement, Situation
from rea.planner.validation import validation


def _grow(answer: Advance) -> tuple[Action, ...]:
    if answer.hypotheses or answer.runs or answer.judgements:
        return (Add(answer.hypotheses, answer.runs, answer.judgements),)
    return ()


def _validation(snapshot: Snapshot, plan: Plan, situation: Situation) -> tuple[Action, ...]:
    answer = validation(situation)
    if answer.done:
        return (enter(Phase.COMBINATION, situation, "every hypothesis that fits the phase was tested alone"),)
    return _grow(answer)


def _combination(snapshot: Snapshot, plan: Plan, situation: Situation) -> tuple[Action, ...]:
    answer = combination(situation)
    if answer.done:
        return (enter(Phase.EXPLOITATION, situation, _of_the_sets(situation)),)
    return _grow(answer)


def _of_the_sets(situation: Situation) -> str:
    tried = sum(h.belief is not None for h in situation.of_kind(HypothesisKind.COMBINATION))
    if not tried:
        return "there was no set of winners that is worth a run"
    return f"{tried} {'set' if tried == 1 else 'sets'} of winners {'was' if tried == 1 else 'were'} tried"


def _exploitation(snapshot: Snapshot, plan: Plan, situation: Situation) -> tuple[Action, ...]:
    answer = exploitation(situation)
    if not answer.done:
        return _grow(answer)
    if situation.round < plan.rounds and situation.budget_open:
        return (BeginRound(situation.round + 1),)
    return (enter(Phase.CONFIRMATION, situation, "the search is over"),)


def _confirmation(snapshot: Snapshot, plan: Plan, situation: Situation) -> tuple[Action, ...]:
    finalist = find(snapshot.hypotheses, snapshot.campaign.incumbent)
    if finalist is None:
        tried = any(h.belief is not None for h in snapshot.hypotheses)
        why = "nothing that was tried is better than the baseline" if tried else "there was no room to try anything"
        return (Finish(Verdict.NO_LAUNCH, None, why),)
    if finalist.state in (*BARRED, HypothesisState.FAILED):
        return (enter(Phase.CONFIRMATION, situation, f"{finalist.name} is {finalist.state.value}"),)
    if not plan.rules.confirm_seeds:
        found = f"{finalist.name}, believed to gain {situation.evidence.total(finalist.draft.full).mean:+.2%}"
        return (Finish(Verdict.NO_LAUNCH, None, f"without a confirmation nothing is claimed; the best is {found}"),)
    answer = confirmation(situation, finalist)
    if not answer.done:
        return _grow(answer)
    objective = plan.codebase.objective
    if snapshot.campaign.visible is None:
        claim = _claim_visible(snapshot, plan, situation.evidence, finalist)
        if claim is None:
            belief = situation.evidence.effect(finalist)
            judged = Judgement(
                finalist.id, HypothesisState.REFUTED, belief, "it did not train on the confirmation's seeds"
            )
            return (Add((), (), (judged,)), Finish(Verdict.NO_LAUNCH, None, judged.reason))
        return (SetVisible(claim),)
    visible = snapshot.campaign.visible
    if not worth_revealing(visible, plan.rules.minimum_gain):
        closed = "; the sealed split stays closed" if objective.sealed is not None else ""
        why = f"on fresh seeds {_gains(finalist, visible)}{_outside(visible, plan)}{closed}"
        return (Finish(Verdict.NO_LAUNCH, None, why),)
    if not plan.codebase.reveals:
        lacks = "sealed split" if objective.sealed is None else "evaluator to open the sealed split with"
        why = f"{_gains(finalist, visible)}, the visible split, over fresh seeds; no {lacks} is configured"
        return (Finish(Verdict.LAUNCH, visible, why),)
    return (Enter(Phase.REVEAL, finalist.id, "the confirmation holds; the sealed split is opened, once"),)


def _claim_visible(snapshot: Snapshot, plan: Plan, evidence: Evidence, finalist: Hypothesis) -> Claim | None:
    def lines(treatment: Treatment) -> dict[int, Mapping[str, object]]:
        return {
            run.draft.seed: {**run.result.metrics, "blocks": {"loss": run.result.block_loss or None}}
            for run in evidence.of(treatment)
            if run.draft.phase is Phase.CONFIRMATION and run.state is RunState.SUCCEEDED and run.result is not None
        }

    objective = plan.codebase.objective
    claim = make_claim(objective.split, objective, plan.baseline, lines(Treatment()), lines(finalist.draft.full))
    return claim if claim is not None and len(claim.seeds) >= FEWEST_PAIRS else None


def _reveal(snapshot: Snapshot, plan: Plan, situation: Situation) -> tuple[Action, ...]:
    finalist = find(snapshot.hypotheses, snapshot.campaign.incumbent)
    if finalist is None:
        return (Fail("the finalist is gone"),)
    run = next((r for r in snapshot.runs if r.draft.phase is Phase.REVEAL), None)
    if run is None:
        visible = snapshot.campaign.visible
        pairs = len(visible.seeds) if visible is not None else FEWEST_PAIRS
        predicted = reveal_s(plan.baseline, pairs)
        limit = reveal_walltime(predicted, plan.rules, plan.codebase.resources.walltime_s)
        draft = RunDraft(
            key="reveal",
            hypothesis=finalist.id,
            round=situation.round,
            phase=Phase.REVEAL,
            treatment=Treatment(),
            seed=0,
            priority=1.0,
            predicted_s=predicted,
            walltime_s=limit,
        )
        return (Add((), (draft,), ()),)
    if not is_terminal(run.state):
        return ()
    if run.state is not RunState.SUCCEEDED or run.result is None:
        why = run.failure.message if run.failure else run.state.value
        return (
            Pause(PauseReason.GUARDRAIL, f"the sealed split could not be evaluated: {why}; {_only_stop(snapshot)}"),
        )
    sealed, objective = run.result.sealed, plan.codebase.objective
    seeds = {r.id: r for r in snapshot.runs if r.draft.phase is Phase.CONFIRMATION}
    drafts = [(seeds[int(i)].draft, line) for i, line in sealed.items() if int(i) in seeds]
    control = {draft.seed: line for draft, line in drafts if draft.treatment.empty}
    key = finalist.draft.full.key()
    treated = {draft.seed: line for draft, line in drafts if draft.treatment.key() == key}
    claim = make_claim(objective.sealed or "", objective, plan.baseline, control, treated)
    if claim is None:
        why = f"the sealed evaluation has no pair of runs to compare; {_only_stop(snapshot)}"
        return (Pause(PauseReason.GUARDRAIL, why),)
    gains = _gains(finalist, claim)
    visible = snapshot.campaign.visible
    if visible is not None and leaked(visible, claim):
        why = (
            f"{gains}, and {visible.gain:+.2%} on {visible.split}: the sealed labels have been seen; it is not proposed"
        )
        return (Finish(Verdict.NO_LAUNCH, claim, why),)
    if worth_launching(claim, plan.rules.minimum_gain):
        return (Finish(Verdict.LAUNCH, claim, gains),)
    return (Finish(Verdict.NO_LAUNCH, claim, f"{gains}{_outside(claim, plan)}: not enough for a launch"),)


def _only_stop(snapshot: Snapshot) -> str:
    return f"the split is opened once, so only `rea stop {snapshot.campaign.title}` leads on"


def _gains(finalist: Hypothesis, claim: Claim) -> str:
    interval = f"{claim.gain:+.2%} (95 %: {claim.ci_low:+.2%} to {claim.ci_high:+.2%})"
    return f"{finalist.name} gains {interval} on {claim.split}"


def _outside(claim: Claim, plan: Plan) -> str:
    """The guardrails a claim breaks, in words; empty where all hold."""
    metrics = claim.treated_metrics
    broken = [rail for rail in plan.codebase.objective.guardrails if not rail.holds(metrics)]
    said = [f"{r.metric} {metrics.get(r.metric, math.nan):.3f} is outside {r.minimum} to {r.maximum}" for r in broken]
    return "; " + ", ".join(said) if said else ""


def enter(phase: Phase, situation: Situation, why: str) -> Enter:
    chosen = situation.finalist() if phase is Phase.CONFIRMATION else situation.evidence.incumbent()
    return Enter(phase, chosen.id if chosen is not None else None, why)


def find(hypotheses: tuple[Hypothesis, ...], wanted: int | None) -> Hypothesis | None:
    return next((h for h in hypotheses if h.id == wanted), None)


_PHASES: dict[Phase, Callable[[Snapshot, Plan, Situation], tuple[Action, ...]]] = {
    Phase.VALIDATION: _validation,
    Phase.COMBINATION: _combination,
    Phase.EXPLOITATION: _exploitation,
    Phase.CONFIRMATION: _confirmation,
    Phase.REVEAL: _reveal,
}


def advance(snapshot: Snapshot, plan: Plan, situation: Situation) -> tuple[Action, ...]:
    """What the campaign's phase wants now; nothing while what it asked for is under way."""
    return _PHASES[snapshot.campaign.phase](snapshot, plan, situation)
