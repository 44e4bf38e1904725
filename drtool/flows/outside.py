"""The outside in one bundle: everything a flow may touch, wired in ``cli`` only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from drtool.core.objects import Inventory
from drtool.core.ports import Clock, Copy, Databases, Evidence, Locks, Media, Restic, Show, Spool, Union


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """``copies`` are by repository in declared order; ``restic`` raises where the program is missing.

    ``union`` reads copies as one, given in order of preference with what they hold and what ``config`` hashes to.
    """

    clock: Clock
    evidence: Evidence
    locks: Locks
    spool: Spool
    media: Media
    databases: Databases
    copies: Mapping[str, tuple[Copy, ...]]
    restic: Callable[[str], Restic]
    union: Callable[[Sequence[Copy], Mapping[str, Inventory], str], AbstractContextManager[Union]]
    show: Show
    operator: str  # who acts, for the record
