"""While jobs train, no process of the agent exists; the campaign goes on by itself."""

import time

from rea.domain.states import CampaignState, Phase
from rea.workspace import steering, waking
from support.desk import agents, trainers, within_limit, wrappers

FEW_SEEDS = {"minimum_gain = 0.0005": "minimum_gain = 0.004"}
SLOW = {"fault.plan": ["optim.schedule=cosine:slow"], "fault.seconds": 0.15}


def test_between_jobs_nothing_of_the_agent_lives_and_the_campaign_finishes_by_itself(desks):
    desk = desks(config=SLOW, toml=FEW_SEEDS)
    workspace = desk.workspace()
    campaign = desk.plan(workspace, budget="120s", rounds=1, profile_runs=2)
    split = {"validation": 0.6, "combination": 0.39, "exploitation": 0.01}
    desk.keep(workspace, campaign, "optim.schedule=cosine", split=split)
    desk.approve(workspace, campaign)
    started = desk.rea("start", campaign.title)
    assert started.returncode == 0, started.stderr
    asleep = 0
    deadline = time.monotonic() + 120
    while workspace.store.campaign(campaign.id).state is CampaignState.RUNNING:
        assert time.monotonic() < deadline, workspace.store.events(campaign.id)[-3:]
        before, training, beside, after = (f(desk.home) for f in (agents, trainers, wrappers, agents))
        if training and not before and not after:
            assert len(training) <= 1 and beside
            asleep += 1
        time.sleep(0.2)
    done = workspace.store.campaign(campaign.id)
    assert done.state is CampaignState.FINISHED and done.verdict is not None
    # Every training of about a second was looked at several times with nobody else there.
    assert asleep >= 5
    within_limit(workspace, campaign.id)
    assert not wrappers(desk.home) and not trainers(desk.home)


def test_a_campaign_that_found_every_slot_taken_goes_on_when_another_s_job_frees_one(desks):
    desk = desks(config=SLOW, toml=FEW_SEEDS)
    workspace = desk.workspace()
    campaigns = []
    for name in ("one", "other"):
        campaign = desk.plan(workspace, budget="40s", rounds=1, profile_runs=2, name=name)
        desk.keep(workspace, campaign, "optim.schedule=cosine")
        desk.approve(workspace, campaign)
        campaigns.append(campaign)
    for campaign in campaigns:
        steering.start(workspace, campaign.title)
        waking.wake(workspace, campaign.id)
    second = campaigns[1]
    begun = [run.id for run in workspace.store.runs(second.id) if run.draft.phase is not Phase.PROFILE]
    attempts = {a.run for a in workspace.store.attempts(second.id)}
    assert not attempts & set(begun), "the first has the only slot"
    deadline = time.monotonic() + 150
    while any(workspace.store.campaign(c.id).state is CampaignState.RUNNING for c in campaigns):
        assert time.monotonic() < deadline, [workspace.store.events(c.id)[-2:] for c in campaigns]
        time.sleep(0.2)
    assert all(workspace.store.campaign(c.id).state is CampaignState.FINISHED for c in campaigns)
    assert not wrappers(desk.home) and not trainers(desk.home)
