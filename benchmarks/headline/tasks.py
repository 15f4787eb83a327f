"""The tasks: which data, which model, and where the tuning of its baseline starts."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.headline.configs import Scalar

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("REA_SHARED_DATA") or ROOT.parent / "shared" / "data")
SAMPLE_SEED = 20140824
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, slots=True)
class Sample:
    """A fixed part of a data set, so that one run stays cheap.

    rows: so many rows of train, valid and test, drawn without replacement, in their old order; None takes a split
    whole. units: instead of rows, so many distinct values of the first field (the user), with all their rows.
    """

    rows: tuple[int | None, int | None, int | None] | None = None
    units: int | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """data: a folder's name under the shared data, or a folder. start: settings that differ from base.yaml.

    idle: knobs that these data give nothing to act on, so that the trainer refuses them; no arm searches those.
    """

    name: str
    data: str
    start: Mapping[str, Scalar]
    sample: Sample | None = field(default=None)
    idle: frozenset[str] = frozenset()


# As many epochs as the knob allows and some patience: a baseline ends when it has stopped improving, so that nobody
# gains by merely training longer.
_TO_THE_END: dict[str, Scalar] = {"train.epochs": 30, "train.patience": 3}
_CRITEO: dict[str, Scalar] = {
    **_TO_THE_END,
    "features.min_count": 5,
    "model.embedding_init_std": 1e-3,
    "model.dropout": 0.2,
    "optim.embedding_l2": 1e-2,
    "optim.weight_decay": 1e-6,
    "train.batch_size": 2048,
}
# After the settings of the open benchmark BARS for Frappe: strong L2 on the table, batch normalisation, dropout.
_FRAPPE: dict[str, Scalar] = {
    **_TO_THE_END,
    "model.embedding_init_std": 1e-4,
    "model.normalization": "batch",
    "model.dropout": 0.3,
    "optim.embedding_l2": 3e-2,
    "optim.weight_decay": 1e-6,
    "train.batch_size": 1024,
}
_ML1M: dict[str, Scalar] = {
    **_TO_THE_END,
    "model.wide_part": True,
    "model.embedding_init_std": 1e-3,
    "model.dropout": 0.1,
    "optim.embedding_l2": 1e-2,
    "optim.weight_decay": 1e-6,
    "train.batch_size": 1024,
}
_FRAPPE_ROWS = Sample(rows=(24_000, 24_000, None))
_NO_NUMBERS = frozenset({"features.numeric_both"})
_NO_PAIRS = frozenset({"features.target_pairs", "features.auto_crosses", "features.cross_min_count"})


def _criteo(model: str, more: Mapping[str, Scalar] | None = None) -> Task:
    start = {**_CRITEO, "model.interaction": model, **(more or {})}
    return Task(f"criteo80k-{model}", "criteo80k", start, idle=_NO_PAIRS)


def _frappe(model: str) -> Task:
    return Task(f"frappe-{model}", "frappe", {**_FRAPPE, "model.interaction": model}, _FRAPPE_ROWS, _NO_NUMBERS)


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        _criteo("widedeep", {"model.wide_part": True}),
        _frappe("dcnv2"),
        Task("ml1m-deepfm", "ml1m", {**_ML1M, "model.interaction": "deepfm"}, Sample(units=400), _NO_NUMBERS),
        _criteo("dlrm"),
        _frappe("finalmlp"),
        _criteo("dcnv2", {"model.cross_rank": 32}),
    )
}


def find(text: str) -> Task:
    """The task of this name, or, from "data=DIR,model=NAME", a task of any folder in the npz format.

    Such a task starts from moderate regularisation at two thousand rows a batch and takes all rows. Raises ValueError.
    """
    if text in TASKS:
        return TASKS[text]
    words = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    if set(words) != {"data", "model"}:
        raise ValueError(f"--task {text!r}: expected one of {', '.join(TASKS)}, or data=DIR,model=NAME")
    folder = Path(words["data"]).expanduser().resolve()
    start: dict[str, Scalar] = {**_CRITEO, "model.interaction": words["model"]}
    return Task(f"{folder.name}-{words['model']}", str(folder), start)


def source(task: Task) -> Path:
    """The folder the task's rows come from. Raises FileNotFoundError that says where it was looked for."""
    folder = Path(task.data) if os.sep in task.data else SHARED / task.data
    for name in ("data.npz", "meta.json"):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{task.name}: {folder / name} is absent; set REA_SHARED_DATA to the folder that holds {task.data}/"
            )
    return folder


def prepare(task: Task, cache: Path) -> Path:
    """The folder to train on: the source itself, or its sample, written once under `cache` in the same format."""
    folder = source(task)
    if task.sample is None:
        return folder
    if task.sample.units is not None:
        tag = f"{task.sample.units}-units"
    else:
        tag = "-".join(str(count or "all") for count in task.sample.rows or ())
    target = cache / f"{folder.name}-{tag}"
    if target.is_dir():
        return target
    import numpy as np

    with np.load(folder / "data.npz") as arrays:
        whole = {name: arrays[name] for name in arrays.files}
    kept = drawn(whole["cat"], whole["split"], task.sample)
    fresh = target.with_name(f"{target.name}.{os.getpid()}")
    fresh.mkdir(parents=True)
    rows = len(whole["y"])
    part = {name: values[kept] if len(values) == rows else values for name, values in whole.items()}
    np.savez_compressed(fresh / "data.npz", **part)
    shutil.copy(folder / "meta.json", fresh)
    try:
        fresh.rename(target)  # whole or not at all: another process may draw the same sample
    except OSError:
        shutil.rmtree(fresh)
    return target


def drawn(cat, split, sample: Sample):  # type: ignore[no-untyped-def]
    """Indices (int64, ascending) of the rows in the sample, from ids int [n, fields] and split codes [n]."""
    import numpy as np

    random = np.random.default_rng(SAMPLE_SEED)
    if sample.units is not None:
        values = np.unique(cat[:, 0])
        if sample.units > len(values):
            raise ValueError(f"a sample of {sample.units} units: the first field has {len(values)} values only")
        return np.flatnonzero(np.isin(cat[:, 0], random.permutation(values)[: sample.units]))
    parts = []
    for code, count in enumerate(sample.rows or (None, None, None)):
        rows = np.flatnonzero(split == code)
        if count is not None and count > len(rows):
            raise ValueError(f"a sample of {count} {SPLITS[code]} rows: there are {len(rows)}")
        parts.append(rows if count is None else random.permutation(rows)[:count])
    return np.sort(np.concatenate(parts))


def fields(folder: Path) -> frozenset[str]:
    """Names of all fields of a data folder."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    return frozenset([*meta["cat_fields"], *meta["num_fields"]])
