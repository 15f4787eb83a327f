"""How a budget becomes phases, and what the whole will cost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rea.domain.errors import GuardrailError
from rea.domain.plan import Baseline, Estimate, Part, PhasePlan, Rules
from rea.domain.states import Phase

SEARCH = (Phase.VALIDATION, Phase.COMBINATION, Phase.EXPLOITATION)
SHARES: Mapping[Phase, float] = {Phase.VALIDATION: 0.45, Phase.COMBINATION: 0.38, Phase.EXPLOITATION: 0.17}
MACHINE = 0.05  # relative sd of the machine's speed over that of the profile
CONTINGENCY = 0.05  # of the budget, for infrastructure retries only
TREATED_COST = 1.25  # training time of a finalist over the baseline's, before it is known
RETRY_CAP = 3
# A run must be expected to improve the final choice by this share of the smallest gain worth launching: at a fiftieth,
# fifty runs that promise no more than that are expected to find one such gain between them.
WORTH_OF_A_RUN = 0.02
SEALED = 1.25  # an evaluation of the sealed split over one of the profile, as it is reckoned with
FEWEST_SEARCHED = 3  # baseline runs a search needs to be one
MOST_CONFIRMED = 5  # paired seeds of a confirmation
# A run is started only if its wall-time limit is at least this multiple of its predicted time; where the budget no
# longer holds the usual multiple, the limit shrinks down to it.
TIGHT = 1.6
# The same of the pairs of a confirmation: where no more is left, one that may be cut off is better than none.
PRESSED = 1.25


class BudgetTooSmallError(GuardrailError):
    """A budget that holds no plan; `runs` baseline runs are the smallest that does."""

    def __init__(self, message: str, runs: int) -> None:
        super().__init__(message, hint=f"give at least {runs}r")
        self.runs = runs


@dataclass(frozen=True, slots=True)
class _Fixed:
    """Device-seconds of a budget that the search cannot have."""

    contingency: float
    confirm: float
    reveal: float
    headroom: float

    @property
    def total(self) -> float:
        return self.contingency + self.confirm + self.reveal + self.headroom


def walltime(predicted_s: float, rules: Rules, limit_s: float) -> float:
    """A run's wall-time limit, seconds: a multiple of its predicted time, never above the codebase's own limit."""
    return min(limit_s, max(rules.walltime_factor * predicted_s, rules.walltime_floor_s))


def tight_walltime(predicted_s: float, rules: Rules, limit_s: float) -> float:
    """The least wall-time limit, seconds, under which a run is still worth starting."""
    return min(walltime(predicted_s, rules, limit_s), TIGHT * predicted_s + min(1.0, predicted_s))


def pressed_walltime(predicted_s: float, rules: Rules, limit_s: float) -> float:
    """The same of a run of the confirmation, before which there is nothing left to be saved on."""
    return min(walltime(predicted_s, rules, limit_s), PRESSED * predicted_s)


def tight_reveal(predicted_s: float, rules: Rules, limit_s: float) -> float:
    """The same of a reveal. Its prediction is a generous one already: see `reveal_s`."""
    return min(reveal_walltime(predicted_s, rules, limit_s), TIGHT * predicted_s)


def reveal_walltime(predicted_s: float, rules: Rules, limit_s: float) -> float:
    """The wall-time limit of a reveal, seconds: what bounds one training does not bound all evaluations together."""
    return max(walltime(predicted_s, rules, limit_s), TIGHT * predicted_s)


def make_rules(
    baseline: Baseline, minimum_gain: float, budget_s: float, first_fresh_seed: int, without: Sequence[Part] = ()
) -> Rules:
    """The numbers the executor is bound by, from the measured noise and the budget.

    The confirmation takes as many paired seeds as it needs to tell twice the smallest gain worth launching (0.2 % at
    least) from noise with a power of about 80 % (n = (2.8 · noise / gain)²), between three and five, and fewer, but
    two at least, where it would take more than a quarter of the budget.
    """
    target = max(2 * minimum_gain, 0.002)
    wanted = min(MOST_CONFIRMED, max(3, math.ceil((2.8 * baseline.noise / target) ** 2)))
    affordable = int(0.25 * budget_s / (baseline.device_s * (1 + TREATED_COST)))
    count = 0 if Part.CONFIRMATION in without else max(2, min(wanted, affordable))
    fresh = range(first_fresh_seed, first_fresh_seed + MOST_CONFIRMED)
    return Rules(
        minimum_gain=minimum_gain,
        walltime_factor=3.0,
        walltime_floor_s=15.0,
        stop_tolerance=max(0.004, 3 * baseline.noise),
        stop_from=0.3,
        confirm_seeds=tuple(fresh[:count]),
        spare_seeds=tuple(fresh[count:]) if count else (),
        search_seeds=baseline.seeds,
        retry_cap=RETRY_CAP,
        least_gain_per_run=WORTH_OF_A_RUN * minimum_gain,
        without=tuple(without),
    )


def lay_out(
    baseline: Baseline,
    rules: Rules,
    *,
    budget_s: float,
    profile_s: float,
    devices: int,
    limit_s: float,
    slots: int,
    reveals: bool,
    rounds: int | None = None,
    shares: Mapping[Phase, float] = SHARES,
) -> tuple[int, tuple[PhasePlan, ...], float, Estimate]:
    """Split a budget (device-seconds) into phases: (rounds, phases, contingency, estimate).

    `reveals` is whether the campaign ends with a reveal: without a sealed split or an evaluator nothing is kept for it.

    Raises BudgetTooSmallError when the budget cannot hold a confirmation and a handful of experiments.
    """
    cost = baseline.device_s
    fixed = _fixed(baseline, rules, budget_s, devices, limit_s, reveals)
    search = budget_s - profile_s - fixed.total
    if search < FEWEST_SEARCHED * cost:
        sealed = ""
        if reveals:
            count = 2 * len(rules.confirm_seeds)
            sealed = f" {count} evaluations on the sealed split are given {fixed.reveal / cost:.1f},"
        raise BudgetTooSmallError(
            f"a budget of {budget_s / cost:.1f} baseline runs is too small: {profile_s / cost:.1f} went to the profile,"
            f" the confirmation takes {fixed.confirm / cost:.1f},{sealed} retries"
            f" {fixed.contingency / cost:.1f}, {fixed.headroom / cost:.1f} must stay free for the last run's wall-time"
            f" limit, and a search needs {FEWEST_SEARCHED}",
            _smallest(baseline, rules, budget_s, profile_s, devices, limit_s, reveals),
        )
    count, contingency, confirm, reveal = len(rules.confirm_seeds), fixed.contingency, fixed.confirm, fixed.reveal
    chosen = rounds or (1 if search < 12 * cost else 2 if search < 80 * cost else 3)
    total = sum(shares.get(phase, 0.0) for phase in SEARCH)
    weights = [0.7**index for index in range(chosen)]
    phases: list[PhasePlan] = []
    for index, weight in enumerate(weights):
        for phase in SEARCH:
            amount = search * weight / sum(weights) * shares.get(phase, 0.0) / total
            phases.append(_phase(index + 1, phase, amount, cost))
    # What a phase leaves over goes to the next one; at the very end about half a run is too small to be used.
    last = phases[-1]
    unused = min(0.5 * cost, 0.5 * last.expected_s)
    phases[-1] = PhasePlan(last.round, last.phase, last.budget_s, last.runs, last.expected_s - unused, last.sd_s)
    spread = math.hypot(0.3 * count * cost, baseline.run_sd_s * devices * math.sqrt(2 * count))
    phases.append(PhasePlan(chosen, Phase.CONFIRMATION, confirm, 2 * count, confirm, spread))
    if reveals:
        seen = min(reveal, devices * reveal_s(baseline, count))
        phases.append(PhasePlan(chosen, Phase.REVEAL, reveal, 1, seen, 0.5 * seen))
    return chosen, tuple(phases), contingency, estimate(phases, profile_s, cost, slots, devices)


def _fixed(baseline: Baseline, rules: Rules, budget_s: float, devices: int, limit_s: float, reveals: bool) -> _Fixed:
    # The last run's wall-time limit must still fit, although it will use a part of it only.
    last = (TREATED_COST * baseline.run_s, baseline.run_s)
    evaluations_s = reveal_s(baseline, len(rules.confirm_seeds)) if reveals else 0.0
    return _Fixed(
        contingency=CONTINGENCY * budget_s,
        confirm=len(rules.confirm_seeds) * baseline.device_s * (1 + TREATED_COST),
        reveal=devices * tight_reveal(evaluations_s, rules, limit_s),
        headroom=devices * max(0.0, *(tight_walltime(last_s, rules, limit_s) - last_s for last_s in last)),
    )


def _smallest(
    baseline: Baseline,
    rules: Rules,
    budget_s: float,
    profile_s: float,
    devices: int,
    limit_s: float,
    reveals: bool,
) -> int:
    """The smallest budget above this one, in whole baseline runs, that can be laid out.

    A larger budget may afford, and so wants, a confirmation on more seeds: each is asked with the rules of its own.
    """
    cost = baseline.device_s
    for runs in itertools.count(math.floor(budget_s / cost) + 1):
        first_fresh = min(rules.confirm_seeds, default=0)
        its_rules = make_rules(baseline, rules.minimum_gain, runs * cost, first_fresh, rules.without)
        fixed = _fixed(baseline, its_rules, runs * cost, devices, limit_s, reveals)
        if runs * cost - profile_s - fixed.total >= FEWEST_SEARCHED * cost:
            return runs
    raise AssertionError("a budget that is large enough exists")


def reveal_s(baseline: Baseline, pairs: int) -> float:
    """Wall seconds in which the evaluator should see the predictions of so many pairs of runs, one after the other.

    An evaluation is taken for a quarter longer than the longest of the profile, since nobody knows how large the sealed
    split is; but for no less than a twentieth of a training, nor than half a second for its start. Where the profile
    did not tell, that has to do, and is never more than a whole run, which holds a training and an evaluation.
    """
    run_s = baseline.run_s
    return 2 * pairs * max(min(run_s, max(0.5, 0.05 * run_s)), SEALED * (baseline.evaluate_s or 0.0))


def _phase(round_: int, phase: Phase, amount: float, cost: float) -> PhasePlan:
    # The sum is bounded by the budget; what varies is how close to it the last run of the phase comes.
    return PhasePlan(round_, phase, amount, amount / cost, amount, 0.5 * cost)


def estimate(phases: Sequence[PhasePlan], profile_s: float, cost: float, slots: int, devices: int) -> Estimate:
    """Device-seconds the campaign will spend, with a standard deviation, and its wall time at full slots.

    Phases are taken as independent; MACHINE is added for its being slower or faster than in the profile.
    """
    mean = profile_s + sum(phase.expected_s for phase in phases)
    sd = math.hypot(math.sqrt(sum(phase.sd_s**2 for phase in phases)), MACHINE * mean)
    # At phase ends slots wait for each other: about half a run each.
    idle = 0.5 * len(phases) * cost / devices
    return Estimate(mean, sd, (mean - profile_s) / devices / max(slots, 1) + idle)
