"""Look at the copies of a repository: who is there, what do they hold, is it what they should hold?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import MappingProxyType

from drtool.core.model import CopyFacts
from drtool.core.objects import Inventory, digest_of, disputed, without
from drtool.core.ports import Clock, Copy, Evidence, Restic
from drtool.errors import CopyAbsent, DrtoolError, NoRepository, ObjectAltered, ObjectMissing

REAPED = 4  # times that locks are removed, a second apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """What was found, by copy in declared order; ``altered`` holds keys whose bytes are not their name's."""

    facts: Mapping[str, CopyFacts]
    altered: Mapping[str, frozenset[str]]

    @property
    def present(self) -> Mapping[str, Inventory]:
        """The inventories of the copies that were reached."""
        return {name: facts.inventory for name, facts in self.facts.items() if facts.reached}

    @property
    def sound(self) -> Mapping[str, Inventory]:
        """The same without what was found altered: what is wrong in one copy leaves the others in agreement."""
        return {name: without(held, self.altered.get(name, ())) for name, held in self.present.items()}

    @property
    def everything(self) -> Mapping[str, Inventory]:
        """The same with what retention removed and some copies still keep: it can be restored from there."""
        return {name: {**facts.retained, **facts.inventory} for name, facts in self.facts.items() if facts.reached}

    @property
    def config_sha256(self) -> str:
        """What every ``config`` must hash to; '' while no copy was reached."""
        return next((facts.marker.config_sha256 for facts in self.facts.values() if facts.marker), "")


def take_stock(
    repository: str,
    copies: Sequence[Copy],
    evidence: Evidence,
    *,
    fully: bool = True,
    seen: Mapping[str, CopyFacts] = MappingProxyType({}),
) -> Stock:
    """Look at all copies at once (not again at those ``seen``). One that cannot be reached is a fact, not an error.

    With ``fully``, objects of doubtful size (against the record, too) and every ``config`` are read and hashed.
    """
    if not copies:
        return Stock(facts={}, altered={})
    with ThreadPoolExecutor(len(copies), thread_name_prefix="stock") as pool:
        found = list(pool.map(lambda copy: seen.get(copy.name) or look(copy), copies))
        known = evidence.repository_id(repository)
        removed = evidence.removed(repository).keys()
        facts = {one.copy: one.without_removed(removed) for one in _of_one_repository(repository, known, found)}
        stock = Stock(facts=facts, altered={})
        if not fully:
            return stock
        doubts = disputed(stock.present, evidence.recorded(repository))
        reached = [copy for copy in copies if facts[copy.name].reached]
        altered = pool.map(lambda copy: _altered(copy, doubts.get(copy.name, frozenset()), facts[copy.name]), reached)
        return replace(stock, altered={copy.name: keys for copy, keys in zip(reached, altered, strict=True) if keys})


def look(copy: Copy) -> CopyFacts:
    """One copy's marker and names, or why there are none."""
    facts = CopyFacts(copy=copy.name, location=copy.location)
    try:
        marker = copy.marker()
        inventory, locks = copy.inventory()
    except CopyAbsent as error:
        return replace(facts, absent=True, reason=error.message, hint=error.hint)
    except DrtoolError as error:
        return replace(facts, reason=error.message, hint=error.hint)
    return replace(facts, marker=marker, inventory=inventory, locks=locks)


def clear_locks(copy: Copy, restic: Restic, clock: Clock) -> None:
    """Remove restic's locks of dead processes; living ones stay, and are waited for.

    A process that was just killed counts as living until init has taken notice, which can take seconds.
    """
    for _ in range(REAPED):
        restic.unlock(copy)
        if not copy.inventory()[1]:
            return
        clock.sleep(1)


def require_one(repository: str, stock: Stock, recorded: Mapping[str, Inventory]) -> None:
    """At least one copy must be there. Raises what is wrong with the first."""
    if stock.present:
        return
    first = next(iter(stock.facts.values()))
    if all(facts.absent for facts in stock.facts.values()):
        if not recorded:
            raise NoRepository(f"repository {repository} was never initialised", hint="drtool copies init")
        raise CopyAbsent(f"every copy of {repository} is absent", copy=first.copy, hint=first.hint)
    reasons = "; ".join(facts.reason for facts in stock.facts.values())
    raise DrtoolError(f"no copy of {repository} can be reached: {reasons}", hint=first.hint)


def expected_digest(key: str, config_sha256: str) -> str:
    """The SHA-256 that the object's bytes must have."""
    return digest_of(key) or config_sha256


def _of_one_repository(repository: str, known: str | None, found: Sequence[CopyFacts]) -> list[CopyFacts]:
    """The same facts; a copy of another repository counts as not reached, and says so.

    ``known`` is the repository's id as recorded; without a record, the first copy of that name tells it.
    """
    named = (facts.marker.repository_id for facts in found if facts.marker and facts.marker.repository == repository)
    right = known or next(named, "")
    return [facts if _is_own(facts, repository, right) else _foreign(facts) for facts in found]


def _is_own(facts: CopyFacts, repository: str, repository_id: str) -> bool:
    marker = facts.marker
    return marker is None or (marker.repository, marker.repository_id, marker.copy) == (
        repository,
        repository_id,
        facts.copy,
    )


def _foreign(facts: CopyFacts) -> CopyFacts:
    assert facts.marker is not None  # only a marker can say so
    return replace(
        facts,
        marker=None,
        inventory={},
        reason=f"copy {facts.copy} in {facts.location} is copy {facts.marker.copy} of another repository"
        f" ({facts.marker.repository} {facts.marker.repository_id[:8]})",
        hint="correct the place of this copy in the estate",
    )


def _altered(copy: Copy, doubtful: frozenset[str], facts: CopyFacts) -> frozenset[str]:
    if facts.marker is None:
        return frozenset()
    keys = doubtful | ({"config"} & facts.inventory.keys())
    return frozenset(key for key in keys if not _intact(copy, key, facts.marker.config_sha256))


def _intact(copy: Copy, key: str, config_sha256: str) -> bool:
    try:
        return copy.digest(key) == expected_digest(key, config_sha256)
    except (ObjectMissing, ObjectAltered):
        return False
    except DrtoolError:
        return True  # it could not be read now; the next act on this copy will say why
