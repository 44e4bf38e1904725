"""The register: people, contacts, hosts, systems, assets, providers and documents that a recovery leans on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic_core import InitErrorDetails

from drtool.documents.fields import CommandLine, Day, Duration, FullPath, Name, Sha256, Text, Texts, Version
from drtool.documents.part import Part, found, mistake, nearest, quoted
from drtool.documents.probe import Port, Probes


class Approved(Part):
    """Who released a document, and when."""

    by: Annotated[Name, Field(description="The role that released it")]
    on: Annotated[Day, Field(description="The day")]


class Person(Part):
    """Somebody who acts in an emergency."""

    name: Annotated[Text, Field(description="The name")]
    phones: Annotated[Texts, Field(description="Numbers; two, where there are two")]
    mail: Annotated[Text | None, Field(description="The mail address")] = None
    out_of_band: Annotated[
        Text | None, Field(description="A way that works without the company's own systems: a messenger, a second SIM")
    ] = None
    accounts: Annotated[tuple[Text, ...], Field(description="The login names by which drtool knows this person")] = ()


class Role(Part):
    """A task in an emergency: who has it, and who stands in."""

    person: Annotated[Name, Field(description="Who has it")]
    deputy: Annotated[Name | None, Field(description="Who stands in; somebody else")] = None


class Contact(Part):
    """Somebody outside: an authority, an insurer, a provider's hot line."""

    name: Annotated[Text, Field(description="The name")]
    phones: Annotated[tuple[Text, ...], Field(description="Numbers")] = ()
    mail: Annotated[Text | None, Field(description="The mail address")] = None
    portal: Annotated[Text | None, Field(description="The address of a form")] = None
    contract: Annotated[Text | None, Field(description="The number by which they know us")] = None
    duty: Annotated[Text | None, Field(description="What we must tell them, and by which clause")] = None


class Ssh(Part):
    """How a host is reached by the system's OpenSSH; its key is pinned."""

    address: Annotated[Text, Field(description="The name or address")]
    port: Port = 22
    user: Annotated[Text, Field(description="The account")] = "root"
    identity: Annotated[FullPath | None, Field(description="The private key's file; without it ssh decides")] = None
    known_hosts: Annotated[FullPath, Field(description="The file that holds the host's key; no other is accepted")]
    timeout: Annotated[Duration, Field(description="How long connecting may take")] = timedelta(seconds=10)


class ServiceCommands(Part):
    """How a service is driven where systemd does not run, or under another unit's name."""

    unit: Annotated[Text | None, Field(description="The unit of systemd; without it the service's own name")] = None
    start: Annotated[CommandLine | None, Field(description="Starts it, without systemd")] = None
    stop: Annotated[CommandLine | None, Field(description="Stops it, without systemd")] = None
    restart: Annotated[CommandLine | None, Field(description="Without it stop, then start")] = None
    reload: Annotated[CommandLine | None, Field(description="Makes it read its configuration anew")] = None
    status: Annotated[CommandLine | None, Field(description="Ends with 0 where it is active")] = None


class Host(Part):
    """A machine that runbooks act on."""

    ssh: Annotated[Ssh | None, Field(description="How it is reached; without it, it is this machine")] = None
    sandbox: Annotated[bool, Field(description="Whether drills may destroy what is on it")] = False
    services: Annotated[Mapping[Text, ServiceCommands], Field(description="Services that need other commands")] = Field(
        default_factory=dict
    )


class System(Part):
    """Something that is looked at every week."""

    title: Annotated[Text | None, Field(description="What it is")] = None
    probes: Annotated[Probes | None, Field(description="How it is tested for function")] = None


class Asset(Part):
    """A piece of equipment."""

    kind: Annotated[
        Literal["internet-server", "data-server", "disk", "other"],
        Field(description="internet servers are replaced after 3 years, data servers after 5"),
    ]
    bought: Annotated[Day, Field(description="When it went into service")]
    serial: Annotated[Text | None, Field(description="Its serial number")] = None
    system: Annotated[Name | None, Field(description="The system it carries")] = None
    replace_by: Annotated[Day | None, Field(description="When it is to be replaced, where another rule holds")] = None


class Agreement(Part):
    """An agreement on the processing of personal data (Art. 28 GDPR)."""

    signed: Annotated[Day, Field(description="When it was signed")]
    document: Annotated[Text | None, Field(description="Where it is kept")] = None


class Provider(Part):
    """A company that holds a copy or runs a machine."""

    name: Annotated[Text, Field(description="The name")]
    region: Annotated[Text | None, Field(description="Where the data lies")] = None
    agreement: Annotated[Agreement | None, Field(description="Without it a copy there does not count")] = None
    contract: Annotated[Text | None, Field(description="The number by which they know us")] = None
    hotline: Annotated[Text | None, Field(description="The number to call")] = None


class WrittenDocument(Part):
    """A written procedure that is reviewed every year."""

    title: Annotated[Text, Field(description="What it is")]
    where: Annotated[Text, Field(description="Where it is kept: a path, an address, a folder in the safe")]
    owner: Annotated[Name, Field(description="The role that keeps it up to date")]
    approved: Annotated[Approved | None, Field(description="Who released it")] = None
    review_due: Annotated[Day, Field(description="When it must be reviewed next")]
    sha256: Annotated[Sha256 | None, Field(description="The SHA-256 of the released file")] = None


class Register(Part):
    """Everything outside of drtool that a recovery leans on."""

    version: Annotated[Version, Field(description="The version of this document's form")]
    register_of: Annotated[Text, Field(alias="register", description="Whose register it is: the company's name")]
    people: Annotated[Mapping[Name, Person], Field(description="Who acts in an emergency")] = Field(
        default_factory=dict
    )
    roles: Annotated[Mapping[Name, Role], Field(description="The tasks in an emergency")] = Field(default_factory=dict)
    contacts: Annotated[Mapping[Name, Contact], Field(description="Who is called outside")] = Field(
        default_factory=dict
    )
    hosts: Annotated[Mapping[Name, Host], Field(description="The machines that runbooks act on")] = Field(
        default_factory=dict
    )
    values: Annotated[
        Mapping[Name, Text], Field(description="What the runbooks' parameters of these names are on this site")
    ] = Field(default_factory=dict)
    systems: Annotated[Mapping[Name, System], Field(description="What is looked at every week")] = Field(
        default_factory=dict
    )
    assets: Annotated[Mapping[Name, Asset], Field(description="The equipment, with its age")] = Field(
        default_factory=dict
    )
    providers: Annotated[Mapping[Name, Provider], Field(description="Who holds copies or runs machines")] = Field(
        default_factory=dict
    )
    documents: Annotated[Mapping[Name, WrittenDocument], Field(description="The written procedures")] = Field(
        default_factory=dict
    )

    def people_of(self, role: str) -> tuple[Person, ...]:
        """Who has a role, then who stands in."""
        held = self.roles.get(role)
        names = (held.person, held.deputy) if held else ()
        return tuple(self.people[name] for name in names if name and name in self.people)

    @classmethod
    def mistakes_in(cls, data: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Also: roles of people who are not in the register."""
        yield from super().mistakes_in(data)
        people, roles = data.get("people"), data.get("roles")
        known = people if isinstance(people, dict) else {}
        for name, role in roles.items() if isinstance(roles, dict) else ():
            for key in ("person", "deputy"):
                who = role.get(key) if isinstance(role, dict) else None
                if isinstance(who, str) and who not in known:
                    message = f"there is no person {quoted(who)} in this register{nearest(who, known)}"
                    yield found(mistake(message), "roles", name, key)
