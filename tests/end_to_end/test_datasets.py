"""A dump that fails never becomes a snapshot and never hides the last good one; what is left out is named."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.end_to_end.shop import WITHOUT_ROOTS_RIGHTS, Answer, Shop, assert_same_tree, wait_until
from tests.servers import Rclone

LONG = "head -c 3000000 /dev/urandom"
FAILING = {
    "at once": "exit 3",
    "after output": f"{LONG}; echo 'disk on fire' >&2; exit 3",
    "killed": f"{LONG}; kill -9 $$",
    "terminated": f"{LONG}; kill -TERM $$",
    "printing nothing": "true",
    "printing only to stderr": "echo 'access denied' >&2",
}


@pytest.fixture
def dumping(tmp_path: Path, rclone: Rclone) -> Shop:
    """A dump by a script that a test may change, after one good night; and files beside it."""
    shop = Shop(folder=tmp_path / "shop")
    shop.source.mkdir()
    (shop.source / "page").write_text("a page")
    shop.add_files()
    shop.add_directory("disk")
    shop.add_bucket("offsite", rclone, rclone.bucket())
    script = shop.folder / "dump.sh"
    script.write_text("echo 'the good dump'\n")
    shop.add_command("dump", "sh", str(script))
    shop.write().init().run("backup", code=0)
    return shop


def _the_good_one_stays(shop: Shop) -> None:
    for copy in shop.copies:
        assert len(shop.snapshots(copy, "dump")) == 1, f"a snapshot of a failed dump is in {copy}"
    listed = shop.run("snapshots", "dump", code=0).document["snapshots"]
    assert len(listed) == 1
    target = shop.folder / "dumped"
    shop.run("restore", "dump", "--to", str(target), code=0)
    assert (target / "dump.sql").read_text() == "the good dump\n"
    shop.assert_equal_copies()
    shop.assert_sound()


def _failed(done: Answer) -> None:
    assert done.code == 3, str(done)
    assert done.dataset("dump")["outcome"] == "failed"
    assert done.dataset("dump")["reason"]
    assert done.dataset("dump")["snapshot"] is None
    assert done.dataset("files")["outcome"] == "done"


@pytest.mark.parametrize("way", FAILING)
def test_a_dump_that_fails_leaves_no_snapshot(dumping: Shop, way: str) -> None:
    (dumping.folder / "dump.sh").write_text(FAILING[way])
    _failed(dumping.run("backup"))
    _the_good_one_stays(dumping)


def test_a_run_of_nothing_but_a_dump_that_fails_ends_with_1(dumping: Shop) -> None:
    (dumping.folder / "dump.sh").write_text("exit 3")
    assert dumping.run("backup", "dump", code=1).dataset("dump")["outcome"] == "failed"


def test_a_dump_that_fails_says_what_its_command_said_last(dumping: Shop) -> None:
    (dumping.folder / "dump.sh").write_text(FAILING["after output"])
    assert "disk on fire" in dumping.run("backup").dataset("dump")["reason"]


@pytest.mark.parametrize("script", ["echo begun; sleep 120", "trap '' TERM; echo begun; sleep 120; sleep 120"])
def test_a_dump_that_hangs_is_stopped_at_its_timeout(dumping: Shop, script: str) -> None:
    (dumping.folder / "dump.sh").write_text(script)
    dumping.datasets["dump"]["command"]["timeout"] = "2s"
    done = dumping.write().run("backup")
    _failed(done)
    assert done.seconds < 60
    dumping.assert_nobody_left()
    _the_good_one_stays(dumping)


def test_a_dump_that_somebody_kills_leaves_no_snapshot(dumping: Shop) -> None:
    (dumping.folder / "dump.sh").write_text(f"{LONG}; exec tail -f {dumping.folder}/dump.sh")
    running = dumping.start("backup")

    def dump() -> list[int]:
        return [pid for pid, words in dumping.processes().items() if words.startswith("tail -f")]

    wait_until("the dump runs", lambda: dump())
    time.sleep(0.3)
    os.kill(dump()[0], 9)
    _failed(running.wait())
    _the_good_one_stays(dumping)


def test_a_program_that_does_not_exist_fails_its_dataset_only(dumping: Shop) -> None:
    dumping.datasets["dump"]["command"]["argv"] = ["/usr/bin/no-such-dump"]
    _failed(dumping.write().run("backup"))
    _the_good_one_stays(dumping)


def test_a_large_dump_comes_back_byte_for_byte(dumping: Shop) -> None:
    content = os.urandom(20_000_000)
    (dumping.folder / "content").write_bytes(content)
    (dumping.folder / "dump.sh").write_text(f"cat {dumping.folder}/content")
    dumping.run("backup", code=0)
    dumping.run("restore", "dump", "--to", str(dumping.folder / "dumped"), code=0)
    assert (dumping.folder / "dumped" / "dump.sql").read_bytes() == content


def test_a_dump_gets_neither_secrets_nor_open_files_of_drtools(dumping: Shop) -> None:
    out = dumping.folder / "seen"
    (dumping.folder / "dump.sh").write_text(f"env > {out}; ls -l /proc/$$/fd >> {out}; echo ok\n")
    dumping.run("backup", code=0, env={"RESTIC_PASSWORD": "inherited", "AWS_SECRET_ACCESS_KEY": "inherited"})
    seen = out.read_text()
    for word in ("RESTIC", "AWS", "inherited", "memfd", ".lock"):
        assert word not in seen, seen


# Files


def test_a_file_that_cannot_be_read_makes_the_run_incomplete_and_the_rest_is_saved(grown: Shop) -> None:
    secret = grown.source / "unreadable-for-us"
    secret.write_text("x")
    secret.chmod(0)
    grown.through = WITHOUT_ROOTS_RIGHTS
    done = grown.run("backup", code=3)
    assert done.dataset("files")["outcome"] == "incomplete"
    assert "read" in done.dataset("files")["reason"]
    assert "unreadable-for-us" in grown.run("backup", as_json=False).out, "the administrator is not told which file"
    grown.assert_equal_copies()
    grown.assert_sound()
    back = grown.restore()
    secret.unlink()
    assert_same_tree(grown.source, back)


def test_one_of_two_paths_missing_makes_the_run_incomplete_and_names_it(grown: Shop) -> None:
    gone = grown.folder / "gone"
    grown.add_files("files", grown.source, gone)
    done = grown.write().run("backup", code=3)
    assert done.dataset("files")["outcome"] == "incomplete"
    assert str(gone) in done.dataset("files")["reason"]
    assert_same_tree(grown.source, grown.restore())


def test_all_paths_missing_fails_that_dataset_and_the_others_are_done(grown: Shop) -> None:
    grown.add_files("other", grown.folder / "gone", grown.folder / "too")
    done = grown.write().run("backup", code=3)
    assert done.dataset("other")["outcome"] == "failed"
    assert done.dataset("files")["outcome"] == "done"
    assert grown.run("backup", "other").code == 1
    assert grown.snapshots("disk", "other") == []


def test_an_empty_folder_is_not_done_and_does_not_hide_the_last_good_snapshot(grown: Shop) -> None:
    """As when the disk with the shop is not mounted."""
    full = grown.source.rename(grown.folder / "elsewhere")
    grown.source.mkdir()
    done = grown.run("backup", code=1)
    assert done.dataset("files")["outcome"] == "failed"
    assert "mounted" in done.dataset("files")["reason"]
    grown.source.rmdir()
    full.rename(grown.source)
    back = grown.restore()
    assert back.exists() and any(back.iterdir()), "the newest restorable snapshot is the empty one"


def test_a_path_that_is_one_file_or_a_link_is_saved(grown: Shop) -> None:
    link = grown.folder / "link"
    link.symlink_to(grown.source)
    grown.add_files("few", grown.source / "large-0.bin", link)
    grown.write().run("backup", "few", code=0)
    target = grown.folder / "few-back"
    grown.run("restore", "few", "--to", str(target), code=0)
    assert (target / link.relative_to("/")).readlink() == grown.source
    file = (grown.source / "large-0.bin").relative_to("/")
    assert (target / file).read_bytes() == (Path("/") / file).read_bytes()


def test_exclude_and_several_datasets_of_one_repository(grown: Shop) -> None:
    grown.add_files("pages", grown.source, exclude=["*.bin"])
    grown.write().run("backup", code=0)
    target = grown.folder / "pages-back"
    grown.run("restore", "pages", "--to", str(target), code=0)
    assert not list(target.rglob("*.bin"))
    assert list(target.rglob("*.html"))
    assert_same_tree(grown.source, grown.restore())


# Databases


def test_a_database_in_use_is_saved_as_of_one_moment(grown: Shop) -> None:
    path = grown.folder / "shop.db"
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("CREATE TABLE sale (id INTEGER PRIMARY KEY, amount)")
        writer.executemany("INSERT INTO sale (amount) VALUES (?)", [(number,) for number in range(1000)])
        writer.commit()
        writer.execute("INSERT INTO sale (amount) VALUES (-1)")  # not committed while the backup runs
        grown.add_sqlite("db", path)
        grown.write().run("backup", "db", code=0)
        writer.rollback()
    target = grown.folder / "db-back"
    grown.run("restore", "db", "--to", str(target), code=0)
    with closing(sqlite3.connect(target / "shop.db")) as db:
        assert db.execute("SELECT count(*), min(amount) FROM sale").fetchone() == (1000, 0)


@pytest.mark.parametrize("content", [None, b"", b"SQLite format 3\0 but then rubbish" * 200])
def test_a_database_that_is_missing_or_damaged_leaves_no_snapshot(grown: Shop, content: bytes | None) -> None:
    path = grown.folder / "shop.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE sale (id)")
        db.commit()
    grown.add_sqlite("db", path)
    grown.write().run("backup", "db", code=0)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    done = grown.run("backup")
    assert done.code == 3, str(done)
    assert done.dataset("db")["outcome"] in ("failed", "incomplete")
    assert len(grown.snapshots("disk", "db")) == 1
