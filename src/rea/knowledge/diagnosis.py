"""Recognising a failure: which runbook fits what was seen."""

from __future__ import annotations

import re
import signal as signals
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from rea.domain.errors import ConfigError
from rea.domain.jobs import Outcome
from rea.domain.runbook import UNKNOWN, Diagnosis, FailureEvidence, Runbook, Signal
from rea.knowledge.traces import Trace, read

GENERAL: Final = 20  # up to this priority a runbook says that something went wrong, and not what


class _Found(NamedTuple):
    """Where a runbook's signature was seen. The least is the cause: a training that went on after an error did not
    end of it; the first error caused the others; an error says more than a line that is part of none."""

    survived: bool
    general: bool
    aside: bool
    block: int
    less: int
    line: int
    name: str


def match(evidence: FailureEvidence, runbooks: Sequence[Runbook]) -> Diagnosis:
    """The runbook that fits the evidence best, why, and the line of the log that gave it away.

    Of the log the first error counts of the rank that failed first, where ranks are told apart: a traceback with the
    exceptions that it led to is one error, and one after which the training went on comes last. Where several runbooks
    know that error, or know lines outside of any, the highest priority wins. What the log says is then held against
    what the launcher and REA itself saw, by priority. Exit codes and signals count only where nobody here ended the
    job, and a missing final line only where the job claims success: otherwise they are consequences.

    Raises ConfigError if nothing fits and there is no runbook "unknown".
    """
    trace = read(evidence.log_tail)
    logged = sorted((found, book) for book in runbooks if (found := _first(book, trace)) is not None)
    fitting = []
    for runbook in runbooks:
        signs = _signs(runbook, evidence)
        in_log = bool(logged) and logged[0][1] is runbook
        if signs or in_log:
            fitting.append((-runbook.priority, not in_log, runbook.name, runbook, signs))
    if not fitting:
        return _unknown(evidence, runbooks, trace)
    _, aside, _, runbook, signs = min(fitting, key=lambda entry: entry[:3])
    line = None
    if not aside:
        place = logged[0][0].line
        line = trace.telling(place)
        signs = [*signs, f"line {trace.numbers[place] + 1} of {trace.total} of the log's end matches"]
        if trace.rank is not None:
            signs.append(f"rank {trace.rank} failed first")
    names = {entry[3].name for entry in fitting} | {book.name for _, book in logged}
    others = sorted(names - {runbook.name})
    beside = f"; {', '.join(others)} would fit too, and rank lower or come later" if others else ""
    chain = _chain(runbook, [book.name for _, book in logged], evidence.earlier)
    after = f"; it followed from {' and then '.join(chain[:-1])}" if chain else ""
    why = f"{runbook.title}: {' and '.join(signs)}{beside}{after}{_times(evidence)}"
    return Diagnosis(runbook, why, line, chain)


def _chain(runbook: Runbook, logged: Sequence[str], earlier: Sequence[str]) -> tuple[str, ...]:
    """What this failure is a consequence of, by its card: seen in the same log, or in an earlier attempt."""
    causes = [name for name in dict.fromkeys((*earlier, *logged)) if name in runbook.follows]
    return (*causes, runbook.name) if causes else ()


def _unknown(evidence: FailureEvidence, runbooks: Iterable[Runbook], trace: Trace) -> Diagnosis:
    runbook = next((card for card in runbooks if card.name == UNKNOWN), None)
    if runbook is None:
        raise ConfigError(f"no runbook fits and there is none named {UNKNOWN!r}", hint="load them with load_runbooks()")
    code = "" if evidence.exit_code is None else f", exit code {evidence.exit_code}"
    lines = [line for line in trace.shown if line.strip()]
    why = f"{runbook.title}: the job ended as {evidence.outcome}{code} and no known sign was seen{_times(evidence)}"
    return Diagnosis(runbook, why, lines[-1] if lines else None)


def _signs(runbook: Runbook, evidence: FailureEvidence) -> list[str]:
    """The signs of this runbook that lie outside the log, in words."""
    absent = frozenset[str]() if evidence.outcome == Outcome.SUCCEEDED else frozenset({Signal.MISSING_FINAL.value})
    seen = evidence.signals - absent
    signs = [f"REA saw {signal.replace('_', ' ')}" for signal in runbook.signals if signal in seen]
    if evidence.outcome in runbook.outcomes:
        signs.append(f"the job ended as {evidence.outcome}")
    if evidence.outcome == Outcome.FAILED:
        if evidence.signal is not None and evidence.signal in runbook.kill_signals:
            signs.append(f"it was ended by {_signal_name(evidence.signal)}")
        if evidence.exit_code is not None and evidence.exit_code in runbook.exit_codes:
            signs.append(f"its exit code was {evidence.exit_code}")
    return signs


def _first(runbook: Runbook, trace: Trace) -> _Found | None:
    """The line that says most for this runbook."""
    if not runbook.signatures:
        return None
    pattern = _compiled(runbook.signatures)
    general = runbook.priority <= GENERAL
    found = [
        _Found(place.survived, general, place.block is None, place.block or 0, -runbook.priority, number, runbook.name)
        for number, (line, place) in enumerate(zip(trace.lines, trace.places, strict=True))
        if pattern.search(line)
    ]
    return min(found, default=None)


@lru_cache(maxsize=512)
def _compiled(signatures: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{signature})" for signature in signatures))


def _signal_name(number: int) -> str:
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _times(evidence: FailureEvidence) -> str:
    return f" (attempt {evidence.attempts})" if evidence.attempts > 1 else ""
