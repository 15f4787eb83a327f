"""What is wrong with a `rea.toml`, in its own words: the key as it stands there, what was found, what was expected."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rea.domain.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Problem:
    key: str  # as a person finds it in the file, for example `[objective] direction`
    text: str
    hint: str | None = None


def explain(detail: Mapping[str, Any], raw: Mapping[str, Any]) -> Problem:
    """One Pydantic error in the words of `rea.toml`."""
    from rea.codebase.schema import expected_at, known_keys

    # Union branches and list positions are Pydantic's own words; keep what stands in the file.
    location = _in_file(tuple(detail["loc"]), raw)
    kind = detail["type"]
    found = _value_at(raw, location)
    expected = expected_at(location)
    if kind == "missing":
        return Problem(name_of(location), "is missing", f"expected {expected}")
    if kind == "extra_forbidden":
        key = str(location[-1])
        if location[:1] == ("knobs",) and isinstance(found, dict):
            whole = f"{location[1]}.{key}"
            return Problem(
                "[knobs]", f"{whole} is read as nested tables", f'write the name in quotes: "{whole}" = {{ … }}'
            )
        keys = known_keys(location)
        close = difflib.get_close_matches(key, keys, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(keys)}"
        if len(location) == 1:
            name, what = (f"[{key}]", "table") if isinstance(found, dict | list) else (key, "key")
            shown = [f"[{known}]" for known in keys]
            hint = f"did you mean [{close[0]}]?" if close else f"known here: {', '.join(shown)}"
            return Problem(name, f"is not a {what} REA knows", hint)
        return Problem(f"{name_of(location[:-1])} {key}", "is not a key REA knows", hint)
    if kind == "value_error":
        expected = str(detail["ctx"]["error"])
    return Problem(name_of(location), f"found {show(found)}, expected {expected or detail['msg']}")


def _in_file(location: tuple[Any, ...], raw: Mapping[str, Any]) -> tuple[Any, ...]:
    kept: list[Any] = []
    here: Any = raw
    for part in location:
        inside = (isinstance(here, dict) and part in here) or (
            isinstance(here, list) and isinstance(part, int) and part < len(here)
        )
        if not inside:
            if isinstance(here, dict):
                kept.append(part)
            break
        kept.append(part)
        here = here[part]
    return tuple(kept)


def _value_at(raw: Any, location: Iterable[Any]) -> Any:
    for part in location:
        try:
            raw = raw[part]
        except (KeyError, IndexError, TypeError):
            return None
    return raw


def name_of(location: tuple[Any, ...]) -> str:
    """`("objective", "guardrail", 0, "min")` → `[[objective.guardrail]] no. 1 min`."""
    if not location:
        return "the file"
    if location[:2] == ("objective", "guardrail") and len(location) > 2:
        rest = " ".join(str(part) for part in location[3:])
        return f"[[objective.guardrail]] no. {location[2] + 1} {rest}".rstrip()
    if location[0] == "knobs" and len(location) > 1:
        rest = " ".join(str(part) for part in location[2:3])
        return f'[knobs] "{location[1]}" {rest}'.rstrip()
    rest = " ".join(f"no. {part + 1}" if isinstance(part, int) else str(part) for part in location[1:])
    return f"[{location[0]}] {rest}".rstrip()


def show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
    return text if len(text) <= 80 else f"{text[:77]}…"


def complain(path: Path, problems: Iterable[Problem]) -> None:
    listed = list(problems)
    if not listed:
        return
    first = listed[0]
    if len(listed) == 1:
        raise ConfigError(f"{path}: {first.key} {first.text}", hint=first.hint or f"correct it in {path.name}")
    lines = [f"{p.key} {p.text}" + (f" ({p.hint})" if p.hint else "") for p in listed]
    raise ConfigError(
        f"{path}: {len(listed)} problems\n  - " + "\n  - ".join(lines), hint=f"correct them in {path.name}"
    )
