"""Freeze removal, with a reason, until somebody releases it."""

from __future__ import annotations

import heapq
import uuid

from drtool.core.model import Hold
from drtool.core.retention import RELEASED, SET, current_holds
from drtool.documents.estate import Estate
from drtool.errors import NoSnapshot, UsageError
from drtool.flows.outside import Outside


def list_holds(outside: Outside) -> tuple[Hold, ...]:
    """The holds that are set, oldest first."""
    events = (outside.evidence.events(kind=kind) for kind in (SET, RELEASED))
    return current_holds(heapq.merge(*events, key=lambda event: event.seq))


def set_hold(estate: Estate, outside: Outside, *, repository: str, snapshot: str, reason: str) -> Hold:
    """Freeze removal: of one snapshot (its id or the beginning of it), of one repository, else of everything.

    Raises ``UsageError`` and ``NoSnapshot`` for what is not there.
    """
    if repository and repository not in estate.repositories:
        raise UsageError(
            f"there is no repository {repository}", hint=f"the repositories: {', '.join(estate.repositories)}"
        )
    named = _known(estate, outside, snapshot) if snapshot else ""
    return add_hold(outside, uuid.uuid4().hex, repository=repository, snapshot=named, reason=reason)


def add_hold(outside: Outside, run: str, *, repository: str, snapshot: str, reason: str) -> Hold:
    """The same for what is known to be there."""
    body = {
        "hold": run[:8],
        "repository": repository,
        "snapshot": snapshot,
        "reason": reason,
        "by": outside.operator,
    }
    event = outside.evidence.append(run, SET, body)
    return Hold(id=run[:8], at=event.at, reason=reason, by=outside.operator, repository=repository, snapshot=snapshot)


def release_hold(outside: Outside, name: str, *, reason: str) -> Hold:
    """Let removal go on. Raises ``UsageError`` where no such hold is set."""
    holds = list_holds(outside)
    fitting = [hold for hold in holds if name and hold.id.startswith(name)]
    if len(fitting) != 1:
        known = ", ".join(hold.id for hold in holds) or "none"
        raise UsageError(f"there is no hold {name}" if not fitting else f"{name} begins several holds",
                         hint=f"the holds: {known}")  # fmt: skip
    body = {"hold": fitting[0].id, "reason": reason, "by": outside.operator}
    outside.evidence.append(uuid.uuid4().hex, RELEASED, body)
    return fitting[0]


def _known(estate: Estate, outside: Outside, snapshot: str) -> str:
    ids = [one.id for name in estate.repositories for one in outside.evidence.catalog(name)]
    fitting = [one for one in ids if one.startswith(snapshot)]
    if len(fitting) != 1:
        what = (
            f"no snapshot begins with {snapshot}" if not fitting else f"{len(fitting)} snapshots begin with {snapshot}"
        )
        raise NoSnapshot(what, hint="drtool snapshots")
    return fitting[0]
