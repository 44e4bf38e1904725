"""MariaDB's and PostgreSQL's clients: what they are told, and what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from drtool.adapters import dumper, process
from drtool.adapters.mariadb import MariaDB
from drtool.adapters.postgresql import PostgreSQL, literal
from drtool.core.dump import DumpReader
from drtool.errors import DatabaseFailed, ProgramMissing
from tests.databases import MariaDBServer, PostgreSQLServer

NOWHERE = Path("/nonexistent")


def maria(file: Path, database: str) -> MariaDB:
    return MariaDB(database=database, defaults_file=file, restore_file=file)


def postgres(host: Path | str, database: str) -> PostgreSQL:
    return PostgreSQL(
        database=database, host=str(host), port=5432, user="postgres", passfile=None, restore_user="postgres",
        restore_passfile=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("server", "package"),
    [(maria(NOWHERE, "shop"), "mariadb-client"), (postgres(NOWHERE, "shop"), "postgresql-client")],
)
def test_a_client_that_is_not_installed_is_named_with_its_package(
    server: MariaDB | PostgreSQL, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "SAFE_PATH", "/nonexistent")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ProgramMissing) as raised:
        dumper.source(server, filename="shop.sql", limit=60)
    assert raised.value.code == 22
    assert raised.value.hint == f"apt-get install {package}"


@pytest.mark.parametrize("server", [maria(NOWHERE, "shop"), postgres(NOWHERE, "shop")])
def test_a_server_that_does_not_answer_is_told_at_once(server: MariaDB | PostgreSQL) -> None:
    with pytest.raises(DatabaseFailed) as raised:
        server.dump(lambda content: None)
    assert "database shop: " in raised.value.message and raised.value.hint


@pytest.mark.parametrize("name", ["it's", 'a"b', "a`b", "a b=c", "%d", "Groß", "a\\b", "-x"])
def test_a_database_may_have_any_name(
    name: str, mariadb: MariaDBServer, postgresql: PostgreSQLServer, tmp_path: Path
) -> None:
    for server in (maria(mariadb.option_file(tmp_path / "cnf"), name), postgres(postgresql.folder, name)):
        assert server.objects_in(name) is None
        server.create(name, {})
        assert server.objects_in(name) == 0
        reading = DumpReader()
        with server.load(name) as script:
            script.say(b"CREATE TABLE t (id INT);\n")
            script.end()
        server.dump(reading.take)
        assert reading.contents().database == name
        assert list(server.rows(name).values()) == [0]
        server.drop(name)
        assert server.objects_in(name) is None


def test_a_distant_postgresql_is_only_reached_by_tls() -> None:
    def mode(host: str) -> str | None:
        return postgres(host, "shop")._command("psql", database="shop").env.get("PGSSLMODE")

    assert mode("db.example.net") == "require"
    assert [mode(host) for host in ("", "/run/postgresql", "127.0.0.1", "localhost")] == [None] * 4


def test_a_script_that_fails_says_why(mariadb: MariaDBServer, postgresql: PostgreSQLServer, tmp_path: Path) -> None:
    for server in (maria(mariadb.option_file(tmp_path / "cnf"), "x"), postgres(postgresql.folder, "x")):
        with pytest.raises(DatabaseFailed, match="nothing_here"), server.load(None) as script:
            script.say(b"SELECT * FROM nothing_here.at_all;\n")
            script.end()


def test_a_text_is_the_same_text_for_the_server(postgresql: PostgreSQLServer) -> None:
    for text in ("plain", "it's", "a\\b'c", "", "%I :x :'y'"):
        assert postgresql.sql(f"SELECT {literal(text)}") == text
