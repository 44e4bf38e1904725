"""What a probe found: a verdict and why. What cannot be looked at is raised as ``CannotTell``."""

from __future__ import annotations

from dataclasses import dataclass

from drtool.core.model import Verdict

MOST = 1 << 20  # bytes of an answer that are looked at


@dataclass(frozen=True, slots=True)
class Seen:
    verdict: Verdict
    reason: str


class CannotTell(Exception):
    """It cannot be looked at; the text says why."""


def passed(reason: str) -> Seen:
    return Seen(Verdict.PASS, reason)


def failed(reason: str) -> Seen:
    return Seen(Verdict.FAIL, reason)


def judged(good: bool, reason: str) -> Seen:
    return passed(reason) if good else failed(reason)


def why(error: OSError) -> str:
    """An error of the system in its own words."""
    return (error.strerror or str(error) or type(error).__name__).lower()
