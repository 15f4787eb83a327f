"""Which sampler tunes best around a good treatment, with the few trials an exploitation has.

    .venv/bin/python benchmarks/samplers/run.py [--problems 200]

Four knobs, a response that is quadratic in each (in the log where the knob is), with an optimum near where the knobs
stand, cross terms and seed noise: what is left to tune after a production model was tuned before. The best by measured
value is chosen, its true gain over the start is counted. Prints a table and writes benchmarks/results/samplers.json:
mean true gain as a share of what the optimum would give, by sampler and number of trials. Optuna's CMA-ES needs the
package cmaes and is left out, saying so, where that is absent; its Gaussian process needs PyTorch, which REA never
imports, so it is no candidate.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rea.domain.codebase import Scalar
from rea.planner.exploit import Dimension, suggest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "samplers.json"
TRIALS = (4, 8, 16, 32)
DIMENSIONS = (
    Dimension("lr", 1e-4, 1e-2, True, False),
    Dimension("l2", 1e-6, 1e-4, True, False),
    Dimension("dropout", 0.0, 0.4, False, False),
    Dimension("units", 8, 32, True, True),
)
START: Mapping[str, Scalar] = {"lr": 1e-3, "l2": 1e-5, "dropout": 0.2, "units": 16}
NOISE = 0.3  # of one run, as a share of the gain at the optimum
Values = dict[str, Scalar]
Ask = Callable[[list[tuple[Values, float]], int], Values]


class Problem:
    """gain(values): 0 at the start, about 1 at the optimum."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self.best = [chance.gauss(0.0, 0.3) for _ in DIMENSIONS]
        self.bend = [chance.expovariate(1.0) for _ in DIMENSIONS]
        self.cross = {(i, j): chance.gauss(0.0, 0.3) for i in range(len(DIMENSIONS)) for j in range(i)}
        self.scale = 1.0
        at_start, at_best = self._height([0.0] * len(DIMENSIONS)), self._height(self.best)
        self.scale, self.start = 1.0 / max(at_best - at_start, 1e-3), at_start
        self.chance = chance

    def _height(self, x: list[float]) -> float:
        off = [a - b for a, b in zip(x, self.best, strict=True)]
        squares = sum(bend * value**2 for bend, value in zip(self.bend, off, strict=True))
        mixed = sum(c * off[i] * off[j] * (self.bend[i] * self.bend[j]) ** 0.5 for (i, j), c in self.cross.items())
        return -squares - mixed

    def gain(self, values: Mapping[str, Scalar]) -> float:
        return self.scale * (self._height([_unit(d, values[d.knob]) for d in DIMENSIONS]) - self.start)

    def seen(self, values: Mapping[str, Scalar]) -> float:
        return self.gain(values) + NOISE * self.chance.gauss(0.0, 1.0)


def _unit(d: Dimension, value: Scalar) -> float:
    """-1 … 1 over the interval."""
    import math

    number = float(value)  # type: ignore[arg-type]
    if d.log:
        return 2 * math.log(number / d.low) / math.log(d.high / d.low) - 1
    return 2 * (number - d.low) / (d.high - d.low) - 1


def rea(startup: int) -> Callable[[int], Ask]:
    def make(seed: int) -> Ask:
        def ask(history: list[tuple[Values, float]], number: int) -> Values:
            # Local moves start from the best seen, as an exploitation's do from its incumbent.
            centre = max(history, key=lambda row: row[1])[0]
            return {**centre, **suggest(DIMENSIONS, centre, history, seed=seed + number, startup=startup)}

        return ask

    return make


def optuna_(name: str) -> Callable[[int], Ask]:
    def make(seed: int) -> Ask:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        samplers = {
            "random": lambda: optuna.samplers.RandomSampler(seed=seed),
            "tpe": lambda: optuna.samplers.TPESampler(seed=seed, n_startup_trials=0, multivariate=True),
            "cmaes": lambda: optuna.samplers.CmaEsSampler(x0=dict(START), sigma0=0.2, seed=seed),
        }
        study = optuna.create_study(direction="maximize", sampler=samplers[name]())
        told = 0

        def ask(history: list[tuple[Values, float]], number: int) -> Values:
            nonlocal told, asked
            if told == 0:
                study.enqueue_trial(dict(START))
                study.tell(study.ask(space), history[0][1])
            elif asked is not None:
                study.tell(asked, history[-1][1])
            told, asked = len(history), study.ask(space)
            return dict(asked.params)

        asked = None
        space = {
            d.knob: optuna.distributions.IntDistribution(int(d.low), int(d.high), log=d.log)
            if d.integer
            else optuna.distributions.FloatDistribution(d.low, d.high, log=d.log)
            for d in DIMENSIONS
        }
        return ask

    return make


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=200)
    count = parser.parse_args().problems
    arms: dict[str, Callable[[int], Ask]] = {
        "local moves, then TPE from 4": rea(4),
        "local moves, then TPE from 10": rea(10),
        "local moves only": rea(1000),
        "TPE": optuna_("tpe"),
        "random": optuna_("random"),
    }
    if importlib.util.find_spec("cmaes") is not None:
        arms["CMA-ES"] = optuna_("cmaes")
    else:
        print("CMA-ES: left out, the package cmaes is absent", file=sys.stderr)
    rows: dict[str, dict[str, float]] = {}
    for name, make in arms.items():
        sums = dict.fromkeys(TRIALS, 0.0)
        for seed in range(count):
            problem, ask = Problem(seed), make(seed)
            history: list[tuple[Values, float]] = [(dict(START), problem.seen(START))]
            for number in range(max(TRIALS)):
                values = ask(history, number)
                history.append((values, problem.seen(values)))
                if number + 1 in sums:
                    sums[number + 1] += problem.gain(max(history, key=lambda row: row[1])[0])
        rows[name] = {str(n): total / count for n, total in sums.items()}
        print(f"{name:32s} " + "  ".join(f"{n:>3d}: {rows[name][str(n)]:+.2f}" for n in TRIALS), flush=True)
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    found = {
        "problems": count,
        "noise": NOISE,
        "share_of_optimum": rows,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "date": time.strftime("%Y-%m-%d"),
        "commit": head.stdout.strip(),
    }
    RESULTS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
