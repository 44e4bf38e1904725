"""A copy in a bucket under stress: wrong keys, dead servers, cut and bent transfers."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from drtool.adapters.s3 import Credentials, Place, S3Copy
from drtool.core.model import UploadVerification
from drtool.errors import CopyRefused, CopyUnreachable, DrtoolError, ObjectAltered
from tests.contracts.test_copy import MARKER, holding, pack, read, sha256
from tests.faultproxy import Fault, FaultProxy, Rule
from tests.servers import KEY, SECRET, Bucket, Rclone, SeaweedFS, client_of, credentials_file, free_port, self_signed

CONTENT = b"pack" * 100_000


@pytest.fixture
def bucket(rclone: Rclone) -> Bucket:
    return rclone.bucket()


@pytest.fixture
def proxy(rclone: Rclone) -> Iterator[FaultProxy]:
    with FaultProxy(rclone.endpoint) as proxy:
        yield proxy


@pytest.fixture
def copy(bucket: Bucket, proxy: FaultProxy, tmp_path: Path) -> S3Copy:
    """A copy that is reached through the proxy; how it verifies is known already."""
    found = bucket.copy("offsite", tmp_path, endpoint=proxy.endpoint)
    found.probe()
    return found


def put(copy: S3Copy, content: bytes = CONTENT) -> None:
    copy.put(pack(content), holding(content), sha256(content))


def stored(bucket: Bucket) -> dict[str, bytes]:
    client = client_of(bucket)
    listed = client.list_objects_v2(Bucket=bucket.name).get("Contents", ())
    return {
        item["Key"].removeprefix("shop/"): client.get_object(Bucket=bucket.name, Key=item["Key"])["Body"].read()
        for item in listed
    }


# What waiting cannot help: an end at once


def test_a_wrong_secret_ends_at_once_and_says_what_to_check(bucket: Bucket, proxy: FaultProxy, tmp_path: Path) -> None:
    wrong = Credentials(file=credentials_file(tmp_path / "wrong", secret="not-the-secret"))
    copy = S3Copy("offsite", Place(endpoint=proxy.endpoint, bucket=bucket.name, prefix=""), wrong, patience=30,
                  spool=tmp_path)  # fmt: skip
    with pytest.raises(CopyRefused, match="refuses: SignatureDoesNotMatch") as raised:
        copy.inventory()
    assert "secret key" in raised.value.hint
    assert len(proxy.requests) == 1


def test_a_missing_bucket_ends_at_once_and_is_named(bucket: Bucket, proxy: FaultProxy, tmp_path: Path) -> None:
    place = Place(endpoint=proxy.endpoint, bucket="no-such-bucket", prefix="shop")
    copy = S3Copy("offsite", place, Credentials(file=bucket.credentials), patience=30, spool=tmp_path)
    with pytest.raises(CopyRefused, match="bucket no-such-bucket does not exist"):
        copy.marker()
    assert len(proxy.requests) == 1


def test_nothing_can_be_put_into_a_missing_bucket(bucket: Bucket, proxy: FaultProxy, tmp_path: Path) -> None:
    place = Place(endpoint=proxy.endpoint, bucket="no-such-bucket", prefix="shop")
    copy = S3Copy("offsite", place, Credentials(file=bucket.credentials), patience=30, spool=tmp_path)
    copy.verification = UploadVerification.MD5
    with pytest.raises(CopyRefused, match="bucket no-such-bucket does not exist"):
        put(copy)


@pytest.mark.parametrize("code", ["AccessDenied", "ExpiredToken", "RequestTimeTooSkewed"])
def test_a_refusal_is_not_tried_again(copy: S3Copy, proxy: FaultProxy, code: str) -> None:
    proxy.rules = [rule := Rule(fault=Fault.STATUS, status=403, code=code)]
    with pytest.raises(CopyRefused, match=f"refuses: {code}") as raised:
        copy.inventory()
    assert raised.value.hint
    assert rule.fired == 1


def test_missing_credentials_say_so(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    place = Place(endpoint=bucket.endpoint, bucket=bucket.name, prefix="")
    copy = S3Copy("offsite", place, Credentials(file=tmp_path / "none"), patience=5, spool=tmp_path)
    with pytest.raises(CopyRefused) as raised:
        copy.inventory()
    assert "credentials" in raised.value.hint


# What waiting can help: tried again, within patience


def test_an_endpoint_that_never_answers_is_given_up_within_patience(
    bucket: Bucket, proxy: FaultProxy, tmp_path: Path
) -> None:
    copy = bucket.copy("offsite", tmp_path, endpoint=proxy.endpoint, patience=1)
    proxy.rules = [Rule(fault=Fault.HANG)]
    begin = time.monotonic()
    with pytest.raises(CopyUnreachable, match="does not answer"):
        copy.inventory()
    assert time.monotonic() - begin < 25  # botocore alone would wait for a minute


def test_a_refused_connection_is_given_up_within_patience(bucket: Bucket, tmp_path: Path) -> None:
    copy = bucket.copy("offsite", tmp_path, endpoint=f"http://127.0.0.1:{free_port()}", patience=1)
    begin = time.monotonic()
    with pytest.raises(CopyUnreachable, match=r"copy offsite at .* does not answer") as raised:
        copy.inventory()
    assert raised.value.copy == "offsite"
    assert time.monotonic() - begin < 25  # botocore alone would wait for a minute


def test_a_server_that_comes_back_in_time_is_no_trouble(copy: S3Copy, proxy: FaultProxy) -> None:
    proxy.down()
    threading.Timer(1, proxy.up).start()
    put(copy)
    assert copy.digest(pack(CONTENT)) == sha256(CONTENT)


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (429, "TooManyRequests")])
def test_a_server_that_is_busy_for_a_while_is_no_trouble(
    copy: S3Copy, proxy: FaultProxy, status: int, code: str
) -> None:
    proxy.rules = [rule := Rule(fault=Fault.STATUS, status=status, code=code, times=3)]
    put(copy)
    assert rule.fired == 3
    assert copy.digest(pack(CONTENT)) == sha256(CONTENT)


def test_a_server_that_stays_busy_is_given_up(bucket: Bucket, proxy: FaultProxy, tmp_path: Path) -> None:
    copy = bucket.copy("offsite", tmp_path, endpoint=proxy.endpoint, patience=1)
    proxy.rules = [Rule(fault=Fault.STATUS)]
    with pytest.raises(CopyUnreachable, match="answers SlowDown"):
        copy.marker()


@pytest.mark.parametrize(
    "rule",
    [
        Rule(fault=Fault.RESET, method="PUT", times=2),
        Rule(fault=Fault.CUT_UPLOAD, method="PUT", at=50_000, times=2),
        Rule(fault=Fault.CUT_UPLOAD, method="PUT", at=0, times=1),
    ],
    ids=lambda rule: f"{rule.fault.name} {rule.at}",
)
def test_a_cut_upload_is_done_again(copy: S3Copy, proxy: FaultProxy, bucket: Bucket, rule: Rule) -> None:
    proxy.rules = [rule]
    put(copy)
    assert rule.fired == rule.times
    assert stored(bucket) == {pack(CONTENT): CONTENT}


def test_an_upload_that_is_always_cut_stores_nothing(bucket: Bucket, proxy: FaultProxy, tmp_path: Path) -> None:
    copy = bucket.copy("offsite", tmp_path, endpoint=proxy.endpoint, patience=1)
    copy.verification = UploadVerification.MD5
    proxy.rules = [Rule(fault=Fault.CUT_UPLOAD, method="PUT", at=50_000)]
    with pytest.raises(CopyUnreachable):
        put(copy)
    assert stored(bucket) == {}


@pytest.mark.parametrize("at", [0, 50_000, len(CONTENT) - 1])
def test_a_cut_download_is_done_again(copy: S3Copy, proxy: FaultProxy, at: int) -> None:
    put(copy)
    proxy.rules = [rule := Rule(fault=Fault.CUT_DOWNLOAD, path="/data/", at=at, times=2)]
    assert read(copy, pack(CONTENT)) == CONTENT
    assert rule.fired == 2


def test_a_digest_of_a_cut_download_is_of_the_whole(copy: S3Copy, proxy: FaultProxy) -> None:
    put(copy)
    proxy.rules = [Rule(fault=Fault.CUT_DOWNLOAD, path="/data/", at=50_000, times=1)]
    assert copy.digest(pack(CONTENT)) == sha256(CONTENT)


# Bytes that change on the way


def bent(at: int = 50_000, times: int = 1 << 30) -> Rule:
    return Rule(fault=Fault.CORRUPT_UPLOAD, method="PUT", path="/data/", at=at, times=times)


@pytest.mark.parametrize("server", ["rclone", "seaweed"])
def test_a_byte_that_flips_on_the_way_up_is_sent_again(
    server: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bucket: Bucket = request.getfixturevalue(server).bucket()
    with FaultProxy(bucket.endpoint) as proxy:
        copy = bucket.copy("offsite", tmp_path, endpoint=proxy.endpoint)
        copy.probe()
        proxy.rules = [rule := bent(times=1)]
        put(copy)
    assert rule.fired == 1
    assert stored(bucket) == {pack(CONTENT): CONTENT}


@pytest.mark.parametrize("server", ["rclone", "seaweed"])
def test_a_line_that_always_flips_a_byte_stores_nothing(
    server: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bucket: Bucket = request.getfixturevalue(server).bucket()
    with FaultProxy(bucket.endpoint) as proxy:
        copy = bucket.copy("offsite", tmp_path, endpoint=proxy.endpoint, patience=1)
        copy.probe()
        proxy.rules = [bent()]
        with pytest.raises(CopyUnreachable, match=r"got data/.* altered"):
            put(copy)
    assert stored(bucket) == {}


def test_without_any_verification_a_flipped_byte_would_be_stored(
    bucket: Bucket, proxy: FaultProxy, tmp_path: Path
) -> None:
    """What the checks above are good for: this server compares no SHA-256."""
    copy = bucket.copy("offsite", tmp_path, endpoint=proxy.endpoint)
    copy.verification = UploadVerification.SHA256
    proxy.rules = [bent()]
    put(copy)
    assert stored(bucket)[pack(CONTENT)] != CONTENT


def test_where_the_server_compares_nothing_the_object_is_read_back(
    bucket: Bucket, proxy: FaultProxy, tmp_path: Path
) -> None:
    copy = bucket.copy("offsite", tmp_path, endpoint=proxy.endpoint)
    copy.verification = UploadVerification.READ_BACK
    # rclone does compare MD5, so the byte flips on the way back: to the reader it is the same.
    proxy.rules = [Rule(fault=Fault.CORRUPT_DOWNLOAD, method="GET", path="/data/", at=50_000)]
    with pytest.raises(CopyRefused, match=r"stored data/.* altered"):
        put(copy)


def test_what_was_read_back_altered_does_not_stay(bucket: Bucket, proxy: FaultProxy, tmp_path: Path) -> None:
    copy = bucket.copy("offsite", tmp_path, endpoint=proxy.endpoint)
    copy.verification = UploadVerification.READ_BACK
    proxy.rules = [Rule(fault=Fault.CORRUPT_DOWNLOAD, method="GET", path="/data/", at=50_000)]
    with pytest.raises(CopyRefused):
        put(copy)
    assert stored(bucket) == {}


def test_a_byte_that_flips_on_the_way_down_is_seen_by_who_puts_it(
    copy: S3Copy, proxy: FaultProxy, seaweed: SeaweedFS, tmp_path: Path
) -> None:
    put(copy)
    other = seaweed.bucket()
    proxy.rules = [Rule(fault=Fault.CORRUPT_DOWNLOAD, path="/data/", at=50_000)]
    with pytest.raises(ObjectAltered):
        other.copy("usb", tmp_path).put(pack(CONTENT), lambda: copy.open(pack(CONTENT)), sha256(CONTENT))
    assert stored(other) == {}


def test_a_probe_waits_for_a_busy_server_and_is_not_misled(copy: S3Copy, proxy: FaultProxy) -> None:
    """A 503 to a wrong checksum is no proof that checksums are compared."""
    proxy.rules = [Rule(fault=Fault.STATUS, method="PUT", skip=1, times=2)]
    assert copy.probe() is UploadVerification.MD5


# TLS


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for the loopback address that nobody has signed but itself, with its key."""
    return self_signed(tmp_path)


def test_a_certificate_that_nobody_vouches_for_ends_at_once(bucket: Bucket, certificate: Path, tmp_path: Path) -> None:
    with FaultProxy(bucket.endpoint, certificate) as proxy:
        copy = bucket.copy("offsite", tmp_path, endpoint=proxy.endpoint, patience=30)
        begin = time.monotonic()
        with pytest.raises(CopyRefused, match="its certificate is not trusted") as raised:
            copy.inventory()
    assert "`ca:`" in raised.value.hint
    assert time.monotonic() - begin < 25


def test_a_private_authority_that_is_named_is_trusted(bucket: Bucket, certificate: Path, tmp_path: Path) -> None:
    with FaultProxy(bucket.endpoint, certificate) as proxy:
        copy = bucket.copy("offsite", tmp_path, endpoint=proxy.endpoint, ca=tmp_path / "certificate")
        copy.mark(MARKER)
        assert copy.marker() == MARKER


# Secrets


@pytest.mark.parametrize("fault", [Fault.STATUS, Fault.RESET])
def test_no_error_tells_a_key(bucket: Bucket, proxy: FaultProxy, tmp_path: Path, fault: Fault) -> None:
    copy = bucket.copy("offsite", tmp_path, endpoint=proxy.endpoint, patience=0.5)
    proxy.rules = [Rule(fault=fault)]
    with pytest.raises(DrtoolError) as raised:
        copy.inventory()
    told = "".join(traceback.format_exception(raised.value)) + raised.value.hint
    assert SECRET not in told
    assert KEY not in told


def test_restic_gets_the_keys_as_a_file_and_not_in_its_environment(bucket: Bucket, tmp_path: Path) -> None:
    address = bucket.copy("offsite", tmp_path).address()
    assert SECRET.encode() in address.secrets["AWS_SHARED_CREDENTIALS_FILE"]
    assert SECRET not in "".join([address.url, *address.options, *address.env.values()])


def test_nothing_of_a_download_stays_in_the_spool(bucket: Bucket, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    copy = bucket.copy("offsite", spool)
    put(copy)
    with copy.open(pack(CONTENT)):
        assert os.listdir(spool) == []
