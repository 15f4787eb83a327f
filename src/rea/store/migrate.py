"""The schema: which revision a store has, and how it gets to this release's one."""

from __future__ import annotations

import os
import secrets
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rea.idle import STATUS
from rea.store.address import Address
from rea.store.engine import writing
from rea.store.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

SCRIPTS = Path(__file__).parent / "migrations"
# Oldest first; known without reading the scripts, so that opening is cheap.
REVISIONS: tuple[str, ...] = ("0001_first", "0002_insights", "0003_same_data", "0004_large_campaigns", "0005_trail")
_POSTGRESQL_LOCK: Final = 0x7265615F  # any fixed number: "rea_"


def current_uid(ask: Callable[[str], list[tuple[Any, ...]]]) -> str | None:
    """The uid of a store that is up to date; None where `migrate` has work to do or a word to say."""
    try:
        ((revision, uid),) = ask(STATUS)
    except Exception as error:
        if _no_such_table(error):
            return None
        raise
    return uid if revision == REVISIONS[-1] else None


def _no_such_table(error: Exception) -> bool:
    cause = getattr(error, "orig", error)
    known = (getattr(cause, "sqlite_errorcode", None), getattr(cause, "sqlstate", None))
    return known in ((sqlite3.SQLITE_ERROR, None), (None, "42P01"))


def migrate(address: Address, engine: Engine) -> str:
    """Bring the store to this release's schema, once however many processes ask, and give its uid.

    An SQLite file of an older release is copied beside itself first. Raises StoreError for a database of a newer
    release or of another program.
    """
    with _alone(address.path):
        if address.path is not None:
            _prepare(address.path)
        with writing(engine) as connection:
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_POSTGRESQL_LOCK})")
            found = _revision(connection, address)
            if found != REVISIONS[-1]:
                _upgrade(connection)
                _derive(connection)
            uid = _uid(connection)
        if found not in (None, REVISIONS[-1]):
            _tell(address, found)
        return uid


def _tell(address: Address, before: str | None) -> None:
    """Say on standard error what became of a store that an older release wrote, and where it is as it was."""
    kept = (
        "REA keeps no copy of a PostgreSQL database: `pg_dump` before the next upgrade, if you want a way back"
        if address.path is None
        else f"as it was: {_backup_of(address.path, str(before))}"
    )
    words = f"rea: the store at {address.where} was brought from schema {before} to {REVISIONS[-1]}; {kept}"
    with suppress(OSError):  # nobody may be listening any more, and the store is as it should be
        print(words, file=sys.stderr, flush=True)


@contextmanager
def _alone(path: Path | None) -> Iterator[None]:
    """Hold the lock file beside an SQLite store; the kernel drops it when the process ends, however it ends."""
    if path is None:
        yield
        return
    import fcntl

    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _prepare(path: Path) -> None:
    """Switch the file to write-ahead logging (it remembers), and copy an older one before it is changed."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        if tables:
            try:
                ((revision,),) = connection.execute("SELECT max(version_num) FROM alembic_version").fetchall()
            except sqlite3.OperationalError as error:
                raise _foreign(str(path)) from error
            if revision in REVISIONS[:-1]:
                _backup(connection, _backup_of(path, revision))
        ((mode,),) = connection.execute("PRAGMA journal_mode = WAL").fetchall()
    if mode != "wal":
        raise StoreError(
            f"{path}: this file system does not let SQLite keep a write-ahead log (it offers {mode!r})",
            hint="put the store on a local disk, or use postgresql://user@host/database as REA_STORE",
        )


def _backup_of(path: Path, revision: str) -> Path:
    return path.with_name(f"{path.name}.{revision}.bak")


def _backup(connection: sqlite3.Connection, target: Path) -> None:
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    with closing(sqlite3.connect(part)) as copy:
        connection.backup(copy)
    part.replace(target)


def _revision(connection: Connection, address: Address) -> str | None:
    from sqlalchemy import inspect, text

    names = set(inspect(connection).get_table_names())
    if "alembic_version" not in names:
        if names & {"campaigns", "meta"} or (names and address.path is not None):
            raise _foreign(address.where)
        return None
    found: str | None = connection.execute(text("SELECT max(version_num) FROM alembic_version")).scalar()
    if found is not None and found not in REVISIONS:
        raise StoreError(
            f"the store at {address.where} was written by a newer release of rea (its schema is {found!r}, this "
            f"release knows up to {REVISIONS[-1]!r})",
            hint="upgrade rea here (`pip install -U rea`), or name another store with REA_STORE",
        )
    return found


def _foreign(where: str) -> StoreError:
    return StoreError(
        f"{where} holds tables of another program", hint="name a new file (or an empty database) with REA_STORE"
    )


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    attributes: dict[str, Any] = {"connection": connection}
    config = Config(attributes=attributes)
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, "head")


def _derive(connection: Connection) -> None:
    """Fill what this release keeps beside the rows that an older one wrote."""
    from rea.store.experiments import derive
    from rea.store.trail import begin_all

    derive(connection)
    begin_all(connection)


def _uid(connection: Connection) -> str:
    from sqlalchemy import insert, select

    from rea.store.tables import meta

    uid: str | None = connection.execute(select(meta.c.value).where(meta.c.key == "uid")).scalar()
    if uid is None:
        uid = secrets.token_hex(3)
        connection.execute(insert(meta).values(key="uid", value=uid))
    return uid
