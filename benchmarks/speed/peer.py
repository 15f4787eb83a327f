"""One training with FuxiCTR, an epoch at a time as the driver asks for it (run.py says how they talk).

    python peer.py '{"config": {...}, "seed": 1, "columns": "folder", "loader": "parquet", "form": "same"}'

Runs in an environment of its own that holds FuxiCTR. Training is FuxiCTR's own fit(), with its data loaders, early
stopping and checkpoints. Its package has no DLRM, no DeepFM and no DCNv2 without sequences, so these
are composed of its layers the way its repository does, with the initial values of the reference codebase.
"""

import json
import logging
import math
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.dataloaders import RankDataLoader
from fuxictr.pytorch.layers import (
    CrossNetV2,
    FactorizationMachine,
    FeatureEmbedding,
    InnerProductInteraction,
    MLP_Block,
)
from fuxictr.pytorch.models import BaseModel
from fuxictr.pytorch.torch_utils import seed_everything
from torch import Tensor, nn

LOADERS = ("parquet", "npz", "npz0", "memory")


class Model(BaseModel):
    """What the three have in common: timing around FuxiCTR's epoch, and the start of the reference codebase."""

    def __init__(self, features: FeatureMap, params: dict):
        super().__init__(features, **params)
        self.dim, self.params = params["embedding_dim"], params
        self.numeric = [name for name, spec in features.features.items() if spec["type"] == "numeric"]
        self.fields = len(features.features)
        init = f"partial(nn.init.normal_, std={params['init_std']})"
        self.embedding_layer = FeatureEmbedding(features, self.dim, embedding_initializer=init)
        self.build()
        self.compile(params["optimizer"], params["loss"], params["learning_rate"])
        self.reset_parameters()
        for name in self.numeric:
            nn.init.normal_(self.embedding_layer.embedding_layer.embedding_layers[name].weight, std=params["init_std"])
        nn.init.constant_(self.last().bias, params["bias"])
        self.model_to_device()
        self.valid_seconds, self.told_to_stop = 0.0, False

    def build(self) -> None:
        raise NotImplementedError

    def last(self) -> nn.Linear:
        raise NotImplementedError

    def mlp(self, inputs: int, outputs: int | None) -> MLP_Block:
        return MLP_Block(
            input_dim=inputs,
            output_dim=outputs,
            hidden_units=self.params["hidden_units"],
            hidden_activations="ReLU",
            output_activation=None,
            dropout_rates=self.params["net_dropout"],
            batch_norm=self.params["batch_norm"],
        )

    def train_epoch(self, data_generator) -> None:
        if sys.stdin.readline().strip() != "epoch":
            self._stop_training = self.told_to_stop = True
            return
        self.valid_seconds = 0.0
        cpu, begin = cpu_seconds(), time.perf_counter()
        super().train_epoch(data_generator)
        done = time.perf_counter()
        reply(
            {
                "train": done - begin - self.valid_seconds,
                "valid": self.valid_seconds,
                "cpu": cpu_seconds() - cpu,
                "logloss": self.valid_logloss,
                "stopped": self._stop_training or self._epoch_index + 1 == self.params["epochs"],
            }
        )

    def eval_step(self) -> None:
        begin = time.perf_counter()
        super().eval_step()
        self.valid_seconds += time.perf_counter() - begin

    def checkpoint_and_earlystop(self, logs, min_delta=1e-6) -> None:
        self.valid_logloss = float(logs["logloss"])
        super().checkpoint_and_earlystop(logs, min_delta)


class DCNv2(Model):
    def build(self) -> None:
        inputs = self.fields * self.dim
        self.crossnet = CrossNetV2(inputs, self.params["num_cross_layers"])
        self.parallel_dnn = self.mlp(inputs, None)
        self.fc = nn.Linear(inputs + self.params["hidden_units"][-1], 1)

    def last(self) -> nn.Linear:
        return self.fc

    def forward(self, inputs) -> dict[str, Tensor]:
        e = self.embedding_layer(self.get_inputs(inputs), flatten_emb=True)
        out = self.fc(torch.cat([self.crossnet(e), self.parallel_dnn(e)], dim=-1))
        return {"y_pred": self.output_activation(out)}


class DLRM(Model):
    """Form "same": the bottom MLP reads embedded numbers, as in the reference codebase. Form "zoo": it reads the
    numbers themselves and ends in a ReLU, as in FuxiCTR's repository; fewer products, and not the same model.
    """

    def build(self) -> None:
        zoo = self.params["form"] == "zoo"
        fields = self.fields - len(self.numeric) + bool(self.numeric)
        if self.numeric:
            self.bottom_mlp = MLP_Block(
                input_dim=len(self.numeric) * (1 if zoo else self.dim),
                output_dim=self.dim,
                hidden_units=[64],
                hidden_activations="ReLU",
                output_activation="ReLU" if zoo else None,
            )
        self.interact = InnerProductInteraction(fields, output="inner_product")
        self.top_mlp = self.mlp(fields * (fields - 1) // 2 + (self.dim if self.numeric else 0), 1)

    def last(self) -> nn.Linear:
        return self.top_mlp.mlp[-1]

    def forward(self, inputs) -> dict[str, Tensor]:
        x = self.get_inputs(inputs)
        if not self.numeric:
            return {"y_pred": self.output_activation(self.top_mlp(self.interact(self.embedding_layer(x))))}
        if self.params["form"] == "zoo":
            numbers = torch.stack([x[name].float() for name in self.numeric], dim=-1)
            e = self.embedding_layer({name: column for name, column in x.items() if name not in self.numeric})
        else:
            e = self.embedding_layer(x)
            numbers = e[:, -len(self.numeric) :].flatten(start_dim=1)
            e = e[:, : -len(self.numeric)]
        dense = self.bottom_mlp(numbers)
        dots = self.interact(torch.cat([e, dense.unsqueeze(1)], dim=1))
        return {"y_pred": self.output_activation(self.top_mlp(torch.cat([dots, dense], dim=-1)))}


class DeepFM(Model):
    def build(self) -> None:
        self.fm = FactorizationMachine(self.feature_map)
        self.deep = self.mlp(self.fields * self.dim, 1)

    def last(self) -> nn.Linear:
        return self.deep.mlp[-1]

    def forward(self, inputs) -> dict[str, Tensor]:
        x = self.get_inputs(inputs)
        e = self.embedding_layer(x)
        return {"y_pred": self.output_activation(self.fm(x, e) + self.deep(e.flatten(start_dim=1)))}


class MemoryLoader:
    """Columns as tensors in memory and batches by index: what FuxiCTR costs without its data loading."""

    def __init__(self, features: FeatureMap, path: str, batch_size: int, shuffle: bool, **_):
        arrays = np.load(path if path.endswith(".npz") else path + ".npz")
        self.columns = {name: torch.from_numpy(arrays[name]) for name in [*features.features, *features.labels]}
        self.batch_size, self.shuffle, self.num_blocks = batch_size, shuffle, 1
        self.num_samples = len(arrays[features.labels[0]])

    def __len__(self) -> int:
        return math.ceil(self.num_samples / self.batch_size)

    def __iter__(self):
        order = torch.randperm(self.num_samples) if self.shuffle else torch.arange(self.num_samples)
        for part in order.split(self.batch_size):
            yield {name: column.index_select(0, part) for name, column in self.columns.items()}


def main() -> None:
    task = json.loads(sys.argv[1])
    config, folder = task["config"], Path(task["columns"])
    torch.set_num_threads(2)
    logging.disable(logging.CRITICAL)
    seed_everything(task["seed"])
    features = feature_map(folder)
    with tempfile.TemporaryDirectory() as checkpoints:
        (Path(checkpoints) / features.dataset_id).mkdir()
        model = {"dcnv2": DCNv2, "dlrm": DLRM, "deepfm": DeepFM}[config["model"]["interaction"]](
            features, model_params(task, checkpoints, float(np.load(folder / "train.npz")["label"].mean()))
        )
        loader = loader_params(task["loader"], folder, config["train"]["batch_size"])
        train, valid = RankDataLoader(features, stage="train", shuffle=True, **loader)
        # Frozen parameters are FuxiCTR's bookkeeping (masks of indices), not weights.
        parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
        reply({"parameters": parameters, "rows": {"train": train.num_samples, "valid": valid.num_samples}})
        model.fit(
            train,
            epochs=config["train"]["epochs"],
            validation_data=valid,
            max_gradient_norm=config["optim"]["gradient_clip"],
        )
        if not model.told_to_stop:
            sys.stdin.readline()
        model.validation_metrics = ["AUC", "logloss"]
        scores = model.evaluate(RankDataLoader(features, stage="test", shuffle=False, **loader))
    reply({"auc": float(scores["AUC"]), "logloss": float(scores["logloss"])})


def reply(values: dict) -> None:
    print("@", json.dumps(values), flush=True)


def cpu_seconds() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def feature_map(folder: Path) -> FeatureMap:
    features = FeatureMap(folder.name, str(folder))
    features.labels = ["label"]
    for name, spec in json.loads((folder / "fields.json").read_text(encoding="utf-8")).items():
        features.features[name] = {"source": "", **spec, **({"padding_idx": 0} if "vocab_size" in spec else {})}
    features.num_fields = features.get_num_fields()
    features.total_features = sum(spec.get("vocab_size", 1) for spec in features.features.values())
    features.set_column_index()
    return features


def model_params(task: dict, checkpoints: str, rate: float) -> dict:
    """FuxiCTR's names for the settings of the reference codebase."""
    model, optim, train = (task["config"][section] for section in ("model", "optim", "train"))
    return {
        "model_id": model["interaction"],
        "form": task["form"],
        "gpu": -1,
        "embedding_dim": model["embedding_dim"],
        "init_std": model["embedding_init_std"],
        "bias": math.log(rate / (1 - rate)),
        "hidden_units": [int(width) for width in str(model["mlp_units"]).split(",")],
        "net_dropout": model["dropout"],
        "batch_norm": model["normalization"] == "batch",
        "num_cross_layers": model["cross_layers"],
        "optimizer": optim["optimizer"],
        "learning_rate": optim["lr"],
        "loss": "binary_crossentropy",
        "embedding_regularizer": float(optim["embedding_l2"]) or None,
        "net_regularizer": None,
        "epochs": train["epochs"],
        "early_stop_patience": train["patience"],
        "monitor": "logloss",
        "monitor_mode": "min",
        "reduce_lr_on_plateau": optim["schedule"] == "plateau",
        "metrics": ["logloss"],
        "verbose": 0,
        "model_root": checkpoints,
    }


def loader_params(loader: str, folder: Path, batch_size: int) -> dict:
    """parquet and npz as FuxiCTR has them; npz0 is npz without a worker process; memory is MemoryLoader."""
    params = {f"{name}_data": str(folder / name) for name in ("train", "valid", "test")} | {"batch_size": batch_size}
    if loader == "parquet":
        import pandas

        for name in ("train", "valid", "test"):
            arrays = np.load(folder / f"{name}.npz")
            pandas.DataFrame({column: arrays[column] for column in arrays.files}).to_parquet(folder / f"{name}.parquet")
            params[f"{name}_data"] += ".parquet"
        return params | {"data_format": "parquet"}
    if loader == "memory":
        return params | {"data_loader": MemoryLoader}
    params |= {f"{name}_data": str(folder / f"{name}.npz") for name in ("train", "valid", "test")}
    return params | {"data_format": "npz", "num_workers": 0 if loader == "npz0" else 1}


if __name__ == "__main__":
    main()
