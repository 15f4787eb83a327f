"""A campaign's plan: asked for, drafted, shaped by engineers before they sign it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rea.codebase.config import load
from rea.codebase.git import repository
from rea.codebase.overrides import baseline_values, checked
from rea.codebase.trees import as_knob
from rea.codebase.units import parse_duration
from rea.domain.campaign import Campaign, PlanRecord
from rea.domain.codebase import Codebase, Scalar
from rea.domain.codec import canonical, digest
from rea.domain.errors import ConfigError, GuardrailError, NotFoundError, UsageError
from rea.domain.hypothesis import Belief, Hypothesis, HypothesisDraft, Source, SourceKind
from rea.domain.names import LONGEST, RULE, as_name, is_name
from rea.domain.plan import LeftOut, Part, PlannedHypothesis
from rea.domain.run import SMOKE, RunDraft
from rea.domain.states import (
    CampaignState,
    HypothesisState,
    Phase,
)
from rea.domain.treatment import Treatment
from rea.guard.policy import Effect
from rea.guard.redact import secretive, shows_secret
from rea.guard.signing import principal as this_person
from rea.guard.signing import read_signers
from rea.knowledge.cards import runbooks_of, techniques_of
from rea.launchers import open_launcher
from rea.planner.diagnose import priced_anew
from rea.planner.draft import first_validation_s, parse_budget, start_by, write_plan
from rea.planner.layout import SEARCH, SHARES
from rea.planner.profile import reading_noise
from rea.planner.synthesise import rank
from rea.store.transaction import Transaction
from rea.workspace.compose import Workspace
from rea.workspace.governance import latest_plan
from rea.workspace.waking import wait, wake

PROFILE_RUNS = 3
MOST_PROFILE_RUNS = 20
MOST_ROUNDS = 10
MOST_SEED = 1_000_000
DAY_S = 86400.0
FARTHEST_S = 36500 * DAY_S
MOST_GAIN = 0.5  # relative; more is a slip of the pen, or a leak
ENGINEERS_BELIEF = Belief(0.003, 0.004)  # of a hypothesis an engineer adds without a number


def plan(
    workspace: Workspace,
    root: Path,
    *,
    budget: str,
    config: str | None = None,
    name: str | None = None,
    profile_runs: int = PROFILE_RUNS,
    rounds: int | None = None,
    seed: int = 1,
    without: Sequence[str] = (),
    valid: str | None = None,
    deadline: str | None = None,
    per_day: str | None = None,
) -> Campaign:
    """Register a campaign and start measuring its baseline; the plan is drafted when the last of those runs has ended.

    A budget that then proves too small for a plan pauses the campaign; `edit` with another one goes on from there.

    The engineer who asks for it allows `profile_runs` trainings of the unchanged baseline, each within the codebase's
    own wall-time limit, and nothing else. `seed` is the first of the seeds that the search trains on; `without` names
    parts of the planner to do without (`Part`); `valid` says for how long the plan may be started, `deadline` by when
    the campaign should have ended (a duration or a moment), `per_day` how much device time it may begin to use in one
    day of UTC. Raises ReaError for a codebase that is not ready (see `rea doctor`).
    """
    if not 2 <= profile_runs <= MOST_PROFILE_RUNS:
        hint = f"seed noise needs 2 at least, better 3; at most {MOST_PROFILE_RUNS}"
        much = "few" if profile_runs < 2 else "many"
        raise UsageError(f"--profile-runs {profile_runs} is too {much}", hint=hint)
    if name is not None and not is_name(name):
        near = f": perhaps --name {as_name(name)}" if as_name(name) else ""
        raise UsageError(f"a campaign cannot be called {name!r}", hint=f"use {RULE}{near}")
    _check_rounds(rounds)
    if not 1 <= seed <= MOST_SEED:
        raise UsageError(f"--seed {seed} is no first seed", hint=f"give 1 to {MOST_SEED}")
    parts = [part.value for part in _parts(without)]
    parse_budget(budget, 1.0)
    times = _times(valid, deadline, per_day, workspace.clock())
    codebase = load(root, config=config)
    repo = repository(Path(codebase.root))
    repo.require_clean()
    open_launcher(
        codebase.launcher.kind, runs=workspace.runs, slots=codebase.launcher.slots, options=codebase.launcher.options
    )
    # A config or a card that cannot be read would stop the planning after the profile has been paid for.
    baseline_values(codebase, Path(codebase.root))
    techniques_of(Path(codebase.root))
    runbooks_of(Path(codebase.root))
    workspace.require(Effect.PLAN)
    limit_s = codebase.resources.walltime_s
    drafts = [
        RunDraft(
            key=f"baseline/seed-{seed}",
            hypothesis=None,
            round=0,
            phase=Phase.PROFILE,
            treatment=Treatment(),
            seed=seed,
            priority=1.0,
            predicted_s=limit_s,
            walltime_s=limit_s,
        )
        for seed in range(seed, seed + profile_runs)
    ]
    if codebase.smoke is not None:
        drafts.insert(0, replace(drafts[0], key=SMOKE))

    def allow_profile(tx: Transaction, id_: int) -> None:
        # Failed starts are repeated within the retry cap, so the allowance holds one more run than is asked for.
        allowance = (len(drafts) + 1) * limit_s * codebase.resources.devices
        tx.set_limit(id_, allowance, workspace.clock(), "profile, allowed by the plan command")
        tx.add_runs(id_, drafts)
        text = f"{this_person(Path(codebase.root))} asked for a plan with a budget of {budget}"
        tx.event(id_, "planned", text, workspace.clock())

    campaign = workspace.store.create_campaign(
        name=name or _free_name(workspace, codebase),
        codebase=codebase,
        commit=repo.head(),
        env=_pinned_environment(codebase),
        options={"budget": budget, "profile_runs": profile_runs, "rounds": rounds, "without": parts, **times},
        at=workspace.clock(),
        begin=allow_profile,
    )
    wake(workspace, campaign.id)
    return workspace.store.campaign(campaign.id)


def _free_name(workspace: Workspace, codebase: Codebase) -> str:
    """`<codebase>-<config>`, numbered when an earlier campaign has that name."""
    stem = Path(codebase.config).stem if codebase.config else ""
    base = f"{codebase.name}-{stem}"
    taken = workspace.store.names()
    ends = ("" if n == 1 else f"-{n}" for n in range(1, len(taken) + 2))
    names = (as_name(base, LONGEST - len(end)) + end for end in ends)
    return next(name for name in names if name not in taken)


def _pinned_environment(codebase: Codebase) -> dict[str, str]:
    secrets = secretive({variable: os.environ.get(variable, "") for variable in codebase.env})
    shown = f"[codebase] env names {', '.join(secrets)}, which looks secret" if secrets else ""
    if shows_secret(canonical(codebase)):
        shown = "a value has the form of a key or of a password in an address"
    if shown:
        raise ConfigError(
            f"rea.toml: {shown}: what it says is pinned, and stands in the plan, the store and every report",
            hint="take it out; a trainer can read it from a file of its own, such as ~/.aws/credentials or ~/.netrc",
        )
    missing = [variable for variable in codebase.env if variable not in os.environ]
    if missing:
        raise UsageError(
            f"rea.toml: [codebase] env names {', '.join(missing)}, which this shell does not set",
            hint=f"export {missing[0]}=… and plan again: its value is pinned in the plan",
        )
    return {variable: os.environ[variable] for variable in codebase.env}


MOST_WEIGHT = 1e6


@dataclass(frozen=True, slots=True)
class Edit:
    """What an engineer changes in a plan before signing it. `weights` map hypothesis ids to factors; `split` shares
    the search budget over the three phases; `additions` are override lists such as ("optim.lr=0.01",). `valid`,
    `deadline` and `per_day` are as for `plan`; "none" takes the latter two away."""

    drop: tuple[int, ...] = ()
    weights: Mapping[int, float] | None = None
    additions: tuple[tuple[str, ...], ...] = ()
    split: Mapping[str, float] | None = None
    budget: str | None = None
    rounds: int | None = None
    valid: str | None = None
    deadline: str | None = None
    per_day: str | None = None
    why: str = ""  # of the drops, for the record


def edit(workspace: Workspace, ref: str, change: Edit) -> PlanRecord:
    """A new version of the plan with the change, laid out and estimated anew; an earlier signature is void.

    Where the budget was too small for any plan, another one makes the first, from the profile as it was measured.
    """
    campaign = workspace.store.campaign(ref)
    if campaign.state is CampaignState.PAUSED and workspace.store.latest_plan(campaign.id) is None:
        return _plan_again(workspace, campaign, change)
    record, old = latest_plan(workspace, campaign)
    if campaign.state not in (CampaignState.DRAFTED, CampaignState.APPROVED, CampaignState.PAUSED):
        raise UsageError(
            f"{campaign.title} is {campaign.state.value}: its plan is not open for edits",
            hint="while it runs, steer with `rea hypothesis add|veto`; to change budgets `rea pause` it first",
        )
    hypotheses = {h.id: h for h in workspace.store.hypotheses(campaign.id)}
    for id_ in (*change.drop, *(change.weights or {})):
        if id_ not in hypotheses:
            raise NotFoundError(f"{campaign.title} has no H-{id_}", hint="`rea hypothesis list` shows them")
        if hypotheses[id_].state is HypothesisState.VETOED:
            raise UsageError(f"H-{id_} is vetoed: {hypotheses[id_].reason}", hint="nothing is left to change about it")
    for id_, weight in (change.weights or {}).items():
        if not 0 <= weight <= MOST_WEIGHT:
            raise UsageError(
                f"--weight H-{id_}={weight:g} is not between 0 and {MOST_WEIGHT:g}",
                hint="0 puts it last, 2 makes it twice as wanted",
            )
    workspace.require(Effect.PLAN, campaign)
    now, who = workspace.clock(), this_person(Path(campaign.codebase.root))
    options = {**campaign.options, **_options(campaign, change, now)}
    granted_s = first_validation_s(replace(campaign, options=options), old.baseline, old.profile_s)
    dropped = f"dropped by {who}" + (f": {change.why}" if change.why else "")
    left_out = list(old.left_out)
    with workspace.store.transaction(campaign.id) as tx:
        for id_ in change.drop:
            tx.set_hypothesis(id_, state=HypothesisState.VETOED, reason=dropped)
            left_out.append(LeftOut(hypotheses[id_].draft.title, dropped))
        for id_, weight in (change.weights or {}).items():
            tx.set_hypothesis(id_, draft=replace(hypotheses[id_].draft, weight=weight))
        for words in change.additions:
            draft = engineers_draft(parse_treatment(campaign.codebase, words), who, None, "")
            require_new(tx.hypotheses(campaign.id), campaign, draft, old.baseline_values)
            tx.add_hypotheses(campaign.id, campaign.round, [draft])
        tx.set_campaign(campaign.id, options=options)
        rows = [h for h in tx.hypotheses(campaign.id) if h.state is HypothesisState.PROPOSED]
        plan_ = write_plan(
            replace(campaign, options=options),
            codebase_digest=old.codebase_digest,
            signers_digest=digest(read_signers(Path(campaign.codebase.root))),
            data_digest=old.data_digest,
            baseline=old.baseline,
            baseline_values=old.baseline_values,
            symptoms=priced_anew(old.symptoms, old.baseline.device_s / granted_s if granted_s else None),
            hypotheses=_planned(rows, reading_noise(old.baseline)),
            left_out=left_out,
            needs_code=old.needs_code,
            profile_s=old.profile_s,
            additivity=old.additivity,
            start_by=old.start_by,
            environment=old.environment,
        )
        if digest(canonical(plan_)) == record.digest and change.valid is None:
            hint = "give --drop, --weight, --add, --split, --budget, --rounds, --valid, --deadline or --per-day"
            raise UsageError("the edit changes nothing", hint=hint)
        text = canonical(replace(plan_, start_by=start_by(replace(campaign, options=options), now)))
        new = tx.add_plan(campaign.id, text, digest(text), now)
        if campaign.state is CampaignState.APPROVED:
            tx.set_campaign(campaign.id, state=CampaignState.DRAFTED)
        tx.event(campaign.id, "plan", f"{who} edited the plan: version {new.version}, to be signed anew", now)
    return new


def _plan_again(workspace: Workspace, campaign: Campaign, change: Edit) -> PlanRecord:
    """The first plan of a campaign whose budget held none. No run is made for it and nothing is charged."""
    if change.drop or change.weights or change.additions:
        hint = "give --budget alone (or with --rounds, --split), then shape the plan that comes of it"
        raise UsageError(f"{campaign.title} has no plan yet, so no hypothesis can be changed", hint=hint)
    workspace.require(Effect.PLAN, campaign)
    now, who = workspace.clock(), this_person(Path(campaign.codebase.root))
    options = {**campaign.options, **_options(campaign, change, now)}
    if options == campaign.options:
        raise UsageError("the edit changes nothing", hint=campaign.reason)
    with workspace.store.transaction(campaign.id) as tx:
        tx.set_campaign(
            campaign.id,
            options=options,
            state=CampaignState.PROFILING,
            pause_reason=None,
            reason="",
            next_wake_at=None,
        )
        text = f"{who} asked for a plan with a budget of {options['budget']}, from the same profile"
        tx.event(campaign.id, "planned", text, now)
    wake(workspace, campaign.id)
    # Another wake may have it at this moment; whoever drafts the plan, it is soon there.
    found = wait(workspace, campaign.id, lambda c: c.state is not CampaignState.PROFILING, lambda c: None)
    record = workspace.store.latest_plan(campaign.id)
    if record is None:
        raise GuardrailError(found.reason)
    return record


def require_new(
    hypotheses: Sequence[Hypothesis], campaign: Campaign, draft: HypothesisDraft, values: Mapping[str, Scalar]
) -> None:
    """Raise UsageError where this round has the hypothesis already, or nothing differs from what it stands on."""
    if draft.treatment.without_defaults({**values, **draft.base.overrides}).empty:
        raise UsageError(f"{draft.title} changes nothing", hint="give a value that differs from what is trained now")
    for known in hypotheses:
        if known.round == campaign.round and known.draft.full.key() == draft.full.key():
            words = f"{known.name} ({known.draft.title}) is {draft.title} already and is {known.state.value}"
            raise UsageError(
                words, hint=known.reason or f"`rea plan edit {campaign.title} --weight {known.name}=2` tries it sooner"
            )


def _times(valid: str | None, deadline: str | None, per_day: str | None, now: float) -> dict[str, Any]:
    """How long a plan may be started, the campaign's deadline and what it may use a day, as its options hold them."""
    found: dict[str, Any] = {}
    if valid is not None:
        try:
            found["valid_s"] = parse_duration(valid)
        except ValueError as error:
            raise UsageError(f"--valid {valid!r} is no duration", hint=f"expected {error}") from None
        if found["valid_s"] > FARTHEST_S:
            raise UsageError(f"--valid {valid!r} is a lifetime", hint="give some days or weeks")
    if deadline is not None:
        found["deadline"] = None if deadline.strip().lower() == "none" else _moment(deadline, now)
    if per_day is not None:
        try:
            found["per_day_s"] = None if per_day.strip().lower() == "none" else parse_duration(per_day)
        except ValueError as error:
            raise UsageError(f"--per-day {per_day!r} is no device time", hint=f"expected {error}") from None
    return found


def _moment(text: str, now: float) -> float:
    """Unix time: so long from now, or a moment of UTC where it names no zone. A day without an hour means its end."""
    try:
        at = now + parse_duration(text)
    except ValueError:
        try:
            found = datetime.fromisoformat(text.strip())
        except ValueError:
            hint = "for example 36h, 3d, 2026-12-01 or 2026-12-01T18:00+01:00"
            raise UsageError(f"--deadline {text!r} is no moment", hint=hint) from None
        day = DAY_S if len(text.strip()) <= len("2026-12-01") else 0.0
        at = (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp() + day
    if at > now + FARTHEST_S:
        raise UsageError(f"--deadline {text!r} is a lifetime away", hint="give one nearer, or `none` to do without")
    if at <= now:
        raise UsageError(f"--deadline {text!r} is past", hint="give one to come, or `none` to do without")
    return at


def _options(campaign: Campaign, change: Edit, now: float) -> dict[str, Any]:
    options = _times(change.valid, change.deadline, change.per_day, now)
    if change.budget is not None:
        parse_budget(change.budget, 1.0)
        options["budget"] = change.budget
    if change.rounds is not None:
        _check_rounds(change.rounds)
        options["rounds"] = change.rounds
    if change.split is not None:
        before = campaign.options.get("split") or {phase.value: share for phase, share in SHARES.items()}
        options["split"] = _split(change.split, before)
    return options


def _split(named: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """The shares of all three phases: those not named keep their proportions of what the named ones leave."""
    hint = "for example validation=0.5,combination=0.2,exploitation=0.3"

    def no_split(why: str) -> UsageError:
        said = ",".join(f"{name}={share:g}" for name, share in named.items())
        return UsageError(f"--split {said} is no split of the search budget: {why}", hint=hint)

    known = [phase.value for phase in SEARCH]
    for name, share in named.items():
        if name not in known:
            raise no_split(f"there is no phase {name!r}, only {', '.join(known)}")
        if not share >= 0:
            raise no_split(f"{name} is no share, 0 or more")
    total = sum(named.values())
    kept = {name: before.get(name, 0.0) for name in known if name not in named}
    rest = 1.0 - total
    if any(kept.values()):
        if rest <= 1e-9:
            left = " and ".join(kept)
            raise no_split(f"it leaves nothing for {left}; name what a phase is to have, 0 where it is to have nothing")
        whole = sum(kept.values())
        kept = {name: rest * share / whole for name, share in kept.items()}
    elif total <= 0:
        raise no_split("every phase would have nothing")
    return {name: named.get(name, kept.get(name, 0.0)) for name in known}


def _parts(names: Sequence[str]) -> list[Part]:
    known = ", ".join(part.value for part in Part)
    try:
        return sorted({Part(name) for name in names})
    except ValueError:
        unknown = next(name for name in names if name not in set(Part))
        raise UsageError(f"--without {unknown} is no part of the planner", hint=f"there are: {known}") from None


def _check_rounds(rounds: int | None) -> None:
    if rounds is not None and not 1 <= rounds <= MOST_ROUNDS:
        raise UsageError(f"--rounds {rounds} is no number of rounds", hint=f"give 1 to {MOST_ROUNDS}")


def _planned(rows: Sequence[Hypothesis], noise: float) -> tuple[PlannedHypothesis, ...]:
    by_key = {h.draft.full.key(): h for h in rows}
    return tuple(PlannedHypothesis(by_key[d.full.key()].id, d, s) for d, s in rank([h.draft for h in rows], noise))


def parse_treatment(codebase: Codebase, words: Sequence[str]) -> Treatment:
    """`("optim.lr=0.01", "model.dropout=0.1")` as a treatment, checked against the knobs."""
    import json

    overrides: dict[str, Scalar] = {}
    for word in words:
        name, equals, text = word.partition("=")
        knob = codebase.knob(name.strip())
        if not equals or knob is None:
            known = ", ".join(k.name for k in codebase.knobs)
            raise UsageError(f"{word!r} sets no knob of {codebase.name}", hint=f"write knob=value; knobs are: {known}")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        overrides[knob.name] = as_knob(knob, value if not isinstance(value, list | dict) else text)
    try:
        return Treatment(checked(codebase, Treatment(overrides)))
    except GuardrailError as error:  # what an engineer types is no attempt of a plan at its limits
        raise UsageError(error.message, hint=error.hint) from error


def engineers_draft(treatment: Treatment, who: str, gain: float | None, because: str) -> HypothesisDraft:
    if gain is not None and not abs(gain) <= MOST_GAIN:
        raise UsageError(f"--gain {gain} is no relative gain", hint="write 0.004 for 0.4 %")
    reason = because or f"{who} wants to know"
    if gain is None:
        usual = f"{ENGINEERS_BELIEF.mean * 100:+.1f} ± {ENGINEERS_BELIEF.sd * 100:.1f} %"
        reason += f" (nobody said what it will gain: {usual} is assumed, as of any idea of an engineer)"
    return HypothesisDraft(
        title=treatment.describe(),
        because=reason,
        treatment=treatment,
        effect=Belief(gain, max(abs(gain), 0.002)) if gain is not None else ENGINEERS_BELIEF,
        mechanism="engineer",
        sources=(Source(SourceKind.ENGINEER, who),),
    )
