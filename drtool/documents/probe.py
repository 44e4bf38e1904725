"""Probes: what only observes. Each passes, fails, or cannot tell (unknown)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic_core import InitErrorDetails

from drtool.documents.fields import CommandLine, Duration, Name, Sha256, Text, Texts
from drtool.documents.part import Part, found, mistake

Port = Annotated[int, Field(ge=1, le=65535, description="The port")]
HttpStatus = Annotated[str, Field(pattern=r"^[1-5](xx|[0-9][0-9])$")]


class _Probe(Part):
    text: Annotated[Text | None, Field(description="What it means when this fits, for a person")] = None
    expect: Annotated[
        Literal["passing", "failing"],
        Field(description="failing: it fits where the probe fails; a probe that cannot tell never fits"),
    ] = "passing"
    timeout: Annotated[Duration, Field(description="How long one attempt may take")] = timedelta(seconds=5)
    retries: Annotated[int, Field(ge=0, description="How often more it is tried where it does not fit")] = 0
    interval: Annotated[Duration, Field(description="How long is waited between two attempts")] = timedelta(seconds=2)
    consecutive: Annotated[int, Field(ge=1, description="How often in a row it must fit")] = 1


class _ProbeOnHost(_Probe):
    target: Annotated[Text | None, Field(description="The register's host it looks at; without it this machine")] = None


class HttpProbe(_Probe):
    """A page is answered as it should be, over a connection whose certificate is valid."""

    probe: Literal["http"]
    url: Annotated[Text, Field(description="The address to get")]
    status: Annotated[
        tuple[HttpStatus, ...], Field(min_length=1, description="The status that is right: '200', or 2xx for all alike")
    ] = ("2xx", "3xx")
    header: Annotated[
        Mapping[Text, str], Field(description="Headers that must be there, with what they hold; '' for anything")
    ] = Field(default_factory=dict)
    body: Annotated[Text | None, Field(description="What the page must hold")] = None
    without: Annotated[Text | None, Field(description="What the page must not hold")] = None
    connect: Annotated[Text | None, Field(description="HOST:PORT to connect to, whatever the name resolves to")] = None
    ca: Annotated[Text | None, Field(description="A private CA's certificate, as a PEM file")] = None
    valid_for: Annotated[
        Duration | None, Field(description="How long the certificate must still be valid, for https")
    ] = None


class TcpProbe(_Probe):
    """A port accepts connections."""

    probe: Literal["tcp"]
    host: Annotated[Text, Field(description="The name or address")]
    port: Port


class TlsProbe(_Probe):
    """A server's certificate is valid for its name, and stays so."""

    probe: Literal["tls"]
    host: Annotated[Text, Field(description="The name or address to connect to")]
    port: Port = 443
    name: Annotated[Text | None, Field(description="The name the certificate must be for; without it the host")] = None
    ca: Annotated[Text | None, Field(description="A private CA's certificate, as a PEM file")] = None
    valid_for: Annotated[Duration, Field(description="How long it must still be valid")] = timedelta(days=14)


class DnsProbe(_Probe):
    """A name resolves to what it should."""

    probe: Literal["dns"]
    name: Annotated[Text, Field(description="The name to ask for")]
    type: Annotated[
        Literal["A", "AAAA", "CNAME", "MX", "NS", "SOA", "TXT", "CAA", "DS"], Field(description="The kind of record")
    ] = "A"
    server: Annotated[Text | None, Field(description="ADDRESS or ADDRESS:PORT to ask; without it the system's")] = None
    answer: Annotated[Texts | None, Field(description="The whole answer, in any order; without it any answer")] = None


class FileProbe(_ProbeOnHost):
    """A file is there, or is not."""

    probe: Literal["file"]
    path: Annotated[Text, Field(description="The file or folder")]
    present: Annotated[bool, Field(description="Whether it must be there")] = True
    contains: Annotated[Text | None, Field(description="What a line of it must hold")] = None
    younger: Annotated[Duration | None, Field(description="How old its content may be")] = None


class DiskProbe(_ProbeOnHost):
    """A file system has room left, of bytes and of inodes."""

    probe: Literal["disk"]
    path: Annotated[Text, Field(description="Any path of the file system")]
    free: Annotated[int, Field(ge=0, le=100, description="Per cent of the bytes that must be free")] = 10
    inodes: Annotated[int, Field(ge=0, le=100, description="Per cent of the inodes that must be free")] = 10


class ProcessProbe(_ProbeOnHost):
    """A program runs."""

    probe: Literal["process"]
    name: Annotated[Text, Field(description="The program's name, exactly")]
    min: Annotated[int, Field(ge=0, description="How many at least")] = 1
    max: Annotated[int | None, Field(ge=0, description="How many at most")] = None


class ServiceProbe(_ProbeOnHost):
    """A service is active."""

    probe: Literal["service"]
    service: Annotated[Text, Field(description="The service, as the register or systemd knows it")]


class SqlProbe(_Probe):
    """A query answers as it should."""

    probe: Literal["sql"]
    dataset: Annotated[Text, Field(description="The dataset whose database is asked, with that dataset's account")]
    query: Annotated[Text, Field(description="The query; the first field of its first row counts")]
    answer: Annotated[Text | None, Field(description="The answer it must have")] = None
    at_least: Annotated[int | None, Field(description="The number it must at least be")] = None


class Sha256Probe(_ProbeOnHost):
    """A file has the content it should have."""

    probe: Literal["sha256"]
    path: Annotated[Text, Field(description="The file")]
    sha256: Annotated[Sha256, Field(description="Its SHA-256")]


class CommandProbe(_ProbeOnHost):
    """A program that only observes ends as it should."""

    probe: Literal["command"]
    argv: Annotated[CommandLine, Field(description="The program and its arguments; no shell")]
    exit: Annotated[int, Field(ge=0, le=255, description="The exit code that is right")] = 0
    output: Annotated[Text | None, Field(description="What its output must hold")] = None


class CopiesProbe(_Probe):
    """Every copy of a repository is there and holds a snapshot within the objective of each dataset."""

    probe: Literal["copies"]
    repository: Annotated[Name | None, Field(description="The repository; without it all of them")] = None


Probe = Annotated[
    HttpProbe
    | TcpProbe
    | TlsProbe
    | DnsProbe
    | FileProbe
    | DiskProbe
    | ProcessProbe
    | ServiceProbe
    | SqlProbe
    | Sha256Probe
    | CommandProbe
    | CopiesProbe,
    Field(discriminator="probe"),
]
Probes = Annotated[tuple[Probe, ...], Field(min_length=1)]


class Detect(Part):
    """What tells that this runbook fits: any of several probes, or all."""

    one_of = ("any", "all")

    any: Annotated[Probes | None, Field(description="One that fits is enough")] = None
    all: Annotated[Probes | None, Field(description="All must fit")] = None

    @property
    def probes(self) -> tuple[Probe, ...]:
        """The probes, in order."""
        return self.any or self.all or ()

    @classmethod
    def mistakes_in(cls, data: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Also: probes that would wait, as all of them have ten seconds together."""
        yield from super().mistakes_in(data)
        for key in cls.one_of:
            probes = data.get(key)
            for index, probe in enumerate(probes if isinstance(probes, tuple) else ()):
                for waits in ("retries", "interval", "consecutive"):
                    if isinstance(probe, dict) and waits in probe:
                        message = "what detects must answer at once; remove the key"
                        yield found(mistake(message, at_key=True), key, index, waits)
