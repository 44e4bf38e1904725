"""Retention: what goes, what stays and why, who follows when, and when nothing is removed at all."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drtool.adapters.evidence_store import EvidenceStore
from drtool.adapters.state import SystemClock
from drtool.core.model import ClockSeen, Pruning
from tests.end_to_end.shop import Answer, Shop, assert_same_tree, change, copy_of, flip, small_disk
from tests.servers import Rclone


@pytest.fixture
def many(five_nights: Path, tmp_path: Path, rclone: Rclone) -> Iterator[Shop]:
    """Five nights; retention keeps two."""
    shop = copy_of(five_nights, tmp_path / "shop", rclone)
    _keep(shop, last=2)
    yield shop
    shop.close()


def _keep(shop: Shop, **rules: Any) -> None:
    for dataset in shop.datasets.values():
        dataset["retention"] = rules
    shop.write()


def _ids(shop: Shop, copy: str) -> list[str]:
    return [str(one["id"]) for one in shop.snapshots(copy)]


def _one(answer: Answer) -> dict[str, Any]:
    return dict(answer.document["repositories"][0])


def test_what_is_not_kept_goes_from_every_copy_and_what_stays_restores(many: Shop) -> None:
    before, size = _ids(many, "disk"), sum(many.names("disk").values())
    done = _one(many.run("prune", code=0))
    assert (done["outcome"], done["snapshots"]) == ("done", 3)
    assert _ids(many, "disk") == _ids(many, "offsite") == before[-2:]
    assert size - sum(many.names("disk").values()) == done["bytes"] > 500_000
    many.assert_whole()
    many.assert_sound("offsite")
    many.assert_restores("back")
    many.run("backup", code=0)
    many.assert_whole()
    many.assert_evidence()


def test_a_dry_run_tells_why_each_snapshot_stays_and_removes_nothing(many: Shop) -> None:
    before = many.names("disk"), many.names("offsite")
    plan = many.run("prune", "--dry-run", code=0).document["plans"][0]
    own = [one for one in plan["snapshots"] if one["dataset"] == "files"]
    assert [one["stays"] for one in own] == [True, True, False, False, False]
    assert own[0]["reasons"] == ["last 1 of 2"]
    assert plan["copy"] == "disk"
    assert (many.names("disk"), many.names("offsite")) == before
    gone = {one["snapshot"] for one in own if not one["stays"]}
    many.run("prune", code=0)
    assert gone.isdisjoint(_ids(many, "disk")), "the plan is what is done"


def test_the_names_are_evidence_before_another_copy_removes_them(many: Shop) -> None:
    before = many.names("disk")
    many.run("prune", code=0)
    events = many.run("evidence", "show", "--last", "500", code=0).document["events"]
    told = {name for event in events if event["kind"] == "prune.removed" for name in event["body"]["objects"]}
    assert told == before.keys() - many.names("disk").keys()


def test_a_copy_keeps_what_was_removed_for_its_time_and_gives_it_back(many: Shop) -> None:
    many.copies["offsite"]["keep_removed"] = "6s"
    first = _ids(many, "disk")[0]
    done = _one(many.write().run("prune", code=0))
    began = time.monotonic()
    assert done["retained"]["offsite"] > 0
    assert first not in _ids(many, "disk")
    listed = {one["snapshot"]: one["copies"] for one in many.run("snapshots", "files").document["snapshots"]}
    assert listed[first] == ["offsite"]
    many.run("restore", "files", "--snapshot", first, "--to", str(many.folder / "old"), code=0)
    change(many.source, 9)
    many.run("backup", code=0)
    assert first not in _ids(many, "disk"), "what was removed does not come back"
    assert many.run("status").document["datasets"][0]["copies"][1]["state"] == "healthy"
    _keep(many, last=9)
    time.sleep(max(0.0, began + 7 - time.monotonic()))
    assert _one(many.run("prune", code=0))["retained"]["offsite"] == 0
    many.assert_whole()
    many.assert_sound("offsite")


def test_where_restic_had_to_write_to_the_copy_that_keeps_nothing_is_lost(many: Shop) -> None:
    """restic builds on what it finds there; so all of it stays, in every copy, until the next prune."""
    many.copies["offsite"]["keep_removed"] = "90d"
    many.write().run("prune", code=0)
    many.folders["disk"].rename(many.folder / "away")
    change(many.source, 1)  # what was removed is here again
    assert many.run("backup").code == 3
    (many.folder / "away").rename(many.folders["disk"])
    many.run("backup", code=0)
    many.assert_whole()
    many.assert_restores("back", "--from", "disk")
    many.run("prune", code=0)
    many.assert_sound()
    many.assert_restores("again", "--from", "disk")


@pytest.mark.parametrize(
    "trouble", ["behind", "lost", "altered", "absent", "hold", "hold of the repository", "clock", "unfinished"]
)
def test_nothing_is_removed_while(many: Shop, trouble: str) -> None:
    before = _ids(many, "disk"), _ids(many, "offsite")
    hint = {
        "behind": _fall_behind,
        "lost": lambda shop: shop.packs("disk")[0].unlink() or "drtool heal",  # type: ignore[func-returns-value]
        "altered": _alter_and_find,
        "absent": lambda shop: _move_away(shop),
        "hold": lambda shop: _hold(shop),
        "hold of the repository": lambda shop: _hold(shop, "--repository", "main"),
        "clock": _jump,
        "unfinished": _kill_a_backup,
    }[trouble](many)
    refused = many.run("prune", code=1)
    assert hint in _one(refused)["hint"]
    assert str(many.folder) not in many.run("evidence", "show", "--last", "500", code=0).out, "no path is evidence"
    if trouble != "absent":
        assert _ids(many, "disk") == before[0] or trouble in ("behind", "unfinished")
    assert set(before[1]) <= set(_ids(many, "offsite"))


def _fall_behind(shop: Shop) -> str:
    change(shop.source, 7)
    endpoint = shop.copies["offsite"]["s3"]["endpoint"]
    shop.copies["offsite"]["s3"]["endpoint"] = "http://127.0.0.1:9"
    shop.write().run("backup", code=3)
    shop.copies["offsite"]["s3"]["endpoint"] = endpoint
    shop.write()
    return "drtool backup"


def _alter_and_find(shop: Shop) -> str:
    flip(shop.packs("disk")[0])
    shop.run("check", "--full", code=1)
    return "drtool heal"


def _move_away(shop: Shop) -> str:
    shop.folders["disk"].rename(shop.folder / "away")
    return "drtool copies"


def _hold(shop: Shop, *words: str) -> str:
    held = shop.run("hold", "set", *words, "--reason", "looked into", code=0).document["holds"][0]
    return f"drtool hold release {held['id']}"


def _jump(shop: Shop) -> str:
    boot, running = SystemClock().running()
    store = EvidenceStore(shop.state / "shop" / "evidence.db", SystemClock())
    long_ago = datetime.now(UTC) - timedelta(days=300)
    store.record_clock(ClockSeen(at=long_ago, boot=boot, running=running))
    store.close()
    return "drtool prune --yes"


def _kill_a_backup(shop: Shop) -> str:
    shop.add_waiting_command()
    running = shop.write().start("backup", "dump")
    while not shop.is_dumping():
        time.sleep(0.05)
    running.process.kill()
    running.process.wait()
    return "drtool backup"


def test_after_a_hold_is_released_prune_goes_on(many: Shop) -> None:
    held = many.run("hold", "set", "--reason", "looked into", code=0).document["holds"][0]
    many.run("prune", code=1)
    many.run("hold", "release", held["id"][:4], "--reason", "clean", code=0)
    assert many.run("hold", "list", code=0).document["holds"] == []
    assert _one(many.run("prune", code=0))["snapshots"] == 3


def test_a_snapshot_under_a_hold_stays_while_others_go(many: Shop) -> None:
    first = _ids(many, "disk")[0]
    many.run("hold", "set", "--snapshot", first[:10], "--reason", "for the auditor", code=0)
    assert _one(many.run("prune", code=0))["snapshots"] == 2
    assert first in _ids(many, "disk")


def test_a_clock_that_is_said_to_be_right_is_believed_again(many: Shop) -> None:
    _jump(many)
    many.run("backup", code=0)
    many.run("prune", code=1)
    many.run("prune", "--yes", code=0)
    many.run("prune", code=0)


def test_where_every_copy_keeps_what_is_removed_nothing_is_and_it_says_so(many: Shop) -> None:
    for copy in many.copies.values():
        copy["keep_removed"] = "1d"
    refused = _one(many.write().run("prune", code=1))
    assert "keep_removed" in refused["reason"]


def test_without_retention_nothing_goes(many: Shop) -> None:
    del many.datasets["files"]["retention"]
    before = many.write().names("disk")
    assert _one(many.run("prune", code=0))["snapshots"] == 0
    assert many.names("disk") == before


def test_what_vanished_beside_a_prune_comes_back(many: Shop) -> None:
    """More is gone than retention asked for: that was not retention, and the other copy heals it."""
    newest = _ids(many, "disk")[-1]
    store = EvidenceStore(many.state / "shop" / "evidence.db", SystemClock())
    store.record_pruning("main", Pruning(copy="disk", snapshots=frozenset(_ids(many, "disk")[:1])))
    store.close()
    (many.folders["disk"] / "snapshots" / newest).unlink()
    many.run("backup", code=0)
    assert newest in _ids(many, "disk")
    many.assert_whole()


def test_two_prunes_at_once_do_not_hurt(many: Shop) -> None:
    first, second = many.start("prune"), many.start("prune")
    assert {first.wait().code, second.wait().code} == {0}
    many.assert_whole()
    assert len(_ids(many, "disk")) == 2


def test_a_prune_in_three_copies_leaves_all_equal(many: Shop, rclone: Rclone) -> None:
    many.add_directory("third")
    many.write().init()
    many.run("heal", "third", code=0)
    many.run("prune", code=0)
    many.assert_whole()
    assert_same_tree(many.source, many.restore("files", "back", "--from", "third"))


def test_after_a_prune_that_was_killed_a_backup_elsewhere_takes_it_back(many: Shop) -> None:
    """restic removed from the disk, unrecorded; the next night the disk is away, and restic builds on the bucket."""
    going = _ids(many, "disk")[:3]
    store = EvidenceStore(many.state / "shop" / "evidence.db", SystemClock())
    store.record_pruning("main", Pruning(copy="disk", snapshots=frozenset(going)))
    store.close()
    many.restic("disk", "forget", "--prune", *going)
    many.folders["disk"].rename(many.folder / "away")
    change(many.source, 2)  # what only the removed snapshots had is here again
    assert many.run("backup").code == 3
    (many.folder / "away").rename(many.folders["disk"])
    many.run("backup", code=0)
    many.assert_whole()
    many.assert_restores("back", "--from", "disk")


def test_a_snapshot_that_only_one_copy_still_keeps_can_be_held_there(many: Shop) -> None:
    many.copies["offsite"]["keep_removed"] = "6s"
    first = _ids(many, "disk")[0]
    many.write().run("prune", code=0)
    began = time.monotonic()
    many.run("hold", "set", "--snapshot", first, "--reason", "needed after all", code=0)
    time.sleep(max(0.0, began + 7 - time.monotonic()))
    many.run("prune", code=0)
    assert first in _ids(many, "offsite")
    many.run("restore", "files", "--snapshot", first, "--to", str(many.folder / "old"), code=0)


def test_where_the_record_was_lost_holds_may_be_forgotten_and_nothing_goes_unasked(many: Shop) -> None:
    many.run("hold", "set", "--reason", "looked into", code=0)
    shutil.rmtree(many.state)
    many.run("backup", code=0)
    refused = _one(many.run("prune", code=1))
    assert "holds may be forgotten" in refused["reason"]
    assert len(_ids(many, "disk")) == 6
    many.run("prune", "--yes", code=0)
    assert len(_ids(many, "disk")) == 2
    many.run("prune", code=0)


def test_on_a_full_disk_what_is_not_needed_at_all_still_goes(shop: Shop, tmp_path: Path) -> None:
    shop.datasets["files"]["retention"] = {"last": 1}
    with small_disk(tmp_path / "small", 90) as disk:
        shop.add_directory("disk", disk / "main")
        shop.write().init()
        large = [(path, path.read_bytes()) for path in shop.source.glob("large-*.bin")]
        for path, _ in large:
            path.unlink()
        shop.run("backup", code=0)
        for path, content in large:
            path.write_bytes(content)
        shop.run("backup", code=0)
        for path, _ in large:
            path.unlink()
        shop.run("backup", code=0)
        (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - (4 << 20)))
        done = _one(shop.run("prune", code=0))
        assert done["bytes"] > 10_000_000
        shop.restic("disk", "check", "--no-lock", "--no-cache")
