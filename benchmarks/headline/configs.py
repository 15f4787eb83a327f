"""Configs as flat mappings, and the identity of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

Scalar = bool | int | float | str
BASE = Path(__file__).with_name("base.yaml")


def read_yaml(path: Path) -> dict[str, dict[str, Scalar]]:
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8"))


def flat(sections: Mapping[str, Mapping[str, Scalar]]) -> dict[str, Scalar]:
    """{"model": {"lr": 1}} as {"model.lr": 1}; the section `data` is left out, it belongs to the task."""
    return {
        f"{section}.{key}": value
        for section, keys in sections.items()
        if section != "data"
        for key, value in keys.items()
    }


def nested(values: Mapping[str, Scalar]) -> dict[str, dict[str, Scalar]]:
    sections: dict[str, dict[str, Scalar]] = {}
    for name, value in values.items():
        section, key = name.split(".", 1)
        sections.setdefault(section, {})[key] = value
    return sections


@cache
def base() -> Mapping[str, Scalar]:
    """The settings of base.yaml."""
    return flat(read_yaml(BASE))


def difference(values: Mapping[str, Scalar], neutral: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """What differs from `neutral`, sorted, each number in the type it has there, so that equal settings are equal text.

    Raises KeyError for a setting that `neutral` does not have.
    """
    found: dict[str, Scalar] = {}
    for name in sorted(values):
        if name not in neutral:
            raise KeyError(f"{name} is no setting of the trainer")
        usual, value = neutral[name], values[name]
        if isinstance(usual, float) and not isinstance(value, bool | str):
            value = float(value)
        if isinstance(usual, int) and not isinstance(usual, bool) and isinstance(value, float) and value == int(value):
            value = int(value)
        if value != usual:
            found[name] = value
    return found


def key(task: str, config: Mapping[str, Scalar], seed: int) -> str:
    """The identity of a run: its task, what differs from the neutral settings, its seed."""
    return json.dumps([task, dict(sorted(config.items())), seed])


def whole(config: Mapping[str, Scalar], neutral: Mapping[str, Scalar], data: Path) -> dict[str, Any]:
    """A complete config as the trainer reads it, over data in the npz format."""
    return {"data": {"format": "npz", "path": str(data)}, **nested({**neutral, **config})}
