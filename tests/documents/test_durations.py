from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drtool.documents.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("24h", timedelta(days=1)),
        ("90d", timedelta(days=90)),
        ("8w", timedelta(weeks=8)),
        ("1d12h", timedelta(hours=36)),
        ("1w1d1h1m1s", timedelta(days=8, hours=1, minutes=1, seconds=1)),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "h", "24", "24 h", "-1h", "1h1d", "1.5h", "1y", "24h\n", "٣h", "1234567d"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as 90s, 15m, 24h"):
        parse_duration(text)


def test_no_time_at_all_is_no_duration() -> None:
    with pytest.raises(ValueError, match="longer than nothing"):
        parse_duration("0h")


@given(st.integers(1, 999_999 * 86400).map(lambda seconds: timedelta(seconds=seconds)))
def test_a_written_duration_reads_back_as_itself(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


def test_a_day_is_shown_as_hours_and_a_week_as_days() -> None:
    assert [format_duration(parse_duration(text)) for text in ("1d", "36h", "1w", "90s")] == [
        "24h",
        "36h",
        "7d",
        "1m30s",
    ]
