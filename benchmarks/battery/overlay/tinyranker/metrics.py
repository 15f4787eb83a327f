"""NE (He et al. 2014), log loss, calibration and AUC."""

import math

BLOCKS = 50


def losses(predictions, labels):
    return [-math.log(p) if y else -math.log(1.0 - p) for p, y in zip(predictions, labels, strict=True)]


def summarise(predictions, labels):
    rate = sum(labels) / len(labels)
    entropy = -rate * math.log(rate) - (1 - rate) * math.log(1 - rate)
    loss = sum(losses(predictions, labels)) / len(labels)
    calibration = sum(predictions) / sum(labels)
    return {"ne": loss / entropy, "logloss": loss, "calibration": calibration, "auc": auc(predictions, labels)}


def auc(predictions, labels):
    """Share of pairs in the right order, ties one half each (Mann & Whitney 1947)."""
    order = sorted(range(len(labels)), key=predictions.__getitem__)
    positives, below, wins, at = sum(labels), 0, 0.0, 0
    while at < len(order):
        end = at
        while end < len(order) and predictions[order[end]] == predictions[order[at]]:
            end += 1
        up = sum(labels[i] for i in order[at:end])
        down = end - at - up
        wins += up * (below + down / 2)
        below, at = below + down, end
    return wins / (positives * (len(labels) - positives))


def blocks(values):
    size = len(values) // BLOCKS
    return [sum(values[i * size : (i + 1) * size]) for i in range(BLOCKS)]


def sigmoid(logit):
    return 1.0 / (1.0 + math.exp(-logit))
