"""The command line: it translates, and holds no decision."""

from __future__ import annotations

import gc
import os
import sys

# Objects that are made until the collector looks for cycles. A wake is over before it has made many cycles, and what it
# keeps (modules, rows) would be gone through again and again: a seventh of its time.
RARELY = 500_000


def main() -> None:
    """The `rea` command. Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 approval needed, 5 budget or guardrail
    stop, 6 launcher unreachable, 130 interrupted, 141 the reader of the output has gone."""
    if sys.argv[1:2] == ["wake"]:
        gc.set_threshold(RARELY)
    if sys.argv[1:] in (["wake"], ["wake", "--json"]) and _asleep():
        return
    from rea.cli.output import closed, unwritten
    from rea.domain.errors import ReaError

    try:
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
