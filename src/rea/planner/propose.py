"""Hypotheses from two sources: what earlier experiments showed, and what the literature knows of a symptom."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rea.domain.codebase import Codebase, Scalar, same
from rea.domain.hypothesis import Belief, HypothesisDraft, Source, SourceKind
from rea.domain.insight import Context, ExperimentOutcome, ExperimentRecord
from rea.domain.plan import Finding, LeftOut
from rea.domain.technique import Level, Technique
from rea.domain.treatment import Treatment
from rea.insights.estimate import effect
from rea.knowledge.expression import express, needs

# A technique aimed at a symptom the baseline shows is expected to gain more than its prior, and one aimed at symptoms
# it does not show waits longer. Of one technique's alternatives the later ones wait longer, too.
MATCHED, UNMATCHED, ALTERNATIVE = 1.0, 0.4, 0.6
# How much a technique's effect varies from data set to data set, beside what its card says (relative NE, standard
# deviation). Estimates: over BARS' sets the spread within one model's own grid runs from 0.0006 AUC (Criteo) to 0.009
# (MovieLens), about 0.1 % to 1.6 % of NE, and what a feature or a structure is worth depends most on the data.
BETWEEN_SETS = {Level.FEATURE: 0.005, Level.STRUCTURE: 0.004, Level.RECIPE: 0.003, Level.LOSS: 0.002}
ALTERNATIVES_PER_TECHNIQUE = 2
RECALLED = 3  # treatments recalled from insights that no card describes


@dataclass(frozen=True, slots=True)
class Proposals:
    drafts: tuple[HypothesisDraft, ...]
    left_out: tuple[LeftOut, ...]
    needs_code: tuple[LeftOut, ...]


def propose(
    techniques: Sequence[Technique],
    codebase: Codebase,
    values: Mapping[str, Scalar],
    symptoms: Sequence[Finding],
    records: Sequence[ExperimentRecord],
    context: Context,
    *,
    base: Treatment | None = None,
) -> Proposals:
    """Everything both sources have to say about a model whose knobs stand at `values`.

    `base` is the incumbent's treatment (already part of `values`) on top of which the drafts are to be tested.
    """
    on = base or Treatment()
    drafts: list[HypothesisDraft] = []
    left_out: list[LeftOut] = []
    needs_code: list[LeftOut] = []
    shown = {symptom.name: symptom for symptom in symptoms}
    for technique in techniques:
        missing = needs(technique, codebase)
        if missing:
            words = f"no knob offers {', '.join(missing)}"
            needs_code.append(LeftOut(technique.title, f"{words} ({technique.citation})"))
            continue
        against = [shown[name] for name in technique.avoid_when if name in shown]
        if against:
            left_out.append(LeftOut(technique.title, f"the baseline shows {against[0].name}: {against[0].words}"))
            continue
        alternatives = express(technique, codebase, values)
        if not alternatives:
            left_out.append(LeftOut(technique.title, "the baseline has it already, or no allowed value differs"))
            continue
        drafts += _from_technique(technique, alternatives, codebase, shown, records, context, on)
    drafts += _recalled(codebase, values, records, context, on)
    return Proposals(tuple(drafts), tuple(left_out), tuple(needs_code))


def _from_technique(
    technique: Technique,
    alternatives: Sequence[Treatment],
    codebase: Codebase,
    shown: Mapping[str, Finding],
    records: Sequence[ExperimentRecord],
    context: Context,
    base: Treatment,
) -> list[HypothesisDraft]:
    matched = [shown[name] for name in technique.treats if name in shown]
    aim = 1.0
    if matched:
        aim = 1.0 + MATCHED * max(symptom.strength for symptom in matched)
    elif technique.treats:
        aim = UNMATCHED
    drafts = []
    for rank, treatment in enumerate(alternatives[:ALTERNATIVES_PER_TECHNIQUE]):
        known = effect(technique, context, _telling(technique, treatment, codebase, records))
        # What experiments in a like context showed already includes how well the technique is aimed.
        fit = 1.0 + (max(aim, 1.0) - 1.0) / (1.0 + known.n)
        sd = known.sd if known.n else math.hypot(known.sd, BETWEEN_SETS[technique.level])
        reasons = [f"{symptom.name}: {symptom.words}" for symptom in matched]
        basis = technique.effect.basis.rstrip(". ")
        sources = [Source(SourceKind.RESEARCH, f"{basis}; treats {_list(technique.treats)}")]
        if known.n:
            sources.append(Source(SourceKind.INSIGHTS, known.words))
            reasons.append(known.words)
        drafts.append(
            HypothesisDraft(
                title=technique.title if rank == 0 else f"{technique.title} (alternative {rank + 1})",
                because="; ".join(reasons) or "not aimed at a symptom seen here; worth a look at its price",
                treatment=treatment,
                effect=Belief(known.mean * fit * known.p_trainable, sd),
                technique=technique.name,
                mechanism=technique.mechanism,
                sources=tuple(sources),
                citations=(technique.citation,),
                cost_factor=technique.cost,
                aim=(1.0 if known.n else min(aim, 1.0)) * ALTERNATIVE**rank,
                base=base,
                overlaps=technique.overlaps,
                conflicts=technique.conflicts,
                retune=technique.retune,
            )
        )
    return drafts


def _telling(
    technique: Technique, treatment: Treatment, codebase: Codebase, records: Sequence[ExperimentRecord]
) -> list[ExperimentRecord]:
    """The experiments that speak of this setting: those with the same values by role; without any, the technique's.

    Two settings of one technique may differ as much as two techniques, in one codebase as across them.
    """
    own = [r for r in records if r.technique == technique.name]
    roles = {knob.name: knob.role for knob in codebase.knobs}
    wanted = {roles.get(name): value for name, value in treatment.overrides.items()}
    alike = [r for r in own if r.roles.keys() == wanted.keys() and all(same(v, wanted[k]) for k, v in r.roles.items())]
    return alike or own


def _recalled(
    codebase: Codebase,
    values: Mapping[str, Scalar],
    records: Sequence[ExperimentRecord],
    context: Context,
    base: Treatment,
) -> list[HypothesisDraft]:
    """Settings that won elsewhere and that no card describes, for example tuned values, expressed on these knobs."""
    drafts: list[HypothesisDraft] = []
    winners = [
        r
        for r in records
        if r.technique is None and not r.interaction_of and r.outcome == ExperimentOutcome.SUPPORTED and r.effect
    ]
    for record in sorted(winners, key=lambda r: -(r.effect or 0.0)):
        overrides: dict[str, Scalar] = {}
        for role, value in record.roles.items():
            knob = codebase.by_role(role)
            if knob is None or not knob.allows(value):
                break
            if not (knob.name in values and same(values[knob.name], value)):
                overrides[knob.name] = value
        else:
            if overrides:
                pseudo_sd = max(record.se or 0.0, abs(record.effect or 0.0)) or 0.002
                same_family = record.context.get("model_family") == context.get("model_family")
                share = 0.5 if same_family else 0.25
                drafts.append(
                    HypothesisDraft(
                        title=f"What won on {record.codebase}: {Treatment(overrides).describe()}",
                        because=f"C-{record.campaign} measured {record.effect or 0.0:+.2%} with it",
                        treatment=Treatment(overrides),
                        effect=Belief(share * (record.effect or 0.0), pseudo_sd),
                        mechanism="recalled",
                        sources=(Source(SourceKind.INSIGHTS, f"H-{record.hypothesis} of C-{record.campaign}"),),
                        base=base,
                    )
                )
        if len(drafts) >= RECALLED:
            break
    return drafts


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "no symptom in particular"
