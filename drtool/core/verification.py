"""What of a copy is to be read next, and how much of it is proven.

Every object is read in full and hashed within a stated time of when it was first seen in the copy, and again within
that time of each reading. A rotating share spreads this evenly, whatever the size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from drtool.core.model import Coverage, Reading, Verified
from drtool.core.objects import Inventory, total

WEEK = timedelta(days=7)  # between two checks (TOM-8a)


def choose_share(
    held: Inventory, readings: Mapping[str, Reading], *, now: datetime, within: timedelta, every: timedelta = WEEK
) -> tuple[str, ...]:
    """The objects to read now, those unread for longest first.

    All that would be overdue before the next check, which comes in ``every``; and as many more as the time since the
    last reading asks for, so that no check has to read everything, and one may be missed.
    """
    last = max((one.at for one in readings.values() if one.at), default=None)
    elapsed = now - last if last else every
    share = total(held) * min(1.0, max(0.0, elapsed / max(within - every, every)))
    chosen: list[str] = []
    size = 0
    for key in sorted(held, key=lambda key: (_seen(key, readings, now), key)):
        if size >= share and _seen(key, readings, now) + within > now + every:
            break
        chosen.append(key)
        size += held[key]
    return tuple(chosen)


def covered(held: Inventory, readings: Mapping[str, Reading], *, now: datetime, within: timedelta) -> Coverage:
    """How much of what the copy holds now was read within the stated time."""
    read = {key: at for key in held if (at := _read_at(key, readings)) and now - at <= within}
    return Coverage(
        objects=len(read),
        bytes=sum(held[key] for key in read),
        of_objects=len(held),
        of_bytes=total(held),
        overdue=sum(now - _seen(key, readings, now) > within for key in held),
        oldest=min(read.values(), default=None),
    )


def strongest(verified: Iterable[Verified], *, now: datetime, within: timedelta) -> Verified | None:
    """The highest level that was reached within the stated time; else whatever was reached last."""
    known = tuple(verified)
    recent = [one for one in known if now - one.at <= within]
    if recent:
        return max(recent, key=lambda one: one.level)
    return max(known, key=lambda one: one.at, default=None)


def is_due(last: datetime | None, *, now: datetime, every: timedelta = WEEK) -> bool:
    """Whether something that is to be done once in ``every`` shall be done now. An hour early is not too early."""
    return last is None or now - last >= every - timedelta(hours=1) or last > now


def _read_at(key: str, readings: Mapping[str, Reading]) -> datetime | None:
    return readings[key].at if key in readings else None


def _seen(key: str, readings: Mapping[str, Reading], now: datetime) -> datetime:
    """When the object was last read; until then, when it was first seen. An unknown one is seen now."""
    known = readings.get(key)
    return (known.at or known.since) if known else now
