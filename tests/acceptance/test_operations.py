"""What keeps a system going that nobody watches: the daemon's status, services, backups, cleaning, watching."""

import fcntl
import json
import os
import pty
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
from contextlib import closing, suppress
from pathlib import Path

import pytest

from rea.codebase.config import load
from rea.domain.jobs import ATTENDED, job_name
from rea.store import address
from rea.workspace import steering
from support.desk import settle


def test_the_status_of_the_daemon_is_told_without_starting_anything(desk):
    workspace, campaign = moving(desk)
    alone = desk.call("daemon", "status")
    assert alone.returncode == 1 and "no daemon attends" in alone.stdout and "due: C-1 now" in alone.stdout

    folder = workspace.wakefiles.folder
    folder.mkdir()
    mine = workspace.wakefiles.file(campaign.id, job_name(workspace.store.uid, 1, 1))
    mine.touch()
    (folder / "1.rea-ffffff-R1-1").touch()
    with workspace.store.transaction(campaign.id) as tx:
        tx.set_campaign(campaign.id, next_wake_at=workspace.clock() + 900)
    with (folder / ATTENDED).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        there = desk.call("daemon", "status", "--json")
    assert there.returncode == 0
    told = json.loads(there.stdout)
    assert told["alive"] and told["waiting"] == {"C-1": 1} and told["others"] == 1
    assert told["due"] == {"C-1": workspace.store.campaign(campaign.id).next_wake_at}
    assert "due: C-1 in 15 min" in desk.call("daemon", "status").stdout
    assert mine.exists() and workspace.store.attempts(campaign.id) == []


FAKE = """#!/bin/sh
echo "$(basename "$0") $*" >> "$FAKES/calls"
[ -e "$FAKES/away" ] && { echo "Failed to connect to bus" >&2; exit 1; }
[ "$(basename "$0")" = systemctl ] && exit 0
case "$1" in
-l) [ -e "$FAKES/tab" ] || { echo "no crontab for me" >&2; exit 1; }; cat "$FAKES/tab" ;;
-) cat > "$FAKES/tab" ;;
esac
"""


@pytest.fixture
def fakes(desk, monkeypatch):
    """A folder with programs that stand for systemctl and crontab, which would touch this user's own."""
    folder = desk.home / "fake bin"
    folder.mkdir()
    for name in ("systemctl", "crontab"):
        (folder / name).write_text(FAKE)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKES", str(folder))
    monkeypatch.setenv("REA_RUNS", str(desk.home / "runs of 100 %"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return folder


def test_a_service_of_systemd_is_printed_written_replaced_and_removed(desk, fakes):
    printed = desk.json("service", "install", "--systemd")
    path = Path(printed["place"])
    assert not path.exists() and not printed["written"] and path.is_relative_to(desk.home)
    assert 'Environment="REA_RUNS=' in printed["text"] and "runs of 100 %%" in printed["text"]
    for _ in range(2):
        assert desk.call("service", "install", "--systemd", "--write").returncode == 0
        assert [one.name for one in path.parent.iterdir()] == [path.name] and path.read_text() == printed["text"]
        assert path.stat().st_mode & 0o777 == 0o600
    assert f"systemctl --user restart {path.name}" in (fakes / "calls").read_text()
    assert desk.json("service", "remove") == [str(path)] and not path.exists()
    assert f"systemctl --user disable --now {path.name}" in (fakes / "calls").read_text()
    assert desk.json("service", "remove") == []

    (fakes / "away").touch()
    refused = desk.call("service", "install", "--systemd", "--write")
    assert refused.returncode == 1 and "Failed to connect to bus" in refused.stderr and "--cron" in refused.stderr
    assert not path.exists()


def test_a_line_of_cron_wakes_the_store_and_is_there_once(desk, fakes):
    (fakes / "tab").write_text("MAILTO=me\n0 5 * * * backup\n")
    for every in ("5", "10"):
        assert desk.call("service", "install", "--cron", "--write", "--every", every).returncode == 0
    text = (fakes / "tab").read_text()
    assert text.startswith("MAILTO=me\n0 5 * * * backup\n") and text.count("rea wake") == 1 and "*/10 " in text
    (line,) = [line for line in text.splitlines() if "rea wake" in line]
    command = line.split(" ", 5)[5].replace("\\%", "%")
    done = subprocess.run(["/bin/sh", "-c", command], env={"HOME": str(desk.home)}, cwd="/", capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (desk.home / "runs of 100 %").is_dir() and not (desk.home / ".local").exists()
    assert desk.json("service", "remove") == ["crontab"]
    assert (fakes / "tab").read_text() == "MAILTO=me\n0 5 * * * backup\n"

    (fakes / "away").touch()
    refused = desk.call("service", "install", "--cron", "--write")
    assert refused.returncode == 1 and "crontab -l failed" in refused.stderr
    assert (fakes / "tab").read_text() == "MAILTO=me\n0 5 * * * backup\n", "what cannot be read is not replaced"


def test_where_neither_systemd_nor_cron_is_there_it_is_said_what_to_do(desk, monkeypatch):
    monkeypatch.setenv("PATH", str(desk.home))
    for kind, other in (("--systemd", "--cron"), ("--cron", "--systemd")):
        done = desk.call("service", "install", kind, "--write")
        assert done.returncode == 1 and other in done.stderr and "`rea daemon`" in done.stderr, done.stderr
        assert desk.call("service", "install", kind).returncode == 0
    for words in (("install",), ("install", "--cron", "--systemd"), ("install", "--cron", "--every", "90")):
        assert desk.call("service", *words).returncode == 2


def test_a_store_is_backed_up_and_checked_from_the_command_line(desk):
    workspace = desk.workspace()
    campaign = desk.plan(workspace, profile_runs=2)
    made = desk.json("db", "backup")
    file = Path(made["file"])
    assert file.parent == desk.home and file.stat().st_size == made["bytes"]
    assert desk.call("db", "backup", str(file)).returncode == 2
    assert desk.call("db", "backup", str(file), "--force").returncode == 0
    sound = desk.call("db", "check")
    assert sound.returncode == 0 and "C-1: all holds" in sound.stdout and "database: sound" in sound.stdout

    (attempt, *_) = workspace.store.attempts(campaign.id)
    Path(attempt.run_dir).rename(desk.home / "away")
    gone = desk.call("db", "check", "--json")
    assert gone.returncode == 1
    (line,) = json.loads(gone.stdout)["runs"]
    assert attempt.run_dir in line and line.startswith("C-1: 1 run directory is gone")
    desk.call("stop", "C-1")
    ended = desk.call("db", "check")
    assert ended.returncode == 0 and f"by the way, {line}" in ended.stdout, "nobody needs it any more"

    with closing(sqlite3.connect(workspace.store.path)) as connection:
        connection.execute("UPDATE runs SET draft = '{' WHERE id = 1")
        connection.commit()
    for words in (("db", "check"), ("check",)):
        broken = desk.call(*words)
        assert broken.returncode == 1 and "R-1" in broken.stdout and "Traceback" not in broken.stderr


@pytest.mark.slow
def test_a_restored_store_takes_no_job_for_its_own_that_was_submitted_after_the_backup(desk):
    def searched(workspace):
        """Jobs of the search, once two of them have ended; the campaign is stopped then."""
        steering.start(workspace, "C-1")
        desk.follow(workspace, 1, lambda _: sum(a.device_s is not None for a in begun(workspace)) >= 2)
        steering.stop(workspace, "C-1")
        settle(desk.home)
        workspace.store.close()
        return begun(workspace)

    def begun(workspace):
        return [attempt for attempt in workspace.store.attempts(1) if attempt.job not in profiled]

    workspace = desk.workspace()
    campaign = desk.plan(workspace, profile_runs=2)
    profiled = {attempt.job for attempt in workspace.store.attempts(campaign.id)}
    desk.approve(workspace, campaign)
    backup, path = desk.home / "backup.db", workspace.store.path
    workspace.store.backup(backup)
    lost = searched(workspace)
    workspace.store.close()
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    backup.replace(path)

    found = searched(desk.workspace())
    assert {attempt.run for attempt in lost} & {attempt.run for attempt in found}, "numbers come again"
    assert not {attempt.job for attempt in lost} & {attempt.job for attempt in found}
    assert not {attempt.run_dir for attempt in lost} & {attempt.run_dir for attempt in found}
    assert desk.call("db", "check").returncode == 0


def test_the_doctor_says_where_the_store_is_and_makes_none(desk, monkeypatch):
    def told(done):
        return "\n".join(done.stdout.partition(" store: ")[2].splitlines()[:2])

    home = desk.home / "data"
    monkeypatch.setenv("REA_HOME", str(home))
    monkeypatch.delenv("REA_STORE")
    assert told(desk.call("doctor")).startswith(str(home / "rea.db")) and not home.exists()
    monkeypatch.setenv("REA_STORE", f"sqlite:///{desk.home}/none/rea.db")
    assert told(desk.call("doctor")).startswith("there is no folder")
    monkeypatch.delenv("REA_STORE")
    monkeypatch.setattr(address, "_mounts", lambda: f"server:/home {desk.home} nfs4 rw 0 0\n")
    refused = desk.call("doctor")
    assert refused.returncode == 1 and "(nfs4)" in told(refused) and "postgresql://" in told(refused)
    done = desk.call("status")
    assert done.returncode == 1 and "network file system (nfs4)" in done.stderr and not (home / "rea.db").exists()


def test_what_is_alive_is_never_cleaned_and_an_ended_campaign_without_a_proposal_is_all_the_same(desk):
    workspace = desk.workspace()
    campaign = desk.plan(workspace, profile_runs=2)
    outputs = [path for attempt in workspace.store.attempts(1) for path in Path(attempt.run_dir).glob("*.npy")]
    assert outputs and desk.json("clean", "--yes") == []
    for words in (("C-1", "--yes"), ("C-1", "--dry-run"), ("C-1", "--older-than", "soon")):
        assert desk.call("clean", *words).returncode == 2
    assert all(path.exists() for path in outputs)
    desk.call("stop", campaign.title)
    with workspace.wakefiles.lock(campaign.id):
        busy = desk.call("clean", "C-1", "--yes")
    assert busy.returncode == 2 and "a wake has C-1" in busy.stderr and all(path.exists() for path in outputs)
    desk.root.rename(desk.home / "moved")  # the checkout is gone
    done = desk.rea("clean", "--yes", cwd=desk.home)
    assert done.returncode == 0 and "were freed" in done.stdout, done.stderr
    assert not any(path.exists() for path in outputs)
    assert workspace.store.events(campaign.id)[-1].kind == "cleaned"


def watching(desk, *words, **streams):
    return subprocess.Popen([sys.executable, "-m", "rea", "watch", *words], cwd=desk.root, **streams)


def moving(desk):
    """A campaign that seems to be under way, so that the test says when something happens to it."""
    workspace = desk.workspace()
    told = {"name": "spring", "codebase": load(desk.root), "commit": desk.git("rev-parse", "HEAD")}
    return workspace, workspace.store.create_campaign(**told, env={}, options={}, at=1.0)


def change(workspace, **values):
    with closing(sqlite3.connect(workspace.store.path)) as connection:
        for name, value in values.items():
            connection.execute(f"UPDATE campaigns SET {name} = ?", (value,))
        connection.commit()


def test_a_campaign_is_drawn_in_place_on_a_terminal_until_it_rests(desk):
    workspace, campaign = moving(desk)
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 80, 0, 0))
    env = {**desk.env, "TERM": "xterm", "LINES": "12", "COLUMNS": "80"}
    process = watching(desk, stdin=slave, stdout=slave, stderr=slave, env=env)
    os.close(slave)
    seen = b""
    try:
        while b"C-1 spring: profiling" not in seen:
            seen += os.read(master, 65536)
        with workspace.store.transaction(campaign.id) as tx:
            tx.event(campaign.id, "note", "something happened", 1.0)
        while b"something happened" not in seen:
            seen += os.read(master, 65536)
        assert b"\x1b[" in seen, "it is drawn over what was there"
        change(workspace, pause_reason="engineer", reason="paused by me", state="paused")
        with suppress(OSError):  # the terminal is gone with its last process
            while part := os.read(master, 65536):
                seen += part
    finally:
        assert process.wait(60) == 5
        os.close(master)
    last = seen.decode().rpartition("\x1b[")[2].replace("\r\n", "\n")
    assert "C-1 spring: paused" in last and "paused by me" in last and "budget: " in last


def test_without_a_terminal_each_event_is_a_line_and_an_interrupt_leaves_the_campaign_alone(desk):
    assert desk.call("watch").returncode == 3
    workspace, campaign = moving(desk)
    before = workspace.store.campaign(campaign.id)
    with watching(desk, "C-1", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=desk.env) as process:
        assert process.stdout.readline() == "C-1 spring: profiling\n"
        for word in ("one", "two"):
            with workspace.store.transaction(campaign.id) as tx:
                tx.event(campaign.id, "note", f"{word} happened", 1.0)
            assert process.stdout.readline().endswith(f"  {word} happened\n")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == "" and "`rea watch C-1`" in err and "Traceback" not in err
    assert workspace.store.campaign(campaign.id) == before
    change(workspace, pause_reason="engineer", reason="", state="paused")
    for words in (("watch", "C-1"), ("status", "C-1", "--watch")):
        rested = desk.call(*words, "--json")
        assert rested.returncode == 5 and json.loads(rested.stdout)["state"] == "paused"
