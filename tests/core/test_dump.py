"""The form of a dump: what is whole is read as it was written, and nothing else is taken for whole."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drtool.core import dump
from drtool.core.dump import Contents, DumpReader, DumpWriter, Incomplete, Rows, SectionKind, Verdict, compare

TABLES = {"shop.sale": Rows(least=3, most=3), "shop.log": Rows(least=5, most=9)}


def written(parts: Mapping[str, bytes], tables: Mapping[str, Rows] | None = None) -> bytes:
    out: list[bytes] = []
    writing = DumpWriter(out.append)
    for name, content in parts.items():
        kind = SectionKind.ACCOUNT if name else SectionKind.DATABASE
        writing.part(kind, name, lambda write, content=content: write(content))  # type: ignore[misc]
    writing.close(kind="mariadb", database="shop", tables=tables or TABLES, properties={"charset": "utf8mb4"})
    return b"".join(out)


def read(content: bytes, *, pieces: int = 7) -> Contents:
    reading = DumpReader()
    for start in range(0, len(content), pieces):
        reading.take(content[start : start + pieces])
    return reading.contents()


@given(
    parts=st.dictionaries(st.text(max_size=5), st.binary(max_size=60), max_size=4),
    pieces=st.integers(min_value=1, max_value=400),
)
def test_what_was_written_is_read_whatever_it_holds_and_however_it_comes(parts: dict[str, bytes], pieces: int) -> None:
    content = written(parts)
    contents = read(content, pieces=pieces)
    assert {part.name: content[part.start : part.end] for part in contents.parts} == parts
    assert (contents.database, contents.tables, contents.rows) == ("shop", TABLES, 8)


def test_a_dump_that_is_cut_anywhere_is_not_whole() -> None:
    content = written({"": b"INSERT 1;\n", "app": b"GRANT;\n"})
    for length in range(len(content)):
        with pytest.raises(Incomplete):
            read(content[:length])


def test_a_dump_with_any_byte_altered_lost_or_added_is_not_whole() -> None:
    content = written({"": b"INSERT 1;\n"})
    for at in range(len(content)):
        for other in (content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :], content[:at] + content[at + 1 :]):
            with pytest.raises(Incomplete):
                read(other)
    with pytest.raises(Incomplete):
        read(content + b"\n")


def test_a_whole_dump_inside_another_is_taken_for_data() -> None:
    inner = written({"": b"inner"})
    with pytest.raises(Incomplete):
        read(b"-- drtool database dump 1\n" + inner[:-4])
    assert [part.end - part.start for part in read(written({"": inner})).parts] == [len(inner)]


def test_a_dump_larger_than_what_is_kept_in_memory_is_checked_to_its_last_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump, "TAIL", 1000)
    content = written({"": b"x" * 100_000})
    assert read(content, pieces=333).parts[0].end == 100_026
    with pytest.raises(Incomplete, match="does not fit"):
        read(content.replace(b"x", b"y", 1), pieces=333)


def test_tables_are_compared_with_what_was_saved() -> None:
    found = compare(TABLES, {"shop.sale": 2, "shop.log": 9, "shop.new": 0})
    assert {one.table: one.verdict for one in found} == {
        "shop.log": Verdict.EQUAL,
        "shop.new": Verdict.UNEXPECTED,
        "shop.sale": Verdict.DIFFERS,
    }
    assert compare(TABLES, {})[0].verdict is Verdict.MISSING
