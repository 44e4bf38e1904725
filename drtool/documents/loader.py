"""From a document's file to its typed model, or to every mistake in it at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from drtool.documents.consistency import contradictions
from drtool.documents.estate import Estate
from drtool.documents.fields import PATTERNS, resolve
from drtool.documents.part import AT_KEY, MISTAKE, Part, Reading, nearest, quoted
from drtool.documents.policy import Policy
from drtool.documents.register import Register
from drtool.documents.restart_concept import RestartConcept
from drtool.documents.runbook import Runbook
from drtool.documents.tree import Mistake, Spot, Steps, Tree, read_tree
from drtool.errors import DocumentInvalid, UsageError

FILE_NAME = "drtool.yaml"
SYSTEM_WIDE = Path("/etc/drtool") / FILE_NAME

_P = TypeVar("_P", bound=Part)
_Loaded = tuple[_P | None, tuple[str, ...]]


def find_estate(explicit: Path | None, environ: Mapping[str, str]) -> Path:
    """The estate file: the one asked for, ``DRTOOL_CONFIG``, ``./drtool.yaml``, then the system's."""
    asked = explicit or (Path(environ["DRTOOL_CONFIG"]) if environ.get("DRTOOL_CONFIG") else None)
    for path in (asked,) if asked else (Path(FILE_NAME), SYSTEM_WIDE):
        if os.path.exists(path):
            return path
    if asked:
        by = "" if explicit else " (from DRTOOL_CONFIG)"
        raise UsageError(f"there is no estate file {asked}{by}", hint="drtool init")
    raise UsageError(f"there is no estate file: neither ./{FILE_NAME} nor {SYSTEM_WIDE}", hint="drtool init")


def load_estate(path: Path) -> Estate:
    """The estate with its policies. Raises ``DocumentInvalid`` with the mistakes of all their files.

    A database whose account's file is missing stops only what needs that database.
    """
    estate, problems = _estate(path, _read(path), lacking=True)
    if estate is None or problems:
        raise DocumentInvalid(problems, hint=f"correct {path}, then run: drtool validate")
    return estate


def load_policy(path: Path) -> Policy:
    """One policy. Raises ``DocumentInvalid`` with all its mistakes."""
    policy, problems = _document(Policy, path, _read(path))
    if policy is None:
        raise DocumentInvalid(problems, hint=f"correct {path}, then run: drtool validate {path}")
    return policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedure:
    """One file of the runbooks' folder: its id, and the document or what is wrong with it."""

    id: str
    path: Path
    document: Runbook | RestartConcept | None
    problems: tuple[str, ...]


def load_register(path: Path) -> Register:
    """The register. Raises ``DocumentInvalid`` with all its mistakes."""
    register, problems = _document(Register, path, _read(path))
    if register is None:
        raise DocumentInvalid(problems, hint=f"correct {path}, then run: drtool validate {path}")
    return register


def load_procedures(folder: Path) -> tuple[Procedure, ...]:
    """Every runbook and restart concept below a folder, by id; one with mistakes does not keep others from use."""
    return tuple(sorted((_procedure(path) for path in folder.rglob("*.yaml")), key=lambda one: (one.id, one.path)))


def _procedure(path: Path) -> Procedure:
    tree = _read(path)
    keys = tree.data if isinstance(tree.data, dict) else {}
    document: Runbook | RestartConcept | None
    if "restart_concept" in keys:
        document, problems = _document(RestartConcept, path, tree)
    else:
        document, problems = _document(Runbook, path, tree)
    if document:
        document.read_from(path.absolute(), tree)
    named = keys.get("runbook", keys.get("restart_concept"))
    identity = named if isinstance(named, str) else path.stem
    return Procedure(id=identity, path=path, document=document, problems=problems)


def _document(model: type[_P], path: Path, tree: Tree) -> _Loaded[_P]:
    document, mistakes = _validated(model, tree, Reading(folder=path.absolute().parent))
    return document if not mistakes else None, _described(path, mistakes)


_KINDS: Mapping[str, type[Part]] = {
    "policy": Policy,
    "runbook": Runbook,
    "restart_concept": RestartConcept,
    "register": Register,
}


def check_document(path: Path) -> tuple[str, ...]:
    """Every mistake in a document of any kind; an estate is checked together with its policies."""
    tree = _read(path)
    keys = tree.data if isinstance(tree.data, dict) else {}
    kind = next((model for key, model in _KINDS.items() if key in keys), None)
    if kind and "site" not in keys:
        return _document(kind, path, tree)[1]
    if "site" in keys or not keys.keys().isdisjoint({"repositories", "datasets"}):
        return _estate(path, tree)[1]
    if tree.mistakes:
        return _described(path, tree.mistakes)
    message = f"not a kind of document drtool knows: it has none of the keys site, {', '.join(_KINDS)}"
    return _described(path, [Mistake(spot=tree.spot(()), message=message)])


def check_estate(path: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The documents that an estate names, and every mistake in them; of an estate that is broken only its own."""
    estate, problems = _estate(path, _read(path))
    if estate is None:
        return (path,), problems
    checked, found = [path, *estate.policies], list(problems)
    for kind, named in (("register", estate.register_file), ("runbooks", estate.runbooks)):
        there = named and (named.is_dir() if kind == "runbooks" else named.is_file())
        if named and not there:
            what = "folder" if kind == "runbooks" else "file"
            found.append(f"{path}:{_read(path).spot((kind,)).line}:1: {kind}: no such {what}: {quoted(str(named))}")
        elif named and kind == "register":
            checked.append(named)
            found += check_document(named)
        elif named:
            procedures = load_procedures(named)
            checked += [one.path for one in procedures]
            found += [problem for one in procedures for problem in one.problems]
    return tuple(checked), tuple(found)


def _read(path: Path) -> Tree:
    try:
        return read_tree(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        mistake = Mistake(spot=Spot(1, 1), message=f"the file cannot be read: {reason.lower()}")
        return Tree(data=None, keys={}, values={}, mistakes=(mistake,))


def _estate(path: Path, tree: Tree, *, lacking: bool = False) -> _Loaded[Estate]:
    reading = Reading(folder=path.absolute().parent, lacking=lacking)
    estate, mistakes = _validated(Estate, tree, reading)
    if isinstance(tree.data, dict):
        mistakes += [
            Mistake(spot=_spot(steps, tree), steps=steps, message=message)
            for steps, message in contradictions(tree.data, reading)
        ]
    policies, policy_mistakes, policy_problems = _policies(tree, reading)
    problems = _described(path, mistakes + policy_mistakes) + policy_problems
    if estate is None or problems:
        return None, problems
    return estate.read_from(path.absolute(), policies), ()


def _policies(tree: Tree, reading: Reading) -> tuple[tuple[Policy, ...], list[Mistake], tuple[str, ...]]:
    """The estate's policies; what is wrong with their names in the estate; what is wrong in their files."""
    loaded: dict[str, Policy] = {}
    mistakes: list[Mistake] = []
    problems: tuple[str, ...] = ()
    for steps, path in _policy_paths(tree, reading):
        if not os.path.isfile(path):
            mistakes.append(Mistake(spot=tree.spot(steps), steps=steps, message=f"no such file: {quoted(str(path))}"))
            continue
        policy, found = _document(Policy, path, _read(path))
        problems += found
        if policy and policy.policy in loaded:
            message = f"another policy has the name {quoted(policy.policy)} already"
            mistakes.append(Mistake(spot=tree.spot(steps), steps=steps, message=message))
        elif policy:
            loaded[policy.policy] = policy
    return tuple(loaded.values()), mistakes, problems


def _policy_paths(tree: Tree, reading: Reading) -> list[tuple[Steps, Path]]:
    """Each policy once, also where the rest of the estate is not valid."""
    listed = tree.data.get("policies") if isinstance(tree.data, dict) else None
    found: dict[Path, Steps] = {}
    for index, written in enumerate(listed if isinstance(listed, tuple) else ()):
        with suppress(ValueError):
            path = resolve(written, reading.folder) if isinstance(written, str) else None
            found |= {path: ("policies", index)} if path and path not in found else {}
    return [(steps, path) for path, steps in found.items()]


def _described(path: Path, mistakes: list[Mistake] | tuple[Mistake, ...]) -> tuple[str, ...]:
    ordered = sorted(mistakes, key=lambda mistake: (mistake.spot, mistake.message))
    return tuple(dict.fromkeys(mistake.described(path) for mistake in ordered))


def _validated(model: type[_P], tree: Tree, reading: Reading) -> tuple[_P | None, list[Mistake]]:
    """The model where all is well, and every mistake of the text and of the data."""
    mistakes = list(tree.mistakes)
    if tree.data is None and mistakes:
        return None, mistakes
    try:
        return model.model_validate(tree.data, context=reading), mistakes
    except ValidationError as error:
        first = {detail["loc"]: detail for detail in reversed(error.errors(include_url=False))}
        refused = {mistake.steps for mistake in mistakes}
        found = (_mistake(detail, tree) for detail in first.values() if not _follows(detail, tree))
        return None, mistakes + [mistake for mistake in found if mistake.steps not in refused]


def _follows(detail: ErrorDetails, tree: Tree) -> bool:
    """Whether an error only follows from others: to pydantic a list is too short when its items are refused."""
    return detail["type"] == "too_short" and bool(_value(_steps(detail["loc"], tree.data), tree.data))


def _mistake(detail: ErrorDetails, tree: Tree) -> Mistake:
    """Pydantic's error in our words, at its place in the text. The value is never repeated."""
    steps = _steps(detail["loc"], tree.data)
    if detail["type"] == "missing":
        parent, key = steps[:-1], steps[-1]
        return Mistake(spot=tree.spot(parent, of_key=True), steps=parent, message=f"missing key '{key}'")
    if detail["type"].startswith("union_tag"):
        steps = (*steps, str(detail["ctx"]["discriminator"]).strip("'"))
    at_key = detail["type"] == AT_KEY or detail["loc"][-1:] == ("[key]",)
    spot = tree.spot(steps, of_key=True) if at_key else _spot(steps, tree)
    return Mistake(spot=spot, steps=steps, message=_words(detail, _value(steps, tree.data)))


def _spot(steps: Steps, tree: Tree) -> Spot:
    """Where a value is to be corrected: at itself, or at the key of a whole mapping."""
    return tree.spot(steps, of_key=isinstance(_value(steps, tree.data), dict))


def _steps(loc: Steps, data: object) -> Steps:
    """Pydantic's location without what it adds of its own: the tag of a union, the mark of a key."""
    steps: list[str | int] = []
    for step in loc:
        tag = isinstance(data, dict) and step not in data and step in (data.get(key) for key in _TAGS)
        if not tag and step != "[key]":
            steps.append(step)
            data = _value((step,), data)
    return tuple(steps)


_TAGS = ("type", "kind", "probe")  # the keys that say which of several models a mapping follows


def _value(steps: Steps, data: Any) -> Any:
    """The data at a place; ``None`` where there is none."""
    for step in steps:
        known = isinstance(data, dict) and step in data
        listed = isinstance(data, tuple) and isinstance(step, int) and step < len(data)
        data = data[step] if known or listed else None
    return data


_EXPECTED = {
    "string_type": "must be text",
    "bool_type": "must be true or false; yes, no, on and off are plain text",
    "int_type": "must be a whole number",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "mapping_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "is_instance_of": "must be a path",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
}


def _unknown_type(context: Mapping[str, Any]) -> str:
    known = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
    return f"unknown type {quoted(context['tag'])}{nearest(context['tag'], known)}; known: {', '.join(known)}"


_EXPECTED_FROM: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "literal_error": lambda context: f"must be {context['expected'].replace(chr(39), '')}",
    "string_pattern_mismatch": lambda context: PATTERNS[context["pattern"]],
    "greater_than_equal": lambda context: f"must be at least {context['ge']}",
    "less_than_equal": lambda context: f"must be at most {context['le']}",
    "union_tag_not_found": lambda context: f"missing key {context['discriminator']}",
    "union_tag_invalid": _unknown_type,
}


def _words(detail: ErrorDetails, value: object) -> str:
    """What is wrong, from the kind of the error alone."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in (MISTAKE, AT_KEY):
        return str(context["words"])
    if kind in _EXPECTED_FROM:
        return _EXPECTED_FROM[kind](context)
    expected = _EXPECTED.get(kind, "is not valid here")
    quote = kind == "string_type" and isinstance(value, bool | int | float)
    return f"{expected}; quote it" if quote else expected
