"""Whole campaigns driven by `decide` alone: they end, they stay inside what was signed, and they claim what is true."""

import random
from dataclasses import replace

import pytest

from rea.domain.jobs import JobState, Observation
from rea.domain.ledger import Purse
from rea.domain.run import Attempt, Failure, Run, RunDraft
from rea.domain.runbook import Action as RunbookAction
from rea.domain.runbook import Charge
from rea.domain.states import (
    AttemptState,
    CampaignState,
    HypothesisState,
    PauseReason,
    Phase,
    RunState,
    Verdict,
    is_terminal,
)
from rea.domain.treatment import Treatment
from rea.executor import actions as a
from rea.executor.act import apply
from rea.executor.decide import decide
from rea.executor.ends import evaluator_is_down, held, next_state
from rea.executor.observe import Observer
from rea.executor.snapshot import Report
from rea.executor.tools import Wake
from rea.executor.trouble import SILENT_S
from rea.simulation.bench import SimulatedBench
from support.world import World


def nothing(_: Treatment) -> float:
    return 0.0


def strong(treatment: Treatment) -> float:
    set_ = treatment.overrides
    gain = 0.006 * str(set_.get("features.numeric_encoding", "")).startswith("log")
    gain += 0.004 * (set_.get("optim.schedule") == "cosine") + 0.008 * bool(set_.get("optim.embedding_l2"))
    return gain - 0.01 * (set_.get("model.normalization") == "layer")


def mixed(treatment: Treatment) -> float:
    """A response of its own for every setting, small and as often bad as good."""
    return sum(random.Random(f"{k}={v}").gauss(0, 0.003) for k, v in treatment.overrides.items())


def run_of(world: World, id_: int) -> Run:
    return next(run for run in world.runs if run.id == id_)


def ended_well(world: World) -> None:
    assert world.campaign.state is CampaignState.FINISHED, (world.campaign.reason, world.events)
    assert world.campaign.verdict is not None and world.submitted_unsigned == 0
    assert all(is_terminal(run.state) or run.state is RunState.PLANNED for run in world.runs)
    keys = [run.draft.key for run in world.runs]
    assert len(keys) == len(set(keys))
    trained = [(r.draft.treatment.key(), r.draft.seed) for r in world.runs if r.draft.phase is not Phase.REVEAL]
    assert len(trained) == len(set(trained)), "one model was trained twice on one seed"
    assert world.revealed <= 1
    assert (world.revealed == 1) == (world.campaign.claim is not None)


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_strong_effects_are_launched(seed, slots):
    world = World(seed, strong, slots=slots).whole()
    ended_well(world)
    assert world.campaign.verdict is Verdict.LAUNCH
    claim = world.campaign.claim
    assert claim.split == "test" and claim.ci_low > 0
    finalist = next(h for h in world.hypotheses if h.id == world.campaign.incumbent)
    assert strong(finalist.draft.full) >= 0.012  # of 0.018: two of the three that matter, at least


def test_where_nothing_works_a_launch_is_rarely_proposed():
    verdicts = [World(seed, nothing, budget="30r", noise=0.0015).whole().campaign.verdict for seed in range(60)]
    assert verdicts.count(Verdict.LAUNCH) <= 3
    assert verdicts.count(Verdict.NO_LAUNCH) >= 57


class Dear(World):
    """Treatments of some knobs train up to three times as long as the baseline, which their cards do not say."""

    def _cost(self, hypothesis):
        knobs = next(h for h in self.hypotheses if h.id == hypothesis).draft.full.overrides
        return 1.0 + 1.0 * ("model.normalization" in knobs) + 1.0 * ("model.embedding_dim" in knobs)


@pytest.mark.parametrize("seed", range(8))
def test_no_engineer_is_woken_because_the_best_is_too_dear_to_confirm(seed):
    world = Dear(seed, mixed, budget=f"{22 + seed}r", slots=1 + seed % 2).whole()
    ended_well(world)
    assert world.balance.spent <= world.balance.approved


class Slowing(SimulatedBench):
    """The baseline trains longer on the confirmation's seeds than on those that it was measured on."""

    def _seconds(self, run, number, limit_s, cost):
        longer = 1.45 if run.draft.phase is Phase.CONFIRMATION and run.draft.treatment.empty else 1.0
        return min(longer * super()._seconds(run, number, limit_s, cost), limit_s)


class Slower(World):
    bench_type = Slowing


@pytest.mark.parametrize("seed", range(8))
def test_no_engineer_is_woken_because_the_pairs_take_longer_than_was_foreseen(seed):
    world = Slower(seed, strong, budget=f"{15 + seed}r", slots=1 + seed % 2).whole()
    ended_well(world)
    assert world.balance.spent <= world.balance.approved


@pytest.mark.parametrize("seed", range(6))
def test_any_campaign_ends_inside_its_budget(seed):
    chance = random.Random(seed)
    world = World(
        seed,
        mixed,
        noise=chance.choice([0.0002, 0.002, 0.01]),
        run_s=chance.choice([0.5, 30.0, 900.0]),
        slots=chance.choice([1, 2, 5]),
        budget=f"{chance.randint(25, 70)}r",
        rounds=chance.choice([None, 1, 2, 3]),
        options={"split": {"validation": chance.random(), "combination": chance.random(), "exploitation": 1.0}},
    ).whole()  # the world checks the ledger at every entry
    ended_well(world)
    assert 0.3 < world.balance.spent / world.balance.approved <= 1.0
    assert world.balance.reserved == 0


def test_the_same_world_gives_the_same_campaign():
    one, other = World(3, mixed, slots=2).whole(), World(3, mixed, slots=2).whole()
    assert [run.draft for run in one.runs] == [run.draft for run in other.runs]
    assert one.campaign == other.campaign


def test_the_claim_rests_on_seeds_the_search_never_saw():
    world = World(1, strong).whole()
    searched = {run.draft.seed for run in world.runs if run.draft.phase not in (Phase.CONFIRMATION, Phase.REVEAL)}
    assert not searched & set(world.campaign.claim.seeds)
    rules = world.plan.rules
    assert set(rules.confirm_seeds) <= set(world.campaign.claim.seeds) <= {*rules.confirm_seeds, *rules.spare_seeds}
    assert world.campaign.claim.gap_closed == pytest.approx(
        world.campaign.claim.gain * sum(world.campaign.claim.baseline_values) / len(world.campaign.claim.seeds) / 0.1,
        rel=0.05,
    )


# ---------------------------------------------------------------- limits


def test_nothing_is_submitted_without_a_signature():
    world = World(0, strong).profile()
    with world.store.transaction(1) as tx:  # as if somebody had edited the row
        tx._page.campaign = replace(world.campaign, state=CampaignState.RUNNING, phase=Phase.VALIDATION)
    before = len(world.attempts)
    world.finish()
    assert world.campaign.state is CampaignState.PAUSED and world.campaign.pause_reason is PauseReason.GUARDRAIL
    assert len(world.attempts) == before


def test_a_signature_that_is_lost_half_way_stops_the_spending():
    world = World(0, strong).profile().sign().start()
    for _ in range(20):
        world.step()
    world.bench.signed = False
    submitted = len(world.attempts)
    world.finish()
    assert world.campaign.state is CampaignState.PAUSED and len(world.attempts) == submitted


def test_a_paused_campaign_starts_nothing_and_records_what_ends():
    world = World(0, strong, slots=2).profile().sign().start()
    while not any(x.state is not AttemptState.ENDED for x in world.attempts):
        world.step()
    world.change(state=CampaignState.PAUSED)
    submitted = len(world.attempts)
    for _ in range(30):
        world.step()
    assert len(world.attempts) == submitted
    assert all(x.state is AttemptState.ENDED for x in world.attempts)
    world.change(state=CampaignState.RUNNING)
    ended_well(world.finish())


def test_after_the_warning_no_new_hypothesis_starts():
    world = World(2, strong, budget="30r").profile().sign().start()
    while not world.warned and world.campaign.state is CampaignState.RUNNING:
        world.step()
    if not world.warned:
        pytest.skip("this world ended before its warning")
    begun = {h.id for h in world.hypotheses if h.state is not HypothesisState.PROPOSED}
    world.finish()
    late = {run.draft.hypothesis for run in world.runs if run.draft.hypothesis is not None} - begun
    assert not late


def test_a_baseline_that_never_trains_fails_the_campaign_with_its_reason():
    broken = Report("failed", failure=Failure("missing-file", "C", "no such file: clicks"), action=RunbookAction.DROP)
    world = World(0, strong, breaks=lambda run, number: broken if run.draft.treatment.empty else None).whole()
    assert world.campaign.state is CampaignState.FAILED
    assert "no such file: clicks" in world.campaign.reason


# ---------------------------------------------------------------- failures


def fails(run: Run, number: int) -> Report | None:
    """A fifth of the treatments cannot be trained; now and then a machine is lost."""
    if not run.draft.treatment.empty and random.Random(run.draft.treatment.key()).random() < 0.2:
        failure = Failure("shape-mismatch", "C", "shapes do not fit")
        return Report("failed", failure=failure, action=RunbookAction.FAIL_HYPOTHESIS)
    if random.Random(f"{run.id}/{number}").random() < 0.1:
        failure = Failure("node-lost", "T", "The node was lost")
        book = {"action": RunbookAction.RETRY, "retry": True, "wait_s": 60.0, "charge": Charge.CONTINGENCY}
        return Report("lost", failure=failure, **book)
    return None


@pytest.mark.parametrize("seed", range(3))
def test_a_campaign_lives_with_treatments_that_fail_and_machines_that_go(seed):
    world = World(seed, strong, slots=2, budget="50r", breaks=fails).whole()
    ended_well(world)
    broken = {r.draft.hypothesis for r in world.runs if r.failure is not None and r.failure.kind == "C"}
    assert broken and world.campaign.incumbent not in broken
    for hypothesis in world.hypotheses:
        runs = [r for r in world.runs if r.draft.hypothesis == hypothesis.id]
        if runs and all(r.state is RunState.FAILED for r in runs):
            assert hypothesis.state is HypothesisState.FAILED
    again = [x for x in world.attempts if x.number > 1]
    assert again and all(x.number <= world.plan.rules.retry_cap for x in world.attempts)
    paid = {entry.attempt: entry.purse for entry in world.entries if entry.attempt is not None}
    assert any(purse is Purse.CONTINGENCY for purse in (e.purse for e in world.entries)) and paid


def test_an_evaluator_is_down_when_the_baseline_or_two_treatments_in_a_row_meet_it():
    book = Failure("evaluator-failed", "G", "The evaluator failed")
    failed = Report("failed", failure=book, action=RunbookAction.DROP)
    treatments = [Treatment(), *(Treatment({"optim.lr": lr}) for lr in (0.01, 0.02, 0.03))]
    drafts = [RunDraft(str(i), i or None, 1, Phase.VALIDATION, t, 1, 1.0, 9.0, 9.0) for i, t in enumerate(treatments)]
    runs = [Run(i, 1, draft, RunState.ACTIVE) for i, draft in enumerate(drafts)]

    def ended(run: int, outcome: str, failure: Failure | None = None) -> Attempt:
        return Attempt(run, run, 1, f"job-{run}", "/", AttemptState.ENDED, 9.0, 0.0, outcome, failure, ended_at=run)

    def down(run: int, *before: Attempt, report: Report = failed) -> bool:
        return evaluator_is_down(runs[run], report, runs, before)

    assert down(0), "the baseline was judged before"
    assert not down(3), "one may be its treatment's own fault"
    assert down(3, ended(2, "failed", book))
    assert not down(3, ended(1, "failed", book), ended(2, "succeeded")), "another was judged since"
    assert down(3, ended(1, "failed", book), ended(2, "stopped")), "one that was stopped never met the evaluator"
    assert down(3, ended(1, "failed", book), ended(2, "failed", Failure("shape-mismatch", "C", "")))
    assert not down(3, ended(3, "failed", book)), "a treatment's own other run says nothing new"
    other = replace(failed, failure=Failure("disk-full", "R", "No space"))
    assert not down(0, report=other)
    profile = replace(runs[0], draft=replace(drafts[0], phase=Phase.PROFILE))
    assert not evaluator_is_down(profile, failed, runs, ())


def test_a_reveal_is_never_given_up_it_waits_for_an_engineer_however_often_it_failed():
    draft = RunDraft("reveal", 1, 1, Phase.REVEAL, Treatment(), 0, 1.0, 9.0, 9.0)
    run = Run(9, 1, draft, RunState.ACTIVE)
    late = Report("timeout", failure=Failure("timeout", "R", "Too slow"), action=RunbookAction.DROP)
    before = [
        Attempt(i, 9, i, f"job-{i}", "/", AttemptState.ENDED, 9.0, 0.0, "timeout", late.failure) for i in (1, 2, 3)
    ]
    report = held(run, late, 2, [run], before)
    assert report.action is RunbookAction.HOLD and next_state(run, report, 2, 4) is RunState.PLANNED
    cancelled = Report("cancelled")
    assert held(run, cancelled, 2, [run], before) is cancelled
    searched = replace(run, draft=replace(draft, phase=Phase.VALIDATION, treatment=Treatment({"optim.lr": 0.1})))
    assert held(searched, late, 2, [searched], before) is late, "a treatment may be given up"


def test_a_run_whose_disk_was_full_is_repeated_held_until_somebody_made_room_or_after_a_wait_in_a_profile():
    draft = RunDraft("H-1/seed-1", 1, 1, Phase.VALIDATION, Treatment({"optim.lr": 0.1}), 1, 1.0, 9.0, 9.0)
    run = Run(9, 1, draft, RunState.ACTIVE)
    full = Report("failed", failure=Failure("disk-full", "R", "No space"), action=RunbookAction.HOLD)
    report = held(run, full, 2, [run], [])
    assert report.action is RunbookAction.HOLD and next_state(run, report, 2, 7) is RunState.PLANNED
    profile = replace(run, draft=replace(draft, phase=Phase.PROFILE, treatment=Treatment()))
    report = held(profile, full, 2, [profile], [])
    assert report.action is RunbookAction.RETRY and report.wait_s > 0
    assert next_state(profile, report, 2, 1) is RunState.PLANNED
    assert next_state(profile, report, 2, 2) is RunState.FAILED


def test_what_stands_in_a_run_s_way_is_asked_about_held_or_waited_for_by_whom_else_it_stands_in_the_way():
    refused = Failure("permission-denied", "G", "Access was refused")
    asks = Report("failed", failure=refused, action=RunbookAction.ASK)

    def run(id_: int, hypothesis: int, lr: float, state: RunState = RunState.ACTIVE, **changed) -> Run:
        treatment = Treatment({"optim.lr": lr}) if lr else Treatment()
        draft = RunDraft(f"{id_}", hypothesis or None, 1, Phase.VALIDATION, treatment, id_, 1.0, 9.0, 9.0)
        return Run(id_, 1, replace(draft, **changed), state)

    def met(id_: int, at: float) -> Attempt:
        return Attempt(id_, id_, 1, f"job-{id_}", "/", AttemptState.ENDED, 9.0, 0.0, "failed", refused, ended_at=at)

    mine, other = run(1, 1, 0.1), run(2, 2, 0.2, RunState.FAILED)
    alone = held(mine, asks, 3, [mine], [])
    assert alone.action is RunbookAction.ASK and next_state(mine, alone, 3, 1) is RunState.FAILED
    both = held(mine, asks, 3, [mine, other], [met(2, 5.0)])
    assert both.action is RunbookAction.HOLD and next_state(mine, both, 3, 9) is RunState.PLANNED
    since = held(mine, asks, 3, [mine, other], [met(2, 5.0)], resumed_at=6.0)
    assert since.action is RunbookAction.ASK, "an engineer has mended what the other met"
    for everybody_s in (run(3, 0, 0.0), run(4, 1, 0.1, phase=Phase.CONFIRMATION)):
        assert held(everybody_s, asks, 3, [everybody_s], []).action is RunbookAction.HOLD
    trained = run(5, 1, 0.1, RunState.SUCCEEDED)
    again = held(mine, asks, 3, [mine, trained], [])
    assert again.action is RunbookAction.RETRY and again.wait_s > 0
    assert [next_state(mine, again, 3, n) for n in (2, 3)] == [RunState.PLANNED, RunState.FAILED]


def test_the_end_of_the_search_is_told_of_the_budget_only_while_there_is_one():
    world = World(2, strong, budget="30r").profile().sign().start()
    while world.campaign.phase is not Phase.CONFIRMATION:
        world.step()
    spent = replace(world.snapshot().balance, spent=0.95 * world.snapshot().balance.approved)
    snapshot = replace(world.snapshot(), balance=spent, told=frozenset(), reports={})
    assert not any(isinstance(action, a.Warn) for action in decide(snapshot, 0.0))
    searching = replace(snapshot, campaign=replace(snapshot.campaign, phase=Phase.VALIDATION))
    assert [action.kind for action in decide(searching, 0.0)] == ["budget"]


def test_a_launch_without_a_sealed_split_names_the_finalist_and_its_gain():
    world = World(0, strong)
    codebase = world.campaign.codebase
    bare = replace(codebase, objective=replace(codebase.objective, sealed=None))
    world.change(codebase=bare)
    world.whole()
    assert world.campaign.verdict is Verdict.LAUNCH and world.campaign.claim == world.campaign.visible
    reason = world.campaign.reason
    assert reason.startswith(f"H-{world.campaign.incumbent} gains +") and "on valid, the visible split" in reason


def test_a_run_waits_before_it_is_repeated():
    lost = Report("lost", failure=Failure("node-lost", "T", "lost"), action=RunbookAction.RETRY, retry=True, wait_s=500)
    world = World(0, strong, breaks=lambda run, number: lost if number == 1 and run.id == 4 else None)
    world.profile().sign().start().finish()
    first, second = [x for x in world.attempts if x.run == 4][:2]
    assert second.intended_at >= first.intended_at + 500
    ended_well(world)


def test_what_a_runbook_changes_becomes_a_hypothesis_of_its_own_once():
    nan = Failure("diverged", "N", "The training diverged")

    def breaks(run, number):
        if run.draft.phase is Phase.VALIDATION and run.draft.treatment.overrides.get("optim.lr") == 0.009:
            return Report("stopped", failure=nan, action=RunbookAction.MUTATE, repair={"optim.lr": 0.0045})
        return None

    world = World(0, strong, breaks=breaks, budget="90r").whole()
    ended_well(world)
    repaired = [h for h in world.hypotheses if "repaired" in h.draft.title and h.round == 1]
    assert {h.draft.treatment.overrides["optim.lr"] for h in repaired} == {0.0045}
    mended = [h.draft.parents for h in repaired]
    assert all(mended) and len(set(mended)) == len(mended)


# ---------------------------------------------------------------- steering


def test_a_veto_cancels_what_runs_and_nothing_builds_on_it():
    world = World(0, strong).profile().sign().start()
    while not any(x.state is AttemptState.SUBMITTED for x in world.attempts):
        world.wake()
    running = run_of(world, next(x for x in world.attempts if x.state is AttemptState.SUBMITTED).run)
    world.veto(running.draft.hypothesis)
    world.finish()
    ended_well(world)
    assert run_of(world, running.id).state is RunState.CANCELLED
    assert all(running.draft.hypothesis not in h.draft.parents for h in world.hypotheses)
    assert world.campaign.incumbent != running.draft.hypothesis


def test_a_finalist_vetoed_in_confirmation_makes_room_for_the_next():
    world = World(0, strong).profile().sign().start()
    while world.campaign.phase is not Phase.CONFIRMATION:
        world.step()
    first = world.campaign.incumbent
    world.veto(first)
    world.finish()
    assert world.campaign.state in (CampaignState.FINISHED, CampaignState.PAUSED)
    assert world.campaign.incumbent != first
    if world.campaign.claim is not None:
        assert world.revealed == 1


def test_a_stopped_campaign_cancels_its_jobs_and_withdraws_what_waits():
    world = World(0, strong, slots=3).profile().sign().start()
    while sum(x.state is not AttemptState.ENDED for x in world.attempts) < 2:
        world.step()
    world.change(state=CampaignState.STOPPED)
    for _ in range(20):
        world.step()
    assert all(x.state is AttemptState.ENDED for x in world.attempts)
    assert all(is_terminal(run.state) for run in world.runs)
    assert world.balance.reserved == 0


# ---------------------------------------------------------------- purity


def test_deciding_is_pure_and_a_lost_action_is_decided_again():
    """Whatever part of the actions was done before a death, the next decision completes it; nothing is done twice."""
    chance = random.Random(5)
    whole = World(9, strong, slots=2).whole()
    world = World(9, strong, slots=2).profile().sign().start()
    while world.campaign.state is CampaignState.RUNNING:
        fence = world.store.acquire(1, "simulated", 60.0, world.now)
        assert fence is not None
        this, snapshot = Wake(world.tools, 1, fence, Observer(world.tools, 1).verified), world.snapshot()
        taken = decide(snapshot, world.now)
        assert decide(snapshot, world.now) == taken
        cut = chance.randint(0, len(taken)) if chance.random() < 0.3 else len(taken)
        for action in taken[:cut]:  # the wake dies after `cut` actions
            apply(this, action)
            if isinstance(action, a.Sleep):
                world.jump(action.until)
                break
            if isinstance(action, a.Pause):
                break
    assert {r.draft.key: r.state for r in world.runs} == {r.draft.key: r.state for r in whole.runs}
    assert world.campaign.claim == whole.campaign.claim and world.campaign.verdict is whole.campaign.verdict


def test_while_the_launcher_does_not_answer_nothing_is_started_and_somebody_looks_again():
    world = World(0, strong).profile().sign().start()
    for _ in range(15):
        world.step()
    silent = replace(world.snapshot(), capacity=None, reports={})
    taken = decide(silent, world.now)
    assert not any(isinstance(action, a.Submit | a.Resubmit) for action in taken)
    sleeps = [action.until for action in taken if isinstance(action, a.Sleep)]
    assert not sleeps or world.now < sleeps[0] <= world.now + 120


def test_an_intent_without_an_answer_is_taken_up_first():
    world = World(0, strong).profile().sign().start()
    while not any(x.state is AttemptState.SUBMITTED for x in world.attempts):
        world.step()
    snapshot = world.snapshot()
    lost = tuple(
        replace(x, state=AttemptState.INTENDED) if x.state is AttemptState.SUBMITTED else x for x in snapshot.attempts
    )
    open_ = [x.id for x in lost if x.state is AttemptState.INTENDED]
    assert decide(replace(snapshot, attempts=lost, reports={}), world.now) == tuple(a.Resubmit(id_) for id_ in open_)


# ---------------------------------------------------------------- time


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("share", [0.6, 0.85])
def test_a_deadline_ends_the_search_in_time_for_a_whole_claim(slots, share):
    """Whatever time the campaign is given of what it would take, it ends by then, with the claim it would have made."""
    free = World(2, strong, budget="40r", slots=slots).profile().sign().start()
    begun = free.now
    took = free.finish().now - begun
    world = World(2, strong, budget="40r", slots=slots, options={"deadline": begun + share * took}).profile()
    assert world.plan is not None and world.plan.finish_by == begun + share * took
    ended_well(world.sign().start().finish())
    assert world.now <= begun + share * took, (world.now - begun) / took
    assert world.now >= begun + 0.5 * share * took, "the time there is, is used"
    searched = [run for run in world.runs if run.draft.phase is Phase.VALIDATION and run.state is RunState.SUCCEEDED]
    assert searched and world.campaign.verdict is Verdict.LAUNCH and world.campaign.claim is not None
    assert any("is to have ended by" in event for event in world.events)


def test_a_campaign_whose_deadline_is_far_away_is_as_without():
    free = World(3, strong, budget="30r").whole()
    held_to = World(3, strong, budget="30r", options={"deadline": free.now + 1e7}).whole()
    assert held_to.events == free.events


def test_a_job_that_is_silent_long_after_its_limit_is_ended_and_tried_again():
    world = World(4, strong, budget="30r").profile().sign().start()
    while not any(attempt.state is AttemptState.SUBMITTED for attempt in world.attempts):
        world.step()
    attempt = next(x for x in world.attempts if x.state is AttemptState.SUBMITTED)
    seen = Observation(JobState.RUNNING, started_at=world.now, heard_at=world.now + 10.0)
    limit = world.now + attempt.reserved_s / world.codebase.resources.devices
    snapshot = replace(world.snapshot(), observed={attempt.job: seen}, reports={})
    wanted = (a.Cancel(attempt.id, "it should have ended long ago and gives no sign of life"),)
    assert decide(snapshot, limit + SILENT_S - 1) != wanted
    assert decide(snapshot, limit + SILENT_S + 1) == wanted
    heard = replace(seen, heard_at=limit + SILENT_S)
    assert decide(replace(snapshot, observed={attempt.job: heard}), limit + SILENT_S + 1) != wanted, "its clock is off"
    asked = replace(snapshot, cancelling=frozenset({attempt.id}))
    assert decide(asked, limit + SILENT_S + 1) != wanted, "once a wake is enough"


def test_what_others_cancelled_goes_where_its_runbook_says_and_what_rea_cancelled_is_over():
    world = World(4, strong, budget="30r").profile()
    run = world.runs[0]
    assert next_state(run, Report("cancelled"), 3, 1) is RunState.CANCELLED
    taken = Report("cancelled", failure=Failure("taken-back", "T", "taken"), action=RunbookAction.RETRY, retry=True)
    assert next_state(run, replace(taken, charge=Charge.CONTINGENCY), 3, 5) is RunState.PLANNED
    assert next_state(run, replace(taken, retry=False), 3, 1) is RunState.FAILED


def test_a_run_that_takes_the_claims_time_is_ended_before_a_deadline():
    world = World(2, strong, budget="40r", options={"deadline": 2e6}).profile().sign().start()
    while not any(attempt.state is AttemptState.SUBMITTED for attempt in world.attempts):
        world.step()
    snapshot = replace(world.snapshot(), reports={})
    attempt = next(x for x in snapshot.attempts if x.state is AttemptState.SUBMITTED)
    assert all(not isinstance(action, a.Cancel) for action in decide(snapshot, 2e6 - 50_000.0))
    (cancelled,) = [x for x in decide(snapshot, 2e6 - 100.0) if isinstance(x, a.Cancel | a.Withdraw)]
    assert cancelled == a.Cancel(attempt.id, cancelled.why) and "is to have ended by" in cancelled.why
