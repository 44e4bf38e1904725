"""MariaDB: what is dumped of one database and its accounts, and how it is loaded.

Every client is told its account by an option file, which is all that stands in its arguments.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from drtool.adapters import clients, process
from drtool.adapters.clients import Script, Session
from drtool.core.dump import DumpWriter, Rows, SectionKind, Write
from drtool.errors import DatabaseFailed, DatabaseRefused

PACKAGE = "mariadb-client"
RESERVED = frozenset({"mysql", "information_schema", "performance_schema", "sys"})
BUILT_IN = frozenset({"root", "mysql", "mariadb.sys", "PUBLIC", ""})  # accounts that every server makes for itself
HEADER = 16 << 10  # bytes after which mariadb-dump has surely begun its transaction
TIMEOUT = 20  # seconds to wait for a connection
DUMP_OPTIONS = (
    "--default-character-set=utf8mb4",
    "--max-allowed-packet=1G",
    "--single-transaction",
    "--quick",
    "--routines",
    "--triggers",
    "--events",
    "--hex-blob",
    "--no-tablespaces",
    "--no-autocommit",
    "--skip-dump-date",  # the same data is the same dump, and restic stores nothing of it again
)
CLIENT_OPTIONS = (
    f"--connect-timeout={TIMEOUT}",
    "--default-character-set=utf8mb4",
    "--max-allowed-packet=1G",
    "--batch",
    "--binary-mode",  # a carriage return in a routine stays
)
REFUSED = re.compile(r"^ERROR (at|(1044|1045|1064|1142|1143|1227|1370|1698) )")  # by the client; access; grammar
SESSION_OPTIONS = ("--skip-column-names", "--raw", "--unbuffered")


@dataclass(frozen=True, slots=True, kw_only=True)
class MariaDB:
    """See ``core.ports.DatabaseServer``. ``restore_file`` is of an account that may create databases."""

    kind: ClassVar = "mariadb"
    needs_accounts: ClassVar = False

    database: str
    defaults_file: Path
    restore_file: Path
    accounts_too: bool = True

    @property
    def where(self) -> str:
        return f"the MariaDB server of {self.restore_file}"

    def check_programs(self) -> None:
        """Raises ``ProgramMissing``."""
        for program in ("mariadb", "mariadb-dump"):
            process.find(program, package=PACKAGE)

    # Dumping

    def dump(self, out: Write) -> None:
        """Write the database, then the accounts that have rights on it, then what the dump holds."""
        writing = DumpWriter(out)
        with ThreadPoolExecutor(2) as pool, self._reading() as before, self._reading() as after:
            tables = _tables(before, self.database)
            properties = _properties(before, self.database)
            counted = _Counted(pool, tables, self.database)
            counted.begin(before)
            writing.part(SectionKind.DATABASE, "", lambda write: self._dump_database(write, properties, counted, after))
            rows = counted.rows()
            for name, statements in _accounts(after, self.database) if self.accounts_too else ():
                writing.script(SectionKind.ACCOUNT, name, (f"{statement};" for statement in statements))
        writing.close(kind=self.kind, database=self.database, tables=rows, properties=properties)

    def _dump_database(self, write: Write, properties: Mapping[str, str], counted: _Counted, after: Session) -> None:
        """The tables are counted again as of the moment when mariadb-dump has begun its transaction."""
        write(f"ALTER DATABASE {_defaults(properties)};\n".encode())
        passed = 0

        def take(chunk: bytes) -> None:
            nonlocal passed
            write(chunk)
            before, passed = passed, passed + len(chunk)
            if before < HEADER <= passed:
                counted.begin(after)

        command = self._command(self.defaults_file, "mariadb-dump", *DUMP_OPTIONS, "--", self.database)
        clients.dump(command, take, last_words=b"-- Dump completed", failed=self._failed)
        if passed < HEADER:
            counted.begin(after)

    def answer(self, query: str, limit: float) -> str | None:
        """The first field of a query's first row, asked by the dump's account; None where there is none.

        Nothing is written: the server refuses it. Raises ``DatabaseFailed``, or ``DatabaseRefused`` where the server
        is well and the question is not.
        """
        session = f"SESSION sql_mode = '', sql_select_limit = 1, max_statement_time = {limit:.3f}"
        statements = f"SET SESSION TRANSACTION READ ONLY;\nSET {session};\n{query};\n"
        words = (*CLIENT_OPTIONS, "--skip-column-names", f"--database={self.database}")
        command = self._command(self.defaults_file, "mariadb", *words)
        said = clients.answer(command, limit=limit, stdin=statements.encode(), failed=self._unanswered)
        return _first_field(said.decode(errors="replace"))

    # Loading

    def objects_in(self, database: str) -> int | None:
        with self._acting() as session:
            if not session.ask(f"SELECT 1 FROM information_schema.SCHEMATA WHERE {_is('SCHEMA_NAME', database)}"):
                return None
            places = {"TABLES": "TABLE_SCHEMA", "ROUTINES": "ROUTINE_SCHEMA", "EVENTS": "EVENT_SCHEMA"}
            counts = [
                session.ask(f"SELECT COUNT(*) FROM information_schema.{place} WHERE {_is(column, database)}")[0]
                for place, column in places.items()
            ]
        return sum(map(int, counts))

    def reserved(self, database: str) -> bool:
        return database.lower() in RESERVED

    def create(self, database: str, properties: Mapping[str, str]) -> None:
        with self._acting() as session:
            session.ask(f"CREATE DATABASE {quoted(database)} {_defaults(properties)}")

    def drop(self, database: str) -> None:
        with self._acting() as session:
            session.ask(f"DROP DATABASE {quoted(database)}")

    def accounts(self) -> Collection[str]:
        with self._acting() as session:
            return {_account(*row) for row in session.rows("SELECT JSON_ARRAY(User, Host, is_role) FROM mysql.user")}

    def load(self, database: str | None) -> AbstractContextManager[Script]:
        words = [] if database is None else [f"--database={database}"]
        return clients.script(self._command(self.restore_file, "mariadb", *CLIENT_OPTIONS, *words), self._refused)

    def rows(self, database: str) -> Mapping[str, int]:
        with self._acting() as session:
            return _count(session, database, _tables(session, database))

    # The clients

    def _reading(self) -> AbstractContextManager[Session]:
        return self._session(self.defaults_file, self._failed)

    def _acting(self) -> AbstractContextManager[Session]:
        return self._session(self.restore_file, self._refused)

    @contextmanager
    def _session(self, file: Path, failed: clients.Failed) -> Iterator[Session]:
        with clients.session(self._command(file, "mariadb", *CLIENT_OPTIONS, *SESSION_OPTIONS), failed) as session:
            session.ask("SET SESSION sql_mode = '', max_statement_time = 0, wait_timeout = 28800")
            yield session

    def _command(self, file: Path, program: str, *words: str) -> process.Command:
        path = str(process.find(program, package=PACKAGE))
        clients.check_account(self.database, file)
        env = {"PATH": process.SAFE_PATH, "LC_ALL": "C.UTF-8"}
        return process.Command(argv=[path, f"--defaults-file={file}", *words], env=env, secrets={})

    def _unanswered(self, ended: process.Ended) -> DatabaseFailed:
        failed = self._failed(ended)
        refused = any(REFUSED.match(line) for line in ended.errors)
        return DatabaseRefused(failed.message, hint=failed.hint) if refused else failed

    def _failed(self, ended: process.Ended) -> DatabaseFailed:
        return DatabaseFailed(
            f"database {self.database}: {clients.trouble(ended)}",
            hint=f"mariadb --defaults-file={self.defaults_file} -e 'SHOW GRANTS'",
        )

    def _refused(self, ended: process.Ended) -> DatabaseFailed:
        return DatabaseFailed(
            f"{self.where}: {clients.trouble(ended)}",
            hint=f"mariadb --defaults-file={self.restore_file} -e 'SHOW GRANTS'",
        )


class _Counted:
    """The rows of all tables as of two moments, one just before and one just after the dump's own.

    MariaDB cannot let two connections see the same moment. Both snapshots are opened at once and counted meanwhile.
    """

    def __init__(self, pool: ThreadPoolExecutor, tables: Sequence[str], database: str) -> None:
        self._pool, self._tables, self._database = pool, tables, database
        self._counts: list[Future[dict[str, int]]] = []

    def begin(self, session: Session) -> None:
        session.ask("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        self._counts.append(self._pool.submit(_count, session, self._database, self._tables))

    def rows(self) -> dict[str, Rows]:
        first, second = (counts.result() for counts in self._counts)
        return {name: Rows(least=min(first[name], second[name]), most=max(first[name], second[name])) for name in first}


def _first_field(rows: str) -> str | None:
    """What the client printed as rows: fields with tabs between, in which it writes tabs and the like as escapes."""
    if "\n" not in rows:
        return None
    field = rows.partition("\n")[0].partition("\t")[0]
    signs = {"t": "\t", "n": "\n", "0": "\0", "\\": "\\"}
    return None if field == "NULL" else re.sub(r"\\([tn0\\])", lambda found: signs[found[1]], field)


def quoted(name: str) -> str:
    return f"`{name.replace('`', '``')}`"


def _text(text: str) -> str:
    """A literal that no sql_mode can read otherwise."""
    return f"_utf8mb4 X'{text.encode().hex()}'"


def _is(column: str, name: str) -> str:
    """Compares byte for byte: the information schema itself would take Shop for shop."""
    return f"BINARY {column} = BINARY {_text(name)}"


def _tables(session: Session, database: str) -> list[str]:
    query = f"SELECT JSON_ARRAY(TABLE_NAME) FROM information_schema.TABLES WHERE {_is('TABLE_SCHEMA', database)}"
    return [name for (name,) in session.rows(f"{query} AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')")]


def _count(session: Session, database: str, tables: Sequence[str]) -> dict[str, int]:
    counts = (
        session.rows(f"SELECT JSON_ARRAY(COUNT(*)) FROM {quoted(database)}.{quoted(name)}")[0][0] for name in tables
    )
    return dict(zip(tables, counts, strict=True))


def _properties(session: Session, database: str) -> dict[str, str]:
    columns = "DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME"
    found = session.rows(
        f"SELECT JSON_ARRAY({columns}) FROM information_schema.SCHEMATA WHERE {_is('SCHEMA_NAME', database)}"
    )
    if not found:
        raise DatabaseFailed(f"database {database} does not exist, or this account may not see it")
    return dict(zip(("charset", "collation"), found[0], strict=True))


def _defaults(properties: Mapping[str, str]) -> str:
    words = [properties.get(name, "") for name in ("charset", "collation")]
    if not all(re.fullmatch(r"\w+", word) for word in words):
        return "COMMENT ''"
    return "CHARACTER SET {} COLLATE {}".format(*words)


# Accounts


def _accounts(session: Session, database: str) -> Iterator[tuple[str, list[str]]]:
    """Each account and role with rights on the database, and the statements that make it; roles come first.

    ``mariadb-dump --system=users`` would bring all, root's own included, and dies of an account whose
    host name the server does not resolve.
    """
    patterns, found = _with_rights(session, database)
    roles = {user for user, _, role in found if role == "Y"}
    for user, host, role in sorted(found, key=lambda one: (one[2] != "Y", one)):
        name = _account(user, host, role)
        made = [f"CREATE ROLE IF NOT EXISTS {name}"] if role == "Y" else _creation(session, name)
        yield name, made + list(_grants(session.ask(f"SHOW GRANTS FOR {name}"), patterns, roles))


def _with_rights(session: Session, database: str) -> tuple[set[str], set[tuple[str, str, str]]]:
    """How the database is written in rights on it; and the accounts that have such, or a role that has.

    Raises ``DatabaseFailed`` where the account may not read them: a dump without them would miss something.
    """
    name = _text(database)
    patterns = {name for (name,) in session.rows(f"SELECT JSON_ARRAY(Db) FROM mysql.db WHERE {name} LIKE Db")}
    sources = [f"SELECT User, Host FROM mysql.db WHERE {name} LIKE Db"]
    sources += [
        f"SELECT User, Host FROM mysql.{table} WHERE {_is('Db', database)}"
        for table in ("tables_priv", "columns_priv", "procs_priv")
    ]
    direct = {(user, host) for user, host in session.rows(_arrays("User, Host", " UNION ".join(sources)))}
    members = session.rows("SELECT JSON_ARRAY(User, Host, Role) FROM mysql.roles_mapping")
    while more := {(user, host) for user, host, role in members if (role, "") in direct} - direct:
        direct |= more
    known = session.rows("SELECT JSON_ARRAY(User, Host, is_role) FROM mysql.user")
    found = {(user, host, role) for user, host, role in known if (user, host) in direct and user not in BUILT_IN}
    return patterns | {database}, found


def _arrays(columns: str, query: str) -> str:
    return f"SELECT DISTINCT JSON_ARRAY({columns}) FROM ({query}) AS found"


def _account(user: str, host: str, role: str) -> str:
    return quoted(user) if role == "Y" else f"{quoted(user)}@{quoted(host)}"


def _creation(session: Session, name: str) -> list[str]:
    """An account that is there already keeps its password."""
    first, *more = session.ask(f"SHOW CREATE USER {name}")
    return [first.replace("CREATE USER ", "CREATE USER IF NOT EXISTS ", 1), *more]


def _grants(lines: Sequence[str], patterns: Collection[str], roles: Collection[str]) -> Iterator[str]:
    """What of an account's rights goes with this database: those on it, those on everything, and its roles."""
    places = tuple(f"{quoted(pattern)}." for pattern in patterns)
    for line in lines:
        if granted := re.match(r"(?:GRANT|SET DEFAULT ROLE) (`(?:[^`]|``)*`) (?:TO|FOR) ", line):
            if granted[1] in map(quoted, roles):
                yield line
        elif everywhere := re.match(r"(GRANT (?!USAGE ).* ON \*\.\* TO (?:`(?:[^`]|``)*`@?)+)(.*)", line):
            # what follows repeats the password, and would set it for an account that has another by now
            yield everywhere[1] + (" WITH GRANT OPTION" if "GRANT OPTION" in everywhere[2] else "")
        elif (there := re.match(r"GRANT .*? ON (?:[A-Z ]+ )?(`.*)", line)) and there[1].startswith(places):
            yield line
