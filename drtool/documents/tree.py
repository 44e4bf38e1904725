"""YAML text -> plain data and the place of every piece of it.

Scalars follow the YAML 1.2 core schema: only ``true`` and ``false`` are booleans, ``on`` and ``no``
are text, nothing is a date or a sexagesimal number. Anchors and aliases work; merge keys (``<<``) and
tags are refused. Lists become tuples.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import yaml

DEEPEST = 60
LARGEST = 50_000

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LEADING_ZERO = "!leading-zero"
_NO_TAGS = "tags are not supported; quote a text that begins with !"
_CORE: Mapping[None, list[tuple[str, re.Pattern[str]]]] = {
    None: [
        ("!null", re.compile(r"(?:~|null|Null|NULL|)\Z")),
        ("!bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")),
        (_LEADING_ZERO, re.compile(r"[-+]?0[0-9]+\Z")),
        ("!int", re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z")),
        ("!float", re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")),
        ("!float", re.compile(r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z")),
    ]
}
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map", "null", "bool", "int", "float"))
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Steps = tuple[str | int, ...]


class Spot(NamedTuple):
    """A place in a file; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One thing wrong with a document: where in the text, where in the data, and what."""

    spot: Spot
    steps: Steps = ()
    message: str

    def described(self, file: object) -> str:
        """The mistake as ``file:line:column: path: message``."""
        return f"{file}:{self.spot.line}:{self.spot.column}: {dotted(self.steps)}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A document's data, the place of each of its keys and values, and what is wrong so far."""

    data: object
    keys: Mapping[Steps, Spot]
    values: Mapping[Steps, Spot]
    mistakes: tuple[Mistake, ...]
    digest: str = ""  # the SHA-256 of the text

    def spot(self, steps: Steps, *, of_key: bool = False) -> Spot:
        """Where a piece is written; what is not in the text has the place of what should hold it."""
        places = self.keys if of_key else self.values
        for length in range(len(steps), -1, -1):
            if steps[:length] in places:
                return places[steps[:length]]
        return Spot(1, 1)


def dotted(steps: Steps) -> str:
    """A path such as ``policies[0]`` or ``datasets.shop.rpo``; the whole file is ``document``."""
    path = ""
    for step in steps:
        name = step if isinstance(step, int) or step.isprintable() else repr(step)
        path += f"[{name}]" if isinstance(name, int) else f".{name}" if path else str(name)
    return path or "document"


def read_tree(content: bytes) -> Tree:
    """Parse one document; never raises for what the bytes may hold."""
    walk = _Walk()
    data = None
    try:
        root = _compose(content.decode("utf-8-sig"))
        if root is None:
            raise _Refused(Spot(1, 1), "the file is empty")
        data = walk.visit(root, ())
    except UnicodeDecodeError as error:
        walk.refuse(_spot_of_byte(content, error.start), (), "not UTF-8 text")
    except _Refused as refused:
        walk.refuse(refused.spot, (), refused.message)
    return Tree(
        data=data,
        keys=MappingProxyType(walk.keys),
        values=MappingProxyType(walk.values),
        mistakes=tuple(walk.mistakes),
        digest=hashlib.sha256(content).hexdigest(),
    )


class _Refused(Exception):
    """Nothing more can be read from this document."""

    def __init__(self, spot: Spot, message: str) -> None:
        super().__init__(message)
        self.spot = spot
        self.message = message


def _compose(text: str) -> yaml.Node | None:
    """The node tree of the text's only document."""
    if unprintable := _UNPRINTABLE.search(text):
        before = text[: unprintable.start()]
        spot = Spot(before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise _Refused(spot, "a control character; write it as an escape in double quotes")
    try:
        _refuse_depth(text)
        loader = _LOADER(text)
        loader.yaml_implicit_resolvers = _CORE
        node: yaml.Node | None = loader.get_single_node()
        return node
    except yaml.YAMLError as error:
        raise _syntax_mistake(text, error) from None


def _refuse_depth(text: str) -> None:
    """Count the nesting event by event, because libyaml's composer recurses until it overflows the stack."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            mark = event.start_mark
            raise _Refused(_spot(mark) if mark else Spot(1, 1), f"nested deeper than {DEEPEST} levels")


def _syntax_mistake(text: str, error: yaml.YAMLError) -> _Refused:
    """PyYAML's complaint without the quoted pieces of text, which may be a secret."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    spot = _spot(mark) if mark else Spot(1, 1)
    problem = str(getattr(error, "problem", None) or "not YAML")
    context = str(getattr(error, "context", None) or "")
    words = " ".join(part for part in (context, problem) if part)
    words = re.sub(r"""(['"])(?!<)(?=.{2,}\1).*\1""", "…", words, flags=re.DOTALL)
    return _Refused(spot, f"not YAML: {words}{_syntax_hint(text, spot, problem)}")


def _syntax_hint(text: str, spot: Spot, problem: str) -> str:
    lines = text.split("\n")
    line = lines[spot.line - 1] if spot.line <= len(lines) else ""
    if "another document" in problem:
        return "; one file holds one document"
    if "undefined alias" in problem:
        return "; quote a text that begins with *"
    if "tag handle" in problem:
        return "; quote a text that begins with !"
    if "\t" in line[: spot.column] and "start any token" in problem:
        return "; indent with spaces, not tabs"
    if "cannot start any token" in problem:
        return "; quote a text that begins with @, ` or %"
    return ""


class _Mark(Protocol):
    """What PyYAML's two kinds of marks share; both count from 0."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


def _spot(mark: _Mark) -> Spot:
    return Spot(mark.line + 1, mark.column + 1)


def _spot_of_byte(content: bytes, offset: int) -> Spot:
    before = content[:offset]
    return Spot(before.count(b"\n") + 1, offset - before.rfind(b"\n"))


@dataclass(slots=True)
class _Walk:
    """Turns nodes into data, noting every place and every mistake on the way."""

    keys: dict[Steps, Spot] = field(default_factory=dict)
    values: dict[Steps, Spot] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    open_nodes: set[int] = field(default_factory=set)
    seen: int = 0

    def refuse(self, spot: Spot, steps: Steps, message: str) -> None:
        self.mistakes.append(Mistake(spot=spot, steps=steps, message=message))

    def visit(self, node: yaml.Node, steps: Steps) -> Any:
        """The data of a node; ``None`` where it is refused."""
        spot = _spot(node.start_mark)
        self.values[steps] = spot
        self.keys.setdefault(steps, spot)
        self.seen += 1
        if self.seen > LARGEST:
            raise _Refused(spot, f"more than {LARGEST} values")
        if id(node) in self.open_nodes:
            self.refuse(spot, steps, "an anchor that contains itself")
            return None
        self.open_nodes.add(id(node))
        try:
            return self._content(node, steps, spot)
        finally:
            self.open_nodes.discard(id(node))

    def _content(self, node: yaml.Node, steps: Steps, spot: Spot) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, steps, spot)
        if node.tag not in _PLAIN_TAGS:
            self.refuse(spot, steps, _NO_TAGS)
            return None
        if isinstance(node, yaml.MappingNode):
            return {name: self.visit(value, (*steps, name)) for name, value in self._members(node, steps)}
        return tuple(self.visit(item, (*steps, index)) for index, item in enumerate(node.value))

    def _members(self, node: yaml.MappingNode, steps: Steps) -> Iterator[tuple[str, yaml.Node]]:
        """The mapping's keys and value nodes, each key once."""
        names: dict[str, Spot] = {}
        for key, value in node.value:
            spot = _spot(key.start_mark)
            name = self._key(key, steps, spot)
            if name is None:
                continue
            if name in names:
                first = names[name].line
                self.refuse(spot, (*steps, name), f"duplicate key, first written on line {first}")
                continue
            names[name] = self.keys[(*steps, name)] = spot
            yield name, value

    def _key(self, node: yaml.Node, steps: Steps, spot: Spot) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            message = "a key must be text; quote a value that begins with { or ["
        elif node.value == "<<" and not node.style:
            message = "merge keys (<<) are not supported; write the keys out"
        elif node.tag != "tag:yaml.org,2002:str":
            message = "a key must be text; quote it"
        elif not node.value.isprintable():
            message = "a key must be on one line and without control characters"
        else:
            return str(node.value)
        self.refuse(spot, steps, message)
        return None

    def _scalar(self, node: yaml.ScalarNode, steps: Steps, spot: Spot) -> Any:
        kind = node.tag.removeprefix("!").removeprefix("tag:yaml.org,2002:")
        if node.tag == _LEADING_ZERO:
            message = "a number that begins with 0 could be meant as octal; quote it if it is text"
        elif kind not in _SCALARS:
            message = _NO_TAGS
        else:
            try:
                return _SCALARS[kind](node.value)
            except ValueError:
                message = "not a valid value of its kind, or a number that is too long"
        self.refuse(spot, steps, message)
        return None


def _text(text: str) -> str:
    text.encode()  # PyYAML in Python lets escaped surrogates through
    return text


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("not a boolean")
    return text.lower() == "true"


def _integer(text: str) -> int:
    return int(text, 0) if text.startswith(("0o", "0x")) else int(text, 10)


def _fraction(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_SCALARS: Mapping[str, Callable[[str], object]] = {
    "str": _text,
    "null": lambda _: None,
    "bool": _boolean,
    "int": _integer,
    "float": _fraction,
}
