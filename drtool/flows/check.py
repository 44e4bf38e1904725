"""The weekly check of the copies: names and sizes, stored checksums, a rotating share read in full, restic's own check.

Levels (SPEC.md section 3): L0 names and sizes of every object; L1 checksums that the server keeps of what it stored;
L2 objects read in full and hashed; L3 restic's check of one copy, which the others equal by name.
Readings go on beside a backup, since objects never change; only one check runs at a time.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from drtool.core.model import Check, CheckOutcome, Outcome, Reading, Verdict, Verified
from drtool.core.objects import agreeing, by_kind, plan_replication
from drtool.core.ports import Copy, Progress
from drtool.core.verification import choose_share, covered, is_due
from drtool.documents.estate import Estate
from drtool.errors import DrtoolError
from drtool.flows.outside import Outside
from drtool.flows.prune import structure_lock
from drtool.flows.take_stock import Stock, require_one, take_stock
from drtool.flows.verify import Verification, gather, is_gone, verify

ASKING = 8  # requests under way at once where only checksums are asked for


def check(
    estate: Estate, outside: Outside, *, names: Collection[str] = (), due: bool = False, full: bool = False, wait: float
) -> CheckOutcome:
    """Check the copies named, or all: what is ``due`` only; or reading all of every object (``full``).

    One repository's trouble does not stop the next.
    """
    run = uuid.uuid4().hex
    checks: list[Check] = []
    for repository in estate.repositories:
        if names and not any(copy.name in names for copy in outside.copies[repository]):
            continue
        work = _Checking(
            run=run, repository=repository, estate=estate, outside=outside, names=names, due=due, full=full, wait=wait
        )
        try:
            with outside.locks.hold(f"{repository}.check", run=run, wait=wait):
                checks += work.check()
        except DrtoolError as error:
            checks.append(
                Check(check="L0", subject=repository, verdict=Verdict.UNKNOWN, reason=error.message, hint=error.hint)
            )
    return CheckOutcome(run=run, outcome=_weigh({one.verdict for one in checks}), checks=tuple(checks))


def _weigh(verdicts: Collection[Verdict]) -> Outcome:
    """What was found wrong fails the whole; what could not be told leaves it incomplete."""
    if Verdict.FAIL in verdicts:
        return Outcome.FAILED
    return Outcome.INCOMPLETE if Verdict.UNKNOWN in verdicts else Outcome.DONE


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checking:
    run: str
    repository: str
    estate: Estate
    outside: Outside
    names: Collection[str]
    due: bool
    full: bool
    wait: float

    def check(self) -> list[Check]:
        self.outside.show.phase(f"looking at the copies of {self.repository}")
        copies = self.outside.copies[self.repository]
        with self.outside.locks.hold(structure_lock(self.repository), run=self.run, wait=self.wait):
            stock = take_stock(self.repository, copies, self.outside.evidence)
        require_one(self.repository, stock, self.outside.evidence.recorded(self.repository))
        self._record("check.started", {"full": self.full, "due": self.due})
        wanted = [copy for copy in copies if not self.names or copy.name in self.names]
        found = [*self._names_and_sizes(stock, wanted)]
        reached = [copy for copy in wanted if copy.name in stock.present]
        for copy in reached:
            found += self._stored_checksums(copy, stock)
        with ThreadPoolExecutor(max(1, len(reached)), thread_name_prefix="check") as pool:
            total = _Total(watch=self.outside.show.progress)
            found += filter(None, pool.map(lambda copy: self._share(copy, stock, total), reached))
        if not self.names:
            wrong = {one.subject for one in found if one.verdict is Verdict.FAIL}
            found += self._structure(reached, stock, wrong)
        self._record("check.finished", {"checks": [_evidence_of(one) for one in found]})
        return found

    # L0

    def _names_and_sizes(self, stock: Stock, wanted: Sequence[Copy]) -> Iterator[Check]:
        evidence, now = self.outside.evidence, self.outside.clock.now()
        plan = plan_replication(stock.present, recorded=evidence.recorded(self.repository), altered=stock.altered)
        agrees = agreeing(stock.sound)
        for copy in wanted:
            facts, damage = stock.facts[copy.name], plan.damage(copy.name)
            if not facts.reached:
                yield self._say("L0", copy, Verdict.UNKNOWN, facts.reason, facts.hint)
            elif damage:
                self._doubt(copy, damage, altered=plan.altered.get(copy.name, frozenset()))
                yield self._say("L0", copy, Verdict.FAIL, f"{len(damage)} objects are lost or altered", "drtool heal")
            elif not agrees[copy.name]:
                yield self._say("L0", copy, Verdict.WARN, "it is behind the other copies", "drtool backup")
            else:
                if len(stock.present) > 1:
                    evidence.record_verified(self.repository, copy.name, Verified(level="L0", at=now))
                yield self._say("L0", copy, Verdict.PASS, f"{len(facts.inventory)} objects, names and sizes agree")

    # L1

    def _stored_checksums(self, copy: Copy, stock: Stock) -> list[Check]:
        """Nothing to ask where nothing is stored beside the bytes, as in a directory: there L2 reads them."""
        held = stock.present[copy.name]
        if copy.local or not self._is_due(copy, "L1") or not held:
            return []
        self.outside.show.phase(f"asking {copy.name} for its checksums")
        read = Verification()
        for batch, found in verify(copy.stored_digest, sorted(held), stock.config_sha256, workers=ASKING):
            gather(read, found)
            if found.silent == len(batch):
                break  # a server that keeps no checksum of one batch keeps none
        if not read.intact and not read.altered and not read.trouble:
            return []
        if bad := self._bad("L1", copy, read):
            return [bad]
        if not read.silent:
            now = self.outside.clock.now()
            self.outside.evidence.record_verified(self.repository, copy.name, Verified(level="L1", at=now))
        silent = len(held) - len(read.intact)
        without = f"; of {silent} it keeps none" if silent else ""
        reason = f"the server's checksums of {len(read.intact)} of {len(held)} objects are right{without}"
        return [self._say("L1", copy, Verdict.PASS, reason)]

    # L2

    def _share(self, copy: Copy, stock: Stock, total: _Total) -> Check | None:
        """Read the share that is due, or all; the coverage is of what the copy holds now."""
        evidence, held = self.outside.evidence, stock.present[copy.name]
        within = self.estate.repositories[self.repository].copies[copy.name].verify_within
        readings = dict(evidence.readings(self.repository, copy.name))
        now = self.outside.clock.now()
        new = {key: Reading(since=now) for key in held if key not in readings}
        evidence.record_readings(self.repository, copy.name, new, gone=readings.keys() - held.keys())
        readings |= new
        last = max((one.at for one in readings.values() if one.at), default=None)
        if self.due and not self.full and not is_due(last, now=now):
            return None
        share = sorted(held) if self.full else choose_share(held, readings, now=now, within=within)
        total.add(sum(held[key] for key in share))
        self.outside.show.phase(f"reading {len(share)} objects of {copy.name}")
        read = self._read(copy, share, stock, readings, total)
        coverage = covered(held, readings, now=self.outside.clock.now(), within=within)
        if bad := self._bad("L2", copy, read):
            return bad
        if coverage.complete and coverage.oldest:
            evidence.record_verified(self.repository, copy.name, Verified(level="L2", at=coverage.oldest))
        reason = (
            f"read {len(read.intact)} objects, all intact; {coverage.objects} of {coverage.of_objects} objects"
            f" ({_percent(coverage.bytes, coverage.of_bytes)} of the bytes) were read within {within.days} d"
        )
        if coverage.overdue:
            return self._say(
                "L2", copy, Verdict.WARN, f"{reason}; {coverage.overdue} are overdue", "drtool check --full"
            )
        return self._say("L2", copy, Verdict.PASS, reason)

    def _read(
        self, copy: Copy, share: Sequence[str], stock: Stock, readings: dict[str, Reading], total: _Total
    ) -> Verification:
        """What was read is recorded as it goes: a kill costs one batch."""
        read, held = Verification(), stock.present[copy.name]
        for batch, found in verify(copy.digest, share, stock.config_sha256, workers=os.cpu_count() or 1):
            gather(read, found)
            at = self.outside.clock.now()
            fresh = {key: Reading(since=readings[key].since, at=at) for key in found.intact}
            readings |= fresh
            self.outside.evidence.record_readings(self.repository, copy.name, fresh)
            total.did(sum(held[key] for key in batch))
        return read

    def _bad(self, level: str, copy: Copy, read: Verification) -> Check | None:
        """What is wrong with the copy. What is gone was perhaps removed meanwhile, so the copy is asked again."""
        trouble = read.trouble
        removed = self.outside.evidence.removed(self.repository)
        still = set() if trouble else is_gone(copy, read.missing - removed.keys())
        if bad := read.altered | still:
            self._doubt(copy, bad, altered=bad)
            reason = f"{len(read.altered)} objects are altered, {len(still)} lost, such as {min(bad)}"
            return self._say(level, copy, Verdict.FAIL, reason, "drtool heal")
        if trouble:
            reason = f"{trouble.message}; {len(read.intact)} objects were read before"
            return self._say(level, copy, Verdict.UNKNOWN, reason, trouble.hint)
        return None

    # L3

    def _structure(self, reached: Sequence[Copy], stock: Stock, wrong: Collection[str]) -> list[Check]:
        """restic's own check, of the copy whose last one is longest ago among the near ones, else of any.

        Best of one in which nothing ``wrong`` was found: restic's check reads no data, and proves nothing about that.
        """
        evidence, agrees = self.outside.evidence, agreeing(stock.sound)
        checked = {copy.name: _last(evidence.verified(self.repository, copy.name), "L3") for copy in reached}
        latest = max((at for at in checked.values() if at), default=None)
        agrees = {name: one and f"{self.repository}/{name}" not in wrong for name, one in agrees.items()}
        exact = [copy for copy in reached if agrees[copy.name] and not stock.facts[copy.name].retained]
        fit = exact or [copy for copy in reached if agrees[copy.name]] or list(reached)
        if not fit or (self.due and not is_due(latest, now=self.outside.clock.now())):
            return []
        never = self.outside.clock.now() - timedelta(days=36500)
        copy = min(fit, key=lambda one: (not one.local, checked[one.name] or never))
        self.outside.show.phase(f"restic checks {copy.name}")
        try:
            with self.outside.locks.hold(structure_lock(self.repository), run=self.run, wait=self.wait):
                errors = self.outside.restic(self.repository).check(copy).errors
        except DrtoolError as error:
            return [self._say("L3", copy, Verdict.UNKNOWN, error.message, error.hint)]
        if errors:
            return [
                self._say("L3", copy, Verdict.FAIL, f"restic finds {len(errors)} errors: {errors[0]}", "drtool heal")
            ]
        now = self.outside.clock.now()
        others = [name for name in stock.present if agrees[name] and agrees[copy.name]]
        for name in {copy.name, *others}:
            evidence.record_verified(self.repository, name, Verified(level="L3" if name == copy.name else "L0", at=now))
        equal = ", ".join(name for name in others if name != copy.name)
        return [
            self._say(
                "L3", copy, Verdict.PASS, "restic finds no error" + (f"; {equal} equals it by name" if equal else "")
            )
        ]

    # What comes of it

    def _is_due(self, copy: Copy, level: str) -> bool:
        verified = self.outside.evidence.verified(self.repository, copy.name)
        return not self.due or is_due(_last(verified, level), now=self.outside.clock.now())

    def _doubt(self, copy: Copy, damage: Collection[str], *, altered: Collection[str]) -> None:
        """Recorded as damage, so that the next heal or backup reads these again, and heals them."""
        evidence = self.outside.evidence
        self._record("anomaly.damage", {"copy": copy.name, "objects": by_kind(damage)})
        evidence.doubt(self.repository, copy.name, altered)
        evidence.record_readings(self.repository, copy.name, {}, gone=damage)

    def _say(self, level: str, copy: Copy, verdict: Verdict, reason: str, hint: str = "") -> Check:
        return Check(check=level, subject=f"{self.repository}/{copy.name}", verdict=verdict, reason=reason, hint=hint)

    def _record(self, kind: str, body: Mapping[str, Any]) -> None:
        self.outside.evidence.append(self.run, kind, {"repository": self.repository, **body})


@dataclass(slots=True, kw_only=True)
class _Total:
    """The progress of several readings at once."""

    watch: Callable[[Progress], None]
    total: int = 0
    done: int = 0

    def add(self, size: int) -> None:
        self.total += size

    def did(self, size: int) -> None:
        self.done += size
        self.watch(Progress(done=self.done, total=self.total))


def _last(verified: Sequence[Verified], level: str) -> Any:
    return next((one.at for one in verified if one.level == level), None)


def _percent(part: int, whole: int) -> str:
    """Rounded down: what is not read entirely is never called 100 %."""
    return f"{100 * part // whole if whole else 100} %"


def _evidence_of(one: Check) -> dict[str, str]:
    return {"check": one.check, "subject": one.subject, "verdict": one.verdict}
