"""`drtool check` and `drtool heal`: what is read is told, what is wrong is found, what some copy holds comes back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.end_to_end.shop import Answer, Shop, assert_same_tree, change, flip, wait_until


def _checks(answer: Answer) -> dict[tuple[str, str], str]:
    return {(one["check"], one["subject"]): one["verdict"] for one in answer.document["checks"]}


def _in_bucket(shop: Shop, path: Path) -> Path:
    return shop.folders["offsite"] / path.relative_to(shop.folders["disk"])


def _copies(shop: Shop) -> dict[str, dict[str, object]]:
    return {one["copy"]: one for one in shop.run("copies", "list").document["copies"]}


def test_a_full_check_of_sound_copies_passes_on_every_level(grown: Shop) -> None:
    checked = grown.run("check", "--full", code=0)
    assert _checks(checked) == {
        ("L0", "main/disk"): "pass",
        ("L0", "main/offsite"): "pass",
        ("L2", "main/disk"): "pass",
        ("L2", "main/offsite"): "pass",
        ("L3", "main/disk"): "pass",
    }
    for one in _copies(grown).values():
        coverage = one["coverage"]
        assert isinstance(coverage, dict)
        assert coverage["objects"] == coverage["of_objects"] == one["objects"]
    levels = [
        held["verified"]["level"] for dataset in grown.run("status").document["datasets"] for held in dataset["copies"]
    ]
    assert levels == ["L3", "L2"]


def test_a_check_reads_a_share_and_calls_no_more_than_that_read(grown: Shop) -> None:
    assert _copies(grown)["disk"]["coverage"]["objects"] == 0  # type: ignore[index]
    reason = next(one["reason"] for one in grown.run("check", code=0).document["checks"] if one["check"] == "L2")
    found = _copies(grown)["disk"]
    coverage = found["coverage"]
    assert isinstance(coverage, dict)
    assert 0 < coverage["objects"] < coverage["of_objects"]
    assert f"{coverage['objects']} of {coverage['of_objects']} objects" in reason
    status = grown.run("status").document["datasets"][0]["copies"][1]
    assert status["verified"]["level"] == "L0", "a share is no verification of the whole"


def test_what_was_checked_this_week_is_not_due(grown: Shop) -> None:
    grown.run("check", code=0)
    assert {check for check, _ in _checks(grown.run("check", "--due", code=0))} == {"L0"}


@pytest.mark.parametrize("copy", ["disk", "offsite"])
def test_one_flipped_byte_is_found_and_healed(grown: Shop, copy: str) -> None:
    """Its size is right: only reading shows it."""
    pack = grown.packs(copy)[1]
    flip(pack)
    checked = grown.run("check", "--full", code=1)
    assert _checks(checked)["L2", f"main/{copy}"] == "fail"
    assert next(one for one in checked.document["checks"] if one["verdict"] == "fail")["hint"] == "drtool heal"
    again = grown.run("check")
    assert again.code == 1, "what was found once is not forgotten before it is healed"
    healed = grown.run("heal", code=0).copy(copy)
    assert (healed["lost"], healed["altered"], healed["healed"], healed["unhealable"]) == (0, 1, 1, [])
    grown.run("check", "--full", code=0)
    grown.assert_whole()


def test_a_named_copy_is_read_in_full(grown: Shop) -> None:
    flip(grown.packs("offsite")[0])
    assert _checks(grown.run("copies", "verify", "disk", code=0))["L2", "main/disk"] == "pass"
    assert _checks(grown.run("copies", "verify", "offsite", code=1))["L2", "main/offsite"] == "fail"


def test_what_restic_itself_misses_fails_the_check_though_the_copies_agree(grown: Shop) -> None:
    """An index that names a pack which is in no copy, and which nobody recorded."""
    pack = grown.packs("disk")[0]
    grown.remove_from_bucket(_in_bucket(grown, pack))
    pack.unlink()
    shutil.rmtree(grown.state)
    checked = grown.run("check", code=1)
    assert _checks(checked) == {
        ("L0", "main/disk"): "pass",
        ("L0", "main/offsite"): "pass",
        ("L2", "main/disk"): "pass",
        ("L2", "main/offsite"): "pass",
        ("L3", "main/disk"): "fail",
    }


def test_a_copy_that_is_away_is_unknown_and_the_other_is_checked(grown: Shop) -> None:
    grown.folders["disk"].rename(grown.folder / "away")
    checked = grown.run("check", "--full", code=3)
    assert _checks(checked)["L0", "main/disk"] == "unknown"
    assert _checks(checked)["L2", "main/offsite"] == "pass"
    assert _checks(checked)["L3", "main/offsite"] == "pass"


def test_a_check_and_a_backup_do_not_hinder_one_another(grown: Shop) -> None:
    change(grown.source, 5)
    checking = grown.start("check", "--full")
    grown.run("backup", "--wait", "0", code=0)
    assert checking.wait().code == 0
    grown.assert_whole()


def test_heal_brings_back_what_is_lost_on_both_sides(grown: Shop) -> None:
    first, second, third = grown.packs("disk")[:3]
    first.unlink()
    flip(third)
    grown.remove_from_bucket(_in_bucket(grown, second), _in_bucket(grown, grown.index("disk")[0]))
    grown.run("check", "--full", code=1)
    healed = grown.run("heal", code=0)
    assert (healed.copy("disk")["lost"], healed.copy("disk")["altered"], healed.copy("disk")["healed"]) == (1, 1, 2)
    assert (healed.copy("offsite")["lost"], healed.copy("offsite")["healed"]) == (2, 2)
    grown.assert_whole()
    kinds = [event["kind"] for event in grown.run("evidence", "show", code=0).document["events"]]
    assert "anomaly.damage" in kinds


def test_heal_of_one_copy_leaves_the_other_alone(grown: Shop) -> None:
    first, second = grown.packs("disk")[:2]
    first.unlink()
    grown.remove_from_bucket(_in_bucket(grown, second))
    healed = grown.run("heal", "disk", code=0)
    assert [one["copy"] for one in healed.document["copies"]] == ["disk"]
    assert first.exists()
    assert not _in_bucket(grown, second).exists()


def test_what_no_copy_holds_is_named_with_the_files_that_it_costs(grown: Shop) -> None:
    lost = grown.packs("disk")[0]
    grown.remove_from_bucket(_in_bucket(grown, lost))
    lost.unlink()
    healed = grown.run("heal", code=3)
    assert healed.copy("disk")["unhealable"] == [str(lost.relative_to(grown.folders["disk"]))]
    losses = healed.document["losses"]
    assert {one["dataset"] for one in losses} == {"files"}
    told = {Path(path).name for one in losses for path in one["paths"]}
    assert told
    newest = max(losses, key=lambda one: str(one["time"]))
    _, missing = _what_restores(grown, newest["snapshot"])
    assert {Path(path).name for path in newest["paths"]} == missing
    words = grown.run("heal", as_json=False, code=3).out
    assert "repair snapshots" in words
    assert any(name in words for name in missing)


def _what_restores(shop: Shop, snapshot: str) -> tuple[Path, set[str]]:
    """By restic alone from the damaged disk: the names of the files that do not come back whole."""
    target = shop.folder / "judged"
    shop.restic("disk", "restore", snapshot, "--target", str(target), "--no-lock", "--no-cache", good=False)
    back = shop.inside(target)
    missing = {
        path.name
        for path in shop.source.rglob("*")
        if path.is_file() and _content(back / path.relative_to(shop.source)) != path.read_bytes()
    }
    return back, missing


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def test_a_replaced_disk_is_filled_again_by_one_command(grown: Shop) -> None:
    shutil.rmtree(grown.folders["disk"])
    filled = grown.run("copies", "init", "--refill", "disk", code=0).document
    assert filled["refilled"][0]["sent"]["objects"] > 5
    grown.assert_whole()
    grown.run("check", "--full", code=0)
    grown.run("backup", code=0)
    assert_same_tree(grown.source, grown.restore("files", "back", "--from", "disk"))


def test_a_check_leaves_no_names_of_files_in_the_evidence(grown: Shop) -> None:
    lost = grown.packs("disk")[0]
    grown.remove_from_bucket(_in_bucket(grown, lost))
    lost.unlink()
    grown.run("heal", code=3)
    grown.run("check", "--full", code=1)
    shown = json.dumps(grown.run("evidence", "show", "--last", "500", code=0).document)
    assert "large-" not in shown
    assert "page-" not in shown


def test_what_is_found_altered_while_a_backup_runs_is_not_forgotten_at_its_end(grown: Shop) -> None:
    go = grown.add_waiting_command()
    running = grown.write().start("backup")
    wait_until("the dump runs", grown.is_dumping)
    flip(grown.packs("disk")[1])
    grown.run("check", "--full", code=1)
    go.touch()
    running.wait()
    assert _copies(grown)["disk"]["state"] == "damaged"
    assert grown.run("heal", code=0).copy("disk")["healed"] == 1
    grown.assert_whole()


def test_a_new_disk_was_never_verified(grown: Shop) -> None:
    grown.run("check", "--full", code=0)
    shutil.rmtree(grown.folders["disk"])
    grown.run("copies", "init", "--refill", "disk", code=0)
    assert _copies(grown)["disk"]["coverage"]["objects"] == 0  # type: ignore[index]
    assert grown.run("status").document["datasets"][0]["copies"][0]["verified"]["level"] == "L0"


def test_what_was_found_altered_is_not_verified_any_more(grown: Shop) -> None:
    grown.run("check", "--full", code=0)
    flip(grown.packs("disk")[0])
    grown.run("check", "--full", code=1)
    assert grown.run("status").document["datasets"][0]["copies"][0]["verified"]["level"] == "L0"


def test_a_repaired_copy_is_not_believed_while_another_may_hold_what_it_lacks(grown: Shop) -> None:
    grown.packs("disk")[0].unlink()
    grown.restic("disk", "repair", "index")
    refused = grown.run("heal", "--repaired", "disk", code=2)
    assert refused.error["hint"] == "drtool heal brings them"
    direct, grown.copies["offsite"]["s3"]["endpoint"] = grown.copies["offsite"]["s3"]["endpoint"], "http://127.0.0.1:9"
    assert "may hold" in grown.write().run("heal", "--repaired", "disk", code=2).error["message"]
    grown.copies["offsite"]["s3"]["endpoint"] = direct
    grown.write().run("heal", code=0)
    grown.run("check", "--full", code=0)
