"""What a trainer tries that it may not, what comes out too good, data that change: by real campaigns."""

import json
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from dataclasses import replace

import pytest

from rea.domain.hypothesis import Belief, HypothesisDraft
from rea.domain.states import CampaignState, HypothesisState, PauseReason, RunState, Verdict
from rea.domain.treatment import Treatment
from rea.guard import sandbox
from rea.guard.signing import own_key
from rea.workspace import governance, planning, steering, waking
from support.desk import make_key

boxes = pytest.mark.skipif(bool(sandbox.unavailable()), reason=f"no sandbox here: {sandbox.unavailable()}")
SPLIT = {"validation": 0.8, "combination": 0.15, "exploitation": 0.05}


def misbehaving(desk, where, **does):
    """Give the trainer Python code to run in one of the hooks of its faults, where a setting of it is as told."""
    path = desk.root / "faults.py"
    text = path.read_text()
    for hook, code in does.items():
        head = next(line for line in text.splitlines() if line.startswith(f"    def {hook}("))
        body = textwrap.indent(textwrap.dedent(code).strip(), " " * 12)
        text = text.replace(head, f"{head}\n        if self.is_({where!r}):\n{body}", 1)
    path.write_text(text)
    desk.commit("A trainer with ideas of its own")


def of(workspace, campaign, setting):
    key = planning.parse_treatment(campaign.codebase, [setting]).key()
    return next(h for h in workspace.store.hypotheses(campaign.id) if h.draft.treatment.key() == key)


def started(desk, *settings, **options):
    workspace = desk.workspace()
    campaign = desk.plan(workspace, budget="60r", rounds=1, profile_runs=2, **options)
    assert campaign.state is CampaignState.DRAFTED, campaign.reason
    desk.keep(workspace, campaign, *settings, split=SPLIT)
    desk.approve(workspace, campaign)
    return workspace, campaign


# ---------------------------------------------------------------- too good to be true

LEAK = {"predicted": "return [0.98 if label else 0.02 for label in labels]"}


@pytest.fixture
def leaky(desks):
    desk = desks(config={"fault.plan": ["model.dropout=0.2:leak"]})
    misbehaving(desk, "leak", **LEAK)
    workspace, campaign = started(desk, "model.dropout=0.2", "optim.embedding_l2=1e-5", "optim.schedule=cosine")
    return desk, workspace, campaign


def test_a_leak_is_quarantined_asks_once_and_is_no_insight_and_no_win(leaky):
    desk, workspace, campaign = leaky
    ended = desk.run(workspace, campaign)
    assert ended.state is CampaignState.FINISHED, ended.reason
    leak = of(workspace, campaign, "model.dropout=0.2")
    assert leak.state is HypothesisState.LEFT_OUT and "quarantined: A gain that no treatment has" in leak.reason
    assert all(leak.id not in h.draft.parents for h in workspace.store.hypotheses(campaign.id))
    assert ended.incumbent != leak.id
    assert leak.id not in {record.hypothesis for record in workspace.store.experiments()}
    (question,) = workspace.store.questions(campaign.id)
    assert question.subject == leak.name and [option.name for option in question.options] == ["dismiss", "believe"]


def test_an_engineer_s_word_has_it_trained_again_and_believed(leaky):
    desk, workspace, campaign = leaky
    steering.start(workspace, campaign.title)
    desk.follow(workspace, campaign.id, lambda c: bool(workspace.store.questions(c.id)))
    inbox = desk.call("inbox")
    assert "Q-1" in inbox.stdout and "rea answer Q-1 believe: H-" in inbox.stdout and "core-" in inbox.stdout
    wrong = desk.call("answer", "Q-1", "perhaps")
    assert wrong.returncode == 2 and "choose one of: dismiss, believe" in wrong.stderr
    assert desk.call("answer", "Q-1", "believe").returncode == 0
    assert desk.call("answer", "Q-1", "dismiss").returncode == 2, "an answer stands"
    desk.follow(workspace, campaign.id)
    leak = of(workspace, campaign, "model.dropout=0.2")
    assert leak.state is HypothesisState.SUPPORTED, leak.reason
    assert any(event.kind == "answered" for event in workspace.store.events(campaign.id))


def test_sealed_labels_that_were_seen_show_when_the_split_is_opened(desks):
    desk = desks(config={"fault.plan": ["optim.embedding_l2=1e-05:peek"]})
    code = """
        import data
        if labels == data.load("test")[1]:
            return [0.8 * value + 0.2 * (0.98 if label else 0.02) for value, label in zip(values, labels)]
        return values
    """
    misbehaving(desk, "peek", predicted=code)
    workspace, campaign = started(desk, "optim.embedding_l2=1e-5")
    ended = desk.run(workspace, campaign)
    assert ended.state is CampaignState.FINISHED and ended.verdict is Verdict.NO_LAUNCH, ended.reason
    assert "the sealed labels have been seen" in ended.reason
    assert desk.git("branch", "--list", "rea/*") == ""


# ---------------------------------------------------------------- data


def test_data_that_change_stop_it_and_let_it_go_on_when_they_are_back(desks):
    desk = desks(toml={'protected = ["ev': 'data = ["clicks/*.csv"]\nprotected = ["ev'})
    (desk.root / "clicks").mkdir()
    clicks = desk.root / "clicks" / "day1.csv"
    clicks.write_text("1,2,3\n" * 1000)
    (desk.root / ".gitignore").write_text("__pycache__/\nclicks/\n")
    desk.commit("Data beside the repository")
    workspace, campaign = started(desk, "optim.embedding_l2=1e-5", "optim.schedule=cosine")
    before = clicks.read_text()
    clicks.write_text("3,2,1\n" * 1000)
    refused = desk.call("start", campaign.title)
    assert refused.returncode == 4 and "not those that the baseline was measured on" in refused.stderr
    clicks.write_text(before)
    steering.start(workspace, campaign.title)
    clicks.write_text("3,2,1\n" * 1000)
    held = desk.follow(workspace, campaign.id, lambda c: c.state is CampaignState.PAUSED)
    assert held.pause_reason is PauseReason.GUARDRAIL and "The data are not those of the plan" in held.reason
    assert desk.call("resume", campaign.title).returncode == 4
    clicks.write_text(before)
    assert desk.call("resume", campaign.title).returncode == 0
    assert desk.follow(workspace, campaign.id).state is CampaignState.FINISHED


# ---------------------------------------------------------------- what only an engineer can mend


@pytest.fixture
def obstructed(desks):
    desk = desks(config={"fault.plan": ["model.dropout=0.2:denied", "model.normalization=batch:denied"]})
    mended = desk.home / "mended"
    code = f"""
        if not os.path.exists({str(mended)!r}):
            raise PermissionError(13, "Permission denied", "/features/clicks")
    """
    misbehaving(desk, "denied", break_down=code)
    return desk, mended


def test_what_stands_in_one_treatment_s_way_is_asked_about_and_the_rest_goes_on(obstructed):
    desk, mended = obstructed
    workspace, campaign = started(desk, "model.dropout=0.2", "optim.embedding_l2=1e-5", "optim.schedule=cosine")
    steering.start(workspace, campaign.title)
    desk.follow(workspace, campaign.id, lambda c: bool(workspace.store.questions(c.id)))
    (question,) = workspace.store.questions(campaign.id)
    assert "Access was refused" in question.text and [one.name for one in question.options] == ["dismiss", "retry"]
    assert workspace.store.campaign(campaign.id).state is CampaignState.RUNNING
    assert "rea answer Q-1 retry: H-" in desk.call("inbox").stdout
    mended.touch()
    assert desk.call("answer", "Q-1", "retry").returncode == 0
    ended = desk.follow(workspace, campaign.id)
    assert ended.state is CampaignState.FINISHED, ended.reason
    assert of(workspace, campaign, "model.dropout=0.2").state is HypothesisState.SUPPORTED
    assert not [event for event in workspace.store.events(campaign.id) if event.kind == "paused"]


def test_unanswered_it_stays_out_and_the_campaign_ends_without_it(obstructed):
    desk, _ = obstructed
    workspace, campaign = started(desk, "model.dropout=0.2", "optim.embedding_l2=1e-5", "optim.schedule=cosine")
    ended = desk.run(workspace, campaign)
    assert ended.state is CampaignState.FINISHED, ended.reason
    left = of(workspace, campaign, "model.dropout=0.2")
    assert left.state is HypothesisState.LEFT_OUT and "see Q-1" in left.reason
    assert left.id not in {record.hypothesis for record in workspace.store.experiments()}


def test_what_stands_in_the_way_of_two_treatments_holds_the_campaign(obstructed):
    desk, mended = obstructed
    workspace, campaign = started(desk, "model.dropout=0.2", "model.normalization=batch")
    steering.start(workspace, campaign.title)
    held = desk.follow(workspace, campaign.id, lambda c: c.state is CampaignState.PAUSED)
    assert held.pause_reason is PauseReason.GUARDRAIL and "Access was refused" in held.reason
    mended.touch()
    assert desk.call("resume", campaign.title).returncode == 0
    assert desk.follow(workspace, campaign.id).state is CampaignState.FINISHED


# ---------------------------------------------------------------- the environment


@pytest.fixture
def installing(desks):
    """A desk whose trainings run in an environment of sorts, and what installs a version of one package there."""
    desk = desks(toml={f'"{sys.executable}"': '"./env/python"'})
    site = desk.root / "env" / "site"
    site.mkdir(parents=True)
    python = desk.root / "env" / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{site}" exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (desk.root / ".gitignore").write_text("__pycache__/\nenv/\n")
    desk.commit("A virtual environment of sorts")

    def install(version):
        for old in site.iterdir():
            (old / "METADATA").unlink()
            old.rmdir()
        folder = site / f"fastclicks-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: FastClicks\nVersion: {version}\n")

    install("1.4")
    return desk, install


def test_an_environment_that_changed_after_the_plan_is_no_surprise(installing):
    desk, install = installing
    workspace, campaign = started(desk, "optim.embedding_l2=1e-5")
    install("1.5")
    refused = desk.call("start", campaign.title)
    assert refused.returncode == 4 and "fastclicks 1.4 → 1.5" in refused.stderr, refused.stderr
    assert desk.call("preflight", campaign.title, "--grant", "environment").returncode == 0
    assert desk.call("start", campaign.title).returncode == 0
    assert desk.follow(workspace, campaign.id).state is CampaignState.FINISHED


def test_an_environment_that_changes_on_the_way_stops_it_until_it_is_back(installing):
    desk, install = installing
    workspace, campaign = started(desk, "optim.embedding_l2=1e-5", "optim.schedule=cosine")
    steering.start(workspace, campaign.title)
    install("1.5")
    held = desk.follow(workspace, campaign.id, lambda c: c.state is CampaignState.PAUSED)
    assert held.pause_reason is PauseReason.GUARDRAIL and "fastclicks 1.4 → 1.5" in held.reason, held.reason
    refused = desk.call("resume", campaign.title)
    assert refused.returncode == 4 and "fastclicks 1.4 → 1.5" in refused.stderr
    install("1.4")
    assert desk.call("resume", campaign.title).returncode == 0
    assert desk.follow(workspace, campaign.id).state is CampaignState.FINISHED
    assert all(run.state is not RunState.FAILED for run in workspace.store.runs(campaign.id))


def test_a_baseline_that_the_same_code_does_not_give_again_is_told_before_anybody_signs(desks):
    desk = desks(config={"fault.plan": ["always:drift"]})
    others = desk.home / "others"
    misbehaving(
        desk, "drift", predicted=f"values = [0.8 * v for v in values] if os.path.exists({str(others)!r}) else values"
    )
    workspace = desk.workspace()

    def planned():
        campaign = desk.plan(workspace, budget="60r", rounds=1, profile_runs=2)
        return campaign, {check.name: check for check in governance.preflight(workspace, campaign.title)[0]}

    _, checks = planned()
    assert "reproduced" not in checks, "there is nothing to compare with"
    _, checks = planned()
    assert checks["reproduced"].ok is True
    others.touch()
    third, checks = planned()
    told = checks["reproduced"]
    assert told.ok is False and "times what other seeds would explain" in told.words and "nothing else" in told.words
    desk.approve(workspace, third)
    refused = desk.call("start", third.title)
    assert refused.returncode == 4 and "✗ reproduced" in refused.stderr
    assert desk.call("preflight", third.title, "--grant", "reproduced").returncode == 0
    assert desk.call("start", third.title).returncode == 0


def test_a_secret_is_not_pinned_where_everybody_reads_it(desks, monkeypatch):
    desk = desks(toml={'protected = ["ev': 'env = ["FEATURE_TOKEN"]\nprotected = ["ev'})
    monkeypatch.setenv("FEATURE_TOKEN", "sesame-0815-open")
    refused = desk.call("plan", "--budget", "60r")
    assert refused.returncode == 2 and "env names FEATURE_TOKEN, which looks secret" in refused.stderr, refused.stderr
    assert "file of its own" in refused.stderr and not desk.workspace().store.campaigns()
    written = [path for path in desk.home.rglob("*") if path.is_file()]
    assert written and not [path for path in written if b"sesame-0815" in path.read_bytes()]


# ---------------------------------------------------------------- the code that judges


def test_a_trainer_that_edits_the_evaluator_wins_nothing_and_is_on_record(desks):
    desk = desks(config={"fault.plan": ["model.dropout=0.2:tamper"]})
    code = """
        from pathlib import Path
        judge = Path("evaluate.py")
        text = judge.read_text()
        judge.write_text(text.replace("metrics.summarise(found, labels)", "{'ne': 0.5, 'calibration': 1.0}"))
    """
    misbehaving(desk, "tamper", strike=code)
    workspace, campaign = started(desk, "model.dropout=0.2", "optim.embedding_l2=1e-5")
    steering.start(workspace, campaign.title)
    held = desk.follow(workspace, campaign.id, lambda c: c.state is CampaignState.PAUSED)
    assert "evaluate.py in " in held.reason and "is not what it was" in held.reason
    for _ in range(3):
        waking.wait(
            workspace,
            campaign.id,
            lambda c: all(a.state.value == "ended" for a in workspace.store.attempts(c.id)),
            lambda c: None,
        )
        steering.resume(workspace, campaign.title)
        ended = desk.follow(workspace, campaign.id, lambda c: c.state is not CampaignState.RUNNING)
        if ended.state is CampaignState.FINISHED:
            break
    assert any(event.kind == "restored" for event in workspace.store.events(campaign.id))
    assert ended.state is CampaignState.FINISHED, ended.reason
    cheat = of(workspace, campaign, "model.dropout=0.2")
    assert cheat.state is HypothesisState.FAILED
    values = [r.result.metrics["ne"] for r in workspace.store.runs(campaign.id) if r.result and r.result.metrics]
    assert min(values) > 0.6, "no run was judged by what it had put there"


# ---------------------------------------------------------------- in a box


@boxes
def test_a_trainer_in_a_box_reads_no_secret_writes_nowhere_else_and_reaches_nobody(desks, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    secret = tmp_path / "labels_of_test.npy"
    secret.write_text("sealed")
    desk = desks(
        config={"fault.plan": ["always:nosy"]},
        toml={"[launcher]": f'[sandbox]\nhidden = ["{secret}"]\n\n[launcher]'},
    )
    code = f"""
        import json, os, socket
        from pathlib import Path
        found = {{}}
        def tried(name, action):
            try:
                found[name] = str(action())
            except OSError as error:
                found[name] = type(error).__name__
        store = Path({str(desk.home)!r}) / "rea.db"
        tried("outside", lambda: (Path({str(tmp_path)!r}) / "elsewhere" / "x").write_text("x"))
        tried("code", lambda: Path("evaluate.py").write_text(""))
        tried("root", lambda: (Path({str(desk.root)!r}) / "rea.toml").write_text(""))
        tried("labels", lambda: Path({str(secret)!r}).read_text())
        tried("store", lambda: store.read_bytes())
        tried("specification", lambda: (RUN / "job.json").read_text())
        tried("network", lambda: socket.create_connection(("127.0.0.1", 22), 1))
        tried("others", lambda: os.kill(os.getppid(), 0) if os.getppid() > 1 else "nobody")
        (RUN / "nosy.json").write_text(json.dumps(found))
    """
    misbehaving(desk, "nosy", strike=code)
    workspace = desk.workspace()
    campaign = desk.plan(workspace, budget="20r", profile_runs=2)
    assert campaign.state is CampaignState.DRAFTED, campaign.reason
    (path, *_) = sorted(desk.runs.rglob("nosy.json"))
    found = json.loads(path.read_text())
    assert found.pop("outside") in ("OSError", "PermissionError") and not (tmp_path / "elsewhere" / "x").exists()
    assert found.pop("code") == found.pop("root") == "OSError"
    assert found.pop("labels") == found.pop("specification") == "PermissionError"
    assert found.pop("store") == "FileNotFoundError"
    assert found.pop("network") in ("OSError", "ConnectionRefusedError")
    assert secret.read_text() == "sealed"


@boxes
def test_a_trainer_in_a_box_reads_no_key_though_it_was_made_under_another_home_of_rea(desks, monkeypatch):
    desk = desks(
        config={"fault.plan": ["always:nosy"]},
        toml={"[launcher]": '[sandbox]\nuse = "always"\n\n[launcher]'},
    )
    monkeypatch.delenv("REA_HOME", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    elsewhere = desk.home / "elsewhere"
    (desk.home / ".ssh").symlink_to(elsewhere)
    places = [own_key(), desk.home / "keys" / "approver", elsewhere / "id_ed25519"]
    for key in places:
        key.parent.mkdir(parents=True)
        key.write_text("a key")
    monkeypatch.setenv("REA_HOME", str(desk.home / "moved"))
    code = f"""
        import json
        from pathlib import Path
        found = []
        for name in {[str(key) for key in places]!r}:
            try:
                found.append(Path(name).read_text())
            except OSError as error:
                pass
        (RUN / "nosy.json").write_text(json.dumps(found))
    """
    misbehaving(desk, "nosy", strike=code)
    campaign = desk.plan(desk.workspace(), budget="20r", profile_runs=2)
    assert campaign.state is CampaignState.DRAFTED, campaign.reason
    (path, *_) = sorted(desk.runs.rglob("nosy.json"))
    assert json.loads(path.read_text()) == []


@boxes
def test_generated_code_runs_in_a_box_and_its_judge_does_not(desks):
    desk = desks(toml={'protected = ["ev': 'editable = ["faults.py"]\nprotected = ["ev'})
    workspace, campaign = started(desk, "optim.embedding_l2=1e-5")
    (desk.root / "faults.py").write_text((desk.root / "faults.py").read_text() + "\n# generated\n")
    patch = subprocess.run(["git", "diff", "--relative"], cwd=desk.root, capture_output=True, text=True, check=True)
    desk.git("checkout", "--", ".")
    draft = HypothesisDraft("generated", "", Treatment({}, patch.stdout), Belief(0.002, 0.002))
    with workspace.store.transaction(campaign.id) as tx:
        (id_,) = tx.add_hypotheses(campaign.id, 1, [draft])
    ended = desk.run(workspace, campaign)
    assert ended.state is CampaignState.FINISHED, ended.reason
    mine = [r for r in workspace.store.runs(campaign.id) if r.draft.hypothesis == id_]
    assert mine and mine[0].state is RunState.SUCCEEDED, mine[0].failure
    spec = json.loads((desk.runs / workspace.store.uid / "C-1" / mine[0].name / "1" / "job.json").read_text())
    assert spec["steps"][0]["argv"][0] == "bwrap" and spec["steps"][1]["argv"][0] != "bwrap"


def test_without_bubblewrap_what_must_be_boxed_waits_for_an_engineer(desks, monkeypatch):
    monkeypatch.setattr(sandbox, "unavailable", lambda: "bwrap is not installed")
    desk = desks(toml={"[launcher]": '[sandbox]\nuse = "always"\n\n[launcher]'})
    workspace = desk.workspace()
    campaign = desk.plan(workspace, profile_runs=2)
    assert campaign.state is CampaignState.FAILED and "bwrap is not installed" in campaign.reason


# ---------------------------------------------------------------- what engineers alone may do


def edit(desk, statement):
    with closing(sqlite3.connect(desk.home / "rea.db")) as connection:
        assert connection.execute(statement).rowcount > 0
        connection.commit()


FORGED = {
    "the ledger": ("UPDATE entries SET device_s = device_s * 10 WHERE kind = 'approve'", "were signed"),
    "a guardrail": (
        """UPDATE campaigns SET codebase = replace(codebase, '"maximum": 1.1', '"maximum": 9.1')""",
        "other limits",
    ),
    "the plan": ("UPDATE plans SET text = replace(text, '\"warn_at\":0.8', '\"warn_at\":0.9')", "digest"),
    "the signature": ("UPDATE approvals SET signature = replace(signature, 'A', 'B')", "signature"),
    "the signer": ("UPDATE approvals SET signer = 'mallory@example.org'", "mallory"),
    "no approval": ("DELETE FROM approvals", "not signed"),
}


@pytest.mark.parametrize("what", FORGED)
def test_what_was_forged_while_it_runs_stops_the_spending_and_is_on_record(desks, what):
    desk = desks(config={"fault.plan": ["always:slow"], "fault.seconds": 0.15})
    workspace = desk.workspace()
    campaign = desk.plan(workspace, budget="120s", profile_runs=2)
    desk.approve(workspace, campaign)
    steering.start(workspace, campaign.title)
    statement, words = FORGED[what]
    edit(desk, statement)
    started_ = len(workspace.store.attempts(campaign.id))
    found = desk.follow(workspace, campaign.id)
    assert found.state is CampaignState.PAUSED and found.pause_reason is PauseReason.GUARDRAIL, found.reason
    assert words in found.reason and len(workspace.store.attempts(campaign.id)) == started_
    refused = desk.call("resume", campaign.title)
    assert refused.returncode == 4, refused
    assert desk.call("audit", "verify").returncode == 1
    assert any(event.kind == "paused" and words in event.message for event in workspace.store.events(campaign.id))


def test_an_approval_is_worth_nothing_for_another_campaign(desks):
    desk = desks()
    workspace = desk.workspace()
    one, other = desk.plan(workspace, profile_runs=2, name="one"), desk.plan(workspace, profile_runs=2, name="other")
    desk.approve(workspace, one)
    approval = workspace.store.approval(workspace.store.latest_plan(one.id).id)
    record = workspace.store.latest_plan(other.id)
    with workspace.store.transaction(other.id) as tx:
        tx.add_approval(replace(approval, plan=record.id, digest=record.digest))
        tx.set_campaign(other.id, state=CampaignState.APPROVED)
    refused = desk.call("start", other.title)
    assert refused.returncode == 4 and "over another text" in refused.stderr


def test_a_key_of_another_namespace_or_of_nobody_signs_nothing(desks):
    desk = desks()
    workspace = desk.workspace()
    campaign = desk.plan(workspace, profile_runs=2)
    signers = desk.root / ".rea" / "allowed_signers"
    public = desk.key.with_suffix(".pub").read_text().split()
    signers.write_text(f'engineer@example.org namespaces="git" {public[0]} {public[1]}\n')
    planning.edit(workspace, campaign.title, planning.Edit(valid="20d"))
    refused = desk.call("approve", campaign.title, "--key", str(desk.key))
    assert refused.returncode == 4 and "namespace" in refused.stderr
    stranger = desk.call("approve", campaign.title, "--key", str(make_key(desk.home / "stranger")))
    assert stranger.returncode == 4
    assert workspace.store.approval(workspace.store.latest_plan(campaign.id).id) is None


@boxes
def test_a_store_is_out_of_sight_of_a_box_whether_its_log_comes_or_goes(tmp_path):
    """SQLite removes its log when the last process closes it, and makes another one later."""
    folder, run_dir = tmp_path / "home", tmp_path / "home" / "runs" / "1"
    run_dir.mkdir(parents=True)
    (folder / "clicks.csv").write_text("1,0\n")
    store, log = folder / "rea.db", folder / "rea.db-wal"
    for file in (store, log):
        file.write_text("secret")
    look = f"cat {folder}/rea.db* 2>/dev/null; cat {folder}/clicks.csv; echo done > {run_dir}/said; touch {folder}/new"
    words = sandbox.boxed(["sh", "-c", look], run_dir=run_dir, fleeting=[store])
    log.unlink()
    gone = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert gone.stdout == "1,0\n" and (run_dir / "said").read_text() == "done\n", gone.stderr
    log.write_text("secret again")
    back = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert back.stdout == "1,0\n" and not (folder / "new").exists(), back.stderr
