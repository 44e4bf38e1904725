"""Restore drills: what a drill measured, and what that proves. A drill that could not verify is not a pass.

A record holds everything that was measured, and nothing that was concluded: whoever has the record judges it again and
comes to the same verdict. The levels: D1 objects readable, D2 sampled files equal what was hashed from the source,
D3 everything restored and databases loaded, D4 the application answers in isolation; each includes those before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from drtool.core.model import Verdict

LEVELS = ("D1", "D2", "D3", "D4")


class DrillVerdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    NOT_VERIFIED = "not_verified"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectsRead:
    """Objects of the copy that were read in full and hashed. ``altered`` and ``missing`` count among ``objects``."""

    objects: int
    bytes: int
    altered: int = 0
    missing: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesCompared:
    """Restored files against the sample that was hashed from the source at backup time (``core.sample``).

    ``recorded`` is how many were hashed then; 0 with a ``reason`` where there was nothing to compare with.
    """

    recorded: int
    equal: int = 0
    differs: int = 0
    missing: int = 0
    bytes: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What came back. ``whole`` where all of the snapshot was asked for; ``of_*`` is the snapshot's own figure.

    ``trouble`` says why it is not all that was asked for; names no file.
    """

    whole: bool
    files: int
    bytes: int
    of_files: int
    of_bytes: int
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpRead:
    """A dump as read to its end. ``sha256`` of what came and ``recorded`` of what was backed up; empty: not known."""

    whole: bool
    bytes: int
    sha256: str = ""
    recorded: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TablesCompared:
    """Tables and their rows in the loaded database against what was counted at backup time.

    ``recorded`` is how many tables there were then; None where nobody counted. Names of tables, never of rows.
    """

    recorded: int | None
    found: int
    rows: int
    differs: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """The newest entry that the estate's own query found in the restored database, against the snapshot's time."""

    newest: datetime | None
    within: float
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """One question put to what was restored: SQL, or a page of the application."""

    probe: str
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """The application, started from what was restored. ``routes`` is how many ways out its network had: must be 0."""

    started: bool
    routes: int
    probes: tuple[Probed, ...] = ()
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """Something restored was damaged on purpose, in a copy of it (``what``: file, row, dump): was it ``seen``?"""

    what: str
    seen: bool
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """What was there for the drill, and what of it is left: must be 0."""

    files: int
    servers: int
    left: int = 0
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One drill as the event ``drill.finished`` keeps it. Times in UTC; durations in seconds; sizes in bytes.

    ``candidates`` is among how many snapshots ``rule`` (``random``, ``newest``, ``named``) chose with ``seed``.
    ``restored`` and ``verified`` count from the start. ``data_age`` is that of the newest snapshot that the copy held
    when the drill began: so much would have been lost. ``needed_room`` and ``needed_memory`` name what lacked.
    ``prevented`` says why the drill could not be carried out, or not to its end (a program missing, no room).
    """

    drill: str
    site: str
    dataset: str
    kind: str
    repository: str
    copy: str
    medium: str
    level: str
    started: datetime
    by: str
    due: str
    rule: str
    seed: str
    candidates: int
    snapshot: str | None
    snapshot_time: datetime | None
    rto: float
    rpo: float
    data_age: float | None = None
    restored: float | None = None
    verified: float | None = None
    objects: ObjectsRead | None = None
    files: FilesCompared | None = None
    restore: Restored | None = None
    dump: DumpRead | None = None
    tables: TablesCompared | None = None
    freshness: Fresh | None = None
    probes: tuple[Probed, ...] = ()
    application: Application | None = None
    controls: tuple[Control, ...] = ()
    cleaned: Cleaned | None = None
    prevented: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillCheck:
    """One conclusion from a record."""

    check: str
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a record proves."""

    verdict: DrillVerdict
    checks: tuple[DrillCheck, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drilled:
    """A drill and its judgement."""

    record: Record
    judgement: Judgement

    @property
    def carried_out(self) -> bool:
        """Whether it came to a result, good or bad."""
        return self.judgement.verdict is not DrillVerdict.NOT_VERIFIED
