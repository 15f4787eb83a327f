"""What may be spent and what is: attempts written down before they are made, their ends, and the ledger of both."""

from __future__ import annotations

import math
from typing import Final

from sqlalchemy import func, select

from rea.domain.errors import GuardrailError, ShareUsedUpError, TransitionError
from rea.domain.ids import say
from rea.domain.ledger import Balance, EntryKind, Purse
from rea.domain.moments import utc
from rea.domain.run import Attempt, Failure
from rea.domain.share import shares
from rea.domain.states import AttemptState, CampaignState, RunState, check_transition
from rea.store import readers
from rea.store import tables as t
from rea.store.decode import encode, plain
from rea.store.writing import Writing

OVERRUN_S: Final = 5.0  # device-seconds by which killing a job at its limit may be late
SLACK_S: Final = 1e-9  # device-seconds; sums of floats are not exact
_SPENDING: Final = (CampaignState.PROFILING, CampaignState.RUNNING)


class Spending(Writing):
    """Attempts and the ledger. Nothing is held or spent beyond what was approved, nor beyond a team's shares."""

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
