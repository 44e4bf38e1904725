"""``kill -9`` at seeded-random moments: the next run needs no manual act, and nothing is lost or left over."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest

from tests.end_to_end.shop import Shop, assert_same_tree, change, fill, flip, wait_until
from tests.end_to_end.slowline import SlowLine
from tests.servers import Rclone

MOMENTS = 3  # for each batch, and each meets a run at work; there are several batches, so that they run side by side


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_backup_is_made_good_by_the_next_run(tmp_path: Path, rclone: Rclone, seed: int) -> None:
    """The first backup of all is among the killed ones; each run has something new to do."""
    shop, rng = _shop(tmp_path), random.Random(seed)
    shop.add_bucket("offsite", rclone, rclone.bucket())
    dump = shop.folder / "dump.sh"
    dump.write_text("echo 'CREATE TABLE visitor;'; sleep 0.2; date +%N\n")
    shop.add_command("dump", "sh", str(dump))
    usual = shop.write().run("copies", "init", code=0).seconds
    for moment in range(MOMENTS):
        shop.kill_in("backup", usual=usual, part=rng.uniform(0.2, 0.9))
        if moment % 2:
            shop.assert_nobody_left()  # else the next run comes at once
        done = shop.run("backup", code=0)
        usual = done.seconds
        assert all(copy["agrees"] for copy in done.document["copies"])
        shop.assert_same_bytes()
        shop.assert_sound("disk")
        change(shop.source, seed * 100 + moment, megabytes=4)
    shop.run("backup", code=0)
    shop.assert_restores("back")
    shop.assert_sound()
    shop.assert_evidence()


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_replication_leaves_a_valid_repository_and_is_completed(
    tmp_path: Path, rclone: Rclone, seed: int
) -> None:
    """Buckets that are new to the estate are far behind; the line is slow, so that the kill meets the sending."""
    shop, rng = _shop(tmp_path), random.Random(1000 + seed)
    for moment in range(MOMENTS):
        shop.add_bucket(f"offsite-{moment}", rclone, rclone.bucket())
    everything = dict(shop.copies), dict(shop.folders)
    shop.write().init()
    killed = 0
    for moment in range(MOMENTS):
        name = f"offsite-{moment}"
        shop.copies, shop.folders = ({one: all_[one] for one in ("disk", name)} for all_ in everything)
        if moment < 2:
            change(shop.source, moment, megabytes=6)
        direct = shop.copies[name]["s3"]["endpoint"]
        with SlowLine(rclone.endpoint, rate=5_000_000) as line:
            shop.copies[name]["s3"]["endpoint"] = line.endpoint
            running = shop.write().start("backup")
            some = rng.uniform(300_000, 10_000_000)
            wait_until("something is sent", lambda line=line, some=some: line.carried > some)
            killed += running.kill_after(0)
        shop.assert_nobody_left()
        shop.assert_sound(name)  # as it was left
        shop.copies[name]["s3"]["endpoint"] = direct
        done = shop.write().run("backup", code=0)
        assert done.copy(name)["agrees"]
        shop.assert_same_bytes()
        shop.assert_sound("disk")
    assert_same_tree(shop.source, shop.restore("files", "back", "--from", name))
    shop.assert_sound()
    shop.assert_evidence()
    assert killed == MOMENTS


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_restore_shows_nothing_half_done_and_is_completed_by_the_next(grown: Shop, seed: int) -> None:
    """By turns from the disk and from the bucket."""
    rng = random.Random(2000 + seed)
    for moment in range(MOMENTS):
        target = grown.folder / f"back-{moment}"
        words = ("restore", "files", "--to", str(target), *(("--from", "offsite") if moment % 2 else ()))
        running = grown.start(*words)
        wait_until("it begins to write", target.exists)
        time.sleep(rng.uniform(0, 1.0))
        running.kill_after(0)
        grown.assert_nobody_left()
        if _shown(target):  # what stands under its final name is whole
            assert_same_tree(grown.source, grown.inside(target))
        answer = grown.run(*words)
        over = answer.code == 2 and _shown(target) == [entry.name for entry in target.iterdir()]
        assert answer.code == 0 or over, str(answer)  # killed after the last act: then it says that all is there
        assert_same_tree(grown.source, grown.inside(target))
        assert _shown(target) == [entry.name for entry in target.iterdir()], "something of drtool's is left"
        shutil.rmtree(target)
    grown.assert_evidence()


def _shown(target: Path) -> list[str]:
    return [entry.name for entry in target.iterdir() if not entry.name.startswith(".drtool-")]


def test_a_kill_takes_restic_and_the_dump_with_it(two: Shop) -> None:
    """Of a dump that waits and says nothing, nothing is left; and no snapshot of it."""
    two.add_waiting_command()
    running = two.write().start("backup", "dump")
    wait_until("the dump runs", two.is_dumping)
    running.process.kill()
    running.process.wait()
    two.assert_nobody_left(within=5)
    two.run("backup", "files", code=0)
    assert two.snapshots("disk", "dump") == []


def _shop(tmp_path: Path) -> Shop:
    shop = Shop(folder=tmp_path / "shop")
    fill(shop.source, megabytes=10)
    shop.add_files()
    shop.add_directory("disk")
    return shop


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_prune_is_finished_or_undone_by_the_next_run(grown: Shop, seed: int) -> None:
    """By turns, a backup or another prune comes next. Whatever stays restores."""
    rng = random.Random(3000 + seed)
    grown.datasets["files"]["retention"] = {"last": 2}
    grown.write()
    usual = 1.5
    for moment in range(MOMENTS):
        change(grown.source, seed * 100 + moment, megabytes=4)
        grown.run("backup", code=0)
        grown.kill_in("prune", usual=usual, part=rng.uniform(0.2, 0.95))
        grown.assert_nobody_left()
        grown.assert_sound("disk")  # as it was left
        if moment % 2:  # what was removed may still lie in the bucket: only a prune removes there
            assert all(copy["agrees"] for copy in grown.run("backup", code=0).document["copies"])
        usual = grown.run("prune", code=0).seconds
        grown.assert_whole()
        grown.assert_restores("back")
        assert len(grown.snapshots("disk")) == 2
    kinds = [event["kind"] for event in grown.run("evidence", "show", "--last", "999", code=0).document["events"]]
    assert "anomaly.damage" not in kinds, "what retention removed is no loss"
    grown.assert_evidence()


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_heal_is_completed_by_the_next(grown: Shop, rclone: Rclone, seed: int) -> None:
    """An empty disk is filled again over a slow line; each time it is killed a little further on."""
    rng = random.Random(4000 + seed)
    shutil.rmtree(grown.folders["disk"])
    with SlowLine(rclone.endpoint, rate=6_000_000) as line:
        direct, grown.copies["offsite"]["s3"]["endpoint"] = grown.copies["offsite"]["s3"]["endpoint"], line.endpoint
        words: tuple[str, ...] = ("copies", "init", "--refill", "disk")
        objects = 0
        for _ in range(3):
            carried = line.carried
            running = grown.write().start(*words)
            wait_until("something is fetched", lambda begin=carried: line.carried > begin + 500_000)
            time.sleep(rng.uniform(0, 1.0))
            running.kill_after(0)
            grown.assert_nobody_left()
            now = len(grown.names("disk"))
            assert now >= objects, "what was fetched stays"
            objects = now
            if (grown.folders["disk"] / "drtool" / "copy.json").exists():
                words = ("heal", "disk")
    grown.copies["offsite"]["s3"]["endpoint"] = direct
    grown.write().run(*words, code=0)
    grown.assert_whole()
    grown.run("check", "--full", code=0)
    grown.assert_evidence()


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_restore_from_all_copies_together_is_completed(grown: Shop, seed: int) -> None:
    """Each copy alone is damaged, so that only the union can bring everything."""
    rng = random.Random(5000 + seed)
    first, second = grown.packs("disk")[:2]
    flip(first)
    flip(grown.folders["offsite"] / second.relative_to(grown.folders["disk"]))
    shutil.rmtree(grown.state)
    for moment in range(MOMENTS):
        target = grown.folder / f"back-{moment}"
        words = ("restore", "files", "--to", str(target))
        running = grown.start(*words)
        wait_until("it begins to write", target.exists)
        time.sleep(rng.uniform(0, 1.5))
        running.kill_after(0)
        grown.assert_nobody_left()
        answer = grown.run(*words)
        over = answer.code == 2 and _shown(target) == [entry.name for entry in target.iterdir()]
        assert answer.code == 0 or over, str(answer)
        assert_same_tree(grown.source, grown.inside(target))
        shutil.rmtree(target)
    grown.assert_evidence()
