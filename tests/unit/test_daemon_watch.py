"""The watcher of wake files: when it starts a wake, what it writes down, and that both stay small."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rea.daemon import note, watch
from rea.daemon.calls import LONGEST_S, Calls
from rea.daemon.log import Log

PATIENCE_S = 60.0
FILES = st.frozensets(st.sampled_from("abc"))


def wakes(sweep_s: float, hours: float, failed: bool, left: frozenset[str]) -> int:
    """How many wakes are started in that time by files that no wake takes, looked at twice a second."""
    calls, count, now = Calls(sweep_s), 0, 0.0
    while now < hours * 3600:
        if calls.reason(left, now):
            count += 1
            calls.ended(failed, left, left, now)
        now += 0.5
    return count


@pytest.mark.parametrize("failed", [True, False])
@pytest.mark.parametrize("left", [frozenset(), frozenset({"7.elsewhere-R1-1"})], ids=["no file", "a file that stays"])
def test_what_a_wake_cannot_mend_never_starts_more_wakes_than_the_sweeps_would(
    failed: bool, left: frozenset[str]
) -> None:
    sweeps = 3600 / 30
    assert wakes(30.0, 1.0, failed, left) <= sweeps + 10
    assert wakes(1.0, 1.0, True, left) <= 3600 / LONGEST_S + 10, "failures are further apart than a short sweep"


@given(before=FILES, after=FILES, later=FILES, failed=st.booleans())
def test_a_file_that_no_wake_has_looked_at_calls_at_once(
    before: frozenset[str], after: frozenset[str], later: frozenset[str], failed: bool
) -> None:
    calls = Calls(30.0)
    assert calls.reason(before, 0.0) is not None, "at its start it looks"
    calls.ended(failed, before, after, 0.0)
    assert (calls.reason(later, 0.1) == "file") is bool(later - (before & after))


def test_after_a_failure_it_tries_soon_and_then_later_and_later_until_one_succeeds() -> None:
    calls, none = Calls(30.0), frozenset[str]()
    assert [calls.ended(True, none, none, 0.0) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert calls.ended(False, none, none, 0.0) == 30.0
    assert Calls(600.0, failures=2000).ended(True, none, none, 0.0) == 600.0


def test_the_log_holds_its_cap_whoever_else_writes_to_it(tmp_path: Path) -> None:
    path, cap = tmp_path / "daemon.log", 4000
    one, other = Log(path, cap), Log(path, cap)
    for number in range(300):
        (one if number % 3 else other).write("sweep", number=number)
    older = path.with_name("daemon.log.1")
    assert sorted(found.name for found in tmp_path.iterdir()) == ["daemon.log", "daemon.log.1"]
    assert path.stat().st_size <= cap and older.stat().st_size <= cap
    lines = [json.loads(line) for line in (older.read_text() + path.read_text()).splitlines()]
    numbers = [line["number"] for line in lines]
    assert numbers == list(range(numbers[0], 300)), "nothing is lost but what is oldest"
    path.unlink()
    one.write("stopped")
    assert json.loads(path.read_text())["event"] == "stopped"


def test_a_log_that_can_no_longer_be_written_stops_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = Log(folder / "daemon.log")
    (folder / "daemon.log").unlink()
    folder.rmdir()
    log.write("sweep")
    with pytest.raises(FileNotFoundError):
        Log(folder / "daemon.log")


def start(folder: Path, log: Path, command: list[str], sweep_s: float = 600.0) -> subprocess.Popen[bytes]:
    code = (
        "import sys; from pathlib import Path; from rea.daemon import watch; from rea.daemon.log import Log\n"
        "watch.BLIND_S = 0.1\n"
        "sys.exit(watch.watch(Path(sys.argv[1]), float(sys.argv[3]), Log(Path(sys.argv[2])), sys.argv[4:]))"
    )
    words = [sys.executable, "-c", code, str(folder), str(log), str(sweep_s), *command]
    return subprocess.Popen(words, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})


def events(log: Path, count: int) -> list[dict[str, object]]:
    """The first so many lines of the log, once they are there."""
    deadline = time.monotonic() + PATIENCE_S
    while not log.exists() or len(log.read_text().splitlines()) < count:
        assert time.monotonic() < deadline, log.read_text() if log.exists() else "no log"
        time.sleep(0.05)
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_a_wake_that_fails_is_told_with_its_words_and_tried_again_later(tmp_path: Path) -> None:
    folder, log = tmp_path / "wake", tmp_path / "daemon.log"
    folder.mkdir()
    (folder / "1.rea-abc-R1-1").touch()
    process = start(folder, log, ["/bin/sh", "-c", "echo no store here >&2; exit 3"])
    try:
        first, *failed = events(log, 3)
    finally:
        process.terminate()
        assert process.wait() == 0
    assert first["event"] == "started" and first["folder"] == str(folder)
    assert [line["again_s"] for line in failed[:2]] == [1.0, 2.0]
    for line in failed[:2]:
        told = {"event": "wake failed", "exit": 3, "said": "no store here", "files": 1, "left": 1}
        assert told.items() <= line.items()
    assert events(log, 4)[-1]["event"] == "stopped"
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == [note.ATTENDED]


def test_a_daemon_is_seen_to_live_tells_when_it_swept_and_leaves_a_wake_that_is_at_work(tmp_path: Path) -> None:
    folder, log, done = tmp_path / "wake", tmp_path / "daemon.log", tmp_path / "done"
    assert not note.held(folder) and note.read(folder) == {}
    command = f'rm -f "{folder}"/1.*; [ -e "{folder}/2.b" ] && rm "{folder}/2.b" && sleep 1; touch "{done}"'
    process = start(folder, log, ["/bin/sh", "-c", command])
    try:
        events(log, 2)
        assert note.held(folder) and {"swept_at", "started_at", "host"} <= note.read(folder).keys()
        assert note.read(folder)["pid"] == process.pid
        (folder / "1.a").touch()
        assert {"event": "woke", "files": 1, "left": 0}.items() <= events(log, 3)[-1].items()
        done.unlink()
        (folder / "2.b").touch()
        while (folder / "2.b").exists():
            assert process.poll() is None
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait() == 128 + signal.SIGINT
    assert not note.held(folder) and note.read(folder)["pid"] == process.pid
    deadline = time.monotonic() + PATIENCE_S
    while not done.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_folder_that_is_gone_is_made_and_attended_again_and_one_that_cannot_be_read_is_waited_for(
    tmp_path: Path,
) -> None:
    folder, log = tmp_path / "wake", tmp_path / "daemon.log"
    process = start(folder, log, ["/bin/true"])

    def gone() -> None:
        (folder / note.ATTENDED).unlink()
        folder.rmdir()

    def attended() -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not note.held(folder):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)

    try:
        events(log, 2)
        gone()
        attended()
        gone()
        folder.touch()  # in the place of the folder
        assert events(log, 3)[2]["event"] == "blind"
        folder.unlink()
        attended()
    finally:
        process.terminate()
        process.wait()
    assert [line["event"] for line in events(log, 4)] == ["started", "sweep", "blind", "stopped"]


def test_a_wake_that_hangs_is_ended_and_one_that_says_much_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = watch._run(tmp_path, ["/bin/sh", "-c", "yes | head -c 100000 >&2; echo the end >&2; exit 4"])
    assert code == 4 and said.endswith("the end") and len(said) <= watch.SAID_BYTES
    assert watch._run(tmp_path / "none", ["/no/such/program"])[0] == 127
    monkeypatch.setattr(watch, "LONGEST_WAKE_S", 0.1)
    assert watch._run(tmp_path, ["/bin/sleep", "60"]) == (137, "it was ended after 0.1 s")
    assert list(tmp_path.iterdir()) == []


NUDGED = """
import sys, threading, time
from pathlib import Path
from rea.daemon.nudge import Nudge

folder, nudge = Path(sys.argv[1]), Nudge()
for again in range(2):  # the second time in a folder that has taken the first one's place
    folder.mkdir()
    nudge.watch(folder)
    threading.Timer(0.1, (folder / "7.rea-abc-R1-1").touch).start()
    began = time.monotonic()
    nudge.wait(60.0)
    assert time.monotonic() - began < 50, "it slept on"
    folder.rename(folder.with_name(f"gone-{again}"))
    nudge.wait(0.0)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells of changes in a folder")
def test_a_wake_file_ends_the_waiting_before_its_time(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", NUDGED, str(tmp_path / "wake")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
