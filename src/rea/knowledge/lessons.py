"""Telling whether two failures that no runbook knows are the same one."""

from __future__ import annotations

import re
from typing import Final

_LONGEST: Final = 200
_VARYING: Final = (
    (re.compile(r"0x[0-9a-fA-F]+"), "#"),
    (re.compile(r"(?:[A-Za-z]:)?(?:[\\/][\w.+~-]{1,80}){2,30}"), "/…"),
    (re.compile(r"'[^']{0,200}'|\"[^\"]{0,200}\""), "'…'"),
    (re.compile(r"\b[0-9a-f]{8,64}\b"), "#"),
    (re.compile(r"\d+(?:[.,]\d+)*(?:e[+-]?\d+)?"), "#"),
    (re.compile(r"\s+"), " "),
)


def pattern_of(line: str) -> str:
    """The line with a sign in the place of what differs from case to case: numbers, addresses, paths, quoted words."""
    text = line.strip()[: 10 * _LONGEST]
    for what, sign in _VARYING:
        text = what.sub(sign, text)
    return text[:_LONGEST]
