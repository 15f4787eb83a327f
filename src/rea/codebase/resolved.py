"""What the trainer says it trained with, compared with what was asked of it.

A trainer that silently ignores an override would make a hypothesis look refuted when it was never tested.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, Final

from rea.codebase.trees import from_config, leaves, number
from rea.domain import plainfile
from rea.domain.codebase import Scalar

LINES_BYTES: Final = 8 * 2**20  # of a metrics file
DOCUMENT_BYTES: Final = 2**20  # of a config
MOST_LEAVES: Final = 20_000
_TOLERANCE: Final = 1e-6  # relative; a trainer may report a float32
_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})
_NOTHING: Final = frozenset({"", "null", "none", "~"})


class Agreement(StrEnum):
    """What a trainer's report says about the overrides asked of it."""

    VERIFIED = "verified"  # every asked value was reported back
    UNVERIFIED = "unverified"  # nothing was reported, or not every asked knob
    MISMATCH = "mismatch"  # a value was reported that is not the one asked


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One knob the trainer did not take as asked. `reported` is False where it does not mention the knob at all."""

    name: str
    asked: Scalar
    found: Scalar
    reported: bool

    def describe(self) -> str:
        if not self.reported:
            return f"{self.name} was set to {self.asked!r}, and the trainer does not report it"
        return f"{self.name} was set to {self.asked!r}, but the trainer used {self.found!r}"


@dataclass(frozen=True, slots=True)
class Resolved:
    """The config a trainer reported, and where it was found."""

    values: Mapping[str, Any]
    source: str


@dataclass(frozen=True, slots=True)
class Verification:
    agreement: Agreement
    text: str
    mismatches: tuple[Mismatch, ...] = ()
    source: str | None = None


def verify(asked: Mapping[str, Scalar], run_dir: Path) -> Verification:
    """Whether the run in `run_dir` trained with the overrides asked for, with a text for people."""
    return judge(asked, read(run_dir))


def judge(asked: Mapping[str, Scalar], resolved: Resolved | None) -> Verification:
    """The same for a config already read; pure."""
    if not asked:
        return Verification(Agreement.VERIFIED, "nothing was overridden", source=resolved.source if resolved else None)
    if resolved is None:
        return Verification(
            Agreement.UNVERIFIED,
            'the trainer did not report its config; one line {"config": {…}} in its metrics would let REA check it',
        )
    missed = compare(asked, resolved.values)
    wrong = tuple(mismatch for mismatch in missed if mismatch.reported)
    said = "; ".join(mismatch.describe() for mismatch in wrong or missed)
    if wrong:
        return Verification(Agreement.MISMATCH, f"{said} (reported in {resolved.source})", missed, resolved.source)
    if missed:
        return Verification(Agreement.UNVERIFIED, f"{said} (in {resolved.source})", missed, resolved.source)
    return Verification(Agreement.VERIFIED, f"every value was reported back in {resolved.source}", (), resolved.source)


def read(run_dir: Path) -> Resolved | None:
    """The config that the trainer reported; the first found of these wins, None if there is none.

    A line `{"config": {…}}` in metrics.jsonl (the last such line), `resolved.json` or `resolved.yaml`, and Hydra's
    `.hydra/config.yaml` anywhere below the run's directory. What cannot be read counts as not reported.
    """
    reported = None
    for line in _lines(run_dir / "metrics.jsonl"):
        value = _json(line) if '"config"' in line else None
        if isinstance(value, dict) and isinstance(value.get("config"), dict):
            reported = value["config"]
    if reported is not None:
        return Resolved(reported, "metrics.jsonl")
    for name in ("resolved.json", "resolved.yaml", "resolved.yml"):
        value = _document(run_dir / name)
        if value is not None:
            return Resolved(value, name)
    for path in sorted(run_dir.glob("**/.hydra/config.yaml")):
        value = _document(path)
        if value is not None:
            return Resolved(value, path.relative_to(run_dir).as_posix())
    return None


def compare(asked: Mapping[str, Scalar], resolved: Mapping[str, Any] | None) -> tuple[Mismatch, ...]:
    """The asked values that `resolved` does not confirm; nothing if `resolved` is None.

    Spelling does not count: "optim.lr", {"optim": {"lr": …}}, "optim_lr", "--optim-lr" and "OPTIM_LR" are one name, and
    where no such name is reported, a last part alone ("lr") stands for it. Neither does the form of a value: 1e-3 and
    "0.001", True and "true", "128,64" and [128, 64], null and "none" are the same.
    """
    if resolved is None:
        return ()
    table = [(_words(path), value) for path, value in _all(resolved)]
    missed = []
    for name, value in asked.items():
        found = _reported(_words(name.lstrip("-").split(".")), table)
        if not found:
            missed.append(Mismatch(name, value, None, reported=False))
        elif not any(agrees(value, one) for one in found):
            missed.append(Mismatch(name, value, from_config(found[0]), reported=True))
    return tuple(missed)


def agrees(asked: Scalar, found: Any) -> bool:
    """Whether two spellings mean one value."""
    if isinstance(asked, bool):
        text = str(found).strip().lower()
        return text in (_TRUE if asked else _FALSE)
    if asked is None:
        return found is None or (isinstance(found, str) and found.strip().lower() in _NOTHING)
    if isinstance(found, list | tuple) or (isinstance(asked, str) and _is_list(asked) and isinstance(found, str)):
        return _same_items(str(asked), found)
    if isinstance(found, bool):
        return isinstance(asked, str) and agrees(found, asked)
    if asked == found:
        return True
    left = number(asked) if isinstance(asked, str) else asked
    right = number(found) if isinstance(found, str) else found
    if isinstance(left, int | float) and isinstance(right, int | float):
        return math.isclose(left, right, rel_tol=_TOLERANCE)
    return isinstance(asked, str) and found is None and asked.strip().lower() in _NOTHING


def _is_list(text: str) -> bool:
    return "," in text or text.strip().startswith("[")


def _same_items(asked: str, found: Any) -> bool:
    left = _items(asked)
    right = _items(found) if isinstance(found, str) else list(found)
    if len(left) != len(right):
        return False
    return all(agrees(a, b) or str(a) == str(b) for a, b in zip(left, right, strict=True))


def _items(text: str) -> list[str]:
    inside = text.strip().removeprefix("[").removeprefix("(").removesuffix("]").removesuffix(")")
    return [item.strip().strip("'\"") for item in inside.split(",") if item.strip()]


def _words(path: Any) -> tuple[str, ...]:
    """A path in one spelling: lower case, its parts split at dots, dashes as underscores."""
    parts = [part for key in path for part in str(key).split(".")]
    return tuple(re.sub(r"[\s-]+", "_", part.strip()).casefold() for part in parts)


def _all(resolved: Mapping[str, Any]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    # A few lines of YAML with anchors can stand for more leaves than there is time for.
    for path, value in islice(leaves(resolved), MOST_LEAVES):
        if path:
            yield path, value


def _reported(name: tuple[str, ...], table: list[tuple[tuple[str, ...], Any]]) -> list[Any]:
    """The reported values that `name` may mean, from its most exact spelling on."""
    joined = "_".join(name)
    for fits in (
        lambda path: path == name,
        lambda path: "_".join(path) == joined,
        lambda path: path[-len(name) :] == name,
        lambda path: path == name[-1:],
    ):
        found = [value for path, value in table if fits(path)]
        if found:
            return found
    return []


def _lines(path: Path) -> list[str]:
    """The lines of a text file; none if it cannot be read."""
    return plainfile.head(path, LINES_BYTES).decode("utf-8", "replace").splitlines()


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _document(path: Path) -> Mapping[str, Any] | None:
    try:
        text = plainfile.head(path, DOCUMENT_BYTES).decode()
    except UnicodeDecodeError:
        return None
    if path.suffix == ".json":
        value = _json(text)
    else:
        import yaml

        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError):
            return None
    return value if isinstance(value, dict) else None
