"""Train one click model from one YAML config and write its predictions.

python train.py --config configs/generated_dcnv2.yaml --seed 1

Environment: REA_RUN_DIR, where predictions and checkpoints go (default runs/<time>); REA_METRICS, the file that metric
lines are appended to (default metrics.jsonl there); REA_SEED, which --seed overrides; REA_RESUME, a checkpoint to go on
from; OMP_NUM_THREADS, the number of threads. The same config, seed and number of threads give the same bits, however
often a run was broken off and went on. No label of the test split is used.
"""

import argparse
import dataclasses
import functools
import json
import math
import os
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import calibration
import checkpoints
import config as config_file
import data
import losses
import metrics
import numpy as np
import torch
from features import Encoded, Features
from models import Ranker, init_table, row_width
from optim import Average, ColumnClip, EvenAverage, Optimizer, Schedule, flatten, scatter_rows
from torch import Tensor

START = time.perf_counter() - time.process_time()  # what the imports took belongs to the run
EVAL_ROWS = 8192  # rows per forward pass without gradients: large enough to be fast, small enough to stay in cache


class DivergenceError(Exception):
    """The training loss is not finite; the message says at which step."""

    def __init__(self, step: int):
        super().__init__(f"loss is not finite at step {step}")


class Batches:
    """The rows of one split as tensors."""

    def __init__(self, encoded: Encoded, labels: np.ndarray | None):
        self.ids, self.numbers = torch.from_numpy(encoded.ids), torch.from_numpy(encoded.num)
        self.labels = None if labels is None else torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.ids.index_select(0, index), self.numbers.index_select(0, index)

    def checksum(self, before: int = 0) -> int:
        """Of everything that training and validation read, after that of `before`."""
        for part in (self.ids, self.numbers, self.labels):
            before = before if part is None else zlib.crc32(np.ascontiguousarray(part.numpy()), before)
        return before


def average(settings: dict, steps: int, values: list[torch.Tensor]) -> Average | None:
    """The average of weights that the optimiser's settings ask for, over a run of so many steps."""
    if settings["ema_decay"] > 0:
        return Average(settings["ema_decay"], values)
    if settings["swa_from"] > 0:
        return EvenAverage(round(settings["swa_from"] * steps), values)
    return None


@dataclass
class Pass:
    """Where an epoch stands. `random` is the generator from before its rows were put in order: their order again."""

    random: Tensor
    steps: int = 0
    loss: float = 0.0  # summed over rows


class Trainer:
    """Model, table, optimiser and random numbers of one run."""

    def __init__(self, config: dict, features: Features, rows: Batches, steps_per_epoch: int):
        self.config, self.rows = config, rows
        settings = config["model"]
        rate = float(rows.labels.mean())
        self.model = Ranker(settings, features.shape, math.log(rate / (1 - rate)))
        self.dense, self.dense_gradient = flatten(self.model)
        self.table = torch.empty(
            max(1, features.shape.table_rows), settings["members"] * row_width(settings, features.shape)
        )
        self.table_gradient = torch.zeros_like(self.table)
        init_table(self.table, settings)
        self.optimizer = Optimizer(
            config["optim"], (self.dense, self.dense_gradient), (self.table, self.table_gradient)
        )
        steps = steps_per_epoch * config["train"]["epochs"]
        self.schedule = Schedule(config["optim"], steps)
        self.average = average(config["optim"], steps, [self.dense, self.table])
        ratio = config["optim"]["cowclip"]
        self.clip = ColumnClip(self.table, ratio, settings["members"]) if ratio > 0 else None
        self.oov = torch.from_numpy(features.oov)
        masked = config["features"]["rare_mask"] > 0
        self.mask_probability = torch.from_numpy(features.mask_probability) if masked else None
        keep = config["loss"]["negative_keep"]
        self.entropy = metrics.entropy(rate / (rate + (1 - rate) * keep))
        self.steps_per_epoch, self.step, self.factor = steps_per_epoch, 0, 1.0
        self.passed: Pass | None = None  # None between epochs

    def look_up(self, ids: torch.Tensor) -> torch.Tensor:
        return self.table.index_select(0, ids.view(-1)).view(*ids.shape, -1)

    def epoch(self, first: bool, between: Callable[[], None] | None = None) -> tuple[float, int]:
        """One pass over the rows in a new random order; mean log loss over the pass, and the rows seen.

        After set_state() in mid-epoch, what is left of that pass. `between` is called between steps.
        """
        if self.passed is None:
            if self.config["train"]["reset_embeddings"] and not first:
                self.reset_embeddings()
            self.passed = Pass(torch.get_rng_state())
            order = self.one_epoch_order()
        else:
            now = torch.get_rng_state()
            torch.set_rng_state(self.passed.random)
            order = self.one_epoch_order()
            torch.set_rng_state(now)
        self.model.train()
        for i in range(self.passed.steps, self.steps_per_epoch):
            if between is not None and i > 0:
                between()
            # Steps of equal size, so that no epoch ends on a tiny batch.
            begin, end = (len(order) * k // self.steps_per_epoch for k in (i, i + 1))
            self.passed.loss += self.train_step(order[begin:end]) * (end - begin)
            self.passed.steps += 1
        self.optimizer.look_back()  # what is judged are the slow weights
        loss, self.passed = self.passed.loss, None
        return loss / len(order), len(order)

    def one_epoch_order(self) -> torch.Tensor:
        order = torch.randperm(len(self.rows))
        keep = self.config["loss"]["negative_keep"]
        if keep < 1:
            chosen = (self.rows.labels > 0.5) | (torch.rand(len(self.rows)) < keep)
            order = order[chosen[order]]
        return order

    def train_step(self, index: torch.Tensor) -> float:
        """One update on these rows; their mean log loss before it."""
        ids, numbers = self.rows.rows(index)
        labels = self.rows.labels.index_select(0, index)
        if self.mask_probability is not None:
            ids = torch.where(torch.rand(ids.shape) < self.mask_probability[ids], self.oov, ids)
        embedded = self.look_up(ids).requires_grad_()
        if self.config["loss"]["auxiliary_weight"] > 0:
            logits, streams = self.model.streams(embedded, numbers)
        else:
            logits, streams = self.model(embedded, numbers), None
        keep = self.config["loss"]["negative_keep"]
        if keep < 1:
            # Dropping non-clicks multiplies the odds by 1 / keep; the model learns the odds of the full log.
            logits = logits - math.log(keep)
            streams = None if streams is None else streams - math.log(keep)
        loss = losses.training_loss(logits, labels, self.config["loss"], streams)
        if not math.isfinite(loss.item()):
            raise DivergenceError(self.step)
        self.dense_gradient.zero_()
        loss.backward()
        scatter_rows(self.table_gradient, ids.view(-1), embedded.grad.view(-1, self.table.shape[1]), self.clip)
        self.factor = self.schedule.factor(self.step)
        self.optimizer.step(self.factor)
        self.step += 1
        if self.average:
            self.average.update()
        with torch.inference_mode():
            return losses.log_loss(logits.detach(), labels).item()

    def reset_embeddings(self) -> None:
        """A new table, the dense layers kept: multi-epoch training without memorised ids (MEDA; Fan et al. 2023)."""
        init_table(self.table, self.config["model"])
        self.optimizer.reset(self.optimizer.table)
        if self.average:
            self.average.restart(1)

    def predict(self, rows: Batches) -> np.ndarray:
        """Click probabilities, float64 [n]: the mean over members, with averaged weights where they are kept."""
        self.model.eval()
        averaged = self.average is not None and self.average.active
        if averaged:
            self.average.swap()
        parts = []
        with torch.inference_mode():
            for begin in range(0, len(rows), EVAL_ROWS):
                part = slice(begin, begin + EVAL_ROWS)
                logits = self.model(self.look_up(rows.ids[part]), rows.numbers[part])
                parts.append(torch.sigmoid(logits.double()).mean(1))
        if averaged:
            self.average.swap()
        return torch.cat(parts).numpy()

    def weights(self) -> list[torch.Tensor]:
        """What predict() reads, to be copied: dense weights, table, and the statistics of batch normalisation."""
        trained = self.average.means if self.average and self.average.active else [self.dense, self.table]
        return [*trained, *self.model.buffers()]

    def restore(self, weights: list[torch.Tensor]) -> None:
        for now, then in zip(self.weights(), weights, strict=True):
            now.copy_(then)

    def state(self) -> dict:
        """All that training goes on from, the random generator included. Its tensors are no copies."""
        average = self.average
        return {
            "tensors": self._tensors(),
            "random": torch.get_rng_state(),
            "pass": None if self.passed is None else dataclasses.asdict(self.passed),
            "step": self.step,
            "plateau": self.schedule.plateau,
            "optimizer_steps": self.optimizer.steps,
            "average_steps": 0 if average is None else average.steps,
            "average_counts": average.counts if isinstance(average, EvenAverage) else [],
        }

    def set_state(self, path: Path, state: dict) -> None:
        """Goes back to where state() was called. Raises CheckpointError where it was another model's; names `path`."""
        checkpoints.put_back(path, self._tensors(), state["tensors"])
        self.passed = None if state["pass"] is None else Pass(**state["pass"])
        self.step = state["step"]
        self.schedule.plateau, self.optimizer.steps = state["plateau"], state["optimizer_steps"]
        if self.average is not None:
            self.average.steps = state["average_steps"]
        if isinstance(self.average, EvenAverage):
            self.average.counts = state["average_counts"]
        torch.set_rng_state(state["random"])

    def _tensors(self) -> list[Tensor]:
        """Every tensor that training changes, but for gradients, which each step sets anew."""
        found = [self.dense, self.table, *self.model.buffers()]
        for slot in self.optimizer.slots:
            found += [*slot.state, *([] if slot.slow is None else [slot.slow])]
        return [*found, *(self.average.means if self.average else [])]


@dataclass
class Progress:
    """How far a run has come. With the trainer's state it is what a checkpoint holds."""

    epochs: int = 0
    examples: int = 0
    best_ne: float = math.inf
    best_epoch: int = 0
    best_weights: list[Tensor] = field(default_factory=list)
    readings: list[dict] = field(default_factory=list)  # metric lines of every epoch
    seconds: float = 0.0  # before this process


def train(config: dict, seed: int, run_dir: Path, log, resume: Path | None = None, batches: int | None = None) -> None:
    """Trains until `epochs` are done or `patience` epochs brought no better validation NE; keeps the best epoch.

    `resume` is a checkpoint of the same run: it goes on from there, logs what was logged before, and ends as it would
    have without a break. Raises CheckpointError where the checkpoint is none of this run. `batches`: one epoch over so
    many batches, and everything after it as ever; for a look at whether it all works.
    """
    saved = None if resume is None else checkpoints.load(resume)
    torch.manual_seed(seed)
    logs = data.load(config["data"], labelled=["train", "valid"])
    # Which fields to leave out is decided on inputs of the visible split, too; its labels stay out of it.
    features = Features(config["features"], logs["train"], dataclasses.replace(logs["valid"], y=None, teacher=None))
    splits = {name: Batches(features.encode(part), part.y) for name, part in logs.items()}
    fitting = splits["train"]
    holdout = None
    method = config["calibration"]["method"]
    if method in ("platt", "isotonic"):
        fitting, holdout = hold_out(splits["train"], config["calibration"]["holdout"])

    epochs = config["train"]["epochs"]
    if batches is not None:
        epochs = 1
        fitting, _ = split_at(fitting, min(len(fitting), batches * config["train"]["batch_size"]))
    steps = math.ceil(len(fitting) / config["train"]["batch_size"])
    trainer = Trainer(config, features, fitting, steps)
    valid_labels = logs["valid"].y
    done = Progress()
    keeper = checkpoints.Checkpoints(run_dir, config["train"]["checkpoint_s"])

    def seconds() -> float:
        return done.seconds + time.perf_counter() - START

    def save_if_due() -> None:
        if keeper.due():
            progress = {**vars(done), "seconds": seconds()}
            keeper.save(trainer.step, {"run": run(), "trainer": trainer.state(), "progress": progress})

    @functools.cache
    def run() -> dict[str, object]:
        return {**identity(config, seed, splits), "batches": batches}

    if saved is not None:
        checkpoints.same_run(resume, saved["run"], run())
        trainer.set_state(resume, saved["trainer"])
        done = Progress(**saved["progress"])
        for reading in done.readings:
            log(reading)
        log({"resumed": str(resume), "step": trainer.step, "epoch": done.epochs + 1})

    while done.epochs < epochs and done.epochs - done.best_epoch < config["train"]["patience"]:
        epoch = done.epochs + 1
        try:
            train_loss, seen = trainer.epoch(first=epoch == 1, between=save_if_due)
        except DivergenceError:
            log({"step": trainer.step, "epoch": epoch, "split": "valid", "ne": math.nan})
            raise
        done.epochs, done.examples = epoch, done.examples + seen
        probabilities = trainer.predict(splits["valid"])
        if method == "validation":
            probabilities = calibration.fit(method, probabilities, valid_labels)(probabilities)
        scores = metrics.summarise(probabilities, valid_labels)
        reading = {
            "step": trainer.step,
            "epoch": epoch,
            "split": "valid",
            **scores,
            "train_ne": train_loss / trainer.entropy,
            "examples": done.examples,
            "seconds": round(seconds(), 3),
            "lr": config["optim"]["lr"] * trainer.factor,
        }
        log(reading)
        done.readings.append(reading)
        improved = scores["ne"] < done.best_ne
        trainer.schedule.epoch_ended(improved)
        if improved:
            done.best_ne, done.best_epoch = scores["ne"], epoch
            done.best_weights = [weight.clone() for weight in trainer.weights()]
        save_if_due()
    if not done.best_epoch:
        log({"step": trainer.step, "split": "valid", "ne": math.nan})
        raise DivergenceError(trainer.step)

    trainer.restore(done.best_weights)
    predictions = {name: trainer.predict(splits[name]) for name in ("valid", "test")}
    if holdout is None:
        calibrate = calibration.fit(method, predictions["valid"], valid_labels)
    else:
        calibrate = calibration.fit(method, trainer.predict(holdout), holdout.labels.numpy().astype(np.float64))
    predictions = {name: calibrate(found).astype(np.float32) for name, found in predictions.items()}
    run_dir.mkdir(parents=True, exist_ok=True)
    for name, probabilities in predictions.items():
        np.save(run_dir / f"predictions_{name}.npy", probabilities)
    log(
        {
            "final": True,
            "split": "valid",
            **metrics.summarise(predictions["valid"], valid_labels),
            "epoch": done.best_epoch,
            "examples": done.examples,
            "seconds": round(seconds(), 3),
            "parameters": trainer.dense.numel() + trainer.table.numel(),
            "train_rows": len(fitting),
        }
    )


def identity(config: dict, seed: int, splits: dict[str, Batches]) -> dict[str, object]:
    """What makes a run this run, by name: every setting that has a part in its result, the seed, and the data."""
    found = {f"{section}.{key}": value for section, keys in config.items() for key, value in keys.items()}
    del found["train.checkpoint_s"]
    found |= {f"rows of {name}": len(rows) for name, rows in splits.items()}
    total = 0
    for rows in splits.values():
        total = rows.checksum(total)
    return {**found, "seed": seed, "checksum of all rows": f"{total:08x}"}


def hold_out(rows: Batches, fraction: float) -> tuple[Batches, Batches]:
    """The last `fraction` of the train rows is kept from training, for calibration.

    In a log in time order these are the rows nearest to the validation split. Calibrating on the validation split
    itself would flatter every validation metric.
    """
    return split_at(rows, len(rows) - max(1, round(len(rows) * fraction)))


def split_at(rows: Batches, cut: int) -> tuple[Batches, Batches]:
    """The first `cut` rows, and the others."""
    parts = []
    for part in (slice(0, cut), slice(cut, len(rows))):
        encoded = Encoded(rows.ids[part].numpy(), rows.numbers[part].numpy())
        parts.append(Batches(encoded, rows.labels[part].numpy()))
    return parts[0], parts[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file with every setting, see configs/")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("REA_SEED", "0")), help="seed of this run")
    parser.add_argument("--batches", type=int, metavar="N", help="train on N batches only, to see whether it all works")
    args = parser.parse_args()
    if "OMP_NUM_THREADS" in os.environ:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"].split(",")[0]))
    run_dir = Path(os.environ.get("REA_RUN_DIR") or config_file.HERE / "runs" / time.strftime("%Y%m%d-%H%M%S"))
    metrics_file = Path(os.environ.get("REA_METRICS") or run_dir / "metrics.jsonl")
    resume = Path(os.environ["REA_RESUME"]) if os.environ.get("REA_RESUME") else None

    try:
        config = config_file.load(args.config)
        metrics_file.parent.mkdir(parents=True, exist_ok=True)
        # The readings up to a checkpoint are in it, and those after it come again: none may be there twice.
        with metrics_file.open("a" if resume is None else "w", encoding="utf-8") as out:

            def log(record: dict) -> None:
                print(json.dumps(record), file=out, flush=True)
                print(
                    " ".join(f"{k}={v:.6g}" if isinstance(v, float) else f"{k}={v}" for k, v in record.items()),
                    flush=True,
                )

            log({"config": config, "seed": args.seed, "threads": torch.get_num_threads()})
            train(config, args.seed, run_dir, log, resume, args.batches)
    except config_file.ConfigError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    except (DivergenceError, checkpoints.CheckpointError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
