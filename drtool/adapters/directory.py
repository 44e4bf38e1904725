"""A copy in a directory, in restic's own layout."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from drtool.adapters.marker import absent, altered, decode, encode
from drtool.core.model import LockMode, LockSettings, Marker, UploadVerification
from drtool.core.objects import Inventory, is_key
from drtool.core.ports import Address
from drtool.errors import CopyFull, CopyRefused, CopyTrouble, CopyUnreachable, ObjectAltered, ObjectMissing

CHUNK = 1 << 20
ROOM = 32 << 20  # bytes that must fit before a copy counts as writable: two of restic's packs
STALE = 86400.0  # seconds after which a temporary file of restic's is nobody's


class DirectoryCopy:
    """See ``core.ports.Copy``."""

    local = True

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path, self.location = name, path, str(path)
        self._own = path / "drtool"
        self._seen: dict[str, tuple[int, frozenset[str]]] | None = None

    def address(self) -> Address:
        return Address(url=str(self.path))

    def marker(self) -> Marker:
        try:
            text = (self._own / "copy.json").read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise absent(self.name, self.location) from None
        except OSError as error:
            raise self._failure(error) from error
        return decode(text, self.name, self.location)

    def prepare(self) -> None:
        with self._reporting():
            for folder in ("drtool", "data", "keys", "index", "snapshots", "locks"):
                (self.path / folder).mkdir(parents=True, exist_ok=True, mode=0o700)

    def mark(self, marker: Marker) -> None:
        with self._reporting():
            with self._temporary() as temporary:
                temporary.write_text(encode(marker))
                temporary.chmod(0o600)
                _sync(temporary)
                temporary.rename(self._own / "copy.json")
            _sync(self._own)

    def occupied(self) -> str:
        with self._reporting():
            names = {entry.name for entry in os.scandir(self.path)} if self.path.is_dir() else set()
        if "config" in names:
            return "repository"
        foreign = names - {"lost+found", "drtool", "data", "keys", "index", "snapshots", "locks"}
        return f"other files ({min(foreign)})" if foreign else ""

    def inventory(self) -> tuple[Inventory, int]:
        with self._reporting():
            self.path.stat()  # when the root itself is gone the copy is absent, not empty
            found = {
                key: entry.stat(follow_symlinks=False).st_size
                for folder in ("", "keys/", "index/", "snapshots/", *self._pack_folders())
                for entry in _entries(self.path / folder)
                if is_key(key := folder + entry.name) and entry.is_file(follow_symlinks=False)
            }
            locks = sum(1 for _ in _entries(self.path / "locks"))
        return found, locks

    def newcomers(self) -> Collection[str]:
        """Looks only into the folders whose time of change has changed."""
        before, new = self._seen, set[str]()
        self._seen = dict(before or {})
        with self._reporting():
            for folder in self._pack_folders():
                changed = (self.path / folder).stat().st_mtime_ns
                known = self._seen.get(folder, (0, frozenset[str]()))
                if known[0] != changed:
                    keys = frozenset(
                        key for entry in _entries(self.path / folder) if is_key(key := folder + entry.name)
                    )
                    self._seen[folder] = (changed, keys)
                    new |= keys - known[1]
        return new if before is not None else ()

    @contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        with self._reporting(key):
            stream = Readable(self.path / key)
        with stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            yield cast(BinaryIO, stream)

    def digest(self, key: str) -> str:
        with self.open(key) as stream:
            return hashlib.file_digest(cast(io.FileIO, stream), "sha256").hexdigest()

    def put(self, key: str, source: Callable[[], AbstractContextManager[BinaryIO]], sha256: str) -> None:
        with source() as stream, self._reporting(), self._temporary() as temporary:
            if _write(stream, temporary) != sha256:
                raise altered(key)
            final = self.path / key
            if not final.parent.is_dir():
                final.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                _sync(final.parent.parent)
            temporary.rename(final)
            _sync(final.parent)

    def stored_digest(self, key: str) -> str | None:
        return None

    def remove(self, keys: Collection[str]) -> None:
        with self._reporting():
            for key in keys:
                (self.path / key).unlink(missing_ok=True)
            for folder in {(self.path / key).parent for key in keys}:
                if folder.is_dir():
                    _sync(folder)

    def revive(self, keys: Collection[str]) -> frozenset[str]:
        return frozenset()

    def lock_settings(self) -> LockSettings:
        return LockSettings(versioning=False, object_lock=False)

    def protected_until(self, keys: Collection[str], mode: LockMode = LockMode.GOVERNANCE) -> Mapping[str, datetime]:
        return {}

    def protect(self, keys: Collection[str], until: datetime, mode: LockMode) -> frozenset[str]:
        raise CopyRefused(f"copy {self.name}: a directory locks nothing", copy=self.name, hint="use an S3 bucket")

    def probe(self) -> UploadVerification:
        return UploadVerification.LOCAL_HASH

    def check_room(self) -> None:
        with self._reporting(), self._temporary() as temporary:
            descriptor = os.open(temporary, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, ROOM)
            finally:
                os.close(descriptor)

    def sweep(self) -> None:
        """Also what killed restics left: no restic command ever removes it (restic issue 4372)."""
        shutil.rmtree(self._own / "tmp", ignore_errors=True)
        with self._reporting():
            for folder in self._pack_folders():
                for entry in _entries(self.path / folder):
                    if "-tmp-" in entry.name and time.time() - entry.stat().st_mtime > STALE:
                        Path(entry.path).unlink(missing_ok=True)

    def _pack_folders(self) -> list[str]:
        return sorted(f"data/{entry.name}/" for entry in _entries(self.path / "data") if entry.is_dir())

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        """A name for a file on the same file system, which does not outlive the act."""
        folder = self._own / "tmp"
        folder.mkdir(exist_ok=True, mode=0o700)  # never its parents: where the medium is not mounted nothing is made
        path = folder / uuid.uuid4().hex
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextmanager
    def _reporting(self, key: str = "") -> Iterator[None]:
        """The operating system's errors in drtool's words."""
        try:
            yield
        except FileNotFoundError as error:
            if key and self.path.is_dir():
                raise ObjectMissing(f"copy {self.name} has no {key}") from None
            raise self._failure(error) from error
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> CopyTrouble:
        text = f"copy {self.name} in {self.path}: {(error.strerror or str(error)).lower()}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return CopyFull(text, copy=self.name, hint=f"make room on the medium of {self.path}")
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return absent(self.name, self.location)
        if error.errno in (errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN):
            return CopyUnreachable(text, copy=self.name, hint="check the mount")
        return CopyRefused(text, copy=self.name, hint=f"check the disk and the rights of {self.path}")


class Readable(io.FileIO):
    """A file of an object. What cannot be read is as good as altered: it is healed from another copy."""

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            return super().read(-1 if size is None else size) or b""
        except OSError as error:
            raise self._altered(error) from error

    def readinto(self, buffer: Any, /) -> int:
        try:
            return super().readinto(buffer) or 0
        except OSError as error:
            raise self._altered(error) from error

    def _altered(self, error: OSError) -> ObjectAltered:
        return ObjectAltered(
            f"{self.name!s} cannot be read: {(error.strerror or str(error)).lower()}", hint="drtool backup"
        )


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        yield from entries


def _write(stream: BinaryIO, path: Path) -> str:
    """Write the stream to a new file, on disk when this returns; its SHA-256."""
    digest = hashlib.sha256()
    with path.open("xb", buffering=0) as file:
        path.chmod(0o400)  # as restic does: an object never changes
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            view = memoryview(chunk)
            while view:
                view = view[file.write(view) :]
        os.fsync(file.fileno())
    return digest.hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
