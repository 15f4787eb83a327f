"""The trail of a real campaign: whole as REA wrote it, and every edit, addition, removal and truncation shows."""

import json
import random
import shutil
import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import create_engine, text

from rea.domain.states import CampaignState, Phase
from rea.guard.preflight import blocking
from rea.store import tables as t
from rea.store import trail
from rea.workspace import auditing, governance, steering
from support.desk import make_key, opened, settle

FOLLOWED = ("campaigns", "hypotheses", "runs", "attempts", "entries", "events", "plans", "approvals")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("audited") / "home") as desk:
        workspace = desk.workspace()
        campaign = desk.plan(workspace, budget="30r", profile_runs=2)
        governance.preflight(workspace, campaign.title, ["clean"])
        desk.approve(workspace, campaign)
        assert desk.run(workspace, campaign).state is CampaignState.FINISHED
        workspace.store.close()
        settle(desk.home)
        with closing(sqlite3.connect(desk.home / "rea.db")) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(desk.home / "rea.db", desk.home / "whole.db")
        yield desk


@pytest.fixture
def desk(finished):
    """The same, whatever an earlier test did to the store."""
    for path in finished.home.glob("rea.db*"):
        path.unlink()
    shutil.copy(finished.home / "whole.db", finished.home / "rea.db")
    return finished


@pytest.fixture
def tampered(desk):
    """Faults of campaign 1 after some statements, which are taken back again."""
    engine = create_engine(f"sqlite:///{desk.home / 'rea.db'}")

    def look(*statements, **values):
        with engine.connect() as connection:
            # The driver's own transactions would leave the first PRAGMA outside.
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
            for statement in statements:
                assert connection.execute(text(statement), values).rowcount > 0, statement
            found = trail.faults(connection, 1)
            connection.rollback()
        return found

    yield look
    engine.dispose()


def rows(desk, table, column="id"):
    with closing(sqlite3.connect(desk.home / "rea.db")) as connection:
        return [key for (key,) in connection.execute(f"SELECT {column} FROM {table} ORDER BY 1")]


def edit(desk, *statements):
    with closing(sqlite3.connect(desk.home / "rea.db")) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount > 0, statement
        connection.commit()


def test_what_rea_wrote_is_whole_and_jobs_bear_witness(desk):
    found = auditing.verify(desk.workspace(), 1)
    assert found.whole, found.faults
    assert found.witnesses == len(rows(desk, "attempts")) and found.links > 100
    said = desk.call("audit", "verify")
    assert said.returncode == 0 and "whole" in said.stdout


def test_every_edited_cell_shows(desk, tampered):
    chance = random.Random("cells")
    tried = 0
    for table in FOLLOWED:
        columns = [c for c in t.metadata.tables[table].c if c.name not in ("id", "fence", "lease_owner", "lease_until")]
        key = "plan" if table == "approvals" else "id"
        found = rows(desk, table, key)
        for row in chance.sample(found, min(len(found), 30)):
            column = chance.choice([c for c in columns if c.name not in ("next_wake_at", "plan", "campaign")])
            new = f"'x' || coalesce({column.name}, '')" if isinstance(column.type, t.Text) else "9e9"
            name = f'"{column.name}"'
            found = tampered(f"UPDATE {table} SET {name} = {new.replace(column.name, name)} WHERE {key} = {row}")
            said = [fault.rpartition(" [")[0] for fault in found]
            assert said == [f"{table}/{row} was changed by something else than REA"], (table, row, column.name)
            tried += 1
    assert tried > 60


def test_every_row_that_was_removed_or_added_shows(desk, tampered):
    chance = random.Random("rows")
    for table in FOLLOWED[1:]:
        key = "plan" if table == "approvals" else "id"
        for row in chance.sample(found := rows(desk, table, key), min(len(found), 12)):
            assert f"{table}/{row} was removed by something else than REA" in tampered(
                f"DELETE FROM {table} WHERE {key} = {row}"
            )
    said = tampered("INSERT INTO events (campaign, at, kind, message, data) VALUES (1, 1, 'note', 'all well', '{}')")
    assert len(said) == 1 and "was written by something else" in said[0]
    assert tampered("INSERT INTO grants VALUES (1, 'evaluator', 'mallory', 1)")


def test_every_broken_link_shows(desk, tampered):
    chance = random.Random("links")
    numbers = rows(desk, "trail", "number")
    for number in [*numbers[:20], *numbers[-20:], *chance.sample(numbers, 100)]:
        assert tampered(f"DELETE FROM trail WHERE number = {number}"), number
        assert tampered(f"UPDATE trail SET content = 'f' || substr(content, 2) || '0' WHERE number = {number}"), number
    for last in chance.sample(numbers, 20):  # links cut off at the end, with and without the head
        assert tampered(f"DELETE FROM trail WHERE number >= {last}")
    assert tampered("UPDATE heads SET number = number - 1")
    assert tampered(
        "UPDATE trail SET number = -number WHERE number = 7", "UPDATE trail SET number = 7 WHERE number = 8"
    )


def test_a_trail_that_was_written_anew_contradicts_the_jobs_and_what_was_exported(desk, tmp_path):
    exported = tmp_path / "trail.jsonl"
    assert desk.call("audit", "export", "C-1", str(exported), "--sign", str(desk.key)).returncode == 0
    edit(desk, "UPDATE runs SET result = NULL WHERE id = 3", "DELETE FROM trail", "DELETE FROM heads")
    workspace = desk.workspace()
    with workspace.store.transaction(1) as tx:
        tx._trail.begin()
    assert workspace.store.trail_faults(1) == []  # within itself it is consistent
    found = auditing.verify(workspace, 1)
    assert not found.whole and "knew a trail with another link" in found.faults[0]
    held = desk.call("audit", "verify", "C-1", "--against", str(exported))
    assert held.returncode == 1 and str(exported) in held.stdout


def test_a_row_that_was_altered_stays_so_however_often_rea_writes_it_afterwards(desk):
    edit(desk, "UPDATE campaigns SET reason = 'all is well' WHERE id = 1")
    workspace = desk.workspace()
    for _ in range(2):
        with workspace.store.transaction(1) as tx:
            tx.set_campaign(1, options={"a": 1})
            tx.set_campaign(1, options={"a": 2})
        (fault,) = workspace.store.trail_faults(1)
        assert fault.startswith("campaigns/1 was changed by something else than REA, before link")


def test_an_export_tells_who_approved_what_was_spent_and_why(desk, tmp_path):
    exported = tmp_path / "trail.jsonl"
    done = desk.call("audit", "export", "C-1", str(exported), "--sign", str(desk.key))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in exported.read_text().splitlines()]
    said = json.dumps(lines)
    assert "engineer@example.org signed plan version" in said and "granted 'clean'" in said
    assert any(line.get("says", {}).get("kind") == "settle" for line in lines)
    assert any("judged" in str(line.get("says", {}).get("kind")) for line in lines)
    assert desk.call("audit", "verify", "C-1", "--against", str(exported)).returncode == 0
    again = desk.call("audit", "export", "C-1", str(exported))
    assert again.returncode == 2 and "--force" in again.stderr


@pytest.mark.parametrize("before", [None, "an earlier export\n"])
def test_an_export_that_cannot_be_signed_leaves_the_folder_as_it_was(desk, tmp_path, before):
    folder = tmp_path / "exports"
    folder.mkdir()
    if before is not None:
        (folder / "trail.jsonl").write_text(before)
    words = ("--sign", str(tmp_path / "no-key"), "--force")
    refused = desk.call("audit", "export", "C-1", str(folder / "trail.jsonl"), *words)
    assert refused.returncode == 3 and "no key" in refused.stderr
    assert [path.read_text() for path in folder.iterdir()] == ([] if before is None else [before])


@pytest.mark.parametrize("how", ["a line", "the head", "another signature", "no export"])
def test_an_export_that_was_changed_is_refused(desk, tmp_path, how):
    exported = tmp_path / "trail.jsonl"
    desk.call("audit", "export", "C-1", str(exported), "--sign", str(desk.key))
    lines = exported.read_text().splitlines()
    if how == "a line":
        lines[5] = lines[5].replace('"content": "', '"content": "0')
    elif how == "the head":
        lines[0] = lines[0].replace('"head": "', '"head": "1')
    elif how == "another signature":
        stranger = make_key(tmp_path / "stranger")
        exported.unlink()
        desk.call("audit", "export", "C-1", str(exported), "--sign", str(stranger), "--force")
    else:
        lines = ["{}"]
    exported.write_text("\n".join(lines) + "\n")
    said = desk.call("audit", "verify", "C-1", "--against", str(exported))
    assert said.returncode in (1, 2, 4) and "Traceback" not in said.stderr, said


def test_a_campaign_whose_rows_were_edited_starts_only_if_an_engineer_vouches_for_it(desks):
    desk = desks()
    workspace = desk.workspace()
    campaign = desk.plan(workspace, profile_runs=2)
    desk.approve(workspace, campaign)
    edit(desk, "UPDATE entries SET device_s = device_s * 10 WHERE kind = 'approve'")
    refused = desk.call("start", campaign.title)
    assert refused.returncode == 4 and "was changed by something else than REA" in refused.stderr
    _, blocked = governance.preflight(workspace, campaign.title)
    assert [check.name for check in blocking(blocked)] == ["record"]
    assert desk.call("preflight", campaign.title, "--grant", "record").returncode == 0
    edit(desk, "UPDATE runs SET result = replace(result, '0.8', '0.9') WHERE id = 1")
    again = desk.call("start", campaign.title)
    assert again.returncode == 4 and "✗ record" in again.stderr, "who vouched for one row has not vouched for another"
    assert desk.call("preflight", campaign.title, "--grant", "record").returncode == 0
    edit(desk, "UPDATE runs SET result = replace(result, '0.9', '0.7') WHERE id = 1")
    again = desk.call("start", campaign.title)
    assert again.returncode == 4 and "✗ record" in again.stderr, "nor for another edit of the same row"
    assert desk.call("preflight", campaign.title, "--grant", "record").returncode == 0


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE cells SET moment = moment * 100",
        "UPDATE experiments SET effect = effect + 0.5 WHERE effect IS NOT NULL",
        "UPDATE experiments SET record = replace(record, 'supported', 'refuted')",
        "DELETE FROM experiments WHERE superseded_by IS NULL AND cell IS NOT NULL AND effect IS NOT NULL",
    ],
)
def test_what_was_learnt_is_held_against_the_experiments_it_was_learnt_from(desk, change):
    assert desk.call("db", "check").returncode == 0
    edit(desk, change)
    said = desk.call("db", "check")
    assert said.returncode == 1 and ("by its record" in said.stdout or "by its experiments" in said.stdout), said.stdout


def test_a_trail_and_a_campaign_that_are_gone_are_missed(desk):
    edit(desk, "DELETE FROM trail", "DELETE FROM heads")
    said = desk.call("db", "check")
    assert said.returncode == 1 and "by something else than REA" in said.stdout, said.stdout
    tables = ("events", "entries", "attempts", "runs", "approvals", "grants", "experiments", "questions", "plans")
    tables = (*tables, "hypotheses", "campaigns")
    with closing(sqlite3.connect(desk.home / "rea.db")) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        for table in tables:
            connection.execute(f"DELETE FROM {table}")
        connection.commit()
    said = desk.call("audit", "verify")
    assert said.returncode == 1 and "C-1 is not in the store any more" in said.stdout, said.stdout
    assert desk.call("db", "check").returncode == 1


def test_an_export_whose_later_lines_are_none_is_refused(desk, tmp_path):
    exported = tmp_path / "trail.jsonl"
    desk.call("audit", "export", "C-1", str(exported))
    whole = exported.read_text().splitlines()
    for bad in ("{}", "[1", "7", '{"number": null, "row": "x", "content": "y", "link": "z"}'):
        exported.write_text("\n".join([*whole[:3], bad, *whole[4:]]) + "\n")
        said = desk.call("audit", "verify", "C-1", "--against", str(exported))
        assert said.returncode == 1 and "line 4 is no link of a trail" in said.stdout, said


def test_a_ledger_that_is_edited_while_the_campaign_runs_is_noticed_at_the_next_phase(desks):
    desk = desks()
    workspace = desk.workspace()
    campaign = desk.plan(workspace, budget="40r", rounds=1, profile_runs=2)
    desk.approve(workspace, campaign)
    steering.start(workspace, campaign.title)
    edit(desk, "UPDATE entries SET device_s = 0 WHERE kind = 'settle'")
    held = desk.follow(workspace, campaign.id)
    assert held.state is CampaignState.PAUSED and "was changed by something else than REA" in held.reason, held.reason
    assert held.phase is Phase.VALIDATION and "--grant record" in held.reason
    assert desk.call("resume", campaign.title).returncode == 4
    assert desk.call("preflight", campaign.title, "--grant", "record").returncode == 0
    assert desk.call("resume", campaign.title).returncode == 0
    assert desk.follow(workspace, campaign.id).state is CampaignState.FINISHED
