"""A run goes on from the newest checkpoint that is whole."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from rea.domain.run import Failure
from rea.executor.checkpoints import RESUME, last_good, seconds_before
from rea.executor.jobs import Site, _checkpoint


def saved(folder: Path, name: str, at: float, *, torn: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", os.urandom(5000))
    if torn:
        path.write_bytes(path.read_bytes()[:2500])
    os.utime(path, (at, at))
    return path


def test_the_newest_whole_one_of_all_attempts_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    whole = saved(first, "checkpoint-1.pt", 100.0)
    saved(first, "checkpoint-2.pt", 200.0, torn=True)
    newest = saved(second, "checkpoint-1.pt", 300.0)
    (second / "checkpoint-9.pt").touch()
    assert last_good([first], "checkpoint-*.pt") == whole
    assert last_good([first, second], "checkpoint-*.pt") == newest
    assert last_good([first, second], "checkpoint-*.pt", {str(newest)}) == whole, (
        "one that a run failed on is passed over"
    )


def test_a_changed_byte_inside_is_found_and_a_link_is_none(tmp_path: Path) -> None:
    path = saved(tmp_path, "checkpoint-1.pt", 100.0)
    content = bytearray(path.read_bytes())
    content[1000] ^= 0xFF
    path.write_bytes(bytes(content))
    (tmp_path / "checkpoint-2.pt").symlink_to(saved(tmp_path / "elsewhere", "x.pt", 100.0))
    assert last_good([tmp_path], "checkpoint-*.pt") is None


def started(folder: Path, checkpoint: Path | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    env = {} if checkpoint is None else {RESUME: str(checkpoint)}
    (folder / "job.json").write_text(json.dumps({"steps": [{"env": env}, {"env": {}}]}))
    return folder


def test_what_a_training_took_before_is_summed_over_all_it_went_on_from(tmp_path: Path) -> None:
    one, two, three = (tmp_path / str(number) for number in (1, 2, 3))
    first = saved(started(one), "deep-1.pt", 1030.0)
    second = saved(started(two, first), "deep-2.pt", 2007.0)
    started(three, second)
    begun = {one: 1000.0, two: 2000.0}
    assert seconds_before(one, begun) == 0.0
    assert seconds_before(two, begun) == 30.0
    assert seconds_before(three, begun) == 37.0
    assert seconds_before(three, {two: 2000.0}) == 7.0, "of an attempt whose start is unknown nothing is"
    assert seconds_before(three, {}) == 0.0
    assert seconds_before(tmp_path / "4", begun) == 0.0
    assert seconds_before(started(one, second), begun) == 37.0, "attempts that name each other end it"
    first.unlink()
    assert seconds_before(two, begun) == 0.0, "of a file that is gone nothing is known"


def test_what_a_fresh_start_left_behind_is_not_offered_again(tmp_path: Path) -> None:
    site = Site("uid", tmp_path, None, {}, {})
    one, two, three, four = (site.run_dir(1, 7, number) for number in (1, 2, 3, 4))
    unfit = saved(started(one), "checkpoint-1.pt", 100.0)
    started(two, unfit)
    campaign = SimpleNamespace(id=1, codebase=SimpleNamespace(checkpoints="checkpoint-*.pt"))
    run = SimpleNamespace(id=7, failure=Failure("killed", "T", "it was killed", remedy="resume"))
    assert _checkpoint(site, campaign, run, three) == unfit  # type: ignore[arg-type]
    started(three)
    assert _checkpoint(site, campaign, run, four) is None  # type: ignore[arg-type]
    own = saved(three, "checkpoint-1.pt", 200.0)
    assert _checkpoint(site, campaign, run, four) == own  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("runbook", "remedy", "goes_on"),
    [
        ("killed", "resume", True),
        ("node-lost", "resume", True),
        ("disk-full", "resume", True),
        ("evaluator-failed", "", True),
        ("host-out-of-memory", '{"train.micro_batch": 512}', False),
        ("data-changed", "", False),
        ("unknown", "retry", False),
        ("checkpoint-mismatch", "retry", False),
    ],
)
def test_a_run_goes_on_after_what_says_nothing_against_its_checkpoint(
    tmp_path: Path, runbook: str, remedy: str, goes_on: bool
) -> None:
    site = Site("uid", tmp_path, None, {}, {})
    path = saved(site.run_dir(1, 7, 1), "checkpoint-1.pt", 100.0)
    campaign = SimpleNamespace(id=1, codebase=SimpleNamespace(checkpoints="checkpoint-*.pt"))
    run = SimpleNamespace(id=7, failure=Failure(runbook, "T", "it failed", remedy=remedy))
    found = _checkpoint(site, campaign, run, site.run_dir(1, 7, 2))  # type: ignore[arg-type]
    assert found == (path if goes_on else None)
