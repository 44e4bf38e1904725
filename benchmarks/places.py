"""Repositories to back up into: one made by drtool, and equal ones for plain restic."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
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
