"""How a dataset is drilled: which level, how often, what is asked of what came back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic_core import InitErrorDetails

from drtool.documents.fields import CommandLine, Duration, FullPath, Name, Text
from drtool.documents.part import Part, found, mistake
from drtool.documents.probe import HttpProbe

Level = Literal["D1", "D2", "D3", "D4"]


class DrillQuery(Part):
    """A question to the restored database."""

    name: Annotated[Name, Field(description="What it proves, in a word")]
    query: Annotated[Text, Field(description="SQL; the first field of its first row counts")]
    answer: Annotated[Text | None, Field(description="The answer it must have")] = None
    at_least: Annotated[int | None, Field(description="The number it must at least be")] = None


class DrillFreshness(Part):
    """How new the newest entry of the restored database must be, beside the snapshot's own time."""

    query: Annotated[
        Text, Field(description="SQL whose first field is a time: YYYY-MM-DD HH:MM:SS in UTC, or Unix seconds")
    ]
    within: Annotated[Duration, Field(description="How long before the snapshot it may be")] = timedelta(hours=24)


class DrillApplication(Part):
    """The application, started in isolation from what was restored: level D4.

    What was restored lies where it lay when it was backed up, seen by the application alone; the databases answer on
    the sockets' usual places; there is no way out of its network.
    """

    needs: Annotated[
        tuple[Name, ...], Field(description="The other datasets that are restored for it, such as its database")
    ] = ()
    start: Annotated[
        tuple[CommandLine, ...],
        Field(min_length=1, description="The programs to start, each staying in the foreground"),
    ]
    user: Annotated[Text, Field(description="The account they run as")] = "www-data"
    ready: Annotated[Duration, Field(description="How long it may take until the probes pass")] = timedelta(seconds=60)
    probes: Annotated[
        tuple[HttpProbe, ...], Field(min_length=1, description="Pages that must answer, with what they must hold")
    ]


class Drill(Part):
    """How a dataset's restore is rehearsed."""

    level: Annotated[
        Level | None,
        Field(
            description="D1 objects readable, D2 sampled files, D3 everything restored, D4 the application answers; "
            "without it D4 where there is an application, else D3"
        ),
    ] = None
    every: Annotated[Duration | None, Field(description="How often; without it once in each quarter of the year")] = (
        None
    )
    each_copy: Annotated[Duration, Field(description="Within which time each copy must be proven by a drill")] = (
        timedelta(days=365)
    )
    snapshot: Annotated[
        Literal["random", "newest"], Field(description="Which snapshot: one drawn by a recorded seed, or the newest")
    ] = "random"
    sample: Annotated[int, Field(ge=1, le=1000, description="How many files are hashed at backup time")] = 16
    queries: Annotated[tuple[DrillQuery, ...], Field(description="Questions to the restored database")] = ()
    freshness: Annotated[DrillFreshness | None, Field(description="How new its newest entry must be")] = None
    application: Annotated[DrillApplication | None, Field(description="The application to start from it")] = None

    @property
    def wanted(self) -> Level:
        """The level of its drills."""
        return self.level or ("D4" if self.application else "D3")

    @classmethod
    def mistakes_in(cls, data: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Also: level D4 of nothing that could answer."""
        yield from super().mistakes_in(data)
        if data.get("level") == "D4" and "application" not in data:
            yield found(mistake("level D4 needs an application to start"), "level")


class Drills(Part):
    """What holds for all drills of the estate."""

    scratch: Annotated[
        FullPath | None, Field(description="The folder in which drills restore; it needs room for the largest dataset")
    ] = None
