"""What always holds of a campaign, whatever has happened to the machines that it runs on."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from rea.domain.campaign import Campaign
from rea.domain.hypothesis import Hypothesis
from rea.domain.run import Attempt, Run
from rea.domain.states import AttemptState, CampaignState, Phase, PlanState, RunState, is_terminal
from rea.executor.tools import RowsPort

ROUNDING_S = 1e-6  # device-seconds; sums of floats are not exact
_ALIVE = (CampaignState.PROFILING, CampaignState.RUNNING)


def violations(rows: RowsPort) -> list[str]:
    """What does not hold of a campaign's rows now, in words; empty where all is well."""
    found = []
    held, campaign = rows.balance, rows.campaign
    if held.spent + held.reserved > held.approved + ROUNDING_S:
        found.append(f"{held.spent + held.reserved} device-seconds are spent or reserved of {held.approved} approved")
    open_ = [attempt for attempt in rows.attempts if attempt.state is not AttemptState.ENDED]
    by_run = Counter(attempt.run for attempt in open_)
    found += [f"R-{run} has {count} open attempts" for run, count in by_run.items() if count > 1]
    active = {run.id for run in rows.runs if run.state is RunState.ACTIVE}
    found += [f"R-{run} is active without an open attempt" for run in sorted(active - by_run.keys())]
    found += [f"R-{run} has an open attempt and is not active" for run in sorted(by_run.keys() - active)]
    keys = Counter(run.draft.key for run in rows.runs)
    found += [f"{count} runs are {key}" for key, count in keys.items() if count > 1]
    jobs = Counter(attempt.job for attempt in rows.attempts)
    found += [f"{count} attempts are the job {job}" for job, count in jobs.items() if count > 1]
    counted = [attempt for attempt in rows.attempts if attempt.outcome == "succeeded" and attempt.failure is None]
    succeeded = Counter(attempt.run for attempt in counted)
    done = {run.id: run for run in rows.runs if run.state is RunState.SUCCEEDED}
    found += [f"R-{id_} succeeded without a result" for id_, run in done.items() if run.result is None]
    found += [f"R-{id_} succeeded {succeeded[id_]} times" for id_ in done if succeeded[id_] > 1]
    spent = [attempt for attempt in rows.attempts if (attempt.device_s or 0.0) > attempt.reserved_s + ROUNDING_S]
    found += [f"A-{attempt.id} is charged more than it reserved" for attempt in spent]
    searching = [run for run in rows.runs if run.draft.phase is not Phase.PROFILE]
    begun = {attempt.run for attempt in rows.attempts}
    signed = rows.approval is not None and rows.plan is not None and rows.plan.digest == rows.approval.digest
    redrafted = rows.plan is not None and rows.plan.state is PlanState.DRAFT
    if not signed and not redrafted and any(run.id in begun for run in searching):
        found.append("runs of the search were started without a signature")
    at = campaign.next_wake_at  # None: due at once
    if campaign.state in _ALIVE and at is not None and not math.isfinite(at):
        found.append(f"it is {campaign.state.value} and nothing will ever wake it")
    if campaign.state is CampaignState.PAUSED and campaign.pause_reason is None:
        found.append("it is paused and asks nobody for anything")
    return found


@dataclass
class Record:
    """What was terminal when it was last looked at: it stays as it was."""

    ended: dict[str, str] = field(default_factory=dict)
    results: dict[int, object] = field(default_factory=dict)
    reached: tuple[int, int] = (0, 0)  # the round, and how far in it
    seen: dict[str, object] = field(default_factory=dict)  # rows by name, as they were: the same value holds no news

    def changed(self, rows: RowsPort) -> list[str]:
        """What came back from its end, or has another result than it had, since the last look."""
        now: dict[str, Campaign | Hypothesis | Run | Attempt] = {rows.campaign.title: rows.campaign}
        now |= {h.name: h for h in rows.hypotheses} | {run.name: run for run in rows.runs}
        now |= {f"A-{attempt.id}": attempt for attempt in rows.attempts}
        found = [f"{name} was {old} and is gone" for name, old in self.ended.items() if name not in now]
        for name, row in now.items():
            if self.seen.get(name) is row:
                continue
            self.seen[name] = row
            if name in self.ended and self.ended[name] != str(row.state):
                found.append(f"{name} was {self.ended[name]} for good and is {row.state}")
            if is_terminal(row.state):
                self.ended[name] = str(row.state)
            if isinstance(row, Run):
                found += self._result(row)
        at = rows.campaign.round, list(Phase).index(rows.campaign.phase)
        if at < self.reached:
            found.append(f"it went back to {rows.campaign.phase.value} of round {rows.campaign.round}")
        self.reached = max(self.reached, at)
        return found

    def _result(self, run: Run) -> list[str]:
        changed = run.id in self.results and self.results[run.id] != run.result
        if run.result is not None and is_terminal(run.state):
            self.results[run.id] = run.result
        return [f"the result of {run.name} has changed"] if changed else []
