"""The servers' own client programs: sessions that stay open, dumps that must be whole, scripts to be run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from drtool.adapters import process
from drtool.errors import DatabaseFailed

TRAILER = 4096  # bytes at the end of a dump among which the program's own last words must be
FIELD = 1 << 20  # bytes of an answer that are looked at
TROUBLE = re.compile(r"error|fatal|denied", re.IGNORECASE)


class Session:
    """A client that stays connected, so that what it began (a snapshot, a transaction) lasts."""

    def __init__(self, talk: process.Talk, lines: SimpleQueue[str | None], failed: Failed) -> None:
        self._talk, self._lines, self._failed = talk, lines, failed
        self._asked = 0

    def ask(self, statement: str) -> list[str]:
        """The lines that the client answers to one statement or several. Raises ``DatabaseFailed``."""
        self._asked += 1
        mark = f"drtool answered {self._asked}"
        try:
            self._talk.say(f"{statement};\nSELECT '{mark}';\n".encode())
        except BrokenPipeError:
            raise self._failed(self._talk.end()) from None
        answer = []
        while (line := self._lines.get()) != mark:
            if line is None:
                raise self._failed(self._talk.end())
            answer.append(line)
        return answer

    def rows(self, query: str) -> list[list[Any]]:
        """What a query answers whose only column is a JSON array."""
        return [json.loads(line) for line in self.ask(query)]


Failed = Callable[[process.Ended], DatabaseFailed]


def check_account(database: str, file: Path) -> None:
    """Raises ``DatabaseFailed`` where the file of an account is missing: clients say so dimly, or go on without."""
    if not file.exists():
        raise DatabaseFailed(
            f"database {database}: no such file: {file}",
            hint="create it with mode 0600, or bring it back by drtool restore",
        )


@contextmanager
def session(command: process.Command, failed: Failed) -> Iterator[Session]:
    """A session; ``failed`` makes an error of how the client ended."""
    lines: SimpleQueue[str | None] = SimpleQueue()
    with process.talk(command, on_line=lines.put) as talk:
        yield Session(talk, lines, failed)


def dump(command: process.Command, take: process.Take, *, last_words: bytes, failed: Failed) -> None:
    """Hand over what a dump program prints; raise unless it says itself that this is all."""
    end = bytearray()

    def watch(chunk: bytes) -> None:
        take(chunk)
        end.extend(chunk[-TRAILER:])
        del end[:-TRAILER]

    ended, _ = process.pour(command, watch, overdue=lambda: False)
    if ended.code:
        raise failed(ended)
    if b"\n" + last_words not in end:
        raise failed(process.Ended(code=0, errors=("the dump has no closing line, so it is not whole",)))


class _Enough(Exception):
    """So much was said that no more is read."""


def answer(command: process.Command, *, limit: float, stdin: bytes | None, failed: Failed) -> bytes:
    """The beginning of what a client prints that ends soon. Raises ``DatabaseFailed``."""
    said = bytearray()

    def take(piece: bytes) -> None:
        said.extend(piece)
        if len(said) > FIELD:
            raise _Enough

    try:
        ended = process.stream(command, take, limit=limit, stdin=stdin)
    except _Enough:
        return bytes(said[:FIELD])
    if ended.stopped:
        raise failed(process.Ended(code=ended.code, errors=(f"no answer within {limit:g} s",)))
    if ended.code:
        raise failed(ended)
    return bytes(said)


class Script:
    """A script that a client runs while it comes in."""

    def __init__(self, talk: process.Talk, failed: Failed) -> None:
        self._talk, self._failed = talk, failed

    def say(self, content: bytes) -> None:
        try:
            self._talk.say(content)
        except BrokenPipeError:
            raise self._failed(self._talk.end()) from None

    def end(self) -> None:
        """Wait until all of it was run. Raises ``DatabaseFailed``."""
        ended = self._talk.end()
        if ended.code:
            raise self._failed(ended)


@contextmanager
def script(command: process.Command, failed: Failed) -> Iterator[Script]:
    with process.talk(command) as talk:
        yield Script(talk, failed)


def trouble(ended: process.Ended) -> str:
    """What a client says was wrong: its first line that sounds like an error, else its last."""
    told = next((line for line in ended.errors if TROUBLE.search(line)), "")
    return told or (ended.errors[-1] if ended.errors else f"its client ended with code {ended.code} and no message")
