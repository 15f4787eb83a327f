"""The role vocabulary: what knobs of different codebases have in common."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType

from rea.domain.codebase import Codebase, Knob, KnobType, Scalar
from rea.domain.treatment import Treatment

CALIBRATION = "calibration"  # the role, and the metric that it mends


@dataclass(frozen=True, slots=True)
class Role:
    """One role. `type`, the range and `choices` are what a new knob of this role is drafted with."""

    name: str
    meaning: str
    type: KnobType
    low: float | None
    high: float | None
    log: bool
    choices: tuple[Scalar, ...]
    patterns: tuple[str, ...]  # of names, for `guess`
    after_training: bool = False  # its effect is in no curve, only in the final metrics
    multiplies_cost: bool = False  # training takes in proportion to it
    spans_training: bool = False  # laid over all epochs that are asked for, even where training stops before


@cache
def load_roles() -> Mapping[str, Role]:
    """Every role by name, in the order in which `guess` tries them."""
    import tomllib

    text = resources.files("rea.knowledge").joinpath("roles.toml").read_text(encoding="utf-8")
    return MappingProxyType(
        {
            name: Role(
                name=name,
                meaning=entry["meaning"],
                type=KnobType(entry["type"]),
                low=entry.get("low"),
                high=entry.get("high"),
                log=entry.get("log", False),
                choices=tuple(entry.get("choices", ())),
                patterns=tuple(entry["patterns"]),
                after_training=entry.get("after_training", False),
                multiplies_cost=entry.get("multiplies_cost", False),
                spans_training=entry.get("spans_training", False),
            )
            for name, entry in tomllib.loads(text).items()
        }
    )


def role_of(knob: Knob | None) -> Role | None:
    """The role of a knob; None where there is no knob, or it has no role of the vocabulary."""
    return load_roles().get(knob.role or "") if knob is not None else None


def mends_calibration(treatment: Treatment, codebase: Codebase) -> bool:
    """Whether it calibrates scores and does nothing else, so that any model outside that guardrail can have it, too."""
    knob = codebase.by_role(CALIBRATION)
    return knob is not None and set(treatment.overrides) == {knob.name}


def guess(knob_name: str) -> str | None:
    """The role a knob probably has, by its name alone; None if nothing fits.

    The whole dotted path is tried first, against every role, then its last part: `embedding.lr` is an embedding's
    learning rate although `lr` alone is the learning rate.
    """
    path = normalise(knob_name)
    roles = load_roles()
    if path in roles:
        return path
    for text in dict.fromkeys((path, path.rsplit(".", 1)[-1])):
        for role in roles.values():
            if text == role.name or any(re.fullmatch(pattern, text) for pattern in role.patterns):
                return role.name
    return None


def normalise(knob_name: str) -> str:
    """A flag, variable or dotted path in one spelling: `--learningRate` and `LEARNING_RATE` are `learning_rate`."""
    bare = knob_name.strip().lstrip("-+").replace("-", "_").replace("/", ".")
    if any(letter.islower() for letter in bare):
        bare = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", bare)
    return bare.lower()
