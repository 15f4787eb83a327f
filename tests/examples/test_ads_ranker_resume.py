"""A training of the reference codebase that was broken off goes on as if it had not been, or says why it cannot."""

# ruff: noqa: E402 - nothing here can be imported without torch

import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from functools import partial
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

import checkpoints
import config
import train

from rea.domain.runbook import FailureEvidence
from rea.knowledge.cards import load_runbooks
from rea.knowledge.diagnosis import match

torch.set_num_threads(1)
PATIENCE_S = 60.0
RUNBOOKS = load_runbooks()


def changed(settings_: dict, changes: dict) -> dict:
    for name, value in changes.items():
        section, key = name.split(".")
        assert key in settings_[section]
        settings_[section][key] = value
    return settings_


def untimed(records: list[dict]) -> list[dict]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records if "resumed" not in record]


def outcome(records: list[dict], folder: Path) -> tuple:
    """All that a run comes to, but for its times."""
    return untimed(records), *((folder / f"predictions_{split}.npy").read_bytes() for split in ("valid", "test"))


class BrokenOffError(Exception):
    pass


class Breaking(checkpoints.Checkpoints):
    """Saves once, at the given one of the moments at which a run may save, and breaks it off there."""

    def __init__(self, moment: int, folder: Path, every_s: float):
        super().__init__(folder, every_s)
        self.moment, self.looks = moment, 0

    def due(self) -> bool:
        self.looks += 1
        return self.looks == self.moment

    def save(self, step: int, state: dict) -> None:
        super().save(step, state)
        raise BrokenOffError


def broken_off(settings_: dict, folder: Path, moment: int) -> Path | None:
    """The checkpoint of a run that ended there; None where it came to its end before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "Checkpoints", partial(Breaking, moment))
        try:
            train.train(config.check(settings_), 1, folder, [].append)
        except BrokenOffError:
            (found,) = folder.glob("checkpoint-*.pt")
            return found
    return None


# Together they hold everything that a training remembers.
CASES = [
    {"optim.ema_decay": 0.9, "model.dropout": 0.2, "features.rare_mask": 0.3},
    {"optim.swa_from": 0.3, "train.reset_embeddings": True, "optim.optimizer": "adagrad"},
    {"optim.lookahead": 5, "optim.optimizer": "adamw", "optim.weight_decay": 0.1, "train.reset_embeddings": True},
    {"optim.optimizer": "rowwise_adagrad", "loss.negative_keep": 0.5, "model.members": 2, "optim.cowclip": 0.001},
    {"optim.schedule": "plateau", "train.epochs": 6, "train.patience": 6, "optim.lr": 0.03},
    {"calibration.method": "platt", "model.normalization": "batch", "model.embedding_norm": "batch"},
    {"optim.optimizer": "rmsprop", "optim.schedule": "cosine", "optim.warmup": 0.3, "model.activation": "prelu"},
    {"optim.optimizer": "sgd", "model.embedding_dropout": 0.2, "train.epochs": 8, "train.patience": 1},
    {"calibration.method": "validation", "loss.pairwise_weight": 1.0, "features.numeric_encoding": "ple"},
]
_whole: dict[int, tuple] = {}


@pytest.mark.parametrize("case", range(len(CASES)))
@settings(max_examples=8)
@given(moment=st.integers(1, 20))
def test_broken_off_at_any_moment_it_ends_with_the_same_bits(_small, tmp_path_factory, case, moment):
    folder = tmp_path_factory.mktemp("run")
    settings_ = changed(json.loads(json.dumps(_small)), CASES[case])
    if case not in _whole:
        records: list[dict] = []
        train.train(config.check(settings_), 1, folder, records.append)
        _whole[case] = outcome(records, folder)
    saved = broken_off(settings_, folder / "first", moment)
    if saved is None:
        return
    torch.manual_seed(99)  # what a new process starts with is no part of the run
    records = []
    train.train(config.check(settings_), 1, folder / "second", records.append, saved)
    assert outcome(records, folder / "second") == _whole[case]
    assert sum("resumed" in record for record in records) == 1


# ---- killed processes -----------------------------------------------------------------------------------------------


def process(ads_ranker: Path, folder: Path, resume: Path | None = None) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "REA_RUN_DIR": str(folder), "REA_METRICS": str(folder / "m.jsonl"), "REA_SEED": "5"}
    environment |= {"OMP_NUM_THREADS": "1"} | ({} if resume is None else {"REA_RESUME": str(resume)})
    line = [sys.executable, "train.py", "--config", str(folder.parent / "c.yaml")]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(line, cwd=ads_ranker, env=environment, **pipes)


def steps_saved(folder: Path) -> int:
    return max((int(path.stem.rpartition("-")[2]) for path in folder.glob("checkpoint-*.pt")), default=0)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "m.jsonl").read_text().splitlines()]


KILLED_AT = (0.2, 0.4, 0.6)  # share of the steps


def test_killed_again_and_again_it_ends_as_if_never_killed(ads_ranker, small_config, tmp_path):
    changes = {"data.rows": 20_000, "model.dropout": 0.1, "optim.ema_decay": 0.9, "train.epochs": 6}
    changes |= {"train.patience": 6, "train.checkpoint_s": 0.02}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(changed(small_config, changes)))
    whole = process(ads_ranker, tmp_path / "whole")
    assert whole.wait(PATIENCE_S) == 0, whole.stderr.read()
    steps = lines(tmp_path / "whole")[-2]["step"]
    chance, resume, starts = random.Random(4), None, []
    for number, share in enumerate((*KILLED_AT, 2.0)):
        folder = tmp_path / str(number)
        running = process(ads_ranker, folder, resume)
        deadline = time.monotonic() + PATIENCE_S
        while running.poll() is None and steps_saved(folder) < share * steps:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        if share < 1:
            time.sleep(chance.uniform(0, 0.02))  # in a step, while it is writing, or between
            running.send_signal(signal.SIGKILL)
        status = running.wait(PATIENCE_S)
        assert status == (-signal.SIGKILL if share < 1 else 0), running.stderr.read()
        running.stderr.close()
        whole_ones = sorted(folder.glob("checkpoint-*.pt"))
        assert 1 <= len(whole_ones) <= checkpoints.KEPT + 1, "killed between a new one and the old one's end"
        for path in whole_ones:
            checkpoints.load(path)
        starts += [line["step"] for line in lines(folder) if "resumed" in line]
        resume = whole_ones[-1]
    whole.stderr.close()
    first, last = (lines(tmp_path / name) for name in ("whole", "3"))
    assert untimed(last) == untimed(first)
    assert [line.get("epoch") for line in last if "ne" in line and "final" not in line] == [1, 2, 3, 4, 5, 6]
    for split in ("valid", "test"):
        found = [(tmp_path / name / f"predictions_{split}.npy").read_bytes() for name in ("whole", "3")]
        assert found[0] == found[1]
    assert starts == sorted(starts) and all(
        start >= share * steps for start, share in zip(starts, KILLED_AT, strict=True)
    )
    seconds = [line["seconds"] for line in last if "seconds" in line]
    assert seconds == sorted(seconds), "the clock of the run goes on, too"


def test_in_the_same_folder_no_reading_is_doubled(ads_ranker, small_config, tmp_path):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(changed(small_config, {"train.checkpoint_s": 0.001})))
    found = []
    for resume in (False, True):
        folder = tmp_path / "run"
        done = process(ads_ranker, folder, min(folder.glob("checkpoint-*.pt")) if resume else None)
        assert done.wait(PATIENCE_S) == 0, done.stderr.read()
        done.stderr.close()
        found.append((untimed(lines(folder)), (folder / "predictions_valid.npy").read_bytes()))
    assert found[0] == found[1]


# ---- what is refused ------------------------------------------------------------------------------------------------


def refusal(settings_: dict, folder: Path, saved: Path, seed: int = 1) -> str:
    with pytest.raises(checkpoints.CheckpointError) as caught:
        train.train(config.check(settings_), seed, folder, [].append, saved)
    assert str(saved) in str(caught.value) and "unset it to train from the start" in str(caught.value)
    assert not list(folder.glob("predictions_*.npy"))
    return str(caught.value)


def runbook(message: str) -> str:
    """What REA would do about a run that ended with this message behind what a training prints."""
    log = f"step=9 epoch=1 split=valid ne=0.93\ntrain.py: {message}\n"
    return match(FailureEvidence("failed", exit_code=1, log_tail=log), RUNBOOKS).runbook.name


@pytest.fixture
def saved(small_config, tmp_path) -> Path:
    found = broken_off(small_config, tmp_path / "saved", 5)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("changes", "seed", "words"),
    [
        ({"optim.lr": 0.02}, 1, "optim.lr was 0.01 and is 0.02"),
        ({"model.embedding_dim": 8}, 1, "model.embedding_dim was 4 and is 8"),
        ({"train.epochs": 3}, 1, "train.epochs was 2 and is 3"),
        ({}, 2, "seed was 1 and is 2"),
        ({"data.rows": 4000}, 1, "rows of train was 2100 and is 2800"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_with_what_differs(small_config, tmp_path, saved, changes, seed, words):
    said = refusal(changed(small_config, changes), tmp_path, saved, seed)
    assert words in said
    assert runbook(said) == "checkpoint-mismatch"


def test_the_same_config_over_other_rows_is_another_run(small_config, tmp_path, saved, monkeypatch):
    load = train.data.load

    def flipped(*words, **more):
        logs = load(*words, **more)
        logs["train"].y[7] = 1 - logs["train"].y[7]
        return logs

    monkeypatch.setattr(train.data, "load", flipped)
    said = refusal(small_config, tmp_path, saved)
    assert "checksum of all rows was" in said and runbook(said) == "checkpoint-mismatch"


def test_a_run_over_a_few_batches_is_another_run(small_config, tmp_path, saved):
    with pytest.raises(checkpoints.CheckpointError, match="batches was None and is 2"):
        train.train(config.check(small_config), 1, tmp_path, [].append, saved, batches=2)


def test_how_often_to_save_is_no_part_of_a_run(small_config, tmp_path, saved):
    records: list[dict] = []
    train.train(config.check(changed(small_config, {"train.checkpoint_s": 0.0})), 1, tmp_path, records.append, saved)
    assert records[-1]["final"] and not list(tmp_path.glob("checkpoint-*.pt"))


@pytest.mark.parametrize("change", ["shape", "number", "format"])
def test_a_checkpoint_of_other_code_is_refused(small_config, tmp_path, saved, change):
    state = torch.load(saved, weights_only=True)
    if change == "shape":
        state["trainer"]["tensors"][1] = torch.zeros(3, 2)
    elif change == "number":
        state["trainer"]["tensors"].pop()
    else:
        state["format"] = 0
    torch.save(state, saved)
    assert runbook(refusal(small_config, tmp_path, saved)) == "checkpoint-mismatch"


@pytest.mark.parametrize("how", ["half", "byte", "empty", "text", "gone", "pickle"])
def test_a_torn_checkpoint_is_refused(small_config, tmp_path, saved, how):
    content = bytearray(saved.read_bytes())
    if how == "byte":
        with zipfile.ZipFile(saved) as archive:
            largest = max(archive.infolist(), key=lambda part: part.file_size)
            place = content.find(archive.read(largest))
        content[place + largest.file_size // 2] ^= 0xFF
    torn = {"half": content[: len(content) // 2], "empty": b"", "text": b"no archive\n", "pickle": b"\x80\x02}q\x00."}
    saved.write_bytes(torn.get(how, content))
    if how == "gone":
        saved.unlink()
    said = refusal(small_config, tmp_path, saved)
    assert runbook(said) == "corrupt-checkpoint", said


def test_a_refusal_is_a_message_and_a_failed_exit(ads_ranker, small_config, tmp_path, saved):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(small_config))  # of seed 5
    done = process(ads_ranker, tmp_path / "run", saved)
    assert done.wait(PATIENCE_S) == 1
    said = done.stderr.read()
    done.stderr.close()
    assert said.startswith("train.py: Error(s) in loading state_dict from ") and "seed was 1 and is 5" in said
    assert "Traceback" not in said


# ---- writing --------------------------------------------------------------------------------------------------------


def test_a_short_run_writes_none_and_a_long_one_the_last_two(small_config, tmp_path):
    train.train(config.check(small_config), 1, tmp_path, [].append)
    assert not list(tmp_path.glob("*checkpoint*"))
    train.train(config.check(changed(small_config, {"train.checkpoint_s": 1e-9})), 1, tmp_path, [].append)
    assert [path.name for path in sorted(tmp_path.glob("*checkpoint*"))] == [
        "checkpoint-000000017.pt",
        "checkpoint-000000018.pt",
    ]
    assert not list(tmp_path.glob(".*")), "no draft is left"


def test_saving_changes_no_bit(small_config, tmp_path):
    found = []
    for every_s in (0.0, 1e-9):
        records: list[dict] = []
        changed(small_config, {"train.checkpoint_s": every_s, "model.dropout": 0.1})
        train.train(config.check(small_config), 1, tmp_path, records.append)
        found.append(outcome(records, tmp_path))
    assert found[0] == found[1]


def test_where_there_is_no_room_the_training_goes_on_and_says_so(small_config, tmp_path, monkeypatch, capsys):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    records: list[dict] = []
    train.train(config.check(changed(small_config, {"train.checkpoint_s": 1e-9})), 1, tmp_path, records.append)
    assert records[-1]["final"]
    assert not list(tmp_path.glob("*checkpoint*")) and not list(tmp_path.glob(".*"))
    said = capsys.readouterr().err
    assert f"no checkpoint {tmp_path / 'checkpoint-000000001.pt'}: [Errno 28] No space left on device" in said
