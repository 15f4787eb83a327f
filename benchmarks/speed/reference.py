"""One training of the reference codebase, an epoch at a time as the driver asks for it (run.py says how they talk).

    python reference.py '{"config": {...}, "seed": 1, "columns": "folder or null"}'

Follows train.py's train() step by step; it is taken apart here so that training and validation are timed separately.
With "columns", the encoded rows are also written there for the peer: <split>.npz with one array per field, fields.json.
"""

import json
import math
import resource
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples" / "ads_ranker"))

import config as config_file  # noqa: E402
import data  # noqa: E402
import limit  # noqa: E402
import metrics  # noqa: E402
import numpy as np  # noqa: E402
from features import Encoded, Features  # noqa: E402
from train import Batches, Trainer  # noqa: E402

SPLITS = ("train", "valid", "test")


def main() -> None:
    task = json.loads(sys.argv[1])
    config = config_file.check(task["config"])
    torch.set_num_threads(2)
    torch.manual_seed(task["seed"])
    logs = data.load(config["data"], labelled=SPLITS)
    features = Features(config["features"], logs["train"])
    encoded = {name: features.encode(part) for name, part in logs.items()}
    # FuxiCTR has no embedding for a missing number: there it is 0, so it is here.
    encoded = {name: Encoded(part.ids, np.nan_to_num(part.num)) for name, part in encoded.items()}
    labels = {name: part.y for name, part in logs.items()}
    if task["columns"]:
        write_columns(Path(task["columns"]), features, encoded, labels)
    rows = {name: Batches(encoded[name], labels[name]) for name in SPLITS}
    batch = config["train"]["batch_size"]
    trainer = Trainer(config, features, rows["train"], math.ceil(len(rows["train"]) / batch))
    parameters = trainer.dense.numel() + trainer.table.numel()
    reply({"parameters": parameters, "rows": {name: len(part) for name, part in rows.items()}})

    best, best_weights, worse = math.inf, trainer.weights(), 0
    for epoch, order in enumerate(iter(sys.stdin.readline, "")):
        if order.strip() != "epoch":
            break
        cpu, begin = cpu_seconds(), time.perf_counter()
        trainer.epoch(first=epoch == 0)
        trained, cpu_trained = time.perf_counter(), cpu_seconds()
        scores = metrics.summarise(trainer.predict(rows["valid"]), labels["valid"])
        improved = scores["ne"] < best
        trainer.schedule.epoch_ended(improved)
        if improved:
            best, worse, best_weights = scores["ne"], 0, [weight.clone() for weight in trainer.weights()]
        else:
            worse += 1
        done = time.perf_counter()
        reply(
            {
                "train": trained - begin,
                "valid": done - trained,
                "cpu": cpu_seconds() - cpu,
                "cpu_train": cpu_trained - cpu,
                "logloss": scores["logloss"],
                "stopped": worse >= config["train"]["patience"] or epoch + 1 == config["train"]["epochs"],
            }
        )
    trainer.restore(best_weights)
    scores = metrics.summarise(trainer.predict(rows["test"]), labels["test"])
    floor = limit.seconds_per_epoch(config, features.shape, rows["train"].ids, trainer.steps_per_epoch)
    reply({"auc": scores["auc"], "logloss": scores["logloss"], "limit": floor})


def reply(values: dict) -> None:
    print("@", json.dumps(values), flush=True)


def cpu_seconds() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def write_columns(folder: Path, features: Features, encoded: dict[str, Encoded], labels: dict[str, np.ndarray]) -> None:
    """Field-local ids in FuxiCTR's numbering: 0 is padding that no row has, rare and unseen ids share the last."""
    folder.mkdir(parents=True, exist_ok=True)
    ends = [*features.oov[1:], features.shape.table_rows]
    sizes = [int(end - start) for start, end in zip(features.oov, ends, strict=True)]
    for name, part in encoded.items():
        local = part.ids - features.oov
        columns = {f"c{i}": np.where(local[:, i] == 0, size, local[:, i]) for i, size in enumerate(sizes)}
        columns |= {f"n{i}": column for i, column in enumerate(part.num.T)}
        np.savez(folder / f"{name}.npz", **columns, label=labels[name])
    fields = {f"c{i}": {"type": "categorical", "vocab_size": size + 1} for i, size in enumerate(sizes)}
    fields |= {f"n{i}": {"type": "numeric"} for i in range(encoded["train"].num.shape[1])}
    (folder / "fields.json").write_text(json.dumps(fields), encoding="utf-8")


if __name__ == "__main__":
    main()
