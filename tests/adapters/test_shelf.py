"""The union of copies: intact objects from whichever copy has them, within bounds."""

from __future__ import annotations

import errno
import hashlib
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from drtool.adapters.directory import DirectoryCopy
from drtool.adapters.shelf import AT_HAND, Shelf
from drtool.core.objects import Inventory
from drtool.errors import CopyTrouble, CopyUnreachable, ObjectMissing

CONFIG = b"config"


class Watched(DirectoryCopy):
    """A directory that tells how often each object was opened, and can stop answering."""

    def __init__(self, name: str, path: Path, *, local: bool = True) -> None:
        super().__init__(name, path)
        self.local = local  # type: ignore[misc]
        self.opened: list[str] = []
        self.open_now = 0
        self.trouble: CopyTrouble | None = None
        self.unreadable: set[str] = set()

    @contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        if self.trouble:
            raise self.trouble
        if key in self.unreadable:
            raise OSError(errno.EIO, "input/output error", key)
        with super().open(key) as stream:
            self.opened.append(key)
            self.open_now += 1
            try:
                yield stream
            finally:
                self.open_now -= 1


def _pack(number: int, size: int = 1000) -> tuple[str, bytes]:
    content = random.Random(number).randbytes(size)
    digest = hashlib.sha256(content).hexdigest()
    return f"data/{digest[:2]}/{digest}", content


def _copy(folder: Path, name: str, packs: dict[str, bytes], *, local: bool = True) -> Watched:
    for key, content in {"config": CONFIG, **packs}.items():
        (folder / name / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / name / key).write_bytes(content)
    return Watched(name, folder / name, local=local)


def _present(*copies: Watched) -> dict[str, Inventory]:
    return {copy.name: copy.inventory()[0] for copy in copies}


def _shelf(*copies: Watched, room: int = 1 << 30) -> Shelf:
    return Shelf(copies, _present(*copies), hashlib.sha256(CONFIG).hexdigest(), room=room)


def test_each_object_comes_from_a_copy_that_has_it_intact(tmp_path: Path) -> None:
    packs = dict(_pack(number) for number in range(9))
    keys = sorted(packs)
    first = _copy(tmp_path, "first", {key: packs[key] for key in keys[:6]})
    second = _copy(tmp_path, "second", {key: packs[key] for key in keys[3:]})
    (tmp_path / "first" / keys[4]).write_bytes(b"x" * 1000)
    with closing(_shelf(first, second)) as shelf:
        assert {key: shelf.read(key, 0, 1000) for key in keys} == packs
        assert shelf.read("config", 0, 100) == CONFIG
        assert shelf.damage() == {"first": {keys[4]}}
        assert {name: one.objects for name, one in shelf.taken().items()} == {"first": 6, "second": 4}
        assert shelf.names("data") == dict.fromkeys(keys, 1000)


def test_what_no_copy_holds_intact_is_missing(tmp_path: Path) -> None:
    key, content = _pack(1)
    first, second = _copy(tmp_path, "first", {key: content}), _copy(tmp_path, "second", {key: content})
    with closing(_shelf(first, second)) as shelf:
        (tmp_path / "first" / key).unlink()
        (tmp_path / "second" / key).write_bytes(b"altered")
        for _ in range(2):
            with pytest.raises(ObjectMissing, match="no copy holds"):
                shelf.read(key, 0, 10)
        assert shelf.damage() == {"first": {key}, "second": {key}}


def test_a_copy_that_stops_answering_is_not_asked_again(tmp_path: Path) -> None:
    packs = dict(_pack(number) for number in range(4))
    first, second = _copy(tmp_path, "first", packs), _copy(tmp_path, "second", packs)
    with closing(_shelf(first, second)) as shelf:
        first.trouble = CopyUnreachable("copy first does not answer", copy="first")
        assert {key: shelf.read(key, 0, 1000) for key in packs} == packs
        assert shelf.damage() == {}
        first.trouble = None
        shelf.read("config", 0, 10)
        assert first.opened == []


def test_an_object_on_a_bad_sector_comes_from_the_other_copy(tmp_path: Path) -> None:
    key, content = _pack(1)
    first, second = _copy(tmp_path, "first", {key: content}), _copy(tmp_path, "second", {key: content})
    first.unreadable = {key}
    with closing(_shelf(first, second)) as shelf:
        assert shelf.read(key, 0, 1000) == content
        assert shelf.damage() == {"first": {key}}
        assert shelf.read("config", 0, 10) == CONFIG
        assert first.opened == ["config"]  # for the rest the copy is as good as before


def test_ranges_are_those_of_the_object(tmp_path: Path) -> None:
    key, content = _pack(1)
    with closing(_shelf(_copy(tmp_path, "first", {key: content}))) as shelf:
        assert shelf.size(key) == 1000
        assert shelf.read(key, 10, 20) == content[10:30]
        assert shelf.read(key, 990, 50) == content[990:]
        assert shelf.read(key, 2000, 50) == b""


def test_an_object_is_read_and_hashed_once_however_many_ask_for_it(tmp_path: Path) -> None:
    key, content = _pack(1, 3_000_000)
    copy = _copy(tmp_path, "first", {key: content})
    with closing(_shelf(copy)) as shelf, ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda start: shelf.read(key, start, 1000), range(0, 3_000_000, 1000)))
    assert b"".join(parts) == content
    assert copy.opened == [key]
    assert copy.open_now == 0


def test_distant_objects_take_no_more_than_their_room(tmp_path: Path) -> None:
    packs = dict(_pack(number) for number in range(20))
    copy = _copy(tmp_path, "far", packs, local=False)
    with closing(_shelf(copy, room=5000)) as shelf:
        for key, content in packs.items():
            assert shelf.read(key, 0, 1000) == content
            assert copy.open_now <= 5
        first = next(iter(packs))
        assert shelf.read(first, 0, 1000) == packs[first]  # it had to go, and is fetched again
        assert copy.opened.count(first) == 2


def test_no_more_than_so_many_objects_are_open_at_once(tmp_path: Path) -> None:
    packs = dict(_pack(number, 10) for number in range(AT_HAND + 20))
    copy = _copy(tmp_path, "near", packs)
    with closing(_shelf(copy)) as shelf:
        for key in packs:
            shelf.read(key, 0, 10)
        assert copy.open_now <= AT_HAND
