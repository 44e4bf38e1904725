"""Create a repository in its copies: restic's own files, equal everywhere, and a marker on each."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from drtool.core.model import CopyFacts, Initialised, Marker
from drtool.core.objects import kind_of
from drtool.core.ports import Copy
from drtool.errors import CopyRefused, CopyUnreachable, DrtoolError, MarkerDamaged, UsageError, WrongPassword
from drtool.flows.outside import Outside
from drtool.flows.take_stock import expected_digest, look


def initialise(
    repository: str, outside: Outside, *, wait: float, refill: Collection[str] = ()
) -> tuple[Initialised, ...]:
    """Make every copy that is not one yet. Safe to repeat, also after a crash at any point.

    ``refill`` names copies whose medium was replaced: only these may begin anew where the
    evidence says that they held objects; otherwise an empty place may be a disk that is not mounted.
    Raises ``CopyRefused`` where another repository or other files are in the way.
    """
    run = uuid.uuid4().hex
    with outside.locks.hold(repository, run=run, wait=wait):
        outside.evidence.append(run, "initialise.started", {"repository": repository})
        work = _Initialising(repository=repository, outside=outside, refill=refill)
        done = work.run()
        outside.evidence.append(
            run, "initialise.finished", {"repository": repository, "copies": {one.copy: one.result for one in done}}
        )
    return done


@dataclass(frozen=True, slots=True, kw_only=True)
class _Initialising:
    repository: str
    outside: Outside
    refill: Collection[str]

    def run(self) -> tuple[Initialised, ...]:
        copies = self.outside.copies[self.repository]
        facts = {copy.name: look(copy) for copy in copies}
        _refuse_mixture(list(facts.values()))
        found = [self._place(copy, facts[copy.name]) for copy in copies]
        first = self._first(copies, facts, found)
        self.outside.evidence.record_repository_id(self.repository, first[1])
        return tuple(
            self._equip(copy, place, first) if place.result in ("empty", "repository") else place
            for copy, place in zip(copies, found, strict=True)
        )

    def _place(self, copy: Copy, facts: CopyFacts) -> Initialised:
        """What is there: ``already`` a copy, ``empty``, a ``repository``; or it is ``unreachable`` or ``failed``."""
        place = Initialised(repository=self.repository, copy=copy.name, location=copy.location, result="failed")
        if facts.marker:
            self._refuse_foreign(copy, facts.marker)
            return replace(place, result="already")
        try:
            if not facts.absent:
                with suppress(MarkerDamaged):  # what lies there shows whose it is, and a new marker is written
                    copy.marker()  # raises what `look` met
            held = copy.occupied()
        except DrtoolError as error:
            result = "unreachable" if isinstance(error, CopyUnreachable) else "failed"
            return replace(place, result=result, reason=error.message, hint=error.hint)
        if held in ("", "repository"):
            self._refuse_vanished(copy, held)
            return replace(place, result=held or "empty")
        raise CopyRefused(
            f"copy {copy.name}: {copy.location} holds {held}",
            copy=copy.name,
            hint="name a place of its own for this copy",
        )

    def _refuse_foreign(self, copy: Copy, marker: Marker) -> None:
        if (marker.repository, marker.copy) != (self.repository, copy.name):
            raise CopyRefused(
                f"{copy.location} is in use as copy {marker.copy} of repository {marker.repository}",
                copy=copy.name,
                hint="name a place of its own for this copy",
            )

    def _refuse_vanished(self, copy: Copy, held: str) -> None:
        """An empty place where there was a copy: is its medium not mounted, or was it replaced?"""
        known = self.outside.evidence.recorded(self.repository).get(copy.name)
        if known and not held and copy.name not in self.refill:
            raise CopyRefused(
                f"copy {copy.name} held {len(known)} objects, and now {copy.location} is empty",
                copy=copy.name,
                hint=f"mount its medium; if that was replaced: drtool copies init --refill {copy.name}",
            )

    def _first(
        self, copies: Sequence[Copy], facts: dict[str, CopyFacts], found: Sequence[Initialised]
    ) -> tuple[Copy, str, str]:
        """A copy that holds restic's files, the repository's id and the SHA-256 of its ``config``.

        Creates the repository in the first empty copy if no copy holds it.
        """
        restic = self.outside.restic(self.repository)
        for copy in copies:
            if marker := facts[copy.name].marker:
                return copy, marker.repository_id, marker.config_sha256
        usable = [copy for copy, place in zip(copies, found, strict=True) if place.result == "repository"]
        if not usable:
            empty = [copy for copy, place in zip(copies, found, strict=True) if place.result == "empty"]
            if not empty:
                raise UsageError(
                    f"no copy of {self.repository} can be initialised: {found[0].reason}", hint=found[0].hint
                )
            unseen = next((place for place in found if place.result == "unreachable"), None)
            if unseen:
                raise UsageError(
                    f"copy {unseen.copy} could not be looked at, and may hold the repository: {unseen.reason}",
                    hint=unseen.hint,
                )
            usable = empty[:1]
            usable[0].prepare()
            restic.initialise(usable[0])
        return usable[0], self._own_id(usable[0]), usable[0].digest("config")

    def _own_id(self, copy: Copy) -> str:
        try:
            return self.outside.restic(self.repository).repository_id(copy)
        except WrongPassword:
            raise CopyRefused(
                f"{copy.location} is in use by another repository: it does not open with this password",
                copy=copy.name,
                hint="name a place of its own for this copy",
            ) from None

    def _equip(self, copy: Copy, place: Initialised, first: tuple[Copy, str, str]) -> Initialised:
        """restic's files first, the marker last: a crash in between leaves a place that is simply tried again."""
        base, repository_id, config_sha256 = first
        try:
            if place.result == "repository" and copy is not base and copy.digest("config") != config_sha256:
                raise CopyRefused(
                    f"{copy.location} is in use by another repository", copy=copy.name, hint="name another place"
                )
            copy.prepare()
            verification = copy.probe()
            if copy is not base:
                self._seed(base, copy, config_sha256)
            copy.mark(
                Marker(
                    repository=self.repository,
                    repository_id=repository_id,
                    copy=copy.name,
                    copy_id=uuid.uuid4().hex,
                    config_sha256=config_sha256,
                )
            )
        except CopyRefused:
            raise
        except DrtoolError as error:
            return replace(place, result="failed", reason=error.message, hint=error.hint)
        now = self.outside.clock.now()
        self.outside.evidence.record_upload_verification(self.repository, copy.name, verification, now)
        if copy.name in self.refill:
            self.outside.evidence.forget_verified(self.repository, copy.name)
        if copy.name in self.refill or copy.name not in self.outside.evidence.recorded(self.repository):
            self.outside.evidence.record(self.repository, copy.name, copy.inventory()[0])
        return replace(place, result="adopted" if place.result == "repository" else "created")

    def _seed(self, base: Copy, copy: Copy, config_sha256: str) -> None:
        """What opens the repository; the next backup brings the rest."""
        keys = sorted(key for key in base.inventory()[0] if kind_of(key) in ("keys", "config"))
        for key in reversed(keys):
            copy.put(key, lambda key=key: base.open(key), expected_digest(key, config_sha256))  # type: ignore[misc]


def _refuse_mixture(facts: Sequence[CopyFacts]) -> None:
    """Copies that were initialised apart hold two repositories under one name."""
    marked = [(one, one.marker) for one in facts if one.marker]
    for one, marker in marked[1:]:
        first, first_marker = marked[0]
        if marker.repository_id != first_marker.repository_id:
            raise CopyRefused(
                f"{one.location} holds another repository than {first.location}"
                f" ({marker.repository_id[:8]}, not {first_marker.repository_id[:8]})",
                copy=one.copy,
                hint="name a place of its own for each copy",
            )
