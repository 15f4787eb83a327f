"""The ledger: device-seconds reserved and spent, entry by entry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
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


@dataclass
class Tally:
    """A ledger added up entry by entry. The latest APPROVE counts; an attempt's SETTLE replaces its RESERVE."""

    approved: float = 0.0
    contingency: float = 0.0
    reserved: dict[int, float] = field(default_factory=dict)  # by attempt, of those that are not settled
    settled: dict[int | None, float] = field(default_factory=dict)  # by attempt; None: of all that were added before

    def add(self, kind: EntryKind, device_s: float, attempt: int | None, purse: Purse) -> None:
        if kind is EntryKind.APPROVE:
            self.approved = device_s
        elif attempt is not None and kind is EntryKind.RESERVE:
            if attempt not in self.settled:
                self.reserved[attempt] = device_s
        elif attempt is not None:
            self.settled[attempt] = device_s
            self.contingency += device_s if purse is Purse.CONTINGENCY else 0.0
            self.reserved.pop(attempt, None)

    def copy(self) -> Tally:
        return replace(self, reserved=dict(self.reserved), settled=dict(self.settled))

    def balance(self) -> Balance:
        return Balance(self.approved, sum(self.settled.values()), sum(self.reserved.values()), self.contingency)


def balance(entries: Iterable[Entry]) -> Balance:
    tally = Tally()
    for entry in entries:
        tally.add(entry.kind, entry.device_s, entry.attempt, entry.purse)
    return tally.balance()
