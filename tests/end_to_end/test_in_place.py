"""Restores in place: what changes is shown, what was there is saved, what comes back is right in every detail."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.shop import Shop, assert_same_tree, fill, flip, read_only, scramble, small_disk

WORDS = ("restore", "files", "--in-place")


@pytest.fixture
def site(shop: Shop) -> Iterator[Shop]:
    """A web root with awkward things in it, backed up into two directories, and a copy of it to compare with."""
    root = shop.source
    shutil.rmtree(root)
    fill(root, megabytes=4, small=40)
    (root / "odd [name]*?").mkdir()
    (root / "odd [name]*?" / "file\\with $HOME").write_text("odd")
    (root / "link").symlink_to("large-0.bin")
    os.link(root / "large-1.bin", root / "hard")
    with (root / "sparse").open("wb") as sparse:
        sparse.truncate(30_000_000)
    os.setxattr(root / "large-2.bin", "user.note", b"kept")
    subprocess.run(["setfacl", "-m", "u:33:r", str(root / "large-3.bin")], check=True)
    os.chown(root / "folder-1", 33, 33)
    (root / "folder-1").chmod(0o750)
    (root / "folder-2" / "run").write_text("#!/bin/sh\n")
    (root / "folder-2" / "run").chmod(0o4755)
    os.chown(root, 33, 33)
    root.chmod(0o751)
    shop.add_directory("disk")
    shop.add_directory("other")
    shop.write().init()
    shop.run("backup", code=0)
    subprocess.run(["cp", "-a", str(root), str(shop.folder / "as-it-was")], check=True)
    yield shop


def _assert_as_it_was(site: Shop) -> None:
    before = site.folder / "as-it-was"
    assert_same_tree(before, site.source)
    assert (site.source.stat().st_mode, site.source.stat().st_uid) == (before.stat().st_mode, before.stat().st_uid)
    assert (site.source / "hard").samefile(site.source / "large-1.bin")
    assert (site.source / "sparse").stat().st_blocks == 0
    shown = [
        subprocess.run(["getfacl", "-cpn", "large-3.bin"], cwd=place, capture_output=True, check=True).stdout
        for place in (before, site.source)
    ]
    assert shown[0] == shown[1]


def _damage(site: Shop) -> None:
    """What an intruder leaves: changed with its time kept, gone, added, made writable for all."""
    page = next(site.source.glob("folder-3/page-*.html"))
    times = page.stat()
    page.write_bytes(b"X" * times.st_size)
    os.utime(page, ns=(times.st_atime_ns, times.st_mtime_ns))
    next(site.source.glob("folder-4/page-*.html")).unlink()
    shutil.rmtree(site.source / "odd [name]*?")
    (site.source / "shell.php").write_text("<?php")
    (site.source / "large-2.bin").chmod(0o666)


def _changes(site: Shop, *words: str) -> dict[str, Any]:
    return dict(site.run(*WORDS, *words, "--dry-run", code=0).document["changes"])


def test_a_dry_run_tells_what_would_change_and_changes_nothing(site: Shop) -> None:
    _damage(site)
    before = {path: path.lstat().st_mtime_ns for path in site.source.rglob("*")}
    changes = _changes(site, "--delete")
    assert (changes["altered"], changes["deleted"]) == (1, 1)
    assert changes["added"] == 3  # the page, the odd folder and its file
    assert ["deleted", str(site.source / "shell.php")] in changes["examples"]
    assert {path: path.lstat().st_mtime_ns for path in site.source.rglob("*")} == before
    assert len(site.snapshots("disk")) == 1


def test_without_a_yes_nothing_is_changed_where_nobody_can_be_asked(site: Shop) -> None:
    _damage(site)
    answer = site.run(*WORDS, code=2)
    assert "--yes" in answer.error["hint"]
    assert (site.source / "shell.php").exists()


def test_everything_is_as_it_was_also_where_only_the_content_differs(site: Shop) -> None:
    beside = site.source.parent / "beside"
    beside.write_text("not part of it")
    _damage(site)
    done = site.run(*WORDS, "--delete", "--yes", code=0).document
    _assert_as_it_was(site)
    assert beside.read_text() == "not part of it"
    assert done["undo"].endswith(f"--snapshot {done['safety'][:16]} --in-place --delete")


def test_what_is_not_in_the_snapshot_stays_unless_it_is_to_go(site: Shop) -> None:
    _damage(site)
    site.run(*WORDS, "--yes", code=0)
    (site.source / "shell.php").unlink()
    os.utime(site.source, ns=((site.folder / "as-it-was").stat().st_atime_ns, 0))
    assert_same_tree(site.folder / "as-it-was", site.source)


def test_a_deleted_web_root_comes_back_with_its_own_owner_and_mode(site: Shop) -> None:
    shutil.rmtree(site.source)
    done = site.run(*WORDS, "--yes", code=0).document
    assert "safety" not in done, "there was nothing to save"
    _assert_as_it_was(site)


def test_the_printed_command_undoes_it(site: Shop) -> None:
    _damage(site)
    subprocess.run(["cp", "-a", str(site.source), str(site.folder / "damaged")], check=True)
    undo = site.run(*WORDS, "--delete", "--yes", code=0).document["undo"].split()
    site.run(*undo[1:], "--yes", code=0)
    assert_same_tree(site.folder / "damaged", site.source)
    site.run(*WORDS, "--delete", "--yes", code=0)  # the newest is still what was backed up, not what was saved
    _assert_as_it_was(site)


def test_what_was_saved_is_held_and_is_no_backup(site: Shop) -> None:
    _damage(site)
    site.datasets["files"]["retention"] = {"last": 1}
    saved = site.write().run(*WORDS, "--yes", code=0).document["safety"]
    newest = site.run("status").document["datasets"][0]["copies"][0]["newest"]["snapshot"]
    assert newest != saved
    site.run("backup", code=0)
    site.run("prune", code=0)
    assert saved in {one["id"] for one in site.snapshots("other")}
    held = site.run("hold", "list", code=0).document["holds"][0]
    site.run("hold", "release", held["id"], "--reason", "all is well", code=0)
    site.run("prune", code=0)
    assert saved not in {one["id"] for one in site.snapshots("disk")}
    site.assert_whole()


def test_a_part_comes_back_alone(site: Shop) -> None:
    _damage(site)
    gone = site.source / "odd [name]*?"
    site.run(*WORDS, "--include", str(gone).replace("[", "\\[").replace("*?", "\\*\\?"), "--yes", code=0)
    assert (gone / "file\\with $HOME").read_text() == "odd"
    assert (site.source / "shell.php").exists()
    assert _changes(site)["altered"] == 1


def test_a_moment_in_time_is_gone_back_to(site: Shop) -> None:
    time = site.run("snapshots", "files").document["snapshots"][0]["time"]
    _damage(site)
    site.run("backup", code=0)
    site.run(*WORDS, "--at", time, "--delete", "--yes", code=0)
    _assert_as_it_was(site)


def test_what_cannot_be_saved_is_not_written_over(site: Shop) -> None:
    """No copy can be written to; only who says that it may be lost gets on."""
    _damage(site)
    with read_only(site.folders["disk"]), read_only(site.folders["other"]):
        answer = site.run(*WORDS, "--yes", code=1)
    assert "--no-safety" in answer.error["hint"]
    assert (site.source / "shell.php").exists()
    assert next(site.source.glob("folder-3/page-*.html")).read_bytes().startswith(b"X")


def test_with_no_safety_nothing_is_saved(site: Shop) -> None:
    _damage(site)
    done = site.run(*WORDS, "--delete", "--yes", "--no-safety", code=0).document
    assert "safety" not in done
    assert len(site.snapshots("disk")) == 1
    _assert_as_it_was(site)


def test_damage_in_both_copies_at_different_places_does_not_stop_it(site: Shop) -> None:
    first, second = site.packs("disk")[:2]
    flip(first)
    flip(site.folders["other"] / second.relative_to(site.folders["disk"]))
    shutil.rmtree(site.state)
    shutil.rmtree(site.source)
    assert site.run(*WORDS, "--yes", code=0).document["source"] == "union"
    _assert_as_it_was(site)


@pytest.mark.parametrize(
    "words",
    [
        ("restore", "files", "--in-place", "--to", "/tmp/x"),
        ("restore", "files", "--to", "/tmp/x", "--delete"),
        ("restore", "files", "--to", "/tmp/x", "--no-safety"),
    ],
)
def test_words_that_do_not_go_together_are_refused(site: Shop, words: tuple[str, ...]) -> None:
    site.run(*words, code=2)


def test_a_database_is_not_restored_over_in_place(site: Shop) -> None:
    site.add_command("dump", "echo", "hello")
    site.write().run("backup", "dump", code=0)
    assert "--to" in site.run("restore", "dump", "--in-place", "--yes", code=2).error["hint"]


def test_two_paths_come_back_each_to_its_place(site: Shop) -> None:
    config = site.folder / "etc" / "nginx.conf"
    config.parent.mkdir()
    config.write_text("server {}")
    site.add_files("files", site.source, config)
    site.write().run("backup", code=0)
    config.write_text("broken")
    (site.folder / "etc" / "beside").write_text("stays")
    shutil.rmtree(site.source)
    site.run(*WORDS, "--delete", "--yes", code=0)
    assert config.read_text() == "server {}"
    assert (site.folder / "etc" / "beside").exists()
    _assert_as_it_was(site)


def test_evidence_tells_of_it_without_names_of_files(site: Shop) -> None:
    _damage(site)
    site.run(*WORDS, "--delete", "--yes", code=0)
    shown = site.run("evidence", "show", "--last", "99", code=0)
    kinds = [event["kind"] for event in shown.document["events"]]
    assert kinds.index("hold.set") < kinds.index("restore.started") < kinds.index("restore.finished")
    assert "shell.php" not in shown.out


def test_a_night_after_a_restore_that_changed_nothing_is_a_backup_again(site: Shop) -> None:
    """The newest snapshot is then the saved one, with the very same tree; the next one is a backup again."""
    site.run(*WORDS, "--yes", code=0)
    site.run("backup", code=0)
    shown = site.run("snapshots", "files").document["snapshots"]
    assert [one["safety"] for one in shown] == [False, True, False]


def test_what_is_excluded_from_backups_is_saved_before_it_is_deleted(site: Shop) -> None:
    site.add_files("files", site.source, exclude=["*.cache"])
    site.write().run("backup", code=0)
    (site.source / "kept.cache").write_text("nowhere else")
    undo = site.run(*WORDS, "--delete", "--yes", code=0).document["undo"].split()[1:]
    assert not (site.source / "kept.cache").exists()
    site.run(*undo, "--yes", code=0)
    assert (site.source / "kept.cache").read_text() == "nowhere else"


def test_a_mounted_file_system_below_is_not_emptied(site: Shop) -> None:
    site.add_files("files", site.source, one_file_system=True)
    (site.source / "mounted").mkdir()
    site.write().run("backup", code=0)
    with small_disk(site.source / "mounted", 8) as disk:
        (disk / "precious").write_text("nowhere else")
        refused = site.run(*WORDS, "--delete", "--yes", code=2)
        assert "another file system" in refused.error["message"]
        assert (disk / "precious").exists()


def test_a_path_with_odd_signs_is_meant_as_it_is(site: Shop) -> None:
    _damage(site)
    site.run(*WORDS, "--include", str(site.source / "odd [name]*?"), "--yes", code=0)
    assert (site.source / "odd [name]*?" / "file\\with $HOME").read_text() == "odd"


def test_what_fits_nothing_is_an_error(site: Shop) -> None:
    answer = site.run(*WORDS, "--include", "/no/such/path", "--yes")
    assert answer.code in (1, 23), str(answer)


def test_folders_above_that_are_gone_are_open_again(site: Shop) -> None:
    above = site.source.parent / "a" / "b"
    (above / "root").mkdir(parents=True)
    (above / "root" / "page").write_text("page")
    site.add_files("files", above / "root")
    site.write().run("backup", code=0)
    shutil.rmtree(site.source.parent / "a")
    site.run(*WORDS, "--yes", code=0)
    assert [place.stat().st_mode & 0o777 for place in (above, above.parent)] == [0o755, 0o755]


def test_what_was_saved_is_told_also_where_the_restore_then_fails(site: Shop) -> None:
    _damage(site)
    for name in ("disk", "other"):
        for pack in site.packs(name):
            scramble(pack)
    answer = site.run(*WORDS, "--yes")
    assert answer.code in (1, 3)
    told = answer.document["undo"] if answer.code == 3 else answer.error["hint"]
    assert "--in-place" in told
