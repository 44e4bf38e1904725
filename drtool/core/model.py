"""The field's terms as frozen values: what flows gather, decide on and hand to be shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from drtool.core.dump import Comparison
from drtool.core.media import Medium
from drtool.core.objects import EMPTY, Inventory, Send

ESTATE = "estate"  # the reserved dataset name under which a run stores the estate's own documents


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
    """What a look at one copy found: its marker and names, or why there are none."""

    copy: str
    location: str
    marker: Marker | None = None
    inventory: Inventory = field(default_factory=lambda: EMPTY)
    locks: int = 0
    absent: bool = False
    reason: str = ""
    hint: str = ""

    @property
    def reached(self) -> bool:
        return self.marker is not None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePlan:
    """What a restore would do: which snapshot, from where, how much.

    ``sources`` are the copies that hold the snapshot, best first. If ``direct``, restic reads the first itself; if
    ``united``, what that cannot give, or all of it, comes from all that were reached (``present``) together.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """Into which database a dataset's dump is to be loaded."""

    dataset: str
    database: str
    at: datetime | None = None
    snapshot: str | None = None
    copy: str | None = None
    over: bool = False  # drop and create anew a database that holds something


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
