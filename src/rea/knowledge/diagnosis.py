"""Recognising a failure: which runbook fits what was seen."""

from __future__ import annotations

import re
import signal as signals
from collections.abc import Iterable, Sequence
from functools import lru_cache

from rea.domain.errors import ConfigError
from rea.domain.jobs import Outcome
from rea.domain.runbook import Diagnosis, FailureEvidence, Runbook, Signal

TAIL_BYTES = 64 * 1024
LINE_CHARACTERS = 2_000


def match(evidence: FailureEvidence, runbooks: Sequence[Runbook]) -> Diagnosis:
    """The runbook that fits the evidence best, why, and the line of the log that gave it away.

    A runbook fits when any of its signs was seen. The highest priority wins; among equals the one whose line comes
    first in the log (what follows the first error is usually its noise), then one without a line, then the name. Where
    nothing fits, the runbook named "unknown" applies. Only the last 64 KiB of the log are read, lines cut at 2,000
    characters. Exit codes and signals count only where nobody here ended the job, and a missing final line only where
    the job claims success: otherwise they are consequences.

    Raises ConfigError if nothing fits and there is no runbook "unknown".
    """
    lines = _lines(evidence.log_tail)
    fitting = []
    for runbook in runbooks:
        found = _first(runbook, lines)
        signs = _signs(runbook, evidence)
        if found is not None or signs:
            fitting.append((-runbook.priority, len(lines) if found is None else found, runbook.name, runbook, signs))
    if not fitting:
        return _unknown(evidence, runbooks)
    _, place, _, runbook, signs = min(fitting, key=lambda entry: entry[:3])
    line = _telling(lines, place) if place < len(lines) else None
    if line is not None:
        signs = [*signs, f"line {place + 1} of {len(lines)} of the log's end matches"]
    others = sorted(entry[3].name for entry in fitting if entry[3] is not runbook)
    beside = f"; {', '.join(others)} would fit too, and rank lower or come later" if others else ""
    return Diagnosis(runbook, f"{runbook.title}: {' and '.join(signs)}{beside}{_times(evidence)}", line)


def _unknown(evidence: FailureEvidence, runbooks: Iterable[Runbook]) -> Diagnosis:
    runbook = next((card for card in runbooks if card.name == "unknown"), None)
    if runbook is None:
        raise ConfigError("no runbook fits and there is none named 'unknown'", hint="load them with load_runbooks()")
    code = "" if evidence.exit_code is None else f", exit code {evidence.exit_code}"
    lines = [line for line in _lines(evidence.log_tail) if line.strip()]
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


def _first(runbook: Runbook, lines: Sequence[str]) -> int | None:
    """The first line any signature is found in."""
    if not runbook.signatures:
        return None
    pattern = _compiled(runbook.signatures)
    return next((number for number, line in enumerate(lines) if pattern.search(line)), None)


def _telling(lines: Sequence[str], place: int) -> str:
    """The line itself, or, where a traceback begins, the exception at its end."""
    if not lines[place].startswith("Traceback (most recent call last)"):
        return lines[place]
    rest = (line for line in lines[place + 1 :] if line and not line[0].isspace())
    return next(rest, lines[place])


@lru_cache(maxsize=512)
def _compiled(signatures: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{signature})" for signature in signatures))


def _lines(log_tail: str) -> list[str]:
    tail = log_tail[-TAIL_BYTES:].encode("utf-8", "replace")[-TAIL_BYTES:].decode("utf-8", "ignore")
    return [line.rstrip()[:LINE_CHARACTERS] for line in tail.splitlines()]


def _signal_name(number: int) -> str:
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _times(evidence: FailureEvidence) -> str:
    return f" (attempt {evidence.attempts})" if evidence.attempts > 1 else ""
