"""The plan as a value: what is signed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rea.domain.campaign import Campaign
from rea.domain.codebase import Scalar
from rea.domain.environment import Environment
from rea.domain.errors import UsageError
from rea.domain.plan import (
    Additivity,
    Baseline,
    Estimate,
    Finding,
    LeftOut,
    Part,
    PhasePlan,
    Plan,
    PlannedHypothesis,
    Rules,
)
from rea.domain.states import Phase
from rea.planner.layout import SHARES, BudgetTooSmallError, lay_out, make_rules

PLAN_FORMAT = 1
VALID_S = 30 * 86400.0  # that a plan may be started for after it was written
_BUDGET = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(r|runs?|s|m|h|d)\s*$")
MOST_S = 3600.0 * 1e9  # device-seconds of a budget; whoever writes more has mistyped
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_budget(text: str, device_s: float) -> float:
    """Device-seconds of a budget: "20r" is twenty baseline runs of `device_s` each, "3h" three device-hours.

    Raises UsageError for anything else.
    """
    found = _BUDGET.match(text)
    amount = float(found.group(1)) if found else 0.0
    if found is None or amount <= 0:
        raise UsageError(
            f"budget {text!r} is no amount of compute", hint="write 20r (baseline runs), 90m or 3h of devices"
        )
    unit = found.group(2)
    budget_s = amount * (device_s if unit.startswith("r") else _SECONDS[unit])
    if budget_s > MOST_S:
        raise UsageError(
            f"budget {text!r} is more than {MOST_S / 3600:.0e} device-hours", hint="write what you mean to spend"
        )
    return budget_s


def funded(plan: Plan) -> tuple[PlannedHypothesis, ...]:
    """Those that the first validation starts with: in their order, as far as its budget pays for one whole run of each.

    What runs save that are stopped early goes to the next ones; later rounds choose anew.
    """
    first = plan.phase(1, Phase.VALIDATION)
    left = first.budget_s if first is not None else 0.0
    chosen = []
    for item in plan.hypotheses:
        price = plan.baseline.device_s * item.draft.cost_factor
        if item.score > 0 and price <= left:
            left -= price
            chosen.append(item)
    return tuple(chosen)


def first_validation_s(campaign: Campaign, baseline: Baseline, profile_s: float) -> float | None:
    """The device-seconds that the first validation would get; None where the budget holds no plan."""
    try:
        _, (_, phases, _, _) = _laid_out(campaign, baseline, profile_s)
    except (UsageError, BudgetTooSmallError):
        return None
    return next(phase.budget_s for phase in phases if phase.phase is Phase.VALIDATION)


def write_plan(
    campaign: Campaign,
    *,
    codebase_digest: str,
    signers_digest: str,
    data_digest: str,
    baseline: Baseline,
    baseline_values: Mapping[str, Scalar],
    symptoms: Sequence[Finding],
    hypotheses: Sequence[PlannedHypothesis],
    left_out: Sequence[LeftOut],
    needs_code: Sequence[LeftOut],
    profile_s: float,
    additivity: Additivity,
    start_by: float | None,
    environment: Environment | None = None,
) -> Plan:
    """Lay the campaign's budget out over these hypotheses. The campaign's deadline is among its options.

    Raises UsageError for a budget nobody can read, BudgetTooSmallError for one too small to decide anything.
    """
    codebase = campaign.codebase
    budget_s = parse_budget(str(campaign.options["budget"]), baseline.device_s)
    rules, (rounds, phases, contingency_s, estimate) = _laid_out(campaign, baseline, profile_s)
    return Plan(
        format=PLAN_FORMAT,
        campaign=campaign.name,
        codebase=codebase,
        commit=campaign.commit,
        codebase_digest=codebase_digest,
        signers_digest=signers_digest,
        data_digest=data_digest,
        env=campaign.env,
        baseline=baseline,
        baseline_values=baseline_values,
        symptoms=tuple(symptoms),
        hypotheses=tuple(hypotheses),
        left_out=tuple(left_out),
        needs_code=tuple(needs_code),
        rounds=rounds,
        phases=phases,
        budget_s=budget_s,
        contingency_s=contingency_s,
        profile_s=profile_s,
        estimate=estimate,
        rules=rules,
        additivity=additivity,
        start_by=start_by,
        environment=environment,
        per_day_s=campaign.options.get("per_day_s"),
        finish_by=campaign.options.get("deadline"),
    )


def start_by(campaign: Campaign, now: float) -> float:
    """Until when a plan that is written now may be started."""
    return now + float(campaign.options.get("valid_s") or VALID_S)


def _laid_out(
    campaign: Campaign, baseline: Baseline, profile_s: float
) -> tuple[Rules, tuple[int, tuple[PhasePlan, ...], float, Estimate]]:
    codebase, options = campaign.codebase, campaign.options
    budget_s = parse_budget(str(options["budget"]), baseline.device_s)
    # Fresh seeds lie far from the search's: a confirmation never sees a seed that selected its finalist.
    without = [Part(name) for name in options.get("without") or ()]
    rules = make_rules(baseline, codebase.objective.minimum_gain, budget_s, max(baseline.seeds) + 1000, without)
    split = options.get("split")
    shares = {Phase(name): float(share) for name, share in split.items()} if split else dict(SHARES)
    if Part.COMBINATION in without:
        shares[Phase.COMBINATION] = 0.0
    if not any(shares.values()):
        raise UsageError(
            "the split gives all of the search to the combination, which this plan does without",
            hint="give the validation or the exploitation a share of it",
        )
    laid_out = lay_out(
        baseline,
        rules,
        budget_s=budget_s,
        profile_s=profile_s,
        devices=codebase.resources.devices,
        limit_s=codebase.resources.walltime_s,
        slots=codebase.launcher.slots,
        reveals=codebase.reveals and Part.CONFIRMATION not in without,
        rounds=options.get("rounds"),
        shares=shares,
    )
    return rules, laid_out
