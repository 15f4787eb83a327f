"""`kill -9` of the agent at random moments of a campaign changes nothing of what it finds, and nothing is done twice.

The trainer is deterministic, one slot keeps its runs in a row. Each job's wrapper starts the next wake by itself, as in
earnest, and those wakes are killed.
"""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from rea.domain.states import AttemptState, CampaignState, RunState, Verdict
from rea.launchers import local
from rea.workspace import planning
from support.desk import _processes, opened, within_limit

SETTINGS = ("optim.embedding_l2=1e-5", "optim.schedule=cosine", "model.normalization=batch")
SPLIT = {"validation": 0.6, "combination": 0.3999, "exploitation": 0.0001}  # one trial, however long a run takes
# Far more than the runs take on a busy machine: what bounds the search are its seeds and what is worth a run, not time.
FEW_SEEDS = {"minimum_gain = 0.0005": "minimum_gain = 0.004"}
KILLS = 5
SWEEP_S = 30.0


def approved(desk, workspace):
    campaign = desk.plan(workspace, budget="400s", rounds=1, profile_runs=2)
    assert campaign.state is CampaignState.DRAFTED, campaign.reason
    desk.keep(workspace, campaign, *SETTINGS, split=SPLIT)
    desk.approve(workspace, campaign)
    return campaign


def outcome(workspace, campaign):
    """What a campaign found, without times and without the beliefs on the way."""
    found = workspace.store.campaign(campaign.id)
    hypotheses = {h.draft.full.key(): h.state for h in workspace.store.hypotheses(campaign.id)}
    runs = {r.draft.key: r.state for r in workspace.store.runs(campaign.id)}
    return found.state, found.verdict, found.claim, hypotheses, runs


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("calm") / "home", toml=FEW_SEEDS) as desk:
        workspace = desk.workspace()
        campaign = approved(desk, workspace)
        desk.run(workspace, campaign)
        return outcome(workspace, campaign)


def agents(home):
    return [pid for pid, words in _processes(home) if " -m rea " in f"{words} "]


def test_killed_five_times_it_ends_as_if_never_killed(undisturbed, tmp_path):
    assert undisturbed[0] is CampaignState.FINISHED and undisturbed[1] is Verdict.LAUNCH
    chance = random.Random(20)
    with opened(tmp_path / "home", toml=FEW_SEEDS) as desk:
        workspace = desk.workspace()
        campaign = approved(desk, workspace)
        # From the first run after the profile on: before it, the agent may not have started the campaign yet.
        moments = sorted(chance.sample(range(3, len(undisturbed[4]) - 1), KILLS))
        child = [sys.executable, "-m", "rea"]
        quiet = {"cwd": desk.root, "env": dict(desk.env), "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        started = [subprocess.Popen([*child, "start", campaign.title], **quiet)]
        deadline = time.monotonic() + 240
        killed, looked = 0, time.monotonic()
        while (now := workspace.store.campaign(campaign.id)).state in (CampaignState.APPROVED, CampaignState.RUNNING):
            assert time.monotonic() < deadline, (killed, now, workspace.store.events(campaign.id)[-4:])
            trained = sum(is_over(run.state) for run in workspace.store.runs(campaign.id))
            if killed < KILLS and trained >= moments[killed]:
                time.sleep(chance.uniform(0.0, 0.6))
                victims = agents(desk.home)
                for pid in victims:
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        victims.remove(pid)
                if victims:
                    killed += 1
                    started.append(subprocess.Popen([*child, "wake"], **quiet))
            if time.monotonic() - looked > SWEEP_S:  # killed between a job's intent and its start: as cron would
                looked = time.monotonic()
                started.append(subprocess.Popen([*child, "wake"], **quiet))
            time.sleep(0.02)
        for process in started:
            process.wait(timeout=60)
        assert killed == KILLS
        assert outcome(workspace, campaign) == undisturbed
        within_limit(workspace, campaign.id)
        assert workspace.store.balance(campaign.id).reserved == 0
        attempts = workspace.store.attempts(campaign.id)
        assert sorted(x.run for x in attempts) == sorted(run.id for run in workspace.store.runs(campaign.id))
        fences = [path.parent for path in desk.runs.rglob("started") if path.is_file()]
        assert len(fences) == len(attempts) == len({x.job for x in attempts})
        for folder in fences:  # one training each: epochs counted once
            lines = (folder / "metrics.jsonl").read_text() if (folder / "metrics.jsonl").exists() else ""
            assert lines.count('"epoch": 1,') <= 1


def test_a_job_that_was_written_down_when_its_submitter_died_is_started_by_the_next_wake_and_needs_no_other(desk):
    child = os.fork()
    if child == 0:
        local._spawn = lambda run_dir: os.kill(os.getpid(), signal.SIGKILL)
        planning.plan(desk.workspace(), desk.root, budget="60s", profile_runs=2)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    workspace = desk.workspace()
    (attempt,) = workspace.store.attempts(1)
    assert attempt.state is AttemptState.INTENDED and (desk.runs / ".local" / f"{attempt.job}.json").exists()
    done = desk.follow(workspace, 1, lambda campaign: campaign.state is not CampaignState.PROFILING)
    assert done.state is CampaignState.DRAFTED
    assert [x.number for x in workspace.store.attempts(1)] == [1, 1]


def is_over(state):
    return state not in (RunState.PLANNED, RunState.ACTIVE)


def test_a_wake_beside_another_leaves_the_campaign_to_it(desk):
    workspace = desk.workspace()
    campaign = desk.plan(workspace, profile_runs=2)
    with campaign_lock(desk, workspace, campaign.id):
        assert campaigns_wake(workspace, campaign.id).busy
    assert not campaigns_wake(workspace, campaign.id).busy


def campaigns_wake(workspace, campaign):
    from rea.workspace.waking import wake

    return wake(workspace, campaign)


def campaign_lock(desk, workspace, campaign):
    import contextlib
    import fcntl

    @contextlib.contextmanager
    def held():
        (lock,) = (desk.runs / "locks").glob(f"{workspace.store.uid}-C{campaign}-*.lock")
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    return held()
