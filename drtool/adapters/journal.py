"""The journals of runs: one file of chained events per run, each on disk before the call returns.

Below the state folder: ``runs/RUN/journal`` (JSON lines), ``runs/RUN/output`` (what steps printed), ``runs/RUN/kept``
(what evidence steps kept) and ``runs/RUN/approvals`` (what a second person said in a process of his own).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from drtool.adapters.files import NewFile, put
from drtool.adapters.process import writer
from drtool.core.evidence import canonical, link, stamp, verify
from drtool.core.model import Event
from drtool.core.ports import Clock
from drtool.core.runbook import JUMPED, jumped
from drtool.errors import DrtoolError, Locked, UsageError

_FILE = "journal"


class FileJournal:
    """See ``core.ports.Journal``."""

    def __init__(self, folder: Path, descriptor: int, events: list[Event], clock: Clock) -> None:
        self.folder = folder
        self.run = folder.name
        self._descriptor, self._events, self._clock = descriptor, events, clock
        self._writing = threading.Lock()

    def append(self, kind: str, body: Mapping[str, Any]) -> Event:
        with self._writing:
            boot, running = self._clock.running()
            at, clock = self._clock.now(), {"boot": boot, "running": round(running, 3)}
            by = jumped(self._events[-1], at, boot, running) if self._events else 0
            if by:
                self._write(JUMPED, at, {"seconds": by, **clock})
            return self._write(kind, at, {**body, **clock})

    def _write(self, kind: str, at: datetime, body: Mapping[str, Any]) -> Event:
        event = link(self._events[-1] if self._events else None, at=at, run=self.run, kind=kind, body=body)
        before = os.fstat(self._descriptor).st_size
        try:
            writer(self._descriptor)(_line(event))
            os.fsync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, before)
            raise DrtoolError(
                f"the journal of run {self.run} cannot be written: {(error.strerror or str(error)).lower()}",
                hint="make room, then go on; or begin with --state on another disk",
            ) from error
        self._events.append(event)
        return event

    def events(self) -> tuple[Event, ...]:
        with self._writing:
            return tuple(self._events)

    def path(self, *parts: str) -> Path:
        place = self.folder.joinpath(*parts)
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return place


class FileJournals:
    """See ``core.ports.Journals``."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder, self._clock = folder, clock

    def runs(self) -> tuple[str, ...]:
        return tuple(sorted(path.parent.name for path in self._folder.glob(f"*/{_FILE}")))

    @contextmanager
    def begin(self, run: str) -> Iterator[FileJournal]:
        folder = self._folder / run
        for place in (self._folder, folder):
            place.mkdir(parents=True, mode=0o700, exist_ok=True)
        os.close(os.open(folder / _FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        for place in (folder, self._folder):
            _sync(place)
        with self.carry_on(run) as journal:
            yield journal

    def _place(self, run: str) -> Path:
        """Raises ``UsageError`` for what is no name of a run."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", run):
            raise UsageError(f"there is no run {run!r}", hint="drtool runbook list")
        return self._folder / run

    @contextmanager
    def carry_on(self, run: str) -> Iterator[FileJournal]:
        descriptor = self._opened(run, os.O_RDWR | os.O_APPEND)
        try:
            _lock(descriptor, run)
            whole, events = _read(descriptor, run)
            os.ftruncate(descriptor, whole)
            yield FileJournal(self._place(run), descriptor, events, self._clock)
        finally:
            os.close(descriptor)

    def read(self, run: str) -> tuple[Event, ...]:
        descriptor = self._opened(run, os.O_RDONLY)
        try:
            return tuple(_read(descriptor, run)[1])
        finally:
            os.close(descriptor)

    def approve(self, run: str, step: str, word: Mapping[str, str]) -> None:
        os.close(self._opened(run, os.O_RDONLY))
        path = self._place(run) / "approvals" / f"{step}.{word['account'].encode().hex()}"
        put({path: NewFile(content=json.dumps(dict(word)).encode(), mode=0o600)}, replace=True, folder_mode=0o700)

    def approvals(self, run: str, step: str) -> tuple[Mapping[str, str], ...]:
        found = []
        for path in sorted((self._place(run) / "approvals").glob(f"{step}.*")):
            with suppress(ValueError, OSError):
                word = json.loads(path.read_text())
                if isinstance(word, dict) and {"account", "at"} <= word.keys():
                    found.append(word)
        return tuple(found)

    def _opened(self, run: str, flags: int) -> int:
        try:
            return os.open(self._place(run) / _FILE, flags | os.O_CLOEXEC)
        except OSError:
            raise UsageError(f"there is no run {run}", hint="drtool runbook list") from None


def _lock(descriptor: int, run: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Locked(
            f"run {run} is being carried on by somebody else", hint=f"watch it: drtool runbook show {run}"
        ) from None


def _read(descriptor: int, run: str) -> tuple[int, list[Event]]:
    """How many bytes are whole lines, and the events. A last line without its end was cut off by a crash."""
    with open(os.dup(descriptor), "rb") as file:
        file.seek(0)
        content = file.read()
    whole = content.rfind(b"\n") + 1
    lines = content[:whole].splitlines()
    try:
        events = [_event(json.loads(line)) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise _broken(run, "a line that is no event") from error
    verdict = verify(events)
    if not verdict.ok:
        raise _broken(run, verdict.reason)
    return whole, events


def _broken(run: str, why: str) -> DrtoolError:
    return DrtoolError(
        f"the journal of run {run} was changed: {why}", hint="keep the file as evidence, and start a new run"
    )


def _line(event: Event) -> bytes:
    fields = {
        "seq": event.seq, "at": stamp(event.at), "kind": event.kind, "body": event.body,
        "run": event.run, "previous": event.previous, "hash": event.hash,
    }  # fmt: skip
    return canonical(fields).encode() + b"\n"


def _event(fields: Mapping[str, Any]) -> Event:
    return Event(**{**fields, "at": datetime.fromisoformat(fields["at"])})


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
