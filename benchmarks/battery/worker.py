"""One campaign of the battery, in a process of its own: prints what became of each kind as JSON.

python benchmarks/battery/worker.py FOLDER SEED KIND...
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(Path(__file__).parent)]

from codebases import CODEBASES, setting  # noqa: E402
from kinds import BY_NAME, Kind, Right  # noqa: E402

from rea.domain.campaign import Campaign  # noqa: E402
from rea.domain.hypothesis import Hypothesis  # noqa: E402
from rea.domain.run import Attempt, Run  # noqa: E402
from rea.domain.states import CampaignState, HypothesisState, PauseReason, RunState, is_terminal  # noqa: E402
from rea.executor.invariants import violations  # noqa: E402
from rea.executor.record import ALSO  # noqa: E402
from rea.workspace import Workspace, planning, steering, waking  # noqa: E402
from support.desk import Desk, opened  # noqa: E402

MOST_PAUSES = 60
PATIENCE_S = 1500.0


def main() -> None:
    folder, seed, names = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    kinds = [BY_NAME[name] for name in names]
    codebase = CODEBASES[kinds[0].codebase]
    code = codebase.make(folder / "made", kinds)
    with opened(folder / "desk", code=code, toml=dict(codebase.toml)) as desk:
        workspace = desk.workspace()
        campaign = desk.plan(
            workspace,
            budget=f"{codebase.budget_runs}r",
            rounds=1,
            profile_runs=2,
            seed=seed,
            without=codebase.without,
        )
        if campaign.state is not CampaignState.DRAFTED:
            raise SystemExit(f"no plan: {campaign.reason}")
        settings = [setting(kind, number) for number, kind in enumerate(kinds)]
        split = {"validation": 0.8, "combination": 0.15, "exploitation": 0.05}
        desk.keep(workspace, campaign, *settings, *codebase.sound, split=split)
        weigh(workspace, campaign, settings, codebase.weight)
        desk.approve(workspace, campaign)
        pauses = run(workspace, desk, campaign)
        print(json.dumps(told(workspace, campaign.id, kinds, settings, pauses)))


def weigh(workspace: Workspace, campaign: Campaign, settings: list[str], weight: float) -> None:
    """An engineer's weight on the hypotheses with a fault."""
    if weight != 1.0:
        keys = {planning.parse_treatment(campaign.codebase, words.split()).key() for words in settings}
        mine = [h.id for h in workspace.store.hypotheses(campaign.id) if h.draft.treatment.key() in keys]
        planning.edit(workspace, campaign.title, planning.Edit(weights=dict.fromkeys(mine, weight)))


def run(workspace: Workspace, desk: Desk, campaign: Campaign) -> list[str]:
    """Until it has ended; an engineer lets it go on wherever it is held. Gives the reasons why it was."""
    pauses: list[str] = []
    deadline = time.monotonic() + PATIENCE_S
    steering.start(workspace, campaign.title)
    while True:
        found = waiting(
            workspace, campaign.id, lambda c: c.state is CampaignState.PAUSED or is_terminal(c.state), deadline
        )
        if is_terminal(found.state):
            return pauses
        # What still runs may meet something else that an engineer has to mend.
        held = waiting(workspace, campaign.id, lambda c: not busy(workspace, c.id), deadline)
        pauses += [f"{held.pause_reason}: {why}" for why in (held.reason or "").split(ALSO)]
        if found.pause_reason is PauseReason.BUDGET or len(pauses) > MOST_PAUSES or time.monotonic() > deadline:
            return pauses
        steering.resume(workspace, campaign.title)


def waiting(workspace: Workspace, campaign: int, until: Callable[[Campaign], bool], deadline: float) -> Campaign:
    def tick(found: Campaign) -> None:
        if time.monotonic() > deadline:
            raise SystemExit(f"{found.title} is still {found.state.value} in {found.phase.value}")

    return waking.wait(workspace, campaign, until, tick, poll_s=0.02)


def busy(workspace: Workspace, campaign: int) -> bool:
    return any(attempt.state.value != "ended" for attempt in workspace.store.attempts(campaign))


def told(
    workspace: Workspace, campaign_id: int, kinds: list[Kind], settings: list[str], pauses: list[str]
) -> dict[str, Any]:
    store = workspace.store
    campaign = store.campaign(campaign_id)
    hypotheses, runs, attempts = store.hypotheses(campaign_id), store.runs(campaign_id), store.attempts(campaign_id)
    balance = store.balance(campaign_id)
    wasted = sum(a.device_s or 0.0 for a in attempts if a.failure is not None)
    learnt = {r.hypothesis for r in store.experiments() if r.outcome in ("supported", "inconclusive", "refuted")}
    asked = {q.subject for q in store.questions(campaign_id)}
    rows = []
    for kind, words in zip(kinds, settings, strict=True):
        key = planning.parse_treatment(campaign.codebase, words.split()).key()
        mine = next(h for h in hypotheses if h.draft.treatment.key() == key)
        own = [run for run in runs if run.draft.hypothesis == mine.id]
        tried = sorted((a for a in attempts if a.run in {r.id for r in own}), key=lambda a: a.id)
        rows.append(
            judged(kind, mine, own, tried, pauses, mine.id in learnt, bool(asked & {mine.name, *(r.name for r in own)}))
        )
    return {
        "state": campaign.state,
        "verdict": campaign.verdict,
        "pauses": pauses,
        "wasted_s": wasted,
        "approved_s": balance.approved,
        "spent_s": balance.spent,
        "violations": violations(store.snapshot_rows(campaign_id)) + store.trail_faults(campaign_id),
        "kinds": rows,
    }


def judged(
    kind: Kind,
    hypothesis: Hypothesis,
    runs: list[Run],
    attempts: list[Attempt],
    pauses: list[str],
    learnt: bool,
    asked: bool,
) -> dict[str, Any]:
    first = next((a.failure for a in attempts if a.failure is not None), None)
    failed = [a for a in attempts if a.failure is not None]
    ok = any(run.state is RunState.SUCCEEDED for run in runs)
    # A further seed of the same treatment has the same accident, once.
    again = ok and bool(failed) and all(a.number == 1 for a in failed)
    again = again and all(run.state is not RunState.FAILED for run in runs)
    gone = hypothesis.state is HypothesisState.FAILED and not ok and not learnt
    held = first is not None and any(first.message[:60] in why for why in pauses)
    right = {
        Right.GIVE_UP: gone and len(attempts) == 1,
        Right.REPEAT_ONCE: gone and len(attempts) == 2,
        Right.REPEAT: again and not held,
        Right.QUARANTINE: asked and not ok and not learnt and hypothesis.state is HypothesisState.LEFT_OUT,
        Right.ASK: asked and not held and not ok and not learnt and hypothesis.state is HypothesisState.LEFT_OUT,
        Right.HOLD: held and again,
        Right.HOLD_AND_GIVE_UP: held and not ok and not learnt,
    }[kind.right]
    return {
        "kind": kind.name,
        "class": first.kind if first else None,
        "runbook": first.runbook if first else None,
        "right_class": first is not None and first.kind in kind.classes and first.runbook in kind.runbooks,
        "right_action": bool(right),
        "title": first.message.partition(":")[0] if first else "",
        "state": hypothesis.state,
        "attempts": len(attempts),
        "detail": "" if right else f"{[r.state.value for r in runs]} {hypothesis.reason[:160]}",
    }


if __name__ == "__main__":
    main()
