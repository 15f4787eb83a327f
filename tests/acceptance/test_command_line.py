"""Bad input at the command line, its exit codes, and what a command loads."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rea.domain.insight import ExperimentRecord
from rea.domain.states import CampaignState, PauseReason
from support.desk import within_limit

FULL = Path("/dev/full")
HEAVY = ("torch", "sqlalchemy", "pydantic", "numpy", "optuna", "scipy", "alembic", "yaml")


def loaded(desk, *words):
    """Top-level modules that `rea WORDS` imports, in a process of its own."""
    command = [sys.executable, "-X", "importtime", "-m", "rea", *words]
    done = subprocess.run(command, cwd=desk.root, env=dict(desk.env), capture_output=True, text=True, check=True)
    lines = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.partition(".")[0] for line in lines}


def test_help_and_an_idle_wake_load_nothing_heavy(desk):
    desk.workspace()  # the store is there and empty
    assert not loaded(desk, "--help") & set(HEAVY)
    # The command line's own library brings pydantic as soon as a command has arguments.
    assert not loaded(desk, "wake") & {*HEAVY} - {"pydantic"}


def test_rea_never_imports_torch(desk):
    assert "torch" not in loaded(desk, "status")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("status", "C-9"), 3, "no campaign"),
        (("show", "H-9"), 3, "H-9"),
        (("show", "R-9"), 3, "R-9"),
        (("start", "nobody"), 3, "nobody"),
        (("hypothesis", "veto", "H-x"), 2, "H-x"),
        (("plan", "--budget", "much"), 2, "no amount of compute"),
        (("plan", "--profile-runs", "1"), 2, "too few"),
        (("plan", "--config", "missing.toml"), 2, "missing.toml"),
        (("plan", "--name", "../spring"), 2, "--name spring"),
        (("plan", "--name", "spring\x9b2J"), 2, "'spring\\x9b2J'"),
        (("plan", "--no-such-option"), 2, "no-such-option"),
        (("daemon", "--sweep", "0"), 2, "--sweep 0"),
        (("daemon", "--sweep", "-1"), 2, "--sweep -1"),
        (("daemon", "--sweep", "nan"), 2, "--sweep nan"),
        (("plan", "-C", "/"), 2, "rea.toml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_makes_no_sense_has_its_exit_code_and_words_on_stderr(desk, words, code, said):
    done = desk.call(*words)
    assert done.returncode == code, (done.returncode, done.stderr)
    assert said in done.stderr and done.stdout == "" and "Traceback" not in done.stderr


def test_the_version_and_every_exit_code_are_told(desk):
    from rea import __version__

    assert desk.call("--version").stdout == f"rea {__version__}\n"
    told = " ".join(desk.call("--help").stdout.split())
    assert all(f"{code} " in told for code in (0, 1, 2, 3, 4, 5, 6, 130, 141))


def test_the_same_holds_in_a_process_of_its_own(desk):
    done = desk.rea("status", "C-9")
    assert done.returncode == 3 and done.stdout == "" and done.stderr.startswith("rea: ")


def test_a_dirty_tree_is_refused_with_the_files(desk):
    (desk.root / "train.py").write_text("print('hello')\n")
    done = desk.call("plan")
    assert done.returncode in (1, 2) and "train.py" in done.stderr and "commit" in done.stderr


def test_what_git_does_not_track_is_named_and_output_is_to_be_written_elsewhere(desk):
    (desk.root / "plan.md").touch()
    done = desk.call("plan")
    assert done.returncode in (1, 2)
    assert "plan.md (untracked)" in done.stderr and "outside the repository" in done.stderr


@pytest.mark.parametrize("style", ["toml", "argparse", "env", "hydra"])
def test_a_config_that_nobody_reads_or_that_is_not_there_starts_nothing(desk, style):
    text = (desk.root / "rea.toml").read_text().replace('style = "toml"', f'style = "{style}"')
    if style != "toml":
        text = text.replace('config = "config.toml"\n', "").replace(" --config {config}", "")
    (desk.root / "rea.toml").write_text(text + "# commented\n")
    desk.commit()
    done = desk.call("plan", "--config", "nope.yaml")
    assert done.returncode == 2 and "nope.yaml" in done.stderr, done.stderr
    assert desk.workspace().store.campaigns() == []


def test_a_folder_without_a_repository_is_refused(desk):
    (desk.root / ".git").rename(desk.home / "git-away")
    done = desk.call("plan")
    assert done.returncode in (1, 2) and "git" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("config.toml", "[optim]", "[optim", "config.toml"),
        ("config.toml", "dropout = 0.0\n", "", "model.dropout"),
        ("rea.toml", 'metric = "ne"', "metric = 3", "[objective] metric"),
        ("rea.toml", 'walltime = "20s"', 'walltime = "soon"', "[resources] walltime"),
        ("rea.toml", 'kind = "local"', 'kind = "cloud"', "cloud"),
        ("rea.toml", "slots = 1", "slots = 1\nqueue = 3", "queue"),
        ("rea.toml", "[knobs]", "[nobs]", "nobs"),
    ],
)
def test_an_unreadable_config_names_the_place(desk, name, old, new, said):
    text = (desk.root / name).read_text()
    assert old in text
    (desk.root / name).write_text(text.replace(old, new))
    desk.commit()
    done = desk.call("plan", "--profile-runs", "2")
    assert done.returncode in (1, 2), (done.returncode, done.stdout, done.stderr)
    assert said in done.stderr + done.stdout and "Traceback" not in done.stderr


def test_a_campaigns_name_is_taken_once(desk):
    workspace = desk.workspace()
    desk.plan(workspace, profile_runs=2, name="spring")
    done = desk.call("plan", "--name", "spring", "--profile-runs", "2")
    assert done.returncode == 2 and "spring" in done.stderr and "→" in done.stderr
    assert len(workspace.store.campaigns()) == 1


def test_a_budget_that_is_too_small_keeps_the_profile_for_the_one_that_would_do(desk):
    workspace = desk.workspace()
    store = workspace.store
    done = desk.call("plan", "--budget", "4r", "--profile-runs", "2", "--json")
    assert done.returncode == 5, (done.returncode, done.stderr)
    asked = json.loads(done.stdout)
    title, smallest = asked["id"], int(re.search(r"`rea plan edit C-1 --budget (\d+)r`", asked["reason"])[1])
    campaign = store.campaign(title)
    assert asked["state"] == "paused" and "too small" in asked["reason"]
    assert campaign.pause_reason is PauseReason.BUDGET
    runs, entries = store.runs(campaign.id), store.entries(campaign.id)

    for words, code, said in (
        (("plan", "show", title), 3, f"--budget {smallest}r"),
        (("plan", "edit", title), 2, "changes nothing"),
        (("plan", "edit", title, "--drop", "H-1"), 2, "no plan yet"),
        (("plan", "edit", title, "--budget", f"{smallest - 1}r"), 5, f"--budget {smallest}r"),
        (("resume", title), 3, f"--budget {smallest}r"),
        (("approve", title, "--key", str(desk.key)), 3, f"--budget {smallest}r"),
    ):
        refused = desk.call(*words)
        assert refused.returncode == code and said in refused.stderr, (words, refused.returncode, refused.stderr)
    assert desk.call("pause", title).returncode == 0
    assert f"--budget {smallest}r" in store.campaign(title).reason

    drafted = desk.json("plan", "edit", title, "--budget", f"{smallest}r")
    spent = store.balance(campaign.id).spent
    assert drafted["plan"]["profile_s"] == spent > 0
    assert store.campaign(title).state is CampaignState.DRAFTED and store.campaign(title).reason == ""
    # No training was made for it, and the ledger is as it was.
    assert store.runs(campaign.id) == runs and store.entries(campaign.id) == entries
    desk.approve(workspace, store.campaign(title))
    assert store.balance(campaign.id).approved == drafted["plan"]["budget_s"]
    within_limit(workspace, campaign.id)


def test_a_campaign_that_pauses_at_a_guardrail_ends_the_waiting_command_with_5(desk):
    workspace = desk.workspace()
    campaign = desk.plan(workspace, profile_runs=2)
    desk.approve(workspace, campaign)
    from rea.workspace import steering

    steering.start(workspace, campaign.title)
    signers = desk.root / ".rea" / "allowed_signers"
    signers.write_text(signers.read_text() + "\n# a new line\n")
    done = desk.call("start", campaign.title, "--wait", "--json")
    assert done.returncode == 5, done.stderr
    assert json.loads(done.stdout)["state"] == "paused"


def test_a_place_for_runs_that_cannot_be_used_is_said(desk):
    (desk.home / "file").write_text("")
    done = desk.rea("plan", env={"REA_RUNS": str(desk.home / "file")})
    assert done.returncode == 2 and "REA_RUNS" in done.stderr and "Traceback" not in done.stderr


CARD = """---
name: tilt-the-tower
title: Tilt the tower
level: recipe
mechanism: tilting
settings:
  - {learning_rate: x0.4}
effect: {mean: 0.001, sd: 0.002, basis: "Ours."}
citation: "us, 2024"
---
Prose.
"""


def test_the_teams_own_cards_are_planned_with_and_known_to_the_insights(desk):
    cards = desk.root / ".rea" / "knowledge" / "techniques"
    cards.mkdir(parents=True)
    (cards / "tilt-the-tower.md").write_text(CARD.replace("citation", "quotation"))
    desk.commit()
    refused = desk.call("plan", "--profile-runs", "2")
    assert refused.returncode == 2 and "tilt-the-tower.md" in refused.stderr
    assert desk.workspace().store.campaigns() == []  # no training was paid for

    (cards / "tilt-the-tower.md").write_text(CARD)
    desk.commit()
    assert "Tilt the tower: no experiments yet" in desk.call("insights", "tilt-the-tower").stdout
    outside = desk.rea("insights", "tilt-the-tower", cwd=desk.home)
    assert outside.returncode == 0 and "Tilt the tower" not in outside.stdout
    assert "Tilt the tower" in desk.rea("insights", "tilt-the-tower", "-C", str(desk.root), cwd=desk.home).stdout
    workspace = desk.workspace()
    campaign = desk.plan(workspace, profile_runs=2)
    (mine,) = [h for h in workspace.store.hypotheses(campaign.id) if h.draft.technique == "tilt-the-tower"]
    assert [source.note for source in mine.draft.sources] == ["Ours; treats no symptom in particular"]


def test_the_next_step_fits_the_state_and_names_every_open_item(desk):
    toml = (desk.root / "rea.toml").read_text().replace('sealed = "test"\n', "")
    kept = [line for line in toml.splitlines(keepends=True) if not line.startswith("evaluate = ")]
    (desk.root / "rea.toml").write_text("".join(kept))
    desk.commit()
    workspace = desk.workspace()
    campaign = desk.plan(workspace, profile_runs=2)
    shown = desk.call("plan", "show", "C-1").stderr
    grants = "rea preflight C-1 --grant evaluator --grant sealed"
    assert f"next: {grants} && rea approve C-1 && rea start C-1\n" in shown
    desk.approve(workspace, campaign)
    refused = desk.call("start", "C-1")
    assert refused.returncode == 4 and f"→ {grants}\n" in refused.stderr

    half = desk.call("preflight", "C-1", "--grant", "evaluator")
    assert half.returncode == 4 and "✗ sealed" in half.stdout
    (line,) = [line for line in half.stdout.splitlines() if "evaluator:" in line]
    assert line.startswith("✓") and line.endswith("(granted by engineer@example.org)")
    assert desk.call("preflight", "C-1", "--grant", "sealed").returncode == 0
    assert "next: rea start C-1\n" in desk.call("plan", "show", "C-1").stderr
    with workspace.store.transaction(campaign.id) as tx:
        tx.set_campaign(campaign.id, state=CampaignState.RUNNING)
        tx.set_campaign(campaign.id, state=CampaignState.PAUSED, pause_reason=PauseReason.ENGINEER)
    assert "next: rea resume C-1\n" in desk.call("plan", "show", "C-1").stderr
    assert desk.call("stop", "C-1").returncode == 0
    assert "next:" not in desk.call("plan", "show", "C-1").stderr

    closed = desk.call("report", "C-1", "-o", "/proc/zz.html")
    assert closed.returncode == 2 and "/proc/zz.html cannot be written" in closed.stderr and "→" in closed.stderr


def test_a_reader_that_goes_ends_a_command_quietly_as_a_shell_expects(desk):
    desk.plan(desk.workspace(), profile_runs=2)
    command = [sys.executable, "-m", "rea", "plan", "show", "C-1", "--all"]
    with subprocess.Popen(command, env=dict(desk.env), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        said = process.stderr.read().decode()
        assert process.wait() == 128 + signal.SIGPIPE
    assert said == ""


def test_whoever_stops_waiting_is_told_that_the_campaign_goes_on(desk):
    text = (desk.root / "config.toml").read_text()
    slow = text.replace("plan = []", 'plan = ["always:slow"]').replace("seconds = 0.0", "seconds = 0.5")
    (desk.root / "config.toml").write_text(slow)
    desk.commit()
    command = [sys.executable, "-m", "rea", "plan", "--profile-runs", "2"]
    with subprocess.Popen(command, cwd=desk.root, env=dict(desk.env), stderr=subprocess.PIPE, text=True) as process:
        workspace = desk.workspace()
        while not any(attempt.started_at or attempt.job for attempt in workspace.store.attempts(1)):
            assert process.poll() is None
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait() == 130
    assert "C-1 goes on" in said and "`rea watch C-1`" in said and "Traceback" not in said


def test_experiments_are_carried_to_another_store_once(desk):
    def measured(number):
        told = {"technique": "embedding-l2", "roles": {"embedding_l2": 1e-4}, "values": {"embedding_l2": 0.0}}
        found = {"effect": 0.01 * number, "se": 0.002, "outcome": "supported", "seeds": 2, "context": {"rows": 1000}}
        return ExperimentRecord(None, codebase="theirs", campaign=1, hypothesis=number, round=1, **told, **found)

    store = desk.workspace().store
    store.import_experiments([measured(1), measured(2)], file="a.jsonl", by="ann", at=5.0, trust=1.0)
    file, other = desk.home / "insights.jsonl", {"REA_STORE": f"sqlite:///{desk.home / 'other.db'}"}
    assert "2 experiments" in desk.call("insights", "export", str(file)).stdout
    assert "2 experiments added, 0 known already" in desk.rea("insights", "import", str(file), env=other).stdout
    assert "0 experiments added, 2 known already" in desk.rea("insights", "import", str(file), env=other).stdout
    assert "2 experiments" in desk.rea("insights", "embedding-l2", env=other).stdout

    file.write_text(file.read_text() + "{broken\n")
    refused = desk.rea("insights", "import", str(file), env=other)
    assert refused.returncode == 2 and f"{file}, line 4" in refused.stderr and "Traceback" not in refused.stderr
    taken = desk.rea("insights", "import", str(file), "--skip-bad", env=other)
    assert taken.returncode == 0 and "1 lines skipped" in taken.stdout


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("both", [False, True])
def test_an_output_that_nobody_has_room_for_is_told_in_a_word(desk, both):
    for words in (["status"], ["wake"], ["wake"]):  # the second wake says so by the short way
        command = [sys.executable, "-m", "rea", *words]
        with FULL.open("w") as full:
            err = full if both else subprocess.PIPE
            done = subprocess.run(command, cwd=desk.root, env=desk.env, stdout=full, stderr=err, text=True, timeout=60)
        assert done.returncode == 1, words
        assert both or done.stderr == "rea: [Errno 28] No space left on device\n", done.stderr
