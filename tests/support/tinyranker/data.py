"""A click log that is made, not read: a known teacher, so the best NE anybody can reach is known."""

import math
import random

ROWS = 4000
SPLITS = {"valid": 11, "test": 12}


def load(split):
    """(teacher logits, labels, directions) of a split; the same on every machine.

    A model is the teacher plus an error of some size along `directions`. They are uncorrelated with what the labels
    leave unexplained, so that a smaller error is a better model on these very rows and not only on average.
    """
    chance = random.Random(SPLITS[split])
    logits = [chance.gauss(-1.5, 1.2) for _ in range(ROWS)]
    shares = [1.0 / (1.0 + math.exp(-z)) for z in logits]
    labels, total = [], chance.random()
    for share in shares:  # systematic sampling: the rate of clicks is the teacher's
        labels.append(int(math.floor(total + share) > math.floor(total)))
        total += share
    directions = [chance.gauss(0.0, 1.0) for _ in range(ROWS)]
    rest = [y - p for y, p in zip(labels, shares, strict=True)]
    along = sum(u * r for u, r in zip(directions, rest, strict=True)) / sum(r * r for r in rest)
    return logits, labels, [u - along * r for u, r in zip(directions, rest, strict=True)]
