"""Two runs at once: cron that overlaps, an operator who restores while the night's run is at work."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.shop import Running, Shop, assert_same_tree, change, wait_until


@pytest.fixture
def busy(grown: Shop) -> Iterator[tuple[Shop, Running, Path]]:
    """A run that goes on until the file is made."""
    go = grown.add_waiting_command()
    running = grown.write().start("backup")
    wait_until("the dump runs", grown.is_dumping)
    yield grown, running, go
    go.touch()


def test_a_second_run_that_will_not_wait_leaves_with_11_and_names_the_first(busy: tuple[Shop, Running, Path]) -> None:
    shop, running, go = busy
    second = shop.run("backup", "--wait", "0", code=11)
    assert str(running.process.pid) in second.error["message"]
    assert second.error["hint"]
    shop.run("copies", "init", "--wait", "0", code=11)
    go.touch()
    assert running.wait().code == 0
    shop.assert_whole()


def test_a_second_run_that_waits_works_after_the_first(grown: Shop) -> None:
    first, second = grown.start("backup"), grown.start("backup")
    assert (first.wait().code, second.wait().code) == (0, 0)
    grown.assert_whole()
    assert len(grown.snapshots("disk")) == 4


def test_five_runs_at_once_harm_nothing(grown: Shop) -> None:
    change(grown.source, 7)
    running = [grown.start("backup", "--wait", "4", "--quiet") for _ in range(5)]
    codes = [one.wait().code for one in running]
    assert set(codes) <= {0, 11}, codes
    assert 0 in codes
    grown.assert_whole()
    grown.assert_restores("back")


def test_who_only_reads_neither_waits_for_a_backup_nor_disturbs_it(busy: tuple[Shop, Running, Path]) -> None:
    """An operator restores, and looks around, while the night's run is at work."""
    shop, running, go = busy
    assert shop.run("snapshots").code == 0
    assert shop.run("status").code in (0, 21)
    assert shop.run("evidence", "verify").code == 0
    assert shop.run("backup", "--dry-run").code == 0
    assert_same_tree(shop.source, shop.restore())
    assert running.process.poll() is None
    go.touch()
    assert running.wait().code == 0
    shop.assert_whole()


def test_the_lock_dies_with_its_process(busy: tuple[Shop, Running, Path]) -> None:
    """Though its dump still waits for something: that goes too."""
    shop, running, _ = busy
    shop.run("backup", "files", "--wait", "0", code=11)
    running.process.kill()
    running.process.wait()
    shop.run("backup", "files", "--wait", "20", code=0)
    shop.assert_nobody_left()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_with_130_and_tidies_up(busy: tuple[Shop, Running, Path], number: int) -> None:
    shop, running, _ = busy
    os.kill(running.process.pid, number)
    done = running.wait(30)
    assert done.code == 130, str(done)
    assert done.error["code"] == 130
    assert "Traceback" not in done.err
    shop.assert_nobody_left()
    assert list((shop.folders["disk"] / "locks").iterdir()) == []
    shop.run("backup", "files", code=0)
    shop.assert_whole()


def test_a_lock_of_restics_that_a_dead_process_left_is_cleared(busy: tuple[Shop, Running, Path]) -> None:
    shop, running, go = busy
    locks = shop.folders["disk"] / "locks"
    wait_until("a lock is there", lambda: any(locks.iterdir()))
    children = psutil.Process(running.process.pid).children(recursive=True)
    running.process.kill()
    running.process.wait()
    go.touch()
    shop.assert_nobody_left()
    # to restic, a process that ended but was not yet waited for by init still lives
    wait_until("init has waited for them", lambda: not any(psutil.pid_exists(child.pid) for child in children))
    assert any(locks.iterdir())
    shop.run("backup", "files", code=0)
    assert list(locks.iterdir()) == []
