"""Saying a technique in the knobs of one codebase."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from rea.domain.codebase import Codebase, Knob, KnobType, Scalar, same
from rea.domain.technique import Relative, Setting, Technique, Wanted
from rea.domain.treatment import Treatment

_ON = frozenset({"true", "on", "yes"})
_OFF = frozenset({"false", "off", "no", "none"})


def express(technique: Technique, codebase: Codebase, values: Mapping[str, Scalar]) -> tuple[Treatment, ...]:
    """The alternatives of a technique that this codebase's knobs can express, best first.

    `values` are the baseline's present values by knob name; where one is missing the knob's default stands in. A
    treatment is never empty, sets only what differs from the baseline, and every value is allowed by its knob. Empty
    when the baseline does not meet what the technique requires, or has all of it already.
    """
    if not all(_meets(codebase, values, role, wanted) for role, wanted in technique.requires.items()):
        return ()
    treatments = [apply(setting, codebase, values) for setting in technique.settings]
    return tuple({found.key(): found for found in treatments if found is not None}.values())


def unmet(technique: Technique, codebase: Codebase, values: Mapping[str, Scalar]) -> str:
    """What the technique builds on and the baseline has not, in words; empty where it has it all."""
    for role, wanted in technique.requires.items():
        if not _meets(codebase, values, role, wanted):
            knob = codebase.by_role(role)
            now = None if knob is None else values.get(knob.name, knob.default)
            of = " or ".join("none" if value is None else str(value) for value in wanted)
            return f"the baseline lacks what is needed: {role} is {'none' if now is None else now}, not {of}"
    return ""


def apply(setting: Setting, codebase: Codebase, values: Mapping[str, Scalar]) -> Treatment | None:
    """One setting as overrides of the first knob of each role, or None if any role of it cannot be set.

    Relative numbers start from the baseline's value; numbers are rounded for whole-number knobs and clipped into the
    knob's range, or moved to its nearest choice, but never past the baseline in the wrong direction. Texts match
    choices whatever their case and whether written with `-`, `_` or nothing; `true` is the first choice that is not
    "off" (empty, none, zero). None as well if nothing would change.
    """
    overrides: dict[str, Scalar] = {}
    for role, wanted in setting.items():
        knob = codebase.by_role(role)
        if knob is None:
            return None
        base = values.get(knob.name, knob.default)
        value = _value(knob, wanted, base)
        if value is None:
            return None
        if not _alike(value, base):
            overrides[knob.name] = value
    return Treatment(overrides) if overrides else None


def needs(technique: Technique, codebase: Codebase) -> tuple[str, ...]:
    """What this codebase would have to grow to express the technique; empty if some alternative needs nothing.

    A role without a knob is given by name (`"numeric_encoding"`), a knob that lacks the choice as
    `"interaction=finalnet"`. Of several alternatives, the one that lacks least is told.
    """
    required = [role for role in technique.requires if codebase.by_role(role) is None]
    lacking = [[*required, *_lacking(setting, codebase)] for setting in technique.settings]
    least = min(len(found) for found in lacking)
    return tuple(dict.fromkeys(next(found for found in lacking if len(found) == least)))


def _lacking(setting: Setting, codebase: Codebase) -> list[str]:
    found = []
    for role, wanted in setting.items():
        knob = codebase.by_role(role)
        if knob is None:
            found.append(role)
        elif not isinstance(wanted, Relative) and _value(knob, wanted, None) is None:
            found.append(f"{role}={wanted}")
    return found


def _meets(codebase: Codebase, values: Mapping[str, Scalar], role: str, wanted: Sequence[Scalar]) -> bool:
    knob = codebase.by_role(role)
    if knob is None:
        return False
    base = values.get(knob.name, knob.default)
    present = "none" if base is None else base  # a config says null where a card says none
    return any(_alike(present, value) for value in wanted)


def _value(knob: Knob, wanted: Wanted, base: Scalar) -> Scalar:
    """The knob's value for what is wanted; None if it has none."""
    if isinstance(wanted, Relative):
        return _relative(knob, wanted, base)
    if knob.choices:
        if wanted is True and not any(isinstance(choice, bool) for choice in knob.choices):
            return _switched_on(knob, base)
        named = next((choice for choice in knob.choices if _alike(choice, wanted)), None)
        return named if named is not None else _nearest(knob, _number(wanted))
    if knob.type is KnobType.BOOL:
        return _switch(wanted)
    if knob.numeric:
        number = _number(wanted)
        return None if number is None else _fit(knob, number)
    return wanted if isinstance(wanted, str) else None


def _relative(knob: Knob, wanted: Relative, base: Scalar) -> Scalar:
    start = _number(base)
    if start is not None and (start != 0 or wanted.step != 0):
        target = start * wanted.factor + wanted.step
        if not math.isfinite(target):
            return None
        value = _nearest(knob, target, start) if knob.choices else _fit(knob, _round(target)) if knob.numeric else None
        landed = _number(value)
        return value if landed is not None and (landed - start) * (target - start) > 0 else None
    if units := _units(base):
        return _widths(knob, str(base), units, wanted.factor)
    return None if wanted.otherwise is None else _value(knob, wanted.otherwise, base)


def _fit(knob: Knob, number: float) -> Scalar:
    """The nearest number inside the knob's range; None if a whole-number range holds none."""
    whole = knob.type is KnobType.INT
    low = -math.inf if knob.low is None else math.ceil(knob.low) if whole else knob.low
    high = math.inf if knob.high is None else math.floor(knob.high) if whole else knob.high
    if low > high:
        return None
    if whole:
        return int(min(max(math.floor(number + 0.5), low), high))
    return float(min(max(number, low), high))


def _nearest(knob: Knob, target: float | None, start: float | None = None) -> Scalar:
    """The choice nearest to a number; with `start`, only choices on the target's side of it. Ties go to the first."""
    numbered = [(number, choice) for choice in knob.choices if (number := _number(choice)) is not None]
    if start is not None and target is not None:
        numbered = [pair for pair in numbered if (pair[0] - start) * (target - start) > 0]
    if target is None or not numbered:
        return None
    return min(numbered, key=lambda pair: abs(pair[0] - target))[1]


def _widths(knob: Knob, base: str, units: Sequence[int], factor: float) -> Scalar:
    """A list of layer widths ("128,64") with every layer scaled, or the choice whose total is nearest to that."""
    total = sum(units)
    scaled = [max(1, math.floor(unit * factor + 0.5)) for unit in units]
    if not knob.choices:
        separator = re.sub(r"\d", " ", base).split() or [","]
        return separator[0].join(map(str, scaled)) if knob.type is KnobType.STR else None
    sized = [(sum(found), choice) for choice in knob.choices if (found := _units(choice))]
    beyond = [pair for pair in sized if (pair[0] - total) * (factor - 1) > 0]
    return min(beyond, key=lambda pair: abs(pair[0] - sum(scaled)))[1] if beyond else None


def _units(value: Scalar) -> tuple[int, ...]:
    """The widths in "128,64", "128-64" or "128x64"; empty for anything else."""
    if not isinstance(value, str) or not re.fullmatch(r"\d{1,6}(?:[,x-]\d{1,6}){1,15}", value):
        return ()
    return tuple(int(part) for part in re.split(r"[,x-]", value))


def _switch(wanted: Scalar) -> bool | None:
    """On or off, for a boolean knob: any number but zero switches on."""
    if isinstance(wanted, str):
        word = _plain(wanted)
        return True if word in _ON else False if word in _OFF else None
    return None if wanted is None else bool(wanted)


def _switched_on(knob: Knob, base: Scalar) -> Scalar:
    """For a knob whose choices are ways of having something: the baseline's, else the first that is not "off"."""
    on = [choice for choice in knob.choices if not _off(choice)]
    return base if any(_alike(choice, base) for choice in on) else next(iter(on), None)


def _off(value: Scalar) -> bool:
    return not value or (isinstance(value, str) and _plain(value) in {"", *_OFF})


def _number(value: Scalar) -> float | None:
    """A finite number, also one written as text; a boolean is none."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _round(number: float) -> float:
    """Six significant digits: 0.1 × 3 is 0.3, in every treatment and in every digest."""
    return float(f"{number:.6g}")


def _alike(left: Scalar, right: Scalar) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return _plain(left) == _plain(right)
    if isinstance(left, str) != isinstance(right, str) and not isinstance(left, bool) and not isinstance(right, bool):
        return (number := _number(left)) is not None and same(number, _number(right))
    return same(left, right)


def _plain(text: str) -> str:
    return re.sub(r"[-_\s]", "", text).lower()
