"""The command line: it translates, and holds no decision."""

from __future__ import annotations

import gc
import io
import os
import sys

# Objects that are made until the collector looks for cycles. A wake is over before it has made many cycles, and what it
# keeps (modules, rows) would be gone through again and again: a seventh of its time.
RARELY = 500_000


def main() -> None:
    """The `rea` command. Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 approval needed, 5 budget or guardrail
    stop, 6 launcher unreachable, 130 interrupted, 141 the reader of the output has gone."""
    _open_streams()
    if sys.argv[1:2] == ["wake"]:
        gc.set_threshold(RARELY)
    if sys.argv[1:] in (["wake"], ["wake", "--json"]) and _asleep():
        return
    from rea.cli.output import closed, unwritten
    from rea.domain.errors import ReaError

    try:
        _check_words(sys.argv[1:])
        _run()
    except ReaError as error:
        print(f"rea: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("rea: interrupted; a running campaign goes on by itself", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        closed()
    except OSError as error:
        unwritten(error)


def _open_streams() -> None:
    """Streams that take whatever is printed: nowhere for one that came closed, escapes for what its encoding lacks."""
    for name in ("stdin", "stdout", "stderr"):  # in this order, so that each gets the number that it should have
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDONLY if name == "stdin" else os.O_WRONLY)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _check_words(words: list[str]) -> None:
    """Raise UsageError for an argument that is no text: no database, JSON or plan could hold it."""
    for number, word in enumerate(words, start=1):
        try:
            word.encode()
        except UnicodeEncodeError:
            from rea.domain.errors import UsageError

            shown = os.fsencode(word).decode("utf-8", "backslashreplace")
            raise UsageError(
                f"argument {number}, '{shown}', is not UTF-8", hint="type it in UTF-8; a file or folder can be renamed"
            ) from None


def _run() -> None:
    from rea.cli import wake

    asked = wake.asked(sys.argv[2:]) if sys.argv[1:2] == ["wake"] else None
    if asked is not None:
        sys.exit(wake.wake(*asked))
    from rea.cli.app import app

    app()


def _asleep() -> bool:
    """Whether a wake of all campaigns has nothing to do; then that is said, and nothing else was imported for it."""
    from rea import idle

    if not idle.nothing_to_do(os.environ):
        return False
    try:
        print("{}" if "--json" in sys.argv else "nothing to do", flush=True)
    except BrokenPipeError:
        from rea.cli.output import closed

        closed()
    except OSError as error:
        from rea.cli.output import unwritten

        unwritten(error)
    return True
