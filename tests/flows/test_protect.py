"""Locks are asked for where they are not known, renewed at half of their time, and read back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from drtool.adapters.evidence_store import EvidenceStore
from drtool.core.model import Immutability, LockMode, LockSettings, LocksFound
from drtool.errors import CopyRefused, CopyUnreachable
from drtool.flows.outside import Outside
from drtool.flows.protect import BATCH, SAMPLE, Protecting, read_locks
from tests.memory_copy import MemoryCopy

DAY = timedelta(days=1)
BEGIN = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
PROMISE = Immutability(days=30, mode=LockMode.COMPLIANCE)


@dataclass(kw_only=True)
class ManualClock:
    """Stands still until it is set."""

    at: datetime = BEGIN

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None: ...


@dataclass(kw_only=True)
class Nights:
    """A copy, a record and a clock, over several runs."""

    evidence: EvidenceStore
    clock: ManualClock
    copy: MemoryCopy = field(default_factory=lambda: MemoryCopy("offsite", local=False, locking=True))

    @property
    def outside(self) -> Outside:
        return cast(Outside, SimpleNamespace(clock=self.clock, evidence=self.evidence))

    def add(self, count: int, word: str = "pack") -> set[str]:
        new = {}
        for number in range(count):
            content = f"{word} {number}".encode()
            name = hashlib.sha256(content).hexdigest()
            new[f"data/{name[:2]}/{name}"] = content
        self.copy.files.update(new)
        return set(new)

    def night(self, promise: Immutability = PROMISE) -> tuple[set[str], set[str]]:
        """One run: whose locks it asked for, and which it set."""
        self.copy.asked.clear()
        self.copy.protected.clear()
        run = Protecting(run="r", repository="main", copy=self.copy, promise=promise, outside=self.outside)
        run.protect(self.copy.inventory()[0])
        return set(self.copy.asked), set(self.copy.protected)

    def read(self, declared: Immutability | None = PROMISE) -> LocksFound:
        return read_locks("main", self.copy, declared, self.copy.inventory()[0], self.outside)

    def left(self) -> timedelta:
        """How long the object stays locked that is locked shortest."""
        ends = self.copy.protected_until(list(self.copy.inventory()[0]), LockMode.COMPLIANCE)
        assert ends.keys() == self.copy.inventory()[0].keys()
        return min(ends.values()) - self.clock.now()

    def events(self, kind: str) -> list[Any]:
        return [event.body for event in self.evidence.events(kind=kind)]


@pytest.fixture
def nights(tmp_path: Path) -> Iterator[Nights]:
    clock = ManualClock()
    store = EvidenceStore(tmp_path / "evidence.db", clock)
    yield Nights(evidence=store, clock=clock)
    store.close()


def test_the_first_run_locks_every_object(nights: Nights) -> None:
    objects = nights.add(2 * BATCH + 3)
    assert nights.night() == (objects, objects)
    assert nights.left() == 30 * DAY


def test_a_quiet_night_asks_for_a_sample_only_and_sets_nothing(nights: Nights) -> None:
    nights.add(500)
    nights.night()
    nights.clock.at += DAY
    asked, renewed = nights.night()
    assert len(asked) <= SAMPLE
    assert renewed == set()


def test_a_night_with_new_objects_asks_for_those_and_a_sample(nights: Nights) -> None:
    nights.add(500)
    nights.night()
    new = nights.add(5, "new")
    asked, renewed = nights.night()
    assert renewed == new
    assert new <= asked
    assert len(asked) <= SAMPLE + len(new)


def test_what_an_upload_locked_already_is_not_locked_again(nights: Nights) -> None:
    objects = nights.add(3)
    nights.copy.protect(sorted(objects), BEGIN + 30 * DAY, LockMode.COMPLIANCE)
    assert nights.night() == (objects, set())


def test_locks_never_run_out_in_a_year_of_nights(nights: Nights) -> None:
    nights.add(20)
    least, set_in_all = timedelta.max, 0
    for day in range(365):
        if day % 30 == 0:
            nights.add(2, f"day {day}")
        set_in_all += len(nights.night()[1])
        least = min(least, nights.left())
        nights.clock.at += DAY
    assert least >= 15 * DAY
    assert set_in_all < 44 * 365 / 15 + 44  # each about every half of its time, and not every night


def test_a_lost_record_is_rebuilt_by_asking_and_not_by_locking_anew(nights: Nights, tmp_path: Path) -> None:
    objects = nights.add(300)
    nights.night()
    nights.evidence.close()
    nights.evidence = EvidenceStore(tmp_path / "new.db", nights.clock)
    assert nights.night() == (objects, set())


def test_a_record_that_a_sample_shows_to_be_wrong_is_not_believed(nights: Nights) -> None:
    """As where a bucket was replaced by another with the same objects."""
    objects = nights.add(100)
    nights.night()
    nights.copy.locked.clear()
    assert nights.night()[1] == objects
    assert nights.left() == 30 * DAY
    assert nights.events("protection.doubted")


def test_what_is_not_held_any_more_is_forgotten(nights: Nights) -> None:
    objects = nights.add(10)
    nights.night()
    gone = min(objects)
    nights.copy.remove([gone])
    nights.night()
    assert nights.evidence.protection("main", "offsite", PROMISE.mode).keys() == objects - {gone}


def test_a_stronger_mode_locks_everything_anew(nights: Nights) -> None:
    objects = nights.add(10)
    nights.night(Immutability(days=30, mode=LockMode.GOVERNANCE))
    assert nights.night()[1] == objects


def test_more_days_lengthen_the_locks(nights: Nights) -> None:
    objects = nights.add(10)
    nights.night()
    assert nights.night(Immutability(days=90, mode=LockMode.COMPLIANCE))[1] == objects
    assert nights.left() == 90 * DAY


def test_a_copy_that_cannot_lock_says_so_and_what_to_do(nights: Nights) -> None:
    nights.copy.locking = False
    nights.add(1)
    with pytest.raises(CopyRefused, match="declared immutable, but its bucket has no object lock") as raised:
        nights.night()
    assert "s3-policies.md" in raised.value.hint


def test_a_run_that_broke_off_is_not_for_nothing(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = nights.add(3 * BATCH)
    whole, calls = nights.copy.protect, []

    def breaks(keys: Any, until: datetime, mode: LockMode) -> frozenset[str]:
        calls.append(keys)
        if len(calls) == 3:
            raise CopyUnreachable("copy offsite does not answer", copy="offsite")
        return whole(keys, until, mode)

    monkeypatch.setattr(nights.copy, "protect", breaks)
    with pytest.raises(CopyUnreachable):
        nights.night()
    monkeypatch.undo()
    asked, renewed = nights.night()
    assert len(renewed) == BATCH
    assert asked >= renewed
    assert len(asked) <= SAMPLE + BATCH
    assert nights.copy.locked.keys() == objects


def test_the_evidence_holds_how_many_were_locked_and_until_when(nights: Nights) -> None:
    nights.add(3)
    nights.night()
    (body,) = nights.events("protection.renewed")
    assert body == {
        "repository": "main", "copy": "offsite", "needed": 3, "asked": 3, "due": 3, "renewed": 3,
        "mode": "compliance", "until": "2026-12-23T04:00:00.000000Z",
    }  # fmt: skip


# Reading back


def test_what_is_read_back_is_the_shortest_lock_of_the_sample(nights: Nights) -> None:
    nights.add(10)
    nights.night()
    nights.clock.at += DAY
    found = nights.read()
    assert found == LocksFound(
        declared=PROMISE,
        settings=LockSettings(versioning=True, object_lock=True),
        mode=LockMode.COMPLIANCE,
        sampled=10,
        shortest=29 * DAY,
    )


def test_a_new_object_without_a_lock_is_in_the_sample(nights: Nights) -> None:
    nights.add(500)
    nights.night()
    nights.add(1, "new")
    assert nights.read().shortest == timedelta()


def test_locks_that_nobody_declared_are_read_back_too(nights: Nights) -> None:
    nights.add(10)
    nights.night(Immutability(days=30, mode=LockMode.GOVERNANCE))
    found = nights.read(declared=None)
    assert (found.mode, found.shortest) == (LockMode.GOVERNANCE, 30 * DAY)


def test_a_copy_that_does_not_answer_is_not_known(nights: Nights) -> None:
    nights.add(1)
    held = nights.copy.inventory()[0]
    nights.copy.trouble = CopyUnreachable("copy offsite does not answer", copy="offsite")
    found = read_locks("main", nights.copy, PROMISE, held, nights.outside)
    assert (found.settings, found.reason) == (None, "copy offsite does not answer")
