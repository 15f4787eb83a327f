"""What a phase wants next, given everything seen so far.

Each function looks at one phase of one round and answers with hypotheses to add, runs to start, verdicts to record,
and whether the phase is over. They are asked again after every result; asking twice for the same thing is harmless,
because a run is known by its key and a hypothesis by what it trains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rea.domain.codebase import Codebase, Scalar, same
from rea.domain.hypothesis import Belief, Hypothesis, HypothesisDraft, HypothesisKind, Source, SourceKind
from rea.domain.run import Run, RunDraft
from rea.domain.states import HypothesisState, Phase, RunState, is_terminal
from rea.domain.treatment import Treatment
from rea.knowledge.roles import load_roles
from rea.planner.evidence import Evidence
from rea.planner.exploit import space, suggest
from rea.planner.layout import SEARCH, TIGHT, TREATED_COST, reveal_s, tight_walltime, walltime
from rea.planner.profile import stop_limits
from rea.planner.synthesise import rank

TRIALS_SHARE = 0.7  # of an exploitation's budget; the rest tests its best again
RETESTED = 3  # arms that may get further seeds in a phase
COMBINATIONS = 4  # combinations of one round
LEANING = 0.6  # probability of being better from which an unsettled hypothesis joins a combination
OVERLAP = 0.5  # what an effect adds beside one that works by the same means

_H = HypothesisState


@dataclass(frozen=True, slots=True)
class Judgement:
    hypothesis: int
    state: HypothesisState
    belief: Belief | None
    reason: str


@dataclass(frozen=True, slots=True)
class Advance:
    hypotheses: tuple[HypothesisDraft, ...] = ()
    runs: tuple[RunDraft, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    done: bool = False

    @property
    def empty(self) -> bool:
        return not (self.hypotheses or self.runs or self.judgements or self.done)


@dataclass(frozen=True)
class Situation:
    """What a phase is decided on. `spent` maps run ids to device-seconds used so far; `slots` is the launcher's."""

    evidence: Evidence
    round: int
    spent: Mapping[int, float]
    slots: int
    budget_open: bool = True  # False once the warning threshold is passed: no new hypothesis starts

    @property
    def in_round(self) -> tuple[Hypothesis, ...]:
        return tuple(h for h in self.evidence.hypotheses if h.round == self.round)

    def of_kind(self, kind: HypothesisKind) -> tuple[Hypothesis, ...]:
        return tuple(h for h in self.in_round if h.draft.kind is kind)

    def open_runs(self, *phases: Phase) -> tuple[Run, ...]:
        return tuple(r for r in self.evidence.runs if r.draft.phase in phases and not is_terminal(r.state))

    def allowance(self, phase: Phase) -> float:
        """Device-seconds the search may still commit up to the end of this phase; savings of earlier ones included."""
        granted = 0.0
        for planned in self.evidence.plan.phases:
            if planned.phase in SEARCH and planned.round <= self.round:
                granted += planned.budget_s
            if planned.round == self.round and planned.phase is phase:
                break
        used = sum(self.cost(run) for run in self.evidence.runs if run.draft.phase in SEARCH)
        return min(granted - used, self._beside_the_claim())

    def _beside_the_claim(self) -> float:
        """What the budget holds beside the confirmation of the present incumbent, the reveal and the contingency."""
        plan, incumbent = self.evidence.plan, self.evidence.incumbent()
        own = TREATED_COST * plan.baseline.device_s if incumbent is None else self.price(incumbent.draft)
        pairs = len(plan.rules.confirm_seeds) * (plan.baseline.device_s + own)
        begun = sum(self.cost(run) for run in self.evidence.runs if run.draft.phase is Phase.CONFIRMATION)
        elsewhere = sum(self.cost(run) for run in self.evidence.runs if run.draft.phase is not Phase.CONFIRMATION)
        reveal = sum(p.budget_s for p in plan.phases if p.phase is Phase.REVEAL)
        return plan.budget_s - plan.contingency_s - elsewhere - max(pairs, begun) - reveal - self.headroom(own)

    def headroom(self, device_s: float) -> float:
        """Device-seconds beyond its own that must be free for a run of this length to be started."""
        resources = self.evidence.plan.codebase.resources
        wall_s = device_s / resources.devices
        return resources.devices * (tight_walltime(wall_s, self.evidence.plan.rules, resources.walltime_s) - wall_s)

    def cost(self, run: Run) -> float:
        """Device-seconds of a run: used, and while it is open what it should take."""
        used = self.spent.get(run.id, 0.0)
        if is_terminal(run.state):
            return used
        return max(used, run.draft.predicted_s * self.evidence.plan.codebase.resources.devices)

    def predicted_s(self, draft: HypothesisDraft) -> float:
        """Wall seconds one training of this draft should take.

        What it was seen to take; before that, what its base was seen to take, times its factor.
        """
        own = [r.result.wall_s for r in self.evidence.of(draft.full) if r.state is RunState.SUCCEEDED and r.result]
        if own:
            return sum(own) / len(own)
        seen = [r.result.wall_s for r in self.evidence.of(draft.base) if r.state is RunState.SUCCEEDED and r.result]
        base_s = sum(seen) / len(seen) if seen else self.evidence.plan.baseline.run_s
        return base_s * draft.cost_factor

    def price(self, draft: HypothesisDraft) -> float:
        """Device-seconds of one training of this draft."""
        return self.predicted_s(draft) * self.evidence.plan.codebase.resources.devices

    def run(
        self, draft: HypothesisDraft, hypothesis: int | None, phase: Phase, seed: int, priority: float, *, stop: bool
    ) -> RunDraft:
        plan = self.evidence.plan
        predicted = self.predicted_s(draft)
        limits: tuple[tuple[float, float], ...] = ()
        if stop and not _acts_after_training(draft, plan.codebase):
            paired = next((r for r in self.evidence.of(Treatment()) if r.draft.seed == seed and r.result), None)
            if paired is not None and paired.result is not None:
                rules, objective = plan.rules, plan.codebase.objective
                curve = paired.result.curve
                limits = stop_limits(curve, objective, tolerance=rules.stop_tolerance, start=rules.stop_from)
        who = "baseline" if hypothesis is None else f"H-{hypothesis}"
        limit_s = plan.codebase.resources.walltime_s
        return RunDraft(
            key=f"{who}/seed-{seed}",
            hypothesis=hypothesis,
            round=self.round,
            phase=phase,
            treatment=draft.full,
            seed=seed,
            priority=priority,
            predicted_s=predicted,
            walltime_s=walltime(predicted, plan.rules, limit_s),
            stop_limits=limits,
        )


def _acts_after_training(draft: HypothesisDraft, codebase: Codebase) -> bool:
    """Whether a part of its effect is in no curve: such a run is judged by its end alone."""
    roles = load_roles()
    knobs = [codebase.knob(name) for name in draft.treatment.overrides]
    return any(knob and knob.role and knob.role in roles and roles[knob.role].after_training for knob in knobs)


def judge(situation: Situation, kinds: Sequence[HypothesisKind]) -> tuple[Judgement, ...]:
    """Verdicts that changed: of every hypothesis of this round whose runs have all ended."""
    changed = []
    for hypothesis in situation.in_round:
        if hypothesis.draft.kind not in kinds or hypothesis.state in (_H.PROPOSED, _H.VETOED, _H.LEFT_OUT, _H.FAILED):
            continue
        if not situation.evidence.tested(hypothesis):
            continue
        state, belief, reason = situation.evidence.verdict(hypothesis)
        if state is not hypothesis.state or _moved(belief, hypothesis.belief):
            changed.append(Judgement(hypothesis.id, state, belief, reason))
    return tuple(changed)


def _moved(new: Belief, old: Belief | None) -> bool:
    """Whether a belief changed by something worth saying; a better known base shifts all that was built on it a bit."""
    return old is None or abs(new.mean - old.mean) > 0.5 * old.sd or new.sd < 0.95 * old.sd


def validation(situation: Situation) -> Advance:
    """Each hypothesis alone, in the order of its score; then further seeds for those that look good."""
    phase = Phase.VALIDATION
    judgements = judge(situation, [HypothesisKind.SINGLE])
    if judgements:
        return Advance(judgements=judgements)
    arms = situation.of_kind(HypothesisKind.SINGLE)
    allowance = situation.allowance(phase)
    runs: list[RunDraft] = []
    begun: list[Judgement] = []
    seed = situation.evidence.plan.rules.search_seeds[0]
    waiting = {h.draft.full.key(): h for h in arms if h.state is _H.PROPOSED}
    for draft, value in rank([h.draft for h in waiting.values()]):
        price = situation.price(draft)
        if not situation.budget_open or price > allowance or value <= 0:
            continue
        hypothesis = waiting[draft.full.key()]
        allowance -= price
        begun.append(Judgement(hypothesis.id, _H.TESTING, None, "in test"))
        runs.append(situation.run(draft, hypothesis.id, phase, seed, value, stop=True))
    open_runs = situation.open_runs(phase)
    if runs or open_runs:
        return Advance(runs=tuple(runs), judgements=tuple(begun))
    more = _further_seeds(situation, arms, phase, allowance)
    return Advance(runs=more, done=not more)


def combination(situation: Situation) -> Advance:
    """Winners together: all that fit, smaller sets, and the best again on a further seed."""
    phase = Phase.COMBINATION
    judgements = judge(situation, [HypothesisKind.COMBINATION, HypothesisKind.SINGLE])
    if judgements:
        return Advance(judgements=judgements)
    arms = situation.of_kind(HypothesisKind.COMBINATION)
    if situation.open_runs(phase):
        return Advance()
    allowance = situation.allowance(phase)
    pending = [h for h in arms if h.state is _H.PROPOSED]
    if pending:
        return _start(situation, pending, phase, allowance)
    if len(arms) < COMBINATIONS and situation.budget_open:
        known = {h.draft.full.key() for h in situation.evidence.hypotheses}
        fresh = [d for d in _combinations(situation) if d.full.key() not in known]
        affordable = [d for d in fresh if situation.price(d) <= allowance][: max(1, situation.slots)]
        affordable = affordable[: COMBINATIONS - len(arms)]
        if affordable:
            return Advance(hypotheses=tuple(affordable))
    more = _further_seeds(situation, [h for h, _ in situation.evidence.ranking()[:2]], phase, allowance)
    return Advance(runs=more, done=not more)


def exploitation(situation: Situation) -> Advance:
    """Tune the best treatment's numeric knobs; then test the best few on further seeds."""
    phase = Phase.EXPLOITATION
    judgements = judge(situation, list(HypothesisKind))
    if judgements:
        return Advance(judgements=judgements)
    arms = situation.of_kind(HypothesisKind.EXPLOITATION)
    allowance = situation.allowance(phase)
    pending = [h for h in arms if h.state is _H.PROPOSED]
    if pending:
        return _start(situation, pending, phase, allowance)
    plan = situation.evidence.plan
    planned = plan.phase(situation.round, phase)
    budget = planned.budget_s if planned is not None else 0.0
    open_runs = situation.open_runs(phase)
    tuned = [h for h in arms if h.state not in (_H.VETOED, _H.LEFT_OUT)]
    most = max(1, math.floor(TRIALS_SHARE * budget / plan.baseline.device_s))
    if situation.budget_open and len(tuned) < most and len(open_runs) < situation.slots:
        draft = _trial(situation, len(situation.evidence.hypotheses))
        if draft is not None and situation.price(draft) <= allowance:
            return Advance(hypotheses=(draft,))
    if open_runs:
        return Advance()
    more = _further_seeds(situation, [h for h, _ in situation.evidence.ranking()[:RETESTED]], phase, allowance)
    return Advance(runs=more, done=not more)


def confirmation(situation: Situation, finalist: Hypothesis) -> Advance:
    """The baseline and the finalist on fresh paired seeds, to the end."""
    phase = Phase.CONFIRMATION
    known = {run.draft.key for run in situation.evidence.runs}
    drafts = []
    for seed in _confirmation_seeds(situation, finalist):
        drafts.append(situation.run(_nothing(), None, phase, seed, 1.0, stop=False))
        drafts.append(situation.run(finalist.draft, finalist.id, phase, seed, 1.0, stop=False))
    missing = tuple(draft for draft in drafts if draft.key not in known)
    keys = {draft.key for draft in drafts}
    waiting = [r for r in situation.evidence.runs if r.draft.key in keys and not is_terminal(r.state)]
    return Advance(runs=missing, done=not missing and not waiting)


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
    elsewhere = sum(
        situation.cost(run) for run in evidence.runs if run.draft.phase not in (Phase.CONFIRMATION, Phase.REVEAL)
    )
    reveal = sum(p.budget_s for p in plan.phases if p.phase is Phase.REVEAL)
    left = plan.budget_s - plan.contingency_s - elsewhere - reveal - situation.headroom(own)
    planned, price = len(plan.rules.confirm_seeds), plan.baseline.device_s + own
    # The reveal of the plan's pairs is kept back already; each spare one is evaluated, too.
    evaluated = TIGHT * reveal_s(plan.baseline.run_s, 1) * plan.codebase.resources.devices if reveal else 0.0
    spare = math.floor((left - planned * price) / (price + evaluated))
    return fresh[: planned + max(0, spare)]


def idle_work(situation: Situation) -> tuple[RunDraft, ...]:
    """What an idle slot may do meanwhile: the confirmation's baseline runs, needed whichever finalist wins."""
    if situation.evidence.incumbent() is None:
        return ()
    known = {run.draft.key for run in situation.evidence.runs}
    for seed in situation.evidence.plan.rules.confirm_seeds:
        draft = situation.run(_nothing(), None, Phase.CONFIRMATION, seed, 0.0, stop=False)
        if draft.key not in known:
            return (draft,)
    return ()


def repair(hypothesis: Hypothesis, overrides: Mapping[str, Scalar], why: str) -> HypothesisDraft:
    """The same claim with one change that a runbook prescribes, to be tested once in its place."""
    draft = hypothesis.draft
    return replace(
        draft,
        title=f"{draft.title}, repaired",
        because=f"{hypothesis.name} failed: {why}",
        treatment=Treatment({**draft.treatment.overrides, **overrides}, draft.treatment.patch),
        sources=(*draft.sources, Source(SourceKind.EVIDENCE, f"repair of {hypothesis.name}: {why}")),
        parents=(*draft.parents, hypothesis.id),
        effect=Belief(0.7 * draft.effect.mean, draft.effect.sd),
    )


def _nothing() -> HypothesisDraft:
    return HypothesisDraft("baseline", "", Treatment(), Belief(0.0, 0.0))


def _start(situation: Situation, pending: Sequence[Hypothesis], phase: Phase, allowance: float) -> Advance:
    """First runs of hypotheses that were just added; those too dear for what is left are left out, saying so."""
    seed = situation.evidence.plan.rules.search_seeds[0]
    runs, judgements = [], []
    for hypothesis in pending:
        price = situation.price(hypothesis.draft)
        if price <= allowance:
            allowance -= price
            judgements.append(Judgement(hypothesis.id, _H.TESTING, None, "in test"))
            belief = hypothesis.draft.effect.mean
            runs.append(situation.run(hypothesis.draft, hypothesis.id, phase, seed, belief, stop=True))
        else:
            judgements.append(Judgement(hypothesis.id, _H.LEFT_OUT, None, "what is left of the phase is too little"))
    return Advance(runs=tuple(runs), judgements=tuple(judgements))


def _further_seeds(
    situation: Situation, arms: Sequence[Hypothesis], phase: Phase, allowance: float
) -> tuple[RunDraft, ...]:
    """The next seed for arms that are promising and not yet settled, best first, with their comparators' seeds."""
    evidence, rules = situation.evidence, situation.evidence.plan.rules
    known = {run.draft.key for run in evidence.runs}
    promising = []
    for hypothesis in arms:
        belief = evidence.total(hypothesis.draft.full)
        refuted = hypothesis.state is _H.REFUTED  # its total may still be good, by what it was built on
        if not refuted and evidence.eligible(hypothesis) and belief.mean > 0 and belief.above(0.0) > 0.3:
            promising.append((belief.mean, hypothesis))
    promising.sort(key=lambda pair: (-pair[0], pair[1].id))
    runs: list[RunDraft] = []
    for mean, hypothesis in promising[:RETESTED]:
        done = {r.draft.seed for r in evidence.of(hypothesis.draft.full)}
        seed = next((s for s in rules.search_seeds if s not in done), None)
        if seed is None:
            continue
        wanted = [situation.run(hypothesis.draft, hypothesis.id, phase, seed, mean, stop=False)]
        base = evidence.hypothesis_of(hypothesis.draft.base)
        if base is not None and seed not in {r.draft.seed for r in evidence.of(hypothesis.draft.base)}:
            wanted.append(situation.run(base.draft, base.id, phase, seed, mean, stop=False))
        wanted = [run for run in wanted if run.key not in known]
        price = sum(run.predicted_s for run in wanted) * evidence.plan.codebase.resources.devices
        if wanted and price <= allowance:
            allowance -= price
            known |= {run.key for run in wanted}
            runs += wanted
    return tuple(runs)


def _combinations(situation: Situation) -> list[HypothesisDraft]:
    """Sets of this round's winners worth trying, most promising first: the whole, smaller ones, leave-one-outs."""
    evidence = situation.evidence
    winners = [h for h in situation.of_kind(HypothesisKind.SINGLE) if _leans_well(h)]
    winners.sort(key=lambda h: (-(h.belief.mean if h.belief else 0.0), h.id))
    whole: list[Hypothesis] = []
    for hypothesis in winners:
        if all(_compatible(hypothesis, other) for other in whole) and evidence.eligible(hypothesis):
            whole.append(hypothesis)
    sets: list[list[Hypothesis]] = []
    if len(whole) >= 2:
        sets.append(whole)
        sets += [whole[:size] for size in range(2, len(whole))]
        sets += [[h for h in whole if h is not left] for left in reversed(whole) if len(whole) > 3]
    drafts = [_combine(members) for members in sets]
    unique = {draft.full.key(): draft for draft in reversed(drafts)}
    return sorted(unique.values(), key=lambda d: -d.effect.mean)


def _leans_well(hypothesis: Hypothesis) -> bool:
    """Supported, or not settled and more likely good than not: several such together show what each alone cannot."""
    open_ = hypothesis.state is _H.INCONCLUSIVE and hypothesis.belief is not None
    leaning = open_ and hypothesis.belief is not None and hypothesis.belief.above(0.0) >= LEANING
    return leaning or (hypothesis.state is _H.SUPPORTED and hypothesis.belief is not None)


def _compatible(one: Hypothesis, other: Hypothesis) -> bool:
    """Two winners go together unless a card says no or they set one knob to different values."""
    if one.draft.technique in other.draft.conflicts or other.draft.technique in one.draft.conflicts:
        return False
    mine, theirs = one.draft.treatment.overrides, other.draft.treatment.overrides
    return all(same(value, theirs[name]) for name, value in mine.items() if name in theirs)


def _combine(members: Sequence[Hypothesis]) -> HypothesisDraft:
    mean, variance, factor = 0.0, 0.0, 1.0
    taken: list[Hypothesis] = []
    treatment = Treatment()
    for hypothesis in members:
        belief = hypothesis.belief or hypothesis.draft.effect
        like = any(
            o.draft.mechanism == hypothesis.draft.mechanism
            or o.draft.technique in hypothesis.draft.overlaps
            or hypothesis.draft.technique in o.draft.overlaps
            for o in taken
        )
        mean += belief.mean * (OVERLAP if like else 1.0)
        # How well effects add up is unknown: a third of each is in doubt beside its own uncertainty.
        variance += belief.sd**2 + (belief.mean / 3) ** 2
        factor *= hypothesis.draft.cost_factor
        treatment = hypothesis.draft.treatment.on(treatment)
        taken.append(hypothesis)
    names = " + ".join(h.name for h in members)
    base = members[0].draft.base
    return HypothesisDraft(
        title=f"Together: {'; '.join(h.draft.title for h in members)}",
        because=f"{names} were supported alone; added up, with overlaps halved, they should give {mean:+.2%}",
        treatment=treatment,
        effect=Belief(mean, math.sqrt(variance)),
        kind=HypothesisKind.COMBINATION,
        mechanism="combination",
        sources=(Source(SourceKind.EVIDENCE, names),),
        citations=tuple(dict.fromkeys(c for h in members for c in h.draft.citations)),
        cost_factor=factor,
        base=base,
        parents=tuple(h.id for h in members),
        retune=tuple(dict.fromkeys(role for h in members for role in h.draft.retune)),
    )


def _trial(situation: Situation, count: int) -> HypothesisDraft | None:
    """The next tuning trial around the best treatment; None when nothing numeric can be tuned or all is known."""
    evidence, plan = situation.evidence, situation.evidence.plan
    ranking = evidence.ranking()
    best = ranking[0][0] if ranking and ranking[0][1].mean > 0 else None
    base = best.draft.full if best is not None else Treatment()
    centre = {**plan.baseline_values, **base.overrides}
    dimensions = space(plan.codebase, centre, best.draft.retune if best is not None else ())
    if not dimensions:
        return None
    history = _history(evidence, [d.knob for d in dimensions], base)
    known = {h.draft.full.key() for h in evidence.hypotheses}
    for offset in range(8):
        values = suggest(dimensions, centre, history, seed=count + offset)
        moved = {k: v for k, v in values.items() if not same(v, centre.get(k))}
        draft = HypothesisDraft(
            title=f"Tune: {Treatment(moved).describe()}",
            because=f"around {_standing(evidence, best)}",
            treatment=Treatment(moved),
            effect=Belief(0.0, max(0.003, 2 * plan.baseline.noise)),
            kind=HypothesisKind.EXPLOITATION,
            mechanism="tuning",
            sources=(Source(SourceKind.EVIDENCE, f"Optuna TPE over {len(history)} results of this campaign"),),
            base=base,
            parents=(best.id,) if best is not None else (),
            retune=best.draft.retune if best is not None else (),
        )
        if moved and draft.full.key() not in known:
            return draft
    return None


def _standing(evidence: Evidence, best: Hypothesis | None) -> str:
    if best is None:
        return "the baseline, the best so far"
    return (
        f"{best.name}, the best so far" if best == evidence.incumbent() else f"{best.name}, the most promising so far"
    )


def _history(evidence: Evidence, knobs: Sequence[str], base: Treatment) -> list[tuple[Mapping[str, Scalar], float]]:
    """(values, gain) of every treatment that differs from the best one in tuned knobs only."""
    fixed = {k: v for k, v in base.overrides.items() if k not in knobs}
    rows: list[tuple[Mapping[str, Scalar], float]] = []
    treatments = [Treatment(), *(h.draft.full for h in evidence.hypotheses)]
    for treatment in {t.key(): t for t in treatments}.values():
        others = {k: v for k, v in treatment.overrides.items() if k not in knobs}
        if others.keys() != fixed.keys() or any(not same(v, others[k]) for k, v in fixed.items()):
            continue
        gains = evidence.gains(treatment, evidence.plan.rules.search_seeds)
        bound = evidence.bound(treatment)
        value = sum(gains.values()) / len(gains) if gains else bound
        if value is not None:
            values = {**evidence.plan.baseline_values, **treatment.overrides}
            rows.append(({k: values.get(k) for k in knobs}, value))
    return rows
