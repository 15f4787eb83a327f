"""What keeps a system going that nobody watches: the daemon's status, services, backups, cleaning, watching."""

import fcntl
import json
import os
import subprocess
from pathlib import Path

import pytest

from rea.domain.jobs import ATTENDED


def test_the_status_of_the_daemon_is_told_without_starting_anything(desk):
    workspace = desk.workspace()
    campaign = desk.plan(workspace, profile_runs=2)
    alone = desk.call("daemon", "status")
    assert alone.returncode == 1 and "no daemon attends" in alone.stdout
    assert "due: no campaign has anything under way" in alone.stdout

    folder = workspace.wakefiles.folder
    workspace.wakefiles.file(campaign.id, f"rea-{workspace.store.uid}-R1-1").touch()
    (folder / "1.rea-ffffff-R1-1").touch()
    with workspace.store.transaction(campaign.id) as tx:
        tx.event(campaign.id, "note", "nothing", 1.0)
    with (folder / ATTENDED).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        there = desk.call("daemon", "status", "--json")
    assert there.returncode == 0
    told = json.loads(there.stdout)
    assert told["alive"] and told["waiting"] == {"C-1": 1} and told["others"] == 1 and told["due"] == {}
    assert workspace.wakefiles.waiting() == {campaign.id}


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
