"""What `rea.toml` says, as values: the codebase, its knobs, the objective, the resources of one run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rea.domain.share import Team

Scalar = bool | int | float | str | None

LEAST_IDLE_S, MOST_IDLE_S = 5.0, 1800.0  # of silence before a run is held to have hung
SEEN_IDLE = 5.0  # times the longest silence of the baseline is what is allowed
LEAST_SEEN_IDLE = 3.0  # the same where that is beyond the most


class ConfigStyle(StrEnum):
    YAML = "yaml"
    TOML = "toml"
    JSON = "json"
    HYDRA = "hydra"
    ARGPARSE = "argparse"
    ENV = "env"


class KnobType(StrEnum):
    FLOAT = "float"
    INT = "int"
    BOOL = "bool"
    STR = "str"


@dataclass(frozen=True, slots=True)
class Knob:
    """One setting of the codebase. `name` is its dotted path (or flag, or variable); `role` is what knowledge shares.

    `low`/`high` bound a number (inclusive); `choices` list what a categorical knob may be; `default` is the
    baseline's value where the config file does not tell. `tuned` says that a tuner has searched it already.
    """

    name: str
    role: str | None
    type: KnobType
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Scalar, ...] = ()
    default: Scalar = None
    tuned: bool = False

    @property
    def numeric(self) -> bool:
        return self.type in (KnobType.FLOAT, KnobType.INT) and not self.choices

    def allows(self, value: Scalar) -> bool:
        """Whether a treatment may set this value: the knob's range is a guardrail."""
        if self.choices:
            return any(same(value, choice) for choice in self.choices)
        if self.numeric:
            if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
                return False
            if self.type is KnobType.INT and value != int(value):
                return False
            return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)
        if self.type is KnobType.BOOL:
            return isinstance(value, bool)
        return isinstance(value, str)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False


def same(left: Scalar, right: Scalar) -> bool:
    """Equality of two settings: 1 and 1.0 are the same, True and 1 are not, floats agree to nine digits."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, int | float) and isinstance(right, int | float) and _finite(left) and _finite(right):
        return math.isclose(left, right, rel_tol=1e-9, abs_tol=0.0) or left == right
    return left == right


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A floor and/or ceiling for a metric of the visible split; a treatment outside is never the incumbent."""

    metric: str
    minimum: float | None = None
    maximum: float | None = None

    def holds(self, metrics: Mapping[str, float], slack: float = 0.0) -> bool:
        """Whether the metric is there and at most `slack` outside."""
        value = metrics.get(self.metric)
        if value is None or not math.isfinite(value):
            return False
        above = self.minimum is None or value >= self.minimum - slack
        return above and (self.maximum is None or value <= self.maximum + slack)

    def outside(self, metrics: Mapping[str, float]) -> float:
        """How far the metric lies outside; 0 inside, and where it is not measured."""
        value = metrics.get(self.metric)
        if value is None or not math.isfinite(value):
            return 0.0
        below = 0.0 if self.minimum is None else self.minimum - value
        above = 0.0 if self.maximum is None else value - self.maximum
        return max(0.0, below, above)

    def told(self, metrics: Mapping[str, float]) -> str:
        """`calibration 0.876 is outside 0.95 to 1.05`, of metrics for which it does not hold."""
        value = metrics.get(self.metric)
        low, high = (("any" if limit is None else f"{limit:g}") for limit in (self.minimum, self.maximum))
        found = "is missing, and must lie within" if value is None else f"{value:.4g} is outside"
        return f"{self.metric} {found} {low} to {high}"


@dataclass(frozen=True, slots=True)
class Objective:
    """What better means. `minimum_gain` is the smallest relative gain worth launching."""

    metric: str
    direction: str  # "minimize" | "maximize"
    split: str
    sealed: str | None
    minimum_gain: float
    guardrails: tuple[Guardrail, ...] = ()

    def gain(self, baseline: float, value: float) -> float:
        """Relative gain of `value` over `baseline`: (baseline − value) / |baseline| where less is better.

        Where the baseline is 0, which has no shares, it is 1 for anything better and −1 for anything worse.
        """
        difference = baseline - value if self.direction == "minimize" else value - baseline
        if not baseline:
            return math.copysign(1.0, difference) if difference else 0.0
        return difference / abs(baseline)


@dataclass(frozen=True, slots=True)
class Resources:
    """What one run takes. `memory_bytes` bounds the process tree, `walltime_s` the whole run.

    `idle_s` is how long a run may neither use a core nor write a word; None: `idle_limit` says by the baseline.
    """

    cpus: int
    gpus: int
    memory_bytes: int | None
    walltime_s: float
    idle_s: float | None = None

    @property
    def devices(self) -> int:
        """Devices a second of this run costs: GPUs where it has any, else cores."""
        return self.gpus or self.cpus

    def idle_limit(self, predicted_s: float, silent_s: float | None) -> float:
        """Seconds without work and without a word after which a run of that predicted wall time has hung.

        `silent_s` is the longest that a run of the baseline was silent, None where no such run has been seen. Several
        times that is always allowed, whatever a trainer waits for.
        """
        if self.idle_s is not None:
            return self.idle_s
        if silent_s is None:
            return MOST_IDLE_S
        usual_s = max(LEAST_IDLE_S, SEEN_IDLE * silent_s, predicted_s / 4)
        return max(LEAST_SEEN_IDLE * silent_s, min(usual_s, MOST_IDLE_S))


class Boxing(StrEnum):
    """Which trainings run in a box."""

    AUTO = "auto"  # those of code that was generated, and where `hidden` names something all of them
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """`hidden` are paths that no trainer may see, such as the sealed split's labels; `writable` those it may write to
    beside its run's directory. `network`: whether it reaches one."""

    use: Boxing = Boxing.AUTO
    hidden: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    network: bool = False

    def boxes(self, patched: bool) -> bool:
        """Whether a training is to run in a box, one of generated code or not."""
        if self.use is Boxing.NEVER:
            return False
        return self.use is Boxing.ALWAYS or patched or bool(self.hidden)


@dataclass(frozen=True, slots=True)
class LauncherChoice:
    kind: str
    slots: int
    options: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Codebase:
    """A registered codebase as `rea.toml` describes it. `root` is the folder of `rea.toml`, absolute.

    `train`, `smoke`, `evaluate` and `profile` are command templates with {python}, {config}, {seed}, {run_dir},
    {predictions}, {split}; `profile` prints the data profile.
    `env` names the variables of the engineer's shell that jobs may see; their values are pinned in the plan.
    """

    name: str
    root: str
    python: str
    train: str
    evaluate: str | None
    config: str | None
    style: ConfigStyle
    editable: tuple[str, ...]
    protected: tuple[str, ...]
    env: tuple[str, ...]
    objective: Objective
    resources: Resources
    launcher: LauncherChoice
    knobs: tuple[Knob, ...]
    profile: str | None = None
    checkpoints: str | None = None  # pattern of what a trainer saves to go on from, below its run's directory
    data: tuple[str, ...] = ()  # patterns of what trainings read beside the repository
    sandbox: Sandbox = field(default_factory=Sandbox)
    smoke: str | None = None  # `train`, over a few batches
    team: Team | None = None  # whose share of device time its campaigns keep to

    @property
    def reveals(self) -> bool:
        """Whether a campaign here can end with a reveal: there is a sealed split, and an evaluator to judge on it."""
        return self.objective.sealed is not None and self.evaluate is not None

    def knob(self, name: str) -> Knob | None:
        return next((knob for knob in self.knobs if knob.name == name), None)

    def by_role(self, role: str) -> Knob | None:
        return next((knob for knob in self.knobs if knob.role == role), None)
