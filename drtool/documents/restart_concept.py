"""The restart concept: systems in the order of their dependencies, and all that must stand around them.

The keys follow the checkable list of contents W1-W22 in docs/restart-concept.md, whose skeleton is
Implementing Regulation (EU) 2024/2690, Annex 4.1.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from drtool.documents.fields import Day, Duration, Name, Text, Texts, Version
from drtool.documents.part import Part
from drtool.documents.probe import Probe
from drtool.documents.runbook import Answer, LegalClock, Objectives, ReleasedDocument


class Activation(Part):
    """When the concept begins to hold, and when it ends to."""

    criteria: Annotated[Texts, Field(description="Each is enough")]
    declared_by: Annotated[tuple[Name, ...], Field(min_length=1, description="The roles that may declare it")]
    deactivation: Annotated[Text, Field(description="What must be so before it ends")]


class Alarm(Part):
    """A link of the alarm chain."""

    role: Annotated[Name, Field(description="The role that is told")]
    within: Annotated[Duration, Field(description="How long after the declaration")]
    via: Annotated[Texts, Field(description="How: phone, sms, messenger")]
    out_of_band: Annotated[bool, Field(description="Whether one of these works without our own systems")] = False


class BootstrapItem(Part):
    """Something that must exist before anything can be restored."""

    item: Annotated[Text, Field(description="What it is")]
    where: Annotated[Texts, Field(description="Where it is kept; two places at least")]
    checked: Annotated[Day, Field(description="When somebody last looked, this quarter")]
    sealed: Annotated[bool, Field(description="Whether it lies in a sealed envelope")] = False


class RestartSystem(Part):
    """A system that is started again, with its objectives."""

    title: Annotated[Text, Field(description="What it is")]
    kind: Annotated[Literal["infra", "host", "app"], Field(description="What sort of system it is")]
    depends: Annotated[tuple[Name, ...], Field(description="The systems that must run before")] = ()
    owner: Annotated[Name, Field(description="The role that answers for it; its deputy stands in")]
    objectives: Annotated[Objectives, Field(description="How soon it must run again, with how much lost")]
    planned: Annotated[Duration, Field(description="How long starting it again is planned to take", alias="expect")]
    degraded: Annotated[Text, Field(description="What it can do in emergency operation")]
    manual: Annotated[Text, Field(description="How people get on without it; 'none' is said, not left out")]
    runbook: Annotated[Name, Field(description="The runbook that starts it again")]
    params: Annotated[Mapping[Name, Answer], Field(description="The runbook's parameters")] = Field(
        default_factory=dict
    )
    datasets: Annotated[tuple[Name, ...], Field(description="The data it carries")] = ()


class Resource(Part):
    """Spare equipment, a second provider, a licence."""

    item: Annotated[Text, Field(description="What it is")]
    where: Annotated[Text, Field(description="Where it is")]
    serves: Annotated[tuple[Name, ...], Field(min_length=1, description="The systems it can carry")]
    ready: Annotated[bool, Field(description="Whether it can be used at once")] = False


class ReturnToNormal(Part):
    """How emergency operation ends; a fresh backup is always the last step."""

    steps: Annotated[Texts, Field(description="What is to be done")]
    approval: Annotated[Name, Field(description="The role that declares normal operation")]


class Communication(Part):
    """Who is told what, how often."""

    templates: Annotated[Texts, Field(description="The prepared texts")]
    update_every: Annotated[Duration, Field(description="How often those waiting hear of it")]


class Exercises(Part):
    """How often the concept is tried, and when it last was."""

    table_top: Annotated[Duration, Field(description="How often it is gone through at a table")]
    restore_drill: Annotated[Duration, Field(description="How often data is restored to prove it")]
    full: Annotated[Duration, Field(description="How often all of it is done")]
    last_table_top: Annotated[Day | None, Field(description="When it last was")] = None
    last_full: Annotated[Day | None, Field(description="When it last was")] = None
    by_third_party: Annotated[Day | None, Field(description="When somebody who did not write it last followed it")] = (
        None
    )


class Holder(Part):
    """Who has an offline copy of this concept."""

    holder: Annotated[Text, Field(description="Who or what place")]
    form: Annotated[Text, Field(description="paper, an encrypted stick")]
    revision: Annotated[int, Field(ge=1, description="Which revision they have")]


class RestartConcept(ReleasedDocument):
    """How everything is started again, and in which order."""

    version: Annotated[Version, Field(description="The version of this document's form")]
    restart_concept: Annotated[Name, Field(description="The concept's id")]
    purpose: Annotated[Text, Field(description="What it is for")]
    scope: Annotated[Text, Field(description="What it covers")]
    audience: Annotated[Texts, Field(description="Who reads it")]
    activation: Annotated[Activation, Field(description="When it begins and ends to hold")]
    roles: Annotated[tuple[Name, ...], Field(min_length=1, description="The register's roles that act")]
    alarm_chain: Annotated[tuple[Alarm, ...], Field(min_length=1, description="Who is told, in order")]
    contacts: Annotated[tuple[Name, ...], Field(min_length=1, description="The register's contacts that are needed")]
    bootstrap: Annotated[tuple[BootstrapItem, ...], Field(min_length=1, description="What is needed to begin at all")]
    systems: Annotated[Mapping[Name, RestartSystem], Field(min_length=1, description="The systems")]
    verify: Annotated[
        tuple[Probe, ...], Field(description="What shows from outside that all runs again; it stops the RTO's clock")
    ] = ()
    resources: Annotated[tuple[Resource, ...], Field(min_length=1, description="What can stand in")]
    return_to_normal: Annotated[ReturnToNormal, Field(description="How emergency operation ends")]
    communication: Annotated[Communication, Field(description="Who is told what")]
    exercises: Annotated[Exercises, Field(description="How it is tried")]
    distribution: Annotated[tuple[Holder, ...], Field(description="Who has it on paper")]
    clocks: Annotated[tuple[LegalClock, ...], Field(description="The duties with a deadline")] = ()
    incident_handling: Annotated[
        Text, Field(description="Where it meets incident handling and the duties to report (Art. 33, NIS2)")
    ]
