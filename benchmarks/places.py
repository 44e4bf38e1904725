"""Repositories to back up into: one made by drtool, and equal ones for plain restic."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from programs import BUCKET, KEY, PROGRAMS, SECRET, Server, Took, run, run_watched

RESTIC, PYTHON = str(PROGRAMS / "restic"), str(PROGRAMS / "python")
PLAIN = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder of its own for one repository and everything that belongs to it: caches, state, secrets.

    All repositories of a place have the same key and the same chunker. restic measures the machine when it makes
    a key, and every later opening costs what it then found (about half a second); that must be the same for all.
    """

    folder: Path
    data: Path
    server: Server
    source: Path  # the checkout whose drtool is measured

    @property
    def name(self) -> str:
        return self.folder.name

    def make(self) -> None:
        """An estate with two empty copies, and an empty repository for plain restic beside each."""
        self.folder.mkdir(parents=True)
        for name, content in self._documents().items():
            (self.folder / name).write_text(content)
            (self.folder / name).chmod(0o600)
        self._drtool("copies", "init")
        shutil.copytree(self.folder / "disk", self.folder / "plain", ignore=shutil.ignore_patterns("drtool"))
        for path in (self.folder / "plain" / "config", *(self.folder / "plain" / "keys").iterdir()):
            key = str(path.relative_to(self.folder / "plain"))
            for name in ("s3", "copy"):
                self.server.put(f"{self.name}-{name}/{key}", path.read_bytes())

    def remove(self) -> None:
        shutil.rmtree(self.folder)
        for folder in (self.server.folder / BUCKET).glob(f"{self.name}-*"):
            shutil.rmtree(folder)

    def drtool(self) -> Took:
        """``drtool backup --quiet`` into both copies."""
        return self._drtool("backup", "--quiet")

    def drtool_watched(self) -> Took:
        return run_watched(self._words("backup", "--quiet"), self._env(), self._log())

    def restic(self) -> Took:
        """``restic backup`` into a directory."""
        return self._restic("local", "-r", str(self.folder / "plain"), "backup", str(self.data))

    def restic_s3(self) -> Took:
        """``restic backup`` to the server."""
        return self._restic("s3", *self._on_server("s3"), "backup", str(self.data))

    def restic_copy(self) -> Took:
        """``restic copy`` from the directory to the server."""
        source = ["--from-repo", str(self.folder / "plain"), "--from-password-file", str(self.folder / "password")]
        return self._restic("copy", *self._on_server("copy"), "copy", *source)

    def make_of_two_buckets(self, one: Server, two: Server) -> None:
        """An estate with two distant copies, both filled; everything is sent through the limited servers."""
        self.folder.mkdir(parents=True)
        documents = self._documents()
        head, tail = documents["drtool.yaml"].partition("    copies:\n")[0], "datasets:"
        copies = "".join(
            f'      {name}:\n        s3: {{endpoint: "{server.endpoint}", bucket: {BUCKET}, prefix: striped}}\n'
            "        credentials: {file: credentials}\n"
            for name, server in (("one", one), ("two", two))
        )
        rest = documents["drtool.yaml"].partition(tail)[2]
        documents["drtool.yaml"] = f"{head}    copies:\n{copies}{tail}{rest}"
        for name, content in documents.items():
            (self.folder / name).write_text(content)
            (self.folder / name).chmod(0o600)
        self._drtool("copies", "init")
        self._drtool("backup", "--quiet")

    def drtool_restore(self, *more: str) -> Took:
        """``drtool restore`` into an empty folder."""
        return self._into_nothing(lambda target: self._drtool("restore", "data", "--to", target, *more))

    def restic_restore(self, *more: str) -> Took:
        """``restic restore`` of the very same copy."""
        words = ["-r", str(self.folder / "disk"), "restore", "latest", "--tag", "dataset:data", *more]
        return self._into_nothing(lambda target: self._restic("local", *words, "--target", target))

    def _into_nothing(self, act: Callable[[str], Took]) -> Took:
        target = self.folder / "back"
        try:
            return act(str(target))
        finally:
            shutil.rmtree(target, ignore_errors=True)

    def packs(self) -> list[Path]:
        return sorted(path for path in (self.folder / "disk" / "data").rglob("*") if path.is_file())

    def forget_state(self) -> None:
        shutil.rmtree(self.folder / "state")

    def drtool_verify(self) -> Took:
        return self._drtool("copies", "verify", "disk", "--quiet")

    def drtool_list(self) -> Took:
        return self._drtool("snapshots")

    def drtool_heal(self) -> Took:
        return self._drtool("heal", "--quiet")

    def drtool_fill(self) -> Took:
        """The emptied bucket, by ``drtool heal``."""
        return self._drtool("heal", "offsite", "--quiet")

    def sha256sum(self) -> Took:
        """All files of the directory, on as many processors as there are."""
        command = f'find "{self.folder}/disk" -type f -print0 | xargs -0 -n 4 -P {os.cpu_count()} sha256sum'
        return run(["/bin/sh", "-c", command], PLAIN, self._log())

    def rclone_copy(self, transfers: int) -> Took:
        """The directory into a bucket by rclone."""
        return self._rclone(transfers, str(self.folder / "disk"), f":s3:{BUCKET}/{self.name}-rclone")

    def rclone_fetch(self, packs: Sequence[Path]) -> Took:
        """A few objects from the bucket by rclone."""
        names = self.folder / "names"
        names.write_text("\n".join(str(pack.relative_to(self.folder / "disk")) for pack in packs))
        source, target = f":s3:{BUCKET}/{self.name}-offsite", self.folder / "fetched"
        try:
            return self._rclone(4, "--files-from", str(names), source, str(target))
        finally:
            shutil.rmtree(target, ignore_errors=True)

    def _rclone(self, transfers: int, *words: str) -> Took:
        env = PLAIN | {
            "HOME": str(self.folder),
            "RCLONE_S3_PROVIDER": "Rclone",
            "RCLONE_S3_ENDPOINT": self.server.endpoint,
            "RCLONE_S3_ACCESS_KEY_ID": KEY,
            "RCLONE_S3_SECRET_ACCESS_KEY": SECRET,
        }
        argv = [str(PROGRAMS / "rclone"), "copy", "--transfers", str(transfers), *words]
        return run(argv, env, self._log(), server=self.server)

    def _on_server(self, name: str) -> list[str]:
        return ["-o", "s3.bucket-lookup=path", "-r", f"s3:{self.server.endpoint}/{BUCKET}/{self.name}-{name}"]

    def _restic(self, cache: str, *words: str) -> Took:
        env = PLAIN | {
            "HOME": str(self.folder),
            "RESTIC_PASSWORD_FILE": str(self.folder / "password"),
            "RESTIC_CACHE_DIR": str(self.folder / f"cache-{cache}"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.folder / "credentials"),
        }
        return run([RESTIC, "--quiet", *words], env, self._log(), server=self.server)

    def _drtool(self, *words: str) -> Took:
        return run(self._words(*words), self._env(), self._log(), server=self.server)

    def _words(self, *words: str) -> list[str]:
        return [PYTHON, "-m", "drtool", "--config", str(self.folder / "drtool.yaml"), *words]

    def _env(self) -> Mapping[str, str]:
        home, state = str(self.folder), str(self.folder / "state")
        return PLAIN | {"HOME": home, "DRTOOL_STATE": state, "PYTHONPATH": str(self.source)}

    def _log(self) -> Path:
        return self.folder / "log"

    def _documents(self) -> dict[str, str]:
        estate = f"""\
version: 1
site: bench
repositories:
  main:
    password: {{file: password}}
    copies:
      disk:
        directory: {self.folder / "disk"}
      offsite:
        s3: {{endpoint: "{self.server.endpoint}", bucket: {BUCKET}, prefix: {self.name}-offsite}}
        credentials: {{file: credentials}}
datasets:
  data:
    repository: main
    files: {{paths: ["{self.data}"]}}
    rpo: 24h
    rto: 1h
"""
        return {
            "drtool.yaml": estate,
            "password": "a long and boring password\n",
            "credentials": f"[default]\naws_access_key_id={KEY}\naws_secret_access_key={SECRET}\n",
        }
