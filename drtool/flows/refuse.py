"""What keeps a run from beginning."""

from __future__ import annotations

from collections.abc import Iterator

from drtool.core.placeholders import ALWAYS
from drtool.core.plan import cycles
from drtool.documents.runbook import RestoreStep, Runbook, RunbookStep, Step
from drtool.errors import UsageError
from drtool.flows.order import steps_of
from drtool.flows.parameters import Params, fill, named_in
from drtool.flows.recovery import Recovery


def refuse_in_drill(runbook: Runbook, params: Params, recovery: Recovery) -> None:
    """Raises ``UsageError`` naming each destructive step that a drill would run outside of the sandbox."""
    if recovery.mode != "drill":
        return
    outside = [
        step.id
        for step in runbook.steps
        if step.drill not in ("simulate", "skip") and not in_sandbox(step, params, recovery)
    ]
    if outside:
        raise UsageError(
            f"a drill would destroy outside of the sandbox: {', '.join(outside)}",
            hint="give the steps a host that the register marks with `sandbox: true`, or `drill: simulate`",
        )


def in_sandbox(step: Step, params: Params, recovery: Recovery) -> bool:
    """Whether a step destroys nothing, or only where the register allows it: every name of this machine must say so."""
    if step.effect != "destructive" and not isinstance(step, RestoreStep):
        return True
    name = fill(getattr(step, "target", None) or "", params.values)
    hosts = recovery.register.hosts
    if name:
        return name in hosts and hosts[name].sandbox
    here = [host for host in hosts.values() if not host.ssh]
    return bool(here) and all(host.sandbox for host in here)


def refuse_unsound(runbook: Runbook, params: Params, recovery: Recovery) -> None:
    """Raises ``UsageError`` for what would stop a run in the middle, or let a step run before what it needs."""
    problems = [*_unknown_names(runbook, params), *_disorder(runbook), *_ring_of_runbooks(runbook, recovery)]
    if problems:
        raise UsageError(f"runbook {runbook.runbook} cannot be run: {'; '.join(problems)}",
                         hint=f"drtool runbook lint {runbook.runbook}")  # fmt: skip


def _unknown_names(runbook: Runbook, params: Params) -> Iterator[str]:
    named = {name for step in runbook.steps for name in named_in(step.model_dump(exclude={"when"}))}
    for name in sorted(named - params.values.keys() - ALWAYS):
        yield f"it names what is no parameter: {name}"


def _disorder(runbook: Runbook) -> Iterator[str]:
    graph = steps_of(runbook)
    for name, step in graph.items():
        yield from (f"step {name} needs {need}, which is no step" for need in step.needs if need not in graph)
    yield from (f"steps need one another: {', '.join(ring)}" for ring in cycles(graph))


def _ring_of_runbooks(runbook: Runbook, recovery: Recovery) -> Iterator[str]:
    known = {one.id: one.document for one in recovery.procedures if isinstance(one.document, Runbook)}
    known[runbook.runbook] = runbook
    seen: set[str] = set()
    ahead = [runbook.runbook]
    while ahead:
        for step in known[ahead.pop()].steps:
            if not isinstance(step, RunbookStep):
                continue
            if step.runbook == runbook.runbook:
                yield f"step {step.id} of a runbook that it runs runs it again"
            elif step.runbook not in known:
                yield f"step {step.id} runs {step.runbook}, which is no runbook that can be read"
            elif step.runbook not in seen:
                seen.add(step.runbook)
                ahead.append(step.runbook)
