from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from datetime import UTC, timedelta
from pathlib import Path

import pytest

from drtool.adapters.state import FileLocks, StateSpool, SystemClock
from drtool.errors import Locked

ROOT = Path(__file__).parents[2]
HOLDER = """
    import subprocess, sys, time
    from pathlib import Path
    from drtool.adapters.state import FileLocks
    locks = FileLocks(Path(sys.argv[1]))
    with locks.hold("main", run="r", wait=0):
        if sys.argv[2] == "child":
            child = subprocess.Popen(["sleep", "60"], pass_fds=locks.descriptors)
            print(child.pid, flush=True)
        print("held", flush=True)
        time.sleep(60)
"""


def holder(folder: Path, how: str = "alone") -> subprocess.Popen[str]:
    """Another process that holds the lock."""
    argv = [sys.executable, "-c", textwrap.dedent(HOLDER), str(folder), how]
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    while process.stdout.readline() not in ("held\n", ""):
        pass
    return process


# Locks


def test_a_lock_can_be_held_again_after_it_was_let_go(tmp_path: Path) -> None:
    locks = FileLocks(tmp_path)
    for _ in range(2):
        with locks.hold("main", run="r", wait=0):
            pass


def test_two_repositories_are_held_at_once(tmp_path: Path) -> None:
    locks = FileLocks(tmp_path)
    with locks.hold("main", run="r", wait=0), locks.hold("other", run="r", wait=0):
        pass


def test_a_second_holder_is_refused_in_the_same_process(tmp_path: Path) -> None:
    mine, other = FileLocks(tmp_path), FileLocks(tmp_path)
    with mine.hold("main", run="r", wait=0), pytest.raises(Locked), other.hold("main", run="s", wait=0):
        pass


def test_the_refusal_names_the_holder(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        named = rf"repository main is held by another run \(pid {process.pid}, since 20"
        with pytest.raises(Locked, match=named), FileLocks(tmp_path).hold("main", run="r", wait=0):
            pass
        process.kill()


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.kill()
    with FileLocks(tmp_path).hold("main", run="r", wait=0):
        pass


def test_a_lock_lives_on_in_a_child_that_works_on_the_repository(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", textwrap.dedent(HOLDER), str(tmp_path), "child"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        process.stdout.readline()
        process.kill()
    try:
        with pytest.raises(Locked), FileLocks(tmp_path).hold("main", run="r", wait=0):
            pass
    finally:
        os.kill(child, 9)


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        begin = time.monotonic()
        threading.Timer(0.5, process.kill).start()
        with FileLocks(tmp_path).hold("main", run="r", wait=50):
            assert 0.4 < time.monotonic() - begin < 40


def test_waiting_has_an_end(tmp_path: Path) -> None:
    with FileLocks(tmp_path).hold("main", run="r", wait=0):
        begin = time.monotonic()
        with pytest.raises(Locked), FileLocks(tmp_path).hold("main", run="r", wait=0.5):
            pass
        assert 0.4 < time.monotonic() - begin < 20


def test_a_lock_file_with_nonsense_in_it_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "main.lock").write_text("[1]")
    with FileLocks(tmp_path).hold("main", run="r", wait=0):
        pass


def test_a_refusal_by_a_holder_who_left_no_name_is_still_one(tmp_path: Path) -> None:
    with FileLocks(tmp_path).hold("main", run="r", wait=0):
        (tmp_path / "main.lock").write_text("[1]")
        with pytest.raises(Locked, match=r"held by another run$"), FileLocks(tmp_path).hold("main", run="s", wait=0):
            pass


def test_children_are_given_the_lock_only_while_it_is_held(tmp_path: Path) -> None:
    locks = FileLocks(tmp_path)
    with locks.hold("main", run="r", wait=0):
        assert len(locks.descriptors) == 1
    assert locks.descriptors == []


# Scratch folders


def test_a_scratch_folder_is_private(tmp_path: Path) -> None:
    with StateSpool(tmp_path).folder("shop") as folder:
        assert folder.stat().st_mode & 0o077 == 0


def test_a_scratch_folder_is_gone_afterwards(tmp_path: Path) -> None:
    with StateSpool(tmp_path).folder("shop") as folder:
        (folder / "dump").write_text("rows")
    assert not folder.exists()


def test_a_scratch_folder_is_gone_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"), StateSpool(tmp_path).folder("shop") as folder:
        raise ValueError("broken")
    assert not folder.exists()


def test_what_a_killed_run_left_in_a_scratch_folder_goes(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "dump").write_text("half")
    with StateSpool(tmp_path).folder("shop") as folder:
        assert list(folder.iterdir()) == []


# The clock


def test_the_clock_tells_utc() -> None:
    now = SystemClock().now()
    assert (now.tzinfo, now.utcoffset()) == (UTC, timedelta(0))
