"""The nightly run: heal, back up once, replicate, prove that the copies agree, record."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from drtool.core.model import (
    ESTATE,
    CopyFacts,
    CopyOutcome,
    DatasetOutcome,
    Outcome,
    RepositoryPlan,
    RunOutcome,
    Snapshot,
    Verified,
    worst,
)
from drtool.core.objects import (
    EMPTY,
    Inventory,
    agreeing,
    by_kind,
    key_of_snapshot,
    newly_doubted,
    plan_replication,
    to_remember,
)
from drtool.core.ports import Copy
from drtool.documents.estate import Estate
from drtool.errors import CopyTrouble, DrtoolError, ProgramMissing
from drtool.flows.assess import ensure_probed
from drtool.flows.outside import Outside
from drtool.flows.protect import Protecting
from drtool.flows.prune import finish_pruning, look_at_clock
from drtool.flows.replicate import Ledger, Replication, Settled
from drtool.flows.take_stock import Stock, require_one, take_stock
from drtool.flows.write import Writing, failed


def back_up(estate: Estate, names: Sequence[str], outside: Outside, *, wait: float, safety: bool = False) -> RunOutcome:
    """Back up the named datasets into their repositories, and bring every copy up to date.

    For ``safety``, before a restore in place, one copy will do: the next run brings it to the others.
    One repository's trouble does not stop the next. Raises only what stops all of them.
    """
    _require_programs(names, outside)
    run, start = uuid.uuid4().hex, outside.clock.monotonic()
    look_at_clock(outside, run)
    datasets: list[DatasetOutcome] = []
    copies: list[CopyOutcome] = []
    errors: list[DrtoolError] = []
    repositories = list(dict.fromkeys(estate.datasets[name].repository for name in names))
    for repository in repositories:
        wanted = [name for name in names if estate.datasets[name].repository == repository]
        try:
            with outside.locks.hold(repository, run=run, wait=wait):
                done = _RepositoryRun(run=run, name=repository, estate=estate, outside=outside, safety=safety).back_up(
                    wanted
                )
            datasets += done[0]
            copies += done[1]
        except DrtoolError as error:
            errors.append(error)
            outside.evidence.append(run, "backup.failed", {"repository": repository, "error": type(error).__name__})
            datasets += [failed(name, error) for name in wanted]
    if len(errors) == len(repositories):
        raise errors[0]
    return RunOutcome(
        run=run,
        outcome=_overall(datasets, copies),
        seconds=outside.clock.monotonic() - start,
        datasets=tuple(datasets),
        copies=tuple(copies),
    )


def _require_programs(names: Sequence[str], outside: Outside) -> None:
    """Raises ``ProgramMissing`` where it stops every dataset; what stops only some is said of those."""
    missing = []
    for name in names:
        try:
            outside.databases.check_programs(name)
        except ProgramMissing as error:
            missing.append(error)
    if names and len(missing) == len(names):
        raise missing[0]


def _overall(datasets: Sequence[DatasetOutcome], copies: Sequence[CopyOutcome]) -> Outcome:
    """Failed if no dataset was backed up; else done only if every dataset and every copy is."""
    saved = worst([one.outcome for one in datasets])
    return saved if saved is Outcome.FAILED else worst([saved, *(one.outcome for one in copies)])


def plan_backup(estate: Estate, names: Sequence[str], outside: Outside) -> tuple[RepositoryPlan, ...]:
    """The plan that ``back_up`` would follow; nothing is written."""
    plans = []
    for repository in dict.fromkeys(estate.datasets[name].repository for name in names):
        recorded = outside.evidence.recorded(repository)
        stock = take_stock(repository, outside.copies[repository], outside.evidence)
        require_one(repository, stock, recorded)
        plan = plan_replication(stock.present, recorded=recorded, altered=stock.altered)
        plans.append(
            RepositoryPlan(
                repository=repository,
                datasets=tuple(name for name in names if estate.datasets[name].repository == repository),
                writer=next((name for name in stock.present if not plan.damage(name) & plan.unhealable), None),
                unreached={name: facts.reason for name, facts in stock.facts.items() if not facts.reached},
                sends=plan.sends,
                lost=plan.lost,
            )
        )
    return tuple(plans)


@dataclass(frozen=True, slots=True, kw_only=True)
class _RepositoryRun:
    """One run's work on one repository."""

    run: str
    name: str
    estate: Estate
    outside: Outside
    safety: bool = False

    def back_up(self, names: Sequence[str]) -> tuple[list[DatasetOutcome], list[CopyOutcome]]:
        copies = self.outside.copies[self.name]
        finish_pruning(self.name, self.run, self.outside, give_up=True)
        recorded = self.outside.evidence.recorded(self.name)
        unfinished = self.outside.evidence.unfinished(self.name)
        self._record("backup.started", {"datasets": list(names)})
        self.outside.show.phase(f"looking at the copies of {self.name}")
        ledger = Ledger()
        with ThreadPoolExecutor(1, thread_name_prefix="look") as pool:
            first = None if unfinished else self._first_if_whole(recorded)
            looking = pool.submit(self._look, first, ledger)
            seen = first or looking.result()
            require_one(self.name, seen, recorded)
            replication = Replication(
                copies,
                seen.config_sha256,
                ledger=ledger,
                watch=self.outside.show.progress,
                report=self._report_damage,
            )
            writing = Writing(
                run=self.run,
                repository=self.name,
                estate=self.estate,
                outside=self.outside,
                replication=replication,
                whole=first.present if first else {},
                looking=looking,
                recorded=recorded,
                catalog=self.outside.evidence.catalog(self.name),
                unfinished=unfinished,
                safety=self.safety,
            )
            self.outside.evidence.record_unfinished(self.name, True)
            outcomes = writing.write(names)
        with ThreadPoolExecutor(1, thread_name_prefix="catalog") as pool:
            listing = pool.submit(self._new_snapshots, writing)  # restic opens the repository meanwhile
            settled = self._replicate(writing)
            final = self._final_stock(settled)
            snapshots = listing.result()

        outcomes = [_proven(outcome, snapshots, final) for outcome in outcomes]
        done = _copies_done(self.name, writing.stock, settled, final, writing)
        self._remember(settled, final, snapshots, done, writing)
        done = [self._protected(one, final) for one in done]
        # a copy that was not seen may have lost what the unfinished run wrote to it
        self.outside.evidence.record_unfinished(self.name, len(final.present) < len(copies) and writing.unfinished)
        self._record("backup.finished", _evidence_of(outcomes, done))
        return [one for one in outcomes if one.dataset != ESTATE or one.outcome is not Outcome.DONE], done

    def _first_if_whole(self, recorded: Mapping[str, Inventory]) -> Stock | None:
        """The first copy, if it is near and holds exactly what the record says that all copies hold.

        Then restic can begin at once, while the others are looked at.
        """
        first = self.outside.copies[self.name][0]
        if not first.local or first.name not in recorded:
            return None
        stock = take_stock(self.name, [first], self.outside.evidence)
        whole = stock.present.get(first.name) == recorded[first.name] and not stock.altered
        most = all(held.keys() <= recorded[first.name].keys() for held in recorded.values())
        if not whole or not most or stock.facts[first.name].locks or stock.facts[first.name].retained:
            return None
        try:
            self._clear(first)
        except CopyTrouble:
            return None  # the look at all copies will meet it again, and enter it
        return stock

    def _look(self, first: Stock | None, ledger: Ledger) -> Stock:
        """All copies, cleared of what killed runs left behind half-written."""
        copies, seen = self.outside.copies[self.name], first.facts if first else {}
        stock = take_stock(self.name, copies, self.outside.evidence, seen=seen)
        for copy in (one for one in copies if one.name in stock.present and one.name not in seen):
            try:
                self._clear(copy)
            except CopyTrouble as trouble:
                with ledger.lock:
                    ledger.out[copy.name] = trouble
        return stock

    def _clear(self, copy: Copy) -> None:
        copy.sweep()
        ensure_probed(self.name, copy, self.outside)

    def _replicate(self, writing: Writing) -> Settled:
        """Bring every other copy up to what was written, and the writers up to what the others had."""
        self.outside.show.phase("replicating")
        after = take_stock(self.name, writing.writers, self.outside.evidence, fully=False)
        removed = self.outside.evidence.removed(self.name).keys()
        before = {name: facts.without_removed(removed) for name, facts in writing.stock.facts.items()}
        facts = {name: after.facts.get(name, facts) for name, facts in before.items()}
        self._record(
            "replication.started",
            {"writers": [copy.name for copy in writing.writers], "copies": _states(writing.stock)},
        )
        settled = writing.replication.settle(
            replace(writing.stock, facts=facts),
            writing.recorded,
            targets=frozenset(copy.name for copy in writing.writers) if self.safety else None,
            removed=frozenset(writing.accepted),
        )
        stored = {name: len(keys) for name, keys in writing.replication.ledger.stored.items()}
        self._record("replication.finished", {"stored": stored, "unhealable": len(settled.plan.unhealable)})
        return settled

    def _final_stock(self, settled: Settled) -> Stock:
        """Names and sizes of every object in every copy, read anew: verification level L0."""
        self.outside.show.phase("comparing the copies")
        reached = [copy for copy in self.outside.copies[self.name] if copy.name in settled.present]
        return take_stock(self.name, reached, self.outside.evidence, fully=False)

    def _new_snapshots(self, writing: Writing) -> Mapping[str, Snapshot]:
        """The snapshots of this run by id. restic is only asked where a tree is not known already."""
        known = {
            summary.snapshot: replace(
                writing.parents[name], id=summary.snapshot, time=summary.started, run=self.run,
                tags=writing.tags[name], files=summary.files, bytes=summary.bytes,
            )
            for name, summary in writing.summaries.items()
            if name in writing.parents
        }  # fmt: skip
        if len(known) == len(writing.summaries):
            return known
        gone = writing.replication.ledger.gone()
        for copy in (one for one in writing.writers if one.name not in gone):
            try:
                listed = self.outside.restic(self.name).snapshots(copy, tag=f"run:{self.run}")
            except DrtoolError:
                continue  # a writer that broke; what it wrote is not proven
            known |= {snapshot.id: snapshot for snapshot in listed}
        return known

    def _remember(
        self,
        settled: Settled,
        final: Stock,
        snapshots: Mapping[str, Snapshot],
        done: Sequence[CopyOutcome],
        writing: Writing,
    ) -> None:
        evidence, now = self.outside.evidence, self.outside.clock.now()
        for marker in (facts.marker for facts in final.facts.values() if facts.marker):
            evidence.record_repository_id(self.name, marker.repository_id)
        for name, held in final.present.items():
            plan, before = settled.plan, evidence.recorded(self.name).get(name, EMPTY)
            stored = writing.replication.ledger.stored.get(name, set())
            doubted = newly_doubted(writing.recorded.get(name, EMPTY), before) - stored
            altered = plan.altered.get(name, frozenset()) | doubted
            evidence.record(self.name, name, to_remember(held, before, plan.lost.get(name, ()), altered))
            evidence.record_readings(self.name, name, {}, gone=stored)
        for copy in done:
            if copy.agrees and len(final.present) >= min(2, len(done)):
                evidence.record_verified(self.name, copy.copy, Verified(level="L0", at=now))
        held_somewhere = {key for held in final.present.values() for key in held}
        evidence.record_snapshots(
            self.name, [one for one in snapshots.values() if key_of_snapshot(one.id) in held_somewhere]
        )

    def _protected(self, done: CopyOutcome, final: Stock) -> CopyOutcome:
        """The copy with its objects locked, where that was promised; what prevents it does not undo the backup."""
        promise = self.estate.repositories[self.name].copies[done.copy].locks
        if promise is None or done.copy not in final.present:
            return done
        self.outside.show.phase(f"locking what {done.copy} holds")
        copy = next(copy for copy in self.outside.copies[self.name] if copy.name == done.copy)
        work = Protecting(run=self.run, repository=self.name, copy=copy, promise=promise, outside=self.outside)
        try:
            work.protect(final.present[done.copy])
        except CopyTrouble as trouble:
            self._record("protection.failed", {"copy": done.copy, "error": type(trouble).__name__})
            return _unprotected(done, trouble)
        return done

    def _report_damage(self, copy: str, keys: frozenset[str]) -> None:
        """Recorded before it is healed, so that it is known of even if this run is killed."""
        self._record("anomaly.damage", {"copy": copy, "objects": by_kind(keys)})

    def _record(self, kind: str, body: Mapping[str, Any]) -> None:
        self.outside.evidence.append(self.run, kind, {"repository": self.name, **body})


def _proven(outcome: DatasetOutcome, snapshots: Mapping[str, Snapshot], final: Stock) -> DatasetOutcome:
    """With its tree, if the snapshot is there to be seen in a copy; else failed, whatever restic said."""
    if outcome.snapshot is None:
        return outcome
    if not any(key_of_snapshot(outcome.snapshot) in held for held in final.present.values()):
        return replace(outcome, outcome=Outcome.FAILED, reason="its snapshot is in no copy that can be reached")
    found = snapshots.get(outcome.snapshot)
    return replace(outcome, tree=found.tree if found else outcome.tree)


def _copies_done(repository: str, before: Stock, settled: Settled, final: Stock, writing: Writing) -> list[CopyOutcome]:
    agrees = agreeing(final.present)
    return [
        _copy_done(repository, facts, agrees.get(name, False), settled, final, writing)
        for name, facts in before.facts.items()
    ]


def _copy_done(
    repository: str, facts: CopyFacts, agrees: bool, settled: Settled, final: Stock, writing: Writing
) -> CopyOutcome:
    ledger, name = writing.replication.ledger, facts.copy
    stored, held = ledger.stored.get(name, set()), final.present.get(name, EMPTY)
    trouble = ledger.out.get(name)
    damage = settled.plan.damage(name) | (settled.damage.get(name, frozenset()) - stored)
    reason = trouble.message if trouble else facts.reason
    if not reason and damage:
        reason = f"{len(damage)} objects are lost or altered, and no copy holds them intact"
    if facts.absent:
        outcome = Outcome.ABSENT
    elif not facts.reached or (trouble and not stored and name not in final.present):
        outcome = Outcome.FAILED
    else:
        outcome = Outcome.DONE if agrees and not trouble and not damage else Outcome.INCOMPLETE
    return CopyOutcome(
        repository=repository,
        copy=name,
        outcome=outcome,
        wrote=any(copy.name == name for copy in writing.writers),
        sent_objects=len(stored),
        sent_bytes=sum(held.get(key, 0) for key in stored),
        healed=len(settled.damage.get(name, frozenset()) & stored),
        agrees=agrees and not damage,
        reason=reason,
        hint=trouble.hint if trouble else facts.hint,
    )


def _unprotected(done: CopyOutcome, trouble: CopyTrouble) -> CopyOutcome:
    outcome = Outcome.INCOMPLETE if done.outcome is Outcome.DONE else done.outcome
    reason = "; ".join(filter(None, (done.reason, f"not all of it is locked: {trouble.message}")))
    return replace(done, outcome=outcome, reason=reason, hint=done.hint or trouble.hint)


def _evidence_of(outcomes: Sequence[DatasetOutcome], copies: Sequence[CopyOutcome]) -> dict[str, Any]:
    """Figures only: no path, no message that could hold one (TOM-1)."""
    return {
        "datasets": [
            {"dataset": one.dataset, "outcome": one.outcome, "snapshot": one.snapshot, "tree": one.tree,
             "files": one.files, "bytes": one.bytes, "added_bytes": one.added_bytes, "seconds": round(one.seconds, 3)}
            for one in outcomes
        ],
        "copies": [
            {"copy": one.copy, "outcome": one.outcome, "wrote": one.wrote, "agrees": one.agrees,
             "sent_objects": one.sent_objects, "sent_bytes": one.sent_bytes, "healed": one.healed}
            for one in copies
        ],
    }  # fmt: skip


def _states(stock: Stock) -> dict[str, str]:
    return {name: "absent" if facts.absent else str(facts.reached) for name, facts in stock.facts.items()}
