"""Hypotheses from two sources: what earlier experiments showed, and what the literature knows of a symptom."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rea.domain.codebase import Codebase, Scalar, same
from rea.domain.hypothesis import Belief, HypothesisDraft, Source, SourceKind
from rea.domain.insight import Context, Effect, setting_key
from rea.domain.plan import Finding, LeftOut
from rea.domain.technique import Level, Symptom, Technique
from rea.domain.treatment import Treatment
from rea.insights.estimate import Asked, effects
from rea.insights.features import unit
from rea.insights.fit import BETWEEN
from rea.insights.snapshot import Insights
from rea.knowledge.expression import express, needs, unmet
from rea.knowledge.roles import mends_calibration, role_of
from rea.planner.diagnose import WORTH

# A technique aimed at a symptom the baseline shows is expected to gain more than its prior, and one aimed at symptoms
# it does not show waits longer. Of one technique's alternatives the later ones wait longer, too.
MATCHED, UNMATCHED, ALTERNATIVE = 1.0, 0.4, 0.6
ALTERNATIVES_PER_TECHNIQUE = 2
AGAIN = 0.25  # share of an effect that is left to gain where the incumbent has a setting of the same knobs already
# What a step away from values that a tuner chose may still gain, as shares of its mean and of its spread.
TUNED_MEAN, TUNED_SD = 0.2, 0.6
AVOIDED = 0.5  # strength of a symptom from which on a technique that it speaks against is left out
# Epochs over those to the best reading: from the first ratio on training has stopped early, and then a schedule is laid
# over the second.
STOPPED_EARLY, OVER_THE_BEST = 1.6, 1.3
REACTIVE = "plateau"  # the schedule that waits for the validation to stall, however long the run
# Of what the right mean prediction is worth on the visible split: the rows that calibration is fitted on may differ.
MENDED = 0.7
STEP = 0.5  # doubt about a step measured in this codebase beside another incumbent, as a share of its size
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
    insights: Insights,
    context: Context,
    *,
    base: Treatment | None = None,
) -> Proposals:
    """Everything both sources have to say about a model whose knobs stand at `values`.

    `base` is the incumbent's treatment (already part of `values`) on top of which the drafts are to be tested.
    """
    on = base or Treatment()
    offers: list[_Offer] = []
    left_out: list[LeftOut] = []
    needs_code: list[LeftOut] = []
    shown = {symptom.name: symptom for symptom in symptoms}
    for technique in techniques:
        missing = needs(technique, codebase)
        if missing:
            words = f"no knob offers {', '.join(missing)}"
            needs_code.append(LeftOut(technique.title, f"{words} ({technique.citation})"))
            continue
        against = [shown[name] for name in technique.avoid_when if name in shown and shown[name].strength >= AVOIDED]
        if against:
            left_out.append(LeftOut(technique.title, f"the baseline shows {against[0].name}: {against[0].words}"))
            continue
        alternatives = express(technique, codebase, values)
        if not alternatives:
            why = unmet(technique, codebase, values) or "the baseline has it already, or no allowed value differs"
            left_out.append(LeftOut(technique.title, why))
            continue
        offers += _offers(technique, alternatives, codebase, values, context)
    known = effects([offer.asked for offer in offers], context, insights)
    drafts = [
        _from_technique(offer, effect, codebase, values, shown, insights, on)
        for offer, effect in zip(offers, known, strict=True)
    ]
    drafts += _recalled(codebase, values, insights, context, on)
    return Proposals(tuple(drafts), tuple(left_out), tuple(needs_code))


@dataclass(frozen=True, slots=True)
class _Offer:
    """A technique's treatment, one of several at most, and the effect that is asked about."""

    asked: Asked
    treatment: Treatment
    rank: int


def _offers(
    technique: Technique,
    alternatives: Sequence[Treatment],
    codebase: Codebase,
    values: Mapping[str, Scalar],
    context: Context,
) -> list[_Offer]:
    now = _by_role(values, codebase)
    found = []
    for rank, stated in enumerate(alternatives[:ALTERNATIVES_PER_TECHNIQUE]):
        treatment = _laid_over_the_run(stated, codebase, values, context)
        found.append(_Offer(Asked(technique, _by_role(treatment.overrides, codebase), now), treatment, rank))
    return found


def _from_technique(
    offer: _Offer,
    known: Effect,
    codebase: Codebase,
    values: Mapping[str, Scalar],
    shown: Mapping[str, Finding],
    insights: Insights,
    base: Treatment,
) -> HypothesisDraft:
    technique, treatment, rank = offer.asked.technique, offer.treatment, offer.rank
    matched = [shown[name] for name in technique.treats if name in shown]
    aim = 1.0
    if matched:
        # That runs are dear makes no gain larger: what is cheaper has its price for it.
        aim = 1.0 + MATCHED * max((one.strength for one in matched if one.name != Symptom.SLOW), default=0.0)
    elif technique.treats:
        aim = UNMATCHED
    aim *= 1.0 - max((shown[name].strength for name in technique.avoid_when if name in shown), default=0.0)
    # What experiments in a like context showed already includes how well the technique is aimed, and from where.
    unknown = 1.0 / (1.0 + known.like)
    fit = 1.0 + (max(aim, 1.0) - 1.0) * unknown
    if any(name in base.overrides for name in treatment.overrides):
        fit *= AGAIN
    # The very same step of this codebase was measured beside another incumbent: half of its size is in doubt.
    sd = math.hypot(known.sd, STEP * known.mean) if _tested(offer.asked, insights) else known.sd
    reasons = [f"{symptom.name}: {symptom.words}" for symptom in matched]
    if _tuned(treatment, codebase):
        fit, sd = fit * (1 - (1 - TUNED_MEAN) * unknown), sd * (1 - (1 - TUNED_SD) * unknown)
        if unknown > 0.5:
            reasons.append("a tuner has chosen the value it starts from, so little is left to gain")
    # What makes less of a gain makes no less of a loss.
    mean = known.mean * (fit * known.p_trainable if known.mean > 0 else 1.0)
    worth = 0.0
    if mends_calibration(treatment, codebase) and not _tested(offer.asked, insights):
        worth = MENDED * max((symptom.numbers.get(WORTH, 0.0) for symptom in matched), default=0.0)
    if worth > max(mean, 0.0):
        # That of the mean alone: what else calibration mends comes on top, so the doubt is as large.
        mean, sd = worth, max(sd, worth)
    basis = technique.effect.basis.rstrip(". ")
    sources = [Source(SourceKind.RESEARCH, f"{basis}; treats {_list(technique.treats)}")]
    if known.n:
        sources.append(Source(SourceKind.INSIGHTS, known.words))
        reasons.append(known.words)
    return HypothesisDraft(
        title=technique.title if rank == 0 else f"{technique.title} (alternative {rank + 1})",
        because="; ".join(reasons) or "not aimed at a symptom seen here; worth a look at its price",
        treatment=treatment,
        effect=Belief(mean, sd),
        technique=technique.name,
        mechanism=technique.mechanism,
        sources=tuple(sources),
        citations=(technique.citation,),
        cost_factor=_cost(technique, treatment, codebase, values),
        aim=(1 - (1 - min(aim, 1.0)) * unknown) * ALTERNATIVE**rank,
        base=base,
        overlaps=technique.overlaps,
        conflicts=technique.conflicts,
        retune=technique.retune,
    )


def _by_role(settings: Mapping[str, Scalar], codebase: Codebase) -> dict[str, Scalar]:
    roles = {knob.name: knob.role for knob in codebase.knobs if knob.role}
    return {roles[name]: value for name, value in settings.items() if name in roles}


def _laid_over_the_run(
    treatment: Treatment, codebase: Codebase, values: Mapping[str, Scalar], context: Context
) -> Treatment:
    """The treatment with as many epochs as its schedule needs, where training has stopped long before all are over.

    A rate that falls over thirty epochs has hardly fallen when early stopping ends a run after the tenth.
    """
    epochs, best = codebase.by_role("epochs"), context.get("epochs_to_best")
    set_ = [(role_of(codebase.knob(name)), value) for name, value in treatment.overrides.items()]
    spans = any(role is not None and role.spans_training and value != REACTIVE for role, value in set_)
    if not spans or epochs is None or epochs.name in treatment.overrides or not isinstance(best, int | float):
        return treatment
    now, enough = values.get(epochs.name, epochs.default), math.ceil(OVER_THE_BEST * best)
    if not isinstance(now, int | float) or now < STOPPED_EARLY * best or not epochs.allows(enough):
        return treatment
    return Treatment({**treatment.overrides, epochs.name: enough}, treatment.patch)


def _cost(technique: Technique, treatment: Treatment, codebase: Codebase, values: Mapping[str, Scalar]) -> float:
    """Training time over that of its base: the card's word, but where a number set says how many times as long."""
    factors = []
    for name, value in treatment.overrides.items():
        role, now = role_of(codebase.knob(name)), values.get(name)
        if role is None or not role.multiplies_cost:
            continue
        if isinstance(value, int | float) and isinstance(now, int | float) and value > 0 and now > 0:
            factors.append(value / now)
    return math.prod(factors) if factors else technique.cost


def _tuned(treatment: Treatment, codebase: Codebase) -> bool:
    """Whether all it changes was searched by a tuner before."""
    knobs = [codebase.knob(name) for name in treatment.overrides]
    return bool(knobs) and not treatment.patch and all(knob is not None and knob.tuned for knob in knobs)


def _tested(asked: Asked, insights: Insights) -> bool:
    """Whether this codebase has tested this setting from where it stands now."""
    known = insights.known.get(asked.technique.name)
    setting, now = asked.setting or {}, asked.now or {}
    key = setting_key(setting, now)
    return known is not None and any(cell.setting == key and cell.starts_from(now) for cell in known.own)


def _recalled(
    codebase: Codebase,
    values: Mapping[str, Scalar],
    insights: Insights,
    context: Context,
    base: Treatment,
) -> list[HypothesisDraft]:
    """Settings that won elsewhere and that no card describes, for example tuned values, expressed on these knobs."""
    drafts: list[HypothesisDraft] = []
    here = unit(context)
    for record in insights.winners:
        overrides: dict[str, Scalar] = {}
        for role, value in record.roles.items():
            knob = codebase.by_role(role)
            if knob is None or not knob.allows(value):
                break
            if not (knob.name in values and same(values[knob.name], value)):
                overrides[knob.name] = value
        else:
            if overrides:
                carried = here / unit(record.context)
                gain, error = carried * (record.effect or 0.0), carried * record.error
                # What won elsewhere is one observation of what it does here, as uncertain as it is large.
                doubt = math.hypot(error, gain if record.codebase != codebase.name else STEP * gain)
                prior = Belief(0.0, here * BETWEEN[Level.RECIPE])
                drafts.append(
                    HypothesisDraft(
                        title=f"What won on {record.codebase}: {Treatment(overrides).describe()}",
                        because=f"{record.name} measured {record.effect or 0.0:+.2%} with it",
                        treatment=Treatment(overrides),
                        effect=prior.updated(gain, doubt) if doubt > 0 else prior,
                        mechanism="recalled",
                        sources=(Source(SourceKind.INSIGHTS, record.name),),
                        base=base,
                    )
                )
    return sorted(drafts, key=lambda draft: -draft.effect.mean)[:RECALLED]


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "no symptom in particular"
