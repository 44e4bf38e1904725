"""Which snapshots stay and why, and when nothing may be removed at all.

The rules mean what restic's ``forget --keep-*`` mean (https://restic.readthedocs.io/en/stable/060_forget.html), in
UTC: of each hour, day, week (ISO 8601), month or year the newest snapshot stays; ``within`` counts back from the newest
snapshot, so that neither a pause nor a wrong clock removes what no newer snapshot replaced.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from drtool.core.model import ClockSeen, Event, Hold, Kept, Snapshot
from drtool.core.selection import worth_having

PERIODS: Mapping[str, Callable[[datetime], tuple[int, ...]]] = {
    "hourly": lambda at: (at.year, at.month, at.day, at.hour),
    "daily": lambda at: (at.year, at.month, at.day),
    "weekly": lambda at: tuple(at.isocalendar()[:2]),
    "monthly": lambda at: (at.year, at.month),
    "yearly": lambda at: (at.year,),
}
JUMP = timedelta(days=1)  # by which clock and time since boot may differ
PAUSE = timedelta(days=30)  # for which a machine may be off without anybody being asked whether the clock is right
AHEAD = timedelta(hours=1)  # by which a snapshot may lie in the future
SET, RELEASED = "hold.set", "hold.released"


class Rules(Protocol):
    """How many snapshots are kept; see ``documents.estate.Retention``."""

    @property
    def last(self) -> int: ...
    @property
    def hourly(self) -> int: ...
    @property
    def daily(self) -> int: ...
    @property
    def weekly(self) -> int: ...
    @property
    def monthly(self) -> int: ...
    @property
    def yearly(self) -> int: ...
    @property
    def within(self) -> timedelta | None: ...


def judge_retention(snapshots: Sequence[Snapshot], rules: Rules | None, *, held: Mapping[str, str]) -> tuple[Kept, ...]:
    """Each snapshot of one dataset, newest first, with every reason for which it stays.

    Without rules all stay. At least the newest stays, and the newest that has files in it. ``held`` are reasons by id.
    A safety snapshot is no state to go back to, and stays as long as it is held.
    """
    every = sorted(snapshots, key=lambda one: (one.time, one.id), reverse=True)
    ordered = [one for one in every if not one.safety]
    reasons: dict[str, list[str]] = defaultdict(list)
    for name, one in _kept_by_rules(ordered, rules) if rules else (("no retention is set", one) for one in ordered):
        reasons[one.id].append(name)
    for one in {one.id: one for one in (*ordered[:1], *_newest_with_files(ordered))}.values():
        if not reasons[one.id]:
            reasons[one.id].append("the newest")
    for one in every:
        if one.id in held:
            reasons[one.id].append(held[one.id])
    return tuple(Kept(snapshot=one, reasons=tuple(reasons[one.id])) for one in every)


def _kept_by_rules(ordered: Sequence[Snapshot], rules: Rules) -> Iterable[tuple[str, Snapshot]]:
    for number, one in enumerate(ordered[: rules.last], start=1):
        yield f"last {number} of {rules.last}", one
    for name, period in PERIODS.items():
        wanted, seen = getattr(rules, name), dict[tuple[int, ...], Snapshot]()
        for one in ordered:
            seen.setdefault(period(one.time), one)
        for number, one in enumerate(list(seen.values())[:wanted], start=1):
            yield f"{name} {number} of {wanted}", one
    if rules.within and ordered:
        for one in ordered:
            if ordered[0].time - one.time <= rules.within:
                yield f"within {_days(rules.within)} of the newest", one


def _newest_with_files(ordered: Sequence[Snapshot]) -> Sequence[Snapshot]:
    return worth_having(ordered)[:1]


def _days(duration: timedelta) -> str:
    return f"{duration.days} d" if duration.days else f"{duration.total_seconds() / 3600:.0f} h"


def ahead_of(now: datetime, snapshots: Iterable[Snapshot]) -> Snapshot | None:
    """A snapshot from the future: either the clock was wrong then, or it is now, or somebody forged it."""
    return next((one for one in snapshots if one.time - now > AHEAD), None)


# Holds


def current_holds(events: Iterable[Event]) -> tuple[Hold, ...]:
    """The holds that were set and not released, oldest first."""
    holds: dict[str, Hold] = {}
    for event in events:
        if event.kind == SET:
            holds[event.body["hold"]] = _hold(event.body, event.at)
        elif event.kind == RELEASED:
            holds.pop(event.body["hold"], None)
    return tuple(holds.values())


def _hold(body: Mapping[str, Any], at: datetime) -> Hold:
    return Hold(
        id=body["hold"],
        at=at,
        reason=body["reason"],
        by=body["by"],
        repository=body["repository"],
        snapshot=body["snapshot"],
    )


def freezing(holds: Iterable[Hold], repository: str) -> Hold | None:
    """The hold that forbids any removal from the repository, if there is one."""
    return next((one for one in holds if not one.snapshot and one.repository in ("", repository)), None)


def held_snapshots(holds: Iterable[Hold]) -> Mapping[str, str]:
    """The snapshots under a hold of their own, with the reason as it is shown."""
    return {one.snapshot: f"hold {one.id}: {one.reason}" for one in holds if one.snapshot}


# The clock


def see_clock(before: ClockSeen | None, *, at: datetime, boot: str, running: float) -> ClockSeen:
    """What is seen of the clock now. What was once wrong stays said until somebody says that it is right."""
    trouble = before.trouble if before else ""
    return ClockSeen(at=at, boot=boot, running=running, trouble=trouble or _jump(before, at, boot, running))


def _jump(before: ClockSeen | None, at: datetime, boot: str, running: float) -> str:
    if before is None:
        return ""
    passed = at - before.at
    if boot == before.boot:
        wrong = abs(passed - timedelta(seconds=running - before.running)) > JUMP
    else:
        wrong = passed < -JUMP or passed > PAUSE
    return f"between {before.at:%Y-%m-%d %H:%M} and {at:%Y-%m-%d %H:%M} UTC the clock jumped" if wrong else ""
