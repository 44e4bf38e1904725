"""What databases answer to a probe's query."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from drtool.adapters import sqlite
from drtool.adapters.mariadb import MariaDB
from drtool.adapters.postgresql import PostgreSQL
from drtool.errors import DatabaseFailed, DatabaseRefused
from tests.databases import MariaDBServer, PostgreSQLServer, secret

TABLE = "CREATE TABLE t (id INT); INSERT INTO t VALUES (7), (8);"
LIMIT = 30.0
Answer = Callable[[str], str | None]


@pytest.fixture
def maria(mariadb: MariaDBServer, tmp_path: Path) -> MariaDB:
    database = mariadb.name()
    mariadb.sql(f"CREATE DATABASE {database};")
    mariadb.sql(TABLE, database)
    file = mariadb.option_file(tmp_path / "cnf", mariadb.account(database, "pw"), "pw")
    return MariaDB(database=database, defaults_file=file, restore_file=Path("/nonexistent"))


@pytest.fixture
def postgres(postgresql: PostgreSQLServer, tmp_path: Path) -> PostgreSQL:
    user = postgresql.account("pw")
    return PostgreSQL(
        database=postgresql.create(TABLE), host=str(postgresql.folder), port=5432, user=user,
        passfile=postgresql.pass_file(tmp_path / "pass", user, "pw"), restore_user="nobody", restore_passfile=None,
    )  # fmt: skip


@pytest.fixture
def light(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / "db")) as db:
        db.executescript(TABLE)
    return tmp_path / "db"


@pytest.fixture(params=["maria", "postgres", "light"])
def ask(request: pytest.FixtureRequest) -> Answer:
    if request.param == "light":
        file = request.getfixturevalue("light")
        return lambda query: sqlite.answer(file, query, LIMIT)
    server = request.getfixturevalue(request.param)
    return lambda query: server.answer(query, LIMIT)


def test_the_first_field_of_the_first_row_is_the_answer(ask: Answer) -> None:
    assert ask("SELECT id, 'x' FROM t ORDER BY id") == "7"


@pytest.mark.parametrize("text", ["", " two words ", "tab\tand\nline", "back\\slash\\n", "Grüße"])
def test_a_text_is_answered_as_it_is(ask: Answer, text: str, request: pytest.FixtureRequest) -> None:
    written = text.replace("\\", "\\\\") if "maria" in request.node.name else text
    assert ask(f"SELECT '{written}', 1") == text


def test_nothing_at_all_is_no_answer(ask: Answer) -> None:
    assert ask("SELECT NULL") is None
    assert ask("SELECT id FROM t WHERE id = 9") is None


def test_a_query_may_end_with_a_semicolon(ask: Answer) -> None:
    assert ask("SELECT count(*) FROM t;") == "2"


@pytest.mark.parametrize("act", ["INSERT INTO t VALUES (9)", "DROP TABLE t", "DELETE FROM t"])
def test_a_query_that_would_write_is_refused_and_writes_nothing(ask: Answer, act: str) -> None:
    with pytest.raises(DatabaseFailed):
        ask(act)
    assert ask("SELECT count(*) FROM t") == "2"


def test_even_an_account_that_may_write_does_not(mariadb: MariaDBServer, tmp_path: Path) -> None:
    database = mariadb.name()
    mariadb.sql(f"CREATE DATABASE {database};")
    mariadb.sql(TABLE, database)
    file = mariadb.option_file(tmp_path / "cnf")
    with pytest.raises(DatabaseFailed):
        MariaDB(database=database, defaults_file=file, restore_file=file).answer("DELETE FROM t", LIMIT)
    assert mariadb.sql("SELECT count(*) FROM t", database) == "2"


def test_a_table_that_is_gone_is_a_failure(ask: Answer) -> None:
    with pytest.raises(DatabaseFailed) as raised:
        ask("SELECT * FROM orders")
    assert not isinstance(raised.value, DatabaseRefused)


def test_many_rows_need_no_memory_and_are_not_waited_for(maria: MariaDB, postgres: PostgreSQL) -> None:
    assert maria.answer("SELECT seq FROM seq_1_to_1000000000", LIMIT) == "1"
    assert postgres.answer("SELECT generate_series(1, 1000000000)", LIMIT) == "1"


def test_a_query_that_takes_too_long_is_ended(maria: MariaDB, postgres: PostgreSQL, light: Path) -> None:
    with pytest.raises(DatabaseFailed):
        maria.answer("SELECT count(*) FROM seq_1_to_100000000000 WHERE seq % 3 = 1", 1)
    with pytest.raises(DatabaseFailed):
        postgres.answer("SELECT pg_sleep(60)", 1)
    with pytest.raises(DatabaseFailed):
        sqlite.answer(light, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n", 1)


@pytest.mark.parametrize("query", ["SELEKT 1", "\\! touch /tmp/drtool-was-here"])
def test_a_query_that_is_no_query_is_refused(maria: MariaDB, postgres: PostgreSQL, query: str) -> None:
    for server in (maria, postgres):
        with pytest.raises(DatabaseRefused):
            server.answer(query, LIMIT)
    assert not Path("/tmp/drtool-was-here").exists()


def test_a_wrong_password_is_no_failure_of_the_server(
    maria: MariaDB, postgresql: PostgreSQLServer, postgres: PostgreSQL, tmp_path: Path
) -> None:
    file = secret(tmp_path / "bad", maria.defaults_file.read_text().replace("password=pw", "password=no"))
    with pytest.raises(DatabaseRefused):
        MariaDB(database=maria.database, defaults_file=file, restore_file=file).answer("SELECT 1", LIMIT)
    assert postgres.passfile
    postgresql.pass_file(postgres.passfile, postgres.user, "no")
    with pytest.raises(DatabaseRefused):
        postgres.answer("SELECT 1", LIMIT)


def test_a_server_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    file = secret(tmp_path / "cnf", "[client]\nsocket=/nonexistent\n")
    nowhere = PostgreSQL(
        database="x", host=str(tmp_path), port=5432, user="x", passfile=None, restore_user="x", restore_passfile=None
    )
    asks: list[Answer] = [
        lambda query: MariaDB(database="x", defaults_file=file, restore_file=file).answer(query, LIMIT),
        lambda query: nowhere.answer(query, LIMIT),
        lambda query: sqlite.answer(tmp_path / "no.db", query, LIMIT),
    ]
    for ask in asks:
        with pytest.raises(DatabaseFailed) as raised:
            ask("SELECT 1")
        assert not isinstance(raised.value, DatabaseRefused)
