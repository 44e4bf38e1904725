"""Restore where the data came from: show what changes, save what is there, restore, say how to undo it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

from drtool.core.model import Branch, Changes, LoadPlan, Outcome, RestoreOutcome, RestorePlan, RestoreRequest
from drtool.documents.estate import Estate, FileSource
from drtool.errors import DrtoolError, NoSnapshot, SourceFailed, UsageError
from drtool.flows.back_up import back_up
from drtool.flows.hold import add_hold
from drtool.flows.load import load
from drtool.flows.outside import Outside
from drtool.flows.restore import FAILURES, SPARE, literally, named_copy, plan_restore, restore

PLAIN = re.compile(r"\\(.)")  # a sign that was made to mean just itself
NAMED = 20  # paths that are shown


def plan_in_place(estate: Estate, request: RestoreRequest, outside: Outside) -> RestorePlan:
    """Choose, and look what would change; nothing is written. Raises what stands in the way."""
    if not isinstance(estate.datasets[request.dataset].source, FileSource):
        raise UsageError(
            f"dataset {request.dataset} is neither of files nor a database of a server",
            hint=f"drtool restore {request.dataset} --to DIRECTORY",
        )
    plan = plan_restore(estate, request, outside)
    branches, changes = _found(plan, request, outside)
    _refuse_strangers(plan.snapshot.paths, changes)
    plan = replace(
        plan,
        branches=branches,
        changes=changes,
        files=changes.added + changes.altered,
        bytes=changes.bytes,
        free=min(_free(branch.target) for branch in branches),
    )
    if plan.free < plan.bytes + SPARE:
        raise UsageError(
            f"there is room for {plan.free / 1e9:.2f} GB, and {plan.bytes / 1e9:.2f} GB are to be restored",
            hint="make room, or restore a part by --include, or elsewhere by --to",
        )
    return plan


def _found(plan: RestorePlan, request: RestoreRequest, outside: Outside) -> tuple[tuple[Branch, ...], Changes]:
    """What is meant: the very paths that were given; where there are none such, patterns. Raises ``NoSnapshot``."""
    for include in dict.fromkeys((literally(request.include), request.include)):
        branches = _branches(plan.snapshot.paths, replace(request, include=include))
        changes = _changes(replace(plan, branches=branches), outside)
        if changes.added or changes.altered or changes.deleted or changes.unchanged:
            return branches, changes
    raise NoSnapshot(
        f"snapshot {plan.snapshot.id[:8]} of {request.dataset} holds nothing at {', '.join(request.include)}",
        hint=f"its paths: {', '.join(plan.snapshot.paths)}",
    )


def restore_in_place(estate: Estate, plan: RestorePlan, outside: Outside, *, wait: float) -> RestoreOutcome:
    """Save what is there, under a hold; restore; say how to undo it.

    Raises ``SourceFailed`` where the present state cannot be saved.
    """
    saved = _save(estate, plan, outside, wait=wait) if plan.request.safety else ""
    undo = _undo(plan.request.dataset, saved, "--delete")
    with _telling(undo):
        for branch in plan.branches:
            _make_parents(branch.target)
        outcome = restore(plan, outside)
    return replace(outcome, safety=saved, undo=undo)


def load_in_place(estate: Estate, plan: LoadPlan, outside: Outside, *, safety: bool, wait: float) -> RestoreOutcome:
    """The same for a database: dump what is in it, under a hold; drop it, and load the snapshot.

    Raises ``SourceFailed`` where the present state cannot be dumped, as where it is broken.
    """
    name = plan.request.dataset
    saved = ""
    if safety and plan.holds:
        saved = _saved(estate, name, plan.repository, outside, wait=wait)
    undo = _undo(name, saved)
    with _telling(undo):
        outcome = load(plan, outside)
    return replace(outcome, safety=saved, undo=undo)


def _undo(name: str, saved: str, *more: str) -> str:
    """The command that brings back what was saved; '' where nothing was."""
    return shlex.join(["drtool", "restore", name, "--snapshot", saved[:16], "--in-place", *more]) if saved else ""


@contextmanager
def _telling(undo: str) -> Iterator[None]:
    """An error, too, says how to go back to what was there."""
    try:
        yield
    except DrtoolError as error:
        if undo:
            error.hint = f"what was there before is saved: {undo}"
        raise


def _make_parents(folder: Path) -> None:
    """Folders above what is restored that are gone, open to all as they usually are: restic would lock others out."""
    for place in reversed([place for place in (folder, *folder.parents) if not place.exists()]):
        try:
            place.mkdir(mode=0o755)
            place.chmod(0o755)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise UsageError(f"{place} cannot be made: {why}", hint="make it, or restore elsewhere by --to") from error


def _branches(paths: Sequence[str], request: RestoreRequest) -> tuple[Branch, ...]:
    """Each path from its parent folder, so that its own owner and mode come back too, and nothing beside it is met."""
    chosen = [path for path in request.include if path.startswith("/")] if request.include else list(paths)
    branches = [_branch(PurePosixPath(path), request) for path in chosen]
    patterns = tuple(path for path in request.include if not path.startswith("/"))
    if patterns:
        branches.append(Branch(target=Path("/"), include=patterns, delete=request.delete))
    return tuple(branches)


def _branch(path: PurePosixPath, request: RestoreRequest) -> Branch:
    """Of a given path the last name may be a pattern; the folders above it are meant as they are."""
    name = path.name if request.include else literally([path.name])[0]
    above = PLAIN.sub(r"\1", str(path.parent)) if request.include else str(path.parent)
    return Branch(folder=above, target=Path(above), include=(f"/{name}",), delete=request.delete)


def _changes(plan: RestorePlan, outside: Outside) -> Changes:
    """As told by the first copy that can tell, else by all together."""
    outside.show.phase("looking what would change")
    copies = outside.copies[plan.repository]
    restic = outside.restic(plan.repository)
    trouble: DrtoolError | None = None
    for name in plan.sources:
        try:
            copy = named_copy(copies, name)
            return _sum([restic.preview(copy, plan.snapshot.id, branch, named=NAMED) for branch in plan.branches])
        except FAILURES as error:
            trouble = error
    if not plan.united:
        assert trouble is not None  # a plan has a source
        raise trouble
    every = [named_copy(copies, name) for name in plan.present]
    with outside.union(every, plan.present, plan.config_sha256) as union:
        return _sum([restic.preview(union, plan.snapshot.id, branch, named=NAMED) for branch in plan.branches])


def _sum(changes: Sequence[Changes]) -> Changes:
    return Changes(
        added=sum(one.added for one in changes),
        altered=sum(one.altered for one in changes),
        deleted=sum(one.deleted for one in changes),
        unchanged=sum(one.unchanged for one in changes),
        bytes=sum(one.bytes for one in changes),
        examples=tuple(example for one in changes for example in one.examples)[:NAMED],
        deletes=tuple(path for one in changes for path in one.deletes),
    )


def _refuse_strangers(paths: Sequence[str], changes: Changes) -> None:
    """restic has deleted what lay beside the restored path (restic issues 21819 and 21770): never here.

    Nor what lies on another file system, which is not saved before.
    """
    for path in changes.deletes:
        home = next((home for home in paths if path == home or path.startswith(f"{home}/")), None)
        if home is None:
            raise UsageError(
                f"restic would delete {path}, which is no part of what is restored", hint="restore without --delete"
            )
        if os.lstat(path).st_dev != os.lstat(home).st_dev:
            raise UsageError(
                f"{path} lies on another file system than {home}, and would be deleted",
                hint="unmount it first, or restore without --delete",
            )


def _save(estate: Estate, plan: RestorePlan, outside: Outside, *, wait: float) -> str:
    """The id of a snapshot of what is there now, held; '' where there is nothing."""
    source, name = estate.datasets[plan.request.dataset].source, plan.request.dataset
    assert isinstance(source, FileSource)  # plan_in_place refuses others
    if not any(_holds_anything(path) for path in source.paths):
        outside.show.note("nothing is there that could be saved before")
        return ""
    return _saved(estate, name, plan.repository, outside, wait=wait)


def _saved(estate: Estate, name: str, repository: str, outside: Outside, *, wait: float) -> str:
    outside.show.phase("saving what is there now")
    try:
        saved = back_up(estate, [name], outside, wait=wait, safety=True).datasets[0]
        if saved.snapshot is None or saved.outcome is Outcome.FAILED or saved.unreadable:
            raise SourceFailed(saved.reason)
    except DrtoolError as error:
        raise SourceFailed(
            f"what is there now could not be saved: {error.message}",
            hint="restore elsewhere by --to or --into; or, if it may be lost, with --no-safety",
        ) from error
    reason = f"what was there before the restore of {name} in place"
    add_hold(outside, saved.snapshot, repository=repository, snapshot=saved.snapshot, reason=reason)
    if saved.reason:
        outside.show.note(f"what is there now was saved, but: {saved.reason}")
    return saved.snapshot


def _holds_anything(path: Path) -> bool:
    """Whether there is a file, a link, or a folder with something in it."""
    if path.is_symlink() or not path.is_dir():
        return os.path.lexists(path)
    with os.scandir(path) as entries:
        return any(True for _ in entries)


def _free(path: Path) -> int:
    existing = next(place for place in (path, *path.parents) if place.exists())
    return shutil.disk_usage(existing).free
