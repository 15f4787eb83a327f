"""What has to be said before a campaign may spend: the checklist, its grants, the signature under the plan."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rea.codebase.config import digest as codebase_digest
from rea.codebase.datafiles import fingerprint
from rea.domain.campaign import Approval, Campaign, PlanRecord
from rea.domain.environment import changes
from rea.domain.errors import ApprovalNeededError, ConfigError, NotFoundError, ReaError, UsageError
from rea.domain.ids import say
from rea.domain.moments import utc
from rea.domain.plan import Plan, read_plan
from rea.domain.share import Share, shares
from rea.domain.states import CampaignState, Phase, PlanState
from rea.executor.tools import Tools
from rea.guard.approval import verified_approval
from rea.guard.policy import Effect
from rea.guard.preflight import Check, blocking, checks, gather
from rea.guard.signing import principal as this_person
from rea.guard.signing import read_signers, sign, statement
from rea.launchers.host import look
from rea.planner.confirmation import least_s
from rea.planner.layout import SEARCH
from rea.planner.profile import departure
from rea.workspace.compose import Workspace


def latest_plan(workspace: Workspace, campaign: Campaign) -> tuple[PlanRecord, Plan]:
    """The campaign's newest plan. Raises NotFoundError while there is none."""
    record = workspace.store.latest_plan(campaign.id)
    if record is None:
        profiling = campaign.state is CampaignState.PROFILING
        hint = f"wait for its profile: `rea watch {campaign.title}`" if profiling else None
        raise NotFoundError(f"{campaign.title} ({campaign.state.value}) has no plan", hint=hint or campaign.reason)
    return record, read_plan(record)


def preflight(
    workspace: Workspace, ref: str, grants: Sequence[str] = ()
) -> tuple[tuple[Check, ...], tuple[Check, ...]]:
    """The checklist of a campaign and what of it still blocks; `grants` are given first, by name, on record."""
    campaign = workspace.store.campaign(ref)
    record = workspace.store.latest_plan(campaign.id)
    tools = workspace.tools(campaign)
    facts = gather(
        campaign.codebase,
        campaign.commit,
        workspace.runs,
        capacity=tools.launcher.capacity(),
        host=look(),
        overrides_verifiable=_verifiable(workspace, campaign),
        trail=tuple(workspace.store.trail_faults(campaign.id)),
        data=_data(campaign) if record is not None else ("", ""),
        environment=_environment(tools, campaign, read_plan(record)) if record is not None else "",
        shares=shares_of(workspace, campaign),
        departed=_departed(workspace, campaign, read_plan(record)) if record is not None else None,
    )
    listed = checks(campaign.codebase, facts, read_plan(record) if record else None)
    if grants:
        grantable = {check.name: check for check in listed if check.grantable}
        unknown = sorted(set(grants) - grantable.keys())
        if unknown:
            hint = f"grantable are: {', '.join(sorted(grantable)) or 'none'}"
            raise UsageError(f"{', '.join(unknown)} cannot be granted", hint=hint)
        workspace.require(Effect.GRANT, campaign)
        who = this_person(Path(campaign.codebase.root))
        with workspace.store.transaction(campaign.id) as tx:
            for name in grants:
                check = grantable[name]
                tx.grant(campaign.id, check.grant, who, workspace.clock())
                about = f", having seen: {check.words}" if check.seen else ""
                tx.event(campaign.id, "grant", f"{who} granted {name!r}{about}", workspace.clock())
    granted = {grant.name: grant.by for grant in workspace.store.grants(campaign.id)}
    listed = tuple(_granted(check, granted.get(check.grant)) for check in listed)
    return listed, blocking(listed, granted)


def _granted(check: Check, who: str | None) -> Check:
    """The check as it stands once an engineer has granted it."""
    if who is None or not check.grantable or check.ok is True:
        return check
    return replace(check, ok=True, words=f"{check.words} (granted by {who})", hint=None)


def open_items(campaign: Campaign, blocked: Sequence[Check]) -> str:
    """The command that grants every open item that can be granted; empty where none can."""
    names = [check.name for check in blocked if check.grantable]
    return " ".join([f"rea preflight {campaign.title}", *(f"--grant {name}" for name in names)]) if names else ""


def next_step(workspace: Workspace, campaign: Campaign) -> str:
    """What an engineer types next, as the campaign stands; empty where nothing is to be done."""
    title, state = campaign.title, campaign.state
    if state in (CampaignState.DRAFTED, CampaignState.APPROVED, CampaignState.PAUSED):
        record, _ = latest_plan(workspace, campaign)
        try:
            _, blocked = preflight(workspace, title)
        except ReaError:  # a launcher that is away, say: `start` tells of it
            blocked = ()
        steps = [open_items(campaign, blocked)]
        steps += [f"rea approve {title}"] if workspace.store.approval(record.id) is None else []
        steps.append(f"rea {'resume' if state is CampaignState.PAUSED else 'start'} {title}")
        mend = [f"mend {check.name}" for check in blocked if not check.grantable]
        return ", ".join([*mend, " && ".join(filter(None, steps))])
    return f"rea report {title}" if state is CampaignState.FINISHED else ""


def _data(campaign: Campaign) -> tuple[str, str]:
    """The digest of the data that rea.toml names, or why there is none."""
    try:
        return fingerprint(Path(campaign.codebase.root), campaign.codebase.data), ""
    except ConfigError as error:
        return "", error.message


def shares_of(workspace: Workspace, campaign: Campaign, per_day_s: float | None = None) -> tuple[Share, ...]:
    """What may be begun today and this month, and what of it is used: by the campaign, whose plan says `per_day_s`, and
    by its team."""

    def used(since: float, team: str | None) -> float:
        return workspace.store.used(campaign.id, team, since)

    return shares(per_day_s, campaign.codebase.team, workspace.clock(), used)


def _environment(tools: Tools, campaign: Campaign, plan: Plan) -> str:
    """What of the trainings' environment is not as the plan pins it."""
    if plan.environment is None:
        return ""
    now = tools.workbench.environment(campaign)
    return changes(plan.environment, now) if now is not None else "it cannot be told any more"


def _departed(workspace: Workspace, campaign: Campaign, plan: Plan) -> str | None:
    """How far the baseline is from that of the latest campaign before it that trained the very same."""
    with suppress(ReaError):  # what cannot be read of other campaigns is told of by `rea db check`
        earlier = [one for one in workspace.store.campaigns() if one.id < campaign.id and one.commit == campaign.commit]
        for one in reversed(earlier):
            record = workspace.store.latest_plan(one.id)
            found = departure(plan, read_plan(record)) if record is not None else None
            if found is not None:
                return found
    return None


def _verifiable(workspace: Workspace, campaign: Campaign) -> bool:
    """Whether the baseline's runs reported the configuration they resolved."""
    done = [run.result for run in workspace.store.runs(campaign.id) if run.result is not None]
    return not done or any(result.overrides_verified for result in done)


def approve(workspace: Workspace, ref: str, key: Path, signer: str | None = None) -> Approval:
    """Sign the latest plan with an SSH key and keep the signature, if the codebase lets this signer sign."""
    campaign = workspace.store.campaign(ref)
    record, plan_ = latest_plan(workspace, campaign)
    if campaign.state not in (CampaignState.DRAFTED, CampaignState.APPROVED, CampaignState.PAUSED):
        raise UsageError(f"{campaign.title} is {campaign.state.value}: there is nothing to approve")
    workspace.require(Effect.APPROVE, campaign)
    root = Path(campaign.codebase.root)
    who = signer or this_person(root)
    now = workspace.clock()
    require_time(campaign, record, plan_, now)
    signature = sign(statement(record.digest, campaign.name), key)
    approval = Approval(record.id, record.digest, who, signature, now)
    with workspace.on_record(campaign):
        verified_approval(record, approval, campaign, read_signers(root))
    with workspace.store.transaction(campaign.id) as tx:
        tx.add_approval(approval)
        if record.state is PlanState.DRAFT:
            tx.set_plan(record.id, PlanState.APPROVED)
        if campaign.state is CampaignState.DRAFTED:
            tx.set_campaign(campaign.id, state=CampaignState.APPROVED)
        tx.set_limit(campaign.id, plan_.budget_s, now, f"plan {say('P', record.id)} signed by {who}")
        tx.event(campaign.id, "approved", f"{who} signed plan version {record.version} ({record.digest[:12]})", now)
    return approval


def reject(workspace: Workspace, ref: str, why: str) -> Campaign:
    """Say no to a plan: the campaign ends without having run anything but its profile."""
    campaign = workspace.store.campaign(ref)
    record, _ = latest_plan(workspace, campaign)
    if campaign.state not in (CampaignState.DRAFTED, CampaignState.APPROVED):
        raise UsageError(f"{campaign.title} is {campaign.state.value}", hint="`rea stop` ends a campaign that runs")
    workspace.require(Effect.APPROVE, campaign)
    now, who = workspace.clock(), this_person(Path(campaign.codebase.root))
    with workspace.store.transaction(campaign.id) as tx:
        if record.state is PlanState.DRAFT:
            tx.set_plan(record.id, PlanState.REJECTED)
        tx.set_campaign(campaign.id, state=CampaignState.STOPPED, reason=f"rejected by {who}: {why}", ended_at=now)
        tx.event(campaign.id, "rejected", f"{who}: {why}", now)
    return workspace.store.campaign(campaign.id)


def require_time(campaign: Campaign, record: PlanRecord, plan: Plan, now: float) -> None:
    """Raise ApprovalNeededError for a plan that may no longer be started, or whose deadline leaves it no time."""
    edit = f"rea plan edit {campaign.title}"
    if plan.start_by is not None and now > plan.start_by:
        raise ApprovalNeededError(
            f"{say('P', record.id)} could be started until {utc(plan.start_by)}; its signature has expired",
            hint=f"`{edit} --valid 30d` writes the plan anew, to be looked at and signed again",
        )
    searching = campaign.phase in (Phase.PROFILE, *SEARCH)
    if plan.finish_by is not None and searching and now + least_s(plan) > plan.finish_by:
        left = f"{max(0.0, plan.finish_by - now):.0f} s are left until its deadline, {utc(plan.finish_by)}"
        raise ApprovalNeededError(
            f"{say('P', record.id)} has no time: {left}, and one run with its confirmation takes {least_s(plan):.0f} s",
            hint=f"`{edit} --deadline …` gives it another, or `none`",
        )


def require_runnable(workspace: Workspace, campaign: Campaign) -> None:
    """Raise ApprovalNeededError for an unsigned or changed plan, one whose signature has expired, or while an item of
    the checklist is open."""
    record, plan_ = latest_plan(workspace, campaign)
    root = Path(campaign.codebase.root)
    require_time(campaign, record, plan_, workspace.clock())
    verified_approval(record, workspace.store.approval(record.id), campaign, read_signers(root))
    if codebase_digest(plan_.codebase) != plan_.codebase_digest:
        raise ApprovalNeededError("the plan's codebase does not have the digest it was signed with", hint="plan again")
    _, blocked = preflight(workspace, str(campaign.id))
    if blocked:
        lines = "".join(f"\n  ✗ {c.name}: {c.words}" + (f" → {c.hint}" if c.hint else "") for c in blocked)
        hint = open_items(campaign, blocked) or "mend these and try again"
        raise ApprovalNeededError(f"preflight of {campaign.title} does not hold:{lines}", hint=hint)
