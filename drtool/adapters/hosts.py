"""The machines that runbooks act on: this one, and those that the system's OpenSSH reaches.

One connection for each host carries all its commands. A host is known by its pinned key and by no other.
"""

from __future__ import annotations

import math
import os
import pwd
import secrets as randomness
import shlex
import shutil
import signal
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from drtool.adapters import process
from drtool.core.observation import ProgramEnd
from drtool.errors import HostUnreachable, ProgramMissing, UsageError

MISSING, NOT_STARTED = 127, 126  # as a shell tells that a program is not there, or cannot be started
TIMED_OUT = (124, 137)  # how coreutils' timeout ends when the program's time was over: by TERM, by KILL
LATE = 3.0  # seconds that word of a program's end may need on its way from a host
ASKING = 10.0  # seconds for what is asked of a host besides
ALIVE = 5  # seconds after which a silent line is asked whether it still stands
IDLE = 30  # seconds that a connection outlives its last command, where drtool was killed and did not close it
SOCKET_FOLDER = 60  # bytes that the folder of the connections' sockets may have: a socket's path may have 107

ENVIRONMENT = {"PATH": process.SAFE_PATH, "LANG": "C.UTF-8"}

Take = Callable[[bytes], None]
Commands = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """How a host is reached; ``timeout`` is in seconds."""

    address: str
    port: int
    user: str
    identity: Path | None
    known_hosts: Path
    timeout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """How a service is driven: by systemd as ``unit``, else by the command of each action."""

    unit: str | None = None
    commands: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A host of the register; without a line it is this machine."""

    line: Line | None = None
    services: Mapping[str, Service] = field(default_factory=dict)


class SystemHosts:
    """See ``core.ports.Hosts``. Safe for use by several threads at once.

    ``places`` are where the private folder of the connections' sockets may lie; the first that takes it has it.
    """

    def __init__(self, machines: Mapping[str, Machine], *, places: Sequence[Path]) -> None:
        self._machines, self._places = machines, places
        self._lock = threading.Lock()
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._folder: Path | None = None
        self._open: dict[str, Line] = {}
        self._systemd: dict[str, bool] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connections."""
        for host in tuple(self._open):
            self._hang_up(host, "exit")
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def run(
        self,
        host: str,
        argv: Sequence[str],
        *,
        limit: float,
        take: Take = lambda piece: None,
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, bytes] | None = None,
        stdin: bytes | None = None,
    ) -> ProgramEnd:
        line = self._machine(host).line
        if line is None:
            command = process.Command(argv=argv, env={**ENVIRONMENT, **(env or {})}, secrets=secrets or {}, cwd=ROOT)
            return _run_here(command, take, limit=limit, stdin=stdin)
        if secrets:
            raise UsageError(f"secrets cannot be handed to host {host}", hint="run the step on this machine")
        self._connect(host, line)
        return self._run_there(host, line, _there(argv, env or {}, limit), take, limit=limit, stdin=stdin)

    def end_left_over(self, mark: str) -> tuple[int, ...]:
        marked = f"DRTOOL_STEP={mark}".encode()
        ended = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdecimal() and marked in (entry / "environ").read_bytes().split(b"\0"):
                    os.kill(int(entry.name), signal.SIGKILL)
                    ended.append(int(entry.name))
            except OSError:
                continue  # it has ended, or is somebody else's
        return tuple(ended)

    def service(self, host: str, service: str, action: str) -> Commands:
        known = self._service(host, service)
        if self._has_systemd(host):
            words = ("is-active", "--quiet") if action == "status" else (action,)
            return (("systemctl", "--no-ask-password", *words, known.unit or service),)
        wanted = ("stop", "start") if action == "restart" and "restart" not in known.commands else (action,)
        for missing in (name for name in wanted if name not in known.commands):
            raise UsageError(
                f"{_named(host)}: systemd does not run there, and the register has no command to {action} {service}",
                hint=f"fill in hosts.{host or 'NAME'}.services.{service}.{missing} in the register",
            )
        return tuple(tuple(known.commands[name]) for name in wanted)

    def _machine(self, host: str) -> Machine:
        if host and host not in self._machines:
            raise UsageError(f"there is no host {host} in the register", hint=f"add hosts.{host} to the register")
        return self._machines[host] if host else Machine()

    def _service(self, host: str, service: str) -> Service:
        """What the register says of a service; of this machine all entries speak that have no line."""
        machines = [self._machine(host)] if host else [one for one in self._machines.values() if one.line is None]
        return next((one.services[service] for one in machines if service in one.services), Service())

    def _has_systemd(self, host: str) -> bool:
        if host not in self._systemd:
            self._systemd[host] = self.run(host, ["test", "-d", "/run/systemd/system"], limit=ASKING).good
        return self._systemd[host]

    # The line

    def _connect(self, host: str, line: Line) -> None:
        """Open the host's connection, once, also where several commands begin together."""
        with self._lock:
            lock = self._locks[host]
        with lock:
            if host not in self._open:
                self._run_there(host, line, ":", lambda piece: None, limit=line.timeout, stdin=None)
                self._open[host] = line

    def _run_there(
        self, host: str, line: Line, script: str, take: Take, *, limit: float, stdin: bytes | None
    ) -> ProgramEnd:
        """Run a script in the host's shell. What it prints, errors among it, comes by ssh's stdout.

        ssh ends with 255 for trouble of its own, and so may a program. So the shell itself says how the program
        ended, in a line that nobody can foresee; ssh's stderr is free for that. No such line: no such end.
        """
        mark = f"drtool {randomness.token_hex(8)} "
        command = self._ssh(host, line, f"{{ {script}; }} 2>&1; printf '\\n{mark}%d.\\n' $? >&2")
        began = time.monotonic()
        ended = process.stream(
            command,
            take,
            limit=limit + process.GRACE + LATE,
            stdin=stdin,
            over=lambda errors: mark.encode() in errors,
        )
        code = _code_after(mark, ended.errors)
        if code is None:
            self._hang_up(host)
            raise _unreachable(host, line, ended)
        # a program that ends so by itself does it earlier: the line was open before the time began
        return ProgramEnd(code=code, overdue=code in TIMED_OUT and time.monotonic() - began >= limit)

    def _hang_up(self, host: str, how: str = "stop") -> None:
        """Let the next command make a new connection; to ``stop`` leaves what still runs over the present one."""
        line = self._open.pop(host, None)
        if line:
            process.stream(self._ssh(host, line, "", "-O", how), lambda piece: None, limit=ASKING)

    def _ssh(self, host: str, line: Line, script: str, *words: str) -> process.Command:
        program = str(process.find("ssh", package="openssh-client"))
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": _file(line.known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
            "UpdateHostKeys": "no",
            "ConnectTimeout": str(math.ceil(line.timeout)),
            "ServerAliveInterval": str(ALIVE),
            "ServerAliveCountMax": "2",
            "ControlMaster": "auto",
            "ControlPath": str(self._sockets() / str(list(self._machines).index(host))),
            "ControlPersist": str(IDLE),
            "LogLevel": "ERROR",
        }
        if line.identity:
            options |= {"IdentitiesOnly": "yes", "IdentityFile": _file(line.identity)}
        settings = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        where = ["-T", "-p", str(line.port), "-l", line.user, *words, "--", line.address]
        argv = [program, "-F", "none", *settings, *where, *([script] if script else [])]
        return process.Command(argv=argv, env=_own_environment(), secrets={}, cwd=ROOT)

    def _sockets(self) -> Path:
        """A private folder with a short name: another account must not speak through our connections."""
        with self._lock:
            self._folder = self._folder or _private_folder(self._places)
            return self._folder


ROOT = Path("/")  # where programs start, here as there


def _run_here(command: process.Command, take: Take, *, limit: float, stdin: bytes | None) -> ProgramEnd:
    try:
        ended = process.stream(command, take, limit=limit, stdin=stdin, merged=True)
    except ProgramMissing as error:
        take(f"{error.message}\n".encode())
        return ProgramEnd(code=MISSING)
    except OSError as error:  # the kernel does not start it: too many arguments, no right
        take(f"{command.argv[0]} cannot be started: {error.strerror}\n".encode())
        return ProgramEnd(code=NOT_STARTED)
    return ProgramEnd(code=ended.code, overdue=ended.stopped)


def _there(argv: Sequence[str], env: Mapping[str, str], limit: float) -> str:
    """What the host's shell is told: the program, limited by the host's own clock, in its own process group."""
    given = [f"{name}={value}" for name, value in {**ENVIRONMENT, **env}.items()]
    limited = ["timeout", f"--kill-after={process.GRACE}", str(max(limit, 0.001)), *argv]  # 0 would be no limit
    return f"cd {ROOT}; {shlex.join(['env', '-i', *given, *limited])}"


def _code_after(mark: str, errors: Sequence[str]) -> int | None:
    """The exit code in the line that begins with the mark, where it came and came whole."""
    said = next((line.removeprefix(mark) for line in errors if line.startswith(mark)), "")
    return int(said[:-1]) if said.endswith(".") else None


def _unreachable(host: str, line: Line, ended: process.Ended) -> HostUnreachable:
    """Why there was no line. ssh has no code for what is wrong, so its words are read; it never translates them."""
    where = f"{line.user}@{line.address}, port {line.port}"
    said = "\n".join(ended.errors)
    if "IDENTIFICATION HAS CHANGED" in said:
        why = f"it shows another key than the one in {line.known_hosts}"
        return HostUnreachable(
            f"host {host} ({where}): {why}", hint="somebody may stand in between: compare its key by another way"
        )
    if "Host key verification failed" in said:
        return HostUnreachable(
            f"host {host} ({where}): its key is not in {line.known_hosts}",
            hint=f"ssh-keyscan -p {line.port} {line.address}, and compare the key by another way",
        )
    told = [text for text in ended.errors if text.strip()]
    why = told[-1].strip().rstrip(".") if told else "it stopped answering" if ended.stopped else "the line broke"
    return HostUnreachable(f"host {host} ({where}): {why}", hint=f"ssh -p {line.port} {line.user}@{line.address}")


def _own_environment() -> dict[str, str]:
    """What ssh itself needs: the agent's socket is of use where the register names no key's file."""
    env = {**ENVIRONMENT, "HOME": pwd.getpwuid(os.getuid()).pw_dir}
    agent = os.environ.get("SSH_AUTH_SOCK")
    return env | ({"SSH_AUTH_SOCK": agent} if agent else {})


def _file(path: Path) -> str:
    """A path as ssh reads it in an option: in quotes, and with nothing to be replaced."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _private_folder(places: Sequence[Path]) -> Path:
    trouble = "no folder is named for it"
    for place in places:
        if len(os.fsencode(place)) > SOCKET_FOLDER:
            continue
        try:
            return Path(tempfile.mkdtemp(prefix="drtool-", dir=place))
        except OSError as error:
            trouble = f"{place}: {error.strerror}"
    raise HostUnreachable(f"no connection can be kept open: {trouble}", hint="make room in /run or /tmp")


def _named(host: str) -> str:
    return f"host {host}" if host else "this machine"
