"""Writing the plan when the profile is complete, and beginning the rounds that follow. One transaction each."""

from __future__ import annotations

from dataclasses import replace

from rea.codebase.config import digest as codebase_digest
from rea.domain.campaign import Campaign
from rea.domain.codec import canonical, digest
from rea.domain.data import DataProfile
from rea.domain.errors import ReaError
from rea.domain.hypothesis import HypothesisKind
from rea.domain.plan import Part, Plan, PlannedHypothesis, read_plan
from rea.domain.run import Run
from rea.domain.states import (
    CampaignState,
    HypothesisState,
    PauseReason,
    Phase,
)
from rea.domain.treatment import Treatment
from rea.executor import actions as a
from rea.executor.course import fail, pause
from rea.executor.tools import RowsPort, Tools, Wake
from rea.planner.compose import data_facts, first_agenda, next_agenda
from rea.planner.draft import first_validation_s, start_by, write_plan
from rea.planner.evidence import Evidence
from rea.planner.layout import BudgetTooSmallError
from rea.planner.profile import measure


def draft_plan(wake: Wake, action: a.DraftPlan) -> None:
    rows, tools = wake.rows(), wake.tools
    campaign, codebase = rows.campaign, rows.campaign.codebase
    if campaign.state is not CampaignState.PROFILING:
        return
    profile = [r for r in rows.runs if r.draft.phase is Phase.PROFILE and not r.draft.aside]
    try:
        baseline = measure(profile, codebase.objective, codebase.resources)
    except ReaError as error:  # the runs are what they are: no later wake measures anything else
        fail(wake, a.Fail(str(error)))
        return
    values = tools.workbench.values(campaign)
    techniques = tools.techniques()
    data, complaint = _data_profile(tools, campaign)
    baseline = replace(baseline, data=data)
    agenda = first_agenda(
        techniques,
        codebase,
        values,
        profile,
        baseline,
        tools.recall(techniques, codebase.name, data_facts(profile, data)),
        without=[Part(name) for name in campaign.options.get("without") or ()],
        data=data,
        validation_s=first_validation_s(campaign, baseline, rows.balance.spent),
    )
    now = tools.clock()
    try:
        with wake.transaction() as tx:
            drafts = [draft for draft, _ in agenda.drafts]
            ids = tx.add_hypotheses(campaign.id, 1, drafts)
            planned = [
                PlannedHypothesis(id_, draft, score) for id_, (draft, score) in zip(ids, agenda.drafts, strict=True)
            ]
            plan = write_plan(
                campaign,
                codebase_digest=codebase_digest(codebase),
                signers_digest=tools.workbench.signers(campaign),
                data_digest=tools.workbench.data_digest(campaign),
                baseline=baseline,
                baseline_values=values,
                symptoms=agenda.symptoms,
                hypotheses=planned,
                left_out=agenda.left_out,
                needs_code=agenda.needs_code,
                profile_s=rows.balance.spent,
                additivity=agenda.additivity,
                start_by=start_by(campaign, now),
                environment=tools.workbench.environment(campaign),
            )
            text = canonical(plan)
            tx.add_plan(campaign.id, text, digest(text), now)
            tx.set_campaign(campaign.id, state=CampaignState.DRAFTED)
            if complaint:
                tx.event(campaign.id, "data", f"{complaint}; the diagnosis goes by the curves alone", now)
            tx.event(campaign.id, "plan", f"a plan with {len(planned)} hypotheses waits for approval", now)
    except BudgetTooSmallError as error:
        edit = f"`rea plan edit {campaign.title} --budget {error.runs}r`"
        pause(wake, a.Pause(PauseReason.BUDGET, f"{error.message}; the profile is kept: {edit}, or more, plans on it"))
    except ReaError as error:
        if error.exit_code in (2, 5):  # the budget or the signers cannot be read: no later wake can change that
            fail(wake, a.Fail(str(error)))
            return
        raise


def _data_profile(tools: Tools, campaign: Campaign) -> tuple[DataProfile | None, str]:
    """What the codebase tells about its data, or why it does not. A plan can be made without it."""
    try:
        return tools.workbench.data(campaign), ""
    except ReaError as error:
        return None, str(error)


def begin_round(wake: Wake, action: a.BeginRound) -> None:
    rows, tools = wake.tools.store.snapshot_rows(wake.campaign), wake.tools
    if rows.campaign.round >= action.round:
        return
    evidence = Evidence(plan_of(rows), measured(rows), rows.hypotheses, rows.closed)
    incumbent = evidence.incumbent()
    techniques = tools.techniques()
    facts = data_facts(evidence.of(Treatment()), evidence.plan.baseline.data)
    known = tools.recall(techniques, rows.campaign.codebase.name, facts)
    agenda = next_agenda(evidence, incumbent, techniques, known)
    now = tools.clock()
    with wake.transaction() as tx:
        waiting = [
            h for h in rows.hypotheses if h.state is HypothesisState.PROPOSED and h.draft.kind is HypothesisKind.SINGLE
        ]
        for hypothesis in waiting:
            tx.set_hypothesis(
                hypothesis.id,
                state=HypothesisState.LEFT_OUT,
                reason=f"not tested in round {hypothesis.round}; looked at again for round {action.round}",
            )
        tx.add_hypotheses(wake.campaign, action.round, [draft for draft, _ in agenda.drafts])
        tx.set_campaign(
            wake.campaign,
            round=action.round,
            phase=Phase.VALIDATION,
            incumbent=incumbent.id if incumbent is not None else None,
        )
        base = f"on {incumbent.name}" if incumbent is not None else "on the baseline"
        seen = ", ".join(symptom.name for symptom in agenda.symptoms) or "none"
        words = f"round {action.round} {base}: {len(agenda.drafts)} hypotheses; symptoms: {seen}"
        tx.event(wake.campaign, "round", words, now)


def measured(rows: RowsPort) -> tuple[Run, ...]:
    """The runs that tell about their treatments."""
    return tuple(run for run in rows.runs if not run.draft.aside)


def plan_of(rows: RowsPort) -> Plan:
    if rows.plan is None:
        raise ReaError(f"{rows.campaign.title} has no plan", hint="`rea plan` makes one")
    return read_plan(rows.plan)
