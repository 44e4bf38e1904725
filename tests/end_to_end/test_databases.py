"""Databases on servers: dumped into restic as one stream, checked, loaded, compared. The servers are real."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from drtool.core.dump import CLOSING, CONTENTS, DumpReader, DumpWriter, Rows, SectionKind
from tests.databases import MariaDBServer, PostgreSQLServer
from tests.end_to_end.shop import Shop, fill, scramble
from tests.servers import Rclone

HERE = Path(__file__).parent
PASSWORD = "dump-password-xyzzy"


@dataclass(kw_only=True)
class Kept:
    """A database that a shop keeps, and the server that it lies on."""

    shop: Shop
    server: Any
    name: str
    document: dict[str, Any]

    def sql(self, script: str, database: str = "") -> str:
        return str(self.server.sql(script, database or self.name))

    def fresh(self) -> str:
        """A name to load into."""
        return str(self.server.name("fresh"))

    def load(self, into: str, *words: str, code: int = 0) -> dict[str, Any]:
        answer = self.shop.run("restore", "db", "--into", into, *words, code=code)
        return dict(answer.document) if code in (0, 3) else answer.error

    def fill(self, rows: int) -> None:
        """Rows that take some time to dump."""
        self.sql(BIG[self.document_kind].format(rows=rows))

    @property
    def document_kind(self) -> str:
        return next(iter(self.document))

    def keep(self, document: dict[str, Any]) -> None:
        kind = self.document_kind
        self.document = {kind: self.document[kind] | document}
        self.shop.datasets["db"] = {"repository": "main", "rpo": "24h", "rto": "1h", **self.document}
        self.shop.write()

    def snapshots(self) -> list[dict[str, Any]]:
        return self.shop.snapshots("disk", "db")


BIG = {
    "mariadb": "CREATE TABLE big (id INT PRIMARY KEY, t TEXT);"
    " INSERT INTO big SELECT seq, REPEAT(SHA2(seq, 512), 8) FROM seq_1_to_{rows};",
    "postgresql": "CREATE TABLE big (id int PRIMARY KEY, t text);"
    " INSERT INTO big SELECT i, repeat(md5(i::text), 32) FROM generate_series(1, {rows}) i;",
}


def keep_mariadb(shop: Shop, server: MariaDBServer, script: str) -> Kept:
    name = server.name()
    server.sql(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;")
    server.sql(script, name)
    files = {
        "defaults_file": server.option_file(shop.folder / "dump.cnf", server.account(name, PASSWORD), PASSWORD),
        "restore_defaults_file": server.option_file(shop.folder / "restore.cnf"),
    }
    document = {"mariadb": {"database": name, **{key: str(file) for key, file in files.items()}}}
    return Kept(shop=shop, server=server, name=name, document=document)


def keep_postgresql(shop: Shop, server: PostgreSQLServer, script: str) -> Kept:
    user, name = server.account(PASSWORD), server.create(script)
    document = {
        "database": name,
        "host": str(server.folder),
        "user": user,
        "passfile": str(server.pass_file(shop.folder / "pgpass", user, PASSWORD)),
        "restore_user": "postgres",
    }
    return Kept(shop=shop, server=server, name=name, document={"postgresql": document})


@pytest.fixture
def kept_mariadb(shop: Shop, mariadb: MariaDBServer) -> Kept:
    shop.add_directory("disk")
    kept = keep_mariadb(shop, mariadb, (HERE / "odd_mariadb.sql").read_text())
    return begun(kept)


@pytest.fixture
def kept_postgresql(shop: Shop, postgresql: PostgreSQLServer) -> Kept:
    shop.add_directory("disk")
    kept = keep_postgresql(shop, postgresql, (HERE / "odd_postgresql.sql").read_text())
    # a large object can only be read by its owner, whatever other rights a role has
    large, user = kept.sql("SELECT oid FROM pg_largeobject_metadata"), kept.document["postgresql"]["user"]
    kept.sql(f"ALTER LARGE OBJECT {large} OWNER TO {user}")
    return begun(kept)


@pytest.fixture(params=["mariadb", "postgresql"])
def kept(request: pytest.FixtureRequest) -> Iterator[Kept]:
    found: Kept = request.getfixturevalue(f"kept_{request.param}")
    yield found
    found.server.stop(signal.SIGTERM) if found.server._process is None else None


def begun(kept: Kept) -> Kept:
    kept.shop.datasets.clear()
    kept.keep({})
    kept.shop.init()
    return kept


# Round trips


def test_a_database_with_odd_content_comes_back_under_another_name_exactly_as_it_was(kept: Kept) -> None:
    before = kept.server.dump(kept.name)
    done = kept.shop.run("backup", code=0)
    assert done.dataset("db")["outcome"] == "done"
    name = kept.fresh()
    back = kept.load(name)
    assert kept.server.dump(name).replace(name, kept.name) == before
    assert (back["outcome"], back["verified"], back["target"]) == ("done", True, name)
    assert {one["verdict"] for one in back["tables"]} == {"equal"}
    assert {one["table"].rpartition(".")[2]: one["found"] for one in back["tables"]}["sale"] == 3
    assert kept.server.dump(kept.name) == before, "the live database was touched"


def test_the_defaults_of_the_database_come_back(kept_mariadb: Kept) -> None:
    kept_mariadb.shop.run("backup", code=0)
    kept_mariadb.load(name := kept_mariadb.fresh())
    query = "SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = '{}'"
    assert kept_mariadb.sql(query.format(name)) == "utf8mb4_bin"


def test_owner_rights_and_settings_of_the_database_come_back(kept_postgresql: Kept) -> None:
    kept, role = kept_postgresql, kept_postgresql.server.name("owner")
    kept.sql(
        f"""CREATE ROLE {role}; ALTER DATABASE {kept.name} OWNER TO {role}; ALTER DATABASE {kept.name}
        SET work_mem = '7MB'; REVOKE CONNECT ON DATABASE {kept.name} FROM PUBLIC;
        GRANT CONNECT ON DATABASE {kept.name} TO {kept.document["postgresql"]["user"]} WITH GRANT OPTION"""
    )
    query = """SELECT pg_get_userbyid(datdba), encoding, datcollate, (SELECT array_agg(a::text ORDER BY a::text)
        FROM unnest(datacl) a), (SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = d.oid)
        FROM pg_database d WHERE datname = '{}'"""
    before = kept.sql(query.format(kept.name))
    assert role in before and "7MB" in before
    kept.shop.run("backup", code=0)
    kept.load(name := kept.fresh())
    assert kept.sql(query.format(name)) == before


def test_the_dump_can_be_loaded_by_hand_too(kept: Kept) -> None:
    kept.shop.run("backup", code=0)
    target = kept.shop.folder / "by-hand"
    kept.shop.run("restore", "db", "--to", str(target), code=0)
    name = kept.fresh()
    kept.server.sql(f"CREATE DATABASE {name};")
    kept.sql((target / "db.sql").read_text(), name)
    assert kept.server.dump(name).replace(name, kept.name) == kept.server.dump(kept.name)


def test_a_dump_of_the_same_data_is_the_same_to_the_byte(kept_mariadb: Kept) -> None:
    found = [kept_mariadb.shop.run("backup", code=0).dataset("db")["snapshot"] for _ in range(2)]
    first, second = (kept_mariadb.shop.restic("disk", "dump", "--no-lock", one, "/db.sql") for one in found)
    assert first == second


def test_a_dump_under_load_holds_whole_transactions_only(kept: Kept) -> None:
    """Each transaction moves an amount, so that every moment has the same sum."""
    kept.fill(4000)
    kept.sql("CREATE TABLE account (id INT PRIMARY KEY, amount INT); INSERT INTO account VALUES (1, 5000), (2, 5000)")
    kept.sql("CREATE TABLE move (id INT)")
    stop = threading.Event()
    step = """BEGIN; UPDATE account SET amount = amount - 1 WHERE id = 1; INSERT INTO move VALUES (1);
        UPDATE account SET amount = amount + 1 WHERE id = 2; COMMIT;"""

    def move() -> None:
        while not stop.is_set():
            kept.sql(step * 50)

    writer = threading.Thread(target=move)
    writer.start()
    try:
        kept.shop.run("backup", code=0)
    finally:
        stop.set()
        writer.join()
    back = kept.load(name := kept.fresh())
    assert kept.sql("SELECT SUM(amount) FROM account", name) == "10000"
    moved = int(kept.sql("SELECT COUNT(*) FROM move", name))
    assert kept.sql("SELECT amount - 5000 FROM account WHERE id = 2", name) == str(moved)
    expected = {one["table"].rpartition(".")[2]: one["expected"] for one in back["tables"]}["move"]
    assert isinstance(expected, int) or expected[1] - expected[0] < 1000, "the counts are far from the dump's moment"


# Accounts


def test_accounts_with_rights_on_the_database_come_back_on_a_new_server(kept_mariadb: Kept, tmp_path: Path) -> None:
    kept = kept_mariadb
    app, role, other = (kept.server.name(word) for word in ("app", "role", "other"))
    kept.sql(
        f"""CREATE USER {app}@'%' IDENTIFIED BY 'secret'; CREATE ROLE {role}; GRANT {role} TO {app}@'%';
        SET DEFAULT ROLE {role} FOR {app}@'%'; GRANT DELETE ON `{kept.name}`.* TO {role};
        GRANT SELECT, INSERT ON `{kept.name}`.* TO {app}@'%' WITH GRANT OPTION;
        GRANT UPDATE (name) ON customer TO {app}@'%'; GRANT EXECUTE ON FUNCTION twice TO {app}@'%';
        GRANT PROCESS ON *.* TO {app}@'%'; CREATE USER {other}@localhost; GRANT SELECT ON t.* TO {other}@localhost;"""
    )
    query = f"SHOW CREATE USER {app}@'%'; SHOW GRANTS FOR {app}@'%'; SHOW GRANTS FOR {role};"
    before = sorted(kept.sql(query).splitlines())
    kept.shop.run("backup", code=0)
    with MariaDBServer() as new:
        new.option_file(kept.shop.folder / "restore.cnf")
        kept.load(kept.name)
        assert sorted(new.sql(query).splitlines()) == before
        assert not new.sql(f"SELECT 1 FROM mysql.user WHERE User = '{other}'"), "an account without rights came along"
        new.sql(f"SET PASSWORD FOR {app}@'%' = PASSWORD('newer'); REVOKE PROCESS ON *.* FROM {app}@'%';")
        changed = new.sql(query)
        kept.load(kept.name, "--yes")
        assert new.sql(query) == changed, "an account that was there was altered"


def test_roles_that_the_database_needs_come_back_on_a_new_server(kept_postgresql: Kept) -> None:
    kept = kept_postgresql
    app, group, other = (kept.server.name(word) for word in ("App", "group", "other"))
    kept.sql(
        f"""CREATE ROLE "{group}" CREATEDB; CREATE ROLE "{app}" LOGIN PASSWORD 'secret' VALID UNTIL '2040-01-01' IN ROLE
        "{group}"; ALTER ROLE "{app}" SET search_path = "odd Schema", public; CREATE ROLE {other};
        ALTER TABLE sale OWNER TO "{app}"; GRANT SELECT ON customer TO "{app}" WITH GRANT OPTION"""
    )
    query = f"""SELECT rolname, rolcanlogin, rolcreatedb, rolpassword, rolvaliduntil, (SELECT setconfig FROM
        pg_db_role_setting WHERE setrole = r.oid), (SELECT array_agg(pg_get_userbyid(roleid)) FROM pg_auth_members
        WHERE member = r.oid) FROM pg_authid r WHERE rolname IN ('{app}', '{group}', '{other}') ORDER BY 1"""
    before = [line for line in kept.sql(query).splitlines() if not line.startswith(other)]
    kept.keep({"user": "postgres"})  # passwords can only be read by a superuser
    kept.shop.run("backup", code=0)
    dumped = kept.server.dump(kept.name)
    with PostgreSQLServer() as new:
        kept.keep({"host": str(new.folder)})
        refused = kept.load("another", code=2)
        assert app in refused["message"] and not new.exists("another")
        kept.load(kept.name)
        assert new.sql(query).splitlines() == before
        assert new.dump(kept.name) == dumped
        new.sql(
            f"""ALTER ROLE "{app}" PASSWORD 'newer' NOSUPERUSER CONNECTION LIMIT 3; REVOKE "{group}" FROM "{app}" """
        )
        changed = new.sql(query)
        kept.load(kept.name, "--yes")
        assert new.sql(query) == changed, "a role that was there was altered"


# What never becomes a snapshot


def test_a_wrong_password_is_told_and_leaves_no_snapshot(kept: Kept) -> None:
    document = kept.document[kept.document_kind]
    file = Path(document.get("defaults_file") or document["passfile"])
    file.write_text(file.read_text().replace(PASSWORD, "wr0ng-password"))
    done = kept.shop.run("backup", code=1)
    reason = done.dataset("db")["reason"]
    assert kept.name in reason and re.search("Access denied|password authentication failed", reason), reason
    assert "try: " in reason and "wr0ng" not in reason
    assert kept.snapshots() == []


def test_the_missing_file_of_an_account_is_named_and_stops_only_its_database(kept: Kept) -> None:
    """It often lies in /etc, and so in a backup: on a new machine everything else must come back without it."""
    fill(kept.shop.source)
    kept.shop.add_files()
    kept.shop.write()
    document = kept.document[kept.document_kind]
    file = Path(document.get("defaults_file") or document["passfile"])
    file.unlink()
    done = kept.shop.run("backup", code=3)
    assert f"no such file: {file}" in done.dataset("db")["reason"]
    assert done.dataset("files")["outcome"] == "done"
    assert str(file) not in kept.shop.run("snapshots", code=0).err
    kept.shop.restore("files")
    assert "no such file" in kept.shop.run("validate", as_json=False, code=20).err


def test_a_missing_database_is_told_and_leaves_no_snapshot(kept: Kept) -> None:
    kept.keep({"database": "nothing_here"})
    reason = kept.shop.run("backup", code=1).dataset("db")["reason"]
    assert "nothing_here" in reason
    assert kept.snapshots() == []


def test_an_account_that_may_not_read_everything_leaves_no_snapshot(kept: Kept) -> None:
    if kept.document_kind == "mariadb":
        file = Path(kept.document["mariadb"]["defaults_file"]).read_text()
        kept.sql(f"REVOKE SELECT ON mysql.* FROM {re.search('user=(.*)', file)[1]}@localhost")  # type: ignore[index]
    else:
        large = kept.sql("SELECT oid FROM pg_largeobject_metadata")
        kept.sql(f"ALTER LARGE OBJECT {large} OWNER TO postgres")
    reason = kept.shop.run("backup", code=1).dataset("db")["reason"]
    assert "denied" in reason
    assert kept.snapshots() == []


def dumping(kept: Kept, program: str) -> int:
    """Wait until the dump program of this shop is at work; its process id."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else [b""]
                known = kept.name.encode() in words or f"PGDATABASE={kept.name}".encode() in (
                    entry / "environ"
                ).read_bytes().split(b"\0")
                if words[0].endswith(program.encode()) and known:
                    return int(entry.name)
        time.sleep(0.005)
    raise AssertionError("no dump was seen")


PROGRAM = {"mariadb": "mariadb-dump", "postgresql": "pg_dump"}


@pytest.mark.parametrize("victim", ["dump", "producer", "server"])
def test_whatever_is_killed_during_a_dump_leaves_no_snapshot_and_the_next_one_is_whole(kept: Kept, victim: str) -> None:
    kept.fill(60_000)
    kept.shop.run("backup", code=0)
    running = kept.shop.start("backup")
    program = dumping(kept, PROGRAM[kept.document_kind])
    if victim == "dump":
        os.kill(program, signal.SIGKILL)
    elif victim == "producer":
        parent = next(
            pid
            for pid, words in kept.shop.processes().items()
            if "adapters.dumper" in words and "producer" not in words
        )
        os.kill(parent, signal.SIGKILL)
    else:
        kept.server.stop(signal.SIGKILL)
    done = running.wait()
    if victim == "server":
        kept.server.start()
    assert done.code == 1, str(done)
    assert kept.name in done.dataset("db")["reason"]
    assert len(kept.snapshots()) == 1
    kept.shop.assert_nobody_left()
    kept.shop.run("backup", code=0)
    assert kept.load(kept.fresh())["verified"] is True


def test_a_dump_that_takes_longer_than_its_timeout_leaves_no_snapshot(kept: Kept) -> None:
    kept.fill(100_000)
    kept.keep({"timeout": "1s"})
    kept.sql("CREATE TABLE held (id INT)")
    with holding(kept):
        reason = kept.shop.run("backup", code=1).dataset("db")["reason"]
    assert "timeout" in reason and kept.name in reason
    assert kept.snapshots() == []


class holding:
    """Somebody holds a lock that the dump waits for."""

    def __init__(self, kept: Kept) -> None:
        lock = {
            "mariadb": "LOCK TABLES held WRITE; SELECT 'held';\n SELECT SLEEP(60);\n",
            "postgresql": "BEGIN; LOCK TABLE held; SELECT 'held';\n SELECT pg_sleep(60);\n",
        }[kept.document_kind]
        client = [*kept.server._client(kept.name), *(["--unbuffered"] if kept.document_kind == "mariadb" else [])]
        self.process = subprocess.Popen(client, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(lock.encode())
        self.process.stdin.flush()

    def __enter__(self) -> None:
        assert self.process.stdout and b"held" in self.process.stdout.readline()

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()


# Secrets


def test_no_password_is_ever_in_a_command_line_or_an_environment(kept: Kept) -> None:
    kept.fill(20_000)
    seen: set[str] = set()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit() and int(entry.name) != os.getpid():
                    with suppress(OSError):
                        text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                        seen.update(word for word in ("dumper", PROGRAM[kept.document_kind]) if word.encode() in text)
                        if PASSWORD.encode() in text:
                            seen.add("THE PASSWORD")

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        done = kept.shop.run("backup", code=0)
        back = kept.shop.run("restore", "db", "--into", kept.fresh(), code=0)
    finally:
        stop.set()
        watcher.join()
    assert seen == {"dumper", PROGRAM[kept.document_kind]}
    assert PASSWORD not in done.out + done.err + back.out + back.err + kept.shop.run("evidence", "show").out


# Loading


def test_a_database_that_holds_something_is_refused_and_replaced_with_yes(kept: Kept) -> None:
    kept.shop.run("backup", code=0)
    name = kept.fresh()
    kept.server.sql(f"CREATE DATABASE {name};")
    kept.sql("CREATE TABLE mine (id INT)", name)
    assert "not empty" in kept.load(name, code=2)["message"]
    assert "not empty" in kept.load(name, "--dry-run", code=2)["message"]
    kept.sql("SELECT * FROM mine", name)
    assert kept.load(name, "--yes")["verified"] is True
    assert "mine" not in kept.server.dump(name)


def test_an_empty_database_is_loaded_into(kept: Kept) -> None:
    kept.shop.run("backup", code=0)
    name = kept.fresh()
    kept.server.sql(f"CREATE DATABASE {name};")
    assert kept.load(name)["verified"] is True


def test_a_dry_run_says_what_would_be_done_and_does_nothing(kept: Kept) -> None:
    kept.shop.run("backup", code=0)
    name = kept.fresh()
    plan = kept.shop.run("restore", "db", "--into", name, "--dry-run", code=0).document
    assert (plan["target"], plan["source"], plan["replaces"]) == (name, "disk", False)
    assert name in kept.shop.run("restore", "db", "--into", name, "--dry-run", as_json=False).out
    assert not kept.server.exists(name)


def doctored(kept: Kept, change: Callable[[bytes], bytes]) -> str:
    """A snapshot like the newest, but of an altered dump, as plain restic makes it; its id."""
    snapshot = kept.snapshots()[-1]
    target = kept.shop.folder / "doctored"
    kept.shop.restic("disk", "restore", snapshot["id"], "--target", str(target), "--no-lock")
    file = target / "db.sql"
    file.write_bytes(change(file.read_bytes()))
    words = ["--stdin-filename", "db.sql", "--stdin-from-command", "--", "cat", str(file)]
    kept.shop.restic("disk", "backup", "--tag", "drtool,dataset:db,run:x", "--host", "shop", *words)
    return str(kept.snapshots()[-1]["id"])


def rewritten(dump: bytes, table: str, rows: int, change: Callable[[bytes], bytes] = bytes) -> bytes:
    """A whole dump that says that a table had so many rows, with other contents if they are changed."""
    reading = DumpReader()
    reading.take(dump)
    contents, out = reading.contents(), []
    writing = DumpWriter(out.append)
    for part in contents.parts:
        content = change(dump[part.start : part.end])
        writing.part(SectionKind(part.kind), part.name, lambda write, content=content: write(content))  # type: ignore[misc]
    (name,) = [name for name in contents.tables if name.rpartition(".")[2] == table]
    tables = {**contents.tables, name: Rows(least=rows, most=rows)}
    writing.close(kind=contents.kind, database=contents.database, tables=tables, properties=contents.properties)
    return b"".join(out)


CUTS: dict[str, Callable[[bytes], bytes]] = {
    "in the middle": lambda dump: dump[: len(dump) // 2],
    "before the closing line": lambda dump: dump[: dump.rindex(CLOSING)],
    "before the contents": lambda dump: dump[: dump.rindex(CONTENTS)],
    "in the closing line": lambda dump: dump[:-2],
    "a line in the middle lost": lambda dump: dump.replace(b"\n", b"", 1),
    "nothing but a title": lambda dump: dump[:25],
    "something else": lambda dump: b"SELECT 1;\n",
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_dump_that_is_not_whole_is_refused_before_anything_is_created(kept_mariadb: Kept, cut: str) -> None:
    kept = kept_mariadb
    kept.shop.run("backup", code=0)
    snapshot = doctored(kept, CUTS[cut])
    error = kept.load(name := kept.fresh(), "--snapshot", snapshot, code=1)
    assert "cannot be loaded" in error["message"] and snapshot[:8] in error["message"]
    assert not kept.server.exists(name)
    kept.sql(f"CREATE DATABASE {name}; CREATE TABLE {name}.mine (id INT)")
    kept.load(name, "--yes", "--snapshot", snapshot, code=1)
    assert kept.server.exists(name) and "mine" in kept.server.dump(name), "it was dropped for a dump that is not whole"


def test_a_table_with_other_rows_than_were_saved_makes_the_restore_incomplete(kept: Kept) -> None:
    kept.shop.run("backup", code=0)
    snapshot = doctored(kept, lambda dump: rewritten(dump, "sale", 4))
    back = kept.load(kept.fresh(), "--snapshot", snapshot, code=3)
    assert (back["outcome"], back["verified"]) == ("incomplete", False)
    wrong = [one for one in back["tables"] if one["verdict"] != "equal"]
    assert [(one["expected"], one["found"], one["verdict"]) for one in wrong] == [(4, 3, "differs")]
    assert "sale" in back["reason"]


def test_a_load_that_fails_in_the_middle_drops_what_it_created_and_says_so(kept: Kept) -> None:
    kept.shop.run("backup", code=0)

    def broken(content: bytes) -> bytes:
        renamed = content.replace(b"INSERT INTO `sale`", b"INSERT INTO `gone`")
        return renamed.replace(b"COPY public.sale", b"COPY public.gone")

    snapshot = doctored(kept, lambda dump: rewritten(dump, "sale", 3, broken))
    error = kept.load(name := kept.fresh(), "--snapshot", snapshot, code=1)
    assert "gone" in error["message"] and f"the half-loaded database {name} was dropped" in error["message"]
    assert not kept.server.exists(name)
    kept.server.sql(f"CREATE DATABASE {name};")
    error = kept.load(name, "--snapshot", snapshot, code=1)
    assert f"database {name} is half loaded" in error["message"]
    assert kept.server.exists(name)


def test_a_server_that_is_killed_while_it_is_loaded_is_told(kept: Kept) -> None:
    kept.fill(60_000)
    kept.shop.run("backup", code=0)
    name = kept.fresh()
    running = kept.shop.start("restore", "db", "--into", name)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with suppress(AssertionError):
            if kept.server.exists(name):
                break
        time.sleep(0.02)
    kept.server.stop(signal.SIGKILL)
    done = running.wait()
    kept.server.start()
    assert done.code == 1, str(done)
    assert "half loaded" in done.error["message"]
    kept.shop.assert_nobody_left()
    assert kept.load(name, "--yes")["verified"] is True


def test_a_database_of_the_server_itself_is_never_loaded_into(kept: Kept) -> None:
    kept.shop.run("backup", code=0)
    for name in {"mariadb": ["mysql", "sys"], "postgresql": ["postgres", "template1"]}[kept.document_kind]:
        kept.load(name, "--yes", code=2)


def test_into_is_for_databases_of_a_server_and_goes_with_nothing_else(kept_mariadb: Kept) -> None:
    shop = kept_mariadb.shop
    shop.add_files()
    shop.write().run("backup", code=0)
    refused = shop.run("restore", "files", "--into", "x", code=2).error
    assert "--to" in refused["hint"]
    shop.run("restore", "db", "--into", "x", "--to", str(shop.folder / "y"), code=2)
    shop.run("restore", "db", "--into", "x", "--include", "y", code=2)
    shop.run("restore", "db", "--into", "", code=2)


def test_figures_of_a_load_are_evidence_and_names_of_tables_are_not(kept: Kept) -> None:
    kept.shop.run("backup", code=0)
    kept.load(kept.fresh())
    text = kept.shop.run("evidence", "show", "--kind", "restore.finished", code=0).out
    (event,) = json.loads(text)["events"]
    assert event["body"]["tables"] > 5 and event["body"]["rows"] > 5 and event["body"]["tables_wrong"] == 0
    assert "customer" not in text
    kept.shop.assert_evidence()


# The copies


def test_a_pack_lost_in_the_best_copy_is_taken_from_the_other(kept: Kept, rclone: Rclone) -> None:
    kept.shop.add_directory("second")
    kept.shop.write().run("copies", "init", code=0)
    kept.fill(40_000)
    kept.shop.run("backup", code=0)
    packs = kept.shop.packs("disk")
    assert len(packs) >= 1
    scramble(packs[0])
    back = kept.load(kept.fresh())
    assert back["source"] == "union" and back["verified"] is True
    assert back["taken_from"]["second"]["bytes"] > 0
    assert list(back["damage"]) == ["disk"]


def test_a_dump_can_be_taken_from_a_named_copy(kept_mariadb: Kept) -> None:
    kept_mariadb.shop.add_directory("second")
    kept_mariadb.shop.write().run("copies", "init", code=0)
    kept_mariadb.shop.run("backup", code=0)
    assert kept_mariadb.load(kept_mariadb.fresh(), "--from", "second")["source"] == "second"
