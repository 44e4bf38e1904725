from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from drtool.documents import tree
from drtool.documents.tree import Spot, read_tree


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def _both_loaders(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """libyaml's loader where it is there, and the one in Python that stands in for it."""
    monkeypatch.setattr(tree, "_LOADER", getattr(yaml, request.param))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("12:30:45", "12:30:45"),
        ("2026-11-23", "2026-11-23"),
        ("1_000", "1_000"),
        ("0o17", 15),
        ("0x1F", 31),
        ("-7", -7),
        ("1e3", 1000.0),
        ("'0644'", "0644"),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("~", None),
        ("", None),
        ("[a, [b]]", ("a", ("b",))),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    read = read_tree(f"key: {text}\n".encode())
    assert (read.data, read.mistakes) == ({"key": value}, ())


def test_an_alias_stands_for_what_its_anchor_holds() -> None:
    assert read_tree(b"a: &x {k: 1}\nb: *x\n").data == {"a": {"k": 1}, "b": {"k": 1}}


def test_every_key_and_value_knows_its_place() -> None:
    read = read_tree(b"a:\n  - b: text\n")
    assert (read.spot(("a", 0, "b")), read.spot(("a", 0, "b"), of_key=True)) == (Spot(2, 8), Spot(2, 5))


def test_what_is_not_there_has_the_place_of_what_should_hold_it() -> None:
    assert read_tree(b"a:\n  b: 1\n").spot(("a", "missing", 3), of_key=True) == Spot(1, 1)


@pytest.mark.parametrize(
    ("content", "described"),
    [
        pytest.param(b"", "f:1:1: document: the file is empty", id="an empty file"),
        pytest.param(b"# only\n", "f:1:1: document: the file is empty", id="nothing but comments"),
        pytest.param(b"a: 1\nb: \xff\n", "f:2:4: document: not UTF-8 text", id="bytes that are not UTF-8"),
        pytest.param(
            b"a: 1\nb: x\x07\n",
            "f:2:5: document: a control character; write it as an escape in double quotes",
            id="a control character",
        ),
        pytest.param(
            b"a: 1\nb: 2\na: 3\n", "f:3:1: a: duplicate key, first written on line 1", id="a key written twice"
        ),
        pytest.param(
            b"a: !secret x\n",
            "f:1:4: a: tags are not supported; quote a text that begins with !",
            id="an unknown tag",
        ),
        pytest.param(b"a: &x\n  b: *x\n", "f:1:4: a.b: an anchor that contains itself", id="a circle of anchors"),
        pytest.param(
            b"a: &x {k: 1}\nb:\n  <<: *x\n",
            "f:3:3: b: merge keys (<<) are not supported; write the keys out",
            id="a merge key",
        ),
        pytest.param(
            b"mode: 0644\n",
            "f:1:7: mode: a number that begins with 0 could be meant as octal; quote it if it is text",
            id="a number that could be octal",
        ),
        pytest.param(b"1: x\n", "f:1:1: document: a key must be text; quote it", id="a key that is a number"),
        pytest.param(
            b"a: {{ vault }}\n",
            "f:1:5: a: a key must be text; quote a value that begins with { or [",
            id="a template's braces",
        ),
        pytest.param(
            b'"a\\tb": 1\n',
            "f:1:1: document: a key must be on one line and without control characters",
            id="a key that would spoil the terminal",
        ),
        pytest.param(
            b"a: " + b"9" * 5000 + b"\n",
            "f:1:4: a: not a valid value of its kind, or a number that is too long",
            id="a number without end",
        ),
        pytest.param(
            b"a: !!int x\n",
            "f:1:4: a: not a valid value of its kind, or a number that is too long",
            id="a tag its value does not fit",
        ),
        pytest.param(b"[" * 70, "f:1:61: document: nested deeper than 60 levels", id="endless nesting"),
    ],
)
def test_a_text_is_refused_at_its_place(content: bytes, described: str) -> None:
    assert [mistake.described("f") for mistake in read_tree(content).mistakes] == [described]


@pytest.mark.parametrize(
    ("content", "spot", "hint"),
    [
        pytest.param(b"a:\n\tb: 1\n", Spot(2, 1), "indent with spaces, not tabs", id="a tab"),
        pytest.param(b"a: 1\n---\nb: 2\n", Spot(2, 1), "one file holds one document", id="two documents"),
        pytest.param(b"a: *hunter2\n", Spot(1, 4), "quote a text that begins with *", id="an unknown alias"),
        pytest.param(b"a: !h!hunter2 b\n", Spot(1, 4), "quote a text that begins with !", id="a tag's handle"),
        pytest.param(b"a: @hunter2\n", Spot(1, 4), "quote a text that begins with @, ` or %", id="an at sign"),
    ],
)
def test_a_syntax_error_has_a_place_and_a_hint_and_repeats_no_text(content: bytes, spot: Spot, hint: str) -> None:
    (mistake,) = read_tree(content).mistakes
    assert (mistake.spot, mistake.message.rpartition("; ")[2]) == (spot, hint)
    assert "hunter2" not in mistake.message


def test_aliases_that_multiply_are_stopped() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    (mistake,) = read_tree("\n".join(lines).encode()).mistakes
    assert mistake.message == "more than 50000 values"


def test_a_hundred_thousand_brackets_do_not_overflow_the_stack() -> None:
    assert read_tree(b"[" * 100_000).mistakes[0].message == "nested deeper than 60 levels"


@given(st.binary() | st.text().map(str.encode) | st.text("ab:-[]{}&*!<'\"#|>%@`,?\n\t 01~").map(str.encode))
def test_any_bytes_give_data_or_mistakes(content: bytes) -> None:
    read = read_tree(content)
    assert read.mistakes or read.keys
