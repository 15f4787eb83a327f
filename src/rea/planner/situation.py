"""What a phase is decided on, and what it may answer: hypotheses to add, runs to start, verdicts, whether it is over.

A phase is asked again after every result. Asking twice for the same thing is harmless, because a run is known by its
key and a hypothesis by what it trains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rea.domain.codebase import Codebase, Scalar
from rea.domain.hypothesis import Belief, Hypothesis, HypothesisDraft, HypothesisKind, Source, SourceKind
from rea.domain.plan import Part
from rea.domain.rows import Closed
from rea.domain.run import Run, RunDraft
from rea.domain.states import HypothesisState, Phase, RunState, is_terminal
from rea.domain.treatment import Treatment
from rea.knowledge.roles import role_of
from rea.planner.evidence import REFUTED_AT, SUPPORTED_AT, Evidence
from rea.planner.fidelity import earliest
from rea.planner.layout import SEARCH, TREATED_COST, pressed_walltime, tight_walltime, walltime
from rea.planner.profile import stop_limits
from rea.planner.synthesise import LEAST_COST, rank
from rea.planner.worth import expected_best

FEWEST_PAIRS = 2  # fresh seeds a claim needs
WAVER = 0.05  # of a probability, by which a verdict outlasts its limit
MOST_RETESTED = 3  # arms that may get a further seed at once

_REPAIR, _BELIEVED = "repair of ", "believed by "

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
    """What a phase is decided on. `spent` maps run ids to device-seconds used so far, of which the contingency has paid
    `contingency_spent`; `slots` is the launcher's."""

    evidence: Evidence
    round: int
    spent: Mapping[int, float]
    slots: int
    budget_open: bool = True  # False once the warning threshold is passed: no new hypothesis starts
    contingency_spent: float = 0.0
    left_s: float = math.inf  # wall seconds until the plan's deadline
    waiting: frozenset[int] = frozenset()  # runs that wait for their next attempt's time and take no slot until then

    @property
    def closed(self) -> Closed:
        return self.evidence.closed

    @property
    def contingency_left(self) -> float:
        return max(0.0, self.evidence.plan.contingency_s - self.contingency_spent)

    @property
    def in_round(self) -> tuple[Hypothesis, ...]:
        return tuple(h for h in self.evidence.hypotheses if h.round == self.round)

    def of_kind(self, kind: HypothesisKind) -> tuple[Hypothesis, ...]:
        return tuple(h for h in self.in_round if h.draft.kind is kind)

    def open_runs(self, *phases: Phase) -> tuple[Run, ...]:
        return tuple(r for r in self.evidence.runs if r.draft.phase in phases and not is_terminal(r.state))

    def taken(self, *phases: Phase) -> int:
        """How many slots the runs of these phases take now, or could take now."""
        return sum(run.id not in self.waiting for run in self.open_runs(*phases))

    def allowance(self, phase: Phase) -> float:
        """Device-seconds the search may still commit up to the end of this phase; savings of earlier ones included.

        Zero where the plan gives the phase nothing at all: an engineer wants none of it.
        """
        own = self.evidence.plan.phase(self.round, phase)
        if own is not None and own.budget_s <= 0:
            return 0.0
        granted = 0.0
        for planned in self.evidence.plan.phases:
            if planned.phase in SEARCH and planned.round <= self.round:
                granted += planned.budget_s
            if planned.round == self.round and planned.phase is phase:
                break
        used = sum(self.cost(run) for run in self.evidence.runs if run.draft.phase in SEARCH)
        used += self.closed.spent_in(*SEARCH)
        return min(granted + self.contingency_spent - used, self._beside_the_claim())

    def grant(self, phase: Phase) -> float:
        """Device-seconds that this round's phase had when it began: its own and what earlier ones saved."""
        runs = [r for r in self.evidence.runs if r.draft.phase is phase and r.draft.round == self.round]
        begun = sum(self.cost(run) for run in runs) + self.closed.spent_in(phase, round=self.round)
        return self.allowance(phase) + begun

    def affords(self, draft: HypothesisDraft, allowance: float, begun: float = 0.0) -> bool:
        """Whether a run of this draft fits into the allowance, and its confirmation into the budget if it wins.

        `begun`: the device-seconds of runs that start beside it.
        """
        price = self.price(draft)
        return price <= allowance and begun + price <= self._beside_the_claim(price)

    def _beside_the_claim(self, dearer: float = 0.0) -> float:
        """What the budget holds beside the confirmation of the present incumbent, the reveal and the contingency.

        `dearer`: the price of a run that may become the incumbent, if that is more.
        """
        plan, incumbent = self.evidence.plan, self.evidence.incumbent()
        own = TREATED_COST * plan.baseline.device_s if incumbent is None else self.price(incumbent.draft)
        own = max(own, dearer)
        pairs = len(plan.rules.confirm_seeds) * (plan.baseline.device_s + own)
        confirming = Phase.CONFIRMATION
        begun = sum(self.cost(run) for run in self.evidence.runs if run.draft.phase is confirming)
        begun += self.closed.spent_in(confirming)
        elsewhere = sum(self.cost(run) for run in self.evidence.runs if run.draft.phase is not confirming)
        elsewhere += sum(s for (_, of), s in self.closed.spent.items() if of is not confirming)
        return (
            plan.budget_s - self.contingency_left - elsewhere - max(pairs, begun) - plan.reveal_s - self.headroom(own)
        )

    def finalist(self) -> Hypothesis | None:
        """The best whose confirmation can be paid for, on as few pairs as a claim needs; the incumbent if none can."""
        able = (h for h in self.evidence.contenders() if self.confirmable(h.draft))
        return next(able, self.evidence.incumbent())

    def confirmable(self, draft: HypothesisDraft, *, also: float = 0.0) -> bool:
        """Whether its confirmation, on as few pairs as a claim needs, can be paid for beside `also` device-seconds."""
        evidence, plan = self.evidence, self.evidence.plan
        left = plan.budget_s - self.contingency_left - plan.reveal_s - sum(self.cost(run) for run in evidence.runs)
        left -= sum(self.closed.spent.values())
        wanted = plan.rules.confirm_seeds[:FEWEST_PAIRS]
        begun = {run.draft.seed for run in evidence.of(Treatment()) if run.draft.phase is Phase.CONFIRMATION}
        left -= plan.baseline.device_s * sum(seed not in begun for seed in wanted)
        own, resources = self.price(draft), plan.codebase.resources
        last = resources.devices * pressed_walltime(own / resources.devices, plan.rules, resources.walltime_s)
        return also + (len(wanted) - 1) * own + last <= left

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

    def runs(self, draft: HypothesisDraft) -> float:
        """The same in baseline runs, by what was said of it and of its bases before they ran.

        What is chosen must not hang on how busy the machine was when a run was timed; a budget is held to the second
        elsewhere.
        """
        factor = draft.cost_factor
        base = self.evidence.hypothesis_of(draft.base)
        while base is not None and not base.draft.full.empty:
            factor *= base.draft.cost_factor
            base = self.evidence.hypothesis_of(base.draft.base)
        return max(factor, LEAST_COST)

    def run(
        self, draft: HypothesisDraft, hypothesis: int | None, phase: Phase, seed: int, priority: float, *, stop: bool
    ) -> RunDraft:
        plan = self.evidence.plan
        predicted = self.predicted_s(draft)
        limits: tuple[tuple[float, float], ...] = ()
        if stop and Part.STOP_RULE not in plan.rules.without and not _told_by_its_end(draft, plan.codebase):
            paired = next((r for r in self.evidence.of(Treatment()) if r.draft.seed == seed and r.result), None)
            if paired is not None and paired.result is not None:
                rules, objective = plan.rules, plan.codebase.objective
                curve = paired.result.curve
                start = earliest(self.evidence.rank_correlations, rules.stop_from)
                limits = stop_limits(curve, objective, tolerance=rules.stop_tolerance, start=start)
        who = "baseline" if hypothesis is None else f"H-{hypothesis}"
        limit_s = plan.codebase.resources.walltime_s
        return RunDraft(
            key=f"{who}/seed-{seed}" + ("/believed" if believed(draft) else ""),
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


def outbid(situation: Situation, draft: HypothesisDraft) -> bool:
    """Whether a hypothesis that waits for its first run is worth more than this draft, and a round is left to run it.

    A run of the draft is worth what it is expected to add to the best of today.
    """
    evidence = situation.evidence
    over = evidence.total(draft.base)
    gain = Belief(over.mean + draft.effect.mean, draft.effect.sd)
    incumbent = evidence.incumbent()
    other = max(0.0, evidence.total(incumbent.draft.full).mean) if incumbent is not None else 0.0
    added = expected_best(gain, evidence.first_sd, other) - other
    return worth_of_waiting(situation) > added / situation.runs(draft)


def worth_of_waiting(situation: Situation) -> float:
    """What the best hypothesis that waits for its first run is worth, per baseline run; zero where no round is left.

    What a phase does not spend is there for the next validation. There a run is worth what it is expected to add to the
    baseline, less what is lost where that goes together with the best of today.
    """
    evidence = situation.evidence
    if situation.round >= evidence.plan.rounds or not situation.budget_open:
        return 0.0
    singles = situation.of_kind(HypothesisKind.SINGLE)
    waiting = [evidence.outlook(h) for h in singles if h.state is _H.PROPOSED]
    best = max((value for _, value in rank(waiting, evidence.first_sd)), default=0.0)
    return evidence.plan.additivity.apart * best


def _told_by_its_end(draft: HypothesisDraft, codebase: Codebase) -> bool:
    """Whether a curve on its way says too little: a part of the effect is in no curve, or is laid over the whole run.

    A schedule that warms up or falls late is behind a constant rate long before it is ahead of it.
    """
    roles = [role_of(codebase.knob(name)) for name in draft.treatment.overrides]
    return any(role is not None and (role.after_training or role.spans_training) for role in roles)


def judge(situation: Situation, kinds: Sequence[HypothesisKind]) -> tuple[Judgement, ...]:
    """Verdicts that changed: of every hypothesis of this round whose runs have all ended."""
    changed = []
    for hypothesis in situation.in_round:
        if hypothesis.draft.kind not in kinds or hypothesis.state in (_H.PROPOSED, _H.VETOED, _H.LEFT_OUT, _H.FAILED):
            continue
        if not situation.evidence.tested(hypothesis):
            continue
        state, belief, reason = situation.evidence.verdict(hypothesis)
        if state is _H.INCONCLUSIVE and wavering(hypothesis, belief):
            state = hypothesis.state
        if state is not hypothesis.state or _moved(belief, hypothesis.belief):
            changed.append(Judgement(hypothesis.id, state, belief, reason))
    return tuple(changed)


def wavering(hypothesis: Hypothesis, belief: Belief) -> bool:
    """Whether a verdict would be given up for a chance that is still close to its limit: what is learnt of others moves
    it to and fro."""
    chance = belief.above(0.0)
    if hypothesis.state is _H.SUPPORTED:
        return SUPPORTED_AT - WAVER <= chance < SUPPORTED_AT
    return hypothesis.state is _H.REFUTED and REFUTED_AT < chance <= REFUTED_AT + WAVER


def _moved(new: Belief, old: Belief | None) -> bool:
    """Whether a belief changed by something worth keeping; a better known base shifts all that was built on it."""
    return old is None or _shifted(new, old) or new.sd < 0.95 * old.sd


def _shifted(new: Belief, old: Belief) -> bool:
    return abs(new.mean - old.mean) > 0.5 * old.sd


def is_news(hypothesis: Hypothesis, judgement: Judgement) -> bool:
    """Whether the record has to tell of a verdict: not where only the noise is known better than before."""
    old, new = hypothesis.belief, judgement.belief
    if old is None or new is None or judgement.state is not hypothesis.state or _shifted(new, old):
        return True
    return _own(judgement.reason) != _own(hypothesis.reason)


def _own(reason: str | None) -> str:
    """Of a verdict's words those about its own runs."""
    return (reason or "").rpartition("; ")[2]


def repair(hypothesis: Hypothesis, overrides: Mapping[str, Scalar], why: str) -> HypothesisDraft:
    """The same claim with one change that a runbook prescribes, to be tested in its place."""
    draft = hypothesis.draft
    return replace(
        draft,
        title=draft.title if repairs(draft) else f"{draft.title}, repaired",
        because=f"{hypothesis.name} failed: {why}",
        treatment=Treatment({**draft.treatment.overrides, **overrides}, draft.treatment.patch),
        sources=(*draft.sources, Source(SourceKind.EVIDENCE, f"{_REPAIR}{hypothesis.name}: {why}")),
        parents=(*draft.parents, hypothesis.id),
        effect=Belief(0.7 * draft.effect.mean, draft.effect.sd),
    )


def repairs(draft: HypothesisDraft) -> int:
    """How many changes by runbooks a hypothesis has behind it."""
    return sum(source.note.startswith(_REPAIR) for source in draft.sources)


def believe(draft: HypothesisDraft, who: str) -> HypothesisDraft:
    """The same, after an engineer has looked at a result that nobody believed."""
    return replace(draft, sources=(*draft.sources, Source(SourceKind.ENGINEER, f"{_BELIEVED}{who}")))


def believed(draft: HypothesisDraft) -> bool:
    return any(source.kind is SourceKind.ENGINEER and source.note.startswith(_BELIEVED) for source in draft.sources)


def nothing() -> HypothesisDraft:
    return HypothesisDraft("baseline", "", Treatment(), Belief(0.0, 0.0))


def start(situation: Situation, pending: Sequence[Hypothesis], phase: Phase, allowance: float) -> Advance:
    """First runs of hypotheses that were just added; those too dear for what is left are left out, saying so."""
    seed = situation.evidence.plan.rules.search_seeds[0]
    runs, judgements, begun = [], [], 0.0
    for hypothesis in pending:
        price = situation.price(hypothesis.draft)
        if situation.affords(hypothesis.draft, allowance - begun, begun):
            begun += price
            judgements.append(Judgement(hypothesis.id, _H.TESTING, None, "in test"))
            belief = hypothesis.draft.effect.mean
            runs.append(situation.run(hypothesis.draft, hypothesis.id, phase, seed, belief, stop=True))
        else:
            judgements.append(Judgement(hypothesis.id, _H.LEFT_OUT, None, "what is left of the phase is too little"))
    return Advance(runs=tuple(runs), judgements=tuple(judgements))


def further_seeds(
    situation: Situation, arms: Sequence[Hypothesis], phase: Phase, allowance: float
) -> tuple[RunDraft, ...]:
    """The next seed for those arms whose next reading is worth most to the choice of the best.

    An arm competes with the best of the others, or with the baseline, by what they do not have in common. What the
    choice gains by a reading is the knowledge gradient; below what the plan's rules ask of a run, or what a hypothesis
    that waits for a next round is worth, no seed is worth its price.
    """
    evidence, rules = situation.evidence, situation.evidence.plan.rules
    known = {run.draft.key for run in evidence.runs}
    least = max(rules.least_gain_per_run, worth_of_waiting(situation))
    totals = {h.id: evidence.total(h.draft.full).mean for h in arms if evidence.eligible(h)}
    trained = {h.id: h.draft.full for h in arms}
    valued = []
    for hypothesis in arms:
        if hypothesis.id not in totals or hypothesis.state is _H.REFUTED:
            continue  # a refuted one's total may be good by what it was built on
        others = [(mean, id_) for id_, mean in totals.items() if id_ != hypothesis.id and mean > 0]
        rival = trained[max(others)[1]] if others else Treatment()
        done = {r.draft.seed for r in evidence.of(hypothesis.draft.full)}
        seed = next((s for s in rules.search_seeds if s not in done), None)
        gained = evidence.worth_of_seed(hypothesis.draft.full, rival) / situation.runs(hypothesis.draft)
        if seed is not None and gained >= least:
            valued.append((gained, hypothesis, seed))
    valued.sort(key=lambda item: (-item[0], item[1].id))
    runs: list[RunDraft] = []
    for gained, hypothesis, seed in valued[: min(MOST_RETESTED, situation.slots)]:
        wanted = [situation.run(hypothesis.draft, hypothesis.id, phase, seed, gained, stop=False)]
        wanted = [run for run in wanted if run.key not in known]
        price = sum(run.predicted_s for run in wanted) * evidence.plan.codebase.resources.devices
        if wanted and price <= allowance:
            allowance -= price
            known |= {run.key for run in wanted}
            runs += wanted
    return tuple(runs)
