"""A consistent copy of a SQLite database in use, by SQLite's own online backup."""

from __future__ import annotations

import sqlite3
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
            with (
                closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=BUSY)) as source,
                closing(sqlite3.connect(target, isolation_level=None)) as copy,
            ):
                source.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")  # one file, with nothing beside it
                problem = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.Error as error:
            raise SourceFailed(f"database {database} cannot be copied: {error}") from error
        if problem != "ok":
            raise SourceFailed(f"database {database} is damaged: {problem}")
