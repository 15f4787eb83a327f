"""Numbers, units and words as all reports write them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rea.domain import moments
from rea.domain.codebase import Codebase, Objective, Scalar
from rea.domain.plaintext import clean
from rea.domain.plan import Plan

NOTHING = "—"
_ACRONYMS = {"ne": "NE", "auc": "AUC", "gauc": "GAUC", "ece": "ECE", "logloss": "log loss", "log_loss": "log loss"}


def percent(share: float | None, *, sign: bool = True, digits: int = 3) -> str:
    """A share as a percentage: `percent(0.00421) == "+0.421 %"`; a dash where there is no number."""
    if share is None or not math.isfinite(share):
        return NOTHING
    text = f"{share * 100:{'+' if sign else ''}.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return f"{text.replace('-', '−')}\u00a0%"  # a number and its sign of per cent stay on one line


def spread(mean: float | None, sd: float | None) -> str:
    """`+0.421 ± 0.080 %`."""
    if mean is None or sd is None or not math.isfinite(mean) or not math.isfinite(sd):
        return percent(mean)
    return f"{percent(mean)[:-2]} ± {percent(sd, sign=False)}"


def number(value: float | None, digits: int = 5) -> str:
    """A metric's value: fixed digits where it is of ordinary size."""
    if value is None or not math.isfinite(value):
        return NOTHING
    size = abs(value)
    text = f"{value:.{digits}f}" if 1e-3 <= size < 1000 or size == 0 else f"{value:.6g}"
    return text.replace("-", "−")


def figure(value: float) -> str:
    """A number of unknown kind in four significant digits."""
    return f"{value:.4g}".replace("-", "−") if math.isfinite(value) else NOTHING


def setting(value: Scalar) -> str:
    """A knob's value as a config file would hold it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    return clean(str(value))


def duration(seconds: float | None) -> str:
    """`0.15 s`, `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 0:
        return f"−{duration(-seconds)}"
    return moments.duration(seconds)


def device_word(codebase: Codebase) -> str:
    """What a device is here: GPUs where a run takes any, else cores."""
    return "GPU" if codebase.resources.gpus else "core"


def device_unit(seconds: float, codebase: Codebase) -> tuple[float, str]:
    """The seconds in a unit of device time that suits the size, and its name: hours, or minutes, or seconds."""
    word = device_word(codebase)
    if abs(seconds) < 60:
        return 1.0, f"{word}-seconds"
    return (3600.0, f"{word}-hours") if abs(seconds) >= 7200 else (60.0, f"{word}-minutes")


def device_time(seconds: float | None, codebase: Codebase) -> str:
    """`5.25 GPU-hours`, `14.2 core-minutes`."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    divisor, unit = device_unit(seconds, codebase)
    amount = seconds / divisor
    return f"{amount:.{0 if abs(amount) >= 100 else 1 if abs(amount) >= 10 else 2}f} {unit}".replace(
        "-", "−", amount < 0
    )


def device_amount(seconds: float | None, divisor: float) -> str:
    """A cell of a table whose head names the unit."""
    return NOTHING if seconds is None or not math.isfinite(seconds) else f"{seconds / divisor:.2f}".replace("-", "−")


def device_range(low: float, high: float, codebase: Codebase) -> str:
    """`3.1 to 5.2 core-hours`, in the unit that suits the larger one; below nothing is nothing."""
    divisor, unit = device_unit(high, codebase)
    return f"{max(low, 0.0) / divisor:.1f} to {high / divisor:.1f} {unit}"


def share(part: float) -> str:
    """A share in whole per cent, without a sign: `62 %`."""
    return f"{part * 100:.0f}\u00a0%" if math.isfinite(part) else NOTHING


def moment(at: float | None) -> str:
    """`2026-03-04 09:30 UTC`."""
    if at is None or not math.isfinite(at):
        return NOTHING
    try:
        return moments.utc(at)
    except (OverflowError, OSError, ValueError):
        return NOTHING


def memory(size: float) -> str:
    return f"{size / 1024**3:.1f} GiB" if size >= 1024**3 else f"{size / 1024**2:.0f} MiB"


def disk(size: float) -> str:
    """What files take: `12 KiB`, `3.4 GiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 9.95 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 run`, `3 runs`, `2 hypotheses`."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def listing(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def metric_name(objective: Objective) -> str:
    return _ACRONYMS.get(objective.metric.lower(), objective.metric)


def minimum_gain(plan: Plan | None, objective: Objective) -> float:
    return plan.rules.minimum_gain if plan else objective.minimum_gain


def of_the_record(altered: Sequence[str]) -> str:
    """Whether what a report tells is what REA wrote."""
    if not altered:
        return "every row is as REA wrote it"
    more = f" (and {len(altered) - 1} more, which rea audit verify lists)" if len(altered) > 1 else ""
    return f"NOT as REA wrote it: {altered[0]}{more}"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def shorten(text: str, size: int) -> str:
    """At most `size` characters of a line; what was cut is shown as an ellipsis."""
    text = clean(text)
    return text if len(text) <= size else text[: size - 1].rstrip() + "…"
