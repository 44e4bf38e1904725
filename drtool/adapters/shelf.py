"""Every object that some copy still holds intact, whichever copy that is."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from drtool.core.model import Marker, Taken
from drtool.core.objects import Inventory, digest_of
from drtool.core.ports import Copy
from drtool.core.selection import Pace, order_sources
from drtool.errors import CopyTrouble, ObjectAltered, ObjectMissing

ROOM = 512 << 20  # bytes of distant objects that are kept at hand
AT_HAND = 256  # objects kept open at once
NEAR, FAR = 1e9, 1e8  # bytes per second that a near and a distant copy are believed to give until they were seen to
SEEN = 8 << 20  # bytes after which a copy's rate is believed


@dataclass(slots=True)
class _Held:
    """An object that was read and found intact, open for more reading."""

    file: BinaryIO
    size: int
    spooled: int  # bytes that it takes of the room: 0 where it is read in place
    close: ExitStack
    readers: int = 0


@dataclass(slots=True)
class _Source:
    """One copy: what it gave, and how fast."""

    copy: Copy
    taken: Taken = field(default_factory=Taken)
    queued: int = 0
    under_way: int = 0
    began: float = 0.0
    busy: float = 0.0  # seconds in which anything was under way

    def pace(self) -> Pace:
        """What is under way counts as time, too: a copy that is never idle would else never be known."""
        believed = NEAR if self.copy.local else FAR
        busy = self.busy + (time.monotonic() - self.began if self.under_way else 0.0)
        seen = self.taken.bytes >= SEEN and busy > 0
        return Pace(rate=self.taken.bytes / busy if seen else believed, queued=self.queued)


class Shelf:
    """The union of the copies of one repository, for reading. Safe for use by several threads.

    An object is read whole and hashed when it is first asked for; what is lost or altered in one copy is
    taken from another, and remembered as damage. Near objects are then read in place, distant ones from unnamed files
    of at most ``room`` bytes together.
    """

    def __init__(
        self, copies: Sequence[Copy], present: Mapping[str, Inventory], config_sha256: str, *, room: int = ROOM
    ) -> None:
        """``copies`` in order of preference; ``present`` what each was found to hold."""
        self._sources = {copy.name: _Source(copy=copy) for copy in copies}
        self._present, self._config_sha256, self._room = present, config_sha256, room
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._coming: dict[str, Future[None]] = {}
        self._out: set[str] = set()
        self._damage: dict[str, set[str]] = {}
        self._gone: set[str] = set()
        self._lock = threading.Lock()

    def names(self, kind: str) -> dict[str, int]:
        """The keys of one kind with their sizes, from all copies."""
        found: dict[str, int] = {}
        for name in reversed(self._sources):  # where sizes differ, the best copy is believed until it is read
            found |= {key: size for key, size in self._present[name].items() if key.partition("/")[0] == kind}
        return found

    def size(self, key: str) -> int:
        with self._lent(key) as held:
            return held.size

    def read(self, key: str, start: int, length: int) -> bytes:
        """Bytes of an intact object. Raises ``ObjectMissing`` where no copy holds it intact."""
        with self._lent(key) as held:
            return os.pread(held.file.fileno(), max(0, min(length, held.size - start)), start)

    def marker(self) -> Marker:
        """Of the first copy that answers. Raises ``CopyTrouble`` when none does."""
        trouble: CopyTrouble | None = None
        for source in self._sources.values():
            try:
                return source.copy.marker()
            except CopyTrouble as error:
                trouble = trouble or error
        assert trouble is not None  # a repository has a copy
        raise trouble

    def taken(self) -> Mapping[str, Taken]:
        return {name: source.taken for name, source in self._sources.items() if source.taken.objects}

    def damage(self) -> Mapping[str, frozenset[str]]:
        """The objects found lost or altered, by copy."""
        with self._lock:
            return {name: frozenset(keys) for name, keys in self._damage.items()}

    def gone(self) -> frozenset[str]:
        """The objects that were asked for and that no copy holds intact."""
        with self._lock:
            return frozenset(self._gone)

    def close(self) -> None:
        for held in self._held.values():
            held.close.close()
        self._held.clear()

    @contextmanager
    def _lent(self, key: str) -> Iterator[_Held]:
        held = self._borrow(key)
        try:
            yield held
        finally:
            with self._lock:
                held.readers -= 1
                self._tidy()

    def _borrow(self, key: str) -> _Held:
        """The object at hand; the first who asks for it fetches it, and the others wait for him."""
        mine = Future[None]()
        while (coming := self._ask(key, mine)) is not mine:
            if isinstance(coming, _Held):
                return coming
            coming.result()
        try:
            held = self._fetch(key)
        except BaseException as error:
            mine.set_exception(error)
            with self._lock:
                del self._coming[key]
            raise
        with self._lock:
            held.readers = 1
            self._held[key] = held
            del self._coming[key]
        mine.set_result(None)
        return held

    def _ask(self, key: str, mine: Future[None]) -> _Held | Future[None]:
        """The object; else what tells that it came: somebody else's promise, or ``mine`` from now on."""
        with self._lock:
            held = self._held.get(key)
            if held is None:
                return self._coming.setdefault(key, mine)
            self._held.move_to_end(key)
            held.readers += 1
            return held

    def _tidy(self) -> None:
        """Let go of what was not asked for longest, as far as nobody reads it."""
        spooled = sum(held.spooled for held in self._held.values())
        for key in [key for key, held in self._held.items() if not held.readers]:
            if spooled <= self._room and len(self._held) <= AT_HAND:
                return
            held = self._held.pop(key)
            spooled -= held.spooled
            held.close.close()

    def _fetch(self, key: str) -> _Held:
        holders = [name for name in self._sources if key in self._present[name]]
        while names := [name for name in holders if name not in self._out]:
            size = self._present[names[0]][key]
            with self._lock:
                paces = {name: self._sources[name].pace() for name in names}
            name = order_sources(names, paces, size)[0]
            try:
                return self._from_one(self._sources[name], key, size)
            except (ObjectMissing, ObjectAltered, OSError):  # OSError: a sector that cannot be read
                with self._lock:
                    self._damage.setdefault(name, set()).add(key)
                holders.remove(name)
            except CopyTrouble:
                self._out.add(name)
        with self._lock:
            self._gone.add(key)
        raise ObjectMissing(f"no copy holds {key} intact")

    def _from_one(self, source: _Source, key: str, size: int) -> _Held:
        with self._under_way(source, size), ExitStack() as stack:
            file = stack.enter_context(source.copy.open(key))
            if hashlib.file_digest(cast(io.FileIO, file), "sha256").hexdigest() != (
                digest_of(key) or self._config_sha256
            ):
                raise ObjectAltered(f"copy {source.copy.name} holds {key} altered")
            length = os.fstat(file.fileno()).st_size
            with self._lock:
                source.taken = Taken(objects=(source.taken.objects or 0) + 1, bytes=source.taken.bytes + length)
            return _Held(file=file, size=length, spooled=0 if source.copy.local else length, close=stack.pop_all())

    @contextmanager
    def _under_way(self, source: _Source, size: int) -> Iterator[None]:
        with self._lock:
            if not source.under_way:
                source.began = time.monotonic()
            source.under_way += 1
            source.queued += size
        try:
            yield
        finally:
            with self._lock:
                source.under_way -= 1
                source.queued -= size
                if not source.under_way:
                    source.busy += time.monotonic() - source.began
