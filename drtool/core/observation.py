"""What a probe saw, and how a program ended."""

from __future__ import annotations

from dataclasses import dataclass

from drtool.core.model import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One probe's answer: passed, failed, or could not tell; ``probe`` says in one line what was looked at."""

    probe: str
    verdict: Verdict
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramEnd:
    """How a program on some host ended: its exit code (negative: the signal), and whether its time was over."""

    code: int
    overdue: bool = False

    @property
    def good(self) -> bool:
        return self.code == 0 and not self.overdue
