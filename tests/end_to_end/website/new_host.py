"""A new machine in under a second: namespaces of its own, and an overlay of this machine's programs as its root.

What is written there lies in its memory and is gone when it ends; no process and no address of this machine is there.
It ends by SIGKILL, since ``unshare`` passes no other signal on; the kernel then takes all its processes and mounts.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

NETWORK = 0x40000000  # CLONE_NEWNET
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
STARTED = 60.0  # seconds after which it counts as not starting
PIECE = 1 << 16


class NewHost:
    """``bare`` are places at which there is nothing, whatever this machine has there."""

    def __init__(self, name: str, bare: Sequence[Path]) -> None:
        self.name, self._bare = name, bare
        self._place = Path(tempfile.mkdtemp(prefix="drtool-host-"))
        self._pid = 0
        self._forwards: list[socket.socket] = []

    def __enter__(self) -> Self:
        guard = (shutil.which("setpriv") or "setpriv", "--pdeathsig", "KILL", "--")
        apart = ("unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--fork", "--kill-child")
        ours = (sys.executable, __file__, str(self._place), self.name, *map(str, self._bare))
        self._process = subprocess.Popen([*guard, *apart, *ours], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self._process.stdout
        try:
            assert self._process.stdout.readline() == b"up\n", "the new host does not come up"
            self._pid = int(Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        for listener in self._forwards:
            listener.close()
        self._process.kill()
        self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()
        _until_gone(self._pid)
        self._place.rmdir()  # what lay there was mounted for the host alone

    @property
    def through(self) -> tuple[str, ...]:
        """The words before a command that is to run there."""
        return ("nsenter", f"--target={self._pid}", "--mount", "--pid", "--uts", "--ipc", "--net", "--root", "--wd=/")

    def inside(self, path: Path) -> Path:
        """Where this machine sees a place of the other's."""
        return Path(f"/proc/{self._pid}/root{path}")

    def run(self, *words: str, entering: str = "") -> str:
        """What a command prints there."""
        run = subprocess.run(
            [*self.through, *words], input=entering, capture_output=True, text=True, timeout=120, check=False
        )
        assert run.returncode == 0, f"{' '.join(words)}: {run.stdout[-1000:]}{run.stderr[-2000:]}"
        return run.stdout

    def write(self, path: Path, text: str, *, mode: int = 0o600) -> None:
        """A file that somebody brings along."""
        self.run("sh", "-c", 'umask 077; mkdir -p "${1%/*}"; cat >"$1"; chmod "$2" "$1"', "sh", str(path), f"{mode:o}",
                 entering=text)  # fmt: skip

    def forward(self, port: int) -> None:
        """Let one port of this machine's loopback be reached at the same port of the other's."""
        listener = self._listening(port)
        self._forwards.append(listener)
        threading.Thread(target=_serve, args=(listener, port), daemon=True, name=f"forward-{port}").start()

    def _listening(self, port: int) -> socket.socket:
        """A socket stays in the network in which it was made; the thread that makes it there ends at once."""
        made: list[socket.socket] = []

        def make() -> None:
            libc = ctypes.CDLL(None, use_errno=True)
            with open(f"/proc/{self._pid}/ns/net", "rb") as network:
                if libc.setns(network.fileno(), NETWORK):
                    return
            made.append(socket.create_server(("127.0.0.1", port)))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        assert made, f"no socket at port {port} of the new host"
        return made[0]


def _serve(listener: socket.socket, port: int) -> None:
    with suppress(OSError):  # it is closed at the end
        while True:
            near, _ = listener.accept()
            try:
                far = socket.create_connection(("127.0.0.1", port))
            except OSError:
                near.close()
                continue
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=_pass, args=(source, target), daemon=True, name="forward").start()


def _pass(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(PIECE):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _until_gone(pid: int) -> None:
    end = time.monotonic() + STARTED
    while pid and Path(f"/proc/{pid}/root/proc").exists() and time.monotonic() < end:
        time.sleep(0.02)


# What follows runs in the new namespaces, as the first process of the new host


def _become(place: Path, name: str, bare: Sequence[str]) -> None:
    _mount("tmpfs", place, kind="tmpfs", options="mode=755")
    upper, work, root = (place / one for one in ("upper", "work", "root"))
    for folder in (upper, work, root):
        folder.mkdir()
    _mount("overlay", root, kind="overlay", options=f"lowerdir=/,upperdir={upper},workdir={work}")
    _mount("proc", root / "proc", kind="proc", options="nosuid")
    _mount("/sys", root / "sys", options="bind,ro")
    _mount("tmpfs", root / "dev", kind="tmpfs", options="mode=755")
    for device in DEVICES:
        (root / "dev" / device).touch()
        _mount(f"/dev/{device}", root / "dev" / device, options="bind")
    (root / "dev/fd").symlink_to("/proc/self/fd")
    for number, stream in enumerate(("stdin", "stdout", "stderr")):
        (root / "dev" / stream).symlink_to(f"/proc/self/fd/{number}")
    for path in ("/dev/shm", "/run", *bare):
        inside = root / path.lstrip("/")
        inside.mkdir(parents=True, exist_ok=True)
        _mount("tmpfs", inside, kind="tmpfs", options="mode=755")
    socket.sethostname(name)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    os.chroot(root)
    os.chdir("/")


def _mount(what: str, where: Path, *, options: str, kind: str = "") -> None:
    subprocess.run(["mount", *(["-t", kind] if kind else []), "-o", options, what, str(where)], check=True)


def _reap(*_: object) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


if __name__ == "__main__":
    _become(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
    signal.signal(signal.SIGCHLD, _reap)
    print("up", flush=True)
    while True:
        signal.pause()
