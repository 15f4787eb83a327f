"""Click logs in memory: one Log per split, whatever the file format."""

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from config import HERE, ConfigError

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, slots=True)
class Log:
    """Rows of one split, in the order of the source.

    cat: int32 [n, Fc], field-local ids, 0 = missing. num: float32 [n, Fn], NaN = missing. y: float32 [n] of 0 and 1, or
    None where labels were not asked for. teacher: float64 [n] true click probabilities, known for generated logs only.
    """

    cat: np.ndarray
    num: np.ndarray
    y: np.ndarray | None
    teacher: np.ndarray | None
    cat_fields: tuple[str, ...]
    num_fields: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.cat)


def load(data: dict, labelled: Iterable[str]) -> dict[str, Log]:
    """All three splits of the `data` section of a config; labels only for the splits named in `labelled`.

    Raises ConfigError when the data cannot be read or are not what the config says.
    """
    form = data["format"]
    if form == "generated":
        return _generated(data, set(labelled))
    path = Path(data["path"])
    path = path if path.is_absolute() else HERE / path
    if not path.exists():
        raise ConfigError(f"data.path: {path} does not exist; put or link the data there (see README.md)")
    reader = {"npz": _npz, "criteo": _criteo, "csv": _csv, "parquet": _parquet}[form]
    return reader(path, data, set(labelled))


def _in_order(rows: int, fractions: list[float]) -> dict[str, slice]:
    first, second = round(rows * fractions[0]), round(rows * (fractions[0] + fractions[1]))
    return {"train": slice(0, first), "valid": slice(first, second), "test": slice(second, rows)}


def _parts(
    where: dict[str, slice] | dict[str, np.ndarray],
    cat: np.ndarray,
    num: np.ndarray,
    y: np.ndarray,
    labelled: set[str],
    cat_fields: tuple[str, ...],
    num_fields: tuple[str, ...],
    teacher: np.ndarray | None = None,
) -> dict[str, Log]:
    logs = {}
    for name, rows in where.items():
        known = name in labelled
        labels = y[rows].astype(np.float32) if known else None
        if labels is not None and not np.isin(labels, (0, 1)).all():
            raise ConfigError(f"data: labels of the {name} split must be 0 or 1")
        logs[name] = Log(
            np.ascontiguousarray(cat[rows]),
            np.ascontiguousarray(num[rows]),
            labels,
            teacher[rows] if teacher is not None and known else None,
            cat_fields,
            num_fields,
        )
        if not len(logs[name]):
            raise ConfigError(f"data: the {name} split has no rows")
    return logs


def _generated(data: dict, labelled: set[str]) -> dict[str, Log]:
    from generate import CATEGORICAL, NUMERIC, click_log

    cat, num, y, teacher = click_log(data["rows"], data["seed"])
    where = _in_order(data["rows"], data["split"])
    cats, nums = np.stack([cat[f] for f in CATEGORICAL], 1), np.stack([num[f] for f in NUMERIC], 1)
    return _parts(where, cats, nums, y, labelled, CATEGORICAL, NUMERIC, teacher)


def _npz(path: Path, data: dict, labelled: set[str]) -> dict[str, Log]:
    """A folder with data.npz (cat, num, y, split: 0 train, 1 valid, 2 test) and meta.json (cat_fields, num_fields)."""
    meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
    with np.load(path / "data.npz") as arrays:
        cat, y, split = arrays["cat"], arrays["y"], arrays["split"]
        num = arrays["num"] if meta["num_fields"] else np.zeros((len(y), 0), np.float32)
    where = {name: np.flatnonzero(split == code) for code, name in enumerate(SPLITS)}
    return _parts(where, cat, num, y, labelled, tuple(meta["cat_fields"]), tuple(meta["num_fields"]))


def _criteo(path: Path, data: dict, labelled: set[str]) -> dict[str, Log]:
    """Criteo's own format: label, 13 integers and 26 hexadecimal ids, separated by tabs, empty = missing."""
    with path.open(encoding="ascii") as lines:
        columns = list(zip(*(_fields(line, number, path) for number, line in enumerate(lines, 1)), strict=True))
    if not columns:
        raise ConfigError(f"{path}: no rows")
    y = np.array(columns[0], np.uint8)
    num = np.stack([_numbers(column) for column in columns[1:14]], 1)
    cat = np.stack([_ids(np.array(column)) for column in columns[14:]], 1)
    fields = tuple(f"C{i}" for i in range(1, 27)), tuple(f"I{i}" for i in range(1, 14))
    return _parts(_in_order(len(y), data["split"]), cat, num, y, labelled, *fields)


def _fields(line: str, number: int, path: Path) -> list[str]:
    parts = line.rstrip("\n").split("\t")
    if len(parts) != 40:
        raise ConfigError(f"{path}:{number}: expected 40 tab-separated fields, found {len(parts)}")
    return parts


def _csv(path: Path, data: dict, labelled: set[str]) -> dict[str, Log]:
    with path.open(encoding="utf-8", newline="") as lines:
        reader = csv.reader(lines)
        header = next(reader, [])
        columns = list(zip(*reader, strict=True))
    return _table(path, dict(zip(header, map(np.array, columns), strict=False)), data, labelled)


def _parquet(path: Path, data: dict, labelled: set[str]) -> dict[str, Log]:
    import pyarrow.parquet as pq

    wanted = [data["label"], *data["categorical"], *data["numeric"]]
    wanted += [data["split"]] if isinstance(data["split"], str) else []
    have = pq.read_schema(path).names
    table = pq.read_table(path, columns=[name for name in wanted if name in have])
    return _table(path, {name: table[name].to_numpy() for name in table.column_names}, data, labelled)


def _table(path: Path, columns: dict[str, np.ndarray], data: dict, labelled: set[str]) -> dict[str, Log]:
    for name in [data["label"], *data["categorical"], *data["numeric"]]:
        if name not in columns:
            raise ConfigError(f"{path}: no column {name!r}; it has {', '.join(columns)}")
    y = columns[data["label"]].astype(np.float32)
    rows = len(y)
    cat = np.zeros((rows, len(data["categorical"])), np.int32)
    num = np.zeros((rows, len(data["numeric"])), np.float32)
    for i, name in enumerate(data["categorical"]):
        cat[:, i] = _ids(columns[name])
    for i, name in enumerate(data["numeric"]):
        num[:, i] = _numbers(columns[name])
    where: dict[str, slice] | dict[str, np.ndarray]
    if isinstance(data["split"], str):
        if data["split"] not in columns:
            raise ConfigError(f"{path}: no column {data['split']!r} (data.split)")
        split = columns[data["split"]].astype(str)
        where = {name: np.flatnonzero(split == name) for name in SPLITS}
    else:
        where = _in_order(rows, data["split"])
    return _parts(where, cat, num, y, labelled, tuple(data["categorical"]), tuple(data["numeric"]))


def _ids(column: np.ndarray) -> np.ndarray:
    """Field-local ids from 1 in sorted order of the values; empty, None and NaN are 0. No label is used."""
    values = np.array(["" if v is None or v != v else str(v) for v in column.tolist()])
    distinct, ids = np.unique(values, return_inverse=True)
    return (ids + (0 if len(distinct) and distinct[0] == "" else 1)).astype(np.int32)


def _numbers(column: Iterable) -> np.ndarray:
    return np.array([np.nan if v is None or v == "" else float(v) for v in column], np.float32)
