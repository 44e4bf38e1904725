"""Ties the estate to the adapters: the one place where the outside is put together."""

from __future__ import annotations

import os
import pwd
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from drtool.adapters import dumper, secrets, sqlite
from drtool.adapters.block_devices import BlockDevices
from drtool.adapters.directory import DirectoryCopy
from drtool.adapters.evidence_store import EvidenceStore
from drtool.adapters.hosts import Line, Machine, Service, SystemHosts
from drtool.adapters.mariadb import MariaDB
from drtool.adapters.memory import keep_little
from drtool.adapters.messages import Addresses
from drtool.adapters.postgresql import PostgreSQL
from drtool.adapters.restic import ResticProgram, find_restic
from drtool.adapters.s3 import Credentials, Place, S3Copy
from drtool.adapters.sqlite import SqliteDatabases
from drtool.adapters.state import FileLocks, StateSpool, SystemClock
from drtool.cli.settings import Settings
from drtool.core.media import Medium, declared_medium
from drtool.core.model import Verdict
from drtool.core.objects import Inventory
from drtool.core.ports import Copy, Evidence, Hosts, Messages, Probes, Restic, Show, Source, Union
from drtool.documents.estate import Copy as CopyDocument
from drtool.documents.estate import (
    DatabaseSource,
    DeclaredMedium,
    Estate,
    FileSource,
    MariaDBSource,
    PostgreSQLSource,
    Secret,
    SqliteSource,
)
from drtool.documents.fields import Endpoint
from drtool.documents.loader import find_estate, load_estate
from drtool.documents.register import Host, Register, ServiceCommands, Ssh
from drtool.errors import DrtoolError, UsageError
from drtool.flows.outside import Outside
from drtool.render.show import show_for

HASTE = timedelta(seconds=10)  # patience of commands before which a person sits


def open_estate(settings: Settings) -> Estate:
    """Find, read and check the estate. Raises ``UsageError`` and ``DocumentInvalid``."""
    return load_estate(find_estate(settings.config, os.environ))


def open_evidence(settings: Settings, estate: Estate) -> EvidenceStore:
    return EvidenceStore(state_folder(settings, estate.site) / "evidence.db", SystemClock())


@contextmanager
def open_outside(
    settings: Settings, estate: Estate, *, patient: bool = False, reads: bool = False, show: Show | None = None
) -> Iterator[Outside]:
    """Everything that flows may touch. With ``patient``, outages are waited for as long as the estate says.

    A command that only ``reads`` goes on without a record where the state folder cannot be written to:
    in an incident it often cannot, and nothing needed for a restore lies only there.
    """
    keep_little()
    show = show or show_for(quiet=settings.quiet)
    with ExitStack() as stack:
        stack.callback(show.close)
        state = state_folder(settings, estate.site)
        try:
            evidence = _opened(state)
        except DrtoolError as error:
            if not reads:
                raise
            show.note(f"{error.message}; going on without a record")
            state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drtool-")))
            evidence = _opened(state)
        stack.callback(evidence.close)
        # restic is asked for its version while the copies are looked at
        asking = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="restic"))
        program = asking.submit(find_restic, os.environ)
        locks = FileLocks(state / "locks")
        yield Outside(
            clock=SystemClock(),
            evidence=evidence,
            locks=locks,
            spool=StateSpool(state / "spool"),
            media=EstateMedia(estate),
            databases=EstateDatabases(estate),
            copies={name: _copies(estate, name, evidence, state, patient=patient) for name in estate.repositories},
            restic=_restics(estate, program, state, locks, evidence, scan=show.watched),
            union=_union,
            show=show,
            operator=operator(),
        )


def operator() -> str:
    """The login name of who acts; only root is believed to have been somebody else before."""
    before = os.environ.get("SUDO_USER") if os.geteuid() == 0 else None
    return before or pwd.getpwuid(os.getuid()).pw_name


def _opened(state: Path) -> EvidenceStore:
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise DrtoolError(f"state folder {state} cannot be used: {why}", hint="name another by --state") from error
    evidence = EvidenceStore(state / "evidence.db", SystemClock())
    evidence.check_writable()
    return evidence


def state_folder(settings: Settings, site: str) -> Path:
    """Below it, each site has a folder of its own."""
    named = settings.state or os.environ.get("DRTOOL_STATE")
    if named:
        return Path(named).absolute() / site
    if os.geteuid() == 0:
        return Path("/var/lib/drtool") / site
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "drtool" / site


class EstateDatabases(SqliteDatabases):
    """See ``core.ports.Databases``."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate

    def check_programs(self, dataset: str) -> None:
        if server := self.server(dataset):
            server.check_programs()

    def dump(self, dataset: str) -> Source:
        server, what = self.server(dataset), self._estate.datasets[dataset].source
        assert server and isinstance(what, DatabaseSource)  # others are not dumped
        return dumper.source(server, filename=f"{dataset}.sql", limit=what.timeout.total_seconds())

    def server(self, dataset: str) -> MariaDB | PostgreSQL | None:
        match self._estate.datasets[dataset].source:
            case MariaDBSource() as what:
                return MariaDB(
                    database=what.database,
                    defaults_file=what.defaults_file,
                    restore_file=what.restore_defaults_file or what.defaults_file,
                    accounts_too=what.accounts,
                )
            case PostgreSQLSource() as what:
                return PostgreSQL(
                    database=what.database,
                    host=what.host or "",
                    port=what.port,
                    user=what.user or "",
                    passfile=what.passfile,
                    restore_user=what.restore_user or what.user or "",
                    restore_passfile=what.restore_passfile or what.passfile,
                    accounts_too=what.accounts,
                )
        return None

    def answer(self, dataset: str, query: str, limit: float) -> str | None:
        """The first field that a dataset's database answers within so many seconds, asked by its dump's account."""
        if dataset not in self._estate.datasets:
            raise UsageError(f"there is no dataset {dataset}")
        if server := self.server(dataset):
            return server.answer(query, limit)
        source = self._estate.datasets[dataset].source
        if isinstance(source, SqliteSource):
            return sqlite.answer(source.path, query, limit)
        raise UsageError(f"dataset {dataset} is no database")


class EstateMedia:
    """See ``core.ports.Media``: declared media first, else as followed to the hardware."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate
        self._devices = BlockDevices()

    def of_copy(self, repository: str, copy: str) -> Medium:
        document = self._estate.repositories[repository].copies[copy]
        if document.directory:
            seen = self._of_path(document.directory)
        else:
            assert document.s3 is not None  # one of the two; the document says so
            seen = self._devices.medium_of_endpoint(document.s3.endpoint, document.s3.bucket, document.provider)
        return _declared(document.medium, seen) if document.medium else seen

    def of_dataset(self, dataset: str) -> tuple[Medium, ...]:
        """A command's data lies where only its author knows, and a server's where only the server does."""
        source = self._estate.datasets[dataset].source
        if isinstance(source, FileSource):
            return tuple(dict.fromkeys(self._of_path(path) for path in source.paths))
        return (self._of_path(source.path),) if isinstance(source, SqliteSource) else ()

    def _of_path(self, path: Path) -> Medium:
        seen, declared = self._devices.medium_of(path), self._estate.declared_medium(path)
        return _declared(declared, seen) if declared else seen


def _declared(document: DeclaredMedium, seen: Medium) -> Medium:
    return declared_medium(kind=document.kind, identity=document.id, site=document.site, seen=seen)


def _copies(
    estate: Estate, repository: str, evidence: EvidenceStore, state: Path, *, patient: bool
) -> tuple[Copy, ...]:
    documents = estate.repositories[repository].copies
    return tuple(_copy(repository, name, documents[name], evidence, state, patient) for name in documents)


def _copy(
    repository: str, name: str, document: CopyDocument, evidence: EvidenceStore, state: Path, patient: bool
) -> Copy:
    if document.directory:
        return DirectoryCopy(name, document.directory)
    s3, keys = document.s3, document.credentials
    assert s3 is not None  # one of the two; the document says so
    copy = S3Copy(
        name,
        Place(endpoint=s3.endpoint, bucket=s3.bucket, prefix=s3.prefix, region=s3.region, ca=s3.ca),
        Credentials(profile=keys.profile, file=keys.file) if keys else Credentials(),
        patience=(document.patience if patient else min(document.patience, HASTE)).total_seconds(),
        spool=state,
        immutability=document.locks,
        now=SystemClock().now,
    )
    probed = evidence.upload_verification(repository, name)
    copy.verification = probed[0] if probed else None
    return copy


def _restics(
    estate: Estate, program: Future[Path], state: Path, locks: FileLocks, evidence: Evidence, *, scan: bool
) -> Callable[[str], Restic]:
    @cache
    def restic(repository: str) -> Restic:
        secret = estate.repositories[repository].password
        return ResticProgram(
            program.result(),
            password=lambda: secret_of(secret),
            site=estate.site,
            state=state,
            keep_open=locks.descriptors,
            scan=scan,
            known=lambda: evidence.repository_id(repository),
        )

    return restic


def open_location(
    location: str, password: bytes, scratch: Path, *, credentials: Path | None, region: str | None, ca: Path | None
) -> tuple[Copy, Restic]:
    """One copy by its place alone, where there is no estate yet. Raises ``UsageError`` for what is no place."""
    state = scratch / "state"
    state.mkdir(mode=0o700)
    if location.startswith("s3:"):
        place = _bucket(location, region, ca)
        copy: Copy = S3Copy(
            "location", place, Credentials(file=credentials), patience=HASTE.total_seconds(), spool=state
        )
    else:
        copy = DirectoryCopy("location", Path(location).absolute())
    program = find_restic(os.environ)
    return copy, ResticProgram(program, password=lambda: password, site="bootstrap", state=state)


def _bucket(location: str, region: str | None, ca: Path | None) -> Place:
    """The place that restic's own notation names: s3:https://ENDPOINT/BUCKET/PREFIX."""
    url = urlsplit(location.removeprefix("s3:"))
    bucket, _, prefix = url.path.strip("/").partition("/")
    if url.scheme not in ("https", "http") or not url.netloc or not bucket:
        raise UsageError(
            f"{location} is no place of a copy", hint="write it like s3:https://s3.example.net/bucket/prefix"
        )
    try:
        endpoint = TypeAdapter(Endpoint).validate_python(f"{url.scheme}://{url.netloc}")
    except ValidationError as error:
        raise UsageError(f"{location}: {error.errors()[0]['msg']}") from None
    return Place(endpoint=endpoint, bucket=bucket, prefix=prefix, region=region, ca=ca)


def open_hosts(register: Register, state: Path) -> SystemHosts:
    """The register's machines; a context, at whose end the connections end.

    Their sockets lie in memory where that may be, as a full disk is just when they are needed.
    """
    machines = {name: _machine(host) for name, host in register.hosts.items()}
    return SystemHosts(machines, places=(Path("/run"), Path(tempfile.gettempdir()), state))


def _machine(host: Host) -> Machine:
    services = {name: _service(known) for name, known in host.services.items()}
    return Machine(line=_line(host.ssh) if host.ssh else None, services=services)


def _line(ssh: Ssh) -> Line:
    return Line(
        address=ssh.address,
        port=ssh.port,
        user=ssh.user,
        identity=ssh.identity,
        known_hosts=ssh.known_hosts,
        timeout=ssh.timeout.total_seconds(),
    )


def _service(known: ServiceCommands) -> Service:
    said = {action: getattr(known, action) for action in ("start", "stop", "restart", "reload", "status")}
    return Service(unit=known.unit, commands={action: argv for action, argv in said.items() if argv})


def open_probes(
    estate: Estate, hosts: Hosts, *, copies: Callable[[str | None], tuple[Verdict, str]] | None = None
) -> Probes:
    """What observes; ``copies`` judges the copies of a repository, or of all. Without it they are unknown."""
    from drtool.adapters.probes import Observer  # pages, names and certificates are only loaded where they are asked

    judge = copies or (lambda repository: (Verdict.UNKNOWN, "the copies are not looked at here"))
    return Observer(hosts, ask=EstateDatabases(estate).answer, copies=judge)


def open_messages(estate: Estate) -> Messages:
    """Who is told."""
    return Addresses(estate.notify)


def _union(
    copies: Sequence[Copy], present: Mapping[str, Inventory], config_sha256: str
) -> AbstractContextManager[Union]:
    from drtool.adapters.union import serve_union  # aiohttp is only loaded where it serves

    return serve_union(copies, present, config_sha256)


def secret_of(secret: Secret) -> bytes:
    if secret.file:
        return secrets.from_file(secret.file)
    if secret.command:
        return secrets.from_command(secret.command)
    if secret.env:
        return secrets.from_environment(secret.env, os.environ)
    assert secret.credential is not None  # one of the four; the document says so
    return secrets.from_credential(secret.credential, os.environ)
