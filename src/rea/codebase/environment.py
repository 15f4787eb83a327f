"""The environment that trainings run in: its Python and what is installed there, for comparing then with now."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rea.codebase.overrides import python_of
from rea.domain.codebase import Codebase
from rea.domain.environment import Environment
from rea.domain.errors import ConfigError

PATIENCE_S: Final = 60.0
# By the names of the folders that installers leave: reading what is in them takes ten times as long.
_ASK: Final = r"""
import json, os, platform, re, sys
found, known = {}, re.compile(r"(.+?)-(\d[^-]*)(?:-.*)?\.(?:dist|egg)-info")
stamps = {os.path.realpath(sys.executable): None}
for folder in sys.path:
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        it = known.fullmatch(name)
        if it:
            found.setdefault(re.sub(r"[-_.]+", "-", it[1]).lower(), it[2])
            stamps[os.path.realpath(folder)] = None
stamps = {place: os.stat(place).st_mtime_ns for place in stamps}
print(json.dumps({"python": platform.python_version(), "packages": found, "stamps": stamps}))
"""


def observed(codebase: Codebase, folder: Path, env: Mapping[str, str]) -> Environment:
    """What the codebase's Python has installed, as seen from `folder` with these variables.

    Raises ConfigError where it does not start or does not tell (it is older than 3.8, say).
    """
    program = python_of(codebase)
    try:
        done = subprocess.run(
            [program, "-c", _ASK],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            cwd=folder,
            env=dict(env),
            stdin=subprocess.DEVNULL,
        )
        told = json.loads(done.stdout)
        return Environment(
            str(told["python"]),
            {str(name): str(version) for name, version in told["packages"].items()},
            {str(place): int(stamp) for place, stamp in told["stamps"].items()},
        )
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{program} does not tell what is installed: {error}", hint="correct [codebase] python in rea.toml"
        ) from error


def untouched(environment: Environment) -> bool:
    """Whether nothing can have been installed or removed since this was observed: a look at a few modification times.

    False where that is not known, as of environments that were observed without them.
    """
    try:
        return bool(environment.stamps) and all(
            Path(place).stat().st_mtime_ns == stamp for place, stamp in environment.stamps.items()
        )
    except OSError:
        return False
