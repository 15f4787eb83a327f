"""Data goes to standard output, everything else to standard error."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from rea.domain.codec import to_plain


def data(value: Any, text: str, as_json: bool) -> None:
    """The answer of a command: one JSON document, or the text for people."""
    try:
        # Flushed here, because what is left to the interpreter's end cannot be answered for.
        print(
            json.dumps(to_plain(value), ensure_ascii=False, default=str) if as_json else text.rstrip("\n"), flush=True
        )
    except BrokenPipeError:
        closed()


def closed() -> NoReturn:
    """The reader has gone, as `head` does: end quietly, with the code of a program that SIGPIPE ended."""
    # Whatever is still buffered goes nowhere, so that nothing complains of it at the interpreter's end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + signal.SIGPIPE)


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
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value).replace("\n", " ")
