"""Which snapshot to restore, and from which copy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from drtool.core.model import Snapshot
from drtool.core.objects import Inventory, key_of_snapshot
from drtool.errors import NoSnapshot


def choose_snapshot(
    snapshots: Iterable[Snapshot], dataset: str, *, at: datetime | None = None, named: str | None = None
) -> Snapshot:
    """The newest of the dataset, the newest not after ``at``, or the one named by its id or the id's beginning.

    Raises ``NoSnapshot``, which says what there is.
    """
    own = sorted((one for one in snapshots if one.dataset == dataset), key=lambda one: one.time)
    if not own:
        raise NoSnapshot(
            f"dataset {dataset} has no snapshot in any copy that can be reached", hint="drtool copies list"
        )
    if named:
        fitting = [one for one in own if one.id.startswith(named.lower())]
        if len(fitting) != 1:
            few = "no" if not fitting else "more than one"
            raise NoSnapshot(f"{few} snapshot of {dataset} begins with {named}", hint=f"drtool snapshots {dataset}")
        return fitting[0]
    backups = [one for one in own if not one.safety]
    fitting = [one for one in worth_having(backups) if at is None or one.time <= at]
    if not fitting:
        oldest = f"{own[0].time:%Y-%m-%d %H:%M} UTC"
        raise NoSnapshot(f"dataset {dataset} has no snapshot that old; the oldest is of {oldest}",
                         hint=f"drtool snapshots {dataset}")  # fmt: skip
    return fitting[-1]


def worth_having(snapshots: Sequence[Snapshot]) -> Sequence[Snapshot]:
    """Those with files in them: an empty one, as of a disk that was not mounted, must not hide the last good one."""
    return [one for one in snapshots if one.files] or snapshots


def holders(snapshot: Snapshot, present: Mapping[str, Inventory]) -> tuple[str, ...]:
    """The copies that hold the snapshot, in the order of ``present``."""
    return tuple(name for name, held in present.items() if key_of_snapshot(snapshot.id) in held)


def rank_copies(
    names: Sequence[str], *, local: Mapping[str, bool], damaged: Iterable[str], complete: Mapping[str, bool]
) -> tuple[str, ...]:
    """The copies to try, best first: undamaged before damaged, complete before behind, near before far.

    ``names`` in declared order decides what is left.
    """
    bad = set(damaged)
    return tuple(
        sorted(names, key=lambda name: (name in bad, not complete.get(name, False), not local[name], names.index(name)))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a copy gives: ``rate`` in bytes per second as seen so far, ``queued`` bytes under way from it."""

    rate: float
    queued: int = 0


STRIPED = 0.5  # a copy with less than this part of the fastest one's rate would be the last to finish


def order_sources(names: Sequence[str], paces: Mapping[str, Pace], size: int) -> tuple[str, ...]:
    """The copies from which to take one object of ``size`` bytes, first the one from which it would be here first.

    Equally fast copies so share the load; one that is much slower is only asked where no other has the object.
    """
    best = max(paces[name].rate for name in names)

    def finish(name: str) -> tuple[bool, float, int]:
        pace = paces[name]
        return pace.rate < STRIPED * best, (pace.queued + size) / pace.rate, names.index(name)

    return tuple(sorted(names, key=finish))
