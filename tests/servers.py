"""Real S3 servers for tests. Each dies with the process that started it, however that ends."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from drtool.adapters.s3 import Credentials, Place, S3Copy
from drtool.core.model import Immutability

PROGRAMS = Path(sys.prefix) / "bin"
KEY, SECRET = "drtool-test-key", "drtool-test-secret"
ROLES = ("drtool-writer", "drtool-reader", "drtool-pruner")
ATTEMPTS = 3
STARTED = 60.0  # seconds after which a server counts as not starting


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket of a running server, and the keys to it in the AWS shared-credentials format."""

    endpoint: str
    name: str
    credentials: Path
    key: str = KEY

    def as_role(self, role: str, folder: Path) -> Bucket:
        """The same bucket with somebody else's keys."""
        return replace(self, credentials=credentials_file(folder / role, key=key_of(role)), key=key_of(role))

    def copy(
        self,
        name: str,
        spool: Path,
        *,
        prefix: str = "shop",
        endpoint: str = "",
        patience: float = 10,
        locked: Immutability | None = None,
        **more: Any,
    ) -> S3Copy:
        """A copy in this bucket; ``endpoint`` where a proxy stands before the server."""
        place = Place(endpoint=endpoint or self.endpoint, bucket=self.name, prefix=prefix, **more)
        keys = Credentials(file=self.credentials)
        return S3Copy(name, place, keys, patience=patience, spool=spool, immutability=locked)


class Server:
    """A program that answers S3 on a loopback port, with a folder of its own."""

    def __init__(self, folder: Path, argv: Callable[[int], Sequence[str]]) -> None:
        self.folder = folder
        self.credentials = credentials_file(folder / "credentials")
        self._argv, self._buckets = argv, 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """A port that was free may be somebody else's a moment later: then the server ends, and another is tried."""
        for _ in range(ATTEMPTS):
            self._start()
            if self._answers():
                return self
        raise RuntimeError(f"no server: {(self.folder / 'log').read_text()[-2000:]}")

    def _start(self) -> None:
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        log = (self.folder / "log").open("ab")
        guard = [shutil.which("setpriv") or "setpriv", "--pdeathsig", "KILL", "--"]
        self._process = subprocess.Popen(
            [*guard, *self._argv(self.port)], stdout=log, stderr=log, cwd=self.folder, start_new_session=True
        )
        log.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def bucket(self, *, versioned: bool = False, locking: bool = False) -> Bucket:
        """A new, empty bucket; one that locks keeps versions, too."""
        self._buckets += 1
        bucket = Bucket(endpoint=self.endpoint, name=f"test-{self._buckets}", credentials=self.credentials)
        client = client_of(bucket)
        client.create_bucket(Bucket=bucket.name, **({"ObjectLockEnabledForBucket": True} if locking else {}))
        if versioned:
            client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
        return bucket

    def _answers(self) -> bool:
        """Whether this very process answers, and not a stranger on its port. Else it is ended."""
        assert self._process
        end = time.monotonic() + STARTED
        while self._process.poll() is None and time.monotonic() < end:
            if answers(self.endpoint) and self._process.poll() is None:
                return True
            time.sleep(0.05)
        self._process.kill()
        self._process.wait()
        return False


class Rclone(Server):
    """Compares Content-MD5. Buckets are folders of ``data``, objects plain files in them."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        super().__init__(
            folder,
            lambda port: [
                str(PROGRAMS / "rclone"),
                "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}", str(self.data),
            ],
        )  # fmt: skip


class SeaweedFS(Server):
    """Compares x-amz-checksum-sha256; knows versions, object lock and policies.

    Those of ``ROLES`` may do only what a bucket's policy allows them.
    """

    def __init__(self, folder: Path) -> None:
        (folder / "data").mkdir(parents=True)
        identities = [_identity("admin", KEY, "Admin", "Read", "List", "Tagging", "Write")]
        identities += [_identity(name, key_of(name)) for name in ROLES]
        (folder / "s3.json").write_text(json.dumps({"identities": identities}))
        super().__init__(folder, lambda port: seaweed_command(folder, port))


def _identity(name: str, key: str, *actions: str) -> dict[str, Any]:
    return {"name": name, "credentials": [{"accessKey": key, "secretKey": SECRET}], "actions": actions}


def key_of(role: str) -> str:
    return f"{role}-test-key"


def seaweed_command(folder: Path, port: int) -> list[str]:
    options = {
        "dir": folder / "data", "ip": "127.0.0.1", "ip.bind": "127.0.0.1",
        "s3.port": port, "s3.config": folder / "s3.json",
        "master.telemetry": "false", "master.electionTimeout": "1s", "master.volumeSizeLimitMB": 64,
        "volume.max": 10000, "s3.port.iceberg": 0, "s3.port.lance": 0,
        "filer.localSocket": folder / "filer.sock", "s3.localSocket": folder / "s3.sock",
        **{f"{part}.{name}": free_port() for part in ("master", "volume", "filer") for name in ("port", "port.grpc")},
        "s3.port.grpc": free_port(),
    }  # fmt: skip
    return [str(PROGRAMS / "weed"), "server", "-filer", "-s3", *(f"-{name}={value}" for name, value in options.items())]


def client_of(bucket: Bucket) -> Any:
    """A boto3 client of the test's own, which tries for a while: a server that has just started may still settle."""
    return _client(bucket.endpoint, bucket.key)


@cache
def _client(endpoint: str, key: str) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=SECRET,
        config=Config(
            retries={"mode": "standard", "max_attempts": 10},
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",  # what lies there is wanted, altered or not
        ),
    )


def credentials_file(path: Path, *, key: str = KEY, secret: str = SECRET) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"[default]\naws_access_key_id={key}\naws_secret_access_key={secret}\n")
    path.chmod(0o600)
    return path


def self_signed(folder: Path) -> Path:
    """A certificate for the loopback address with its key, in one file; ``certificate`` beside it lacks the key."""
    key, certificate = folder / "key", folder / "certificate"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=drtool-test", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    (folder / "certificate.pem").write_text(certificate.read_text() + key.read_text())
    return folder / "certificate.pem"


def answers(endpoint: str) -> bool:
    try:
        urllib.request.urlopen(endpoint, timeout=5).close()  # noqa: S310 - our own loopback address
    except urllib.error.HTTPError as answer:
        return answer.code < 500
    except OSError:
        return False
    return True


def free_port() -> int:
    """A port that nobody listens on now; away from those that the kernel hands out by itself."""
    while True:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = int(taken.getsockname()[1])
        if port < 55000:  # SeaweedFS adds 10000 where a gRPC port is not named
            return port
