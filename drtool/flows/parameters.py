"""The parameters of a run: typed, complete before anything begins, and put into texts argument by argument."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from drtool.core.placeholders import filled, names_in
from drtool.documents.estate import Estate, Secret
from drtool.documents.register import Register
from drtool.documents.runbook import Answer, Param, Runbook
from drtool.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """The values of a run, and where its secrets are to be had; only the values are recorded."""

    values: Mapping[str, Answer]
    secrets: Mapping[str, Secret]


def resolve(runbook: Runbook, given: Mapping[str, Answer], register: Register, estate: Estate) -> Params:
    """Each parameter from what is given, the register's values, or its default.

    Raises ``UsageError`` that names every one that is unknown, missing or does not fit.
    """
    problems = [f"there is no parameter {name}" for name in given if name not in runbook.params]
    problems += [
        f"parameter {name} is a secret; the runbook says where it is to be had"
        for name in given
        if name in runbook.params and runbook.params[name].type == "secret"
    ]
    values: dict[str, Answer] = {}
    for name, param in runbook.params.items():
        if param.type == "secret":
            continue
        value = given.get(name, register.values.get(name, param.default))
        if value is None:
            problems.append(f"parameter {name} is missing{f' ({param.text})' if param.text else ''}")
            continue
        try:
            values[name] = _checked(param, value, register, estate)
        except ValueError as error:
            problems.append(f"parameter {name} {error}")
    if problems:
        raise UsageError("; ".join(problems), hint=f"drtool runbook run {runbook.runbook} --param NAME=VALUE …")
    return Params(values=values, secrets={name: param.secret for name, param in runbook.params.items() if param.secret})


def fill(value: Any, values: Mapping[str, Answer]) -> Any:
    """The same with parameters put in, once: what a value holds is never read as a parameter again.

    Raises ``UsageError`` for a name that is none.
    """
    if isinstance(value, str):
        return filled(value, lambda name: _value_of(name, values))
    if isinstance(value, Mapping):
        return {key: fill(one, values) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return tuple(fill(one, values) for one in value)
    return value


def named_in(value: Any) -> Iterator[str]:
    """The parameters that texts name."""
    if isinstance(value, str):
        yield from names_in(value)
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from named_in(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from named_in(one)


def _value_of(name: str, values: Mapping[str, Answer]) -> str:
    if name not in values:
        raise UsageError(f"there is no parameter {name}", hint="drtool runbook lint")
    return spoken(values[name])


def spoken(value: Answer) -> str:
    """A value as it stands in an argument."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _checked(param: Param, value: Answer, register: Register, estate: Estate) -> Answer:
    """The value in its type. Raises ``ValueError`` with what it must be."""
    if param.type == "number":
        return _number(value)
    if param.type == "bool":
        return _truth(value)
    text = spoken(value)
    if "\0" in text:
        raise ValueError("must not hold a NUL character")
    if param.type in ("host", "dataset"):
        _known(text, register.hosts if param.type == "host" else estate.datasets, param.type)
    elif param.type in _FORMS:
        fits, must = _FORMS[param.type]
        if not fits(text, param):
            raise ValueError(must(param))
    if param.pattern and not re.fullmatch(param.pattern, text):
        raise ValueError(f"must match {param.pattern}")
    return text


def _known(text: str, known: Mapping[str, Any], kind: str) -> None:
    if text not in known:
        raise ValueError(f"names no {kind}; known: {', '.join(known) or 'none'}")


def _number(value: Answer) -> int:
    try:
        return int(value)
    except ValueError:
        raise ValueError("must be a whole number") from None


def _truth(value: Answer) -> bool:
    if isinstance(value, bool):
        return value
    if value not in ("true", "false"):
        raise ValueError("must be true or false")
    return value == "true"


_Fits = Callable[[str, Param], bool]
_FORMS: Mapping[str, tuple[_Fits, Callable[[Param], str]]] = {
    "name": (lambda text, _: bool(_NAME.fullmatch(text)), lambda _: "must be made of letters, digits, . - and _"),
    "path": (lambda text, _: text.startswith("/"), lambda _: "must be an absolute path"),
    "choice": (
        lambda text, param: text in (param.values or ()),
        lambda param: f"must be one of {', '.join(param.values or ())}",
    ),
    "snapshot": (lambda text, _: bool(text.strip()), lambda _: "must be latest, a time or a snapshot's id"),
}
