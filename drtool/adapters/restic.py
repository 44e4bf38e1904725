"""The restic program: JSON and exit codes in, drtool's values and errors out (docs/design.md)."""

from __future__ import annotations

import json
import math
import os
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from drtool.adapters import process
from drtool.core.model import BackupSummary, Branch, Changes, CheckSummary, Loss, RestoreSummary, Snapshot
from drtool.core.ports import Copy, Place, Progress, Source, Watch
from drtool.errors import (
    CopyUnreachable,
    DrtoolError,
    Interrupted,
    Locked,
    NoRepository,
    ProgramMissing,
    ResticFailed,
    SourceFailed,
    WrongPassword,
)

MINIMUM = (0, 18, 0)  # exit codes 10 to 12, --stdin-from-command, check --json
QUIET = 20.0  # seconds without progress after which the copy itself is asked whether it still answers
PRODUCER = (sys.executable, "-P", "-m", "drtool.adapters.producer")  # -P: nothing is imported from where it runs
STUCK = 600.0  # seconds without progress after which a restore from this copy is given up
PACK = re.compile(r"\bpack ([0-9a-f]{64})\b")
CACHE_VERSION = "1"  # cacheVersion in restic's internal/backend/cache/cache.go
PACKS = 500  # of those that are gone, named in one search: a command line has its limits
UNREADABLE = 1000  # paths kept of those that could not be read

ERRORS: Mapping[int, tuple[type[DrtoolError], str]] = {
    10: (NoRepository, "drtool copies init"),
    11: (Locked, "another restic works on this repository; try again later"),
    12: (WrongPassword, "check `password:` of the repository in the estate"),
    130: (Interrupted, ""),
}


class ResticProgram:
    """See ``core.ports.Restic``. ``password`` is called anew for each command."""

    def __init__(
        self,
        program: Path,
        *,
        password: Callable[[], bytes],
        site: str,
        state: Path,
        keep_open: Sequence[int] = (),
        scan: bool = False,
        known: Callable[[], str | None] = lambda: None,
    ) -> None:
        """``known`` tells the repository's id, once it is."""
        self._known, self._cached = known, False
        self._program, self._password, self._site = program, password, site
        self._cache, self._temporary = state / "cache", state / "tmp"
        self._keep_open = keep_open
        self._scan = scan

    def initialise(self, copy: Copy) -> None:
        self._output(copy, ["init"], ask=copy.occupied)  # there is no marker yet

    def repository_id(self, copy: Copy) -> str:
        return str(json.loads(self._output(copy, ["cat", "config", "--no-lock"], ask=copy.occupied))["id"])

    def unlock(self, copy: Copy) -> None:
        self._output(copy, ["unlock"])

    def missing_packs(self, copy: Copy) -> frozenset[str]:
        """By restic's check, without the cache, which would hide what is gone.

        Its JSON has no field for missing packs (only for broken ones), so their ids are taken from its messages.
        """
        found: set[str] = set()
        ended = process.run(
            self._command(copy, ["check", "--no-lock", "--no-cache"]),
            on_line=lambda line: None,
            on_error=lambda line: found.update(PACK.findall(str(_json(line).get("message")))),
            overdue=_Patience(copy.marker).overdue,
        )
        if ended.code not in (0, 1):
            raise self._failure(copy, ended)
        held, _ = copy.inventory()
        return frozenset(pack for pack in found if f"data/{pack[:2]}/{pack}" not in held)

    def check(self, copy: Copy) -> CheckSummary:
        """restic keeps a cache of its own for a check. Messages without an object's name are advice."""
        errors: list[str] = []
        ended = process.run(
            self._command(copy, ["check", "--no-lock", "--no-cache"]),
            on_line=lambda line: None,
            on_error=lambda line: errors.append(_error_in(line)),
            overdue=_Patience(copy.marker).overdue,
        )
        if ended.code not in (0, 1):
            raise self._failure(copy, ended)
        found = tuple(filter(None, errors))
        if ended.code and not found:
            raise self._failure(copy, ended)  # it could not even look
        return CheckSummary(errors=found)

    def losses(self, place: Place, snapshots: Collection[str], packs: Collection[str]) -> tuple[Loss, ...]:
        """One search for each snapshot: restic names an object only in the first snapshot in which it finds it."""
        found = [self._loss(place, one, sorted(packs)[:PACKS]) for one in snapshots]
        return tuple(loss for loss in found if loss.paths or loss.unknown)

    def _loss(self, place: Place, snapshot: str, packs: Sequence[str]) -> Loss:
        lines: list[str] = []
        ended = process.run(
            self._command(place, ["find", "--no-lock", "--no-cache", "--snapshot", snapshot, "--pack", *packs]),
            on_line=lines.append,
            overdue=_Patience(place.marker).overdue,
        )
        items = [item for line in lines if line.startswith("[") for item in json.loads(line)]
        paths = tuple(sorted({str(item["path"]) for item in items if item.get("path")}))
        # a folder's listing that is gone is only told in words (restic issue 5247)
        unknown = bool(ended.code) or any("Unable to load tree" in line for line in (*ended.errors, *lines))
        return Loss(snapshot=snapshot, paths=paths, unknown=unknown)

    def forget(self, copy: Copy, snapshots: Collection[str], *, repack: bool) -> None:
        """What restic prints here is no JSON, and its exit code was 0 where nothing could be removed (restic 0.18)."""
        self._output(copy, ["forget", "--prune", *([] if repack else ["--max-repack-size", "0"]), *sorted(snapshots)])

    def snapshots(self, copy: Copy, *, tag: str | None) -> tuple[Snapshot, ...]:
        only = ["--tag", tag] if tag else []
        listed = json.loads(self._output(copy, ["snapshots", "--no-lock", *only]) or "[]")
        return tuple(sorted((_snapshot(one) for one in listed), key=lambda one: one.time))

    def backup(
        self, copy: Copy, source: Source, *, tags: Sequence[str], parent: str | None, watch: Watch
    ) -> BackupSummary:
        watched = _Watched(copy.check_room, watch, fields=("bytes_done", "files_done"))
        with tempfile.TemporaryDirectory(dir=self._made(self._temporary)) as folder:
            report = Path(folder) / "producer.json"
            words = self._backup_words(source, tags, parent, report)
            ended = process.run(
                self._command(copy, words, cwd=source.folder),
                on_line=watched.line,
                on_error=watched.error,
                overdue=watched.overdue,
            )
            if report.exists():
                raise _source_failure(source, json.loads(report.read_text()))
        summary = watched.summary
        if ended.code not in (0, 3) or summary is None or "snapshot_id" not in summary:
            raise self._failure(copy, ended, watched)
        return _summary(summary, watched.items, partial=ended.code == 3)

    def restore(self, place: Place, snapshot: str, branch: Branch, *, watch: Watch) -> RestoreSummary:
        watched = _Watched(
            place.marker,
            watch,
            fields=("bytes_restored", "files_restored", "bytes_skipped", "files_skipped"),
            stuck=STUCK,
        )
        words = [*_restore_words(snapshot, branch), "--sparse", "--verify"]
        ended = process.run(
            self._command(place, words),
            on_line=watched.line,
            on_error=watched.error,
            overdue=watched.overdue,
        )
        if watched.summary is None or watched.trouble or ended.code not in (0, 1):
            raise self._failure(place, ended, watched)
        return _restored(watched.summary, reason=next(iter(watched.messages), _message(ended)) if ended.code else "")

    def dump(self, place: Place, snapshot: str, path: str, take: Callable[[bytes], None]) -> None:
        handed = _Handed(place.marker, take)
        command = self._command(place, ["dump", "--no-lock", snapshot, path])
        ended, _ = process.pour(command, handed.take, overdue=handed.overdue)
        if ended.code:
            raise self._failure(place, ended, handed)

    def restore_size(self, place: Place, snapshot: str, *, include: Sequence[str]) -> RestoreSummary:
        nowhere = Branch(target=Path("/nonexistent/drtool"), include=tuple(include))
        words = [*_restore_words(snapshot, nowhere), "--dry-run"]
        lines = [json.loads(line) for line in self._output(place, words).splitlines() if line.startswith("{")]
        return _restored(next((line for line in lines if line.get("message_type") == "summary"), {}))

    def preview(self, place: Place, snapshot: str, branch: Branch, *, named: int) -> Changes:
        """Folders count only where they are not there yet: restic names every folder as restored."""
        counts: Counter[str] = Counter()
        size, examples, deletes = 0, list[tuple[str, str]](), list[str]()

        def line(text: str) -> None:
            nonlocal size
            message = _json(text)
            if message.get("message_type") != "verbose_status" or "item" not in message:
                return
            kind, path = _change(message, branch)
            counts[kind] += 1
            size += int(message.get("size", 0)) if kind in ("added", "altered") else 0
            if kind == "deleted":
                deletes.append(path)
            if kind != "unchanged" and len(examples) < named:
                examples.append((kind, path))

        words = [*_restore_words(snapshot, branch), "--dry-run", "-vv"]
        patience = _Patience(place.marker)
        ended = process.run(self._command(place, words), on_line=line, overdue=patience.overdue)
        if ended.code:
            raise self._failure(place, ended, patience)
        return Changes(**counts, bytes=size, examples=tuple(examples), deletes=tuple(deletes))

    def _backup_words(self, source: Source, tags: Sequence[str], parent: str | None, report: Path) -> list[str]:
        words = ["backup", "--host", self._site]
        words += [word for tag in tags for word in ("--tag", tag)]
        words += ["--parent", parent] if parent else []
        if source.command:
            return [
                *words,
                "--stdin-from-command",
                "--stdin-filename",
                source.filename,
                "--",
                *PRODUCER,
                str(report),
                str(source.limit or 0),
                *source.command,
            ]
        words += [word for pattern in source.exclude for word in ("--exclude", pattern)]
        words += ["--one-file-system"] if source.one_file_system else []
        words += [] if self._scan else ["--no-scan"]  # only a progress bar needs the scan
        return [*words, "--", *source.paths]

    def _command(self, place: Place, words: Sequence[str], cwd: Path | None = None) -> process.Command:
        address = place.address()
        env = {
            "PATH": process.SAFE_PATH,
            "HOME": str(self._cache_for(place)),
            "TMPDIR": str(self._made(self._temporary)),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "RESTIC_CACHE_DIR": str(self._cache),
            "RESTIC_PROGRESS_FPS": "2",
        }
        return process.Command(
            argv=[
                str(self._program),
                "--json",
                "-r",
                address.url,
                "--retry-lock",
                "1m",
                *address.options,
                *words,
            ],
            env=env | dict(address.env),
            secrets={"RESTIC_PASSWORD_FILE": self._password(), **address.secrets},
            cwd=cwd,
            keep_open=tuple(self._keep_open),
        )

    def _cache_for(self, place: Place) -> Path:
        """The cache's folder. Of two restics that begin at once, one could read its version while the other writes it.

        restic's internal/backend/cache/cache.go reads ``ID/version`` and takes an empty file for an error.
        """
        if not self._cached:
            with suppress(DrtoolError):  # there is no marker before a repository is made
                repository_id = self._known() or place.marker().repository_id
                version = self._made(self._cache / repository_id) / "version"
                if not version.exists():
                    draft = version.with_name(f".version-{threading.get_ident()}")
                    draft.write_text(CACHE_VERSION)
                    draft.replace(version)
                self._cached = True
        return self._made(self._cache)

    def _made(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def _output(self, place: Place, words: Sequence[str], *, ask: Callable[[], object] | None = None) -> str:
        lines: list[str] = []
        patience = _Patience(ask or place.marker)
        ended = process.run(self._command(place, words), on_line=lines.append, overdue=patience.overdue)
        if ended.code:
            raise self._failure(place, ended, patience)
        return "\n".join(lines)

    def _failure(self, place: Place, ended: process.Ended, patience: _Patience | None = None) -> DrtoolError:
        if patience and patience.trouble:
            return patience.trouble
        if ended.stopped:
            message = f"copy {place.name}: restic got no answer in time and was stopped"
            return CopyUnreachable(message, copy=place.name, hint="check network and server")
        message = _message(ended)
        if ended.code in ERRORS:
            kind, hint = ERRORS[ended.code]
            return kind(message, hint=hint)
        return ResticFailed(f"restic ended with exit code {ended.code}: {message}")


CHANGES = ("files_new", "files_changed", "dirs_new", "dirs_changed", "tree_blobs", "data_blobs")


class _Patience:
    """How long a silent restic is waited for.

    restic tries a dead endpoint for 15 minutes and has no option to limit that (restic issue 5763).
    So when it makes no progress, the copy is asked itself by ``ask``; where that raises, restic is stopped.
    ``stuck`` is the number of seconds without progress after which it is stopped in any case.
    """

    def __init__(self, ask: Callable[[], object], *, stuck: float = math.inf) -> None:
        self._ask, self._stuck = ask, stuck
        self._moved = self._asked = time.monotonic()
        self.trouble: DrtoolError | None = None

    def moved(self) -> None:
        self._moved = self._asked = time.monotonic()

    def overdue(self) -> bool:
        now = time.monotonic()
        if now - self._asked < QUIET:
            return False
        try:
            self._ask()
        except DrtoolError as error:
            self.trouble = error
            return True
        self._asked = time.monotonic()
        return now - self._moved > self._stuck


class _Handed(_Patience):
    """Patience with a restic whose bytes are handed on: while their taker is at work, restic is not waited for."""

    def __init__(self, ask: Callable[[], object], take: Callable[[bytes], None]) -> None:
        super().__init__(ask, stuck=STUCK)
        self._take, self._taking = take, False

    def take(self, content: bytes) -> None:
        self._taking = True
        self._take(content)
        self._taking = False
        self.moved()

    def overdue(self) -> bool:
        return not self._taking and super().overdue()


class _Watched(_Patience):
    """Reads restic's JSON lines as they come: progress, errors, the summary."""

    def __init__(
        self, ask: Callable[[], object], watch: Watch, *, fields: tuple[str, ...], stuck: float = math.inf
    ) -> None:
        super().__init__(ask, stuck=stuck)
        self._watch, self._fields = watch, fields
        self._last: tuple[Any, ...] = ()
        self.summary: dict[str, Any] | None = None
        self.items: list[str] = []
        self.messages: list[str] = []

    def line(self, text: str) -> None:
        message = _json(text)
        if message.get("message_type") == "summary":
            self.summary = message
            self._stuck = math.inf  # what follows is restic's verification, of which it tells no progress
        elif message.get("message_type") == "status":
            now = tuple(message.get(name, 0) for name in self._fields)
            if now != self._last:
                self._last = now
                self.moved()
            self._watch(Progress(done=now[0], files=now[1], total=message.get("total_bytes", 0)))

    def error(self, text: str) -> None:
        message = _json(text)
        if message.get("message_type") != "error" or len(self.messages) >= UNREADABLE:
            return
        self.messages.append(str((message.get("error") or message).get("message", "")).strip())
        if message.get("item"):
            self.items.append(str(message["item"]))


def find_restic(environ: Mapping[str, str]) -> Path:
    """restic as named by DRTOOL_RESTIC, beside our interpreter, or on PATH; checked for its version."""
    named = environ.get("DRTOOL_RESTIC")
    program = Path(named) if named else process.find("restic", beside=Path(sys.prefix) / "bin")
    command = process.Command(argv=[str(program), "version", "--json"], env={}, secrets={})
    ended, text = process.output(command, limit=30)
    version = _version(text)
    if ended.code or version is None:
        raise ProgramMissing(f"{program} does not tell its version", hint="install restic 0.18 or newer: make setup")
    if version < MINIMUM:
        found, needed = ".".join(map(str, version)), ".".join(map(str, MINIMUM))
        raise ProgramMissing(f"{program} is restic {found}, drtool needs {needed} or newer", hint="run: make setup")
    return program


def _version(text: str) -> tuple[int, ...] | None:
    """restic before 0.17 prints words instead of JSON: ``restic 0.14.0 compiled with …``."""
    number = _json(text).get("version") or (text.split()[1] if text.startswith("restic ") else "")
    try:
        return tuple(int(part) for part in str(number).partition("-")[0].split("."))
    except ValueError:
        return None


def _restore_words(snapshot: str, branch: Branch) -> list[str]:
    what = f"{snapshot}:{branch.folder}" if branch.folder else snapshot
    words = ["restore", what, "--no-lock", "--target", str(branch.target)]
    words += [word for pattern in branch.include for word in ("--include", pattern)]
    return words + (["--delete"] if branch.delete else [])


def _change(message: Mapping[str, Any], branch: Branch) -> tuple[str, str]:
    """What would happen to which path. restic gives what it deletes as it lies there, the rest as in the snapshot."""
    action, item = str(message.get("action")), str(message["item"])
    if action == "deleted":
        return "deleted", item
    path = f"{branch.target}/{item.lstrip('/')}" if str(branch.target) != "/" else item
    if action == "unchanged" or (action == "restored" and os.path.lexists(path)):
        return "unchanged", path
    return ("added" if action == "restored" else "altered"), path


def _restored(summary: Mapping[str, Any], *, reason: str = "") -> RestoreSummary:
    return RestoreSummary(
        files=int(summary.get("files_restored", 0)),
        bytes=int(summary.get("bytes_restored", 0)),
        kept_files=int(summary.get("files_skipped", 0)),
        kept_bytes=int(summary.get("bytes_skipped", 0)),
        complete=not reason,
        reason=reason,
    )


def _summary(summary: Mapping[str, Any], unreadable: Sequence[str], *, partial: bool) -> BackupSummary:
    return BackupSummary(
        snapshot=str(summary["snapshot_id"]),
        started=datetime.fromisoformat(summary["backup_start"]).astimezone(UTC),
        files=int(summary.get("total_files_processed", 0)),
        bytes=int(summary.get("total_bytes_processed", 0)),
        added_bytes=int(summary.get("data_added_packed", 0)),
        seconds=float(summary.get("total_duration", 0.0)),
        unchanged=not any(summary.get(name) for name in CHANGES),
        partial=partial,
        unreadable=tuple(unreadable),
    )


def _source_failure(source: Source, report: Mapping[str, Any]) -> SourceFailed:
    """What the producer reports of a command that must not become a snapshot."""
    what = source.title or f"command {Path(source.command[0]).name}"
    last = report["last"][0] if report["last"] else ""
    if report["stopped"]:
        return SourceFailed(f"{what} was stopped: it took longer than its timeout")
    if report["code"] and source.title and last.startswith(source.title):
        return SourceFailed(last)
    if report["code"]:
        return SourceFailed(f"{what} ended with exit code {report['code']}" + (f": {last}" if last else ""))
    return SourceFailed(f"{what} printed nothing")


def _snapshot(fields: Mapping[str, Any]) -> Snapshot:
    tags = tuple(fields.get("tags") or ())
    summary = fields.get("summary") or {}
    return Snapshot(
        id=str(fields["id"]),
        dataset=_tagged(tags, "dataset"),
        time=datetime.fromisoformat(fields["time"]).astimezone(UTC),
        tree=str(fields["tree"]),
        run=_tagged(tags, "run"),
        paths=tuple(fields.get("paths") or ()),
        tags=tags,
        files=int(summary.get("total_files_processed", 0)),
        bytes=int(summary.get("total_bytes_processed", 0)),
    )


def _tagged(tags: Sequence[str], name: str) -> str:
    return next((tag.partition(":")[2] for tag in tags if tag.startswith(f"{name}:")), "")


def _message(ended: process.Ended) -> str:
    """What restic says last: its ``exit_error``, else its last line."""
    for line in reversed(ended.errors):
        if message := _json(line).get("message"):
            return str(message).removeprefix("Fatal: ").strip()
    return ended.errors[-1] if ended.errors else "no message"


def _error_in(line: str) -> str:
    """What restic's check complains of: a line that begins with what is wrong, not its closing advice."""
    message = _json(line)
    text = str(message.get("message", "")).strip() if message.get("message_type") == "error" else ""
    return "" if text.startswith("The repository is damaged") else text


def _json(text: str) -> dict[str, Any]:
    """A line that is no JSON object is a log line (restic issue 5247)."""
    try:
        message = json.loads(text)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
