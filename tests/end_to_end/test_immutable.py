"""Nights with a bucket that locks, by the writer's key of the handbook; restic writes to it, or drtool copies to it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drtool.core.model import LockMode
from drtool.core.objects import is_key
from tests.adapters.test_versions import policy_of
from tests.end_to_end.shop import Shop, assert_same_tree, change, fill
from tests.faultproxy import FaultProxy
from tests.servers import Bucket, Rclone, SeaweedFS, client_of, self_signed

POLICY = """\
version: 1
policy: house
title: Nobody can empty it
rules:
  - {rule: locked, type: immutability, clause: our own, days: 14, mode: compliance}
"""


@dataclass(kw_only=True)
class Vault:
    """A shop whose bucket locks, and the owner's look into it."""

    shop: Shop
    bucket: Bucket
    endpoint: str

    def declare(self, **more: Any) -> None:
        """The copy in the bucket, by the writer's key."""
        keys = self.bucket.as_role("drtool-writer", self.shop.folder).credentials
        self.shop.copies["offsite"] = {
            "s3": {
                "endpoint": self.endpoint,
                "ca": str(self.shop.folder / "certificate"),
                "bucket": self.bucket.name,
                "prefix": "shop/main",
            },
            "credentials": {"file": str(keys)},
            "patience": "5s",
        } | more

    def left(self) -> dict[str, timedelta]:
        """How long each object is locked that is seen in the bucket."""
        copy = self.bucket.copy("offsite", self.shop.folder, prefix="shop/main")
        keys, now = list(copy.inventory()[0]), datetime.now(UTC)
        assert keys
        ends = copy.protected_until(keys, LockMode.COMPLIANCE)
        return {key: ends.get(key, now) - now for key in keys}

    def hide(self, spare: Collection[str] = ()) -> None:
        """What an attacker with the owner's key does: every object is gone from sight."""
        client = client_of(self.bucket)
        listed = client.list_objects_v2(Bucket=self.bucket.name, Prefix="shop/main/")["Contents"]
        names = [item["Key"].removeprefix("shop/main/") for item in listed]
        for name in (name for name in names if is_key(name) and name not in spare):
            client.delete_object(Bucket=self.bucket.name, Key=f"shop/main/{name}")

    def finding(self) -> dict[str, Any]:
        (found,) = self.shop.run("status").document["findings"]
        return dict(found)

    def immutability(self) -> dict[str, Any]:
        return dict(self.shop.run("copies", "list").copy("offsite")["immutability"])


@pytest.fixture
def vault(tmp_path: Path, seaweed: SeaweedFS) -> Iterator[Vault]:
    """Over TLS: without it restic signs its uploads in pieces, and SeaweedFS asks no policy about such."""
    shop = Shop(folder=tmp_path / "shop")
    fill(shop.source, megabytes=4, small=20)
    shop.add_files()
    bucket = seaweed.bucket(locking=True)
    client_of(bucket).put_bucket_policy(Bucket=bucket.name, Policy=policy_of(bucket.name, "writer"))
    (shop.folder / "house.yaml").write_text(POLICY)
    shop.more["policies"] = ["house.yaml"]
    with FaultProxy(seaweed.endpoint, self_signed(shop.folder)) as proxy:
        yield Vault(shop=shop, bucket=bucket, endpoint=proxy.endpoint)
        shop.close()


IMMUTABLE = {"days": 30, "mode": "compliance"}


def test_a_night_leaves_every_object_of_the_bucket_locked_and_says_so(vault: Vault) -> None:
    vault.shop.add_directory("disk")
    vault.declare(immutability=IMMUTABLE)
    vault.shop.write().init()
    vault.shop.run("backup", code=0)
    assert min(vault.left().values()) > timedelta(days=29)
    found = vault.immutability()
    assert found.pop("locked_for") > 29 * 86400
    assert found == {
        "declared": IMMUTABLE, "versioning": True, "object_lock": True, "default": None,
        "mode": "compliance", "sampled": len(vault.left()),
    }  # fmt: skip
    finding = vault.finding()
    assert finding["verdict"] == "pass", finding
    assert "1 of 2 copies immutable" in finding["reason"]


def test_what_restic_writes_to_the_bucket_itself_is_locked_in_the_same_night(vault: Vault) -> None:
    vault.declare(immutability=IMMUTABLE)
    vault.shop.add_directory("disk")
    vault.shop.write().init()
    for night in (1, 2):
        change(vault.shop.source, night)
        assert vault.shop.run("backup", code=0).copy("offsite")["wrote"]
        assert min(vault.left().values()) > timedelta(days=29)


def test_a_second_night_asks_for_new_objects_and_a_sample_only(vault: Vault) -> None:
    vault.declare(immutability=IMMUTABLE)
    vault.shop.write().init()
    vault.shop.run("backup", code=0)
    change(vault.shop.source, 1)
    before = len(vault.left())
    vault.shop.run("backup", code=0)
    events = vault.shop.run("evidence", "show").document["events"]
    body = [event["body"] for event in events if event["kind"] == "protection.renewed"][-1]
    assert (body["needed"], body["asked"]) == (len(vault.left()), len(vault.left()) - before)


def test_a_bucket_without_object_lock_ends_the_night_incomplete_and_keeps_the_backup(
    vault: Vault, seaweed: SeaweedFS
) -> None:
    vault.bucket = seaweed.bucket(versioned=True)
    client_of(vault.bucket).put_bucket_policy(Bucket=vault.bucket.name, Policy=policy_of(vault.bucket.name, "writer"))
    vault.shop.add_directory("disk")
    vault.declare(immutability=IMMUTABLE)
    vault.shop.write().init()
    answer = vault.shop.run("backup", code=3)
    offsite = answer.copy("offsite")
    assert (offsite["outcome"], offsite["agrees"]) == ("incomplete", True)
    assert "its bucket has no object lock" in offsite["reason"]
    assert answer.copy("disk")["outcome"] == "done"
    assert answer.dataset("files")["outcome"] == "done"
    finding = vault.finding()
    assert finding["verdict"] == "fail"
    assert "declared immutable, but its bucket has no object lock" in finding["reason"]
    assert "docs/s3-policies.md" in finding["hint"]


def test_a_server_that_knows_no_locks_ends_the_night_incomplete_and_keeps_the_backup(
    vault: Vault, rclone: Rclone
) -> None:
    vault.shop.add_directory("disk")
    vault.shop.add_bucket("offsite", rclone, rclone.bucket(), immutability=IMMUTABLE)
    vault.shop.write().init()
    assert "no object lock" in vault.shop.run("backup", code=3).copy("offsite")["reason"]
    vault.shop.assert_same_bytes()


def test_a_copy_that_nobody_declared_is_judged_by_what_it_has(vault: Vault) -> None:
    vault.declare()
    vault.shop.write().init()
    vault.shop.run("backup", code=0)
    assert vault.finding()["verdict"] == "fail"
    assert vault.immutability()["object_lock"] is True
    assert vault.immutability()["locked_for"] == 0


def test_a_bucket_emptied_and_overwritten_by_its_owners_key_is_healed_without_any_other_copy(vault: Vault) -> None:
    vault.declare(immutability=IMMUTABLE)
    vault.shop.write().init()
    vault.shop.run("backup", code=0)
    held = vault.left()
    junk = [key for key in held if key.startswith("data/")][:2]
    for key in junk:
        client_of(vault.bucket).put_object(Bucket=vault.bucket.name, Key=f"shop/main/{key}", Body=b"pay us")
    vault.hide(spare=junk)
    assert set(vault.left()) == set(junk)
    healed = vault.shop.run("heal", code=0).copy("offsite")
    assert (healed["lost"], healed["altered"], healed["healed"]) == (len(held) - 2, 2, len(held))
    assert vault.left().keys() == held.keys()
    assert min(vault.left().values()) > timedelta(days=29)
    assert_same_tree(vault.shop.source, vault.shop.restore())


def test_the_night_after_an_object_was_hidden_and_healed_finds_it_locked(vault: Vault) -> None:
    vault.shop.add_directory("disk")
    vault.declare(immutability=IMMUTABLE)
    vault.shop.write().init()
    vault.shop.run("backup", code=0)
    vault.hide()
    assert vault.shop.run("backup", code=0).copy("offsite")["healed"]
    assert min(vault.left().values()) > timedelta(days=29)
    vault.shop.run("backup", code=0)


def test_prune_lets_locked_objects_stay_where_they_are(vault: Vault) -> None:
    """The directory gives up at once what retention removes; the bucket keeps it until the locks end."""
    vault.shop.add_directory("disk")
    vault.declare(immutability=IMMUTABLE)
    vault.shop.datasets["files"]["retention"] = {"last": 1}
    vault.shop.write().init()
    for night in (1, 2):
        change(vault.shop.source, night)
        vault.shop.run("backup", code=0)
    before = vault.left()
    done = vault.shop.run("prune", code=0).document["repositories"][0]
    assert (done["snapshots"], done["copies"]["offsite"]) == (1, 0)
    assert done["retained"]["offsite"] == done["objects"] > 0
    assert before.keys() <= vault.left().keys()
    assert vault.shop.run("prune", code=0).document["repositories"][0]["outcome"] == "done"
    assert before.keys() <= vault.left().keys()
    vault.shop.run("backup", code=0)


def test_where_only_locked_copies_are_nothing_can_be_pruned(vault: Vault) -> None:
    vault.declare(immutability=IMMUTABLE)
    vault.shop.datasets["files"]["retention"] = {"last": 1}
    vault.shop.write().init()
    vault.shop.run("backup", code=0)
    refused = vault.shop.run("prune", code=1).document["repositories"][0]
    assert "immutability" in refused["reason"]
