"""The hash chain of evidence: each event covers the one before it.

The hash is SHA-256 over the canonical JSON (sorted keys, no spaces, UTF-8) of the list
``[previous, seq, at, run, kind, body]``, so that any later change, removal or reordering of an
event breaks the chain at that place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from drtool.core.model import Event

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainVerdict:
    """Whether the chain holds; ``first_bad`` is the sequence number where it first does not."""

    ok: bool
    events: int
    head: str
    first_bad: int | None = None
    reason: str = ""


def link(previous: Event | None, *, at: datetime, run: str, kind: str, body: Mapping[str, Any]) -> Event:
    """The event that follows ``previous``. ``body`` must be JSON and keeps only what JSON keeps."""
    seq = previous.seq + 1 if previous else 1
    before = previous.hash if previous else GENESIS
    body = json.loads(canonical(body))
    return Event(
        seq=seq, at=at, run=run, kind=kind, body=body, previous=before,
        hash=_hash(before, seq, at, run, kind, body),
    )  # fmt: skip


def verify(events: Iterable[Event]) -> ChainVerdict:
    """Walk the chain from its beginning; memory does not grow with its length."""
    head, count = GENESIS, 0
    for event in events:
        if event.seq != count + 1:
            return _bad(count, head, count + 1, f"event {count + 1} is missing: {event.seq} follows {count}")
        if event.previous != head:
            return _bad(count, head, event.seq, f"event {event.seq} does not follow the one before it")
        if event.hash != _hash(event.previous, event.seq, event.at, event.run, event.kind, event.body):
            return _bad(count, head, event.seq, f"event {event.seq} ({event.kind}) was changed after it was written")
        head, count = event.hash, event.seq
    return ChainVerdict(ok=True, events=count, head=head)


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def stamp(at: datetime) -> str:
    """RFC 3339 in UTC, to the microsecond."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _bad(count: int, head: str, first_bad: int, reason: str) -> ChainVerdict:
    return ChainVerdict(ok=False, events=count, head=head, first_bad=first_bad, reason=reason)


def _hash(previous: str, seq: int, at: datetime, run: str, kind: str, body: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical([previous, seq, stamp(at), run, kind, body]).encode()).hexdigest()
