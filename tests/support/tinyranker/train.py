"""A click model small enough to train in a blink: a teacher's logits plus an error whose size depends on the recipe.

python train.py --config config.toml --seed 1
"""

import argparse
import array
import hashlib
import json
import math
import os
import random
import sys
import tomllib
from pathlib import Path

import data
import metrics
from faults import RUN, Fault


def error(config, seed, epoch):
    """Variance of the model's logits around the teacher's after this many epochs."""
    optim, model, features = config["optim"], config["model"], config["features"]
    size = 0.04 + 0.1 * math.log10(optim["lr"] / 0.01) ** 2
    size += 0.08 if not optim["embedding_l2"] else min(0.08, 0.024 * math.log10(optim["embedding_l2"] / 1e-5) ** 2)
    size += {"constant": 0.05, "linear": 0.015, "cosine": 0.0, "plateau": 0.04}[optim["schedule"]]
    size += {"raw": 0.06, "log": 0.0, "log_bucket": 0.01, "standardize": 0.05}[features["numeric_encoding"]]
    size += {"none": 0.0, "batch": 0.004, "layer": 0.05}[model["normalization"]]
    size += 0.6 * (model["dropout"] - 0.2) ** 2 + 0.02 * math.log2(model["embedding_dim"] / 16) ** 2
    size += 0.2 * config["loss"]["label_smoothing"] - (0.006 if optim["ema_decay"] > 0 else 0.0)
    size *= config["surface"]["effects"]
    size += config["surface"]["floor"]
    recipe = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    noise = config["surface"]["noise"]
    size += noise * random.Random(seed).gauss(0, 1) + noise * random.Random(f"{recipe}/{seed}").gauss(0, 1)
    overfit = 0.004 * max(0, epoch - 4) * (not optim["embedding_l2"])
    return max(1e-4, size + 0.6 * math.exp(-1.6 * epoch) + overfit)


def predictions(split, size):
    logits, _, directions = split
    scale = math.sqrt(size)
    return [metrics.sigmoid(z + scale * u) for z, u in zip(logits, directions, strict=True)]


def save(path, values):
    """One-dimensional float64 array in NumPy's format, version 1.0."""
    head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({len(values)},), }}"
    head += " " * (64 - (10 + len(head) + 1) % 64) + "\n"
    with path.open("wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode())
        array.array("d", values).tofile(file)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--epochs", type=int, help="no more than these")
    args = parser.parse_args()
    RUN.mkdir(parents=True, exist_ok=True)
    config = tomllib.loads(Path(args.config).read_text())
    fault = Fault(config)
    if fault.is_("ignore") or fault.is_("ignore_openly"):
        config = tomllib.loads(Path("config.toml").read_text())
    splits = {name: data.load(name) for name in data.SPLITS}
    with Path(os.environ.get("REA_METRICS", RUN / "metrics.jsonl")).open("a", buffering=1) as out:
        if fault.is_("mute"):
            return
        if fault.is_("stdout"):
            out = sys.stdout
        if fault.is_("garbage"):
            out.buffer.write(bytes(range(256)) * 40)
            return
        if not fault.is_("ignore"):
            shown = {k: v for k, v in config.items() if k not in ("fault", "surface")}
            print(json.dumps({"config": shown}), file=out)
        best = None
        for epoch in range(1, (args.epochs or config["train"]["epochs"]) + 1):
            fault.strike(epoch)
            size = error(config, 1 if fault.is_("seedless") else args.seed, epoch)
            labels = splits["valid"][1]
            found = metrics.summarise(fault.predicted(predictions(splits["valid"], size), labels), labels)
            found = fault.reading(found, epoch)
            behind = 0.012 * epoch if not config["optim"]["embedding_l2"] else 0.003 * epoch
            line = {"epoch": epoch, "split": "valid", **found, "train_ne": found["ne"] * (1 - 0.01 - behind)}
            print(json.dumps(line), file=out)
            if best is None or not found["ne"] >= best[0]:
                best = (found["ne"], size, found)
        for name, split in splits.items():
            values = fault.predicted(predictions(split, best[1]), split[1])
            if not fault.is_("no_predictions"):
                save(RUN / f"predictions_{name}.npy", values[:-1] if fault.is_("short") else values)
        if fault.is_("cheat"):
            best[2]["ne"] *= 0.9
        if fault.is_("miscount"):
            best[2]["rows"] = 50000
        rows = {"train_rows": 50000, "positive_rate": sum(splits["valid"][1]) / data.ROWS}
        print(json.dumps({"final": True, "split": "valid", **best[2], **rows}), file=out)


if __name__ == "__main__":
    main()
