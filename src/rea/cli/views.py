"""What the commands show: plain values for --json, text for people."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rea.cli.output import table
from rea.domain.campaign import Campaign, Event, PlanRecord
from rea.domain.codec import digest
from rea.domain.errors import NotFoundError, ReaError
from rea.domain.hypothesis import Hypothesis
from rea.domain.ids import number, say
from rea.domain.ledger import Balance
from rea.domain.moments import utc
from rea.domain.plan import read_plan
from rea.domain.run import Attempt, Run
from rea.domain.share import Share
from rea.domain.states import AttemptState, CampaignState, Phase, RunState, is_terminal
from rea.report.text import device_time, disk, duration, moment, plural, shorten
from rea.workspace import Workspace
from rea.workspace.auditing import MOST_LISTED, Audit
from rea.workspace.checking import Health
from rea.workspace.cleaning import Cleaning
from rea.workspace.governance import shares_of
from rea.workspace.inbox import Inbox
from rea.workspace.runbooks import Known
from rea.workspace.waking import Attendance

WIDEST = 60  # characters of a cell that holds free text
SILENT_S = 3600.0  # beyond the limit of what runs: without a word for longer, a campaign that should go on may not
DISTANT_S = 1e8  # a run that waits for longer waits for what an investigation finds
LATE_S = 30.0  # after its limit: a wrapper ends its job by itself
WAITING = (CampaignState.DRAFTED, CampaignState.APPROVED, CampaignState.PAUSED)


def brief(campaign: Campaign) -> dict[str, Any]:
    claim = campaign.claim or campaign.visible
    return {
        "id": campaign.title,
        "name": campaign.name,
        "state": campaign.state,
        "round": campaign.round,
        "phase": campaign.phase,
        "incumbent": say("H", campaign.incumbent) if campaign.incumbent else None,
        "verdict": campaign.verdict,
        "reason": campaign.reason,
        "gain": claim.gain if claim else None,
        "ci_low": claim.ci_low if claim else None,
        "ci_high": claim.ci_high if claim else None,
        "split": claim.split if claim else None,
    }


def lines_of(reason: str) -> str:
    """A campaign's reason as it is printed: what to do next on a line of its own."""
    return reason.replace(" → ", "\n  → ")


def said(campaign: Campaign) -> str:
    """A campaign's state and why it has it, in a line or two."""
    words = f"{campaign.title} {campaign.name}: {campaign.state.value}"
    return f"{words}\n  {lines_of(campaign.reason)}" if campaign.reason else words


def exit_code(campaign: Campaign) -> int:
    """What a command that waited for this campaign ends with."""
    if campaign.state is CampaignState.FAILED:
        return 1
    return 5 if campaign.state is CampaignState.PAUSED else 0


def _spent(workspace: Workspace, campaign: Campaign) -> str:
    code = campaign.codebase
    try:
        balance, approved = workspace.store.balance(campaign.id), _approved(workspace, campaign)
    except ReaError:
        return f"unreadable: `rea check {campaign.title}`"
    if approved:
        return f"{device_time(balance.spent, code)} of {device_time(balance.approved, code)}"
    return f"{device_time(balance.spent, code)} (profile)"


def campaign_table(workspace: Workspace, campaigns: Sequence[Campaign]) -> str:
    if not campaigns:
        return "no campaigns yet; `rea plan` in a codebase starts one"
    rows = []
    for campaign in campaigns:
        claim = campaign.claim or campaign.visible
        gain = f"{claim.gain:+.2%} on {claim.split}" if claim else "–"
        spent = _spent(workspace, campaign)
        where = f"{campaign.round}/{campaign.phase.value}"
        state = campaign.verdict.value if campaign.verdict else campaign.state.value
        rows.append((campaign.title, campaign.name, state, where, spent, gain))
    return table(("id", "name", "state", "round/phase", "spent", "gain"), rows)


def status(workspace: Workspace, campaign: Campaign) -> dict[str, Any]:
    runs, attempts = workspace.store.runs(campaign.id), workspace.store.attempts(campaign.id)
    balance = workspace.store.balance(campaign.id)
    counts = {state.value: sum(1 for run in runs if run.state is state) for state in RunState}
    now = workspace.clock()
    devices = campaign.codebase.resources.devices
    running = [_running(runs, a, now, devices) for a in attempts if a.state is not AttemptState.ENDED]
    events = workspace.store.events(campaign.id)
    return {
        **brief(campaign),
        "notices": _notices(workspace, campaign, runs, events, running, now),
        "spent_s": balance.spent,
        "reserved_s": balance.reserved,
        "approved_s": balance.approved,
        "budget": _budget_words(workspace, campaign, balance),
        "warning": digest_warning(workspace.store.latest_plan(campaign.id)),
        "runs": counts,
        "running": running,
        "hypotheses": workspace.store.hypotheses(campaign.id),
        "events": events[-10:],
    }


def _notices(
    workspace: Workspace,
    campaign: Campaign,
    runs: Sequence[Run],
    events: Sequence[Event],
    running: Sequence[dict[str, Any]],
    now: float,
) -> list[str]:
    """What an engineer should know, in words: deadlines, used-up shares, outages, open questions, a long silence."""
    record, state, found = workspace.store.latest_plan(campaign.id), campaign.state, []
    plan = None
    if record is not None and not is_terminal(state):
        with suppress(ReaError):  # whoever asks for the plan is told
            plan = read_plan(record)
    if plan is not None and plan.finish_by is not None:
        found.append(f"to have ended by {moment(plan.finish_by)}{_until(plan.finish_by, now)}")
    if plan is not None and plan.start_by is not None and state in WAITING:
        word = "resumed" if state is CampaignState.PAUSED else "started"
        found.append(f"may be {word} until {moment(plan.start_by)}{_until(plan.start_by, now)}")
    if campaign.away_since is not None and not is_terminal(state):
        kind, away = campaign.codebase.launcher.kind, duration(max(0.0, now - campaign.away_since))
        found.append(f"the {kind} launcher has not answered for {away}; nothing is submitted until it does")
    asked = [q.name for q in workspace.store.questions(campaign.id) if q.answer is None]
    if asked and not is_terminal(state):
        found.append(f"{', '.join(asked)} {'waits' if len(asked) == 1 else 'wait'} for an answer: `rea inbox`")
    if state in (CampaignState.PROFILING, CampaignState.RUNNING):
        per_day_s = plan.per_day_s if plan is not None else None
        found += [_of_share(share, campaign) for share in shares_of(workspace, campaign, per_day_s)]
    waiting = [run for run in runs if run.state is RunState.PLANNED and now < run.not_before < now + DISTANT_S]
    for run in sorted(waiting, key=lambda run: run.not_before)[:3]:
        why = f": {shorten(run.failure.message, WIDEST)}" if run.failure is not None else ""
        found.append(f"{run.name} is tried again in {duration(run.not_before - now)}{why}")
    late = [job["run"] for job in running if job["for_s"] > job["limit_s"] + LATE_S]
    if late:
        found.append(f"{', '.join(late)} should have ended by its limit: `rea wake` looks, a daemon would by itself")
    silent_s = now - max((event.at for event in events), default=now)
    usual_s = max((job["limit_s"] for job in running), default=0.0)
    if state in (CampaignState.PROFILING, CampaignState.RUNNING) and silent_s > SILENT_S + usual_s:
        found.append(f"nothing was written for {duration(silent_s)}; does anybody wake it? `rea daemon status` tells")
    return found


def _of_share(share: Share, campaign: Campaign) -> str:
    used, limit = (device_time(amount, campaign.codebase) for amount in (share.used_s, share.limit_s))
    words = f"{used} of {limit} used in {share.whose}"
    if share.left_s() <= 0:
        return f"{words}: used up, and it goes on {utc(share.until)}"
    return f"{words}, which ends {utc(share.until)}"


def _until(at: float, now: float) -> str:
    return f", in {duration(at - now)}" if at > now else ", which is past"


def digest_warning(record: PlanRecord | None) -> str:
    """What to say of a plan whose text is no longer the one its digest was taken of; empty where it is."""
    if record is None or digest(record.text) == record.digest:
        return ""
    which = f"{say('P', record.id)}, version {record.version}"
    return (
        f"warning: the text of plan {which}, was changed after it was drafted: it does not have its digest"
        f" {record.digest[:12]}, and no signature holds for it"
    )


def _approved(workspace: Workspace, campaign: Campaign) -> bool:
    """Whether an engineer has signed a plan of it: until then the limit is what the profile alone may take."""
    if campaign.state in (CampaignState.PROFILING, CampaignState.DRAFTED):
        return False
    plans = workspace.store.plans(campaign.id)
    return any(workspace.store.approval(plan.id) is not None for plan in plans)


def _budget_words(workspace: Workspace, campaign: Campaign, balance: Balance) -> str:
    code = campaign.codebase
    spent, reserved = device_time(balance.spent, code), device_time(balance.reserved, code)
    if not _approved(workspace, campaign):
        running = f", {reserved} reserved" if balance.reserved else ""
        return f"profile: {spent} spent{running}; nothing approved yet"
    return f"{spent} of {device_time(balance.approved, code)} spent, {reserved} reserved"


def _running(runs: Sequence[Run], attempt: Attempt, now: float, devices: int) -> dict[str, Any]:
    run = next(run for run in runs if run.id == attempt.run)
    who = say("H", run.draft.hypothesis) if run.draft.hypothesis else "baseline"
    return {
        "run": run.name,
        "of": who,
        "seed": run.draft.seed,
        "what": _trained(run),
        "phase": run.draft.phase,
        "for_s": round(now - attempt.intended_at, 1),
        "predicted_s": round(run.draft.predicted_s, 1),
        "limit_s": round(attempt.reserved_s / devices, 1),
    }


def _trained(run: Run) -> str:
    """Which training of a treatment it is; a reveal trains nothing."""
    return "the sealed split" if run.draft.phase is Phase.REVEAL else f"seed {run.draft.seed}"


def status_text(whole: dict[str, Any], room: int | None = None) -> str:
    """Where a campaign stands; in at most `room` lines, of which the tested hypotheses and then old events give way."""
    state = f"{whole['id']} {whole['name']}: {whole['state'].value}"
    if whole["state"] in (CampaignState.RUNNING, CampaignState.PAUSED):
        state += f", round {whole['round']}, {whole['phase'].value}"
    if whole["reason"]:
        state += f"\n  {lines_of(whole['reason'])}"
    if whole["warning"]:
        state += f"\n  {whole['warning']}"
    state += "".join(f"\n  {words}" for words in whole["notices"])
    counts = ", ".join(f"{count} {name}" for name, count in whole["runs"].items() if count)
    lines = [*state.splitlines(), f"budget: {whole['budget']}", f"runs: {counts or 'none'}"]
    if whole["gain"] is not None:
        interval = f"{whole['ci_low']:+.2%} to {whole['ci_high']:+.2%}"
        lines.append(f"gain on {whole['split']}: {whole['gain']:+.2%} (95 %: {interval})")
    lines += [
        f"  {job['run']} {job['of']} {job['what']}: {duration(job['for_s'])} of about {duration(job['predicted_s'])},"
        f" limit {duration(job['limit_s'])}"
        for job in whole["running"]
    ]
    tested = sorted((h for h in whole["hypotheses"] if h.belief is not None), key=lambda h: -h.belief.mean)[:10]
    events = [event_line(event) for event in whole["events"]]
    if room is not None:
        # Around the table are its two head lines and a blank one; before the events another.
        tested = tested[: max(0, room - len(lines) - len(events) - 4)]
        left = room - len(lines) - (len(tested) + 3 if tested else 0) - 1
        events = events[-left:] if left > 0 else []
    if tested:
        lines += ["", *hypothesis_table(tested).splitlines()]
    return "\n".join([*lines, "", *events])


def event_line(event: Event) -> str:
    return f"{time.strftime('%m-%d %H:%M:%S', time.localtime(event.at))}  {event.message}"


def attendance_text(found: Attendance, now: float) -> str:
    note = found.daemon
    swept = f"last swept {_ago(note.get('swept_at'), now)}"
    if found.alive:
        who = f"process {note['pid']} on {note['host']}" if {"pid", "host"} <= note.keys() else "one"
        lines = [f"a daemon attends {found.folder}: {who}, started {_ago(note.get('started_at'), now)}, {swept}"]
        if note.get("failures"):
            lines.append(f"  its last {note['failures']} wakes failed, the last with exit code {note.get('exit')}")
    else:
        before = f"; the last one here {swept}" if note.get("swept_at") else ""
        lines = [
            f"no daemon attends {found.folder}{before}",
            "  → `rea daemon`, `rea service install`, or `rea wake` now and then",
        ]
    files = [f"{count} of {name}" for name, count in found.waiting.items()]
    files += [f"{found.others} of other stores"] if found.others else []
    lines.append(f"wake files: {', '.join(files) or 'none'}")
    dues = [
        f"{name} now" if at is None or at <= now else f"{name} in {duration(at - now)}"
        for name, at in found.due.items()
    ]
    return "\n".join([*lines, f"due: {', '.join(dues) or 'no campaign has anything under way'}"])


def health_text(found: Health) -> str:
    lines = [f"{found.store}: schema {found.revision}"]
    lines += [f"  database: {line}" for line in found.database] or ["  database: sound"]
    lines += [f"  {name}: {'; '.join(wrong) if wrong else 'all holds'}" for name, wrong in found.campaigns.items()]
    lines += [f"  {line}" for line in found.runs] or ["  run directories: all that are needed are there"]
    return "\n".join([*lines, *(f"  by the way, {line}" for line in found.asides)])


def inbox_text(found: Inbox) -> str:
    lines = []
    for one, campaign in found.questions:
        lines.append(f"{one.name}  {campaign.title}  {one.text}")
        for option in one.options:
            cost = f" (about {device_time(option.cost_s, campaign.codebase)})" if option.cost_s else ""
            lines.append(f"    rea answer {one.name} {option.name}: {option.words}{cost}")
    for waits in found.waiting:
        lines.append(f"{waits.campaign.title} {waits.campaign.name} ({waits.campaign.state.value}): {waits.why}")
        lines += [f"    {way}" for way in waits.ways]
    return "\n".join(lines) or "nothing waits for you"


def runbooks_text(found: Known) -> str:
    rows = []
    for book in found.runbooks:
        told = [f"{remedy}: {worked} of {times}" for remedy, times, worked in found.tried.get(book.name, ())]
        rows.append((book.name, book.kind.value, book.policy.action.value, book.title, "; ".join(told)))
    lines = [table(("runbook", "class", "action", "recognises", "worked"), rows)]
    for lesson in found.lessons:
        causes = ", ".join(f"{cause} {count}×" for cause, count in sorted(lesson.causes.items()))
        state = f"trusted: {lesson.cause}" if lesson.cause else "proposed"
        lines.append(f"{state}  {lesson.pattern}  ({causes})")
    return "\n".join(lines)


def audit_text(found: Sequence[Audit]) -> str:
    lines = []
    for one in found:
        places = f", held against {plural(one.witnesses, 'head')} kept elsewhere" if one.witnesses else ""
        lines.append(f"{one.campaign}: {plural(one.links, 'link')}{places}: {'whole' if one.whole else 'NOT WHOLE'}")
        lines += [f"  ✗ {fault}" for fault in one.faults[:MOST_LISTED]]
        if len(one.faults) > MOST_LISTED:
            lines.append(f"  … and {len(one.faults) - MOST_LISTED} more: --json has them all")
    return "\n".join(lines) or "there is no campaign yet"


def cleaning_text(found: Sequence[Cleaning], done: bool = False) -> str:
    if not found:
        return "nothing to clean: only campaigns that have ended are, and of those what is no record"
    rows = [
        (one.campaign, one.name, one.files, disk(one.outputs), disk(one.worktrees), disk(one.kept)) for one in found
    ]
    body = table(("id", "name", "files", "outputs", "worktrees", "stays"), rows)
    return f"{body}\n\n{disk(sum(one.freed for one in found))} {'were freed' if done else 'would go'}"


def _ago(at: object, now: float) -> str:
    return f"{duration(max(0.0, now - at))} ago" if isinstance(at, int | float) else "at a time unknown"


def hypothesis_table(hypotheses: Iterable[Hypothesis]) -> str:
    rows = [
        (
            h.name,
            h.state.value,
            f"{h.draft.effect.mean:+.2%} ± {h.draft.effect.sd:.2%}",
            f"{h.belief.mean:+.2%} ± {h.belief.sd:.2%}" if h.belief else "–",
            "+".join(dict.fromkeys(source.kind.value for source in h.draft.sources)),
            shorten(h.draft.title, WIDEST),
            shorten(h.draft.treatment.describe(), WIDEST),
        )
        for h in hypotheses
    ]
    return table(("id", "state", "expected", "believed", "source", "title", "treatment"), rows)


def checklist(checks: Iterable[Any]) -> str:
    lines = []
    for check in checks:
        mark = {True: "✓", False: "✗", None: "?"}[check.ok]
        words = getattr(check, "words", None) or getattr(check, "message", "")
        lines.append(f"{mark} {check.name}: {words}" + (f"\n    → {check.hint}" if check.hint and not check.ok else ""))
    return "\n".join(lines)


def show(workspace: Workspace, what: str) -> tuple[Any, str]:
    """A campaign, hypothesis or run by its spoken id; names are campaigns."""
    letter = what[:1].upper() if what[1:2] == "-" or what[1:].isdigit() else "C"
    store = workspace.store
    if letter == "H":
        hypothesis = store.hypothesis(number(what, "H"))
        runs = [run for run in store.runs(hypothesis.campaign) if run.draft.hypothesis == hypothesis.id]
        return {"hypothesis": hypothesis, "runs": runs}, _hypothesis_text(hypothesis, runs)
    if letter == "R":
        run = store.run(number(what, "R"))
        attempts = [attempt for attempt in store.attempts(run.campaign) if attempt.run == run.id]
        return {"run": run, "attempts": attempts}, _run_text(run, attempts)
    campaign = store.campaign(what)
    whole = {**status(workspace, campaign), "runs": store.runs(campaign.id)}
    text = status_text(status(workspace, campaign)) + "\n\n" + run_table(store.runs(campaign.id))
    return whole, text


def _hypothesis_text(h: Hypothesis, runs: Sequence[Run]) -> str:
    sources = "\n".join(f"  {source.kind.value}: {source.note}" for source in h.draft.sources)
    cited = "".join(f"\n  {citation}" for citation in h.draft.citations)
    lines = [
        f"{h.name} {h.draft.title}: {h.state.value}",
        f"because: {h.draft.because}",
        f"treatment: {h.draft.treatment.describe()}",
        f"on top of: {h.draft.base.describe()}",
        f"expected: {h.draft.effect.mean:+.3%} ± {h.draft.effect.sd:.3%}, cost × {h.draft.cost_factor:g}",
    ]
    if h.belief is not None:
        lines.append(f"believed: {h.belief.mean:+.3%} ± {h.belief.sd:.3%}; {h.reason}")
    lines.append(f"sources:\n{sources or '  none'}{cited}")
    return "\n".join(lines) + "\n\n" + run_table(runs)


def _run_text(run: Run, attempts: Sequence[Attempt]) -> str:
    lines = [f"{run.name}: {run.state.value}, {run.draft.phase.value}, {_trained(run)}"]
    if run.draft.phase is not Phase.REVEAL:
        lines.append(f"treatment: {run.draft.treatment.describe()}")
    if run.result is not None:
        lines.append("metrics: " + ", ".join(f"{k} {v:.6g}" for k, v in run.result.metrics.items()))
        lines.append(
            f"wall {run.result.wall_s:.1f} s, cpu {run.result.cpu_s:.1f} s, {run.result.peak_memory_bytes >> 20} MiB"
        )
    if run.failure is not None:
        lines.append(f"failure ({run.failure.runbook}, class {run.failure.kind}): {run.failure.message}")
        if run.failure.line:
            lines.append(f"  {run.failure.line.strip()}")
    for attempt in attempts:
        used = f"{attempt.device_s:.1f} s" if attempt.device_s is not None else f"{attempt.reserved_s:.0f} s reserved"
        lines.append(f"attempt {attempt.number}: {attempt.outcome or attempt.state.value}, {used}, {attempt.run_dir}")
    return "\n".join(lines)


def run_table(runs: Sequence[Run]) -> str:
    rows = [
        (
            run.name,
            say("H", run.draft.hypothesis) if run.draft.hypothesis else "baseline",
            run.draft.phase.value,
            run.draft.seed if run.draft.phase is not Phase.REVEAL else None,
            run.state.value,
            f"{run.result.wall_s:.1f} s" if run.result else "–",
            shorten(run.draft.treatment.describe(), WIDEST) if run.draft.phase is not Phase.REVEAL else _trained(run),
        )
        for run in runs
    ]
    return table(("run", "of", "phase", "seed", "state", "wall", "treatment"), rows)


def logs(workspace: Workspace, what: str, lines: int) -> tuple[Any, str]:
    """The output of a run's last attempt, or a campaign's record."""
    if what[:1].upper() == "R" and what.lstrip("Rr-").isdigit():
        run = workspace.store.run(number(what, "R"))
        attempts = [a for a in workspace.store.attempts(run.campaign) if a.run == run.id]
        if not attempts:
            raise NotFoundError(f"{run.name} has not started", hint=f"it is {run.state.value}")
        folder = Path(attempts[-1].run_dir)
        texts = {path.name: _tail(path, lines) for path in sorted(folder.glob("*.log"))}
        recognised = run.failure.detail if run.failure is not None else ""
        shown = {**texts, "how the failure was recognised": recognised}
        text = "\n".join(f"── {name} ──\n{body}" for name, body in shown.items() if body)
        value = {"run": run.name, "folder": str(folder), "logs": texts, "recognised": recognised}
        return value, text or f"nothing was printed; see {folder}"
    events = workspace.store.events(workspace.store.campaign(what).id)[-lines:]
    return events, "\n".join(event_line(event) for event in events)


def _tail(path: Path, lines: int) -> str:
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 200 * lines))
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])


def budget(workspace: Workspace, campaign: Campaign) -> tuple[Any, str]:
    balance = workspace.store.balance(campaign.id)
    entries = workspace.store.entries(campaign.id)
    head = _budget_words(workspace, campaign, balance)
    rows = [
        (
            time.strftime("%m-%d %H:%M:%S", time.localtime(entry.at)),
            entry.kind.value,
            round(entry.device_s, 1),
            say("A", entry.attempt) if entry.attempt else "–",
            entry.purse.value,
            entry.note,
        )
        for entry in entries
    ]
    body = table(("at", "entry", "device-seconds", "attempt", "purse", "note"), rows)
    return {"balance": balance, "entries": entries}, f"{head}\n\n{body}"
