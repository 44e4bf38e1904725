"""The only place that starts a program.

Never a shell, never the parent's environment. Secrets are handed over as anonymous memory files:
the child's environment holds only ``/proc/self/fd/N``, and nothing stays behind when it dies.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from drtool.errors import ProgramMissing

SAFE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
GRACE = 5.0  # seconds between asking a program to end and ending it
TAIL = 50  # lines kept of a program's output
LAST = 8192  # bytes kept of them, where they may have no end of line
LINGER = 1.0  # seconds for what is still on its way from a program that is known to have ended

PIECE = 1 << 20  # bytes that are moved at once

Lines = Callable[[str], None]
Take = Callable[[bytes], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended: its exit code (negative: the signal) and the last lines of its stderr."""

    code: int
    errors: tuple[str, ...]
    stopped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program to run. ``secrets`` maps an environment variable to the bytes its file shall hold."""

    argv: Sequence[str]
    env: Mapping[str, str]
    secrets: Mapping[str, bytes]
    cwd: Path | None = None
    keep_open: Sequence[int] = ()


def run(
    command: Command,
    *,
    on_line: Lines,
    on_error: Lines = lambda line: None,
    overdue: Callable[[], bool] = lambda: False,
    every: float = 1.0,
) -> Ended:
    """Run to the end, handing over each line of stdout and stderr as it comes.

    ``overdue`` is asked about every ``every`` seconds whether the program must be stopped. It is
    stopped, with all its children, also when this call is left by an exception.
    """
    return _run(command, lambda stream: _read(stream, on_line), on_error, overdue, every)


def _run(
    command: Command,
    take: Callable[[IO[str] | None], None],
    on_error: Lines,
    overdue: Callable[[], bool],
    every: float,
) -> Ended:
    errors: deque[str] = deque(maxlen=TAIL)

    def keep(line: str) -> None:
        errors.append(line)
        on_error(line)

    with _secrets(command.secrets) as (env, descriptors), _started(command, env, descriptors) as child:
        reader = threading.Thread(target=_read, args=(child.stderr, keep), daemon=True)
        watchdog = _Watchdog(child, overdue, every)
        reader.start()
        watchdog.start()
        try:
            take(child.stdout)
            code = child.wait()
        finally:
            watchdog.finish()
        reader.join(GRACE)
    return Ended(code=code, errors=tuple(errors), stopped=watchdog.fired)


def output(command: Command, *, limit: float) -> tuple[Ended, str]:
    """Run a program that ends soon; its whole stdout. Stopped after ``limit`` seconds."""
    lines: list[str] = []
    end = time.monotonic() + limit
    return run(command, on_line=lines.append, overdue=lambda: time.monotonic() > end), "\n".join(lines)


def pour(command: Command, take: Take, *, overdue: Callable[[], bool]) -> tuple[Ended, int]:
    """Run a program, handing over the bytes of its stdout as they come; how it ended, and how many came."""
    poured = 0

    def pieces(stream: IO[str] | None) -> None:
        nonlocal poured
        while stream and (chunk := os.read(stream.fileno(), PIECE)):
            take(chunk)
            poured += len(chunk)

    return _run(command, pieces, lambda line: None, overdue, 0.5), poured


def stream(
    command: Command,
    take: Take,
    *,
    limit: float,
    stdin: bytes | None = None,
    merged: bool = False,
    over: Callable[[bytes], bool] = lambda errors: False,
) -> Ended:
    """Run a program for at most ``limit`` seconds, handing over the bytes that it prints as they come.

    With ``merged`` what it prints to stderr comes among them. It has ended when it has ended itself: what it leaves
    running on purpose (a service that it started) stays, even with our pipe in its hands. ``over`` tells from the last
    bytes of stderr that no more is to be waited for. Overdue, or left by an exception, all of it is stopped.
    """
    with (
        _secrets(command.secrets) as (env, descriptors),
        _told(stdin) as told,
        _started(command, env, descriptors, stdin=told, merged=merged, leaves=True) as child,
    ):
        reading = _Streams(child, take, over)
        in_time = reading.until(time.monotonic() + limit)
        if not in_time:
            stop(child)
        return Ended(code=child.wait(), errors=reading.errors(), stopped=not in_time)


class _Streams:
    """What a child prints, in bounded memory, until it has ended."""

    def __init__(self, child: subprocess.Popen[str], take: Take, over: Callable[[bytes], bool]) -> None:
        self._child, self._over = child, over
        self._last = b""
        sinks = ((child.stdout, take), (child.stderr, self._keep))
        self._sinks = {stream.fileno(): sink for stream, sink in sinks if stream}

    def until(self, end: float) -> bool:
        """Whether the child ended before that moment (of the monotonic clock)."""
        ended, waiting = os.pidfd_open(self._child.pid), select.poll()
        try:
            for descriptor in (ended, *self._sinks):
                waiting.register(descriptor, select.POLLIN)
            while (left := end - time.monotonic()) > 0:
                ready = [descriptor for descriptor, _ in waiting.poll(min(left, 3600) * 1000)]
                for descriptor in filter(self._sinks.__contains__, ready):
                    if not self._moved(descriptor):
                        waiting.unregister(descriptor)
                if ready == [ended]:  # nothing is left in the pipes
                    return True
                if ended in ready or self._over(self._last):
                    end = min(end, time.monotonic() + LINGER)
        finally:
            os.close(ended)
        return self._child.poll() is not None

    def errors(self) -> tuple[str, ...]:
        return tuple(self._last.decode(errors="replace").splitlines())

    def _moved(self, descriptor: int) -> bool:
        piece = os.read(descriptor, PIECE)
        if piece:
            self._sinks[descriptor](piece)
        return bool(piece)

    def _keep(self, piece: bytes) -> None:
        self._last = (self._last + piece)[-LAST:]


@contextmanager
def _told(stdin: bytes | None) -> Iterator[int]:
    """What a child reads as its stdin: a memory file, so that nobody must wait for it to read."""
    if stdin is None:
        yield subprocess.DEVNULL
        return
    descriptor = os.memfd_create("stdin")
    try:
        writer(descriptor)(stdin)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def writer(out: int) -> Take:
    """What writes all that it is given into an open file."""

    def write(content: bytes) -> None:
        view = memoryview(content)
        while view:
            view = view[os.write(out, view) :]

    return write


class Talk:
    """A program that is told on its stdin what to do, and answers in lines."""

    def __init__(self, child: subprocess.Popen[str], finish: Callable[[], Ended]) -> None:
        assert child.stdin is not None  # it was started with a pipe
        self._stdin, self._finish = child.stdin, finish
        self.say = writer(child.stdin.fileno())  # raises BrokenPipeError once the program has ended

    def end(self) -> Ended:
        """Tell it no more, and wait for its end."""
        self._stdin.close()
        return self._finish()


@contextmanager
def talk(command: Command, *, on_line: Callable[[str | None], None] = lambda line: None) -> Iterator[Talk]:
    """Start a program to talk to; ``None`` as the last line says that none will follow."""
    errors: deque[str] = deque(maxlen=TAIL)
    with _secrets(command.secrets) as (env, kept), _started(command, env, kept, stdin=subprocess.PIPE) as child:

        def lines() -> None:
            _read(child.stdout, on_line)
            on_line(None)

        readers = [threading.Thread(target=lines), threading.Thread(target=_read, args=(child.stderr, errors.append))]
        for reader in readers:
            reader.daemon = True
            reader.start()

        def finish() -> Ended:
            code = child.wait()
            for reader in readers:
                reader.join(GRACE)
            return Ended(code=code, errors=tuple(errors))

        try:
            yield Talk(child, finish)
        finally:
            stop(child)
            finish()


def find(program: str, *, beside: Path | None = None, package: str = "") -> Path:
    """The path of a program: beside our own interpreter first, then on PATH; ``package`` is Debian's."""
    places = [str(beside)] if beside else []
    found = shutil.which(program, path=os.pathsep.join([*places, os.environ.get("PATH", SAFE_PATH), SAFE_PATH]))
    if found is None:
        hint = f"apt-get install {package}" if package else f"install {program}, or run `make setup`"
        raise ProgramMissing(f"{program} is not installed", hint=hint)
    return Path(found)


def _orphan_guard() -> tuple[str, ...]:
    """Ends the child when drtool itself is killed; util-linux is essential on Debian.

    The kernel watches the starting thread, so programs are started from threads that outlive them.
    """
    setpriv = shutil.which("setpriv", path=SAFE_PATH)
    return (setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()


@contextmanager
def _started(
    command: Command,
    env: Mapping[str, str],
    descriptors: Sequence[int],
    *,
    stdin: int = subprocess.DEVNULL,
    merged: bool = False,
    leaves: bool = False,
) -> Iterator[subprocess.Popen[str]]:
    """A child; afterwards it is stopped with all that it started. One that ``leaves`` may leave something running."""
    try:
        child = subprocess.Popen(
            [*_orphan_guard(), *command.argv],
            env=dict(env) | dict(command.env),
            cwd=command.cwd,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            pass_fds=(*descriptors, *command.keep_open),
            start_new_session=True,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
    except FileNotFoundError as error:
        raise ProgramMissing(f"{command.argv[0]} cannot be started: {error.strerror}") from None
    with child:
        try:
            yield child
        finally:
            if not leaves or child.returncode is None:
                stop(child)


def stop(child: subprocess.Popen[str]) -> None:
    """End a program and everything it started, also what outlives it: politely first, then for sure."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not _signal_group(child, number):
            return
        end = time.monotonic() + GRACE
        while time.monotonic() < end and _signal_group(child, 0):
            time.sleep(0.02)


def _signal_group(child: subprocess.Popen[str], number: int) -> bool:
    """Whether anything was left of the program's group to get the signal; 0 only asks."""
    child.poll()  # a program that ended but was not waited for would still count
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return False
    return True


class _Watchdog(threading.Thread):
    """Stops a child once it is overdue."""

    def __init__(self, child: subprocess.Popen[str], overdue: Callable[[], bool], every: float) -> None:
        super().__init__(daemon=True)
        self._child, self._overdue, self._every = child, overdue, every
        self._finished = threading.Event()
        self.fired = False

    def run(self) -> None:
        while not self._finished.wait(self._every):
            if self._overdue():
                self.fired = True
                stop(self._child)
                return

    def finish(self) -> None:
        self._finished.set()


def _read(stream: IO[str] | None, take: Lines) -> None:
    for line in stream or ():
        if text := line.rstrip("\n"):
            take(text)


@contextmanager
def _secrets(secrets: Mapping[str, bytes]) -> Iterator[tuple[dict[str, str], list[int]]]:
    descriptors: list[int] = []
    env: dict[str, str] = {}
    try:
        for name, content in secrets.items():
            descriptor = os.memfd_create(name, 0)
            descriptors.append(descriptor)
            os.write(descriptor, content)
            env[name] = f"/proc/self/fd/{descriptor}"
        yield env, descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
