"""The files an observer reads: one start per fence, a lock that dies with its holder, an exit record that fits."""

import fcntl
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from rea.job import rundir

HOLDER = """
import sys, time
from pathlib import Path
from rea.job import rundir
lock = rundir.take_over(Path(sys.argv[1]), {"pid": 1})
print("held" if lock is not None else "refused", flush=True)
time.sleep(60)
"""


def test_of_many_that_take_the_fence_exactly_one_gets_it(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(lambda number: rundir.take_fence(tmp_path, {"number": number}), range(64))) == 1


def test_the_lock_is_held_by_a_living_holder_and_dropped_by_a_killed_one(tmp_path):
    assert not rundir.is_alive(tmp_path)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    assert rundir.is_alive(tmp_path)
    assert rundir.is_alive(tmp_path)  # looking does not change it
    holder.kill()
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on: kill -0 would call it alive
    os.kill(holder.pid, 0)
    assert not rundir.is_alive(tmp_path)
    holder.wait()
    holder.stdout.close()
    assert rundir.take_over(tmp_path, {}) is None  # the fence stays


def test_a_fenced_directory_is_not_touched_by_who_comes_late(tmp_path):
    assert rundir.take_fence(tmp_path, {"fenced_by": "local"})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert rundir.take_over(tmp_path, {"pid": 1}) is None
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_who_waits_for_the_lock_starts_the_job_if_its_holder_dies_before_the_fence(tmp_path):
    first = os.open(tmp_path / rundir.ALIVE, os.O_CREAT | os.O_RDWR)
    fcntl.flock(first, fcntl.LOCK_EX)
    second = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    os.close(first)
    assert second.stdout.readline() == b"held\n"
    second.kill()
    second.wait()
    second.stdout.close()


def test_a_record_takes_the_reserved_room_beside_the_directory_and_leaves_a_copy_in_it(tmp_path):
    run_dir = tmp_path / "1"
    run_dir.mkdir()
    assert rundir.reserve_exit(run_dir)
    inode = rundir.reserve_of(run_dir).stat().st_ino
    rundir.write_exit(run_dir, {"outcome": "failed"})
    record = rundir.record_of(run_dir)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["1", record.name, rundir.EXIT]
    assert record.stat().st_ino == inode
    assert rundir.read_json(record) == rundir.read_json(run_dir / rundir.EXIT) == {"outcome": "failed"}


@pytest.mark.parametrize("size", [10, rundir.EXIT_BYTES * 3])
def test_a_record_of_any_size_is_written_with_and_without_a_reserve(tmp_path, size):
    run_dir = tmp_path / "1"
    run_dir.mkdir()
    for reserve in (True, False):
        if reserve:
            assert rundir.reserve_exit(run_dir)
        rundir.write_exit(run_dir, {"message": "x" * size})
        assert rundir.read_json(rundir.record_of(run_dir)) == {"message": "x" * size}


@pytest.mark.parametrize("there", ["directory", "pipe", "link", "nothing at all"])
def test_a_record_is_written_whatever_a_trainer_has_put_into_the_directory(tmp_path, there):
    run_dir = tmp_path / "1"
    run_dir.mkdir()
    assert rundir.reserve_exit(run_dir)
    put(run_dir / rundir.EXIT, there)
    rundir.write_exit(run_dir, {"outcome": "failed"})
    assert rundir.read_json(rundir.record_of(run_dir)) == {"outcome": "failed"}


@pytest.mark.parametrize("there", ["directory", "pipe", "link", "device"])
def test_what_is_no_plain_file_reads_as_nothing_at_once(tmp_path, there):
    put(tmp_path / "file", there)
    assert rundir.read_json(tmp_path / "file") is None


def put(path, there):
    if there == "directory":
        path.mkdir()
        (path / "in").touch()
    elif there == "pipe":
        os.mkfifo(path)
    elif there == "link":
        path.symlink_to(path)
    elif there == "device":
        path.symlink_to("/dev/zero")
    else:
        path.parent.rmdir()


def test_a_failed_write_leaves_the_old_content_and_no_draft(tmp_path):
    rundir.write_atomically(tmp_path / "file", {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        rundir.write_atomically(tmp_path / "file", {"a": float("nan")})
    (tmp_path / "directory").mkdir()
    with pytest.raises(OSError, match="directory"):
        rundir.write_atomically(tmp_path / "directory", {"a": 1})
    assert rundir.read_json(tmp_path / "file") == {"a": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["directory", "file"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff"])
def test_a_file_without_an_object_reads_as_nothing(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert rundir.read_json(tmp_path / "file") is None
    assert rundir.read_json(tmp_path / "file" / "below") is None
