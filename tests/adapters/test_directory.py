"""A copy in a directory under stress: full, unmounted, read-only, littered."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drtool.adapters import directory
from drtool.adapters.directory import DirectoryCopy
from drtool.core.model import Marker
from drtool.errors import CopyAbsent, CopyFull, CopyRefused
from tests.contracts.test_copy import MARKER, holding, pack, sha256

CONTENT = b"pack" * 1000
ACTS: dict[str, Callable[[DirectoryCopy], object]] = {
    "marker": lambda copy: copy.marker(),
    "mark": lambda copy: copy.mark(MARKER),
    "inventory": lambda copy: copy.inventory(),
    "put": lambda copy: copy.put(pack(CONTENT), holding(CONTENT), sha256(CONTENT)),
    "check_room": lambda copy: copy.check_room(),
}


@pytest.fixture
def copy(tmp_path: Path) -> DirectoryCopy:
    found = DirectoryCopy("disk", tmp_path / "copy")
    found.prepare()
    return found


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a small file system of its own; whoever runs these tests must be root."""
    mounted: list[Path] = []

    def small(size: str, *options: str) -> Path:
        place = tmp_path / "medium"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "drtool-test", place], check=True)
        mounted.append(place)
        return place

    yield small
    for place in mounted:
        subprocess.run(["umount", place], check=True)


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


# A full medium


def test_a_full_medium_is_called_full_and_named(mount: Callable[..., Path]) -> None:
    copy = DirectoryCopy("disk", mount("1m") / "copy")
    copy.prepare()
    content = os.urandom(2 << 20)
    with pytest.raises(CopyFull, match=r"copy disk in .*/medium/copy: no space left on device") as raised:
        copy.put(pack(content), holding(content), sha256(content))
    assert raised.value.copy == "disk"


def test_a_full_medium_holds_nothing_half_written(mount: Callable[..., Path]) -> None:
    root = mount("1m")
    copy = DirectoryCopy("disk", root)
    copy.prepare()
    content = os.urandom(2 << 20)
    with pytest.raises(CopyFull):
        copy.put(pack(content), holding(content), sha256(content))
    assert files(root) == set()


def test_a_full_medium_can_still_be_read(mount: Callable[..., Path]) -> None:
    copy = DirectoryCopy("disk", mount("1m"))
    copy.prepare()
    copy.put(pack(CONTENT), holding(CONTENT), sha256(CONTENT))
    content = os.urandom(2 << 20)
    with pytest.raises(CopyFull):
        copy.put(pack(content), holding(content), sha256(content))
    assert copy.digest(pack(CONTENT)) == sha256(CONTENT)


def test_too_little_room_is_seen_before_anything_is_written(mount: Callable[..., Path]) -> None:
    root = mount("8m")
    copy = DirectoryCopy("disk", root)
    copy.prepare()
    with pytest.raises(CopyFull):
        copy.check_room()
    assert files(root) == set()


def test_enough_room_is_no_trouble(mount: Callable[..., Path]) -> None:
    copy = DirectoryCopy("disk", mount("64m"))
    copy.prepare()
    copy.check_room()


# A medium that is not there


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
def test_where_no_folder_is_the_copy_is_absent(act: Callable[[DirectoryCopy], object], tmp_path: Path) -> None:
    with pytest.raises(CopyAbsent):
        act(DirectoryCopy("disk", tmp_path / "mnt" / "copy"))


@pytest.mark.parametrize("act", [ACTS["marker"], ACTS["mark"], ACTS["put"], ACTS["check_room"]])
def test_an_empty_mount_point_is_an_absent_copy(act: Callable[[DirectoryCopy], object], tmp_path: Path) -> None:
    with pytest.raises(CopyAbsent):
        act(DirectoryCopy("disk", tmp_path))


@pytest.mark.parametrize("place", ["", "mnt/copy"])
def test_nothing_is_ever_made_where_no_medium_is_mounted(place: str, tmp_path: Path) -> None:
    copy = DirectoryCopy("disk", tmp_path / place)
    for act in (*ACTS.values(), lambda copy: copy.sweep(), lambda copy: copy.newcomers(), lambda copy: copy.occupied()):
        try:
            act(copy)
        except CopyAbsent:
            continue
    assert list(tmp_path.rglob("*")) == []


def test_a_file_where_the_folder_should_be_is_an_absent_copy(tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("x")
    with pytest.raises(CopyAbsent):
        DirectoryCopy("disk", tmp_path / "copy").marker()


# A medium that refuses


def test_a_read_only_medium_refuses(mount: Callable[..., Path]) -> None:
    root = mount("1m")
    copy = DirectoryCopy("disk", root)
    copy.prepare()
    subprocess.run(["mount", "-o", "remount,ro", root], check=True)
    with pytest.raises(CopyRefused, match=r"copy disk in .*: read-only file system") as raised:
        copy.put(pack(CONTENT), holding(CONTENT), sha256(CONTENT))
    assert not isinstance(raised.value, CopyFull)


def test_a_read_only_medium_can_be_read(mount: Callable[..., Path]) -> None:
    root = mount("1m")
    copy = DirectoryCopy("disk", root)
    copy.prepare()
    copy.mark(MARKER)
    subprocess.run(["mount", "-o", "remount,ro", root], check=True)
    found: Marker = copy.marker()
    assert found == MARKER


# How an object comes to lie there


def test_an_object_is_synced_then_renamed_then_its_folder_is_synced(
    copy: DirectoryCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash at any moment leaves the whole object or none."""
    done: list[str] = []
    fsync, rename = os.fsync, os.rename
    final = copy.path / pack(CONTENT)
    final.parent.mkdir()

    def noting_fsync(descriptor: int) -> None:
        place = os.readlink(f"/proc/self/fd/{descriptor}")
        done.append("sync folder" if place == str(final.parent) else f"sync {Path(place).parent.name}")
        fsync(descriptor)

    def noting_rename(source: str, target: str) -> None:
        done.append("rename")
        assert Path(source).read_bytes() == CONTENT
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "rename", noting_rename)
    copy.put(pack(CONTENT), holding(CONTENT), sha256(CONTENT))
    assert done == ["sync tmp", "rename", "sync folder"]


def test_a_new_folder_of_packs_is_itself_on_disk(copy: DirectoryCopy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a crash could take the folder with the object in it."""
    synced: list[str] = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: (synced.append(os.readlink(f"/proc/self/fd/{descriptor}")), fsync(descriptor))
    )
    copy.put(pack(CONTENT), holding(CONTENT), sha256(CONTENT))
    assert str(copy.path / "data") in synced


def test_objects_are_read_only_as_restics_own_are(copy: DirectoryCopy) -> None:
    copy.put(pack(CONTENT), holding(CONTENT), sha256(CONTENT))
    assert (copy.path / pack(CONTENT)).stat().st_mode & 0o777 == 0o400


def test_a_link_in_place_of_a_pack_is_no_object(copy: DirectoryCopy) -> None:
    (copy.path / pack(CONTENT)).parent.mkdir()
    (copy.path / pack(CONTENT)).symlink_to("/etc/hostname")
    assert copy.inventory()[0] == {}


# Litter


def litter(copy: DirectoryCopy, name: str, *, age: float) -> Path:
    path = copy.path / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(b"half")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_sweeping_removes_our_own_leftovers(copy: DirectoryCopy) -> None:
    left = litter(copy, "drtool/tmp/0123", age=0)
    copy.sweep()
    assert not left.exists()


def test_sweeping_removes_what_killed_restics_left_long_ago(copy: DirectoryCopy) -> None:
    left = litter(copy, f"{pack(CONTENT)}-tmp-123", age=directory.STALE + 60)
    copy.sweep()
    assert not left.exists()


def test_sweeping_leaves_what_a_restic_may_still_write(copy: DirectoryCopy) -> None:
    left = litter(copy, f"{pack(CONTENT)}-tmp-123", age=directory.STALE - 60)
    copy.sweep()
    assert left.exists()


def test_sweeping_leaves_old_packs(copy: DirectoryCopy) -> None:
    left = litter(copy, pack(CONTENT), age=directory.STALE * 400)
    copy.sweep()
    assert left.exists()


def test_a_swept_copy_can_be_written_to(copy: DirectoryCopy) -> None:
    copy.sweep()
    copy.put(pack(CONTENT), holding(CONTENT), sha256(CONTENT))
    assert files(copy.path) == {pack(CONTENT)}
