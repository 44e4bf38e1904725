"""A copy below a prefix of an S3 bucket, in restic's own layout.

No two servers verify the same thing (docs/design.md), so ``probe`` finds out what this one does.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast
from urllib.parse import urlsplit

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from drtool.adapters.directory import Readable
from drtool.adapters.marker import absent, altered, decode, encode
from drtool.adapters.versions import NotLocked, Versions
from drtool.core.model import Immutability, LockMode, LockSettings, Marker, UploadVerification
from drtool.core.objects import Inventory, digest_of, is_key
from drtool.core.ports import Address
from drtool.errors import (
    CopyAbsent,
    CopyFull,
    CopyRefused,
    CopyUnreachable,
    DrtoolError,
    MarkerDamaged,
    ObjectMissing,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHUNK = 1 << 20
CONNECT = 10.0  # seconds until a connection must stand
ANSWER = 30.0  # seconds until an answer must begin
WORKERS = 8  # requests about single objects under way at once

MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
NOT_AS_SENT = frozenset(
    {
        "BadDigest",
        "InvalidDigest",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
        "IncompleteBody",
    }
)
NOT_LOCKED = frozenset({"ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration"})
MAKE_IT_LOCK = "object lock is chosen when a bucket is made; see docs/s3-policies.md"
FULL = frozenset({"QuotaExceeded", "EntityTooLarge", "InsufficientStorage", "507", "XMinioStorageFull"})
HELPED_BY_WAITING = frozenset(
    {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "Throttling", "ThrottlingException",
     "OperationAborted", "TooManyRequests", "429", "500", "502", "503", "504"}
)  # fmt: skip
HINTS = {
    "NoSuchBucket": "create the bucket, or correct `bucket:` in the estate",
    "InvalidAccessKeyId": "check the access key in the credentials of this copy",
    "SignatureDoesNotMatch": "check the secret key in the credentials of this copy",
    "AccessDenied": "check what the key of this copy may do",
    "403": "check the credentials of this copy and what its key may do",
    "ExpiredToken": "renew the session token of this copy",
    "501": "this server does not know that request",
    "RequestTimeTooSkewed": "set the clock of this machine right",
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in which bucket. ``prefix`` has no slash at its ends and may be empty."""

    endpoint: str
    bucket: str
    prefix: str
    region: str | None = None
    ca: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Where the keys lie: a profile, a file in the AWS shared-credentials format, or the AWS chain."""

    profile: str | None = None
    file: Path | None = None


class S3Copy:
    """See ``core.ports.Copy``. ``patience`` is in seconds. With ``immutability``, objects are locked from ``put`` on;

    the marker is not: it holds nothing that ``copies init`` could not write anew.
    """

    local = False

    def __init__(
        self,
        name: str,
        place: Place,
        credentials: Credentials,
        *,
        patience: float,
        spool: Path,
        immutability: Immutability | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name, self.place = name, place
        self.location = "/".join(filter(None, (f"s3:{place.endpoint}", place.bucket, place.prefix)))
        self.verification: UploadVerification | None = None
        self._credentials, self._patience, self._spool = credentials, patience, spool
        self._immutability, self._now = immutability, now
        self._root = f"{place.prefix}/" if place.prefix else ""
        self._seen: frozenset[str] | None = None
        self._building = threading.Lock()
        self._clients: dict[bool, S3Client] = {}
        self._versions = Versions(bucket=place.bucket, root=self._root, ask=self._try)

    def address(self) -> Address:
        keys = self._try(lambda s3: self._session.get_credentials())
        if keys is None:
            raise CopyRefused(
                f"copy {self.name}: no credentials found", copy=self.name, hint="name them by `credentials:`"
            )
        frozen = keys.get_frozen_credentials()
        lines = [
            "[default]",
            f"aws_access_key_id={frozen.access_key}",
            f"aws_secret_access_key={frozen.secret_key}",
        ]
        if frozen.token:
            lines.append(f"aws_session_token={frozen.token}")
        options = [f"s3.bucket-lookup={'path' if self._by_path else 'auto'}"]
        if self.place.region:
            options.append(f"s3.region={self.place.region}")
        return Address(
            url=self.location,
            options=tuple(part for option in options for part in ("-o", option))
            + (("--cacert", str(self.place.ca)) if self.place.ca else ()),
            env={"AWS_PROFILE": "default"},
            secrets={"AWS_SHARED_CREDENTIALS_FILE": "\n".join(lines).encode() + b"\n"},
        )

    def marker(self) -> Marker:
        try:
            return decode(self._small("drtool/copy.json"), self.name, self.location)
        except ObjectMissing:
            raise absent(self.name, self.location) from None

    def prepare(self) -> None:
        """Nothing to do: prefixes come with their objects. The bucket must be there."""

    def mark(self, marker: Marker) -> None:
        self._store("drtool/copy.json", encode(marker).encode())

    def occupied(self) -> str:
        page = self._try(
            lambda s3: s3.list_objects_v2(Bucket=self.place.bucket, Prefix=self._root, Delimiter="/", MaxKeys=1000)
        )
        names = {item["Key"].removeprefix(self._root) for item in page.get("Contents", ())}
        folders = {item["Prefix"].removeprefix(self._root) for item in page.get("CommonPrefixes", ())}
        if "config" in names:
            return "repository"
        foreign = (names - {""}) | folders - {"drtool/", "data/", "keys/", "index/", "snapshots/", "locks/"}
        return f"other objects ({min(foreign)})" if foreign else ""

    def inventory(self) -> tuple[Inventory, int]:
        found: dict[str, int] = {}
        locks = 0
        for key, size in self._list(""):
            if is_key(key):
                found[key] = size
            locks += key.startswith("locks/")
        return found, locks

    def newcomers(self) -> Collection[str]:
        before, self._seen = self._seen, frozenset(key for key, _ in self._list("data/") if is_key(key))
        return self._seen - before if before is not None else ()

    @contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        """Fetches the object whole into an unnamed file, so that a dropped connection is retried here."""
        with tempfile.TemporaryFile(dir=self._spool) as file:
            self._fetch(key, file)
            file.seek(0)
            yield cast(BinaryIO, file)

    def digest(self, key: str) -> str:
        def read() -> str:
            digest = hashlib.sha256()
            for chunk in self._body(key):
                digest.update(chunk)
            return digest.hexdigest()

        return self._try(lambda s3: read(), key)

    def put(self, key: str, source: Callable[[], AbstractContextManager[BinaryIO]], sha256: str) -> None:
        with source() as stream, self._seekable(stream) as file:
            body = _WideReads(file.fileno(), closefd=False)
            md5 = "" if self._enforced is UploadVerification.SHA256 else _check(body, key, sha256)
            self._upload(key, body, sha256, md5)
            if self._enforced is UploadVerification.READ_BACK and self.digest(key) != sha256:
                self._remove(key)
                raise CopyRefused(
                    f"copy {self.name} stored {key} altered", copy=self.name, hint="run drtool backup again"
                )

    def stored_digest(self, key: str) -> str | None:
        """Only a server that compared it with the bytes has one; others merely repeat what they were told."""
        if self._enforced is not UploadVerification.SHA256:
            return None

        def ask(s3: S3Client) -> str | None:
            told = s3.head_object(Bucket=self.place.bucket, Key=self._root + key, ChecksumMode="ENABLED")
            checksum = told.get("ChecksumSHA256")
            return base64.b64decode(checksum).hex() if checksum and "-" not in checksum else None

        return self._try(ask, key)

    def remove(self, keys: Collection[str]) -> None:
        """One request for each object: not every server knows the one for many."""
        for key in keys:
            with suppress(ObjectMissing):
                self._try(lambda s3, key=key: s3.delete_object(Bucket=self.place.bucket, Key=self._root + key), key)  # type: ignore[misc]

    def revive(self, keys: Collection[str]) -> frozenset[str]:
        """What ``config`` must hash to is told by the marker; without one it is left alone."""
        if not keys or not self._versions.ever_kept():
            return frozenset()
        expected = {key: digest_of(key) or self._config_sha256() for key in keys}
        return self._those(
            keys, lambda key: bool(expected[key]) and self._versions.revive(key, expected[key], self._lock)
        )

    def lock_settings(self) -> LockSettings:
        return self._versions.settings()

    def protected_until(self, keys: Collection[str], mode: LockMode = LockMode.GOVERNANCE) -> Mapping[str, datetime]:
        if not self._locks:
            return {}
        ends: dict[str, datetime] = {}

        def ask(key: str) -> bool:
            if end := self._versions.locked_until(key, mode):
                ends[key] = end
            return True

        self._those(keys, ask)
        return ends

    def protect(self, keys: Collection[str], until: datetime, mode: LockMode) -> frozenset[str]:
        """Only where the bucket says that it locks: rclone takes a request to lock for the object's new content."""
        if not self._locks:
            raise CopyRefused(f"copy {self.name}: its bucket does not lock objects", copy=self.name, hint=MAKE_IT_LOCK)
        return self._those(keys, lambda key: self._versions.lock(key, until, mode))

    def probe(self) -> UploadVerification:
        """Which deliberately wrong value this server refuses, the strongest first."""
        sent, claimed = b"drtool writes this to see", b"whether you compare it   "
        sha256 = base64.b64encode(hashlib.sha256(claimed).digest()).decode()
        md5 = base64.b64encode(hashlib.md5(claimed, usedforsecurity=False).digest()).decode()
        self._store("drtool/probe", sent)
        if self._refuses(body=sent, ChecksumSHA256=sha256):
            found = UploadVerification.SHA256
        elif self._refuses(body=claimed, instead=sent):
            found = UploadVerification.PAYLOAD
        elif self._refuses(body=sent, ContentMD5=md5):
            found = UploadVerification.MD5
        else:
            found = UploadVerification.READ_BACK
        self._remove("drtool/probe")
        self.verification = found
        return found

    def check_room(self) -> None:
        self._store("drtool/probe", b"room?")
        self._remove("drtool/probe")

    def sweep(self) -> None:
        """Nothing to do: an upload that was cut is not there at all."""

    # Requests

    @cached_property
    def _locks(self) -> bool:
        """Whether the bucket says that it can lock objects."""
        return bool(self._versions.settings().object_lock)

    @property
    def _lock(self) -> dict[str, Any]:
        """The lock of an object that is written now, where one is declared and the bucket can."""
        if not self._immutability or not self._locks:
            return {}
        until = self._now().replace(microsecond=0) + self._immutability.period
        return {"ObjectLockMode": self._immutability.mode.value.upper(), "ObjectLockRetainUntilDate": until}

    def _those(self, keys: Collection[str], act: Callable[[str], bool]) -> frozenset[str]:
        """The keys for which the act is true, several at once; raises what the first of them that fails raises."""
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="s3") as pool:
            try:
                return frozenset(key for key, true in zip(keys, pool.map(act, keys), strict=True) if true)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _config_sha256(self) -> str:
        with suppress(CopyAbsent, MarkerDamaged):
            return self.marker().config_sha256
        return ""

    @property
    def _enforced(self) -> UploadVerification:
        return self.verification or self.probe()

    def _upload(self, key: str, body: _WideReads, sha256: str, md5: str) -> None:
        extra: dict[str, Any] = ({"ContentMD5": md5} if md5 else {}) | self._lock
        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()

        def send(s3: S3Client) -> None:
            body.seek(0)
            s3.put_object(
                Bucket=self.place.bucket,
                Key=self._root + key,
                Body=cast(Any, body),
                ChecksumSHA256=checksum,
                **extra,
            )

        def refused() -> None:
            """The server got other bytes than named: ours to blame, or the line's?"""
            _check(body, key, sha256)

        self._try(send, key, signed=self._enforced is UploadVerification.PAYLOAD, not_as_sent=refused)

    def _refuses(self, *, body: bytes, instead: bytes | None = None, **claims: str) -> bool:
        """Whether the server refuses ``body`` with these claims; ``instead`` is swapped in after signing."""

        def swap(request: Any, **_: Any) -> None:
            request.body = instead

        def send(s3: S3Client) -> bool:
            try:
                s3.put_object(Bucket=self.place.bucket, Key=f"{self._root}drtool/probe", Body=body, **cast(Any, claims))
            except s3.exceptions.ClientError as error:
                if _code(error) in NOT_AS_SENT or _status(error) == 400:
                    return True
                raise
            return False

        if instead is None:
            return self._try(send)
        events = self._client(signed=True).meta.events
        events.register("before-send.s3.PutObject", swap, unique_id="drtool-probe")
        try:
            return self._try(send, signed=True)
        finally:
            events.unregister("before-send.s3.PutObject", swap, unique_id="drtool-probe")

    def _small(self, name: str) -> bytes:
        return self._try(lambda s3: b"".join(self._body(name)), name)

    def _store(self, name: str, content: bytes) -> None:
        self._try(lambda s3: s3.put_object(Bucket=self.place.bucket, Key=self._root + name, Body=content))

    def _remove(self, name: str) -> None:
        with suppress(CopyRefused):  # a key that may not delete is a good key
            self._try(lambda s3: s3.delete_object(Bucket=self.place.bucket, Key=self._root + name))

    def _list(self, below: str) -> Iterator[tuple[str, int]]:
        token: str | None = None
        while True:
            extra: dict[str, Any] = {"ContinuationToken": token} if token else {}
            page = self._try(
                lambda s3, extra=extra: s3.list_objects_v2(  # type: ignore[misc]
                    Bucket=self.place.bucket, Prefix=self._root + below, **extra
                )
            )
            for item in page.get("Contents", ()):
                yield item["Key"].removeprefix(self._root), item["Size"]
            token = page.get("NextContinuationToken")
            if not token:
                return

    def _fetch(self, key: str, file: Any) -> None:
        def fetch(s3: S3Client) -> None:
            file.seek(0)
            file.truncate()
            for chunk in self._body(key):
                file.write(chunk)
            file.flush()

        self._try(fetch, key)

    def _body(self, key: str) -> Iterator[bytes]:
        answer = self._client().get_object(Bucket=self.place.bucket, Key=self._root + key)
        with closing(answer["Body"]) as body:
            yield from body.iter_chunks(CHUNK)

    @contextmanager
    def _seekable(self, stream: BinaryIO) -> Iterator[BinaryIO]:
        if stream.seekable():
            yield stream
            return
        with tempfile.TemporaryFile(dir=self._spool) as file:
            while chunk := stream.read(CHUNK):
                file.write(chunk)
            file.flush()
            yield cast(BinaryIO, file)

    def _try(
        self,
        act: Callable[[S3Client], T],
        key: str = "",
        *,
        signed: bool = False,
        not_as_sent: Callable[[], None] = lambda: None,
    ) -> T:
        """Do one request, again while that can help and patience lasts; errors in drtool's words."""
        attempts = Retrying(
            retry=retry_if_exception_type(CopyUnreachable),
            stop=stop_after_delay(self._patience),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            reraise=True,
        )

        def once() -> T:
            try:
                return act(self._client(signed=signed))
            except DrtoolError:
                raise
            except Exception as error:
                failure = self._failure(error, key)
                if isinstance(failure, _NotAsSent):
                    not_as_sent()
                raise failure from error

        return attempts(once)

    def _failure(self, error: Exception, key: str) -> DrtoolError:
        from botocore import exceptions as aws

        if isinstance(inner := getattr(error, "kwargs", {}).get("error"), DrtoolError):
            return inner  # what the body raised while it was read
        where = f"copy {self.name} at {self.place.endpoint}"
        if isinstance(error, aws.ClientError):
            return self._answered(error, where, key)
        if isinstance(error, aws.SSLError):
            return CopyRefused(
                f"{where}: its certificate is not trusted", copy=self.name, hint="give a private CA by `ca:`"
            )
        if isinstance(error, aws.HTTPClientError | aws.IncompleteReadError | aws.ConnectionError):
            return CopyUnreachable(
                f"{where} does not answer ({type(error).__name__})",
                copy=self.name,
                hint="check network and server",
            )
        if isinstance(error, aws.BotoCoreError):
            return CopyRefused(
                f"{where}: {_first_lower(str(error))}",
                copy=self.name,
                hint="check `credentials:` of this copy",
            )
        if isinstance(error, OSError):
            why = (error.strerror or str(error)).lower()
            return CopyRefused(f"copy {self.name}: {why} in {self._spool}", copy=self.name, hint="make room there")
        raise error

    def _answered(self, error: Any, where: str, key: str) -> DrtoolError:
        code, status = _code(error), _status(error)
        if code == "NoSuchBucket":
            return CopyRefused(f"{where}: bucket {self.place.bucket} does not exist", copy=self.name, hint=HINTS[code])
        if key and (code in MISSING or status == 404) and code not in NOT_LOCKED:
            return ObjectMissing(f"copy {self.name} has no {key}")
        if code in NOT_AS_SENT:
            return _NotAsSent(f"{where} got {key} altered ({code})", copy=self.name)
        if code in FULL or status == 507:
            return CopyFull(f"{where} has no room left ({code})", copy=self.name, hint="raise the quota, or make room")
        if code in HELPED_BY_WAITING or status in (429, 500) or status > 501:  # 501: will never know that request
            return CopyUnreachable(f"{where} answers {code or status}", copy=self.name, hint="check the server")
        kind = NotLocked if code in NOT_LOCKED else CopyRefused
        return kind(
            f"{where} refuses: {code or status}",
            copy=self.name,
            hint=HINTS.get(code, HINTS.get(str(status), "")),
        )

    # Clients

    def _client(self, *, signed: bool = False) -> S3Client:
        """One client for all threads. ``signed``: the payload's hash is signed also over TLS."""
        with self._building:
            if signed not in self._clients:
                self._clients[signed] = self._build(signed)
            return self._clients[signed]

    def _build(self, signed: bool) -> S3Client:
        from botocore.config import Config

        style: Any = {"addressing_style": "path" if self._by_path else "auto", "payload_signing_enabled": signed}
        client: S3Client = self._session.create_client(
            "s3",
            region_name=self.place.region or "us-east-1",
            endpoint_url=self.place.endpoint,
            verify=str(self.place.ca) if self.place.ca else None,
            config=Config(
                connect_timeout=min(CONNECT, self._patience),
                read_timeout=min(ANSWER, self._patience),
                retries={"total_max_attempts": 1, "mode": "standard"},
                max_pool_connections=16,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3=style,
            ),
        )
        return client

    @cached_property
    def _session(self) -> Any:
        """botocore without boto3, whose own layer would add nothing here but a tenth of a second."""
        import botocore.session

        session = botocore.session.Session(profile=self._credentials.profile)
        session.register_component("data_loader", _only_s3())
        if self._credentials.file:
            session.set_config_variable("credentials_file", str(self._credentials.file))
            session.set_config_variable("profile", self._credentials.profile or "default")
        return session

    @property
    def _by_path(self) -> bool:
        """Host names of buckets only make sense below a host name, not below an address."""
        host = urlsplit(self.place.endpoint).hostname or ""
        with suppress(ValueError):
            ipaddress.ip_address(host)
            return True
        return host == "localhost"


def _only_s3() -> Any:
    """botocore's loader of service descriptions, without the walk through four hundred services' folders."""
    from botocore.loaders import Loader

    class OnlyS3(Loader):
        def list_available_services(self, type_name: str) -> list[str]:
            return ["s3", "sts", "sso", "sso-oidc"]  # the others are for profiles that take on a role

    return OnlyS3()


class _NotAsSent(CopyUnreachable):
    """The server got other bytes than were named; unless ours are wrong, sending again helps."""


class _WideReads(Readable):
    """A file that hands out a mebibyte at a time: http.client would ask for 16 KiB."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(max(size, CHUNK) if size is not None and size > 0 else -1)


def _check(body: _WideReads, key: str, sha256: str) -> str:
    """The MD5 (base64) of bytes that do hash to ``sha256``. Raises ``ObjectAltered``."""
    body.seek(0)
    strong, weak = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    while chunk := body.read(CHUNK):
        strong.update(chunk)
        weak.update(chunk)
    if strong.hexdigest() != sha256:
        raise altered(key)
    return base64.b64encode(weak.digest()).decode()


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _first_lower(text: str) -> str:
    return text[:1].lower() + text[1:]
