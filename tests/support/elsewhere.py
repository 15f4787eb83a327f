"""Other machines, played on this one: processes that believe to be on a host of another name, and a clock to turn."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

# Python runs this at its start in every process that finds the folder on its path; a job's wrapper does not.
SITE = """
import socket, time

_time = time.time

def shifted():
    try:
        with open({clock!r}) as file:
            return _time() + float(file.read() or 0)
    except (OSError, ValueError):
        return _time()

time.time = shifted
socket.gethostname = lambda: {name!r}
"""


def host(folder: Path, name: str, clock: Path, env: Mapping[str, str]) -> dict[str, str]:
    """The environment of a shell on the host `name`. `clock` is a file: by how many seconds its clock is ahead."""
    site = folder / name
    site.mkdir(parents=True)
    (site / "sitecustomize.py").write_text(SITE.format(name=name, clock=str(clock)))
    return {**env, "PYTHONPATH": os.pathsep.join([str(site), *filter(None, [env.get("PYTHONPATH")])])}
