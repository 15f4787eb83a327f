"""The local launcher with real wrappers: one start per name, found by anybody, and never believed alive when dead."""

import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from rea.domain.errors import ConfigError, LauncherUnreachableError, UsageError
from rea.domain.jobs import Handle, JobSpec, JobState, Outcome, Step, WakeCall
from rea.job import rundir, tree
from rea.launchers import local, open_launcher
from rea.launchers.local import LocalLauncher

pytestmark = pytest.mark.skipif(not tree.LINUX, reason="the process tree is followed through /proc")
SOURCE = Path(__file__).resolve().parents[2] / "src"
NAME = "rea-C-1-R-1-1"
COUNT = "import os; open(os.environ['REA_RUN_DIR'] + '/starts', 'a').write('x')\n"
SLEEP = "import time; time.sleep(300)\n"
# A trainer with a worker in its own session and one that called setsid.
FAMILY = """
import os, pathlib, subprocess
pids = [os.getpid()] + [subprocess.Popen(["sleep", "300"], start_new_session=new).pid for new in (False, True)]
run = pathlib.Path(os.environ["REA_RUN_DIR"])
(run / "pids.tmp").write_text(" ".join(map(str, pids)))
(run / "pids.tmp").rename(run / "pids")
"""


def spec(runs: Path, script: str, name: str = NAME, **fields) -> JobSpec:
    run_dir = runs / "C-1" / name
    env = {"PATH": os.environ["PATH"], "REA_RUN_DIR": str(run_dir)}
    step = Step("train", (sys.executable, "-c", textwrap.dedent(script)), runs.parent, env)
    return JobSpec(**{"name": name, "run_dir": run_dir, "steps": (step,), "walltime_s": 60, "grace_s": 0.3, **fields})


@pytest.fixture
def runs(tmp_path):
    root = tmp_path / "runs"
    root.mkdir()
    yield root
    for lock in root.rglob(rundir.ALIVE):
        if rundir.is_alive(lock.parent):
            os.kill(rundir.read_json(lock)["pid"], signal.SIGTERM)
            until(lambda lock=lock: not rundir.is_alive(lock.parent))


@pytest.fixture
def launcher(runs):
    return LocalLauncher(runs, 2)


def until(condition):
    for _ in range(3000):
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError("it never came")


def see(launcher: LocalLauncher, handle: Handle):
    return launcher.observe([handle])[handle.name]


def ended(launcher: LocalLauncher, handle: Handle):
    return until(lambda: (seen := see(launcher, handle)).state is JobState.ENDED and seen)


def running(launcher: LocalLauncher, handle: Handle):
    return until(lambda: (seen := see(launcher, handle)).state is JobState.RUNNING and seen)


def is_gone(pid: int) -> bool:
    found = tree.process(pid)
    return found is None or found.zombie


def alive_in(run_dir: Path) -> list[int]:
    """Every process of this machine whose environment names this run directory."""
    everyone = [process for process in tree.processes() if not process.zombie]
    return [process.pid for process in everyone if tree.has_variable(process.pid, "REA_RUN_DIR", str(run_dir))]


def write_down(launcher: LocalLauncher, job: JobSpec, *, age_s: float = 0.0, apart: bool = True) -> Handle:
    """What `submit` leaves when it is killed right before it spawns the wrapper."""
    job.run_dir.mkdir(parents=True)
    launcher._ended.mkdir(parents=True, exist_ok=True)
    rundir.write_atomically(job.run_dir / rundir.SPEC, job.to_json())
    host, at = socket.gethostname(), time.time() - age_s
    entry = {"name": job.name, "run_dir": str(job.run_dir), "host": host, "submitted_at": at, "apart": apart}
    rundir.write_atomically(launcher._live / f"{job.name}.json", entry)
    return Handle("local", job.name, str(job.run_dir))


def test_a_job_is_submitted_observed_and_found_again_after_its_end(runs, launcher):
    wake = WakeCall(runs / "wake" / NAME, ("/bin/sh", "-c", "echo woken"), runs, {})
    handle = launcher.submit(spec(runs, "print('hello')", wake=wake), NAME)
    seen = ended(launcher, handle)
    assert seen.outcome is Outcome.SUCCEEDED
    assert seen.exit["name"] == NAME and seen.exit["peak_memory_bytes"] > 0
    assert seen.ended_at >= seen.started_at
    assert (spec(runs, "").run_dir / "train.log").read_text() == "hello\n"
    assert launcher.find(NAME) == handle == Handle.parse(str(handle))
    assert launcher.submit(spec(runs, "print('hello')"), NAME) == handle
    assert ended(LocalLauncher(runs, 2), handle) == seen
    until(lambda: (runs / "wake" / NAME).exists() and (Path(handle.id) / "wake.log").exists())


def test_submitting_many_times_at_once_starts_one_trainer(runs, launcher):
    job = spec(runs, COUNT + "time = __import__('time'); time.sleep(0.5)")
    script = f"""
import pickle, sys
from pathlib import Path
from rea.launchers.local import LocalLauncher
job = pickle.loads(bytes.fromhex(sys.stdin.read()))
LocalLauncher(Path({str(runs)!r}), 2).submit(job, job.name)
"""
    submitters = [
        subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, env={"PYTHONPATH": str(SOURCE)})
        for _ in range(8)
    ]
    for submitter in submitters:
        submitter.communicate(pickle.dumps(job).hex().encode(), timeout=60)
        assert submitter.returncode == 0
    assert ended(launcher, launcher.find(NAME)).outcome is Outcome.SUCCEEDED
    time.sleep(0.3)  # for wrappers that come late
    assert (job.run_dir / "starts").read_text() == "x"


def test_a_job_outlives_a_submitter_that_is_killed_and_a_fresh_process_finds_it(runs, launcher):
    job = spec(runs, COUNT + SLEEP)
    script = f"""
import os, pickle, signal, sys
from pathlib import Path
from rea.launchers.local import LocalLauncher
job = pickle.loads(bytes.fromhex(sys.stdin.read()))
LocalLauncher(Path({str(runs)!r}), 2).submit(job, job.name)
os.killpg(0, signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=pickle.dumps(job).hex().encode(),
        env={"PYTHONPATH": str(SOURCE)},
        start_new_session=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    handle = launcher.find(NAME)
    running(launcher, handle)
    until((job.run_dir / "starts").exists)
    assert launcher.submit(job, NAME) == handle
    launcher.cancel(handle)
    assert ended(launcher, handle).outcome is Outcome.CANCELLED
    assert (job.run_dir / "starts").read_text() == "x"


def test_the_wrapper_is_nobodys_child_and_leaves_no_zombie(runs, launcher):
    handle = launcher.submit(spec(runs, SLEEP), NAME)
    running(launcher, handle)
    wrapper = until(lambda: rundir.read_json(Path(handle.id) / rundir.ALIVE))
    assert tree.process(wrapper["pid"]).ppid != os.getpid()
    with pytest.raises(ChildProcessError):
        os.waitpid(wrapper["pid"], os.WNOHANG)


def test_a_job_written_down_but_never_started_is_started_by_the_next_submit(runs, launcher):
    job = spec(runs, COUNT)
    handle = write_down(launcher, job)
    assert launcher.find(NAME) == handle
    assert see(launcher, handle).state is JobState.PENDING
    assert launcher.submit(job, NAME) == handle
    assert ended(launcher, handle).outcome is Outcome.SUCCEEDED
    assert (job.run_dir / "starts").read_text() == "x"


def test_a_job_that_never_started_is_lost_after_a_while_and_no_late_wrapper_can_start_it(runs, launcher):
    job = spec(runs, COUNT)
    handle = write_down(launcher, job, age_s=local.START_GRACE_S + 1)
    lost = see(launcher, handle)
    assert (lost.state, lost.outcome, lost.started_at) == (JobState.ENDED, Outcome.LOST, None)
    late = [sys.executable, "-P", "-m", "rea.job", str(job.run_dir / rundir.SPEC)]
    assert subprocess.run(late, env={"PYTHONPATH": str(SOURCE)}, timeout=60, check=False).returncode == 73
    assert see(launcher, handle) == lost
    assert not (job.run_dir / "starts").exists()
    assert launcher.submit(job, NAME) == handle  # adopted as what it is; a retry has a name of its own
    assert see(launcher, handle) == lost


def test_a_job_cancelled_before_its_start_never_starts(runs, launcher):
    job = spec(runs, COUNT)
    handle = write_down(launcher, job)
    launcher.cancel(handle)
    assert see(launcher, handle).outcome is Outcome.CANCELLED
    launcher.submit(job, NAME)
    time.sleep(0.3)
    assert see(launcher, handle).outcome is Outcome.CANCELLED
    assert not (job.run_dir / "starts").exists()


def test_cancelling_right_after_submitting_ends_the_job_whichever_comes_first(runs, launcher):
    for number in range(6):
        job = spec(runs, SLEEP, name=f"{NAME}-{number}")
        handle = launcher.submit(job, job.name)
        time.sleep(number * 0.03)
        launcher.cancel(handle)
        assert ended(launcher, handle).outcome is Outcome.CANCELLED
        assert alive_in(job.run_dir) == []


def test_a_wrapper_that_stands_still_is_killed_with_its_trainer_when_it_is_cancelled_again(runs, launcher, monkeypatch):
    monkeypatch.setattr(local, "_CANCEL_PATIENCE_S", 0.3)
    handle = launcher.submit(spec(runs, FAMILY + SLEEP), NAME)
    pids = [int(pid) for pid in until(lambda: _text(Path(handle.id) / "pids")).split()]
    wrapper = until(lambda: rundir.read_json(Path(handle.id) / rundir.ALIVE))
    os.kill(wrapper["pid"], signal.SIGSTOP)
    heard = see(launcher, handle).heard_at
    launcher.cancel(handle)
    launcher.cancel(handle)
    time.sleep(0.4)
    seen = see(launcher, handle)
    assert seen.state is JobState.RUNNING and seen.heard_at == heard, "told twice at once is told once"
    launcher.cancel(handle)
    assert ended(launcher, handle).outcome is Outcome.CANCELLED
    until(lambda: all(is_gone(pid) for pid in [*pids, wrapper["pid"]]))


def test_cancelling_kills_the_whole_tree_and_an_ended_job_is_left_alone(runs, launcher):
    handle = launcher.submit(spec(runs, FAMILY + SLEEP), NAME)
    pids = [int(pid) for pid in until(lambda: _text(Path(handle.id) / "pids")).split()]
    launcher.cancel(handle)
    seen = ended(launcher, handle)
    assert seen.outcome is Outcome.CANCELLED and seen.exit is not None
    assert all(is_gone(pid) for pid in pids)
    before = sorted(path.name for path in Path(handle.id).iterdir())
    launcher.cancel(handle)
    assert sorted(path.name for path in Path(handle.id).iterdir()) == before


def test_a_job_whose_wrapper_was_killed_is_lost_and_nothing_of_it_runs_on(runs, launcher):
    handle = launcher.submit(spec(runs, FAMILY + SLEEP), NAME)
    pids = [int(pid) for pid in until(lambda: _text(Path(handle.id) / "pids")).split()]
    running(launcher, handle)
    until(lambda: len((rundir.read_json(rundir.group_of(Path(handle.id))) or {"members": ()})["members"]) == 3)
    wrapper = rundir.read_json(Path(handle.id) / rundir.ALIVE)
    stranger = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        os.kill(wrapper["pid"], signal.SIGKILL)
        until(lambda: not rundir.is_alive(Path(handle.id)))
        seen = see(launcher, handle)
        assert (seen.state, seen.outcome, seen.exit) == (JobState.ENDED, Outcome.LOST, None)
        assert "killed: " in seen.message
        assert all(is_gone(pid) for pid in pids)
        assert stranger.poll() is None
        assert seen.started_at <= seen.ended_at <= time.time()
        assert see(launcher, handle).outcome is Outcome.LOST
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("delay_s", [0.0, 0.03, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.12, 0.15, 0.2])
def test_a_wrapper_killed_at_any_instant_ends_as_lost_with_no_process_left(runs, launcher, monkeypatch, delay_s):
    monkeypatch.setattr(local, "START_GRACE_S", 0.4)
    job = spec(runs, COUNT + FAMILY + SLEEP)
    handle = launcher.submit(job, NAME)
    time.sleep(delay_s)
    command = os.fsencode(job.run_dir / rundir.SPEC)
    for process in tree.processes():
        if command in _command(process.pid):
            tree.send(process.identity, signal.SIGKILL)
    assert ended(launcher, handle).outcome is Outcome.LOST
    assert alive_in(job.run_dir) == []
    assert _text(job.run_dir / "starts") in ("", "x")


@pytest.mark.parametrize("change", ["boot", "host", "start"])
def test_processes_on_an_old_record_are_not_killed_for_having_the_same_number(runs, launcher, change):
    handle = write_down(launcher, spec(runs, ""))
    stranger = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        found = tree.process(stranger.pid)
        record = {"host": socket.gethostname(), "boot": tree.boot_id(), "mark": "m", "pgid": stranger.pid}
        start = found.start + "0" if change == "start" else found.start
        record |= {"members": [[stranger.pid, start]]} | ({change: "another"} if change != "start" else {})
        rundir.write_atomically(rundir.group_of(Path(handle.id)), record)
        rundir.take_fence(Path(handle.id), {"pid": 1})
        assert see(launcher, handle).outcome is Outcome.LOST
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_slots_are_counted_over_all_campaigns_of_the_runs_root(runs, launcher):
    assert (launcher.capacity().slots, launcher.capacity().free) == (2, 2)
    first = launcher.submit(spec(runs, SLEEP), NAME)
    other = LocalLauncher(runs, 2)
    assert other.capacity().free == 1  # pending or running, it has its slot
    running(launcher, first)
    second = other.submit(spec(runs, "print('short')", name="rea-C-2-R-1-1"), "rea-C-2-R-1-1")
    until(lambda: (Path(second.id) / rundir.EXIT).exists())
    assert launcher.capacity().free == 1
    assert [path.name for path in (runs / ".local").glob("*.json")] == [f"{NAME}.json"]
    write_down(launcher, spec(runs, "", name="rea-C-3-R-1-1"))
    write_down(launcher, spec(runs, "", name="rea-C-3-R-1-2"))
    assert launcher.capacity().free == 0
    launcher.cancel(first)
    ended(launcher, first)
    assert launcher.capacity().free == 0


def test_what_was_never_submitted_is_unknown_and_not_lost(runs, launcher):
    handle = Handle("local", NAME, str(runs / "C-1" / NAME))
    assert launcher.find(NAME) is None
    assert (see(launcher, handle).state, see(launcher, handle).outcome) == (JobState.UNKNOWN, None)


def test_a_job_is_still_known_by_its_handle_when_the_registry_is_gone(runs, launcher):
    handle = launcher.submit(spec(runs, "print()"), NAME)
    ended(launcher, handle)
    shutil.rmtree(runs / ".local")
    assert see(launcher, handle).outcome is Outcome.SUCCEEDED


def test_a_job_whose_directory_and_entry_were_deleted_is_lost(runs, launcher):
    handle = launcher.submit(spec(runs, "print()"), NAME)
    ended(launcher, handle)
    shutil.rmtree(handle.id)
    for entry in (runs / ".local").rglob(f"{NAME}.json"):
        entry.unlink()
    assert see(launcher, handle).outcome is Outcome.SUCCEEDED, "its record lies beside it"
    rundir.record_of(Path(handle.id)).unlink()
    assert see(launcher, handle).outcome is Outcome.LOST
    assert "were deleted" in see(launcher, handle).message


def test_a_runs_root_that_is_away_is_unreachable_and_not_empty(runs, launcher):
    handle = launcher.submit(spec(runs, "print()"), NAME)
    ended(launcher, handle)
    runs.rename(runs.with_name("away"))
    try:
        with pytest.raises(LauncherUnreachableError, match="runs root"):
            launcher.observe([handle])
    finally:
        runs.with_name("away").rename(runs)
    assert see(launcher, handle).outcome is Outcome.SUCCEEDED


def test_an_exit_record_that_makes_no_sense_is_a_lost_job(runs, launcher):
    handle = write_down(launcher, spec(runs, ""))
    rundir.record_of(Path(handle.id)).write_text(json.dumps({"outcome": "splendid"}))
    assert see(launcher, handle).outcome is Outcome.LOST


def test_a_job_of_an_earlier_release_left_its_record_in_its_directory(runs, launcher):
    handle = write_down(launcher, spec(runs, ""), apart=False)
    record = {"outcome": "failed", "message": "it failed", "started_at": 1.0, "ended_at": 2.0}
    (Path(handle.id) / rundir.EXIT).write_text(json.dumps(record))
    assert see(launcher, handle).outcome is Outcome.FAILED


FORGED = """
import json, os, time
run = os.environ["REA_RUN_DIR"]
def wreck(name, how):
    path = os.path.join(run, name)
    if os.path.lexists(path):
        os.unlink(path)
    if how == "directory":
        os.mkdir(path)
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "link":
        os.symlink("/dev/zero", path)
    elif how == "words":
        open(path, "w").write(json.dumps({"at": "soon", "time": "now", "pid": "one", "start": 1}))
now = time.time()
done = {"outcome": "succeeded", "message": "done", "started_at": now, "ended_at": now, "wall_s": 0.1, "step": "train"}
with open(os.path.join(run, "exit.json"), "w") as file:
    json.dump(done, file)
open(os.path.join(run, "forged"), "w")
while not os.path.exists(os.path.join(run, "go on")):
    time.sleep(0.01)
"""


def test_an_end_that_a_trainer_writes_itself_is_none(runs, launcher):
    handle = launcher.submit(spec(runs, f"{FORGED}\nraise SystemExit(7)"), NAME)
    until(lambda: (Path(handle.id) / "forged").exists())
    assert see(launcher, handle).state is JobState.RUNNING and launcher.capacity().free == 1
    (Path(handle.id) / "go on").touch()
    seen = ended(launcher, handle)
    assert (seen.outcome, seen.exit["exit_code"]) == (Outcome.FAILED, 7)


@pytest.mark.parametrize("how", ["directory", "pipe", "link", "words"])
@pytest.mark.parametrize("name", ["exit.json", "heartbeat", "started", "cancel", "pgid"])
def test_whatever_a_trainer_makes_of_the_files_in_its_directory_is_its_own_job_s_trouble_alone(
    runs, launcher, name, how
):
    handle = launcher.submit(
        spec(runs, f"{FORGED}\nwreck({name!r}, {how!r})\nopen(run + '/wrecked', 'w')\n{SLEEP}"), NAME
    )
    until(lambda: (Path(handle.id) / "forged").exists())
    (Path(handle.id) / "go on").touch()
    until(lambda: (Path(handle.id) / "wrecked").exists())
    time.sleep(0.1)
    assert launcher.capacity().slots == 2
    assert see(launcher, handle).state in (JobState.RUNNING, JobState.ENDED)
    other = launcher.submit(spec(runs, "print()", "rea-C-1-R-2-1"), "rea-C-1-R-2-1")
    assert ended(launcher, other).outcome is Outcome.SUCCEEDED
    launcher.cancel(handle)
    assert ended(launcher, handle).outcome in (Outcome.CANCELLED, Outcome.FAILED)


def test_a_name_belongs_to_one_directory(runs, launcher):
    launcher.submit(spec(runs, "print()"), NAME)
    other = spec(runs, "print()", run_dir=runs / "elsewhere")
    with pytest.raises(UsageError, match="exists already"):
        launcher.submit(other, NAME)
    with pytest.raises(UsageError, match="specification is of"):
        launcher.submit(other, "rea-C-1-R-1-2")


def test_the_specification_with_its_environment_is_readable_by_its_owner_alone(runs, launcher):
    handle = launcher.submit(spec(runs, "print()"), NAME)
    assert (Path(handle.id) / rundir.SPEC).stat().st_mode & 0o077 == 0
    ended(launcher, handle)


def test_an_unknown_kind_or_option_is_refused_with_those_that_exist(runs):
    assert open_launcher("local", runs=runs, slots=1, options={}).kind == "local"
    with pytest.raises(ConfigError, match="known are: local"):
        open_launcher("cloud", runs=runs, slots=1, options={})
    with pytest.raises(ConfigError, match="partition"):
        open_launcher("local", runs=runs, slots=1, options={"partition": "gpu"})
    with pytest.raises(ConfigError, match="slots"):
        open_launcher("local", runs=runs, slots=0, options={})


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
