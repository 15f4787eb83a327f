"""`python -m rea.daemon WAKE_FOLDER SWEEP_SECONDS`: start `rea wake` when a wake file appears, and every so often.

It never opens the store. Killing it loses nothing; two of them do no harm, because a wake takes a lease.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

POLL_S = 0.5


def main(folder: Path, sweep_s: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / ".attended", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    fcntl.flock(lock, fcntl.LOCK_SH)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    due = 0.0
    while True:
        waiting = any(not entry.name.startswith(".") for entry in os.scandir(folder))
        if waiting or time.monotonic() >= due:
            # One at a time: a wake that is busy looks at the wake files again before it ends.
            subprocess.run([sys.executable, "-m", "rea", "wake"], stdout=subprocess.DEVNULL, check=False)
            due = time.monotonic() + sweep_s
        time.sleep(POLL_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
