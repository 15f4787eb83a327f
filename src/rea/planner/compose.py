"""Putting a plan together, before the signature and again at the start of every later round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rea.domain.codebase import Codebase, Objective, Scalar
from rea.domain.data import DataProfile
from rea.domain.hypothesis import Hypothesis, HypothesisDraft, HypothesisKind
from rea.domain.plan import Additivity, Baseline, Finding, LeftOut, Part
from rea.domain.run import Run, RunResult
from rea.domain.states import HypothesisState, Phase, RunState
from rea.domain.technique import Symptom, Technique
from rea.domain.treatment import Treatment
from rea.insights.interaction import additivity
from rea.insights.snapshot import Insights
from rea.planner.diagnose import diagnose
from rea.planner.evidence import Evidence
from rea.planner.profile import reading_noise, series
from rea.planner.propose import propose
from rea.planner.rows import ROW_LOSS_METRICS
from rea.planner.synthesise import rank

PAIR_ROLES = ("feature_crosses", "target_pairs")
CAP_ROLE = "hash_rows"
NUMERIC_ROLES = ("numeric_encoding", "numeric_buckets", "numeric_both")


@dataclass(frozen=True, slots=True)
class Agenda:
    """What a round starts from: symptoms of the incumbent, ranked drafts with their scores, and what stays out.

    `additivity`: what insights say of how techniques add up, which a plan keeps for all its rounds."""

    symptoms: tuple[Finding, ...]
    drafts: tuple[tuple[HypothesisDraft, float], ...]
    left_out: tuple[LeftOut, ...]
    needs_code: tuple[LeftOut, ...]
    additivity: Additivity


@dataclass(frozen=True, slots=True)
class Known:
    """What a diagnosis may use beside runs: the data profile, and the device-seconds that a validation may spend.

    `without` names the parts of the planner that stay silent.
    """

    data: DataProfile | None
    validation_s: float | None
    without: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Noise:
    """Relative standard deviations: of one paired gain over seeds, and of what a treatment's first run shows."""

    paired: float
    reading: float


def context_of(
    codebase: Codebase,
    values: Mapping[str, Scalar],
    symptoms: Sequence[Finding],
    results: Sequence[RunResult],
    data: DataProfile | None = None,
) -> dict[str, Scalar | tuple[str, ...]]:
    """Where an experiment takes place, in the words insights compare contexts by.

    What is not known is left out. `rows` and `positive_rate` are those of train; `rare_mass` is the mean over
    categorical fields of the share of rows whose id is rare; `epochs_to_best` the mean epoch of the best reading;
    `auc` that of the model, to a hundredth, where the objective is a log loss.
    """
    context: dict[str, Scalar | tuple[str, ...]] = {
        "codebase": codebase.name,
        "symptoms": tuple(s.name for s in symptoms if s.name != Symptom.SLOW),  # which is of the budget
    }
    family = codebase.by_role("interaction")
    if family is not None and values.get(family.name) is not None:
        context["model_family"] = str(values[family.name])
    aucs = [result.metrics["auc"] for result in results if "auc" in result.metrics]
    if aucs and codebase.objective.metric in ROW_LOSS_METRICS:
        context["auc"] = round(sum(aucs) / len(aucs), 2)
    best = _best_epochs(results, codebase.objective)
    if best:
        context["epochs_to_best"] = round(sum(best) / len(best), 1)
    return {**_facts(results, data), **context}


def data_facts(runs: Sequence[Run], data: DataProfile | None) -> dict[str, Scalar]:
    """What `context_of` says of the data alone: from runs of one treatment and the data profile."""
    return _facts([r.result for r in runs if r.result is not None], data)


def _facts(results: Sequence[RunResult], data: DataProfile | None) -> dict[str, Scalar]:
    facts = {} if data is None else _of_data(data)
    for key, name in (("train_rows", "rows"), ("positive_rate", "positive_rate")):
        seen = [result.metrics[key] for result in results if key in result.metrics]
        if seen:
            facts[name] = seen[0]
    return facts


def _of_data(data: DataProfile) -> dict[str, Scalar]:
    rare = [one.rare_rows for one in data.categorical if one.rare_rows is not None]
    sizes = [one.cardinality for one in data.categorical if one.cardinality is not None]
    told: dict[str, Scalar] = {
        "rows": data.rows.get("train"),
        "positive_rate": data.positive_rate,
        "fields": len(data.fields),
        "numeric_share": len(data.numeric) / len(data.fields),
        "rare_mass": sum(rare) / len(rare) if rare else None,
        "largest_cardinality": max(sizes, default=None),
    }
    return {name: value for name, value in told.items() if value is not None}


def _best_epochs(results: Sequence[RunResult], objective: Objective) -> list[float]:
    """Per run the epoch of its best reading, where its curve counts epochs."""
    curves = [series(result.curve, objective.metric) for result in results if result.axis == "epoch"]
    better = min if objective.direction == "minimize" else max
    return [better(curve, key=lambda point: point[1])[0] for curve in curves if curve]


def first_agenda(
    techniques: Sequence[Technique],
    codebase: Codebase,
    values: Mapping[str, Scalar],
    profile: Sequence[Run],
    baseline: Baseline,
    insights: Insights,
    *,
    data: DataProfile | None = None,
    validation_s: float | None = None,
    without: Sequence[Part] = (),
) -> Agenda:
    """The agenda of a campaign's first round, from the profile's runs and what is known of the data.

    `validation_s`: the device-seconds that the round's validation may spend, where that is known.
    """
    results = [r.result for r in profile if r.state is RunState.SUCCEEDED and r.result is not None]
    known = Known(data, validation_s, tuple(without))
    noise = Noise(baseline.noise, reading_noise(baseline))
    return _agenda(techniques, codebase, codebase.objective, values, results, noise, insights, Treatment(), known)


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
    noise = Noise(plan.baseline.noise, evidence.first_sd)
    phase = plan.phase(1 + max((h.round for h in evidence.hypotheses), default=0), Phase.VALIDATION)
    known = Known(plan.baseline.data, phase.budget_s if phase is not None else None, plan.rules.without)
    agenda = _agenda(techniques, plan.codebase, objective, values, results, noise, insights, base, known)
    gone = (HypothesisState.VETOED, HypothesisState.FAILED)
    barred = {h.draft.treatment.key() for h in evidence.hypotheses if h.state in gone}
    waiting = (HypothesisState.PROPOSED, HypothesisState.LEFT_OUT)  # an earlier round's, left out with its round
    tried = {h.draft.full.key() for h in evidence.hypotheses if h.state not in waiting}
    weights = {h.draft.treatment.key(): h.draft.weight for h in evidence.hypotheses}
    kept = []
    for draft, _ in agenda.drafts:
        key = draft.treatment.key()
        if key not in barred and draft.full.key() not in tried:
            kept.append(replace(evidence.beside(draft), weight=weights.get(key, draft.weight)))
    kept += _carried(evidence, base, {draft.full.key() for draft in kept} | tried)
    return replace(agenda, drafts=rank(kept, noise.reading))


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
    noise: Noise,
    insights: Insights,
    base: Treatment,
    known: Known,
) -> Agenda:
    share = None
    if known.validation_s and results:
        share = codebase.resources.devices * sum(r.wall_s for r in results) / len(results) / known.validation_s
    blind = Part.DIAGNOSIS in known.without
    symptoms = () if blind else diagnose(results, objective, noise.paired, data=known.data, run_share=share)
    context = context_of(codebase, values, symptoms, results, known.data)
    insights = Insights() if Part.INSIGHTS in known.without else insights
    techniques = () if Part.TECHNIQUES in known.without else techniques
    proposals = propose(techniques, codebase, values, symptoms, insights, context, base=base)
    drafts, groundless = _grounded(proposals.drafts, codebase, known.data)
    drafts, told = _untold(drafts, codebase, objective, results)
    left_out = (*proposals.left_out, *groundless, *told)
    return Agenda(symptoms, rank(drafts, noise.reading), left_out, proposals.needs_code, additivity(insights))


def _grounded(
    drafts: Sequence[HypothesisDraft], codebase: Codebase, data: DataProfile | None
) -> tuple[list[HypothesisDraft], list[LeftOut]]:
    """Without the drafts for which the data profile shows nothing to work on."""
    roles = {knob.name: knob.role for knob in codebase.knobs}
    kept, out = [], []
    for draft in drafts:
        reasons = [_groundless(roles.get(name), value, data) for name, value in draft.treatment.overrides.items()]
        reason = next((one for one in reasons if one), "")
        if reason:
            out.append(LeftOut(draft.title, reason))
        else:
            kept.append(draft)
    return kept, out


def _groundless(role: str | None, value: Scalar, data: DataProfile | None) -> str:
    """Why setting this role to this value can do nothing with these data; empty where it can, or nobody knows."""
    if data is None or not value:
        return ""
    if role in PAIR_ROLES and data.pairs == ():
        return "the data profile shows no pair of fields that tells more than its two fields do"
    if role in NUMERIC_ROLES and not data.numeric:
        return "the data have no numeric field"
    widest = max((one.cardinality or 0 for one in data.categorical), default=0)
    if role == CAP_ROLE and isinstance(value, int | float) and 0 < widest <= value:
        return f"no field has more than {widest:,} ids"
    return ""


def _untold(
    drafts: Sequence[HypothesisDraft], codebase: Codebase, objective: Objective, results: Sequence[RunResult]
) -> tuple[list[HypothesisDraft], list[LeftOut]]:
    """Without the drafts whose answer stands in the curves already: the same training, ended before its best epoch."""
    best = _best_epochs(results, objective)
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
