"""Where the store is: the URL, checked, and what a SQLite file must have around it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rea.domain.errors import UsageError
from rea.store.errors import StoreError

_EXAMPLES: Final = "use sqlite:////absolute/path/rea.db or postgresql://user@host/database (REA_STORE)"

# SQLite's write-ahead log shares memory between processes, which these cannot: https://www.sqlite.org/wal.html
NETWORK: Final = frozenset(
    {"afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.ceph-fuse", "fuse.glusterfs", "fuse.sshfs", "gfs2"}
    | {
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "panfs",
        "pvfs2",
        "smb3",
        "smbfs",
        "wekafs",
    }
)


@dataclass(frozen=True, slots=True)
class Address:
    """A store's URL. `path` is the SQLite file, absolute; None for PostgreSQL. `where` is the URL without password."""

    url: str
    path: Path | None
    where: str


def default_url() -> str:
    """REA_STORE, else SQLite in REA's home."""
    return os.environ.get("REA_STORE", "").strip() or f"sqlite:///{data_home() / 'rea.db'}"


def data_home() -> Path:
    """REA_HOME, else `rea` in the user's data directory."""
    data = os.environ.get("XDG_DATA_HOME", "").strip() or "~/.local/share"
    home = os.environ.get("REA_HOME", "").strip() or f"{data}/rea"
    return Path(home).expanduser().absolute()


def parse(url: str) -> Address:
    """Raises UsageError for anything but a SQLite file or PostgreSQL."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise UsageError(f"{url!r} is not the URL of a store", hint=_EXAMPLES)
    if scheme in ("sqlite", "sqlite+pysqlite"):
        if not rest.startswith("/") or rest.strip("/") in ("", ":memory:"):
            raise UsageError(f"{url!r} names no file: a campaign outlives the process", hint=_EXAMPLES)
        if "?" in rest:
            raise UsageError(f"{url!r}: a SQLite store takes no parameters", hint=_EXAMPLES)
        path = Path(rest[1:]).expanduser().resolve()
        return Address(f"sqlite:///{path}", path, str(path))
    if scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        return Address(f"postgresql+psycopg://{rest}", None, re.sub(r":[^:@/]*@", "@", f"postgresql://{rest}"))
    raise UsageError(f"a store cannot be kept in {scheme!r}: SQLite and PostgreSQL are known", hint=_EXAMPLES)


def check_path(path: Path) -> None:
    """Raise StoreError where a SQLite file could not work. The folder of the default place is made, no other one."""
    elsewhere = "name another place with REA_STORE=sqlite:////path/to/rea.db"
    try:
        if path.parent == data_home().resolve():
            path.parent.mkdir(parents=True, exist_ok=True)
        if not path.parent.is_dir():
            hint = f"`mkdir -p {path.parent}` if that is the right place, or {elsewhere}"
            raise StoreError(f"there is no folder {path.parent} for the store {path.name}", hint=hint)
        if path.is_dir():
            raise StoreError(f"{path} is a folder, the store is a file", hint=f"try sqlite:///{path / 'rea.db'}")
        exists = path.exists()
    except OSError as error:
        raise StoreError(f"the store at {path} cannot be reached: {error.strerror}", hint=elsewhere) from error
    if exists and not os.access(path, os.R_OK | os.W_OK):
        raise StoreError(f"the store at {path} is not readable and writable for this user", hint=elsewhere)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise StoreError(f"the folder of the store, {path.parent}, is not writable for this user", hint=elsewhere)
    kind = filesystem(path.parent.resolve(), _mounts())
    if kind in NETWORK:
        raise StoreError(
            f"{path} is on a network file system ({kind}), where SQLite's locks and log do not work",
            hint="put it on a local disk with REA_STORE=sqlite:////path/to/rea.db, or use postgresql://user@host/database",
        )


def _mounts() -> str:
    try:
        return Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def filesystem(folder: Path, mounts: str) -> str | None:
    """The type of the file system a folder is on, by the text of /proc/self/mounts; None if that does not tell."""
    found: tuple[int, str] | None = None
    for line in mounts.splitlines():
        parts = line.split(" ")
        if len(parts) < 3:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), parts[1]))
        # The last mount on a point hides the earlier ones.
        if folder.is_relative_to(point) and (found is None or len(point.parts) >= found[0]):
            found = (len(point.parts), parts[2])
    return found[1] if found else None
