"""Durations as people write them: ``90s``, ``15m``, ``24h``, ``90d``, ``8w``, ``1d12h``."""

from __future__ import annotations

import re
from datetime import timedelta

PATTERN = r"^(?=[0-9])([0-9]{1,6}w)?([0-9]{1,6}d)?([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$"

_WRITTEN = re.compile(PATTERN.removesuffix("$") + r"\Z")
_UNITS = ("weeks", "days", "hours", "minutes", "seconds")


def parse_duration(text: str) -> timedelta:
    """Read a duration, largest unit first. Raises ``ValueError`` with what it must be instead."""
    match = _WRITTEN.match(text)
    if not match:
        raise ValueError("must be a number and a unit, such as 90s, 15m, 24h, 90d, 8w or 1d12h")
    amounts = {unit: int(part[:-1]) for unit, part in zip(_UNITS, match.groups(), strict=True) if part}
    duration = timedelta(**amounts)
    if not duration:
        raise ValueError("must be longer than nothing")
    return duration


def format_duration(duration: timedelta) -> str:
    """Write a duration so that ``parse_duration`` reads it back; hours stay hours up to two days."""
    seconds = int(duration.total_seconds())
    days, seconds = divmod(seconds, 86400) if seconds >= 2 * 86400 else (0, seconds)
    hours, seconds = divmod(seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    parts = ((days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{amount}{unit}" for amount, unit in parts if amount) or "0s"
