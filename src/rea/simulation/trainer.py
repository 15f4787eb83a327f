"""A trainer and its evaluator that train nothing: a click model's metrics, curves, times and failures, drawn.

What a run shows is what is true plus three kinds of luck: of the seed, which further seeds average out; of the split,
whose finite rows favour a setting in every run alike, so that only another split can tell; and of the run on these
rows. Every draw is named by what it is about, so that a world repeats itself whatever the order of its runs.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from rea.domain.codebase import Codebase, Scalar
from rea.domain.errors import ReaError
from rea.domain.run import Failure, Reading, Run, RunResult
from rea.domain.runbook import Action as RunbookAction
from rea.domain.runbook import Charge
from rea.domain.states import Phase
from rea.domain.treatment import Treatment
from rea.executor.snapshot import Report
from rea.simulation.response import Response, is_number, position

BLOCKS = 20
OF_RUN = 0.3  # share of the rows' variance that every run draws for itself
WAVES = 3  # of the smooth luck of a number: settings near each other are lucky together
WAVE_LENGTH = 0.5  # in units of `position`
COST_SPREAD = 0.08  # relative sd of a treatment's cost around what its card says
TIME_SPREAD = 0.03  # relative sd of one run's time

CALIBRATION = "calibration"  # the guardrail metric of click models
CALIBRATION_SPREAD = 0.002  # its standard deviation over seeds
MOST_LOST = 5  # attempts of one run that infrastructure may end before its runbook gives it up


def lost(why: str, number: int) -> Report:
    """What becomes of the attempt with this number of a run when infrastructure ends it."""
    failure, again = Failure("node-lost", "T", why), number < MOST_LOST
    repeated = {"action": RunbookAction.RETRY, "retry": again, "wait_s": 60.0, "charge": Charge.CONTINGENCY}
    return Report("lost", failure=failure, **repeated)  # type: ignore[arg-type]


class Course(StrEnum):
    """How the baseline's curve runs, which is what a diagnosis reads."""

    CONVERGES = "converges"
    UNFINISHED = "unfinished"  # still getting better at its end
    OVERFITS = "overfits"  # best after the first epoch


@dataclass(frozen=True, slots=True)
class Nature:
    """What is true of a simulated codebase. Spreads are relative standard deviations of the metric.

    `noise`: one run from seed to seed, of whose variance `shared` is common to all treatments trained on a seed.
    `wild`: the share of treatments whose own noise is two to three times as large. `rows`: how far one split's finite
    rows move one setting's gain, of whose variance every run draws `of_run` for itself. `untrainable`: the share of
    treatments whose runs fail; `obstructed`: of those that an engineer would have to let in somewhere; `lost`: of
    attempts that infrastructure ends. `time_spread`: of one run's time.
    """

    response: Response
    noise: float = 0.001
    shared: float = 0.5
    wild: float = 0.0
    rows: float = 0.0005
    baseline: float = 0.8
    floor: float = 0.7
    run_s: float = 60.0
    epochs: int = 5
    course: Course = Course.CONVERGES
    untrainable: float = 0.0
    obstructed: float = 0.0
    lost: float = 0.0
    of_run: float = OF_RUN
    time_spread: float = TIME_SPREAD


@dataclass(frozen=True)
class Trainer:
    """The trainer of one simulated codebase; everything it gives is deterministic in `seed` and its arguments.

    `values` is what the baseline sets, by knob. Raises ReaError for an objective whose metrics it cannot print.
    """

    nature: Nature
    codebase: Codebase
    values: dict[str, Scalar]
    seed: int

    def __post_init__(self) -> None:
        objective = self.codebase.objective
        strange = [rail.metric for rail in objective.guardrails if rail.metric not in (objective.metric, CALIBRATION)]
        if objective.direction != "minimize" or strange:
            raise ReaError(
                f"a simulated trainer prints a loss and {CALIBRATION}; the objective of {self.codebase.name} is to"
                f" {objective.direction} {objective.metric}"
                + (f", with guardrails on {', '.join(strange)}" if strange else ""),
                hint="simulate a codebase whose metric is to be minimised, without other guardrails",
            )

    @cached_property
    def _lucks(self) -> dict[tuple[str, str, str], tuple[float, ...]]:
        return {}

    @cached_property
    def _weights(self) -> dict[str, tuple[float, ...]]:
        return {}

    @property
    def count(self) -> int:
        """How many blocks of rows the evaluator prints."""
        return BLOCKS

    # ------------------------------------------------------------ draws

    def _chance(self, *about: object) -> random.Random:
        return random.Random(f"{self.seed}/{about}")

    def _normal(self, *about: object) -> float:
        return self._chance(*about).gauss(0.0, 1.0)

    def _uniform(self, *about: object) -> float:
        return self._chance(*about).random()

    def _luck(self, name: str, value: Scalar, split: str) -> tuple[float, ...]:
        """A setting's luck on a split, by block, with unit variance in its mean far from the baseline's value."""
        key = name, repr(value), split
        if key not in self._lucks:
            self._lucks[key] = self._drawn_luck(name, value, split)
        return self._lucks[key]

    def _drawn_luck(self, name: str, value: Scalar, split: str) -> tuple[float, ...]:
        count = self.count
        root = math.sqrt(count)
        knob, now = self.codebase.knob(name), self.values.get(name)
        smooth = knob is not None and knob.numeric and is_number(value) and is_number(now)
        if not smooth or knob is None:
            chance = self._chance("rows", name, value, split)
            return tuple(root * chance.gauss(0.0, 1.0) for _ in range(count))
        chance = self._chance("rows", name, split)
        here, there = position(knob, float(value or 0)), position(knob, float(now or 0))
        lucks = [0.0] * count
        for _ in range(WAVES):
            for block in range(count):
                # A wave of its own for every block: random Fourier features (Rahimi & Recht, NeurIPS 2007).
                frequency, phase = chance.gauss(0.0, 1 / WAVE_LENGTH), chance.uniform(0.0, 2 * math.pi)
                wave = math.cos(frequency * here + phase) - math.cos(frequency * there + phase)
                lucks[block] += root / math.sqrt(WAVES) * wave
        return tuple(lucks)

    def _lasting(self, treatment: Treatment, split: str) -> list[float]:
        """The luck of all of a treatment's settings on a split, by block, as relative gains."""
        lucks = [0.0] * self.count
        steady = self.nature.rows * math.sqrt(1 - self.nature.of_run)
        settings = dict(treatment.overrides)
        if treatment.patch:
            settings["patch"] = treatment.patch
        for name, value in settings.items():
            for block, luck in enumerate(self._luck(name, value, split)):
                lucks[block] += steady * luck
        return lucks

    def _sizes(self, split: str) -> tuple[float, ...]:
        """The share of each block in a split's loss."""
        if split not in self._weights:
            chance = self._chance("blocks", split)
            sizes = [1 + 0.05 * chance.gauss(0.0, 1.0) for _ in range(BLOCKS)]
            self._weights[split] = tuple(size / sum(sizes) for size in sizes)
        return self._weights[split]

    # ------------------------------------------------------------ what is measured

    def gain(self, treatment: Treatment) -> float:
        """The true relative gain over the baseline."""
        return self.nature.response(treatment)

    def blocks(self, treatment: Treatment, seed: int, split: str) -> tuple[float, ...]:
        """Sums of loss over blocks of rows, as an evaluator prints them; together they are the metric."""
        nature, key = self.nature, treatment.key()
        own = 1.0
        if nature.wild and not treatment.empty and self._uniform("wild", key) < nature.wild:
            own = 2.0 + self._uniform("how wild", key)
        shared, alone = math.sqrt(nature.shared), math.sqrt(1 - nature.shared)
        seeded = shared * self._normal("seed", seed) + alone * own * self._normal("seed", key, seed)
        level = nature.baseline * (1 + nature.noise * seeded)
        lucks = self._lasting(treatment, split)
        chance = self._chance("run", key, seed, split)
        fickle = nature.rows * math.sqrt(nature.of_run / 2 * BLOCKS)
        gain = self.gain(treatment)
        return tuple(
            level * weight * (1 - gain - luck + fickle * chance.gauss(0.0, 1.0))
            for weight, luck in zip(self._sizes(split), lucks, strict=True)
        )

    def line(self, treatment: Treatment, seed: int, split: str) -> dict[str, object]:
        """The evaluator's line for one run on one split."""
        losses = self.blocks(treatment, seed, split)
        return {**self._metrics(sum(losses), treatment, seed), "blocks": {"loss": list(losses)}}

    def _metrics(self, value: float, treatment: Treatment, seed: int) -> dict[str, float]:
        metric = self.codebase.objective.metric
        calibration = 1.0 + CALIBRATION_SPREAD * self._normal("calibration", treatment.key(), seed)
        return {metric: value, CALIBRATION: calibration, f"irreducible_{metric}": self.nature.floor}

    def trained(self, run: Run) -> tuple[RunResult, bool]:
        """What a run shows on the visible split, and whether the stop rule ended it early. Times are the caller's."""
        draft, objective = run.draft, self.codebase.objective
        metric = objective.metric
        losses = self.blocks(draft.treatment, draft.seed, objective.split)
        final = sum(losses)
        curve: list[Reading] = []
        best, pruned = math.inf, False
        gap = 0.01 + 0.05 * self._uniform("gap")
        for epoch in range(1, self.nature.epochs + 1):
            value = final + self.nature.baseline * self._above(draft.treatment, draft.seed, epoch)
            best = min(best, value)
            behind = gap * epoch / self.nature.epochs
            curve.append(Reading(epoch, {"epoch": epoch, metric: value, f"train_{metric}": value * (1 - behind)}))
            limits = [limit for x, limit in draft.stop_limits if x <= epoch]
            if limits and best > limits[-1]:
                pruned = True
                break
        fidelity = len(curve) / self.nature.epochs if pruned else 1.0
        shown = curve[-1].metrics[metric] if pruned else final
        metrics = self._metrics(shown, draft.treatment, draft.seed)
        seen = () if pruned else losses
        return RunResult(metrics, tuple(curve), "epoch", 0.0, 0.0, 2**20, fidelity, True, 0, seen), pruned

    def _above(self, treatment: Treatment, seed: int, epoch: int) -> float:
        """How far the curve is above its best, relative to the baseline's metric; zero at its best epoch.

        A gain shows late, a fifth of the treatments start slowly, and readings jitter.
        """
        last = self.nature.epochs
        jitter = 0.0003 * abs(self._normal("reading", treatment.key(), seed, epoch))
        late = self.gain(treatment)
        if not treatment.empty and self._uniform("slow", treatment.key()) < 0.2:
            late += 0.012 * self._uniform("how slow", treatment.key())
        match self.nature.course:
            case Course.OVERFITS:
                return 0.0 if epoch == 1 else 0.004 * (epoch - 1) + jitter
            case Course.UNFINISHED:
                shape = 0.05 * (math.exp(-1.5 * epoch / last) - math.exp(-1.5))
            case Course.CONVERGES:
                shape = 0.05 * (math.exp(-epoch) - math.exp(-last))
        return 0.0 if epoch == last else shape + late * math.exp(-4 * epoch / last) + jitter

    def seconds(self, run: Run, number: int, cost_factor: float) -> float:
        """Wall seconds of one attempt; `cost_factor` is what the hypothesis' card says."""
        factor = cost_factor
        if not run.draft.treatment.empty:
            factor *= math.exp(COST_SPREAD * self._normal("cost", run.draft.treatment.key()))
        return (
            self.nature.run_s * factor * max(0.5, 1.0 + self.nature.time_spread * self._normal("time", run.id, number))
        )

    def broken(self, run: Run, number: int) -> Report | None:
        """What goes wrong with an attempt: its treatment cannot be trained, or its machine goes."""
        treatment = run.draft.treatment
        if not treatment.empty and self._uniform("untrainable", treatment.key()) < self.nature.untrainable:
            failure = Failure("shape-mismatch", "C", "Shapes do not fit")
            return Report("failed", failure=failure, action=RunbookAction.FAIL_HYPOTHESIS)
        if not treatment.empty and self._uniform("obstructed", treatment.key()) < self.nature.obstructed:
            failure = Failure("permission-denied", "G", "Access was refused")
            return Report("failed", failure=failure, action=RunbookAction.ASK)
        if run.draft.phase is not Phase.REVEAL and self._uniform("lost", run.id, number) < self.nature.lost:
            return lost("The node was lost", number)
        return None
