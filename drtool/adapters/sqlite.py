"""SQLite databases in use: a consistent copy by SQLite's own online backup, and a query's answer."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from drtool.errors import DatabaseFailed, DatabaseRefused, SourceFailed

BUSY = 60.0  # seconds to wait for a writer that holds the database
STEPS = 10_000  # of SQLite's machine, between two looks at the clock


class SqliteDatabases:
    """See ``core.ports.Databases``."""

    def copy_sqlite(self, database: Path, target: Path) -> None:
        """Copy in one step, so that the copy is of one moment; then look whether it is sound."""
        if not database.is_file():
            raise SourceFailed(f"database {database} does not exist")
        try:
            problem = _copy(database, target)
        except sqlite3.Error as error:
            target.unlink(missing_ok=True)
            raise SourceFailed(f"database {database} cannot be copied: {error}") from error
        if problem != "ok":
            target.unlink(missing_ok=True)
            raise SourceFailed(f"database {database} is not fit to be backed up: {problem}")


def _copy(database: Path, target: Path) -> str:
    """Copy, and return what SQLite then thinks of the copy: ``ok``, or what is wrong."""
    end = time.monotonic() + BUSY

    def give_up(status: int, remaining: int, pages: int) -> None:
        """Python itself would try a held database for ever."""
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > end:
            raise sqlite3.OperationalError("database is locked")

    with (
        closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY)) as source,
        closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        source.backup(copy, progress=give_up)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, with nothing beside it
        if not copy.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            return "it holds no table"
        return str(copy.execute("PRAGMA quick_check(1)").fetchone()[0])


def answer(database: Path, query: str, limit: float) -> str | None:
    """The first field of a query's first row, read only; None where there is none.

    Raises ``DatabaseFailed``, or ``DatabaseRefused`` where it may not be read.
    """
    if not os.path.isfile(database):
        raise DatabaseFailed(f"database {database} does not exist")
    if not os.access(database, os.R_OK):
        raise DatabaseRefused(f"database {database} cannot be read: permission denied")
    end = time.monotonic() + limit
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=limit)) as db:
            db.set_progress_handler(lambda: time.monotonic() > end, STEPS)
            row = db.execute(query).fetchone()
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise DatabaseFailed(f"database {database}: {error}") from error
    return None if row is None or row[0] is None else str(row[0])
