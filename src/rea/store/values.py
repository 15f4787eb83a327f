"""Small values the store gives and takes beside those of the domain."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grant:
    """A permission an engineer gave during preflight."""

    name: str
    by: str
    at: float
