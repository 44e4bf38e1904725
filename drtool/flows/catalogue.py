"""Which snapshots there are, and in which copies. restic is only asked about those not known yet."""

from __future__ import annotations

from collections.abc import Mapping

from drtool.core.model import Snapshot
from drtool.core.objects import Inventory, key_of_snapshot, kind_of
from drtool.errors import DrtoolError
from drtool.flows.outside import Outside


def known_snapshots(repository: str, outside: Outside, present: Mapping[str, Inventory]) -> tuple[Snapshot, ...]:
    """Every snapshot that is present in a copy, oldest first. Raises what restic raises."""
    wanted = {key for held in present.values() for key in held if kind_of(key) == "snapshots"}
    catalog = outside.evidence.catalog(repository)
    unknown = wanted - {key_of_snapshot(one.id) for one in catalog}
    trouble: DrtoolError | None = None
    for copy in (one for one in outside.copies[repository] if one.name in present):
        if unknown & present[copy.name].keys():
            try:
                listed = outside.restic(repository).snapshots(copy, tag=None)
            except DrtoolError as error:
                trouble = error
                continue
            outside.evidence.record_snapshots(repository, listed)
            unknown -= {key_of_snapshot(one.id) for one in listed}
    if unknown and trouble:
        raise trouble
    return tuple(one for one in outside.evidence.catalog(repository) if key_of_snapshot(one.id) in wanted)
