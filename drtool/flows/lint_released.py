"""What lint knows while it looks at a procedure, and what it asks of every released procedure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from drtool.core.placeholders import names_in
from drtool.core.plan import Graph
from drtool.core.problem import Severity
from drtool.documents.estate import Estate
from drtool.documents.part import nearest, quoted
from drtool.documents.register import Register
from drtool.documents.runbook import Answer, Param, ReleasedDocument, Runbook
from drtool.documents.tree import Steps

YEAR = timedelta(days=366)


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What a procedure leans on."""

    register: Register
    estate: Estate | None
    today: date
    runbooks: Mapping[str, Runbook]
    broken: frozenset[str]  # ids of procedures that could not be loaded
    calls: Graph  # which runbook runs which others

    def reachable(self, name: str) -> bool:
        """Whether somebody can be told: a role or a contact."""
        return name in self.register.roles or name in self.register.contacts


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong, and where in the document's data."""

    steps: Steps
    message: str
    severity: Severity = Severity.ERROR


def error(steps: Steps, message: str) -> Flaw:
    """What keeps the procedure from being used in earnest."""
    return Flaw(steps, message)


def warning(steps: Steps, message: str) -> Flaw:
    """What somebody should look at."""
    return Flaw(steps, message, Severity.WARNING)


def unknown(kind: str, name: str, known: Iterable[str], where: str, steps: Steps) -> Iterator[Flaw]:
    """Nothing, or that a name is not known where it must be."""
    names = list(known)
    if name not in names:
        yield error(steps, f"there is no {kind} {quoted(name)} in {where}{nearest(name, names)}")


def role_flaws(role: str, steps: Steps, around: Around) -> Iterator[Flaw]:
    """A role that is not in the register."""
    return unknown("role", role, around.register.roles, "the register", steps)


def reachable_flaws(name: str, steps: Steps, around: Around) -> Iterator[Flaw]:
    """Somebody to be told who is neither a role nor a contact."""
    known = (*around.register.roles, *around.register.contacts)
    return unknown("role or contact", name, known, "the register", steps)


def deputy_flaws(role: str, steps: Steps, around: Around) -> Iterator[Flaw]:
    """A role that is not in the register, or that nobody else can take over."""
    yield from role_flaws(role, steps, around)
    held = around.register.roles.get(role)
    if held and not held.deputy:
        yield error(steps, f"the role '{role}' has no deputy; name one in the register")
    elif held and held.deputy == held.person:
        yield error(steps, f"the role '{role}' has its holder as deputy; name somebody else in the register")


def released_flaws(document: ReleasedDocument, around: Around) -> Iterator[Flaw]:
    """Owner, approval and review."""
    yield from role_flaws(document.owner, ("owner",), around)
    approved, due = document.approved, document.review_due
    if approved is None:
        yield warning((), f"revision {document.revision} is not approved; have it released and note it at 'approved'")
    else:
        yield from role_flaws(approved.by, ("approved", "by"), around)
    if approved and approved.on > around.today:
        yield error(("approved", "on"), f"the approval is dated in the future: {approved.on}; correct the day")
    if due < around.today:
        yield error(("review_due",), f"the review was due on {due}; review the text, then set the next day")
    elif due > (approved.on if approved else around.today) + YEAR:
        since = f"the approval of {approved.on}" if approved else "today"
        yield error(("review_due",), f"the next review is due more than a year after {since}; set an earlier day")


# Parameters: what they are on this site, and whether values given fit


def value_here(name: str, runbook: Runbook, around: Around) -> str | None:
    """What a parameter is on this site, unless the command line says something else."""
    if name in around.register.values:
        return around.register.values[name]
    param = runbook.params.get(name)
    return None if param is None or param.default is None else _spoken(param.default)


def given_flaws(runbook: Runbook, given: Mapping[str, Answer], steps: Steps, around: Around) -> Iterator[Flaw]:
    """Parameters given to a runbook by another document that it does not have, or that do not fit."""
    for name, value in given.items():
        yield from unknown("parameter", name, runbook.params, f"the runbook '{runbook.runbook}'", (*steps, name))
        if name in runbook.params:
            yield from value_flaws(name, runbook.params[name], value, (*steps, name), around)


def missing_params(runbook: Runbook, given: Mapping[str, Answer], around: Around) -> tuple[str, ...]:
    """The parameters that nothing gives a value to, so that somebody would be asked."""
    return tuple(
        name
        for name, param in runbook.params.items()
        if name not in given and param.type != "secret" and value_here(name, runbook, around) is None
    )


def value_flaws(name: str, param: Param, value: Answer, steps: Steps, around: Around) -> Iterator[Flaw]:
    """A value that is not what its parameter must be."""
    text = _spoken(value)
    if any(names_in(text)):
        return
    match param.type:
        case "host":
            yield from unknown("host", text, around.register.hosts, "the register", steps)
        case "dataset" if around.estate:
            yield from unknown("dataset", text, around.estate.datasets, "the estate", steps)
        case "choice" if text not in (param.values or ()):
            yield error(steps, f"{quoted(text)} is none of {', '.join(param.values or ())}, which '{name}' must be")
        case "secret":
            yield error(steps, f"'{name}' is a secret; say in the runbook where it is to be had, and give no value")
    if param.type in _FORMS and not re.fullmatch(_FORMS[param.type][0], text):
        yield error(steps, f"'{name}' must be {_FORMS[param.type][1]}")
    if param.pattern and not re.fullmatch(param.pattern, text):
        yield error(steps, f"{quoted(text)} does not match the pattern of '{name}'; correct one of the two")


def _spoken(value: Answer) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_FORMS: Mapping[str, tuple[str, str]] = {
    "bool": (r"true|false", "true or false"),
    "number": (r"-?[0-9]+", "a whole number"),
    "path": (r"(?s)/.*", "an absolute path"),
    "name": (r"[A-Za-z0-9_][A-Za-z0-9_.-]*", "made of letters, digits, . - and _"),
}
