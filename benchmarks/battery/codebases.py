"""The two codebases whose trainings fail: how they are made, and which settings a kind of failure hangs on.

`tinyranker` is that of the tests, with faults of its own (overlay/tinyranker). `ads_ranker` is the reference codebase
in PyTorch on a small log from its own generator, as a folder of arrays or as one Parquet file, beside damaged copies of
it; its trainer is started through overlay/ads_ranker/sabotage.py.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(Path(__file__).parent)]

from kinds import ADS, TINY, Kind, Log  # noqa: E402

from support.desk import TINY as TINY_FOLDER  # noqa: E402
from support.desk import with_settings  # noqa: E402

OVERLAY = Path(__file__).parent / "overlay"
ADS_FOLDER = ROOT / "examples" / "ads_ranker"
CONFIG = "configs/generated_dcnv2.yaml"
ROWS, SEED = 8000, 7
SPLIT = (0.7, 0.15, 0.15)
EPOCH_S = 0.5  # of the tiny one's six; what a run takes but for the interpreter's start


@dataclass(frozen=True)
class Codebase:
    """What a campaign and the peers need to know of one; `sound` are hypotheses with no fault, beside the others.

    `walltime_s` is about four runs, as plans give it; of runs that are too short for a plan, 15 s at least are given.
    """

    name: str
    script: str
    config: str
    walltime_s: int
    budget_runs: int
    sound: tuple[str, ...]
    toml: tuple[tuple[str, str], ...]
    without: tuple[str, ...] = ()
    weight: float = 1.0

    def make(self, folder: Path, kinds: Sequence[Kind]) -> Path:
        """The codebase below `folder`, with everything in it that these kinds hang on."""
        made = folder / self.name
        {TINY: _make_tiny, ADS: _make_ads}[self.name](made, kinds)
        return made

    def with_treatment(self, code: Path, words: str) -> None:
        """Write settings ("knob=value knob=value") into the config, as somebody without REA would."""
        path = code / self.config
        values = {name: _value(text) for name, _, text in (word.partition("=") for word in words.split())}
        if self.name == TINY:
            path.write_text(with_settings(path.read_text(), values))
        else:
            _set_yaml(path, values)


CODEBASES = {
    TINY: Codebase(
        TINY,
        script="train.py",
        config="config.toml",
        walltime_s=12,
        budget_runs=120,
        sound=("optim.embedding_l2=1e-5", "features.numeric_encoding=log", "optim.schedule=cosine"),
        toml=(("slots = 1", "slots = 2"), ('walltime = "20s"', 'walltime = "12s"')),
    ),
    ADS: Codebase(
        ADS,
        script="sabotage.py",
        config=CONFIG,
        walltime_s=30,
        budget_runs=120,
        # A run is seconds of a core: what strikes in a test of its own need not strike in combinations again.
        without=("combination",),
        # On so few rows a run tells little: an engineer wants everything tried all the same.
        weight=1000.0,
        sound=("optim.embedding_l2=1e-5", "features.min_count=3", "optim.schedule=cosine"),
        toml=(
            ("{python} train.py", "{python} sabotage.py"),
            ('"train.py", "evaluate.py"', '"train.py", "sabotage.py", "sabotage.json", "evaluate.py"'),
            ('memory = "2GiB"', 'memory = "1GiB"'),
            ('walltime = "10m"', 'walltime = "30s"'),
            # What a team's rea.toml would not promise, and one in a hurry does.
            ('"embedding_dim", type = "int", range = [4, 32]', '"embedding_dim", type = "int", range = [4, 65536]'),
            (
                'role = "learning_rate", type = "float", range = [1e-4, 1e-1]',
                'role = "learning_rate", type = "float", range = [1e-4, 1e9]',
            ),
            ('choices = ["raw", "log"', 'choices = ["raw", "log1p", "log"'),
        ),
    ),
}


def missing(name: str) -> str:
    """What this machine lacks for a codebase; empty where nothing is."""
    if name == TINY:
        return ""
    lacks = [module for module in ("torch", "numpy", "yaml", "pyarrow") if importlib.util.find_spec(module) is None]
    return f"{', '.join(lacks)} not installed" if lacks else ""


def setting(kind: Kind, number: int) -> str:
    """The settings that a kind of failure hangs on: its own, else any that no other kind has."""
    return kind.setting or f"model.dropout={(11 + number) / 1000:g}"


def parts(kinds: Sequence[Kind]) -> list[list[Kind]]:
    """Those that one codebase with one log can have side by side."""
    found: dict[tuple[str, Log | None], list[Kind]] = {}
    for kind in kinds:
        found.setdefault((kind.codebase, kind.log), []).append(kind)
    return list(found.values())


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, list | dict) else value


def _make_tiny(made: Path, kinds: Sequence[Kind]) -> None:
    shutil.copytree(TINY_FOLDER, made, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (OVERLAY / TINY).glob("*.py"):
        shutil.copy(path, made)
    config = made / "config.toml"
    plan = [f"{setting(kind, number)}:{kind.name}" for number, kind in enumerate(kinds)]
    config.write_text(with_settings(config.read_text(), {"fault.plan": plan, "fault.seconds": EPOCH_S}))


def _make_ads(made: Path, kinds: Sequence[Kind]) -> None:
    shutil.copytree(ADS_FOLDER, made, ignore=shutil.ignore_patterns("data", "runs", "__pycache__"))
    for path in (OVERLAY / ADS).glob("*.py"):
        shutil.copy(path, made)
    plan = [[setting(kind, number), kind.fault] for number, kind in enumerate(kinds) if kind.fault]
    (made / "sabotage.json").write_text(json.dumps(plan, indent=1) + "\n")
    (log,) = {kind.log for kind in kinds if kind.log is not None}
    names = sorted({kind.data for kind in kinds if kind.data})
    write = {Log.NPZ: _write_arrays, Log.PARQUET: _write_parquet}[log]
    (made / "data").mkdir()
    section = {}
    for name in ("clicks", *names):
        section[name] = write(made, name)
    small = {"train.batch_size": 256, "optim.lr": 0.01, "model.embedding_dim": 4, "model.mlp_units": "64,32"}
    _set_yaml(made / CONFIG, small, data=section["clicks"])
    toml = made / "rea.toml"
    paths = [section[name]["path"] for name in ("clicks", *names)]
    toml.write_text(f'{toml.read_text()}"data.path" = {{ choices = {json.dumps(paths)} }}\n')


def _set_yaml(path: Path, values: dict[str, Any], data: dict[str, Any] | None = None) -> None:
    import yaml

    tree = yaml.safe_load(path.read_text())
    if data is not None:
        tree["data"] = data
    for name, value in values.items():
        table, key = name.split(".")
        assert key in tree[table], name
        tree[table][key] = value
    path.write_text(yaml.safe_dump(tree, sort_keys=False))


# ── the log of clicks, whole and damaged ─────────────────────────────────────────────────────────────────────────────


def _clicks(name: str) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """Categorical and numeric columns and labels. `poisoned`: infinite numbers in some rows; `leaky`: one number gives
    the label away, as an aggregate does that was computed with the click in it."""
    import numpy as np

    spec = importlib.util.spec_from_file_location("ads_ranker_generate", ADS_FOLDER / "generate.py")
    assert spec is not None and spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    cat, num, label, _ = generate.click_log(ROWS, SEED)
    if name == "poisoned":
        num["bid"][:: ROWS // 40] = np.inf
    if name == "leaky":
        noise = np.random.default_rng(SEED).normal(0, 0.05, ROWS)
        num["relevance"] = (label + noise).astype(np.float32)
    return cat, num, label


def _write_arrays(made: Path, name: str) -> dict[str, Any]:
    import numpy as np

    cat, num, label = _clicks(name)
    folder = made / "data" / name
    folder.mkdir()
    split = np.repeat(np.arange(3), [round(ROWS * part) for part in SPLIT]).astype(np.uint8)
    ids, numbers = np.stack(list(cat.values()), 1), np.stack(list(num.values()), 1)
    np.savez_compressed(folder / "data.npz", cat=ids, num=numbers, y=label, split=split)
    (folder / "meta.json").write_text(json.dumps({"cat_fields": list(cat), "num_fields": list(num)}))
    _damage(folder / "data.npz", name)
    return {"format": "npz", "path": f"data/{name}"}


def _write_parquet(made: Path, name: str) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    cat, num, label = _clicks(name)
    path = made / "data" / f"{name}.parquet"
    pq.write_table(pa.table({"click": label, **cat, **num}), path)
    _damage(path, name)
    return {
        "format": "parquet",
        "path": f"data/{name}.parquet",
        "label": "click",
        "categorical": list(cat),
        "numeric": list(num),
        "split": list(SPLIT),
    }


def _damage(path: Path, name: str) -> None:
    """`torn`: its last third is missing, as of a copy that was cut off. `flipped`: runs of its bytes are turned over,
    as on a bad disk."""
    whole = bytearray(path.read_bytes())
    if name == "torn":
        del whole[2 * len(whole) // 3 :]
    if name == "flipped":
        for begin in range(len(whole) // 32, len(whole) // 2, len(whole) // 16):
            for place in range(begin, begin + 64):
                whole[place] ^= 0xFF
    path.write_bytes(whole)
