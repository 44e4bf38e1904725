"""Repair copies from one another, and say what is gone for good and what that costs."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from drtool.core.model import HealedCopy, HealOutcome, Loss, Outcome, Pruning, Snapshot, Verified, worst
from drtool.core.objects import (
    EMPTY,
    Inventory,
    Plan,
    agreeing,
    by_kind,
    digest_of,
    kind_of,
    newly_doubted,
    plan_replication,
    to_remember,
)
from drtool.core.ports import Copy
from drtool.documents.estate import Estate
from drtool.errors import CopyTrouble, DrtoolError, ResticFailed, UsageError
from drtool.flows.assess import ensure_probed
from drtool.flows.catalogue import known_snapshots
from drtool.flows.outside import Outside
from drtool.flows.prune import finish_pruning
from drtool.flows.replicate import Ledger, Replication, Settled
from drtool.flows.take_stock import Stock, require_one, take_stock

SEARCHED = 60  # snapshots, the newest, that are searched for what was lost with an object

Losses = tuple[tuple[Snapshot, Loss], ...]


def heal(estate: Estate, names: Collection[str], outside: Outside, *, wait: float, repaired: str = "") -> HealOutcome:
    """Repair the named copies, or all, of every repository. One repository's trouble does not stop the next.

    ``repaired`` names a copy that somebody repaired by restic itself: what it lacks now is taken for removed, if
    restic's own check does not miss it. Raises what stops all of them.
    """
    run = uuid.uuid4().hex
    copies: list[HealedCopy] = []
    losses: Losses = ()
    errors: list[DrtoolError] = []
    wanted = [
        name for name in estate.repositories if _wanted(outside.copies[name], {*names, *filter(None, [repaired])})
    ]
    for repository in wanted:
        try:
            with outside.locks.hold(repository, run=run, wait=wait):
                healing = _Healing(run=run, repository=repository, targets=frozenset(names), outside=outside)
                if repaired:
                    healing.accept(repaired)
                healed, lost = healing.heal()
        except DrtoolError as error:
            errors.append(error)
            outside.show.note(f"{repository}: {error.message}")
            continue
        copies += healed
        losses += lost
    if errors and len(errors) == len(wanted):
        raise errors[0]
    outcomes = [*(one.outcome for one in copies), *(Outcome.FAILED for _ in errors)]
    return HealOutcome(run=run, outcome=worst(outcomes), copies=tuple(copies), losses=losses)


def _wanted(copies: Sequence[Copy], names: Collection[str]) -> bool:
    return not names or any(copy.name in names for copy in copies)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Healing:
    run: str
    repository: str
    targets: frozenset[str]
    outside: Outside

    def accept(self, name: str) -> None:
        """Take what a repaired copy lacks for removed. Raises ``ResticFailed`` where restic still misses something."""
        evidence = self.outside.evidence
        finish_pruning(self.repository, self.run, self.outside)
        copies = [copy for copy in self.outside.copies[self.repository] if copy.name == name]
        stock = take_stock(self.repository, copies, evidence, fully=False)
        require_one(self.repository, stock, evidence.recorded(self.repository))
        lacking = evidence.recorded(self.repository).get(name, EMPTY).keys() - stock.present[name].keys()
        self._refuse_what_is_elsewhere(name, {key for key in lacking if kind_of(key) == "data"})
        snapshots = frozenset(str(digest_of(key)) for key in lacking if kind_of(key) == "snapshots")
        self._record("repair.accepted", {"copy": name, "objects": by_kind(lacking), "by": self.outside.operator})
        evidence.record_pruning(self.repository, Pruning(copy=name, snapshots=snapshots))
        if lacking and not finish_pruning(self.repository, self.run, self.outside):
            raise ResticFailed(
                f"restic still finds copy {name} damaged",
                hint=f"restic -r {copies[0].address().url} check, and repair what it names",
            )

    def _refuse_what_is_elsewhere(self, name: str, lacking: Collection[str]) -> None:
        """A pack that another copy holds, or may hold, is not gone for good, and must not count as removed."""
        others = [copy for copy in self.outside.copies[self.repository] if copy.name != name]
        stock = take_stock(self.repository, others, self.outside.evidence)
        for other, facts in stock.facts.items():
            if not facts.reached:
                raise UsageError(
                    f"copy {other} may hold what {name} lacks, and cannot be looked at: {facts.reason}",
                    hint=facts.hint or "drtool copies list",
                )
            if found := lacking & stock.sound[other].keys():
                raise UsageError(
                    f"copy {other} holds {len(found)} of the packs that {name} lacks", hint="drtool heal brings them"
                )

    def heal(self) -> tuple[list[HealedCopy], Losses]:
        evidence, copies = self.outside.evidence, self.outside.copies[self.repository]
        self.outside.show.phase(f"looking at the copies of {self.repository}")
        finish_pruning(self.repository, self.run, self.outside)
        recorded = evidence.recorded(self.repository)
        stock = take_stock(self.repository, copies, evidence)
        require_one(self.repository, stock, recorded)
        self._record("heal.started", {"copies": sorted(self.targets) or [copy.name for copy in copies]})
        before = plan_replication(stock.present, recorded=recorded, altered=stock.altered)
        revived = self._revive(copies, before)
        if any(revived.values()):
            stock = take_stock(self.repository, copies, evidence)
        replication = Replication(
            copies, stock.config_sha256, watch=self.outside.show.progress, report=self._report_damage
        )
        self._clear(copies, stock, replication)
        self.outside.show.phase(f"healing {self.repository}")
        settled = replication.settle(stock, recorded, targets=self.targets or None)
        reached = [copy for copy in copies if copy.name in settled.present]
        final = take_stock(self.repository, reached, evidence, fully=False)
        self._remember(settled, final, recorded, replication.ledger.stored)
        course = _Course(
            stock=stock, before=before, revived=revived, settled=settled, ledger=replication.ledger, final=final
        )
        done = [
            _healed(self.repository, copy.name, course)
            for copy in copies
            if not self.targets or copy.name in self.targets
        ]
        losses = self._losses(settled.plan, final)
        self._record("heal.finished", {"copies": [_evidence_of(one) for one in done], "snapshots_hurt": len(losses)})
        return done, losses

    def _revive(self, copies: Sequence[Copy], plan: Plan) -> Mapping[str, frozenset[str]]:
        """Undo removals and overwriting where the place keeps older versions: nothing needs to be sent for these."""
        revived: dict[str, frozenset[str]] = {}
        for copy in copies:
            damage = plan.damage(copy.name)
            if damage and (not self.targets or copy.name in self.targets):
                self._report_damage(copy.name, damage)
                revived[copy.name] = self._revived(copy, damage)
        return revived

    def _revived(self, copy: Copy, damage: frozenset[str]) -> frozenset[str]:
        try:
            return copy.revive(damage)
        except CopyTrouble as trouble:
            self.outside.show.note(f"{trouble.message}; older versions could not be looked for")
            return frozenset()

    def _clear(self, copies: Sequence[Copy], stock: Stock, replication: Replication) -> None:
        for copy in (one for one in copies if one.name in stock.present):
            try:
                copy.sweep()
                ensure_probed(self.repository, copy, self.outside)
            except CopyTrouble as trouble:
                replication.ledger.out[copy.name] = trouble

    def _remember(
        self, settled: Settled, final: Stock, began: Mapping[str, Inventory], stored: Mapping[str, set[str]]
    ) -> None:
        evidence, now = self.outside.evidence, self.outside.clock.now()
        recorded = evidence.recorded(self.repository)
        for name, held in final.present.items():
            before, sent = recorded.get(name, EMPTY), stored.get(name, set())
            doubted = newly_doubted(began.get(name, EMPTY), before) - sent
            altered = settled.plan.altered.get(name, frozenset()) | doubted
            kept = to_remember(held, before, settled.plan.lost.get(name, ()), altered)
            evidence.record(self.repository, name, kept)
            evidence.record_readings(self.repository, name, {}, gone=sent)
        if len(final.present) > 1:
            for name in (name for name, agrees in agreeing(final.present).items() if agrees):
                evidence.record_verified(self.repository, name, Verified(level="L0", at=now))

    def _losses(self, plan: Plan, final: Stock) -> Losses:
        """What is gone for good, by snapshot, newest first. restic tells, reading from all copies together."""
        gone = plan.unhealable
        if not gone:
            return ()
        catalog = {one.id: one for one in self.outside.evidence.catalog(self.repository)}
        lost = [
            catalog[digest]
            for key in gone
            if kind_of(key) == "snapshots" and (digest := str(digest_of(key))) in catalog
        ]
        whole = tuple((one, Loss(snapshot=one.id, unknown=True)) for one in lost)
        packs = {str(digest_of(key)) for key in gone if kind_of(key) == "data"}
        return (*whole, *self._hurt(packs, final)) if packs else whole

    def _hurt(self, packs: Collection[str], final: Stock) -> Losses:
        self.outside.show.phase("searching the snapshots for what is gone")
        copies = [copy for copy in self.outside.copies[self.repository] if copy.name in final.present]
        try:
            there = sorted(known_snapshots(self.repository, self.outside, final.present), key=lambda one: one.time)
            newest = {one.id: one for one in reversed(there[-SEARCHED:])}
            with self.outside.union(copies, final.present, final.config_sha256) as union:
                losses = self.outside.restic(self.repository).losses(union, list(newest), packs)
        except DrtoolError as error:
            self.outside.show.note(f"which snapshots need what is gone could not be found out: {error.message}")
            return ()
        return tuple((newest[loss.snapshot], loss) for loss in losses)

    def _report_damage(self, copy: str, keys: frozenset[str]) -> None:
        """Recorded before anything is done about it."""
        self._record("anomaly.damage", {"copy": copy, "objects": by_kind(keys)})

    def _record(self, kind: str, body: Mapping[str, Any]) -> None:
        self.outside.evidence.append(self.run, kind, {"repository": self.repository, **body})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Course:
    """How the healing of one repository went: what was planned at first, what was done, what is so now."""

    stock: Stock
    before: Plan
    revived: Mapping[str, frozenset[str]]
    settled: Settled
    ledger: Ledger
    final: Stock


def _healed(repository: str, name: str, course: _Course) -> HealedCopy:
    facts, trouble = course.stock.facts[name], course.ledger.out.get(name)
    stored, held = course.ledger.stored.get(name, set()), course.final.present.get(name, EMPTY)
    lost = course.before.lost.get(name, frozenset())
    altered = (course.before.altered.get(name, frozenset()) | course.settled.damage.get(name, frozenset())) - lost
    left, gone = course.settled.plan.damage(name), course.settled.plan.unhealable
    found = HealedCopy(
        repository=repository,
        copy=name,
        outcome=Outcome.DONE,
        lost=len(lost),
        altered=len(altered),
        healed=len((lost | altered) & (stored | course.revived.get(name, frozenset()))),
        sent_objects=len(stored),
        sent_bytes=sum(held.get(key, 0) for key in stored),
        unhealable=tuple(sorted(left & gone)),
    )
    if facts.absent:
        return replace(found, outcome=Outcome.ABSENT, reason=facts.reason, hint=facts.hint)
    if not facts.reached:
        return replace(found, outcome=Outcome.FAILED, reason=facts.reason, hint=facts.hint)
    if trouble:
        return replace(found, outcome=Outcome.INCOMPLETE, reason=trouble.message, hint=trouble.hint)
    if left:
        return replace(
            found,
            outcome=Outcome.INCOMPLETE,
            reason=_what_is_left(len(left & gone), len(left - gone)),
            hint="bring back a copy that holds them; where there is none, repair by restic as said here",
        )
    return found


def _what_is_left(gone: int, waiting: int) -> str:
    """What may refer to something that is gone is not sent on, so that it does not make a sound copy unsound."""
    more = f", and {waiting} more must wait for that to be repaired" if waiting else ""
    return f"{gone} objects are in no copy any more{more}" if gone else f"{waiting} objects could not be brought back"


def _evidence_of(one: HealedCopy) -> dict[str, Any]:
    """Figures only (TOM-1)."""
    return {
        "copy": one.copy,
        "outcome": one.outcome,
        "lost": one.lost,
        "altered": one.altered,
        "healed": one.healed,
        "unhealable": len(one.unhealable),
    }
