"""A few points of the crash sweep, of every kind; benchmarks/crash_sweep does all of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rea.job import tree

SWEEP = Path(__file__).resolve().parents[2] / "benchmarks" / "crash_sweep" / "run.py"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not tree.LINUX, reason="the process tree is followed through /proc")
def test_wherever_a_process_is_killed_the_campaign_ends_as_if_it_had_not_been(tmp_path):
    results = tmp_path / "sweep.json"
    command = [sys.executable, SWEEP, "--every", "50", "--points", "7-100000", "--results", results, "--work", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(results.read_text())
    assert found["violations"] == 0 and found["points"] >= 12
    assert set(found["points_by_kind"]) >= {"call", "inside", "wrapper"}
