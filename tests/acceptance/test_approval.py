"""Only the very plan that a listed engineer signed may spend."""

import sqlite3
import sys

import pytest

from rea.domain.codec import digest
from rea.domain.errors import ApprovalNeededError
from rea.domain.states import CampaignState, PauseReason
from rea.workspace import governance, planning, steering
from support.desk import make_key


@pytest.fixture
def drafted(desk):
    workspace = desk.workspace()
    campaign = desk.plan(workspace, profile_runs=2)
    assert campaign.state is CampaignState.DRAFTED, campaign.reason
    return desk, workspace, campaign


def refused(desk, workspace, campaign, words):
    """`rea start` ends with 4 and says why on stderr; nothing was submitted."""
    attempts = len(workspace.store.attempts(campaign.id))
    done = desk.call("start", campaign.title)
    assert done.returncode == 4, (done.returncode, done.stderr)
    assert words in done.stderr and done.stdout == ""
    assert len(workspace.store.attempts(campaign.id)) == attempts


def overwrite(desk, column, value):
    with sqlite3.connect(desk.home / "rea.db") as connection:
        connection.execute(f"UPDATE plans SET {column} = ? WHERE id = (SELECT max(id) FROM plans)", (value,))


def test_a_plan_needs_a_signature_by_a_listed_key(drafted):
    desk, workspace, campaign = drafted
    refused(desk, workspace, campaign, "not signed")
    stranger = make_key(desk.home / "stranger")
    done = desk.call("approve", campaign.title, "--key", str(stranger))
    assert done.returncode == 4 and "another key" in done.stderr
    other = desk.call("approve", campaign.title, "--key", str(desk.key), "--as", "mallory@example.org")
    assert other.returncode == 4 and "mallory@example.org is not in" in other.stderr
    missing = desk.call("approve", campaign.title, "--key", str(desk.home / "nowhere"))
    assert missing.returncode == 3 and "no key at" in missing.stderr
    refused(desk, workspace, campaign, "not signed")


def test_no_key_at_all_is_said_with_the_next_step(drafted):
    desk, _, campaign = drafted
    done = desk.call("approve", campaign.title)
    assert done.returncode == 4 and "no SSH key" in done.stderr and "rea init" in done.stderr


def test_editing_the_plan_voids_its_signature(drafted):
    desk, workspace, campaign = drafted
    desk.approve(workspace, campaign)
    assert workspace.store.campaign(campaign.id).state is CampaignState.APPROVED
    planning.edit(workspace, campaign.title, planning.Edit(drop=(1,)))
    assert workspace.store.campaign(campaign.id).state is CampaignState.DRAFTED
    refused(desk, workspace, campaign, "not signed")


def test_letting_somebody_in_after_the_plan_was_written_voids_it(drafted):
    desk, workspace, campaign = drafted
    desk.approve(workspace, campaign)
    signers = desk.root / ".rea" / "allowed_signers"
    public = make_key(desk.home / "friend").with_suffix(".pub").read_text()
    signers.write_text(signers.read_text() + f"friend@example.org {public}")
    refused(desk, workspace, campaign, "allowed_signers has changed")


def test_what_was_refused_is_on_record(drafted):
    desk, workspace, campaign = drafted
    assert desk.call("approve", campaign.title, "--key", str(make_key(desk.home / "stranger"))).returncode == 4
    assert desk.call("start", campaign.title).returncode == 4
    refused = [event.message for event in workspace.store.events(campaign.id) if event.kind == "refused"]
    assert len(refused) == 2, refused


@pytest.mark.parametrize("cover_up", [False, True])
def test_a_plan_changed_in_the_database_does_not_run(drafted, cover_up):
    desk, workspace, campaign = drafted
    desk.approve(workspace, campaign)
    record, plan = governance.latest_plan(workspace, campaign)
    text = record.text.replace(f'"budget_s":{plan.budget_s}', f'"budget_s":{10 * plan.budget_s}')
    assert text != record.text
    overwrite(desk, "text", text)
    if cover_up:
        overwrite(desk, "digest", digest(text))
    refused(desk, workspace, campaign, "digest" if not cover_up else "for another plan")


def test_a_plan_changed_while_it_runs_stops_the_spending(desks):
    desk = desks(config={"fault.plan": ["always:slow"], "fault.seconds": 0.2})
    workspace = desk.workspace()
    campaign = desk.plan(workspace, budget="120s", profile_runs=2)
    desk.approve(workspace, campaign)
    steering.start(workspace, campaign.title)
    record, _ = governance.latest_plan(workspace, campaign)
    overwrite(desk, "text", record.text.replace('"warn_at":0.8', '"warn_at":0.9'))
    started = len(workspace.store.attempts(campaign.id))
    found = desk.follow(workspace, campaign.id)
    assert found.state is CampaignState.PAUSED and found.pause_reason is PauseReason.GUARDRAIL
    assert "digest" in found.reason and len(workspace.store.attempts(campaign.id)) == started
    with pytest.raises(ApprovalNeededError):
        steering.resume(workspace, campaign.title)


@pytest.mark.parametrize("actor", ["trainer", "tool"])
def test_whoever_is_no_engineer_can_neither_approve_nor_grant_nor_steer_and_each_attempt_is_on_record(
    drafted, actor, monkeypatch
):
    desk, workspace, campaign = drafted
    monkeypatch.setenv("REA_ACTOR", actor)
    first = workspace.store.hypotheses(campaign.id)[0]
    attempts = (
        ("approve", campaign.title, "--key", str(desk.key)),
        ("preflight", campaign.title, "--grant", "clean"),
        ("plan", "edit", campaign.title, "--budget", "999r"),
        ("reject", campaign.title, "--why", "no"),
        ("stop", campaign.title),
        ("hypothesis", "veto", first.name),
        ("audit", "export", campaign.title, str(desk.home / "trail"), "--sign", str(desk.key)),
    )
    for words in attempts:
        done = desk.call(*words)
        assert done.returncode == 5 and f"denied to the {actor}" in done.stderr, (words, done.stderr)
    assert desk.call("status", campaign.title).returncode == 0, "reading is everybody's"
    before = (desk.root / ".rea" / "allowed_signers").read_text()
    for words in (
        ("plan",),
        ("init",),
        ("db", "backup", str(desk.home / "copy.db")),
        ("insights", "forget", "x.jsonl"),
        ("insights", "import", "x.jsonl"),
        ("insights", "export", str(desk.root / ".rea" / "allowed_signers")),
        ("report", campaign.title, "-o", str(desk.root / ".rea" / "allowed_signers"), "--force"),
        ("service", "install", "--cron", "--write"),
        ("service", "remove"),
    ):
        done = desk.call(*words)
        assert done.returncode == 5 and "only engineers may" in done.stderr, (words, done.stderr)
    assert (desk.root / ".rea" / "allowed_signers").read_text() == before and not (desk.home / "copy.db").exists()
    denied = [event for event in workspace.store.events(campaign.id) if event.kind == "denied"]
    assert len(denied) == len(attempts)
    assert workspace.store.campaign(campaign.id).state is CampaignState.DRAFTED
    assert workspace.store.hypothesis(first.id).state is first.state


def test_a_trainer_that_calls_rea_is_told_no(desks):
    desk = desks(config={"fault.plan": ["always:rebel"]})
    path = desk.root / "faults.py"
    call = f"REA_STORE={desk.env['REA_STORE']} {sys.executable} -m rea stop C-1 > {desk.home}/said 2>&1"
    rebel = f"    def break_down(self):\n        if self.is_('rebel'):\n            os.system({call!r})\n"
    path.write_text(path.read_text().replace("    def break_down(self):\n", rebel, 1))
    desk.commit("A trainer that would rather stop")
    workspace = desk.workspace()
    campaign = desk.plan(workspace, profile_runs=2)
    assert campaign.state is CampaignState.DRAFTED, campaign.reason
    assert "denied to the trainer" in (desk.home / "said").read_text()
