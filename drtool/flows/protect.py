"""Keep locked what a copy promises to keep locked, and read back what its locks are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from drtool.core.evidence import stamp
from drtool.core.immutability import due, renewed_below, sample
from drtool.core.model import Immutability, LockMode, LocksFound
from drtool.core.ports import Copy
from drtool.errors import CopyRefused, DrtoolError
from drtool.flows.outside import Outside

BATCH = 256  # objects between two entries in the record, so that a run that breaks off is not for nothing
SAMPLE = 16  # objects whose locks are asked for to see that the whole is as it should be


@dataclass(frozen=True, slots=True, kw_only=True)
class Protecting:
    """The locks of one copy, during one run."""

    run: str
    repository: str
    copy: Copy
    promise: Immutability
    outside: Outside

    def protect(self, needed: Collection[str]) -> None:
        """Lock every object that is needed, and renew the locks that have run half of their time.

        Asked is only for what is not known yet, and for a sample of the rest. Raises ``CopyTrouble``.
        """
        self._must_lock()
        now = self.outside.clock.now().replace(microsecond=0)
        until, below = now + self.promise.period, renewed_below(now, self.promise)
        known = self._known(needed)
        unknown = [key for key in needed if key not in known]
        for batch in _batches(unknown):
            known |= self._recorded(self.copy.protected_until(batch, self.promise.mode))
        short = due(needed, known, below)
        renewed = 0
        for batch in _batches(short):
            done = self.copy.protect(batch, until, self.promise.mode)
            renewed += len(self._recorded(dict.fromkeys(done, until)))
        figures = {"needed": len(needed), "asked": len(unknown), "due": len(short), "renewed": renewed}
        self._record("protection.renewed", figures | {"until": stamp(until), "mode": self.promise.mode})

    def _must_lock(self) -> None:
        can = self.copy.lock_settings().object_lock
        if not can:
            what = "its bucket has no object lock" if can is False else "its bucket does not tell whether it locks"
            raise CopyRefused(
                f"copy {self.copy.name} is declared immutable, but {what}",
                copy=self.copy.name,
                hint="docs/s3-policies.md says how to make such a bucket, and what its keys must be allowed",
            )

    def _known(self, needed: Collection[str]) -> dict[str, datetime]:
        """What the record knows of needed objects; nothing, where a sample shows it to be wrong."""
        evidence, place = self.outside.evidence, (self.repository, self.copy.name)
        known = dict(evidence.protection(*place, self.promise.mode))
        gone = known.keys() - set(needed)
        asked = sample(known.keys() - gone, known, size=SAMPLE, turn=self.outside.clock.now().toordinal())
        found = self.copy.protected_until(asked, self.promise.mode)
        if any(key not in found or found[key] < known[key] for key in asked):
            gone = set(known)
            self._record("protection.doubted", {"asked": len(asked)})
        evidence.forget_protection(*place, gone)
        return {key: end for key, end in known.items() if key not in gone}

    def _recorded(self, ends: Mapping[str, datetime]) -> Mapping[str, datetime]:
        self.outside.evidence.record_protection(self.repository, self.copy.name, self.promise.mode, ends)
        return ends

    def _record(self, kind: str, body: Mapping[str, object]) -> None:
        here = {"repository": self.repository, "copy": self.copy.name}
        self.outside.evidence.append(self.run, kind, here | dict(body))


def read_locks(
    repository: str, copy: Copy, declared: Immutability | None, held: Collection[str], outside: Outside
) -> LocksFound:
    """The settings of a copy, and how long the objects of a sample stay locked."""
    found = LocksFound(declared=declared, settings=None)
    try:
        found = replace(found, settings=copy.lock_settings())
        if not found.settings or not found.settings.object_lock or not held:
            return found
        return _sampled(found, repository, copy, held, outside)
    except DrtoolError as error:
        return replace(found, reason=error.message, hint=error.hint)


def _sampled(found: LocksFound, repository: str, copy: Copy, held: Collection[str], outside: Outside) -> LocksFound:
    now = outside.clock.now()
    known = outside.evidence.protection(repository, copy.name, found.declared.mode) if found.declared else {}
    keys = sample(held, known, size=SAMPLE, turn=now.toordinal())
    for mode in (LockMode.COMPLIANCE, LockMode.GOVERNANCE):
        ends = copy.protected_until(keys, mode)
        shortest = max(min(ends.get(key, now) for key in keys) - now, timedelta())
        if shortest:
            return replace(found, mode=mode, sampled=len(keys), shortest=shortest)
    return replace(found, mode=LockMode.GOVERNANCE, sampled=len(keys), shortest=timedelta())


def _batches(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[start : start + BATCH] for start in range(0, len(keys), BATCH))
