"""Replication between copies: what is sent, what never is, and who falls out."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from datetime import datetime

import pytest

from drtool.core.model import Marker
from drtool.errors import CopyFull, CopyUnreachable
from drtool.flows.replicate import Replication, Settled
from drtool.flows.take_stock import take_stock
from tests.memory_copy import MemoryCopy

CONFIG = b"not json, and not named by its hash"


def object_of(kind: str, content: bytes) -> tuple[str, bytes]:
    name = hashlib.sha256(content).hexdigest()
    return (f"data/{name[:2]}/{name}" if kind == "data" else f"{kind}/{name}"), content


KEY = object_of("keys", b"the key")
PACKS = [object_of("data", f"pack {number}".encode()) for number in range(5)]
INDEX = object_of("index", b"the index")
SNAPSHOT = object_of("snapshots", b"the snapshot")
WHOLE = [("config", CONFIG), KEY, *PACKS, INDEX, SNAPSHOT]


def copy_with(name: str, objects: Iterable[tuple[str, bytes]]) -> MemoryCopy:
    copy = MemoryCopy(name)
    copy.mark(
        Marker(
            repository="main",
            repository_id="1" * 64,
            copy=name,
            copy_id=name,
            config_sha256=hashlib.sha256(CONFIG).hexdigest(),
        )
    )
    copy.files.update(objects)
    return copy


class Record:
    """What the evidence knows of the last run, as far as a look at the copies asks for it."""

    def __init__(self, held: dict[str, dict[str, int]] | None = None) -> None:
        self.held = held or {}

    def repository_id(self, repository: str) -> str:
        return "1" * 64

    def recorded(self, repository: str) -> dict[str, dict[str, int]]:
        return self.held

    def removed(self, repository: str) -> dict[str, datetime]:
        return {}


def settle(
    *copies: MemoryCopy, recorded: dict[str, list[tuple[str, bytes]]] | None = None
) -> tuple[Settled, Replication]:
    before = {name: {key: len(content) for key, content in held} for name, held in (recorded or {}).items()}
    stock = take_stock("main", copies, Record(before))
    replication = Replication(copies, stock.config_sha256, watch=lambda progress: None, report=lambda copy, keys: None)
    return replication.settle(stock, before), replication


def test_an_empty_copy_is_filled_with_everything() -> None:
    first, second = copy_with("first", WHOLE), copy_with("second", [])
    settle(first, second)
    assert second.inventory() == first.inventory()


def test_two_copies_that_each_lack_something_end_equal() -> None:
    first, second = copy_with("first", [*WHOLE[:3], INDEX]), copy_with("second", WHOLE[3:])
    settle(first, second)
    assert first.inventory() == second.inventory()
    assert set(first.inventory()[0]) == {key for key, _ in WHOLE}


def test_a_lost_object_is_healed_and_named_as_damage() -> None:
    first, second = copy_with("first", WHOLE[1:]), copy_with("second", WHOLE)
    settled, _ = settle(first, second, recorded={"first": WHOLE, "second": WHOLE})
    assert settled.damage == {"first": frozenset({"config"})}
    assert first.files["config"] == CONFIG


def test_an_altered_object_of_the_same_size_is_never_passed_on_nor_is_what_may_need_it() -> None:
    first, second = copy_with("first", WHOLE), copy_with("second", [("config", CONFIG), KEY])
    bad, content = PACKS[2]
    first.files[bad] = content[:-1] + b"!"
    settled, _ = settle(first, second)
    held = set(second.inventory()[0])
    assert bad not in held
    assert not {INDEX[0], SNAPSHOT[0]} & held
    assert settled.plan.unhealable == {bad}


def test_the_sound_packs_beside_an_altered_one_are_passed_on() -> None:
    first, second = copy_with("first", WHOLE), copy_with("second", [("config", CONFIG), KEY])
    first.files[PACKS[2][0]] = b"altered"
    settle(first, second)
    assert {key for key, _ in PACKS} - {PACKS[2][0]} <= set(second.inventory()[0])


def test_an_altered_object_found_while_sending_is_healed_from_a_third_copy() -> None:
    first, second, third = copy_with("first", WHOLE), copy_with("second", WHOLE[:2]), copy_with("third", WHOLE)
    bad, content = PACKS[0]
    first.files[bad] = content[:-1] + b"!"
    settle(first, second, third)
    assert first.files[bad] == second.files[bad] == content
    assert first.inventory() == second.inventory() == third.inventory()


def test_a_config_of_the_right_size_but_with_other_bytes_is_healed() -> None:
    first, second = copy_with("first", WHOLE), copy_with("second", WHOLE)
    first.files["config"] = b"X" * len(CONFIG)
    settle(first, second)
    assert first.files["config"] == CONFIG


class Breaking(MemoryCopy):
    """Breaks for good after so many objects; ``full`` can still be read."""

    def __init__(self, name: str, after: int, *, full: bool = False) -> None:
        super().__init__(name)
        self.left, self.full = after, full

    def put(self, key, source, sha256):  # type: ignore[no-untyped-def]
        if self.left == 0:
            error = CopyFull if self.full else CopyUnreachable
            raise error(f"copy {self.name} breaks", copy=self.name)
        self.left -= 1
        super().put(key, source, sha256)


def breaking(name: str, after: int, *, full: bool = False) -> Breaking:
    copy = Breaking(name, after, full=full)
    copy.files.update(copy_with(name, [("config", CONFIG), KEY]).files)
    return copy


@pytest.mark.parametrize("after", range(7))
def test_a_copy_that_breaks_after_any_number_of_objects_is_left_valid(after: int) -> None:
    first, second = copy_with("first", WHOLE), breaking("second", after)
    _, replication = settle(first, second)
    held = set(second.inventory()[0])
    packs = {key for key, _ in PACKS}
    assert INDEX[0] not in held or packs <= held
    assert SNAPSHOT[0] not in held or INDEX[0] in held
    assert replication.ledger.out.keys() == ({"second"} if after < 7 else set())


def test_one_copy_that_breaks_does_not_hinder_the_others() -> None:
    first, second, third = copy_with("first", WHOLE), breaking("second", 1), copy_with("third", [])
    settle(first, second, third)
    assert third.inventory() == first.inventory()


def test_a_full_copy_takes_nothing_more_but_still_gives() -> None:
    first, second = copy_with("first", WHOLE[:-1]), breaking("second", 0, full=True)
    second.files.update([*PACKS, SNAPSHOT])
    settled, _ = settle(first, second)
    assert SNAPSHOT[0] in first.files
    assert "second" in settled.present


def test_packs_stream_while_the_writer_still_writes() -> None:
    first, second = copy_with("first", WHOLE[:2]), copy_with("second", WHOLE[:2])
    replication = Replication(
        [first, second], hashlib.sha256(CONFIG).hexdigest(), watch=lambda progress: None, report=lambda copy, keys: None
    )
    arrived = threading.Event()
    second.put = lambda *given: (MemoryCopy.put(second, *given), arrived.set())[0]  # type: ignore[method-assign]
    with replication.streaming(first, lambda: ["first", "second"]):
        first.files.update(PACKS)
        assert arrived.wait(20), "nothing arrived while the writer was still at work"
    assert second.files.keys() & {key for key, _ in PACKS}
    assert not second.files.keys() & {INDEX[0], SNAPSHOT[0]}


def test_streaming_never_sends_a_pack_altered_before_it_was_sent() -> None:
    first, second = copy_with("first", WHOLE[:2]), copy_with("second", WHOLE[:2])
    replication = Replication(
        [first, second], hashlib.sha256(CONFIG).hexdigest(), watch=lambda progress: None, report=lambda copy, keys: None
    )
    with replication.streaming(first, lambda: ["second"]):
        first.files[PACKS[0][0]] = b"other bytes"
        first.files[PACKS[1][0]] = PACKS[1][1]
    stock = take_stock("main", [first, second], Record())
    settled = replication.settle(stock, {})
    assert PACKS[0][0] not in second.files
    assert PACKS[1][0] in second.files
    assert settled.plan.unhealable == {PACKS[0][0]}


def test_a_copy_of_another_repository_is_not_touched() -> None:
    first, foreign = copy_with("first", WHOLE), MemoryCopy("second")
    foreign.mark(Marker(repository="other", repository_id="2" * 64, copy="second", copy_id="x", config_sha256="0" * 64))
    before = dict(foreign.files)
    stock = take_stock("main", [first, foreign], Record())
    assert not stock.facts["second"].reached
    assert "other" in stock.facts["second"].reason
    settle(first, foreign)
    assert foreign.files == before
