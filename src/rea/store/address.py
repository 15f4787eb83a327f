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
_SHARED: Final = (
    "acfs afs beegfs ceph cephfs cifs coda curlftpfs cvmfs daos dvs fhgfs gfs2 glusterfs gpfs lizardfs lustre moosefs"
    " ncpfs nfs nfs3 nfs4 ocfs2 orangefs panfs pvfs2 quobyte smb2 smb3 smbfs sshfs wekafs"
    " fuse.JuiceFS fuse.beegfs fuse.blobfuse fuse.blobfuse2 fuse.ceph fuse.ceph-fuse fuse.cephfs fuse.curlftpfs"
    " fuse.davfs fuse.gcsfuse fuse.glusterfs fuse.goofys fuse.hdfs fuse.juicefs fuse.lizardfs fuse.moosefs"
    " fuse.mount-s3 fuse.mountpoint-s3 fuse.nfs fuse.quobyte fuse.rclone fuse.s3fs fuse.seaweedfs fuse.smbnetfs"
    " fuse.sshfs"
)
NETWORK: Final = frozenset(_SHARED.split(" "))
ANYWAY: Final = "REA_SQLITE_ON_NETWORK"


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
    check_disk(path)


def check_disk(path: Path) -> str:
    """The type of the file system an SQLite file is or will be on ("" where nobody tells).

    Raises StoreError for one that is shared by a network, unless REA_SQLITE_ON_NETWORK is `yes`.
    """
    folder = next(parent for parent in path.parents if parent.exists()).resolve()
    kind = filesystem(folder, _mounts()) or ""
    if kind in NETWORK and os.environ.get(ANYWAY, "").strip().lower() != "yes":
        raise StoreError(
            f"{path} is on a network file system ({kind}), where SQLite's locks and log do not work: the store could"
            " lose what was committed",
            hint="put it on a local disk with REA_STORE=sqlite:////path/to/rea.db, or use postgresql://user@host/database"
            f" for several machines; {ANYWAY}=yes where only one machine ever opens it and its locks are known to hold",
        )
    return kind


def _mounts() -> str:
    try:
        return Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def filesystem(folder: Path, mounts: str) -> str | None:
    """The type of the file system a folder is on, by the text of /proc/self/mounts; None if that does not tell."""
    inside = f"{folder}/"
    length, kind = 0, None
    for line in mounts.splitlines():  # there may be thousands, and an idle wake reads them all
        parts = line.split(" ", 3)
        if len(parts) < 3:
            continue
        point = parts[1]
        if "\\" in point:
            point = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), point)
        point = f"{point.rstrip('/')}/"
        # The last mount on a point hides the earlier ones.
        if len(point) >= length and inside.startswith(point):
            length, kind = len(point), parts[2]
    return kind
