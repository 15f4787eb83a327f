"""The registered codebase as a wake works with it: its worktrees and commands, its signers, what its jobs left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rea.codebase.data import data_profile
from rea.codebase.datafiles import fingerprint
from rea.codebase.environment import observed, untouched
from rea.codebase.git import repository
from rea.codebase.overrides import baseline_values
from rea.codebase.proposal import propose
from rea.domain.campaign import Approval, Campaign, PlanRecord
from rea.domain.codebase import Scalar
from rea.domain.codec import digest
from rea.domain.data import DataProfile
from rea.domain.environment import Environment, changes
from rea.domain.errors import ConfigError
from rea.domain.grants import pinned
from rea.domain.jobs import JobSpec, Observation, Outcome
from rea.domain.lesson import Lesson
from rea.domain.plan import read_plan
from rea.domain.run import Attempt, Run, RunResult
from rea.domain.runbook import Runbook, Signal
from rea.domain.states import AttemptState, Phase, RunState
from rea.domain.treatment import Treatment
from rea.executor.checkpoints import seconds_before
from rea.executor.harvest import harvest
from rea.executor.jobs import Site, build, checkout, environment
from rea.executor.remedies import Remedies
from rea.executor.snapshot import Report
from rea.executor.tools import RowsPort
from rea.executor.triage import Around, assess, unwanted
from rea.guard.approval import verified_approval
from rea.guard.redact import secrets_of
from rea.guard.signing import read_signers
from rea.planner.situation import believed, repairs

DATA_PROFILE_S = 120.0  # a wake waits for it, and a lease is longer than any wake


@dataclass(frozen=True)
class Workbench:
    """Git, files and commands of the codebase a campaign works on. What cannot change is looked up once."""

    site: Site
    runbooks: Callable[[], tuple[Runbook, ...]]
    remedies: Callable[[], Remedies] = dict
    lessons: Callable[[], Mapping[str, Lesson]] = dict
    granted: Callable[[int], frozenset[str]] = lambda _: frozenset()
    _values: dict[int, Mapping[str, Scalar]] = field(default_factory=dict, init=False, repr=False)

    def run_dir(self, campaign: int, run: int, number: int) -> Path:
        return self.site.run_dir(campaign, run, number)

    def values(self, campaign: Campaign) -> Mapping[str, Scalar]:
        if campaign.id not in self._values:
            folder = checkout(self.site, campaign, Treatment())
            self._values[campaign.id] = baseline_values(campaign.codebase, folder)
        return self._values[campaign.id]

    def data(self, campaign: Campaign) -> DataProfile | None:
        limit_s = min(campaign.codebase.resources.walltime_s, DATA_PROFILE_S)
        folder = checkout(self.site, campaign, Treatment())
        return data_profile(campaign.codebase, folder, env=environment(self.site, campaign), limit_s=limit_s)

    def data_digest(self, campaign: Campaign) -> str:
        return fingerprint(Path(campaign.codebase.root), campaign.codebase.data)

    def environment(self, campaign: Campaign) -> Environment | None:
        try:
            return observed(campaign.codebase, Path(campaign.codebase.root), environment(self.site, campaign))
        except ConfigError:
            return None

    def environment_change(self, campaign: Campaign, before: Environment | None) -> str:
        if before is None or untouched(before):
            return ""
        now = self.environment(campaign)
        words = changes(before, now) if now is not None else ""
        return "" if pinned("environment", words) in self.granted(campaign.id) else words

    def signers(self, campaign: Campaign) -> str:
        return digest(read_signers(Path(campaign.codebase.root)))

    def verify(self, plan: PlanRecord, approval: Approval | None, campaign: Campaign) -> None:
        verified_approval(plan, approval, campaign, read_signers(Path(campaign.codebase.root)))

    def job(
        self, campaign: Campaign, run: Run, attempt: Attempt, runs: tuple[Run, ...], avoid: tuple[str, ...] = ()
    ) -> JobSpec:
        boxless = "sandbox" in self.granted(campaign.id)
        return build(self.site, campaign, run, attempt, runs, boxless=boxless, avoid=avoid)

    def report(self, rows: RowsPort, attempt: Attempt, seen: Observation) -> Report:
        run = next(r for r in rows.runs if r.id == attempt.run)
        step = (seen.exit or {}).get("step")
        return assess(
            run,
            seen,
            harvest(Path(attempt.run_dir), str(step) if step else None),
            rows.campaign.codebase,
            lambda: self.values(rows.campaign),
            self.runbooks,
            self._around(rows, run, attempt, seen),
        )

    def _around(self, rows: RowsPort, run: Run, attempt: Attempt, seen: Observation) -> Around:
        before = [a for a in rows.attempts if a.run == run.id and a.state is AttemptState.ENDED]
        hypothesis = next((h for h in rows.hypotheses if h.id == run.draft.hypothesis), None)
        paired = _paired(rows.runs, run)
        begun = {Path(a.run_dir): a.started_at for a in before if a.started_at is not None}
        well = seen.outcome is Outcome.SUCCEEDED
        return Around(
            ended_attempts=1 + len(before),
            reserved_s=attempt.reserved_s,
            paired=paired,
            own=_same_training(rows.runs, run),
            rows=_rows_of_baseline(rows.runs, run, paired),
            cancelled_here=unwanted(rows, run),
            earlier=tuple(a.failure.runbook for a in before if a.failure is not None),
            noise=read_plan(rows.plan).baseline.noise if well and rows.plan is not None else None,
            believed=hypothesis is not None and believed(hypothesis.draft),
            repairs=0 if hypothesis is None else repairs(hypothesis.draft),
            against=self._against(rows, run, well=well),
            secrets=secrets_of(environment(self.site, rows.campaign)),
            lessons=self.lessons,
            before_s=seconds_before(Path(attempt.run_dir), begun),
            remedies={} if well else self.remedies(),
        )

    def _against(self, rows: RowsPort, run: Run, *, well: bool) -> dict[str, str]:
        """What speaks against any result of now: other data, other code that judges, or other packages installed.

        The last speaks against failures, too: what a treatment does in another environment nobody has asked.
        """
        found: dict[str, str] = {}
        plan = read_plan(rows.plan) if rows.plan is not None else None
        changed = self.environment_change(rows.campaign, plan.environment) if plan is not None else ""
        if changed and run.draft.phase is not Phase.REVEAL:  # nothing is trained there
            found[Signal.ENVIRONMENT_CHANGED] = changed
        if not well:
            return found
        found |= self._tampered(rows.campaign)
        if plan is not None and plan.data_digest and self.data_digest(rows.campaign) != plan.data_digest:
            found[Signal.DATA_CHANGED] = "what [codebase] data names is not what the plan pinned"
        return found

    def restore(self, campaign: Campaign) -> tuple[str, ...]:
        """Make the worktree that evaluators start from what its commit is; gives the files that were changed there.

        Not before an engineer has looked: as long as it differs, every result that was judged there is refused.
        """
        folder = checkout(self.site, campaign, Treatment())
        repo = repository(Path(campaign.codebase.root))
        found = repo.altered(folder)
        if found:
            repo.restore(folder)
        return found

    def _tampered(self, campaign: Campaign) -> dict[str, str]:
        """What of the code that has just judged is not as it was committed."""
        if campaign.codebase.evaluate is None:
            return {}
        found = repository(Path(campaign.codebase.root)).altered(checkout(self.site, campaign, Treatment()))
        if not found:
            return {}
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        return {
            Signal.TAMPERED: f"in the worktree that evaluators start from, {', '.join(found[:3])}{more} was changed"
        }

    def propose(self, campaign: Campaign, treatment: Treatment, branch: str, message: str) -> None:
        propose(campaign.codebase, treatment, commit=campaign.commit, branch=branch, message=message)


def _rows_of_baseline(runs: tuple[Run, ...], run: Run, paired: RunResult | None) -> float | None:
    """How many rows the evaluator judged for the baseline: on the same seed, else on all seeds if they agree."""
    if run.draft.phase is Phase.PROFILE:
        return None
    if paired is not None:
        return paired.metrics.get("rows")
    done = [r.result for r in runs if r.draft.treatment.empty and r.state is RunState.SUCCEEDED and r.result]
    counts = {result.metrics["rows"] for result in done if "rows" in result.metrics}
    return counts.pop() if len(counts) == 1 else None


def _same_training(runs: tuple[Run, ...], run: Run) -> RunResult | None:
    """What the same treatment showed in another run that went to its end."""
    key = run.draft.treatment.key()
    done = (r for r in runs if r.state is RunState.SUCCEEDED and r.id != run.id and not r.draft.aside)
    return next((r.result for r in done if r.draft.treatment.key() == key), None)


def _paired(runs: tuple[Run, ...], run: Run) -> RunResult | None:
    """The baseline's result on the same seed."""
    for other in runs:
        same = other.draft.treatment.empty and other.draft.seed == run.draft.seed and other.id != run.id
        same = same and not other.draft.aside
        if same and other.state is RunState.SUCCEEDED:
            return other.result
    return None
