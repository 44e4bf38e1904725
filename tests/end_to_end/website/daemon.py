"""Programs that serve: each a child in a process group of its own, which ends when the tests end."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

STARTED = 60.0  # seconds after which a daemon counts as not starting
STOPPED = 60.0  # and after which it is killed


@dataclass(kw_only=True)
class Daemon:
    """``ready`` asks whether it serves; ``user`` is whom it works as where we are root."""

    name: str
    argv: Sequence[str]
    user: str
    log: Path
    ready: Callable[[], bool]
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int | None:
        """The process while it lives."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        if self.pid:
            return
        with self.log.open("ab") as log:
            # TERM, not KILL: nginx and PHP end their workers then.
            self._process = subprocess.Popen(
                [*as_user(self.user, "--pdeathsig", "TERM"), *self.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        end = time.monotonic() + STARTED
        while not self.ready():
            if not self.pid or time.monotonic() > end:
                raise RuntimeError(f"{self.name} does not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """As an administrator would; one that does not listen is killed."""
        if self._process and self.pid:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOPPED)
        self.kill()

    def kill(self) -> None:
        """Like a power cut; workers too, whose group still stands when their master has gone."""
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def as_user(user: str, *options: str) -> list[str]:
    """The words before a command that make it another user's, where we are root."""
    setpriv = shutil.which("setpriv") or "setpriv"
    if os.geteuid() == 0:
        return [setpriv, "--reuid", user, "--regid", group_of(user), "--clear-groups", *options, "--"]
    return [setpriv, *options, "--"] if options else []


def group_of(user: str) -> str:
    return grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name


def answers(family: socket.AddressFamily, address: str | tuple[str, int], *, greets: bool = False) -> bool:
    """Whether somebody accepts there; with ``greets``, also speaks first."""
    with socket.socket(family) as client, suppress(OSError):
        client.settimeout(5)
        client.connect(address)
        return not greets or bool(client.recv(1))
    return False
