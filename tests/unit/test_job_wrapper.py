"""The wrapper with real processes: whatever the trainer does, it ends, it is recorded, and nothing of it stays."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import IO

import pytest

from rea.job import rundir, tree

pytestmark = pytest.mark.skipif(not tree.LINUX, reason="the process tree is followed through /proc")
SOURCE = Path(__file__).resolve().parents[2] / "src"


class Job:
    """A job directory, its specification, and its wrapper as a real process."""

    start_command = (sys.executable, "-P", "-m", "rea.job")

    def __init__(self, root: Path, *scripts: str, **spec) -> None:
        self.root = root
        self.run_dir = root / "run"
        self.run_dir.mkdir()
        names = ["train", "evaluate", "report"]
        self.spec = {
            "version": 1,
            "name": "rea-C-1-R-1-1",
            "run_dir": str(self.run_dir),
            "steps": [self.step(name, script) for name, script in zip(names, scripts, strict=False)],
            "walltime_s": 60,
            "grace_s": 0.3,
            "heartbeat_s": 0.1,
            **spec,
        }

    def step(self, name: str, script: str, stdout: str | None = None) -> dict:
        argv = [sys.executable, "-c", textwrap.dedent(script)]
        env = {"PATH": os.environ["PATH"], "RUN": str(self.run_dir), "ROOT": str(self.root)}
        return {"name": name, "argv": argv, "cwd": str(self.root), "env": env, "stdout": stdout}

    def start(self, stderr: int | IO = subprocess.PIPE) -> subprocess.Popen:
        # Whole or not at all: another wrapper of this directory may be reading it.
        (self.root / "job.json.new").write_text(json.dumps(self.spec))
        (self.root / "job.json.new").replace(self.root / "job.json")
        return subprocess.Popen(
            [*self.start_command, str(self.root / "job.json")],
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )

    def run(self) -> dict:
        wrapper = self.start()
        self.output, self.errors = wrapper.communicate(timeout=60)
        self.code = wrapper.returncode
        return self.exit()

    def exit(self) -> dict:
        return json.loads(rundir.record_of(self.run_dir).read_text())

    def text(self, name: str) -> str:
        return (self.run_dir / name).read_text()

    def wait_for(self, name: str) -> str:
        return wait_for(self.run_dir / name)


def wait_for(path: Path) -> str:
    for _ in range(3000):
        if path.exists() and (text := path.read_text()).endswith("\n"):
            return text
        time.sleep(0.01)
    raise AssertionError(f"{path} never came")


def is_gone(pid: int) -> bool:
    found = tree.process(pid)
    return found is None or found.zombie


# A trainer with a child in its group, a grandchild that called setsid, and one that was orphaned as well.
FAMILY = """
import os, pathlib, signal, subprocess, sys, time
child = subprocess.Popen(["sleep", "300"])
other = subprocess.Popen(["sleep", "300"], start_new_session=True)
orphan = subprocess.run(["sh", "-c", "setsid sleep 300 >/dev/null 2>&1 & echo $!"], capture_output=True, text=True)
pids = [os.getpid(), child.pid, other.pid, int(orphan.stdout)]
run = pathlib.Path(os.environ["RUN"])
(run / "pids.tmp").write_text(" ".join(map(str, pids)) + "\\n")
(run / "pids.tmp").rename(run / "pids")
"""
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
SLEEP = "time.sleep(300)\n"


def test_steps_run_in_order_with_their_own_environment_and_the_record_tells_all(tmp_path):
    job = Job(tmp_path, "import os; print(sorted(os.environ)); x = sum(i * i for i in range(3_000_000))")
    job.spec["steps"].append(
        job.step("evaluate", "import sys; print('{\"ne\": 0.8}'); print('note', file=sys.stderr)", "evaluate.jsonl")
    )
    record = job.run()
    assert job.code == 0 and record["outcome"] == "succeeded"
    assert (record["step"], record["exit_code"], record["signal"]) == ("evaluate", 0, None)
    assert [step["name"] for step in record["steps"]] == ["train", "evaluate"]
    assert record["cpu_s"] == pytest.approx(sum(step["cpu_s"] for step in record["steps"]), abs=0.01)
    assert record["steps"][0]["cpu_s"] > 0.02
    assert record["peak_memory_bytes"] > 4 << 20
    assert record["ended_at"] >= record["started_at"] and record["wall_s"] > 0
    inherited = set(json.loads(job.text("train.log").replace("'", '"'))) - {"PATH", "RUN", "ROOT", rundir.MARK}
    assert inherited <= {"LC_CTYPE"}  # which Python itself sets in the C locale
    assert job.text("evaluate.jsonl") == '{"ne": 0.8}\n'
    assert job.text("evaluate.log") == "note\n"
    assert json.loads(job.text("heartbeat"))["step"] in ("train", "evaluate")
    assert not (job.run_dir / "exit.reserve").exists()


@pytest.mark.parametrize(
    ("script", "code", "number", "words"),
    [
        ("raise SystemExit(3)", 3, None, "exit code 3"),
        ("import os; os.kill(os.getpid(), 11)", None, 11, "SIGSEGV"),
        ("import os; os.kill(os.getpid(), 9)", None, 9, "out of memory"),
    ],
)
def test_a_failing_step_ends_the_job_and_no_later_step_runs(tmp_path, script, code, number, words):
    job = Job(tmp_path, script, "print('never')")
    record = job.run()
    assert job.code == 1 and record["outcome"] == "failed"
    assert (record["step"], record["exit_code"], record["signal"]) == ("train", code, number)
    assert words in record["message"]
    assert not (job.run_dir / "evaluate.log").exists()


def test_a_command_that_does_not_exist_is_a_failure_with_the_code_of_a_shell(tmp_path):
    job = Job(tmp_path, "")
    job.spec["steps"][0]["argv"] = ["/no/such/python"]
    record = job.run()
    assert (record["outcome"], record["exit_code"]) == ("failed", 127)
    assert "/no/such/python" in record["message"] and "/no/such/python" in job.text("train.log")


def test_eight_wrappers_of_one_directory_start_one_trainer(tmp_path):
    job = Job(tmp_path, "import os; open(os.environ['ROOT'] + '/starts', 'a').write('x')")
    wrappers = [job.start() for _ in range(8)]
    for wrapper in wrappers:
        wrapper.communicate(timeout=60)
    assert sorted(wrapper.returncode for wrapper in wrappers) == [0] + [73] * 7
    assert (tmp_path / "starts").read_text() == "x"


def test_a_second_wrapper_touches_nothing(tmp_path):
    job = Job(tmp_path, "print('once')")
    job.run()
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in job.run_dir.iterdir()}
    job.run()
    assert (job.code, job.output, job.errors) == (73, b"", b"")
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in job.run_dir.iterdir()} == before


@pytest.mark.parametrize("how", ["signal", "file"])
@pytest.mark.parametrize("trainer", [FAMILY + SLEEP, FAMILY + STUBBORN + SLEEP], ids=["obedient", "stubborn"])
def test_cancelling_kills_the_whole_tree(tmp_path, how, trainer):
    job = Job(tmp_path, trainer, "print('never')")
    wrapper = job.start()
    pids = [int(pid) for pid in job.wait_for("pids").split()]
    assert not any(is_gone(pid) for pid in pids)
    if how == "signal":
        wrapper.send_signal(signal.SIGTERM)
    else:
        (job.run_dir / "cancel").touch()
    wrapper.communicate(timeout=60)
    assert job.exit()["outcome"] == "cancelled"
    assert all(is_gone(pid) for pid in pids)
    assert not (job.run_dir / "evaluate.log").exists()


def test_the_wall_time_counts_over_all_steps_and_kills_the_whole_tree(tmp_path):
    job = Job(tmp_path, "import time; time.sleep(0.6)", FAMILY + STUBBORN + SLEEP, walltime_s=1.5)
    record = job.run()
    assert (record["outcome"], record["step"]) == ("timeout", "evaluate")
    assert "1.5 s" in record["message"]
    assert all(is_gone(int(pid)) for pid in job.text("pids").split())


def test_a_job_that_neither_works_nor_speaks_is_ended_before_its_limit(tmp_path):
    job = Job(tmp_path, "print('ready', flush=True)", FAMILY + STUBBORN + SLEEP, idle_s=1.0)
    record = job.run()
    assert (record["outcome"], record["step"], record["hung"]) == ("timeout", "evaluate", True)
    assert record["wall_s"] < 30 and "neither used a core nor wrote a word" in record["message"]
    assert all(is_gone(int(pid)) for pid in job.text("pids").split())


def judged(tmp_path, trainer: str, hidden: tuple[Path, ...] = ()) -> dict:
    """A job whose trainer runs beside a judge with a module of its own, and the judge after it."""
    tree_ = tmp_path / "tree"
    (tree_ / "lib").mkdir(parents=True)
    (tree_ / "judge.py").write_text("import lib.scores; print(lib.scores.VALUE)")
    (tree_ / "lib" / "scores.py").write_text("VALUE = 1")
    job = Job(tmp_path, trainer, "")
    job.spec["steps"][1] |= {
        "argv": [sys.executable, "judge.py"],
        "cwd": str(tree_),
        "stdout": "said",
        "check": {
            "root": str(tree_),
            "written": str(job.run_dir),
            "hidden": [str(path) for path in hidden],
        },
    }
    record = job.run()
    said = job.run_dir / "said"
    return {**record, "said": said.read_text().strip() if said.exists() else None}


@pytest.mark.parametrize(
    "trainer",
    [
        "open('tree/judge.py', 'w').write('print(2)')",
        "open('tree/lib/scores.py', 'w').write('VALUE = 2')",
        "open('tree/lib/extra.py', 'w').write('VALUE = 2')",
        "import os; os.remove('tree/lib/scores.py')",
        "import os; os.remove('tree/judge.py'); os.mkfifo('tree/judge.py')",
        "import os; os.remove('tree/judge.py'); os.mkdir('tree/judge.py')",
    ],
)
def test_code_that_the_trainer_has_changed_judges_nothing(tmp_path, trainer):
    record = judged(tmp_path, trainer)
    assert (record["outcome"], record["step"], record["said"]) == ("failed", "evaluate", None)
    assert "is not what it was" in record["tampered"]


@pytest.mark.parametrize(
    "trainer",
    [
        "print('well')",
        "open('tree/out.txt', 'w').write('x'); import os; os.makedirs('tree/outputs/1')",
        "open('tree/lib/fast.so', 'w').write('built here')",
    ],
)
def test_what_a_trainer_leaves_beside_the_code_that_judges_is_no_change_of_it(tmp_path, trainer):
    record = judged(tmp_path, trainer)
    assert (record["outcome"], record["tampered"], record["said"]) == ("succeeded", None, "1")


def test_compiled_code_that_the_trainer_has_put_there_is_not_run(tmp_path):
    forge = """
        import os, py_compile
        source = "tree/lib/scores.py"
        about = os.stat(source)
        text = open(source).read()
        open(source, "w").write("VALUE = 2")
        os.utime(source, ns=(about.st_atime_ns, about.st_mtime_ns))
        py_compile.compile(source)
        open(source, "w").write(text)
        os.utime(source, ns=(about.st_atime_ns, about.st_mtime_ns))
    """
    assert judged(tmp_path, forge)["said"] == "1"


@pytest.mark.parametrize("name", ["predictions.npy", "deep/predictions.npy"])
def test_a_link_to_what_is_hidden_from_trainings_is_not_judged(tmp_path, name):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "test.npy").write_text("0 1 1")
    link = f"import os; path = os.environ['RUN'] + '/{name}'; os.makedirs(os.path.dirname(path), exist_ok=True)\n"
    link += "os.symlink(os.environ['RUN'] + '/../labels/test.npy', path)"
    record = judged(tmp_path, link, (tmp_path / "labels",))
    assert record["outcome"] == "failed" and "link to what is hidden" in record["tampered"]


def test_the_longest_silence_of_a_job_is_on_record(tmp_path):
    steps = "import time; time.sleep(2.5); print('.', flush=True); time.sleep(1)", "sum(range(10_000_000))"
    assert 1.5 <= Job(tmp_path, *steps).run()["silent_s"] <= 4


def test_one_that_hangs_and_looks_around_now_and_then_still_hangs(tmp_path):
    script = """
        import time
        while True:
            time.sleep(0.1)  # a watchdog, a progress bar
            until = time.perf_counter() + 0.0005
            while time.perf_counter() < until:
                pass
    """
    record = Job(tmp_path, script, idle_s=4.0).run()
    assert (record["outcome"], record["hung"]) == ("timeout", True)


@pytest.mark.parametrize(
    "life",
    [
        "print('.', flush=True); time.sleep(0.2)",
        "open(os.environ['RUN'] + '/metrics.jsonl', 'a').write('{}\\n'); time.sleep(0.2)",
        "sum(range(2_000_000))",
        "subprocess.run([sys.executable, '-c', 'sum(range(3_000_000))'])",
        "threading.Thread(target=sum, args=(range(2_000_000),)).start(); time.sleep(0.2)",
    ],
)
def test_a_job_that_works_or_speaks_is_not_ended_for_silence(tmp_path, life):
    script = f"""
        import os, subprocess, sys, threading, time
        until = time.monotonic() + 4
        while time.monotonic() < until:
            {life}
    """
    record = Job(tmp_path, script, idle_s=1.5).run()
    assert (record["outcome"], record["hung"]) == ("succeeded", False)


def test_the_time_in_which_its_wrapper_was_suspended_is_no_silence_of_the_job(tmp_path):
    job = Job(tmp_path, "import time; print('ready', flush=True); time.sleep(9)", idle_s=4.5)
    wrapper = job.start()
    job.wait_for("train.log")
    os.kill(wrapper.pid, signal.SIGSTOP)
    time.sleep(6)
    os.kill(wrapper.pid, signal.SIGCONT)
    wrapper.communicate(timeout=60)
    assert (job.exit()["outcome"], job.exit()["hung"]) == ("succeeded", False)


def test_a_cancel_that_came_before_the_start_starts_nothing(tmp_path):
    job = Job(tmp_path, "print('never')")
    (job.run_dir / "cancel").touch()
    record = job.run()
    assert (record["outcome"], record["step"], record["steps"]) == ("cancelled", None, [])
    assert not (job.run_dir / "train.log").exists()


def test_a_trainer_that_saves_its_work_on_sigterm_has_its_grace(tmp_path):
    script = """
        import os, pathlib, signal, sys, time
        run = pathlib.Path(os.environ["RUN"])
        def save(*_):
            time.sleep(0.5)
            (run / "saved").touch()
            sys.exit(0)
        signal.signal(signal.SIGTERM, save)
        time.sleep(300)
    """
    job = Job(tmp_path, script, walltime_s=1.0, grace_s=20)
    record = job.run()
    assert (record["outcome"], record["exit_code"]) == ("timeout", 0)
    assert (job.run_dir / "saved").exists()


def test_the_memory_of_the_whole_tree_is_held_to_the_limit(tmp_path):
    # 40 MiB each: only together are they over the limit, and the workers are in sessions of their own.
    worker = "import time; x = bytearray(b'x') * (40 << 20); time.sleep(300)"
    script = f"""
        import subprocess, sys
        workers = [subprocess.Popen([sys.executable, "-c", {worker!r}], start_new_session=True) for _ in range(4)]
        workers[0].wait()
    """
    job = Job(tmp_path, script, memory_bytes=120 << 20)
    record = job.run()
    assert record["outcome"] == "memory"
    assert 120 << 20 < record["peak_memory_bytes"] < 400 << 20
    assert "over the limit of 0.12 GiB" in record["message"]


def test_long_after_its_start_a_step_s_new_processes_are_still_found_within_seconds(tmp_path):
    script = """
        import subprocess, sys, time
        time.sleep(1)
        child = "held = b'x' * (300 << 20); import time; time.sleep(60)"
        subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
        time.sleep(60)
    """
    job = Job(tmp_path, script, memory_bytes=120 << 20)
    job.start_command = [
        sys.executable,
        "-c",
        "import sys; from rea.job import runner, wrapper; runner._SEARCH_SHARE = 100.0  # as after minutes\n"
        "sys.exit(wrapper.main(sys.argv[1:]))",
    ]
    began = time.monotonic()
    record = job.run()
    assert record["outcome"] == "memory" and record["peak_memory_bytes"] > 120 << 20
    assert time.monotonic() - began < 15


def test_memory_that_workers_share_is_not_counted_once_per_worker(tmp_path):
    script = """
        import os, time
        x = b"x" * (48 << 20)
        for _ in range(4):
            if os.fork() == 0:
                time.sleep(1)
                os._exit(0)
        for _ in range(4):
            os.wait()
    """
    record = Job(tmp_path, script, memory_bytes=128 << 20).run()
    assert record["outcome"] == "succeeded"
    assert 48 << 20 < record["peak_memory_bytes"] < 128 << 20


def test_what_outlives_its_trainer_is_ended_with_the_step(tmp_path):
    job = Job(tmp_path, FAMILY, "print('evaluated')")
    record = job.run()
    assert record["outcome"] == "succeeded"
    assert "outlived train" in record["message"]
    assert all(is_gone(int(pid)) for pid in job.text("pids").split())
    assert job.text("evaluate.log") == "evaluated\n"


def test_the_cpu_time_of_a_worker_nobody_waited_for_is_counted(tmp_path):
    burn = "import time\nwhile time.process_time() < 0.6: pass\ntime.sleep(300)"
    script = f"""
        import subprocess, sys, time
        subprocess.Popen([sys.executable, "-c", {burn!r}], start_new_session=True)
        time.sleep(2)
    """
    assert Job(tmp_path, script).run()["cpu_s"] > 0.3  # what the sampler saw of 0.6 s; its last look may be early


def test_a_flood_neither_blocks_the_trainer_nor_outgrows_the_cap(tmp_path):
    script = """
        import os
        os.write(1, b"first words\\n")
        block = os.urandom(1 << 20)
        for _ in range(300):
            os.write(1, block)
        os.write(2, b"\\nlast words\\n")
    """
    job = Job(tmp_path, script, log_bytes=1 << 20)
    record = job.run()
    log = (job.run_dir / "train.log").read_bytes()
    assert record["outcome"] == "succeeded"
    assert len(log) == 1 << 20
    assert log.startswith(b"first words\n") and log.endswith(b"last words\n")
    assert 299 << 20 < record["log_bytes_cut"] < 301 << 20
    assert b"[rea: %d bytes cut here]" % record["log_bytes_cut"] in log


def test_the_log_can_be_read_while_the_job_runs(tmp_path):
    job = Job(tmp_path, "import time; print('hello', flush=True); time.sleep(300)")
    wrapper = job.start()
    assert job.wait_for("train.log") == "hello\n"
    wrapper.terminate()
    wrapper.communicate(timeout=60)


CURVE = """
    import json, os, pathlib, time
    metrics = open(os.environ["RUN"] + "/metrics.jsonl", "a")
    def wait_until_read(stopped_here=False):
        time.sleep(60 if stopped_here else 0.6)  # longer than two samples, on an idle machine
    metrics.write('not json\\n{"split": "train", "epoch": 1, "ne": 9}\\n{"split": "valid", "ep')
    metrics.flush()
    wait_until_read()
    metrics.write('och": 1, "ne": 0.85}\\n')
    for epoch, ne in enumerate([%s], start=2):
        metrics.write(json.dumps({"split": "valid", "epoch": epoch, "ne": ne}) + "\\n")
        metrics.flush()
        pathlib.Path(os.environ["RUN"], "epoch").write_text(str(epoch))
        wait_until_read(epoch == %s)
"""
RULE = {
    "metric": "ne",
    "split": "valid",
    "direction": "minimize",
    "points": [[1, 0.9], [3, 0.8]],
    "axis": "epoch",
}


def test_the_stop_rule_ends_a_run_at_the_epoch_that_breaks_it(tmp_path):
    job = Job(tmp_path, CURVE % ("0.85, 0.82, 0.7", 3), stop_rule=RULE)
    record = job.run()
    assert record["outcome"] == "stopped"
    assert record["stop"] == {
        "reason": "worse",
        "metric": "ne",
        "split": "valid",
        "axis": "epoch",
        "x": 3.0,
        "value": 0.82,
        "point": 3.0,
        "limit": 0.8,
    }
    assert job.text("epoch") == "3"


def test_a_run_that_keeps_to_the_curve_is_not_stopped(tmp_path):
    record = Job(tmp_path, CURVE % ("0.89, 0.79", None), stop_rule=RULE).run()
    assert (record["outcome"], record["stop"]) == ("succeeded", None)


def test_two_nans_in_a_row_stop_a_run(tmp_path):
    job = Job(tmp_path, CURVE % ("float('nan'), float('nan'), 0.7", 3), stop_rule=RULE)
    record = job.run()
    assert (record["outcome"], record["stop"]["reason"], record["stop"]["value"]) == ("stopped", "nan", None)
    assert job.text("epoch") == "3"


def test_a_step_that_has_ended_is_no_longer_stopped_by_what_it_wrote_last(tmp_path):
    # The wrapper is held still while the step writes its last line and ends.
    line = json.dumps({"split": "valid", "epoch": 5, "ne": 99})
    script = f"kill -STOP $PPID; (sleep 0.3; kill -CONT $PPID) & echo '{line}' >> $RUN/metrics.jsonl"
    job = Job(tmp_path, "", "import time; time.sleep(0.6)", stop_rule=RULE)
    job.spec["steps"][0]["argv"] = ["/bin/sh", "-c", script]
    assert job.run()["outcome"] == "succeeded"
    assert job.text("metrics.jsonl") == line + "\n"


def test_the_wake_file_and_the_wake_command_come_after_the_record(tmp_path):
    wake = {
        "file": str(tmp_path / "wake" / "rea-C-1-R-1-1"),
        "command": ["/bin/sh", "-c", "cat exit.json > woken.tmp; mv woken.tmp woken; echo heard; exit 9"],
        "cwd": str(tmp_path / "run"),
        "env": {"PATH": os.environ["PATH"]},
    }
    job = Job(tmp_path, "raise SystemExit(5)", wake=wake)
    record = job.run()
    assert job.code == 1
    assert json.loads(job.wait_for("woken")) == record
    dropped = json.loads(Path(wake["file"]).read_text())
    assert dropped["name"] == "rea-C-1-R-1-1" and dropped["at"] >= record["ended_at"]
    assert job.wait_for("wake.log") == "heard\n"


def test_a_wake_that_fails_changes_nothing_about_the_outcome(tmp_path):
    (tmp_path / "wake").write_text("a file where a directory should be")
    wake = {"file": str(tmp_path / "wake" / "x"), "command": ["/no/such/rea"], "cwd": None, "env": {}}
    job = Job(tmp_path, "print('fine')", wake=wake)
    assert job.run()["outcome"] == "succeeded"
    assert job.code == 0
    assert b"wake file" in job.errors and b"/no/such/rea" in job.errors


def test_a_wrapper_whose_starter_hangs_up_goes_on(tmp_path):
    job = Job(tmp_path, "import time; time.sleep(1); print('done')")
    wrapper = job.start()
    job.wait_for("alive.lock")
    wrapper.send_signal(signal.SIGHUP)
    wrapper.communicate(timeout=60)
    assert job.exit()["outcome"] == "succeeded"


def test_a_trainer_inherits_no_signal_setting_and_no_descriptor(tmp_path):
    script = """
        import os, signal
        defaults = [s.name for s in (signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD, signal.SIGPIPE)]
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        ignored = int(status["SigIgn"], 16)
        print([name for name in defaults[:-1] if ignored >> (signal.Signals[name] - 1) & 1], status["SigBlk"].strip())
        print(sorted(fd for fd in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{fd}")))
        print(os.getpgrp() == os.getpid() == os.getsid(0))
    """
    job = Job(tmp_path, script)
    (job.root / "job.json").write_text(json.dumps(job.spec))
    # A shell without job control ignores SIGINT and SIGQUIT for what it puts in the background.
    command = f"{sys.executable} -P -m rea.job {job.root / 'job.json'} & wait $!"
    subprocess.run(["/bin/sh", "-c", command], env={**os.environ, "PYTHONPATH": str(SOURCE)}, check=True, timeout=60)
    ignored, descriptors, own_session = job.text("train.log").splitlines()
    assert ignored == "[] 0000000000000000"
    assert descriptors == "[0, 1, 2]"
    assert own_session == "True"


def test_a_killed_wrapper_takes_its_trainer_with_it_and_leaves_no_lock(tmp_path):
    job = Job(tmp_path, FAMILY + STUBBORN + SLEEP)
    wrapper = job.start()
    trainer, *rest = (int(pid) for pid in job.wait_for("pids").split())
    wrapper.kill()
    wrapper.communicate()
    try:
        for _ in range(500):
            if is_gone(trainer):
                break
            time.sleep(0.01)
        assert is_gone(trainer)
        assert not rundir.is_alive(job.run_dir)
        assert not rundir.record_of(job.run_dir).exists()
    finally:
        for pid in rest:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("text", ["{", '{"version": 1}'])
def test_a_broken_specification_is_told_on_stderr(tmp_path, text):
    (tmp_path / "job.json").write_text(text)
    command = [sys.executable, "-P", "-m", "rea.job", str(tmp_path / "job.json")]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "job.json" in done.stderr and "Traceback" not in done.stderr


def test_a_broken_specification_with_a_run_directory_is_on_record_as_failed(tmp_path):
    job = Job(tmp_path, "print('never')", walltime_s="ten minutes")
    record = job.run()
    assert job.code == 2
    assert record["outcome"] == "failed" and "walltime_s" in record["message"]
    assert (record["name"], record["step"]) == ("rea-C-1-R-1-1", None)


def test_a_broken_specification_leaves_a_started_run_alone(tmp_path):
    job = Job(tmp_path, "print('never')", walltime_s="ten minutes")
    rundir.take_fence(job.run_dir, {})
    wrapper = job.start()
    wrapper.communicate(timeout=60)
    assert wrapper.returncode == 2
    assert not rundir.record_of(job.run_dir).exists()


@pytest.fixture
def disk(tmp_path):
    """(folder, resize): a file system of its own, whose size is said in the words of mount(8)."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def resize(size, *how):
        command = ["mount", *how, "-o", f"{'' if how else 'remount,'}size={size}", "none", folder]
        return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0

    if not shutil.which("mount") or os.geteuid() != 0 or not resize("1m", "-t", "tmpfs"):
        pytest.skip("needs root and the right to mount a tmpfs")
    yield folder, resize
    subprocess.run(["umount", folder], check=True)


def test_the_record_is_written_on_a_disk_that_is_full(disk):
    folder, resize = disk
    resize("256k")
    script = """
        import os, sys, time
        time.sleep(0.3)
        try:
            with open(os.environ["RUN"] + "/checkpoint", "wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 512)
        except OSError as error:
            for _ in range(200):
                print("y" * 1000)
            print(error)
            time.sleep(0.6)
            sys.exit(7)
    """
    job = Job(folder, script)
    record = job.run()
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_bsize
    assert (record["outcome"], record["exit_code"], job.code) == ("failed", 7, 1)
    assert record["log_bytes_cut"] > 0 and record["disk_full"]
    assert free < rundir.EXIT_BYTES  # there was room in the reserve and nowhere else


def test_without_room_for_its_record_nothing_is_started(disk):
    folder, resize = disk
    # Four pages: the specification, the lock and the fence take one each, the reserve would take two.
    resize("16k")
    job = Job(folder, "import os; open(os.environ['RUN'] + '/trained', 'w')")
    record = job.run()
    assert record["outcome"] == "failed" and record["disk_full"] and record["steps"] == []
    assert "No space left on device" in record["message"] and str(job.run_dir) in record["message"]
    assert not (job.run_dir / "trained").exists()


def test_a_record_for_which_there_is_no_room_at_all_comes_when_there_is(disk):
    folder, resize = disk
    resize("12k")  # no page for the record, nor for a word about it
    job = Job(folder, "pass")
    with (folder / "said").open("wb") as said:
        wrapper = job.start(stderr=said)
        wait_for(job.run_dir / "started")
        time.sleep(0.5)
        assert wrapper.poll() is None and not rundir.record_of(job.run_dir).exists()
        resize("64k")
        assert wrapper.wait(30) == 1
    assert "No space left on device" in job.exit()["message"]
