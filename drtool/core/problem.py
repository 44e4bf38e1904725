"""What lint finds in a procedure: a value, because a document with mistakes is bad news and no end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """An error keeps the document from being used in earnest; a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with a runbook or a restart concept."""

    procedure: str
    where: str  # file:line:column: path
    message: str
    severity: Severity = Severity.ERROR

    @property
    def described(self) -> str:
        """The problem as ``file:line:column: path: message``."""
        return f"{self.where}: {self.message}"
