"""The store in a SQLite file: how it is made, migrated, and what it says when the file or the disk is no good."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rea.domain.codebase import Codebase, ConfigStyle, LauncherChoice, Objective, Resources
from rea.domain.errors import UsageError
from rea.store import Store, StoreError, engine, migrate, open_store, upkeep
from rea.store.address import parse

CODEBASE = Codebase(
    name="ads-ranker",
    root="/home/me/ads",
    python="python",
    train="train",
    evaluate=None,
    config=None,
    style=ConfigStyle.ENV,
    editable=(),
    protected=(),
    env=(),
    objective=Objective("ne", "minimize", "valid", None, 0.0005),
    resources=Resources(1, 0, None, 60.0),
    launcher=LauncherChoice("local", 1),
    knobs=(),
)
fork = multiprocessing.get_context("fork")


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "rea.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = open_store(url_of(path))
    yield store
    store.close()


def create(store: Store, name: str = "first") -> int:
    return store.create_campaign(name=name, codebase=CODEBASE, commit="c0ffee", env={}, options={}, at=1.0).id


def ask(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def schema(path: Path) -> dict[str, str]:
    """The text of every table and index, one space where there are several."""
    rows = ask(path, "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name <> 'alembic_version'")
    return {str(name): " ".join(str(sql).split()) for name, sql in rows}


def at_once(count: int, work: Callable[[int], None]) -> list[int | None]:
    processes = [fork.Process(target=work, args=(n,)) for n in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


@pytest.fixture
def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A later release with one more migration; the path of that migration's script."""
    scripts = tmp_path / "scripts of 100 % later"
    shutil.copytree(migrate.SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    script = scripts / "versions" / "9999_later.py"
    script.write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f"revision, down_revision = '9999_later', {migrate.REVISIONS[-1]!r}\n\n\n"
        "def upgrade():\n    op.add_column('campaigns', sa.Column('colour', sa.Text))\n"
    )
    monkeypatch.setattr(migrate, "SCRIPTS", scripts)
    monkeypatch.setattr(migrate, "REVISIONS", (*migrate.REVISIONS, "9999_later"))
    return script


# the schema


def test_migrating_an_empty_file_yields_exactly_the_tables_of_the_code(
    store: Store, path: Path, tmp_path: Path
) -> None:
    from sqlalchemy import create_engine

    from rea.store.tables import metadata

    straight = tmp_path / "straight.db"
    made = create_engine(url_of(straight))
    metadata.create_all(made)
    made.dispose()
    assert schema(path) == schema(straight)
    tables = {str(name): strict for _, name, kind, _, _, strict in ask(path, "PRAGMA table_list") if kind == "table"}
    ours = {name: strict for name, strict in tables.items() if not name.startswith(("sqlite_", "alembic_"))}
    assert ours == dict.fromkeys(metadata.tables, 1), "every table is STRICT"


def test_the_known_revisions_are_those_of_the_scripts() -> None:
    from alembic.script import ScriptDirectory

    known = [script.revision for script in ScriptDirectory(str(migrate.SCRIPTS)).walk_revisions()]
    assert known[::-1] == list(migrate.REVISIONS)


def test_every_connection_is_durable_and_holds_foreign_keys(store: Store, path: Path) -> None:
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        with pytest.raises(Exception, match="FOREIGN KEY"):
            connection.exec_driver_sql("INSERT INTO grants (campaign, name, by, at) VALUES (99, 'x', 'x', 1.0)")


def test_a_state_no_enum_knows_is_refused_by_the_database_itself(store: Store, path: Path) -> None:
    create(store)
    for column, value in (("state", "'asleep'"), ("phase", "'lunch'"), ("round", "'two'"), ("next_wake_at", "'soon'")):
        with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError):
            connection.execute(f"UPDATE campaigns SET {column} = {value}")


# opening


def test_opening_again_changes_nothing_and_the_uid_stays(store: Store, path: Path) -> None:
    create(store)
    again = open_store(url_of(path))
    assert again.uid == store.uid
    assert len(again.uid) == 6 and set(again.uid) <= set("0123456789abcdef")
    assert again.campaigns() == store.campaigns()
    assert again.path == path and open_store(again.url).uid == store.uid
    again.close()


def test_eight_processes_opening_at_once_migrate_once(path: Path, tmp_path: Path) -> None:
    def work(n: int) -> None:
        own = open_store(url_of(path))
        (tmp_path / f"uid-{n}").write_text(own.uid)
        create(own, f"campaign of {n}")
        own.close()

    assert at_once(8, work) == [0] * 8
    assert len({(tmp_path / f"uid-{n}").read_text() for n in range(8)}) == 1
    assert ask(path, "SELECT version_num FROM alembic_version") == [(migrate.REVISIONS[-1],)]
    assert ask(path, "SELECT count(*) FROM campaigns") == [(8,)]


def test_an_older_store_is_copied_then_migrated_once(store: Store, path: Path, newer: Path) -> None:
    create(store)
    store.close()
    before, uid = schema(path), store.uid

    def work(_: int) -> None:
        assert open_store(url_of(path)).uid == uid

    assert at_once(4, work) == [0] * 4
    assert "colour" in schema(path)["campaigns"] and schema(path)["campaigns"].endswith("STRICT")
    backup = path.with_name(f"rea.db.{migrate.REVISIONS[-2]}.bak")
    assert schema(backup) == before
    assert ask(backup, "SELECT name FROM campaigns") == ask(path, "SELECT name FROM campaigns") == [("first",)]


def test_a_migration_that_fails_leaves_the_store_as_it_was(store: Store, path: Path, newer: Path) -> None:
    create(store)
    store.close()
    before = schema(path)
    newer.write_text(newer.read_text() + "    op.execute('SELECT nothing FROM nowhere')\n")
    with pytest.raises(Exception, match="nowhere"):
        open_store(url_of(path))
    assert schema(path) == before
    assert ask(path, "SELECT version_num FROM alembic_version") == [(migrate.REVISIONS[-2],)]


def test_a_store_of_a_newer_release_is_left_alone(path: Path, newer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_store(url_of(path)).close()
    before = schema(path)
    monkeypatch.undo()
    with pytest.raises(StoreError, match="newer release") as caught:
        open_store(url_of(path))
    assert "upgrade" in (caught.value.hint or "")
    assert schema(path) == before


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program"):
        open_store(url_of(path))
    assert path.read_bytes() == before


def test_a_killed_first_opening_is_made_good_by_the_next(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(_: object) -> str:
        os._exit(9)

    def work(_: int) -> None:
        monkeypatch.setattr(migrate, "_uid", die)
        open_store(url_of(path))

    assert at_once(1, work) == [9]
    assert path.exists() and schema(path) == {}
    store = open_store(url_of(path))
    create(store)
    store.close()


def test_a_wake_that_finds_nothing_imports_nothing_heavy(store: Store) -> None:
    create(store)
    code = (
        "import sys; from rea.store import open_store\n"
        "assert open_store(sys.argv[1]).due(5.0) == [1]\n"
        "print(*sorted({'sqlalchemy', 'alembic', 'pydantic', 'numpy'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, store.url]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == ""


# when the file or the disk is no good


def test_a_folder_instead_of_a_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is a folder"):
        open_store(url_of(tmp_path))


def test_the_folder_of_the_default_place_is_made_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REA_HOME", str(tmp_path / "home"))
    open_store(url_of(tmp_path / "home" / "rea.db")).close()
    with pytest.raises(StoreError, match=f"no folder {tmp_path}/nope/dir") as caught:
        open_store(url_of(tmp_path / "nope" / "dir" / "rea.db"))
    assert "mkdir -p" in str(caught.value) and not (tmp_path / "nope").exists()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REA_HOME", str(tmp_path / "file" / "deeper"))
    with pytest.raises(StoreError, match="REA_STORE"):
        open_store(url_of(tmp_path / "file" / "deeper" / "rea.db"))


@pytest.mark.parametrize("content", [b"no database " * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_file_that_is_no_database_is_said_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rea.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"rea\.db") as caught:
        open_store(url_of(path))
    assert caught.value.hint
    assert path.read_bytes() == content


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_file_this_user_may_not_use_is_said(mode: int) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        path = folder / "rea.db"
        open_store(url_of(path)).close()
        path.chmod(mode)

        def work(_: int) -> None:
            os.setgid(65534)
            os.setuid(65534)
            try:
                open_store(url_of(path))
            except StoreError as error:
                os._exit(7 if "this user" in str(error) else 8)

        assert at_once(1, work) == [7]


def test_a_locked_store_is_said_and_its_readers_go_on(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = create(store)
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_S", 0.05)
    impatient = open_store(url_of(path))
    with store.transaction(c) as tx:
        tx.set_campaign(c, reason="slow")
        with pytest.raises(StoreError, match="locked"), impatient.transaction(c):
            pass
        assert impatient.campaign(c).reason == ""
        assert impatient.due(5.0) == [c]
    assert impatient.campaign(c).reason == "slow"
    impatient.close()


def test_a_full_disk_is_said_and_leaves_what_was_committed(store: Store) -> None:
    from sqlalchemy import event

    c = create(store)
    before = store.snapshot_rows(c)
    store.close()

    def small(connection: sqlite3.Connection, _: object) -> None:
        ((pages,),) = connection.execute("PRAGMA page_count").fetchall()
        connection.execute(f"PRAGMA max_page_count = {pages + 2}")

    event.listen(store._engine, "connect", small)
    with pytest.raises(StoreError, match="full") as caught, store.transaction(c) as tx:
        for n in range(1000):
            tx.event(c, "note", "x" * 1000, float(n))
    assert "space" in (caught.value.hint or "")
    event.remove(store._engine, "connect", small)
    store.close()
    assert store.snapshot_rows(c) == before and store.events(c) == []
    with store.transaction(c) as tx:
        tx.event(c, "note", "there is room again", 1.0)


def test_a_postgresql_server_that_is_not_there_is_said() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError, match=r"me@127\.0\.0\.1") as caught:
        open_store("postgresql://me:s3cret@127.0.0.1:1/rea")
    assert "s3cret" not in str(caught.value)


# upkeep


def test_a_backup_never_takes_the_place_of_the_store_or_of_what_is_there(
    store: Store, path: Path, tmp_path: Path
) -> None:
    create(store)
    link, hard = tmp_path / "link.db", tmp_path / "hard.db"
    link.symlink_to(path)
    os.link(path, hard)
    for own in (path, path.with_name("rea.db-wal"), path.with_name("rea.db.lock"), link, hard):
        with pytest.raises(UsageError, match="the store itself"):
            store.backup(own, force=True)
    for nowhere in (tmp_path, tmp_path / "none" / "copy.db"):
        with pytest.raises(UsageError):
            store.backup(nowhere)
    assert ask(path, "SELECT name FROM campaigns") == [("first",)]
    path.chmod(0o640)
    copy = tmp_path / "copy.db"
    store.backup(copy)
    assert copy.stat().st_mode & 0o777 == 0o640
    assert ask(copy, "PRAGMA journal_mode") == [("wal",)], "it can take the place of the store as it is"


def test_damage_is_told_and_never_copied_over_a_sound_backup(store: Store, path: Path, tmp_path: Path) -> None:
    for number in range(200):
        create(store, f"campaign {number} " + "x" * 200)
    store.close()
    copy = tmp_path / "copy.db"
    store.backup(copy)
    before = copy.read_bytes()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("INSERT INTO grants (campaign, name, by, at) VALUES (999, 'x', 'x', 1.0)")
        connection.commit()
    (wrong,) = store.faults()
    assert "grants" in wrong and "campaigns" in wrong
    with pytest.raises(StoreError, match="not sound"):
        store.backup(copy, force=True)
    page = 4096
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 20 * page)
        file.write(b"\xa5" * 8 * page)
    assert store.faults() and all(len(line) < 2000 for line in store.faults())
    with pytest.raises(StoreError):
        store.backup(copy, force=True)
    assert copy.read_bytes() == before
    assert {one.name for one in tmp_path.iterdir()} == {"data", "copy.db"}


def test_without_pg_dump_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StoreError, match="no pg_dump") as caught:
        upkeep.backup(parse("postgresql://me:s3cret@127.0.0.1:1/rea"), tmp_path / "rea.dump", False)
    assert "client programs" in str(caught.value) and list(tmp_path.iterdir()) == []
    fake = tmp_path / "pg_dump"
    fake.write_text('#!/bin/sh\necho "$PGPASSWORD $*" >&2; exit 1\n')
    fake.chmod(0o755)
    with pytest.raises(StoreError, match="pg_dump failed: s3cret ") as caught:
        upkeep.backup(parse("postgresql://me:s3cret@127.0.0.1:1/rea"), tmp_path / "rea.dump", False)
    assert str(caught.value).count("s3cret") == 1, "the password is no argument"
