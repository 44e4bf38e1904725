"""From a path or an S3 endpoint to the hardware behind it, read from /proc, /sys and the udev database.

No program is started, and nothing that is read here ends a command: what cannot be followed
becomes a medium whose ``unresolved`` says why.

Sources: proc_pid_mountinfo(5); Documentation/ABI in the kernel (sysfs-block, sysfs-block-loop,
sysfs-fs-btrfs); systemd's src/libsystemd/sd-device for the form of /run/udev/data.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import os
import queue
import re
import socket
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from drtool.core.media import BlockNode, Medium, NodeKind, bucket_medium, medium_of_tree

_DEEPEST = 40  # levels of storage below one path; real stacks have about six
_RESOLVER_SECONDS = 3.0

_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs", "rootfs", "hugetlbfs"})
_SHARED_BY_HOST = frozenset({"9p", "virtiofs", "vboxsf", "fuse.vmhgfs-fuse", "prl_fs"})
_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "afs", "lustre", "ocfs2", "gfs2"}
    | {"fuse.glusterfs", "fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.ceph", "fuse.davfs", "davfs"}
)
_PORT_OF_SCHEME = {"https": 443, "http": 80}

# Kernel names of devices that are only a view of others, which `slaves` must list.
_STACKED = re.compile(r"(dm-|md|bcache|drbd)\d")
_IN_MEMORY = re.compile(r"(zram|ram)\d")
_OVER_NETWORK = re.compile(r"(nbd|rbd|drbd)\d")
_VIRTUAL_DRIVERS = frozenset({"virtio_blk", "vbd", "xen-blkfront"})
_VIRTUAL_NAME = re.compile(r"(vd|xvd)[a-z]")
# Vendor and model of disks that hypervisors, clouds, SANs and RAID controllers make up.
_VIRTUAL_MODEL = re.compile(
    r"\b(qemu|vmware|vbox|virtual|msft|microsoft|xen|bhyve|parallels|bochs"
    r"|amazon|google|nvme_card|persistentdisk|do volume|alibaba|oracle|blockvolume|scaleway"
    r"|lio-org|iscsi|iet|truenas|netapp|synology|logical volume|perc|megaraid|mr\d{4}|adaptec|raid)",
    re.IGNORECASE,
)
_SAN_PATH = re.compile(r"/(session\d+|rport-[\d:-]+)/")
_EXPORT = re.compile(r"^(?://)?(?:[^@/]*@)?(?P<host>\[[^\]]+\]|[^:/\[]+):?(?P<path>/.*)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One line of mountinfo, unescaped. ``device`` is MAJOR:MINOR; ``options`` are the file system's."""

    id: int
    parent: int
    device: str
    point: str
    kind: str
    source: str
    options: tuple[str, ...]

    def option(self, name: str) -> list[str]:
        return [value for key, _, value in (o.partition("=") for o in self.options) if key == name]


class BlockDevices:
    """The machine's storage as its kernel shows it; ``root`` is where its /proc, /sys and /run lie."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def medium_of(self, path: Path) -> Medium:
        """The medium on which a path lies, or would lie once it is made."""
        return medium_of_tree(self.tree_of(path), label=str(path))

    def tree_of(self, path: Path) -> BlockNode:
        """The devices below a path, down to the disks."""
        try:
            return self._path(path, frozenset())
        except (OSError, ValueError) as error:  # ValueError: a null byte, a malformed line
            return _hidden(str(path), f"{path} cannot be followed ({error})")

    def medium_of_endpoint(self, endpoint: str, bucket: str, provider: str | None = None) -> Medium:
        """The object store behind an S3 endpoint, and whether that is this machine.

        A host name is looked up, for a few seconds at most; one that is not found is not this machine.
        """
        try:
            host, location = _location(endpoint)
        except ValueError as error:
            return Medium(kind="object-store", provider=provider, label=endpoint, unresolved=f"no endpoint: {error}")
        return bucket_medium(host=location, bucket=bucket, provider=provider, machine=is_this_machine(host))

    # From a path to its mount

    def _path(self, path: Path, trail: frozenset[str]) -> BlockNode:
        real = self._real(path)
        number = self._block_number(real)
        if number:
            return self._numbered(number, trail)
        mount = _mount_at(self._mounts(), real)
        if mount is None:
            return _hidden(str(path), f"no mount is listed for {path}")
        return self._mount(mount, trail)

    def _mounts(self) -> list[Mount]:
        text = os.fsdecode((self._root / "proc/self/mountinfo").read_bytes())
        return [mount for mount in map(_parsed, text.split("\n")) if mount is not None]

    def _mount(self, mount: Mount, trail: frozenset[str]) -> BlockNode:
        return self._guarded(f"mount {mount.point}#{mount.id}", trail, lambda t: self._file_system(mount, t))

    def _file_system(self, mount: Mount, trail: frozenset[str]) -> BlockNode:
        if mount.kind in _MEMORY:
            return BlockNode(name=mount.kind, kind="memory")
        if mount.kind in _NETWORK:
            return _export(mount)
        ways: dict[str, Callable[[Mount, frozenset[str]], BlockNode]] = {
            "overlay": self._overlay,
            "btrfs": self._btrfs,
            "bcachefs": self._bcachefs,
            "zfs": self._zfs,
        }
        return ways.get(mount.kind, self._plain)(mount, trail)

    def _plain(self, mount: Mount, trail: frozenset[str]) -> BlockNode:
        """A file system on one block device, and for xfs on those it names for its log and real-time data."""
        if mount.device.startswith("0:"):
            return _no_device(mount)
        devices = [self._numbered(mount.device, trail)]
        for beside in (*mount.option("logdev"), *mount.option("rtdev")):
            devices.append(self._sourced(beside, trail))
        return _stack(mount.point, devices)

    def _overlay(self, mount: Mount, trail: frozenset[str]) -> BlockNode:
        """All layers: new files lie in the upper one, old ones in those below.

        A relative layer started at the folder of whoever mounted it, which nobody knows any more.
        """
        lower = [part for value in mount.option("lowerdir") for part in _split(value)]
        layers = [*map(_plainly, mount.option("upperdir")), *lower, *mount.option("lowerdir+")]
        seen = [layer for layer in dict.fromkeys(layers) if layer[:1] == "/" and self._exists(layer)]
        parts = [self._path(Path(layer), trail) for layer in seen]
        if not layers or len(seen) < len(set(layers)):
            parts.append(_hidden(mount.point, f"not all layers of the overlay at {mount.point} can be seen"))
        return _stack(mount.point, parts)

    def _btrfs(self, mount: Mount, trail: frozenset[str]) -> BlockNode:
        name = self._name_of_source(mount.source)
        families = self._root.glob(f"sys/fs/btrfs/*/devices/{name}") if name else ()
        members = [entry.name for found in families for entry in _entries(found.parent)]
        if members:
            return _stack(mount.point, (self._named(member, trail) for member in members))
        gap = _hidden(mount.source, f"btrfs does not list the members of {mount.point}")
        return _stack(mount.point, (self._sourced(mount.source, trail), gap))

    def _bcachefs(self, mount: Mount, trail: frozenset[str]) -> BlockNode:
        return _stack(mount.point, (self._sourced(source, trail) for source in mount.source.split(":")))

    def _zfs(self, mount: Mount, trail: frozenset[str]) -> BlockNode:
        """The members that udev knows, which may not be all: enough to see a shared disk, never to pass."""
        pool = mount.source.partition("/")[0]
        wanted = {"ID_FS_TYPE": "zfs_member", "ID_FS_LABEL": pool}
        devices = _entries(self._root / "sys/class/block")
        members = [d.name for d in devices if wanted.items() <= self._udev(_read(d / "dev")).items()]
        gap = _hidden(pool, f"whether all disks of zfs pool {pool} were seen is not known")
        return _stack(mount.point, (*(self._named(member, trail) for member in members), gap))

    # From a block device to its disks

    def _sourced(self, source: str, trail: frozenset[str]) -> BlockNode:
        name = self._name_of_source(source)
        return self._named(name, trail) if name else _hidden(source, f"{source} is no known block device")

    def _named(self, name: str, trail: frozenset[str]) -> BlockNode:
        return self._device(self._root / "sys/class/block" / name, trail)

    def _numbered(self, number: str, trail: frozenset[str]) -> BlockNode:
        return self._device(self._root / "sys/dev/block" / number, trail)

    def _device(self, link: Path, trail: frozenset[str]) -> BlockNode:
        if not link.exists():
            return _hidden(link.name, f"block device {link.name} is not in /sys")
        place = link.resolve()
        return self._guarded(place.name, trail, lambda t: self._members(place, t))

    def _members(self, place: Path, trail: frozenset[str]) -> BlockNode:
        if (place / "partition").exists():
            return _stack(place.name, (self._device(place.parent, trail),))
        slaves = _entries(place / "slaves")
        if slaves:
            return _stack(place.name, (self._device(slave, trail) for slave in slaves))
        if place.name.startswith("loop"):
            return self._loop(place, trail)
        return self._leaf(place)

    def _loop(self, place: Path, trail: frozenset[str]) -> BlockNode:
        backing = _read(place / "loop/backing_file", strip="\n")
        if not backing:
            return _hidden(place.name, f"{place.name} names no backing file")
        if self._exists(backing):
            return _stack(place.name, (self._path(Path(backing), trail),))
        gone = "is deleted" if backing.endswith(" (deleted)") else "cannot be seen from here"
        return _hidden(place.name, f"the backing file of {place.name} {gone}")

    def _leaf(self, place: Path) -> BlockNode:
        name = place.name
        if _IN_MEMORY.match(name):
            return BlockNode(name=name, kind="memory")
        if _OVER_NETWORK.match(name):
            return _hidden(name, f"{name} lies beyond the network", kind="network")
        if _STACKED.match(name):
            return _hidden(name, f"{name} does not list its members")
        if place.parent.name == "block" and place.parent.parent.name == "virtual":
            return _hidden(name, f"{name} is no hardware and does not say what it stands on")
        identity, virtual = self._identity(place), self._is_virtual(place)
        return BlockNode(name=name, kind="disk", identity=identity, virtual=virtual)

    def _guarded(self, key: str, trail: frozenset[str], step: Callable[[frozenset[str]], BlockNode]) -> BlockNode:
        """One step down, unless it leads back to where it came from."""
        if key in trail or len(trail) > _DEEPEST:
            return _hidden(key, f"{key} stands on itself" if key in trail else f"{key} lies too deep")
        return step(trail | {key})

    # What a disk says of itself

    def _identity(self, place: Path) -> str:
        """The first of WWN, serial number and kernel name that tells something."""
        udev = self._udev(_read(place / "dev"))
        said: tuple[tuple[str, str], ...] = (
            *(("wwn", _read(place / file)) for file in ("wwid", "device/wwid")),
            *(("wwn", udev.get(key, "")) for key in ("ID_WWN_WITH_EXTENSION", "ID_WWN")),
            *(("serial", _read(place / file)) for file in ("serial", "device/serial", "device/cid")),
            ("serial", udev.get("ID_SERIAL", "")),
        )
        for prefix, value in said:
            if _tells(value):
                return f"{prefix}:{_normal(value)}"
        return f"device:{place.name}@{self._machine_id()}"

    def _is_virtual(self, place: Path) -> bool:
        said = " ".join(_read(place / "device" / file) for file in ("vendor", "model"))
        driver = (place / "device/driver").resolve().name
        return bool(
            _VIRTUAL_NAME.match(place.name)
            or driver in _VIRTUAL_DRIVERS
            or _VIRTUAL_MODEL.search(said)
            or _SAN_PATH.search(str(place))
            or _nvme_transports(place) - {"pcie"}
            or self._is_guest()
        )

    def _is_guest(self) -> bool:
        """Under a hypervisor even a disk with an honest face is one that the host shows."""
        cpus = _read(self._root / "proc/cpuinfo")
        return re.search(r"^flags\s*:.*\bhypervisor\b", cpus, re.MULTILINE) is not None

    def _udev(self, number: str) -> dict[str, str]:
        lines = _read(self._root / "run/udev/data" / f"b{number}").splitlines()
        pairs = (line[2:].partition("=") for line in lines if line.startswith("E:"))
        return {key: value for key, _, value in pairs}

    def _machine_id(self) -> str:
        known = _read(self._root / "etc/machine-id") or _read(self._root / "proc/sys/kernel/hostname")
        return hashlib.sha256(known.encode(errors="surrogateescape")).hexdigest()[:8]

    # Names under ``root``

    def _inside(self, path: str | Path) -> str:
        return os.path.join(self._root, str(path).lstrip("/"))

    def _exists(self, path: str) -> bool:
        return os.path.exists(self._inside(path))

    def _real(self, path: Path) -> Path:
        """The path without links, as seen from inside ``root``; what does not exist yet stays as it is."""
        found = Path(os.path.realpath(self._inside(os.path.abspath(path))))
        root = Path(os.path.realpath(self._root))
        return Path("/") / found.relative_to(root) if found.is_relative_to(root) else found

    def _block_number(self, real: Path) -> str:
        """MAJOR:MINOR if the path is itself a block device, or would be if /dev had its node."""
        with contextlib.suppress(OSError):
            status = os.stat(self._inside(real))
            if stat.S_ISBLK(status.st_mode):
                return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
        known = self._root / "sys/class/block" / real.name / "dev"
        return _read(known) if real.parent == Path("/dev") and real.name else ""

    def _name_of_source(self, source: str) -> str:
        """The kernel's name for /dev/sda1 or /dev/mapper/NAME; empty if there is none."""
        name = self._real(Path(source)).name
        blocks = self._root / "sys/class/block"
        if name and (blocks / name).exists():
            return name
        return next((d.parent.parent.name for d in blocks.glob("dm-*/dm/name") if _read(d) == name), "")


# Mounts


def _parsed(line: str) -> Mount | None:
    """A line of mountinfo; None for one that is empty or not of that form."""
    before, _, after = line.partition(" - ")
    head, tail = before.split(" "), after.split(" ")
    if len(head) < 6 or len(tail) < 2 or not (head[0].isdigit() and head[1].isdigit()):
        return None
    return Mount(
        id=int(head[0]),
        parent=int(head[1]),
        device=head[2],
        point=_unescaped(head[4]),
        kind=tail[0],
        source=_unescaped(tail[1]),
        options=tuple(map(_unescaped, " ".join(tail[2:]).split(","))),
    )


def _unescaped(text: str) -> str:
    """The kernel writes blanks, backslashes and, in values, commas as three octal digits."""
    raw = re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8) & 0xFF]), os.fsencode(text))
    return os.fsdecode(raw)


def _split(layers: str) -> list[str]:
    """The layers of an overlay at their colons; one that belongs to a name has a backslash before it."""
    return [_plainly(layer) for layer in re.findall(r"(?:\\.|[^:\\])+", layers)]


def _plainly(layer: str) -> str:
    return re.sub(r"\\(.)", r"\1", layer)


def _mount_at(mounts: Iterable[Mount], real: Path) -> Mount | None:
    """The mount that a path ends in, found as the kernel does: from the root down, step by step.

    The longest matching mount point would be wrong where a later mount covers an earlier one.
    """
    listed = list(mounts)
    ids = {mount.id for mount in listed}
    below = {(mount.parent, mount.point): mount for mount in listed}
    top = next((m.parent for m in listed if m.parent not in ids or m.parent == m.id), None)
    current, found = top, None
    for point in (*reversed(real.parents), real):
        while current is not None and (step := below.pop((current, str(point)), None)):
            current, found = step.id, step
    return found


# Leaves


def _stack(name: str, parts: Iterable[BlockNode]) -> BlockNode:
    return BlockNode(name=name, kind="stack", parts=tuple(parts))


def _hidden(name: str, why: str, *, kind: NodeKind = "hidden") -> BlockNode:
    return BlockNode(name=name, kind=kind, machine=False, unresolved=why)


def _no_device(mount: Mount) -> BlockNode:
    if mount.kind in _SHARED_BY_HOST:
        why = f"{mount.point} is a folder of the host ({mount.kind}), whose disks cannot be seen"
        return replace(_hidden(mount.source, why), virtual=True)
    return _hidden(mount.source, f"file system {mount.kind} at {mount.point} does not tell its device")


def _export(mount: Mount) -> BlockNode:
    """A server's share. The disks are the server's; if the server is this machine, they are here."""
    found = _EXPORT.match(mount.source)
    host = found["host"].strip("[]") if found else mount.source
    share = f"{host}:{(found['path'] if found else '') or '/'}"
    address = next(iter(mount.option("addr")), host)
    return BlockNode(
        name=share,
        kind="network",
        identity=f"network:{share}",
        machine=is_this_machine(address),
        unresolved=f"the disks behind {mount.kind} server {share} cannot be seen",
    )


# Small reading


def _read(file: Path, *, strip: str | None = None) -> str:
    """What a file says, without blanks around it; nothing if it cannot be read."""
    try:
        text = os.fsdecode(file.read_bytes())
    except OSError:
        return ""
    return text.strip() if strip is None else text.removesuffix(strip)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _nvme_transports(place: Path) -> set[str]:
    """How an NVMe disk is attached, over each of its paths: pcie, or tcp, rdma, fc to another machine."""
    files = (place / "device/transport", *place.glob("device/nvme*/transport"))
    return set(filter(None, map(_read, files)))


def _tells(value: str) -> bool:
    """Not blank, nor one digit over and over, nor the row of digits that cheap bridges print."""
    core = re.sub(r"^(naa|eui|t10|uuid|nvme|0x)\.?|[\s._-]", "", value.strip().lower())
    return len(set(core)) > 1 and core not in ("0123456789abcdef", "123456789012", "1234567890")


def _normal(value: str) -> str:
    """One spelling for what sysfs and udev write differently: naa.5000… is 0x5000…."""
    return re.sub(r"\s+", " ", re.sub(r"^(naa|eui)\.", "0x", value.strip()))


# This machine on the network


def is_this_machine(host: str) -> bool:
    """Whether a host name or address leads to loopback or to an own address of this machine."""
    addresses = set(_addresses(host))
    return any(_stays_here(address) for address in addresses) or bool(addresses & _own_addresses())


def _stays_here(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return parsed.is_loopback or parsed.is_unspecified


def _own_addresses() -> set[str]:
    import psutil  # here, because it is slow to load and a path does not need it

    found = (entry.address for entries in psutil.net_if_addrs().values() for entry in entries)
    return {address for text in found for address in _literal(text)}


def _addresses(host: str) -> Iterable[str]:
    return tuple(_literal(host)) or _looked_up(host)


def _literal(text: str) -> Iterator[str]:
    """An address in its one spelling: without scope, and IPv4 within IPv6 as IPv4; nothing for a name."""
    try:
        parsed = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    yield str(mapped or parsed)


def _looked_up(host: str) -> Iterable[str]:
    """The addresses of a name. getaddrinfo takes no time limit, so a thread waits for it."""
    answers: queue.Queue[list[str]] = queue.Queue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            found = []
        answers.put([str(entry[4][0]) for entry in found])

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=_RESOLVER_SECONDS)
    except queue.Empty:
        return ()
    return [address for text in answer for address in _literal(text)]


def _location(endpoint: str) -> tuple[str, str]:
    """Host, and host with its port where that is not the usual one; ValueError if there is none."""
    parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
    host = (parts.hostname or "").rstrip(".")
    if not host:
        raise ValueError(f"{endpoint!r} names no host")
    usual = parts.port in (None, _PORT_OF_SCHEME.get(parts.scheme))
    written = f"[{host}]" if ":" in host else host
    return host, written if usual else f"{written}:{parts.port}"
