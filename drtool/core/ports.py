"""What flows ask of the outside. Each docstring is the contract: order, repetition, who retries."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from drtool.core.media import Medium
from drtool.core.model import (
    BackupSummary,
    Branch,
    Changes,
    CheckSummary,
    ClockSeen,
    Event,
    LockMode,
    LockSettings,
    Loss,
    Marker,
    Pruning,
    Reading,
    RestoreSummary,
    Snapshot,
    Taken,
    UploadVerification,
    Verified,
)
from drtool.core.objects import Inventory
from drtool.core.observation import Observation, ProgramEnd
from drtool.core.runbook import Asked, Reply, RunView

_T = TypeVar("_T")


class Clock(Protocol):
    def now(self) -> datetime:
        """The present moment, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds that never run backwards, for measuring how long something took."""

    def sleep(self, seconds: float) -> None: ...

    def running(self) -> tuple[str, float]:
        """Which boot of this machine it is, and the seconds since then, sleep included; nobody can set these."""


class Place(Protocol):
    """Whatever restic can read a repository from: a copy, or the union of several."""

    name: str

    def marker(self) -> Marker:
        """Read the marker; that it can be read shows that the place still answers. Raises ``CopyTrouble``."""

    def address(self) -> Address:
        """How restic reaches it."""


class Union(Place, Protocol):
    """All copies of a repository read as one: each object from whichever copy holds it intact."""

    def taken(self) -> Mapping[str, Taken]:
        """What came from which copy so far."""

    def damage(self) -> Mapping[str, frozenset[str]]:
        """The objects found lost or altered so far, by copy."""

    def gone(self) -> frozenset[str]:
        """The objects that were asked for so far and that no copy holds intact."""


class Copy(Protocol):
    """One copy of a repository: a directory or a prefix of a bucket.

    Safe for use by several threads at once. The adapter itself retries what a retry can help,
    for as long as the copy's patience, and then raises ``CopyUnreachable``; what a retry cannot
    help (wrong key, missing bucket, no room) raises ``CopyRefused`` or ``CopyFull`` at once.
    """

    name: str
    location: str
    local: bool

    def marker(self) -> Marker:
        """Read the marker. Raises ``CopyAbsent`` where there is none: nothing is ever created here."""

    def mark(self, marker: Marker) -> None:
        """Write the marker. Repeating it is harmless."""

    def prepare(self) -> None:
        """Make the place ready for a new copy. Only ``copies init`` calls this."""

    def occupied(self) -> str:
        """What is there though no marker is: '' for nothing, ``repository`` for a restic configuration,

        else a word or two for a person.
        """

    def inventory(self) -> tuple[Inventory, int]:
        """Every object with its size, and the number of restic's locks. Always read anew."""

    def newcomers(self) -> Collection[str]:
        """Keys of finished packs that appeared since the last call; the first call tells nothing.

        A hint for streaming ahead, not a fact: it may miss a pack, and the inventory decides.
        """

    def open(self, key: str) -> AbstractContextManager[BinaryIO]:
        """The bytes of one object as a stream. Raises ``ObjectMissing``."""

    def digest(self, key: str) -> str:
        """SHA-256 (hex) of the bytes that lie there now, read in full. Raises ``ObjectMissing``."""

    def put(self, key: str, source: Callable[[], AbstractContextManager[BinaryIO]], sha256: str) -> None:
        """Store one object whole or not at all, and only if its bytes hash to ``sha256``.

        When it returns, the object survives a crash. Repeating it is harmless. Raises
        ``ObjectAltered`` when the source's bytes do not match; then nothing is stored.
        """

    def stored_digest(self, key: str) -> str | None:
        """The SHA-256 (hex) that the server keeps of what it stored; None where it keeps none of its own.

        Costs no reading. Raises ``ObjectMissing``.
        """

    def remove(self, keys: Collection[str]) -> None:
        """Remove objects. What is not there any more is no error; raises ``CopyRefused`` where it must not be done."""

    def revive(self, keys: Collection[str]) -> frozenset[str]:
        """Undo removals and overwriting where the place keeps older versions: those that are there intact again.

        None where it keeps none. Reads what it brings back, and leaves alone what it cannot prove.
        """

    def lock_settings(self) -> LockSettings:
        """What the place says of versions and object lock; what it does not tell is None there. Read anew."""

    def protected_until(self, keys: Collection[str], mode: LockMode = LockMode.GOVERNANCE) -> Mapping[str, datetime]:
        """When the locks of objects end, asked from the place; only those in ``mode`` or a stronger one.

        Left out is what is not locked, or not there. One request for each, several at once.
        """

    def protect(self, keys: Collection[str], until: datetime, mode: LockMode) -> frozenset[str]:
        """Lock objects at least until then; those that are so now. Left out is what is not there.

        Repeating it is harmless, and no lock is ever shortened. Raises ``CopyRefused`` where the place does not lock.
        """

    def probe(self) -> UploadVerification:
        """Find out, by deliberately wrong values, how this place verifies what is sent to it."""

    def check_room(self) -> None:
        """Write a little and take it back. Raises what prevents writing."""

    def sweep(self) -> None:
        """Remove what killed runs left half-written. Only while no other run writes."""

    def address(self) -> Address:
        """How restic reaches this copy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """``secrets`` maps an environment variable to the bytes of the file that it shall name."""

    url: str
    options: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, bytes] = field(default_factory=dict)


class Media(Protocol):
    def of_copy(self, repository: str, copy: str) -> Medium:
        """Where a copy lies, as declared or as followed to the hardware."""

    def of_dataset(self, dataset: str) -> tuple[Medium, ...]:
        """Where the live data lies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a long act is, in bytes; ``total`` is 0 while unknown."""

    done: int = 0
    total: int = 0
    files: int = 0


Watch = Callable[[Progress], None]


class Restic(Protocol):
    """The restic program on one repository, through any one of its copies.

    A copy that stops answering raises ``CopyUnreachable`` within the copy's patience; while it answers, a call
    may take as long as it needs. Raises ``WrongPassword``, ``NoRepository``, ``Locked`` and ``ResticFailed``.
    """

    def initialise(self, copy: Copy) -> None:
        """Create the repository in an empty copy."""

    def repository_id(self, copy: Copy) -> str:
        """The repository's own id; opening it proves the password."""

    def backup(
        self, copy: Copy, source: Source, *, tags: Sequence[str], parent: str | None, watch: Watch
    ) -> BackupSummary:
        """Back up one source. A source that fails leaves no snapshot and raises ``SourceFailed``."""

    def snapshots(self, copy: Copy, *, tag: str | None) -> tuple[Snapshot, ...]:
        """The snapshots with this tag, or all, oldest first."""

    def restore(self, place: Place, snapshot: str, branch: Branch, *, watch: Watch) -> RestoreSummary:
        """Restore and verify. Repeating it, from this place or another, completes what is not there yet."""

    def preview(self, place: Place, snapshot: str, branch: Branch, *, named: int) -> Changes:
        """What a restore over what is there would change, by content; so many paths are named. Writes nothing."""

    def dump(self, place: Place, snapshot: str, path: str, take: Callable[[bytes], None]) -> None:
        """Hand over the bytes of one file of a snapshot, in order, each verified by restic.

        What ``take`` raises ends it. Raises where not all of it came; what came is right until there.
        """

    def restore_size(self, place: Place, snapshot: str, *, include: Sequence[str]) -> RestoreSummary:
        """What a restore would bring. Writes nothing."""

    def missing_packs(self, copy: Copy) -> frozenset[str]:
        """The packs that the copy's indexes name and that are not there: restic would build on them."""

    def check(self, copy: Copy) -> CheckSummary:
        """restic's own check of the structure, without its cache. What it finds is a value."""

    def losses(self, place: Place, snapshots: Collection[str], packs: Collection[str]) -> tuple[Loss, ...]:
        """Which of these snapshots need these packs (their ids), and for what."""

    def forget(self, copy: Copy, snapshots: Collection[str], *, repack: bool) -> None:
        """Remove these snapshots (ids) and whatever no other snapshot needs.

        To ``repack`` what is used in part takes room. Whether it did so, only a look at the copy tells.
        """

    def unlock(self, copy: Copy) -> None:
        """Remove the locks of dead processes; living ones stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What restic reads for one dataset: paths below a folder, or the output of a command."""

    paths: tuple[str, ...] = ()
    folder: Path = Path("/")
    exclude: tuple[str, ...] = ()
    one_file_system: bool = False
    command: tuple[str, ...] = ()
    filename: str = ""
    limit: float | None = None  # seconds that the command may take
    title: str = ""  # what is read, where the command's name would tell a person nothing


class Databases(Protocol):
    def copy_sqlite(self, database: Path, target: Path) -> None:
        """A consistent copy of a database in use. Raises ``SourceFailed``; leaves nothing half-written."""

    def check_programs(self, dataset: str) -> None:
        """Raises ``ProgramMissing`` where a program is not installed that the dataset's dump needs."""

    def dump(self, dataset: str) -> Source:
        """What restic reads to save the dataset's database: a dump in the form of ``core.dump``."""

    def server(self, dataset: str) -> DatabaseServer | None:
        """The server that the dataset's database lies on; None where it lies on none."""


class Script(Protocol):
    """SQL that a server's own client runs while it comes in."""

    def say(self, content: bytes) -> None:
        """Run this next. Raises ``DatabaseFailed`` when something before it failed."""

    def end(self) -> None:
        """Wait until all of it was run. Raises ``DatabaseFailed``."""


class DatabaseServer(Protocol):
    """A database server, reached by its own client programs, with the accounts that one dataset names.

    Raises ``ProgramMissing`` where those are not installed, and ``DatabaseFailed`` with what the server said.
    """

    @property
    def kind(self) -> str: ...

    @property
    def needs_accounts(self) -> bool:
        """Whether a database cannot be loaded before the accounts are there that it mentions."""

    @property
    def where(self) -> str:
        """The server in a few words, for a person."""

    def objects_in(self, database: str) -> int | None:
        """How many tables, routines and the like are in a database; None where it does not exist."""

    def reserved(self, database: str) -> bool:
        """Whether the name is the server's own, and must never be written to."""

    def create(self, database: str, properties: Mapping[str, str]) -> None:
        """Create an empty database with the properties that a dump recorded."""

    def drop(self, database: str) -> None: ...

    def accounts(self) -> Collection[str]:
        """The accounts that are there, as they are named in a dump."""

    def load(self, database: str | None) -> AbstractContextManager[Script]:
        """Run SQL in a database, or in none. What is not ended is stopped."""

    def rows(self, database: str) -> Mapping[str, int]:
        """The number of rows of each table, counted."""


class ThrowAwayServer(Protocol):
    """A database server of the drill's own: on a unix socket only, as an unprivileged user, gone with its context."""

    server: DatabaseServer
    socket: Path

    def answer(self, database: str, query: str, limit: float) -> str | None:
        """The first field that a query gives within so many seconds. Raises ``DatabaseFailed``."""

    def execute(self, database: str, statement: str) -> None:
        """Run one statement as the server's administrator. Raises ``DatabaseFailed``."""


class Scratch(Protocol):
    """Places in which drills restore. What a killed drill left there, files and servers, is swept by the next."""

    def folder(self, drill: str) -> AbstractContextManager[Path]:
        """A private folder with a short path, marked as this process's, gone at the end, with every server below it."""

    def sweep(self) -> tuple[str, ...]:
        """End and remove what drills left behind whose process is gone; which drills."""

    def left(self, drill: str) -> int:
        """How much of a drill is still there: its folder counts as one, each of its processes as one."""

    def room(self) -> tuple[int, int]:
        """Bytes that are free in the place, and bytes of memory that are available."""

    def database(self, kind: str, folder: Path, database: str) -> AbstractContextManager[ThrowAwayServer]:
        """A server of a kind (``mariadb``, ``postgresql``), below a drill's folder, ready for that database's dump.

        Raises ``ProgramMissing`` where it is not installed, ``DatabaseFailed`` where it does not start.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """What the application in isolation sees: ``restored`` in the place of ``original``, a file or a folder."""

    original: Path
    restored: Path


class Isolated(Protocol):
    """Programs that run in a network of their own, and see what was restored in the place of what is live."""

    routes: int  # ways out of that network: 0 in a sound isolation

    def observe(self, kind: str, what: Mapping[str, Any]) -> Observation:
        """As ``Probes.observe``, from inside."""

    def trouble(self) -> str:
        """What a program that ended too soon said last; empty while all of them run."""


class Isolation(Protocol):
    def start(
        self, programs: Sequence[Sequence[str]], *, user: str, overlays: Sequence[Overlay], folder: Path
    ) -> AbstractContextManager[Isolated]:
        """Start programs in isolation; they end with the context, or with this process.

        Raises ``ProgramMissing`` where a program or the right to isolate is missing.
        """


class Evidence(Protocol):
    """The chained events, and the working memory that can be rebuilt from the copies.

    Every call is durable when it returns.
    """

    def append(self, run: str, kind: str, body: Mapping[str, Any]) -> Event: ...

    def events(self, *, run: str | None = None, kind: str | None = None) -> Iterable[Event]:
        """In order, oldest first, one at a time."""

    def repository_id(self, repository: str) -> str | None:
        """restic's id of the repository, if a copy of it was ever seen."""

    def record_repository_id(self, repository: str, repository_id: str) -> None: ...

    def unfinished(self, repository: str) -> bool:
        """Whether the last run that wrote to the repository did not live to record what it wrote."""

    def record_unfinished(self, repository: str, unfinished: bool) -> None: ...

    def recorded(self, repository: str) -> Mapping[str, Inventory]:
        """What each copy was known to hold after the last run that saw it."""

    def record(self, repository: str, copy: str, inventory: Inventory) -> None:
        """Replace what is recorded; costs what changed."""

    def doubt(self, repository: str, copy: str, keys: Iterable[str]) -> None:
        """These were found lost or altered: the next look reads them again, whatever their size is.

        The copy is not verified any more on the levels above names and sizes.
        """

    def forget_verified(self, repository: str, copy: str) -> None:
        """The copy begins anew: nothing in it was ever verified or read."""

    def protection(self, repository: str, copy: str, mode: LockMode) -> Mapping[str, datetime]:
        """When the locks of a copy's objects were last known to end."""

    def record_protection(self, repository: str, copy: str, mode: LockMode, ends: Mapping[str, datetime]) -> None:
        """Add to what is known of locks."""

    def forget_protection(self, repository: str, copy: str, keys: Iterable[str]) -> None:
        """Of these it is not known any more how they are locked."""

    def verified(self, repository: str, copy: str) -> tuple[Verified, ...]:
        """For each level at which all of the copy was ever found sound, when it last was."""

    def record_verified(self, repository: str, copy: str, verified: Verified) -> None: ...

    def readings(self, repository: str, copy: str) -> Mapping[str, Reading]:
        """When each object was first seen in the copy, and last read there and found intact."""

    def record_readings(
        self, repository: str, copy: str, readings: Mapping[str, Reading], *, gone: Iterable[str] = ()
    ) -> None: ...

    def removed(self, repository: str) -> Mapping[str, datetime]:
        """The objects that retention removed and that some copy may still keep, with when."""

    def record_removed(self, repository: str, keys: Collection[str], at: datetime) -> None:
        """From now on these are not part of the repository; no copy is recorded as holding them."""

    def forget_removed(self, repository: str, keys: Collection[str]) -> None:
        """No copy keeps these any more, or they are part of the repository again."""

    def pruning(self, repository: str) -> Pruning | None:
        """The removal that began and of which the end was not recorded."""

    def record_pruning(self, repository: str, pruning: Pruning | None) -> None: ...

    def clock_seen(self) -> ClockSeen | None:
        """What the last run saw of the clock."""

    def record_clock(self, seen: ClockSeen) -> None: ...

    def catalog(self, repository: str) -> tuple[Snapshot, ...]:
        """The snapshots known of, oldest first."""

    def record_snapshots(self, repository: str, snapshots: Iterable[Snapshot]) -> None: ...

    def upload_verification(self, repository: str, copy: str) -> tuple[UploadVerification, datetime] | None: ...

    def record_upload_verification(
        self, repository: str, copy: str, found: UploadVerification, at: datetime
    ) -> None: ...


class Locks(Protocol):
    def hold(self, repository: str, *, run: str, wait: float) -> AbstractContextManager[None]:
        """Only one run works on a repository. The lock dies with its process and its children.

        Raises ``Locked``, naming the holder, when it is still taken after ``wait`` seconds.
        """


class Spool(Protocol):
    def folder(self, name: str) -> AbstractContextManager[Path]:
        """A private folder that is empty at the start and gone at the end, also after a crash."""


class Show(Protocol):
    """Whom a flow tells what it is at, for a person who watches; nothing may depend on it."""

    watched: bool  # somebody watches the progress

    def phase(self, text: str) -> None:
        """A new part of the work begins."""

    def progress(self, progress: Progress) -> None:
        """How far the present part is."""

    def note(self, text: str) -> None:
        """Something worth a line that stays."""

    def close(self) -> None:
        """Nothing more will be told."""


class Hosts(Protocol):
    """The machines that runbooks act on. Nothing is tried again here.

    Every call raises ``HostUnreachable`` where the host does not answer, and ``UsageError`` where it is not known;
    ``host`` is a name of the register, or empty for this machine.
    """

    def run(
        self,
        host: str,
        argv: Sequence[str],
        *,
        limit: float,
        take: Callable[[bytes], None] = lambda piece: None,
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, bytes] | None = None,
        stdin: bytes | None = None,
    ) -> ProgramEnd:
        """Run a program without a shell; what it prints, errors among it, is handed on as it comes.

        After ``limit`` seconds it is ended with everything it started, also where the line to the host is gone.
        ``secrets`` are variables that name a file with these bytes; only on this machine, else ``UsageError``.
        A program that is not there ends with 127, as in a shell.
        """

    def end_left_over(self, mark: str) -> tuple[int, ...]:
        """End every process of this machine that bears the mark in ``DRTOOL_STEP``; their ids."""

    def service(self, host: str, service: str, action: str) -> tuple[tuple[str, ...], ...]:
        """The commands, one after the other, that start, stop, restart or reload a service, or (``status``) ask for it.

        By systemd where it runs on that host, else as the register says; ``UsageError`` where it says nothing.
        """


class Probes(Protocol):
    def observe(self, kind: str, what: Mapping[str, Any]) -> Observation:
        """Look once. What cannot be looked at (no such program, no line to the host) is unknown, never failed.

        ``kind`` and the keys of ``what`` are those of ``documents.probe``; ``expect`` and what concerns repetition is
        not among them. It ends within ``what["timeout"]`` (a timedelta), and never raises for what it meets.
        """


class Messages(Protocol):
    def send(self, title: str, text: str) -> tuple[str, ...]:
        """Tell by every address of the estate; the kinds of address (mailto, ntfy) that took it."""


class Journal(Protocol):
    """What is known of one run. One process at a time can write it."""

    run: str
    folder: Path

    def append(self, kind: str, body: Mapping[str, Any]) -> Event:
        """It is on disk when this returns; called before the act that it announces. Threads may call it."""

    def events(self) -> tuple[Event, ...]: ...

    def path(self, *parts: str) -> Path:
        """A place of the run's own, whose folder is there."""


class Journals(Protocol):
    """Where the journals of all runs lie."""

    def runs(self) -> tuple[str, ...]: ...

    def begin(self, run: str) -> AbstractContextManager[Journal]:
        """A new journal; raises ``FileExistsError`` where there is one."""

    def carry_on(self, run: str) -> AbstractContextManager[Journal]:
        """Open to go on. What a crash wrote half of is cut off.

        Raises ``Locked`` while another process has it, ``UsageError`` where there is none, ``DrtoolError`` where it
        was changed.
        """

    def read(self, run: str) -> tuple[Event, ...]:
        """What it holds now, also while another process writes it."""

    def approve(self, run: str, step: str, word: Mapping[str, str]) -> None:
        """Leave the word of a second person (``account``, ``at``, ``reason``) for the process that has the journal."""

    def approvals(self, run: str, step: str) -> tuple[Mapping[str, str], ...]:
        """The words that were left."""


class Console(Protocol):
    """The person before whom a runbook runs."""

    def tell(self, text: str) -> None:
        """A line that stays."""

    def output(self, step: str, piece: bytes) -> None:
        """What the present step prints."""

    def show(self, view: RunView) -> None:
        """Where the run is now."""

    def ask(self, asked: Asked, *, settled: Callable[[], bool]) -> Reply | None:
        """What a person says; ``None`` where nobody is there, or once ``settled`` from elsewhere.

        Threads may ask; they are answered one after the other.
        """


class Patience(Protocol):
    def __call__(self, attempt: Callable[[], _T], good: Callable[[_T], bool], *, more: int, interval: float) -> _T:
        """The first good result, or that of the last attempt; ``more`` after the first, ``interval`` seconds apart."""
