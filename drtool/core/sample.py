"""What a run hashes from the source itself, so that a drill proves the way from there to the restored byte.

restic's own word is not part of that proof: the hashes are taken by drtool, from the files that restic reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from drtool.core.dump import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledFile:
    """A file of the source. ``name`` is the pseudonym that evidence knows it by; ``path`` stays on this machine."""

    name: str
    sha256: str
    bytes: int
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was taken from a dataset's source when ``snapshot`` was made.

    ``files`` are of a dataset of files (the largest always among them, the others drawn by ``seed``); ``sha256`` and
    ``bytes`` of one whole stream or database file; ``tables`` of a database. ``reason``: why there is nothing.
    """

    repository: str
    dataset: str
    snapshot: str
    kind: str
    seed: str = ""
    files: tuple[SampledFile, ...] = ()
    sha256: str = ""
    bytes: int = 0
    tables: Mapping[str, Rows] | None = None
    skipped: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the program that reads a source told of it at its end: the dump's contents, the stream's hash."""

    sha256: str = ""
    bytes: int = 0
    tables: Mapping[str, Rows] = field(default_factory=dict)
