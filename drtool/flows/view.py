"""A run as it is shown: from its runbook and its journal."""

from __future__ import annotations

from datetime import datetime

from drtool.core.runbook import Duty, Progress, RunState, RunView, due, measure
from drtool.documents.runbook import Runbook
from drtool.flows.order import ordered


def view_of(runbook: Runbook, run: str, so_far: Progress, state: RunState, now: datetime) -> RunView:
    """A run as it is shown."""
    duties = [Duty(id=one.id, after=one.deadline, start=one.start, text=one.duty) for one in runbook.clocks]
    titles = {step.id: step.title for step in runbook.steps}
    return RunView(
        run=run,
        runbook=runbook.runbook,
        title=runbook.title,
        mode=so_far.started.get("mode", "real"),
        state=so_far.ended or state,
        steps=tuple((step, titles[step.id], so_far.of(step.id)) for step in ordered(runbook)),
        clocks=so_far.clocks,
        rto=runbook.objectives.rto,
        measured=measure(so_far, now),
        duties=due(duties, so_far),
        at=now,
        waits=so_far.waits,
    )
