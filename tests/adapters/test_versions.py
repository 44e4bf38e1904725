"""An attacker with the writer's key against a bucket that locks (SeaweedFS), and the policies of the handbook."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from drtool.adapters.s3 import S3Copy
from drtool.core.model import Immutability, LockMode, LockSettings
from drtool.errors import CopyRefused
from tests.contracts.test_copy import MARKER, holding, pack, read, sha256
from tests.servers import ROLES, Bucket, Rclone, SeaweedFS, client_of

HANDBOOK = (Path(__file__).parents[2] / "docs" / "s3-policies.md").read_text()
BLOCKS = dict(re.findall(r"```json (\w+)\n(.*?)```", HANDBOOK, re.DOTALL))
PREFIX = "shop/main"
PROMISE = Immutability(days=3, mode=LockMode.COMPLIANCE)
CONTENT = b"a pack of the customer's data"
KEY = pack(CONTENT)


def put(copy: S3Copy, content: bytes = CONTENT) -> str:
    copy.put(pack(content), holding(content), sha256(content))
    return pack(content)


@dataclass(frozen=True, kw_only=True)
class House:
    """A bucket with the handbook's policies, and a key for each role."""

    bucket: Bucket
    folder: Path

    def client(self, role: str) -> Any:
        return client_of(self.bucket.as_role(f"drtool-{role}", self.folder))

    def copy(self, role: str = "writer", **more: Any) -> S3Copy:
        own = self.bucket.as_role(f"drtool-{role}", self.folder)
        return own.copy("offsite", self.folder, prefix=PREFIX, **more)

    def at(self, key: str = KEY) -> dict[str, str]:
        """The name of an object, as requests want it."""
        return {"Bucket": self.bucket.name, "Key": f"{PREFIX}/{key}"}

    def versions(self, key: str = KEY) -> list[str]:
        """Newest first, without delete markers."""
        listed = client_of(self.bucket).list_object_versions(Bucket=self.bucket.name, Prefix=f"{PREFIX}/{key}")
        return [one["VersionId"] for one in listed.get("Versions", ())]


def policy_of(bucket: str, *roles: str) -> str:
    """The handbook's statements about these roles, for this bucket."""
    statements = [one for role in roles for one in json.loads(BLOCKS[role])["Statement"]]
    return json.dumps({"Version": "2012-10-17", "Statement": statements}).replace("acme-backup", bucket)


@pytest.fixture
def house(seaweed: SeaweedFS, tmp_path: Path) -> House:
    bucket = seaweed.bucket(locking=True)
    policy = policy_of(bucket.name, "writer", "reader", "pruner")
    client_of(bucket).put_bucket_policy(Bucket=bucket.name, Policy=policy)
    return House(bucket=bucket, folder=tmp_path)


def refused(act: Callable[[], Any]) -> None:
    with pytest.raises(ClientError) as raised:
        act()
    assert raised.value.response["Error"]["Code"] == "AccessDenied"


# Uploads


def test_an_upload_is_locked_for_the_declared_days(house: House) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    copy = house.copy(locked=PROMISE)
    put(copy)
    (until,) = copy.protected_until([KEY], LockMode.COMPLIANCE).values()
    assert timedelta(0) <= until - before - PROMISE.period < timedelta(minutes=1)


def test_an_upload_to_a_copy_without_that_promise_is_not_locked(house: House) -> None:
    copy = house.copy()
    put(copy)
    assert copy.protected_until([KEY]) == {}


def test_neither_marker_nor_probe_is_locked(house: House) -> None:
    copy = house.copy(locked=PROMISE)
    copy.mark(MARKER)
    copy.check_room()
    assert copy.protected_until(["drtool/copy.json", "drtool/probe"]) == {}


@pytest.mark.parametrize("server", ["rclone", "seaweed"])
def test_an_upload_to_a_bucket_that_cannot_lock_is_stored_without_a_lock(
    server: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bucket: Bucket = request.getfixturevalue(server).bucket()
    copy = bucket.copy("offsite", tmp_path, locked=PROMISE)
    put(copy)
    assert read(copy, KEY) == CONTENT


def test_what_the_bucket_locks_by_itself_is_read_back(house: House) -> None:
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 7}}
    client_of(house.bucket).put_object_lock_configuration(
        Bucket=house.bucket.name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    default = Immutability(days=7, mode=LockMode.GOVERNANCE)
    assert house.copy().lock_settings() == LockSettings(versioning=True, object_lock=True, default=default)


def test_a_key_that_may_not_look_learns_nothing(house: House, tmp_path: Path) -> None:
    client_of(house.bucket).put_bucket_policy(
        Bucket=house.bucket.name, Policy=policy_of(house.bucket.name, "reader").replace("s3:GetBucket", "s3:PutBucket")
    )
    assert house.copy("reader").lock_settings() == LockSettings(versioning=None, object_lock=None)


# The attack, with all that the writer's key gives


@pytest.fixture
def stolen(house: House) -> Any:
    """The attacker's client: the writer's key. One object is there, and locked."""
    put(house.copy(locked=PROMISE))
    return house.client("writer")


def test_the_writers_key_cannot_even_hide_an_object(house: House, stolen: Any) -> None:
    refused(lambda: stolen.delete_object(**house.at()))
    assert read(house.copy(), KEY) == CONTENT


def test_the_writers_key_cannot_remove_a_version(house: House, stolen: Any) -> None:
    (version,) = house.versions()
    for more in ({}, {"BypassGovernanceRetention": True}):
        refused(lambda more=more: stolen.delete_object(**house.at(), VersionId=version, **more))  # type: ignore[misc]
    assert house.versions() == [version]


def test_what_the_writers_key_overwrites_is_there_still_and_is_revived(house: House, stolen: Any) -> None:
    for junk in (b"pay us", b"pay us more"):
        stolen.put_object(**house.at(), Body=junk)
    copy = house.copy(locked=PROMISE)
    assert read(copy, KEY) == b"pay us more"
    assert copy.revive([KEY]) == {KEY}  # by the writer's own key, which cannot remove what lies on top
    assert read(copy, KEY) == CONTENT
    assert copy.protected_until([KEY], LockMode.COMPLIANCE)


def test_the_writers_key_cannot_shorten_a_lock(house: House, stolen: Any) -> None:
    before = house.copy().protected_until([KEY])
    soon = datetime.now(UTC) + timedelta(seconds=5)
    for mode in ("COMPLIANCE", "GOVERNANCE"):
        for more in ({}, {"BypassGovernanceRetention": True}):
            retention = {"Mode": mode, "RetainUntilDate": soon}
            refused(lambda r=retention, m=more: stolen.put_object_retention(**house.at(), Retention=r, **m))  # type: ignore[misc]
    assert house.copy().protected_until([KEY]) == before


def test_the_writers_key_cannot_change_the_bucket(house: House, stolen: Any) -> None:
    name, forget = {"Bucket": house.bucket.name}, json.loads(BLOCKS["lifecycle"])
    refused(lambda: stolen.put_bucket_versioning(**name, VersioningConfiguration={"Status": "Suspended"}))
    refused(lambda: stolen.put_object_lock_configuration(**name, ObjectLockConfiguration={}))
    refused(lambda: stolen.put_bucket_policy(**name, Policy=policy_of(house.bucket.name, "writer")))
    refused(lambda: stolen.delete_bucket_policy(**name))
    refused(lambda: stolen.put_bucket_lifecycle_configuration(**name, LifecycleConfiguration=forget))
    refused(lambda: stolen.delete_bucket(**name))


def test_the_writers_key_reaches_nothing_beside_its_copy(house: House, stolen: Any) -> None:
    elsewhere = {"Bucket": house.bucket.name, "Key": "other/data"}
    client_of(house.bucket).put_object(**elsewhere, Body=b"of another customer")
    for act in (stolen.get_object, stolen.delete_object):
        refused(lambda act=act: act(**elsewhere))  # type: ignore[misc]
    refused(lambda: stolen.put_object(**elsewhere, Body=b"x"))


def test_not_even_the_owner_can_remove_what_compliance_locks(house: House, stolen: Any) -> None:
    owner, (version,) = client_of(house.bucket), house.versions()
    for more in ({}, {"BypassGovernanceRetention": True}):
        refused(lambda more=more: owner.delete_object(**house.at(), VersionId=version, **more))  # type: ignore[misc]
    owner.delete_object(**house.at())  # this only hides it
    assert house.copy("writer").revive([KEY]) == {KEY}
    assert read(house.copy(), KEY) == CONTENT


def test_without_a_lock_the_owners_key_could_have_removed_it(house: House) -> None:
    """What the lock is good for: the same act on an object without one."""
    put(house.copy())
    (version,) = house.versions()
    client_of(house.bucket).delete_object(**house.at(), VersionId=version)
    assert house.copy().revive([KEY]) == frozenset()


# What each role's policy is for


def test_the_writer_can_do_its_work(house: House) -> None:
    copy = house.copy(locked=PROMISE)
    copy.probe()
    copy.check_room()
    copy.mark(MARKER)
    put(copy)
    assert copy.marker() == MARKER
    assert copy.inventory()[0] == {KEY: len(CONTENT)}
    assert copy.protect([KEY], datetime.now(UTC) + timedelta(days=9), LockMode.COMPLIANCE) == {KEY}
    assert copy.protected_until([KEY]).keys() == {KEY}
    client = house.client("writer")
    client.put_object(**house.at("locks/one"), Body=b"restic's")
    client.delete_object(**house.at("locks/one"))
    assert not [name for name in seen(house) if name.startswith(("locks/", "drtool/probe"))]


def test_the_reader_reads_and_nothing_else(house: House) -> None:
    writer, reader = house.copy(locked=PROMISE), house.copy("reader")
    writer.mark(MARKER)
    put(writer)
    assert reader.marker() == MARKER
    assert reader.inventory()[0] == {KEY: len(CONTENT)}
    assert read(reader, KEY) == CONTENT
    assert reader.protected_until([KEY])
    assert reader.lock_settings() == LockSettings(versioning=True, object_lock=True)
    client, later = house.client("reader"), datetime.now(UTC) + timedelta(days=9)
    refused(lambda: client.put_object(**house.at("data/x"), Body=b"x"))
    refused(lambda: client.delete_object(**house.at()))
    refused(
        lambda: client.put_object_retention(**house.at(), Retention={"Mode": "COMPLIANCE", "RetainUntilDate": later})
    )


def test_the_pruner_hides_what_it_removes_and_cannot_remove_for_good(house: House) -> None:
    put(house.copy(locked=PROMISE))
    pruner, (version,) = house.copy("pruner"), house.versions()
    pruner.remove([KEY])
    assert pruner.inventory()[0] == {}
    refused(lambda: house.client("pruner").delete_object(**house.at(), VersionId=version))
    assert house.versions() == [version]


def test_the_pruner_cannot_remove_a_version_without_a_lock_either(house: House) -> None:
    put(house.copy())
    (version,) = house.versions()
    refused(lambda: house.client("pruner").delete_object(**house.at(), VersionId=version))


@pytest.mark.parametrize("role", ["writer", "reader", "pruner"])
def test_without_its_statements_a_role_can_do_nothing(house: House, role: str) -> None:
    others = [one for one in ("writer", "reader", "pruner") if one != role]
    policy = policy_of(house.bucket.name, *others)
    client_of(house.bucket).put_bucket_policy(Bucket=house.bucket.name, Policy=policy)
    with pytest.raises(CopyRefused, match="AccessDenied"):
        house.copy(role).inventory()


def test_each_role_of_the_handbook_is_tried() -> None:
    assert {f"drtool-{role}" for role in BLOCKS.keys() - {"lifecycle"}} == set(ROLES)


def test_the_lifecycle_of_the_handbook_is_accepted(house: House) -> None:
    client, rules = client_of(house.bucket), json.loads(BLOCKS["lifecycle"])
    client.put_bucket_lifecycle_configuration(Bucket=house.bucket.name, LifecycleConfiguration=rules)
    (rule,) = client.get_bucket_lifecycle_configuration(Bucket=house.bucket.name)["Rules"]
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    assert rule["Expiration"] == {"ExpiredObjectDeleteMarker": True}


def seen(house: House) -> list[str]:
    listed = client_of(house.bucket).list_objects_v2(Bucket=house.bucket.name, Prefix=f"{PREFIX}/")
    return [item["Key"].removeprefix(f"{PREFIX}/") for item in listed.get("Contents", ())]


def test_a_server_that_does_not_know_locks_never_has_an_object_overwritten_by_the_attempt(
    rclone: Rclone, tmp_path: Path
) -> None:
    """rclone takes a request to lock an object for the object's new content."""
    copy = rclone.bucket().copy("offsite", tmp_path, locked=PROMISE)
    put(copy)
    with pytest.raises(CopyRefused, match="does not lock"):
        copy.protect([KEY], datetime.now(UTC) + timedelta(days=9), LockMode.COMPLIANCE)
    assert read(copy, KEY) == CONTENT
