"""Let restic write the snapshots of a run: into the first healthy copy, into the next where that breaks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from drtool.core.model import ESTATE, SAFETY, BackupSummary, DatasetOutcome, Outcome, Snapshot
from drtool.core.objects import EMPTY, Inventory, Plan, digest_of, key_of_snapshot, kind_of
from drtool.core.ports import Copy, Progress, Restic, Source
from drtool.documents.estate import CommandSource, DatabaseSource, Estate, FileSource, SqliteSource
from drtool.errors import (
    CopyRefused,
    CopyTrouble,
    DrtoolError,
    NoRepository,
    ProgramMissing,
    ResticFailed,
    SourceFailed,
)
from drtool.flows.outside import Outside
from drtool.flows.replicate import Replication, Settled
from drtool.flows.take_stock import Stock, clear_locks


@dataclass(slots=True, kw_only=True)
class Writing:
    """The writing of one run into one repository, and what is known of it so far.

    The copies in ``whole`` can be written to at once; for what is to be known of the others, ``looking`` is waited for.
    """

    run: str
    repository: str
    estate: Estate
    outside: Outside
    replication: Replication
    whole: Mapping[str, Inventory]
    looking: Future[Stock]
    recorded: Mapping[str, Inventory]
    catalog: Sequence[Snapshot]
    unfinished: bool = False
    safety: bool = False  # only what lies there now, and only into one copy: there is no time for more
    writers: list[Copy] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    parents: dict[str, Snapshot] = field(default_factory=dict)
    summaries: dict[str, BackupSummary] = field(default_factory=dict)
    tags: dict[str, tuple[str, ...]] = field(default_factory=dict)
    held: Inventory = field(default_factory=lambda: EMPTY)

    def write(self, names: Sequence[str]) -> list[DatasetOutcome]:
        """Every dataset once, and the estate's own documents where they changed."""
        outcomes: dict[str, DatasetOutcome] = {}
        wanted = list(names) if self.safety else [*names, ESTATE]
        pending = wanted
        for copy in self._healthy_copies():
            self.writers.append(copy)
            with self.replication.streaming(copy, lambda: () if self.safety else self.stock.present):
                pending = self._write_to(copy, pending, outcomes)
            if not pending:
                break
        trouble = self._why_none()
        return [outcomes.get(name) or failed(name, trouble) for name in wanted]

    def _write_to(self, copy: Copy, pending: Sequence[str], outcomes: dict[str, DatasetOutcome]) -> list[str]:
        """What is still pending when the copy breaks; nothing, if it holds out.

        The estate's own documents go beside the datasets: all they cost is restic's start.
        """
        left = list(pending)
        self.outside.restic(self.repository)  # raises where the program is missing: that is no dataset's trouble
        self._take_back_removals(copy)
        with ThreadPoolExecutor(1, thread_name_prefix="estate") as pool:
            documents = pool.submit(self._dataset, copy, ESTATE) if ESTATE in pending else None
            try:
                for name in pending:
                    self.outside.show.phase(f"backing up {name} to {copy.name}")
                    outcomes[name] = documents.result() if documents and name == ESTATE else self._dataset(copy, name)
                    left.remove(name)
            except CopyTrouble as trouble:
                self.outside.show.note(f"{trouble.message}; going on with the next copy")
                with self.replication.ledger.lock:
                    self.replication.ledger.out[copy.name] = trouble
        return left

    def _take_back_removals(self, copy: Copy) -> None:
        """Where the copy still keeps what was removed, restic may build on that: so all of it stays, everywhere.

        Only a run in which no other copy can be written to comes here. The next prune removes it again.
        """
        if copy.name not in self.whole and self.stock.facts[copy.name].retained:
            evidence = self.outside.evidence
            removed = evidence.removed(self.repository).keys()
            self._record("prune.taken_back", {"copy": copy.name, "objects": len(removed)})
            evidence.forget_removed(self.repository, removed)

    def _dataset(self, copy: Copy, name: str) -> DatasetOutcome:
        try:
            with self._source(name) as (source, missing):
                outcome = self._snapshot(copy, name, source)
        except (SourceFailed, ProgramMissing) as error:
            return failed(name, error)
        except OSError as error:
            return failed(
                name, SourceFailed(f"dataset {name}: {error.filename}: {(error.strerror or str(error)).lower()}")
            )
        if missing:
            return replace(outcome, outcome=Outcome.INCOMPLETE, reason=f"not found: {', '.join(map(str, missing))}")
        return outcome

    def _snapshot(self, copy: Copy, name: str, source: Source) -> DatasetOutcome:
        tags = ["drtool", f"dataset:{name}", f"run:{self.run}", *([SAFETY] if self.safety else [])]
        if name == ESTATE:
            tags.append(documents := _documents_tag(source.paths))
            if known := self._already(documents):
                return DatasetOutcome(dataset=name, outcome=Outcome.DONE, snapshot=known.id, tree=known.tree)
        parent, self.tags[name] = self._parent(name), tuple(tags)
        self._record("snapshot.started", {"dataset": name, "copy": copy.name})
        try:
            summary = self._restic_backup(copy, name, source, tags, parent)
        except (ResticFailed, NoRepository) as error:
            self._record("snapshot.failed", {"dataset": name, "copy": copy.name})
            return failed(name, error)
        self._record("snapshot.finished", {"dataset": name, "copy": copy.name, "snapshot": summary.snapshot})
        self.summaries[name] = summary
        if parent and summary.unchanged:
            self.parents[name] = parent
        return _outcome(name, summary, files=bool(source.paths))

    def _restic_backup(
        self, copy: Copy, name: str, source: Source, tags: Sequence[str], parent: Snapshot | None, *, again: bool = True
    ) -> BackupSummary:
        """One restic backup. Where it fails, the copy is examined: a broken one raises, a healed one is tried again."""
        watch = self.outside.show.progress if name != ESTATE else _unwatched
        try:
            return self._restic.backup(copy, source, tags=tags, parent=parent.id if parent else None, watch=watch)
        except (ResticFailed, NoRepository):
            copy.marker()
            copy.check_room()
            if name == ESTATE or not again or not self._heal_what_restic_reads(copy):
                raise
            return self._restic_backup(copy, name, source, tags, parent, again=False)

    def _heal_what_restic_reads(self, copy: Copy) -> bool:
        """Whether objects that restic reads at every start were found altered, and are whole again."""
        small = [key for key in self.held if kind_of(key) in ("keys", "index", "snapshots")]
        altered = {key for key in small if copy.digest(key) != digest_of(key)}
        if not altered:
            return False
        with self.replication.ledger.lock:
            self.replication.ledger.altered.setdefault(copy.name, set()).update(altered)
        settled = self._settle(copy)
        return copy.name in settled.present and not settled.plan.damage(copy.name)

    def _settle(self, copy: Copy) -> Settled:
        """Make one copy whole from the others."""
        return self.replication.settle(
            self.stock, self.recorded, targets=frozenset({copy.name}), removed=frozenset(self.accepted)
        )

    @contextmanager
    def _source(self, name: str) -> Iterator[tuple[Source, tuple[Path, ...]]]:
        """What restic shall read for a dataset, and what of it is not there."""
        what = self.estate.datasets[name].source if name != ESTATE else FileSource(paths=self.estate.documents())
        if isinstance(what, FileSource):
            there = tuple(str(path) for path in what.paths if path.exists() or path.is_symlink())
            if not there:
                raise SourceFailed(f"dataset {name}: nothing found at {', '.join(map(str, what.paths))}")
            if all(_is_empty_folder(path) for path in what.paths if str(path) in there):
                raise SourceFailed(f"dataset {name}: nothing is in {', '.join(there)}; is its file system mounted?")
            missing = tuple(path for path in what.paths if str(path) not in there)
            exclude = () if self.safety else tuple(what.exclude)  # what may be removed in place must be saved, too
            yield Source(paths=there, exclude=exclude, one_file_system=what.one_file_system), missing
        elif isinstance(what, SqliteSource):
            with self.outside.spool.folder(f"{self.repository}-{name}") as folder:
                self.outside.databases.copy_sqlite(what.path, folder / what.path.name)
                yield Source(paths=(what.path.name,), folder=folder), ()
        elif isinstance(what, DatabaseSource):
            yield self.outside.databases.dump(name), ()
        elif isinstance(what, CommandSource):
            limit = what.timeout.total_seconds()
            yield Source(command=tuple(what.argv), filename=what.filename, limit=limit), ()

    # Which copy

    def _healthy_copies(self) -> Iterator[Copy]:
        """In declared order, each made whole first: restic would deduplicate against packs that are gone."""
        for copy in self.outside.copies[self.repository]:
            if copy.name in self.whole:
                self.held = self.whole[copy.name]
                yield copy
                continue
            if copy.name not in self.stock.present or copy.name in self.replication.ledger.out:
                continue
            self.outside.show.phase(f"making {copy.name} whole")
            settled = self._settle(copy)
            if copy.name in self.replication.ledger.out:
                continue
            trouble = self._unfit(copy, settled.plan)
            if trouble:
                self.replication.ledger.out[copy.name] = trouble
                continue
            self.accepted |= settled.plan.lost.get(copy.name, frozenset())
            self.held = settled.present[copy.name]
            yield copy

    def _unfit(self, copy: Copy, plan: Plan) -> CopyTrouble | None:
        """Why restic must not or cannot write to this copy; restic itself would try a full disk for 15 minutes."""
        try:
            if needed := self._needed_and_gone(copy, plan):
                return _damaged(copy, needed)
            copy.check_room()
            if self.stock.facts[copy.name].locks:
                clear_locks(copy, self._restic, self.outside.clock)
        except CopyTrouble as trouble:
            return trouble
        except ResticFailed as error:
            return CopyRefused(f"copy {copy.name}: {error.message}", copy=copy.name, hint="drtool copies list")
        return None

    def _needed_and_gone(self, copy: Copy, plan: Plan) -> frozenset[str]:
        """Objects of the copy that no copy holds intact and that restic would build on.

        What was lost is only asked for where something was, and after a run that did not live to record what
        it wrote, since of that nobody knows what was lost. The same without any record. Whatever was altered counts.
        """
        altered = plan.altered.get(copy.name, frozenset())
        doubtful = self.unfinished or copy.name not in self.recorded
        if not altered and not doubtful and not plan.lost.get(copy.name):
            return frozenset()
        return altered | {f"data/{pack[:2]}/{pack}" for pack in self._restic.missing_packs(copy)}

    def _why_none(self) -> DrtoolError:
        troubles = self.replication.ledger.out.values()
        return next(iter(troubles), DrtoolError("no copy could be written to", hint="drtool copies list"))

    # What is known

    @property
    def stock(self) -> Stock:
        """What was found in all copies. Waits until all have answered or are given up."""
        return self.looking.result()

    @property
    def _restic(self) -> Restic:
        return self.outside.restic(self.repository)

    def _parent(self, name: str) -> Snapshot | None:
        """The newest known snapshot of the dataset that the copy holds."""
        held = (one for one in self.catalog if one.dataset == name and key_of_snapshot(one.id) in self.held)
        return max(held, key=lambda one: one.time, default=None)

    def _already(self, documents: str) -> Snapshot | None:
        """The newest snapshot of the estate, if it holds these very documents."""
        newest = self._parent(ESTATE)
        return newest if newest and documents in newest.tags else None

    def _record(self, kind: str, body: Mapping[str, object]) -> None:
        self.outside.evidence.append(self.run, kind, {"repository": self.repository, **body})


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _unwatched(progress: Progress) -> None:
    """The estate's documents are backed up beside a dataset, whose progress is the one to be seen."""


def failed(name: str, error: DrtoolError) -> DatasetOutcome:
    return DatasetOutcome(dataset=name, outcome=Outcome.FAILED, reason=error.message)


def _outcome(name: str, summary: BackupSummary, *, files: bool) -> DatasetOutcome:
    """restic's summary judged: a partial snapshot, or an empty one of files, is not done."""
    reason = ""
    if summary.partial:
        reason = f"{len(summary.unreadable) or 'some'} paths could not be read"
    elif files and not summary.files:
        reason = "no file found: is its file system mounted?"
    return DatasetOutcome(
        dataset=name,
        outcome=Outcome.INCOMPLETE if reason else Outcome.DONE,
        snapshot=summary.snapshot,
        files=summary.files,
        bytes=summary.bytes,
        added_bytes=summary.added_bytes,
        seconds=summary.seconds,
        reason=reason,
        unreadable=summary.unreadable,
    )


def _damaged(copy: Copy, needed: frozenset[str]) -> CopyRefused:
    return CopyRefused(
        f"copy {copy.name} needs {len(needed)} objects that no copy holds intact, such as {min(needed)}",
        copy=copy.name,
        hint=f"drtool heal; if it is gone for good: restic -r {copy.address().url} repair index,"
        f" repair snapshots --forget, then: drtool heal --repaired {copy.name}",
    )


def _documents_tag(paths: Sequence[str]) -> str:
    """Names the content of documents, so that the same ones are stored once."""
    digest = hashlib.sha256()
    for path in paths:
        content = Path(path).read_bytes()
        digest.update(f"{path}\0{len(content)}\0".encode() + content)
    return f"documents:{digest.hexdigest()[:32]}"
