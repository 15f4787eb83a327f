"""Reading a log for what went wrong first: its ranks, its tracebacks, and whether the training survived them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

TAIL_BYTES: Final = 64 * 1024
LINE_CHARACTERS: Final = 2_000
_RANK: Final = re.compile(r"\[(?:rank|default)(\d{1,5})\]:?\s?")
_ROOT_CAUSE: Final = re.compile(r"Root Cause \(first observed failure\)")
_ROOT_RANK: Final = re.compile(r"\s*rank\s*: (\d{1,5})\b")
_ROOT_LINES: Final = 8  # below the words "Root Cause" in which torchrun names the rank
_BEGINS: Final = "Traceback (most recent call last)"
_GOES_ON: Final = re.compile(
    r"During handling of the above exception, another|The above exception was the direct cause"
)
# What only a training that goes on says: a reading, or a step with its numbers.
_PROGRESS: Final = re.compile(
    r"^\{.*\"(?:step|epoch|split)\"\s*:|\b(?:epoch|step|iter(?:ation)?|batch)\b[ =:#]*\d.{0,80}\d|\d+(?:\.\d+)? ?it/s",
    re.IGNORECASE,
)
_ERROR_LINE: Final = re.compile(
    r"^(?:[\w.\[\]-]{1,60}: )?(?:error|fatal|critical)\b|^[\w.]{1,80}(?:Error|Exception|Interrupt)(?::|$)|"
    r"\b(?:ERROR|FATAL|CRITICAL)\b|terminate called after|^Killed$|^Segmentation fault|core dumped",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a line stands among errors. `block` counts the errors of the log, a traceback with all its causes as one;
    None of a line that is part of none. `survived`: the training went on after it."""

    block: int | None
    survived: bool


@dataclass(frozen=True, slots=True)
class Trace:
    """The end of a log, line by line without the marks of ranks; lines of ranks that failed later are left out.

    `shown` are the same lines as they stand there. `rank` is the one that failed first, where the log tells ranks
    apart; `numbers` are the places of the lines in the tail.
    """

    lines: tuple[str, ...]
    shown: tuple[str, ...]
    places: tuple[Place, ...]
    numbers: tuple[int, ...]
    total: int
    rank: int | None = None

    def telling(self, place: int) -> str:
        """The line itself, or, where a traceback begins, the exception at its end."""
        if self.lines[place].startswith(_BEGINS):
            after = range(place + 1, len(self.lines))
            place = next((i for i in after if self.lines[i] and not self.lines[i][0].isspace()), place)
        return self.shown[place]


def read(log_tail: str) -> Trace:
    """Only the last 64 KiB are looked at, lines cut at 2,000 characters."""
    tail = log_tail[-TAIL_BYTES:].encode("utf-8", "replace")[-TAIL_BYTES:].decode("utf-8", "ignore")
    raw = [line.rstrip()[:LINE_CHARACTERS] for line in tail.splitlines()]
    ranks: list[int | None] = []
    lines: list[str] = []
    for line in raw:
        found = _RANK.match(line)
        ranks.append(int(found.group(1)) if found else None)
        lines.append(line[found.end() :] if found else line)
    first = _first_rank(lines, ranks)
    kept = [i for i, rank in enumerate(ranks) if first is None or rank in (None, first)]
    text = tuple(lines[i] for i in kept)
    return Trace(text, tuple(raw[i] for i in kept), _places(text), tuple(kept), len(raw), first)


def _first_rank(lines: Sequence[str], ranks: Sequence[int | None]) -> int | None:
    """The rank that torchrun calls the root cause; else the one whose error comes first."""
    named = {rank for rank in ranks if rank is not None}
    if not named:
        return None
    for number, line in enumerate(lines):
        if _ROOT_CAUSE.search(line):
            below = (_ROOT_RANK.match(other) for other in lines[number + 1 : number + 1 + _ROOT_LINES])
            root = next((int(found.group(1)) for found in below if found), None)
            if root in named:
                return root
    wrong = (rank for line, rank in zip(lines, ranks, strict=True) if rank is not None and _is_error(line))
    return next(wrong, None)


def _is_error(line: str) -> bool:
    return line.startswith(_BEGINS) or _ERROR_LINE.search(line) is not None


def _places(lines: Sequence[str]) -> tuple[Place, ...]:
    blocks = _blocks(lines)
    last_progress = max((i for i, line in enumerate(lines) if blocks[i] is None and _PROGRESS.search(line)), default=-1)
    return tuple(Place(block, i < last_progress) for i, block in enumerate(blocks))


def _blocks(lines: Sequence[str]) -> list[int | None]:
    """The error that each line is part of, counted from 0."""
    found: list[int | None] = [None] * len(lines)
    count = number = 0
    while number < len(lines):
        if lines[number].startswith(_BEGINS):
            end = _end_of_traceback(lines, number)
        elif _ERROR_LINE.search(lines[number]):
            end = number + 1
        else:
            number += 1
            continue
        found[number:end] = [count] * (end - number)
        count, number = count + 1, end
    return found


def _end_of_traceback(lines: Sequence[str], start: int) -> int:
    """Behind the exception that ends a traceback, and those that it led to."""
    number = start + 1
    while number < len(lines) and (not lines[number] or lines[number][0].isspace()):
        number += 1
    number = min(number + 1, len(lines))  # the exception itself
    after = number
    while after < len(lines) and not lines[after]:
        after += 1
    if after < len(lines) and _GOES_ON.search(lines[after]):
        following = next((i for i in range(after, min(after + 4, len(lines))) if lines[i].startswith(_BEGINS)), None)
        if following is not None:
            return _end_of_traceback(lines, following)
    return number
