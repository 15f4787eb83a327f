"""Connections: the SQLite pragmas, and the two kinds of transaction, reading and writing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from rea.store.address import Address
from rea.store.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection, Engine

BUSY_TIMEOUT_S: float = 30.0  # how long a writer waits for the one before it
_WRITE: Final = "rea_write"


def straight(path: Path, sql: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
    """Ask an existing SQLite file one question without SQLAlchemy, whose import costs more than an idle wake may."""
    if sqlite3.sqlite_version_info < (3, 37):
        raise StoreError(
            f"this Python's SQLite is {sqlite3.sqlite_version}, 3.37 or newer is needed",
            hint="use a newer Python, or postgresql://user@host/database as REA_STORE",
        )
    uri = f"file:{quote(str(path))}?mode=rw"
    with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as connection:
        return connection.execute(sql, values or {}).fetchall()


def make_engine(address: Address) -> Engine:
    """Raises StoreError where the database's driver is missing."""
    return _postgresql(address) if address.path is None else _sqlite(address.path)


def _sqlite(path: Path) -> Engine:
    from sqlalchemy import URL, create_engine, event

    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        # isolation_level None: the driver begins nothing by itself, the hook below does
        connect_args={"timeout": BUSY_TIMEOUT_S, "isolation_level": None, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -32768")  # KiB at most; of 2 MiB, what plans are made from falls out
        connection.execute("PRAGMA synchronous = FULL")  # in WAL mode NORMAL may lose the last commits at power loss

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A deferred transaction that writes after reading fails at once when another wrote meanwhile; an immediate
        # one waits for its turn.
        write = connection.get_execution_options().get(_WRITE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _postgresql(address: Address) -> Engine:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import ArgumentError

    try:
        return create_engine(
            address.url,
            pool_pre_ping=True,
            connect_args={"options": f"-c lock_timeout={int(BUSY_TIMEOUT_S * 1000)}"},
        )
    except ImportError as error:
        raise StoreError(
            f"the store at {address.where} needs the PostgreSQL driver", hint="pip install 'psycopg[binary]'"
        ) from error
    except ArgumentError as error:
        raise StoreError(
            f"{address.where} is not the URL of a PostgreSQL database", hint="expected postgresql://user@host/database"
        ) from error


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A short transaction that sees one instant of the database."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with connection.begin():
            yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that commits at its end and rolls back on an error. On SQLite it is the only writer from its start.

    On PostgreSQL the caller locks the campaign's row (`SELECT … FOR UPDATE`) first, to the same effect per campaign.
    """
    with engine.connect().execution_options(**{_WRITE: True}) as connection:
        with connection.begin():
            yield connection
