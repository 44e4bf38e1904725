"""Bring a dataset back: choose, check room, restore beside, put in place, tell where it came from."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from drtool.core.model import (
    Branch,
    Outcome,
    RestoreOutcome,
    RestorePlan,
    RestoreRequest,
    RestoreSummary,
    Snapshot,
    Taken,
)
from drtool.core.objects import agreeing, plan_replication
from drtool.core.ports import Copy, Place, Union
from drtool.core.selection import choose_snapshot, holders, rank_copies
from drtool.documents.estate import Estate
from drtool.errors import (
    CopyTrouble,
    DrtoolError,
    Locked,
    NoRepository,
    NoSnapshot,
    ResticFailed,
    UsageError,
    WrongPassword,
)
from drtool.flows.catalogue import known_snapshots
from drtool.flows.outside import Outside
from drtool.flows.take_stock import Stock, require_one, take_stock

PARTIAL = ".drtool-restore-"  # a folder of this name in the target holds what is not finished yet
COMPLETE = ".drtool-restored-"  # and one of this name what is finished and verified, but not yet moved up
FAILURES = (ResticFailed, CopyTrouble, NoRepository, WrongPassword)  # of one copy: the others may still do
LOST = 100_000  # files that are named at most
SPECIAL = re.compile(r"([\\*?\[\]])")  # what restic's patterns take for more than itself
SPARE = 64 << 20  # bytes that stay free beside what is restored


def list_snapshots(
    estate: Estate, names: Sequence[str], outside: Outside
) -> tuple[tuple[Snapshot, tuple[str, ...]], ...]:
    """The snapshots of the named datasets, oldest first, each with the copies that hold it."""
    found: list[tuple[Snapshot, tuple[str, ...]]] = []
    for repository in dict.fromkeys(estate.datasets[name].repository for name in names):
        outside.show.phase(f"looking at the copies of {repository}")
        recorded = outside.evidence.recorded(repository)
        stock = take_stock(repository, outside.copies[repository], outside.evidence, fully=False)
        require_one(repository, stock, recorded)
        known = known_snapshots(repository, outside, stock.everything)
        found += [(one, holders(one, stock.everything)) for one in known if one.dataset in names]
    return tuple(found)


def plan_restore(estate: Estate, request: RestoreRequest, outside: Outside) -> RestorePlan:
    """Choose and check; nothing is written. Raises what stands in the way."""
    repository = estate.datasets[request.dataset].repository
    outside.show.phase(f"looking at the copies of {repository}")
    stock = stock_of(repository, request.copy, outside)
    snapshot = choose_snapshot(
        known_snapshots(repository, outside, stock.everything), request.dataset, at=request.at, named=request.snapshot
    )
    sources = sources_of(repository, snapshot, stock, outside)
    files, size = snapshot.files, snapshot.bytes
    if request.include and not request.in_place:
        for include in (literally(request.include), request.include):
            would = _size_of_part(repository, sources, snapshot, include, outside)
            files, size = would.files + would.kept_files, would.bytes + would.kept_bytes
            if files:
                request = replace(request, include=include)
                break
        if not files:
            raise NoSnapshot(
                f"snapshot {snapshot.id[:8]} of {request.dataset} holds nothing at {', '.join(request.include)}",
                hint=f"its paths: {', '.join(snapshot.paths)}",
            )
    plan = RestorePlan(
        request=request,
        repository=repository,
        snapshot=snapshot,
        sources=sources,
        direct=request.copy is not None or worth_trying_alone(sources, repository, stock, outside),
        united=request.copy is None,
        present=stock.everything,
        config_sha256=stock.config_sha256,
        files=files,
        bytes=size,
        free=_free(request.target),
    )
    if not request.in_place:
        _check_target(plan)
    return plan


def literally(paths: Sequence[str]) -> tuple[str, ...]:
    """Paths as restic's patterns that mean just these. Where nothing fits them, they were meant as patterns."""
    return tuple(SPECIAL.sub(r"\\\1", path) for path in paths)


def _size_of_part(
    repository: str, sources: Sequence[str], snapshot: Snapshot, include: Sequence[str], outside: Outside
) -> RestoreSummary:
    """As told by the first copy that can tell."""
    trouble: DrtoolError = NoSnapshot("no copy holds it")
    for name in sources:
        try:
            copy = named_copy(outside.copies[repository], name)
            return outside.restic(repository).restore_size(copy, snapshot.id, include=include)
        except FAILURES as error:
            trouble = error
    raise trouble


def restore(plan: RestorePlan, outside: Outside) -> RestoreOutcome:
    """Restore from whatever has it; what is half done stays apart until all of it is verified."""
    run, start, request = uuid.uuid4().hex, outside.clock.monotonic(), plan.request
    body = {
        "dataset": request.dataset,
        "snapshot": plan.snapshot.id,
        "sources": list(plan.sources),
        "by": outside.operator,
    }
    outside.evidence.append(run, "restore.started", body)
    try:
        brought = _bring(plan, run, outside)
    except BaseException as error:
        outside.evidence.append(run, "restore.failed", body | {"error": type(error).__name__})
        raise
    last = brought.last
    outcome = RestoreOutcome(
        run=run,
        dataset=request.dataset,
        snapshot=plan.snapshot,
        source=brought.source,
        target=str(request.target),
        files=last.files + last.kept_files,
        bytes=last.bytes + last.kept_bytes,
        seconds=outside.clock.monotonic() - start,
        verified=not brought.lost,
        taken_from=brought.taken,
        damage=brought.damage,
        lost=brought.lost,
        outcome=Outcome.INCOMPLETE if brought.lost else Outcome.DONE,
        reason=f"{len(brought.lost)} files cannot be brought back: no copy holds all of them" if brought.lost else "",
    )
    figures = {
        "source": brought.source,
        "files": outcome.files,
        "bytes": outcome.bytes,
        "kept_bytes": last.kept_bytes,
        "lost": len(brought.lost),
        "seconds": round(outcome.seconds, 3),
    }
    outside.evidence.append(run, "restore.finished", body | figures)
    return outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class _Brought:
    """What came, and from where. ``last`` counts all that is there now."""

    source: str
    last: RestoreSummary
    taken: Mapping[str, Taken]
    damage: Mapping[str, frozenset[str]] = field(default_factory=dict)
    lost: tuple[str, ...] = ()


def _bring(plan: RestorePlan, run: str, outside: Outside) -> _Brought:
    if plan.request.in_place:
        return _directly_or_united(plan, run, plan.request.target, outside)
    if _complete(plan).exists():
        _finish(_complete(plan), plan.request.target)
        kept = RestoreSummary(kept_files=plan.files, kept_bytes=plan.bytes)
        return _Brought(source=plan.sources[0], last=kept, taken={})
    with _begun(plan) as target:
        brought = _directly_or_united(plan, run, target, outside)
        if not plan.request.over:
            target.rename(_complete(plan))
            _finish(_complete(plan), plan.request.target)
        return brought


def _directly_or_united(plan: RestorePlan, run: str, target: Path, outside: Outside) -> _Brought:
    """restic reads the best copy itself; what that cannot give comes from all copies together.

    restic leaves alone what it finds finished in the target.
    """
    before: Mapping[str, Taken] = {}
    if plan.direct:
        name = plan.sources[0]
        outside.show.phase(f"restoring {plan.request.dataset} from {name}")
        try:
            part = _from(plan, named_copy(outside.copies[plan.repository], name), target, outside)
        except FAILURES as error:
            trouble: DrtoolError = error
        else:
            before = {name: Taken(objects=None, bytes=part.bytes)} if part.files else {}
            if part.complete:
                return _Brought(source=name, last=part, taken=before)
            trouble = _not_everything(f"copy {name}", part)
        if not plan.united:
            raise trouble
        outside.show.note(f"{trouble.message}; going on with all copies together")
    outside.show.phase(f"restoring {plan.request.dataset} from all copies together")
    return _united(plan, run, target, before, outside)


def _united(plan: RestorePlan, run: str, target: Path, before: Mapping[str, Taken], outside: Outside) -> _Brought:
    names = [*plan.sources, *(name for name in plan.present if name not in plan.sources)]
    copies = [named_copy(outside.copies[plan.repository], name) for name in names]
    with outside.union(copies, plan.present, plan.config_sha256) as union:
        try:
            part = _from(plan, union, target, outside)
        finally:
            report_damage(plan.repository, run, union.damage(), outside)
        taken, damage = union.taken(), union.damage()
        lost = () if part.complete else _lost(plan, union, target, part, outside)
    for name, one in before.items():
        read = taken.get(name, Taken())
        taken = {**taken, name: Taken(objects=None, bytes=one.bytes + read.bytes)}
    return _Brought(source="union", last=part, taken=taken, damage=damage, lost=lost)


def _lost(plan: RestorePlan, union: Union, target: Path, part: RestoreSummary, outside: Outside) -> tuple[str, ...]:
    """The files that objects are gone for: everything else is there, as restic says that compares every byte again.

    What is not as it was gets no final name. Raises where the trouble is another one than that objects are gone.
    """
    if not union.gone():
        raise _not_everything("all copies together", part)
    outside.show.phase("looking what is lost")
    restic, branches = outside.restic(plan.repository), _branches(plan, target)
    found = [restic.preview(union, plan.snapshot.id, branch, named=LOST) for branch in branches]
    wrong = [path for changes in found for kind, path in changes.examples if kind in ("added", "altered")]
    if not wrong or len(wrong) >= LOST:
        raise _not_everything("all copies together", part)
    if not plan.request.in_place:
        for path in wrong:
            Path(path).unlink(missing_ok=True)
        wrong = [path.removeprefix(str(target)) for path in wrong]
    return tuple(wrong)


def _branches(plan: RestorePlan, target: Path) -> tuple[Branch, ...]:
    return plan.branches or (Branch(target=target, include=plan.request.include),)


def report_damage(repository: str, run: str, damage: Mapping[str, frozenset[str]], outside: Outside) -> None:
    """Also of a restore that fails for it: the next run then reads these objects again, and heals what it can.

    What a copy merely keeps for a while after its removal is nobody's to heal.
    """
    removed = outside.evidence.removed(repository).keys()
    for name, keys in ((name, keys - removed) for name, keys in damage.items() if keys - removed):
        outside.show.note(f"copy {name} lacks {len(keys)} objects or holds them altered; drtool heal")
        outside.evidence.append(run, "anomaly.damage", {"repository": repository, "copy": name, "objects": len(keys)})
        outside.evidence.doubt(repository, name, keys)


def _from(plan: RestorePlan, place: Place, target: Path, outside: Outside) -> RestoreSummary:
    """All branches, one after another; what they came to together."""
    done = RestoreSummary()
    for branch in _branches(plan, target):
        one = outside.restic(plan.repository).restore(place, plan.snapshot.id, branch, watch=outside.show.progress)
        done = RestoreSummary(
            files=done.files + one.files,
            bytes=done.bytes + one.bytes,
            kept_files=done.kept_files + one.kept_files,
            kept_bytes=done.kept_bytes + one.kept_bytes,
            complete=done.complete and one.complete,
            reason=done.reason or one.reason,
        )
    return done


def _not_everything(where: str, part: RestoreSummary) -> ResticFailed:
    return ResticFailed(f"{where} did not bring everything: {part.reason}", hint="drtool copies list")


# The target: what is not finished lies apart, below a name that says what it belongs to


@contextmanager
def _begun(plan: RestorePlan) -> Iterator[Path]:
    """The folder to restore into, held against another restore.

    What an earlier run of the same restore left is gone on with.
    """
    partial = plan.request.target if plan.request.over else _partial(plan)
    with _reporting(plan.request.target):
        partial.mkdir(parents=True, exist_ok=True, mode=0o755 if plan.request.over else 0o700)
        descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Locked(f"another restore works in {partial}", hint="wait for it, or restore elsewhere") from None
        except OSError:
            pass  # a network file system may know no locks on folders; a restore must not fail for that
        yield partial
    finally:
        os.close(descriptor)


def _partial(plan: RestorePlan) -> Path:
    return plan.request.target / f"{PARTIAL}{_tag(plan)}"


def _complete(plan: RestorePlan) -> Path:
    return plan.request.target / f"{COMPLETE}{_tag(plan)}"


def _finish(complete: Path, target: Path) -> None:
    """Move everything up. Cut off in the middle, the next run moves the rest."""
    with _reporting(target):
        for entry in sorted(complete.iterdir()):
            entry.rename(target / entry.name)
        complete.rmdir()


@contextmanager
def _reporting(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{target} cannot be written to: {(error.strerror or str(error)).lower()}", hint="choose another directory"
        ) from error


def _tag(plan: RestorePlan) -> str:
    wanted = hashlib.sha256("\0".join(plan.request.include).encode()).hexdigest()
    return f"{plan.snapshot.id[:16]}-{wanted[:8]}"


def _check_target(plan: RestorePlan) -> None:
    target, dataset = plan.request.target, plan.request.dataset
    with _reporting(target):
        if target.exists() and not target.is_dir():
            raise UsageError(f"{target} is not a directory", hint=f"drtool restore {dataset} --to DIRECTORY")
        foreign = sorted(entry.name for entry in target.iterdir() if not _ours(entry, plan)) if target.exists() else []
        left = next((name for name in foreign if name.startswith(PARTIAL)), "")
        if left and not plan.request.over:
            snapshot = left.removeprefix(PARTIAL)[:8]
            raise UsageError(
                f"{target} holds an unfinished restore of another snapshot ({snapshot}) or part",
                hint=f"go on with it by --snapshot {snapshot}, or remove {target / left}",
            )
        if foreign and not plan.request.over and not _complete(plan).exists():
            raise UsageError(
                f"{target} is not empty: it holds {foreign[0]!r}{' and more' if len(foreign) > 1 else ''}",
                hint="restore into an empty directory, or write over what is there with --yes",
            )
        begun = target if plan.request.over else _partial(plan)
        room = plan.free if plan.free >= plan.bytes + SPARE else plan.free + _size(begun)
    if room < plan.bytes + SPARE:
        raise UsageError(
            f"{target} has room for {_gigabytes(plan.free)}, and {dataset} needs {_gigabytes(plan.bytes)}",
            hint="restore to another disk by --to, or a part of it by --include",
        )


def _ours(entry: Path, plan: RestorePlan) -> bool:
    return entry in (_partial(plan), _complete(plan)) or entry.name == "lost+found"


def _free(target: Path) -> int:
    """Bytes that can still be written where the target is or will be."""
    with _reporting(target):
        return _free_at(target)


def _free_at(target: Path) -> int:
    existing = next(place for place in (target, *target.parents) if place.exists())
    return shutil.disk_usage(existing).free


def _size(folder: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"


# The copies


def stock_of(repository: str, copy: str | None, outside: Outside) -> Stock:
    """What all copies hold, or the one that was asked for."""
    copies = outside.copies[repository]
    if copy:
        copies = (named_copy(copies, copy),)
    recorded = outside.evidence.recorded(repository)
    stock = take_stock(repository, copies, outside.evidence, fully=False)
    require_one(repository, stock, recorded)
    return stock


def sources_of(repository: str, snapshot: Snapshot, stock: Stock, outside: Outside) -> tuple[str, ...]:
    """The copies that hold the snapshot, best first."""
    plan = plan_replication(stock.present, recorded=outside.evidence.recorded(repository))
    return rank_copies(
        holders(snapshot, stock.everything),
        local={copy.name: copy.local for copy in outside.copies[repository]},
        damaged=plan.lost,
        complete=agreeing(stock.present),
    )


def worth_trying_alone(sources: Sequence[str], repository: str, stock: Stock, outside: Outside) -> bool:
    """Whether restic shall read the best copy itself: it is near, or alone, and nothing is known to be wrong with it.

    Two distant copies are read together from the start, which is faster.
    """
    if len(stock.present) < 2:
        return True
    best = named_copy(outside.copies[repository], sources[0])
    plan = plan_replication(stock.present, recorded=outside.evidence.recorded(repository))
    return not plan.lost.get(best.name) and (best.local or len(sources) < 2)


def named_copy(copies: Sequence[Copy], name: str) -> Copy:
    for copy in copies:
        if copy.name == name:
            return copy
    raise UsageError(f"there is no copy {name}", hint=f"its copies: {', '.join(copy.name for copy in copies)}")
