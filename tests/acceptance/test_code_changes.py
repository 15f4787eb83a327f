"""The code changes while a campaign runs: one wake by an earlier commit, the next by today's."""

import fcntl
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from rea.domain.states import CampaignState, RunState
from rea.executor.invariants import violations
from rea.store import migrate, open_store
from support.desk import PATIENCE_S, end_all

ROOT = Path(__file__).parents[2]
MAKE = ROOT / "tests" / "fixtures" / "stores" / "make.py"
VERSIONS = "src/rea/store/migrations/versions"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]


def git(*words):
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def commit(which):
    """The commit since which the newest schema is what it is, or the one before it came; skips without history.

    A schema that no release has had yet is completed where it stands, so these two may lie apart.
    """
    if git("rev-parse", "--is-shallow-repository") != "false":
        pytest.skip("no git history here: a shallow clone, or no repository")
    changed = ("--diff-filter=A",) if which else ()
    added = git("log", "-1", "--format=%H", *changed, "--", f"{VERSIONS}/{migrate.REVISIONS[-1]}.py")
    if not added:
        pytest.skip("the commit that brought the newest schema is not in this repository's history")
    found = git("rev-parse", "--verify", "--quiet", f"{added}{which}")
    if not found:
        pytest.skip("there is no commit before the newest schema in this repository's history")
    return found


@contextmanager
def checked_out(name, folder):
    assert git("worktree", "add", "--quiet", "--detach", str(folder), name) is not None
    try:
        yield folder
    finally:
        git("worktree", "remove", "--force", str(folder))


def environment(home):
    """An engineer's shell on the desk that make.py left; the code it runs is what `home/code` points to."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "VIRTUAL_ENV") if name in os.environ}
    return kept | {
        "HOME": str(home),
        "PYTHONPATH": str(home / "code"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "GIT_CONFIG_NOSYSTEM": "1",
        "REA_STORE": f"sqlite:///{home / 'rea.db'}",
        "REA_RUNS": str(home / "runs"),
    }


def rea(home, *words, **env):
    command = [sys.executable, "-m", "rea", *words]
    given = environment(home) | env
    return subprocess.run(command, cwd=home, env=given, capture_output=True, text=True, timeout=PATIENCE_S)


def release(home, source):
    """What an upgrade in place does: from one moment to the next the same path holds other code."""
    (home / "code.new").symlink_to(source)
    (home / "code.new").replace(home / "code")


@pytest.mark.parametrize(("which", "same_schema"), [("^", False), ("", True)], ids=["older schema", "same schema"])
def test_a_job_that_one_release_started_wakes_the_next_and_the_campaign_finishes(tmp_path, which, same_schema):
    home = tmp_path / "home"
    with checked_out(commit(which), tmp_path / "earlier") as earlier:
        path = os.pathsep.join((str(earlier / "src"), str(earlier / "tests")))
        made = [sys.executable, str(MAKE), "--park", str(home)]
        subprocess.run(made, env={**os.environ, "PYTHONPATH": path}, check=True, timeout=PATIENCE_S)
        try:
            goes_on(home, earlier, same_schema)
        finally:
            end_all(home)


def goes_on(home, earlier, same_schema):
    release(home, earlier / "src")
    with (home / "runs" / "wake" / ".attended-1").open("w") as attended:
        # While somebody attends, the job's wrapper leaves the waking to them for some seconds.
        fcntl.flock(attended, fcntl.LOCK_SH)
        started = rea(home, "wake", "C-1")
        assert started.returncode == 0 and started.stdout.startswith("C-1: "), started.stderr
        release(home, ROOT / "src")
    # From here on nobody wakes the campaign but its own jobs' wrappers, the first of them of the earlier release.
    store = open_store(f"sqlite:///{home / 'rea.db'}")
    deadline = time.monotonic() + 2 * PATIENCE_S
    while store.campaign(1).state is CampaignState.RUNNING:
        assert time.monotonic() < deadline, [event.message for event in store.events(1)[-4:]]
        time.sleep(0.2)
    campaign = store.campaign(1)
    assert campaign.state is CampaignState.FINISHED and campaign.verdict is not None, campaign.reason
    rows = store.snapshot_rows(1)
    assert violations(rows) == [] and rows.balance.reserved == 0
    trained = [attempt.run for attempt in rows.attempts]
    assert len(trained) == len(set(trained)), "no run was trained twice"
    assert any(run.state is RunState.SUCCEEDED for run in rows.runs[5:])
    assert rea(home, "check", "C-1").returncode == 0
    backup = home / f"rea.db.{migrate.REVISIONS[-2]}.bak"
    assert backup.exists() is not same_schema
    if not same_schema:
        release(home, earlier / "src")
        again = rea(home, "status", "C-1", REA_STORE=f"sqlite:///{backup}")
        assert again.returncode == 0 and "running" in again.stdout, again.stderr
        refused = rea(home, "status", "C-1")
        assert refused.returncode == 1 and "newer release of rea" in refused.stderr
