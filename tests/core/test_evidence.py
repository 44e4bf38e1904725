"""The chain of evidence: whatever is changed, left out, added or moved is found, and the first place is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drtool.core.evidence import GENESIS, canonical, link, stamp, verify
from drtool.core.model import Event

MOMENT = datetime(2026, 11, 23, 4, 5, 6, 789, tzinfo=UTC)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=3,
)
bodies = st.lists(st.dictionaries(st.text(), json_values, max_size=2), min_size=2, max_size=5)


def chain(bodies: Sequence[dict[str, Any]]) -> list[Event]:
    events: list[Event] = []
    for number, body in enumerate(bodies):
        last = events[-1] if events else None
        events.append(link(last, at=MOMENT + timedelta(seconds=number), run="run", kind="act", body=body))
    return events


@settings(max_examples=40, deadline=None)
@given(bodies)
def test_a_chain_as_written_verifies(bodies: list[dict[str, Any]]) -> None:
    events = chain(bodies)
    verdict = verify(events)
    assert (verdict.ok, verdict.events, verdict.head) == (True, len(events), events[-1].hash)


def test_no_events_are_a_sound_chain() -> None:
    assert (verify([]).ok, verify([]).head) == (True, GENESIS)


@settings(max_examples=40, deadline=None)
@given(bodies, st.data())
def test_any_changed_field_is_found_at_its_event(bodies: list[dict[str, Any]], data: st.DataObject) -> None:
    events = chain(bodies)
    place = data.draw(st.integers(0, len(events) - 1))
    change = data.draw(
        st.sampled_from(
            [
                {"at": MOMENT - timedelta(microseconds=1)},
                {"run": "other"},
                {"kind": "other"},
                {"body": {"added": 1, **events[place].body}},
                {"hash": "f" * 64},
            ]
        )
    )
    if change == {"body": events[place].body}:
        return
    events[place] = replace(events[place], **change)
    assert verify(events).first_bad == place + 1


@settings(max_examples=40, deadline=None)
@given(bodies, st.data())
def test_a_missing_event_is_found_where_it_was(bodies: list[dict[str, Any]], data: st.DataObject) -> None:
    events = chain(bodies)
    place = data.draw(st.integers(0, len(events) - 2))
    del events[place]
    assert verify(events).first_bad == place + 1


@settings(max_examples=40, deadline=None)
@given(bodies, st.data())
def test_exchanged_events_are_found_at_the_first(bodies: list[dict[str, Any]], data: st.DataObject) -> None:
    events = chain(bodies)
    place = data.draw(st.integers(0, len(events) - 2))
    events[place], events[place + 1] = events[place + 1], events[place]
    assert verify(events).first_bad == place + 1


@settings(max_examples=40, deadline=None)
@given(bodies, st.data())
def test_renumbering_after_a_removal_does_not_help(bodies: list[dict[str, Any]], data: st.DataObject) -> None:
    events = chain(bodies)
    place = data.draw(st.integers(0, len(events) - 2))
    del events[place]
    events = [replace(event, seq=number) for number, event in enumerate(events, start=1)]
    assert verify(events).first_bad == place + 1


def test_a_rewritten_event_breaks_the_next_one() -> None:
    events = chain([{"n": 1}, {"n": 2}, {"n": 3}])
    events[1] = link(events[0], at=events[1].at, run="run", kind="act", body={"n": "forged"})
    assert verify(events).first_bad == 3


def test_a_cut_tail_is_a_sound_but_shorter_chain() -> None:
    """The chain alone cannot tell; whoever kept the head can."""
    events = chain([{"n": 1}, {"n": 2}])
    assert (verify(events[:1]).ok, verify(events[:1]).head == verify(events).head) == (True, False)


def test_the_reason_names_the_event_and_what_is_wrong() -> None:
    events = chain([{"n": 1}, {"n": 2}])
    events[1] = replace(events[1], body={"n": 3})
    assert verify(events).reason == "event 2 (act) was changed after it was written"


def test_the_same_facts_have_one_spelling() -> None:
    assert canonical({"b": 1, "a": "ä"}) == canonical({"a": "ä", "b": 1}) == '{"a":"ä","b":1}'


def test_a_moment_is_written_in_utc() -> None:
    berlin = timezone(timedelta(hours=1))
    assert stamp(MOMENT.astimezone(berlin)) == stamp(MOMENT) == "2026-11-23T04:05:06.000789Z"


def test_a_body_keeps_what_json_keeps() -> None:
    assert link(None, at=MOMENT, run="r", kind="k", body={"pair": (1, 2)}).body == {"pair": [1, 2]}


def test_a_body_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError):
        link(None, at=MOMENT, run="r", kind="k", body={"set": {1}})
