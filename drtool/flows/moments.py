"""Times as people write them."""

from __future__ import annotations

from datetime import datetime, time

from drtool.errors import UsageError


def parse_moment(text: str, *, end: bool = True) -> datetime:
    """Local time, unless it ends in UTC. Raises ``UsageError``.

    A day alone means its end, and a minute its last moment, so that what was saved within them fits; without ``end``
    their beginning.
    """
    text = text.strip()
    try:
        moment = datetime.fromisoformat(text.removesuffix(" UTC") + ("Z" if text.endswith(" UTC") else ""))
    except ValueError:
        raise UsageError(
            f"{text!r} is no time", hint="write it like 2026-11-20, '2026-11-20 08:00' or '2026-11-20 08:00 UTC'"
        ) from None
    if not end:
        return moment.astimezone()
    if len(text) == len("2026-11-20"):
        moment = datetime.combine(moment.date(), time.max)
    elif not moment.second:
        moment = moment.replace(second=59, microsecond=999999)
    return moment.astimezone()
