"""What stays, with why; what is frozen; and when the clock is not to be believed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drtool.core.model import ClockSeen, Event, Kept, Snapshot
from drtool.core.retention import (
    RELEASED,
    SET,
    ahead_of,
    current_holds,
    freezing,
    held_snapshots,
    judge_retention,
    see_clock,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Keep:
    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within: timedelta | None = None


def snapshot(number: int, time: datetime, files: int = 1) -> Snapshot:
    return Snapshot(
        id=f"{number:064x}", dataset="shop", time=time, tree="t", run="r", paths=(), tags=(), files=files, bytes=1
    )


def staying(judged: tuple[Kept, ...]) -> list[int]:
    return [int(one.snapshot.id, 16) for one in judged if one.reasons]


HOURLY = [snapshot(hours, NOON - hours * HOUR) for hours in range(24 * 40)]


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        (Keep(last=3), [0, 1, 2]),
        (Keep(hourly=2), [0, 1]),
        (Keep(daily=3), [0, 13, 37]),  # noon, and the last hour of the days before
        (Keep(weekly=2), [0, 13]),  # the 23rd is a Monday: the week before ended an hour before midnight
        (Keep(monthly=2), [0, 541]),
        (Keep(yearly=2), [0]),
        (Keep(within=2 * HOUR), [0, 1, 2]),
        (Keep(last=2, daily=2), [0, 1, 13]),
    ],
)
def test_of_each_period_the_newest_stays(rules: Keep, kept: list[int]) -> None:
    shuffled = random.Random(1).sample(HOURLY, len(HOURLY))
    assert staying(judge_retention(shuffled, rules, held={})) == kept


def test_each_reason_is_told() -> None:
    judged = judge_retention(HOURLY[:3], Keep(last=1, daily=1), held={HOURLY[1].id: "hold 3f: looked into"})
    assert [one.reasons for one in judged] == [("last 1 of 1", "daily 1 of 1"), ("hold 3f: looked into",), ()]


def test_without_rules_everything_stays() -> None:
    assert staying(judge_retention(HOURLY[:5], None, held={})) == [0, 1, 2, 3, 4]


def test_within_counts_back_from_the_newest_snapshot_and_not_from_now() -> None:
    """After a year without a backup, or with a clock a year ahead, nothing goes that no newer snapshot replaced."""
    old = [snapshot(number, NOON - 365 * DAY - number * DAY) for number in range(10)]
    assert staying(judge_retention(old, Keep(within=3 * DAY), held={})) == [0, 1, 2, 3]


def test_the_newest_with_files_in_it_stays_beside_newer_empty_ones() -> None:
    snapshots = [snapshot(0, NOON, files=0), snapshot(1, NOON - HOUR, files=0), snapshot(2, NOON - 2 * HOUR)]
    assert staying(judge_retention(snapshots, Keep(last=1), held={})) == [0, 2]


rules_of_any_kind = st.builds(
    Keep, **{name: st.integers(0, 4) for name in ("last", "hourly", "daily", "weekly", "monthly", "yearly")}
)
times = st.lists(st.integers(0, 24 * 800), min_size=1, max_size=40, unique=True)


@given(rules=rules_of_any_kind, hours=times)
def test_whatever_the_rules_the_newest_stays(rules: Keep, hours: list[int]) -> None:
    snapshots = [snapshot(number, NOON - number * HOUR) for number in hours]
    assert min(hours) in staying(judge_retention(snapshots, rules, held={}))


@given(rules=rules_of_any_kind, hours=times)
def test_what_went_is_not_missed_afterwards(rules: Keep, hours: list[int]) -> None:
    """Judged again on what stayed, nothing more goes."""
    judged = judge_retention([snapshot(number, NOON - number * HOUR) for number in hours], rules, held={})
    left = [one.snapshot for one in judged if one.reasons]
    assert all(one.reasons for one in judge_retention(left, rules, held={}))


def test_a_snapshot_from_the_future_is_found() -> None:
    assert ahead_of(NOON, HOURLY) is None
    assert ahead_of(NOON - 2 * HOUR, HOURLY) == HOURLY[0]


# Holds


def event(seq: int, kind: str, **body: str) -> Event:
    body = {"repository": "", "snapshot": "", "reason": "why", "by": "root"} | body
    return Event(seq=seq, at=NOON, run="r", kind=kind, body=body, previous="", hash="")


def test_a_hold_stands_until_it_is_released() -> None:
    told = [event(1, SET, hold="a"), event(2, SET, hold="b", snapshot="5"), event(3, RELEASED, hold="a")]
    assert [hold.id for hold in current_holds(told[:2])] == ["a", "b"]
    assert [hold.id for hold in current_holds(told)] == ["b"]


@pytest.mark.parametrize(("repository", "frozen"), [("", True), ("main", True), ("other", False)])
def test_a_hold_freezes_its_repository_or_all(repository: str, frozen: bool) -> None:
    holds = current_holds([event(1, SET, hold="a", repository=repository)])
    assert bool(freezing(holds, "main")) is frozen


def test_a_hold_of_one_snapshot_freezes_only_that() -> None:
    holds = current_holds([event(1, SET, hold="a", repository="main", snapshot="5")])
    assert freezing(holds, "main") is None
    assert held_snapshots(holds) == {"5": "hold a: why"}


# The clock

SEEN = ClockSeen(at=NOON, boot="b1", running=1000.0)


@pytest.mark.parametrize(
    ("at", "boot", "running", "wrong"),
    [
        (NOON + DAY, "b1", 1000 + 86400, False),
        (NOON + DAY + 2 * HOUR, "b1", 1000 + 86400, False),  # a clock that was set right a little
        (NOON + 400 * DAY, "b1", 1000 + 86400, True),
        (NOON - 2 * DAY, "b1", 1000 + 86400, True),
        (NOON + 20 * DAY, "b2", 5, False),
        (NOON + 40 * DAY, "b2", 5, True),
        (NOON - 2 * DAY, "b2", 5, True),
    ],
)
def test_a_jump_of_the_clock_is_seen(at: datetime, boot: str, running: float, wrong: bool) -> None:
    assert bool(see_clock(SEEN, at=at, boot=boot, running=running).trouble) is wrong


def test_a_jump_stays_said() -> None:
    jumped = see_clock(SEEN, at=NOON + 400 * DAY, boot="b1", running=2000)
    later = see_clock(jumped, at=NOON + 401 * DAY, boot="b1", running=2000 + 86400)
    assert later.trouble == jumped.trouble != ""


def test_the_first_look_at_the_clock_finds_nothing() -> None:
    assert see_clock(None, at=NOON, boot="b1", running=5).trouble == ""
