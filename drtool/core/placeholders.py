"""Parameters named in texts: ``{name}``; a brace that is meant is written twice."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

ALWAYS = frozenset({"run", "site", "runbook", "evidence"})
"""The names that every run knows: its id, the estate's site, the runbook's id, the folder of the run's evidence."""

_PIECE = re.compile(r"\{\{|\}\}|\{([a-z0-9][a-z0-9_-]*)\}|[{}]")


def names_in(text: str) -> Iterator[str]:
    """The parameters that a text names, in order."""
    return (match[1] for match in _PIECE.finditer(text) if match[1])


def single_brace(text: str) -> bool:
    """Whether the text holds a brace that is neither part of a name nor written twice."""
    return any(match[0] in "{}" for match in _PIECE.finditer(text))


def filled(text: str, value_of: Callable[[str], str]) -> str:
    """The text with the values put in; braces written twice become one."""
    return _PIECE.sub(lambda match: value_of(match[1]) if match[1] else match[0][0], text)
