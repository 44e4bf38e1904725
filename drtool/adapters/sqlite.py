"""A consistent copy of a SQLite database in use, by SQLite's own online backup."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from drtool.errors import SourceFailed

BUSY = 60.0  # seconds to wait for a writer that holds the database


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
