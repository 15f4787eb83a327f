"""Post-hoc calibration, fitted on rows that no model was trained on."""

from collections.abc import Callable

import numpy as np
from metrics import TINY

Calibrator = Callable[[np.ndarray], np.ndarray]


def fit(method: str, probabilities: np.ndarray, labels: np.ndarray) -> Calibrator:
    """A map from probabilities to calibrated probabilities, both float64 [n]."""
    methods = {"none": lambda p, y: lambda q: q, "platt": platt, "isotonic": isotonic, "validation": platt}
    return methods[method](probabilities, labels)


def log_odds(probabilities: np.ndarray) -> np.ndarray:
    p = np.clip(probabilities, TINY, 1 - TINY)
    return np.log(p / (1 - p))


def platt(probabilities: np.ndarray, labels: np.ndarray) -> Calibrator:
    """sigmoid(a * log odds + b) of least log loss, by Newton's method (Platt 1999)."""
    x = np.stack([log_odds(probabilities), np.ones(len(probabilities))], 1)
    weights = np.array([1.0, 0.0])
    for _ in range(25):
        p = 1 / (1 + np.exp(-x @ weights))
        hessian = (x * (p * (1 - p))[:, None]).T @ x + 1e-6 * np.eye(2)
        weights = weights - np.linalg.solve(hessian, x.T @ (p - labels))
    return lambda q: 1 / (1 + np.exp(-(weights[0] * log_odds(q) + weights[1])))


def isotonic(probabilities: np.ndarray, labels: np.ndarray) -> Calibrator:
    """The non-decreasing step function of least squares, by pooling adjacent violators; interpolated between steps.

    One row with the mean label is added at 0 and at 1, so that no probability becomes exactly 0 or 1.
    """
    order = np.argsort(probabilities, kind="stable")
    inputs = np.concatenate(([0.0], probabilities[order], [1.0]))
    targets = np.concatenate(([labels.mean()], labels[order], [labels.mean()]))
    pools: list[tuple[float, int, float]] = []  # sum of targets, rows, sum of inputs
    for x, y in zip(inputs, targets, strict=True):
        total, rows, place = float(y), 1, float(x)
        while pools and pools[-1][0] * rows >= total * pools[-1][1]:
            other = pools.pop()
            total, rows, place = total + other[0], rows + other[1], place + other[2]
        pools.append((total, rows, place))
    heights = np.array([total / rows for total, rows, _ in pools])
    places = np.array([place / rows for _, rows, place in pools])
    return lambda q: np.interp(q, places, heights)
