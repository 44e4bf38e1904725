"""What a copy has lost, or holds altered, is healed from another before restic writes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.shop import Shop, assert_same_tree, change, cut, flip


def _one(kind: str) -> Callable[[Path], list[Path]]:
    return lambda copy: sorted((copy / kind).iterdir())[:1]


def _largest_pack(copy: Path) -> list[Path]:
    return sorted((copy / "data").glob("*/*"), key=lambda path: path.stat().st_size)[-1:]


def _all_packs(copy: Path) -> list[Path]:
    return sorted((copy / "data").glob("*/*"))


LOSSES = {
    "a data pack": _largest_pack,
    "every pack": _all_packs,
    "an index": _one("index"),
    "a snapshot": _one("snapshots"),
    "the key": _one("keys"),
    "the config": lambda copy: [copy / "config"],
}


@pytest.mark.parametrize("loss", LOSSES)
def test_what_the_first_copy_lost_is_healed_before_restic_writes(grown: Shop, loss: str) -> None:
    gone = LOSSES[loss](grown.folders["disk"])
    for path in gone:
        path.unlink()
    change(grown.source, 7)
    done = grown.run("backup", code=0)
    assert done.copy("disk")["healed"] == len(gone)
    assert done.copy("disk")["wrote"]
    grown.assert_whole()
    grown.assert_restores("back", "--from", "disk")


def test_what_the_second_copy_lost_is_healed(grown: Shop) -> None:
    gone = [path for loss in ("a data pack", "an index", "a snapshot", "the key", "the config")
            for path in LOSSES[loss](grown.folders["offsite"])]  # fmt: skip
    grown.remove_from_bucket(*gone)
    done = grown.run("backup", code=0)
    assert done.copy("offsite")["healed"] == len(gone)
    grown.assert_whole()


def test_a_copy_that_lost_all_but_its_marker_is_filled_again(grown: Shop) -> None:
    for kind in ("data", "index", "snapshots", "keys"):
        shutil.rmtree(grown.folders["disk"] / kind)
    (grown.folders["disk"] / "config").unlink()
    change(grown.source, 7)
    grown.run("backup", code=0)
    grown.assert_whole()
    grown.assert_restores("back", "--from", "disk")


def test_healing_raises_an_anomaly_in_the_evidence(grown: Shop) -> None:
    grown.packs("disk")[0].unlink()
    run = grown.run("backup", code=0).document["run"]
    shown = grown.run("evidence", "show", "--run", run, code=0).document["events"]
    anomaly = next(event for event in shown if event["kind"].startswith("anomaly"))
    assert anomaly["body"]["copy"] == "disk"


@pytest.mark.parametrize("damage", ["altered", "truncated"])
def test_a_damaged_config_is_replaced(grown: Shop, damage: str) -> None:
    config = grown.folders["disk"] / "config"
    flip(config) if damage == "altered" else cut(config, 10)
    grown.run("backup", code=0)
    grown.assert_whole()


@pytest.mark.parametrize("size", [100_000, 0])
def test_objects_of_the_wrong_size_are_replaced(grown: Shop, size: int) -> None:
    damaged = [LOSSES[what](grown.folders["disk"])[0] for what in ("a data pack", "an index", "a snapshot", "the key")]
    for path in damaged:
        cut(path, min(size, path.stat().st_size - 1))
    change(grown.source, 7)
    done = grown.run("backup", code=0)
    assert done.copy("disk")["healed"] == len(damaged)
    grown.assert_whole()
    grown.assert_restores("back", "--from", "disk")


def test_a_pack_that_grew_is_replaced(grown: Shop) -> None:
    pack = grown.packs("disk")[0]
    pack.chmod(0o600)
    with pack.open("ab") as file:
        file.write(b"0123456789")
    grown.run("backup", code=0)
    grown.assert_whole()


def test_damage_in_both_copies_at_different_places_is_healed_both_ways(grown: Shop) -> None:
    first, second = grown.packs("disk")[:2]
    first.unlink()
    grown.remove_from_bucket(grown.folders["offsite"] / second.relative_to(grown.folders["disk"]))
    grown.run("backup", code=0)
    grown.assert_whole()


@pytest.mark.parametrize("what", ["an index", "a snapshot", "the key"])
def test_an_altered_small_object_of_the_first_copy_does_not_stop_the_shop(grown: Shop, what: str) -> None:
    """The size is right, so the inventory says nothing. restic itself fails on it; new data must still be protected."""
    flip(LOSSES[what](grown.folders["disk"])[0])
    change(grown.source, 7)
    done = grown.run("backup")
    assert done.code in (0, 3), str(done)
    assert done.dataset("files")["outcome"] == "done"
    grown.assert_sound("offsite")
    assert_same_tree(grown.source, grown.restore("files", "back", "--from", "offsite"))


def test_a_pack_that_no_copy_holds_any_more_ends_honestly_and_one_repair_is_enough(grown: Shop) -> None:
    """Nothing is written on top of a hole; the hint is right, and after it `drtool backup` goes on by itself."""
    pack = grown.packs("disk")[0]
    key = pack.relative_to(grown.folders["disk"])
    pack.unlink()
    grown.remove_from_bucket(grown.folders["offsite"] / key)
    change(grown.source, 7)
    failed = grown.run("backup", as_json=False)
    assert failed.code in (1, 3), str(failed)
    assert "repair index" in failed.out + failed.err
    before = grown.run("backup")
    assert before.code in (1, 3)
    assert before.dataset("files")["outcome"] == "failed"
    grown.restic("disk", "repair", "index")
    grown.restic("disk", "repair", "snapshots", "--forget")
    grown.run("heal", "--repaired", "disk", code=0)
    done = grown.run("backup")
    assert done.code in (0, 3), str(done)  # restic counts the files that it had to store again as not readable: 3
    grown.run("backup", code=0)
    grown.run("prune", code=0)  # what the repair dropped leaves the other copy, too
    grown.assert_whole()
    grown.assert_restores("back", "--from", "disk")
    assert_same_tree(grown.source, grown.restore("files", "again", "--from", "offsite"))
    change(grown.source, 8)
    grown.run("backup", code=0)


def test_a_snapshot_that_no_copy_holds_any_more_is_told_and_does_not_stop_the_next_backup(grown: Shop) -> None:
    snapshot = sorted((grown.folders["disk"] / "snapshots").iterdir())[0]
    snapshot.unlink()
    grown.remove_from_bucket(grown.folders["offsite"] / "snapshots" / snapshot.name)
    change(grown.source, 7)
    done = grown.run("backup")
    assert done.dataset("files")["outcome"] == "done", str(done)
    grown.assert_whole()
    grown.run("backup", code=0)
