"""PostgreSQL: what is dumped of one database and its roles, and how it is loaded.

libpq's own variables say which server and which password file; no password is in them.
"""

from __future__ import annotations

import math
import os
import pwd
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar

from drtool.adapters import clients, process
from drtool.adapters.clients import Script, Session
from drtool.core.dump import DumpWriter, Rows, SectionKind, Write
from drtool.errors import DatabaseFailed, DatabaseRefused

PACKAGE = "postgresql-client"
RESERVED = frozenset({"postgres", "template0", "template1"})
TIMEOUT = 20  # seconds to wait for a connection
LOOPBACK = ("localhost", "127.0.0.1", "::1")
PSQL = ("--no-psqlrc", "--no-password", "--quiet", "--set=ON_ERROR_STOP=1")
DUMP_OPTIONS = ("--no-password", "--encoding=UTF8", "--lock-wait-timeout=10min")
OURS = """{name}.oid NOT IN (SELECT objid FROM pg_depend WHERE classid = '{table}'::regclass AND deptype = 'e')
    AND nspname !~ '^pg_' AND nspname <> 'information_schema'"""
REFUSED = re.compile(r"ERROR: +(42501|42601)$")  # by SQLSTATE: insufficient privilege, syntax error
NO_CONNECTION = 2  # psql's exit code
READY = 2  # seconds to ask whether there is a server
PLAIN_LISTS = frozenset(
    {
        "search_path",
        "temp_tablespaces",
        "session_preload_libraries",
        "shared_preload_libraries",
        "local_preload_libraries",
    }
)  # settings whose value is stored as it is to be written


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgreSQL:
    """See ``core.ports.DatabaseServer``. ``host`` is a name, or the folder of a socket; empty: libpq's own default."""

    kind: ClassVar = "postgresql"
    needs_accounts: ClassVar = True

    database: str
    host: str
    port: int
    user: str
    passfile: Path | None
    restore_user: str
    restore_passfile: Path | None
    accounts_too: bool = True

    @property
    def where(self) -> str:
        return f"the PostgreSQL server at {self.host or 'its socket'}, port {self.port}"

    def check_programs(self) -> None:
        """Raises ``ProgramMissing``."""
        for program in ("psql", "pg_dump"):
            process.find(program, package=PACKAGE)

    # Dumping

    def dump(self, out: Write) -> None:
        """Write the roles that the database needs, then the database, then what the dump holds.

        pg_dump and the counts see one and the same moment.
        """
        writing = DumpWriter(out)
        with ThreadPoolExecutor(1) as pool, self._session(self.database, self._failed) as session:
            session.ask(
                "SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0; SET row_security = off"
            )
            session.ask("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            (moment,) = session.ask("SELECT pg_export_snapshot()")
            for name, statements in _roles(session) if self.accounts_too else ():
                writing.script(SectionKind.ACCOUNT, name, statements)
            facts = _facts(session)
            last = _ownership(session, facts)
            counts = pool.submit(_count, session)
            writing.part(SectionKind.DATABASE, "", lambda write: self._dump_database(write, moment, last))
            rows = {name: Rows(least=count, most=count) for name, count in counts.result().items()}
        writing.close(kind=self.kind, database=self.database, tables=rows, properties=_properties(facts))

    def _dump_database(self, write: Write, moment: str, last: Iterable[str]) -> None:
        command = self._command("pg_dump", *DUMP_OPTIONS, f"--snapshot={moment}", database=self.database)
        clients.dump(command, write, last_words=b"-- PostgreSQL database dump complete", failed=self._failed)
        write("".join(f"{statement}\n" for statement in last).encode())

    def answer(self, query: str, limit: float) -> str | None:
        """The first field of a query's first row, asked by the dump's account; None where there is none.

        Nothing is written: the server refuses it. Raises ``DatabaseFailed``, or ``DatabaseRefused`` where the server
        is well and the question is not.
        """
        session = f"SET default_transaction_read_only = on; SET statement_timeout = {math.ceil(limit * 1000)}"
        # NUL is the one sign that no field can hold; what stands for nothing at all is a text that nobody can foresee
        nothing = token_hex(16)
        shape = ("--no-align", "--tuples-only", "--field-separator-zero", "--record-separator-zero")
        settings = (f"--pset=null={nothing}", "--set=FETCH_COUNT=1", "--set=VERBOSITY=sqlstate")
        asked = (f"--command={session}", f"--command= {query}")  # a backslash at its beginning would be psql's own
        command = self._command("psql", *PSQL, *shape, *settings, *asked, database=self.database)
        said = clients.answer(command, limit=limit, stdin=None, failed=self._unanswered)
        field, ended, _ = said.partition(b"\0")
        return None if not ended or field == nothing.encode() else field.decode(errors="replace")

    # Loading

    def objects_in(self, database: str) -> int | None:
        with self._acting("postgres") as session:
            if not session.ask(f"SELECT 1 FROM pg_database WHERE datname = {literal(database)}"):
                return None
        tables, routines = (_ours(table, "o") for table in ("pg_class", "pg_proc"))
        query = f"""SELECT (SELECT count(*) FROM pg_class o JOIN pg_namespace n ON n.oid = relnamespace WHERE {tables})
            + (SELECT count(*) FROM pg_proc o JOIN pg_namespace n ON n.oid = pronamespace WHERE {routines})
            + (SELECT count(*) FROM pg_largeobject_metadata)"""
        with self._acting(database) as session:
            return int(session.ask(query)[0])

    def reserved(self, database: str) -> bool:
        return database in RESERVED

    def create(self, database: str, properties: Mapping[str, str]) -> None:
        words = {"encoding": "ENCODING", "collate": "LC_COLLATE", "ctype": "LC_CTYPE", "icu": "ICU_LOCALE"}
        chosen = [f"{words[name]} {literal(properties[name])}" for name in words if properties.get(name)]
        chosen += ["LOCALE_PROVIDER icu"] if properties.get("icu") else []
        with self._acting("postgres") as session:
            session.ask(f"CREATE DATABASE {quoted(database)} TEMPLATE template0 {' '.join(chosen)}")

    def drop(self, database: str) -> None:
        with self._acting("postgres") as session:
            session.ask(f"DROP DATABASE {quoted(database)} WITH (FORCE)")

    def accounts(self) -> Collection[str]:
        with self._acting("postgres") as session:
            return {quoted(name) for (name,) in session.rows("SELECT json_build_array(rolname) FROM pg_roles")}

    def load(self, database: str | None) -> AbstractContextManager[Script]:
        words = (*PSQL, "--output=/dev/null")
        command = self._command("psql", *words, database=database or "postgres", restoring=True)
        return clients.script(command, self._refused)

    def rows(self, database: str) -> Mapping[str, int]:
        with self._acting(database) as session:
            session.ask("SET statement_timeout = 0; SET row_security = off")
            return _count(session)

    # The clients

    def _acting(self, database: str) -> AbstractContextManager[Session]:
        return self._session(database, self._refused, restoring=True)

    @contextmanager
    def _session(self, database: str, failed: clients.Failed, *, restoring: bool = False) -> Iterator[Session]:
        words = (*PSQL, "--no-align", "--tuples-only")
        with clients.session(self._command("psql", *words, database=database, restoring=restoring), failed) as session:
            yield session

    def _command(self, program: str, *words: str, database: str, restoring: bool = False) -> process.Command:
        path = str(process.find(program, package=PACKAGE))
        user, passfile = (self.restore_user, self.restore_passfile) if restoring else (self.user, self.passfile)
        if passfile:
            clients.check_account(self.database, passfile)
        env = {
            "PATH": process.SAFE_PATH,
            "HOME": pwd.getpwuid(os.getuid()).pw_dir,
            "LC_ALL": "C.UTF-8",
            "PGDATABASE": database,  # as an argument, a name with = in it would be read as connection parameters
            "PGPORT": str(self.port),
            "PGAPPNAME": "drtool",
            "PGCLIENTENCODING": "UTF8",
            "PGCONNECT_TIMEOUT": str(TIMEOUT),
        }
        env |= {"PGHOST": self.host} if self.host else {}
        env |= {"PGSSLMODE": "require"} if self.host and not self._near else {}
        env |= {"PGUSER": user} if user else {}
        env |= {"PGPASSFILE": str(passfile)} if passfile else {}
        return process.Command(argv=[path, *words], env=env, secrets={})

    @property
    def _near(self) -> bool:
        """Whether nobody can listen in between."""
        return self.host.startswith(("/", "@")) or self.host in LOOPBACK

    def _unanswered(self, ended: process.Ended) -> DatabaseFailed:
        failed = self._failed(ended)
        refused = any(REFUSED.search(line) for line in ended.errors)
        if refused or (ended.code == NO_CONNECTION and self._is_ready()):
            return DatabaseRefused(failed.message, hint=failed.hint)
        return failed

    def _is_ready(self) -> bool:
        """Whether the server takes connections at all; then it is the account that is wrong."""
        command = self._command("pg_isready", "--quiet", f"--timeout={READY}", database=self.database)
        return process.output(command, limit=READY + 1)[0].code == 0

    def _failed(self, ended: process.Ended) -> DatabaseFailed:
        return DatabaseFailed(f"database {self.database}: {clients.trouble(ended)}", hint=self._hint(self.user))

    def _refused(self, ended: process.Ended) -> DatabaseFailed:
        return DatabaseFailed(f"{self.where}: {clients.trouble(ended)}", hint=self._hint(self.restore_user))

    def _hint(self, user: str) -> str:
        words = [f"-h {self.host}" if self.host else "", f"-p {self.port}", f"-U {user}" if user else ""]
        return " ".join(filter(None, ["psql", *words, "-d", self.database]))


def quoted(name: str) -> str:
    """Always in quotes, unlike format('%I'), so that a name has one spelling."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Right whatever standard_conforming_strings says."""
    escaped = text.replace("'", "''")
    return f" E'{escaped.replace(chr(92), chr(92) * 2)}'" if "\\" in escaped else f"'{escaped}'"


def _ours(table: str, name: str) -> str:
    """Neither the system's nor an extension's."""
    return OURS.format(name=name, table=table)


def _count(session: Session) -> dict[str, int]:
    """The rows of every table and filled materialised view, as ``schema.table``."""
    query = f"""SELECT json_build_array(nspname, relname) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
        WHERE relkind IN ('r', 'm') AND relispopulated AND relpersistence <> 't' AND {_ours("pg_class", "c")}"""
    tables = [(str(schema), str(table)) for schema, table in session.rows(query)]
    return {
        f"{schema}.{table}": int(session.ask(f"SELECT count(*) FROM ONLY {quoted(schema)}.{quoted(table)}")[0])
        for schema, table in tables
    }


# The database itself


def _facts(session: Session) -> dict[str, Any]:
    query = """SELECT json_build_array(to_jsonb(d) || jsonb_build_object('owner', pg_get_userbyid(datdba),
        'written', pg_encoding_to_char(encoding))) FROM pg_database d WHERE datname = current_database()"""
    facts: dict[str, Any] = session.rows(query)[0][0]
    return facts


def _properties(facts: Mapping[str, Any]) -> dict[str, str]:
    icu = (facts.get("daticulocale") or facts.get("datlocale")) if facts.get("datlocprovider") == "i" else ""
    named = {"encoding": facts["written"], "collate": facts["datcollate"], "ctype": facts["datctype"], "icu": icu}
    return {name: value for name, value in named.items() if value}


def _ownership(session: Session, facts: Mapping[str, Any]) -> list[str]:
    """Owner, rights and settings of the database itself, which pg_dump only tells together with its name."""
    rights = session.rows(
        """SELECT json_build_array(CASE grantee WHEN 0 THEN '' ELSE pg_get_userbyid(grantee) END, privilege_type,
        is_grantable) FROM pg_database d, aclexplode(datacl) WHERE datname = current_database() AND grantee <> datdba"""
    )
    settings = session.rows(
        """SELECT json_build_array(s) FROM pg_db_role_setting, unnest(setconfig) s WHERE setrole = 0 AND setdatabase =
        (SELECT oid FROM pg_database WHERE datname = current_database())"""
    )
    acts = [f"OWNER TO {quoted(facts['owner'])}", *(f"SET {_setting(setting)}" for (setting,) in settings)]
    acts = [_on_this_database(f"ALTER DATABASE %I {_for_format(act)}") for act in acts]
    if facts["datacl"] is not None:
        acts.append(_on_this_database("REVOKE ALL ON DATABASE %I FROM PUBLIC"))
    for name, right, grantable in rights:
        to = _for_format(quoted(name)) if name else "PUBLIC"
        acts.append(_on_this_database(f"GRANT {right} ON DATABASE %I TO {to}{' WITH GRANT OPTION' * grantable}"))
    return acts


def _on_this_database(statement: str) -> str:
    """Run by psql for the database that it is connected to, whatever that is called."""
    return f"SELECT pg_catalog.format({literal(statement)}, pg_catalog.current_database()) \\gexec"


def _for_format(text: str) -> str:
    return text.replace("%", "%%")


def _setting(setting: str) -> str:
    name, _, value = setting.partition("=")
    return f"{name} TO {value if name in PLAIN_LISTS else literal(value)}"


# Roles

CONNECTED = """WITH RECURSIVE own AS (SELECT oid, datdba FROM pg_database WHERE datname = current_database()),
    needed (role) AS (
        SELECT refobjid FROM pg_shdepend, own WHERE refclassid = 'pg_authid'::regclass
            AND (dbid = own.oid OR (classid = 'pg_database'::regclass AND objid = own.oid))
        UNION SELECT datdba FROM own
        UNION SELECT CASE needed.role WHEN m.member THEN m.roleid ELSE m.member END
            FROM needed JOIN pg_auth_members m ON needed.role IN (m.member, m.roleid)
            WHERE m.roleid > 16383)"""


def _roles(session: Session) -> Iterator[tuple[str, Sequence[str]]]:
    """Each role that the database needs, and its members, with the statements that make it; groups come first.

    pg_dumpall would bring all roles of the server. Those that every server has (with a small oid) are left out.
    Passwords come along if this account may read them.
    """
    readable = session.ask("SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT')") == ["t"]
    source = "pg_authid" if readable else "pg_roles"
    made = session.rows(
        f"""{CONNECTED} SELECT json_build_array(to_jsonb(r) || jsonb_build_object('settings', (SELECT setconfig
        FROM pg_db_role_setting WHERE setrole = r.oid AND setdatabase = 0)))
        FROM {source} r WHERE r.oid IN (SELECT role FROM needed) AND r.oid > 16383 ORDER BY rolname"""
    )
    roles = {str(role["rolname"]): role for (role,) in made}
    members = session.rows(
        "SELECT json_build_array(pg_get_userbyid(member), pg_get_userbyid(roleid), admin_option) FROM pg_auth_members"
    )
    above: dict[str, list[str]] = {name: [] for name in roles}
    granted: dict[str, list[str]] = {name: [] for name in roles}
    for member, group, admin in (row for row in members if row[0] in roles):
        above[member] += [group] if group in roles else []
        granted[member].append(f"GRANT {quoted(group)} TO {quoted(member)}{' WITH ADMIN OPTION' * admin};")
    for name in TopologicalSorter(above).static_order():
        yield quoted(name), [_creation(roles[name]), *_settings(roles[name]), *granted[name]]


def _creation(role: Mapping[str, Any]) -> str:
    """Makes the role where there is none; by hand too."""
    words = {
        "rolsuper": "SUPERUSER",
        "rolinherit": "INHERIT",
        "rolcreaterole": "CREATEROLE",
        "rolcreatedb": "CREATEDB",
        "rolcanlogin": "LOGIN",
        "rolreplication": "REPLICATION",
        "rolbypassrls": "BYPASSRLS",
    }
    options = [word if role[name] else f"NO{word}" for name, word in words.items()]
    options.append(f"CONNECTION LIMIT {role['rolconnlimit']}")
    password, until = role["rolpassword"], role["rolvaliduntil"]
    options += [f"PASSWORD {literal(password)}"] if password and set(password) != {"*"} else []
    options += [f"VALID UNTIL {literal(until)}"] if until else []
    name = role["rolname"]
    act = f"CREATE ROLE {quoted(name)} WITH {' '.join(options)}"
    missing = f"NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {literal(name)})"
    return f"SELECT {literal(act)} WHERE {missing} \\gexec"


def _settings(role: Mapping[str, Any]) -> Iterator[str]:
    for setting in role["settings"] or ():
        yield f"ALTER ROLE {quoted(role['rolname'])} SET {_setting(setting)};"
