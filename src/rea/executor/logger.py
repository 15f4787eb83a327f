"""From a judged hypothesis to a record in the insights database."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rea.domain.campaign import Campaign
from rea.domain.codebase import Scalar
from rea.domain.hypothesis import Hypothesis, HypothesisKind
from rea.domain.insight import ExperimentOutcome, ExperimentRecord
from rea.domain.run import Attempt
from rea.domain.runbook import FailureClass
from rea.domain.states import HypothesisState, Phase, RunState
from rea.planner.compose import context_of
from rea.planner.evidence import Evidence
from rea.planner.situation import Judgement

_OUTCOMES = {
    HypothesisState.SUPPORTED: ExperimentOutcome.SUPPORTED,
    HypothesisState.REFUTED: ExperimentOutcome.REFUTED,
    HypothesisState.INCONCLUSIVE: ExperimentOutcome.INCONCLUSIVE,
    HypothesisState.FAILED: ExperimentOutcome.FAILED,
}

_NO_LESSON = (FailureClass.TRANSIENT.value, FailureClass.GUARDRAIL.value)  # not of the treatment's own making


def experiment(
    campaign: Campaign,
    evidence: Evidence,
    hypothesis: Hypothesis,
    judgement: Judgement,
    attempts: Sequence[Attempt],
    now: float,
) -> ExperimentRecord | None:
    """What this judgement teaches; None where it teaches nothing (in test, vetoed, left out, not its own failure).

    Its cost is that of every attempt at its runs, failed ones included.
    """
    outcome = _OUTCOMES.get(judgement.state)
    if outcome is None:
        return None
    plan, draft = evidence.plan, hypothesis.draft
    runs = evidence.of(draft.full)
    failures = [run.failure for run in runs if run.failure is not None]
    if outcome is ExperimentOutcome.FAILED and any(failure.kind in _NO_LESSON for failure in failures):
        return None
    search = plan.rules.search_seeds
    mine = evidence.gains(draft.full, search)
    effect: float | None = None
    se: float | None = None
    if mine:
        # A base was chosen for what it showed on these very seeds. Set against that luck, whatever is tried on it looks
        # worse than it is; so it is set against what is believed of the base.
        base = evidence.total(draft.base)
        effect = sum(mine.values()) / len(mine) - base.mean
        rows = math.sqrt(evidence.row_variance(hypothesis))
        se = math.hypot(plan.baseline.noise / math.sqrt(len(mine)), base.sd, rows)
    elif outcome is not ExperimentOutcome.FAILED:
        bound = evidence.bound(draft.full)
        if bound is not None:
            effect, se = bound - evidence.total(draft.base).mean, plan.baseline.noise
        if not any(run.state is RunState.SUCCEEDED for run in runs):
            outcome = ExperimentOutcome.PRUNED
    roles = {knob.name: knob.role for knob in campaign.codebase.knobs if knob.role}
    # Those of the profile alone: a context that moved with every further run would look like another place.
    profile = [run.result for run in evidence.runs if run.result and run.draft.phase is Phase.PROFILE]
    values = {**plan.baseline_values, **draft.base.overrides}
    own = {run.id for run in runs}
    full = [r.result.wall_s for r in runs if r.state is RunState.SUCCEEDED and r.result is not None]
    parents = {h.id: h for h in evidence.hypotheses}
    together: tuple[str, ...] = ()
    beliefs: dict[str, tuple[float, float]] = {}
    if draft.kind is HypothesisKind.COMBINATION:
        members = [parents[p] for p in draft.parents if p in parents]
        names = [evidence.technique(member) for member in members]
        # What a member without a card adds cannot be told from what the others gain together.
        together = tuple(name for name in names if name) if all(names) else ()
        if effect is not None and len(set(together)) == len(members):
            alone = [evidence.alone(member) for member in members]
            beliefs = {name: (one.mean, one.sd) for name, one in zip(together, alone, strict=True)}
    return ExperimentRecord(
        id=None,
        codebase=campaign.codebase.name,
        campaign=campaign.id,
        hypothesis=hypothesis.id,
        round=hypothesis.round,
        technique=evidence.technique(hypothesis) if draft.kind is HypothesisKind.SINGLE else None,
        roles=_by_role(draft.treatment.overrides, roles),
        values=_by_role(values, roles),
        context=context_of(campaign.codebase, values, plan.symptoms, profile, plan.baseline.data),
        effect=effect,
        se=se,
        seeds=len(mine),
        fidelity=1.0 if mine else min((r.result.fidelity for r in runs if r.result), default=1.0),
        cost_s=sum(attempt.device_s or 0.0 for attempt in attempts if attempt.run in own),
        cost_ratio=(sum(full) / len(full)) / plan.baseline.run_s if full else None,
        outcome=outcome.value,
        failure=failures[-1].runbook if failures else None,
        interaction_of=together,
        parts=beliefs,
        at=now,
        kind=draft.kind.value,
        note=f"{draft.title}: {judgement.reason}",
    )


def _by_role(values: Mapping[str, Scalar], roles: Mapping[str, str]) -> dict[str, Scalar]:
    return {roles[name]: value for name, value in values.items() if name in roles}
