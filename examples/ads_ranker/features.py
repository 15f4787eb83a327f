"""From a click log to what the model reads: rows of one embedding table, and numbers.

Everything here is fitted on the train split alone: which ids are frequent enough for a row of their own, bucket edges,
means, counts, target statistics and the choice of crosses. Only drop_fields looks at inputs, never labels, of the split
it is given beside train.
"""

from dataclasses import dataclass

import information
import numpy as np
from config import DEFAULTS, ConfigError
from data import Log

TARGET_FOLDS = 5
HIGH_CARDINALITY = 50  # fields of more ids than this in train are what target_fields: high means
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
    dropped: names of the fields that drop_fields left out. pairs: those that became fields, as names.
    """

    def __init__(self, settings: dict, train: Log, unlabelled: Log | None = None):
        """`unlabelled` gives inputs of later rows, which drop_fields compares with train; it is needed for that only.

        Raises ConfigError for a setting that this log cannot meet.
        """
        self.settings = settings = {**DEFAULTS["features"], **settings}
        self.train = train
        names = train.cat_fields + train.num_fields
        dropped = _dropped(settings["drop_fields"], train, unlabelled)
        self.dropped = tuple(names[i] for i in sorted(dropped))
        self.cats = [i for i in range(train.cat.shape[1]) if i not in dropped]
        self.nums = [i for i in range(train.num.shape[1]) if i + train.cat.shape[1] not in dropped]
        self.crosses = _field_pairs(settings["crosses"], train.cat_fields)
        wanted = max(settings["auto_crosses"], settings["target_pairs"])
        found = information.measure(train, dropped).pairs[:wanted] if wanted else ()
        if wanted and not found:
            key = "auto_crosses" if settings["auto_crosses"] else "target_pairs"
            raise ConfigError(
                f"features.{key}: no pair of fields tells more than its two fields do in this log; set it to 0"
            )
        strongest = [(pair.first, pair.second) for pair in found]
        self.crosses += [pair for pair in strongest[: settings["auto_crosses"]] if pair not in self.crosses]
        self.pairs = tuple((names[a], names[b]) for a, b in self.crosses)
        self.target_pairs = strongest[: settings["target_pairs"]]
        self.target_cats = [i for i in self.cats if settings["target_encoding"] and _encoded(settings, train, i)]

        # As ids, as numbers, or with numeric_both as both.
        encoding, buckets = settings["numeric_encoding"], settings["numeric_buckets"]
        self.bucketed = encoding in ("bucket", "log_bucket") or settings["numeric_both"]
        self.numbered = encoding not in ("bucket", "log_bucket") or settings["numeric_both"]
        if settings["numeric_both"] and not self.nums:
            raise ConfigError("features.numeric_both: this log has no numeric field; set it to false")
        if encoding in ("bucket", "ple") or (self.bucketed and encoding != "log_bucket"):
            self.quantiles = {i: _quantile_edges(train.num[:, i], buckets) for i in self.nums}

        # One vocabulary per id column; an id below the threshold has no row of its own (only train is counted).
        self.vocabularies, self.oov, masks, offset = [], [], [], 0
        for column, crossed in self._id_columns(train):
            values, counts = np.unique(column, return_counts=True)
            least = settings["min_count"]
            if crossed:
                least = settings["cross_min_count"] or least
            kept = counts >= least
            rows = _rows(counts[kept], values[kept], settings["hash_rows"])
            size = int(rows.max()) + 1 if len(rows) else 0
            self.vocabularies.append((values[kept], (offset + 1 + rows).astype(np.int32)))
            self.oov.append(offset)
            seen = np.bincount(rows, weights=counts[kept], minlength=size)
            masks.append(np.concatenate(([0.0], settings["rare_mask"] * np.minimum(1, RARE_COUNT / seen))))
            offset += 1 + size
        self.oov = np.array(self.oov, np.int32)
        self.mask_probability = np.concatenate([*masks, []]).astype(np.float32)

        blocks = []
        if self.nums and self.numbered:
            numbers = encoding if encoding not in ("bucket", "log_bucket") else "standardize"
            edges = np.stack(list(self.quantiles.values())).astype(np.float32) if encoding == "ple" else None
            standard = numbers in ("standardize", "autodis", "periodic")
            self.center, self.scale = _moments(self._transform(train.num[:, self.nums])) if standard else (0.0, 1.0)
            blocks.append(Numbers(numbers, len(self.nums), buckets, edges))
        derived = self._statistics(train)
        if derived.shape[1]:
            self.derived_center, self.derived_scale = _moments(derived)
            blocks.append(Numbers("standardize", derived.shape[1], buckets, None))
        self.shape = Shape(offset, len(self.vocabularies), tuple(blocks))

    def encode(self, log: Log) -> Encoded:
        ids = np.empty((len(log), self.shape.id_fields), np.int32)
        for i, (column, _) in enumerate(self._id_columns(log)):
            values, rows = self.vocabularies[i]
            place = np.searchsorted(values, column)
            place[place == len(values)] = 0
            known = values[place] == column if len(values) else np.zeros(len(log), bool)
            ids[:, i] = np.where(known, rows[place] if len(values) else 0, self.oov[i])
        parts = []
        if self.nums and self.numbered:
            parts.append((self._transform(log.num[:, self.nums]) - self.center) / self.scale)
        derived = self._statistics(log)
        if derived.shape[1]:
            parts.append((derived - self.derived_center) / self.derived_scale)
        num = np.concatenate(parts, 1) if parts else np.zeros((len(log), 0))
        return Encoded(ids, num.astype(np.float32))

    def _id_columns(self, log: Log):
        """The id columns one after the other, and whether each is a cross: the log's own, crosses, bucketed numbers."""
        for i in self.cats:
            yield log.cat[:, i], False
        for a, b in self.crosses:
            yield _cross(log, a, b), True
        if self.bucketed:
            for i in self.nums:
                column = log.num[:, i]
                if self.settings["numeric_encoding"] == "log_bucket":
                    bucket = _log_bucket(column, self.settings["numeric_buckets"])
                else:
                    bucket = np.searchsorted(self.quantiles[i][1:-1], column, side="right") + 1
                yield np.where(np.isnan(column), 0, bucket), False

    def _transform(self, num: np.ndarray) -> np.ndarray:
        """Before standardisation: log, autodis, periodic and numbers beside buckets see sign(x) log(1 + |x|)."""
        if self.settings["numeric_encoding"] in ("log", "autodis", "periodic", "bucket", "log_bucket"):
            return np.sign(num) * np.log1p(np.abs(num))
        return num

    def _statistics(self, log: Log) -> np.ndarray:
        """Statistics of train as numbers, float64 [n, k]: per id field the log count of the id and the log odds of its
        click rate; per pair of target_pairs what the rate of its cell adds to those of its two ids.

        A train row's own label never enters its own numbers: rates come from the other folds.
        """
        columns = []
        for i in range(log.cat.shape[1]):
            if self.settings["count_features"] and i in self.cats:
                ids = log.cat[:, i]
                counts = np.bincount(self.train.cat[:, i], minlength=int(ids.max()) + 1)
                columns.append(np.log1p(counts)[ids])
            if i in self.target_cats:
                columns.append(self._click_log_odds(log, self.train.cat[:, i], log.cat[:, i]))
        columns += [self._pair_log_odds(log, a, b) for a, b in self.target_pairs]
        return np.stack(columns, 1) if columns else np.zeros((len(log), 0))

    def _pair_log_odds(self, log: Log, a: int, b: int) -> np.ndarray:
        """What a cell's click rate adds to the log odds that its two ids give independently; 0 for a cell unseen.

        The rate is shrunk towards that of the two ids, so that a cell of few rows says little.
        """
        start = np.log(self.train.y.mean() / (1 - self.train.y.mean()))
        alone = sum(self._click_log_odds(log, self.train.cat[:, i], log.cat[:, i]) for i in (a, b)) - start
        cells = np.unique(_cross(self.train, a, b))
        mine, theirs = (np.searchsorted(cells, _cross(part, a, b)) for part in (self.train, log))
        # A cell that train lacks gets a code of its own, with no rows.
        there = theirs < len(cells)
        known = cells[np.where(there, theirs, 0)] == _cross(log, a, b)
        theirs = np.where(there & known, theirs, len(cells))
        return self._click_log_odds(log, mine, theirs, 1 / (1 + np.exp(-alone))) - alone

    def _click_log_odds(
        self, log: Log, train_ids: np.ndarray, ids: np.ndarray, expected: np.ndarray | None = None
    ) -> np.ndarray:
        """Log odds of the click rate in train of each row's id, shrunk by target_prior rows towards `expected`.

        ids: [n] of `log`; expected: rates [n], by default the overall rate. Where `log` is train itself, a row's rate
        comes from the folds that the row is not in.
        """
        train, weight = self.train, self.settings["target_prior"]
        size = int(max(train_ids.max(), ids.max())) + 1
        rows = np.bincount(train_ids, minlength=size).astype(float)
        clicks = np.bincount(train_ids, weights=train.y, minlength=size)
        if log is not train:
            rows, clicks = rows[ids], clicks[ids]
        else:
            fold = np.arange(len(ids)) % TARGET_FOLDS
            key = fold * size + ids
            rows = rows[ids] - np.bincount(key, minlength=size * TARGET_FOLDS)[key]
            clicks = clicks[ids] - np.bincount(key, weights=train.y, minlength=size * TARGET_FOLDS)[key]
        prior = float(train.y.mean()) if expected is None else expected
        rate = (clicks + weight * prior) / (rows + weight)
        return np.log(rate / (1 - rate))


def _dropped(count: int, train: Log, unlabelled: Log | None) -> frozenset[int]:
    fields = train.cat.shape[1] + train.num.shape[1]
    if count >= fields:
        raise ConfigError(f"features.drop_fields: expected less than the {fields} fields there are, got {count}")
    if not count:
        return frozenset()
    if unlabelled is None:
        raise ValueError("drop_fields compares train with the inputs of another split: give one as `unlabelled`")
    return information.least_useful(train, unlabelled, count)


def _encoded(settings: dict, train: Log, field: int) -> bool:
    return settings["target_fields"] == "all" or len(np.unique(train.cat[:, field])) > HIGH_CARDINALITY


def _cross(log: Log, a: int, b: int) -> np.ndarray:
    return log.cat[:, a].astype(np.int64) << 32 | log.cat[:, b]


def _rows(counts: np.ndarray, values: np.ndarray, most: int) -> np.ndarray:
    """A row below `most` for each kept value of a field; 0 or room enough: one each.

    Frequent ids keep rows of their own and the rest share the other half by hashing (Zhang et al., "Model size
    reduction using frequency based double hashing for recommender systems", RecSys 2020, with one hash).
    """
    if not most or len(values) <= most:
        return np.arange(len(values))
    own = most // 2
    frequent = np.argsort(-counts, kind="stable")[:own]
    rows = own + information.hashed(values, most - own)
    rows[frequent] = np.arange(own)
    return np.unique(rows, return_inverse=True)[1]


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
