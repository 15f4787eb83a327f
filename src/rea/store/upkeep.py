"""A copy of a store that others go on writing to, and whether a database is sound."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from rea.domain.errors import UsageError
from rea.store.address import Address
from rea.store.engine import BUSY_TIMEOUT_S
from rea.store.errors import StoreError, explained

MOST: Final = 20  # faults that are listed
_DUMP_S: Final = 24 * 3600.0


def backup(address: Address, target: Path, force: bool) -> int:
    """Write the store as of one instant to `target`, checked before it takes that name; gives its size in bytes.

    An SQLite store becomes an SQLite file, PostgreSQL what `pg_dump` makes for `pg_restore`. Raises UsageError where
    something is there already and `force` is not given, StoreError where no sound copy could be made.
    """
    target = target.absolute()
    _check_target(address, target, force)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        if address.path is not None:
            with explained(f"{address.path} or {target}"):
                _copy(address.path, part)
        else:
            _dump(address, part)
        size = _durable(part)
        _name(part, target, force)
    except OSError as error:
        raise StoreError(
            f"the backup {target} cannot be written: {error.strerror}", hint="give a file on a disk with room for it"
        ) from error
    finally:
        for name in (part, *(part.with_name(part.name + end) for end in ("-wal", "-shm", "-journal"))):
            with suppress(OSError):
                name.unlink()
    return size


def _check_target(address: Address, target: Path, force: bool) -> None:
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder {target.parent}", hint="give a file in a folder that is there")
    if target.is_dir():
        raise UsageError(f"{target} is a folder", hint=f"try {target / 'rea-backup.db'}")
    if address.path is not None:
        own = {Path(f"{address.path}{end}").resolve() for end in ("", "-wal", "-shm", "-journal", ".lock")}
        if target.resolve() in own or (target.exists() and target.samefile(address.path)):
            raise UsageError(f"{target} is the store itself", hint="name another file")
    if target.exists() and not force:
        raise UsageError(f"{target} exists already", hint="name another file, or --force to replace it")


def _copy(source: Path, part: Path) -> None:
    """One read transaction, which with a write-ahead log keeps no writer waiting."""
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    part.chmod(source.stat().st_mode & 0o777)  # whoever may read the one may read the other
    uri = f"file:{quote(str(source))}?mode=rw"
    with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as connection:
        with closing(sqlite3.connect(part, isolation_level=None)) as copy:
            connection.backup(copy)
            wrong = sqlite_faults(copy)
    if wrong:
        raise StoreError(
            f"the copy of {source} is not sound: {wrong[0]}",
            hint="see `rea db check`; an older backup is worth more than this one",
        )


def sqlite_faults(connection: sqlite3.Connection) -> list[str]:
    """What is wrong with pages, indexes and references, in words; empty where all is well."""
    try:
        found = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({MOST})")]
        wrong = [f"integrity: {line}" for line in found if line != "ok"]
        broken = connection.execute("PRAGMA foreign_key_check").fetchmany(MOST)
    except sqlite3.DatabaseError as error:
        return [f"integrity: {error}"]
    return wrong + [
        f"row {row} of {table} names a row of {parent} that is not there" for table, row, parent, _ in broken
    ]


def faults(address: Address) -> list[str]:
    """The same of a store. PostgreSQL holds its references itself, and its pages are its administrator's to check."""
    if address.path is None:
        return []
    uri = f"file:{quote(str(address.path))}?mode=rw"
    with explained(address.where):
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as connection:
            return sqlite_faults(connection)


def _dump(address: Address, part: Path) -> None:
    from sqlalchemy import make_url

    url = make_url(address.url)
    plain = url.set(drivername="postgresql", password=None).render_as_string() if url.password else None
    named = plain or url.set(drivername="postgresql").render_as_string()
    # The password goes by the environment: arguments can be read by every user of the machine.
    env = {**os.environ, **({"PGPASSWORD": str(url.password)} if url.password else {})}
    _program("pg_dump", "--format=custom", "--no-password", f"--file={part}", f"--dbname={named}", env=env)
    listed = _program("pg_restore", "--list", str(part), env=env)
    if " campaigns " not in listed:
        raise StoreError(f"the dump of {address.where} holds no campaigns", hint="is it the database of REA_STORE?")


def _program(name: str, *words: str, env: Mapping[str, str]) -> str:
    program = shutil.which(name)
    if program is None:
        raise StoreError(
            f"there is no {name} on this machine, which makes backups of PostgreSQL",
            hint="install PostgreSQL's client programs, of the server's version, or make the backup at the server",
        )
    try:
        done = subprocess.run(
            [program, *words], capture_output=True, text=True, env=env, timeout=_DUMP_S, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise StoreError(f"{name} did not end within a day") from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        raise StoreError(f"{name} failed: {said}", hint="its version must be the server's or newer; see REA_STORE")
    return done.stdout


def _durable(path: Path) -> int:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size


def _name(part: Path, target: Path, force: bool) -> None:
    """Give the finished copy its name in one step; without `force` only while nothing has it."""
    if force:
        part.replace(target)
    else:
        try:
            os.link(part, target)
        except FileExistsError as error:
            raise UsageError(f"{target} exists already", hint="name another file, or --force to replace it") from error
        except OSError:  # a file system without hard links
            part.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(folder)
    finally:
        os.close(folder)
