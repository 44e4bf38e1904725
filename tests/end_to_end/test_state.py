"""The state folder may be lost, torn, full or read-only: the copies alone are enough."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.end_to_end.shop import Shop, assert_same_tree, change, cut, read_only, small_disk


def test_without_the_state_folder_everything_works_from_the_copies(grown: Shop) -> None:
    before = grown.run("snapshots", code=0).document
    for words in (("snapshots",), ("status",), ("copies", "list"), ("restore",), ("backup",)):
        shutil.rmtree(grown.state)
        if words == ("restore",):
            assert_same_tree(grown.source, grown.restore())
        elif words == ("snapshots",):
            assert grown.run("snapshots", code=0).document == before
        elif words == ("status",):
            status = grown.run("status")
            assert status.code in (0, 21)
            holdings = status.document["datasets"][0]["copies"]
            assert all(holding["newest"]["snapshot"] == before["snapshots"][-1]["snapshot"] for holding in holdings)
        elif words == ("copies", "list"):
            assert all(copy["agrees"] for copy in grown.run("copies", "list", code=0).document["copies"])
        else:
            change(grown.source, 7)
            grown.run("backup", code=0)
            grown.assert_whole()
            assert len(grown.snapshots("disk")) == 3


def test_a_loss_is_healed_even_when_the_state_is_lost_too(grown: Shop) -> None:
    """Without a record the other copy tells what is missing."""
    shutil.rmtree(grown.state)
    for pack in grown.packs("disk")[::2]:
        pack.unlink()
    change(grown.source, 7)
    grown.run("backup", code=0)
    grown.assert_whole()
    grown.assert_restores("back", "--from", "disk")


def test_with_the_state_lost_init_does_not_begin_anew(grown: Shop) -> None:
    before = grown.names("disk")
    shutil.rmtree(grown.state)
    results = {copy["copy"]: copy["result"] for copy in grown.run("copies", "init", code=0).document["copies"]}
    assert set(results.values()) == {"already"}
    assert grown.names("disk") == before


def _tear(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(0)
        file.write(os.urandom(4096))


def _tear_the_middle(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        for page in range(2, size // 4096):
            file.seek(page * 4096)
            file.write(os.urandom(4096))


TEARS: dict[str, Callable[[Path], None]] = {
    "its head": _tear,
    "its pages": _tear_the_middle,
    "cut in half": lambda path: cut(path, path.stat().st_size // 2),
    "cut within a page": lambda path: cut(path, path.stat().st_size - 1000),
    "emptied": lambda path: cut(path, 0),
}


@pytest.mark.parametrize("tear", TEARS)
def test_a_torn_evidence_file_does_not_stop_the_backup_and_is_set_aside(grown: Shop, tear: str) -> None:
    evidence = next(grown.state.rglob("evidence.db"))
    TEARS[tear](evidence)
    torn = evidence.read_bytes()
    if tear != "emptied":
        verdict = grown.run("evidence", "verify")
        assert verdict.code == 1, str(verdict)
        assert "Traceback" not in verdict.err
    change(grown.source, 7)
    grown.run("backup", code=0)
    grown.assert_whole()
    grown.assert_restores("back")
    aside = [path for path in evidence.parent.glob("evidence.db?*") if path.read_bytes() == torn]
    told = grown.run("evidence", "verify").code == 1  # where SQLite still writes to it, the damage stays visible
    assert tear == "emptied" or aside or told, f"the damage is forgotten: {list(evidence.parent.iterdir())}"


@pytest.mark.parametrize("command", ["status", "snapshots", "restore", "copies list"])
def test_a_torn_evidence_file_does_not_stop_an_operator(grown: Shop, command: str) -> None:
    _tear(next(grown.state.rglob("evidence.db")))
    words = command.split()
    if command == "restore":
        assert_same_tree(grown.source, grown.restore())
    else:
        answer = grown.run(*words)
        assert answer.code in (0, 21), str(answer)


def test_an_edited_event_is_named(grown: Shop) -> None:
    evidence = next(grown.state.rglob("evidence.db"))
    with closing(sqlite3.connect(evidence)) as db:
        db.execute("DROP TRIGGER event_no_update")
        (edited,) = db.execute("SELECT min(seq) FROM event WHERE body LIKE '%files%'").fetchone()
        db.execute("UPDATE event SET body = replace(body, 'files', 'piles') WHERE seq = ?", [edited])
        db.commit()
    verdict = grown.run("evidence", "verify", code=1)
    assert verdict.document["ok"] is False
    assert verdict.document["first_bad"] == edited


def test_a_removed_event_is_named(grown: Shop) -> None:
    evidence = next(grown.state.rglob("evidence.db"))
    with closing(sqlite3.connect(evidence)) as db:
        db.execute("DROP TRIGGER event_no_delete")
        db.execute("DELETE FROM event WHERE seq = 4")
        db.commit()
    verdict = grown.run("evidence", "verify", code=1)
    assert verdict.document["first_bad"] in (4, 5)


def test_a_read_only_state_folder_is_a_clear_error(grown: Shop) -> None:
    with read_only(grown.state):
        answer = grown.run("backup")
        assert answer.code == 1, str(answer)
        assert "a bug" not in answer.err and "Traceback" not in answer.err, str(answer)
        assert str(grown.state) in answer.error["message"]
        assert answer.error["hint"]
    grown.run("backup", code=0)


@pytest.mark.parametrize("command", ["restore", "snapshots", "status"])
def test_an_operator_is_not_stopped_by_a_read_only_state_folder(grown: Shop, command: str) -> None:
    """In an incident the root file system is often remounted read-only."""
    with read_only(grown.state):
        answer = grown.run(
            *([command, "files", "--to", str(grown.folder / "back")] if command == "restore" else [command])
        )
    assert "a bug" not in answer.err and "Traceback" not in answer.err, str(answer)
    if answer.code not in (0, 21):
        assert str(grown.state) in answer.error["message"] and answer.error["hint"], str(answer)


@pytest.mark.parametrize("room", [0, 30_000])
def test_a_full_state_folder_is_a_clear_error(grown: Shop, room: int) -> None:
    with small_disk(grown.folder / "small", 12) as mount:
        (mount / "filler").write_bytes(bytes(shutil.disk_usage(mount).free - room))
        grown.environment["DRTOOL_STATE"] = str(mount / "state")
        answer = grown.run("backup")
        assert answer.code in (1, 3), str(answer)
        assert "a bug" not in answer.err and "Traceback" not in answer.err, str(answer)
        del grown.environment["DRTOOL_STATE"]
    change(grown.source, 7)
    grown.run("backup", code=0)
    grown.assert_whole()


def test_a_state_folder_that_is_a_file_is_a_clear_error(grown: Shop) -> None:
    grown.environment["DRTOOL_STATE"] = str(grown.estate)
    answer = grown.run("backup")
    assert answer.code in (1, 2), str(answer)
    assert "a bug" not in answer.err and "Traceback" not in answer.err, str(answer)
