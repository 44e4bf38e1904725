"""Evidence and working memory in one SQLite file.

The table ``event`` is append-only: triggers refuse changes, and the chain shows those made
around them. The other tables are working memory that the copies can rebuild.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from drtool.core.evidence import ChainVerdict, canonical, link, stamp, verify
from drtool.core.model import ClockSeen, Event, LockMode, Pruning, Reading, Snapshot, UploadVerification, Verified
from drtool.core.objects import ALTERED, EMPTY, Inventory
from drtool.core.ports import Clock
from drtool.errors import DrtoolError

SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    seq INTEGER PRIMARY KEY, at TEXT NOT NULL, run TEXT NOT NULL, kind TEXT NOT NULL,
    body TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS event_kind ON event (kind, seq);
CREATE INDEX IF NOT EXISTS event_run ON event (run, seq);
CREATE TRIGGER IF NOT EXISTS event_no_update BEFORE UPDATE ON event
    BEGIN SELECT RAISE(ABORT, 'evidence is append-only'); END;
CREATE TRIGGER IF NOT EXISTS event_no_delete BEFORE DELETE ON event
    BEGIN SELECT RAISE(ABORT, 'evidence is append-only'); END;
CREATE TABLE IF NOT EXISTS holding (
    repository TEXT NOT NULL, copy TEXT NOT NULL, key TEXT NOT NULL, size INTEGER NOT NULL,
    PRIMARY KEY (repository, copy, key)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS snapshot (
    repository TEXT NOT NULL, id TEXT NOT NULL, dataset TEXT NOT NULL, time TEXT NOT NULL, tree TEXT NOT NULL,
    run TEXT NOT NULL, paths TEXT NOT NULL, tags TEXT NOT NULL, files INTEGER NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY (repository, id)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS protection (
    repository TEXT NOT NULL, copy TEXT NOT NULL, key TEXT NOT NULL, mode TEXT NOT NULL, until INTEGER NOT NULL,
    PRIMARY KEY (repository, copy, key)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reading (
    repository TEXT NOT NULL, copy TEXT NOT NULL, key TEXT NOT NULL, since TEXT NOT NULL, at TEXT,
    PRIMARY KEY (repository, copy, key)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS removal (
    repository TEXT NOT NULL, key TEXT NOT NULL, at TEXT NOT NULL,
    PRIMARY KEY (repository, key)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fact (
    repository TEXT NOT NULL, copy TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, at TEXT NOT NULL,
    PRIMARY KEY (repository, copy, name)) STRICT, WITHOUT ROWID;
"""

LEVELS = ("L0", "L1", "L2", "L3")
TORN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
P = ParamSpec("P")
T = TypeVar("T")


def _whole(
    method: Callable[Concatenate[EvidenceStore, P], T],
) -> Callable[Concatenate[EvidenceStore, P], T]:
    """Where the file turns out to be torn, set it aside and do the same on a new one."""

    @wraps(method)
    def once_more(store: EvidenceStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(store, *args, **kwargs)
        except (sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.NotSupportedError):
            raise  # of our own making, and not of the file's
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) not in TORN:
                raise
            store.set_aside_torn(str(error))
            return method(store, *args, **kwargs)

    return once_more


class EvidenceStore:
    """The events and the working memory of one installation. Safe for use by several threads."""

    def __init__(self, path: Path, clock: Clock, *, patience: float = 30) -> None:
        """``patience``: seconds to wait for another process that writes."""
        self.path, self._clock, self._patience = path, clock, patience
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self.set_aside: Path | None = None

    @_whole
    def check_writable(self) -> None:
        """Raises ``DrtoolError`` where nothing could be recorded."""
        with self._writing():
            pass

    # Events

    def append(self, run: str, kind: str, body: Mapping[str, Any]) -> Event:
        """Add one event; it is on disk when this returns.

        A file too damaged to write to is set aside, never removed, and a new chain begins with an
        event that names it: a backup must not stop because its record is torn.
        """
        return self._append(run, kind, body)

    @_whole
    def _append(self, run: str, kind: str, body: Mapping[str, Any]) -> Event:
        with self._writing() as db:
            last = db.execute(f"{_SELECT} ORDER BY seq DESC LIMIT 1").fetchone()
            event = link(_last(last) if last else None, at=self._clock.now(), run=run, kind=kind, body=body)
            db.execute(
                "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?)",
                (event.seq, stamp(event.at), run, kind, canonical(event.body), event.previous, event.hash),
            )
        return event

    def events(self, *, run: str | None = None, kind: str | None = None) -> Iterator[Event]:
        wanted = [(column, value) for column, value in (("run", run), ("kind", kind)) if value is not None]
        where = " WHERE " + " AND ".join(f"{column} = ?" for column, _ in wanted) if wanted else ""
        with self._reading() as db:
            rows = db.execute(f"{_SELECT}{where} ORDER BY seq", [value for _, value in wanted])
            for row in rows:
                yield _event(row)

    def verify(self) -> ChainVerdict:
        """Verify file and chain. A torn file is a verdict, not an error."""
        walked = 0

        def counted() -> Iterator[Event]:
            nonlocal walked
            for event in self.events():
                walked = event.seq
                yield event

        try:
            with self._reading() as db:
                torn = [str(row[0]) for row in db.execute("PRAGMA integrity_check(5)") if row[0] != "ok"]
            verdict = verify(counted())
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            return ChainVerdict(
                ok=False, events=walked, head="", first_bad=walked + 1,
                reason=f"{self.path} cannot be read at event {walked + 1}: {error}",
            )  # fmt: skip
        if verdict.ok and torn:
            return ChainVerdict(
                ok=False,
                events=verdict.events,
                head=verdict.head,
                reason=f"{self.path} is damaged: {torn[0]}",
            )
        return verdict

    # Working memory

    def repository_id(self, repository: str) -> str | None:
        found = self._fact(repository, "", "repository_id")
        return found[0] if found else None

    def record_repository_id(self, repository: str, repository_id: str) -> None:
        if self.repository_id(repository) != repository_id:
            self._record_fact(repository, "", "repository_id", repository_id, self._clock.now())

    def unfinished(self, repository: str) -> bool:
        found = self._fact(repository, "", "unfinished")
        return found is not None and found[0] == "yes"

    def record_unfinished(self, repository: str, unfinished: bool) -> None:
        self._record_fact(repository, "", "unfinished", "yes" if unfinished else "no", self._clock.now())

    @_whole
    def recorded(self, repository: str) -> Mapping[str, Inventory]:
        found: dict[str, dict[str, int]] = {}
        with self._reading() as db:
            for copy, key, size in db.execute("SELECT copy, key, size FROM holding WHERE repository = ?", [repository]):
                found.setdefault(copy, {})[key] = size
        return found

    @_whole
    def record(self, repository: str, copy: str, inventory: Inventory) -> None:
        before = self.recorded(repository).get(copy, EMPTY)
        gone = [(repository, copy, key) for key in before if key not in inventory]
        new = [(repository, copy, key, size) for key, size in inventory.items() if before.get(key) != size]
        if gone or new:
            with self._writing() as db:
                db.executemany("DELETE FROM holding WHERE repository = ? AND copy = ? AND key = ?", gone)
                db.executemany("INSERT OR REPLACE INTO holding VALUES (?, ?, ?, ?)", new)

    @_whole
    def doubt(self, repository: str, copy: str, keys: Iterable[str]) -> None:
        with self._writing() as db:
            rows = [(repository, copy, key, ALTERED) for key in keys]
            db.executemany("INSERT OR REPLACE INTO holding VALUES (?, ?, ?, ?)", rows)
            if rows:
                db.executemany(_FORGET_FACT, [(repository, copy, f"verified {level}") for level in LEVELS[1:]])

    @_whole
    def forget_verified(self, repository: str, copy: str) -> None:
        with self._writing() as db:
            db.executemany(_FORGET_FACT, [(repository, copy, f"verified {level}") for level in LEVELS])
            db.execute("DELETE FROM reading WHERE repository = ? AND copy = ?", (repository, copy))

    @_whole
    def catalog(self, repository: str) -> tuple[Snapshot, ...]:
        with self._reading() as db:
            rows = db.execute(
                "SELECT id, dataset, time, tree, run, paths, tags, files, bytes FROM snapshot"
                " WHERE repository = ? ORDER BY time, id",
                [repository],
            )
            return tuple(_snapshot(row) for row in rows)

    @_whole
    def record_snapshots(self, repository: str, snapshots: Iterable[Snapshot]) -> None:
        rows = [
            (repository, one.id, one.dataset, stamp(one.time), one.tree, one.run,
             canonical(one.paths), canonical(one.tags), one.files, one.bytes)
            for one in snapshots
        ]  # fmt: skip
        if rows:
            with self._writing() as db:
                db.executemany("INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    @_whole
    def protection(self, repository: str, copy: str, mode: LockMode) -> Mapping[str, datetime]:
        with self._reading() as db:
            rows = db.execute(
                "SELECT key, until FROM protection WHERE repository = ? AND copy = ? AND mode = ?",
                (repository, copy, mode),
            )
            return {key: datetime.fromtimestamp(until, UTC) for key, until in rows}

    @_whole
    def record_protection(self, repository: str, copy: str, mode: LockMode, ends: Mapping[str, datetime]) -> None:
        rows = [(repository, copy, key, mode, int(until.timestamp())) for key, until in ends.items()]
        if rows:
            with self._writing() as db:
                db.executemany("INSERT OR REPLACE INTO protection VALUES (?, ?, ?, ?, ?)", rows)

    @_whole
    def forget_protection(self, repository: str, copy: str, keys: Iterable[str]) -> None:
        rows = [(repository, copy, key) for key in keys]
        if rows:
            with self._writing() as db:
                db.executemany("DELETE FROM protection WHERE repository = ? AND copy = ? AND key = ?", rows)

    def verified(self, repository: str, copy: str) -> tuple[Verified, ...]:
        found = ((level, self._fact(repository, copy, f"verified {level}")) for level in LEVELS)
        return tuple(Verified(level=level, at=fact[1]) for level, fact in found if fact)

    def record_verified(self, repository: str, copy: str, verified: Verified) -> None:
        self._record_fact(repository, copy, f"verified {verified.level}", "", verified.at)

    @_whole
    def readings(self, repository: str, copy: str) -> Mapping[str, Reading]:
        with self._reading() as db:
            rows = db.execute(
                "SELECT key, since, at FROM reading WHERE repository = ? AND copy = ?", (repository, copy)
            )
            return {key: Reading(since=_moment(since), at=_moment(at) if at else None) for key, since, at in rows}

    @_whole
    def record_readings(
        self, repository: str, copy: str, readings: Mapping[str, Reading], *, gone: Iterable[str] = ()
    ) -> None:
        new = [
            (repository, copy, key, stamp(one.since), stamp(one.at) if one.at else None)
            for key, one in readings.items()
        ]
        with self._writing() as db:
            db.executemany(
                "DELETE FROM reading WHERE repository = ? AND copy = ? AND key = ?",
                [(repository, copy, key) for key in gone],
            )
            db.executemany("INSERT OR REPLACE INTO reading VALUES (?, ?, ?, ?, ?)", new)

    @_whole
    def removed(self, repository: str) -> Mapping[str, datetime]:
        with self._reading() as db:
            rows = db.execute("SELECT key, at FROM removal WHERE repository = ?", [repository])
            return {key: _moment(at) for key, at in rows}

    @_whole
    def record_removed(self, repository: str, keys: Collection[str], at: datetime) -> None:
        with self._writing() as db:
            db.executemany(
                "INSERT OR IGNORE INTO removal VALUES (?, ?, ?)", [(repository, key, stamp(at)) for key in keys]
            )
            db.executemany("DELETE FROM holding WHERE repository = ? AND key = ?", [(repository, key) for key in keys])

    @_whole
    def forget_removed(self, repository: str, keys: Collection[str]) -> None:
        with self._writing() as db:
            db.executemany("DELETE FROM removal WHERE repository = ? AND key = ?", [(repository, key) for key in keys])

    def pruning(self, repository: str) -> Pruning | None:
        found = self._fact(repository, "", "pruning")
        if not found or not found[0]:
            return None
        copy, *snapshots = json.loads(found[0])
        return Pruning(copy=copy, snapshots=frozenset(snapshots))

    def record_pruning(self, repository: str, pruning: Pruning | None) -> None:
        text = json.dumps([pruning.copy, *sorted(pruning.snapshots)]) if pruning else ""
        self._record_fact(repository, "", "pruning", text, self._clock.now())

    def clock_seen(self) -> ClockSeen | None:
        found = self._fact("", "", "clock")
        if not found:
            return None
        boot, running, trouble = json.loads(found[0])
        return ClockSeen(at=found[1], boot=boot, running=running, trouble=trouble)

    def record_clock(self, seen: ClockSeen) -> None:
        self._record_fact("", "", "clock", json.dumps([seen.boot, seen.running, seen.trouble]), seen.at)

    def upload_verification(self, repository: str, copy: str) -> tuple[UploadVerification, datetime] | None:
        found = self._fact(repository, copy, "upload_verification")
        return (UploadVerification(found[0]), found[1]) if found else None

    def record_upload_verification(self, repository: str, copy: str, found: UploadVerification, at: datetime) -> None:
        self._record_fact(repository, copy, "upload_verification", found.value, at)

    def set_aside_torn(self, reason: str) -> None:
        """Begin anew beside a torn file. What SQLite left beside that goes with it, or it would be played back."""
        self.close()
        self.set_aside = self.path.with_name(f"{self.path.name}.damaged-{self._clock.now():%Y%m%dT%H%M%S.%fZ}")
        for suffix in ("-journal", ""):
            with suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{self.set_aside}{suffix}")
        with self.set_aside.open("rb") as damaged:
            digest = hashlib.file_digest(damaged, "sha256").hexdigest()
        self._append("", "evidence.set_aside", {"sha256": digest, "file": self.set_aside.name, "reason": reason})

    def close(self) -> None:
        with self._lock:
            if self._connection:
                self._connection.close()
                self._connection = None

    # The file

    @_whole
    def _fact(self, repository: str, copy: str, name: str) -> tuple[str, datetime] | None:
        with self._reading() as db:
            row = db.execute(
                "SELECT value, at FROM fact WHERE repository = ? AND copy = ? AND name = ?",
                (repository, copy, name),
            ).fetchone()
        return (row[0], _moment(row[1])) if row else None

    @_whole
    def _record_fact(self, repository: str, copy: str, name: str, value: str, at: datetime) -> None:
        with self._writing() as db:
            db.execute(
                "INSERT OR REPLACE INTO fact VALUES (?, ?, ?, ?, ?)",
                (repository, copy, name, value, stamp(at)),
            )

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._reporting():
            with self._lock:
                db = self._connection or self._open()
            yield db

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, on disk at its end, or nothing."""
        with self._reporting(), self._lock:
            db = self._connection or self._open()
            try:
                self._patiently(lambda: db.execute("BEGIN IMMEDIATE"))
                yield db
                db.execute("COMMIT")
            except BaseException:
                _roll_back(db)
                raise

    def _patiently(self, act: Callable[[], object]) -> None:
        """SQLite does not always wait for another process: where it fears a deadlock it gives up at once."""
        for attempt in Retrying(
            retry=retry_if_exception(_is_busy),
            stop=stop_after_delay(self._patience),
            wait=wait_fixed(0.05),
            reraise=True,
        ):
            with attempt:
                act()

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """What is the matter with the disk and not with the file, in drtool's words."""
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            raise DrtoolError(
                f"evidence in {self.path} cannot be used: {error}",
                hint="check room and rights of the state folder",
            ) from error

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        # Transactions are begun and ended here, by hand; several threads share the connection under the lock.
        db = sqlite3.connect(self.path, timeout=self._patience, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA synchronous = FULL")
            # at once: two that begin may not wait for one another
            self._patiently(lambda: db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT"))
        except BaseException:
            db.close()
            raise
        self._connection = db
        return db


def _is_busy(error: BaseException) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


_FORGET_FACT = "DELETE FROM fact WHERE repository = ? AND copy = ? AND name = ?"
_SELECT = "SELECT seq, at, run, kind, body, previous, hash FROM event"


def _roll_back(db: sqlite3.Connection) -> None:
    if db.in_transaction:
        db.execute("ROLLBACK")


def _event(row: tuple[Any, ...]) -> Event:
    seq, at, run, kind, body, previous, digest = row
    return Event(seq=seq, at=_moment(at), run=run, kind=kind, body=json.loads(body), previous=previous, hash=digest)


def _last(row: tuple[Any, ...]) -> Event:
    try:
        return _event(row)
    except (ValueError, TypeError) as error:
        raise sqlite3.DatabaseError(f"event {row[0]} cannot be read: {error}") from error


def _snapshot(row: tuple[Any, ...]) -> Snapshot:
    name, dataset, time, tree, run, paths, tags, files, size = row
    return Snapshot(
        id=name, dataset=dataset, time=_moment(time), tree=tree, run=run,
        paths=tuple(json.loads(paths)), tags=tuple(json.loads(tags)), files=files, bytes=size,
    )  # fmt: skip


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
