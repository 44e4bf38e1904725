"""Bring a database back: check the whole dump, create the database, load it, compare what is in it then."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from drtool.core.dump import Comparison, Contents, DumpReader, Incomplete, Section, SectionKind, Verdict, compare
from drtool.core.model import LoadPlan, LoadRequest, Outcome, RestoreOutcome, Taken
from drtool.core.ports import Copy, DatabaseServer, Place, Progress, Script
from drtool.core.selection import choose_snapshot
from drtool.documents.estate import Estate
from drtool.errors import DatabaseFailed, DrtoolError, NoSnapshot, UsageError
from drtool.flows.catalogue import known_snapshots
from drtool.flows.outside import Outside
from drtool.flows.restore import FAILURES, named_copy, report_damage, sources_of, stock_of, worth_trying_alone

Take = Callable[[bytes], None]
NAMED = 3  # tables named in a reason; the outcome lists all


def plan_load(estate: Estate, request: LoadRequest, outside: Outside) -> LoadPlan:
    """Choose and check; nothing is written. Raises what stands in the way."""
    server = _server(request, outside)
    repository = estate.datasets[request.dataset].repository
    outside.show.phase(f"looking at the copies of {repository}")
    stock = stock_of(repository, request.copy, outside)
    snapshot = choose_snapshot(
        known_snapshots(repository, outside, stock.everything), request.dataset, at=request.at, named=request.snapshot
    )
    if len(snapshot.paths) != 1:
        raise NoSnapshot(
            f"snapshot {snapshot.id[:8]} of {request.dataset} holds no dump of a database",
            hint=f"drtool restore {request.dataset} --snapshot {snapshot.id[:8]} --to DIRECTORY",
        )
    sources = sources_of(repository, snapshot, stock, outside)
    return LoadPlan(
        request=request,
        repository=repository,
        snapshot=snapshot,
        path=snapshot.paths[0],
        sources=sources,
        direct=request.copy is not None or worth_trying_alone(sources, repository, stock, outside),
        united=request.copy is None and len(stock.present) > 1,
        present=stock.everything,
        config_sha256=stock.config_sha256,
        server=server.where,
        holds=_holds(server, request),
    )


def _server(request: LoadRequest, outside: Outside) -> DatabaseServer:
    server = outside.databases.server(request.dataset)
    if server is None:
        raise UsageError(
            f"dataset {request.dataset} is no database of a server",
            hint=f"drtool restore {request.dataset} --to DIRECTORY",
        )
    if server.reserved(request.database):
        raise UsageError(f"{request.database} is a database of the server itself", hint="choose another name")
    return server


def _holds(server: DatabaseServer, request: LoadRequest) -> int | None:
    """How much is in the database now; raises where that must not be touched."""
    held = server.objects_in(request.database)
    if held and not request.over:
        raise UsageError(
            f"database {request.database} is not empty: it holds {held} tables or routines",
            hint="choose another name by --into, or drop it and create it anew with --yes",
        )
    return held


def load(plan: LoadPlan, outside: Outside) -> RestoreOutcome:
    """Read the dump twice: once to check that it is whole, once into the database's own client."""
    run, start, request = uuid.uuid4().hex, outside.clock.monotonic(), plan.request
    body = {
        "dataset": request.dataset,
        "snapshot": plan.snapshot.id,
        "sources": list(plan.sources),
        "by": outside.operator,
    }
    outside.evidence.append(run, "restore.started", body)
    delivery = _Delivery(plan=plan, run=run, outside=outside)
    try:
        tables, size = _load(plan, delivery, outside)
    except BaseException as error:
        outside.evidence.append(run, "restore.failed", body | {"error": type(error).__name__})
        raise
    wrong = [one for one in tables if one.verdict is not Verdict.EQUAL]
    outcome = RestoreOutcome(
        run=run,
        dataset=request.dataset,
        snapshot=plan.snapshot,
        source=plan.sources[0] if delivery.direct else "union",
        target=request.database,
        files=1,
        bytes=size,
        seconds=outside.clock.monotonic() - start,
        verified=not wrong,
        taken_from=delivery.taken,
        damage=delivery.damage,
        tables=tables,
        outcome=Outcome.INCOMPLETE if wrong else Outcome.DONE,
        reason=_reason(wrong, tables),
    )
    figures = {
        "source": outcome.source,
        "bytes": size,
        "tables": len(tables),
        "rows": sum(one.found or 0 for one in tables),
        "tables_wrong": len(wrong),
        "seconds": round(outcome.seconds, 3),
    }
    outside.evidence.append(run, "restore.finished", body | figures)
    return outcome


def _reason(wrong: Sequence[Comparison], tables: Sequence[Comparison]) -> str:
    if not wrong:
        return ""
    named = [
        f"{one.table}: {'no such table' if one.found is None else f'{one.found} rows'},"
        f" saved {'no such table' if one.expected is None else one.expected}"
        for one in wrong[:NAMED]
    ]
    more = [f"and {len(wrong) - NAMED} more"] if len(wrong) > NAMED else []
    return f"{len(wrong)} of {len(tables)} tables are not as they were saved: {'; '.join([*named, *more])}"


def _load(plan: LoadPlan, delivery: _Delivery, outside: Outside) -> tuple[tuple[Comparison, ...], int]:
    """The tables compared, and the size of the dump."""
    request, server = plan.request, _server(plan.request, outside)
    outside.show.phase(f"checking the dump of {request.dataset}")
    contents, size = _checked(plan, delivery, server)
    parts = _parts_to_load(contents, request, server)
    with _made_ready(contents, request, server, outside):
        outside.show.phase(f"loading {request.dataset} into {request.database}")
        with _Parts(server, request.database, parts) as loading:
            delivery.read(loading.take)
    outside.show.phase(f"counting the rows of {request.database}")
    return compare(contents.tables, server.rows(request.database)), size


def _checked(plan: LoadPlan, delivery: _Delivery, server: DatabaseServer) -> tuple[Contents, int]:
    """What the dump says that it holds. Raises where it is not whole, before anything was written."""
    reading, what = DumpReader(), f"the dump of {plan.request.dataset} in snapshot {plan.snapshot.id[:8]}"
    delivery.read(reading.take)
    hint = f"choose another of: drtool snapshots {plan.request.dataset}"
    try:
        contents = reading.contents()
    except Incomplete as error:
        raise DatabaseFailed(f"{what} cannot be loaded: {error}", hint=hint) from None
    if contents.kind != server.kind:
        raise DatabaseFailed(f"{what} is of {contents.kind}, and the dataset's server is {server.kind}", hint=hint)
    return contents, reading.bytes


def _parts_to_load(contents: Contents, request: LoadRequest, server: DatabaseServer) -> list[Section]:
    """The database, and the accounts where it gets its own name back; accounts that exist are left alone."""
    there = server.accounts()
    missing = [part for part in contents.parts if part.kind is SectionKind.ACCOUNT and part.name not in there]
    own = request.database == contents.database
    if missing and server.needs_accounts and not own:
        raise UsageError(
            f"the database needs roles that the server lacks: {', '.join(part.name for part in missing)}",
            hint=f"create them, or restore the database with them under its own name: --into {contents.database}",
        )
    return [part for part in contents.parts if part.kind is SectionKind.DATABASE or (own and part in missing)]


@contextmanager
def _made_ready(contents: Contents, request: LoadRequest, server: DatabaseServer, outside: Outside) -> Iterator[None]:
    """An empty database to load into. Where that fails, what was created for it is dropped again."""
    database, held = request.database, _holds(server, request)
    if held:
        outside.show.note(f"dropping database {database}, which holds {held} tables or routines")
        server.drop(database)
    if held != 0:
        server.create(database, contents.properties)
    try:
        yield
    except BaseException as error:
        state = _left_behind(server, database, created=held != 0)
        if held:
            state += "; what it held before is gone"
        if isinstance(error, DrtoolError):
            error.message += f"; {state}"
        else:
            outside.show.note(state)
        raise


def _left_behind(server: DatabaseServer, database: str, *, created: bool) -> str:
    """What is left of a database whose loading failed."""
    if not created:
        return f"database {database} is half loaded"
    try:
        server.drop(database)
    except DrtoolError as error:
        return f"database {database} is half loaded, and could not be dropped: {error.message}"
    return f"the half-loaded database {database} was dropped"


class _Parts:
    """Leads each part of the dump to a client of its own, and leaves out what is between them."""

    def __init__(self, server: DatabaseServer, database: str, parts: Collection[Section]) -> None:
        self._server, self._database = server, database
        self._waiting = sorted(parts, key=lambda part: part.start)
        self._at, self._script, self._client = 0, None, ExitStack()

    _script: Script | None

    def __enter__(self) -> _Parts:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def take(self, content: bytes) -> None:
        start, self._at = self._at, self._at + len(content)
        while self._waiting and self._waiting[0].start < self._at:
            part = self._waiting[0]
            self._running(part).say(content[max(0, part.start - start) : part.end - start])
            if part.end > self._at:
                return
            self._end()
            del self._waiting[0]

    def _running(self, part: Section) -> Script:
        if self._script is None:
            database = self._database if part.kind is SectionKind.DATABASE else None
            self._script = self._client.enter_context(self._server.load(database))
        return self._script

    def _end(self) -> None:
        """One client has run all of its part before the next begins."""
        if self._script:
            self._script.end()
        self._script = None
        self._client.close()


@dataclass(slots=True, kw_only=True)
class _Delivery:
    """Hands over the dump, every byte once and in order, from whatever has it.

    ``direct`` as long as restic reads the best copy itself. ``taken`` is of the last reading, ``damage`` of all.
    """

    plan: LoadPlan
    run: str
    outside: Outside
    direct: bool = field(init=False)
    taken: Mapping[str, Taken] = field(default_factory=dict)
    damage: dict[str, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.direct = self.plan.direct

    def read(self, take: Take) -> None:
        """From the best copy; where that breaks, in the middle too, the rest comes from all copies together."""
        once, name = _Once(take, self._progress), self.plan.sources[0]
        if self.direct:
            try:
                self._dump(self._copy(name), once)
                self.taken = {name: Taken(objects=None, bytes=once.done)}
                return
            except FAILURES as error:
                if not self.plan.united:
                    raise
                self.direct = False
                self.outside.show.note(f"{error.message}; going on with all copies together")
        before = {name: Taken(objects=None, bytes=once.done)} if once.done else {}
        self._read_united(once)
        self.taken = {**before, **self.taken}

    def _read_united(self, once: _Once) -> None:
        plan = self.plan
        names = [*plan.sources, *(name for name in plan.present if name not in plan.sources)]
        with self.outside.union([self._copy(name) for name in names], plan.present, plan.config_sha256) as union:
            try:
                self._dump(union, once)
            finally:
                self._report(union.damage())
            self.taken = union.taken()

    def _report(self, damage: Mapping[str, frozenset[str]]) -> None:
        """Once, though the dump is read twice."""
        new = {name: keys - self.damage.get(name, frozenset()) for name, keys in damage.items()}
        report_damage(self.plan.repository, self.run, {name: new[name] for name in new if new[name]}, self.outside)
        self.damage = {name: keys | self.damage.get(name, frozenset()) for name, keys in damage.items()}

    def _dump(self, place: Place, once: _Once) -> None:
        restic = self.outside.restic(self.plan.repository)
        restic.dump(place, self.plan.snapshot.id, self.plan.path, once.again())

    def _copy(self, name: str) -> Copy:
        return named_copy(self.outside.copies[self.plan.repository], name)

    def _progress(self, done: int) -> None:
        self.outside.show.progress(Progress(done=done, total=self.plan.snapshot.bytes))


class _Once:
    """Passes on what was not passed on before, however often the same bytes come from their beginning."""

    def __init__(self, take: Take, progress: Callable[[int], None]) -> None:
        self._take, self._progress = take, progress
        self.done = 0

    def again(self) -> Take:
        at = 0

        def take(content: bytes) -> None:
            nonlocal at
            new = content[max(0, self.done - at) :]
            at += len(content)
            if new:
                self._take(new)
                self.done += len(new)
                self._progress(self.done)

        return take
