"""What single pieces of an estate cannot know: references between them, and places that collide."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from drtool.documents.estate import Copy, FileSource, S3Place, SqliteSource
from drtool.documents.part import Part, Reading, nearest, quoted
from drtool.documents.tree import Steps, dotted

_P = TypeVar("_P", bound=Part)


class Contradiction(NamedTuple):
    """A mistake between pieces, told at the later one."""

    steps: Steps
    message: str


def contradictions(data: Mapping[str, Any], reading: Reading) -> Iterator[Contradiction]:
    """Every contradiction between those pieces of the estate that can be read, mistaken as others may be."""
    blind = Reading(folder=reading.folder, look=False)
    places = dict(_places(data, blind))
    yield from _unknown_repositories(data)
    yield from _colliding_copies(places)
    yield from _copies_in_their_own_data(places, _source_paths(data, blind))


def _mapping(data: object, key: str) -> Mapping[str, Any]:
    part = data.get(key) if isinstance(data, dict) else None
    return part if isinstance(part, dict) else {}


def _readable(model: type[_P], data: object, reading: Reading) -> _P | None:
    """The part, or nothing where it has mistakes: they are told elsewhere."""
    try:
        return model.model_validate(data, context=reading)
    except ValidationError:
        return None


def _places(data: Mapping[str, Any], reading: Reading) -> Iterator[tuple[Steps, Path | S3Place]]:
    """Where each copy lies, under the steps to the copy."""
    for name, repository in _mapping(data, "repositories").items():
        for copy, part in _mapping(repository, "copies").items():
            kinds = {key: part[key] for key in Copy.one_of if key in part} if isinstance(part, dict) else {}
            read = _readable(Copy, kinds, reading)
            if read:
                yield ("repositories", name, "copies", copy), read.place


def _source_paths(data: Mapping[str, Any], reading: Reading) -> Iterator[tuple[Steps, Path, tuple[str, ...]]]:
    """Each path a dataset reads: where it is written, the path, and what is left out below it."""
    for name, dataset in _mapping(data, "datasets").items():
        steps = ("datasets", name)
        files = _readable(FileSource, _mapping(dataset, "files"), reading)
        for index, path in enumerate(files.paths if files else ()):
            yield (*steps, "files", "paths", index), path, files.exclude if files else ()
        sqlite = _readable(SqliteSource, _mapping(dataset, "sqlite"), reading)
        if sqlite:
            yield (*steps, "sqlite", "path"), sqlite.path, ()


def _unknown_repositories(data: Mapping[str, Any]) -> Iterator[Contradiction]:
    known = _mapping(data, "repositories")
    for name, dataset in _mapping(data, "datasets").items():
        wanted = dataset.get("repository") if isinstance(dataset, dict) else None
        if isinstance(wanted, str) and wanted not in known:
            suggestion = nearest(wanted, known) or f"; known: {', '.join(known) or 'none'}"
            steps = ("datasets", name, "repository")
            yield Contradiction(steps, f"there is no repository {quoted(wanted)}{suggestion}")


@dataclass(frozen=True, slots=True)
class _Located:
    """A place as a root (the file system, or a bucket) and the steps below it."""

    root: tuple[str, ...]
    below: tuple[str, ...]

    @classmethod
    def of(cls, place: Path | S3Place) -> _Located:
        if isinstance(place, Path):
            return cls((), Path(os.path.realpath(place)).parts)
        return cls((place.endpoint, place.bucket), tuple(place.prefix.split("/")) if place.prefix else ())

    def inside(self, other: _Located) -> bool:
        """Whether this is the other place or below it."""
        return self.root == other.root and self.below[: len(other.below)] == other.below


def _colliding_copies(places: Mapping[Steps, Path | S3Place]) -> Iterator[Contradiction]:
    located = [(steps, place, _Located.of(place)) for steps, place in places.items()]
    for (first, _, one), (second, place, other) in combinations(located, 2):
        steps = (*second, "directory" if isinstance(place, Path) else "s3")
        if one == other:
            yield Contradiction(steps, f"the same place as {dotted(first)}; a copy needs its own")
        elif other.inside(one):
            yield Contradiction(steps, f"lies inside {dotted(first)}; a copy needs its own place")
        elif one.inside(other):
            yield Contradiction(steps, f"holds {dotted(first)} inside; a copy needs its own place")


def _copies_in_their_own_data(
    places: Mapping[Steps, Path | S3Place], sources: Iterable[tuple[Steps, Path, tuple[str, ...]]]
) -> Iterator[Contradiction]:
    directories = {steps: place for steps, place in places.items() if isinstance(place, Path)}
    for steps, path, exclude in sources:
        for copy, directory in directories.items():
            data, held = _Located.of(path), _Located.of(directory)
            if data.inside(held):
                yield Contradiction(steps, f"lies inside the copy {dotted(copy)}")
            elif held.inside(data) and not _excluded(directory, path, exclude):
                hint = f"would back up itself; add {quoted(str(directory))} to exclude, or move the copy"
                yield Contradiction(steps, f"holds the copy {dotted(copy)}, which {hint}")


def _excluded(directory: Path, below: Path, exclude: tuple[str, ...]) -> bool:
    """Whether a pattern leaves out the directory, or a folder above it, as restic sees their names."""
    inner = Path(os.path.realpath(directory)).relative_to(os.path.realpath(below))
    folders = [below / inner, *(below / folder for folder in inner.parents[:-1])]
    patterns = [pattern for pattern in exclude if pattern.strip("/.") and not pattern.startswith("!")]
    return any(folder.match(pattern) for folder in folders for pattern in patterns)
