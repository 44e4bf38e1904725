"""A real sshd for tests, on a loopback port, with keys of its own. It dies with the process that started it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from drtool.adapters.hosts import Line
from tests.servers import free_port

SSHD = "/usr/sbin/sshd"  # it must be called by its whole path
STARTED = 30.0


class Sshd:
    """``sshd -D`` as a child of the tests: one that detaches would have no parent that ends it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.identity, self.known_hosts = key(folder / "user"), folder / "known_hosts"
        self._host_key = key(folder / "host")
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {public(self._host_key)}")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def line(self, **more: Any) -> Line:
        """How it is reached, or nearly so."""
        right: dict[str, Any] = {
            "address": "127.0.0.1",
            "port": self.port,
            "user": pwd.getpwuid(os.getuid()).pw_name,
            "identity": self.identity,
            "known_hosts": self.known_hosts,
            "timeout": 20.0,
        }
        return Line(**right | more)

    def start(self) -> None:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd gives up its rights there
        (self.folder / "authorized_keys").write_text(public(self.identity))
        config = self.folder / "sshd_config"
        config.write_text(
            f"""ListenAddress 127.0.0.1:{self.port}
            HostKey {self._host_key}
            AuthorizedKeysFile {self.folder / "authorized_keys"}
            PidFile none
            StrictModes no
            UsePAM no
            PasswordAuthentication no
            KbdInteractiveAuthentication no
            PermitRootLogin prohibit-password
            MaxStartups 100
            MaxSessions 100
            """
        )
        guard = [shutil.which("setpriv") or "setpriv", "--pdeathsig", "KILL", "--"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*guard, SSHD, "-D", "-e", "-f", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        end = time.monotonic() + STARTED
        while not _answers(self.port):
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"no sshd: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """The host vanishes: sshd, and the connections that it carries. What they had started runs on."""
        if self._process:
            for one in self._daemons():
                one.kill()
            self._process.wait()
            self._process = None

    @contextmanager
    def silent(self) -> Iterator[None]:
        """The host hangs: its connections stand and say nothing."""
        stopped = self._daemons()
        for one in stopped:
            one.suspend()
        yield
        for one in stopped:
            one.send_signal(signal.SIGCONT)

    def _daemons(self) -> list[psutil.Process]:
        assert self._process
        own = psutil.Process(self._process.pid)
        return [own, *(child for child in own.children(recursive=True) if child.name() == "sshd")]


def key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True)
    return path


def public(path: Path) -> str:
    return path.with_name(f"{path.name}.pub").read_text()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as line:
            return line.recv(4) == b"SSH-"
    except OSError:
        return False
