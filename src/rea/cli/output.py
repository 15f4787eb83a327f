"""Data goes to standard output, everything else to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from rea.domain.codec import to_plain


def data(value: Any, text: str, as_json: bool) -> None:
    """The answer of a command: one JSON document, or the text for people."""
    print(json.dumps(to_plain(value), ensure_ascii=False, default=str) if as_json else text.rstrip("\n"))


def note(text: str) -> None:
    """Something on the side, for people."""
    print(text, file=sys.stderr, flush=True)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns padded with blanks; numbers to the right."""
    cells = [[_text(value) for value in row] for row in rows]
    widths = [max([len(title), *(len(row[i]) for row in cells)]) for i, title in enumerate(header)]
    right = [
        bool(rows) and all(isinstance(row[i], int | float) or row[i] is None for row in rows)
        for i in range(len(header))
    ]
    lines = [_line(header, widths, right), _line(["─" * width for width in widths], widths, right)]
    lines += [_line(row, widths, right) for row in cells]
    return "\n".join(lines)


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    pairs = zip(row, widths, right, strict=True)
    return "  ".join(text.rjust(width) if flush else text.ljust(width) for text, width, flush in pairs).rstrip()


def _text(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("\n", " ")
