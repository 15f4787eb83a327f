"""NE (He et al. 2014), log loss and calibration."""

import math

BLOCKS = 50


def losses(predictions, labels):
    return [-math.log(p) if y else -math.log(1.0 - p) for p, y in zip(predictions, labels, strict=True)]


def summarise(predictions, labels):
    rate = sum(labels) / len(labels)
    entropy = -rate * math.log(rate) - (1 - rate) * math.log(1 - rate)
    loss = sum(losses(predictions, labels)) / len(labels)
    return {"ne": loss / entropy, "logloss": loss, "calibration": sum(predictions) / sum(labels)}


def blocks(values):
    size = len(values) // BLOCKS
    return [sum(values[i * size : (i + 1) * size]) for i in range(BLOCKS)]


def sigmoid(logit):
    return 1.0 / (1.0 + math.exp(-logit))
