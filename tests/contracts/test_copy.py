"""What every copy promises (``core.ports.Copy``), tried on the double and on the real things."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import pytest

from drtool.adapters.directory import DirectoryCopy
from drtool.core.model import LockMode, LockSettings, Marker, UploadVerification
from drtool.core.ports import Copy
from drtool.errors import CopyAbsent, CopyRefused, CopyUnreachable, ObjectAltered, ObjectMissing
from tests.memory_copy import MemoryCopy
from tests.servers import Bucket, client_of

MARKER = Marker(repository="main", repository_id="a" * 64, copy="disk", copy_id="b" * 32, config_sha256="c" * 64)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A copy and its back door: what truly lies there, by name, and a way to put something by hand."""

    copy: Copy
    files: Callable[[], dict[str, bytes]]
    plant: Callable[[str, bytes], None]
    verification: UploadVerification = UploadVerification.LOCAL_HASH


def in_memory(**can: bool) -> Place:
    copy = MemoryCopy("disk", **can)
    return Place(copy=copy, files=lambda: dict(copy.files), plant=copy._store)


def in_directory(root: Path) -> Place:
    def plant(name: str, content: bytes) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(content)

    def files() -> dict[str, bytes]:
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    return Place(copy=DirectoryCopy("disk", root), files=files, plant=plant)


def in_bucket(bucket: Bucket, spool: Path, verification: UploadVerification) -> Place:
    client = client_of(bucket)

    def files() -> dict[str, bytes]:
        listed = client.list_objects_v2(Bucket=bucket.name, Prefix="shop/").get("Contents", ())
        return {
            item["Key"].removeprefix("shop/"): client.get_object(Bucket=bucket.name, Key=item["Key"])["Body"].read()
            for item in listed
        }

    def plant(name: str, content: bytes) -> None:
        client.put_object(Bucket=bucket.name, Key=f"shop/{name}", Body=content)

    return Place(copy=bucket.copy("disk", spool), files=files, plant=plant, verification=verification)


@pytest.fixture(params=["memory", "directory", "rclone", "seaweed"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place, ready for a new copy."""
    if request.param == "memory":
        found = in_memory()
    elif request.param == "directory":
        found = in_directory(tmp_path / "copy")
    else:
        enforced = UploadVerification.MD5 if request.param == "rclone" else UploadVerification.SHA256
        found = in_bucket(request.getfixturevalue(request.param).bucket(), tmp_path, enforced)
    found.copy.prepare()
    return found


@pytest.fixture(params=["memory", "seaweed"])
def keeping(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place that keeps what is removed or overwritten."""
    if request.param == "memory":
        return in_memory(keeps=True)
    return in_bucket(request.getfixturevalue("seaweed").bucket(versioned=True), tmp_path, UploadVerification.SHA256)


@pytest.fixture(params=["memory", "seaweed"])
def locking(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place that can lock objects."""
    if request.param == "memory":
        return in_memory(locking=True)
    return in_bucket(request.getfixturevalue("seaweed").bucket(locking=True), tmp_path, UploadVerification.SHA256)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def pack(content: bytes) -> str:
    return f"data/{sha256(content)[:2]}/{sha256(content)}"


def holding(content: bytes) -> Callable[[], AbstractContextManager[BinaryIO]]:
    """A source that can be rewound, as a file can."""

    @contextmanager
    def source() -> Iterator[BinaryIO]:
        with open(os.memfd_create("source"), "w+b", buffering=0) as file:
            for begin in range(0, len(content), 1 << 24):
                file.write(content[begin : begin + (1 << 24)])
            file.seek(0)
            yield file  # type: ignore[misc]

    return source


class Stream(io.RawIOBase):
    """A source that only flows; it breaks off with ``failure`` where the content ends."""

    def __init__(self, content: bytes, failure: Exception | None = None) -> None:
        self._rest, self._failure = io.BytesIO(content), failure

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        piece = self._rest.read(size)
        if not piece and self._failure:
            raise self._failure
        return piece


def flowing(content: bytes, failure: Exception | None = None) -> Callable[[], AbstractContextManager[BinaryIO]]:
    @contextmanager
    def source() -> Iterator[BinaryIO]:
        yield Stream(content, failure)  # type: ignore[misc]

    return source


def read(copy: Copy, key: str) -> bytes:
    with copy.open(key) as stream:
        return b"".join(iter(lambda: stream.read(1 << 20), b""))


# The marker


def test_a_place_without_a_marker_is_absent(place: Place) -> None:
    with pytest.raises(CopyAbsent, match="copy disk is absent"):
        place.copy.marker()


def test_a_marker_reads_as_it_was_written(place: Place) -> None:
    place.copy.mark(MARKER)
    assert place.copy.marker() == MARKER


def test_a_marker_written_again_is_the_newer_one(place: Place) -> None:
    place.copy.mark(MARKER)
    place.copy.mark(replace(MARKER, copy_id="d" * 32))
    assert place.copy.marker().copy_id == "d" * 32


@pytest.mark.parametrize("text", [b"", b'{"repository": "main"}', b"\xff\xfe", b"null"])
def test_a_damaged_marker_is_refused_and_not_taken_for_absence(place: Place, text: bytes) -> None:
    place.plant("drtool/copy.json", text)
    with pytest.raises(CopyRefused, match=r"copy disk: its marker in .* is damaged"):
        place.copy.marker()


# The inventory


def test_an_empty_place_holds_nothing(place: Place) -> None:
    assert place.copy.inventory() == ({}, 0)


def test_the_inventory_names_every_object_with_its_size(place: Place) -> None:
    names = ["config", *(f"{kind}/{sha256(kind.encode())}" for kind in ("keys", "index", "snapshots")), pack(b"p")]
    for size, name in enumerate(names):
        place.plant(name, b"x" * size)
    assert place.copy.inventory()[0] == {name: size for size, name in enumerate(names)}


def test_the_inventory_counts_locks_and_names_none(place: Place) -> None:
    for text in (b"1", b"2"):
        place.plant(f"locks/{sha256(text)}", text)
    assert place.copy.inventory() == ({}, 2)


def test_the_inventory_passes_over_what_is_no_object(place: Place) -> None:
    for name in (
        "readme.txt",
        "config.bak",
        "data/ab/notes",
        f"data/{'ab' * 32}",
        f"data/ff/{'ab' * 32}",
        f"data/ab/{'ab' * 32}-tmp-123",
        f"data/ab/{'ab' * 32}/deeper",
        f"index/{'AB' * 32}",
        f"snapshots/{'ab' * 31}",
        f"other/{'ab' * 32}",
        "drtool/tmp/0123456789abcdef",
    ):
        place.plant(name, b"x")
    assert place.copy.inventory() == ({}, 0)


def test_the_inventory_is_read_anew_each_time(place: Place) -> None:
    place.copy.inventory()
    place.plant("config", b"c")
    assert place.copy.inventory()[0] == {"config": 1}


def test_the_inventory_holds_more_names_than_one_answer_of_a_server(place: Place) -> None:
    contents = [number.to_bytes(2) for number in range(1050)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: place.plant(pack(content), content), contents))
    assert place.copy.inventory()[0] == dict.fromkeys(map(pack, contents), 2)


# Newcomers


def test_the_first_look_for_newcomers_tells_nothing(place: Place) -> None:
    place.plant(pack(b"old"), b"old")
    assert not place.copy.newcomers()


def test_a_pack_that_appeared_is_told_once(place: Place) -> None:
    place.copy.newcomers()
    place.plant(pack(b"new"), b"new")
    assert [set(place.copy.newcomers()), set(place.copy.newcomers())] == [{pack(b"new")}, set()]


def test_only_finished_packs_are_newcomers(place: Place) -> None:
    place.copy.newcomers()
    for name in (f"index/{'ab' * 32}", f"data/ab/{'ab' * 32}-tmp-1", f"locks/{'ab' * 32}"):
        place.plant(name, b"x")
    assert not place.copy.newcomers()


# Reading


def test_an_object_reads_as_it_was_put(place: Place) -> None:
    place.copy.put(pack(b"bytes"), holding(b"bytes"), sha256(b"bytes"))
    assert read(place.copy, pack(b"bytes")) == b"bytes"


def test_a_digest_is_of_the_bytes_that_lie_there_now(place: Place) -> None:
    place.copy.put(pack(b"bytes"), holding(b"bytes"), sha256(b"bytes"))
    place.plant(pack(b"bytes"), b"other")
    assert place.copy.digest(pack(b"bytes")) == sha256(b"other")


@pytest.mark.parametrize("key", ["config", pack(b"gone")])
def test_a_missing_object_cannot_be_opened(place: Place, key: str) -> None:
    with pytest.raises(ObjectMissing, match=f"copy disk has no {key}"):
        read(place.copy, key)


@pytest.mark.parametrize("key", ["config", pack(b"gone")])
def test_a_missing_object_has_no_digest(place: Place, key: str) -> None:
    with pytest.raises(ObjectMissing, match=f"copy disk has no {key}"):
        place.copy.digest(key)


# Putting


def test_an_object_is_stored_under_its_key_and_nothing_beside_it(place: Place) -> None:
    place.copy.put(pack(b"bytes"), holding(b"bytes"), sha256(b"bytes"))
    assert place.files() == {pack(b"bytes"): b"bytes"}


def test_an_empty_object_is_an_object(place: Place) -> None:
    place.copy.put(pack(b""), holding(b""), sha256(b""))
    assert place.copy.inventory()[0] == {pack(b""): 0}


def test_a_large_object_arrives_whole(place: Place) -> None:
    content = os.urandom(1 << 20) * 40
    place.copy.put(pack(content), holding(content), sha256(content))
    assert place.copy.digest(pack(content)) == sha256(content)


def test_a_source_that_cannot_be_rewound_will_do(place: Place) -> None:
    content = os.urandom(3 << 20)
    place.copy.put(pack(content), flowing(content), sha256(content))
    assert place.copy.digest(pack(content)) == sha256(content)


def test_putting_an_object_again_is_harmless(place: Place) -> None:
    for _ in range(2):
        place.copy.put(pack(b"bytes"), holding(b"bytes"), sha256(b"bytes"))
    assert place.files() == {pack(b"bytes"): b"bytes"}


def test_putting_heals_an_altered_object(place: Place) -> None:
    place.plant(pack(b"bytes"), b"bytfs")
    place.copy.put(pack(b"bytes"), holding(b"bytes"), sha256(b"bytes"))
    assert place.files() == {pack(b"bytes"): b"bytes"}


@pytest.mark.parametrize("source", [holding, flowing])
def test_altered_bytes_are_refused(
    place: Place, source: Callable[[bytes], Callable[[], AbstractContextManager[BinaryIO]]]
) -> None:
    with pytest.raises(ObjectAltered, match=f"{pack(b'bytes')} is altered"):
        place.copy.put(pack(b"bytes"), source(b"bytfs"), sha256(b"bytes"))


def test_altered_bytes_leave_nothing_behind(place: Place) -> None:
    with pytest.raises(ObjectAltered):
        place.copy.put(pack(b"bytes"), holding(b"bytfs"), sha256(b"bytes"))
    assert place.files() == {}


def test_altered_bytes_do_not_replace_sound_ones(place: Place) -> None:
    place.copy.put(pack(b"bytes"), holding(b"bytes"), sha256(b"bytes"))
    with pytest.raises(ObjectAltered):
        place.copy.put(pack(b"bytes"), holding(b"bytfs"), sha256(b"bytes"))
    assert place.files() == {pack(b"bytes"): b"bytes"}


def test_a_truncated_source_is_altered(place: Place) -> None:
    content = os.urandom(3 << 20)
    with pytest.raises(ObjectAltered):
        place.copy.put(pack(content), holding(content[:-1]), sha256(content))
    assert place.files() == {}


def test_a_source_that_fails_midway_stores_nothing(place: Place) -> None:
    failure = CopyUnreachable("copy offsite does not answer", copy="offsite")
    with pytest.raises(CopyUnreachable) as raised:
        place.copy.put(pack(b"bytes"), flowing(b"by", failure), sha256(b"bytes"))
    assert raised.value.copy == "offsite"  # the source's trouble stays the source's
    assert place.files() == {}


def test_a_source_that_is_missing_stores_nothing(place: Place) -> None:
    with pytest.raises(ObjectMissing):
        place.copy.put(pack(b"bytes"), lambda: MemoryCopy("other").open(pack(b"bytes")), sha256(b"bytes"))
    assert place.files() == {}


def test_many_threads_put_and_read_at_once(place: Place) -> None:
    contents = [bytes([number]) * 200_000 for number in range(24)]

    def there_and_back(content: bytes) -> bytes:
        place.copy.put(pack(content), holding(content), sha256(content))
        return read(place.copy, pack(content))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(there_and_back, contents)) == contents


def test_many_threads_may_put_the_same_object(place: Place) -> None:
    content = os.urandom(1 << 20)
    with ThreadPoolExecutor(8) as pool:
        puts = [pool.submit(place.copy.put, pack(content), holding(content), sha256(content)) for _ in range(16)]
    assert [put.result() for put in puts] == [None] * 16
    assert place.files() == {pack(content): content}


# What the place is like


def test_a_stored_digest_is_the_bytes_own_or_none(place: Place) -> None:
    place.copy.put(pack(b"one"), holding(b"one"), sha256(b"one"))
    enforced = place.verification is UploadVerification.SHA256
    assert place.copy.stored_digest(pack(b"one")) == (sha256(b"one") if enforced else None)


def test_what_is_removed_is_gone_and_the_rest_stays(place: Place) -> None:
    for content in (b"one", b"two"):
        place.copy.put(pack(content), holding(content), sha256(content))
    place.copy.remove([pack(b"one")])
    assert place.files() == {pack(b"two"): b"two"}


def test_removing_again_is_harmless(place: Place) -> None:
    place.copy.put(pack(b"one"), holding(b"one"), sha256(b"one"))
    for _ in range(2):
        place.copy.remove([pack(b"one")])
    assert place.files() == {}


def test_nothing_is_revived_where_nothing_older_is_kept(place: Place) -> None:
    place.copy.put(pack(b"one"), holding(b"one"), sha256(b"one"))
    place.copy.remove([pack(b"one")])
    assert place.copy.revive([pack(b"one"), pack(b"never there")]) == frozenset()


# What a place keeps that versions what it holds


def test_a_removed_object_is_revived(keeping: Place) -> None:
    keeping.copy.put(pack(b"one"), holding(b"one"), sha256(b"one"))
    keeping.copy.remove([pack(b"one")])
    assert keeping.files() == {}
    assert keeping.copy.revive([pack(b"one")]) == {pack(b"one")}
    assert keeping.files() == {pack(b"one"): b"one"}


def test_an_overwritten_object_is_revived(keeping: Place) -> None:
    keeping.copy.put(pack(b"one"), holding(b"one"), sha256(b"one"))
    keeping.plant(pack(b"one"), b"two")
    assert keeping.copy.revive([pack(b"one")]) == {pack(b"one")}
    assert keeping.files() == {pack(b"one"): b"one"}


def test_an_object_overwritten_and_removed_over_and_over_is_revived(keeping: Place) -> None:
    keeping.copy.put(pack(b"one"), holding(b"one"), sha256(b"one"))
    for junk in (b"two", b"six"):
        keeping.plant(pack(b"one"), junk)
        keeping.copy.remove([pack(b"one")])
        keeping.copy.remove([pack(b"one")])
    assert keeping.copy.revive([pack(b"one")]) == {pack(b"one")}
    assert keeping.files() == {pack(b"one"): b"one"}


def test_many_objects_are_revived_at_once_and_only_those_that_were_asked_for(keeping: Place) -> None:
    contents = [bytes([number]) * 1000 for number in range(40)]
    for content in contents:
        keeping.copy.put(pack(content), holding(content), sha256(content))
    keeping.copy.remove([pack(content) for content in contents])
    wanted = {pack(content): content for content in contents[:30]}
    assert keeping.copy.revive(list(wanted)) == wanted.keys()
    assert keeping.files() == wanted


def test_what_never_was_there_intact_is_not_revived_and_left_alone(keeping: Place) -> None:
    keeping.plant(pack(b"one"), b"two")
    assert keeping.copy.revive([pack(b"one"), pack(b"never there")]) == frozenset()
    assert keeping.files() == {pack(b"one"): b"two"}


def test_an_intact_object_counts_as_revived_and_stays(keeping: Place) -> None:
    keeping.copy.put(pack(b"one"), holding(b"one"), sha256(b"one"))
    assert keeping.copy.revive([pack(b"one")]) == {pack(b"one")}
    assert keeping.files() == {pack(b"one"): b"one"}


def test_config_is_revived_as_the_marker_knows_it(keeping: Place) -> None:
    keeping.copy.put("config", holding(b"config"), sha256(b"config"))
    keeping.copy.remove(["config"])
    assert keeping.copy.revive(["config"]) == frozenset()  # nothing says what it must be
    keeping.copy.mark(replace(MARKER, config_sha256=sha256(b"config")))
    assert keeping.copy.revive(["config"]) == {"config"}
    assert keeping.files()["config"] == b"config"


def test_an_object_whose_name_begins_like_another_is_not_taken_for_it(keeping: Place) -> None:
    keeping.plant(pack(b"one") + "-tmp", b"one")
    assert keeping.copy.revive([pack(b"one")]) == frozenset()


# What a place promises that locks objects

SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
LATER = SOON + timedelta(days=5)


def test_a_place_that_neither_keeps_nor_locks_says_so(place: Place) -> None:
    assert place.copy.lock_settings() == LockSettings(versioning=False, object_lock=False)


def test_a_place_that_keeps_says_so(keeping: Place) -> None:
    assert keeping.copy.lock_settings() == LockSettings(versioning=True, object_lock=False)


def test_a_place_that_locks_says_so(locking: Place) -> None:
    assert locking.copy.lock_settings() == LockSettings(versioning=True, object_lock=True)


def test_where_nothing_can_be_locked_nothing_is_and_the_object_stays_as_it_was(place: Place) -> None:
    place.copy.put(pack(b"one"), holding(b"one"), sha256(b"one"))
    with pytest.raises(CopyRefused, match="lock"):
        place.copy.protect([pack(b"one")], SOON, LockMode.GOVERNANCE)
    assert place.copy.protected_until([pack(b"one")]) == {}
    assert place.files() == {pack(b"one"): b"one"}


def test_a_lock_ends_when_it_was_told_to(locking: Place) -> None:
    for content in (b"one", b"two"):
        locking.copy.put(pack(content), holding(content), sha256(content))
    assert locking.copy.protect([pack(b"one")], SOON, LockMode.COMPLIANCE) == {pack(b"one")}
    assert locking.copy.protected_until([pack(b"one"), pack(b"two"), "config"]) == {pack(b"one"): SOON}


def test_a_lock_can_be_renewed_and_never_shortened(locking: Place) -> None:
    locking.copy.put(pack(b"one"), holding(b"one"), sha256(b"one"))
    for until in (SOON, LATER, SOON):
        assert locking.copy.protect([pack(b"one")], until, LockMode.COMPLIANCE) == {pack(b"one")}
    assert locking.copy.protected_until([pack(b"one")]) == {pack(b"one"): LATER}


def test_a_lock_that_some_can_end_does_not_count_where_one_is_asked_that_nobody_can(locking: Place) -> None:
    for content, mode in ((b"one", LockMode.GOVERNANCE), (b"two", LockMode.COMPLIANCE)):
        locking.copy.put(pack(content), holding(content), sha256(content))
        locking.copy.protect([pack(content)], SOON, mode)
    both = [pack(b"one"), pack(b"two")]
    assert locking.copy.protected_until(both, LockMode.COMPLIANCE) == {pack(b"two"): SOON}
    assert locking.copy.protected_until(both) == dict.fromkeys(both, SOON)


def test_what_is_not_there_cannot_be_locked_and_is_left_out(locking: Place) -> None:
    locking.copy.put(pack(b"one"), holding(b"one"), sha256(b"one"))
    asked = [pack(b"never"), pack(b"one")]
    assert locking.copy.protect(asked, SOON, LockMode.GOVERNANCE) == {pack(b"one")}


# What the place is like


def test_the_probe_finds_what_the_place_enforces(place: Place) -> None:
    assert place.copy.probe() is place.verification


def test_the_probe_leaves_nothing_behind(place: Place) -> None:
    place.copy.probe()
    assert place.files() == {}


def test_checking_room_leaves_nothing_behind(place: Place) -> None:
    place.copy.check_room()
    assert place.files() == {}


def test_sweeping_keeps_what_belongs_there(place: Place) -> None:
    place.copy.mark(MARKER)
    for name in ("config", pack(b"p"), f"locks/{'ab' * 32}"):
        place.plant(name, b"x")
    before = place.files()
    place.copy.sweep()
    assert place.files() == before


def test_a_prepared_place_is_not_occupied(place: Place) -> None:
    assert place.copy.occupied() == ""


def test_a_restic_configuration_occupies_a_place(place: Place) -> None:
    place.plant("config", b"x")
    assert place.copy.occupied() == "repository"


@pytest.mark.parametrize("name", ["letters/to-mother.txt", "notes.txt"])
def test_foreign_files_occupy_a_place_and_are_named(place: Place, name: str) -> None:
    place.plant(name, b"x")
    assert name.partition("/")[0] in place.copy.occupied()


def test_remains_of_a_copy_do_not_occupy_a_place(place: Place) -> None:
    place.plant(pack(b"p"), b"p")
    place.plant("drtool/tmp/x", b"")
    assert place.copy.occupied() == ""


def test_the_address_names_the_place(place: Place) -> None:
    assert place.copy.address().url == place.copy.location
