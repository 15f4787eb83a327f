"""Where attempts run: one file per back end, all behind the protocol in rea.domain.jobs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rea.domain.errors import ConfigError
from rea.domain.jobs import Launcher

KINDS: Final = ("local",)


def open_launcher(kind: str, *, runs: Path, slots: int, options: Mapping[str, Any]) -> Launcher:
    """The launcher of `[launcher] kind`; `runs` is the root of all run directories, `options` the table's other keys.

    Raises ConfigError for an unknown kind, an option the kind does not have, or fewer than one slot.
    """
    if kind not in KINDS:
        raise ConfigError(f"rea.toml: launcher.kind: {kind!r} is unknown", hint=f"known are: {', '.join(KINDS)}")
    if options:
        raise ConfigError(
            f"rea.toml: launcher.{min(options)}: the {kind} launcher has no such option",
            hint="remove the key; its options are: kind, slots",
        )
    from rea.launchers.local import LocalLauncher

    return LocalLauncher(runs, slots)
