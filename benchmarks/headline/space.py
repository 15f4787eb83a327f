"""What a search may vary: knobs with their ranges, and how a sampler draws them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.headline.configs import Scalar


@dataclass(frozen=True, slots=True)
class Range:
    """Whole numbers or real numbers from low to high, both ends included. switch: 0 turns the thing off, so whether it
    is on is drawn by itself: between real numbers a plain draw would never be off.
    """

    low: float
    high: float
    whole: bool = False
    log: bool = False
    switch: bool = False

    def draw(self, trial: Any, name: str) -> Scalar:
        if self.switch and not trial.suggest_categorical(is_on(name), [False, True]):
            return 0
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def holds(self, value: Scalar) -> bool:
        return not isinstance(value, bool | str) and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Choice:
    options: tuple[Scalar, ...]

    def draw(self, trial: Any, name: str) -> Scalar:
        return trial.suggest_categorical(name, list(self.options))

    def holds(self, value: Scalar) -> bool:
        return value in self.options


CROSSES = "feature_crosses"  # the role of a knob whose options are pairs of fields
SETTLED = frozenset({"calibration"})  # roles that no arm searches: all models are calibrated alike

Space = Mapping[str, Range | Choice]

# What a team gives its tuner for such a model. Left out is what multiplies the cost of a run: small batches, wide
# layers, and rates with batches so large that thirty epochs do not suffice.
USUAL: Space = {
    "optim.lr": Range(5e-4, 2e-2, log=True),
    "model.embedding_dim": Range(4, 32, whole=True, log=True),
    "model.mlp_units": Choice(("64,32", "128,64", "128,128", "256,128")),
    "model.dropout": Range(0.0, 0.6),
    "optim.embedding_l2": Range(1e-6, 1e-1, log=True),
    "optim.weight_decay": Range(1e-7, 1e-2, log=True),
    "train.batch_size": Choice((1024, 2048, 4096)),
    "features.min_count": Range(1, 50, whole=True, log=True),
    "model.embedding_init_std": Range(1e-4, 1e-1, log=True),
}


def every_knob(toml: Path, fields: frozenset[str], idle: frozenset[str] = frozenset()) -> Space:
    """All knobs of a rea.toml with their ranges, but those that are `idle` or whose role is settled.

    Numbers of the usual space keep its range and scale; others that may be 0 have a switch. Options of feature crosses
    that name a field the data do not have would only fail; they are left out, and with them a knob that has one option
    left. Raises ValueError for a knob with neither choices nor a range.
    """
    with toml.open("rb") as file:
        knobs = tomllib.load(file)["knobs"]
    space: dict[str, Range | Choice] = {}
    for name, knob in knobs.items():
        if name in idle or knob.get("role") in SETTLED:
            continue
        if knob.get("type") == "bool":
            space[name] = Choice((False, True))
        elif "choices" in knob:
            options = tuple(knob["choices"])
            if knob.get("role") == CROSSES:
                options = usable(options, fields)
            if len(options) > 1:
                space[name] = Choice(options)
        elif "range" in knob:
            low, high = knob["range"]
            usual, whole = USUAL.get(name), knob.get("type") == "int"
            own = Range(low, high, whole=whole, log=bool(knob.get("log")), switch=low == 0)
            space[name] = usual if isinstance(usual, Range) else own
        else:
            raise ValueError(f'{toml}: knob "{name}" has neither choices nor a range')
    return space


def is_on(name: str) -> str:
    """What a tuner calls the switch of a knob."""
    return f"{name} is on"


def consistent(values: dict[str, Scalar]) -> dict[str, Scalar]:
    """The same with one average of weights where a draw has switched on two, which the trainer refuses."""
    ema, swa = "optim.ema_decay", "optim.swa_from"
    return {**values, swa: 0} if values.get(ema) and values.get(swa) else values


def usable(crosses: Iterable[str], fields: frozenset[str]) -> tuple[str, ...]:
    """Those options of feature crosses, such as "user*ad,slot*ad", that name no other fields."""
    return tuple(
        option
        for option in crosses
        if all(name in fields for pair in option.split(",") if pair for name in pair.split("*"))
    )


def numeric(space: Space) -> Space:
    """The part of a space that is numbers."""
    return {name: knob for name, knob in space.items() if isinstance(knob, Range)}


def inside(space: Space, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The values of the knobs of `space`, as a point to begin a search at.

    Raises ValueError naming the knobs whose value lies outside: a search that cannot express its baseline would start
    behind it.
    """
    outside = [f"{name} = {values[name]!r}" for name, knob in space.items() if not knob.holds(values[name])]
    if outside:
        raise ValueError(f"the baseline lies outside the space: {', '.join(outside)}; widen these ranges")
    return {name: values[name] for name in space}
