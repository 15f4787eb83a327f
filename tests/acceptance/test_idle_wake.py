"""A wake that finds nothing to do costs next to nothing, and overlooks nothing."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from rea import idle
from rea.executor import decide, trouble
from rea.job import rundir
from rea.store import migrate
from rea.store.address import default_url, parse
from rea.workspace import open_workspace, planning, waking
from support.desk import PATIENCE_S, opened

HEAVY = {"typer", "pydantic", "sqlalchemy", "alembic", "numpy", "rich", "json", "typing", "pathlib", "subprocess"}


def test_what_the_short_way_knows_is_what_the_long_one_does():
    assert migrate.REVISIONS[-1] == idle.REVISION, "the questions of rea.idle are put to the newest schema"
    assert idle.SWEEP_S == decide.SWEEP_S and idle.SILENT_S == trouble.SILENT_S


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"XDG_DATA_HOME": "~/data"},
        {"REA_HOME": "~/rea home"},
        {"REA_HOME": "{tmp}/it", "REA_RUNS": "~/runs"},
        {"REA_STORE": "sqlite:///{tmp}/it/a?b.db"},
        {"REA_STORE": "sqlite:////{tmp}/it/100 % #1.db", "REA_RUNS": "{tmp}/it/runs"},
        {"REA_STORE": "sqlite:///~/it.db"},
        {"REA_STORE": "postgresql://me@host/rea"},
        {"REA_STORE": "sqlite:///"},
        {"REA_STORE": "nonsense"},
    ],
)
def test_store_and_runs_are_looked_for_where_every_command_finds_them(given, tmp_path, monkeypatch):
    for name in ("REA_STORE", "REA_RUNS", "REA_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "it").mkdir()
    for name, value in given.items():
        monkeypatch.setenv(name, value.format(tmp=tmp_path))
    found = idle.store_file(os.environ)
    try:
        known = parse(default_url()).path
    except Exception:
        known = None
    if found is None:
        assert known is None or "?" in str(os.environ["REA_STORE"])
        return
    if known is None:  # the whole command refuses it; there is no such store to be idle about
        assert not idle.nothing_to_do(os.environ)
        return
    assert found == str(known)
    if given.keys() & {"REA_HOME", "REA_STORE"}:
        assert not idle.nothing_to_do(os.environ), "no store yet"
        workspace = open_workspace()
        assert idle.nothing_to_do(os.environ)
        assert idle.runs_folder(os.environ, found) == str(workspace.runs)


def test_a_wake_with_nothing_to_do_imports_nothing_that_costs(desk):
    assert desk.call("wake").stdout == "nothing to do\n", "the first makes the store"
    code = "import sys; sys.argv = ['rea', 'wake']\nfrom rea.cli import main\nmain()\nprint(*sys.modules)"
    command = [sys.executable, "-S", "-c", code]
    source = str(Path(idle.__file__).parents[1])
    done = subprocess.run(command, env={**desk.env, "PYTHONPATH": source}, capture_output=True, text=True, check=True)
    said, modules = done.stdout.splitlines()
    assert said == "nothing to do"
    assert not HEAVY & set(modules.split())
    assert desk.call("wake", "--json").stdout == "{}\n"


# a campaign whose job trains and trains


@pytest.fixture(scope="module")
def hibernating(tmp_path_factory):
    """A desk with C-1 in its profile, its only job at work for ten minutes, as it was long after it fell asleep."""
    with opened(tmp_path_factory.mktemp("idle") / "home", config={"fault.plan": ["always:hang"]}) as desk:
        workspace = desk.workspace()
        campaign = planning.plan(workspace, desk.root, budget="600s", profile_runs=2)
        waking.wake(workspace, campaign.id)
        (attempt,) = workspace.store.attempts(campaign.id)
        deadline = time.monotonic() + PATIENCE_S
        while not (Path(attempt.run_dir) / "alive.lock").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        workspace.store.close()
        later(desk)
        yield desk, Path(attempt.run_dir)


def sql(desk, *statements):
    with closing(sqlite3.connect(desk.home / "rea.db")) as connection:
        for statement in statements:
            connection.execute(statement, {"now": time.time()} if ":now" in statement else {})
        connection.commit()


def later(desk):
    """Time passed: the campaign was looked at in full two minutes ago and nothing has happened for ten."""
    sql(
        desk,
        "UPDATE campaigns SET next_wake_at = :now - 60, codebase = replace(codebase, 'elsewhere', 'local'), "
        "options = json_remove(options, '$.deadline')",
        "UPDATE events SET at = :now - 600",
        "UPDATE runs SET not_before = 0",
        "UPDATE attempts SET state = 'submitted', intended_at = :now - 200",
    )
    old = time.time() - 600
    os.utime(desk.runs / ".local", (old, old))


@pytest.fixture
def asleep(hibernating):
    desk, run_dir = hibernating
    later(desk)
    assert idle.nothing_to_do(os.environ)
    yield desk, run_dir
    shutil.rmtree(desk.runs / "wake", ignore_errors=True)


def test_a_campaign_that_is_due_while_its_job_lives_and_nothing_happened_is_left_to_rest(asleep):
    desk, _ = asleep
    before = desk.workspace().store.snapshot_rows(1)
    assert desk.workspace().store.due(time.time()) == [1]
    assert desk.call("wake").stdout == "nothing to do\n"
    assert desk.workspace().store.snapshot_rows(1) == before


REASONS = {
    "it is due at once": "UPDATE campaigns SET next_wake_at = NULL",
    "nobody has looked for long": "UPDATE campaigns SET next_wake_at = :now - 601",
    "something was written since": "UPDATE events SET at = :now - 150 WHERE id = (SELECT max(id) FROM events)",
    "a run's waiting time is over": "UPDATE runs SET not_before = :now - 100 WHERE state = 'planned'",
    "a submit was not answered": "UPDATE attempts SET state = 'intended'",
    "jobs of another launcher cannot be asked so cheaply": "UPDATE campaigns SET codebase = "
    "replace(codebase, '\"local\"', '\"elsewhere\"')",
    "the schema is older": "UPDATE alembic_version SET version_num = '0001_first'",
    "its deadline is near": "UPDATE campaigns SET options = json_set(options, '$.deadline', :now + 3600)",
    "its job is long past its limit": "UPDATE attempts SET intended_at = :now - reserved_s - 301",
}


@pytest.mark.parametrize("reason", REASONS)
def test_it_is_looked_at_in_full_where(asleep, reason):
    desk, _ = asleep
    sql(desk, REASONS[reason])
    try:
        assert not idle.nothing_to_do(os.environ)
    finally:
        sql(desk, f"UPDATE alembic_version SET version_num = '{idle.REVISION}'")


def test_a_deadline_that_is_far_away_keeps_nobody_awake(asleep):
    desk, _ = asleep
    sql(desk, "UPDATE campaigns SET options = json_set(options, '$.deadline', :now + 100 * 86400)")
    assert idle.nothing_to_do(os.environ)


def test_a_wake_file_is_seen_and_one_of_another_store_is_not(asleep):
    desk, _ = asleep
    (desk.runs / "wake").mkdir(exist_ok=True)
    (desk.runs / "wake" / "1.rea-000000-R1-1").touch()
    assert idle.nothing_to_do(os.environ)
    (desk.runs / "wake" / f"7.rea-{desk.workspace().store.uid}-R1-1").touch()
    assert not idle.nothing_to_do(os.environ)


def test_a_slot_that_another_store_gave_back_is_a_reason_to_look(asleep):
    desk, _ = asleep
    (desk.runs / ".local" / "elsewhere").touch()
    assert not idle.nothing_to_do(os.environ)
    (desk.runs / ".local" / "elsewhere").unlink()


@pytest.mark.parametrize("name", ["exit.json", "cancel", "started", "alive.lock"])
def test_a_job_whose_files_do_not_say_that_it_runs_is_a_reason_to_look(asleep, name):
    _, run_dir = asleep
    if name in ("exit.json", "cancel"):
        (run_dir / name).write_text("")
        assert not idle.nothing_to_do(os.environ)
        (run_dir / name).unlink()
    else:
        (run_dir / name).rename(run_dir / "away")
        assert not idle.nothing_to_do(os.environ)
        (run_dir / "away").rename(run_dir / name)
    assert idle.nothing_to_do(os.environ)


def test_a_job_that_vanished_without_a_word_is_found_by_the_next_sweep(desks):
    desk = desks(config={"fault.plan": ["always:hang"]})
    workspace = desk.workspace()
    campaign = planning.plan(workspace, desk.root, budget="600s", profile_runs=2)
    waking.wake(workspace, campaign.id)
    (attempt,) = workspace.store.attempts(campaign.id)
    deadline = time.monotonic() + PATIENCE_S
    while not rundir.group_of(Path(attempt.run_dir)).exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    later(desk)
    assert desk.call("wake").stdout == "nothing to do\n"
    os.kill(json.loads((Path(attempt.run_dir) / "alive.lock").read_text())["pid"], 9)
    while idle.nothing_to_do(os.environ):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert desk.call("wake").stdout.startswith("C-1: ")
    assert workspace.store.attempts(campaign.id)[0].outcome == "lost"
