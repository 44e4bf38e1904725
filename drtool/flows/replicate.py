"""Bring objects from copy to copy: by plan, stage after stage, or streaming while restic still writes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue

from drtool.core.objects import Inventory, Plan, Send, plan_replication
from drtool.core.ports import Copy, Progress
from drtool.errors import CopyAbsent, CopyTrouble, CopyUnreachable, DrtoolError, ObjectAltered, ObjectMissing
from drtool.flows.take_stock import Stock, expected_digest

WORKERS = 4  # objects under way at once; more does not help on two cores
BATCH = 256  # sends handed to the workers at once, so that memory does not grow with the plan
POLL = 0.5  # seconds between two looks for finished packs
SHARE = 20  # a look may take one part in so many of the time, which matters where it is a long listing
IDLE = 19  # the lowest priority: what streams ahead uses the processor time that restic leaves
ROUNDS = 3  # plans made anew because something was found altered or a copy fell out


@dataclass(slots=True)
class Ledger:
    """What came of the sends so far. Shared by the workers, under its own lock."""

    stored: dict[str, set[str]] = field(default_factory=dict)
    altered: dict[str, set[str]] = field(default_factory=dict)
    out: dict[str, CopyTrouble] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def gone(self) -> set[str]:
        """The copies that cannot even be read; one that is full, read-only or not fit to be written to can."""
        with self.lock:
            lost = {name for name, trouble in self.out.items() if isinstance(trouble, CopyUnreachable | CopyAbsent)}
            return lost | self.unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """How far the copies could be made equal. ``present`` is what they hold now, as far as is known.

    ``damage`` is all that the run found lost or altered, healed or not; ``plan`` is what remains to do.
    """

    present: Mapping[str, Inventory]
    plan: Plan
    damage: Mapping[str, frozenset[str]]


class Replication:
    """The sends of one run between the copies of one repository.

    ``report`` is told of lost and altered objects, by copy, before anything is done about them.
    """

    def __init__(
        self,
        copies: Iterable[Copy],
        config_sha256: str,
        *,
        ledger: Ledger | None = None,
        watch: Callable[[Progress], None],
        report: Callable[[str, frozenset[str]], None],
    ) -> None:
        self.ledger = ledger or Ledger()
        self._damage: dict[str, frozenset[str]] = {}
        self._copies = {copy.name: copy for copy in copies}
        self._config_sha256, self._watch, self._report = config_sha256, watch, report

    def settle(
        self,
        stock: Stock,
        recorded: Mapping[str, Inventory],
        *,
        targets: frozenset[str] | None = None,
        removed: frozenset[str] = frozenset(),
    ) -> Settled:
        """Plan and act until nothing is left that could be sent (to ``targets``, if given)."""
        present = {name: dict(held) for name, held in stock.present.items()}
        altered = {name: set(keys) for name, keys in stock.altered.items()}
        for _ in range(ROUNDS):
            self._enter(present, altered)
            plan = self._plan(present, recorded, altered, removed)
            sends = [send for send in plan.sends if self._wanted(send, targets)]
            if self._act(sends):
                break
        self._enter(present, altered)
        plan = self._plan(present, recorded, altered, removed)
        return Settled(present=present, plan=plan, damage=dict(self._damage))

    @contextmanager
    def streaming(self, writer: Copy, targets: Callable[[], Collection[str]]) -> Iterator[None]:
        """While this is open, packs finished in ``writer`` go to ``targets``; what is left over is for the plan.

        ``targets`` is asked once, beside what happens meanwhile, since it may have to wait for a distant copy.
        """
        found: SimpleQueue[Send | None] = SimpleQueue()
        done = threading.Event()
        _quietly(writer.newcomers)
        threads = [threading.Thread(target=self._find, args=(writer, targets, found, done), daemon=True)]
        threads += [threading.Thread(target=self._carry, args=(found, done), daemon=True) for _ in range(WORKERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            done.set()
            for _ in threads:
                found.put(None)
            for thread in threads:
                thread.join()

    def _find(
        self,
        writer: Copy,
        targets: Callable[[], Collection[str]],
        found: SimpleQueue[Send | None],
        done: threading.Event,
    ) -> None:
        pause, wanted = POLL, [name for name in _quietly(targets) if name != writer.name]
        while wanted and not done.wait(pause):
            begin = time.monotonic()
            for key in _quietly(writer.newcomers):
                for target in wanted:
                    found.put(Send(key=key, size=0, source=writer.name, target=target))
            pause = max(POLL, SHARE * (time.monotonic() - begin))

    def _carry(self, found: SimpleQueue[Send | None], done: threading.Event) -> None:
        """Only this thread gives way (on Linux each has a priority of its own): restic sets the pace."""
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), IDLE)
        while (send := found.get()) and not done.is_set():
            self._send(send)

    def _act(self, sends: Sequence[Send]) -> bool:
        """All sends, stage after stage. A target that missed one object gets nothing of a later stage.

        True when there is nothing to plan anew.
        """
        missed: set[str] = set()
        total, done = sum(send.size for send in sends), 0
        with _workers() as pool:
            for stage in Plan(sends=tuple(sends)).stages():
                due = [send for send in stage if send.target not in missed]
                for batch in (due[start : start + BATCH] for start in range(0, len(due), BATCH)):
                    for send, stored in zip(batch, pool.map(self._send, batch), strict=True):
                        done += send.size
                        self._watch(Progress(done=done, total=total))
                        if not stored:
                            missed.add(send.target)
        return not missed

    def _send(self, send: Send) -> bool:
        """One object; what goes wrong is entered in the ledger."""
        if send.target in self.ledger.out or send.source in self.ledger.gone():
            return False
        source, target = self._copies[send.source], self._copies[send.target]
        try:
            target.put(send.key, lambda: source.open(send.key), expected_digest(send.key, self._config_sha256))
        except (ObjectAltered, ObjectMissing):
            with self.ledger.lock:
                self.ledger.altered.setdefault(send.source, set()).add(send.key)
            return False
        except CopyTrouble as trouble:
            with self.ledger.lock:
                self.ledger.out.setdefault(trouble.copy, trouble)
                if trouble.copy == send.source:
                    self.ledger.unreadable.add(send.source)
            return False
        with self.ledger.lock:
            self.ledger.stored.setdefault(send.target, set()).add(send.key)
        return True

    def _wanted(self, send: Send, targets: frozenset[str] | None) -> bool:
        return send.target not in self.ledger.out and (targets is None or send.target in targets)

    def _plan(
        self,
        present: Mapping[str, Inventory],
        recorded: Mapping[str, Inventory],
        altered: Mapping[str, set[str]],
        removed: frozenset[str],
    ) -> Plan:
        doubtful = {name: frozenset(keys) for name, keys in altered.items() if keys}
        plan = plan_replication(present, recorded=recorded, altered=doubtful, removed=removed)
        for name in present:
            known = self._damage.get(name, frozenset())
            if new := plan.damage(name) - known:
                self._report(name, new)
                self._damage[name] = known | new
        return plan

    def _enter(self, present: dict[str, dict[str, int]], altered: dict[str, set[str]]) -> None:
        """What the ledger knows better than the last look at the copies."""
        sizes = {key: size for held in present.values() for key, size in held.items()}
        for name in self.ledger.gone():
            present.pop(name, None)
        with self.ledger.lock:  # streaming may be under way
            found = {name: set(keys) for name, keys in self.ledger.altered.items()}
            brought = {name: set(keys) for name, keys in self.ledger.stored.items()}
        for name, keys in found.items():
            altered.setdefault(name, set()).update(keys)
        for name, keys in brought.items():
            altered.get(name, set()).difference_update(keys)
            if name in present:
                present[name].update((key, sizes[key]) for key in keys if key in sizes)


@contextmanager
def _workers() -> Iterator[ThreadPoolExecutor]:
    """A pool that drops what it has not begun when it is left by an exception such as Ctrl-C."""
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="send")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _quietly(look: Callable[[], Collection[str]]) -> Collection[str]:
    """Streaming is only ahead of the plan: what fails here is made up for by the inventory."""
    try:
        return look()
    except DrtoolError:
        return ()
