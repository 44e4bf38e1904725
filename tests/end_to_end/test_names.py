"""Names, links, modes and places as they occur on real servers."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.end_to_end.shop import Shop, assert_same_tree
from tests.servers import Rclone

NAMES = [
    b"plain", b"with space", b" space at both ends ", b"new\nline", b"carriage\rreturn", b"tab\there",
    b'double"quote', b"single'quote", b"back\\slash", b"`backtick`", b"$(command) $HOME", b"semi;colon&amp|pipe",
    b"*.star", b"[set]", b"{a,b}", b"?question", b"!bang", b"#hash", b"~tilde", b"%41percent", b"-", b"--", b"-rf",
    b"--exclude=x",
    b"\xff\xfe not utf-8", b"latin1 \xe4\xf6\xfc", b"\x01\x02\x1b[31m control", b"\xed\xa0\x80 surrogate",
    "Üml\u00e4ut".encode(), "Umla\u0308ut".encode(), "日本語".encode(), "😀".encode(), "\u202egnp.exe".encode(),
    b"x" * 255, ("ä" * 127).encode(), b"...", b".hidden", b"con", b"a:b", b"drtool", b".drtool-restore-me",
]  # fmt: skip


def _odd_tree(root: Path) -> None:
    root.mkdir(parents=True)
    top = os.fsencode(root)
    for number, name in enumerate(NAMES):
        path = os.path.join(top, name)
        with open(path, "wb") as file:
            file.write(name * 3)
        os.utime(path, ns=(1, 1_500_000_000_123_456_789 + number))
        if len(name) < 200:
            folder = os.path.join(top, b"folders", name)
            os.makedirs(folder)
            with open(os.path.join(folder, name), "wb") as file:
                file.write(b"inside")
    deep = root / "deep"
    for level in range(60):
        deep /= f"level-{level}"
    deep.mkdir(parents=True)
    (deep / "bottom").write_text("at the bottom")
    _links(root)
    _kinds(root)
    for folder, mode in ((root / "kinds", 0o2775), (root / "empty", 0o1777)):
        folder.mkdir(exist_ok=True)
        folder.chmod(mode)
    os.utime(root / "empty", ns=(1, 1_000_000_000_000_000_001))


def _links(root: Path) -> None:
    links = root / "links"
    links.mkdir()
    (links / "dangling").symlink_to("/nowhere/at/all")
    (links / "up").symlink_to("..")
    (links / "loop").symlink_to("loop")
    os.symlink(b"../\xff\xfe not utf-8", os.fsencode(links / "to bytes"))
    (links / "with\nline").symlink_to("new\nline")
    (links / "one").write_text("linked")
    os.link(links / "one", links / "other")


def _kinds(root: Path) -> None:
    kinds = root / "kinds"
    kinds.mkdir()
    (kinds / "nothing").touch()
    os.mkfifo(kinds / "pipe", 0o640)
    with (kinds / "sparse").open("wb") as file:
        file.truncate(20_000_000)
        file.seek(10_000_000)
        file.write(b"island")
    for name, mode in (("setuid", 0o4755), ("setgid", 0o2755), ("unreadable", 0o000), ("read-only", 0o444)):
        (kinds / name).write_text(name)
        (kinds / name).chmod(mode)
    (kinds / "attributes").write_text("x")
    os.setxattr(kinds / "attributes", "user.origin", b"\x00binary\xff")
    (kinds / "owned").write_text("x")
    os.chown(kinds / "owned", 12345, 54321)
    os.utime(kinds / "owned", ns=(0, -1_000_000_000))  # before 1970


def test_odd_names_and_kinds_come_back_as_they_were(tmp_path: Path, rclone: Rclone) -> None:
    shop = Shop(folder=tmp_path / "shop")
    _odd_tree(shop.source)
    shop.add_files()
    shop.add_directory("disk")
    shop.add_bucket("offsite", rclone, rclone.bucket())
    shop.write().init().run("backup", code=0)
    shop.run("backup", code=0)  # again, unchanged
    shop.assert_whole()
    back = shop.restore("files", "back", "--from", "offsite")
    assert_same_tree(shop.source, back)
    assert (back / "links" / "one").stat().st_ino == (back / "links" / "other").stat().st_ino
    assert (back / "empty").stat().st_mtime_ns == 1_000_000_000_000_000_001
    words = shop.run("restore", "files", "--to", str(shop.folder / "again"), as_json=False)
    assert words.code == 0, str(words)


@pytest.mark.parametrize("name", ['o\'brien "the" shop', "läden 日本 😀", "-rf", "a;b$(c)`d` x:y [1]*?"])
def test_the_estate_may_lie_at_an_odd_place(tmp_path: Path, rclone: Rclone, name: str) -> None:
    shop = Shop(folder=tmp_path / name)
    shop.source.mkdir()
    (shop.source / name).write_text("a page")
    shop.add_files("files", shop.source)
    shop.add_directory("disk", shop.folder / f"the {name}")
    shop.add_bucket("offsite", rclone, rclone.bucket())
    database = shop.folder / f"{name}.db"
    with closing(sqlite3.connect(database)) as db:
        db.execute("CREATE TABLE visitor (name)")
        db.commit()
    shop.add_sqlite("db", database)
    shop.add_command("dump", "cat", str(database), filename=f"{name}.sql")
    shop.write().init().run("backup", code=0)
    shop.assert_whole()
    shop.assert_restores("back")
    target = shop.folder / "database"
    shop.run("restore", "db", "--to", str(target), code=0)
    with closing(sqlite3.connect(target / database.name)) as db:
        assert db.execute("SELECT count(*) FROM visitor").fetchone() == (0,)
    shop.run("restore", "dump", "--to", str(shop.folder / "dumped"), code=0)
    assert (shop.folder / "dumped" / f"{name}.sql").read_bytes() == database.read_bytes()


@pytest.mark.parametrize("name", [b"new\nline", b"*.star", b"[set] of 'all'", b"back\\slash"])
def test_one_odd_name_can_be_restored_by_include(tmp_path: Path, name: bytes) -> None:
    shop = Shop(folder=tmp_path / "shop")
    shop.source.mkdir()
    top = os.fsencode(shop.source)
    for one in (name, b"other"):
        Path(os.fsdecode(os.path.join(top, one))).write_bytes(one)
    shop.add_files()
    shop.add_directory("disk")
    shop.write().init().run("backup", code=0)
    pattern = os.fsdecode(os.path.join(top, name))
    for sign in "\\[*":
        pattern = pattern.replace(sign, f"\\{sign}")
    back = shop.restore("files", "back", "--include", pattern)
    assert os.listdir(os.fsencode(back)) == [name]


def test_a_file_that_goes_away_while_it_is_read_does_not_stop_the_backup(two: Shop) -> None:
    running = two.start("backup")
    for page in sorted(two.source.glob("folder-*/page-*"))[::2]:
        page.unlink()
        time.sleep(0.01)
    assert running.wait().code in (0, 3)
    two.run("backup", code=0)
    two.assert_restores("back")
