"""Restore drills: what a drill measured, and what that proves. A drill that could not verify is not a pass.

A record holds everything that was measured, and nothing that was concluded: whoever has the record judges it again and
comes to the same verdict. The levels: D1 objects readable, D2 sampled files equal what was hashed from the source,
D3 everything restored and databases loaded, D4 the application answers in isolation; each includes those before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from random import Random

from drtool.core.model import Snapshot, Verdict

LEVELS = ("D1", "D2", "D3", "D4")
DATABASES = ("mariadb", "postgresql", "sqlite")
SLACK = 300.0  # seconds that clocks may differ
NAMED = 5  # tables named in a reason


class DrillVerdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    NOT_VERIFIED = "not_verified"


AGAIN = {DrillVerdict.FAILED: timedelta(days=7), DrillVerdict.NOT_VERIFIED: timedelta(days=1)}  # until tried once more


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


# Judging: from a record alone, so that it can be done again at any time


def judge(record: Record) -> Judgement:
    """What the record proves. One check that fails makes it failed; one that cannot be told, not verified."""
    checks = tuple(_checks(record))
    verdicts = {check.verdict for check in checks}
    if Verdict.FAIL in verdicts:
        return Judgement(verdict=DrillVerdict.FAILED, checks=checks)
    unproven = Verdict.UNKNOWN in verdicts
    return Judgement(verdict=DrillVerdict.NOT_VERIFIED if unproven else DrillVerdict.PASSED, checks=checks)


def drilled(record: Record) -> Drilled:
    return Drilled(record=record, judgement=judge(record))


def _checks(record: Record) -> Iterator[DrillCheck]:
    if record.prevented:
        yield _unknown("carried out", record.prevented)
    else:
        yield _objects(record.objects)
        if record.level >= "D2":
            yield from _contents(record)
        if record.level >= "D4":
            yield from _application(record.application)
        yield from _controls(record.controls)
        yield from _times(record)
    yield _cleaned(record)


def _contents(record: Record) -> Iterator[DrillCheck]:
    """What came back, against what was there when it was backed up."""
    yield _came_back(record.restore, whole=record.level >= "D3")
    if record.kind == "files":
        yield _sample(record.files)
    else:
        yield _dump(record.dump)
    if record.level >= "D3" and record.kind in DATABASES:
        yield _tables(record.tables)
        if record.freshness:
            yield _freshness(record.freshness, record.snapshot_time)
        yield from (DrillCheck(check=f"query {one.probe}", verdict=one.verdict, reason=one.reason)
                    for one in record.probes)  # fmt: skip


def _objects(read: ObjectsRead | None) -> DrillCheck:
    name = "objects"
    if read is None or not read.objects:
        return _unknown(name, "no object of the copy was read")
    if bad := read.altered + read.missing:
        return _fail(name, f"{bad} of {read.objects} objects are missing or altered in the copy")
    return _pass(name, f"{read.objects} objects read in full and hashed, all as they are named")


def _came_back(back: Restored | None, *, whole: bool) -> DrillCheck:
    name = "restore"
    if back is None:
        return _unknown(name, "nothing was restored")
    if back.trouble:
        return _fail(name, back.trouble)
    if not whole:
        return _pass(name, f"{back.files} files restored of {back.of_files}")
    if not back.whole:
        return _unknown(name, "only a part was restored")
    if (back.files, back.bytes) != (back.of_files, back.of_bytes):
        return _fail(
            name, f"{back.files} files of {back.bytes} bytes came back, {back.of_files} of {back.of_bytes} were saved"
        )
    return _pass(name, f"all {back.files} files, {back.bytes} bytes")


def _sample(compared: FilesCompared | None) -> DrillCheck:
    name = "sample"
    if compared is None or not compared.recorded:
        return _unknown(name, (compared and compared.reason) or "nothing was hashed from the source at backup time")
    if compared.differs or compared.missing:
        return _fail(
            name, f"of {compared.recorded} files hashed from the source, {compared.differs} differ and"
            f" {compared.missing} are missing",
        )  # fmt: skip
    if compared.equal != compared.recorded:
        return _unknown(name, f"only {compared.equal} of {compared.recorded} files were compared")
    return _pass(name, f"{compared.equal} files equal what was hashed from the source")


def _dump(dump: DumpRead | None) -> DrillCheck:
    name = "dump"
    if dump is None:
        return _unknown(name, "it was not read")
    if not dump.whole:
        return _fail(name, dump.trouble or "it is not whole")
    if not dump.recorded or not dump.sha256:
        return _unknown(name, "nothing was hashed at the source at backup time")
    if dump.sha256 != dump.recorded:
        return _fail(name, "it differs from what the source gave at backup time")
    return _pass(name, f"{dump.bytes} bytes equal what the source gave")


def _tables(tables: TablesCompared | None) -> DrillCheck:
    name = "tables"
    if tables is None:
        return _unknown(name, "the database was not loaded")
    if tables.trouble:
        return _fail(name, tables.trouble)
    if tables.recorded is None:
        return _unknown(name, "its tables were not counted at backup time")
    if tables.missing or tables.differs:
        wrong = ", ".join((*tables.missing, *tables.differs)[:NAMED])
        return _fail(name, f"{len(tables.missing)} tables are missing and {len(tables.differs)} differ: {wrong}")
    if tables.unexpected:
        return DrillCheck(check=name, verdict=Verdict.WARN,
                          reason=f"{len(tables.unexpected)} tables more than at backup time")  # fmt: skip
    return _pass(name, f"{tables.found} tables with {tables.rows} rows, as counted at backup time")


def _freshness(fresh: Fresh, snapshot: datetime | None) -> DrillCheck:
    name = "freshness"
    if fresh.trouble or fresh.newest is None or snapshot is None:
        return _fail(name, fresh.trouble or "the query found no newest entry")
    behind = (snapshot - fresh.newest).total_seconds()
    words = f"the newest entry is {_duration(behind)} older than the snapshot"
    if behind < -SLACK:
        return _fail(name, "the newest entry is of after the snapshot")
    return _pass(name, words) if behind <= fresh.within else _fail(name, f"{words}; {_duration(fresh.within)} allowed")


def _application(application: Application | None) -> Iterator[DrillCheck]:
    name = "application"
    if application is None:
        yield _unknown(name, "it was not started")
        return
    if application.routes:
        yield _unknown("isolation", f"its network had {application.routes} ways out")
    if not application.started:
        yield _fail(name, application.trouble or "it did not start")
        return
    if not application.probes:
        yield _unknown(name, "it was asked for no page")
    yield from (DrillCheck(check=f"page {one.probe}", verdict=one.verdict, reason=one.reason)
                for one in application.probes)  # fmt: skip


def _controls(controls: Sequence[Control]) -> Iterator[DrillCheck]:
    """A drill that would not see damage proves nothing, however much of it passes."""
    if not controls:
        yield _unknown("control", "nothing was damaged on purpose, so it is not known whether damage would be seen")
    for one in controls:
        if one.seen:
            yield _pass(f"control {one.what}", "damage done on purpose was seen")
        else:
            yield _unknown(f"control {one.what}", one.trouble or "damage done on purpose was not seen")


def _times(record: Record) -> Iterator[DrillCheck]:
    if record.level >= "D2":
        yield _rto(record)
    if record.data_age is None:
        yield _unknown("rpo", "the age of the newest snapshot is not known")
    elif record.data_age > record.rpo:
        yield _fail("rpo", f"the newest snapshot was {_duration(record.data_age)} old; {_duration(record.rpo)} allowed")
    else:
        yield _pass("rpo", f"the newest snapshot was {_duration(record.data_age)} old of {_duration(record.rpo)}")


def _rto(record: Record) -> DrillCheck:
    took = measured(record)
    if took is None:
        return _unknown("rto", "the time was not measured")
    words = f"{_duration(took.seconds)} of {_duration(record.rto)}"
    if took.seconds <= record.rto:
        return _pass("rto", f"extrapolated from a part: {words}" if took.extrapolated else words)
    if took.extrapolated:
        return DrillCheck(check="rto", verdict=Verdict.WARN, reason=f"extrapolated from a part: {words}")
    return _fail("rto", f"took {words}")


def _cleaned(record: Record) -> DrillCheck:
    cleaned = record.cleaned
    if cleaned is None:
        return (
            _pass("cleaned", "nothing was there") if record.prevented else _unknown("cleaned", "it was not looked at")
        )
    if cleaned.left:
        return _fail("cleaned", cleaned.trouble or f"{cleaned.left} things of the drill are still there")
    return _pass("cleaned", "scratch data and servers are gone")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How long until everything was there and verified; ``extrapolated`` where only a part was brought back."""

    seconds: float
    extrapolated: bool = False


def measured(record: Record) -> Measured | None:
    """The time to set beside the RTO. A part's restore is drawn out to the whole by its bytes; its rest is as it is."""
    if record.verified is None or record.restored is None or record.restore is None:
        return None
    back = record.restore
    if back.whole:
        return Measured(seconds=record.verified)
    times = back.of_bytes / back.bytes if back.bytes else 1.0
    return Measured(seconds=record.restored * max(1.0, times) + record.verified - record.restored, extrapolated=True)


def trend(record: Record, before: Iterable[Record]) -> Record | None:
    """The last drill of the same dataset, copy and level that began before this one, and measured the same."""
    like = [
        one
        for one in before
        if (one.dataset, one.copy, one.level) == (record.dataset, record.copy, record.level)
        and one.started < record.started
        and one.drill != record.drill
        and measured(one) is not None
    ]
    return max(like, key=lambda one: one.started, default=None)


# Choosing: what is due, and which snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A dataset to be drilled; ``copies`` in declared order. ``every`` is None for once in each quarter."""

    dataset: str
    repository: str
    copies: tuple[str, ...]
    level: str
    every: timedelta | None
    each_copy: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A drill to be done, and why."""

    dataset: str
    copy: str
    level: str
    due: str


def due(wanted: Sequence[Wanted], history: Sequence[Drilled], *, now: datetime) -> tuple[Assignment, ...]:
    """What is to be drilled now, from the estate: a dataset that was never drilled is among it.

    Each dataset once in a quarter, from the copy that was proven longest ago; also each copy that was never proven, or
    for three quarters of its time was not; and, after a while, what did not pass.
    """
    return tuple(assignment for one in wanted for assignment in _due_of(one, history, now))


def _due_of(wanted: Wanted, history: Sequence[Drilled], now: datetime) -> Iterator[Assignment]:
    own = [one for one in history if one.record.dataset == wanted.dataset and one.record.level >= wanted.level]
    last = {copy: _last(one for one in own if one.record.copy == copy) for copy in wanted.copies}
    reasons = {copy: _why(wanted, last[copy], now) for copy in wanted.copies}
    newest = max((one.record.started for one in own if one.carried_out), default=None)
    if not any(reasons.values()) and (why := _why_dataset(wanted, newest, now)):
        proven = {copy: one.record.started for copy, one in last.items() if one}
        reasons[min(proven, key=lambda copy: proven[copy])] = why
    for copy, why in reasons.items():
        if why:
            yield Assignment(dataset=wanted.dataset, copy=copy, level=wanted.level, due=why)


def _why(wanted: Wanted, last: Drilled | None, now: datetime) -> str:
    """Why this copy must be drilled now, whatever the others are; empty where it need not."""
    if last is None:
        return "never drilled from this copy"
    verdict, age = last.judgement.verdict, now - last.record.started
    if verdict in AGAIN:
        return f"its last drill was {verdict.replace('_', ' ')}" if age >= AGAIN[verdict] else ""
    return f"last proven {age.days} days ago" if age >= wanted.each_copy * 3 / 4 else ""


def _why_dataset(wanted: Wanted, newest: datetime | None, now: datetime) -> str:
    if newest is None:
        return ""  # what was tried and not carried out is tried again in its time
    if wanted.every is not None:
        return f"due after {wanted.every.days} days" if now - newest >= wanted.every else ""
    return f"due in {quarter_of(now)}" if newest < quarter_start(now) else ""


def _last(drills: Iterable[Drilled]) -> Drilled | None:
    return max(drills, key=lambda one: one.record.started, default=None)


def choose(snapshots: Sequence[Snapshot], *, rule: str, seed: str) -> Snapshot | None:
    """The snapshot that a rule chooses; the same one for the same seed and the same snapshots, in any order."""
    ordered = sorted(snapshots, key=lambda one: (one.time, one.id))
    if not ordered:
        return None
    return ordered[-1] if rule == "newest" else Random(seed).choice(ordered)  # noqa: S311 - repeatable on purpose


def quarter_of(at: datetime) -> str:
    """Such as 2026Q4, in UTC."""
    return f"{at.year}Q{(at.month - 1) // 3 + 1}"


def quarter_start(at: datetime) -> datetime:
    """The first moment of the quarter that holds this one."""
    return at.replace(month=(at.month - 1) // 3 * 3 + 1, day=1, hour=0, minute=0, second=0, microsecond=0)


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def _pass(check: str, reason: str) -> DrillCheck:
    return DrillCheck(check=check, verdict=Verdict.PASS, reason=reason)


def _fail(check: str, reason: str) -> DrillCheck:
    return DrillCheck(check=check, verdict=Verdict.FAIL, reason=reason)


def _unknown(check: str, reason: str) -> DrillCheck:
    return DrillCheck(check=check, verdict=Verdict.UNKNOWN, reason=reason)
