"""What a training reads beside the repository, told by one digest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from rea.domain.errors import ConfigError

WHOLE_BYTES: Final = 32 * 2**20  # a file up to this size is read to its end
SAMPLES: Final = 64  # of a larger one so many blocks are
BLOCK_BYTES: Final = 256 * 2**10
MOST_FILES: Final = 20_000


def data_files(root: Path, patterns: Iterable[str]) -> list[Path]:
    """Every file that the patterns name, in order. A pattern that names a folder covers all below it.

    Raises ConfigError for one that names nothing, and for more than 20,000 files.
    """
    found: set[Path] = set()
    for pattern in patterns:
        base = Path(pattern)
        hits = (
            list(Path(base.anchor).glob(str(base.relative_to(base.anchor))))
            if base.is_absolute()
            else list(root.glob(pattern))
        )
        if not hits:
            raise ConfigError(
                f"[codebase] data: {pattern!r} names no file below {root}", hint="correct the pattern in rea.toml"
            )
        for hit in hits:
            found |= {path for path in hit.rglob("*") if path.is_file()} if hit.is_dir() else {hit}
            if len(found) > MOST_FILES:
                raise ConfigError(
                    f"[codebase] data names more than {MOST_FILES:,} files", hint="name a manifest of them instead"
                )
    return sorted(found)


def fingerprint(root: Path, patterns: Iterable[str]) -> str:
    """SHA-256 over names, sizes and contents of the files; of those above 32 MiB over 64 blocks, spread evenly.

    Empty without patterns. Raises ConfigError where a pattern names nothing or a file cannot be read.
    """
    patterns = tuple(patterns)
    if not patterns:
        return ""
    whole = hashlib.sha256()
    for path in data_files(root, patterns):
        name = os.path.relpath(path, root)
        try:
            whole.update(f"{name}\0{_of_file(path)}\n".encode("utf-8", "surrogateescape"))
        except OSError as error:
            raise ConfigError(f"[codebase] data: {path} cannot be read: {error.strerror}") from error
    return whole.hexdigest()


def _of_file(path: Path) -> str:
    size = path.stat().st_size
    found = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        if size <= WHOLE_BYTES:
            while block := file.read(2**20):
                found.update(block)
        else:
            for sample in range(SAMPLES):
                file.seek((size - BLOCK_BYTES) * sample // (SAMPLES - 1))
                found.update(file.read(BLOCK_BYTES))
    return found.hexdigest()
