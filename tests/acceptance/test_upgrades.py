"""A campaign outlives releases: stores of each earlier schema, and wakes by one release after another.

tests/fixtures/stores/make.py says how the stores were made: each holds a campaign that parked in the middle of its
search, by the code that released its schema.
"""

import shutil
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from rea.domain.codec import digest
from rea.domain.states import CampaignState, RunState
from rea.executor.invariants import violations
from rea.guard.approval import verified_approval
from rea.guard.signing import sign, statement
from rea.store import migrate
from support.desk import opened, settle, within_limit

STORES = Path(__file__).parents[1] / "fixtures" / "stores"
ROOT = Path(__file__).parents[2]
OLDER = migrate.REVISIONS[:-1]


@pytest.fixture
def parked(tmp_path):
    """Unpacks the store of a revision onto a desk of its own: (desk, the folder it was unpacked in)."""
    with opened(tmp_path / "desk") as desk:

        def unpack(revision):
            before = tmp_path / "before"
            with tarfile.open(STORES / f"{revision}.tar.gz") as archive:
                archive.extractall(before, filter="data")
            shutil.copy(before / "home" / "rea.db", desk.home / "rea.db")
            shutil.copytree(before / "home" / "runs", desk.runs, dirs_exist_ok=True)
            return desk, before / "home"

        yield unpack


def ask(path, question, *values):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(question, values).fetchall()


def content(path):
    """The schema and every row of an SQLite file, but for what a search index keeps for itself."""
    tables = [n for (n,) in ask(path, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    rows = {n: ask(path, f'SELECT * FROM "{n}" ORDER BY 1') for n in tables if not n.startswith("experiment_words")}
    return ask(path, "SELECT name, sql FROM sqlite_schema ORDER BY name"), rows


def move(desk, before, workspace):
    """The campaign goes on on this machine: other folders and Python, the codebase's history anew, signed anew."""
    campaign = workspace.store.campaign(1)
    for path in desk.root.iterdir():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(before / "tinyranker", desk.root, dirs_exist_ok=True)
    signers = desk.root / ".rea" / "allowed_signers"
    old_signers = digest(signers.read_text())
    listed = signers.read_text().split()
    signers.write_text(" ".join([*listed[:2], *desk.key.with_suffix(".pub").read_text().split()[:2]]) + "\n")
    desk.commit("The model in production")
    moved = {
        str(Path(campaign.codebase.root).parent): str(desk.home),
        campaign.codebase.python: sys.executable,
        campaign.commit: desk.git("rev-parse", "HEAD"),
        old_signers: digest(signers.read_text()),
    }
    workspace.store.close()
    with closing(sqlite3.connect(desk.home / "rea.db")) as connection:
        for table, column in (("campaigns", "codebase"), ("campaigns", '"commit"'), ("attempts", "run_dir")):
            for old, new in moved.items():
                connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (old, new))
        plans = connection.execute("SELECT id, text FROM plans WHERE state = 'approved'").fetchall()
        for id_, text in plans:
            for old, new in moved.items():
                text = text.replace(old, new)
            signature = sign(statement(digest(text), campaign.name), desk.key)
            connection.execute("UPDATE plans SET text = ?, digest = ? WHERE id = ?", (text, digest(text), id_))
            given = (digest(text), signature, id_)
            connection.execute("UPDATE approvals SET digest = ?, signature = ? WHERE plan = ?", given)
        connection.commit()


def at_once(desk, count, *words):
    quiet = {"cwd": desk.root, "env": dict(desk.env), "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-m", "rea", *words]
    processes = [subprocess.Popen(command, text=True, **quiet) for _ in range(count)]
    return [(process.communicate(timeout=60), process.returncode) for process in processes]


def test_there_is_a_store_of_every_schema():
    assert sorted(path.name for path in STORES.glob("*.tar.gz")) == [f"{name}.tar.gz" for name in migrate.REVISIONS]


@pytest.mark.parametrize("revision", OLDER)
def test_two_processes_at_once_migrate_an_older_store_once_and_keep_a_copy_of_it(parked, revision):
    desk, before = parked(revision)
    was = content(before / "rea.db")
    done = at_once(desk, 2, "status", "C-1")
    for (out, err), code in done:
        assert code == 0 and "C-1" in out, err
    told = [err for (_, err), _ in done if "was brought from schema" in err]
    assert len(told) == 1 and revision in told[0] and f"as it was: {desk.home}/rea.db.{revision}.bak" in told[0]
    assert ask(desk.home / "rea.db", "SELECT version_num FROM alembic_version") == [(migrate.REVISIONS[-1],)]
    copies = sorted(path.name for path in desk.home.glob("rea.db.*") if path.suffix not in (".lock",))
    assert copies == [f"rea.db.{revision}.bak"]
    assert content(desk.home / f"rea.db.{revision}.bak") == was
    # Every row that was there still is, and the signature of then holds by the code of today.
    workspace = desk.workspace()
    rows = workspace.store.snapshot_rows(1)
    for table, found in (("runs", rows.runs), ("attempts", rows.attempts), ("hypotheses", rows.hypotheses)):
        assert [row[0] for row in was[1][table]] == [each.id for each in found]
    signers = (before / "tinyranker" / ".rea" / "allowed_signers").read_text()
    assert verified_approval(rows.plan, rows.approval, rows.campaign, signers).signer == rows.approval.signer


def resumed(desk, before):
    """The campaign moved to this machine and its first wake by today's code done: (workspace, rows as they were)."""
    workspace = desk.workspace()
    move(desk, before, workspace)
    workspace = desk.workspace()
    rows = workspace.store.snapshot_rows(1)
    assert rows.campaign.state is CampaignState.RUNNING and violations(rows) == []
    # Moving it here changed rows that name places, which nobody but an engineer can vouch for.
    assert desk.call("preflight", "C-1", "--grant", "record").returncode == 0
    done = desk.rea("wake", "C-1")
    assert done.returncode == 0, done.stderr
    return workspace, rows


def test_what_waited_when_the_release_changed_is_trained_once_and_what_was_known_stays(parked):
    desk, before = parked(OLDER[0])
    workspace, rows = resumed(desk, before)
    (first, *_) = (run.id for run in rows.runs if run.state is RunState.PLANNED)
    desk.follow(workspace, 1, lambda _: workspace.store.run(first).state is RunState.SUCCEEDED)
    holds(workspace, rows)


@pytest.mark.slow
@pytest.mark.parametrize("revision", migrate.REVISIONS)
def test_a_campaign_parked_by_an_earlier_release_is_finished_by_this_one(parked, revision):
    desk, before = parked(revision)
    workspace, rows = resumed(desk, before)
    campaign = desk.follow(workspace, 1)
    settle(desk.home)
    assert campaign.state is CampaignState.FINISHED and campaign.verdict is not None, campaign.reason
    holds(workspace, rows)
    assert len(workspace.store.experiments()) > len(ask(before / "rea.db", "SELECT id FROM experiments"))
    assert desk.call("check", "C-1").returncode == 0


def holds(workspace, before):
    """What must hold of the campaign, and that nothing which had ended by then was touched or done again."""
    rows = workspace.store.snapshot_rows(1)
    assert violations(rows) == []
    within_limit(workspace, 1)
    over = {run.id: run.result for run in before.runs if run.state is RunState.SUCCEEDED}
    assert len(over) >= 3 and {run.id: run.result for run in rows.runs if run.id in over} == over
    assert rows.attempts[: len(before.attempts)] == before.attempts
    trained = [attempt.run for attempt in rows.attempts]
    assert len(trained) == len(set(trained)) > len(before.attempts)
    assert {attempt.outcome for attempt in rows.attempts} <= {"succeeded", "stopped", None}


def test_a_store_of_a_newer_release_is_refused_by_every_command_and_left_alone(parked):
    desk, _ = parked(migrate.REVISIONS[-1])
    with closing(sqlite3.connect(desk.home / "rea.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999_later'")
        connection.commit()
    was = content(desk.home / "rea.db")
    for words in (("wake",), ("status",), ("wake", "C-1")):
        done = desk.call(*words)
        assert done.returncode == 1, words
        for said in ("written by a newer release of rea", "9999_later", migrate.REVISIONS[-1], "upgrade rea here"):
            assert said in done.stderr
    assert content(desk.home / "rea.db") == was and not list(desk.home.glob("*.bak"))
