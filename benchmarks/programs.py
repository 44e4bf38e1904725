"""Run programs in turn, and say what each took of the clock, the processors and the memory."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

PROGRAMS = Path(sys.prefix) / "bin"
KEY, SECRET, BUCKET = "drtool-bench-key", "drtool-bench-secret", "bench"
LOOK = 0.02  # seconds between two looks at a program's memory
TICK = os.sysconf("SC_CLK_TCK")
# rclone would hash each object several times more for its own sake, on the very cores that are measured. What it
# compares for its clients (Content-MD5) stays on.
ASIDE = ("nice", "-n", "19")  # a real server has processors of its own; this one must not take restic's
SERVER = ("--ignore-checksum", "--etag-hash", "", "--buffer-size", "0")


class Failed(Exception):
    """A program did not do what is to be measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """Seconds of the clock; processor seconds of the program and all its children, and of the server meanwhile.

    ``memory`` is the peak of the program itself in KiB, without its children; 0 where it was not asked for.
    """

    seconds: float
    cpu: float
    server_cpu: float = 0.0
    memory: int = 0

    def __add__(self, other: Took) -> Took:
        return Took(
            seconds=self.seconds + other.seconds,
            cpu=self.cpu + other.cpu,
            server_cpu=self.server_cpu + other.server_cpu,
            memory=max(self.memory, other.memory),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """``rclone serve s3`` on loopback: its buckets are folders of ``folder``."""

    folder: Path
    pid: int
    endpoint: str

    def cpu(self) -> float:
        """Processor seconds so far. After the name in brackets, utime and stime are the 12th and 13th field."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def put(self, key: str, content: bytes) -> None:
        """An object, through the door: the server would not see at once what is laid into its folder."""
        self._client().put_object(Bucket=BUCKET, Key=key, Body=content)

    def delete(self, *keys: str) -> None:
        """Objects, through the door likewise."""
        client = self._client()
        for key in keys:
            client.delete_object(Bucket=BUCKET, Key=key)

    def empty(self, *prefixes: str) -> None:
        """All objects below these, but for what makes a copy of the place."""
        client = self._client()
        for prefix in prefixes:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
            keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
            self.delete(*(key for key in keys if not key.endswith("/drtool/copy.json")))

    def _client(self) -> Any:
        keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
        return boto3.client("s3", endpoint_url=self.endpoint, **keys)


def run(argv: Sequence[str], env: Mapping[str, str], log: Path, *, server: Server | None = None) -> Took:
    """Run to the end. What earlier programs wrote is brought to disk first, so that each pays for its own."""
    os.sync()
    served = server.cpu() if server else 0.0
    with log.open("wb") as out:
        start = time.perf_counter()
        child = subprocess.Popen(argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise Failed(f"{' '.join(argv)} ended with {child.returncode}:\n{log.read_text(errors='replace')[-3000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    return Took(seconds=seconds, cpu=cpu, server_cpu=server.cpu() - served if server else 0.0)


def run_watched(argv: Sequence[str], env: Mapping[str, str], log: Path) -> Took:
    """Run to the end, and tell the program's own peak of memory.

    wait4 would tell the largest of the program and its children, and restic is larger; so the kernel's own
    high-water mark (VmHWM) is read again and again while the program lives.
    """
    before, peak, start = os.times(), 0, time.perf_counter()
    with log.open("wb") as out, subprocess.Popen(argv, env=dict(env), stdout=out, stderr=out) as child:
        while child.poll() is None:
            peak = max(peak, _high_water(child.pid))
            time.sleep(LOOK)
    seconds, after = time.perf_counter() - start, os.times()
    if child.returncode:
        raise Failed(f"{' '.join(argv)} ended with {child.returncode}:\n{log.read_text(errors='replace')[-3000:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Took(seconds=seconds, cpu=cpu, memory=peak)


@contextmanager
def s3_server(folder: Path, *more: str) -> Iterator[Server]:
    """Dies with this process, however that ends."""
    (folder / "data" / BUCKET).mkdir(parents=True)
    port = _free_port()
    guard = [shutil.which("setpriv") or "setpriv", "--pdeathsig", "KILL", "--"]
    address = ["--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}"]
    words = ["serve", "s3", *SERVER, *more, *address, str(folder / "data")]
    env = {"PATH": os.defpath, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*guard, *ASIDE, str(PROGRAMS / "rclone"), *words], env=env, stdout=log, stderr=log)
    try:
        endpoint = f"http://127.0.0.1:{port}"
        _wait(endpoint, process)
        yield Server(folder=folder / "data", pid=process.pid, endpoint=endpoint)
    finally:
        process.kill()
        process.wait()


def _high_water(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def _wait(endpoint: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(endpoint, timeout=5).close()  # noqa: S310 - our own loopback address
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise Failed("the S3 server does not start")


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
