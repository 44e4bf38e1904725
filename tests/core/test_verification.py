"""The rotating share: everything is read in its time, whatever the size, and nothing unread is called read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drtool.core.model import Reading, Verified
from drtool.core.verification import WEEK, choose_share, covered, is_due, strongest

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)
FOUR_WEEKS = 4 * WEEK


@given(
    births=st.lists(st.integers(0, 20), min_size=1, max_size=60),
    sizes=st.lists(st.integers(0, 10_000), min_size=60, max_size=60),
    weeks=st.integers(2, 8),
)
def test_checked_weekly_everything_is_read_within_its_time(births: list[int], sizes: list[int], weeks: int) -> None:
    within = weeks * WEEK
    readings: dict[str, Reading] = {}
    for week in range(40):
        now = NOON + week * WEEK
        held = {str(number): sizes[number] for number, born in enumerate(births) if born <= week}
        readings |= {key: Reading(since=now) for key in held if key not in readings}
        for key in choose_share(held, readings, now=now, within=within):
            readings[key] = Reading(since=readings[key].since, at=now)
        assert covered(held, readings, now=now, within=within).overdue == 0


def test_each_week_reads_about_its_share() -> None:
    held = {f"{number:03}": 100 for number in range(400)}
    readings = {key: Reading(since=NOON) for key in held}
    shares = []
    for week in range(12):
        now = NOON + week * WEEK
        share = choose_share(held, readings, now=now, within=FOUR_WEEKS)
        readings |= {key: Reading(since=NOON, at=now) for key in share}
        shares.append(len(share))
    assert max(shares) <= 140  # a third: in four weeks, one of which may be missed
    assert min(shares) >= 130


def test_what_was_unread_for_longest_comes_first() -> None:
    readings = {
        "a": Reading(since=NOON - 30 * DAY, at=NOON - 2 * DAY),
        "b": Reading(since=NOON - 30 * DAY, at=NOON - 9 * DAY),
        "c": Reading(since=NOON - 30 * DAY),
    }
    assert choose_share(dict.fromkeys("abc", 10), readings, now=NOON, within=10 * WEEK) == ("c",)
    assert choose_share(dict.fromkeys("abc", 10), readings, now=NOON + WEEK, within=3 * WEEK)[:2] == ("c", "b")


def test_what_was_never_read_is_not_covered() -> None:
    coverage = covered({"a": 1, "b": 2}, {"a": Reading(since=NOON, at=NOON)}, now=NOON, within=WEEK)
    assert (coverage.objects, coverage.of_objects, coverage.bytes, coverage.complete) == (1, 2, 1, False)


def test_what_was_read_too_long_ago_is_not_covered_any_more() -> None:
    readings = {"a": Reading(since=NOON - 60 * DAY, at=NOON - 29 * DAY)}
    coverage = covered({"a": 1}, readings, now=NOON, within=FOUR_WEEKS)
    assert (coverage.objects, coverage.overdue) == (0, 1)


def test_all_read_is_complete_and_as_old_as_its_oldest_reading() -> None:
    readings = {key: Reading(since=NOON - 9 * DAY, at=NOON - days * DAY) for key, days in (("a", 3), ("b", 1))}
    coverage = covered({"a": 1, "b": 2}, readings, now=NOON, within=WEEK)
    assert coverage.complete
    assert coverage.oldest == NOON - 3 * DAY


def test_a_recent_high_level_counts_more_than_a_newer_low_one() -> None:
    known = (Verified(level="L0", at=NOON), Verified(level="L2", at=NOON - 3 * DAY))
    assert strongest(known, now=NOON, within=WEEK) == known[1]
    assert strongest(known, now=NOON + 5 * DAY, within=WEEK) == known[0]
    assert strongest(known, now=NOON + 99 * DAY, within=WEEK) == known[0]
    assert strongest((), now=NOON, within=WEEK) is None


@pytest.mark.parametrize(
    ("last", "due"), [(None, True), (NOON, False), (NOON - WEEK, True), (NOON - 6 * DAY, False), (NOON + DAY, True)]
)
def test_a_check_is_due_after_a_week_and_when_the_last_one_lies_in_the_future(last: datetime | None, due: bool) -> None:
    assert is_due(last, now=NOON) is due
