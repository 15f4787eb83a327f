"""One line of `[knobs]`: what a setting may be, or what is wrong with what is said of it."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Final

from rea.codebase.problems import Problem, name_of, show
from rea.domain.codebase import ConfigStyle, Knob, KnobType, Scalar

if TYPE_CHECKING:
    from rea.codebase.schema import KnobTable

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def knob_of(name: str, table: KnobTable, style: str) -> tuple[Knob | None, list[Problem]]:
    key = name_of(("knobs", name))
    problems: list[Problem] = []
    if style == ConfigStyle.ENV and not _VARIABLE.fullmatch(name):
        problems.append(Problem(key, "is no name of an environment variable", "use letters, digits and underscores"))
    if not name.strip(" -."):
        problems.append(Problem(key, "has no name", None))
    kind = _knob_type(table)
    if kind is None:
        given = "is missing:" if table.type is None else f"found {show(table.type)},"
        close = difflib.get_close_matches(table.type or "", [one.value for one in KnobType], n=1)
        hint = f"did you mean {close[0]!r}?" if close else 'for example type = "float"'
        return None, [
            *problems,
            Problem(f"{key} type", f"{given} expected one of float, int, bool, str", hint),
        ]
    if table.choices is not None and table.range is not None:
        problems.append(Problem(key, "has both range and choices", "keep one: range for a number, choices for a list"))
    numeric = kind in (KnobType.FLOAT, KnobType.INT)
    if table.choices is not None:
        problems += _choice_problems(key, kind, tuple(table.choices))
    elif table.range is not None:
        problems += _range_problems(key, kind, table.range, table.log)
    elif numeric:
        problems.append(
            Problem(key, f"is {kind.value} but has neither range nor choices", "for example range = [1e-4, 1e-1]")
        )
    if table.log and table.range is None:
        problems.append(
            Problem(f"{key} log", "is true, but there is no range to search on a log scale", "give a range")
        )
    if problems:
        return None, problems
    low, high = (float(table.range[0]), float(table.range[1])) if table.range is not None else (None, None)
    choices: tuple[Scalar, ...] = tuple(table.choices or ())
    knob = Knob(name, table.role, kind, low, high, table.log, choices, table.default, table.tuned)
    if table.default is not None and not knob.allows(table.default):
        allowed = (
            f"one of {show(list(choices))}" if choices else f"{kind.value}" + (f" in {table.range}" if numeric else "")
        )
        problems.append(Problem(f"{key} default", f"found {show(table.default)}, expected {allowed}", None))
    return knob, problems


def _knob_type(table: KnobTable) -> KnobType | None:
    """The type as written; else what the choices, the default or a fractional bound say; None if nothing does."""
    if table.type is not None:
        return KnobType(table.type) if table.type in list(KnobType) else None
    samples: list[Scalar] = list(table.choices or ())
    if not samples and table.default is not None:
        samples = [table.default]
    if not samples and table.range is not None and any(isinstance(bound, float) for bound in table.range):
        return KnobType.FLOAT
    kinds = {type(sample) for sample in samples}
    if kinds == {bool}:
        return KnobType.BOOL
    if kinds == {int}:
        return KnobType.INT
    if kinds in ({float}, {int, float}):
        return KnobType.FLOAT
    return KnobType.STR if kinds == {str} else None


def _choice_problems(key: str, kind: KnobType, choices: tuple[Scalar, ...]) -> list[Problem]:
    twice = next((value for at, value in enumerate(choices) if value in choices[:at]), None)
    if twice is not None and len(set(map(type, choices))) == 1:
        return [Problem(f"{key} choices", f"found {show(twice)} twice, expected each value once", None)]
    fitting = {KnobType.BOOL: (bool,), KnobType.INT: (int,), KnobType.FLOAT: (int, float), KnobType.STR: (str,)}[kind]
    return [
        Problem(f"{key} choices", f"found {show(value)}, expected only {kind.value} values", "or correct type")
        for value in choices
        if type(value) not in fitting
    ]


def _range_problems(key: str, kind: KnobType, bounds: list[int | float], log: bool) -> list[Problem]:
    name = f"{key} range"
    if kind not in (KnobType.FLOAT, KnobType.INT):
        return [Problem(name, f"is for numbers, but the type is {kind.value}", "use choices")]
    if len(bounds) != 2 or any(isinstance(bound, bool) for bound in bounds):
        return [Problem(name, f"found {show(bounds)}, expected two numbers, low then high", "for example [1e-4, 1e-1]")]
    low, high = bounds
    if low > high:
        return [Problem(name, f"found {show(bounds)}, low and high are reversed", f"write [{high}, {low}]")]
    if low == high:
        return [Problem(name, f"found {show(bounds)}, which leaves nothing to search", "widen it, or drop the knob")]
    if kind is KnobType.INT and any(bound != int(bound) for bound in bounds):
        return [Problem(name, f"found {show(bounds)}, expected whole numbers for type int", None)]
    if log and low <= 0:
        return [
            Problem(name, f"found {show(bounds)}, but log = true needs a low bound above 0", "raise it, or drop log")
        ]
    return []
