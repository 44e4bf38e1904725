"""The policy document: typed rules with thresholds, each with the clause it serves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic_core import InitErrorDetails

from drtool.documents.fields import Differences, Freshness, Name, Text, Version
from drtool.documents.part import Part, found, mistake, quoted


class _Rule(Part):
    rule: Annotated[Name, Field(description="The rule's own name, unique in its policy")]
    clause: Annotated[Text, Field(description="The clause of a law, norm or measure that the rule serves")]


class CopiesRule(_Rule):
    """Every dataset exists in enough copies that differ."""

    type: Literal["copies"]
    min: Annotated[int, Field(ge=1, description="How many copies there must be")] = 2
    distinct: Annotated[
        Differences, Field(description="In what the copies must differ to count beside one another")
    ] = ("medium",)
    fresh: Annotated[
        Freshness | None,
        Field(description="How old a copy's newest snapshot may be: a duration, or the dataset's own rpo"),
    ] = None


class EncryptionRule(_Rule):
    """Every copy is encrypted."""

    type: Literal["encryption"]


class ImmutabilityRule(_Rule):
    """Every dataset has enough copies that nobody can remove or change for a while."""

    type: Literal["immutability"]
    days: Annotated[int, Field(ge=1, description="How long from now on every object must at least stay locked")]
    mode: Annotated[
        Literal["compliance", "governance"],
        Field(description="How it must be locked: governance is satisfied by compliance, too"),
    ] = "governance"
    min: Annotated[int, Field(ge=1, description="How many copies must be immutable")] = 1


Rule = Annotated[CopiesRule | EncryptionRule | ImmutabilityRule, Field(discriminator="type")]


class Policy(Part):
    """A named set of rules by which an estate is judged."""

    version: Annotated[Version, Field(description="The version of this document's form")]
    policy: Annotated[Name, Field(description="The policy's name, shown in every finding")]
    title: Annotated[Text, Field(description="What the policy asks for, in one line")]
    rules: Annotated[tuple[Rule, ...], Field(min_length=1, description="The rules, each judged for itself")]

    @classmethod
    def mistakes_in(cls, data: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Also: two rules of one name."""
        yield from super().mistakes_in(data)
        rules = data.get("rules")
        names = [rule.get("rule") if isinstance(rule, dict) else None for rule in rules or ()]
        for index, name in enumerate(names):
            if isinstance(name, str) and name in names[:index]:
                message = f"another rule of this policy has the name {quoted(name)} already"
                yield found(mistake(message), "rules", index, "rule")
