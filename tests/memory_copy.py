"""A copy in memory, for tests of flows. It has passed the same contract suite as the real ones."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import BinaryIO

from drtool.adapters.marker import absent, altered, decode, encode
from drtool.core.model import LockMode, LockSettings, Marker, UploadVerification
from drtool.core.objects import Inventory, digest_of, is_key
from drtool.core.ports import Address
from drtool.errors import CopyRefused, CopyTrouble, ObjectMissing

OWN = ("drtool", "data", "keys", "index", "snapshots", "locks")


class MemoryCopy:
    """See ``core.ports.Copy``. ``files`` is all that is seen of it; ``trouble``, once set, is what every act raises.

    ``older``: what was removed or overwritten, oldest first, where the copy ``keeps`` versions.
    """

    def __init__(self, name: str, *, local: bool = True, keeps: bool = False, locking: bool = False) -> None:
        self.name, self.location, self.local = name, f"memory:{name}", local
        self.files: dict[str, bytes] = {}
        self.keeps = keeps
        self.older: dict[str, list[bytes]] = {}
        self.locking, self.locked = locking, dict[str, tuple[datetime, LockMode]]()
        self.asked: list[str] = []  # whose locks were asked for
        self.protected: list[str] = []
        self.trouble: CopyTrouble | None = None
        self._seen: frozenset[str] | None = None
        self._lock = threading.Lock()

    def address(self) -> Address:
        return Address(url=self.location)

    def marker(self) -> Marker:
        found = self._files().get("drtool/copy.json")
        if found is None:
            raise absent(self.name, self.location)
        return decode(found, self.name, self.location)

    def mark(self, marker: Marker) -> None:
        self._store("drtool/copy.json", encode(marker).encode())

    def prepare(self) -> None:
        self._files()

    def occupied(self) -> str:
        files = self._files()
        if "config" in files:
            return "repository"
        foreign = {name.partition("/")[0] for name in files}.difference(OWN)
        return f"other files ({min(foreign)})" if foreign else ""

    def inventory(self) -> tuple[Inventory, int]:
        files = self._files()
        found = {key: len(content) for key, content in files.items() if is_key(key)}
        return found, sum(name.startswith("locks/") for name in files)

    def newcomers(self) -> Collection[str]:
        packs = frozenset(name for name in self._files() if name.startswith("data/") and is_key(name))
        before, self._seen = self._seen, packs
        return packs - before if before is not None else ()

    @contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        files = self._files()
        if key not in files:
            raise ObjectMissing(f"copy {self.name} has no {key}")
        yield io.BytesIO(files[key])

    def digest(self, key: str) -> str:
        with self.open(key) as stream:
            return hashlib.sha256(stream.read()).hexdigest()

    def put(self, key: str, source: Callable[[], AbstractContextManager[BinaryIO]], sha256: str) -> None:
        with source() as stream:
            content = b"".join(iter(lambda: stream.read(1 << 20), b""))
        if hashlib.sha256(content).hexdigest() != sha256:
            raise altered(key)
        self._store(key, content)

    def stored_digest(self, key: str) -> str | None:
        return None

    def remove(self, keys: Collection[str]) -> None:
        self._files()
        with self._lock:
            for key in keys:
                self._cover(key)
                self.files.pop(key, None)

    def revive(self, keys: Collection[str]) -> frozenset[str]:
        self._files()
        return frozenset(key for key in keys if self._revive(key))

    def _revive(self, key: str) -> bool:
        versions = [*self.older.get(key, ()), *([self.files[key]] if key in self.files else [])]
        sound = [one for one in versions if hashlib.sha256(one).hexdigest() == self._expected(key)]
        if self.keeps and sound:
            self._store(key, sound[-1])
        return self.keeps and bool(sound)

    def _expected(self, key: str) -> str:
        known = "drtool/copy.json" in self.files
        return digest_of(key) or (self.marker().config_sha256 if known else "")

    def _cover(self, key: str) -> None:
        if self.keeps and key in self.files:
            self.older.setdefault(key, []).append(self.files[key])

    def lock_settings(self) -> LockSettings:
        self._files()
        return LockSettings(versioning=self.keeps or self.locking, object_lock=self.locking)

    def protected_until(self, keys: Collection[str], mode: LockMode = LockMode.GOVERNANCE) -> Mapping[str, datetime]:
        there = self._files()
        self.asked += keys
        found = {key: self.locked[key] for key in keys if key in self.locked and key in there}
        return {key: until for key, (until, own) in found.items() if own.satisfies(mode)}

    def protect(self, keys: Collection[str], until: datetime, mode: LockMode) -> frozenset[str]:
        there = self._files()
        if not self.locking:
            raise CopyRefused(f"copy {self.name} locks nothing", copy=self.name)
        done = frozenset(key for key in keys if key in there)
        self.protected += sorted(done)
        self.locked |= {key: max(self.locked.get(key, (until, mode)), (until, mode)) for key in done}
        return done

    def probe(self) -> UploadVerification:
        self._files()
        return UploadVerification.LOCAL_HASH

    def check_room(self) -> None:
        self._files()

    def sweep(self) -> None:
        self._files()

    def _store(self, name: str, content: bytes) -> None:
        self._files()
        with self._lock:
            self._cover(name)
            self.files[name] = content

    def _files(self) -> dict[str, bytes]:
        if self.trouble:
            raise self.trouble
        with self._lock:
            return dict(self.files)
