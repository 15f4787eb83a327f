"""Reading one YAML config: the keys of the schema and no other, every value checked.

Keys are written out in full, but for those of DEFAULTS, which a config may leave out.
"""

import difflib
import math
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent

INTERACTIONS = (
    *("lr", "fm", "deepfm", "widedeep", "dlrm", "dcnv2", "autoint", "masknet", "finalmlp", "finalnet"),
    *("fwfm", "fmfm", "ffm", "fibinet", "gdcn", "edcn", "dcnv3", "afn", "wukong"),
)
# Of one stream whatever the settings; the others have two, which loss.auxiliary_weight can train singly.
SINGLE_STREAM = ("lr", "fm", "widedeep", "dlrm", "masknet", "ffm", "fibinet", "wukong")
TWO_STREAMS_WITH_MLP = ("dcnv2", "gdcn", "fwfm", "fmfm")  # without hidden layers one is left
NUMERIC_ENCODINGS = ("raw", "log", "standardize", "bucket", "log_bucket", "autodis", "ple", "periodic")


class ConfigError(Exception):
    """The config cannot be used; the message names the key and what was expected."""


Check = Callable[[object], object]

# Settings that a config may leave out: those that came after configs without them were in use. None changes a result.
DEFAULTS: dict[str, dict[str, object]] = {
    "features": {
        "numeric_both": False,
        "target_fields": "all",
        "target_prior": 20.0,
        "target_pairs": 0,
        "auto_crosses": 0,
        "cross_min_count": 0,
        "drop_fields": 0,
        "hash_rows": 0,
    },
    "model": {"embedding_sets": 1, "embedding_factor": 1, "pair_dim": 4, "mlp_residual": False},
    "optim": {"swa_from": 0.0, "cowclip": 0.0, "lookahead": 0},
    "loss": {"auxiliary_weight": 0.0},
    "train": {"checkpoint_s": 10.0},
}


def choice(*names: str) -> Check:
    def check(value: object) -> object:
        if value not in names:
            raise ValueError("one of " + ", ".join(names))
        return value

    return check


def number(low: float, high: float = math.inf) -> Check:
    def check(value: object) -> object:
        # YAML 1.1 reads 1e-3 (no dot) as a string, so strings are converted too.
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError("a number")
        try:
            result = float(value)
        except ValueError:
            raise ValueError("a number") from None
        if not low <= result <= high:
            raise ValueError(f"a number from {low:g} to {high:g}")
        return result

    return check


def integer(low: int) -> Check:
    def check(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < low:
            raise ValueError(f"a whole number, at least {low}")
        return int(value)

    return check


def hash_rows(value: object) -> object:
    """Table rows per field, of which half are shared by hashing; 0 means no limit."""
    rows = integer(0)(value)
    if 0 < rows < 16:
        raise ValueError("0 for no limit, or a whole number of rows, at least 16")
    return rows


def flag(value: object) -> object:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def text(value: object) -> object:
    if not isinstance(value, str) or not value:
        raise ValueError("a non-empty string")
    return value


def names(value: object) -> object:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError("a list of column names")
    return value


def fractions(value: object) -> object:
    if (
        not isinstance(value, list)
        or len(value) != 3
        or not all(isinstance(part, int | float) and 0 < part < 1 for part in value)
        or abs(sum(value) - 1) > 1e-9
    ):
        raise ValueError("three fractions [train, valid, test] that sum to 1")
    return value


def split(value: object) -> object:
    """Either a column holding train/valid/test, or three fractions of the rows in file order."""
    return text(value) if isinstance(value, str) else fractions(value)


def units(value: object) -> object:
    """Layer widths such as "256,128"; "" means no hidden layer."""
    widths = str(value)
    if isinstance(value, bool) or not all(
        part.strip().isdigit() and int(part) > 0 for part in widths.split(",") if widths
    ):
        raise ValueError('layer widths such as "256,128"')
    return widths


def crosses(value: object) -> object:
    """Field pairs such as "user*category,slot*device"; "" means none."""
    if not isinstance(value, str) or not all(part.count("*") == 1 for part in value.split(",") if value):
        raise ValueError('field pairs such as "user*category,slot*device", or "" for none')
    return value


DATA: dict[str, dict[str, Check]] = {
    "generated": {"rows": integer(1000), "seed": integer(0), "split": fractions},
    "npz": {"path": text},
    "criteo": {"path": text, "split": fractions},
    "csv": {"path": text, "label": text, "categorical": names, "numeric": names, "split": split},
    "parquet": {"path": text, "label": text, "categorical": names, "numeric": names, "split": split},
}

SECTIONS: dict[str, dict[str, Check]] = {
    "features": {
        "min_count": integer(1),
        "rare_mask": number(0, 0.99),
        "numeric_encoding": choice(*NUMERIC_ENCODINGS),
        "numeric_buckets": integer(2),
        "count_features": flag,
        "target_encoding": flag,
        "crosses": crosses,
        "numeric_both": flag,
        "target_fields": choice("all", "high"),
        "target_prior": number(0.1),
        "target_pairs": integer(0),
        "auto_crosses": integer(0),
        "cross_min_count": integer(0),
        "drop_fields": integer(0),
        "hash_rows": hash_rows,
    },
    "model": {
        "interaction": choice(*INTERACTIONS),
        "embedding_dim": integer(1),
        "embedding_init_std": number(0),
        "embedding_dropout": number(0, 0.99),
        "embedding_norm": choice("none", "layer", "batch"),
        "feature_gate": choice("none", "senet", "lhuc"),
        "wide_part": flag,
        "mlp_units": units,
        "dropout": number(0, 0.99),
        "normalization": choice("none", "batch", "layer"),
        "activation": choice("relu", "gelu", "prelu", "swiglu"),
        "cross_layers": integer(1),
        "cross_rank": integer(0),
        "members": integer(1),
        "precision": choice("fp32", "bf16"),
        "embedding_sets": integer(1),
        "embedding_factor": integer(1),
        "pair_dim": integer(1),
        "mlp_residual": flag,
    },
    "optim": {
        "optimizer": choice("adam", "adamw", "adagrad", "rowwise_adagrad", "rmsprop", "sgd"),
        "lr": number(0),
        "embedding_lr": number(0),
        "schedule": choice("constant", "cosine", "linear", "plateau"),
        "warmup": number(0, 1),
        "lr_floor": number(0, 1),
        "weight_decay": number(0),
        "embedding_l2": number(0),
        "gradient_clip": number(0),
        "ema_decay": number(0, 0.999999),
        "swa_from": number(0, 0.99),
        "cowclip": number(0),
        "lookahead": integer(0),
    },
    "loss": {
        "pairwise_weight": number(0),
        "label_smoothing": number(0, 0.99),
        "focal_gamma": number(0),
        "negative_keep": number(0.001, 1),
        "auxiliary_weight": number(0),
    },
    "train": {
        "batch_size": integer(2),
        "epochs": integer(1),
        "patience": integer(1),
        "reset_embeddings": flag,
        "checkpoint_s": number(0),
    },
    "calibration": {"method": choice("none", "platt", "isotonic", "validation"), "holdout": number(0.01, 0.5)},
}


def load(path: str | Path) -> dict[str, dict]:
    """The checked config as section -> key -> value, numbers converted.

    Raises ConfigError for an unreadable file, an unknown or missing key, a value out of range, or settings that rule
    each other out.
    """
    import yaml

    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected sections {', '.join(['data', *SECTIONS])}")
    return check(raw, str(path))


def check(raw: dict, path: str = "config") -> dict[str, dict]:
    known = ["data", *SECTIONS]
    _same_keys(raw, known, path, "")
    data = raw["data"]
    if not isinstance(data, dict) or data.get("format") not in DATA:
        raise ConfigError(f"{path}: data.format: expected one of {', '.join(DATA)}")
    schema = {"data": {"format": choice(*DATA), **DATA[data["format"]]}, **SECTIONS}
    result: dict[str, dict] = {}
    for section, keys in schema.items():
        values = raw[section]
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: {section}: expected a section with the keys {', '.join(keys)}")
        values = {**DEFAULTS.get(section, {}), **values}
        _same_keys(values, list(keys), path, section + ".")
        result[section] = {}
        for key, convert in keys.items():
            try:
                result[section][key] = convert(values[key])
            except ValueError as error:
                raise ConfigError(f"{path}: {section}.{key}: expected {error}, got {values[key]!r}") from None
    _check_together(result, path)
    return result


def _check_together(config: dict[str, dict], path: str) -> None:
    model, optim = config["model"], config["optim"]
    if optim["ema_decay"] > 0 and optim["swa_from"] > 0:
        raise ConfigError(f"{path}: optim.ema_decay and optim.swa_from: expected one average of weights; set one to 0")
    family = model["interaction"]
    single = family in SINGLE_STREAM or (family in TWO_STREAMS_WITH_MLP and not model["mlp_units"])
    if config["loss"]["auxiliary_weight"] > 0 and single and model["embedding_sets"] == 1:
        others = ", ".join(name for name in INTERACTIONS if name not in SINGLE_STREAM)
        raise ConfigError(
            f"{path}: loss.auxiliary_weight: {family} has a single stream here, nothing to weigh; set it to 0, "
            f"choose model.interaction of {others} with hidden layers, or use several model.embedding_sets"
        )


def _same_keys(found: dict, known: list[str], path: str, prefix: str) -> None:
    for key in found:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known keys: {', '.join(known)}"
            raise ConfigError(f"{path}: unknown key {prefix}{key}; {hint}")
    for key in known:
        if key not in found:
            raise ConfigError(f"{path}: missing key {prefix}{key}; every key is written out, copy it from configs/")
