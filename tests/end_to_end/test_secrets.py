"""Secrets and the names of customers' files are where they belong, and nowhere else."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.end_to_end.shop import WITHOUT_ROOTS_RIGHTS, Shop, flip
from tests.faultproxy import Fault, FaultProxy, Rule
from tests.servers import SECRET, Rclone, credentials_file

PASSWORD = "canary-password-9fd31c"
NAME = "canary-file-of-a-customer"
ROW = "canary-row-of-a-customer"


class Watch:
    """Reads the words and the environment of every process, again and again, for what must not be there."""

    def __init__(self, *secrets: str) -> None:
        self._secrets = [secret.encode() for secret in secrets]
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.seen: set[str] = set()
        self.looks = 0
        self.found: set[str] = set()

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.is_set():
            for name in os.listdir("/proc"):
                if name.isdigit() and int(name) != os.getpid():
                    self._process(name)
            self.looks += 1
            time.sleep(0.02)

    def _process(self, name: str) -> None:
        with suppress(OSError):
            words = Path(f"/proc/{name}/cmdline").read_bytes()
            environment = Path(f"/proc/{name}/environ").read_bytes()
            self.seen.add(os.path.basename(words.split(b"\0")[0].decode(errors="replace")))
            for secret in self._secrets:
                if secret in words and b"serve" not in words:  # the test's own S3 server gets its key as an argument
                    self.found.add(f"argv of {words!r}")
                if secret in environment:
                    self.found.add(f"environment of {words!r}")


@pytest.fixture
def canary(tmp_path: Path, rclone: Rclone) -> Shop:
    shop = Shop(folder=tmp_path / "shop", password=PASSWORD, forks=False)
    (shop.source / NAME).mkdir(parents=True)
    (shop.source / NAME / NAME).write_text(ROW * 20)
    (shop.source / "large.bin").write_bytes(os.urandom(5_000_000))
    shop.add_files()
    shop.add_command("dump", "sh", "-c", f"echo {ROW}; sleep 0.3")
    shop.add_bucket("offsite", rclone, rclone.bucket(), patience="2s")
    shop.add_directory("disk")
    return shop.write()


def _nowhere_below(folder: Path, *words: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            for word in words:
                assert word.encode() not in content, f"{word} stands in {path}"
                assert word not in path.name or path.is_relative_to(folder / "www"), str(path)


def test_secrets_are_in_no_argument_no_environment_no_output_and_no_file(canary: Shop) -> None:
    answers = []
    with Watch(PASSWORD, SECRET) as watch:
        answers.append(canary.init().run("copies", "list"))
        answers.append(canary.run("backup", code=0))
        answers.append(canary.run("backup", as_json=False))
        answers.append(canary.run("snapshots", code=0))
        answers.append(canary.run("status"))
        answers.append(canary.run("evidence", "show", code=0))
        answers.append(canary.run("restore", "files", "--to", str(canary.folder / "back"), code=0))
    assert watch.found == set()
    assert {"restic"} <= watch.seen, "restic was never seen, so nothing is shown"
    assert watch.looks > 30
    for answer in answers:
        assert PASSWORD not in answer.out + answer.err and SECRET not in answer.out + answer.err, str(answer)
    _nowhere_below(canary.state, PASSWORD, SECRET)
    for folder in canary.folders.values():
        _nowhere_below(folder, PASSWORD, SECRET, ROW, NAME)


def test_the_evidence_holds_no_file_names_and_no_rows(canary: Shop) -> None:
    """Also not after a file could not be read, a path is missing and a dump printed a row before it failed."""
    canary.init().run("backup", code=0)
    unreadable = canary.source / NAME / f"{NAME}-unreadable"
    unreadable.write_text("x")
    unreadable.chmod(0)
    canary.add_files("files", canary.source, canary.source / f"{NAME}-missing")
    canary.add_command("dump", "sh", "-c", f"echo {ROW} >&2; exit 3")
    canary.through = WITHOUT_ROOTS_RIGHTS
    canary.write().run("backup", code=3)
    evidence = list(canary.state.rglob("evidence.db*"))
    assert evidence
    for path in evidence:
        content = path.read_bytes()
        assert NAME.encode() not in content, f"a file name stands in {path.name}"
        assert ROW.encode() not in content, f"a row stands in {path.name}"
    shown = canary.run("evidence", "show", code=0)
    assert NAME not in shown.out and ROW not in shown.out


def test_the_state_folder_is_the_owners_only(canary: Shop) -> None:
    canary.init().run("backup", code=0)
    assert (canary.state / "shop").stat().st_mode & 0o077 == 0
    for path in canary.folders["disk"].iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


TROUBLES = ["wrong secret", "wrong password", "password file of two lines", "bad marker", "bug", "server says it"]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_failure_tells_no_secret(canary: Shop, rclone: Rclone, trouble: str) -> None:
    canary.init().run("backup", code=0)
    other = "canary-other-secret-77aa"
    with FaultProxy(rclone.endpoint) as proxy:
        if trouble == "wrong secret":
            credentials_file(canary.folder / "offsite.cred", secret=other)
        elif trouble == "wrong password":
            canary.password = other
            canary.write()
        elif trouble == "password file of two lines":
            (canary.folder / "main.password").write_text(f"{PASSWORD}\n{other}\n")
        elif trouble == "bad marker":
            (canary.folders["disk"] / "drtool" / "copy.json").write_text("{")
        elif trouble == "bug":
            (canary.state / "shop" / "tmp").chmod(0o700)
            for folder in ("tmp", "spool"):
                place = canary.state / "shop" / folder
                if place.exists():
                    place.rename(place.with_name(f"{folder}-aside"))
                place.write_text("a file where a folder is wanted")
        else:
            canary.copies["offsite"]["s3"]["endpoint"] = proxy.endpoint
            canary.write()
            proxy.rules = [Rule(fault=Fault.STATUS, status=403, code="SignatureDoesNotMatch")]
        flip(canary.packs("disk")[0])
        back = str(canary.folder / "back")
        for words in (("backup",), ("copies", "list"), ("restore", "files", "--to", back)):
            answer = canary.run(*words, as_json=False)
            for secret in (PASSWORD, SECRET, other):
                assert secret not in answer.out + answer.err, str(answer)
    _nowhere_below(canary.state, PASSWORD, SECRET, other)


def test_an_inherited_environment_does_not_reach_restic(canary: Shop) -> None:
    """An inherited password once encrypted another tool's repositories with the wrong key."""
    canary.environment |= {
        "RESTIC_PASSWORD": "inherited", "RESTIC_REPOSITORY": "/nowhere", "RESTIC_COMPRESSION": "rubbish",
        "AWS_ACCESS_KEY_ID": "inherited", "AWS_SECRET_ACCESS_KEY": "inherited", "AWS_PROFILE": "inherited",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    }  # fmt: skip
    canary.init().run("backup", code=0)
    canary.assert_whole()


def test_secret_files_that_others_can_read_are_refused(canary: Shop) -> None:
    for name in ("main.password", "offsite.cred"):
        path = canary.folder / name
        path.chmod(0o644)
        answer = canary.run("backup", code=20)
        assert name in answer.err
        path.chmod(0o600)
