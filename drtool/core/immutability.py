"""Object locks: which are due for renewal, and whether enough copies are immutable for long enough."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from drtool.core.model import (
    CopyState,
    CopyStatus,
    DatasetStatus,
    Facts,
    Immutability,
    Judged,
    LockMode,
    LocksFound,
    Verdict,
)

BETWEEN_RUNS = timedelta(days=1)  # how far a lock may have run below the point at which a run renews it
UNKNOWN_END = datetime.min.replace(tzinfo=UTC)


def renewed_below(now: datetime, promise: Immutability) -> datetime:
    """A lock that ends before this is renewed: at half of its time, so that some failed runs do no harm."""
    return now + promise.period / 2


def due(needed: Iterable[str], known: Mapping[str, datetime], below: datetime) -> tuple[str, ...]:
    """The keys that are not known to stay locked until then."""
    return tuple(sorted(key for key in needed if known.get(key, UNKNOWN_END) < below))


def sample(held: Iterable[str], known: Mapping[str, datetime], *, size: int, turn: int) -> tuple[str, ...]:
    """Keys to ask for: half those that end first as far as is known, half spread over all, others each ``turn``."""
    keys, half = sorted(held), size // 2
    if len(keys) <= size:
        return tuple(keys)
    soonest = sorted(keys, key=lambda key: known.get(key, UNKNOWN_END))[:half]
    step = math.ceil(len(keys) / half)
    return tuple(dict.fromkeys((*soonest, *keys[turn % step :: step])))


# The rule


class ImmutabilityRule(Protocol):
    """``min`` copies of every dataset stay locked, each object, for so many ``days`` from now on."""

    @property
    def min(self) -> int: ...
    @property
    def days(self) -> int: ...
    @property
    def mode(self) -> str: ...


def judge_immutability(rule: ImmutabilityRule, facts: Facts, now: datetime) -> Iterator[Judged]:
    """Judged by what was read back from the copies; what is declared only explains it."""
    for dataset in facts.datasets:
        yield _enough(rule, dataset, [copy for copy in facts.copies if copy.repository == dataset.repository])


def _enough(rule: ImmutabilityRule, dataset: DatasetStatus, copies: Sequence[CopyStatus]) -> Judged:
    standings = [_standing(rule, dataset, copy) for copy in copies]
    verdict = _verdict(rule.min, [one.verdict for one in standings])
    broken = any(copy.locks and copy.locks.declared for copy, one in _paired(copies, standings, Verdict.FAIL))
    if verdict is Verdict.PASS and broken:
        verdict = Verdict.WARN
    counted = sum(one.verdict in (Verdict.PASS, Verdict.WARN) for one in standings)
    reasons = "; ".join(one.reason for one in standings) or "there are no copies"
    hints = (one.hint for one in standings if one.hint)
    return Judged(
        subject=dataset.dataset,
        verdict=verdict,
        reason=f"{counted or 'none'} of {len(copies)} copies immutable, {rule.min} needed: {reasons}",
        hint="" if verdict is Verdict.PASS else "; ".join(dict.fromkeys(hints)),
    )


def _verdict(needed: int, verdicts: Sequence[Verdict]) -> Verdict:
    """The best verdict that so many copies reach."""
    reached = 0
    for verdict in (Verdict.PASS, Verdict.WARN, Verdict.UNKNOWN):
        reached += verdicts.count(verdict)
        if reached >= needed:
            return verdict
    return Verdict.FAIL


def _paired(
    copies: Sequence[CopyStatus], standings: Sequence[Judged], verdict: Verdict
) -> Iterator[tuple[CopyStatus, Judged]]:
    return ((copy, one) for copy, one in zip(copies, standings, strict=True) if one.verdict is verdict)


def _standing(rule: ImmutabilityRule, dataset: DatasetStatus, copy: CopyStatus) -> Judged:
    """One copy under the rule."""
    name, locks = copy.copy, copy.locks
    if locks is None or locks.settings is None:
        why = (locks.reason if locks else copy.reason) or "it could not be looked at"
        return _judged(name, Verdict.UNKNOWN, f"{name}: {why}", f"make {name} reachable, then `drtool copies list`")
    if not locks.settings.object_lock:
        return _without_lock(copy, locks)
    if copy.state not in (CopyState.HEALTHY, CopyState.BEHIND):
        return _judged(name, Verdict.FAIL, f"{name} is {copy.state}", copy.hint or "`drtool backup`")
    if not any(one.copy == name and one.newest for one in dataset.holdings):
        return _judged(name, Verdict.FAIL, f"{name} holds no snapshot of it", "`drtool backup`")
    return _long_enough(rule, name, locks)


def _without_lock(copy: CopyStatus, locks: LocksFound) -> Judged:
    name, settings = copy.copy, locks.settings
    assert settings is not None
    if settings.object_lock is None:
        hint = f"let the key of {name} read the bucket's settings: docs/s3-policies.md"
        return _judged(name, Verdict.UNKNOWN, f"{name} does not tell whether it locks objects", hint)
    if locks.declared:
        reason = f"{name} is declared immutable, but its bucket has no object lock"
        hint = f"move {name} to a bucket made with object lock: docs/s3-policies.md"
        return _judged(name, Verdict.FAIL, reason, hint)
    hint = "" if not copy.location.startswith("s3:") else f"give {name} a bucket with object lock: docs/s3-policies.md"
    return _judged(name, Verdict.FAIL, f"{name} locks nothing", hint)


def _long_enough(rule: ImmutabilityRule, name: str, locks: LocksFound) -> Judged:
    """A lock that runs shorter than asked, but is renewed to it in time, is a warning."""
    asked, hint = timedelta(days=rule.days), _longer(rule, name)
    if locks.shortest is None or locks.mode is None:
        why = locks.reason or "none of its locks could be read"
        return _judged(name, Verdict.UNKNOWN, f"{name}: {why}", locks.hint or "`drtool copies list`")
    left = f"{locks.shortest.days} d" if locks.shortest >= timedelta(days=2) else f"{locks.shortest // HOUR} h"
    said = f"{name}: each of {locks.sampled} sampled objects is locked for {left} or longer ({locks.mode})"
    if not locks.shortest:
        reason = f"{name}: not all of {locks.sampled} sampled objects are locked"
        return _judged(name, Verdict.FAIL, reason, "`drtool backup`" if locks.declared else hint)
    if not locks.mode.satisfies(LockMode(rule.mode)):
        return _judged(name, Verdict.FAIL, f"{said}, {rule.mode} is needed", hint)
    if locks.shortest >= asked:
        return _judged(name, Verdict.PASS, said)
    renewed = locks.declared and locks.declared.period >= asked and locks.shortest >= asked / 2 - BETWEEN_RUNS
    verdict = Verdict.WARN if renewed else Verdict.FAIL
    return _judged(name, verdict, f"{said}, {rule.days} d are needed", hint)


HOUR = timedelta(hours=1)


def _longer(rule: ImmutabilityRule, name: str) -> str:
    """Locks are renewed at half of their time, after which another run may be a day away."""
    return f"declare `immutability: {{days: {2 * (rule.days + BETWEEN_RUNS.days)}, mode: {rule.mode}}}` on {name}"


def _judged(copy: str, verdict: Verdict, reason: str, hint: str = "") -> Judged:
    return Judged(subject=copy, verdict=verdict, reason=reason, hint=hint)
