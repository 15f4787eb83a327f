"""Which checkpoint of earlier attempts a run goes on from."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from rea.domain.jobs import SPEC_FILE

RESUME: Final = "REA_RESUME"  # the variable that names the checkpoint to a trainer
GOES_ON: Final = "resume"  # the remedy of a failure after which a run goes on from its last good checkpoint
_ZIP: Final = b"PK\x03\x04"  # what torch.save writes begins with
_MOST: Final = 200  # files that are looked at


def last_good(folders: Iterable[Path], pattern: str, unwanted: Collection[str] = ()) -> Path | None:
    """The newest whole checkpoint in these run directories; None where there is none.

    Whole is one that is not empty and, as far as it is a zip archive, whose every part has its checksum. `unwanted`
    are paths of checkpoints that a run has failed on.
    """
    found = []
    for folder in folders:
        found += [path for path in sorted(folder.glob(pattern))[:_MOST] if path.is_file() and not path.is_symlink()]
    newest = sorted(found, key=lambda path: (path.stat().st_mtime, path.name), reverse=True)
    return next((path for path in newest if str(path) not in unwanted and whole(path)), None)


def whole(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if not start:
            return False
        if start != _ZIP:
            return True
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError):
        return False


def resumed_from(run_dir: Path) -> str | None:
    """The checkpoint that an attempt went on from, by its job's specification."""
    try:
        steps = json.loads((run_dir / SPEC_FILE).read_bytes())["steps"]
        return next((step["env"][RESUME] for step in steps if RESUME in step.get("env", {})), None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def since_anew(run_dirs: Sequence[Path]) -> Sequence[Path]:
    """Of a run's attempts, in their order, those from the last one that began anew.

    It did because nothing that was there before fitted, or may be gone on from.
    """
    anew = (number for number, folder in enumerate(run_dirs) if _started(folder) and resumed_from(folder) is None)
    return run_dirs[max(anew, default=0) :]


def _started(run_dir: Path) -> bool:
    return (run_dir / SPEC_FILE).is_file()


def seconds_before(run_dir: Path, begun: Mapping[Path, float]) -> float:
    """Seconds of training in the checkpoint that an attempt went on from; 0 where it began anew.

    `begun` are the starts (Unix time) of the attempts of its run, by their directories.
    """
    total, folder = 0.0, run_dir
    for _ in begun:
        found = resumed_from(folder)
        earlier = next((one for one in begun if found is not None and Path(found).is_relative_to(one)), None)
        if found is None or earlier is None:
            break
        try:
            total += max(0.0, Path(found).stat().st_mtime - begun[earlier])
        except OSError:
            break
        folder = earlier
    return total
