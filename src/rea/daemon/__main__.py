"""`python -m rea.daemon WAKE_FOLDER SWEEP_SECONDS [LOG_FILE]`."""

from __future__ import annotations

import sys
from pathlib import Path

from rea.daemon.log import Log
from rea.daemon.watch import watch


def main(arguments: list[str]) -> int:
    """0 after SIGTERM, 128 and the number of another signal; 1 where the log cannot be written."""
    path = Path(arguments[2]) if len(arguments) > 2 else None
    try:
        log = Log(path)
    except OSError as error:
        print(f"rea: the log {path} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    return watch(Path(arguments[0]), float(arguments[1]), log, (sys.executable, "-P", "-m", "rea", "wake"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
