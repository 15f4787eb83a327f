"""From a click log to what the model reads: rows of one embedding table, and numbers.

Everything here is fitted on the train split alone: which ids are frequent enough for a row of their own, bucket edges,
means, counts and target statistics.
"""

from dataclasses import dataclass

import numpy as np
from config import ConfigError
from data import Log

TARGET_FOLDS = 5
TARGET_PRIOR_ROWS = 20.0  # an id's click rate is shrunk towards the overall rate by this many rows
RARE_COUNT = 10.0  # ids seen less often than this are masked with the full probability rare_mask


@dataclass(frozen=True, slots=True)
class Numbers:
    """A block of numeric fields that share one encoding. edges: float32 [fields, buckets + 1], for ple only."""

    encoding: str
    fields: int
    buckets: int
    edges: np.ndarray | None


@dataclass(frozen=True, slots=True)
class Shape:
    """What a model must know of its inputs. table_rows rows serve id_fields ids per example."""

    table_rows: int
    id_fields: int
    numbers: tuple[Numbers, ...]


@dataclass(frozen=True, slots=True)
class Encoded:
    """ids: int32 [n, id_fields], rows of the table. num: float32 [n, numeric fields], NaN = missing."""

    ids: np.ndarray
    num: np.ndarray


class Features:
    """Fitted encoders of one config.

    shape: for the model. oov: int32 [id_fields], the table row that rare and unseen ids of a field share.
    mask_probability: float32 [table_rows], how often training shows the OOV row instead of this one.
    """

    def __init__(self, settings: dict, train: Log):
        self.settings = settings
        self.pairs = _field_pairs(settings["crosses"], train.cat_fields)
        self.bucketed = settings["numeric_encoding"] in ("bucket", "log_bucket")
        encoding, buckets = settings["numeric_encoding"], settings["numeric_buckets"]
        if encoding in ("bucket", "ple"):
            self.quantiles = [_quantile_edges(train.num[:, i], buckets) for i in range(train.num.shape[1])]

        # One vocabulary per id column; an id below the threshold has no row of its own (only train is counted).
        self.vocabularies, self.oov, masks, offset = [], [], [], 0
        for column in self._id_columns(train):
            values, counts = np.unique(column, return_counts=True)
            kept = counts >= settings["min_count"]
            self.vocabularies.append((values[kept], offset + 1 + np.arange(kept.sum(), dtype=np.int32)))
            self.oov.append(offset)
            masks.append(np.concatenate(([0.0], settings["rare_mask"] * np.minimum(1, RARE_COUNT / counts[kept]))))
            offset += 1 + int(kept.sum())
        self.oov = np.array(self.oov, np.int32)
        self.mask_probability = np.concatenate([*masks, []]).astype(np.float32)

        blocks = []
        if train.num.shape[1] and not self.bucketed:
            edges = np.stack(self.quantiles).astype(np.float32) if encoding == "ple" else None
            standard = encoding in ("standardize", "autodis", "periodic")
            self.center, self.scale = _moments(self._transform(train.num)) if standard else (0.0, 1.0)
            blocks.append(Numbers(encoding, train.num.shape[1], buckets, edges))
        derived = self._statistics(train, train)
        if derived.shape[1]:
            self.derived_center, self.derived_scale = _moments(derived)
            blocks.append(Numbers("standardize", derived.shape[1], buckets, None))
        self.shape = Shape(offset, len(self.vocabularies), tuple(blocks))
        self.train = train

    def encode(self, log: Log) -> Encoded:
        ids = np.empty((len(log), self.shape.id_fields), np.int32)
        for i, column in enumerate(self._id_columns(log)):
            values, rows = self.vocabularies[i]
            place = np.searchsorted(values, column)
            place[place == len(values)] = 0
            known = values[place] == column if len(values) else np.zeros(len(log), bool)
            ids[:, i] = np.where(known, rows[place] if len(values) else 0, self.oov[i])
        parts = []
        if log.num.shape[1] and not self.bucketed:
            parts.append((self._transform(log.num) - self.center) / self.scale)
        derived = self._statistics(self.train, log)
        if derived.shape[1]:
            parts.append((derived - self.derived_center) / self.derived_scale)
        num = np.concatenate(parts, 1) if parts else np.zeros((len(log), 0))
        return Encoded(ids, num.astype(np.float32))

    def _id_columns(self, log: Log):
        """The id columns one after the other: the log's own, crosses, bucketed numbers."""
        yield from log.cat.T
        for a, b in self.pairs:
            yield log.cat[:, a].astype(np.int64) << 32 | log.cat[:, b]
        if self.bucketed:
            for i, column in enumerate(log.num.T):
                if self.settings["numeric_encoding"] == "bucket":
                    bucket = np.searchsorted(self.quantiles[i][1:-1], column, side="right") + 1
                else:
                    bucket = _log_bucket(column, self.settings["numeric_buckets"])
                yield np.where(np.isnan(column), 0, bucket)

    def _transform(self, num: np.ndarray) -> np.ndarray:
        """Before standardisation: log, autodis and periodic see sign(x) log(1 + |x|)."""
        if self.settings["numeric_encoding"] in ("log", "autodis", "periodic"):
            return np.sign(num) * np.log1p(np.abs(num))
        return num

    def _statistics(self, train: Log, log: Log) -> np.ndarray:
        """Per id field, in float64 [n, k]: log count of the id in train; log odds of its click rate in train.

        A train row's own label never enters its own click rate: rates come from the other folds.
        """
        columns = []
        for i in range(train.cat.shape[1]):
            size = int(max(train.cat[:, i].max(), log.cat[:, i].max())) + 1
            if self.settings["count_features"]:
                columns.append(np.log1p(np.bincount(train.cat[:, i], minlength=size))[log.cat[:, i]])
            if self.settings["target_encoding"]:
                columns.append(_click_rates(train, log, i, size))
        return np.stack(columns, 1) if columns else np.zeros((len(log), 0))


def _click_rates(train: Log, log: Log, field: int, size: int) -> np.ndarray:
    ids, prior = train.cat[:, field], float(train.y.mean())
    rows = np.bincount(ids, minlength=size).astype(float)
    clicks = np.bincount(ids, weights=train.y, minlength=size)
    if log is not train:
        rows, clicks = rows[log.cat[:, field]], clicks[log.cat[:, field]]
    else:
        fold = np.arange(len(ids)) % TARGET_FOLDS
        key = fold * size + ids
        rows = rows[ids] - np.bincount(key, minlength=size * TARGET_FOLDS)[key]
        clicks = clicks[ids] - np.bincount(key, weights=train.y, minlength=size * TARGET_FOLDS)[key]
    rate = (clicks + TARGET_PRIOR_ROWS * prior) / (rows + TARGET_PRIOR_ROWS)
    return np.log(rate / (1 - rate))


def _field_pairs(crosses: str, fields: tuple[str, ...]) -> list[tuple[int, int]]:
    pairs = []
    for part in filter(None, crosses.split(",")):
        names = [name.strip() for name in part.split("*")]
        for name in names:
            if name not in fields:
                raise ConfigError(f"features.crosses: no categorical field {name!r}; there are {', '.join(fields)}")
        pairs.append((fields.index(names[0]), fields.index(names[1])))
    return pairs


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every column over the known values; a column that does not vary keeps scale 1."""
    known = ~np.isnan(values)
    count = np.maximum(known.sum(0), 1)
    filled = np.where(known, values, 0).astype(np.float64)
    mean = filled.sum(0) / count
    spread = np.sqrt((np.where(known, filled - mean, 0) ** 2).sum(0) / count)
    return mean, np.where(spread > 0, spread, 1.0)


def _quantile_edges(column: np.ndarray, buckets: int) -> np.ndarray:
    """buckets + 1 increasing edges; equal quantiles of a lumpy column are spread by one part in a million."""
    known = column[~np.isnan(column)].astype(np.float64)
    edges = np.quantile(known, np.linspace(0, 1, buckets + 1)) if len(known) else np.linspace(0, 1, buckets + 1)
    step = max(1e-6, 1e-6 * float(np.abs(edges).max()))
    return np.maximum.accumulate(edges) + step * np.arange(buckets + 1)


def _log_bucket(column: np.ndarray, buckets: int) -> np.ndarray:
    """floor(log(x)^2) above 2, the whole part below (the winners of Criteo's 2014 challenge); at most `buckets` ids."""
    with np.errstate(invalid="ignore", divide="ignore"):
        bucket = np.where(column > 2, np.floor(np.log(np.maximum(column, 1)) ** 2) + 2, np.floor(column))
    return 2 + np.clip(np.nan_to_num(bucket), -1, buckets - 2).astype(np.int64)
