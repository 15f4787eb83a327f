"""Values as people type them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rea.domain.errors import UsageError
from rea.domain.ids import number


def hypothesis_id(text: str) -> int:
    return number(text, "H")


def named_numbers(words: Sequence[str], option: str, example: str = "H-5=2") -> dict[str, float]:
    """`["H-5=2", "H-6=0.5"]` as a mapping. Raises UsageError for anything else."""
    values: dict[str, float] = {}
    for word in words:
        name, equals, text = word.partition("=")
        try:
            values[name.strip()] = float(text)
            equals = equals if math.isfinite(float(text)) else ""
        except ValueError:
            equals = ""
        if not equals:
            raise UsageError(f"{option} {word!r} is not NAME=NUMBER", hint=f"for example {option} {example}")
    return values
