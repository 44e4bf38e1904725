"""A small shop on this machine, looked after as an administrator would: by drtool's command line.

restic itself, run here without drtool, is the judge of what the copies hold.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.end_to_end.forking import Forked
from tests.quick_restic import quick_restic
from tests.servers import Bucket, Rclone, client_of, credentials_file

PROGRAMS = Path(sys.prefix) / "bin"
PASSWORD = "wrong-horse-battery-staple"
KINDS = ("keys", "data", "index", "snapshots")
WITHOUT_ROOTS_RIGHTS = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--")
SOON = 20.0  # seconds within which the children of a killed run must be gone


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command came back with."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The last line on stderr, as SPEC section 10 wants it."""
        return dict(json.loads(self.err.splitlines()[-1]))

    def dataset(self, name: str) -> dict[str, Any]:
        return next(one for one in self.document["datasets"] if one["dataset"] == name)

    def copy(self, name: str) -> dict[str, Any]:
        return next(one for one in self.document["copies"] if one["copy"] == name)

    def __str__(self) -> str:
        return f"drtool {' '.join(self.words)} -> {self.code} in {self.seconds:.1f} s\n{self.out}\n{self.err}"


@dataclass(kw_only=True)
class Running:
    """A drtool under way."""

    process: subprocess.Popen[bytes] | Forked
    words: tuple[str, ...]
    out: Path
    err: Path
    begun: float = field(default_factory=time.monotonic)

    def wait(self, timeout: float = 120) -> Answer:
        code = self.process.wait(timeout)
        return Answer(
            words=self.words,
            code=code,
            out=self.out.read_text(),
            err=self.err.read_text(),
            seconds=time.monotonic() - self.begun,
        )

    def kill_after(self, seconds: float) -> bool:
        """kill -9 so many seconds after the start; whether it was still at work."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, self.begun + seconds - time.monotonic()))
        at_work = self.process.poll() is None
        self.process.kill()
        self.process.wait()
        return at_work


@dataclass(kw_only=True)
class Shop:
    """An estate in a folder of its own. ``copies`` are estate documents; ``folders`` where their objects lie."""

    folder: Path
    copies: dict[str, dict[str, Any]] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    password: str = PASSWORD
    environment: dict[str, str] = field(default_factory=dict)
    before: Path | None = None  # where the source lay when the first snapshots were made
    bucket: Bucket | None = None
    through: tuple[str, ...] = ()  # a program that starts drtool
    forks: bool = True  # whether drtool is forked from a process that has loaded it (see ``forking.py``)
    _started: list[subprocess.Popen[bytes] | Forked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.source = self.folder / "www"
        self.state = self.folder / "state"
        self.estate = self.folder / "drtool.yaml"

    # The estate

    def add_directory(self, name: str, path: Path | None = None, **more: Any) -> Path:
        place = path or self.folder / name
        self.copies[name] = {"directory": str(place), **more}
        self.folders[name] = place
        return place

    def add_bucket(self, name: str, server: Rclone, bucket: Bucket, *, endpoint: str = "", **more: Any) -> Path:
        """A copy in a bucket; restic reads the folder behind it as a local repository."""
        prefix = f"{name}/main"
        self.copies[name] = {
            "s3": {"endpoint": endpoint or bucket.endpoint, "bucket": bucket.name, "prefix": prefix},
            "credentials": {"file": str(credentials_file(self.folder / f"{name}.cred"))},
            "patience": "5s",
        } | more
        self.folders[name] = server.data / bucket.name / prefix
        return self.folders[name]

    def remove_from_bucket(self, *paths: Path) -> None:
        """Objects of ``offsite``, by its server: rclone keeps its folders in mind for a while."""
        assert self.bucket
        client = client_of(self.bucket)
        for path in paths:
            key = path.relative_to(self.folders["offsite"].parent.parent)
            client.delete_object(Bucket=self.bucket.name, Key=str(key))
            assert not path.exists()

    def add_files(self, name: str = "files", *paths: Path, **more: Any) -> None:
        chosen = [str(path) for path in paths or (self.source,)]
        self.datasets[name] = _dataset({"files": {"paths": chosen, **more}})

    def add_sqlite(self, name: str, path: Path) -> None:
        self.datasets[name] = _dataset({"sqlite": {"path": str(path)}})

    def add_waiting_command(self) -> Path:
        """A dump that begins and then waits until the file is made that this returns."""
        go = self.folder / "go"
        script = self.folder / "wait.sh"
        script.write_text(f"echo begun; while ! test -e {go}; do sleep 0.05; done; echo done\n")
        self.add_command("dump", "sh", str(script))
        return go

    def is_dumping(self) -> bool:
        return any(words.startswith("sh ") and "wait.sh" in words for words in self.processes().values())

    def add_command(self, name: str, *argv: str, filename: str = "dump.sql", **more: Any) -> None:
        self.datasets[name] = _dataset({"command": {"argv": list(argv), "filename": filename, **more}})

    def write(self) -> Shop:
        secret = self.folder / "main.password"
        secret.write_text(self.password + "\n")
        secret.chmod(0o600)
        document = {
            "version": 1,
            "site": "shop",
            "repositories": {"main": {"password": {"file": str(secret)}, "copies": self.copies}},
            "datasets": self.datasets,
        } | self.more
        self.estate.write_text(json.dumps(document, indent=1, ensure_ascii=False))  # JSON is YAML too
        return self

    def init(self) -> Shop:
        self.run("copies", "init", code=0)
        return self

    # drtool

    def start(self, *words: str, as_json: bool = True, env: Mapping[str, str] | None = None) -> Running:
        number = len(self._started)
        out, err = self.folder / f"run-{number}.out", self.folder / f"run-{number}.err"
        all_words = (*words, "--json") if as_json else words
        given = ["--config", str(self.estate), *all_words]
        environment = self._environment() | dict(env or {})
        process: subprocess.Popen[bytes] | Forked
        with out.open("wb") as stdout, err.open("wb") as stderr:
            if self.forks and not self.through:
                process = Forked(given, out=stdout, err=stderr, cwd=self.folder, env=environment)
            else:
                process = subprocess.Popen(
                    [*self.through, str(PROGRAMS / "drtool"), *given],
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    cwd=self.folder,
                    env=environment,
                    start_new_session=True,
                )
        self._started.append(process)
        return Running(process=process, words=all_words, out=out, err=err)

    def close(self) -> None:
        """End what a failed test left running. Whatever is left then outlived its drtool, and is a fault too."""
        for process in self._started:
            process.kill()
            process.wait()
        try:
            self.assert_nobody_left()
        finally:
            for pid in self.processes():
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)

    def run(
        self,
        *words: str,
        code: int | None = None,
        as_json: bool = True,
        timeout: float = 120,
        env: Mapping[str, str] | None = None,
    ) -> Answer:
        """Run to the end; with ``code``, that must be the exit code."""
        answer = self.start(*words, as_json=as_json, env=env).wait(timeout)
        if code is not None:
            assert answer.code == code, str(answer)
        return answer

    def kill_in(self, *words: str, usual: float, part: float) -> None:
        """kill -9 when a part of its usual time is over; where it was quicker than usual, another is killed sooner."""
        while not self.start(*words).kill_after(usual * part):
            part /= 2

    def restore(self, dataset: str = "files", to: str = "back", *words: str, code: int = 0) -> Path:
        """Restore into a new folder; where the dataset's paths lie in it."""
        target = self.folder / to
        self.run("restore", dataset, "--to", str(target), *words, code=code)
        return self.inside(target)

    def inside(self, target: Path) -> Path:
        """Where the source lies below a folder that it was restored to."""
        found = target / self.source.relative_to("/")
        return target / self.before.relative_to("/") if self.before and not found.exists() else found

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "DRTOOL_STATE": str(self.state),
            "DRTOOL_RESTIC": str(quick_restic()),
        } | self.environment

    # What is so

    def names(self, copy: str) -> dict[str, int]:
        """The objects of a copy with their sizes, by looking at its folder."""
        return objects_below(self.folders[copy])

    def assert_equal_copies(self) -> None:
        first, *others = self.folders
        for other in others:
            assert self.names(other) == self.names(first), f"{other} differs from {first}"

    def assert_same_bytes(self) -> None:
        """Every object of every copy is the first copy's, byte for byte: what one passes, all pass."""
        self.assert_equal_copies()
        first, *others = self.folders.values()
        for key in objects_below(first):
            content = (first / key).read_bytes()
            assert all((other / key).read_bytes() == content for other in others), f"{key} differs"

    def assert_sound(self, *copies: str) -> None:
        """Each copy passes restic's own check of every byte."""
        for copy in copies or self.folders:
            self.restic(copy, "check", "--read-data", "--no-cache", "--no-lock")

    def assert_evidence(self) -> None:
        assert self.run("evidence", "verify", code=0).document["ok"] is True

    def assert_whole(self) -> None:
        """The copies are equal byte for byte, and restic's own check of every byte passes."""
        self.assert_same_bytes()
        self.assert_sound(next(iter(self.folders)))

    def assert_restores(self, name: str, *words: str) -> None:
        """The newest snapshot of ``files`` is the source as it is now."""
        assert_same_tree(self.source, self.restore("files", name, *words))
        shutil.rmtree(self.folder / name)

    def restic(self, copy: str, *words: str, good: bool = True) -> str:
        """restic on the objects of a copy, without drtool."""
        run = subprocess.run(
            [str(PROGRAMS / "restic"), "-q", "-r", str(self.folders[copy]), *words],
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(self.folder),
                "RESTIC_PASSWORD": self.password,
                "RESTIC_CACHE_DIR": str(self.folder / "judge-cache"),
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if good:
            assert run.returncode == 0, f"restic {' '.join(words)} on {copy}: {run.stdout[-2000:]}{run.stderr[-2000:]}"
        return run.stdout

    def snapshots(self, copy: str, dataset: str = "files") -> list[dict[str, Any]]:
        listed = json.loads(
            self.restic(copy, "snapshots", "--json", "--no-lock", "--no-cache", "--tag", f"dataset:{dataset}")
        )
        return sorted(listed or [], key=lambda one: str(one["time"]))

    def packs(self, copy: str, *, largest: bool = True) -> list[Path]:
        return sorted(
            (path for path in (self.folders[copy] / "data").glob("*/*") if path.is_file()),
            key=lambda path: path.stat().st_size,
            reverse=largest,
        )

    def index(self, copy: str) -> list[Path]:
        return sorted((self.folders[copy] / "index").iterdir())

    # Processes

    def processes(self) -> dict[int, str]:
        """Every other living process that works for this estate: its folder stands in its words or environment."""
        sign, found = os.fsencode(self.folder), {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes()
                if words and (sign in words or sign in (entry / "environ").read_bytes()):
                    found[int(entry.name)] = words.replace(b"\0", b" ").decode(errors="replace")
        return found

    def assert_nobody_left(self, within: float = SOON) -> None:
        end = time.monotonic() + within
        while left := self.processes():
            assert time.monotonic() < end, f"still there after {within} s: {left}"
            time.sleep(0.1)


def _dataset(what: Mapping[str, Any]) -> dict[str, Any]:
    return {"repository": "main", "rpo": "24h", "rto": "1h", **what}


def build_nights(folder: Path, rclone: Rclone, days: Sequence[Callable[[Path], None]]) -> None:
    """The usual estate, a disk first and a bucket second, after a night and one more for each day of changes.

    For ``copy_of``: what lies in the bucket is put beside the disk at the end.
    """
    shop = Shop(folder=folder)
    fill(shop.source)
    shop.add_files()
    shop.add_directory("disk")
    shop.add_bucket("offsite", rclone, rclone.bucket())
    shop.write().init().run("backup", code=0)
    for day in days:
        day(shop.source)
        shop.run("backup", code=0)
    shutil.copytree(shop.folders["offsite"], folder / "offsite")
    shop.close()


def copy_of(template: Path, folder: Path, rclone: Rclone) -> Shop:
    """What ``build_nights`` built, as it is in another shop."""
    shop = Shop(folder=folder, before=template / "www")
    shop.bucket = rclone.bucket()
    for name, target in (
        ("www", shop.source),
        ("state", shop.state),
        ("disk", shop.add_directory("disk")),
        ("offsite", shop.add_bucket("offsite", rclone, shop.bucket)),
    ):
        shutil.copytree(template / name, target, symlinks=True)
    shop.add_files()
    return shop.write()


# Data


def fill(folder: Path, *, seed: int = 1, megabytes: int = 24, small: int = 120) -> Path:
    """Large files that do not compress, so that there are several packs, and small ones in folders."""
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(4):
        (folder / f"large-{number}.bin").write_bytes(rng.randbytes(megabytes * 250_000))
    for number in range(small):
        path = folder / f"folder-{number % 7}" / f"page-{number}.html"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(rng.randbytes(rng.randrange(0, 3000)).hex().encode())
    return folder


def change(folder: Path, seed: int, *, megabytes: int = 6) -> None:
    """What happens in a day: something new, something changed, something gone."""
    rng = random.Random(seed)
    (folder / f"new-{seed}.bin").write_bytes(rng.randbytes(megabytes * 1_000_000))
    with (folder / "large-1.bin").open("r+b") as file:
        file.seek(rng.randrange(1_000_000))
        file.write(rng.randbytes(300_000))
    pages = sorted(folder.glob("folder-*/page-*.html"))
    for page in rng.sample(pages, 10):
        page.write_text(f"changed {seed}")
    rng.choice(pages).unlink()
    for old in sorted(folder.glob("new-*.bin"), key=lambda path: path.stat().st_mtime)[:-3]:
        old.unlink()


def scramble(path: Path) -> None:
    """Alter every byte, keeping the size: whatever a snapshot needs of this object is gone."""
    path.chmod(0o600)
    path.write_bytes(bytes(byte ^ 0xFF for byte in path.read_bytes()))


def flip(path: Path, offset: int | None = None) -> None:
    """Alter one byte; size and times stay."""
    before = path.stat()
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(before.st_size // 2 if offset is None else offset)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0xFF]))
    path.chmod(stat.S_IMODE(before.st_mode))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def cut(path: Path, size: int) -> None:
    path.chmod(0o600)
    os.truncate(path, size)


def objects_below(folder: Path) -> dict[str, int]:
    found = {"config": (folder / "config").stat().st_size} if (folder / "config").exists() else {}
    for kind in KINDS:
        for path in (folder / kind).rglob("*"):
            if path.is_file() and "-tmp-" not in path.name:
                found[str(path.relative_to(folder))] = path.stat().st_size
    return found


def altered_below(folder: Path) -> list[str]:
    """The objects whose bytes are not their name's."""
    return [
        key
        for key in objects_below(folder)
        if key != "config" and hashlib.sha256((folder / key).read_bytes()).hexdigest() != Path(key).name
    ]


def tree(folder: Path) -> dict[bytes, tuple[Any, ...]]:
    """Everything a backup must bring back, by name: kind, mode, owner, time, content or target, attributes."""
    root, found = os.fsencode(folder), {}
    for place, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(place, name)
            found[os.path.relpath(path, root)] = _entry(path)
    return found


def _entry(path: bytes) -> tuple[Any, ...]:
    seen = os.lstat(path)
    kind = stat.S_IFMT(seen.st_mode)
    content: Any = None
    if stat.S_ISREG(seen.st_mode):
        with open(path, "rb") as file:
            content = (seen.st_size, hashlib.file_digest(file, "sha256").hexdigest())
    elif stat.S_ISLNK(seen.st_mode):
        content = os.readlink(path)
    attributes: dict[str, bytes] = {}
    if not stat.S_ISLNK(seen.st_mode):
        attributes = {name: os.getxattr(path, name) for name in os.listxattr(path) if name.startswith("user.")}
    return kind, stat.S_IMODE(seen.st_mode), seen.st_uid, seen.st_gid, seen.st_mtime_ns, content, attributes


def assert_same_tree(source: Path, back: Path) -> None:
    """Two trees are alike; what differs is named, and not the rest."""
    wanted, got = tree(source), tree(back)
    differs = {
        name: (wanted.get(name), got.get(name))
        for name in sorted(wanted.keys() | got.keys())
        if wanted.get(name) != got.get(name)
    }
    assert not differs, f"{len(differs)} entries differ, such as {list(differs.items())[:3]}"


# The machine


@contextmanager
def small_disk(mount: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own, with little room."""
    mount.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(mount)], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=True)


@contextmanager
def read_only(mount: Path) -> Iterator[None]:
    """A mounted folder that nobody, not even root, may write to."""
    subprocess.run(["mount", "--bind", str(mount), str(mount)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(mount)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=True)


def wait_until(what: str, true: Any, within: float = 30.0) -> None:
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, f"not within {within} s: {what}"
        time.sleep(0.02)
