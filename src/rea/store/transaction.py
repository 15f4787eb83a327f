"""Writing: every change of a campaign's rows, each refused where a state, the budget or the fence forbids it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import insert, select, update

from rea.domain.campaign import Approval, PlanRecord
from rea.domain.codebase import Scalar
from rea.domain.errors import (
    ApprovalNeededError,
    UsageError,
)
from rea.domain.hypothesis import Belief, HypothesisDraft
from rea.domain.ids import say
from rea.domain.insight import ExperimentRecord
from rea.domain.question import Option, Question
from rea.domain.run import Failure, RunDraft, RunResult
from rea.domain.states import (
    CampaignState,
    HypothesisState,
    PlanState,
    RunState,
    check_transition,
)
from rea.store import experiments
from rea.store import tables as t
from rea.store.decode import encode, plain
from rea.store.spending import Spending
from rea.store.working import treatment_digest

_CHANGEABLE: Final = frozenset(
    {"state", "round", "phase", "incumbent", "verdict", "visible", "claim", "reason", "pause_reason", "next_wake_at"}
    | {"ended_at", "options"}
)


class Transaction(Spending):
    """One write transaction on one campaign; everything in it happens or nothing. It can read, too.

    Rows of other campaigns raise NotFoundError: the fence guards this campaign's only.
    """

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

    # runs

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

    # questions, lessons, remedies

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
