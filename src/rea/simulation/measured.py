"""A trainer that goes on where a real profile stopped: its runs are the baseline's, moved by what is drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from rea.domain.plan import Baseline, Plan
from rea.domain.run import Reading, Run, RunResult
from rea.domain.states import Phase, RunState
from rea.domain.treatment import Treatment
from rea.planner import joint
from rea.planner.rows import ROW_LOSS_METRICS, USUAL
from rea.simulation.response import Response
from rea.simulation.trainer import Nature, Trainer

JITTER = 0.0003  # relative, of one reading


def profiled(runs: Sequence[Run]) -> dict[int, RunResult]:
    """What the profile's successful runs showed, by seed."""
    measured = (run for run in runs if run.draft.phase is Phase.PROFILE and not run.draft.aside)
    done = [run for run in measured if run.state is RunState.SUCCEEDED]
    return {run.draft.seed: run.result for run in done if run.result is not None}


def nature(plan: Plan, response: Response, *, speed: float, untrainable: float, lost: float) -> Nature:
    """What a plan believes of its codebase: noise, rows and times as the profile measured them, times over by `speed`.

    Seeds share what the planner takes them to share, and the rows' error lasts over seeds as far as it takes it to
    before any treatment was trained.
    """
    baseline = plan.baseline
    between = baseline.split_noise or 0.0
    return Nature(
        response,
        noise=baseline.noise / math.sqrt(2),
        shared=joint.SHARED,
        rows=math.hypot(between, USUAL * between),
        of_run=1 / (1 + USUAL**2),
        baseline=baseline.mean,
        run_s=baseline.run_s * speed,
        time_spread=baseline.run_sd_s / baseline.run_s,
        untrainable=untrainable,
        lost=lost,
    )


@dataclass(frozen=True)
class Measured(Trainer):
    """The trainer of the codebase that a profile measured: `profile` is its summary, `seen` its results by seed.

    Only the objective is simulated, whatever its direction; every other metric stays where the baseline has it. Runs on
    a seed of the profile are paired with the run that was made there: they share its luck, its curve and its blocks.
    """

    profile: Baseline
    seen: Mapping[int, RunResult]

    def __post_init__(self) -> None:
        """Nothing is refused: a gain is relative, in either direction."""

    @cached_property
    def _sign(self) -> float:
        """By which a loss moves the metric."""
        return 1.0 if self.codebase.objective.direction == "minimize" else -1.0

    @cached_property
    def _rows(self) -> tuple[float, ...]:
        """The baseline's mean blocks of loss; empty where the evaluator prints none, or others for every seed."""
        blocks = [result.block_loss for result in self.seen.values()]
        if self.codebase.objective.metric not in ROW_LOSS_METRICS or len({len(one) for one in blocks}) != 1:
            return ()
        means = tuple(sum(column) / len(blocks) for column in zip(*blocks, strict=True))
        return means if sum(means) > 0 else ()

    @property
    def count(self) -> int:
        return len(self._rows)

    # ------------------------------------------------------------ what is measured

    def _seeded(self, treatment: Treatment, seed: int) -> float:
        """The luck of a seed, in standard deviations of one run; on a seed of the profile as far as that tells it."""
        told = self.seen.get(seed)
        shared, alone = math.sqrt(self.nature.shared), math.sqrt(1 - self.nature.shared)
        common = self._normal("seed", seed)
        if told is not None:
            objective = self.codebase.objective
            shown = -objective.gain(self.profile.mean, told.metrics[objective.metric]) / self.nature.noise
            if treatment.empty:
                return shown
            common = shared * shown + alone * common  # the seed's part in what it showed, which is normal
        return shared * common + alone * self._normal("seed", treatment.key(), seed)

    def _measured(self, treatment: Treatment, seed: int, split: str) -> tuple[float, tuple[float, ...]]:
        """The objective on a split, and the blocks of loss that go with it."""
        mean, nature = self.profile.mean, self.nature
        level = mean + self._sign * abs(mean) * nature.noise * self._seeded(treatment, seed)
        gain, weights = self.gain(treatment), self._rows
        if not weights:
            return level - self._sign * abs(level) * gain, ()
        total = sum(weights)
        lucks = self._lasting(treatment, split)
        chance = self._chance("run", treatment.key(), seed, split)
        size = nature.rows * math.sqrt(nature.of_run / 2 * self.count)
        fickle = [size * chance.gauss(0.0, 1.0) for _ in weights]
        # What rows do to the whole of one run is in the noise over seeds already.
        middle = sum(w * own for w, own in zip(weights, fickle, strict=True)) / total
        shares = [1 - gain - luck + own - middle for luck, own in zip(lucks, fickle, strict=True)]
        losses = tuple(level / mean * w * share for w, share in zip(weights, shares, strict=True))
        return mean * sum(losses) / total, losses

    def blocks(self, treatment: Treatment, seed: int, split: str) -> tuple[float, ...]:
        return self._measured(treatment, seed, split)[1]

    def line(self, treatment: Treatment, seed: int, split: str) -> dict[str, object]:
        value, losses = self._measured(treatment, seed, split)
        metrics: dict[str, object] = dict(self._metrics(value, treatment, seed))
        return {**metrics, "blocks": {"loss": list(losses)}} if losses else metrics

    def _metrics(self, value: float, treatment: Treatment, seed: int) -> dict[str, float]:
        return {**self.profile.metrics, self.codebase.objective.metric: value}

    def trained(self, run: Run) -> tuple[RunResult, bool]:
        draft, objective = run.draft, self.codebase.objective
        metric = objective.metric
        value, losses = self._measured(draft.treatment, draft.seed, objective.split)
        known = self.seen.get(draft.seed)
        model = known if known is not None else next(iter(self.seen.values()))
        worse = -objective.gain(model.metrics[metric], value)
        late, slow = self.gain(draft.treatment), 0.0
        if not draft.treatment.empty and self._uniform("slow", draft.treatment.key()) < 0.2:
            slow = 0.012 * self._uniform("how slow", draft.treatment.key())
        chance = self._chance("readings", draft.treatment.key(), draft.seed)
        last = model.curve[-1].x if model.curve else 1.0
        curve: list[Reading] = []
        best = math.inf  # as a loss
        for reading in model.curve:
            share = reading.x / last if last else 1.0
            behind = worse
            if reading is not model.curve[-1]:
                # A gain shows late, and a treatment that starts slowly catches up.
                behind += (late + slow) * math.exp(-4 * share) + JITTER * abs(chance.gauss(0.0, 1.0))
            curve.append(Reading(reading.x, self._moved(reading.metrics, behind)))
            shown = curve[-1].metrics.get(metric)
            if shown is None:
                continue
            best = min(best, self._sign * shown)
            limits = [limit for x, limit in draft.stop_limits if x <= reading.x]
            if limits and best > self._sign * limits[-1] and reading is not model.curve[-1]:
                metrics = self._metrics(shown, draft.treatment, draft.seed)
                return self._result(model, metrics, curve, share, ()), True
        return self._result(model, self._metrics(value, draft.treatment, draft.seed), curve, 1.0, losses), False

    def _moved(self, metrics: Mapping[str, float], behind: float) -> dict[str, float]:
        """A reading of the baseline with the objective worse by this share, on train as on the split."""
        named = self.codebase.objective.metric
        both = {name: metrics[name] for name in (named, f"train_{named}") if name in metrics}
        return {**metrics, **{name: value + self._sign * abs(value) * behind for name, value in both.items()}}

    @staticmethod
    def _result(
        model: RunResult, metrics: Mapping[str, float], curve: list[Reading], seen: float, losses: tuple[float, ...]
    ) -> RunResult:
        verified = model.overrides_verified
        peak = model.peak_memory_bytes
        return RunResult(metrics, tuple(curve), model.axis, 0.0, 0.0, peak, seen, verified, 0, losses)
