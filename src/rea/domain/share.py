"""Shares of device time that renew themselves: what may be begun within a day or a month, and what is left of it."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

DAY_S: Final = 86400.0


@dataclass(frozen=True, slots=True)
class Team:
    """Who shares device time: the campaigns of every codebase that names the same team. Limits are device-seconds."""

    name: str
    per_day_s: float | None = None
    per_month_s: float | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """Of one day or month, until it ends (Unix seconds). `used_s` counts what its attempts used, or hold.

    `yields`: the first attempt may take more than there is, so that no share is too small to begin with.
    """

    whose: str
    limit_s: float
    used_s: float
    until: float
    yields: bool = False

    def left_s(self, more_s: float = 0.0) -> float:
        """Device-seconds that are left when `more_s` are begun besides; infinite where it yields and none is
        used."""
        used = self.used_s + more_s
        return float("inf") if self.yields and used == 0 else self.limit_s - used


def day_of(now: float) -> tuple[float, float]:
    """When this day of UTC began, and when the next one does."""
    began = now - now % DAY_S
    return began, began + DAY_S


def month_of(now: float) -> tuple[float, float]:
    """When this month of UTC began, and when the next one does."""
    here = datetime.datetime.fromtimestamp(now, datetime.UTC)
    began = here.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    after = (began + datetime.timedelta(days=32)).replace(day=1)
    return began.timestamp(), after.timestamp()


def shares(
    per_day_s: float | None, team: Team | None, now: float, used: Callable[[float, str | None], float]
) -> tuple[Share, ...]:
    """The shares a campaign has to keep to now: that of its plan for a day, and its team's.

    `used` says how many device-seconds were begun since a moment, by the campaign itself (None) or by a team.
    """
    found = []
    (today, tomorrow), (first, next_) = day_of(now), month_of(now)
    if per_day_s is not None:
        found.append(Share("the plan's day", per_day_s, used(today, None), tomorrow, yields=True))
    if team is not None and team.per_day_s is not None:
        found.append(Share(f"the day of team {team.name}", team.per_day_s, used(today, team.name), tomorrow))
    if team is not None and team.per_month_s is not None:
        found.append(Share(f"the month of team {team.name}", team.per_month_s, used(first, team.name), next_))
    return tuple(found)
