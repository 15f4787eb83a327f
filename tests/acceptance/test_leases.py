"""Many look at one campaign at once, on two hosts; one that is stopped past its lease may write nothing more.

Real processes throughout: three daemons, ten wakes beside them, SIGSTOP and SIGCONT. The hosts are two names on this
machine, and the clock that the lease is measured by is turned forward in place of waiting for five minutes.
"""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rea.domain.states import CampaignState, RunState
from rea.executor.wake import LEASE_S
from rea.job import tree
from support.desk import settle, within_limit
from support.elsewhere import host

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(480),
    pytest.mark.skipif(not tree.LINUX, reason="the holder of a lock is looked up in /proc/locks"),
]
FEW_SEEDS = {"minimum_gain = 0.0005": "minimum_gain = 0.004"}
SPLIT = {"validation": 0.6, "combination": 0.39, "exploitation": 0.01}
HOSTS = ("one", "other")
PATIENCE_S = 200.0
HELD = """
SELECT lease_owner, fence FROM campaigns
WHERE lease_owner IS NOT NULL AND EXISTS (SELECT 1 FROM attempts WHERE attempts.state = 'intended')
"""


@pytest.fixture
def hosts(desks, tmp_path):
    """(desk, workspace, campaign, environments by host, the clock they share)"""
    desk = desks(toml=FEW_SEEDS)
    clock = tmp_path / "clock"
    clock.write_text("0")
    workspace = desk.workspace()
    campaign = desk.plan(workspace, budget="40s", rounds=1, profile_runs=2)
    desk.keep(workspace, campaign, "optim.schedule=cosine", split=SPLIT)
    desk.approve(workspace, campaign)
    workspace.store.close()
    return desk, workspace, campaign, {name: host(tmp_path, name, clock, desk.env) for name in HOSTS}, clock


def test_a_wake_that_was_stopped_past_its_lease_writes_nothing_and_every_attempt_is_submitted_once(hosts):
    desk, workspace, campaign, environments, clock = hosts
    said = (desk.home / "said").open("a+")

    def begin(name, *words):
        command = [sys.executable, "-m", "rea", *words]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": said}
        return subprocess.Popen(command, cwd=desk.root, env=environments[name], **quiet)

    daemons = [begin(name, "daemon", "--sweep", "5") for name in ("one", "one", "other")]
    begun = [begin("one", "start", campaign.title)]
    begun += [begin(HOSTS[n % 2], "wake") for n in range(10)]
    deadline = time.monotonic() + PATIENCE_S
    pid, owner, fence = stopped_within(desk, deadline)
    try:
        before = workspace.store.snapshot_rows(campaign.id)
        clock.write_text(str(LEASE_S + 1))  # nobody on the holder's host may: its lock is held; the other host may
        until(lambda: fence_of(desk) > fence, deadline)
        until(lambda: len(workspace.store.attempts(campaign.id)) > len(before.attempts), deadline)
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: workspace.store.campaign(campaign.id).state is not CampaignState.RUNNING, deadline)
    until(lambda: not alive(pid), deadline)
    for process in begun:
        process.wait(timeout=60)
    for daemon in daemons:
        daemon.terminate()
        daemon.wait(timeout=30)
    settle(desk.home)
    done = workspace.store.campaign(campaign.id)
    assert done.state is CampaignState.FINISHED and done.verdict is not None, done.reason
    said.seek(0)
    told = said.read()
    assert "was taken over by another wake" in told, told
    assert f"this one has {fence}" in told and "Traceback" not in told, told
    rows = workspace.store.snapshot_rows(campaign.id)
    assert all(run.state in (RunState.SUCCEEDED, RunState.PRUNED, RunState.CANCELLED) for run in rows.runs)
    assert len({a.run for a in rows.attempts}) == len(rows.attempts) == len({a.job for a in rows.attempts})
    fences = [path.parent for path in desk.runs.rglob("started") if path.is_file()]
    assert sorted(map(str, fences)) == sorted(a.run_dir for a in rows.attempts)
    for folder in fences:
        lines = (folder / "metrics.jsonl").read_text() if (folder / "metrics.jsonl").exists() else ""
        assert lines.count('"epoch": 1,') <= 1, folder
    assert rows.balance.reserved == 0
    within_limit(workspace, campaign.id)
    assert owner in {f"host:{name}" for name in HOSTS}


def stopped_within(desk, deadline):
    """(pid, owner, fence) of a wake that was stopped between an attempt's intent and the launcher's answer."""
    with contextlib.closing(sqlite3.connect(desk.home / "rea.db", timeout=0, isolation_level=None)) as connection:
        while time.monotonic() < deadline:
            try:
                found = connection.execute(HELD).fetchone()
                pid = found and holder(desk, found[0].removeprefix("host:"))
                if not pid:
                    continue
                os.kill(pid, signal.SIGSTOP)
                if stopped(pid) and connection.execute(HELD).fetchone() == found:
                    connection.execute("BEGIN IMMEDIATE")  # stopped in a transaction it would keep everybody out
                    connection.execute("ROLLBACK")
                    return pid, *found
            except (sqlite3.OperationalError, ProcessLookupError):
                pass
            with contextlib.suppress(ProcessLookupError, UnboundLocalError, TypeError):
                os.kill(pid, signal.SIGCONT)
    raise AssertionError("no wake was stopped in time")


def holder(desk, name):
    """The process that holds the campaign's lock on a host."""
    (path,) = (desk.runs / "locks").glob(f"*-C1-{name}.lock")
    inode = path.stat().st_ino
    with Path("/proc/locks").open() as locks:
        held = [line.split() for line in locks if " FLOCK " in line and "->" not in line]
    return next((int(words[4]) for words in held if int(words[5].rpartition(":")[2]) == inode), None)


def stopped(pid):
    for _ in range(100):
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt":
            return True
        time.sleep(0.001)
    return False


def alive(pid):
    found = tree.process(pid)
    return found is not None and not found.zombie


def fence_of(desk):
    with contextlib.closing(sqlite3.connect(desk.home / "rea.db")) as connection:
        return connection.execute("SELECT fence FROM campaigns").fetchone()[0]


def until(condition, deadline):
    while not condition():
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)
