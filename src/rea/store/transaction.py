"""Writing: every change of a campaign's rows, each refused where a state, the budget or the fence forbids it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Connection, Row, Table, func, insert, select, update

from rea.domain.campaign import Approval, PlanRecord
from rea.domain.codebase import Scalar
from rea.domain.errors import (
    ApprovalNeededError,
    GuardrailError,
    LeaseLostError,
    NotFoundError,
    ShareUsedUpError,
    TransitionError,
    UsageError,
)
from rea.domain.hypothesis import Belief, HypothesisDraft
from rea.domain.ids import say
from rea.domain.insight import ExperimentRecord
from rea.domain.ledger import Balance, EntryKind, Purse
from rea.domain.moments import utc
from rea.domain.question import Option, Question
from rea.domain.run import Attempt, Failure, RunDraft, RunResult
from rea.domain.share import shares
from rea.domain.states import (
    AttemptState,
    CampaignState,
    HypothesisState,
    PlanState,
    RunState,
    check_transition,
)
from rea.store import experiments, readers
from rea.store import tables as t
from rea.store.decode import encode, plain
from rea.store.queries import Queries
from rea.store.trail import Trail
from rea.store.working import Memory, treatment_digest

OVERRUN_S: Final = 5.0  # device-seconds by which killing a job at its limit may be late
SLACK_S: Final = 1e-9  # device-seconds; sums of floats are not exact
_CHANGEABLE: Final = frozenset(
    {"state", "round", "phase", "incumbent", "verdict", "visible", "claim", "reason", "pause_reason", "next_wake_at"}
    | {"ended_at", "options"}
)
_SPENDING: Final = (CampaignState.PROFILING, CampaignState.RUNNING)


class Transaction(Queries):
    """One write transaction on one campaign; everything in it happens or nothing. It can read, too.

    Rows of other campaigns raise NotFoundError: the fence guards this campaign's only.
    """

    def __init__(self, connection: Connection, campaign: int, fence: int | None, memory: Memory | None = None) -> None:
        super().__init__(connection, memory)
        # The row lock makes writers of a campaign wait for each other on PostgreSQL; SQLite has one writer anyway.
        wanted = select(t.campaigns.c.fence).where(t.campaigns.c.id == campaign).with_for_update()
        held = connection.execute(wanted).scalar()
        if held is None:
            self.campaign(campaign)  # raises NotFoundError with the list
        if fence is not None and fence != held:
            raise LeaseLostError(
                f"{say('C', campaign)} was taken over by another wake (fence {held}, this one has {fence})",
                hint="nothing was written; the other wake goes on",
            )
        self._campaign = campaign
        self._trail = Trail(connection, campaign)

    def close(self) -> None:
        """Put what was written on the trail; the last thing before the commit."""
        self._trail.close()

    def created(self) -> None:
        """The campaign's own row was made in this transaction."""
        self._trail.touch(t.campaigns, self._campaign)

    # campaign

    def set_campaign(self, campaign: int, **changes: Any) -> None:
        """Change what is named (fields of Campaign, as far as they change), leave the rest.

        Raises TransitionError for a state that does not follow.
        """
        self._mine(campaign, campaign, "C")
        unknown = set(changes) - _CHANGEABLE
        if unknown:
            raise TypeError(f"set_campaign() knows no {', '.join(sorted(unknown))}")
        if "state" in changes:
            check_transition(say("C", campaign), self._campaign_state(), CampaignState(changes["state"]))
        if changes.get("incumbent") is not None:
            self._row(t.hypotheses, changes["incumbent"], "H", "hypothesis")
        values: dict[str, Any] = dict(changes)
        for name in ("visible", "claim"):
            if values.get(name) is not None:
                values[name] = encode(values[name])
        if "options" in values:
            values["options"] = encode(values["options"])
        if "reason" in values:
            values["reason"] = plain(values["reason"])
        self._update(t.campaigns, campaign, values)

    # hypotheses

    def add_hypotheses(
        self,
        campaign: int,
        round: int,
        drafts: Sequence[HypothesisDraft],
        state: HypothesisState = HypothesisState.PROPOSED,
    ) -> list[int]:
        """The ids of the drafts, in order. One whose full treatment this round already has gets the existing id."""
        self._mine(campaign, campaign, "C")
        table = t.hypotheses
        digests = [treatment_digest(draft.full.key()) for draft in drafts]
        mine = (table.c.campaign == campaign, table.c.round == round)
        known = self._known(table.c.digest, digests, *mine)
        ids = []
        for draft, digest in zip(drafts, digests, strict=True):
            if digest not in known:
                known[digest] = self._insert(
                    table,
                    campaign=campaign,
                    round=round,
                    digest=digest,
                    state=state,
                    draft=encode(draft),
                    reason="",
                )
            ids.append(known[digest])
        return ids

    def set_hypothesis(
        self,
        id_: int,
        *,
        state: HypothesisState | None = None,
        belief: Belief | None = None,
        reason: str | None = None,
        round: int | None = None,
        draft: HypothesisDraft | None = None,
    ) -> None:
        """None leaves a value as it is. Raises TransitionError; UsageError if the round has that treatment already."""
        row = self._row(t.hypotheses, id_, "H", "hypothesis")
        values: dict[str, Any] = {}
        if state is not None:
            check_transition(say("H", id_), HypothesisState(row.state), state)
            values["state"] = state
        if belief is not None:
            values["belief"] = encode(belief)
        if reason is not None:
            values["reason"] = plain(reason)
        if round is not None:
            values["round"] = round
        if draft is not None:
            values |= {"draft": encode(draft), "digest": treatment_digest(draft.full.key())}
        if round is not None or draft is not None:
            self._check_treatment_once(id_, values.get("round", row.round), values.get("digest", row.digest))
        self._update(t.hypotheses, id_, values)

    def _check_treatment_once(self, id_: int, round_: int, digest: str) -> None:
        table = t.hypotheses
        twin = self._connection.execute(
            select(table.c.id).where(
                table.c.campaign == self._campaign,
                table.c.round == round_,
                table.c.digest == digest,
                table.c.id != id_,
            )
        ).scalar()
        if twin is not None:
            raise UsageError(
                f"{say('H', id_)} would train the same model as {say('H', twin)} in round {round_}",
                hint=f"change {say('H', twin)} instead",
            )

    # runs and attempts

    def add_runs(self, campaign: int, drafts: Sequence[RunDraft]) -> list[int]:
        """The ids of the runs, in order. A key the campaign already has gives the run that has it, unchanged."""
        self._mine(campaign, campaign, "C")
        keys = [plain(draft.key) for draft in drafts]
        known = self._known(t.runs.c.key, keys, t.runs.c.campaign == campaign)
        ids = []
        for draft, key in zip(drafts, keys, strict=True):
            if key not in known:
                if draft.hypothesis is not None:
                    self._row(t.hypotheses, draft.hypothesis, "H", "hypothesis")
                known[key] = self._insert(
                    t.runs,
                    campaign=campaign,
                    key=key,
                    hypothesis=draft.hypothesis,
                    state=RunState.PLANNED,
                    draft=encode(draft),
                    not_before=0.0,
                )
            ids.append(known[key])
        return ids

    def set_run(
        self,
        id_: int,
        *,
        state: RunState | None = None,
        result: RunResult | None = None,
        failure: Failure | None = None,
        not_before: float | None = None,
        adjust: Mapping[str, Scalar] | None = None,
    ) -> None:
        """None leaves a value as it is. Raises TransitionError for a state that does not follow."""
        row = self._row(t.runs, id_, "R", "run")
        values: dict[str, Any] = {}
        if state is not None:
            check_transition(say("R", id_), RunState(row.state), state)
            values["state"] = state
        if result is not None:
            values["result"] = encode(result)
        if failure is not None:
            values["failure"] = encode(failure)
        if not_before is not None:
            values["not_before"] = not_before
        if adjust is not None:
            values["adjust"] = encode(dict(adjust))
        self._update(t.runs, id_, values)

    def intend_attempt(
        self, run: int, *, job: str, run_dir: str, reserve_s: float, at: float, purse: Purse = Purse.MAIN
    ) -> Attempt:
        """Write an attempt down before its launcher is asked, and hold `reserve_s` device-seconds for it.

        The run becomes ACTIVE. Raises GuardrailError if the budget does not hold that much more, TransitionError if
        the run is not waiting to be tried or the campaign starts nothing now.
        """
        row = self._row(t.runs, run, "R", "run")
        _check_amount(reserve_s, f"the reservation for {say('R', run)}")
        state = self._campaign_state()
        if state not in _SPENDING:
            raise TransitionError(f"{say('C', self._campaign)} is {state.value}: it starts nothing")
        table = t.attempts
        earlier = self._connection.execute(
            select(table.c.id, table.c.number, table.c.state).where(table.c.run == run).order_by(table.c.number)
        ).all()
        unfinished = [say("A", before.id) for before in earlier if before.state != AttemptState.ENDED]
        if row.state != RunState.PLANNED or unfinished:
            raise TransitionError(
                f"{say('R', run)} is {row.state} and cannot be tried now",
                hint=f"{', '.join(unfinished)} must end first" if unfinished else "only a planned run can",
            )
        held = self.balance(self._campaign)
        if held.spent + held.reserved + reserve_s > held.approved + SLACK_S:
            raise GuardrailError(
                f"{say('R', run)} would reserve {_hours(reserve_s)}, but {_left(held)}",
                hint="an engineer can raise the budget by signing a new plan",
            )
        self._keep_to_shares(run, reserve_s, at)
        attempt = Attempt(
            id=self._insert(
                table,
                campaign=self._campaign,
                run=run,
                number=len(earlier) + 1,
                job=job,
                run_dir=run_dir,
                state=AttemptState.INTENDED,
                reserved_s=reserve_s,
                intended_at=at,
            ),
            run=run,
            number=len(earlier) + 1,
            job=job,
            run_dir=run_dir,
            state=AttemptState.INTENDED,
            reserved_s=float(reserve_s),
            intended_at=float(at),
        )
        self._enter(EntryKind.RESERVE, reserve_s, at, attempt=attempt.id, purse=purse)
        self._update(t.runs, run, {"state": RunState.ACTIVE})
        return attempt

    def _keep_to_shares(self, run: int, reserve_s: float, at: float) -> None:
        """Raise ShareUsedUpError where the team's day or month holds no more; campaigns of a team ask one by one."""
        wanted = select(t.campaigns.c.codebase).where(t.campaigns.c.id == self._campaign)
        team = readers.team(self._connection.execute(wanted).scalar_one())
        if team is None:
            return
        if self._connection.dialect.name == "postgresql":
            self._connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"rea/team/{team.name}"))))
        for share in shares(None, team, at, lambda since, name: self.used(self._campaign, name, since)):
            if share.used_s + reserve_s > share.limit_s + SLACK_S:
                left = max(0.0, share.left_s())
                raise ShareUsedUpError(
                    f"{say('R', run)} would reserve {_hours(reserve_s)}, and {share.whose} has {_hours(left)} left",
                    hint=f"it goes on by itself {utc(share.until)}",
                )

    def submitted(self, attempt: int) -> None:
        """The launcher has it."""
        row = self._row(t.attempts, attempt, "A", "attempt")
        check_transition(say("A", attempt), AttemptState(row.state), AttemptState.SUBMITTED)
        self._update(t.attempts, attempt, {"state": AttemptState.SUBMITTED})

    def end_attempt(
        self,
        attempt: int,
        *,
        outcome: str,
        failure: Failure | None,
        device_s: float,
        started_at: float | None,
        ended_at: float,
        purse: Purse = Purse.MAIN,
    ) -> None:
        """Write an attempt's end and settle its reservation; the rest of it is free again.

        At most the reservation is settled, so that spent + reserved ≤ approved holds whatever a clock says. What was
        used beyond it stands in the ledger's note and, where it is more than ending a job takes, in the record as an
        event. An attempt that has ended stays as it was.
        """
        row = self._row(t.attempts, attempt, "A", "attempt")
        if row.state == AttemptState.ENDED:
            return
        check_transition(say("A", attempt), AttemptState(row.state), AttemptState.ENDED)
        # Unknown use counts as all of it: the ledger may overstate, never understate.
        used = max(0.0, device_s) if math.isfinite(device_s) else math.inf
        settled = min(used, row.reserved_s)
        self._update(
            t.attempts,
            attempt,
            {
                "state": AttemptState.ENDED,
                "outcome": outcome,
                "failure": None if failure is None else encode(failure),
                "device_s": settled,
                "started_at": started_at,
                "ended_at": ended_at,
            },
        )
        note = f"used {_seconds(used)}" if used > settled else ""
        self._enter(EntryKind.SETTLE, settled, ended_at, attempt=attempt, purse=purse, note=note)
        if used > row.reserved_s + OVERRUN_S:
            self.event(
                self._campaign,
                "overrun",
                f"{say('A', attempt)} used {_seconds(used)} of {_seconds(row.reserved_s)} reserved device-seconds",
                ended_at,
                attempt=attempt,
                device_s=used if math.isfinite(used) else None,
                reserved_s=row.reserved_s,
            )

    # ledger and record

    def set_limit(self, campaign: int, device_s: float, at: float, note: str) -> None:
        """The device-seconds approved from now on. Raises GuardrailError below what is spent and reserved already."""
        self._mine(campaign, campaign, "C")
        _check_amount(device_s, "the budget")
        held = self.balance(campaign)
        if device_s + SLACK_S < held.spent + held.reserved:
            raise GuardrailError(
                f"a budget of {_hours(device_s)} is below what is in use: {_left(held)}",
                hint="approve at least that much, or stop jobs first",
            )
        self._enter(EntryKind.APPROVE, device_s, at, note=note)

    def event(self, campaign: int, kind: str, message: str, at: float, **data: Any) -> int:
        """Add a line to the campaign's record; its id."""
        self._mine(campaign, campaign, "C")
        return self._insert(t.events, campaign=campaign, at=at, kind=kind, message=plain(message), data=encode(data))

    def ask(self, campaign: int, kind: str, subject: str, text: str, options: Sequence[Option], at: float) -> int:
        """Put a question to the engineers; gives its id. One of that kind about the subject is asked once."""
        self._mine(campaign, campaign, "C")
        table = t.questions
        known: int | None = self._connection.execute(
            select(table.c.id).where(table.c.campaign == campaign, table.c.kind == kind, table.c.subject == subject)
        ).scalar()
        if known is not None:
            return known
        return self._insert(
            table,
            campaign=campaign,
            kind=kind,
            subject=subject,
            text=plain(text),
            options=encode(tuple(options)),
            at=at,
        )

    def answer(self, id_: int, option: str, by: str, at: float) -> Question:
        """Keep an engineer's answer. Raises UsageError where it is none of the options, or was given already."""
        row = self._row(t.questions, id_, "Q", "question")
        asked = self.question(id_)
        names = [one.name for one in asked.options]
        if row.answer is not None:
            raise UsageError(f"{asked.name} was answered by {row.by}: {row.answer}", hint="an answer stands")
        if option not in names:
            raise UsageError(f"{option!r} is no answer to {asked.name}", hint=f"choose one of: {', '.join(names)}")
        self._update(t.questions, id_, {"answer": option, "by": by, "answered_at": at})
        return self.question(id_)

    def learn(self, pattern: str, cause: str, at: float) -> None:
        """Count what was found behind a failure that no runbook knows."""
        table, text_ = t.lessons, plain(pattern)
        mine = (table.c.pattern == text_, table.c.cause == cause)
        if not self._connection.execute(update(table).where(*mine).values(seen=table.c.seen + 1, at=at)).rowcount:
            self._connection.execute(insert(table).values(pattern=text_, cause=cause, seen=1, at=at))

    def tried(self, runbook: str, remedy: str, worked: bool) -> None:
        """Count what became of a remedy."""
        table = t.remedies
        mine = (table.c.runbook == runbook, table.c.remedy == remedy)
        counts = {"tried": table.c.tried + 1, "worked": table.c.worked + int(worked)}
        if not self._connection.execute(update(table).where(*mine).values(**counts)).rowcount:
            self._connection.execute(insert(table).values(runbook=runbook, remedy=remedy, tried=1, worked=int(worked)))

    def _enter(
        self,
        kind: EntryKind,
        device_s: float,
        at: float,
        *,
        attempt: int | None = None,
        purse: Purse = Purse.MAIN,
        note: str = "",
    ) -> None:
        self._insert(
            t.entries,
            campaign=self._campaign,
            kind=kind,
            device_s=device_s,
            at=at,
            attempt=attempt,
            purse=purse,
            note=plain(note),
        )

    # plans

    def add_plan(self, campaign: int, text: str, digest: str, at: float) -> PlanRecord:
        """The next version of the plan, as a draft; every older one is superseded."""
        self._mine(campaign, campaign, "C")
        older = self.plans(campaign)
        for plan in older:
            self.set_plan(plan.id, PlanState.SUPERSEDED)
        id_ = self._insert(
            t.plans,
            campaign=campaign,
            version=len(older) + 1,
            state=PlanState.DRAFT,
            text=text,
            digest=digest,
            created_at=at,
        )
        return self.plan(id_)

    def set_plan(self, id_: int, state: PlanState) -> None:
        """Raises TransitionError for a state that does not follow."""
        row = self._row(t.plans, id_, "P", "plan")
        check_transition(say("P", id_), PlanState(row.state), state)
        self._update(t.plans, id_, {"state": state})

    def add_approval(self, approval: Approval) -> None:
        """Keep a signature. Raises ApprovalNeededError if it is over another text than the plan's, or over an old plan.

        A plan that is signed already keeps its first signature.
        """
        row = self._row(t.plans, approval.plan, "P", "plan")
        name = say("P", approval.plan)
        if approval.digest != row.digest:
            raise ApprovalNeededError(
                f"the signature is over {approval.digest[:12]}…, {name} is {row.digest[:12]}…",
                hint="read the plan again and sign it as it is now",
            )
        if row.state not in (PlanState.DRAFT, PlanState.APPROVED):
            raise ApprovalNeededError(f"{name} is {row.state}", hint="read and sign the latest plan")
        if self.approval(approval.plan) is None:
            self._connection.execute(
                insert(t.approvals).values(
                    plan=approval.plan,
                    digest=approval.digest,
                    signer=approval.signer,
                    signature=approval.signature,
                    at=approval.at,
                )
            )
            self._trail.touch(t.approvals, approval.plan)

    def grant(self, campaign: int, name: str, by: str, at: float) -> None:
        """Keep an engineer's permission. One that is given already stays as it was."""
        self._mine(campaign, campaign, "C")
        if all(given.name != name for given in self.grants(campaign)):
            self._connection.execute(insert(t.grants).values(campaign=campaign, name=name, by=by, at=at))
            self._trail.touch(t.grants, name)

    # insights

    def add_experiment(self, record: ExperimentRecord) -> int:
        """Keep what one hypothesis showed in one round; it replaces what was kept of that before. Gives its id."""
        self._mine(record.campaign, record.hypothesis, "H")
        self._row(t.hypotheses, record.hypothesis, "H", "hypothesis")
        table = t.experiments
        known: int | None = self._connection.execute(
            select(table.c.id).where(
                table.c.campaign == record.campaign,
                table.c.hypothesis == record.hypothesis,
                table.c.round == record.round,
            )
        ).scalar()
        if known is not None:
            experiments.revise(self._connection, known, record)
            return known
        (id_,) = experiments.keep(self._connection, [record], own=True)
        return id_

    # shared

    def _campaign_state(self) -> CampaignState:
        wanted = select(t.campaigns.c.state).where(t.campaigns.c.id == self._campaign)
        return CampaignState(self._connection.execute(wanted).scalar_one())

    def _mine(self, campaign: int, id_: int, letter: str) -> None:
        if campaign != self._campaign:
            raise NotFoundError(
                f"{say(letter, id_)} is not part of this transaction, which is {say('C', self._campaign)}'s",
                hint=f"open a transaction of {say('C', campaign)}",
            )

    def _row(self, table: Table, id_: int, letter: str, noun: str) -> Row[Any]:
        row = self._one(table, id_, letter, noun)
        self._mine(row.campaign, id_, letter)
        return row

    def _known(self, column: Column[Any], words: Sequence[str], *mine: ColumnElement[bool]) -> dict[str, int]:
        """The ids of those rows whose column says one of these words, by the word."""
        found: dict[str, int] = {}
        for first in range(0, len(words), 5000):
            some = column.in_(words[first : first + 5000])
            rows = self._connection.execute(select(column, column.table.c.id).where(*mine, some)).all()
            found |= {row[0]: row[1] for row in rows}
        return found

    def _insert(self, table: Table, **values: Any) -> int:
        id_: int = self._connection.execute(insert(table).values(**values).returning(table.c.id)).scalar_one()
        self._trail.touch(table, id_)
        return id_

    def _update(self, table: Table, id_: int, values: dict[str, Any]) -> None:
        if values:
            self._trail.change(table, id_)
            self._connection.execute(update(table).where(table.c.id == id_).values(**values))
            self._trail.touch(table, id_)


def _check_amount(device_s: float, what: str) -> None:
    if not (math.isfinite(device_s) and device_s >= 0):
        raise GuardrailError(f"{what} is {device_s} device-seconds", hint="expected a number, 0 or more")


def _left(held: Balance) -> str:
    return (
        f"{_hours(held.spent)} are spent and {_hours(held.reserved)} reserved of {_hours(held.approved)} approved "
        "device-hours"
    )


def _hours(device_s: float) -> str:
    return f"{device_s / 3600:.4g} h"


def _seconds(device_s: float) -> str:
    return f"{device_s:.2f}" if math.isfinite(device_s) else "an unknown number"
