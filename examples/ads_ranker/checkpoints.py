"""Checkpoints: all that a run needs to go on from as if it had never been broken off.

A file is written under another name, brought to the disk and then renamed: whoever looks finds a whole checkpoint or
none, whenever the run was killed. They are torch.save archives of tensors, numbers and text; loading one runs no code.
"""

import io
import os
import pickle
import sys
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

FORMAT = 1  # of what train.py saves; another one is refused
KEPT = 2  # the last one may turn out to be torn by a disk that lies
SHOWN = 3  # differences that an error names
INSTEAD = "or unset it to train from the start"


class CheckpointError(Exception):
    """A run cannot go on from this checkpoint; the message names the file, what was expected, and what to do.

    The words are those that PyTorch has for the same two cases, so that whoever reads logs by pattern knows them.
    """


class Checkpoints:
    """Writes those of one run into its folder, `every_s` seconds apart (0: none), and keeps the last two."""

    def __init__(self, folder: Path, every_s: float):
        self.folder, self.every_s = folder, every_s
        self.saved_at = time.monotonic()
        self.written: list[Path] = []

    def due(self) -> bool:
        return self.every_s > 0 and time.monotonic() - self.saved_at >= self.every_s

    def save(self, step: int, state: dict) -> None:
        """A disk that has no room ends no training: it says so, and the next time is another try."""
        path = self.folder / f"checkpoint-{step:09}.pt"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write(path, {"format": FORMAT, **state})
        except OSError as error:
            print(f"train.py: no checkpoint {path}: {error}", file=sys.stderr)
        else:
            self.written = [*(one for one in self.written if one != path), path]
            for old in self.written[:-KEPT]:
                old.unlink(missing_ok=True)
            self.written = self.written[-KEPT:]
        self.saved_at = time.monotonic()


def write(path: Path, state: dict) -> None:
    draft = path.with_name(f".{path.name}.tmp")
    archive = io.BytesIO()  # torch.save does not say why a file could not be written
    torch.save(state, archive)
    try:
        with draft.open("wb") as file:
            file.write(archive.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # without it, the name may be gone after a power cut
    finally:
        os.close(folder)


def load(path: Path) -> dict:
    """What was saved. Raises CheckpointError where the file is not there or torn, or is of another format."""
    try:
        with zipfile.ZipFile(path) as archive:
            torn = archive.testzip()  # torch.load compares no checksums
        if torn is not None:
            raise zipfile.BadZipFile(f"{torn} has not the checksum that it was saved with")
        state = torch.load(path, weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"PytorchStreamReader failed on {path}: {why}. Expected a whole checkpoint of this trainer; "
            f"name another one in REA_RESUME, {INSTEAD}"
        ) from None
    found = state.get("format") if isinstance(state, dict) else None
    if found != FORMAT:
        raise mismatch(path, f"its format is {found}, and this trainer's is {FORMAT}")
    return state


def mismatch(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"Error(s) in loading state_dict from {path}: {why}. Expected a checkpoint of a run with the same config, seed "
        f"and data; name one in REA_RESUME, {INSTEAD}"
    )


def same_run(path: Path, then: Mapping[str, object], now: Mapping[str, object]) -> None:
    """Raises CheckpointError where the run that saved the file was another one: it names what differs."""
    names = [name for name in {**now, **then} if then.get(name) != now.get(name)]
    if names:
        told = "; ".join(f"{name} was {then.get(name)!r} and is {now.get(name)!r}" for name in names[:SHOWN])
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise mismatch(path, f"{told}{more}")


def put_back(path: Path, tensors: list[Tensor], saved: list[Tensor]) -> None:
    """Copies what was saved into the tensors. Raises CheckpointError where their number or a shape differs."""
    if len(saved) != len(tensors):
        raise mismatch(path, f"it holds {len(saved)} tensors, and the model here has {len(tensors)}")
    for now, then in zip(tensors, saved, strict=True):
        if now.shape != then.shape:
            raise mismatch(path, f"it holds a tensor of shape {list(then.shape)}, where {list(now.shape)} was expected")
    with torch.no_grad():
        for now, then in zip(tensors, saved, strict=True):
            now.copy_(then)
