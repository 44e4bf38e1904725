"""The versions of an S3 copy's objects, and their locks: what the server keeps below what a listing shows.

With versioning, a removal only lays a delete marker on top of an object, and overwriting lays a newer version on top.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from drtool.core.model import Immutability, LockMode, LockSettings
from drtool.errors import CopyRefused, ObjectMissing

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHUNK = 1 << 20

T = TypeVar("T")


class NotLocked(CopyRefused):
    """The bucket has no object lock, or the object no lock."""


class Ask(Protocol):
    """Do one request, again while that can help; errors in drtool's words (``S3Copy``)."""

    def __call__(self, act: Callable[[S3Client], T], key: str = "", /) -> T: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """The objects below one prefix. ``lock``: the headers with which a copied version is locked."""

    bucket: str
    root: str
    ask: Ask

    def kept(self) -> bool | None:
        """Whether the bucket keeps versions from now on; None where the server does not tell."""
        return None if (status := self._status()) is None else status == "Enabled"

    def settings(self) -> LockSettings:
        """What the bucket says of itself."""
        found = self._lock_configuration()
        default = (found or {}).get("Rule", {}).get("DefaultRetention")
        return LockSettings(
            versioning=self.kept(),
            object_lock=None if found is None else found.get("ObjectLockEnabled") == "Enabled",
            default=_immutability(default) if default else None,
        )

    def locked_until(self, key: str, mode: LockMode) -> datetime | None:
        """When the lock of an object's visible version ends, if there is one in this mode or a stronger one."""
        try:
            found = self.ask(lambda s3: s3.get_object_retention(Bucket=self.bucket, Key=self.root + key), key)
        except (NotLocked, ObjectMissing):
            return None
        lock = found.get("Retention", {})
        if "RetainUntilDate" not in lock or not _mode(lock).satisfies(mode):
            return None
        return lock["RetainUntilDate"].astimezone(UTC)

    def lock(self, key: str, until: datetime, mode: LockMode) -> bool:
        """Lock an object's visible version until then, if not for longer already; False where there is none."""
        wanted: Any = {"Mode": mode.value.upper(), "RetainUntilDate": until}
        name = self.root + key
        try:
            self.ask(lambda s3: s3.put_object_retention(Bucket=self.bucket, Key=name, Retention=wanted), key)
        except ObjectMissing:
            return False
        except CopyRefused:
            if (end := self.locked_until(key, mode)) is None or end < until:
                raise
        return True

    def revive(self, key: str, sha256: str, lock: dict[str, Any]) -> bool:
        """Let the newest version with these bytes be seen again, and whether it is.

        What lies above it is removed, or where that is refused, covered by a copy of it.
        """
        try:
            entries = list(self._entries(key))
            intact = next((version for version in entries if self._is(version, key, sha256)), None)
            if intact is None:
                return False
            try:
                self._uncover(key, intact["VersionId"], len(entries))
            except CopyRefused:
                self._copy_on_top(key, intact["VersionId"], lock)
        except (CopyRefused, ObjectMissing):
            return False
        return self._digest(key) == sha256

    def _lock_configuration(self) -> dict[str, Any] | None:
        """None where the server does not tell. One that does not know the request may answer with anything else."""
        try:
            answer = self.ask(lambda s3: s3.get_object_lock_configuration(Bucket=self.bucket))
        except NotLocked:
            return {}
        except CopyRefused:
            return None
        return cast(dict[str, Any], answer.get("ObjectLockConfiguration", {}))

    def ever_kept(self) -> bool:
        """Whether there may be older versions: also after versioning was suspended."""
        return bool(self._status())

    def _status(self) -> str | None:
        try:
            return str(self.ask(lambda s3: s3.get_bucket_versioning(Bucket=self.bucket)).get("Status", ""))
        except CopyRefused:
            return None

    def _entries(self, key: str) -> Iterator[dict[str, Any]]:
        """Versions and delete markers of one object; the versions newest first. Longer names share the prefix."""
        name, extra = self.root + key, dict[str, Any]()
        while True:
            page: Any = self.ask(
                lambda s3, extra=extra: s3.list_object_versions(Bucket=self.bucket, Prefix=name, **extra)  # type: ignore[misc]
            )
            yield from (one for one in page.get("Versions", ()) if one["Key"] == name)
            yield from (one | {"marker": True} for one in page.get("DeleteMarkers", ()) if one["Key"] == name)
            if not page.get("IsTruncated"):
                return
            extra = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}

    def _is(self, entry: dict[str, Any], key: str, sha256: str) -> bool:
        return "marker" not in entry and self._digest(key, VersionId=entry["VersionId"]) == sha256

    def _digest(self, key: str, **version: Any) -> str:
        def read(s3: S3Client) -> str:
            digest = hashlib.sha256()
            with closing(s3.get_object(Bucket=self.bucket, Key=self.root + key, **version)["Body"]) as body:
                for chunk in body.iter_chunks(CHUNK):
                    digest.update(chunk)
            return digest.hexdigest()

        return self.ask(read, key)

    def _uncover(self, key: str, version: str, most: int) -> None:
        """Remove what lies above a version, one after the other: times are too coarse to tell the order."""
        for _ in range(most):
            top = next((one for one in self._entries(key) if one["IsLatest"]), None)
            if top is None or top["VersionId"] == version:
                return
            above: str = top["VersionId"]
            self.ask(
                lambda s3, above=above: s3.delete_object(Bucket=self.bucket, Key=self.root + key, VersionId=above),  # type: ignore[misc]
                key,
            )

    def _copy_on_top(self, key: str, version: str, lock: dict[str, Any]) -> None:
        name = self.root + key
        self.ask(
            lambda s3: s3.copy_object(
                Bucket=self.bucket,
                Key=name,
                CopySource={"Bucket": self.bucket, "Key": name, "VersionId": version},
                **lock,
            ),
            key,
        )


def _immutability(retention: dict[str, Any]) -> Immutability:
    days = retention.get("Days") or 365 * retention.get("Years", 0)
    return Immutability(days=days, mode=_mode(retention))


def _mode(retention: Any) -> LockMode:
    return LockMode(retention.get("Mode", "").lower() or LockMode.GOVERNANCE)
