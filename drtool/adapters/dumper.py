"""Prints the dump of one database: ``python -m drtool.adapters.dumper KIND SETTINGS``, for restic's producer.

SETTINGS are JSON: names and paths, never a password. Without a closing line, what it printed is no dump.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from drtool.adapters import process
from drtool.adapters.mariadb import MariaDB
from drtool.adapters.postgresql import PostgreSQL
from drtool.core.ports import Source
from drtool.errors import DrtoolError

DUMPER = (sys.executable, "-P", "-m", "drtool.adapters.dumper")  # -P: nothing is imported from where it runs
KINDS: Mapping[str, Callable[..., MariaDB | PostgreSQL]] = {"mariadb": MariaDB, "postgresql": PostgreSQL}


def source(server: MariaDB | PostgreSQL, *, filename: str, limit: float) -> Source:
    """What restic reads to save the database. Raises ``ProgramMissing``."""
    server.check_programs()
    return Source(command=command(server), filename=filename, limit=limit, title=f"database {server.database}")


def command(server: MariaDB | PostgreSQL) -> tuple[str, ...]:
    """The command that prints the dump."""
    settings = {
        name: {"path": str(value)} if isinstance(value, Path) else value for name, value in asdict(server).items()
    }
    return (*DUMPER, server.kind, json.dumps(settings))


def main() -> int:
    kind, settings = sys.argv[1], json.loads(sys.argv[2])
    try:
        _server(kind, settings).dump(process.writer(sys.stdout.fileno()))
    except DrtoolError as error:
        sys.stderr.write(f"{error.message}; try: {error.hint}\n" if error.hint else f"{error.message}\n")
        return 1
    return 0


def _server(kind: str, settings: Mapping[str, Any]) -> MariaDB | PostgreSQL:
    given = {name: Path(value["path"]) if isinstance(value, dict) else value for name, value in settings.items()}
    return KINDS[kind](**given)


if __name__ == "__main__":
    sys.exit(main())
