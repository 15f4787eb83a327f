"""Sizes ("2GiB") and durations ("1h30m") as people write them in `rea.toml`."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Final

_SIZES: Final[dict[str, int]] = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
_SECONDS: Final[dict[str, int]] = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")
_DURATION = re.compile(
    r"\s*(?:(?P<d>\d+(?:\.\d+)?)d)?\s*(?:(?P<h>\d+(?:\.\d+)?)h)?"
    r"\s*(?:(?P<m>\d+(?:\.\d+)?)m)?\s*(?:(?P<s>\d+(?:\.\d+)?)s)?\s*"
)

SIZE_EXPECTED: Final = 'a size with its unit, such as "2GiB" or "512MB" (KB, MB, GB, TB, KiB, MiB, GiB, TiB)'
DURATION_EXPECTED: Final = 'a duration with its unit, such as "90s", "10m", "1h30m" or "2d"'


def parse_size(text: str) -> int:
    """Bytes in `text`: "2GiB" is 2 × 2³⁰, "512MB" is 512 × 10⁶. Raises ValueError saying what was expected."""
    found = _SIZE.fullmatch(text)
    factor = _SIZES.get(found.group(2).upper()) if found else None
    if found is None or factor is None:
        raise ValueError(SIZE_EXPECTED)
    size = round(Fraction(found.group(1)) * factor)
    if size < 1:
        raise ValueError(f"{SIZE_EXPECTED}, at least one byte")
    return size


def parse_duration(text: str) -> float:
    """Seconds in `text`: "1h30m" is 5400. Raises ValueError saying what was expected."""
    found = _DURATION.fullmatch(text)
    parts = {unit: value for unit, value in found.groupdict().items() if value} if found else {}
    if not parts:
        raise ValueError(DURATION_EXPECTED)
    seconds = math.fsum(float(value) * _SECONDS[unit] for unit, value in parts.items())
    if seconds <= 0:
        raise ValueError(f"{DURATION_EXPECTED}, longer than nothing")
    return seconds
