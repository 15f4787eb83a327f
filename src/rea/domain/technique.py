"""Techniques: known ways to improve a ranking model, said in roles so that any codebase's knobs can express them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rea.domain.codebase import Scalar


class Level(StrEnum):
    """Which part of a model a technique touches. A combination takes one of each before two of any."""

    FEATURE = "feature"
    STRUCTURE = "structure"
    RECIPE = "recipe"
    LOSS = "loss"


class Symptom(StrEnum):
    """What a diagnosis can find in a baseline's curves, predictions and data profile."""

    ONE_EPOCH_OVERFIT = "one_epoch_overfit"  # validation gets worse as soon as the second epoch begins
    WIDENING_GAP = "widening_gap"  # training keeps falling, validation slowly does not follow
    UNDERFIT = "underfit"  # training and validation end together, too high
    NOT_CONVERGED = "not_converged"  # validation still improves when training stops
    UNSTABLE = "unstable"  # spikes, NaN, seeds that diverge
    MISCALIBRATED = "miscalibrated"  # mean prediction and mean label differ
    NOISY_VALIDATION = "noisy_validation"  # seeds, rows or the curve vary by more than the gain looked for
    SLOW = "slow"  # a run takes a large part of what a phase may spend
    RARE_IDS = "rare_ids"  # many rows of a field carry ids seen a handful of times
    DRIFT = "drift"  # validation rows differ from training rows
    INTERACTING_PAIRS = "interacting_pairs"  # pairs of fields tell more of the label than the fields alone


@dataclass(frozen=True, slots=True)
class Relative:
    """A number said relative to the baseline's: `baseline × factor + step`.

    `otherwise` is the absolute value where that means nothing: no baseline value, or a factor of zero.
    """

    factor: float = 1.0
    step: float = 0.0
    otherwise: float | None = None

    def __str__(self) -> str:
        return f"{self.step:+g}" if self.step else f"×{self.factor:g}"


Wanted = Scalar | Relative
Setting = Mapping[str, Wanted]  # role → value; several roles of one setting go together


@dataclass(frozen=True, slots=True)
class Prior:
    """The believed relative gain of a technique before anything was tried here, and what the belief rests on."""

    mean: float
    sd: float
    basis: str


@dataclass(frozen=True, slots=True)
class Technique:
    """One card. `settings` are alternatives, best first; `cost` multiplies the baseline's training time.

    `mechanism` groups techniques that work by the same means. `requires` names the values a role's knob must have in
    the baseline. `overlaps` (sub-additive) and `conflicts` (never together) name other cards.
    """

    name: str
    title: str
    level: Level
    mechanism: str
    settings: tuple[Setting, ...]
    effect: Prior
    citation: str
    prose: str
    treats: tuple[Symptom, ...] = ()
    avoid_when: tuple[Symptom, ...] = ()
    requires: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)
    cost: float = 1.0
    overlaps: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    retune: tuple[str, ...] = ()
    source: str = ""  # the file the card was read from

    @property
    def roles(self) -> tuple[str, ...]:
        """Every role some alternative sets, in the order of first mention."""
        return tuple(dict.fromkeys(role for setting in self.settings for role in setting))
