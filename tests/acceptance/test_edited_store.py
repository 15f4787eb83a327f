"""Rows that no release of REA wrote: the row is named, what was expected is said, and other campaigns go on."""

import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from rea.domain.states import is_terminal
from support.desk import PATIENCE_S, opened, settle

RUNNING = "UPDATE campaigns SET state = 'running', phase = 'validation', next_wake_at = NULL WHERE id = 1"


def edit(desk, *statements):
    """Raw SQL, past every check of the schema, as a database shell would do it."""
    with closing(sqlite3.connect(desk.home / "rea.db")) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for statement in statements:
            assert connection.execute(statement).rowcount > 0, statement
        connection.commit()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A desk with C-1, planned and signed; nothing of it runs."""
    with opened(tmp_path_factory.mktemp("edited") / "home") as desk:
        workspace = desk.workspace()
        desk.approve(workspace, desk.plan(workspace, profile_runs=2))
        workspace.store.close()
        settle(desk.home)
        with closing(sqlite3.connect(desk.home / "rea.db")) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(desk.home / "rea.db", desk.home / "kept.db")
        yield desk


@pytest.fixture
def signed(kept):
    """The same, whatever an earlier test did to the store."""
    settle(kept.home)
    for path in kept.home.glob("rea.db*"):
        path.unlink()
    shutil.copy(kept.home / "kept.db", kept.home / "rea.db")
    return kept


def refused(desk, command, *words):
    done = desk.call(*command.split())
    assert done.returncode == 1, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "rea: " in done.stderr and "→" in done.stderr and "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, (command, word, done.stderr)


PLANS = {
    "cut short": "substr(text, 1, 200)",
    "empty": "''",
    "another document": "'{}'",
    "a list": "'[1]'",
    "a word for a number": 'replace(text, \'"rounds":\', \'"rounds":"many","was":\')',
}


def test_what_must_hold_of_a_campaign_is_checked_from_outside(signed):
    assert "C-1: all holds" in signed.call("check", "C-1").stdout
    edit(
        signed,
        "UPDATE entries SET device_s = 0.001 WHERE kind = 'approve'",
        "UPDATE runs SET state = 'active' WHERE id = 1",
        RUNNING.replace("NULL", "NULL, name = 'renamed'"),
    )
    done = signed.call("check", "C-1")
    assert done.returncode == 1
    for words in ("spent or reserved of 0.001 approved", "R-1 is active without an open attempt", "it runs, and"):
        assert words in done.stdout, done.stdout


def test_a_plan_whose_text_was_changed_is_shown_with_a_warning(signed):
    assert "warning" not in signed.call("status", "C-1").stdout + signed.call("plan", "show", "C-1").stderr
    edit(signed, "UPDATE plans SET text = replace(text, '\"retry_cap\":3', '\"retry_cap\":9')")
    for done in (signed.call("status", "C-1"), signed.call("plan", "show", "C-1")):
        assert "the text of plan P-1, version 1, was changed after it was drafted" in done.stdout + done.stderr


@pytest.mark.parametrize("kind", PLANS)
def test_a_plan_that_is_none_is_named_wherever_it_is_read_and_the_campaign_can_be_stopped(signed, kind):
    edit(signed, RUNNING, f"UPDATE plans SET text = {PLANS[kind]}")
    assert "pydantic" not in signed.call("plan", "show", "C-1").stderr
    named = ("P-1, version 1 of the plan of C-1", "a plan as REA wrote it", "backup", "rea stop C-1")
    for command in (
        "wake C-1",
        "wake",
        "plan show C-1",
        "preflight C-1",
        "report C-1",
        f"approve C-1 --key {signed.key}",
    ):
        refused(signed, command, *named)
    assert signed.call("stop", "C-1").returncode == 0
    assert signed.call("wake", "C-1").returncode == 0


@pytest.mark.parametrize(
    ("state", "phase", "expected"),
    [
        ("running", "done", "validation, combination, exploitation, confirmation, reveal"),
        ("running", "profile", "validation, combination, exploitation, confirmation, reveal"),
        ("paused", "done", "profile, validation"),
        ("profiling", "reveal", "profile"),
        ("approved", "validation", "profile"),
    ],
)
def test_a_state_and_a_phase_that_never_go_together_are_refused_and_the_campaign_can_be_stopped(
    signed, state, phase, expected
):
    edit(signed, f"UPDATE campaigns SET state = '{state}', phase = '{phase}'")
    refused(signed, "wake C-1", f"C-1 is {state} in phase {phase}", f"expected: {expected}", "rea stop C-1")
    assert signed.call("status", "C-1").returncode == 0
    assert signed.call("stop", "C-1").returncode == 0
    assert signed.call("wake", "C-1").returncode == 0


ROWS = {
    "UPDATE campaigns SET state = 'sleeping'": ("C-1 ", "its state is 'sleeping'", "profiling, drafted"),
    "UPDATE campaigns SET phase = 'dreaming'": ("C-1 ", "its phase is 'dreaming'", "profile, validation"),
    "UPDATE campaigns SET codebase = '{'": ("C-1 ", "its codebase is no Codebase"),
    "UPDATE campaigns SET options = 'null'": ("C-1 ", "its options is no dict"),
    'UPDATE campaigns SET claim = \'{"split": "test"}\'': ("C-1 ", "its claim is no Claim"),
    "UPDATE campaigns SET incumbent = 777": ("the incumbent of C-1 names H-777", "not there"),
    "UPDATE hypotheses SET state = 'hoped' WHERE id = 2": ("H-2 of C-1", "'hoped'", "proposed, testing"),
    "UPDATE hypotheses SET draft = '{}' WHERE id = 2": ("H-2 of C-1", "its draft is no HypothesisDraft"),
    "UPDATE hypotheses SET draft = json_set(draft, '$.title', 3) WHERE id = 2": ("H-2 of C-1", "3"),
    "UPDATE hypotheses SET draft = json_set(draft, '$.treatment.overrides', json('[]')) WHERE id = 2": ("H-2 of C-1",),
    "UPDATE hypotheses SET belief = 'high' WHERE id = 2": ("H-2 of C-1", "its belief is no Belief"),
    "UPDATE runs SET state = 'walking' WHERE id = 2": ("R-2 of C-1", "'walking'", "planned, active"),
    "UPDATE runs SET draft = 'x' WHERE id = 2": ("R-2 of C-1", "its draft is no RunDraft"),
    "UPDATE runs SET draft = json_set(draft, '$.hypothesis', 777) WHERE id = 2": ("R-2 of C-1 names H-777",),
    "UPDATE runs SET result = '[]' WHERE id = 2": ("R-2 of C-1", "its result is no RunResult"),
    "UPDATE runs SET result = json_remove(result, '$.curve') WHERE id = 2": ("R-2 of C-1", "curve"),
    "UPDATE runs SET failure = '{' WHERE id = 1": ("R-1 of C-1", "its failure is no Failure"),
    "UPDATE attempts SET state = 'over' WHERE id = 1": ("A-1 of C-1", "'over'", "intended, submitted, ended"),
    "UPDATE attempts SET run = 777 WHERE id = 1": ("A-1 of C-1 names R-777", "not there"),
    "UPDATE entries SET kind = 'steal' WHERE id = 1": ("entry 1 of the ledger of C-1", "approve, reserve, settle"),
    "UPDATE plans SET state = 'torn'": ("P-1 of C-1", "its state is 'torn'", "draft, approved"),
}


@pytest.mark.parametrize("statement", ROWS)
def test_a_row_that_cannot_be_read_is_named_with_what_was_expected(signed, statement):
    edit(signed, RUNNING, statement)
    refused(signed, "wake C-1", *ROWS[statement], "backup")


def test_every_way_to_look_at_a_broken_row_says_the_same(signed):
    edit(signed, "UPDATE runs SET draft = 'x' WHERE id = 2", "UPDATE events SET data = '[' WHERE id = 1")
    for command in ("show R-2", "status C-1", "report C-1", "show C-1"):
        refused(signed, command, "R-2 of C-1", "backup")
    refused(signed, "logs C-1", "event 1 of C-1", "its data is no dict", "backup")


def test_a_damaged_campaign_hides_no_other(signed):
    columns = [name for _, name, *_ in ask_columns(signed) if name not in ("id", "name")]
    copied = ", ".join(f'"{name}"' for name in columns)
    edit(
        signed,
        f"INSERT INTO campaigns (id, name, {copied}) SELECT 2, 'other', {copied} FROM campaigns WHERE id = 1",
        "UPDATE campaigns SET codebase = '{' WHERE id = 2",
        RUNNING,
    )
    done = signed.call("status")
    assert done.returncode == 1 and "C-1" in done.stdout and "C-2" not in done.stdout
    assert "rea: C-2: " in done.stderr and "its codebase is no Codebase" in done.stderr and "→" in done.stderr
    edit(signed, "UPDATE entries SET kind = 'x' WHERE id = 1")
    assert "unreadable: `rea check C-1`" in signed.call("status").stdout


def ask_columns(desk):
    with closing(sqlite3.connect(desk.home / "rea.db")) as connection:
        return connection.execute("PRAGMA table_info(campaigns)").fetchall()


def broken_and_sound(desk):
    """C-1 broken in the middle, C-2 approved and sound."""
    workspace = desk.workspace()
    desk.plan(workspace, profile_runs=2)
    campaign = desk.plan(workspace, profile_runs=2, budget="40s", rounds=1)
    desk.keep(workspace, campaign, "model.dropout=0.1")
    desk.approve(workspace, campaign)
    edit(desk, RUNNING, "UPDATE runs SET draft = 'x' WHERE id = 2")
    (desk.runs / "wake").mkdir(exist_ok=True)
    (desk.runs / "wake" / f"1.rea-{workspace.store.uid}-R2-1").touch()
    return workspace, campaign


def test_a_wake_of_all_goes_on_with_the_campaigns_that_can_and_fails_for_the_other(desk):
    workspace, campaign = broken_and_sound(desk)
    edit(desk, f"UPDATE campaigns SET state = 'running', phase = 'validation' WHERE id = {campaign.id}")
    done = desk.call("wake", "--json")
    assert done.returncode == 1 and "rea: C-1: R-2 of C-1" in done.stderr and "Traceback" not in done.stderr
    assert '"C-1": {"error": ' in done.stdout and '"C-2": {"actions": ' in done.stdout
    assert any(run.draft.phase.value == "validation" for run in workspace.store.runs(campaign.id))
    assert desk.call("stop", campaign.title).returncode == 0


@pytest.mark.parametrize("row", ["runs", "campaigns"])
def test_a_daemon_goes_on_with_a_sound_campaign_beside_a_broken_one(desk, row):
    workspace, campaign = broken_and_sound(desk)
    if row == "campaigns":
        edit(desk, "UPDATE campaigns SET codebase = '{' WHERE id = 1")
    edit(desk, f"UPDATE campaigns SET state = 'running', phase = 'validation' WHERE id = {campaign.id}")
    assert desk.call("preflight", campaign.title, "--grant", "record").returncode == 0
    log = desk.home / "daemon.log"
    command = [sys.executable, "-m", "rea", "daemon", "--sweep", "2"]
    with log.open("w") as out:
        daemon = subprocess.Popen(command, cwd=desk.root, env=dict(desk.env), stdout=out, stderr=out)
        try:
            deadline = time.monotonic() + PATIENCE_S
            while sum(is_terminal(run.state) for run in workspace.store.runs(campaign.id)) < 4:  # two of them profiled
                assert daemon.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        finally:
            daemon.terminate()
            daemon.wait()
    assert desk.call("stop", campaign.title).returncode == 0
    assert "C-1" in log.read_text() and "Traceback" not in log.read_text()
    left = [path.name for path in Path(desk.runs / "wake").iterdir() if path.name.startswith("1.")]
    assert not left, "a wake file nobody can act on keeps a daemon busy"
