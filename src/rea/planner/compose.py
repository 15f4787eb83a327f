"""Putting a plan together, before the signature and again at the start of every later round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rea.domain.codebase import Codebase, Objective, Scalar
from rea.domain.hypothesis import Hypothesis, HypothesisDraft, HypothesisKind
from rea.domain.plan import Finding, LeftOut
from rea.domain.run import Run, RunResult
from rea.domain.states import HypothesisState, RunState
from rea.domain.technique import Technique
from rea.domain.treatment import Treatment
from rea.insights.snapshot import Insights
from rea.planner.diagnose import diagnose
from rea.planner.evidence import Evidence
from rea.planner.profile import series
from rea.planner.propose import propose
from rea.planner.synthesise import rank


@dataclass(frozen=True, slots=True)
class Agenda:
    """What a round starts from: symptoms of the incumbent, ranked drafts with their scores, and what stays out."""

    symptoms: tuple[Finding, ...]
    drafts: tuple[tuple[HypothesisDraft, float], ...]
    left_out: tuple[LeftOut, ...]
    needs_code: tuple[LeftOut, ...]


def context_of(
    codebase: Codebase, values: Mapping[str, Scalar], symptoms: Sequence[Finding], results: Sequence[RunResult]
) -> dict[str, Scalar | tuple[str, ...]]:
    """Where an experiment takes place, in the words insights compare contexts by."""
    context: dict[str, Scalar | tuple[str, ...]] = {
        "codebase": codebase.name,
        "symptoms": tuple(s.name for s in symptoms),
    }
    family = codebase.by_role("interaction")
    if family is not None and values.get(family.name) is not None:
        context["model_family"] = str(values[family.name])
    for key, name in (("train_rows", "rows"), ("positive_rate", "positive_rate")):
        seen = [result.metrics[key] for result in results if key in result.metrics]
        if seen:
            context[name] = seen[0]
    return context


def first_agenda(
    techniques: Sequence[Technique],
    codebase: Codebase,
    values: Mapping[str, Scalar],
    profile: Sequence[Run],
    noise: float,
    insights: Insights,
) -> Agenda:
    """The agenda of a campaign's first round, from the profile's runs."""
    results = [r.result for r in profile if r.state is RunState.SUCCEEDED and r.result is not None]
    return _agenda(techniques, codebase, codebase.objective, values, results, noise, insights, Treatment())


def next_agenda(
    evidence: Evidence,
    incumbent: Hypothesis | None,
    techniques: Sequence[Technique],
    insights: Insights,
) -> Agenda:
    """The agenda of a later round: the incumbent is diagnosed anew; insights hold what this campaign showed.

    What engineers vetoed, what failed, and what was tested on this very incumbent does not come back.
    """
    plan = evidence.plan
    base = incumbent.draft.full if incumbent is not None else Treatment()
    values = {**plan.baseline_values, **base.overrides}
    results = [r.result for r in evidence.of(base) if r.state is RunState.SUCCEEDED and r.result is not None]
    objective = plan.codebase.objective
    agenda = _agenda(techniques, plan.codebase, objective, values, results, plan.baseline.noise, insights, base)
    gone = (HypothesisState.VETOED, HypothesisState.FAILED)
    barred = {h.draft.treatment.key() for h in evidence.hypotheses if h.state in gone}
    tried = {h.draft.full.key() for h in evidence.hypotheses if h.state is not HypothesisState.PROPOSED}
    weights = {h.draft.treatment.key(): h.draft.weight for h in evidence.hypotheses}
    kept = []
    for draft, _ in agenda.drafts:
        key = draft.treatment.key()
        if key not in barred and draft.full.key() not in tried:
            kept.append(replace(draft, weight=weights.get(key, draft.weight)))
    kept += _carried(evidence, base, {draft.full.key() for draft in kept} | tried)
    return replace(agenda, drafts=rank(kept))


def _carried(evidence: Evidence, base: Treatment, known: set[str]) -> list[HypothesisDraft]:
    """Untested hypotheses of earlier rounds that no card would bring back: an engineer's own ideas, repairs."""
    carried = []
    for h in evidence.hypotheses:
        if h.state is HypothesisState.PROPOSED and h.draft.kind is HypothesisKind.SINGLE and h.draft.technique is None:
            draft = replace(h.draft, base=base)
            if draft.full.key() not in known and draft.full.key() != base.key():
                carried.append(draft)
    return carried


def _agenda(
    techniques: Sequence[Technique],
    codebase: Codebase,
    objective: Objective,
    values: Mapping[str, Scalar],
    results: Sequence[RunResult],
    noise: float,
    insights: Insights,
    base: Treatment,
) -> Agenda:
    symptoms = diagnose(results, objective, noise)
    context = context_of(codebase, values, symptoms, results)
    proposals = propose(techniques, codebase, values, symptoms, insights, context, base=base)
    drafts, told = _untold(proposals.drafts, codebase, objective, results)
    return Agenda(symptoms, rank(drafts), (*proposals.left_out, *told), proposals.needs_code)


def _untold(
    drafts: Sequence[HypothesisDraft], codebase: Codebase, objective: Objective, results: Sequence[RunResult]
) -> tuple[list[HypothesisDraft], list[LeftOut]]:
    """Without the drafts whose answer stands in the curves already: the same training, ended before its best epoch."""
    curves = [series(result.curve, objective.metric) for result in results if result.axis == "epoch"]
    better = min if objective.direction == "minimize" else max
    best = [better(curve, key=lambda point: point[1])[0] for curve in curves if curve]
    epochs = codebase.by_role("epochs")
    kept, told = [], []
    for draft in drafts:
        wanted = draft.treatment.overrides.get(epochs.name) if epochs is not None else None
        alone = len(draft.treatment.overrides) == 1 and not draft.treatment.patch
        if best and alone and isinstance(wanted, int | float) and wanted < min(best):
            reason = f"the curves tell already: at epoch {wanted:g} of every seed it is still getting better"
            told.append(LeftOut(draft.title, reason))
        else:
            kept.append(draft)
    return kept, told
