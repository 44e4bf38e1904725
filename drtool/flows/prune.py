"""Apply retention: restic removes from one copy, the names are recorded, the other copies follow in their time.

Whatever kills it, the next run of any kind finishes it first (``finish_pruning``) or brings everything back.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from drtool.core.model import (
    ESTATE,
    ClockSeen,
    Kept,
    Outcome,
    PrunedRepository,
    PruneOutcome,
    PrunePlan,
    Pruning,
    Snapshot,
    worst,
)
from drtool.core.objects import (
    EMPTY,
    KINDS,
    Inventory,
    agreeing,
    by_kind,
    key_of_snapshot,
    kind_of,
    newly_doubted,
    plan_replication,
    to_remember,
    total,
)
from drtool.core.ports import Copy
from drtool.core.retention import ahead_of, freezing, held_snapshots, judge_retention, see_clock
from drtool.documents.estate import Copy as CopyDocument
from drtool.documents.estate import Estate
from drtool.errors import CopyFull, CopyTrouble, DrtoolError
from drtool.flows.catalogue import known_snapshots
from drtool.flows.hold import list_holds
from drtool.flows.outside import Outside
from drtool.flows.replicate import Replication
from drtool.flows.take_stock import Stock, clear_locks, require_one, take_stock

NAMES = 1000  # names of removed objects in one event
CONFIRMED = "prune.confirmed"  # somebody said that nothing is forgotten and that the clock is right
NOTHING_KEPT = timedelta(0)


def plan_prune(estate: Estate, outside: Outside, *, clock_is_right: bool = False) -> tuple[PrunePlan, ...]:
    """The plan that ``prune`` would follow; nothing is removed."""
    clock = _clock(outside, clock_is_right)
    return tuple(_plan(estate, repository, clock, outside)[0] for repository in estate.repositories)


def prune(estate: Estate, outside: Outside, *, wait: float, clock_is_right: bool = False) -> PruneOutcome:
    """Remove what retention does not keep. One repository's trouble does not stop the next."""
    run = uuid.uuid4().hex
    clock = look_at_clock(outside, run, is_right=clock_is_right)
    if clock_is_right:
        outside.evidence.append(run, CONFIRMED, {"by": outside.operator})
    done = []
    for repository in estate.repositories:
        try:
            with outside.locks.hold(repository, run=run, wait=wait):
                finish_pruning(repository, run, outside)
                if _was_cut_off(repository, outside) and not outside.evidence.unfinished(repository):
                    _replicate(repository, run, outside)
                plan, stock = _plan(estate, repository, clock, outside)
                work = _Pruning(run=run, plan=plan, estate=estate, outside=outside, wait=wait)
                done.append(work.refuse() if plan.refused else work.prune(stock))
        except DrtoolError as error:
            outside.evidence.append(run, "prune.failed", {"repository": repository, "error": type(error).__name__})
            done.append(
                PrunedRepository(repository=repository, outcome=Outcome.FAILED, reason=error.message, hint=error.hint)
            )
    return PruneOutcome(run=run, outcome=worst([one.outcome for one in done]), repositories=tuple(done))


# Deciding


def _plan(estate: Estate, repository: str, clock: ClockSeen, outside: Outside) -> tuple[PrunePlan, Stock]:
    outside.show.phase(f"looking at the copies of {repository}")
    stock = take_stock(repository, outside.copies[repository], outside.evidence)
    require_one(repository, stock, outside.evidence.recorded(repository))
    snapshots = known_snapshots(repository, outside, stock.present)
    holds = list_holds(outside)
    plan = PrunePlan(
        repository=repository,
        copy=_first_to_remove_from(estate, repository, outside),
        snapshots=_judge(estate, snapshots, held_snapshots(holds)),
        due=_due(estate, repository, stock, outside),
    )
    if hold := freezing(holds, repository):
        return replace(
            plan,
            refused=f"hold {hold.id} is set by {hold.by}: {hold.reason}",
            hint=f"drtool hold release {hold.id} --reason …",
        ), stock
    refused, hint = (
        _wrong_clock(clock, snapshots, outside)
        or _forgotten(repository, snapshots, outside)
        or _nowhere_to_begin(plan, stock)
        or _unhealthy(plan, stock, outside)
        or ("", "")
    )
    return replace(plan, refused=refused, hint=hint), stock


def _judge(estate: Estate, snapshots: Sequence[Snapshot], held: Mapping[str, str]) -> tuple[Kept, ...]:
    """Every snapshot, dataset by dataset. What the estate does not know (any more) stays."""
    judged: list[Kept] = []
    for name in dict.fromkeys(one.dataset for one in snapshots):
        own = [one for one in snapshots if one.dataset == name]
        if name in estate.datasets:
            judged += judge_retention(own, estate.datasets[name].retention, held=held)
        else:
            why = "the estate's own documents stay" if name == ESTATE else "its dataset is not in the estate"
            judged += [Kept(snapshot=one, reasons=(why,)) for one in reversed(own)]
    return tuple(judged)


def _first_to_remove_from(estate: Estate, repository: str, outside: Outside) -> str:
    """restic removes at once, so it must be a copy that need not and does not keep it; a near one is faster."""
    documents = estate.repositories[repository].copies
    copies = [
        copy
        for copy in outside.copies[repository]
        if not documents[copy.name].keep_removed and not documents[copy.name].locks
    ]
    return next((copy.name for copy in sorted(copies, key=lambda copy: not copy.local)), "")


def _due(estate: Estate, repository: str, stock: Stock, outside: Outside) -> Mapping[str, frozenset[str]]:
    """What each copy has kept for long enough, and may give up: locks are asked for where they are promised."""
    now, removed = outside.clock.now(), outside.evidence.removed(repository)
    held = held_snapshots(list_holds(outside))
    documents = estate.repositories[repository].copies
    due: dict[str, frozenset[str]] = {}
    for copy in (one for one in outside.copies[repository] if one.name in stock.present):
        document = documents[copy.name]
        retained = stock.facts[copy.name].retained
        if any(key_of_snapshot(one) in retained for one in held):
            continue  # what a held snapshot needs is among what is retained
        keys = {key for key in retained if now - removed[key] >= _kept_for(document)}
        if keys and document.locks:
            keys = _unlocked(copy, keys, now)
        if keys:
            due[copy.name] = frozenset(keys)
    return due


def _unlocked(copy: Copy, keys: Collection[str], now: datetime) -> set[str]:
    """Those without a lock of any mode; none where the bucket does not tell whether it locks."""
    if copy.lock_settings().object_lock is None:
        return set()
    ends = copy.protected_until(sorted(keys))
    return {key for key in keys if key not in ends or ends[key] <= now}


def _kept_for(document: CopyDocument) -> timedelta:
    return document.keep_removed or NOTHING_KEPT


def _wrong_clock(clock: ClockSeen, snapshots: Sequence[Snapshot], outside: Outside) -> tuple[str, str] | None:
    if clock.trouble:
        return clock.trouble, "look at the clock of this machine; where it is right: drtool prune --yes"
    if ahead := ahead_of(outside.clock.now(), snapshots):
        return (
            f"snapshot {ahead.id[:8]} of {ahead.dataset} is of {ahead.time:%Y-%m-%d %H:%M} UTC, which is yet to come",
            "look at the clock of this machine, and who made this snapshot",
        )
    return None


def _forgotten(repository: str, snapshots: Sequence[Snapshot], outside: Outside) -> tuple[str, str] | None:
    """Holds are only known from the evidence: where that is younger than the oldest snapshot, some may be lost."""
    evidence = outside.evidence
    oldest = min(snapshots, key=lambda one: one.time, default=None)
    if oldest is None or any(True for _ in evidence.events(kind=CONFIRMED)):
        return None
    if oldest.run and any(True for _ in evidence.events(run=oldest.run)):
        return None
    return (
        f"the evidence does not reach back to the oldest snapshot of {repository}, so that holds may be forgotten",
        "drtool hold set what must stay, then: drtool prune --yes",
    )


def _nowhere_to_begin(plan: PrunePlan, stock: Stock) -> tuple[str, str] | None:
    """Why restic, which removes at once, cannot do so; and where it also writes first, nothing must be kept."""
    if not plan.copy:
        return (
            "every copy keeps what is removed (`keep_removed`, `immutability`), and restic removes at once",
            "leave both out at one copy",
        )
    first = next(iter(stock.facts))
    if first != plan.copy and stock.facts[first].retained:
        return (
            f"copy {first} keeps what is removed, and restic writes to it first",
            f"name {plan.copy} first in the estate",
        )
    return None


def _unhealthy(plan: PrunePlan, stock: Stock, outside: Outside) -> tuple[str, str] | None:
    """Why the copies are not fit for removal: what one of them lacks may be needed from another."""
    repository = plan.repository
    for name, facts in stock.facts.items():
        if not facts.reached:
            return facts.reason or f"copy {name} cannot be reached", facts.hint or "drtool copies list"
    if outside.evidence.unfinished(repository):
        return "the last backup did not live to its end", "drtool backup"
    recorded = outside.evidence.recorded(repository)
    state = plan_replication(stock.present, recorded=recorded, altered=stock.altered)
    for name, agrees in agreeing(stock.sound).items():
        if damage := state.damage(name):
            return f"copy {name} has {len(damage)} objects lost or altered", "drtool heal"
        if not agrees:
            return f"copy {name} is behind", "drtool backup"
    return None


# Doing


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pruning:
    """The removal from one repository, whose copies were found equal and sound."""

    run: str
    plan: PrunePlan
    estate: Estate
    outside: Outside
    wait: float

    def refuse(self) -> PrunedRepository:
        self._record("prune.refused", {"snapshots": len(self.plan.going)})  # the reason may name a path
        return PrunedRepository(
            repository=self._name, outcome=Outcome.FAILED, reason=self.plan.refused, hint=self.plan.hint
        )

    def prune(self, stock: Stock) -> PrunedRepository:
        going = frozenset(one.id for one in self.plan.going)
        self._record("prune.started", {"copy": self.plan.copy, "snapshots": sorted(going), "by": self.outside.operator})
        began = self.outside.evidence.recorded(self._name)
        size, gone = total(stock.present[self.plan.copy]), frozenset[str]()
        if going:
            gone = self._remove_snapshots(stock, going, began)
        stock = _replicate(self._name, self.run, self.outside)
        self._follow(stock)
        final = take_stock(self._name, self._copies, self.outside.evidence, fully=False)
        self._remember(final, began)
        self._forget_removed(final)
        freed = size - total(final.present.get(self.plan.copy, EMPTY))
        done = replace(self._outcome(stock, final, going), objects=len(gone), bytes=freed)
        self._record(
            "prune.finished",
            {"snapshots": done.snapshots, "objects": done.objects, "bytes": done.bytes, "copies": dict(done.copies),
             "retained": dict(done.retained), "outcome": done.outcome},
        )  # fmt: skip
        return done

    def _remove_snapshots(self, stock: Stock, going: frozenset[str], began: Mapping[str, Inventory]) -> frozenset[str]:
        """By restic, from one copy; what is gone then."""
        copy = next(copy for copy in self._copies if copy.name == self.plan.copy)
        restic = self.outside.restic(self._name)
        repack = self._has_room(copy)
        if stock.facts[copy.name].locks:
            clear_locks(copy, restic, self.outside.clock)
        self._remember(stock, began)  # against which it is told what restic removed
        self.outside.evidence.record_pruning(self._name, Pruning(copy=copy.name, snapshots=going))
        self.outside.show.phase(f"removing {len(going)} snapshots from {copy.name}")
        with self.outside.locks.hold(structure_lock(self._name), run=self.run, wait=self.wait):
            restic.forget(copy, going, repack=repack)
            return finish_pruning(self._name, self.run, self.outside)

    def _has_room(self, copy: Copy) -> bool:
        """A full disk is a reason to prune, and no obstacle: what is not needed at all can go without any room."""
        try:
            copy.check_room()
        except CopyFull as full:
            self.outside.show.note(f"{full.message}; only what is not needed at all goes")
            return False
        return True

    def _follow(self, stock: Stock) -> None:
        """The other copies remove what they have kept for long enough, if they hold all that replaced it."""
        agrees = agreeing(stock.present)
        for name, keys in _due(self.estate, self._name, stock, self.outside).items():
            copy = next(copy for copy in self._copies if copy.name == name)
            if agrees.get(name):
                self.outside.show.phase(f"removing {len(keys)} objects from {name}")
                try:
                    _remove_in_order(copy, keys)
                except CopyTrouble as trouble:
                    self.outside.show.note(trouble.message)

    def _remember(self, final: Stock, began: Mapping[str, Inventory]) -> None:
        """What the copies hold now; what a check found altered meanwhile stays said."""
        recorded = self.outside.evidence.recorded(self._name)
        for name, held in final.present.items():
            doubted = newly_doubted(began.get(name, EMPTY), recorded.get(name, EMPTY)) & held.keys()
            self.outside.evidence.record(self._name, name, to_remember(held, EMPTY, (), doubted))

    def _forget_removed(self, final: Stock) -> None:
        """What no copy keeps any more need not be remembered."""
        if len(final.present) == len(self._copies):
            retained = {key for facts in final.facts.values() for key in facts.retained}
            removed = self.outside.evidence.removed(self._name)
            self.outside.evidence.forget_removed(self._name, [key for key in removed if key not in retained])

    def _outcome(self, before: Stock, final: Stock, going: frozenset[str]) -> PrunedRepository:
        left = [key for key in map(key_of_snapshot, going) if any(key in held for held in final.present.values())]
        overdue = _due(self.estate, self._name, final, self.outside)
        differing = [name for name, agrees in agreeing(final.present).items() if not agrees]
        missing = [name for name in before.facts if name not in final.present]
        reason = ""
        if left:
            reason = f"restic left {len(left)} of {len(going)} snapshots in place"
        elif differing or missing:
            reason = f"copy {(missing + differing)[0]} could not be brought up to date"
        elif overdue:
            reason = f"copy {min(overdue)} still keeps {len(overdue[min(overdue)])} objects that it need not keep"
        return PrunedRepository(
            repository=self._name,
            outcome=Outcome.INCOMPLETE if reason else Outcome.DONE,
            snapshots=len(going) - len(left),
            copies={
                name: len(before.facts[name].retained) - len(facts.retained) for name, facts in final.facts.items()
            },
            retained={name: len(facts.retained) for name, facts in final.facts.items()},
            reason=reason,
            hint="drtool prune" if reason else "",
        )

    @property
    def _name(self) -> str:
        return self.plan.repository

    @property
    def _copies(self) -> tuple[Copy, ...]:
        return self.outside.copies[self._name]

    def _record(self, kind: str, body: Mapping[str, Any]) -> None:
        self.outside.evidence.append(self.run, kind, {"repository": self._name, **body})


def structure_lock(repository: str) -> str:
    """What restic's check and restic's prune hold against one another: the one would miss what the other moves."""
    return f"{repository}.structure"


def _replicate(repository: str, run: str, outside: Outside) -> Stock:
    """What restic packed anew goes to the other copies, before anything is removed there."""

    def report(copy: str, keys: frozenset[str]) -> None:
        outside.evidence.append(
            run, "anomaly.damage", {"repository": repository, "copy": copy, "objects": by_kind(keys)}
        )

    outside.show.phase("replicating")
    copies = outside.copies[repository]
    stock = take_stock(repository, copies, outside.evidence, fully=False)
    replication = Replication(copies, stock.config_sha256, watch=outside.show.progress, report=report)
    replication.settle(stock, outside.evidence.recorded(repository))
    return take_stock(repository, copies, outside.evidence, fully=False)


def _was_cut_off(repository: str, outside: Outside) -> bool:
    """Whether the last prune of the repository did not live to its end."""
    own = (event for event in outside.evidence.events(kind="prune.started") if event.body["repository"] == repository)
    last = deque(own, maxlen=1)
    return bool(last) and not any(event.kind == "prune.finished" for event in outside.evidence.events(run=last[0].run))


def _remove_in_order(copy: Copy, keys: Collection[str]) -> None:
    """What refers to others first, so that the copy is a valid repository at every moment."""
    for kind in reversed(KINDS):
        if due := sorted(key for key in keys if kind_of(key) == kind):
            copy.remove(due)


def finish_pruning(repository: str, run: str, outside: Outside, *, give_up: bool = False) -> frozenset[str]:
    """Record what restic removed, after it has ended or was killed; the names of what is gone.

    Where the copy is away it can only be told later; before restic writes to another copy, and may build there on what
    was to go, ``give_up``: what is gone then comes back from the others.

    Only what was to go, and what restic's own check does not miss, counts as removed: the names are recorded before any
    other copy removes anything. If more is gone, it was not retention's doing, and the other copies bring it back.
    """
    evidence, pending = outside.evidence, outside.evidence.pruning(repository)
    if pending is None:
        return frozenset()
    copies = [copy for copy in outside.copies[repository] if copy.name == pending.copy]
    stock = take_stock(repository, copies, evidence, fully=False)
    if pending.copy not in stock.present:
        if give_up:
            evidence.append(run, "prune.undone", {"repository": repository, "copy": pending.copy, "gone": None})
            evidence.record_pruning(repository, None)
        return frozenset()
    gone = evidence.recorded(repository).get(pending.copy, EMPTY).keys() - stock.present[pending.copy].keys()
    asked_for = frozenset(map(key_of_snapshot, pending.snapshots))
    unasked = [key for key in gone if kind_of(key) not in ("data", "index") and key not in asked_for]
    errors = outside.restic(repository).check(copies[0]).errors if gone and not unasked else ()
    if unasked or errors:
        evidence.append(run, "prune.undone", {"repository": repository, "copy": pending.copy, "gone": by_kind(gone)})
        evidence.record_pruning(repository, None)
        return frozenset()
    names, now = sorted(gone), outside.clock.now()
    for begin in range(0, len(names), NAMES):
        body = {"repository": repository, "copy": pending.copy, "objects": names[begin : begin + NAMES]}
        evidence.append(run, "prune.removed", body)
    evidence.record_removed(repository, names, now)
    evidence.record_pruning(repository, None)
    return frozenset(gone)


# The clock


def look_at_clock(outside: Outside, run: str, *, is_right: bool = False) -> ClockSeen:
    """Compare the clock with what nobody can set, and remember what was wrong until somebody says that it is right."""
    before = outside.evidence.clock_seen()
    seen = _clock(outside, is_right)
    if seen.trouble and not (before and before.trouble):
        outside.evidence.append(run, "anomaly.clock", {"reason": seen.trouble})
    if is_right and before and before.trouble:
        outside.evidence.append(run, "clock.confirmed", {"reason": before.trouble, "by": outside.operator})
    outside.evidence.record_clock(seen)
    return seen


def _clock(outside: Outside, is_right: bool) -> ClockSeen:
    boot, running = outside.clock.running()
    seen = see_clock(outside.evidence.clock_seen(), at=outside.clock.now(), boot=boot, running=running)
    return replace(seen, trouble="") if is_right else seen
