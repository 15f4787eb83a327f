"""Data goes to standard output, everything else to standard error."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO

from rea.domain.codec import to_plain
from rea.domain.plaintext import clean_block

_HARMLESS = "\t\u2060"  # reports put a word joiner where a browser would make something of a plain word
NARROWEST = 12  # characters that a column of a table keeps where it has them


def data(value: Any, text: str, as_json: bool) -> None:
    """The answer of a command: one JSON document, or the text for people."""
    if as_json:
        # An encoding that lacks letters would have them escaped as no JSON has it.
        said = json.dumps(to_plain(value), ensure_ascii=not _takes_all(sys.stdout), default=str)
    else:
        said = _shown(text)
    try:
        # Flushed here, because what is left to the interpreter's end cannot be answered for.
        print(said, flush=True)
    except BrokenPipeError:
        closed()


def _takes_all(stream: TextIO) -> bool:
    """Whether its encoding has every letter."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")


def _shown(text: str) -> str:
    """Without what would steer a terminal: much of it comes from trainers."""
    return clean_block(text, keep=_HARMLESS).rstrip("\n")


def markdown(text: str) -> None:
    """A document for people: rendered where a terminal shows it, as it is where it goes on to a file or a program."""
    if not sys.stdout.isatty():
        data(None, text, False)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    with console.capture() as rendered:
        console.print(Markdown(clean_block(text)))
    try:
        print(rendered.get().rstrip("\n"), flush=True)
    except BrokenPipeError:
        closed()


def closed() -> NoReturn:
    """The reader has gone, as `head` does: end quietly, with the code of a program that SIGPIPE ended."""
    _discard(sys.stdout)
    sys.exit(128 + signal.SIGPIPE)


def unwritten(error: OSError) -> NoReturn:
    """Say what the system refused and end; it may be that very output that it has no room for."""
    with suppress(OSError):
        note(f"rea: {_refused(error)}")
    _discard(sys.stdout)
    _discard(sys.stderr)
    sys.exit(1)


def _refused(error: OSError) -> str:
    """In words what the system refused, and what to do where that can be told."""
    if not isinstance(error.filename, str | bytes):
        try:
            Path.cwd()
        except FileNotFoundError:
            return "the working directory is not there any more\n  → cd to a folder that is"
        return str(error)
    place = Path(os.fsdecode(error.filename))
    if error.errno in (errno.EACCES, errno.EPERM):
        from rea.domain.plainfile import shut

        look = f"`ls -ld {shlex.quote(str(shut(place) or place))}` shows who may"
        return f"{place}: {error.strerror}\n  → this user must be allowed to use it: {look}"
    if error.errno == errno.ELOOP:
        look = f"`ls -l {shlex.quote(str(place))}` shows where"
        return f"{place}: its symbolic links lead in a circle\n  → put a file or folder in their place: {look}"
    return str(error)


def _discard(stream: TextIO) -> None:
    """Whatever is still buffered goes nowhere, so that nothing complains of it at the interpreter's end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def note(text: str) -> None:
    """Something on the side, for people."""
    print(_shown(text), file=sys.stderr, flush=True)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns padded with blanks; numbers to the right. On a terminal the widest columns are cut to its width."""
    cells = [[_text(value) for value in row] for row in rows]
    widths = [max([len(title), *(len(row[i]) for row in cells)]) for i, title in enumerate(header)]
    if sys.stdout.isatty():
        widths = _narrowed(widths, [len(title) for title in header], shutil.get_terminal_size().columns)
        cells = [[_cut(text, width) for text, width in zip(row, widths, strict=True)] for row in cells]
    right = [
        bool(rows) and all(isinstance(row[i], int | float) or row[i] is None for row in rows)
        for i in range(len(header))
    ]
    lines = [_line(header, widths, right), _line(["─" * width for width in widths], widths, right)]
    lines += [_line(row, widths, right) for row in cells]
    return "\n".join(lines)


def _narrowed(widths: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Widths that fit `room` with their gaps, the widest columns narrowed first, none below its least."""
    widths = list(widths)
    while sum(widths) + 2 * (len(widths) - 1) > room:
        loose = [i for i, width in enumerate(widths) if width > max(least[i], NARROWEST)]
        if not loose:
            break
        widths[max(loose, key=lambda i: widths[i])] -= 1
    return widths


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    pairs = zip(row, widths, right, strict=True)
    return "  ".join(text.rjust(width) if flush else text.ljust(width) for text, width, flush in pairs).rstrip()


def _text(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value).replace("\n", " ")
