"""A run as it is shown: from its journal alone, which tells what was done when the runbook is another, or gone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from drtool.core.placeholders import filled
from drtool.core.runbook import Duty, Progress, RunState, RunView, due, measure
from drtool.documents.runbook import Answer, Runbook
from drtool.flows.parameters import spoken


def shown_of(runbook: Runbook, values: Mapping[str, Answer]) -> Mapping[str, Any]:
    """What the journal keeps of a runbook, so that the run can be shown without it."""
    return {
        "title": _filled(runbook.title, values),
        "rto": runbook.objectives.rto.total_seconds(),
        "steps": [[step.id, _filled(step.title, values)] for step in runbook.steps],
        "duties": [[one.id, one.deadline.total_seconds(), one.start, one.duty] for one in runbook.clocks],
    }


def view_of(run: str, so_far: Progress, state: RunState, now: datetime) -> RunView:
    """A run as it is shown; of a run that never began there is nothing."""
    kept = so_far.started
    duties = [
        Duty(id=name, after=timedelta(seconds=after), start=start, text=text)
        for name, after, start, text in kept["duties"]
    ]
    return RunView(
        run=run,
        runbook=kept["runbook"],
        title=kept["title"],
        mode=kept["mode"],
        state=so_far.ended or state,
        steps=tuple((name, title, so_far.of(name)) for name, title in kept["steps"]),
        clocks=so_far.clocks,
        rto=timedelta(seconds=kept["rto"]),
        measured=measure(so_far, now),
        duties=due(duties, so_far),
        at=now,
        waits=so_far.waits,
    )


def _filled(text: str, values: Mapping[str, Answer]) -> str:
    return filled(text, lambda name: spoken(values[name]) if name in values else name)
