"""What fields and pairs of fields tell about a click, and how far inputs move between splits.

Information is measured out of fold, on a sample of train: what is learnt from one half of the rows is judged on the
other, and the other way round. So a field whose ids are seen once each tells nothing, where a plug-in estimate of its
mutual information would be largest (its bias grows with the number of values; Miller 1955). The unit is the share of
the label's entropy that is explained, which is what it takes off the normalised entropy of a model that lacks it.

The same log gives the same numbers: the sample does not depend on the seed of a run.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from data import Log

SAMPLE_ROWS = 40_000
NUMERIC_BUCKETS = 16
PRIOR_ROWS = 20.0  # a value's click rate is shrunk towards what is expected without it by this many rows
CELLS = 1 << 17  # pairs with more cells than this share them by hashing
RARE_COUNT = 10  # an id seen less often than this in train is rare
CANDIDATES = 40  # pairs, strongest alone, among which the strongest together are looked for
MOST_PAIRS = 16
CLEAR = 3.0  # standard errors over rows that a pair must be above nothing: hundreds of pairs are looked at
CHANCE_DRAWS = 16  # random splits that tell how large a drift chance alone gives
CHANCE_DEVIATIONS = 3.0


@dataclass(frozen=True, slots=True)
class Pair:
    """Two categorical fields, by column, and what their combination tells beyond all fields one by one."""

    first: int
    second: int
    information: float


@dataclass(frozen=True, slots=True)
class Information:
    """Per column, categorical ones first, then numeric ones: float64 [Fc + Fn], shares of the label's entropy from 0.

    pairs holds pairs of categorical fields, the strongest first; each tells its information beyond those before it.
    """

    fields: np.ndarray
    pairs: tuple[Pair, ...]


def measure(train: Log, without: frozenset[int] = frozenset()) -> Information:
    """Of a labelled log. Columns in `without` are left out: their information is 0 and they are in no pair."""
    rows = np.sort(np.random.default_rng(0).permutation(len(train))[:SAMPLE_ROWS])
    # Alternate rows of the sample would tear apart what a log keeps together, such as a click and its negatives.
    half = np.random.default_rng(1).integers(0, 2, len(rows))
    y = train.y[rows].astype(np.float64)
    rate = float(np.clip(y.mean(), 1e-6, 1 - 1e-6))
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    used = [i for i in range(train.cat.shape[1] + train.num.shape[1]) if i not in without]
    columns = {i: np.unique(coded(train, train, i)[rows], return_inverse=True)[1] for i in used}

    fields = np.zeros(train.cat.shape[1] + train.num.shape[1])
    for i, column in columns.items():
        loss = _log_loss(np.log(rate / (1 - rate)) + _out_of_fold(column, y, half, rate), y)
        fields[i] = max(0.0, 1 - loss / entropy)
    models = [_Additive(list(columns.values()), y, half == learnt, rate) for learnt in (0, 1)]
    pairs = [
        Pair(a, b, _beyond(_cells(columns[a], columns[b]), models)[0] / len(rows) / entropy)
        for a, b in itertools.combinations([i for i in used if i < train.cat.shape[1]], 2)
    ]
    pairs.sort(key=lambda p: (-p.information, p.first, p.second))
    return Information(fields, tuple(_one_after_another(pairs, columns, models, entropy * len(rows))))


def _one_after_another(
    pairs: list[Pair], columns: dict[int, np.ndarray], models: list["_Additive"], scale: float
) -> list[Pair]:
    """The strongest pairs in the order in which they add most beyond those before them, while that is no chance.

    Of ad × age and category × age the second tells what the first does where the ad has its category.
    """
    waiting, chosen = pairs[:CANDIDATES], []
    while waiting and len(chosen) < MOST_PAIRS:
        told = {p: _beyond(_cells(columns[p.first], columns[p.second]), models) for p in waiting}
        best = max(waiting, key=lambda p: told[p][0])
        nats, error = told[best]
        if nats <= CLEAR * error:
            break
        chosen.append(Pair(best.first, best.second, nats / scale))
        waiting.remove(best)
        for model in models:
            model.absorb(_cells(columns[best.first], columns[best.second]))
    return chosen


def coded(train: Log, log: Log, column: int) -> np.ndarray:
    """Column of `log` as non-negative integers, 0 = missing: ids as they are, numbers by their quantile in train."""
    if column < train.cat.shape[1]:
        return log.cat[:, column]
    known, values = (part.num[:, column - train.cat.shape[1]] for part in (train, log))
    known = known[~np.isnan(known)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, NUMERIC_BUCKETS + 1)[1:-1])) if len(known) else np.zeros(0)
    return np.where(np.isnan(values), 0, np.searchsorted(edges, values, side="right") + 1)


def drift(before: np.ndarray, after: np.ndarray) -> float:
    """How far the distribution of `after` is from that of `before` (codes): 0 no further than by chance, 1 disjoint.

    The square root of the Jensen-Shannon divergence in bits, less what random splits of the same rows give
    (their mean and CHANCE_DEVIATIONS standard deviations): two samples of one distribution over many values differ,
    too. For small drifts the divergence is an eighth of the
    population stability index (in nats), so that the customary limits 0.1 and 0.25 of that lie at 0.13 and 0.21 here.
    """
    codes = np.unique(np.concatenate((before, after)), return_inverse=True)[1]
    both, first = np.bincount(codes), np.bincount(codes[: len(before)], minlength=codes.max() + 1)

    def divergence(first: np.ndarray) -> float:
        p, q = first / len(before), (both - first) / len(after)
        middle = (p + q) / 2
        return float(sum((x[x > 0] * np.log2(x[x > 0] / middle[x > 0])).sum() / 2 for x in (p, q)))

    rng = np.random.default_rng(2)
    splits = (rng.multivariate_hypergeometric(both, len(before), method="marginals") for _ in range(CHANCE_DRAWS))
    chance = [divergence(split) for split in splits]
    by_chance = np.mean(chance) + CHANCE_DEVIATIONS * np.std(chance)
    return float(np.sqrt(min(1.0, max(0.0, divergence(first) - by_chance))))


def rare(train_ids: np.ndarray, other_ids: np.ndarray) -> tuple[float, float, float]:
    """Of one categorical field: the share of train rows whose id is rare, the share of ids that are rare, and the share
    of the other rows whose id train does not have. A missing value is no id."""
    counts = np.bincount(train_ids, minlength=int(max(train_ids.max(), other_ids.max())) + 1)
    counts[0] = 0
    scarce = (counts > 0) & (counts < RARE_COUNT)
    unseen = (counts[other_ids] == 0) & (other_ids > 0)
    return float(counts[scarce].sum() / len(train_ids)), float(scarce.sum() / max(1, (counts > 0).sum())), unseen.mean()


def seen(train: Log, other: Log) -> float:
    """The share of the other rows whose every input is that of one row of train."""
    return float(np.isin(_keys(other), _keys(train)).mean())


def _keys(log: Log) -> np.ndarray:
    """One number a row, another for other inputs (but for one pair in 2^64)."""
    numbers = np.where(np.isnan(log.num), np.float32(np.nan), log.num).astype(np.float32)
    keys = np.zeros(len(log), np.uint64)
    with np.errstate(over="ignore"):
        for column in (*log.cat.T, *numbers.view(np.int32).T):
            keys = (keys ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            keys ^= keys >> np.uint64(29)
    return keys


def least_useful(train: Log, unlabelled: Log, count: int) -> frozenset[int]:
    """The `count` columns that tell least and move most: information, alone and in its best pair, times 1 - drift.

    Drift is measured on the inputs of both logs; labels are those of train.
    """
    found = measure(train)
    worth = found.fields.copy()
    best = np.zeros(len(worth))
    for pair in found.pairs:
        for column in (pair.first, pair.second):
            best[column] = max(best[column], pair.information)
    worth += best
    for i in range(len(worth)):
        worth[i] *= 1 - drift(coded(train, train, i), coded(train, unlabelled, i))
    return frozenset(np.argsort(worth, kind="stable")[:count].tolist())


def _out_of_fold(codes: np.ndarray, y: np.ndarray, half: np.ndarray, rate: float) -> np.ndarray:
    """Log odds of the click rate of each row's value, from the other half of the rows, less those of the whole."""
    size = int(codes.max()) + 1
    key = half * size + codes
    rows = np.bincount(key, minlength=2 * size).reshape(2, size)
    clicks = np.bincount(key, weights=y, minlength=2 * size).reshape(2, size)
    shrunk = (clicks + PRIOR_ROWS * rate) / (rows + PRIOR_ROWS)
    return (np.log(shrunk / (1 - shrunk)) - np.log(rate / (1 - rate)))[1 - half, codes]


class _Additive:
    """What columns tell one by one: an offset of the log odds per value of each, learnt from some of the rows.

    Newton steps column by column (backfitting; Hastie & Tibshirani 1986), shrunk like click rates.
    """

    PASSES = 3

    def __init__(self, columns: list[np.ndarray], y: np.ndarray, learnt: np.ndarray, rate: float):
        self.y, self.prior = y, PRIOR_ROWS * rate * (1 - rate)
        self.learnt, self.judged = np.flatnonzero(learnt), np.flatnonzero(~learnt)
        self.log_odds = np.full(len(y), np.log(rate / (1 - rate)))
        self._see()
        for column in columns * self.PASSES:
            self.absorb(column)

    def absorb(self, column: np.ndarray) -> None:
        self.log_odds += self._offsets(column)[column]
        self._see()

    def beyond(self, column: np.ndarray) -> np.ndarray:
        """Nats that offsets for this column would take off the log loss of each judged row, to second order."""
        offset = self._offsets(column)[column[self.judged]]
        return offset * (self.residual[self.judged] - 0.5 * offset * self.variance[self.judged])

    def _offsets(self, column: np.ndarray) -> np.ndarray:
        values, size = column[self.learnt], int(column.max()) + 1
        slope = np.bincount(values, weights=self.residual[self.learnt], minlength=size)
        return slope / (np.bincount(values, weights=self.variance[self.learnt], minlength=size) + self.prior)

    def _see(self) -> None:
        p = 1 / (1 + np.exp(-np.clip(self.log_odds, -30, 30)))
        self.residual, self.variance = self.y - p, p * (1 - p)


def _beyond(column: np.ndarray, models: list[_Additive]) -> tuple[float, float]:
    """Nats that offsets for this column take off the log loss of all rows, out of fold, and their standard error."""
    gains = np.concatenate([model.beyond(column) for model in models])
    return float(gains.sum()), float(gains.std() * np.sqrt(len(gains)))


def _cells(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    width = int(b.max()) + 1
    cell = a * width + b
    return cell if (int(a.max()) + 1) * width <= CELLS else hashed(cell, CELLS)


def hashed(keys: np.ndarray, size: int) -> np.ndarray:
    """Integers to buckets below `size` by multiplicative hashing (Knuth, volume 3, section 6.4)."""
    with np.errstate(over="ignore"):
        mixed = keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return ((mixed >> np.uint64(32)) % np.uint64(size)).astype(np.int64)


def _log_loss(log_odds: np.ndarray, y: np.ndarray) -> float:
    return float((np.logaddexp(0, log_odds) - y * log_odds).mean())
