"""A forecast in words: what an engineer should know of a plan before signing it."""

from __future__ import annotations

from collections.abc import Callable

from rea.domain.codebase import Codebase
from rea.report import text
from rea.simulation.forecast import Forecast, Spread, Weather

_WEATHER = {
    Weather.CALM: "nothing goes wrong",
    Weather.USUAL: "{untrainable} of treatments cannot be trained and {lost} of attempts are lost",
    Weather.STORM: "{untrainable} of treatments cannot be trained, {lost} of attempts are lost, and processes,"
    " scheduler and clocks fail as they can",
}


def render(found: Forecast, codebase: Codebase) -> str:
    """Words and a small table, for a terminal."""
    slots = text.plural(found.slots, "slot")
    weather = _WEATHER[found.weather].format(untrainable=_share(found.untrainable), lost=_share(found.lost))
    head = f"{found.campaign}, plan {found.plan}: {found.campaigns} simulated campaigns on {slots}; {weather}."
    divisor, unit = text.device_unit(found.device_s.p90, codebase)
    rows = [
        ("", "1 in 10 below", "half below", "9 in 10 below"),
        ("wall time", *_cells(found.wall_s, text.duration)),
        ("end", *_cells(found.ends_at, text.moment)),
        (unit, *_cells(found.device_s, lambda value: text.device_amount(value, divisor))),
        ("share of the budget", *_cells(found.budget_share, text.share)),
        ("trainings", *_cells(found.runs, lambda value: f"{value:.0f}")),
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    table = [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in rows
    ]
    return "\n".join([head, "", *table, "", *_words(found), *_against_the_plan(found, codebase)])


def _cells(spread: Spread, said: Callable[[float], str]) -> tuple[str, ...]:
    return tuple(said(value) for value in (spread.p10, spread.p50, spread.p90))


def _words(found: Forecast) -> list[str]:
    out = [f"{_share(found.launched)} end with a launch proposal{_gain(found)}."]
    out.append(f"{_share(found.used_up)} spend the whole budget and leave hypotheses that are worth a run untested.")
    paused = f"{_share(found.paused_for_budget)} pause because the budget is too small to go on"
    if found.paused_otherwise:
        paused += f", {_share(found.paused_otherwise)} pause or fail for another reason"
    return [*out, f"{paused}."]


def _gain(found: Forecast) -> str:
    if found.gain is None:
        return ""
    return (
        f", which truly gains {text.percent(found.gain, digits=2)} on average, as far as the plan's beliefs are right;"
        f" over all campaigns that is {text.percent(found.expected_gain, digits=2)}"
    )


def _against_the_plan(found: Forecast, codebase: Codebase) -> list[str]:
    planned = text.device_time(found.planned_device_s, codebase)
    low, high = found.planned_interval_s
    wall = text.duration(found.planned_wall_s)
    told = f"{planned} (90 %: {text.device_range(low, high, codebase)}) and {wall}"
    if found.device_agrees and found.wall_agrees:
        return [f"The plan's own estimate agrees: {told}."]
    out = []
    if not found.device_agrees:
        out.append(f"use {'more' if found.device_s.p50 > found.planned_device_s else 'less'} device time")
    if not found.wall_agrees:
        out.append(f"take {'longer' if found.wall_s.p50 > found.planned_wall_s else 'less time'}")
    return [f"They {text.listing(out)} than the plan's own estimate says, by more than the spread: {told}."]


def _share(part: float) -> str:
    """A probability in per cent: in tenths below one."""
    return text.percent(part, sign=False, digits=1 if 0 < part < 0.01 else 0)
