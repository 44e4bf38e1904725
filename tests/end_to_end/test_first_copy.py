"""The copy that restic writes to first is absent, full or broken: the next one takes over, and both meet again."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.shop import Shop, assert_same_tree, change, read_only, small_disk
from tests.faultproxy import FaultProxy
from tests.quick_restic import quick_restic
from tests.servers import Rclone


@contextmanager
def _away(disk: Path) -> Iterator[None]:
    aside = disk.with_name("unplugged")
    disk.rename(aside)
    yield
    aside.rename(disk)


@contextmanager
def _empty_mount_point(disk: Path) -> Iterator[None]:
    with _away(disk):
        disk.mkdir()
        yield
        assert list(disk.iterdir()) == [], "something was written where the disk is not mounted"
        disk.rmdir()


@contextmanager
def _a_file_instead(disk: Path) -> Iterator[None]:
    with _away(disk):
        disk.write_text("not a directory")
        yield
        disk.unlink()


@contextmanager
def _without_marker(disk: Path) -> Iterator[None]:
    marker = disk / "drtool" / "copy.json"
    marker.rename(disk.with_name("marker"))
    yield
    disk.with_name("marker").rename(marker)


@contextmanager
def _data_is_a_file(disk: Path) -> Iterator[None]:
    (disk / "data").rename(disk.with_name("data"))
    (disk / "data").write_text("")
    yield
    (disk / "data").unlink()
    disk.with_name("data").rename(disk / "data")


TROUBLES: dict[str, tuple[Callable[[Path], AbstractContextManager[None]], set[str]]] = {
    "not mounted": (_empty_mount_point, {"absent"}),
    "a file": (_a_file_instead, {"absent", "failed"}),
    "without its marker": (_without_marker, {"absent"}),
    "read-only": (read_only, {"failed", "incomplete"}),
    "with a file in place of its data": (_data_is_a_file, {"absent", "failed", "incomplete"}),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_the_run_goes_on_with_the_next_copy_and_the_next_run_brings_both_together(grown: Shop, trouble: str) -> None:
    broken, outcomes = TROUBLES[trouble]
    with broken(grown.folders["disk"]):
        change(grown.source, 7)
        done = grown.run("backup", code=3)
        assert done.dataset("files")["outcome"] == "done"
        assert done.copy("disk")["outcome"] in outcomes
        assert done.copy("disk")["reason"]
        assert done.copy("offsite")["wrote"]
        assert_same_tree(grown.source, grown.restore("files", "meanwhile"))
        grown.assert_sound("offsite")
    change(grown.source, 8)
    healed = grown.run("backup", code=0)
    assert healed.copy("disk")["wrote"]
    grown.assert_whole()
    assert len(grown.snapshots("disk")) == 4
    grown.assert_restores("back", "--from", "disk")


def test_snapshots_that_only_one_copy_has_reach_the_other_both_ways(grown: Shop, rclone: Rclone) -> None:
    """The bucket missed one night, the disk the next."""
    with FaultProxy(rclone.endpoint) as proxy:
        grown.copies["offsite"]["s3"]["endpoint"] = proxy.endpoint
        grown.copies["offsite"]["patience"] = "1s"
        grown.write()
        proxy.down()
        change(grown.source, 7)
        grown.run("backup", code=3)
        proxy.up()
        with _away(grown.folders["disk"]):
            change(grown.source, 8)
            grown.run("backup", code=3)
        grown.run("backup", code=0)
    grown.assert_whole()
    assert len(grown.snapshots("disk")) == 5
    grown.assert_restores("back", "--from", "disk")


def test_a_disk_that_fills_up_in_the_middle_of_the_run_hands_over_to_the_next_copy(shop: Shop, rclone: Rclone) -> None:
    with small_disk(shop.folder / "mount", 90) as mount:
        shop.add_directory("disk", mount / "repository")
        shop.add_bucket("offsite", rclone, rclone.bucket())
        shop.write().init().run("backup", code=0)
        change(shop.source, 7, megabytes=90)
        done = shop.run("backup", code=3)
        assert done.dataset("files")["outcome"] == "done", str(done)
        assert done.copy("offsite")["wrote"]
        reason = done.copy("disk")["reason"]
        assert "no space" in reason or "room" in reason, reason
        shop.assert_sound()
        assert_same_tree(shop.source, shop.restore("files", "meanwhile"))
        subprocess.run(["mount", "-o", "remount,size=400m", str(mount)], check=True)
        shop.run("backup", code=0)
        shop.assert_whole()
        assert len(shop.snapshots("disk")) == 3


@pytest.mark.parametrize("room", [0, 200_000])
def test_a_disk_that_is_full_from_the_start_hands_over_to_the_next_copy(shop: Shop, rclone: Rclone, room: int) -> None:
    with small_disk(shop.folder / "mount", 90) as mount:
        shop.add_directory("disk", mount / "repository")
        shop.add_bucket("offsite", rclone, rclone.bucket())
        shop.write().init().run("backup", code=0)
        filler = mount / "somebody-elses.iso"
        filler.write_bytes(bytes(shutil.disk_usage(mount).free - room))
        change(shop.source, 7)
        done = shop.run("backup", code=3)
        assert done.dataset("files")["outcome"] == "done", str(done)
        assert done.copy("offsite")["wrote"]
        shop.assert_sound()
        filler.unlink()
        shop.run("backup", code=0)
        shop.assert_whole()
        shop.assert_restores("back", "--from", "disk")


def test_a_second_disk_that_is_full_leaves_the_first_alone(shop: Shop) -> None:
    with small_disk(shop.folder / "mount", 12) as mount:
        shop.add_directory("disk")
        shop.add_directory("other", mount / "repository")
        shop.write().init()
        done = shop.run("backup", code=3)
        assert done.copy("disk")["outcome"] == "done" or done.copy("disk")["agrees"]
        assert done.copy("other")["outcome"] == "incomplete"
        assert "mount" in done.copy("other")["reason"]
        shop.assert_sound()
        subprocess.run(["mount", "-o", "remount,size=100m", str(mount)], check=True)
        shop.run("backup", code=0)
        shop.assert_whole()


def test_when_every_copy_is_absent_the_run_says_so_with_24(grown: Shop) -> None:
    del grown.copies["offsite"], grown.folders["offsite"]
    grown.write()
    with _away(grown.folders["disk"]):
        assert grown.run("backup", code=24).error["hint"]
        assert grown.run("restore", "files", "--to", str(grown.folder / "back"), code=24).error["hint"]
        assert not (grown.folder / "back").exists()


def test_a_place_that_holds_another_repository_is_never_written_to(grown: Shop, tmp_path: Path) -> None:
    other = Shop(folder=tmp_path / "other", password="another-password-of-another-shop")
    other.source.mkdir()
    (other.source / "page").write_text("of the other shop")
    other.add_files()
    theirs = other.add_directory("disk")
    other.write().init().run("backup", code=0)
    before = other.names("disk")
    with _away(grown.folders["disk"]):
        shutil.copytree(theirs, grown.folders["disk"])
        done = grown.run("backup", code=3)
        assert done.dataset("files")["outcome"] == "done"
        assert not done.copy("disk")["wrote"]
        assert grown.names("disk") == before
        shutil.rmtree(grown.folders["disk"])
    grown.run("backup", code=0)
    grown.assert_whole()


def test_a_copy_of_which_restic_cannot_clear_the_locks_hands_over_to_the_next(grown: Shop) -> None:
    program = grown.folder / "restic"
    program.write_text(f'#!/bin/sh\nfor word; do [ "$word" = unlock ] && exit 1; done\nexec {quick_restic()} "$@"\n')
    program.chmod(0o755)
    grown.environment["DRTOOL_RESTIC"] = str(program)
    (grown.folders["disk"] / "locks" / ("a" * 64)).write_bytes(b"left by something that is not restic")
    done = grown.run("backup", code=3)
    assert (done.copy("disk")["wrote"], done.copy("offsite")["wrote"]) == (False, True)
    assert "restic ended with exit code 1" in done.copy("disk")["reason"]
