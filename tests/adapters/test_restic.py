"""The real restic program: its exit codes, what becomes of failing sources, and where secrets are while it runs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from drtool.adapters.directory import DirectoryCopy
from drtool.adapters.restic import ResticProgram, find_restic
from drtool.core.model import BackupSummary, Branch
from drtool.core.ports import Source
from drtool.errors import NoRepository, ProgramMissing, SourceFailed, WrongPassword
from tests.adapters.test_process import alive, eventually

PASSWORD = b"correct horse battery staple"


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> DirectoryCopy:
    """A repository with nothing in it; tests put theirs beside one another's."""
    root = tmp_path_factory.mktemp("repository")
    copy = DirectoryCopy("disk", root / "copy")
    copy.prepare()
    program(root / "state").initialise(copy)
    return copy


@pytest.fixture
def restic(tmp_path: Path) -> ResticProgram:
    return program(tmp_path / "state")


def program(state: Path, password: bytes = PASSWORD, keep_open: Sequence[int] = ()) -> ResticProgram:
    return ResticProgram(
        find_restic(os.environ), password=lambda: password, site="shop", state=state, keep_open=keep_open
    )


def backup(restic: ResticProgram, copy: DirectoryCopy, source: Source, tag: str = "drtool") -> BackupSummary:
    return restic.backup(copy, source, tags=[tag], parent=None, watch=lambda progress: None)


def command(script: str, limit: float | None = None) -> Source:
    return Source(command=("/bin/sh", "-c", script), filename="dump.sql", limit=limit)


def snapshots(copy: DirectoryCopy) -> set[str]:
    return {key for key in copy.inventory()[0] if key.startswith("snapshots/")}


# Files


def test_what_was_backed_up_comes_back(repository: DirectoryCopy, restic: ResticProgram, tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "index.html").write_text("hello")
    done = backup(restic, repository, Source(paths=("web",), folder=tmp_path))
    restic.restore(repository, done.snapshot, Branch(target=tmp_path / "back"), watch=lambda progress: None)
    assert (tmp_path / "back" / "web" / "index.html").read_text() == "hello"


def test_a_file_that_cannot_be_read_makes_a_partial_snapshot_that_names_it(
    repository: DirectoryCopy, restic: ResticProgram
) -> None:
    """Root may read every file, but none may read this one."""
    done = backup(restic, repository, Source(paths=("/proc/self/mem", "/etc/hostname")))
    assert (done.partial, done.unreadable) == (True, ("/proc/self/mem",))


def test_tags_and_site_are_found_again(repository: DirectoryCopy, restic: ResticProgram, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    source = Source(paths=("file",), folder=tmp_path)
    done = restic.backup(repository, source, tags=["dataset:shop", "run:abc"], parent=None, watch=lambda progress: None)
    (found,) = restic.snapshots(repository, tag="run:abc")
    assert (found.id, found.dataset, found.run) == (done.snapshot, "shop", "abc")


# A command's output


def test_a_commands_output_becomes_a_file(repository: DirectoryCopy, restic: ResticProgram, tmp_path: Path) -> None:
    done = backup(restic, repository, command("echo rows"))
    restic.restore(repository, done.snapshot, Branch(target=tmp_path / "back"), watch=lambda progress: None)
    assert (tmp_path / "back" / "dump.sql").read_text() == "rows\n"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo rows; echo lost connection >&2; exit 3", "command sh ended with exit code 3: lost connection"),
        ("exit 1", "command sh ended with exit code 1"),
        ("echo rows; kill -9 $$", "command sh ended with exit code -9"),
        ("true", "command sh printed nothing"),
    ],
    ids=["fails", "fails at once", "is killed", "prints nothing"],
)
def test_a_command_that_goes_wrong_leaves_no_snapshot(
    repository: DirectoryCopy, restic: ResticProgram, script: str, reason: str
) -> None:
    before = snapshots(repository)
    with pytest.raises(SourceFailed, match=f"^{reason}$"):
        backup(restic, repository, command(script))
    assert snapshots(repository) == before


def test_a_command_that_takes_too_long_is_ended_and_leaves_no_snapshot(
    repository: DirectoryCopy, restic: ResticProgram, tmp_path: Path
) -> None:
    before = snapshots(repository)
    begin = time.monotonic()
    with pytest.raises(SourceFailed, match="it took longer than its timeout"):
        backup(restic, repository, command(f"echo rows; echo $$ > {tmp_path}/pid; exec sleep 60", limit=2))
    assert time.monotonic() - begin < 50
    assert snapshots(repository) == before
    assert eventually(lambda: not alive(int((tmp_path / "pid").read_text())))


def test_a_command_that_is_not_there_is_named(repository: DirectoryCopy, restic: ResticProgram) -> None:
    with pytest.raises(SourceFailed, match="no-such-dump"):
        backup(restic, repository, Source(command=("no-such-dump",), filename="dump.sql"))


def test_a_command_sees_neither_the_password_nor_restics_variables(
    repository: DirectoryCopy, restic: ResticProgram, tmp_path: Path
) -> None:
    backup(restic, repository, command(f"env | tee {tmp_path}/env; ls -l /proc/self/fd >> {tmp_path}/env"))
    seen = (tmp_path / "env").read_text()
    assert "HOME=" in seen
    assert "RESTIC" not in seen
    assert "memfd" not in seen


def test_a_command_does_not_outlive_a_killed_restic(
    repository: DirectoryCopy, restic: ResticProgram, tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(backup, restic, repository, command(f"echo $$ > {file}; exec sleep 60"))
        assert eventually(lambda: file.exists() and file.read_text().strip())
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # one that has just ended has no arguments any more
                if "--stdin-from-command" in child.cmdline():
                    child.kill()
        assert running.exception(timeout=50)
    assert eventually(lambda: not alive(int(file.read_text())))


def test_a_command_holds_neither_the_lock_of_the_run_nor_lets_the_producer_hold_it(
    repository: DirectoryCopy, tmp_path: Path
) -> None:
    """Else a dump that hangs would keep every later run out."""
    lock = (tmp_path / "lock").open("w")
    restic = program(tmp_path / "state", keep_open=[lock.fileno()])
    script = f"ls -l /proc/$$/fd /proc/$PPID/fd | tee {tmp_path}/open"
    with lock:
        backup(restic, repository, command(script))
    assert "/lock" not in (tmp_path / "open").read_text()


# Exit codes


def test_a_wrong_password_is_told_from_other_failures(repository: DirectoryCopy, tmp_path: Path) -> None:
    with pytest.raises(WrongPassword) as raised:
        program(tmp_path / "state", b"wrong").repository_id(repository)
    assert raised.value.code == 12


def test_a_place_without_a_repository_is_told_from_other_failures(restic: ResticProgram, tmp_path: Path) -> None:
    with pytest.raises(NoRepository) as raised:
        restic.repository_id(DirectoryCopy("disk", tmp_path / "empty"))
    assert raised.value.code == 10


def test_a_repository_tells_its_id(repository: DirectoryCopy, restic: ResticProgram) -> None:
    assert len(restic.repository_id(repository)) == 64


def test_a_pack_that_is_gone_and_still_named_by_an_index_is_missing(restic: ResticProgram, tmp_path: Path) -> None:
    copy = DirectoryCopy("disk", tmp_path / "copy")
    copy.prepare()
    restic.initialise(copy)
    backup(restic, copy, command("echo rows"))
    assert restic.missing_packs(copy) == frozenset()
    pack = next(path for path in (tmp_path / "copy" / "data").rglob("*") if path.is_file())
    pack.unlink()
    assert restic.missing_packs(copy) == {pack.name}


def fake(path: Path, says: str) -> Path:
    path.write_text(f"#!/bin/sh\n{says}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ("echo 'restic 0.14.0 compiled with go1.19.8 on linux/amd64'", "is restic 0.14.0, drtool needs 0.18.0"),
        ('echo \'{"version": "0.17.3"}\'', "is restic 0.17.3, drtool needs 0.18.0"),
        ("echo hello", "does not tell its version"),
        ("exit 1", "does not tell its version"),
    ],
)
def test_a_program_that_will_not_do_is_refused(tmp_path: Path, says: str, reason: str) -> None:
    with pytest.raises(ProgramMissing, match=reason) as raised:
        find_restic({"DRTOOL_RESTIC": str(fake(tmp_path / "restic", says))})
    assert raised.value.code == 22


@pytest.mark.parametrize("version", ["0.18.0", "0.19.1-dev", "1.0.0"])
def test_a_program_that_is_new_enough_is_taken(tmp_path: Path, version: str) -> None:
    path = fake(tmp_path / "restic", f'echo \'{{"version": "{version}"}}\'')
    assert find_restic({"DRTOOL_RESTIC": str(path)}) == path


def test_a_missing_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProgramMissing) as raised:
        find_restic({"DRTOOL_RESTIC": str(tmp_path / "none")})
    assert raised.value.code == 22


# Secrets


def test_no_process_shows_the_password_while_restic_runs(repository: DirectoryCopy, restic: ResticProgram) -> None:
    seen: list[tuple[Sequence[str], bytes]] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for child in psutil.Process().children(recursive=True):
                try:
                    seen.append((child.cmdline(), Path(f"/proc/{child.pid}/environ").read_bytes()))
                except (psutil.Error, OSError):
                    continue
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        backup(restic, repository, command("sleep 0.5; echo rows"))
    finally:
        done.set()
        thread.join()
    shown = "".join(f"{' '.join(words)} {environ.decode(errors='replace')}" for words, environ in seen)
    assert "--stdin-from-command" in shown
    assert "RESTIC_PASSWORD_FILE=/proc/self/fd/" in shown
    assert PASSWORD.decode() not in shown
