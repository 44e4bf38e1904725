from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from drtool.adapters import sqlite
from drtool.adapters.sqlite import SqliteDatabases
from drtool.errors import SourceFailed


@pytest.fixture(params=["DELETE", "WAL"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Two accounts between which money moves; together they always hold 1000."""
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA journal_mode = {request.param}")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("BEGIN")
        db.execute("CREATE TABLE account (name TEXT PRIMARY KEY, money INTEGER NOT NULL)")
        db.execute("CREATE TABLE ballast (content BLOB)")
        db.execute("INSERT INTO account VALUES ('here', 1000), ('there', 0)")
        db.executemany("INSERT INTO ballast VALUES (?)", [(bytes(4000),)] * 200)
        db.execute("COMMIT")
    return path


@contextmanager
def traffic(path: Path) -> Iterator[None]:
    """Money moves all the time, in transactions that write both accounts apart from each other."""
    done = threading.Event()

    def move() -> None:
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous = OFF")
            while not done.is_set():
                db.execute("BEGIN IMMEDIATE")
                db.execute("UPDATE account SET money = money - 1 WHERE name = 'here'")
                db.execute("INSERT INTO ballast VALUES (zeroblob(4000))")
                db.execute("UPDATE account SET money = money + 1 WHERE name = 'there'")
                db.execute("COMMIT")

    thread = threading.Thread(target=move)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def money(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT sum(money) FROM account").fetchone()[0])


def test_a_copy_of_a_busy_database_is_of_one_moment(database: Path, tmp_path: Path) -> None:
    with traffic(database):
        for number in range(5):
            SqliteDatabases().copy_sqlite(database, tmp_path / f"copy{number}.db")
    assert [money(tmp_path / f"copy{number}.db") for number in range(5)] == [1000] * 5


def test_what_is_only_in_the_journal_is_copied_too(database: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute("INSERT INTO account VALUES ('new', 7)")
        SqliteDatabases().copy_sqlite(database, tmp_path / "copy.db")
    assert money(tmp_path / "copy.db") == 1007


def test_what_is_not_committed_is_not_copied(database: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO account VALUES ('new', 7)")
        SqliteDatabases().copy_sqlite(database, tmp_path / "copy.db")
        db.execute("ROLLBACK")
    assert money(tmp_path / "copy.db") == 1000


def test_a_copy_is_one_file(database: Path, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    SqliteDatabases().copy_sqlite(database, folder / "copy.db")
    assert [path.name for path in folder.iterdir()] == ["copy.db"]


def test_copying_leaves_the_database_as_it_was(database: Path, tmp_path: Path) -> None:
    before = database.read_bytes()
    SqliteDatabases().copy_sqlite(database, tmp_path / "copy.db")
    assert database.read_bytes() == before


def test_a_name_with_signs_that_mean_something_in_addresses_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / "50% ?mode=memory#shop.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE account (name, money)")
        db.execute("INSERT INTO account VALUES ('here', 5)")
    SqliteDatabases().copy_sqlite(path, tmp_path / "copy.db")
    assert money(tmp_path / "copy.db") == 5


def test_a_missing_database_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match=r"database .*gone\.db does not exist"):
        SqliteDatabases().copy_sqlite(tmp_path / "gone.db", tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shop.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(SourceFailed, match=r"shop\.db cannot be copied: file is not a database"):
        SqliteDatabases().copy_sqlite(tmp_path / "shop.db", tmp_path / "copy.db")


@pytest.mark.parametrize("database", ["DELETE"], indirect=True)
def test_a_damaged_database_is_refused(database: Path, tmp_path: Path) -> None:
    content = bytearray(database.read_bytes())
    content[5 * 4096 : 9 * 4096] = b"\xff" * (4 * 4096)
    database.write_bytes(content)
    with pytest.raises(SourceFailed, match=r"shop\.db is not fit"):
        SqliteDatabases().copy_sqlite(database, tmp_path / "copy.db")


@pytest.mark.parametrize("database", ["DELETE"], indirect=True)
def test_a_truncated_database_is_refused(database: Path, tmp_path: Path) -> None:
    database.write_bytes(database.read_bytes()[:-40960])
    with pytest.raises(SourceFailed, match=r"shop\.db"):
        SqliteDatabases().copy_sqlite(database, tmp_path / "copy.db")


@pytest.mark.parametrize("database", ["DELETE"], indirect=True)
def test_a_refused_copy_leaves_nothing_half_written(database: Path, tmp_path: Path) -> None:
    database.write_bytes(database.read_bytes()[:-40960])
    with pytest.raises(SourceFailed):
        SqliteDatabases().copy_sqlite(database, tmp_path / "copy.db")
    assert [path.name for path in tmp_path.iterdir()] == ["shop.db"]


@pytest.mark.parametrize("database", ["DELETE"], indirect=True)
def test_a_database_that_is_held_for_long_is_given_up(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY", 0.2)
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SourceFailed, match="database is locked"):
            SqliteDatabases().copy_sqlite(database, tmp_path / "copy.db")
