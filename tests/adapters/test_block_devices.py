from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from drtool.adapters.block_devices import BlockDevices, is_this_machine
from drtool.core.media import Medium, differ

RECORDED = Path(__file__).parent / "sysfs"
Look = Callable[[str, str], Medium]


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def link(place: Path, target: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(os.path.relpath(target, place.parent))


def lay_out(machine: dict[str, Any], root: Path) -> None:
    """Makes the tree of sysfs/README.md below ``root``."""
    write(root / "proc/self/mountinfo", machine["mounts"])
    places = {Path(name).name: root / "sys/devices" / name for name in machine.get("devices", {})}
    for name, files in machine.get("devices", {}).items():
        lay_out_device(places[Path(name).name], files, root)
    for pool, members in machine.get("btrfs", {}).items():
        for member in members:
            link(root / "sys/fs/btrfs" / pool / "devices" / member, places[member])
    for name, text in machine.get("files", {}).items():
        write(root / name.lstrip("/"), text)
    for name, target in machine.get("links", {}).items():
        link(root / name.lstrip("/"), root / target.lstrip("/"))


def lay_out_device(place: Path, files: dict[str, Any], root: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    link(root / "sys/class/block" / place.name, place)
    link(root / "sys/dev/block" / files["dev"], place)
    for name, content in files.items():
        if name == "slaves":
            for member in content:
                link(place / "slaves" / member, root / "sys/class/block" / member)
        elif name == "driver":
            link(place / "device/driver", root / "sys/bus/drivers" / content)
        else:
            write(place / name, content)


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """The medium of a path on a recorded machine."""

    def medium(machine: str, path: str) -> Medium:
        root = tmp_path / machine
        if not root.exists():
            lay_out(yaml.safe_load((RECORDED / f"{machine}.yaml").read_text()), root)
        return BlockDevices(root).medium_of(Path(path))

    return medium


def resolved(medium: Medium) -> tuple[str, tuple[str, ...], str]:
    return medium.kind, medium.ids, medium.unresolved


# Plain disks


def test_a_partition_leads_to_its_disk(look: Look) -> None:
    assert resolved(look("plain", "/var/lib/x")) == ("disk", ("wwn:0x5000c500a1b2c3d4",), "")


def test_a_disk_is_told_by_udev_where_sysfs_is_silent(look: Look) -> None:
    assert look("plain", "/srv/backup/main").ids == ("wwn:0x50014ee2b1c2d3e4",)


def test_a_disk_without_any_number_is_told_by_name_and_machine(look: Look) -> None:
    medium = look("plain", "/media/my stick/copy")
    assert medium.ids[0].startswith("device:sdc@")
    assert (medium.unresolved, medium.virtual, medium.devices) == ("", False, ("sdc",))


def test_two_disks_of_a_plain_machine_are_different_media(look: Look) -> None:
    assert differ(look("plain", "/srv/backup"), look("plain", "/var/www")).different is True


def test_a_bind_mount_leads_to_the_disk_of_what_is_bound(look: Look) -> None:
    assert look("plain", "/export/www/shop").ids == look("plain", "/var/www").ids


def test_a_link_is_followed_before_the_mount_is_sought(look: Look) -> None:
    assert look("plain", "/home/backup/main").ids == look("plain", "/srv/backup").ids


def test_a_later_mount_covers_a_longer_earlier_one(look: Look) -> None:
    assert look("plain", "/covered/deep/x").ids == look("plain", "/").ids


def test_a_name_that_only_begins_like_a_mount_point_is_not_below_it(look: Look) -> None:
    assert look("plain", "/srv/backup2").ids == look("plain", "/").ids


def test_a_device_file_leads_to_its_own_disk(look: Look) -> None:
    assert look("plain", "/dev/sdb1").ids == look("plain", "/srv/backup").ids


# Stacks


def test_lvm_on_luks_leads_to_the_nvme_disk(look: Look) -> None:
    assert resolved(look("luks", "/home")) == ("disk", ("wwn:0x0025385b71b0a1c2",), "")
    assert look("luks", "/home").ids == look("luks", "/boot").ids


def test_an_md_mirror_is_both_of_its_disks(look: Look) -> None:
    expected = ("wwn:0x5000c50000000aaa", "wwn:0x5000c50000000bbb")
    assert resolved(look("mirror", "/etc")) == ("disk", expected, "")


def test_a_mirror_with_an_unseen_half_is_not_resolved_but_shows_the_other_half(look: Look) -> None:
    medium = look("mirror", "/srv")
    assert medium.ids == ("wwn:0x5000c50000000aaa",)
    assert medium.unresolved == "block device sdb2 is not in /sys"


def test_an_array_without_members_is_not_resolved(look: Look) -> None:
    assert look("mirror", "/mnt/empty").unresolved == "md2 does not list its members"


@pytest.mark.parametrize("path", ["/mnt/outer/x", "/mnt/outer/inner/x", "/mnt/whole", "/mnt/part", "/dev/loop4"])
def test_a_loop_file_lies_on_the_disk_of_its_file(look: Look, path: str) -> None:
    assert resolved(look("loops", path)) == ("disk", ("wwn:0x5000c500000000aa",), "")


def test_a_loop_file_in_memory_is_memory(look: Look) -> None:
    assert look("loops", "/mnt/ram").kind == "memory"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/mnt/deleted", "the backing file of loop2 is deleted"),
        ("/mnt/elsewhere", "the backing file of loop5 cannot be seen from here"),
        ("/dev/loop6", "loop6 names no backing file"),
    ],
)
def test_a_loop_device_without_a_file_to_be_seen_is_not_resolved(look: Look, path: str, reason: str) -> None:
    assert resolved(look("loops", path)) == ("unknown", (), reason)


@pytest.mark.parametrize("path", ["/", "/home/u"])
def test_btrfs_is_all_its_disks_from_every_subvolume(look: Look, path: str) -> None:
    both = ("wwn:0x5000c5000000000a", "wwn:0x5000c5000000000b")
    assert resolved(look("pools", path)) == ("disk", both, "")


def test_btrfs_that_lists_no_members_is_not_resolved(look: Look) -> None:
    medium = look("pools", "/mnt/lone")
    assert medium.ids == ("wwn:0x5000c5000000000c",)
    assert medium.unresolved == "btrfs does not list the members of /mnt/lone"


@pytest.mark.parametrize(
    ("path", "disks"), [("/mnt/bc", "ab"), ("/mnt/xfs", "ac"), ("/mnt/cached", "bc")], ids=lambda value: value
)
def test_other_file_systems_on_several_disks_are_all_of_them(look: Look, path: str, disks: str) -> None:
    expected = tuple(f"wwn:0x5000c5000000000{disk}" for disk in disks)
    assert resolved(look("pools", path)) == ("disk", expected, "")


def test_zfs_shows_the_disks_that_udev_knows_and_is_not_resolved(look: Look) -> None:
    medium = look("pools", "/tank/data/x")
    assert medium.ids == ("wwn:0x5000c5000000000b",)
    assert medium.unresolved == "whether all disks of zfs pool tank were seen is not known"


@pytest.mark.parametrize(
    ("path", "wwn"), [("/", "0x5000c500dead0001"), ("/nvme", "0x36344730528002920025384e00000001")]
)
def test_a_disk_over_two_paths_is_one_disk(look: Look, path: str, wwn: str) -> None:
    assert resolved(look("multipath", path)) == ("disk", (f"wwn:{wwn}",), "")
    assert not look("multipath", path).virtual


# What hides its hardware


@pytest.mark.parametrize("path", ["/", "/data", "/scsi", "/ebs", "/raid", "/xen"])
def test_disks_of_hypervisors_clouds_and_controllers_are_virtual(look: Look, path: str) -> None:
    medium = look("virtual", path)
    assert (medium.kind, medium.virtual, medium.unresolved) == ("disk", True, "")


def test_two_virtual_disks_are_not_known_to_be_different(look: Look) -> None:
    assert look("virtual", "/").ids != look("virtual", "/data").ids
    assert differ(look("virtual", "/"), look("virtual", "/data")).different is None


def test_an_honest_disk_is_virtual_when_the_processor_runs_under_a_hypervisor(look: Look, tmp_path: Path) -> None:
    assert not look("plain", "/").virtual
    write(tmp_path / "plain/proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu sse hypervisor lahf_lm\n")
    assert look("plain", "/").virtual


@pytest.mark.parametrize("path", ["/mnt/lun", "/mnt/nvmeof"])
def test_disks_that_another_machine_lends_are_virtual(look: Look, path: str) -> None:
    assert look("network", path).virtual


@pytest.mark.parametrize("path", ["/run/x", "/compressed/x"])
def test_tmpfs_and_zram_are_memory(look: Look, path: str) -> None:
    assert resolved(look("virtual", path)) == ("memory", (), "")


# The network


@pytest.mark.parametrize(
    ("path", "identity"),
    [
        ("/mnt/nas/a", "network:nas.example:/volume1/backup"),
        ("/mnt/win", "network:192.0.2.8:/share"),
        ("/mnt/ssh", "network:192.0.2.9:/srv/b"),
        ("/mnt/six", "network:2001:db8::1:/x"),
    ],
)
def test_a_share_is_named_by_server_and_path_and_not_resolved(look: Look, path: str, identity: str) -> None:
    medium = look("network", path)
    assert (medium.kind, medium.ids, medium.machine) == ("network", (identity,), False)
    assert "cannot be seen" in medium.unresolved


def test_a_share_served_by_an_own_address_lies_in_this_machine(look: Look) -> None:
    medium = look("network", "/mnt/self")
    assert medium.machine
    assert differ(medium, look("network", "/")).different is False


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/mnt/host", "/mnt/host is a folder of the host (virtiofs), whose disks cannot be seen"),
        ("/mnt/merged", "file system fuse.mergerfs at /mnt/merged does not tell its device"),
        ("/mnt/nbd", "nbd0 lies beyond the network"),
    ],
)
def test_what_cannot_be_followed_says_why(look: Look, path: str, reason: str) -> None:
    assert look("network", path).unresolved == reason
    assert differ(look("network", path), look("network", "/")).different is None


# Layers

SDA = ("wwn:0x5000c500000000aa",)


def test_an_overlay_lies_where_its_layers_lie(look: Look) -> None:
    assert resolved(look("layers", "/merged/x")) == ("disk", ("wwn:0x5000c500000000aa",), "")


def test_an_overlay_over_two_disks_is_both(look: Look) -> None:
    assert set(look("layers", "/two").ids) == {"wwn:0x5000c500000000aa", "wwn:0x5000c500000000bb"}


@pytest.mark.parametrize(("path", "ids"), [("/partly", SDA), ("/relative", SDA), ("/container", ())])
def test_an_overlay_with_unseen_layers_is_not_resolved(look: Look, path: str, ids: tuple[str, ...]) -> None:
    medium = look("layers", path)
    assert medium.ids == ids
    assert medium.unresolved == f"not all layers of the overlay at {path} can be seen"


# Broken trees


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/gone", "block device 8:99 is not in /sys"),
        ("/ring", "dm-0 stands on itself"),
        ("/loop", "loop0 stands on itself"),
        ("/odd", "odd0 is no hardware and does not say what it stands on"),
    ],
)
def test_a_broken_tree_is_not_resolved_and_raises_nothing(look: Look, path: str, reason: str) -> None:
    medium = look("broken", path)
    assert medium.ids == ()
    # a loop's ring closes at its mount or at its device, whichever came first
    assert medium.unresolved in (reason, f"mount {path}#25 stands on itself")


def test_an_overlay_on_itself_ends(look: Look) -> None:
    assert "stands on itself" in look("layers", "/self").unresolved


def test_a_machine_that_shows_nothing_is_not_resolved(tmp_path: Path) -> None:
    assert "cannot be followed" in BlockDevices(tmp_path).medium_of(Path("/x")).unresolved
    write(tmp_path / "proc/self/mountinfo", "")
    assert BlockDevices(tmp_path).medium_of(Path("/x")).unresolved == "no mount is listed for /x"


@pytest.mark.parametrize("cut", range(0, 220, 20))
def test_a_table_of_mounts_cut_anywhere_raises_nothing(tmp_path: Path, cut: int) -> None:
    machine = yaml.safe_load((RECORDED / "plain.yaml").read_text())
    lay_out(machine | {"mounts": machine["mounts"][:cut] + "\n"}, tmp_path)
    assert BlockDevices(tmp_path).medium_of(Path("/srv/backup")).kind in ("disk", "unknown")


# Endpoints

UNSPECIFIED = "0.0.0.0"  # noqa: S104 (an address to connect to, which Linux takes for loopback)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.8.0.1",
        "localhost",
        "::1",
        "[::1]",
        "::ffff:127.0.0.1",
        UNSPECIFIED,
    ],
)
def test_loopback_and_own_names_are_this_machine(host: str) -> None:
    assert is_this_machine(host)


def test_every_own_address_is_this_machine() -> None:
    import psutil

    own = [a.address for entries in psutil.net_if_addrs().values() for a in entries]
    assert all(is_this_machine(a) for a in own if "." in a)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "nowhere.invalid", "a" * 80, ""])
def test_other_addresses_and_unknown_names_are_not(host: str) -> None:
    assert not is_this_machine(host)


@pytest.mark.parametrize(
    ("endpoint", "identity"),
    [
        ("https://S3.invalid:443/", "bucket:s3.invalid/b"),
        ("https://s3.invalid.", "bucket:s3.invalid/b"),
        ("http://127.0.0.1:9000", "bucket:127.0.0.1:9000/b"),
        ("http://[::1]:80", "bucket:[::1]/b"),
        ("s3.invalid", "bucket:s3.invalid/b"),
    ],
)
def test_a_bucket_is_told_by_its_host_in_one_spelling(endpoint: str, identity: str) -> None:
    medium = BlockDevices().medium_of_endpoint(endpoint, "b", "example-cloud")
    assert (medium.kind, medium.ids, medium.provider) == ("object-store", (identity,), "example-cloud")


def test_a_store_on_loopback_is_no_other_medium_than_a_local_disk() -> None:
    devices = BlockDevices()
    store = devices.medium_of_endpoint("http://127.0.0.1:9000", "b")
    assert differ(store, devices.medium_of(Path("/"))).different is False


def test_a_remote_store_is_another_medium_than_a_local_disk(look: Look) -> None:
    store = BlockDevices().medium_of_endpoint("https://s3.invalid", "b")
    assert differ(store, look("plain", "/")).different is True


@pytest.mark.parametrize("endpoint", ["https://", "https://x:port", "https://[x", ""])
def test_an_endpoint_that_is_none_is_not_resolved(endpoint: str) -> None:
    assert BlockDevices().medium_of_endpoint(endpoint, "b").unresolved


# This very machine


@pytest.mark.parametrize("path", ["/", "/usr/share", "/does/not/exist", "/dev/null", "/proc/self", "a/relative/one"])
def test_every_path_of_this_machine_has_a_medium_that_is_resolved_or_says_why_not(path: str) -> None:
    medium = BlockDevices().medium_of(Path(path))
    assert medium.unresolved or medium.ids or medium.kind == "memory"
    assert differ(medium, medium).different is not True


def test_the_root_of_this_machine_is_the_same_medium_from_all_its_folders() -> None:
    devices = BlockDevices()
    here = Path(__file__).parent
    assert devices.medium_of(here).ids == devices.medium_of(here / "not" / "there").ids


needs_loop = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/loop-control").exists(), reason="loop devices need root"
)


def run(*argv: str | Path) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@contextlib.contextmanager
def mounted_loop(folder: Path, make: str = "mkfs.ext4") -> Iterator[Path]:
    """A file system in a file below ``folder``; undone in every case."""
    image, point = folder / "image", folder / "mnt"
    point.mkdir()
    with image.open("wb") as file:
        file.truncate(128 << 20)
    run(make, "-q", image)
    device = run("losetup", "--find", "--show", image)
    try:
        run("mount", device, point)
        yield point
    finally:
        subprocess.run(["umount", point], check=False)
        run("losetup", "--detach", device)


@needs_loop
@pytest.mark.parametrize("make", [m for m in ("mkfs.ext4", "mkfs.btrfs") if shutil.which(m)])
def test_a_real_loop_file_system_lies_on_the_disk_of_its_file(tmp_path: Path, make: str) -> None:
    devices = BlockDevices()
    with mounted_loop(tmp_path, make) as point:
        assert devices.medium_of(point / "copy") == devices.medium_of(tmp_path / "image")
        assert differ(devices.medium_of(point), devices.medium_of(tmp_path)).different is False


@needs_loop
def test_a_real_loop_in_a_loop_lies_on_the_disk_of_the_outer_file(tmp_path: Path) -> None:
    devices = BlockDevices()
    with mounted_loop(tmp_path) as outer, mounted_loop_inside(outer) as inner:
        assert devices.medium_of(inner) == devices.medium_of(tmp_path)


@contextlib.contextmanager
def mounted_loop_inside(outer: Path) -> Iterator[Path]:
    folder = outer / "inside"
    folder.mkdir()
    with mounted_loop(folder) as point:
        yield point


@needs_loop
def test_a_real_loop_whose_file_is_deleted_is_not_resolved(tmp_path: Path) -> None:
    with mounted_loop(tmp_path) as point:
        (tmp_path / "image").unlink()
        assert "deleted" in BlockDevices().medium_of(point).unresolved


@needs_loop
def test_a_real_tmpfs_is_memory_and_a_bind_mount_over_it_is_seen(tmp_path: Path) -> None:
    point = tmp_path / "mnt"
    point.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", point)
    try:
        assert BlockDevices().medium_of(point / "x").kind == "memory"
        run("mount", "--bind", "/usr", point)
        try:
            assert BlockDevices().medium_of(point / "x") == BlockDevices().medium_of(Path("/usr"))
        finally:
            run("umount", point)
    finally:
        run("umount", point)
