"""A disk that fills up, under the store or under the runs: a clear word, nothing lost, and it ends as it would have.

The disks are small file systems in memory, full at moments drawn from a seed while real jobs run.
"""

import contextlib
import os
import random
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rea.domain.ledger import EntryKind
from rea.domain.states import AttemptState, CampaignState
from rea.executor.invariants import Record, violations
from rea.store import open_store
from rea.workspace import Workspace
from support.desk import opened, settle, within_limit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]
RANKER = Path(__file__).resolve().parents[2] / "benchmarks" / "crash_sweep" / "ranker"
SPLIT = {"validation": 0.6, "combination": 0.3999, "exploitation": 0.0001}
PATIENCE_S = 200.0
ROOM = 3 * 2**30  # the preflight wants two GiB
MOMENTS = 4  # at which a disk is full, of one campaign
SLACK = 65536
LEFT = (0, 4096, 16384, 49152, 131072)  # bytes that are left free; a job's record takes 8,192


@pytest.fixture
def disks(tmp_path):
    """(folder of the store, folder of the runs), each a file system of its own."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a file system takes root")
    made = []
    for name in ("store", "runs"):
        folder = tmp_path / name
        folder.mkdir()
        done = mounted("-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", folder)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        made.append(folder)
    yield made
    for folder in made:
        subprocess.run(["umount", "--lazy", folder], check=False)


def mounted(*words):
    return subprocess.run(["mount", *map(str, words)], capture_output=True, text=True, check=False)


@contextlib.contextmanager
def filled(folder, left):
    """The disk of a folder with about `left` bytes free: it shrinks to what is on it."""
    for _ in range(50):
        found = os.statvfs(folder)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        if mounted("-o", f"remount,size={used + left}", folder).returncode == 0:
            break
    assert os.statvfs(folder).f_bavail * found.f_frsize <= left + SLACK  # a job may just have removed something
    try:
        yield
    finally:
        assert mounted("-o", f"remount,size={ROOM}", folder).returncode == 0


def planned(desk):
    workspace = desk.workspace()
    campaign = desk.plan(workspace, budget="600s", rounds=1, profile_runs=2)
    assert campaign.state is CampaignState.DRAFTED, campaign.reason
    desk.keep(workspace, campaign, "optim.schedule=cosine", "model.normalization=batch", split=SPLIT)
    desk.approve(workspace, campaign)
    workspace.store.close()
    return campaign


def outcome(workspace, campaign):
    found = workspace.store.campaign(campaign.id)
    hypotheses = sorted((h.draft.full.key(), h.state.value) for h in workspace.store.hypotheses(campaign.id))
    runs = sorted(
        (r.draft.key, r.state.value, sorted(r.result.metrics.items()) if r.result else None)
        for r in workspace.store.runs(campaign.id)
    )
    return found.state, found.verdict, found.claim, hypotheses, runs


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("roomy") / "home", code=RANKER) as desk:
        campaign = planned(desk)
        workspace = desk.workspace()
        desk.run(workspace, campaign)
        return outcome(workspace, campaign)


@pytest.mark.parametrize("which", ["store", "runs"])
def test_a_disk_that_is_full_stops_it_with_a_clear_word_and_room_lets_it_end_as_it_would_have(
    undisturbed, tmp_path, disks, which
):
    chance = random.Random(f"full/{which}")
    store, runs = disks
    where = {"store": store, "runs": runs}[which]
    with opened(tmp_path / "home", code=RANKER) as desk:
        desk = replace(desk, env={**desk.env, "REA_STORE": f"sqlite:///{store / 'rea.db'}", "REA_RUNS": str(runs)})
        os.environ.update(desk.env)
        campaign = planned(desk)
        record, deadline = Record(), time.monotonic() + PATIENCE_S
        words = ["start", campaign.title]
        moments = set(chance.sample(range(1, len(undisturbed[4])), MOMENTS))
        told, said = 0, None
        while True:
            assert time.monotonic() < deadline, said
            with contextlib.closing(open_store(desk.env["REA_STORE"])) as opened_store:
                rows = opened_store.snapshot_rows(campaign.id)
            assert violations(rows) + record.changed(rows) == []
            if rows.campaign.state is CampaignState.FINISHED:
                break
            if rows.campaign.state is CampaignState.PAUSED:  # a trainer that had no room: somebody makes some
                assert "No space left" in rows.campaign.reason and str(runs) in rows.campaign.reason
                told += 1
                words = ["resume", campaign.title]
            elif rows.campaign.state is CampaignState.RUNNING:
                words = ["wake", campaign.title]
            ended = sum(attempt.state is AttemptState.ENDED for attempt in rows.attempts)
            due = {moment for moment in moments if moment <= ended - 2}
            if not due:
                said = desk.call(*words)
                assert said.returncode == 0 or "No space" in said.stderr, said
                time.sleep(0.05)
                continue
            moments -= due
            with filled(where, chance.choice(LEFT)):
                for _ in range(3):
                    said = desk.call("wake", campaign.title)
                    assert "Traceback" not in said.stderr, said.stderr
                    if said.returncode:
                        told += 1
                        assert "space" in said.stderr and "→" in said.stderr and str(where) in said.stderr, said.stderr
                    time.sleep(chance.uniform(0.0, 0.5))
        settle(desk.home)
        workspace = Workspace(open_store(desk.env["REA_STORE"]), runs)
        assert outcome(workspace, campaign) == undisturbed
        assert told, "the disk was never in anybody's way"
        entries, attempts = workspace.store.entries(campaign.id), workspace.store.attempts(campaign.id)
        assert sum(entry.kind is EntryKind.SETTLE for entry in entries) == len(attempts)
        assert workspace.store.balance(campaign.id).reserved == 0
        within_limit(workspace, campaign.id)
        for path in runs.rglob("wake.log"):  # of wakes that nobody looked at
            assert "Traceback" not in path.read_text(), path.read_text()
        for path in runs.rglob("trainings"):
            assert len(path.read_text().split()) <= 1, path
        workspace.store.close()
