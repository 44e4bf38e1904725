"""Probes: one function for each kind, and the table in which they stand.

A probe passes, fails, or cannot tell. What it looked at is told without what may be secret: no query, no page,
no output, no argument.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from drtool.adapters import reach
from drtool.adapters.hosts import MISSING, NOT_STARTED
from drtool.adapters.seen import MOST, CannotTell, Seen, failed, judged, passed, why
from drtool.core.model import Verdict
from drtool.core.observation import Observation
from drtool.core.ports import Hosts
from drtool.errors import DatabaseFailed, DatabaseRefused, DrtoolError

MARGIN = 1.0  # seconds of a probe's time that are kept for hearing that a program took too long
NAME_LENGTH = 15  # bytes of a program's name that the kernel keeps
LONGEST = 300  # signs of a reason
LIVING = "D,I,R,S,T,t"  # states of processes; a zombie runs no more

Ask = Callable[[str, str, float], str | None]
Judge = Callable[[str | None], tuple[Verdict, str]]


@dataclass(frozen=True, slots=True)
class _Kind:
    look: Callable[..., Seen]
    title: Callable[[Mapping[str, Any]], str]
    late: Verdict  # what it means where there is no answer in time


class Observer:
    """See ``core.ports.Probes``. Safe for use by several threads at once.

    ``ask`` puts a query to a dataset's database, within seconds: the first field, or None. ``copies`` judges a
    repository's copies, or those of all.
    """

    def __init__(self, hosts: Hosts, *, ask: Ask, copies: Judge) -> None:
        self._ask, self._copies = ask, copies
        on_host = OnHost(hosts)
        self._kinds: Mapping[str, _Kind] = {
            "http": _Kind(reach.http, lambda what: f"http {_without_secrets(what['url'])}", Verdict.FAIL),
            "tcp": _Kind(reach.tcp, _named("tcp", "host", "port"), Verdict.FAIL),
            "tls": _Kind(reach.tls, _named("tls", "host", "port"), Verdict.FAIL),
            "dns": _Kind(reach.resolves, _named("dns", "name", "type"), Verdict.FAIL),
            "sql": _Kind(self._sql, _named("sql", "dataset"), Verdict.FAIL),
            "copies": _Kind(self._of_copies, _named("copies", "repository"), Verdict.UNKNOWN),
            "file": _Kind(on_host.file, _named("file", "path"), Verdict.UNKNOWN),
            "disk": _Kind(on_host.disk, _named("disk", "path"), Verdict.UNKNOWN),
            "process": _Kind(on_host.process, _named("process", "name"), Verdict.UNKNOWN),
            "service": _Kind(on_host.service, _named("service", "service"), Verdict.UNKNOWN),
            "sha256": _Kind(on_host.sha256, _named("sha256", "path"), Verdict.UNKNOWN),
            "command": _Kind(on_host.command, lambda what: f"command {what['argv'][0]}", Verdict.UNKNOWN),
        }

    def observe(self, kind: str, what: Mapping[str, Any]) -> Observation:
        began, known = time.monotonic(), self._kinds[kind]
        keys = {name: value for name, value in what.items() if name not in ("probe", "text")}
        limit: timedelta = what["timeout"]
        # a program here has no line that could be silent instead of it
        verdict = Verdict.FAIL if kind == "command" and not what.get("target") else known.late
        late = Seen(verdict, f"no answer within {limit.total_seconds():g} s")
        seen = _in_time(lambda: known.look(**keys), limit.total_seconds(), late)
        target = f" on {what['target']}" if what.get("target") else ""
        return Observation(
            probe=_tidy(known.title(what) + target),
            verdict=seen.verdict,
            reason=_tidy(seen.reason),
            seconds=time.monotonic() - began,
        )

    def _sql(self, *, dataset: str, query: str, answer: str | None, at_least: int | None, timeout: timedelta) -> Seen:
        """What the database answers is never told but for a number that is compared: it may be of a person."""
        said = self._ask(dataset, query, _for_work(timeout))
        if said is None:
            return failed("the query has no answer")
        if answer is not None and said != answer:
            return failed("the answer is another one")
        if at_least is None:
            return passed("the query is answered as it should be")
        try:
            number = float(said)
        except ValueError:
            return failed("the answer is no number")
        return judged(number >= at_least, f"{said} is {'at least' if number >= at_least else 'less than'} {at_least}")

    def _of_copies(self, *, repository: str | None, timeout: timedelta) -> Seen:
        return Seen(*self._copies(repository))


class OnHost:
    """Probes of a host, this one or another: what they look at is asked by programs that every Debian has."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts

    def file(
        self,
        *,
        path: str,
        present: bool,
        contains: str | None,
        younger: timedelta | None,
        target: str | None,
        timeout: timedelta,
    ) -> Seen:
        """A file is there, with such a line and so young, or is not there."""
        ask = _Asking(self._hosts, target, timeout)
        code, changed = ask.output("stat", "--dereference", "--printf=%Y", "--", path)
        if code or not present:
            there = not code or not ask.absent(path)
            if there and present:
                raise CannotTell(f"{path} cannot be looked at")
            return judged(there is present, f"{path} is {'there' if there else 'not there'}")
        if contains is not None and not ask.finds(contains, path):
            return failed(f"{path} does not hold {contains}")
        return self._young(ask, path, int(changed), younger) if younger is not None else passed(f"{path} is there")

    def _young(self, ask: _Asking, path: str, changed: int, younger: timedelta) -> Seen:
        """By the host's own clock, as the file's time is by that."""
        age = timedelta(seconds=int(ask.need("date", "+%s")) - changed)
        return judged(age <= younger, f"{path} is {age} old" + ("" if age <= younger else f", more than {younger}"))

    def disk(self, *, path: str, free: int, inodes: int, target: str | None, timeout: timedelta) -> Seen:
        """A file system has room left, as those who are not root may use it."""
        said = _Asking(self._hosts, target, timeout).need("df", "--output=used,avail,iused,iavail", "--", path)
        used, available, inodes_used, inodes_left = map(_number, said.splitlines()[-1].split())
        bytes_free = _percent(available, used)
        if not inodes_used + inodes_left:  # btrfs counts none
            return judged(bytes_free >= free, f"{path} has {bytes_free} % of its bytes free")
        inodes_free = _percent(inodes_left, inodes_used)
        good = bytes_free >= free and inodes_free >= inodes
        return judged(good, f"{path} has {bytes_free} % of its bytes and {inodes_free} % of its inodes free")

    def process(self, *, name: str, min: int, max: int | None, target: str | None, timeout: timedelta) -> Seen:
        """A program runs, so many times."""
        kept = name.encode()[:NAME_LENGTH].decode(errors="ignore")
        pattern = re.sub(r"([][(){}.*+?^$|\\])", r"\\\1", kept)
        ask = _Asking(self._hosts, target, timeout)
        code, said = ask.output("pgrep", "--exact", "--count", "--runstates", LIVING, "--", pattern)
        if code not in (0, 1):  # 1: none runs
            raise CannotTell("pgrep is not there" if code == MISSING else "pgrep cannot tell")
        count = int(said.split()[-1])  # after a warning, where the escapes make the pattern long
        return judged(min <= count and (max is None or count <= max), f"{count} of {name} run{'s' * (count == 1)}")

    def service(self, *, service: str, target: str | None, timeout: timedelta) -> Seen:
        """A service is active."""
        ask = _Asking(self._hosts, target, timeout)
        for argv in self._hosts.service(target or "", service, "status"):
            code, _ = ask.output(*argv)
            if code:
                return failed(f"{service} is not active")
        return passed(f"{service} is active")

    def sha256(self, *, path: str, sha256: str, target: str | None, timeout: timedelta) -> Seen:
        """A file has the content it should have."""
        ask = _Asking(self._hosts, target, timeout)
        code, said = ask.output("sha256sum", "--zero", "--", path)  # --zero: no path is written otherwise than it is
        if code:
            if ask.absent(path):
                return failed(f"{path} is not there")
            raise CannotTell(f"{path} cannot be read")
        same = said.split(" ", 1)[0] == sha256
        return judged(same, f"{path} has the content it should have" if same else f"{path} has another content")

    def command(
        self, *, argv: Sequence[str], exit: int, output: str | None, target: str | None, timeout: timedelta
    ) -> Seen:
        """A program that only observes ends as it should."""
        ask = _Asking(self._hosts, target, timeout, late=failed(f"{argv[0]} did not end in time"))
        code, said = ask.output(*argv, wanted=exit)
        if code != exit:
            return failed(f"{argv[0]} ended with {code}, not {exit}")
        if output is None or output in said:
            return passed(f"{argv[0]} ended with {code}")
        if ask.cut:
            raise CannotTell(f"{argv[0]} prints more than the {MOST >> 20} MiB that are looked at")
        return failed(f"{argv[0]} does not print what it should")


class _Asking:
    """Programs asked on one host, all within one time. A missing one, or one that takes too long, cannot tell."""

    def __init__(self, hosts: Hosts, target: str | None, timeout: timedelta, *, late: Seen | None = None) -> None:
        self._hosts, self._host, self._late = hosts, target or "", late
        self._end = time.monotonic() + _for_work(timeout)
        self.cut = False

    def output(self, *argv: str, wanted: int = 0) -> tuple[int, str]:
        """How it ended, and the beginning of what it printed."""
        said = bytearray()

        def take(piece: bytes) -> None:
            self.cut = self.cut or len(said) + len(piece) > MOST
            said.extend(piece[: MOST - len(said)])

        ended = self._hosts.run(self._host, argv, limit=max(self._end - time.monotonic(), 0.1), take=take)
        if ended.overdue:
            if self._late:
                raise _Settled(self._late)
            raise CannotTell(f"{argv[0]} did not end in time")
        if ended.code in (MISSING, NOT_STARTED) and ended.code != wanted:
            raise CannotTell(f"{argv[0]} {'is not there' if ended.code == MISSING else 'cannot be started'}")
        return ended.code, said.decode(errors="replace")

    def need(self, *argv: str) -> str:
        """What it prints, where it ends well."""
        code, said = self.output(*argv)
        if code:
            raise CannotTell(f"{argv[0]} cannot tell: {said.strip()}")
        return said

    def finds(self, text: str, path: str) -> bool:
        code, _ = self.output("grep", "--quiet", "--fixed-strings", "--regexp", text, "--", path)
        if code not in (0, 1):
            raise CannotTell(f"{path} cannot be read")
        return code == 0

    def absent(self, path: str) -> bool:
        """Whether a path is surely not there: the nearest folder above it is, and may be looked into."""
        if not self.output("test", "-e", path)[0]:
            return False
        for folder in map(str, PurePosixPath(path).parents):
            if not self.output("test", "-d", folder)[0]:
                if self.output("test", "-x", folder)[0]:
                    raise CannotTell(f"{folder} may not be looked into")
                return True
        return True


class _Settled(Exception):
    """A probe's end, from deep within."""

    def __init__(self, seen: Seen) -> None:
        super().__init__(seen.reason)
        self.seen = seen


def _in_time(look: Callable[[], Seen], limit: float, late: Seen) -> Seen:
    """Look, and give up when the time is over: a resolver of names, for one, knows no time limit."""
    answers: SimpleQueue[Seen | Exception] = SimpleQueue()

    def answer() -> None:
        try:
            answers.put(_met(look))
        except Exception as error:  # handed over to who asked: it is a mistake of ours
            answers.put(error)

    threading.Thread(target=answer, name="probe", daemon=True).start()
    try:
        seen = answers.get(timeout=limit)
    except Empty:
        return late
    if isinstance(seen, Exception):
        raise seen
    return seen


def _met(look: Callable[[], Seen]) -> Seen:
    """What is met on the way, as a verdict."""
    try:
        return look()
    except _Settled as end:
        return end.seen
    except (CannotTell, DrtoolError) as error:
        broken = isinstance(error, DatabaseFailed) and not isinstance(error, DatabaseRefused)
        return Seen(Verdict.FAIL if broken else Verdict.UNKNOWN, str(error))
    except UnicodeError:
        return Seen(Verdict.UNKNOWN, "the name of the host is none")
    except OSError as error:
        return _of_system(error)


def _of_system(error: OSError) -> Seen:
    """A name that no server knows is a failure; servers that do not answer tell nothing of the name."""
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
        return Seen(Verdict.UNKNOWN, "the name cannot be looked up now")
    if isinstance(error, PermissionError):
        return Seen(Verdict.UNKNOWN, why(error))
    return failed(why(error))


def _for_work(timeout: timedelta) -> float:
    seconds = timeout.total_seconds()
    return seconds - min(MARGIN, seconds / 4)


def _named(kind: str, *keys: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda what: " ".join([kind, *(str(what[key]) for key in keys if what.get(key) is not None)])


def _without_secrets(url: str) -> str:
    """An address without account and query: either may hold a token."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "page"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _tidy(text: str) -> str:
    """On one line, not too long, and harmless to a terminal."""
    shown = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"


def _number(word: str) -> int:
    return int(word) if word != "-" else 0


def _percent(part: int, rest: int) -> int:
    return 100 * part // (part + rest) if part + rest else 0
