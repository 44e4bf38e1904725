"""The estate document: everything one ``drtool.yaml`` describes, as typed frozen values.

Paths are absolute after loading. Secrets are named here, never read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr
from pydantic_core import InitErrorDetails

from drtool.core.model import Immutability as Locks
from drtool.core.model import LockMode
from drtool.documents.drill import Drill, Drills
from drtool.documents.fields import (
    AccountFile,
    Addresses,
    BucketName,
    CommandLine,
    Duration,
    Endpoint,
    FullPath,
    Name,
    Paths,
    PlainFileName,
    Prefix,
    PresentFile,
    SecretFile,
    Site,
    Text,
    Texts,
    VariableName,
    Version,
)
from drtool.documents.part import Part, found, mistake
from drtool.documents.policy import Policy
from drtool.documents.secrecy import LITERAL

RESERVED_DATASET = "estate"
_PRINTING = frozenset({"echo", "printf"})


class Secret(Part):
    """Where a secret is to be had; exactly one way. Its value never stands in a document."""

    one_of = ("file", "command", "env", "credential")
    confidential = True

    file: Annotated[
        SecretFile | None, Field(description="A file that only its owner can read; its first line counts")
    ] = None
    command: Annotated[CommandLine | None, Field(description="A program and its arguments that print the secret")] = (
        None
    )
    env: Annotated[VariableName | None, Field(description="The name of an environment variable")] = None
    credential: Annotated[PlainFileName | None, Field(description="The name of a systemd credential")] = None

    @classmethod
    def refuse_other(cls, data: object) -> None:
        """A password written out."""
        raise mistake(f"{LITERAL}: put it in a file with mode 0600 and write {{file: PATH}}")

    @classmethod
    def mistakes_in(cls, data: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Also: a command that only prints its arguments."""
        yield from super().mistakes_in(data)
        match data.get("command"):
            case (str(program), _, *_) if PurePath(program).name in _PRINTING:
                message = f"{LITERAL}: this command prints what the document says; use {{file: PATH}}"
                yield found(mistake(message), "command")


class Credentials(Part):
    """Which keys an S3 copy is reached with; the values stand in AWS's own files."""

    confidential = True

    profile: Annotated[Text | None, Field(description="A profile of the AWS shared configuration")] = None
    file: Annotated[SecretFile | None, Field(description="A file in the AWS shared-credentials format, mode 0600")] = (
        None
    )

    @classmethod
    def refuse_other(cls, data: object) -> None:
        """Keys written out."""
        raise mistake(f"{LITERAL}: write {{profile: NAME}} or {{file: PATH}}")

    @classmethod
    def mistakes_in(cls, data: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Also: neither of the keys."""
        yield from super().mistakes_in(data)
        if not data:
            yield found(mistake("needs a profile, a file or both"))


class DeclaredMedium(Part):
    """A medium the machine cannot see, as its owner declares it."""

    kind: Annotated[Literal["disk", "object-store", "tape", "optical"], Field(description="What it is")]
    id: Annotated[Text, Field(description="What tells it from others: a serial number, a label")]
    site: Annotated[Text | None, Field(description="The place where it stands")] = None


class S3Place(Part):
    """A bucket, or a part of one."""

    endpoint: Annotated[Endpoint, Field(description="https://HOST[:PORT]; plain http:// for loopback addresses only")]
    bucket: Annotated[BucketName, Field(description="The bucket; it must exist")]
    prefix: Annotated[Prefix, Field(description="Where in the bucket the copy lies; empty is its root")] = ""
    region: Annotated[Text | None, Field(description="The region to sign requests for")] = None
    ca: Annotated[PresentFile | None, Field(description="A private CA's certificate, as a PEM file")] = None

    @property
    def url(self) -> str:
        """The place in one line, without anything secret."""
        return "/".join(part for part in (self.endpoint, self.bucket, self.prefix) if part)


class Immutability(Part):
    """How long nobody may remove or change what lies in a bucket: S3 object lock."""

    days: Annotated[
        int,
        Field(ge=1, le=36500, description="How long each object is locked; the lock is renewed at half of that time"),
    ]
    mode: Annotated[
        Literal["compliance", "governance"],
        Field(
            description="compliance: nobody can end a lock early; governance: a key with a permission of its own can"
        ),
    ]


class Copy(Part):
    """One complete holding of a repository's objects on one medium."""

    one_of = ("directory", "s3")

    directory: Annotated[FullPath | None, Field(description="A directory on a local or mounted disk")] = None
    s3: Annotated[S3Place | None, Field(description="A bucket of an S3 server")] = None
    credentials: Annotated[
        Credentials | None, Field(description="How to enter the S3 server; without it the AWS chain decides")
    ] = None
    provider: Annotated[Text | None, Field(description="Who runs it; resolved in the register")] = None
    keep_removed: Annotated[
        Duration | None,
        Field(description="How long this copy keeps what retention removed elsewhere; without it not at all"),
    ] = None
    immutability: Annotated[
        Immutability | None, Field(description="Lock what the bucket holds, which must have been made with object lock")
    ] = None
    verify_within: Annotated[
        Duration, Field(description="Within which time `drtool check` reads and hashes every object of this copy")
    ] = timedelta(days=28)
    medium: Annotated[DeclaredMedium | None, Field(description="The medium, where the machine cannot see it")] = None
    patience: Annotated[
        Duration, Field(description="How long an outage of this copy is waited for during a backup")
    ] = timedelta(minutes=2)

    @property
    def place(self) -> Path | S3Place:
        """Where the copy lies."""
        place = self.directory or self.s3
        assert place is not None  # one_of
        return place

    @property
    def locks(self) -> Locks | None:
        """How its objects are to be locked."""
        promise = self.immutability
        return Locks(days=promise.days, mode=LockMode(promise.mode)) if promise else None

    @property
    def location(self) -> str:
        """The place in one line, without anything secret."""
        return str(self.directory) if self.directory else f"s3:{self.s3.url}" if self.s3 else ""

    @classmethod
    def mistakes_in(cls, data: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Also: what a directory has no use for, or cannot do."""
        yield from super().mistakes_in(data)
        if "directory" not in data or "s3" in data:
            return
        for key, complaint in _NOT_OF_A_DIRECTORY.items():
            if key in data:
                yield found(mistake(complaint, at_key=True), key)


_NOT_OF_A_DIRECTORY: Mapping[str, str] = {
    "credentials": "a directory needs no credentials; remove the key",
    "immutability": "a directory cannot be made immutable; only an S3 bucket with object lock can",
}


class Repository(Part):
    """One logical restic repository: a password and its copies, in the order restic prefers them."""

    password: Annotated[Secret, Field(description="The repository's password")]
    copies: Annotated[
        Mapping[Name, Copy],
        Field(min_length=1, description="The copies, in order: restic writes to the first that is healthy"),
    ]


class FileSource(Part):
    """Directories and files."""

    paths: Annotated[Paths, Field(description="What to back up")]
    exclude: Annotated[Texts, Field(description="Patterns to leave out, as restic reads them")] = ()
    one_file_system: Annotated[bool, Field(description="Do not cross into other mounts")] = False


class SqliteSource(Part):
    """A SQLite database, copied while it is in use."""

    path: Annotated[FullPath, Field(description="The database file")]


class MariaDBSource(Part):
    """A MariaDB database, dumped as of one moment, with the accounts that have rights on it."""

    database: Annotated[Text, Field(description="The database")]
    defaults_file: Annotated[
        AccountFile, Field(description="An option file with server, user and password of the dump's account, mode 0600")
    ]
    restore_defaults_file: Annotated[
        AccountFile | None,
        Field(description="The same for an account that may create databases and accounts; only restore uses it"),
    ] = None
    accounts: Annotated[bool, Field(description="Save the accounts with rights on the database too")] = True
    timeout: Annotated[Duration, Field(description="How long the dump may take")] = timedelta(hours=12)


class PostgreSQLSource(Part):
    """A PostgreSQL database, dumped as of one moment, with the roles that it needs."""

    database: Annotated[Text, Field(description="The database")]
    host: Annotated[Text | None, Field(description="The server's name, or the folder of its socket")] = None
    port: Annotated[int, Field(ge=1, le=65535, description="The server's port")] = 5432
    user: Annotated[Text | None, Field(description="The role that dumps")] = None
    passfile: Annotated[
        AccountFile | None, Field(description="Its password, in a file as libpq reads it (~/.pgpass), mode 0600")
    ] = None
    restore_user: Annotated[
        Text | None, Field(description="The role that may create databases and roles; only restore uses it")
    ] = None
    restore_passfile: Annotated[AccountFile | None, Field(description="Its password; without it passfile")] = None
    accounts: Annotated[bool, Field(description="Save the roles that the database needs too")] = True
    timeout: Annotated[Duration, Field(description="How long the dump may take")] = timedelta(hours=12)


DatabaseSource = MariaDBSource | PostgreSQLSource


class CommandSource(Part):
    """What a program prints; a program that fails leaves no snapshot."""

    argv: Annotated[CommandLine, Field(description="The program and its arguments; no shell")]
    filename: Annotated[PlainFileName, Field(description="The name of the output inside the snapshot")]
    timeout: Annotated[Duration, Field(description="How long the program may run")] = timedelta(hours=12)


class Retention(Part):
    """How many snapshots are kept; what several keys keep is kept once."""

    last: Annotated[int, Field(ge=0, description="The newest snapshots")] = 0
    hourly: Annotated[int, Field(ge=0, description="One for each of so many hours")] = 0
    daily: Annotated[int, Field(ge=0, description="One for each of so many days")] = 0
    weekly: Annotated[int, Field(ge=0, description="One for each of so many weeks")] = 0
    monthly: Annotated[int, Field(ge=0, description="One for each of so many months")] = 0
    yearly: Annotated[int, Field(ge=0, description="One for each of so many years")] = 0
    within: Annotated[Duration | None, Field(description="Everything this young")] = None

    @classmethod
    def mistakes_in(cls, data: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Also: keeping nothing at all."""
        yield from super().mistakes_in(data)
        if all(data[key] == 0 for key in data):
            yield found(mistake("keeps nothing; give at least one number above 0, or leave retention out"))


class Dataset(Part):
    """A named thing to protect, with its objectives."""

    one_of = ("files", "mariadb", "postgresql", "sqlite", "command")

    repository: Annotated[Name, Field(description="The repository its snapshots go to")]
    files: Annotated[FileSource | None, Field(description="Back up directories and files")] = None
    mariadb: Annotated[MariaDBSource | None, Field(description="Back up a MariaDB database")] = None
    postgresql: Annotated[PostgreSQLSource | None, Field(description="Back up a PostgreSQL database")] = None
    sqlite: Annotated[SqliteSource | None, Field(description="Back up a SQLite database")] = None
    command: Annotated[CommandSource | None, Field(description="Back up what a program prints")] = None
    rpo: Annotated[Duration, Field(description="How much of the newest work may be lost: age of a snapshot")]
    rto: Annotated[Duration, Field(description="How long a restore may take")]
    retention: Annotated[Retention | None, Field(description="What prune keeps; without it everything is kept")] = None
    drill: Annotated[Drill, Field(description="How its restore is rehearsed")] = Drill()

    @property
    def source(self) -> FileSource | DatabaseSource | SqliteSource | CommandSource:
        """What is read."""
        source = self.files or self.mariadb or self.postgresql or self.sqlite or self.command
        assert source is not None  # one_of
        return source

    def secret_files(self) -> tuple[Path | None, ...]:
        """The files that hold its database's passwords."""
        match self.source:
            case MariaDBSource() as source:
                return source.defaults_file, source.restore_defaults_file
            case PostgreSQLSource() as source:
                return source.passfile, source.restore_passfile
        return ()


class Estate(Part):
    """Everything one ``drtool.yaml`` describes."""

    version: Annotated[Version, Field(description="The version of this document's form")]
    site: Annotated[Site, Field(description="Names this installation in snapshots and evidence")]
    locale: Annotated[Literal["de", "en"], Field(description="The language of reports")] = "en"
    repositories: Annotated[Mapping[Name, Repository], Field(min_length=1, description="The repositories")]
    media: Annotated[
        Mapping[FullPath, DeclaredMedium],
        Field(min_length=1, description="Declared media of paths, for everything below each path"),
    ] = Field(default_factory=dict)
    datasets: Annotated[Mapping[Name, Dataset], Field(min_length=1, description="What to protect")]
    policies: Annotated[Paths, Field(description="The policies by which the estate is judged")] = ()
    runbooks: Annotated[FullPath | None, Field(description="The folder of the runbooks")] = None
    register_file: Annotated[
        FullPath | None, Field(alias="register", description="The register of providers and assets")
    ] = None
    notify: Annotated[Addresses, Field(description="Where to tell what went wrong")] = ()
    drills: Annotated[Drills, Field(description="What holds for all drills")] = Drills()

    _path: Path = PrivateAttr(default=Path("drtool.yaml"))
    _policies_loaded: tuple[Policy, ...] = PrivateAttr(default=())

    @property
    def path(self) -> Path:
        """The estate's own file."""
        return self._path

    @property
    def policies_loaded(self) -> tuple[Policy, ...]:
        """The policies, in the order in which the estate names them."""
        return self._policies_loaded

    def read_from(self, path: Path, policies: tuple[Policy, ...]) -> Self:
        """The same estate, knowing its file and its policies."""
        estate = self.model_copy()
        estate._path = path
        estate._policies_loaded = policies
        return estate

    def declared_medium(self, path: Path) -> DeclaredMedium | None:
        """The medium declared in ``media`` for a path: that of the nearest folder above it."""
        above = (path, *path.parents)
        return next((self.media[place] for place in above if place in self.media), None)

    def secret_files(self) -> frozenset[Path]:
        """The files that hold secrets."""
        passwords = (repository.password.file for repository in self.repositories.values())
        copies = (copy for repository in self.repositories.values() for copy in repository.copies.values())
        keys = (copy.credentials.file for copy in copies if copy.credentials)
        accounts = (file for dataset in self.datasets.values() for file in dataset.secret_files())
        return frozenset(file for file in (*passwords, *keys, *accounts) if file)

    def documents(self) -> tuple[Path, ...]:
        """The estate's own documents that are there: itself, policies, register, runbooks, scripts. Never a secret."""
        runbooks = sorted((*self.runbooks.rglob("*.yaml"), *self.runbooks.rglob("*.sh"))) if self.runbooks else []
        register = [self.register_file] if self.register_file else []
        files = dict.fromkeys((self.path, *self.policies, *register, *runbooks))
        secrets = self.secret_files()
        return tuple(file for file in files if os.path.isfile(file) and file not in secrets)

    @classmethod
    def mistakes_in(cls, data: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Also: a dataset with the name under which the estate itself is stored."""
        yield from super().mistakes_in(data)
        datasets = data.get("datasets")
        if isinstance(datasets, dict) and RESERVED_DATASET in datasets:
            message = f"the name '{RESERVED_DATASET}' is taken: under it the estate itself is stored"
            yield found(mistake(message, at_key=True), "datasets", RESERVED_DATASET)
