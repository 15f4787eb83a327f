"""Engineers shape a plan before they sign it, and steer the campaign while it runs."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rea.cli import views
from rea.cli.views import status_text
from rea.domain.errors import ApprovalNeededError
from rea.domain.states import AttemptState, CampaignState, HypothesisState, RunState
from rea.workspace import governance, planning, steering
from support.desk import opened, trainers, within_limit


@pytest.fixture(scope="module")
def drafted(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("drafted") / "home") as desk:
        workspace = desk.workspace()
        yield desk, workspace, desk.plan(workspace, budget="60s", profile_runs=2)


def shown(desk):
    return desk.json("plan", "show", "C-1")


def amounts(plan):
    return {(p["round"], p["phase"]): p["budget_s"] for p in plan["phases"]}


def test_every_edit_is_a_new_version_estimated_anew(drafted):
    """Dropping, weighing, adding, splitting, budget and rounds, each on top of the one before."""
    desk, workspace, campaign = drafted
    before = shown(desk)
    assert before["version"] == 1

    def edited(*words):
        nonlocal before
        old, now = before, desk.json("plan", "edit", campaign.title, *words)
        assert now["version"] == old["version"] + 1 and now["digest"] != old["digest"]
        assert [p.state.value for p in workspace.store.plans(campaign.id)][:-1] == ["superseded"] * old["version"]
        before = now
        return old["plan"], now["plan"]

    old, new = edited("--drop", "H-1", "--drop", "H-2")
    gone = {h["id"] for h in old["hypotheses"]} - {h["id"] for h in new["hypotheses"]}
    assert gone == {1, 2} and len(new["left_out"]) == len(old["left_out"]) + 2

    last = new["hypotheses"][-1]["id"]
    old, new = edited("--weight", f"H-{last}=50")
    assert new["hypotheses"][0]["id"] == last

    old, new = edited("--add", "optim.lr=0.02 model.dropout=0.25")
    (mine,) = [h for h in new["hypotheses"] if h["draft"]["mechanism"] == "engineer"]
    assert mine["draft"]["treatment"]["overrides"] == {"optim.lr": 0.02, "model.dropout": 0.25}

    old, new = edited("--split", "validation=0.8,combination=0.1,exploitation=0.1")
    assert amounts(new)[1, "validation"] == pytest.approx(8 * amounts(new)[1, "combination"])

    old, new = edited("--split", "validation=0.6")
    assert amounts(new)[1, "combination"] == pytest.approx(amounts(new)[1, "exploitation"])
    assert amounts(new)[1, "validation"] == pytest.approx(3 * amounts(new)[1, "combination"])

    old, new = edited("--split", "exploitation=0")
    assert amounts(new)[1, "exploitation"] == 0
    assert amounts(new)[1, "validation"] == pytest.approx(3 * amounts(new)[1, "combination"])

    old, new = edited("--budget", "90s")
    assert new["budget_s"] == 90 and new["estimate"]["device_s"] > old["estimate"]["device_s"]

    old, new = edited("--rounds", "2")
    assert new["rounds"] == 2 and old["rounds"] != 2 and (3, "validation") not in amounts(new)

    old, new = edited("--valid", "2d")
    assert new["start_by"] == pytest.approx(time.time() + 2 * 86400, abs=60) and old["start_by"] > new["start_by"]

    old, new = edited("--deadline", "2099-01-01T12:00+01:00")
    assert old["finish_by"] is None and new["finish_by"] == 4070948400.0
    assert "2099-01-01 11:00 UTC" in desk.call("plan", "show", "C-1").stdout

    old, new = edited("--deadline", "1h")
    assert new["finish_by"] == pytest.approx(time.time() + 3600, abs=60)
    assert edited("--deadline", "none")[1]["finish_by"] is None


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--drop", "H-999"), 3, "no H-999"),
        (("--split", "validation=-1"), 2, "no split"),
        (("--split", "dreaming=1"), 2, "no split"),
        (("--weight", "H-3"), 2, "NAME=NUMBER"),
        (("--budget", "cheap"), 2, "no amount of compute"),
        (("--budget", "99999999999999999999999d"), 2, "more than 1e+09 device-hours"),
        (("--weight", "H-3=1e308"), 2, "not between 0 and 1e+06"),
        (("--split", "validation=nan"), 2, "for example --split validation=0.5"),
        (("--budget", "1s"), 5, "too small"),
        (("--rounds", "0"), 2, "no number of rounds"),
        (("--valid", "soon"), 2, "no duration"),
        (("--deadline", "soon"), 2, "no moment"),
        (("--deadline", "2020-01-01"), 2, "is past"),
        (("--deadline", "9999-12-31"), 2, "a lifetime away"),
        (("--valid", "99999999d"), 2, "a lifetime"),
        (("--split", "validation=2,combination=-1"), 2, "validation=2,combination=-1 is no split"),
        (("--split", "validation=1"), 2, "leaves nothing for combination and exploitation"),
        (("--add", "optim.lr=7"), 2, "optim.lr"),
        (("--add", "optim.rate=0.1"), 2, "sets no knob"),
        (("--add", "optim.lr=0.003"), 2, "changes nothing"),
        (("--add", "optim.schedule=cosine"), 2, "already"),
        ((), 2, "changes nothing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_an_edit_that_makes_no_sense_changes_nothing(drafted, words, code, said):
    desk, workspace, campaign = drafted
    before = shown(desk), workspace.store.hypotheses(campaign.id)
    done = desk.call("plan", "edit", campaign.title, *words)
    assert done.returncode == code, (done.returncode, done.stderr)
    assert said in done.stderr and done.stdout == ""
    assert (shown(desk), workspace.store.hypotheses(campaign.id)) == before


def test_a_veto_before_the_start_is_a_new_version_of_the_plan(drafted):
    desk, workspace, campaign = drafted
    before = shown(desk)
    one = before["plan"]["hypotheses"][0]["id"]
    empty = desk.call("hypothesis", "veto", f"H-{one}", "--why", "")
    assert empty.returncode == 2 and shown(desk) == before
    done = desk.call("hypothesis", "veto", f"H-{one}", "--why", "too risky")
    assert done.returncode == 0 and f"version {before['version'] + 1}" in done.stderr
    after = shown(desk)
    assert after["version"] == before["version"] + 1 and after["digest"] != before["digest"]
    assert one not in {h["id"] for h in after["plan"]["hypotheses"]}
    assert "too risky" in workspace.store.hypothesis(one).reason
    events = workspace.store.events(campaign.id)
    again = desk.call("hypothesis", "veto", f"H-{one}")
    assert again.returncode == 2 and "vetoed already" in again.stderr
    assert workspace.store.events(campaign.id) == events and shown(desk) == after


def test_before_a_signature_no_budget_is_called_approved(drafted):
    desk, _, campaign = drafted
    assert "nothing approved yet" in desk.call("status", campaign.title).stdout
    assert "(profile)" in desk.call("status").stdout


def test_what_a_campaign_is_not_ready_for_is_a_usage_error(drafted):
    desk, _, campaign = drafted
    for words in (("pause", campaign.title), ("resume", campaign.title)):
        done = desk.call(*words)
        assert done.returncode == 2, done.stderr


def until(condition):
    for _ in range(1500):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it never came")


def test_a_signature_expires_and_the_plan_is_written_and_signed_anew(desks):
    desk = desks()
    workspace = desk.workspace()
    campaign = desk.plan(workspace, budget="60s", profile_runs=2, valid="1h")
    desk.approve(workspace, campaign)
    late = replace(workspace, clock=lambda: time.time() + 3700)
    with pytest.raises(ApprovalNeededError, match="its signature has expired") as refused:
        steering.start(late, campaign.title)
    assert f"rea plan edit {campaign.title} --valid" in str(refused.value.hint)
    found = workspace.store.campaign(campaign.id)
    assert [("past" in words) for words in views.status(workspace, found)["notices"]] == [False]
    assert "which is past" in status_text(views.status(late, found))
    planning.edit(late, campaign.title, planning.Edit(valid="1h"))
    with pytest.raises(ApprovalNeededError):
        steering.start(late, campaign.title)
    governance.approve(late, campaign.title, desk.key)
    running = steering.start(late, campaign.title)
    assert running.state is CampaignState.RUNNING and views.status(late, running)["notices"] == []
    much_later = replace(workspace, clock=lambda: time.time() + 3700 + 2 * 3600)
    late_jobs, silence = views.status(much_later, running)["notices"]
    assert "should have ended by its limit" in late_jobs
    assert "nothing was written for 2 h" in silence
    assert desk.call("stop", campaign.title).returncode == 0


def test_a_job_that_somebody_else_cancelled_is_tried_again(desks):
    desk = desks(config={"fault.plan": ["optim.schedule=cosine:slow"], "fault.seconds": 1.0})
    workspace = desk.workspace()
    campaign = desk.plan(workspace, budget="90s", rounds=1, profile_runs=2)
    desk.keep(workspace, campaign, "optim.schedule=cosine")
    desk.approve(workspace, campaign)
    steering.start(workspace, campaign.title)
    until(lambda: trainers(desk.home))
    (attempt,) = [x for x in workspace.store.attempts(campaign.id) if x.state is not AttemptState.ENDED]
    os.kill(json.loads((Path(attempt.run_dir) / "alive.lock").read_text())["pid"], signal.SIGTERM)
    until(lambda: workspace.store.run(attempt.run).failure is not None)
    run = workspace.store.run(attempt.run)
    assert run.state is RunState.PLANNED and run.not_before > time.time() and run.failure.runbook == "taken-back"
    assert workspace.store.attempt(attempt.id).outcome == "cancelled"
    assert desk.call("stop", campaign.title).returncode == 0


def test_a_plan_without_time_for_its_claim_is_not_signed(desks):
    desk = desks()
    workspace = desk.workspace()
    campaign = desk.plan(workspace, budget="60s", profile_runs=2, deadline="1h", valid="2h")
    late = replace(workspace, clock=lambda: time.time() + 3599)
    with pytest.raises(ApprovalNeededError, match="has no time"):
        governance.approve(late, campaign.title, desk.key)
    desk.approve(workspace, campaign)
    with pytest.raises(ApprovalNeededError, match="has no time"):
        steering.start(late, campaign.title)
    later = replace(workspace, clock=lambda: time.time() + 7201)
    with pytest.raises(ApprovalNeededError, match="has expired"):
        governance.approve(later, campaign.title, desk.key)


def test_a_running_campaign_is_steered_paused_resumed_and_stopped(desks):
    desk = desks(config={"fault.plan": ["always:slow"], "fault.seconds": 0.3})
    workspace = desk.workspace()
    campaign = desk.plan(workspace, budget="300s", profile_runs=2)
    store, name = workspace.store, campaign.title
    early = desk.call("hypothesis", "add", name, "optim.lr=0.02")
    assert early.returncode == 2 and "plan edit" in early.stderr
    desk.approve(workspace, campaign)
    assert desk.call("start", name).returncode == 0

    added = desk.json("hypothesis", "add", name, "optim.lr=0.02", "--gain", "0.5", "--because", "a hunch")
    assert added["state"] in ("proposed", "testing") and added["draft"]["because"] == "a hunch"
    again = desk.call("hypothesis", "add", name, "optim.lr=0.02")
    assert again.returncode == 2 and f"H-{added['id']}" in again.stderr
    assert desk.call("plan", "edit", name, "--budget", "1h").returncode == 2

    until(lambda: any(r.draft.hypothesis and r.state is RunState.ACTIVE for r in store.runs(campaign.id)))
    running = next(r for r in store.runs(campaign.id) if r.draft.hypothesis and r.state is RunState.ACTIVE)
    vetoed = desk.json("hypothesis", "veto", f"H-{running.draft.hypothesis}", "--why", "too risky")
    assert vetoed["state"] == "vetoed" and "too risky" in vetoed["reason"]
    until(lambda: store.run(running.id).state in (RunState.CANCELLED, RunState.SUCCEEDED))
    assert store.hypothesis(running.draft.hypothesis).state is HypothesisState.VETOED

    assert desk.call("pause", name).returncode == 0
    until(lambda: all(x.state is AttemptState.ENDED for x in store.attempts(campaign.id)))
    held = len(store.attempts(campaign.id))
    assert desk.call("wake", name).returncode == 0 and len(store.attempts(campaign.id)) == held
    assert store.campaign(campaign.id).state is CampaignState.PAUSED
    limit = store.balance(campaign.id).approved
    assert desk.call("pause", name).returncode in (0, 2)
    assert desk.call("resume", name).returncode == 0
    assert store.balance(campaign.id).approved == limit
    assert desk.call("resume", name).returncode == 2

    until(lambda: trainers(desk.home))
    stopped = desk.json("stop", name, "--why", "enough")
    assert stopped["state"] == "stopped" and "enough" in stopped["reason"]
    until(lambda: not trainers(desk.home))
    until(lambda: all(x.state is AttemptState.ENDED for x in store.attempts(campaign.id)))
    assert all(r.state not in (RunState.ACTIVE, RunState.PLANNED) for r in store.runs(campaign.id))
    assert store.balance(campaign.id).reserved == 0
    within_limit(workspace, campaign.id)
    assert desk.call("start", name).returncode in (2, 4)


def test_a_rejected_plan_ends_the_campaign(desk):
    workspace = desk.workspace()
    campaign = desk.plan(workspace, profile_runs=2)
    rejected = desk.call("reject", campaign.title, "--why", "too dear", "--json")
    assert rejected.returncode == 0 and json.loads(rejected.stdout)["state"] == "stopped"
    assert desk.call("approve", campaign.title, "--key", str(desk.key)).returncode == 2
    assert governance.latest_plan(workspace, campaign)[0].state.value == "rejected"


def test_whoever_waits_for_a_day_of_the_team_is_told_so_at_once(desks):
    desk = desks(toml={"[launcher]": '[team]\nname = "ads"\nper_day = "20s"\n\n[launcher]'})
    waiting = subprocess.Popen(
        [sys.executable, "-m", "rea", "plan", "--budget", "60s"],
        cwd=desk.root,
        env=dict(desk.env),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        said = []
        for line in waiting.stderr:  # ends with the process, or with what is looked for
            said.append(line)
            if "is used up" in line:
                break
        assert "the day of team ads is used up; it goes on" in said[-1], said
    finally:
        waiting.kill()
        waiting.communicate(timeout=30)
    assert "used in the day of team ads" in desk.call("status", "C-1").stdout
