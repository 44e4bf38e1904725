"""The state folder: locks, private scratch folders, and the clock. All of it may be lost."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from drtool.errors import Locked


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def running(self) -> tuple[str, float]:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return boot, time.clock_gettime(time.CLOCK_BOOTTIME)


class FileLocks:
    """One advisory lock per repository (flock): the kernel lets go of it when the last holder dies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.descriptors: list[int] = []  # children inherit these, so that the lock outlives a killed parent

    @contextmanager
    def hold(self, repository: str, *, run: str, wait: float) -> Iterator[None]:
        """Hold the lock; what the file says is for people, only the kernel's lock counts."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / f"{repository}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _take(descriptor, repository, end=time.monotonic() + wait)
            holder = {"pid": os.getpid(), "run": run, "since": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
            self.descriptors.append(descriptor)
            yield
        finally:
            if descriptor in self.descriptors:
                self.descriptors.remove(descriptor)
            os.close(descriptor)


def _take(descriptor: int, repository: str, *, end: float) -> None:
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise Locked(
                    f"repository {repository} is held by another run{_holder(descriptor)}",
                    hint="wait for it to end, or give --wait SECONDS",
                ) from None
        time.sleep(0.2)


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return f" (pid {holder['pid']}, since {holder['since']})"
    except (ValueError, KeyError, TypeError):
        return ""


class StateSpool:
    """Private scratch folders below the state folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def folder(self, name: str) -> Iterator[Path]:
        """Empty at the start, so that what a killed run left behind goes; gone at the end."""
        place = self._folder / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True, mode=0o700)
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)
