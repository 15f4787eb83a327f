"""Faults of an agent, planted on purpose: each is one that a careless change could bring, and that weeks in bad weather
have to find."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from rea.domain.jobs import job_name
from rea.domain.run import Attempt
from rea.domain.states import AttemptState
from rea.executor import act
from rea.executor import actions as a
from rea.executor.tools import Wake
from rea.simulation.memory import MemoryStore


def _submit_first(wake: Wake, action: a.Submit) -> None:
    rows, tools = wake.rows(), wake.tools
    run = next(r for r in rows.runs if r.id == action.run)
    number, now = 1 + sum(x.run == run.id for x in rows.attempts), tools.clock()
    job, held = job_name(tools.store.uid, run.id, number), action.walltime_s * rows.campaign.codebase.resources.devices
    folder = str(tools.workbench.run_dir(wake.campaign, run.id, number))
    unwritten = Attempt(0, run.id, number, job, folder, AttemptState.INTENDED, held, now)
    tools.launcher.submit(tools.workbench.job(rows.campaign, run, unwritten, rows.runs), job)
    with wake.transaction() as tx:
        made = tx.intend_attempt(run.id, job=job, run_dir=folder, reserve_s=held, at=now, purse=action.purse)
        tx.submitted(made.id)


@contextmanager
def submitted_before_it_is_written_down() -> Iterator[None]:
    """Whoever dies in between leaves a job that nobody knows of."""
    with patch.dict(act._HANDLERS, {a.Submit: _submit_first}):
        yield


@contextmanager
def nobody_sweeps() -> Iterator[None]:
    """A call that gets lost is lost for good."""
    with patch("rea.executor.decide._sweep", lambda snapshot, now: now + 1e9):
        yield


@contextmanager
def settled_beside_its_run() -> Iterator[None]:
    """An attempt's end and its run's are two transactions: a death between them leaves a run that nobody tries."""
    whole = act.record

    def in_two(wake: Wake, action: a.Record) -> None:
        attempt = next(x for x in wake.rows().attempts if x.id == action.attempt)
        if attempt.state is AttemptState.ENDED:
            return
        report = action.report
        with wake.transaction() as tx:
            tx.end_attempt(
                attempt.id,
                outcome=report.outcome,
                failure=report.failure,
                device_s=report.device_s,
                started_at=None,
                ended_at=wake.tools.clock(),
            )
        whole(wake, action)

    with patch.dict(act._HANDLERS, {a.Record: in_two}):
        yield


@contextmanager
def old_fences_write() -> Iterator[None]:
    """A wake that was stopped for an hour goes on as if nobody had taken over."""
    guarded = MemoryStore.transaction

    def unguarded(self: MemoryStore, campaign: int, fence: int | None = None) -> Any:
        return guarded(self, campaign, None)

    with patch.object(MemoryStore, "transaction", unguarded):
        yield


@contextmanager
def names_used_again() -> Iterator[None]:
    """A second attempt is submitted under the first one's name, and takes that one's end for its own."""
    with patch("rea.executor.act.job_name", lambda uid, run, number: job_name(uid, run, 1)):
        yield


PLANTED: tuple[Callable[[], Any], ...] = (
    submitted_before_it_is_written_down,
    nobody_sweeps,
    settled_beside_its_run,
    old_fences_write,
    names_used_again,
)
