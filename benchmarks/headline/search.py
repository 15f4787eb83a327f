"""Tuners behind one small protocol: ask for a configuration, report its readings, tell how it ended."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.headline.configs import Scalar
from benchmarks.headline.space import Range, Space, is_on

FIRST_RUNG = 2  # epochs before Hyperband may end a run: after one, curves rank configurations no better than chance


class Search(Protocol):
    """A tuner that is asked, told, and asked again. It minimises validation NE.

    The same answers to the same questions give the same next question, so that a search is resumed by replaying its
    journal.
    """

    def ask(self) -> dict[str, Scalar]: ...

    def stop(self, epoch: int, ne: float) -> bool:
        """Whether to end the run that was asked for last, given the NE after this epoch. To repeat it is harmless."""
        ...

    def tell(self, ne: float | None, *, pruned: bool) -> None:
        """The NE of the run that was asked for last; None where it failed or was ended early."""
        ...


@dataclass(frozen=True, slots=True)
class Tuner:
    """kind: tpe, random or cmaes, of Optuna, or smac. prunes: with Hyperband. space: usual, all, or numeric."""

    kind: str
    space: str = "usual"
    prunes: bool = False


TUNERS: dict[str, Tuner] = {
    "tpe": Tuner("tpe"),
    "random": Tuner("random"),
    "cmaes": Tuner("cmaes", space="numeric"),
    "tpe-hyperband": Tuner("tpe", prunes=True),
    "tpe-all": Tuner("tpe", space="all"),
    "smac": Tuner("smac"),
}


def open_search(tuner: Tuner, space: Space, first: Mapping[str, Scalar], seed: int, epochs: int, work: Path) -> Search:
    """A fresh search that asks for `first` first. epochs: the most a run takes, which Hyperband divides."""
    if tuner.kind == "smac":
        return SmacSearch(space, first, seed, work)
    return OptunaSearch(tuner, space, first, seed, epochs)


class OptunaSearch:
    """A study of Optuna in memory, with the sampler's defaults."""

    def __init__(self, tuner: Tuner, space: Space, first: Mapping[str, Scalar], seed: int, epochs: int):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", message="`x0` has been deprecated", category=FutureWarning)
        samplers = optuna.samplers
        sampler = {
            "tpe": lambda: samplers.TPESampler(seed=seed),
            "random": lambda: samplers.RandomSampler(seed=seed),
            "cmaes": lambda: samplers.CmaEsSampler(x0=dict(first), seed=seed),
        }[tuner.kind]()
        pruner: Any = optuna.pruners.NopPruner()
        if tuner.prunes:
            pruner = optuna.pruners.HyperbandPruner(min_resource=FIRST_RUNG, max_resource=epochs, reduction_factor=3)
        # Hyperband deals trials out to its brackets by the study's name.
        self.study = optuna.create_study(study_name="headline", sampler=sampler, pruner=pruner)
        switched = [name for name, knob in space.items() if isinstance(knob, Range) and knob.switch]
        self.study.enqueue_trial({**first, **{is_on(name): bool(first[name]) for name in switched}})
        self.space, self.prunes = space, tuner.prunes
        self.trial: Any = None
        self.decided: dict[int, bool] = {}
        self.best = float("inf")

    def ask(self) -> dict[str, Scalar]:
        self.trial, self.decided, self.best = self.study.ask(), {}, float("inf")
        return {name: knob.draw(self.trial, name) for name, knob in self.space.items()}

    def stop(self, epoch: int, ne: float) -> bool:
        if not self.prunes:
            return False
        if epoch not in self.decided:
            self.best = min(self.best, ne)  # the trainer keeps its best epoch
            self.trial.report(self.best, epoch)
            self.decided[epoch] = epoch >= FIRST_RUNG and self.trial.should_prune()
        return self.decided[epoch]

    def tell(self, ne: float | None, *, pruned: bool) -> None:
        from optuna.trial import TrialState

        if ne is not None:
            self.study.tell(self.trial, ne)
        else:
            self.study.tell(self.trial, state=TrialState.PRUNED if pruned else TrialState.FAIL)


class SmacSearch:
    """SMAC's facade for hyper-parameters, with its defaults (random forest, log expected improvement)."""

    DESIGN = 6  # configurations before the forest: a quarter of the runs, SMAC's own limit
    FAILED = 2.0  # NE told for a run without one: twice that of a model that knows the click rate only

    def __init__(self, space: Space, first: Mapping[str, Scalar], seed: int, work: Path):
        from ConfigSpace import Categorical, Configuration, ConfigurationSpace, Float, Integer
        from smac import HyperparameterOptimizationFacade, Scenario
        from smac.runhistory.dataclasses import TrialInfo

        def parameter(name: str) -> Any:
            knob = space[name]
            if isinstance(knob, Range):
                make, kind = (Integer, int) if knob.whole else (Float, float)
                return make(name, (kind(knob.low), kind(knob.high)), log=knob.log)
            return Categorical(name, list(knob.options))

        whole = ConfigurationSpace(seed=seed)
        whole.add([parameter(name) for name in space])
        scenario = Scenario(
            whole, deterministic=True, n_trials=1_000, seed=seed, output_directory=work / f"smac-{seed}"
        )
        # By default its first design alone would take ten configurations a knob, more than the whole budget.
        design = HyperparameterOptimizationFacade.get_initial_design(scenario, n_configs=self.DESIGN)
        self.facade = HyperparameterOptimizationFacade(
            scenario, lambda config, seed=0: 0.0, initial_design=design, overwrite=True, logging_level=30
        )
        self.types = {name: type(value) for name, value in first.items()}
        # SMAC accepts results of what it never asked for; it would put a config of ours behind its own first ones.
        self.first: Any = TrialInfo(Configuration(whole, values=dict(first)), seed=0)
        self.asked: Any = None

    def ask(self) -> dict[str, Scalar]:
        self.asked, self.first = self.first or self.facade.ask(), None
        return {name: self.types[name](value) for name, value in dict(self.asked.config).items()}

    def stop(self, epoch: int, ne: float) -> bool:
        return False

    def tell(self, ne: float | None, *, pruned: bool) -> None:
        from smac.runhistory.dataclasses import TrialValue

        self.facade.tell(self.asked, TrialValue(cost=self.FAILED if ne is None else ne))
