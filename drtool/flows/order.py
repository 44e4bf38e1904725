"""The order of a runbook's steps and of a concept's systems, with their planned times."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta

from drtool.core import runbook as core
from drtool.core.plan import Graph, Task
from drtool.documents.restart_concept import RestartConcept
from drtool.documents.runbook import Answer, Runbook, Step, WaitStep


def ordered(runbook: Runbook) -> tuple[core.Step, ...]:
    """The steps as the engine sees them; one that names no needs follows the one written before it."""
    return tuple(
        core.Step(
            id=step.id,
            kind=step.kind,
            effect=step.effect,
            needs=needs_of(runbook, place),
            when=alternatives(step.when),
            checked=step.check is not None,
            on_failure=step.on_failure,
            undoable=step.undo is not None,
            marks=step.marks,
        )
        for place, step in enumerate(runbook.steps)
    )


def alternatives(when: Mapping[str, Answer | tuple[Answer, ...]]) -> Mapping[str, tuple[Answer, ...]]:
    """For each question the answers that will do."""
    return {key: value if isinstance(value, tuple) else (value,) for key, value in when.items()}


def steps_of(runbook: Runbook, skipped: Collection[str] = ()) -> Graph:
    """The order of the steps; those that the answers lead past take no time."""
    return {
        step.id: Task(needs=needs_of(runbook, place), planned=timedelta() if step.id in skipped else planned_time(step))
        for place, step in enumerate(runbook.steps)
    }


def needs_of(runbook: Runbook, place: int) -> tuple[str, ...]:
    """What a step waits for: what it says, else the step written before it."""
    needs = runbook.steps[place].needs
    if needs is not None:
        return needs
    return (runbook.steps[place - 1].id,) if place else ()


def planned_time(step: Step) -> timedelta:
    """How long a step is planned to take; without a plan as long as it may."""
    waits = step.duration if isinstance(step, WaitStep) else None
    return step.planned or waits or step.timeout


def systems_of(concept: RestartConcept) -> Graph:
    """The order of the systems."""
    return {name: Task(needs=system.depends, planned=system.planned) for name, system in concept.systems.items()}
