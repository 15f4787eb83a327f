"""Click-prediction metrics, in numpy alone so that the evaluator starts fast."""

import numpy as np

TINY = 1e-7  # float32 probabilities are kept this far from 0 and 1 before a logarithm


def log_losses(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Log loss in nats of every row, float64 [n]."""
    p = np.clip(probabilities.astype(np.float64), TINY, 1 - TINY)
    return -np.log(np.where(labels > 0.5, p, 1 - p))


def entropy(rate: float) -> float:
    """Entropy in nats of a coin with this rate of heads."""
    return float(-(rate * np.log(rate) + (1 - rate) * np.log(1 - rate)))


def auc(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve by the rank-sum statistic, ties given their average rank (Hanley & McNeil 1982)."""
    order = np.argsort(probabilities)
    ranked = probabilities[order]
    starts = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))
    ends = np.append(starts[1:], len(ranked))
    positives = np.add.reduceat((labels[order] > 0.5).astype(np.float64), starts)
    average_rank = (starts + ends + 1) / 2
    n_positive = positives.sum()
    n_negative = len(ranked) - n_positive
    return float(((positives * average_rank).sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def summarise(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """ne, logloss (nats), auc and calibration of one split.

    ne is the mean log loss divided by the entropy of the split's mean label: 1 is a model that knows the click rate
    only (normalised entropy; He et al. 2014, "Practical Lessons from Predicting Clicks on Ads at Facebook", ADKDD).
    calibration is mean prediction / mean label (ibid.). Raises ValueError when the labels are all alike.
    """
    rate = float(labels.mean())
    if not 0 < rate < 1:
        raise ValueError(f"metrics need clicks and non-clicks, but the mean label is {rate:g}")
    logloss = float(log_losses(probabilities, labels).mean())
    return {
        "ne": logloss / entropy(rate),
        "logloss": logloss,
        "auc": auc(probabilities, labels),
        "calibration": float(probabilities.mean(dtype=np.float64)) / rate,
    }


def blocks(losses: np.ndarray, count: int) -> dict[str, list[float] | list[int]]:
    """Sums of log loss over `count` random groups of rows, for paired bootstrap between runs.

    Row i of n belongs to group i * count // n after one fixed shuffle of the rows, so groups are alike in distribution
    and the same for every run on the same rows.
    """
    group = np.arange(len(losses)) * count // len(losses)
    shuffled = losses[np.random.default_rng(20140824).permutation(len(losses))]
    return {
        "loss": np.bincount(group, weights=shuffled, minlength=count).tolist(),
        "rows": np.bincount(group, minlength=count).tolist(),
    }
