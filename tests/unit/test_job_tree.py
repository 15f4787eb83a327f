"""Which processes are the job's, what they hold, and that no stranger is ever signalled."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rea.job import tree
from rea.job.tree import Process

linux = pytest.mark.skipif(not tree.LINUX, reason="reads /proc")


def process(pid, ppid, *, group=0, session=0, start="1", zombie=False):
    return Process(pid, ppid, group, session, start, 1, 0.0, zombie)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=20), st.randoms())
def test_the_family_is_exactly_the_descendants(parents, random):
    # Process n (from 2 on) has a parent below n; process 1 is the root.
    everyone = [process(1, 0)] + [process(n, 1 + p % (n - 1)) for n, p in enumerate(parents, start=2)]
    ancestors = {p.pid: p.ppid for p in everyone}

    def descends(pid):
        while pid not in (0, 1):
            pid = ancestors[pid]
        return pid == 1

    shuffled = list(everyone)
    random.shuffle(shuffled)
    found = {member.pid for member in tree.family(shuffled, 1, (), ())}
    assert found == {p.pid for p in everyone if p.pid != 1 and descends(p.pid)}


def test_orphans_are_known_by_session_group_or_acquaintance_and_bring_their_children():
    everyone = [
        process(1, 0),
        process(10, 1, session=99),
        process(11, 1, group=99),
        process(12, 1, start="7"),
        process(13, 12),
        process(14, 1, start="8"),  # the id is known, but the start time says it is another process
        process(15, 1),
    ]
    found = {member.pid for member in tree.family(everyone, None, {99}, {(12, "7"), (14, "7")})}
    assert found == {10, 11, 12, 13}


def test_without_a_root_nobody_descends_from_pid_zero():
    assert tree.family(tree.processes(), None, (), ()) == []


def test_a_zombie_is_left_out_but_its_child_is_not():
    everyone = [process(1, 0), process(2, 1, zombie=True), process(3, 2)]
    assert [member.pid for member in tree.family(everyone, 1, (), ())] == [3]


@linux
def test_a_signal_goes_to_the_process_that_was_meant_and_to_no_later_owner_of_its_id():
    child = subprocess.Popen(["sleep", "60"])
    try:
        found = tree.process(child.pid)
        assert not tree.send((child.pid, found.start + "0"), signal.SIGKILL)
        assert child.poll() is None
        assert tree.send(found.identity, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        assert not tree.send(found.identity, signal.SIGKILL)
    finally:
        child.kill()
        child.wait()


@linux
@pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps")
def test_ps_tells_the_same_as_proc():
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        from_ps = {found.pid: found for found in tree._from_ps()}[child.pid]
        from_proc = tree.process(child.pid)
        assert (from_ps.ppid, from_ps.pgid, from_ps.zombie) == (from_proc.ppid, from_proc.pgid, False)
        assert abs(from_ps.rss - from_proc.rss) < 4 << 20  # both are approximate: proc(5)
        assert from_ps.identity in {found.identity for found in tree._from_ps()}
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize(
    ("text", "seconds"), [("00:00:05", 5), ("1-02:03:04", 93784), ("3:07.25", 187.25), ("0:00.00", 0)]
)
def test_the_time_column_of_ps_is_read_in_all_its_forms(text, seconds):
    assert tree._ps_seconds(text) == seconds


@linux
def test_pages_that_forked_workers_share_are_counted_once():
    code = """
import os, time
data = b"x" * (64 << 20)
for _ in range(3):
    if os.fork() == 0:
        time.sleep(60)
print("ready", flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert parent.stdout.readline() == b"ready\n"
        members = tree.family(tree.processes(), None, {parent.pid}, ())
        assert len(members) == 4
        assert sum(member.rss for member in members) > 200 << 20
        assert 64 << 20 < tree.memory(members) < 128 << 20
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()
        parent.stdout.close()


@linux
def test_a_child_set_to_die_with_its_parent_does():
    code = """
import subprocess, sys, time
from rea.job import tree
child = subprocess.Popen(["sleep", "60"], preexec_fn=tree.die_with_parent())
print(child.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child = tree.process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(500):
        found = tree.process(child.pid)
        if found is None or found.zombie or found.start != child.start:
            return
        time.sleep(0.01)
    raise AssertionError("the child outlived its parent")
