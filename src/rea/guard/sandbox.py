"""A trainer in a box: it reads what it must, writes into its run's directory and nowhere else, and reaches no network.

Made by bubblewrap (bwrap(1)), which needs no rights of its own where users may have namespaces.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Final

PROGRAM: Final = "bwrap"
# What no trainer has any business with, below the home directory.
SECRETS: Final = (
    ".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".netrc", ".git-credentials", ".config/gcloud",
    ".config/gh", ".pypirc", ".pgpass", ".huggingface/token", ".cache/huggingface/token",
)  # fmt: skip


@cache
def unavailable() -> str:
    """Why nothing can be boxed here; empty where it can."""
    if shutil.which(PROGRAM) is None:
        return f"{PROGRAM} is not installed"
    try:
        done = subprocess.run(
            [PROGRAM, "--unshare-all", "--ro-bind", "/", "/", "true"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{PROGRAM} does not run: {error}"
    said = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
    return "" if done.returncode == 0 else f"{PROGRAM} cannot make a box here: {said}"


def boxed(
    argv: Sequence[str],
    *,
    run_dir: Path,
    writable: Iterable[Path] = (),
    hidden: Iterable[Path] = (),
    veiled: Iterable[Path] = (),
    fleeting: Iterable[Path] = (),
    network: bool = False,
    devices: bool = False,
) -> tuple[str, ...]:
    """The command inside a box. `hidden` files cannot be read, and folders are empty, whatever lies below them; the
    run's directory is seen even there, less the files `veiled`. `fleeting` are files that come and go, and bring others
    whose names begin like theirs (a database with its log): neither is seen. `devices`: GPUs are passed through."""
    words = [PROGRAM, "--die-with-parent", "--unshare-user-try", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    words += ["--unshare-cgroup-try", *([] if network else ["--unshare-net"]), "--ro-bind", "/", "/"]
    words += ["--dev-bind", "/dev", "/dev"] if devices else ["--dev", "/dev"]
    words += ["--proc", "/proc"]
    for path in sorted(fleeting):
        words += _covered(path)
    for path in sorted({path.resolve() for path in hidden}):  # behind a link lies what is to be hidden
        if path.is_dir():
            words += ["--tmpfs", str(path)]
        elif path.exists():
            words += ["--ro-bind", "/dev/null", str(path)]
    for path in [*sorted(writable), run_dir]:
        if path.exists():
            words += ["--bind", str(path), str(path)]
    for path in veiled:
        words += ["--ro-bind-try", "/dev/null", str(path)]
    return (*words, "--", *argv)


def _covered(path: Path) -> list[str]:
    """Another folder in the place of this file's, with all that lies there now but the file and its like.

    A file that is hidden by itself has to be there when the box is made, and is seen if it is replaced meanwhile.
    """
    folder = path.parent.resolve()
    if folder == Path("/") or not folder.is_dir():
        return []
    words = ["--tmpfs", str(folder)]
    for entry in sorted(folder.iterdir()):
        if not entry.name.startswith(path.name):
            words += ["--ro-bind-try", str(entry), str(entry)]
    return [*words, "--remount-ro", str(folder)]
