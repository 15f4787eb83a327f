"""The ledger: device-seconds reserved and spent, entry by entry."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class EntryKind(StrEnum):
    APPROVE = "approve"  # sets the limit: an engineer's plan command (profile) or signature (plan)
    RESERVE = "reserve"  # before a submit: wall-time limit × devices
    SETTLE = "settle"  # at the observed end: what was used; the rest of the reservation is released


class Purse(StrEnum):
    MAIN = "main"
    CONTINGENCY = "contingency"  # infrastructure retries only


@dataclass(frozen=True, slots=True)
class Entry:
    """`device_s` is the new limit (approve), the amount held (reserve) or the amount used (settle)."""

    kind: EntryKind
    device_s: float
    at: float
    attempt: int | None = None
    purse: Purse = Purse.MAIN
    note: str = ""


@dataclass(frozen=True, slots=True)
class Balance:
    """Device-seconds. The invariant, at every instant: spent + reserved ≤ approved."""

    approved: float
    spent: float
    reserved: float
    contingency_spent: float = 0.0

    @property
    def free(self) -> float:
        return self.approved - self.spent - self.reserved


def balance(entries: list[Entry] | tuple[Entry, ...]) -> Balance:
    """Add a ledger up. The latest APPROVE counts; an attempt's SETTLE replaces its RESERVE."""
    approved = 0.0
    reserved: dict[int, float] = {}
    settled: dict[int, float] = {}
    contingency = 0.0
    for entry in entries:
        if entry.kind is EntryKind.APPROVE:
            approved = entry.device_s
        elif entry.attempt is not None and entry.kind is EntryKind.RESERVE:
            reserved[entry.attempt] = entry.device_s
        elif entry.attempt is not None:
            settled[entry.attempt] = entry.device_s
            contingency += entry.device_s if entry.purse is Purse.CONTINGENCY else 0.0
    held = sum(amount for attempt, amount in reserved.items() if attempt not in settled)
    return Balance(approved, sum(settled.values()), held, contingency)
