"""The field's terms as frozen values: what flows gather, decide on and hand to be shown."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from drtool.core.dump import Comparison
from drtool.core.media import Medium
from drtool.core.objects import EMPTY, Inventory, Send, without

ESTATE = "estate"  # the reserved dataset name under which a run stores the estate's own documents


SAFETY = "safety"  # the tag of a snapshot of what lay there before a restore in place


class Outcome(StrEnum):
    DONE = "done"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    ABSENT = "absent"


def worst(outcomes: list[Outcome]) -> Outcome:
    """The outcome of a whole: done if all are done, failed if all failed, else incomplete."""
    kinds = set(outcomes)
    if kinds <= {Outcome.DONE}:
        return Outcome.DONE
    return Outcome.FAILED if kinds <= {Outcome.FAILED, Outcome.ABSENT} else Outcome.INCOMPLETE


class CopyState(StrEnum):
    HEALTHY = "healthy"
    BEHIND = "behind"
    DAMAGED = "damaged"
    ABSENT = "absent"
    UNKNOWN = "unknown"


class UploadVerification(StrEnum):
    """How a copy makes sure that it stored the very bytes that were sent, strongest first."""

    SHA256 = "sha256"  # the server compares x-amz-checksum-sha256, the object's own name
    PAYLOAD = "payload"  # the server compares the signed x-amz-content-sha256
    MD5 = "md5"  # the server compares Content-MD5
    READ_BACK = "read-back"  # the object is read again after the upload
    LOCAL_HASH = "local-hash"  # hashed while written, fsynced, renamed


class LockMode(StrEnum):
    """Who may end an object's lock early: who has a permission of its own for that, or nobody at all."""

    GOVERNANCE = "governance"
    COMPLIANCE = "compliance"

    def satisfies(self, asked: LockMode) -> bool:
        return self is asked or self is LockMode.COMPLIANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Immutability:
    """For how many days each object is locked, and how."""

    days: int
    mode: LockMode

    @property
    def period(self) -> timedelta:
        return timedelta(days=self.days)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockSettings:
    """What a place says of itself: does it keep versions, can it lock, how does it lock unasked? None: not told."""

    versioning: bool | None
    object_lock: bool | None
    default: Immutability | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocksFound:
    """What was read back of a copy's locks. Each of the ``sampled`` objects stays locked for ``shortest`` at least,

    in ``mode`` or a stronger one. ``settings`` is None where the copy could not be asked, and ``reason`` says why.
    """

    declared: Immutability | None
    settings: LockSettings | None
    mode: LockMode | None = None
    sampled: int = 0
    shortest: timedelta | None = None
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """What ``drtool/copy.json`` says: whose copy this is, and what its ``config`` must hash to."""

    repository: str
    repository_id: str
    copy: str
    copy_id: str
    config_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyFacts:
    """What a look at one copy found: its marker and names, or why there are none.

    ``retained`` is what retention removed from the repository and this copy still keeps.
    """

    copy: str
    location: str
    marker: Marker | None = None
    inventory: Inventory = field(default_factory=lambda: EMPTY)
    retained: Inventory = field(default_factory=lambda: EMPTY)
    locks: int = 0
    absent: bool = False
    reason: str = ""
    hint: str = ""

    @property
    def reached(self) -> bool:
        return self.marker is not None

    def without_removed(self, removed: Collection[str]) -> CopyFacts:
        """The same facts, with what retention removed set apart."""
        held = {**self.retained, **self.inventory}
        retained = {key: held[key] for key in removed if key in held}
        if not retained and not self.retained:
            return self
        return replace(self, retained=retained, inventory=without(held, retained))


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One restic snapshot, as drtool's tags describe it. ``bytes`` is the size of the source."""

    id: str
    dataset: str
    time: datetime
    tree: str
    run: str
    paths: tuple[str, ...]
    tags: tuple[str, ...]
    files: int
    bytes: int

    @property
    def safety(self) -> bool:
        """Whether it holds what lay there before a restore in place, and not what the dataset is to be."""
        return SAFETY in self.tags


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSummary:
    """What one restic backup did.

    ``unchanged``: the tree is the parent's. ``partial``: something could not be read; ``unreadable``
    are paths of the source, never stored as evidence.
    """

    snapshot: str
    started: datetime
    files: int
    bytes: int
    added_bytes: int
    seconds: float
    unchanged: bool
    partial: bool = False
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreSummary:
    """What one restic restore did; counts include folders. ``kept`` was in the target already, and right.

    Where it is not ``complete``, ``reason`` says why, and another copy may bring the rest.
    """

    files: int = 0
    bytes: int = 0
    kept_files: int = 0
    kept_bytes: int = 0
    complete: bool = True
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetOutcome:
    dataset: str
    outcome: Outcome
    snapshot: str | None = None
    tree: str | None = None
    files: int = 0
    bytes: int = 0
    added_bytes: int = 0
    seconds: float = 0.0
    reason: str = ""
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOutcome:
    repository: str
    copy: str
    outcome: Outcome
    wrote: bool = False
    sent_objects: int = 0
    sent_bytes: int = 0
    healed: int = 0
    agrees: bool = False
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """What a backup run came to; ``outcome`` is the worst that needs a person's eye."""

    run: str
    outcome: Outcome
    seconds: float
    datasets: tuple[DatasetOutcome, ...]
    copies: tuple[CopyOutcome, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The last verification of a copy: level L0 to L3, and when."""

    level: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Since when an object was seen in a copy, and when it was last read there in full and found intact."""

    since: datetime
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How much of a copy was read in full within the time that is allowed for it; ``oldest`` of those readings."""

    objects: int
    bytes: int
    of_objects: int
    of_bytes: int
    overdue: int
    oldest: datetime | None = None

    @property
    def complete(self) -> bool:
        return self.objects == self.of_objects


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSummary:
    """What restic's own check said. ``errors`` are its messages, one for each thing that is wrong."""

    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What one snapshot loses with objects that no copy holds: ``paths`` of the source, for a person's eyes only.

    ``unknown`` where the listing of a folder is among the lost, so that more is gone than can be named.
    """

    snapshot: str
    paths: tuple[str, ...] = ()
    unknown: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """A removal under way: restic removes these snapshots, and what only they need, from one copy."""

    copy: str
    snapshots: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSeen:
    """The clock beside the time since boot, which cannot be set; ``trouble`` is what was ever wrong with it."""

    at: datetime
    boot: str
    running: float
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyStatus:
    """One copy of a repository as ``copies list`` and ``status`` show it."""

    repository: str
    copy: str
    location: str
    state: CopyState
    objects: int
    bytes: int
    agrees: bool
    medium: Medium
    upload_verification: UploadVerification | None = None
    verified: Verified | None = None
    locks: LocksFound | None = None
    coverage: Coverage | None = None
    retained: int = 0
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What one copy holds of one dataset: its newest snapshot, if any, and whether that is fresh."""

    copy: str
    newest: Snapshot | None
    age: timedelta | None
    fresh: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One link of the evidence chain. ``hash`` covers everything else, ``previous`` included."""

    seq: int
    at: datetime
    run: str
    kind: str
    body: Mapping[str, Any]
    previous: str
    hash: str


class Verdict(StrEnum):
    PASS = "pass"  # noqa: S105 - a verdict, not a password
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One judged comparison of a rule and a fact, with the next act where one is needed."""

    policy: str
    rule: str
    clause: str
    subject: str
    verdict: Verdict
    reason: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One subject under one rule."""

    subject: str
    verdict: Verdict
    reason: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What came from one copy. ``objects`` is None where restic read for itself, of which it tells no number."""

    objects: int | None = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreOutcome:
    run: str
    dataset: str
    snapshot: Snapshot
    source: str
    target: str
    files: int
    bytes: int
    seconds: float
    verified: bool
    taken_from: Mapping[str, Taken] = field(default_factory=dict)
    damage: Mapping[str, frozenset[str]] = field(default_factory=dict)
    tables: tuple[Comparison, ...] = ()  # of a database that was loaded
    outcome: Outcome = Outcome.DONE
    reason: str = ""
    lost: tuple[str, ...] = ()  # paths that no copy can bring back, for a person's eyes
    safety: str = ""  # the snapshot of what was there before
    undo: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetStatus:
    """One dataset as ``status`` shows it; ``holdings`` in the declared order of its repository's copies."""

    dataset: str
    repository: str
    rpo: timedelta
    rto: timedelta
    holdings: tuple[Holding, ...]
    media: tuple[Medium, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """How the bytes of one copy are protected from others' eyes.

    ``transport`` is ``local``, ``https`` or ``loopback``; ``opaque`` whether the repository's configuration
    cannot be read without a password (None: it could not be looked at).
    """

    repository: str
    copy: str
    transport: str
    opaque: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that rules may judge."""

    site: str
    copies: tuple[CopyStatus, ...] = ()
    datasets: tuple[DatasetStatus, ...] = ()
    protection: tuple[Protection, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What ``status`` shows. ``compliant`` only if something was judged, and all of it passes or merely warns."""

    site: str
    at: datetime
    facts: Facts
    findings: tuple[Finding, ...]

    @property
    def compliant(self) -> bool:
        return bool(self.findings) and not self.violated

    @property
    def violated(self) -> bool:
        """Whether a rule is broken, or may be: what cannot be told is never a pass."""
        return any(finding.verdict in (Verdict.FAIL, Verdict.UNKNOWN) for finding in self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreRequest:
    """What the operator asked for."""

    dataset: str
    target: Path
    at: datetime | None = None
    snapshot: str | None = None
    include: tuple[str, ...] = ()
    copy: str | None = None
    over: bool = False  # write into a target that is not empty
    in_place: bool = False  # where the data came from; ``target`` is /
    delete: bool = False  # in place: also remove what the snapshot does not have
    safety: bool = True  # in place: save first what is there


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """What restic restores at once: from a folder of the snapshot into ``target``, of that what fits ``include``."""

    target: Path
    folder: str = ""
    include: tuple[str, ...] = ()
    delete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a restore in place would do to the files that are there; ``examples`` are paths for a person's eyes."""

    added: int = 0
    altered: int = 0
    deleted: int = 0
    unchanged: int = 0
    bytes: int = 0
    examples: tuple[tuple[str, str], ...] = ()
    deletes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePlan:
    """What a restore would do: which snapshot, from where, how much.

    ``sources`` are the copies that hold the snapshot, best first. If ``direct``, restic reads the first itself; if
    ``united``, what that cannot give, or all of it, comes from all that were reached (``present``) together.
    In place, ``branches`` say what goes where, and ``changes`` what that changes.
    """

    request: RestoreRequest
    repository: str
    snapshot: Snapshot
    sources: tuple[str, ...]
    direct: bool
    united: bool
    present: Mapping[str, Inventory]
    config_sha256: str
    files: int
    bytes: int
    free: int
    branches: tuple[Branch, ...] = ()
    changes: Changes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """Into which database a dataset's dump is to be loaded."""

    dataset: str
    database: str
    at: datetime | None = None
    snapshot: str | None = None
    copy: str | None = None
    over: bool = False  # drop and create anew a database that holds something
    in_place: bool = False  # the dataset's own database, with what is in it saved before
    safety: bool = True  # in place: save first what is in it


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """What loading would do; ``sources`` to ``config_sha256`` as in ``RestorePlan``.

    ``path`` is the dump's in the snapshot. ``holds`` is how much is in the database now; None: it does not exist.
    """

    request: LoadRequest
    repository: str
    snapshot: Snapshot
    path: str
    sources: tuple[str, ...]
    direct: bool
    united: bool
    present: Mapping[str, Inventory]
    config_sha256: str
    server: str
    holds: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryPlan:
    """What a run would do to one repository before restic writes; its new objects follow to every copy."""

    repository: str
    datasets: tuple[str, ...]
    writer: str | None
    unreached: Mapping[str, str]
    sends: tuple[Send, ...]
    lost: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialised:
    """What became of one copy: ``created``, ``adopted`` (restic's files were there), ``already``,

    ``unreachable`` or ``failed``.
    """

    repository: str
    copy: str
    location: str
    result: str
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealedCopy:
    """What became of one copy: what it had lost or held altered, and how much of that is there again."""

    repository: str
    copy: str
    outcome: Outcome
    lost: int = 0
    altered: int = 0
    healed: int = 0
    sent_objects: int = 0
    sent_bytes: int = 0
    unhealable: tuple[str, ...] = ()
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealOutcome:
    """``losses`` are what is gone for good, by snapshot."""

    run: str
    outcome: Outcome
    copies: tuple[HealedCopy, ...]
    losses: tuple[tuple[Snapshot, Loss], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was checked; ``check`` is a verification level or another kind of check."""

    check: str
    subject: str
    verdict: Verdict
    reason: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutcome:
    run: str
    outcome: Outcome
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Removal is frozen: of one snapshot, of a repository, or of everything (both empty)."""

    id: str
    at: datetime
    reason: str
    by: str
    repository: str = ""
    snapshot: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A snapshot and why it stays; without ``reasons`` it goes."""

    snapshot: Snapshot
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunePlan:
    """What a prune would do to one repository. ``refused`` says why it must not, ``hint`` what to do about it.

    restic removes from ``copy``; ``due`` are objects that other copies have kept for long enough.
    """

    repository: str
    copy: str = ""
    snapshots: tuple[Kept, ...] = ()
    due: Mapping[str, frozenset[str]] = field(default_factory=dict)
    refused: str = ""
    hint: str = ""

    @property
    def going(self) -> tuple[Snapshot, ...]:
        return tuple(one.snapshot for one in self.snapshots if not one.reasons)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunedRepository:
    """What became of one repository: ``snapshots`` and ``objects`` removed from one copy, which freed ``bytes`` there.

    ``copies`` is how many objects each copy removed that it had kept before, ``retained`` how many it still keeps.
    """

    repository: str
    outcome: Outcome
    snapshots: int = 0
    objects: int = 0
    bytes: int = 0
    copies: Mapping[str, int] = field(default_factory=dict)
    retained: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneOutcome:
    run: str
    outcome: Outcome
    repositories: tuple[PrunedRepository, ...]
