"""What only several pieces together show to be wrong with the runbooks and the restart concept.

Nothing is run and no host is asked; of the outside only the pinned scripts are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from drtool.core.plan import Task
from drtool.core.problem import Problem, Severity
from drtool.documents.estate import Estate
from drtool.documents.loader import Procedure
from drtool.documents.register import Register
from drtool.documents.runbook import Runbook, RunbookStep
from drtool.flows.lint_concept import concept_flaws
from drtool.flows.lint_released import Around, Flaw, error, released_flaws
from drtool.flows.lint_runbook import runbook_flaws

PLACEHOLDERS = ("BITTE EINTRAGEN",)  # what the shipped templates say where something is to be filled in

_PLACE = re.compile(r"(?P<place>\d+:\d+: \S+): (?P<message>.*)", re.DOTALL)
_SPOT = re.compile(r":(\d+):(\d+): ")


def lint(
    procedures: tuple[Procedure, ...], register: Register, estate: Estate | None, today: date
) -> tuple[Problem, ...]:
    """Every problem of every procedure, in their order; without an estate, its names are not looked at."""
    runbooks = {one.id: one.document for one in procedures if isinstance(one.document, Runbook)}
    calls = {name: Task(needs=_called(runbook)) for name, runbook in runbooks.items()}
    around = Around(
        register=register,
        estate=estate,
        today=today,
        runbooks=runbooks,
        broken=frozenset(one.id for one in procedures if one.document is None),
        calls=calls,
    )
    found = (
        problem
        for index, one in enumerate(procedures)
        for problem in (*_unreadable(one), *_found(one, procedures[:index], around), *_to_fill_in(one.id, one.path))
    )
    in_register = _to_fill_in("register", estate.register_file) if estate and estate.register_file else ()
    return (*found, *in_register)


def _to_fill_in(name: str, path: Path) -> Iterator[Problem]:
    """What a template leaves to be filled in, comments among it: told once for each file."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    left = [number for number, line in enumerate(lines, 1) if any(word in line for word in PLACEHOLDERS)]
    if left:
        column = min(lines[left[0] - 1].find(word) + 1 for word in PLACEHOLDERS if word in lines[left[0] - 1])
        where = f"{path}:{left[0]}:{column}: document"
        message = f"{len(left)} lines still say {PLACEHOLDERS[0]}; fill them in and take the words out"
        yield Problem(procedure=name, where=where, message=message, severity=Severity.WARNING)


def _called(runbook: Runbook) -> tuple[str, ...]:
    return tuple(step.runbook for step in runbook.steps if isinstance(step, RunbookStep))


def _unreadable(procedure: Procedure) -> Iterator[Problem]:
    """The mistakes for which a document could not be loaded."""
    for text in procedure.problems:
        match = _PLACE.fullmatch(text.removeprefix(f"{procedure.path}:"))
        where = f"{procedure.path}:{match['place']}" if match else str(procedure.path)
        yield Problem(procedure=procedure.id, where=where, message=match["message"] if match else text)


def _found(procedure: Procedure, earlier: tuple[Procedure, ...], around: Around) -> Iterator[Problem]:
    document = procedure.document
    if document is None:
        return
    flaws = [*_same_id(procedure, earlier), *released_flaws(document, around)]
    flaws += runbook_flaws(document, around) if isinstance(document, Runbook) else concept_flaws(document, around)
    problems = [
        Problem(
            procedure=procedure.id,
            where=document.described(flaw.steps, "").removesuffix(": "),
            message=flaw.message,
            severity=flaw.severity,
        )
        for flaw in dict.fromkeys(flaws)
    ]
    yield from sorted(problems, key=_spot)


def _spot(problem: Problem) -> tuple[int, ...]:
    """Line and column, as the eye goes through the file."""
    found = _SPOT.search(problem.where)
    return tuple(int(number) for number in found.groups()) if found else ()


def _same_id(procedure: Procedure, earlier: tuple[Procedure, ...]) -> Iterator[Flaw]:
    same = next((one for one in earlier if one.id == procedure.id), None)
    if same:
        key = "runbook" if isinstance(procedure.document, Runbook) else "restart_concept"
        yield error((key,), f"{same.path.name} has the id '{procedure.id}' already; give one of the two another id")


def has_errors(problems: tuple[Problem, ...]) -> bool:
    """Whether any of them is more than a warning."""
    return any(problem.severity is Severity.ERROR for problem in problems)
