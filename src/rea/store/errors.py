"""What a database says when it cannot, in words for the person who reads them."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rea.domain.errors import ReaError


class StoreError(ReaError):
    """The store cannot be opened, read or written."""


ROOM_BYTES: Final = 64 * 1024  # SQLite's shared memory alone takes half of that
_SQLITE: dict[int, tuple[str, str]] = {
    sqlite3.SQLITE_FULL: (
        "the disk (or the quota) of the store at {where} is full",
        "free some space; nothing of the last step was written, the next `rea wake` goes on from the step before",
    ),
    sqlite3.SQLITE_BUSY: (
        "the store at {where} is locked by another process that does not let go",
        "look for a hanging `rea` or an open database shell (`fuser {where}`), end it, and try again",
    ),
    sqlite3.SQLITE_LOCKED: (
        "the store at {where} is locked by another connection of this process",
        "end the open transaction first",
    ),
    sqlite3.SQLITE_NOTADB: (
        "{where} is not an SQLite database",
        "move the file away, or name another one with REA_STORE=sqlite:////path/to/rea.db",
    ),
    sqlite3.SQLITE_CORRUPT: (
        "the store at {where} is damaged",
        "keep a copy, then restore a backup, or try `sqlite3 {where} .recover`",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "the store at {where} cannot be opened",
        "its folder must exist and be writable (SQLite keeps two files beside the database), the file readable",
    ),
    sqlite3.SQLITE_READONLY: (
        "the store at {where} cannot be written",
        "make the file and its folder writable for this user",
    ),
    sqlite3.SQLITE_PERM: (
        "the store at {where} may not be opened",
        "make the file and its folder readable and writable for this user",
    ),
    sqlite3.SQLITE_IOERR: (
        "the disk under the store at {where} failed to read or write",
        "check free space and the disk; SQLite needs a local file system",
    ),
}

# The classes and codes of SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRESQL: tuple[tuple[str, str, str], ...] = (
    ("53100", "the disk of the store at {where} is full", "free some space on the database server"),
    (
        "53300",
        "the database server of {where} has no connection left",
        "close idle clients, or raise its max_connections",
    ),
    ("55P03", "the store at {where} is locked by another process that does not let go", "see pg_stat_activity"),
    ("57", "the database server of {where} is shutting down or ended the connection", "try again when it is up"),
    ("28", "the database server of {where} refuses this user or password", "check user and password in REA_STORE"),
    ("3D000", "there is no such database at {where}", "create it first, for example with `createdb`"),
    ("42501", "this user may not use the tables at {where}", "grant it the rights, or use the owner's account"),
    ("25006", "the store at {where} cannot be written: the server is read-only", "name the primary in REA_STORE"),
    ("08", "the connection to the store at {where} broke", "check that the database server is up, and try again"),
    ("", "the store at {where} does not answer", "check host and port in REA_STORE and that the server is up"),
)


def explain(error: BaseException, where: str) -> StoreError | None:
    """The clear error behind a driver's error, or None if it is a mistake of the program (a broken constraint, SQL)."""
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, sqlite3.Error) and not isinstance(cause, sqlite3.IntegrityError):
        # The low byte is the primary code: https://www.sqlite.org/rescode.html
        code = (getattr(cause, "sqlite_errorcode", None) or 0) & 0xFF
        if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY) and _full(
            Path(where).parent
        ):
            code = sqlite3.SQLITE_FULL  # the files that SQLite keeps beside the database have no room either
        words = _SQLITE.get(code)
    elif type(cause).__module__.startswith("psycopg"):
        operational = any(kind.__name__ == "OperationalError" for kind in type(cause).__mro__)
        state = getattr(cause, "sqlstate", None) or ""
        words = next(
            ((m, h) for code, m, h in _POSTGRESQL if state.startswith(code) and (code or operational)),
            None,
        )
    else:
        return None
    if words is None:
        return None
    said = str(cause).strip().splitlines()
    return StoreError(
        f"{words[0].format(where=where)} ({said[0] if said else type(cause).__name__})",
        hint=words[1].format(where=where),
    )


def _full(folder: Path) -> bool:
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < ROOM_BYTES


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Raise StoreError in place of what the database driver raises."""
    try:
        yield
    except ReaError:
        raise
    except Exception as error:
        clear = explain(error, where)
        if clear is None:
            raise
        raise clear from error
