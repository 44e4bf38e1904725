"""Restores from copies none of which is whole: each object from whichever copy still holds it."""

from __future__ import annotations

import random
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.conftest import once
from tests.end_to_end.shop import Shop, assert_same_tree, build_nights, copy_of, flip, wait_until
from tests.end_to_end.slowline import SlowLine
from tests.servers import Rclone


def _to(shop: Shop, name: str = "back") -> tuple[str, ...]:
    return ("restore", "files", "--to", str(shop.folder / name))


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory, rclone: Rclone) -> Path:
    """An estate of which the newest snapshot needs more than twenty packs."""
    days = [_added(night) for night in range(12)]
    return once(tmp_path_factory, "nights", lambda folder: build_nights(folder, rclone, days))


def _added(night: int) -> Callable[[Path], None]:
    def add(source: Path) -> None:
        (source / f"night-{night}.bin").write_bytes(random.Random(night).randbytes(400_000))

    return add


@pytest.fixture
def many(nights: Path, tmp_path: Path, rclone: Rclone) -> Iterator[Shop]:
    """The same, to do with as one likes."""
    shop = copy_of(nights, tmp_path / "shop", rclone)
    yield shop
    shop.close()


def test_packs_lost_and_altered_here_and_lost_there_all_come_back(many: Shop) -> None:
    disk, offsite = many.folders["disk"], many.folders["offsite"]
    packs = many.packs("disk")
    random.Random(1).shuffle(packs)
    for pack in packs[:5]:
        pack.unlink()
    for pack in packs[5:10]:
        flip(pack)
    many.remove_from_bucket(*(offsite / pack.relative_to(disk) for pack in packs[10:20]))
    shutil.rmtree(many.state / "shop" / "cache")
    answer = many.run(*_to(many), code=0)
    assert_same_tree(many.source, many.inside(many.folder / "back"))
    told = answer.document
    assert told["source"] == "union"
    assert told["taken_from"]["offsite"]["objects"] >= 5
    assert told["taken_from"]["disk"]["objects"] >= 5
    found = {key for keys in told["damage"].values() for key in keys}
    assert found <= {f"data/{pack.parent.name}/{pack.name}" for pack in packs[:20]}
    kinds = [event["kind"] for event in many.run("evidence", "show", code=0).document["events"]]
    assert "anomaly.damage" in kinds
    many.run("backup", code=0)  # heals what was lost, and what the restore found altered; the rest is for a full check
    found_altered = [pack for pack in packs[5:10] if f"data/{pack.parent.name}/{pack.name}" in found]
    assert found_altered
    for pack in found_altered:
        assert pack.read_bytes() == (offsite / pack.relative_to(disk)).read_bytes()
    many.assert_equal_copies()


def test_what_the_first_copy_brought_is_not_written_again(many: Shop) -> None:
    """One pack is altered where only reading shows it: the union brings what needs that pack, and no more."""
    flip(many.packs("disk")[0])
    shutil.rmtree(many.state / "shop" / "cache")
    told = many.run(*_to(many), code=0).document
    assert told["source"] == "union"
    assert_same_tree(many.source, many.inside(many.folder / "back"))
    events = many.run("evidence", "show", code=0).document["events"]
    kept = next(event["body"]["kept_bytes"] for event in events if event["kind"] == "restore.finished")
    assert 0.3 * told["bytes"] < kept < told["bytes"], "restic's own count of what it left alone"


def test_where_an_object_is_gone_everywhere_all_else_comes_back_and_what_is_lost_is_named(many: Shop) -> None:
    pack = many.packs("disk")[0]
    flip(pack)
    many.remove_from_bucket(many.folders["offsite"] / pack.relative_to(many.folders["disk"]))
    shutil.rmtree(many.state / "shop" / "cache")
    told = many.run(*_to(many), code=3).document
    assert (told["outcome"], told["verified"]) == ("incomplete", False)
    assert told["lost"]
    back = many.inside(many.folder / "back")
    for path in (path for path in many.source.rglob("*") if path.is_file()):
        restored = back / path.relative_to(many.source)
        lost = f"/{restored.relative_to(many.folder / 'back')}" in told["lost"]
        assert restored.exists() is not lost, path
        assert lost or restored.read_bytes() == path.read_bytes()
    assert [entry.name for entry in (many.folder / "back").iterdir() if entry.name.startswith(".drtool-")] == []
    kinds = [event["kind"] for event in many.run("evidence", "show", code=0).document["events"]]
    assert {"anomaly.damage", "restore.finished"} <= set(kinds)


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_union_restore_is_completed_by_the_next(many: Shop, seed: int) -> None:
    rng, disk = random.Random(seed), many.folders["disk"]
    for pack in many.packs("disk")[:4]:
        pack.unlink()
    for moment in range(5):
        target = many.folder / f"back-{moment}"
        running = many.start("restore", "files", "--to", str(target))
        wait_until("it begins to write", target.exists)
        time.sleep(rng.uniform(0, 0.8))
        running.kill_after(0)
        many.assert_nobody_left()
        answer = many.run("restore", "files", "--to", str(target))
        assert answer.code in (0, 2), str(answer)  # 2: killed after the last act, all is there
        assert_same_tree(many.source, many.inside(target))
        shutil.rmtree(target)
    assert len(many.names("disk")) < len(many.names("offsite")), f"a restore wrote to {disk}"
    many.assert_evidence()


def test_the_union_listens_on_a_private_socket_and_on_no_port(many: Shop, rclone: Rclone) -> None:
    many.packs("disk")[0].unlink()
    with SlowLine(rclone.endpoint, rate=300_000) as line:
        many.copies["offsite"]["s3"]["endpoint"] = line.endpoint
        running = many.write().start(*_to(many))
        drtool = psutil.Process(running.process.pid)
        wait_until("it listens", lambda: bool(_sockets(drtool)))
        for path in _sockets(drtool):
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert [one for one in drtool.net_connections("inet") if one.status == psutil.CONN_LISTEN] == []
        sockets = _sockets(drtool)
        running.process.terminate()
        running.wait(40)  # also while objects are under way on so slow a line
    assert not any(path.parent.exists() for path in sockets)


def _sockets(process: psutil.Process) -> list[Path]:
    paths = [Path(one.laddr) for one in process.net_connections("unix") if isinstance(one.laddr, str) and one.laddr]
    return [path for path in paths if path.parent.name.startswith("drtool-")]


def test_two_equally_slow_copies_are_read_at_once(many: Shop, rclone: Rclone) -> None:
    """Each line carries the same; the union takes from both, about half from each."""
    bucket = rclone.bucket()
    many.add_bucket("second", rclone, bucket)
    many.write().init().run("backup", code=0)
    del many.copies["disk"]
    with SlowLine(rclone.endpoint, rate=2_000_000) as one, SlowLine(rclone.endpoint, rate=2_000_000) as other:
        many.copies["offsite"]["s3"]["endpoint"] = one.endpoint
        many.copies["second"]["s3"]["endpoint"] = other.endpoint
        many.write()
        shutil.rmtree(many.state / "shop" / "cache")
        both = many.run(*_to(many, "both"), code=0)
    assert_same_tree(many.source, many.inside(many.folder / "both"))
    assert both.document["source"] == "union"
    taken = [both.document["taken_from"][name]["bytes"] for name in ("offsite", "second")]
    assert min(taken) > sum(taken) / 4, taken
    together, ever = one.moments & other.moments, one.moments | other.moments
    assert len(together) > len(ever) / 2, f"both lines were in use in {len(together)} moments of {len(ever)}"
