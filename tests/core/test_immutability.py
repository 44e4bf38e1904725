from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drtool.core.immutability import due, renewed_below, sample
from drtool.core.media import bucket_medium
from drtool.core.model import (
    CopyState,
    CopyStatus,
    Facts,
    Finding,
    Immutability,
    LockMode,
    LockSettings,
    LocksFound,
    Verdict,
)
from drtool.core.rules import judge
from tests.core.test_rules import facts

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
DAY = timedelta(days=1)
CAN = LockSettings(versioning=True, object_lock=True)
CANNOT = LockSettings(versioning=True, object_lock=False)
PROMISE = Immutability(days=30, mode=LockMode.COMPLIANCE)
LOCKED = LocksFound(
    declared=PROMISE, settings=CAN, mode=LockMode.COMPLIANCE, sampled=16, shortest=16 * DAY + timedelta(hours=1)
)


# Which locks are renewed


def test_a_lock_is_renewed_when_half_of_its_time_is_over() -> None:
    below = renewed_below(NOW, PROMISE)
    known = {"a": NOW + 15 * DAY, "b": NOW + 15 * DAY - timedelta(seconds=1), "c": NOW - DAY, "d": NOW + 30 * DAY}
    assert due(["d", "c", "b", "a", "new"], known, below) == ("b", "c", "new")


def test_what_is_not_needed_any_more_is_not_renewed() -> None:
    assert due([], {"a": NOW}, NOW + DAY) == ()


@given(
    count=st.integers(0, 200),
    ends=st.dictionaries(st.integers(0, 200), st.integers(0, 60)),
    size=st.integers(2, 40),
    turn=st.integers(0, 10**6),
)
def test_a_sample_is_no_larger_than_asked_and_holds_what_ends_first(
    count: int, ends: dict[int, int], size: int, turn: int
) -> None:
    held = [str(number) for number in range(count)]
    known = {str(number): NOW + days * DAY for number, days in ends.items()}
    found = sample(held, known, size=size, turn=turn)
    assert set(found) <= set(held)
    assert len(found) == len(set(found)) <= size
    assert bool(found) == bool(held)
    unknown = sorted(set(held) - known.keys())
    assert set(unknown[: size // 2]) <= set(found)


def test_in_the_course_of_time_every_object_is_in_a_sample() -> None:
    held = [f"{number:03}" for number in range(100)]
    known = dict.fromkeys(held, NOW)
    assert {key for turn in range(20) for key in sample(held, known, size=16, turn=turn)} == set(held)


# The rule


@dataclass(frozen=True, kw_only=True)
class Asked:
    type: str = "immutability"
    rule: str = "nobody-can-remove-it"
    clause: str = "our own"
    days: int = 14
    mode: str = "governance"
    min: int = 1


@dataclass(frozen=True, kw_only=True)
class Document:
    rules: tuple[Asked, ...]
    policy: str = "house"


def bucket(name: str, locks: LocksFound | None = LOCKED, **more: object) -> CopyStatus:
    medium = bucket_medium(host="s3.example.net", bucket=name, provider="example-cloud")
    given = {"state": CopyState.HEALTHY, "objects": 9, "bytes": 99, "agrees": True} | more
    return CopyStatus(repository="main", copy=name, location=f"s3:{name}", medium=medium, locks=locks, **given)  # type: ignore[arg-type]


DISK = replace(bucket("disk", LocksFound(declared=None, settings=CANNOT)), location="/srv/disk")


def judged(known: Facts, **asked: object) -> Finding:
    (finding,) = judge(Document(rules=(Asked(**asked),)), known, NOW)  # type: ignore[arg-type]
    return finding


def of(**changes: object) -> Finding:
    return judged(facts(DISK, bucket("offsite", replace(LOCKED, **changes))))  # type: ignore[arg-type]


def test_a_copy_whose_objects_are_all_locked_for_long_enough_passes() -> None:
    finding = judged(facts(DISK, bucket("offsite")))
    assert (finding.verdict, finding.subject, finding.hint) == (Verdict.PASS, "shop", "")
    assert "1 of 2 copies immutable, 1 needed" in finding.reason
    assert "each of 16 sampled objects is locked for 16 d or longer (compliance)" in finding.reason


@pytest.mark.parametrize(
    ("changes", "verdict", "words", "hint"),
    [
        ({"settings": CANNOT}, Verdict.FAIL, "declared immutable, but its bucket has no object lock", "s3-policies.md"),
        ({"settings": CANNOT, "declared": None}, Verdict.FAIL, "offsite locks nothing", "s3-policies.md"),
        ({"settings": replace(CAN, object_lock=None)}, Verdict.UNKNOWN, "does not tell whether", "let the key"),
        ({"settings": None, "reason": "offsite is away"}, Verdict.UNKNOWN, "offsite is away", "copies list"),
        ({"shortest": None, "reason": "refuses: AccessDenied"}, Verdict.UNKNOWN, "AccessDenied", "copies list"),
        ({"shortest": timedelta()}, Verdict.FAIL, "not all of 16 sampled objects are locked", "`drtool backup`"),
        ({"shortest": timedelta(), "declared": None}, Verdict.FAIL, "not all of 16", "declare `immutability:"),
        ({"shortest": 5 * DAY}, Verdict.FAIL, "for 5 d or longer (compliance), 14 d are needed", "days: 30"),
        ({"shortest": 13 * DAY}, Verdict.WARN, "for 13 d or longer (compliance), 14 d are needed", "days: 30"),
        ({"shortest": 13 * DAY, "declared": None}, Verdict.FAIL, "14 d are needed", "days: 30"),
        ({"shortest": 14 * DAY, "declared": None}, Verdict.PASS, "for 14 d or longer", ""),
        ({"mode": LockMode.GOVERNANCE}, Verdict.PASS, "(governance)", ""),
    ],
)  # fmt: skip
def test_what_was_read_back_decides(changes: dict[str, object], verdict: Verdict, words: str, hint: str) -> None:
    finding = of(**changes)
    assert finding.verdict is verdict, finding
    assert words in finding.reason
    assert hint in finding.hint


def test_a_lock_that_some_can_end_is_not_enough_where_nobody_may() -> None:
    finding = judged(facts(bucket("offsite", replace(LOCKED, mode=LockMode.GOVERNANCE))), mode="compliance")
    assert finding.verdict is Verdict.FAIL
    assert "compliance is needed" in finding.reason


def test_a_promise_that_is_not_kept_is_a_warning_even_where_another_copy_suffices() -> None:
    broken = bucket("second", LocksFound(declared=PROMISE, settings=CANNOT))
    finding = judged(facts(bucket("offsite"), broken))
    assert finding.verdict is Verdict.WARN
    assert "second is declared immutable" in finding.reason


def test_two_are_needed_where_two_are_asked_for() -> None:
    assert judged(facts(bucket("a"), bucket("b")), min=2).verdict is Verdict.PASS
    assert judged(facts(bucket("a"), DISK), min=2).verdict is Verdict.FAIL
    assert judged(facts(bucket("a"), bucket("b", None)), min=2).verdict is Verdict.UNKNOWN


def test_a_locked_copy_that_is_damaged_or_holds_nothing_of_the_dataset_does_not_count() -> None:
    damaged = judged(facts(bucket("offsite", state=CopyState.DAMAGED)))
    empty = judged(facts(bucket("offsite"), ages={"offsite": None}))
    assert [damaged.verdict, empty.verdict] == [Verdict.FAIL, Verdict.FAIL]
    assert "offsite is damaged" in damaged.reason
    assert "offsite holds no snapshot of it" in empty.reason
