"""The form of a database dump: one stream of plain SQL that tells at its end what it holds.

First a title, then the parts one after the other, then two lines of comment: the contents as JSON, and a
closing line with the SHA-256 of everything above it. Where the parts lie is told by their offsets, so that nothing that
stands in the data can be taken for a mark. A dump that was cut off anywhere, or altered, has no closing line that fits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

TITLE = b"-- drtool database dump 1\n"
CONTENTS = b"-- drtool contents: "
CLOSING = b"-- drtool dump complete: sha256 "
TAIL = 16 << 20  # bytes kept of the end, which must hold the contents: that is some 200,000 tables

Write = Callable[[bytes], None]


class SectionKind(StrEnum):
    DATABASE = "database"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A stretch of the dump, in bytes. ``name`` is that of the account, as its server writes it."""

    kind: SectionKind
    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """How many rows a table had: exactly, or not fewer and not more than."""

    least: int
    most: int

    def __contains__(self, count: object) -> bool:
        return isinstance(count, int) and self.least <= count <= self.most

    def __str__(self) -> str:
        return f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a dump holds. ``properties`` are those of the database that its server sets at its creation."""

    kind: str
    database: str
    parts: tuple[Section, ...] = ()
    tables: Mapping[str, Rows] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Of all tables, at least."""
        return sum(rows.least for rows in self.tables.values())


class Incomplete(ValueError):
    """What was read is no whole dump; the text says what is missing."""


class DumpWriter:
    """Writes a dump: bytes go out as they come, and are counted and hashed on the way."""

    def __init__(self, out: Write) -> None:
        self._out, self._digest = out, hashlib.sha256()
        self._offset = 0
        self._parts: list[Section] = []
        self.write(TITLE)

    def write(self, content: bytes) -> None:
        self._digest.update(content)
        self._offset += len(content)
        self._out(content)

    def part(self, kind: SectionKind, name: str, produce: Callable[[Write], None]) -> None:
        """One part, as ``produce`` writes it; where that raises, the dump stays without an end."""
        start = self._offset
        produce(self.write)
        self._parts.append(Section(kind=kind, name=name, start=start, end=self._offset))

    def script(self, kind: SectionKind, name: str, statements: Iterable[str]) -> None:
        """One part of a few complete statements."""
        text = "".join(f"{statement}\n" for statement in statements)
        self.part(kind, name, lambda write: write(text.encode()))

    def close(self, *, kind: str, database: str, tables: Mapping[str, Rows], properties: Mapping[str, str]) -> None:
        """Say what it holds, and that this is all."""
        document = {
            "kind": kind,
            "database": database,
            "properties": dict(properties),
            "parts": [asdict(part) for part in self._parts],
            "tables": {name: [tables[name].least, tables[name].most] for name in sorted(tables)},
        }
        self.write(b"\n" + CONTENTS + json.dumps(document).encode() + b"\n")
        self._out(CLOSING + self._digest.hexdigest().encode() + b"\n")


class DumpReader:
    """Checks a dump while it passes by, in little memory."""

    def __init__(self) -> None:
        self._digest, self._tail = hashlib.sha256(), bytearray()
        self._head = b""
        self.bytes = 0

    def take(self, content: bytes) -> None:
        self.bytes += len(content)
        self._head = self._head or content[: len(TITLE)]
        self._tail += content
        if len(self._tail) > 2 * TAIL:
            self._forget(len(self._tail) - TAIL)

    def _forget(self, count: int) -> None:
        """Hash what cannot belong to the closing line any more, and let it go."""
        self._digest.update(memoryview(self._tail)[:count].tobytes())
        del self._tail[:count]

    def contents(self) -> Contents:
        """What the dump says of itself at its end. Raises ``Incomplete``."""
        if not self.bytes:
            raise Incomplete("it is empty")
        if not TITLE.startswith(self._head) or not self._head:
            raise Incomplete("it does not begin like a dump of drtool's")
        closing = self._tail.rfind(b"\n" + CLOSING) + 1
        if not closing or not self._tail.endswith(b"\n") or self._tail.count(b"\n", closing) != 1:
            raise Incomplete("its closing line is missing, so it was cut off")
        told = bytes(self._tail[closing + len(CLOSING) : -1])
        start = self._tail.rfind(b"\n" + CONTENTS, 0, closing) + 1
        document = bytes(self._tail[start + len(CONTENTS) : closing]) if start else b""
        self._forget(closing)
        if told != self._digest.hexdigest().encode():
            raise Incomplete("its closing line does not fit what stands above it")
        return _contents(document)


def _contents(document: bytes) -> Contents:
    try:
        told = json.loads(document)
        return Contents(
            kind=told["kind"],
            database=told["database"],
            parts=tuple(Section(**part | {"kind": SectionKind(part["kind"])}) for part in told["parts"]),
            tables={name: Rows(least=least, most=most) for name, (least, most) in told["tables"].items()},
            properties=told["properties"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Incomplete("its contents cannot be read") from error


class Verdict(StrEnum):
    """How a table that was loaded compares to what was dumped."""

    EQUAL = "equal"
    DIFFERS = "differs"
    MISSING = "missing"
    UNEXPECTED = "unexpected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    table: str
    expected: Rows | None
    found: int | None

    @property
    def verdict(self) -> Verdict:
        if self.found is None:
            return Verdict.MISSING
        if self.expected is None:
            return Verdict.UNEXPECTED
        return Verdict.EQUAL if self.found in self.expected else Verdict.DIFFERS


def compare(expected: Mapping[str, Rows], found: Mapping[str, int]) -> tuple[Comparison, ...]:
    """Every table that was dumped or is there now, by name."""
    names = sorted({*expected, *found})
    return tuple(Comparison(table=name, expected=expected.get(name), found=found.get(name)) for name in names)
