"""drtool's command line in a process of its own, forked from one that has loaded all modules already.

Most of a short command's time is Python's loading of modules. What runs is the same ``main``, and the process is as
real: it has its own environment, folder, session and output, may be killed, and ends with its exit code. Only to
``/proc`` it bears the words and the environment of its origin. A process that waits for it tells of its end by a pipe.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
LARGE = 1 << 20  # bytes that a request has at most
MODULES = ("botocore.session", "drtool.adapters.union", "drtool.render.terminal", "drtool.render.page")


class Forked:
    """As much of ``subprocess.Popen`` as tests need."""

    def __init__(self, words: Sequence[str], *, out: IO[bytes], err: IO[bytes], cwd: Path, env: Mapping[str, str]):
        self._told, theirs = os.pipe()
        _origin().ask({"words": list(words), "cwd": str(cwd), "env": dict(env)}, [out.fileno(), err.fileno(), theirs])
        os.close(theirs)
        self._pipe = os.fdopen(self._told, "rb", buffering=0)
        self.returncode: int | None = None
        self.pid = int(self._line())

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._pipe], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("drtool", timeout or 0)
            self.returncode = int(self._line())
            self._pipe.close()
        return self.returncode

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def _send(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            piece = self._pipe.read(1)
            assert piece, "the process that drtool is forked from has ended"
            line += piece
        return line


class _Origin:
    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            subprocess.Popen(
                [sys.executable, str(Path(__file__).absolute()), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT)},
                start_new_session=True,
            )

    def ask(self, request: Mapping[str, object], files: Sequence[int]) -> None:
        with self._lock:
            socket.send_fds(self._ours, [json.dumps(request).encode()], files)


@cache
def _origin() -> _Origin:
    """One for each worker; it ends when the worker has."""
    return _Origin()


def serve(requests: socket.socket) -> None:
    for name in MODULES:
        importlib.import_module(name)
    from drtool.cli import COMMANDS

    for name in COMMANDS.values():
        importlib.import_module(f"drtool.cli.{name}")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how the waiting processes end
    while True:
        text, files, _, _ = socket.recv_fds(requests, LARGE, 3)
        if not text:
            return
        if not os.fork():
            requests.close()
            _watch(json.loads(text), *files)
        for file in files:
            os.close(file)


def _watch(request: Mapping[str, object], out: int, err: int, pipe: int) -> None:
    """Start drtool, tell its id, wait, and tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if not pid:
        os.close(pipe)
        _become(request, out, err)
    os.setsid()
    os.close(out)
    os.close(err)
    os.write(pipe, f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    os.write(pipe, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(request: Mapping[str, object], out: int, err: int) -> None:
    from drtool.cli import main

    os.setsid()
    for file, number in ((out, 1), (err, 2)):
        os.dup2(file, number)
        os.close(file)
    os.chdir(str(request["cwd"]))
    os.environ.clear()
    os.environ.update(request["env"])  # type: ignore[call-overload]
    sys.argv = ["drtool", *request["words"]]  # type: ignore[misc]
    main()


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
