"""What a probe saw, and how a program ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one probe of one runbook said; ``fits`` is whether it speaks for the runbook."""

    runbook: str
    text: str
    observation: Observation
    fits: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The runbooks that fit, each with why; all that was looked at; and the runbooks that could not be read."""

    fits: tuple[tuple[str, str], ...]
    seen: tuple[Seen, ...]
    broken: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Intended:
    """What a step would do, and what its probes say now. ``already``: its check says that it is so."""

    id: str
    title: str
    kind: str
    effect: str
    needs: tuple[str, ...]
    what: Mapping[str, Any]
    already: bool
    seen: tuple[Observation, ...]
