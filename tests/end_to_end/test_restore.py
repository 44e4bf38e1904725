"""Bring a dataset back: choose, refuse what would do harm, fall over to another copy in the middle."""

from __future__ import annotations

import json
import os
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.end_to_end.shop import Shop, assert_same_tree, cut, flip, scramble, small_disk, tree, wait_until
from tests.end_to_end.slowline import SlowLine
from tests.faultproxy import Fault, FaultProxy, Rule
from tests.servers import Rclone


def _to(shop: Shop, name: str = "back") -> tuple[str, ...]:
    return ("restore", "files", "--to", str(shop.folder / name))


def _times(shop: Shop) -> list[datetime]:
    return [datetime.fromisoformat(one["time"]) for one in shop.run("snapshots", "files", code=0).document["snapshots"]]


# Which snapshot


def test_the_newest_snapshot_comes_back_as_the_source_is(grown: Shop) -> None:
    answer = grown.run(*_to(grown), code=0).document
    assert_same_tree(grown.source, grown.inside(grown.folder / "back"))
    assert answer["verified"] is True
    assert answer["snapshot"] == grown.snapshots("disk")[-1]["id"]
    files = [path for path in grown.source.rglob("*") if path.is_file()]
    assert answer["bytes"] == sum(path.stat().st_size for path in files)


@pytest.mark.parametrize("copy", ["disk", "offsite"])
def test_from_takes_that_copy_and_no_other(grown: Shop, copy: str) -> None:
    answer = grown.run(*_to(grown), "--from", copy, code=0).document
    assert answer["source"] == copy
    assert list(answer["taken_from"]) == [copy]
    assert_same_tree(grown.source, grown.inside(grown.folder / "back"))


def test_at_takes_the_newest_not_after_that_time(grown: Shop) -> None:
    first, second = _times(grown)
    ids = [one["id"] for one in grown.snapshots("disk")]

    def planned(at: str) -> str:
        return str(grown.run(*_to(grown), "--dry-run", "--at", at, code=0).document["snapshot"])

    assert planned((first + (second - first) / 2).isoformat()) == ids[0]
    assert planned(second.isoformat()) == ids[1]
    assert planned(first.isoformat()) == ids[0]
    assert planned(first.astimezone().strftime("%Y-%m-%d")) in ids
    assert planned((second + timedelta(days=9)).date().isoformat()) == ids[1]
    assert planned((second + timedelta(days=1)).strftime("%Y-%m-%d %H:%M")) == ids[1]


@pytest.mark.parametrize("at", ["2001-01-01", "2001-01-01 08:00", "2001-01-01T08:00:00Z"])
def test_a_time_before_the_first_snapshot_ends_with_23(grown: Shop, at: str) -> None:
    assert "snapshots" in grown.run(*_to(grown), "--at", at, code=23).error["hint"]
    assert not (grown.folder / "back").exists()


@pytest.mark.parametrize("at", ["yesterday-ish", "2026-13-40", "25:61"])
def test_what_is_no_time_is_refused_with_2(grown: Shop, at: str) -> None:
    assert at in grown.run(*_to(grown), "--at", at, code=2).error["message"]


def test_the_beginning_of_an_id_names_a_snapshot(grown: Shop) -> None:
    first = grown.snapshots("disk")[0]["id"]
    for named in (first, first[:8], first[:8].upper()):
        assert grown.run(*_to(grown), "--dry-run", "--snapshot", named, code=0).document["snapshot"] == first
    grown.run(*_to(grown), "--snapshot", "0123456789abcdef", code=23)


def test_a_snapshot_of_another_dataset_is_not_taken(grown: Shop) -> None:
    grown.add_files("other", grown.source / "folder-0")
    grown.write().run("backup", "other", code=0)
    other = grown.snapshots("disk", "other")[0]["id"]
    grown.run(*_to(grown), "--snapshot", other, code=23)


def test_a_dataset_without_a_snapshot_ends_with_23_and_an_unknown_one_with_2(grown: Shop) -> None:
    grown.add_files("later", grown.source)
    grown.write()
    grown.run("restore", "later", "--to", str(grown.folder / "back"), code=23)
    error = grown.run("restore", "filse", "--to", str(grown.folder / "back"), code=2).error
    assert "files" in error["hint"]
    grown.run("restore", "files", code=2)
    grown.run(*_to(grown), "--from", "nowhere", code=2)


# What of it


def _within(shop: Shop, *parts: str) -> str:
    assert shop.before
    return str(shop.before.joinpath(*parts))


def test_include_brings_a_file_a_folder_or_what_fits_a_pattern(grown: Shop) -> None:
    pages = {name for name in tree(grown.source) if name.startswith(b"folder-3/")}
    for words, wanted in (
        ([_within(grown, "large-0.bin")], {b"large-0.bin"}),
        ([_within(grown, "folder-3")], pages | {b"folder-3"}),
        ([_within(grown, "large-?.bin")], {f"large-{number}.bin".encode() for number in range(4)}),
        ([_within(grown, "large-0.bin"), _within(grown, "large-2.bin")], {b"large-0.bin", b"large-2.bin"}),
    ):
        answer = grown.run(*_to(grown), *(part for word in words for part in ("--include", word)), code=0).document
        back = grown.inside(grown.folder / "back")
        assert set(tree(back)) == wanted
        original, restored = tree(grown.source), tree(back)
        assert all(restored[name] == original[name] for name in wanted)
        assert answer["bytes"] == sum(one[5][0] for one in restored.values() if one[5])
        shutil.rmtree(grown.folder / "back")


def test_include_of_what_is_not_there_ends_with_23_and_says_what_there_is(grown: Shop) -> None:
    error = grown.run(*_to(grown), "--include", "/no/such/path", code=23).error
    assert str(grown.before) in error["hint"]
    assert not (grown.folder / "back").exists()


# Refusals


def test_a_target_that_is_not_empty_is_refused_and_left_as_it_is(grown: Shop) -> None:
    target = grown.folder / "back"
    target.mkdir()
    (target / "precious").write_text("mine")
    error = grown.run(*_to(grown), code=2).error
    assert "precious" in error["message"] and "--yes" in error["hint"]
    assert [entry.name for entry in target.iterdir()] == ["precious"]


def test_with_yes_what_is_in_the_way_is_written_over_and_the_rest_stays(grown: Shop) -> None:
    target = grown.folder / "back"
    inside = target / str(grown.before).lstrip("/")
    inside.mkdir(parents=True)
    (target / "precious").write_text("mine")
    (inside / "large-0.bin").write_text("an older state")
    (inside / "uploaded-since").write_text("mine too")
    grown.run(*_to(grown), "--yes", code=0)
    assert (target / "precious").read_text() == "mine"
    assert (inside / "uploaded-since").read_text() == "mine too"
    (inside / "uploaded-since").unlink()
    assert {name: one[5] for name, one in tree(inside).items()} == {
        name: one[5] for name, one in tree(grown.source).items()
    }


def test_a_target_that_is_a_file_or_cannot_be_made_is_refused(grown: Shop) -> None:
    (grown.folder / "file").write_text("x")
    grown.run(*_to(grown, "file"), code=2)
    answer = grown.run(*_to(grown, "file/below"))
    assert answer.code in (1, 2), str(answer)
    assert "Traceback" not in answer.err, str(answer)
    assert (grown.folder / "file").read_text() == "x"


def test_too_little_room_is_refused_before_anything_is_written(grown: Shop) -> None:
    with small_disk(grown.folder / "small", 10) as mount:
        error = grown.run("restore", "files", "--to", str(mount / "back"), code=2).error
        assert "room" in error["message"] and error["hint"]
        assert list(mount.iterdir()) == []


def test_a_dry_run_writes_nothing(grown: Shop) -> None:
    before = {name: tree(folder) for name, folder in grown.folders.items()}
    plan = grown.run(*_to(grown), "--dry-run", code=0).document
    assert plan["sources"] == ["disk", "offsite"]
    assert plan["bytes"] > 20_000_000
    assert not (grown.folder / "back").exists()
    assert {name: tree(folder) for name, folder in grown.folders.items()} == before
    assert grown.run(*_to(grown), "--dry-run", as_json=False).out


def test_from_an_absent_copy_ends_with_24(grown: Shop) -> None:
    grown.folders["disk"].rename(grown.folder / "unplugged")
    assert "mount" in grown.run(*_to(grown), "--from", "disk", code=24).error["hint"]


def test_a_wrong_password_ends_with_12(grown: Shop) -> None:
    (grown.folder / "main.password").write_text("not-the-password\n")
    assert "password" in grown.run(*_to(grown), code=12).error["message"]
    assert grown.run("backup").code == 12
    grown.write().run(*_to(grown), code=0)


def test_what_was_never_initialised_ends_with_10(shop: Shop) -> None:
    shop.add_directory("disk")
    shop.write()
    for words in (_to(shop), ("backup",), ("snapshots",)):
        assert "copies init" in shop.run(*words, code=10).error["hint"]


# From what is left


def test_with_the_first_copys_packs_gone_the_other_brings_everything(grown: Shop) -> None:
    shutil.rmtree(grown.folders["disk"] / "data")
    answer = grown.run(*_to(grown), code=0).document
    assert_same_tree(grown.source, grown.inside(grown.folder / "back"))
    assert "offsite" in answer["taken_from"]
    assert answer["taken_from"]["offsite"]["objects"] >= 2
    assert answer["source"] == "union"


@pytest.mark.parametrize("damage", ["one pack", "every pack", "index", "snapshot", "key", "truncated"])
def test_damage_that_only_reading_shows_makes_the_restore_fall_to_the_other_copy(grown: Shop, damage: str) -> None:
    disk = grown.folders["disk"]
    if damage == "one pack":
        scramble(grown.packs("disk")[0])
    elif damage == "every pack":
        for pack in grown.packs("disk"):
            flip(pack)
    elif damage == "truncated":
        cut(grown.packs("disk")[0], 5000)
    else:
        folder = {"index": "index", "snapshot": "snapshots", "key": "keys"}[damage]
        for path in (disk / folder).iterdir():
            flip(path)
    shutil.rmtree(grown.state / "shop" / "cache", ignore_errors=True)  # a warm cache would hide it
    answer = grown.run(*_to(grown), code=0).document
    assert answer["source"] in ("offsite", "union")
    assert_same_tree(grown.source, grown.inside(grown.folder / "back"))


def test_a_copy_that_is_damaged_and_the_only_one_ends_with_an_error_and_nothing_under_a_final_name(grown: Shop) -> None:
    scramble(grown.packs("disk")[0])
    answer = grown.run(*_to(grown), "--from", "disk")
    assert answer.code == 1, str(answer)
    shown = list((grown.folder / "back").iterdir()) if (grown.folder / "back").exists() else []
    assert [entry.name for entry in shown if not entry.name.startswith(".drtool-restore-")] == []
    grown.run(*_to(grown), code=0)  # and the next, from all copies, completes it
    assert_same_tree(grown.source, grown.inside(grown.folder / "back"))


def test_a_bucket_that_stops_answering_in_the_middle_is_left_for_the_other(grown: Shop, rclone: Rclone) -> None:
    """Two buckets are read together, until there is only one."""
    grown.add_bucket("second", rclone, rclone.bucket())
    grown.write().init().run("backup", code=0)
    del grown.copies["disk"]
    with SlowLine(rclone.endpoint, rate=6_000_000) as line, FaultProxy(line.endpoint) as proxy:
        grown.copies["second"]["s3"]["endpoint"] = line.endpoint
        grown.copies["offsite"]["s3"]["endpoint"] = proxy.endpoint
        grown.copies["offsite"]["patience"] = "2s"
        grown.write()
        shutil.rmtree(grown.state / "shop" / "cache")
        running = grown.start(*_to(grown))
        wait_until("a pack is read", lambda: any("/data/" in request for request in list(proxy.requests)))
        proxy.rules = [Rule(fault=Fault.HANG)]
        proxy.down()
        proxy.up()
        answer = running.wait(200)
    assert answer.code == 0, str(answer)
    assert answer.document["source"] == "union"
    assert_same_tree(grown.source, grown.inside(grown.folder / "back"))
    assert answer.seconds < 120, f"took {answer.seconds:.0f} s"


def test_both_copies_damaged_at_different_places_still_bring_everything(grown: Shop) -> None:
    """As long as each object survives in some copy."""
    first, second = grown.packs("disk")[:2]
    flip(first)
    flip(grown.folders["offsite"] / second.relative_to(grown.folders["disk"]))
    grown.run(*_to(grown), code=0)
    assert_same_tree(grown.source, grown.inside(grown.folder / "back"))


def test_a_restore_leaves_the_copies_as_they_are(grown: Shop) -> None:
    before = {name: tree(folder) for name, folder in grown.folders.items()}
    grown.run(*_to(grown), code=0)
    assert {name: tree(folder) for name, folder in grown.folders.items()} == before


def test_the_words_say_what_came_from_where(grown: Shop) -> None:
    answer = grown.run(*_to(grown), as_json=False)
    assert answer.code == 0
    for word in ("disk", "files", str(grown.folder / "back")):
        assert word in answer.out, answer.out


def test_the_estates_own_documents_are_in_every_copy(grown: Shop) -> None:
    grown.run("backup", code=0)
    for copy in grown.copies:
        newest = grown.snapshots(copy, "estate")[-1]
        content = grown.restic(copy, "dump", newest["id"], str(grown.estate), "--no-lock", "--no-cache")
        assert json.loads(content) == json.loads(grown.estate.read_text())
        listed = grown.restic(copy, "ls", newest["id"], "--no-lock", "--no-cache")
        assert "password" not in listed and ".cred" not in listed


def test_a_restore_as_another_user_without_rights_is_a_clear_error(grown: Shop) -> None:
    target = Path("/proc/nowhere")
    answer = grown.run("restore", "files", "--to", str(target))
    assert answer.code in (1, 2), str(answer)
    assert "Traceback" not in answer.err and "a bug" not in answer.err, str(answer)
    assert os.path.exists("/proc/self")
